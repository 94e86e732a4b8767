// POST /webhook/telemetry: a device measured. Checked, queued, acknowledged; then archived, counted by the hour, and shown.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { hourStart, messageId, telemetry, topicOf } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

const MINUTE = 60_000;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let token;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} A device that has measured nothing yet. */
let device;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry'], batchTimeout: 0.05 });
  token = await cloud.adminToken();
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  device = await cloud.enroll();
  cloud.faults.forget();
});

const iso = (time) => new Date(time).toISOString().replace('.000Z', 'Z');
const publish = (payload, { rest = 'telemetry', ...columns } = {}) => cloud.emqx.message(topicOf(device, rest), payload, { columns });
const accepted = (answer) => {
  isStatus(answer, 202);
  assert.equal(answer.text, '');
  assert.equal(answer.fate, 'delivered');
};
/** The device's archived lines, from whatever objects. */
const archived = async () =>
  (await cloud.archive('telemetry/')).flatMap(({ lines }) => lines).filter((line) => line.device_id === device.id);
const hours = async (query = '') => {
  const answer = await cloud.api('GET', `/api/admin/devices/${device.id}/telemetry${query}`, { token });
  isStatus(answer, 200);
  assert.equal(answer.json.device_id, device.id);
  return answer.json.items;
};
const counted = (messages) =>
  eventually(
    `${messages} messages to be counted`,
    async () => {
      const items = await hours('?hours=48');
      return items.reduce((sum, item) => sum + item.messages, 0) === messages && items;
    },
    { seen: () => hours('?hours=48') },
  );

test('a message is archived as it was sent, counted, and a sign of life', async () => {
  const [id, sent, received] = [messageId(), hourStart(1) + 90_000, hourStart(1) + 90_250];
  const text = `{ "device_id": "${device.id}",\r\n  "timestamp": "${iso(sent)}",
    "metrics": {"system.free_heap": 150000, "radar.frames_received": 12.50}, "of_tomorrow": [1] }`;
  accepted(await publish(text, { id, publish_received_at: received }));
  assert.deepEqual(await counted(1), [
    {
      ...{ hour: iso(hourStart(1)), messages: 1, last_at: iso(sent) },
      metrics: {
        'radar.frames_received': { count: 1, sum: 12.5, min: 12.5, max: 12.5, last: 12.5 },
        'system.free_heap': { count: 1, sum: 150_000, min: 150_000, max: 150_000, last: 150_000 },
      },
    },
  ]);

  const [{ time, received_at, payload, ...line }, ...others] = await archived();
  assert.deepEqual(others, []);
  assert.deepEqual(line, { id, device_id: device.id, topic: topicOf(device, 'telemetry') });
  assert.deepEqual([Date.parse(time), Date.parse(received_at)], [sent, received]);
  assert.deepEqual(payload, JSON.parse(text), 'fields that we do not know are kept');
  const [object] = (await cloud.archive('telemetry/')).filter(({ lines }) => lines.some((one) => one.id === id));
  assert.match(
    object.key,
    new RegExp(`^telemetry/${iso(received).slice(0, 10)}/${iso(received).slice(11, 13)}/00-[0-9a-f]{20}\\.ndjson\\.gz$`),
  );

  const { json } = await cloud.api('GET', `/api/admin/devices/${device.id}`, { token });
  assert.equal(json.online, true);
  assert.equal(Date.parse(json.last_telemetry_at), received);
  assert.equal(Date.parse(json.last_seen_at), received);
});

test('the webhook asks no database', async () => {
  const before = cloud.faults.calls({ binding: 'DB' }).length;
  accepted(await publish(telemetry(device)));
  await counted(1);
  const calls = cloud.faults.calls({ worker: 'telemetry', binding: 'DB' }).slice(before);
  assert.deepEqual(
    calls.flatMap(({ names }) => names),
    ['rollups_for', 'write_rollups'],
    'the queue’s consumer does, twice',
  );
  assert.equal(cloud.faults.calls({ binding: 'TELEMETRY_QUEUE' }).length, 1);
});

test('metrics are counted, summed and bounded over the hour, and the latest is last', async () => {
  const begin = hourStart(1);
  const values = [30, 50, 10, 40];
  const order = [2, 0, 3, 1];
  for (const index of order) {
    const at = begin + index * MINUTE;
    accepted(await publish(telemetry(device, { at, metrics: { 'system.free_heap': values[index] } }), { publish_received_at: at }));
  }
  accepted(await publish(telemetry(device, { at: begin + 10 * MINUTE, metrics: {} }), { publish_received_at: begin + 10 * MINUTE }));
  const [item, ...others] = await counted(5);
  assert.deepEqual(others, []);
  assert.deepEqual(item.metrics, { 'system.free_heap': { count: 4, sum: 130, min: 10, max: 50, last: 40 } });
  assert.equal(item.last_at, iso(begin + 10 * MINUTE));
});

test('a message belongs to the hour in which it was measured', async () => {
  for (const [ago, minute] of [
    [2, 59],
    [1, 0],
    [1, 59],
  ]) {
    const at = hourStart(ago) + minute * MINUTE;
    accepted(await publish(telemetry(device, { at }), { publish_received_at: hourStart() }));
  }
  assert.deepEqual(
    (await counted(3)).map(({ hour, messages }) => [hour, messages]),
    [
      [iso(hourStart(2)), 1],
      [iso(hourStart(1)), 2],
    ],
  );
});

test('a device’s clock that cannot be right is not believed', async () => {
  const received = hourStart(1) + 30 * MINUTE;
  for (const off of [-25 * 60, 6, -30 * 365 * 24 * 60]) {
    accepted(await publish(telemetry(device, { at: received + off * MINUTE }), { publish_received_at: received }));
  }
  assert.deepEqual(
    (await counted(3)).map(({ hour, messages, last_at }) => [hour, messages, last_at]),
    [[iso(hourStart(1)), 3, iso(received)]],
  );
});

test('a message that comes twice counts once', async () => {
  const id = messageId();
  const payload = telemetry(device);
  accepted(await publish(payload, { id }));
  accepted(await publish(payload, { id }));
  await counted(1);
  accepted(await publish(payload, { id }));
  accepted(await publish(telemetry(device)));
  await counted(2);
  assert.equal((await archived()).length, 2);
});

test('without an id, the content tells whether it is the same message', async () => {
  const [payload, at] = [telemetry(device), Date.now()];
  for (let n = 0; n < 2; n += 1) accepted(await publish(payload, { id: undefined, publish_received_at: at }));
  accepted(await publish(payload, { id: undefined, publish_received_at: at + 1 }));
  await counted(2);
  assert.equal((await archived()).length, 2);
});

test('the payload may come as text, as an object, or as base64, which is exact', async () => {
  const text = () => JSON.stringify(telemetry(device));
  const base64 = (value) => Buffer.from(value).toString('base64');
  accepted(await publish(text()));
  accepted(await publish('', { payload: telemetry(device) }));
  accepted(await publish('', { payload: undefined, payload_b64: base64(text()) }));
  accepted(await publish('\ufffd', { payload_b64: base64(text()) }));
  await counted(4);
  isProblem(await publish('', { payload: undefined }), 422, ['/payload']);
  isProblem(await publish(text(), { payload_b64: 'not base64!' }), 422, ['/payload_b64']);
});

test('bytes that are no JSON are refused', async () => {
  for (const bytes of [[0xff, 0x01, 0xfe], [], [0x7b], [0x22, 0xff, 0x22]]) {
    const answer = await publish('', { rest: 'telemetry/bin', payload: undefined, payload_b64: Buffer.from(bytes).toString('base64') });
    isProblem(answer, 422, ['']);
    assert.equal(answer.fate, 'dropped', 'they will never be right');
  }
  assert.deepEqual(cloud.faults.calls(), []);
});

test('every fault of a message is named at once, and nothing is queued', async () => {
  const line = { ts: 1, lvl: 'I', tag: 'BOOT', msg: 'boot:power_on' };
  const names = (count) => Array.from({ length: count }, (_, n) => `${'abcdefghij'[Math.floor(n / 10)]}.${'abcdefghij'[n % 10]}`);
  for (const [payload, pointers] of [
    [{}, ['/device_id', '/timestamp', '/metrics']],
    [{ t: 21.5, seq: 7 }, ['/device_id', '/timestamp', '/metrics']],
    [telemetry(makeDevice()), ['/device_id']],
    [
      telemetry(device, { timestamp: '2026-01-20', uptime_sec: -5, firmware_version: 'one' }),
      ['/timestamp', '/uptime_sec', '/firmware_version'],
    ],
    [telemetry(device, { metrics: [] }), ['/metrics']],
    [
      telemetry(device, { metrics: { heap: 1, 'System.heap': 1, 'a.b': '1', 'c.d': null, 'e.f.g': 1 } }),
      ['/metrics/heap', '/metrics/System.heap', '/metrics/a.b', '/metrics/c.d', '/metrics/e.f.g'],
    ],
    [telemetry(device, { metrics: Object.fromEntries(names(65).map((name) => [name, 1])) }), ['/metrics']],
    [
      telemetry(device, { logs: [line, { ...line, lvl: 'X', tag: 'x'.repeat(17), msg: 'x'.repeat(129), ts: -1 }, 'text'] }),
      ['/logs/1/lvl', '/logs/1/tag', '/logs/1/msg', '/logs/1/ts', '/logs/2'],
    ],
    [telemetry(device, { logs: Array.from({ length: 101 }, () => line) }), ['/logs']],
    ['null', ['']],
  ]) {
    isProblem(await publish(payload), 422, pointers);
  }
  assert.deepEqual(cloud.faults.calls(), []);
});

test('a body that is not EMQX’s is refused as such', async () => {
  for (const route of ['telemetry', 'device-state', 'device-offline']) {
    for (const body of ['', '{', 'text', '{"topic": "}']) isProblem(await cloud.emqx.webhook(route, body), 400);
    for (const body of ['[]', 'null', '"text"', '{"clientid": 5}']) isProblem(await cloud.emqx.webhook(route, body), 422, ['']);
  }
  assert.deepEqual(cloud.faults.calls(), []);
});

test('messages and payloads that are too long are refused', async () => {
  const wide = (bytes) => JSON.stringify(telemetry(device, { padding: 'x'.repeat(bytes) }));
  accepted(await publish(wide(60 * 1024)));
  isProblem(await publish(wide(64 * 1024)), 422, ['/payload']);
  const answer = await publish(wide(256 * 1024));
  isProblem(answer, 413);
  assert.equal(answer.fate, 'dropped');
  await counted(1);
});

test('a payload of the greatest length goes all the way, however its text is escaped', async () => {
  // 64 KiB exactly; EMQX's text form of it is twice as long, for every quote is escaped.
  const frame = (filling) => JSON.stringify(telemetry(device, { padding: filling }));
  const room = 64 * 1024 - frame('').length;
  const payload = frame('"'.repeat(Math.floor(room / 2)).padEnd(room - Math.floor(room / 2), 'x'));
  assert.ok(payload.length <= 64 * 1024 && payload.length > 63 * 1024, String(payload.length));
  accepted(await publish(payload));
  await counted(1);
  assert.equal((await archived())[0].payload.padding, JSON.parse(payload).padding);
});

test('telemetry’s topics are taken, others are not', async () => {
  for (const rest of ['telemetry', 'telemetry/temp', 'telemetry/a/b/c']) accepted(await publish(telemetry(device), { rest }));
  for (const rest of ['state', 'ota/status', 'telemetry/+', 'telemetr', 'nonsense']) {
    isProblem(await cloud.emqx.message(topicOf(device, rest), telemetry(device), { path: 'telemetry' }), 422, ['/topic']);
  }
  await counted(3);
});

test('what the cloud itself publishes is not what a device measured', async () => {
  const answer = await publish(telemetry(device), { clientid: 'http_api' });
  isStatus(answer, 204);
  assert.deepEqual(cloud.faults.calls(), []);
});

test('while the queue is down EMQX is told to try again', async () => {
  const [payload, id] = [telemetry(device), messageId()];
  cloud.faults.inject({ binding: 'TELEMETRY_QUEUE' });
  const answer = await publish(payload, { id });
  isProblem(answer, 503, []);
  assert.equal(answer.fate, 'retried');
  accepted(await publish(payload, { id }));
  await counted(1);
});

test('a message that was queued though it failed may come again', async () => {
  const [payload, id] = [telemetry(device), messageId()];
  cloud.faults.inject({ binding: 'TELEMETRY_QUEUE', when: 'after' });
  assert.equal((await publish(payload, { id })).fate, 'retried');
  accepted(await publish(payload, { id }));
  accepted(await publish(telemetry(device)));
  await counted(2);
  assert.equal((await archived()).length, 2);
});

test('the secret is needed', async () => {
  for (const secret of [null, 'wrong']) {
    isProblem(await cloud.emqx.message(topicOf(device, 'telemetry'), telemetry(device), { secret }), 401, []);
  }
  // The queue is told who tried, and of the message nothing.
  const calls = cloud.faults.calls().filter(({ names = [] }) => !names.includes('record_security'));
  assert.deepEqual(calls.filter(({ binding }) => binding !== 'TELEMETRY_QUEUE'), []);
});
