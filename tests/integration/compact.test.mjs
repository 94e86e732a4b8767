// The hourly compaction of the archive: few objects, in which a device's lines lie together, and people see the same.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { hourStart, telemetry, topicOf } from './fixtures/builders.mjs';
import { isStatus } from './fixtures/expect.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const HOURLY = '0 * * * *';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let owner;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} */
let device;
let other;
let runs = 0;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry', 'history', 'archive'], batchTimeout: 0.05 });
  owner = await cloud.signIn('ada@example.com');
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  [device, other] = [await cloud.enroll(), await cloud.enroll()];
  const sql = "INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by) VALUES (?1, ?2, 'owner', 0, 'test')";
  await cloud.rows(sql, device.id, owner.user.user_id);
});

/** Minutes of the hour that began so many hours ago. */
const at = (ago, minute) => hourStart(ago) + minute * 60_000;
async function send(to, ago, minutes) {
  for (const minute of minutes) {
    const columns = { id: `${to.id.slice(0, 8)}-${minute}`, publish_received_at: at(ago, minute) };
    isStatus(await cloud.emqx.message(topicOf(to, 'telemetry'), telemetry(to, { at: at(ago, minute) }), { columns }), 202);
  }
}
const folder = (ago) => `telemetry/${new Date(hourStart(ago)).toISOString().slice(0, 10)}/${new Date(hourStart(ago)).toISOString().slice(11, 13)}/`;
const keys = async (ago) => {
  const bucket = await cloud.cloud.bucket('ARCHIVES');
  return (await bucket.list({ prefix: folder(ago) })).objects.map(({ key }) => key.slice(folder(ago).length));
};
const counted = (to, messages) =>
  eventually(`${messages} messages to be counted`, async () => {
    const rows = await cloud.rows('SELECT messages FROM telemetry_rollups WHERE device_id = ?1', to.id);
    return rows.reduce((sum, row) => sum + row.messages, 0) === messages;
  });
const shown = async (ago) => {
  const iso = (time) => new Date(time).toISOString();
  const answer = await owner.call('GET', `/api/devices/${device.id}/telemetry?resolution=raw&limit=1000&from=${iso(at(ago, 0))}&to=${iso(at(ago, 60))}`);
  isStatus(answer, 200);
  return answer.json.items.map(({ id }) => Number(id.split('-')[1]));
};
/** Runs the compaction as if it were now, each run later than the one before. */
const compact = () => cloud.cron('archive', HOURLY, new Date(hourStart() + (runs += 1000)));
const outcome = async () => (await cloud.rows("SELECT outcome, detail FROM cron_runs WHERE worker = 'archive' AND cron = ?1", HOURLY))[0];
const minutes = (from, until) => Array.from({ length: until - from }, (_, n) => from + n);

test('an hour becomes a pack, an index and a manifest, and shows what it showed', async () => {
  await send(device, 3, minutes(0, 20));
  await send(other, 3, minutes(0, 20));
  await counted(device, 20);
  await send(device, 3, minutes(20, 30));
  await counted(device, 30);
  await counted(other, 20);
  assert.ok((await keys(3)).length >= 2);
  await compact();
  assert.match((await outcome()).detail, /^50 lines packed/);
  const after = await keys(3);
  assert.deepEqual(after.map((key) => key.replace(/[0-9a-f]{16}/, 'D')), ['index-D-00of01.ndjson.gz', 'manifest-D.json', 'packed-D-00of01.gz']);
  assert.deepEqual(await shown(3), minutes(0, 30));

  // What comes late lies beside it.
  await send(device, 3, [40, 5]);
  await counted(device, 31);
  assert.deepEqual(await shown(3), [...minutes(0, 30), 40]);
});

const FAULTS = [
  { op: 'put', when: 'before', match: /packed-/ },
  { op: 'put', when: 'after', match: /packed-/ },
  { op: 'put', when: 'after', match: /index-/ },
  { op: 'put', when: 'before', match: /manifest-/ },
  { op: 'delete', when: 'before' },
  { op: 'delete', when: 'after' },
  { op: 'get', when: 'before', match: /packed-/ },
];
for (const [index, fault] of FAULTS.entries()) {
  test(`nothing is lost when ${fault.op} of ${fault.match?.source ?? 'the sources'} fails ${fault.when} it is done`, async () => {
    // Each in an hour of its own, that was not packed before.
    const ago = 5 + index;
    await send(device, ago, minutes(0, 10));
    await counted(device, 10);
    cloud.faults.inject({ worker: 'archive', binding: 'ARCHIVES', ...fault });
    await compact();
    assert.equal((await outcome()).outcome, 'failed');
    assert.deepEqual(await shown(ago), minutes(0, 10));
    await compact();
    assert.equal((await outcome()).outcome, 'ok');
    assert.equal((await keys(ago)).length, 3);
    assert.deepEqual(await shown(ago), minutes(0, 10));
  });
}

test('a sealed hour is made anew when messages come late, and when it counts what the archive does not hold', async () => {
  const rollup = async () => (await cloud.rows('SELECT messages, metrics, seen FROM telemetry_rollups WHERE device_id = ?1', device.id))[0];
  let sweeps = 6 * 24;
  const sweep = () => cloud.cron('archive', '30 * * * *', new Date(hourStart() + (sweeps += 1) * 3_600_000));
  const told = async () => (await cloud.rows("SELECT outcome, detail FROM cron_runs WHERE worker = 'archive' AND cron = '30 * * * *'"))[0];
  await send(device, 3, minutes(0, 30));
  await counted(device, 30);
  await compact();
  await cloud.rows('UPDATE telemetry_rollups SET messages = 31 WHERE device_id = ?1', device.id);
  await sweep();
  assert.match((await told()).detail, / [1-9]\d* not as archived, [1-9]\d* made anew/);
  assert.deepEqual([(await rollup()).messages, (await rollup()).seen], [30, null]);

  const before = (await keys(3)).length;
  await send(device, 3, minutes(20, 40));
  await eventually('the late ones to be archived', async () => (await keys(3)).length > before);
  await eventually('the mark', async () => (await cloud.rows('SELECT marks FROM telemetry_late WHERE device_id = ?1', device.id))[0]);
  await sweep();
  assert.match((await told()).detail, / 1 made anew/);
  assert.equal((await rollup()).messages, 40);
  assert.equal(JSON.parse((await rollup()).metrics).b[0], 40);
  assert.deepEqual(await shown(3), minutes(0, 40));
  assert.deepEqual(await cloud.rows('SELECT * FROM telemetry_late'), []);
});
