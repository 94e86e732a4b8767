// A restore drill: the dump of the real worker, loaded by wrangler into an empty D1 and by the restore check.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { checkDump } from '../../tools/delivery/restore-check.mjs';
import { capture } from '../../tools/lib/proc.mjs';
import { setUp } from '../../tools/toolchain.mjs';
import { startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let manifest;
let object;
before(async () => {
  cloud = await startHarness({ faults: false });
});
after(() => cloud?.stop());

test('the daily trigger leaves a dump and, last, its manifest', async () => {
  for (let count = 0; count < 5; count += 1) await cloud.enroll();
  await cloud.cron('health', '0 3 * * *', new Date('2026-11-21T03:00:00Z'));
  const [run] = await cloud.rows("SELECT outcome, detail FROM cron_runs WHERE worker = 'health' AND cron = '0 3 * * *'");
  assert.equal(run.outcome, 'ok', run.detail);
  const bucket = await cloud.cloud.bucket('BACKUPS');
  manifest = await (await bucket.get('backups/d1/2026-11-21.manifest.json')).json();
  object = Buffer.from(await (await bucket.get(manifest.object)).arrayBuffer());
  assert.equal(object.length, manifest.bytes);
  assert.equal(manifest.tables.devices.rows, 5);
  assert.match(manifest.bookmark, /^[0-9a-f]{8}-[0-9a-f]{8}-/);
});

test('the restore check finds it equal, and one that was altered not', async () => {
  const found = await checkDump({ manifest, content: [object] });
  assert.deepEqual(found.faults, []);
  const tables = { ...manifest.tables, devices: { ...manifest.tables.devices, rows: 6 } };
  assert.match((await checkDump({ manifest: { ...manifest, tables }, content: [object] })).faults.join(), /devices: 5 rows/);
  assert.match((await checkDump({ manifest, content: [object.subarray(0, -100)] })).faults.join(), /does not load/);
});

test('wrangler loads it into an empty database', async () => {
  const toolchain = await setUp('node');
  const scratch = mkdtempSync(join(tmpdir(), 'rs1-drill-'));
  try {
    writeFileSync(join(scratch, 'dump.sql'), gunzipSync(object));
    const database = { binding: 'DB', database_name: 'drill', database_id: '00000000-0000-0000-0000-00000000d111' };
    writeFileSync(join(scratch, 'wrangler.json'), JSON.stringify({ name: 'drill', compatibility_date: '2026-07-30', d1_databases: [database] }));
    const d1 = async (...args) => {
      const { ok, stdout, stderr } = await capture(toolchain.node22, [toolchain.wranglerBin, 'd1', 'execute', 'DB', '--local', '--yes', '--json', ...args], {
        cwd: scratch,
        env: { ...toolchain.env, CI: 'true' },
        timeout: 120_000,
      });
      assert.ok(ok, `${stdout}\n${stderr}`);
      return JSON.parse(stdout);
    };
    await d1('--file', join(scratch, 'dump.sql'));
    const counts = Object.keys(manifest.tables).map((name) => `(SELECT count(*) FROM "${name}") AS "${name}"`);
    const [{ results }] = await d1('--command', `SELECT ${counts.join(', ')}`);
    assert.deepEqual(results[0], Object.fromEntries(Object.entries(manifest.tables).map(([name, { rows }]) => [name, rows])));
    const [{ results: orphans }] = await d1('--command', 'PRAGMA foreign_key_check');
    assert.deepEqual(orphans, []);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
