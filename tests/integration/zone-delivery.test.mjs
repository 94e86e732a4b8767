// How a zone configuration gets to its device, and what the device says of it: over EMQX's management API and webhooks,
// with EMQX down, the device away, its reports late, twice and crossing.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { messageId, state, topicOf } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { grant, signIn, unlimited } from './fixtures/owner.mjs';
import { makeDevice, startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
/** @type {Awaited<ReturnType<typeof signIn>>} */
let ada;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} */
let device;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry'], configure: unlimited });
  ada = await signIn(cloud, 'ada@example.com');
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  cloud.emqxApi.answer = null;
  device = await cloud.enroll({ sku: 'rs1_pro' });
  await grant(cloud, ada, device, 'owner');
  cloud.faults.forget();
});

const T = Date.now();
const zones = (...ids) => ({
  zones: ids.map((id) => ({ id, name: 'Sofa', type: 'include', vertices: [[0, 0], [900, 0], [0, 900]], sensitivity: 50 })),
});
const path = () => `/api/devices/${device.id}/zones`;
const put = (version, body) => ada.call('PUT', path(), { body, headers: { 'if-match': `"${version}"` } });
const shown = async () => {
  const answer = await ada.call('GET', path());
  isStatus(answer, 200);
  const { desired, applied, in_sync, status, error } = answer.json;
  return { desired, applied, in_sync, status, error };
};
/** What the device was sent since the last time. */
const sent = () => {
  const topic = topicOf(device, 'config/update');
  const mine = cloud.emqxApi.published.filter((message) => message.topic === topic);
  cloud.emqxApi.published.splice(0);
  return mine.map(({ payload }) => JSON.parse(payload));
};
const versions = () => sent().map(({ version }) => version);
const taken = (answer) => {
  isStatus(answer, 204);
  assert.equal(answer.fate, 'delivered');
};
const says = async (fields, at) =>
  taken(await cloud.emqx.message(topicOf(device, 'state'), state({ product_sku: 'rs1_pro', ...fields }), { columns: { publish_received_at: at } }));
const reports = async (version, status, at, columns) => {
  const payload = { version, status, zone_count: 1, error: status === 'rejected' ? 'too warm' : null, timestamp: '2020-01-01T00:00:00Z' };
  taken(await cloud.emqx.message(topicOf(device, 'config/status'), payload, { columns: { publish_received_at: at, ...columns } }));
};
/** The minute's cron. Each run has a minute of its own; later ones run as if it were that late. */
let minute = Math.ceil(Date.now() / 60_000);
const tick = async () => {
  const before = cloud.logs({ event: 'cron * * * * *', worker: 'device-api' }).length;
  minute += 1;
  await cloud.cron('device-api', '* * * * *', new Date(minute * 60_000));
  return cloud.logs({ event: 'cron * * * * *', worker: 'device-api' })[before];
};
const emqxIsDown = () => (cloud.emqxApi.answer = () => ({ status: 500, body: { code: 'INTERNAL_ERROR' } }));
/** What is due at a later time is due now. */
const later = () => cloud.rows('UPDATE zone_configurations SET send_at = 1 WHERE send_at IS NOT NULL AND device_id = ?1 RETURNING 1', device.id);

test('a change goes out as the contract has it, and the device’s word for it is shown', async () => {
  await says({ config_version: 0 }, T);
  const answer = await put(0, zones('sofa'));
  isStatus(answer, 200);
  assert.equal(answer.json.delivery, 'sent');
  assert.deepEqual(sent(), [{ version: 1, updated_at: answer.json.updated_at, ...zones('sofa') }]);
  assert.deepEqual(await shown(), { desired: 1, applied: 0, in_sync: false, status: 'pending', error: null });
  await reports(1, 'applied', T + 1000);
  assert.deepEqual(await shown(), { desired: 1, applied: 1, in_sync: true, status: 'applied', error: null });
  assert.deepEqual(await tick().then(() => sent()), [], 'nothing more is sent');
});

test('a refusal is shown with its reason until another version is wanted', async () => {
  isStatus(await put(0, zones('a')), 200);
  await reports(1, 'rejected', T);
  assert.deepEqual(await shown(), { desired: 1, applied: 0, in_sync: false, status: 'rejected', error: 'too warm' });
  isStatus(await put(1, zones('b')), 200);
  assert.deepEqual(await shown(), { desired: 2, applied: 0, in_sync: false, status: 'pending', error: null });
});

test('late, repeated and crossing reports leave it right', async () => {
  for (let version = 0; version < 3; version += 1) isStatus(await put(version, zones(`z${version}`)), 200);
  const id = messageId();
  const words = [
    () => reports(1, 'applied', T + 1000),
    () => reports(2, 'pending', T + 2000),
    () => reports(2, 'rejected', T + 3000, { id }),
    () => reports(3, 'pending', T + 4000),
    () => says({ config_version: 1 }, T + 4500),
    () => reports(3, 'applied', T + 5000),
  ];
  for (const order of [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 5, 2, 0, 4, 1, 3, 2], [3, 0, 5, 1, 4, 2, 5]]) {
    for (const index of order) await words[index]();
    assert.deepEqual(await shown(), { desired: 3, applied: 3, in_sync: true, status: 'applied', error: null }, `in the order ${order}`);
    await cloud.rows("UPDATE zone_configurations SET report_version = 0, report_at = 0, report_outcome = NULL WHERE device_id = ?1 RETURNING 1", device.id);
    await cloud.rows('UPDATE devices SET config_version = NULL, config_at = 0, state_at = 0 WHERE device_id = ?1 RETURNING 1', device.id);
  }
  await says({ config_version: 0 }, T + 9000);
  assert.equal((await shown()).applied, 0, 'a device that was reset says so in its state');
});

test('a device that comes with an older version is sent the present one, by the webhook that notices', async () => {
  isStatus(await put(0, zones('a')), 200);
  sent();
  await says({ config_version: 0 }, T);
  assert.deepEqual(versions(), [1]);
  await says({ config_version: 0 }, T + 100);
  assert.deepEqual(versions(), [], 'it was sent a moment ago');
  await says({ online: false }, T + 200);
  await says({ config_version: 0 }, T + 300);
  assert.deepEqual(versions(), [1], 'it comes anew');
  await reports(1, 'applied', T + 400);
  await says({ online: false }, T + 500);
  await says({ config_version: 1 }, T + 600);
  assert.deepEqual(versions(), [], 'it has it');
  assert.deepEqual((await shown()).status, 'applied');
});

test('while EMQX is down changes stand, and are sent when it is back', async () => {
  await says({ config_version: 0 }, T);
  emqxIsDown();
  for (const version of [0, 1]) {
    const answer = await put(version, zones(`z${version}`));
    isStatus(answer, 200);
    assert.equal(answer.json.delivery, 'pending');
  }
  await later();
  const failed = await tick();
  assert.equal(failed.outcome, 'failed');
  assert.match(failed.log, /emqx publish/);
  assert.deepEqual(await shown(), { desired: 2, applied: 0, in_sync: false, status: 'pending', error: null });
  cloud.emqxApi.answer = null;
  await later();
  const mended = await tick();
  assert.equal(mended.outcome, 'ok');
  assert.deepEqual(versions(), [2], 'the latest alone');
});

test('while EMQX is down a device that comes is taken in, and its zones follow', async () => {
  isStatus(await put(0, zones('a')), 200);
  sent();
  emqxIsDown();
  await says({ config_version: 0 }, T);
  const { json } = await cloud.api('GET', `/api/admin/devices/${device.id}`, { token: await cloud.adminToken() });
  assert.equal(json.online, true);
  cloud.emqxApi.answer = null;
  await later();
  await tick();
  assert.deepEqual(versions(), [1]);
});

test('a device that the broker does not know, or a broker that answers nonsense, makes it wait', async () => {
  for (const [version, answer] of [
    { status: 202, body: [{ reason_code: 16, message: 'no_matching_subscribers' }] },
    { status: 503, body: [{ reason_code: 131, message: 'failed_to_dispatch' }] },
    { status: 200, body: [] },
    { status: 401, body: { code: 'BAD_API_KEY_OR_SECRET' } },
  ].entries()) {
    cloud.emqxApi.answer = () => answer;
    const changed = await put(version, zones(`z${version}`));
    isStatus(changed, 200);
    assert.equal(changed.json.delivery, 'pending');
  }
});

test('a device that is away costs the clock nothing', async () => {
  isStatus(await put(0, zones('a')), 200);
  sent();
  cloud.faults.forget();
  const line = await tick();
  assert.match(line.log, /^0 configurations sent/);
  assert.deepEqual(cloud.faults.calls({ worker: 'device-api' }).map(({ names }) => names), [['cron_begin'], ['zones_take_due'], ['cron_finish']]);
  assert.deepEqual(sent(), []);
});

test('a device that refuses, or says nothing, is sent it ever more seldom', async () => {
  await says({ config_version: 0 }, T);
  isStatus(await put(0, zones('a')), 200);
  sent();
  const waits = [];
  for (let round = 0; round < 5; round += 1) {
    await later();
    await tick();
    assert.deepEqual(versions(), [1]);
    const [{ send_at }] = await cloud.rows('SELECT send_at FROM zone_configurations WHERE device_id = ?1', device.id);
    waits.push(Math.round((send_at - Date.now()) / 60_000));
    if (round === 2) await reports(1, 'rejected', Date.now());
  }
  assert.deepEqual(waits, [1, 2, 4, 480, 960], 'minutes');
});

test('a cron that is triggered twice runs once', async () => {
  await says({ config_version: 0 }, T);
  isStatus(await put(0, zones('a')), 200);
  await later();
  sent();
  await tick();
  await cloud.cron('device-api', '* * * * *', new Date(minute * 60_000));
  assert.equal(cloud.logs({ event: 'cron * * * * *', worker: 'device-api' }).at(-1).log, 'run before');
  assert.deepEqual(versions(), [1]);
});

test('every fault of a report is named, and nothing changes', async () => {
  isStatus(await put(0, zones('a')), 200);
  const bare = (payload, topic = topicOf(device, 'config/status')) => cloud.emqx.message(topic, payload, { path: 'config-status' });
  isProblem(await bare({}), 422, ['/version', '/status', '/timestamp']);
  isProblem(await bare({ version: 0, status: 'fine', zone_count: 17, error: 5, timestamp: 'now' }), 422, ['/version', '/status', '/zone_count', '/error', '/timestamp']);
  for (const payload of ['no json', '[]', '']) isProblem(await bare(payload), 422, ['']);
  isProblem(await bare({}, topicOf(device, 'state')), 422, ['/topic']);
  const good = { version: 1, status: 'applied', timestamp: '2026-01-20T10:00:00Z', tomorrow: [1] };
  isProblem(await bare(good, topicOf(makeDevice(), 'config/status')), 404, []);
  taken(await cloud.emqx.message(topicOf(device, 'config/status'), good, { columns: { clientid: 'http_api' } }));
  assert.equal((await shown()).applied, 0, 'what the cloud itself publishes is not what a device said');
  cloud.faults.inject({ binding: 'DB' });
  const answer = await bare(good);
  isProblem(answer, 503, []);
  assert.equal(answer.fate, 'retried');
  taken(await bare(good));
  assert.equal((await shown()).applied, 1);
});

test('one device’s report says nothing of another’s', async () => {
  isStatus(await put(0, zones('a')), 200);
  const mine = device;
  device = await cloud.enroll();
  await reports(1, 'applied', T);
  device = mine;
  assert.equal((await shown()).applied, 0);
});
