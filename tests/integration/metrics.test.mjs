// The metrics of the fleet and the pipeline, after messages of all kinds went through it: what they say, and what promtool says of them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { hourStart, telemetry, topicOf } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { messageEvent } from './support/emqx.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';
import { promtoolAccepts, samples } from './support/promtool.mjs';

const PATH = '/api/admin/metrics';
const MINUTE = 60_000;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let token;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} */
let device;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry', 'history', 'archive'], batchTimeout: 0.05 });
  token = await cloud.adminToken();
  device = await cloud.enroll();
});
after(() => cloud?.stop());

async function scrape() {
  const answer = await cloud.api('GET', PATH, { token });
  isStatus(answer, 200);
  assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  return answer.text;
}
/** Scrapes until the samples are so, and answers all of them. */
async function become(wanted) {
  let found;
  await eventually(JSON.stringify(wanted), async () => {
    found = samples(await scrape());
    return Object.entries(wanted).every(([name, value]) => found[name] === value);
  }, { seen: () => Object.fromEntries(Object.keys(wanted).map((name) => [name, found[name]])) });
  return found;
}
const of = (what, labels) => `rs1_telemetry_${what}{${labels}}`;

/** A message of the hour that began three hours ago. */
const at = (minute) => hourStart(3) + minute * MINUTE;
async function send(minute, metrics, to = device) {
  const columns = { id: `${to.id.slice(0, 8)}-${minute}`, publish_received_at: at(minute) };
  isStatus(await cloud.emqx.message(topicOf(to, 'telemetry'), telemetry(to, { at: at(minute), metrics }), { columns }), 202);
}

test('before anything came every counter is there', async () => {
  const text = await scrape();
  await promtoolAccepts(text);
  const found = samples(text);
  assert.equal(found[of('messages_received_total', 'door="webhook"')], 0);
  assert.equal(found.rs1_fleet_devices, 1);
  assert.equal(found['rs1_alerts_opened_total{type="critical_memory",severity="critical"}'], 0);
});

test('messages are counted as what they are', async () => {
  for (const minute of [0, 1, 2, 3]) await send(minute);
  await become({ [of('messages_received_total', 'door="webhook"')]: 4 });
  await send(2);
  await send(3);
  await send(4, { 'system.free_heap': 10_000 });
  await send(5, undefined, makeDevice());
  const queue = await cloud.queue('TELEMETRY_QUEUE');
  await queue.send('not one of ours');
  const found = await become({
    [of('messages_received_total', 'door="webhook"')]: 5,
    [of('messages_duplicate_total', 'door="webhook"')]: 2,
    [of('messages_invalid_total', 'door="webhook",reason="not_enrolled"')]: 1,
    [of('messages_invalid_total', 'door="webhook",reason="malformed"')]: 1,
    'rs1_alerts_opened_total{type="critical_memory",severity="critical"}': 1,
    'rs1_alerts_opened_total{type="low_memory",severity="warning"}': 1,
  });
  const lines = (await cloud.archive('telemetry/2')).flatMap(({ lines: all }) => all);
  assert.equal(lines.length, 5);
  const bytes = lines.reduce((sum, line) => sum + Buffer.byteLength(JSON.stringify(line)) + 1, 0);
  assert.equal(found[of('archived_bytes_total', 'door="webhook"')], bytes);
  const age = found[of('queue_age_seconds', 'door="webhook"')];
  assert.ok(age > 2 * 3_600 && age < 4 * 3_600, `the oldest message is of the hour before last: ${age}`);
  assert.ok(Math.abs(found[of('batch_timestamp_seconds', 'door="webhook"')] - Date.now() / 1_000) < 120);
});

test('an object counts for its own door, and what it repeats as that', async () => {
  const key = 'telemetry/incoming/emqx/metrics.jsonl';
  const records = Array.from({ length: 10 }, (_, n) =>
    messageEvent(topicOf(device, 'telemetry'), telemetry(device, { at: at(n) }), { id: `${device.id.slice(0, 8)}-${n}`, publish_received_at: at(n) }));
  await (await cloud.cloud.bucket('ARCHIVES')).put(key, `${records.map((record) => JSON.stringify(record)).join('\n')}\nnonsense\n`);
  await (await cloud.queue('TELEMETRY_QUEUE')).send({
    account: 'a', action: 'PutObject', bucket: 'rs1-telemetry-archives-local', object: { key, size: 1, eTag: 'e' }, eventTime: new Date().toISOString(),
  });
  await become({
    [of('messages_received_total', 'door="objects"')]: 5,
    [of('messages_duplicate_total', 'door="objects"')]: 5,
    [of('messages_invalid_total', 'door="objects",reason="malformed"')]: 1,
    [of('messages_received_total', 'door="webhook"')]: 5,
  });
});

test('what the clock does is told: packing, and when it was done', async () => {
  await cloud.cron('archive', '0 * * * *', new Date(hourStart()));
  const found = await become({
    rs1_telemetry_compactions_total: 1,
    rs1_telemetry_compacted_messages_total: 10,
    rs1_telemetry_compacted_duplicates_total: 0,
    'rs1_cron_failed{worker="archive",cron="0 * * * *"}': 0,
  });
  assert.ok(found.rs1_telemetry_compacted_objects_total >= 2, 'of both doors');
  const lines = (await cloud.rows('SELECT sum(archived_bytes) AS bytes FROM telemetry_tallies'))[0];
  assert.equal(found.rs1_telemetry_compacted_bytes_total, lines.bytes, 'every byte that was counted was packed');
  assert.ok(found['rs1_cron_started_timestamp_seconds{worker="archive",cron="0 * * * *"}'] > 1.7e9);
});

test('promtool has nothing to say of it', async () => promtoolAccepts(await scrape()));

test('it is for operators, and who asks is in the audit log', async () => {
  const person = await cloud.signIn('ada@example.com');
  for (const answer of [await cloud.api('GET', PATH), await person.call('GET', PATH)]) isProblem(answer, 401, []);
  isProblem(await cloud.api('GET', '/api/history/metrics'), 404, []);
  const [row] = await cloud.rows("SELECT count(*) AS times, max(actor) AS actor FROM audit_log WHERE route = '/api/admin/metrics'");
  assert.ok(row.times > 3);
  assert.equal(row.actor, 'operator@optic.works');
});

test('while the database is down there is nothing to scrape', async () => {
  for (const statement of [/tallies/, /audit/]) {
    cloud.faults.inject({ binding: 'DB', match: statement });
    isProblem(await cloud.api('GET', PATH, { token }), 503, []);
    await scrape();
  }
});
