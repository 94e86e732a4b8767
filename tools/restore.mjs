// `npm run -s restore -- --env production --from latest`: loads a backup into a scratch database on this machine and
// holds it against its manifest; nothing else is touched. With `--record` the result is kept beside the backup, where the
// off-site copy and the retention look for it: the workflow `backup` does that every day.
//
// `… --into NAME` then loads it into the D1 database of that name, which must be empty, with `wrangler d1 execute --file`,
// and compares each table's rows. To bring back the running one by its own history there is Time Travel: README.md, Going back.

import { createWriteStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { createGunzip } from 'node:zlib';
import { cloudflareClient, credentials } from './delivery/cloudflare.mjs';
import { backupsBucket, openProject } from './delivery/project.mjs';
import { checkDump } from './delivery/restore-check.mjs';
import { capture } from './lib/proc.mjs';
import { SetupError, duration, say } from './lib/say.mjs';
import { setUp } from './toolchain.mjs';

const KEPT_DAYS = 30;
const OPTIONS = {
  env: { type: 'string' },
  from: { type: 'string', default: 'latest' },
  into: { type: 'string' },
  record: { type: 'boolean', default: false },
  project: { type: 'string' },
};

async function textOf(api, bucket, key) {
  const object = await api.object(bucket, key);
  return object === null ? null : new Response(object.body).text();
}

/** The manifest of a backup: it is there exactly when the backup is whole. */
async function findBackup(api, bucket, from) {
  const day = (ago) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
  const ids = from === 'latest' ? Array.from({ length: KEPT_DAYS }, (_, ago) => day(ago)) : [from];
  for (const id of ids) {
    const text = await textOf(api, bucket, `backups/d1/${id}.manifest.json`);
    if (text !== null) return { id, manifest: JSON.parse(text) };
  }
  throw new SetupError(`${bucket} has no backup ${from === 'latest' ? `of the last ${KEPT_DAYS} days` : from}`);
}

async function open(api, bucket, { object: key }) {
  const object = await api.object(bucket, key);
  if (object === null) throw new SetupError(`${bucket} has a manifest, but not ${key}`);
  return object.body;
}

async function loadInto(name, { api, bucket, manifest, toolchain }) {
  const database = (await api.list('/d1/database')).find((each) => each.name === name);
  if (!database) throw new SetupError(`there is no database ${name}`, { advice: [`create it: npx wrangler d1 create ${name}`] });
  const [{ results: there }] = await api.post(`/d1/database/${database.uuid}/query`, {
    sql: "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'",
  });
  if (there.length > 0) throw new SetupError(`${name} is not empty: it has ${there.length} tables`, { advice: ['restore into a new database, then let the configs name it'] });
  const scratch = mkdtempSync(join(tmpdir(), 'rs1-restore-'));
  try {
    const file = join(scratch, 'dump.sql');
    await pipeline(Readable.fromWeb(await open(api, bucket, manifest)), createGunzip(), createWriteStream(file));
    const config = join(scratch, 'wrangler.json');
    const bound = { binding: 'DB', database_name: name, database_id: database.uuid };
    writeFileSync(config, JSON.stringify({ name: 'rs1-restore', compatibility_date: '2026-07-30', d1_databases: [bound] }));
    const args = [toolchain.wranglerBin, 'd1', 'execute', 'DB', '--remote', '--yes', '--file', file, '--config', config];
    const loaded = await capture(toolchain.node22, args, { env: { ...toolchain.env, CI: 'true' }, timeout: 3_600_000 });
    if (!loaded.ok) throw new SetupError(`${name} could not be loaded`, { output: `${loaded.stdout}\n${loaded.stderr}` });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  const faults = [];
  for (const [table, { rows }] of Object.entries(manifest.tables)) {
    const [{ results }] = await api.post(`/d1/database/${database.uuid}/query`, { sql: `SELECT count(*) AS n FROM "${table}"` });
    if (results[0].n !== rows) faults.push(`${table}: ${results[0].n} rows of ${rows}`);
  }
  if (faults.length > 0) throw new SetupError(`${name} is not what was backed up`, { advice: faults });
  console.log(`${name} has the backup; let wrangler/*.jsonc name ${database.uuid} and release`);
}

async function main() {
  const { values } = parseArgs({ options: OPTIONS });
  const project = openProject(values.env, values.project);
  const toolchain = await setUp('node');
  const api = cloudflareClient(credentials(process.env));
  const bucket = backupsBucket(project);
  const { id, manifest } = await findBackup(api, bucket, values.from);
  console.log(`backup ${id}: ${manifest.bytes} bytes, schema ${manifest.schema_version}, ended ${manifest.finished_at}`);

  const scratch = mkdtempSync(join(tmpdir(), 'rs1-restore-'));
  let told = Date.now();
  const onProgress = (statements) => {
    if (Date.now() - told < 10_000) return;
    told = Date.now();
    console.log(`  ${statements} statements loaded`);
  };
  let result;
  try {
    result = await checkDump({ manifest, content: await open(api, bucket, manifest), path: join(scratch, 'check.sqlite'), onProgress });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  if (values.record) {
    const text = JSON.stringify({ ...result, checked_at: new Date().toISOString() });
    await api.putObject(bucket, `backups/d1/${id}.check.json`, Buffer.from(text), 'application/json');
  }
  if (!result.ok) throw new SetupError(`backup ${id} does not restore`, { advice: result.faults });
  const rate = Math.round(result.rows / Math.max(result.duration_ms / 1000, 0.001));
  console.log(`it restores: ${result.rows} rows in ${Object.keys(manifest.tables).length} tables, all checksums equal (${duration(result.duration_ms)}, ${rate} rows/s)`);
  if (values.into) await loadInto(values.into, { api, bucket, manifest, toolchain });
}

main().catch((error) => {
  say(error instanceof SetupError ? error.report() : error.name === 'ApiError' ? `error: ${error.message}` : error.stack);
  process.exit(1);
});
