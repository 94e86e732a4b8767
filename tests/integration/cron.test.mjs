// Cron triggers. The platform delivers one twice, or not at all, and takes an error for success: so each run takes a lease,
// notes how it ended, and leaves a log line.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { HEALTH } from '../../local/lib/workers.mjs';
import { ulidTime } from '../../tools/lib/ulid.mjs';
import { hourStart, queued } from './fixtures/builders.mjs';
import { isStatus } from './fixtures/expect.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const DAY = 86_400_000;
const TRIGGERS = [
  ['device-api', '* * * * *'],
  ['archive', '* * * * *'],
  ['archive', '0 * * * *'],
  ['archive', '30 * * * *'],
  ['ota', '* * * * *'],
  ['health', '* * * * *'],
  ['health', '*/5 * * * *'],
  ['health', '0 3 * * *'],
];
/** The one that tells people asks the database three times, before it tells them that there is none. */
const asks = (worker, cron) => (worker === 'health' && cron === '* * * * *' ? 3 : 1);
/** The trigger that has much to do, in steps. */
const SWEEP = TRIGGERS.find(([, cron]) => cron === '30 * * * *');

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
before(async () => {
  cloud = await startHarness();
});
after(() => cloud?.stop());
beforeEach(() => {
  cloud.faults.clear();
  cloud.faults.forget();
});

/** Times at which triggers are due, each later than the one before: a run that is older than the last is not carried out. */
let due = hourStart();
const nextDue = () => new Date((due += 3_600_000));
const row = async (worker, cron) => (await cloud.rows('SELECT * FROM cron_runs WHERE worker = ? AND cron = ?', worker, cron))[0];
const lines = (worker, cron) => cloud.logs({ worker, event: `cron ${cron}` });
/** Runs a trigger and waits for its line. */
async function run(worker, cron, at = nextDue()) {
  const before = lines(worker, cron).length;
  const { outcome } = await cloud.cron(worker, cron, at);
  assert.equal(outcome, 'ok', 'the platform learns nothing of an error; a log line and a row do');
  const line = await eventually('the log line of the run', () => lines(worker, cron)[before]);
  return { line, at, row: await row(worker, cron) };
}

test('these are all the triggers there are', () => {
  const configured = cloud.cloud.workers.flatMap(({ worker, crons }) => crons.map((cron) => [worker, cron]));
  assert.deepEqual(configured.sort(), [...TRIGGERS].sort());
});

for (const [worker, cron] of TRIGGERS) {
  test(`${worker} notes each run of "${cron}", and carries out none twice`, async () => {
    const first = await run(worker, cron);
    const { ts, request_id: id, duration_ms: duration, log, ...rest } = first.line;
    assert.deepEqual(rest, { level: 'info', worker, event: `cron ${cron}`, outcome: 'ok' });
    assert.ok(Date.parse(ts) > 0 && id.length > 0 && duration >= 0 && log.length > 0);
    assert.equal(first.row.outcome, 'ok');
    assert.equal(first.row.scheduled_at, first.at.getTime());
    assert.ok(first.row.finished_at >= first.row.started_at && Math.abs(first.row.started_at - Date.now()) < 60_000);

    const again = await run(worker, cron, first.at);
    assert.equal(again.line.log, 'run before');
    assert.deepEqual(again.row, first.row);
    const earlier = await run(worker, cron, new Date(first.at.getTime() - 60_000));
    assert.equal(earlier.line.log, 'run before', 'a run that comes after its successor');

    const next = await run(worker, cron);
    assert.notEqual(next.line.log, 'run before');
    assert.equal(next.row.scheduled_at, next.at.getTime());
  });

  test(`${worker} says that "${cron}" failed, and the next run goes well`, async () => {
    const before = await row(worker, cron);
    cloud.faults.inject({ binding: 'DB', worker, match: /cron_begin/, message: 'the database is gone', times: asks(worker, cron) });
    const failed = await run(worker, cron);
    assert.equal(failed.line.level, 'error');
    assert.equal(failed.line.outcome, 'failed');
    assert.match(failed.line.log, /the database is gone/);
    assert.deepEqual(failed.row, before, 'no lease, no trace');
    const again = await run(worker, cron, failed.at);
    assert.equal(again.row.outcome, 'ok', 'a run without a lease may be delivered again');
    isStatus(await cloud.api('GET', HEALTH[worker].path, { host: HEALTH[worker].host }), 200);
  });

  test(`${worker} takes "${cron}" once though two deliveries cross`, async (t) => {
    const gate = cloud.faults.hold({ binding: 'DB', worker, match: /cron_begin/ });
    t.after(gate.release);
    const at = nextDue();
    const before = lines(worker, cron).length;
    const slow = cloud.cron(worker, cron, at);
    await gate.reached;
    const fast = await run(worker, cron, at);
    assert.notEqual(fast.line.log, 'run before');
    gate.release();
    await slow;
    const two = await eventually('both lines', () => lines(worker, cron).length === before + 2 && lines(worker, cron).slice(before));
    assert.equal(two[1].log, 'run before');
  });
}

test('work that fails under its lease is noted, and left to the next run', async () => {
  const [worker, cron] = SWEEP;
  cloud.faults.inject({ binding: 'DB', match: /next_devices|prune_/, message: 'in the middle' });
  const failed = await run(worker, cron);
  assert.deepEqual([failed.line.level, failed.line.outcome], ['error', 'failed']);
  assert.match(failed.line.log, /in the middle/);
  assert.equal(failed.row.outcome, 'failed');
  assert.ok(failed.row.finished_at > 0);
  assert.doesNotMatch(failed.row.detail, /in the middle/, 'what is shown names what failed, not the inner text');
  assert.equal((await run(worker, cron, failed.at)).line.log, 'run before');
  assert.equal((await run(worker, cron)).row.outcome, 'ok');
});

test('a lease that was taken though it failed is not taken again: the next hour does the work', async () => {
  const [worker, cron] = SWEEP;
  cloud.faults.inject({ binding: 'DB', match: /cron_begin/, when: 'after' });
  const failed = await run(worker, cron);
  assert.equal(failed.line.outcome, 'failed');
  assert.deepEqual([failed.row.outcome, failed.row.finished_at], [null, null], 'as a run that was cut off');
  assert.equal((await run(worker, cron)).row.outcome, 'ok');
});

test('the hourly sweep closes hours, and drops what is past its time', async () => {
  const [worker, cron] = SWEEP;
  const device = await cloud.enroll();
  const now = nextDue();
  const hour = (days, hours = 0) => Math.floor((now.getTime() - days * DAY) / 3_600_000) - hours;
  const rollup = (at) =>
    cloud.rows(
      `INSERT INTO telemetry_rollups (device_id, hour, messages, last_at, last_received_at, metrics, seen, generation)
       VALUES (?, ?, 1, 0, 0, '{}', 'AAAAAAAA', 1)`,
      device.id,
      at,
    );
  const hours = { present: hour(0), open: hour(5), closing: hour(5, 1), old: hour(29, 23), gone: hour(30, 1) };
  for (const at of Object.values(hours)) await rollup(at);
  // The one that closes counts what is archived.
  const at = hours.closing * 3_600_000;
  const line = `${queued(device, { at })}\n`;
  const iso = new Date(at).toISOString();
  const bucket = await cloud.cloud.bucket('ARCHIVES');
  const metadata = { customMetadata: { 'gzip-of': 'application/x-ndjson' } };
  await bucket.put(`telemetry/${iso.slice(0, 10)}/${iso.slice(11, 13)}/00-spec.ndjson.gz`, gzipSync(line), metadata);
  const metrics = '{"b":[1,150000,150000,150000,150000]}';
  const counted = 'UPDATE telemetry_rollups SET last_at = ?1, last_received_at = ?1, metrics = ?2 WHERE device_id = ?3 AND hour = ?4';
  await cloud.rows(counted, at, metrics, device.id, hours.closing);
  const ulid = (days) => ulidTime(now.getTime() - days * DAY);
  const logged = { kept: 89, gone: 91 };
  for (const [name, days] of Object.entries(logged)) {
    await cloud.rows(
      `INSERT INTO security_log (id, kind, severity, subject, detail, first_at, last_at, window_key)
       VALUES (?, 'spec', 'info', ?, '{}', 0, 0, ?)`,
      ...[`sec-${ulid(days)}0000000000000000`, name, `spec:${name}`],
    );
    await cloud.rows(
      `INSERT INTO audit_log (id, at, actor, action, method, route, target, request_id)
       VALUES (?, 0, 'spec', 'spec', 'GET', '/', ?, 'r')`,
      ...[`aud-${ulid(days)}0000000000000000`, name],
    );
  }
  for (const [host, minutes] of [
    ['kept', 59],
    ['gone', 61],
  ]) {
    const at = now.getTime() - minutes * 60_000;
    await cloud.rows("INSERT INTO auth_failures (peerhost, recent, last_failed_at) VALUES (?, '[]', ?)", host, at);
  }

  const { line: told } = await run(worker, cron, now);
  assert.match(
    told.log,
    /^1 hours deleted; 0 events, 0 alerts deleted; 1 security, 1 audit, 1 failure, 0 diagnostics, 0 session rows deleted; 0 objects found; \d+ hours sealed, 1 rollups checked, 0 not as archived, 0 made anew$/,
  );
  const left = await cloud.rows('SELECT hour, seen IS NULL AS sealed FROM telemetry_rollups WHERE device_id = ? ORDER BY hour', device.id);
  assert.deepEqual(
    left.map(({ hour: at, sealed }) => [at, sealed === 1]),
    [
      // Hours of before the window in which hours are closed were closed in their time; this one stands in for an outage of weeks.
      [hours.old, false],
      [hours.closing, true],
      [hours.open, false],
      [hours.present, false],
    ],
  );
  assert.deepEqual(await cloud.rows("SELECT subject FROM security_log WHERE kind = 'spec'"), [{ subject: 'kept' }]);
  assert.deepEqual(await cloud.rows("SELECT target FROM audit_log WHERE actor = 'spec'"), [{ target: 'kept' }]);
  assert.deepEqual(await cloud.rows('SELECT peerhost FROM auth_failures'), [{ peerhost: 'kept' }]);
});

test('the sweep goes through a large fleet step by step', async () => {
  const [worker, cron] = SWEEP;
  const [{ n: already }] = await cloud.rows('SELECT count(*) AS n FROM devices');
  const ids = Array.from({ length: 1_100 }, (_, index) => `fe${String(index).padStart(30, '0')}`);
  await cloud.rows(
    `INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by)
     SELECT value, 'x', 'x', 0, 'spec' FROM json_each(?)`,
    JSON.stringify(ids),
  );
  cloud.faults.forget();
  await run(worker, cron);
  const steps = cloud.faults.calls({ worker, match: /delete_hours/ }).length;
  assert.equal(steps, Math.ceil((already + ids.length) / 500));
});
