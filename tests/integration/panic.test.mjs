// A panic ends in a trap (the bundles are built with panic = abort), and leaves the wasm instance as it stood: locks held,
// stack not unwound. The request fails, those in flight beside it fail too, and the next one finds a new instance.
//
// No route of ours panics, so the trap is sprung beside the bundle, in a call that the bundle makes out of its wasm.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { beside } from './fixtures/beside.mjs';
import { messageId, queued, state, topicOf } from './fixtures/builders.mjs';
import { isStatus } from './fixtures/expect.mjs';
import { eventually, startHarness } from './support/harness.mjs';

/** Longer than this, and a client would have been left to hang. */
const SOON = 5_000;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let device;
before(async () => {
  cloud = await startHarness({
    only: ['device-api', 'telemetry'],
    batchTimeout: 0.05,
    configure: beside(['device-api', 'telemetry'], 'trap.worker.js'),
  });
  device = await cloud.enroll();
});
after(() => cloud?.stop());
beforeEach(() => {
  cloud.faults.clear();
  cloud.faults.forget();
});

const health = (path, requestId = 'fine') => cloud.api('GET', path, { headers: { 'x-request-id': requestId } });
const admitted = async () => (await cloud.emqx.authn({ clientid: device.id, username: device.id, password: device.password() })).verdict;
const says = (requestId) => cloud.emqx.message(topicOf(device, 'state'), state(), { headers: { 'x-request-id': requestId } });
/** The answer, if it comes soon. */
const soon = (what, answer) =>
  Promise.race([answer, new Promise((_, fail) => setTimeout(fail, SOON, new Error(`${what} was left to hang`)).unref())]);

const acl = (requestId) =>
  cloud.api('POST', '/webhook/mqtt-acl', {
    headers: { 'x-request-id': requestId, 'x-webhook-secret': cloud.secrets.WEBHOOK_SECRET },
    body: { action: 'publish', clientid: device.id, username: device.id, topic: topicOf(device, 'state') },
  });

for (const [where, ask] of [
  ['before it waited for anything', (requestId) => cloud.api('GET', '/webhook/nowhere', { headers: { 'x-request-id': requestId } })],
  ['when its body had been read', acl],
  ['when it had waited for the database', (requestId) => health('/webhook/health', requestId)],
  ['in the other worker, when it had waited', (requestId) => health('/api/health', requestId)],
]) {
  test(`a request that panics ${where} fails, and the next ones do not`, async () => {
    const fine = (await ask('fine')).status;
    assert.notEqual(fine, 500);
    for (let round = 0; round < 3; round += 1) {
      const failed = await soon('the request that panicked', ask('trap'));
      assert.equal(failed.status, 500, failed.text);
      for (let n = 0; n < 3; n += 1) isStatus(await soon('the request after it', ask('fine')), fine);
    }
  });

  if (where.startsWith('in the other')) continue;
  test(`requests in flight when another panics ${where} fail soon and are not answered wrongly`, async (t) => {
    const gate = cloud.faults.hold({ binding: 'DB', match: /report_state/ });
    t.after(gate.release);
    const waiting = says('in-flight');
    await gate.reached;
    const failed = await soon('the request that panicked', ask('trap'));
    assert.equal(failed.status, 500, failed.text);
    isStatus(await soon('the request after it', health('/webhook/health')), 200);
    gate.release();
    const answer = await soon('the request in flight', waiting);
    assert.equal(answer.status, 500, answer.text);
    assert.equal((await says('again')).fate, 'delivered');
  });
}

test('a panic of Rust’s own says where it was, and is no different', async () => {
  // It is in what happens once an instance: so it needs a new one.
  assert.equal((await health('/webhook/health', 'trap')).status, 500);
  const failed = await soon('the request that panicked', health('/webhook/health', 'panic'));
  assert.equal(failed.status, 500, failed.text);
  isStatus(await soon('the request after it', health('/webhook/health')), 200);
  assert.equal(await admitted(), 'allow');
  await eventually('its message', () => cloud.lines.some((line) => /panicked at .*\.rs:\d+/.test(line)));
});

test('after a panic everything works as before: settings, keys, topics, queue and all', async () => {
  isStatus(await cloud.api('GET', '/api/admin/devices', { token: await cloud.adminToken() }), 200);
  for (const path of ['/api/health', '/webhook/health']) assert.equal((await health(path, 'trap')).status, 500);
  isStatus(await cloud.api('GET', '/api/admin/devices', { token: await cloud.adminToken() }), 200);
  assert.equal(await admitted(), 'allow');
  assert.equal((await cloud.emqx.authz({ clientid: device.id, username: device.id, action: 'subscribe', topic: '#' })).verdict, 'deny');
  assert.equal((await says('after')).fate, 'delivered');
});

test('many requests at once, some of which panic: the others are answered or fail, and none is mixed up', async () => {
  const ids = Array.from({ length: 30 }, (_, n) => (n % 10 === 5 ? 'trap' : `many-${n}`));
  const answers = await soon('one of them', Promise.all(ids.map((id) => health('/webhook/health', id))));
  for (const [index, answer] of answers.entries()) {
    if (answer.status === 200) assert.equal(answer.headers['x-request-id'], ids[index]);
    else assert.equal(answer.status, 500, answer.text);
  }
  isStatus(await health('/webhook/health'), 200);
});

test('a batch in which the consumer panics is delivered again, whole', async () => {
  const mine = await cloud.enroll();
  const messages = Array.from({ length: 5 }, () => ({ id: messageId(), at: Date.now() - 60_000 }));
  const queue = await cloud.queue('TELEMETRY_QUEUE');
  const bodies = [...messages.map((message) => queued(mine, message)), `trap-once-${messageId()}`];
  await queue.sendBatch(bodies.map((body) => ({ body, contentType: 'text' })));
  await eventually('all of them to be counted', async () => {
    const rows = await cloud.rows('SELECT messages FROM telemetry_rollups WHERE device_id = ?', mine.id);
    return rows.reduce((sum, row) => sum + row.messages, 0) === messages.length;
  });
  assert.deepEqual(cloud.deadLetters, []);
  assert.equal(await admitted(), 'allow');
});

test('a cron run that panics is seen by the platform, and the next one runs', async () => {
  assert.equal((await soon('the run that panicked', cloud.cron('device-api', '* * * * *', new Date(0)))).outcome, 'exception');
  assert.equal((await cloud.cron('device-api', '* * * * *', new Date())).outcome, 'ok');
  await eventually('its log line', () => cloud.logs({ event: 'cron * * * * *', outcome: 'ok' })[0]);
  assert.equal(await admitted(), 'allow');
});
