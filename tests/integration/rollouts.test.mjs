// Rollouts on the release bundles: operators' verbs, and the engine from the first trigger to the last confirmation, with
// devices on one side of EMQX and the workers on the other.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { NEW, folded, rolloutsOf } from './fixtures/rollout.mjs';
import { startHarness } from './support/harness.mjs';

const OPERATOR = 'ada@optic.works';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
/** @type {Awaited<ReturnType<typeof rolloutsOf>>} */
let rollouts;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry', 'ota'], batchTimeout: 0.1 });
  rollouts = await rolloutsOf(cloud);
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  cloud.faults.forget();
  // Every test has a fleet of its own: the devices of earlier ones would be in its rollouts, too.
  await cloud.rows('DELETE FROM rollouts');
  await cloud.rows('DELETE FROM devices');
});

const refuses = (answer, status) => {
  isProblem(answer, 409);
  assert.match(answer.json.detail, new RegExp(status));
};

test('a rollout is made, waits, and is shown as it was asked for', async () => {
  const body = {
    sku: 'rs1_pro',
    version: NEW,
    stages: [{ percent: 10, duration_sec: 3600, max_failure_share: 0.02 }, { percent: 100 }],
    min_rssi: -65,
    rate_per_minute: 30,
    selector: { tags: ['beta'] },
    reason: 'new radar build',
  };
  const made = await rollouts.ask('POST', '/admin/rollouts', { body });
  isStatus(made, 201);
  assert.match(made.json.rollout_id, /^rol-[0-9A-Z]{26}$/);
  assert.equal(made.headers.location, `/admin/rollouts/${made.json.rollout_id}`);
  const shown = await rollouts.show(made.json.rollout_id);
  for (const [name, value] of Object.entries({ ...body, stages: undefined })) if (value) assert.deepEqual(shown[name], value, name);
  assert.deepEqual([shown.status, shown.created_by, shown.counts, shown.report], ['PENDING', OPERATOR, {}, null]);
  assert.deepEqual(shown.stages[0].percent, 10);
  const listed = await rollouts.ask('GET', '/admin/rollouts');
  assert.deepEqual(listed.json.items.map(({ rollout_id: id }) => id), [made.json.rollout_id]);
});

test('what cannot be made names every fault', async () => {
  const ask = (body, query = '') => rollouts.ask('POST', `/admin/rollouts${query}`, { body });
  isProblem(await ask({ sku: 'rs1_max', stages: [], surprise: 1 }), 422, ['/sku', '/version', '/stages', '/surprise']);
  isProblem(await ask({ sku: 'rs1_pro', version: '9.9.9' }), 422, ['/version']);
  isProblem(await ask({ sku: 'rs1_pro', version: NEW, force: true }), 422, ['/reason']);
  isProblem(await ask({ sku: 'rs1_pro', version: NEW }, '?dryrun=true'), 422, ['?dryrun']);
  isProblem(await cloud.api('POST', '/admin/rollouts', { host: 'ota.localhost', body: {} }), 401);
  isProblem(await rollouts.ask('GET', '/admin/rollouts/rol-01K00000000000000000000000'), 404);
  isProblem(await rollouts.tell('rol-01K00000000000000000000000', 'start'), 404);
  isProblem(await rollouts.ask('DELETE', '/admin/rollouts'), 405);
});

test('a dry run says whom each stage would reach, who is held back and why, and makes nothing', async () => {
  const [first, second] = await rollouts.fleet(2);
  await rollouts.leaves(second);
  const body = { sku: 'rs1_pro', version: NEW, stages: [{ percent: 1, duration_sec: 60 }, { percent: 100 }] };
  const answer = await rollouts.ask('POST', '/admin/rollouts?dry_run=true', { body });
  isStatus(answer, 200);
  assert.deepEqual(answer.json.stages[0].device_ids, [first.id], 'one at least');
  assert.deepEqual(answer.json.held_back, { offline: { devices: 1, device_ids: [second.id] } });
  assert.deepEqual((await rollouts.ask('GET', '/admin/rollouts')).json.items, []);
});

test('each verb does what it says where it may, and names the status where it may not', async () => {
  // Somebody to wait for: with nobody in it a rollout is done at once.
  await rollouts.fleet(1);
  const id = await rollouts.make({ stages: [{ percent: 1, duration_sec: 60 }, { percent: 100 }] });
  for (const verb of ['pause', 'resume', 'advance']) refuses(await rollouts.tell(id, verb), 'PENDING');
  const does = async (verb, status, stage) => {
    const answer = await rollouts.tell(id, verb);
    isStatus(answer, 200);
    assert.deepEqual([answer.json.status, answer.json.stage], [status, stage], verb);
  };
  await does('start', 'STAGED', 0);
  for (const verb of ['start', 'resume']) refuses(await rollouts.tell(id, verb), 'STAGED');
  await does('advance', 'STAGED', 1);
  refuses(await rollouts.tell(id, 'advance'), 'last stage');
  await does('pause', 'PAUSED', 1);
  for (const verb of ['start', 'pause', 'advance']) refuses(await rollouts.tell(id, verb), 'PAUSED');
  await does('resume', 'STAGED', 1);
  await does('abort', 'ABORTED', 1);
  for (const verb of ['start', 'pause', 'resume', 'abort', 'advance']) refuses(await rollouts.tell(id, verb), 'ABORTED');

  for (const verb of ['pause', 'resume', 'abort', 'advance']) isProblem(await rollouts.tell(id, verb, {}), 422, ['/reason']);
  isProblem(await rollouts.tell(id, 'pause', { reason: 'x', surprise: 1 }), 422, ['/surprise']);
  const history = (await rollouts.history(id)).filter(({ kind }) => kind !== 'device');
  assert.deepEqual(
    history.map(({ kind, actor }) => [kind, actor]),
    ['created', 'started', 'advanced', 'paused', 'resumed', 'aborted'].map((kind) => [kind, OPERATOR]),
  );
  assert.equal(history[3].detail.reason, 'a spec');
  const audited = await cloud.rows("SELECT detail FROM audit_log WHERE target = ? AND detail LIKE '%resume%'", id);
  assert.equal(JSON.parse(audited[0].detail).reason, 'a spec', 'who resumed, and why, is in the audit log');
});

test('a request with a key is done once and answered the same; the key is good for no other', async () => {
  const key = { 'idempotency-key': 'a-key-of-this-spec' };
  const make = (body) => rollouts.ask('POST', '/admin/rollouts', { body, headers: key });
  const body = { sku: 'rs1_pro', version: NEW };
  const [first, second] = await Promise.all([make(body), make(body)]);
  isStatus(first, 201);
  isStatus(second, 201);
  assert.deepEqual(first.json, second.json, 'though they raced');
  assert.equal((await rollouts.ask('GET', '/admin/rollouts')).json.items.length, 1);
  isProblem(await make({ ...body, min_rssi: -60 }), 422, ['Idempotency-Key']);

  const id = first.json.rollout_id;
  const start = () => rollouts.tell(id, 'start', {}, { 'idempotency-key': 'another' });
  const started = await start();
  isStatus(started, 200);
  isStatus(await rollouts.tell(id, 'pause'), 200);
  const again = await start();
  assert.deepEqual([again.status, again.json], [200, started.json]);
  assert.equal((await rollouts.show(id)).status, 'PAUSED', 'and nothing was done');
});

test('a good image reaches everybody: triggered, reported, confirmed, completed', async () => {
  const devices = await rollouts.fleet(5);
  const id = await rollouts.make();
  const from = cloud.emqxApi.published.length;
  isStatus(await rollouts.tell(id, 'start'), 200);
  const told = await rollouts.untilTold(5, from);
  assert.deepEqual(told.map(({ id: device }) => device).sort(), devices.map(({ id: device }) => device).sort());
  for (const { id: device, trigger } of told) {
    const { url, issued_at, expires_at, ...rest } = trigger;
    assert.deepEqual(rest, { version: NEW, sha256: rollouts.artifact.sha256, rollout_id: id, min_rssi: -70, force: false });
    assert.match(url, new RegExp(`/firmware/rs1_pro/1\\.2\\.0\\.bin\\?device=${device}&expires=\\d+&kid=.+&rollout=${id}&sig=`));
    assert.ok(Date.parse(expires_at) > Date.parse(issued_at));
  }
  const { qos, retain } = cloud.emqxApi.published.at(from);
  assert.deepEqual([qos, retain], [1, false]);
  // The link that was sent is one that the worker takes.
  const { pathname, search } = new URL(told[0].trigger.url);
  const image = await cloud.api('HEAD', pathname + search, { host: 'ota.localhost' });
  assert.equal(image.status, 200, image.text);

  await Promise.all(devices.map((device) => rollouts.updates(device, id)));
  await rollouts.untilCounts(id, { confirmed: 5 });
  await rollouts.tick();
  const shown = await rollouts.show(id);
  assert.deepEqual([shown.status, shown.failure_share, shown.report.total.confirmed], ['COMPLETED', 0, 5]);
  const history = await rollouts.history(id);
  assert.deepEqual(folded(history), { confirmed: 5 });
  const one = await rollouts.ask('GET', `/admin/rollouts/${id}/devices?state=confirmed&limit=1`);
  assert.equal(one.json.items[0].from_version, '1.1.0');
  assert.ok(one.json.next_cursor);
});

test('a bad image stops by itself, and says why', async () => {
  const devices = await rollouts.fleet(10);
  const id = await rollouts.make();
  const from = cloud.emqxApi.published.length;
  await rollouts.tell(id, 'start');
  await rollouts.untilTold(10, from);
  for (const device of devices.slice(0, 9)) await rollouts.updates(device, id);
  await rollouts.untilCounts(id, { confirmed: 9, triggered: 1 });
  await rollouts.reports(devices[9], id, 'failed', {}, { error: 'hash_mismatch' });
  await rollouts.untilCounts(id, { confirmed: 9, failed: 1 });
  await rollouts.tick();
  const shown = await rollouts.show(id);
  assert.deepEqual([shown.status, shown.cause, shown.failure_share], ['ABORTED', 'failure_share', 0.1]);
  const halted = (await rollouts.history(id)).find(({ kind }) => kind === 'halted');
  assert.deepEqual([halted.actor, halted.detail.failures, halted.detail.outcomes], [null, 1, 10]);
  assert.match(halted.detail.says, /1 of 10/);
});

test('a device that comes online is told without waiting for the clock', async () => {
  const [device] = await rollouts.fleet(1);
  await rollouts.leaves(device);
  const id = await rollouts.make();
  const from = cloud.emqxApi.published.length;
  await rollouts.tell(id, 'start');
  await rollouts.speaks(device, '1.1.0', 2);
  const [told] = await rollouts.untilTold(1, from);
  assert.equal(told.id, device.id);
});

test('a withdrawn artifact pauses its rollouts', async () => {
  await rollouts.fleet(1);
  await rollouts.operator.publish('1.9.0', { size: 100_000 });
  const id = await rollouts.make({ version: '1.9.0' });
  await rollouts.tell(id, 'start');
  isStatus(await rollouts.ask('POST', '/admin/firmware/rs1_pro/1.9.0/yank', { body: { reason: 'radar stalls' } }), 200);
  const shown = await rollouts.show(id);
  assert.deepEqual([shown.status, shown.cause], ['PAUSED', 'artifact_yanked']);
  isProblem(await rollouts.tell(id, 'resume'), 409);
  isProblem(await rollouts.ask('POST', '/admin/rollouts', { body: { sku: 'rs1_pro', version: '1.9.0' } }), 409);
});

test('while the database is down nothing is half done', async () => {
  const id = await rollouts.make();
  cloud.faults.inject({ binding: 'DB', worker: 'ota', match: /rollout_decide/ });
  isProblem(await rollouts.tell(id, 'start'), 503);
  assert.deepEqual([(await rollouts.show(id)).status, (await rollouts.history(id)).length], ['PENDING', 1]);
  cloud.faults.inject({ binding: 'DB', worker: 'ota', match: /rollout_decide/, when: 'after' });
  isProblem(await rollouts.tell(id, 'start'), 503);
  assert.equal((await rollouts.show(id)).status, 'STAGED', 'done, and the answer was lost');
});
