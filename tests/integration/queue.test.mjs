// The telemetry queue's consumer: whatever fails, and whatever is delivered again, every message is in the archive once
// and in its hour once. Messages here are put on the queue as the webhook puts them there.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, beforeEach, test } from 'node:test';
import { hourStart, messageId, queued } from './fixtures/builders.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} A device that has measured nothing yet. */
let device;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry'], batchTimeout: 0.05 });
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  // Archives of earlier tests would only have to be read again and again.
  const bucket = await cloud.cloud.bucket('ARCHIVES');
  const { objects } = await bucket.list();
  await bucket.delete(objects.map(({ key }) => key));
  device = await cloud.enroll();
  cloud.faults.forget();
});

/** Some messages of the device, a second after the other, in the hour before this one. */
const messages = (count, of = device) =>
  Array.from({ length: count }, (_, n) => ({ id: messageId(), at: hourStart(1) + n * 1000, of, metrics: { 'system.free_heap': 150_000 + n } }));
const bodyOf = ({ of, ...message }) => queued(of, message);
/** Delivers messages, or any text, in one batch if there are at most a hundred. */
async function deliver(batch) {
  const queue = await cloud.queue('TELEMETRY_QUEUE');
  await queue.sendBatch(batch.map((one) => ({ contentType: 'text', body: typeof one === 'string' ? one : bodyOf(one) })));
}

const archived = async (of = device) =>
  (await cloud.archive('telemetry/')).flatMap(({ lines }) => lines).filter((line) => line.device_id === of.id);
/** The key of the object that holds these messages: the hour of the first one, and a digest of them all. */
function keyOf(batch) {
  const digest = createHash('sha256');
  for (const { id, of } of batch) digest.update(`${of.id}${id}\0`);
  const time = new Date(batch[0].at).toISOString();
  return `telemetry/${time.slice(0, 10)}/${time.slice(11, 13)}/00-${digest.digest('hex').slice(0, 20)}.ndjson.gz`;
}

/** How `system.free_heap` is stored. */
const FREE_HEAP = 'b';
const rollups = (of = device) => cloud.rows('SELECT hour, messages, metrics, generation FROM telemetry_rollups WHERE device_id = ?', of.id);
const total = async (of) => (await rollups(of)).reduce((sum, row) => sum + row.messages, 0);
const quarantined = async () => (await cloud.archive('quarantine/')).map(({ key, lines: [document] }) => ({ key, ...document }));
/** What the consumer wrote about batches. */
const jobs = () => cloud.logs({ worker: 'telemetry', event: 'queue rs1-telemetry-local' });

/** Each of these is archived once, the hours count each once, and their sums are right. */
async function exactlyOnce(expected) {
  const [{ of }] = expected;
  const counted = async () => (await total(of)) === expected.length;
  await eventually(`${expected.length} messages to be counted`, counted, { within: 20_000, seen: () => rollups(of) });
  const ids = (await archived(of)).map(({ id }) => id).sort();
  assert.deepEqual(ids, expected.map(({ id }) => id).sort(), 'archived');
  const sums = (await rollups(of)).map(({ metrics }) => JSON.parse(metrics)[FREE_HEAP][1]);
  const sum = expected.reduce((all, { metrics }) => all + metrics['system.free_heap'], 0);
  assert.equal(
    sums.reduce((all, one) => all + one, 0),
    sum,
    'summed',
  );
}
/** Nothing comes after this: the line that the consumer writes about a message sent last is there, and it is the last. */
async function settled() {
  const before = jobs().length;
  const [last] = messages(1, await cloud.enroll());
  await deliver([last]);
  await eventually('a batch after all others', () => jobs().length > before);
}
const retried = () => jobs().filter(({ outcome }) => !outcome.endsWith(' 0 to be retried'));
/** The line of a batch that failed so. */
const failure = (outcome) =>
  eventually(`“${outcome}” in the log`, () => retried().find((job) => job.outcome === outcome && job.level === 'warn'));

for (const count of [1, 10, 100]) {
  test(`a batch of ${count} costs two statements and one object`, async () => {
    const batch = messages(count);
    await deliver(batch);
    await exactlyOnce(batch);
    const calls = cloud.faults.calls({ worker: 'telemetry' });
    assert.deepEqual(
      calls.map(({ binding, op, names }) => [binding, names?.join() ?? op]),
      [
        ['DB', 'rollups_for'],
        ['ARCHIVES', 'put'],
        ['DB', 'write_rollups'],
      ],
    );
  });
}

test('a batch of many devices and hours costs the same', async () => {
  const devices = await Promise.all(Array.from({ length: 20 }, () => cloud.enroll()));
  cloud.faults.forget();
  const batch = devices.flatMap((of) => Array.from({ length: 5 }, (_, ago) => ({ id: messageId(), at: hourStart(ago), of })));
  await deliver(batch);
  const ours = JSON.stringify(devices.map(({ id }) => id));
  const rows = () => cloud.rows('SELECT messages FROM telemetry_rollups WHERE device_id IN (SELECT value FROM json_each(?))', ours);
  await eventually('a row for each device and hour', async () => (await rows()).length === 100);
  assert.ok((await rows()).every(({ messages: count }) => count === 1));
  assert.deepEqual(
    cloud.faults.calls({ worker: 'telemetry', binding: 'DB' }).map(({ names }) => names),
    [['rollups_for'], ['write_rollups']],
  );
  const ids = batch.map(({ id }) => id);
  const objects = (await cloud.archive('telemetry/')).filter(({ lines }) => lines.some(({ id }) => ids.includes(id)));
  assert.equal(objects.length, 5, 'one object for each hour in which some were received');
});

test('an object’s key says what it holds, whatever the order', async () => {
  const batch = messages(3);
  await deliver([batch[2], batch[0], batch[1]]);
  await exactlyOnce(batch);
  const [{ key, lines }] = (await cloud.archive('telemetry/')).filter((object) => object.lines.some(({ id }) => id === batch[0].id));
  assert.deepEqual(
    lines.map(({ id }) => id),
    batch.map(({ id }) => id),
    'in the order in which they were received',
  );
  assert.equal(key, keyOf(batch));
});

test('a message that is delivered twice counts once: in a batch, in another, and with others', async () => {
  const [one, two, three] = messages(3);
  await deliver([one, one, two]);
  await exactlyOnce([one, two]);
  await deliver([one, two]);
  await deliver([two, three, one]);
  await exactlyOnce([one, two, three]);
});

test('the same batch delivered again changes nothing at all', async () => {
  const batch = messages(5);
  await deliver(batch);
  await exactlyOnce(batch);
  const before = await rollups();
  cloud.faults.forget();
  await deliver(batch);
  await eventually('it to be read', () => cloud.faults.calls({ match: /rollups_for/ }).length > 0);
  await settled();
  assert.deepEqual(await rollups(), before);
  await exactlyOnce(batch);
});

test('poison goes to quarantine with the reason, and holds up nobody', async () => {
  const known = (await quarantined()).map(({ key }) => key);
  const [good, stranger] = [messages(2), messages(1, makeDevice())[0]];
  const foreign = bodyOf(good[0]).replace(`opticworks/${device.id}`, `opticworks/${makeDevice().id}`);
  const poison = [
    'no json',
    '{}',
    '{"kind":"dance"}',
    '{"kind":"telemetry"}',
    '{"kind":"archived","key":"telemetry/none"}',
    '[]',
    '',
    foreign,
  ];
  await deliver([good[0], ...poison, bodyOf(stranger), good[1]]);
  await exactlyOnce(good);
  const found = await eventually('the quarantine', async () => {
    const fresh = (await quarantined()).filter(({ key }) => !known.includes(key));
    return fresh.length === poison.length + 1 && fresh;
  });
  assert.deepEqual(found.map(({ body }) => body).sort(), [...poison, bodyOf(stranger)].sort(), 'kept as it came');
  const today = new Date().toISOString().slice(0, 10);
  for (const { key, reason, attempts, queue_message_id: id, quarantined_at: at } of found) {
    assert.match(key, new RegExp(`^quarantine/telemetry/\\d{4}-\\d{2}-\\d{2}/${id}\\.json$`));
    assert.ok(reason.length > 0);
    assert.equal(attempts, 1, 'at once');
    assert.ok(at.startsWith(today) || Date.now() % 86_400_000 < 60_000, at);
  }
  const reason = (body) => found.find((one) => one.body === body).reason;
  assert.equal(reason(bodyOf(stranger)), 'device: not enrolled');
  assert.match(reason('{"kind":"dance"}'), /dance/);
  assert.deepEqual(
    retried().filter(({ log }) => log.includes('quarantined')),
    [],
    'nothing of it is tried again',
  );
});

test('whatever a queue can carry ends in quarantine or in its place', async () => {
  const known = (await quarantined()).map(({ key }) => key);
  const good = messages(1);
  const queue = await cloud.queue('TELEMETRY_QUEUE');
  const strange = [
    ...[{ a: 1 }, null, 5, [1, 2]].map((body) => ({ body, contentType: 'json' })),
    { body: new Uint8Array([0xff, 0x00]), contentType: 'bytes' },
    { body: new Map([['a', 1]]), contentType: 'v8' },
    { body: { n: 1n }, contentType: 'v8' },
    { body: { n: 1n, toString: 1, valueOf: 1 }, contentType: 'v8' },
  ];
  await queue.sendBatch([...strange, { body: JSON.parse(bodyOf(good[0])), contentType: 'json' }]);
  await exactlyOnce(good);
  const fresh = async () => (await quarantined()).filter(({ key }) => !known.includes(key));
  await eventually('all of it in quarantine', async () => (await fresh()).length === strange.length, { seen: fresh });
  assert.deepEqual(cloud.deadLetters, []);
});

test('while the database is down nothing is done, and then nothing is lost or twice', async () => {
  const batch = messages(10);
  cloud.faults.inject({ binding: 'DB', match: /rollups_for/ });
  await deliver(batch);
  await failure('10 delivered, 10 to be retried');
  assert.deepEqual(await archived(), [], 'nothing is archived before what was counted is known');
  // Some of them come by another way meanwhile.
  await deliver(batch.slice(3, 7));
  await exactlyOnce(batch);
  await settled();
  await exactlyOnce(batch);
});

for (const when of ['before', 'after']) {
  test(`a write that fails ${when} it was done is made up for from the archive`, async () => {
    const batch = messages(5);
    cloud.faults.inject({ binding: 'DB', match: /write_rollups/, when });
    await deliver(batch);
    await exactlyOnce(batch);
    await deliver(batch.slice(1));
    await settled();
    await exactlyOnce(batch);
    const puts = cloud.faults.calls({ binding: 'ARCHIVES', op: 'put', match: /^telemetry\// });
    assert.equal(puts.length, 2, 'the batch, and the message that settled it');
  });
}

test('an archive that fails, before or after it was written, is written again', async () => {
  const batches = { before: messages(5), after: messages(6, await cloud.enroll()) };
  for (const [when, batch] of Object.entries(batches)) {
    cloud.faults.inject({ binding: 'ARCHIVES', match: new RegExp(keyOf(batch)), when });
    await deliver(batch);
    await failure(`${batch.length} delivered, ${batch.length} to be retried`);
    assert.equal(await total(batch[0].of), 0, 'nothing is counted before it is archived');
    // Before the other one: what is retried in other company is archived under another key.
    await exactlyOnce(batch);
  }
});

test('a queue that fails while the rollups cannot be written leaves the batch to be delivered again', async () => {
  const batch = messages(4);
  cloud.faults.inject({ binding: 'DB', match: /write_rollups/ });
  cloud.faults.inject({ binding: 'TELEMETRY_QUEUE', worker: 'telemetry' });
  await deliver(batch);
  await exactlyOnce(batch);
});

test('poison that cannot be put away waits', async () => {
  const text = `poison ${messageId()}`;
  cloud.faults.inject({ binding: 'ARCHIVES', match: /^quarantine\// });
  await deliver([text]);
  await eventually('it in quarantine', async () => (await quarantined()).some(({ body, attempts }) => body === text && attempts === 2));
});

test('a rollup that somebody else wrote in between is read and merged again', async (t) => {
  const [first, second, other] = messages(3);
  await deliver([first]);
  await exactlyOnce([first]);
  const gate = cloud.faults.hold({ binding: 'DB', match: /write_rollups/ });
  t.after(gate.release);
  await deliver([second]);
  await gate.reached;
  // As if another consumer had counted a message meanwhile.
  const mark = createHash('sha256').update(other.id).digest('base64url').slice(0, 8);
  await cloud.rows(
    'UPDATE telemetry_rollups SET messages = messages + 1, seen = seen || ?, generation = generation + 1 WHERE device_id = ?',
    ...[mark, device.id],
  );
  gate.release();
  await eventually('both to be counted', async () => (await total()) === 3, { seen: rollups });
  await deliver([other]);
  await settled();
  const [row] = await rollups();
  assert.equal(row.messages, 3, 'the other one is known');
  assert.deepEqual(JSON.parse(row.metrics)[FREE_HEAP].slice(0, 2), [2, 300_001], 'ours was added to what was there');
});

test('a message for an hour that was closed is kept, and not counted', async () => {
  const [first, late] = messages(2);
  await deliver([first]);
  await exactlyOnce([first]);
  await cloud.rows('UPDATE telemetry_rollups SET seen = NULL WHERE device_id = ?', device.id);
  await deliver([late]);
  await eventually('it in the archive', async () => (await archived()).some(({ id }) => id === late.id));
  await settled();
  assert.equal(await total(), 1);
});

test('each batch leaves one log line', async () => {
  const before = jobs().length;
  await deliver(messages(7));
  const [line] = await eventually('the line', () => jobs().length > before && jobs().slice(before));
  const { ts, request_id: id, duration_ms: duration, ...rest } = line;
  assert.deepEqual(rest, {
    ...{ level: 'info', worker: 'telemetry', event: 'queue rs1-telemetry-local' },
    ...{ outcome: '7 delivered, 0 to be retried', log: '7 counted, 0 repeated, 0 late, 0 unknown' },
  });
  assert.ok(Date.parse(ts) > 0 && id.length > 0 && duration >= 0);
});

test('nothing ended in a dead-letter queue', () => {
  assert.deepEqual(cloud.deadLetters, []);
});
