// `npm run -s restore -- --env production --from latest`: loads a backup into a scratch database on this machine and
// holds it against its manifest; nothing else is touched. With `--record` the result is kept beside the backup, where the
// off-site copy, the retention and the watch look for it: the workflow `backup` does that every day.
//
// `… --into NAME` then loads it into the D1 database of that name, which must be empty, with `wrangler d1 execute --file`,
// and holds every row that is there afterwards against the manifest. With `--local` all of it is the local stack's. To bring back
// the running database by its own history there is Time Travel: docs/runbook.md.

import { createReadStream, createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { createGunzip } from 'node:zlib';
import { checkKey, findBackups, localStore, remoteStore } from './delivery/backup-store.mjs';
import { cloudflareClient, credentials } from './delivery/cloudflare.mjs';
import { backupsBucket, openProject } from './delivery/project.mjs';
import { checkDump } from './delivery/restore-check.mjs';
import { compareTarget, load, localTarget, remoteTarget, requireEmpty } from './delivery/restore-target.mjs';
import { ROOT } from './lib/paths.mjs';
import { SetupError, duration, say } from './lib/say.mjs';
import { workerConfig } from './lib/wrangler-config.mjs';
import { setUp } from './toolchain.mjs';

const HELP = `npm run -s restore -- --env staging|production | --local [options]

  --from ID        2026-11-21, 2026-11-21T1405, latest, or unchecked: all that no restore check has seen (latest)
  --into NAME      loads it into the empty D1 database of that name, and compares each row of it
  --record         keeps the result of the check beside the backup
  --remote         the account's buckets and databases; what --env means by itself
  --local          the local stack's; --state DIR where it keeps them, if not in .local/
`;
const OPTIONS = {
  env: { type: 'string' },
  from: { type: 'string', default: 'latest' },
  into: { type: 'string' },
  local: { type: 'boolean', default: false },
  remote: { type: 'boolean', default: false },
  record: { type: 'boolean', default: false },
  state: { type: 'string', default: join(ROOT, '.local') },
  project: { type: 'string' },
  help: { type: 'boolean', default: false },
};
/** How often something that takes long tells how far it is. */
const PULSE_MS = 5_000;

/** Calls `tell` at most every few seconds. */
function pulse(tell) {
  let told = Date.now();
  return (...what) => {
    if (Date.now() - told < PULSE_MS) return;
    told = Date.now();
    console.log(`  ${tell(...what)}`);
  };
}

/** Where backups are, and what is made of a name: an account's, or this machine's. */
async function place(values) {
  if (values.local && (values.remote || values.env)) throw new SetupError('--local is this machine: it goes with neither --remote nor --env');
  if (values.local) {
    const state = resolve(values.state);
    const { r2_buckets: buckets, d1_databases: databases } = workerConfig('health', 'local');
    const { bucket_name: bucket } = buckets.find(({ binding }) => binding === 'BACKUPS');
    return { store: await localStore(bucket, state), target: (name) => localTarget(name, state, databases) };
  }
  const project = openProject(values.env, values.project);
  const api = cloudflareClient(credentials(process.env));
  return { store: remoteStore(api, backupsBucket(project)), target: (name) => remoteTarget(api, name) };
}

async function download(store, { object, bytes }, file) {
  const content = await store.open(object);
  if (content === null) throw new SetupError(`${store.name} has a manifest, but not ${object}`);
  const far = pulse((done) => `${done} of ${bytes} bytes fetched`);
  let done = 0;
  const counter = new Transform({
    transform(chunk, _encoding, next) {
      done += chunk.length;
      far(done);
      next(null, chunk);
    },
  });
  await pipeline(content, counter, createWriteStream(file));
}

/** Loads a backup into a scratch database and tells whether it is what its manifest says. */
async function prove(store, { id, manifest }, scratch, record) {
  console.log(`backup ${id}: ${manifest.bytes} bytes, schema ${manifest.schema_version}, ended ${manifest.finished_at}`);
  const file = join(scratch, 'dump.sql.gz');
  await download(store, manifest, file);
  const total = Object.values(manifest.tables).reduce((sum, { rows }) => sum + rows, 0);
  const onProgress = pulse((statements) => `${statements} statements loaded, ${total} rows to come to`);
  const result = await checkDump({ manifest, content: createReadStream(file), path: join(scratch, 'check.sqlite'), onProgress });
  rmSync(join(scratch, 'check.sqlite'), { force: true });
  if (record) {
    const text = JSON.stringify({ ...result, checked_at: new Date().toISOString() });
    await store.put(checkKey(id), Buffer.from(text), 'application/json');
  }
  if (!result.ok) throw new SetupError(`backup ${id} does not restore`, { advice: result.faults });
  const rate = Math.round(result.rows / Math.max(result.duration_ms / 1000, 0.001));
  console.log(`it restores: ${result.rows} rows in ${Object.keys(manifest.tables).length} tables, all checksums equal (${duration(result.duration_ms)}, ${rate} rows/s)`);
  return file;
}

async function restoreInto(target, { manifest }, file, scratch, toolchain) {
  const started = Date.now();
  const text = join(scratch, 'dump.sql');
  await pipeline(createReadStream(file), createGunzip(), createWriteStream(text));
  console.log(`loading it into ${target.name}`);
  await load(target, text, scratch, toolchain);
  rmSync(text);
  console.log(`comparing what is in ${target.name} now`);
  const far = pulse((table, rows) => `${table}: ${rows} rows`);
  const faults = await compareTarget(target, manifest, far);
  if (faults.length > 0) throw new SetupError(`${target.name} is not what was backed up`, { advice: faults });
  console.log(`${target.name} has the backup, every row equal (${duration(Date.now() - started)})`);
}

async function main() {
  const { values } = parseArgs({ options: OPTIONS });
  if (values.help) return void process.stdout.write(HELP);
  const { store, target: targetOf } = await place(values);
  const scratch = mkdtempSync(join(tmpdir(), 'rs1-restore-'));
  let target;
  try {
    const backups = await findBackups(store, values.from);
    target = values.into && (await targetOf(values.into));
    if (target && backups.length > 1) throw new SetupError(`--into wants one backup; these are ${backups.map(({ id }) => id).join(', ')}`);
    // Before minutes are spent on the proof.
    if (target) await requireEmpty(target);
    const failed = [];
    for (const backup of backups) {
      try {
        const file = await prove(store, backup, scratch, values.record);
        if (!target) continue;
        await restoreInto(target, backup, file, scratch, await setUp('node'));
        if (values.env) console.log(`let wrangler/*.jsonc name ${target.id}, and release`);
      } catch (error) {
        // One that does not restore keeps no other from being looked at.
        if (!(error instanceof SetupError) || backups.length === 1) throw error;
        say(error.report());
        failed.push(backup.id);
      }
    }
    if (failed.length > 0) throw new SetupError(`${failed.length} of ${backups.length} backups do not restore: ${failed.join(', ')}`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    await target?.close();
    await store.close();
  }
}

main().catch((error) => {
  say(error instanceof SetupError ? error.report() : error.name === 'ApiError' ? `error: ${error.message}` : error.stack);
  process.exit(1);
});
