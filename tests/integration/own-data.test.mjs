// What people may have of us as a right: all of their device's data in one archive that `tar` opens, and its deletion out of an archive
// that devices share, on the release bundles.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { hourStart, telemetry, topicOf } from './fixtures/builders.mjs';
import { isStatus } from './fixtures/expect.mjs';
import { grant, signIn } from './fixtures/owner.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const [MINUTELY, HOURLY] = ['* * * * *', '0 * * * *'];
const HOUR = 3_600_000;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let ada;
let eve;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} */
let device;
let other;
let directory;
/** Runs of the crons, as if each came later than the one before. */
let minutes = 0;
const run = (cron, hours = 0) => cloud.cron('archive', cron, new Date(Date.now() + hours * HOUR + (minutes += 1) * 60_000));

before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry', 'history', 'archive'], batchTimeout: 0.05 });
  directory = mkdtempSync(join(tmpdir(), 'rs1-own-data-'));
  [ada, eve] = [await signIn(cloud, 'ada@example.com'), await signIn(cloud, 'eve@example.com')];
  [device, other] = [await cloud.enroll(), await cloud.enroll()];
  await grant(cloud, ada, device, 'owner');
  await grant(cloud, eve, other, 'owner');
  // Of a device that was enrolled a moment ago nothing is older.
  await cloud.rows('UPDATE devices SET enrolled_at = ?1', hourStart() - 48 * HOUR);
  for (const minute of [1, 2, 3]) {
    for (const sender of [device, other]) {
      const at = hourStart(4) + minute * 60_000;
      const columns = { id: `${sender.id.slice(0, 8)}-${minute}`, publish_received_at: at };
      isStatus(await cloud.emqx.message(topicOf(sender, 'telemetry'), telemetry(sender, { at }), { columns }), 202);
    }
  }
  await eventually('every message to be counted', async () => (await cloud.rows('SELECT sum(messages) AS n FROM telemetry_rollups'))[0].n === 6);
  // As if the hour were over for two.
  await run(HOURLY, -2);
});
after(async () => {
  rmSync(directory, { recursive: true, force: true });
  await cloud?.stop();
});

const bucket = () => cloud.cloud.bucket('ARCHIVES');
/** Every line that the archive holds, in packs too: gzip members, one after the other. */
async function lines() {
  const store = await bucket();
  const found = [];
  for (const { key } of (await store.list({ prefix: 'telemetry/' })).objects) {
    if (!/\/(packed-|00-)/.test(key)) continue;
    const text = gunzipSync(Buffer.from(await (await store.get(key)).arrayBuffer())).toString();
    found.push(...text.split('\n').filter(Boolean));
  }
  return found.sort();
}
const of = ({ id }, all) => all.filter((line) => JSON.parse(line).device_id === id);
const raw = async (person, { id }) => {
  const [from, to] = [hourStart(4), hourStart(3)].map((at) => new Date(at).toISOString());
  const answer = await person.call('GET', `/api/devices/${id}/telemetry?resolution=raw&from=${from}&to=${to}`);
  isStatus(answer, 200);
  return answer.json.items.length;
};

test('an owner has all of it in one archive, by a link that a browser can follow', async () => {
  const path = `/api/devices/${device.id}/export`;
  isStatus(await eve.call('POST', path), 404);
  isStatus(await ada.call('GET', path), 404);
  isStatus(await ada.call('POST', path), 202);
  await run(MINUTELY);
  const { json } = await ada.call('GET', path);
  assert.equal(json.state, 'ready', JSON.stringify(json));
  const answer = await cloud.api('GET', json.download);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['content-type'], 'application/gzip');
  assert.equal(Number(answer.headers['content-length']), json.bytes);
  assert.match(answer.headers['content-disposition'], /^attachment; filename="rs1-[0-9a-f]{32}-\d{4}-\d\d-\d\d\.tar\.gz"$/);
  const archive = join(directory, 'export.tar.gz');
  writeFileSync(archive, answer.bytes);
  execFileSync('tar', ['-xzf', archive, '-C', directory]);
  const root = join(directory, `rs1-${device.id}`);
  const read = (name) => readFileSync(join(root, name), 'utf8');
  const days = readdirSync(join(root, 'telemetry'));
  const exported = days.flatMap((name) => read(`telemetry/${name}`).split('\n').filter(Boolean));
  assert.deepEqual(exported.sort(), of(device, await lines()));
  assert.equal(exported.length, 3);
  assert.deepEqual(JSON.parse(read('manifest.json')).lines, 3);
  assert.equal(JSON.parse(read('device-0000.json'))[0].mac_address, device.mac);
  assert.equal(JSON.parse(read('hours-0000.json'))[0].messages, 3);
  assert.match(read('README.txt'), /events-NNNN\.json/);
  assert.equal((await cloud.api('GET', json.download.replace('sig=', 'sig=x'))).status, 403);
  assert.equal((await cloud.api('HEAD', json.download)).status, 200);
});

test('what is deleted is gone from what devices share, and the others have every line', async () => {
  const path = `/api/devices/${device.id}/data`;
  const before = await lines();
  const { json: made } = await ada.call('GET', `/api/devices/${device.id}/export`);
  isStatus(await ada.call('DELETE', path), 422);
  isStatus(await eve.call('DELETE', `${path}?confirm=${device.id}`), 404);
  assert.equal(await raw(ada, device), 3);
  const asked = await ada.call('DELETE', `${path}?confirm=${device.id}`);
  isStatus(asked, 202);
  assert.equal(await raw(ada, device), 0, 'nobody is shown it from then on');
  assert.equal((await cloud.api('GET', made.download)).status, 404);
  const kept = `erasures/${asked.json.id}.json`;
  assert.equal((await (await (await bucket()).get(kept)).json()).device_id, device.id, 'no restored database forgets it');
  // What is of this hour goes, too; so it begins when that is over.
  await run(MINUTELY, 1);
  const { json: waiting } = await ada.call('GET', path);
  assert.deepEqual([waiting.state, waiting.messages], ['waiting', 3], JSON.stringify(waiting));
  const left = await lines();
  assert.deepEqual(of(device, left), []);
  assert.deepEqual(of(other, left), of(other, before));
  assert.equal(await raw(eve, other), 3, 'the index leads to where it led');
  assert.deepEqual(await cloud.rows('SELECT 1 FROM telemetry_rollups WHERE device_id = ?1', device.id), []);
  const store = await bucket();
  assert.deepEqual((await store.list({ prefix: 'exports/' })).objects, []);
  for (const { key } of (await store.list({ prefix: 'telemetry/' })).objects) {
    const bytes = Buffer.from(await (await store.get(key)).arrayBuffer());
    assert.ok(!(key.endsWith('.gz') ? gunzipSync(bytes) : bytes).includes(device.id), key);
  }
  // What comes late of the time before is kept nowhere, and the next hour begins anew.
  const late = (at, id) => cloud.emqx.message(topicOf(device, 'telemetry'), telemetry(device, { at }), { columns: { id, publish_received_at: Date.now() } });
  isStatus(await late(hourStart(4) + 30 * 60_000, 'late'), 202);
  await eventually('the late message to be let go', () => cloud.logs({ worker: 'telemetry' }).some((line) => JSON.stringify(line).includes('1 of erased hours')));
  assert.deepEqual(of(device, await lines()), []);
  assert.deepEqual(await cloud.rows('SELECT 1 FROM telemetry_rollups WHERE device_id = ?1', device.id), []);
  assert.deepEqual((await store.list({ prefix: 'quarantine/' })).objects, []);
  // A database that was restored from before it was asked for begins again.
  await cloud.rows('DELETE FROM erasures');
  await cloud.rows('UPDATE devices SET history_from = 0, erased_before = 0');
  await run(HOURLY, 2);
  assert.equal((await ada.call('GET', path)).json.state, 'running');
  assert.equal(await raw(ada, device), 0);
  await run(MINUTELY, 2);
  assert.deepEqual((await ada.call('GET', path)).json.state, 'waiting');
  // When the last hour takes no more messages it is done.
  await run(MINUTELY, 124);
  assert.equal((await ada.call('GET', path)).json.state, 'done');
  const acts = await cloud.rows("SELECT action FROM audit_log WHERE target = ?1 AND action LIKE 'data_%' ORDER BY id", device.id);
  assert.deepEqual(acts.map(({ action }) => action), ['data_export_asked', 'data_exported', 'data_deletion_asked']);
});
