// Backups that operators ask for, and the watch over all backups, on real R2: the bytes of firmware, what restore checks
// leave behind, and the company's bucket.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { operatorOf } from './fixtures/firmware.mjs';
import { startHarness } from './support/harness.mjs';

const DAILY = '0 3 * * *';
const OFTEN = '*/5 * * * *';
const HOUR = 3_600_000;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let token;
let due = Date.parse('2026-11-21T03:00:00Z');
before(async () => {
  cloud = await startHarness({ only: ['ota', 'health'], vars: { health: { WATCHED_BACKUPS: 'postgres/ daily 30, redis/ daily 7' } } });
  token = await cloud.adminToken({ email: 'ada@optic.works' });
});
after(() => cloud?.stop());

const ask = (method, path, options) => cloud.api(method, path, { host: 'status.localhost', token, ...options });
/** Runs a trigger, which has to go well; what it says it did. */
async function tick(cron) {
  await cloud.cron('health', cron, new Date((due += 300_000)));
  const [run] = await cloud.rows("SELECT outcome, detail FROM cron_runs WHERE worker = 'health' AND cron = ?", cron);
  assert.equal(run.outcome, 'ok', run.detail);
  return run.detail;
}
/** Lets the watch look again, as it does an hour later, and answers what it says of each thing. */
async function look() {
  await cloud.rows('UPDATE backup_watch SET looked_at = looked_at - ?', HOUR);
  await tick(OFTEN);
  const { json } = await ask('GET', '/admin/backups/watch');
  return Object.fromEntries(json.items.map(({ subject, ...rest }) => [subject, rest]));
}
const alarms = async () => {
  const rows = await cloud.rows("SELECT subject, severity, detail FROM security_log WHERE kind = 'backup_alarm' ORDER BY subject");
  return Object.fromEntries(rows.map(({ subject, severity, detail }) => [subject, { severity, ...JSON.parse(detail) }]));
};

test('an operator asks for a backup, the next tick makes it, and it is told whole', async () => {
  isProblem(await ask('POST', '/admin/backups', { body: {} }), 422, ['/reason']);
  isProblem(await ask('GET', '/admin/backups', { token: undefined }), 401);
  const asked = await ask('POST', '/admin/backups', { body: { reason: 'before a migration' } });
  isStatus(asked, 202);
  const { backup_id: id, requested_by: by } = asked.json;
  assert.equal(by, 'ada@optic.works');
  assert.match(await tick(OFTEN), new RegExp(`^backup ${id} is whole: `));
  const { json: one } = await ask('GET', `/admin/backups/${id}`);
  assert.equal(one.state, 'complete');
  assert.equal(one.reason, 'before a migration');
  const object = await (await cloud.cloud.bucket('BACKUPS')).get(one.manifest.object);
  assert.deepEqual([object.size, one.manifest.sha256], [one.bytes, one.sha256]);
  const { json: list } = await ask('GET', '/admin/backups');
  assert.deepEqual(list.items.map(({ backup_id }) => backup_id), [id]);
  const [audited] = await cloud.rows("SELECT actor, route FROM audit_log WHERE method = 'POST' ORDER BY id DESC");
  assert.deepEqual(audited, { actor: 'ada@optic.works', route: '/admin/backups' });
});

test('what a restore check leaves beside a backup is noted, and one that went wrong is an alarm', async () => {
  const [{ backup_id: id }] = (await ask('GET', '/admin/backups')).json.items;
  const bucket = await cloud.cloud.bucket('BACKUPS');
  const check = (ok, faults) => bucket.put(`backups/d1/${id}.check.json`, JSON.stringify({ ok, faults, checked_at: new Date().toISOString() }));
  await check(false, ['devices: 4 rows']);
  assert.deepEqual((await look())['restore-check'].faults, [`${id} does not restore`]);
  const { json } = await ask('GET', `/admin/backups/${id}`);
  assert.deepEqual([json.check_ok, json.check_faults], [false, ['devices: 4 rows']]);
  assert.equal((await alarms())['restore-check'].severity, 'high');
  await check(true, []);
  assert.deepEqual((await look())['restore-check'].faults, []);
});

test("the company's bucket is looked at: what is there is fine, what is not is an alarm", async () => {
  const company = await cloud.cloud.bucket('COMPANY_BACKUPS');
  // More than one page of a listing.
  for (let from = 0; from < 1_050; from += 50) {
    await Promise.all(Array.from({ length: 50 }, (_, index) => company.put(`postgres/${from + index}.gz`, 'x'.repeat(10))));
  }
  const seen = await look();
  assert.deepEqual([seen['postgres/'].faults, seen['postgres/'].facts.objects], [[], 1_050]);
  assert.deepEqual(seen['redis/'].faults, ['there is no backup']);
  assert.deepEqual((await alarms())['redis/'].faults, ['there is no backup']);
});

test('a byte of firmware that changed in R2 is found, and named', async () => {
  const operator = await operatorOf(cloud);
  const fine = await operator.publish('1.0.0', { size: 3_000_000 });
  const bad = await operator.publish('1.0.1', { size: 300_000 });
  const bucket = await cloud.cloud.bucket('FIRMWARE');
  const key = `rs1_pro/1.0.1/${bad.sha256}.bin`;
  const bytes = Buffer.from(await (await bucket.get(key)).arrayBuffer());
  bytes[1_000] ^= 1;
  await bucket.put(key, bytes);
  assert.match(await tick(DAILY), /2 firmware images verified, 1 faulty/);
  const { faults } = (await look()).firmware;
  assert.equal(faults.length, 1);
  assert.match(faults[0], /^rs1_pro 1\.0\.1: its SHA-256 is [0-9a-f]{64}$/);
  assert.ok(!faults[0].includes(fine.sha256) && !faults[0].includes(bad.sha256));
});
