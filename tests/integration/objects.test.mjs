// Telemetry that comes collected: objects below telemetry/incoming/, of which R2 tells the queue; and batches from a bridge.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { notification } from '../../local/lib/r2-events.mjs';
import { hourStart, telemetry, topicOf } from './fixtures/builders.mjs';
import { isStatus } from './fixtures/expect.mjs';
import { eventually, startHarness } from './support/harness.mjs';
import { messageEvent } from './support/emqx.mjs';

const MINUTE = 60_000;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let bucket;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} A device that has measured nothing yet. */
let device;
let number = 0;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry', 'history', 'archive'], batchTimeout: 0.05 });
  bucket = await cloud.cloud.bucket('ARCHIVES');
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  device = await cloud.enroll();
  cloud.faults.forget();
});

/** A message of the device as EMQX writes it into an object, `minutes` after the hour before this one began. */
const record = (minutes, extra = {}) => {
  const at = hourStart(1) + minutes * MINUTE;
  return messageEvent(topicOf(device, 'telemetry'), telemetry(device, { at, ...extra }), {
    id: `${device.id.slice(0, 8)}-${minutes}`,
    publish_received_at: at,
  });
};
const records = (from, until) => Array.from({ length: until - from }, (_, n) => record(from + n));
const lines = (all) => all.map((one) => `${typeof one === 'string' ? one : JSON.stringify(one)}\n`).join('');

const tell = async (key, action) => (await cloud.queue('TELEMETRY_QUEUE')).send(notification('rs1-telemetry-archives-local', { key, action }));

/** Writes an object and tells of it. */
async function arrive(body, { suffix = '.jsonl', told = true } = {}) {
  number += 1;
  const key = `telemetry/incoming/optic_collected/emqx@10.0.0.5/2026-01-20T10_00_00Z_${number}${suffix}`;
  await bucket.put(key, body);
  if (told) await tell(key);
  return key;
}

const rollups = () => cloud.rows('SELECT hour, messages FROM telemetry_rollups WHERE device_id = ?1 ORDER BY hour', device.id);
const counted = (messages) =>
  eventually(`${messages} messages to be counted`, async () => (await rollups()).reduce((sum, row) => sum + row.messages, 0) === messages, {
    seen: rollups,
  });
const isGone = (key) => eventually(`${key} to be deleted`, async () => (await bucket.head(key)) === null);
const archived = async () =>
  (await cloud.archive('telemetry/2')).flatMap(({ lines: all }) => all).filter((line) => line.device_id === device.id);
const settled = (key, state = 'done') =>
  eventually(`${key} to be ${state}`, async () => {
    const [row] = await cloud.rows('SELECT state, counted, repeated, refused FROM telemetry_objects WHERE object_key = ?1', key);
    return row?.state === state && row;
  });

test('an object is archived, counted and deleted', async () => {
  const key = await arrive(lines(records(0, 90)));
  await counted(90);
  await isGone(key);
  assert.deepEqual(await settled(key), { state: 'done', counted: 90, repeated: 0, refused: 0 });
  const found = await archived();
  assert.equal(new Set(found.map(({ id }) => id)).size, 90);
  assert.equal(found.length, 90);
  assert.deepEqual(found[0].payload, JSON.parse(record(0).payload));
  assert.deepEqual((await rollups()).map(({ messages }) => messages), [60, 30]);
});

test('a compressed object of many pieces', async () => {
  const padding = 'x'.repeat(20_000);
  const all = Array.from({ length: 300 }, (_, n) => record(n / 10, { extra: `${n}${padding}` })).map((one, n) => ({ ...one, id: `p${number}-${n}` }));
  const key = await arrive(gzipSync(lines(all)), { suffix: '.jsonl.gz' });
  await counted(300);
  await isGone(key);
  const found = await archived();
  assert.equal(found.length, 300);
  assert.equal(found.find(({ id }) => id.endsWith('-7')).payload.extra.length, 20_001);
});

test('a notification twice, for nothing, and of another kind', async () => {
  const key = await arrive(lines(records(0, 5)));
  await tell(key);
  await counted(5);
  await isGone(key);
  await tell(key);
  await tell('telemetry/incoming/none.jsonl');
  await tell(key, 'DeleteObject');
  await settled('telemetry/incoming/none.jsonl', 'gone');
  const next = await arrive(lines(records(3, 8)));
  await counted(8);
  await isGone(next);
  assert.equal((await archived()).length, 8);
  assert.deepEqual(cloud.deadLetters, []);
});

test('what cannot be taken is kept with the reason, and harms no other', async () => {
  const stranger = { ...record(1), topic: topicOf({ id: '0'.repeat(32) }, 'telemetry') };
  const key = await arrive(lines([record(0), 'not json', stranger, record(2)]) + JSON.stringify(record(3)).slice(0, 30));
  await counted(2);
  await isGone(key);
  const kept = (await cloud.archive('quarantine/telemetry/')).flatMap(({ lines: all }) => all).find(({ object }) => object === key);
  assert.deepEqual(kept.lines.map(({ line }) => line), [1, 2, 4]);
  assert.match(kept.lines[0].reason, /JSON/);
  assert.equal(kept.lines[0].text, 'not json');
});

test('a damaged object is read as far as it goes, and stays', async () => {
  const whole = gzipSync(lines(Array.from({ length: 50 }, (_, n) => record(n, { extra: `${Math.random()}`.repeat(40) }))));
  const key = await arrive(whole.subarray(0, whole.length / 2), { suffix: '.jsonl.gz' });
  const row = await settled(key, 'damaged');
  assert.ok(row.counted > 0 && row.counted < 50, `${row.counted}`);
  assert.notEqual(await bucket.head(key), null);
  assert.equal((await archived()).length, row.counted);
});

for (const fault of [
  { binding: 'ARCHIVES', op: 'put', when: 'before' },
  { binding: 'ARCHIVES', op: 'put', when: 'after' },
  { binding: 'ARCHIVES', op: 'get', when: 'before' },
  { binding: 'ARCHIVES', op: 'delete', when: 'before' },
  { binding: 'ARCHIVES', op: 'delete', when: 'after' },
  { binding: 'DB', match: /write_rollups/, when: 'before' },
  { binding: 'DB', match: /write_rollups/, when: 'after' },
  { binding: 'DB', match: /rollups_for/, when: 'before' },
  { binding: 'DB', match: /object_save/, when: 'after' },
]) {
  test(`nothing is lost and nothing twice: ${fault.binding} ${fault.op ?? fault.match.source} fails ${fault.when} it is done`, async () => {
    cloud.faults.inject({ worker: 'telemetry', ...fault });
    const key = await arrive(lines(records(0, 70)));
    await counted(70);
    await isGone(key);
    assert.equal((await archived()).length, 70);
  });
}

test('an object of which nobody was told is found by the clock', async () => {
  const key = await arrive(lines(records(0, 5)), { told: false });
  await cloud.cron('archive', '30 * * * *', new Date(Date.now() + 60 * MINUTE));
  await counted(5);
  await isGone(key);
});

test('a batch from a bridge, with a line that is none', async () => {
  const body = lines([...records(0, 120), 'not json']);
  const headers = { host: 'api.localhost', 'x-webhook-secret': cloud.secrets.WEBHOOK_SECRET, 'content-type': 'application/x-ndjson' };
  const answer = await cloud.api('POST', '/webhook/telemetry', { body, headers });
  isStatus(answer, 200);
  assert.deepEqual([answer.json.accepted, answer.json.errors.map(({ pointer }) => pointer)], [120, ['/120']]);
  await counted(120);
  assert.equal((await archived()).length, 120);
});
