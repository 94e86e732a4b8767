// The two queues of updates: whatever fails, and whatever is delivered again, nothing is lost, nobody is told twice, and no
// count moves.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { beside } from './fixtures/beside.mjs';
import { messageId } from './fixtures/builders.mjs';
import { isStatus } from './fixtures/expect.mjs';
import { folded, rolloutsOf } from './fixtures/rollout.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const MINUTE = 60_000;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
/** @type {Awaited<ReturnType<typeof rolloutsOf>>} */
let rollouts;
before(async () => {
  cloud = await startHarness({
    only: ['device-api', 'telemetry', 'ota'],
    batchTimeout: 0.1,
    configure: beside(['ota'], 'hours.worker.js'),
  });
  rollouts = await rolloutsOf(cloud);
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  cloud.faults.forget();
  cloud.emqxApi.answer = null;
  await cloud.rows('DELETE FROM rollouts');
  await cloud.rows('DELETE FROM devices');
});

/** Started, and what EMQX had been told before. */
async function started(count) {
  const devices = await rollouts.fleet(count);
  const id = await rollouts.make();
  const from = cloud.emqxApi.published.length;
  isStatus(await rollouts.tell(id, 'start'), 200);
  return { devices, id, from };
}
/** Everybody was told, and nobody twice. */
function eachOnce(told, devices) {
  assert.deepEqual(told.map(({ id }) => id).sort(), devices.map(({ id }) => id).sort());
}
const batches = (queue) => cloud.logs({ worker: 'ota', event: `queue ${queue}` });

test('while EMQX is down for an hour nothing is lost, and afterwards nobody is told twice', async () => {
  let calls = 0;
  cloud.emqxApi.answer = ({ path }) => {
    if (path !== '/publish/bulk') return undefined;
    calls += 1;
    return { status: 503, body: 'the node is starting' };
  };
  const { devices, id, from } = await started(6);
  await eventually('EMQX to have been asked', () => calls > 0);
  for (let minute = 0; minute < 60; minute += 10) {
    await rollouts.pass(10 * MINUTE);
    await rollouts.tick();
  }
  assert.deepEqual(await rollouts.counts(id), { triggered: 6 }, 'no timer runs while nobody was told');
  assert.equal((await rollouts.show(id)).status, 'STAGED');
  assert.deepEqual(rollouts.told(from), []);
  cloud.emqxApi.answer = null;
  eachOnce(await rollouts.untilTold(6, from), devices);
  // The clock goes on, and so may the queue: neither tells anybody again.
  await rollouts.tick();
  await Promise.all(devices.map((device) => rollouts.updates(device, id)));
  await rollouts.untilCounts(id, { confirmed: 6 });
  eachOnce(rollouts.told(from), devices);
  assert.deepEqual(cloud.deadLetters, []);
});

test('each answer of a bulk is read: who is not there is told when next online', async () => {
  const away = new Set();
  cloud.emqxApi.answer = ({ path, body }) => {
    if (path !== '/publish/bulk') return undefined;
    const here = body.filter(({ topic }) => !away.has(topic.split('/')[1]));
    cloud.emqxApi.published.push(...here);
    const answers = body.map((message) =>
      here.includes(message) ? { id: messageId() } : { reason_code: 16, message: 'no_matching_subscribers' },
    );
    return { status: here.length < body.length ? 202 : 200, body: answers };
  };
  const devices = await rollouts.fleet(3);
  away.add(devices[1].id);
  const id = await rollouts.make();
  const from = cloud.emqxApi.published.length;
  await rollouts.tell(id, 'start');
  await rollouts.untilCounts(id, { triggered: 2, eligible: 1 });
  // The one who is away may be in a batch of its own, before the others.
  eachOnce(await rollouts.untilTold(2, from), [devices[0], devices[2]]);
  await rollouts.tick();
  assert.deepEqual(await rollouts.counts(id), { triggered: 2, eligible: 1 }, 'the clock does not try again');
  away.clear();
  await rollouts.leaves(devices[1]);
  await rollouts.speaks(devices[1], '1.1.0', 2);
  eachOnce(await rollouts.untilTold(3, from), devices);
});

test('one message that EMQX refuses holds up no other', async () => {
  const devices = await rollouts.fleet(5);
  const wrong = `opticworks/${devices[2].id}/ota/trigger`;
  cloud.emqxApi.answer = ({ path, body }) => {
    if (path !== '/publish/bulk' || !body.some(({ topic }) => topic === wrong)) return undefined;
    return { status: 400, body: { reason_code: 151, message: 'packet_too_large' } };
  };
  const id = await rollouts.make();
  const from = cloud.emqxApi.published.length;
  await rollouts.tell(id, 'start');
  eachOnce(await rollouts.untilTold(4, from), devices.filter((_, n) => n !== 2));
  await eventually('the refusal in the log', () => batches('rs1-ota-triggers-local').some(({ log }) => /packet_too_large/.test(log ?? '')));
});

test('a trigger that is queued twice, and a database that loses its answers, tell each device once', async () => {
  const { devices, id, from } = await started(4);
  const queue = await cloud.queue('OTA_TRIGGER_QUEUE');
  const again = devices.map(({ id: device }) => ({
    contentType: 'text',
    body: JSON.stringify({ rollout_id: id, device_id: device, attempt: 1 }),
  }));
  cloud.faults.inject({ binding: 'DB', worker: 'ota', match: /rollout_write_attempts/, times: 2 });
  await queue.sendBatch(again);
  await rollouts.untilTold(4, from);
  await queue.sendBatch(again);
  const dropped = () => batches('rs1-ota-triggers-local').some(({ log }) => /4 dropped/.test(log ?? ''));
  await eventually('the repeated triggers to be dropped', dropped, { within: 30_000 });
  eachOnce(rollouts.told(from), devices);
  const sent = async () => (await rollouts.ask('GET', `/admin/rollouts/${id}/devices`)).json.items.every(({ sent_at: at }) => at);
  await eventually('what EMQX answered to be known', sent, { within: 30_000 });
});

test('reports twice, late and out of order change no count', async () => {
  const { devices, id } = await started(3);
  await rollouts.untilCounts(id, { triggered: 3 });
  const start = rollouts.now() + 1_000;
  const phases = ['pending', 'downloading', 'verifying', 'success'];
  const say = (device, n, message = messageId()) =>
    rollouts.reports(device, id, phases[n], { id: message, publish_received_at: start + n }, { timestamp: new Date(start + n).toISOString() });
  const orders = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 3, 0, 3, 2, 0]];
  for (const [index, order] of orders.entries()) {
    for (const n of order) {
      const message = messageId();
      isStatus(await say(devices[index], n, message), 202);
      isStatus(await say(devices[index], n, message), 202);
    }
  }
  await rollouts.untilCounts(id, { installed: 3 });
  const before = await rollouts.history(id);
  assert.deepEqual(folded(before), { installed: 3 });
  // All of it once more, as a broker that restores its retained messages might.
  const handled = batches('rs1-ota-status-local').length;
  for (const device of devices) for (const n of [2, 3, 1]) await say(device, n);
  await eventually('them to be taken in', () => batches('rs1-ota-status-local').length > handled);
  await rollouts.untilCounts(id, { installed: 3 });
  assert.deepEqual(folded(await rollouts.history(id)), { installed: 3 });
});

test('while the database is down reports wait in the queue', async () => {
  const { devices, id, from } = await started(2);
  await rollouts.untilTold(2, from);
  cloud.faults.inject({ binding: 'DB', worker: 'ota', match: /rollout_attempts/, times: 2 });
  isStatus(await rollouts.reports(devices[0], id, 'downloading'), 202);
  await rollouts.untilCounts(id, { downloading: 1, triggered: 1 });
  assert.deepEqual(cloud.deadLetters, []);
});

test('while the queue is down EMQX is told to try again, and then the same message counts', async () => {
  const { devices, id, from } = await started(1);
  await rollouts.untilTold(1, from);
  cloud.faults.inject({ binding: 'OTA_STATUS_QUEUE', worker: 'telemetry' });
  const message = { id: messageId() };
  const answer = await rollouts.reports(devices[0], id, 'downloading', message);
  assert.deepEqual([answer.status, answer.fate], [503, 'retried']);
  isStatus(await rollouts.reports(devices[0], id, 'downloading', message), 202);
  await rollouts.untilCounts(id, { downloading: 1 });

  for (const status of ['verifying', 'success']) await rollouts.reports(devices[0], id, status);
  await rollouts.leaves(devices[0]);
  cloud.faults.inject({ binding: 'OTA_STATUS_QUEUE', worker: 'telemetry' });
  assert.equal((await rollouts.speaks(devices[0], '1.2.0', 2)).status, 503);
  isStatus(await rollouts.speaks(devices[0], '1.2.0', 2), 204);
  await rollouts.untilCounts(id, { confirmed: 1 });
});

test('two executors at once do each thing once', async () => {
  const devices = await rollouts.fleet(8);
  const id = await rollouts.make();
  const from = cloud.emqxApi.published.length;
  // Started, and the step that follows it fails: all is left to the clock.
  cloud.faults.inject({ binding: 'DB', worker: 'ota', match: /rollout_snapshot/ });
  isStatus(await rollouts.tell(id, 'start'), 200);
  // The first is held just before it commits; the second gets through.
  const held = cloud.faults.hold({ binding: 'DB', worker: 'ota', match: /rollout_decide/ });
  const first = rollouts.tick();
  await held.reached;
  await rollouts.tick();
  held.release();
  await first;
  eachOnce(await rollouts.untilTold(8, from), devices);
  await rollouts.tick();
  const history = await rollouts.history(id);
  assert.equal(history.filter(({ state }) => state === 'triggered').length, 8, 'decided once');
  eachOnce(rollouts.told(from), devices);
});

test('what is no message of ours is kept for whoever looks', async () => {
  const queue = await cloud.queue('OTA_STATUS_QUEUE');
  await queue.send('no event at all', { contentType: 'text' });
  await eventually('the log line', () => batches('rs1-ota-status-local').some(({ log }) => /is no event/.test(log ?? '')));
});
