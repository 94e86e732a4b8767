// `npm run secrets` against a stand-in of Cloudflare's API, on a database with our migrations.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cloudflareClient } from '../../tools/delivery/cloudflare.mjs';
import { workerConfig } from '../../tools/lib/wrangler-config.mjs';
import { startCloudflare } from './support/cloudflare.mjs';
import { command, copyProject } from './support/project.mjs';

/** @type {Awaited<ReturnType<typeof startCloudflare>>} */
let cloudflare;
/** @type {ReturnType<typeof copyProject>} */
let project;
let query;
before(async () => {
  cloudflare = await startCloudflare();
  project = copyProject();
  const provisioned = await command('provision.mjs', ['--env', 'staging', '--project', project.root, '--location', 'weur', '--yes'], { env: cloudflare.env });
  assert.equal(provisioned.status, 0, provisioned.output);
  const { d1_databases: databases } = workerConfig('telemetry', 'staging', project.root);
  const { CLOUDFLARE_API_TOKEN: token, CLOUDFLARE_ACCOUNT_ID: account, CLOUDFLARE_API_BASE_URL: baseUrl } = cloudflare.env;
  const api = cloudflareClient({ token, account, baseUrl });
  query = async (sql) => (await api.post(`/d1/database/${databases[0].database_id}/query`, { sql }))[0].results;
  const migrations = readdirSync(join(project.root, 'migrations')).sort();
  for (const file of migrations) await query(readFileSync(join(project.root, 'migrations', file), 'utf8'));
});
after(async () => {
  await cloudflare.stop();
  project.remove();
});

const secrets = (...args) => command('secrets.mjs', [...args, '--project', project.root], { env: cloudflare.env });

test('what was done is noted and logged, by its name and never by a value', async () => {
  const replaced = await secrets('note', 'WEBHOOK_SECRET', 'replaced', '--env', 'staging');
  assert.equal(replaced.status, 0, replaced.output);
  const standing = async () => (await query("SELECT rotated_at, dropped_at FROM secret_rotations WHERE name = 'WEBHOOK_SECRET'"))[0];
  const begun = await standing();
  assert.ok(Math.abs(begun.rotated_at - Date.now()) < 60_000);
  assert.equal(begun.dropped_at, null);
  assert.equal((await secrets('note', 'WEBHOOK_SECRET', 'dropped', '--env', 'staging')).status, 0);
  const done = await standing();
  assert.equal(done.rotated_at, begun.rotated_at);
  assert.ok(done.dropped_at >= begun.rotated_at);
  const log = await query('SELECT id, kind, severity, subject, detail, count FROM security_log ORDER BY first_at');
  assert.deepEqual(
    log.map(({ id: _, ...row }) => row),
    ['replaced', 'dropped'].map((act) => ({ kind: 'secret_rotated', severity: 'info', subject: 'WEBHOOK_SECRET', detail: JSON.stringify({ act }), count: 1 })),
  );
  for (const { id } of log) assert.match(id, /^sec-[0-9A-HJKMNP-TV-Z]{26}$/);
});

test('what is due is shown, and what is not known is refused', async () => {
  await query(`UPDATE secret_rotations SET rotated_at = ${Date.now() - 92 * 86_400_000} WHERE name = 'WEBHOOK_SECRET'`);
  const shown = await secrets('status', '--env', 'staging');
  assert.equal(shown.status, 0, shown.output);
  assert.match(shown.output, /WEBHOOK_SECRET .*DUE since \d{4}-\d\d-\d\d/);
  assert.match(shown.output, /SIGNING_KEY .* \d{4}-\d\d-\d\d {2}\d{4}-\d\d-\d\d\n/);
  for (const name of ['METRICS_TOKEN', 'NOTICE_WEBHOOK_SECRET']) assert.match(shown.output, new RegExp(`^${name} .* \\d{4}-\\d\\d-\\d\\d$`, 'm'));
  for (const args of [['note', 'PASSWORD', 'replaced'], ['note', 'WEBHOOK_SECRET', 'forgotten'], ['note', 'WEBHOOK_SECRET'], ['show']]) {
    const { status, output } = await secrets(...args, '--env', 'staging');
    assert.equal(status, 1, output);
  }
  assert.equal((await secrets('status', '--env', 'local')).status, 1);
  assert.equal((await query('SELECT count(*) AS n FROM security_log'))[0].n, 2);
});
