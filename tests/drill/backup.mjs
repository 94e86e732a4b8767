// A backup of a large database by the real worker on the real runtime: others write meanwhile, the runtime is killed again and
// again, and what comes out is restored and compared, row by row, with where it came from.

import { createReadStream, createWriteStream, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';
import { startCloud } from '../../local/lib/cloud.mjs';
import { freePorts } from '../../local/lib/ports.mjs';
import { generateSecrets } from '../../local/lib/secrets.mjs';
import { workersRuntime } from '../../local/lib/stack-file.mjs';
import { readWorkers } from '../../local/lib/workers.mjs';
import { checkDump, lineQuery, rowSum } from '../../tools/delivery/restore-check.mjs';
import { Faults } from '../integration/support/faults.mjs';
import { WRITTEN, fill, writes } from './fill.mjs';
import { watchMemory } from './memory.mjs';

const DAILY = '0 3 * * *';
const OFTEN = '*/5 * * * *';
/** After this a run that was cut off is taken for dead: shared/store/src/backups.rs. The drill does not wait, it sets the row's clock back. */
const HOLD_MS = 180_000;
const RESTART_MS = 30_000;
/** A run that is not cut off has 15 minutes. */
const RUN_MS = 900_000;
/** About what a machine does; only to spread the cuts over the whole backup. */
const ROWS_PER_SECOND = 25_000;
/**
 * V8 collects garbage as late as it may. In production an isolate that has more than 128 MB is ended; the local runtime has no such
 * limit, so it is given one: what does not fit into 48 MB of long-lived objects ends the process, and the drill.
 */
const V8_FLAGS = '--max-old-space-size=48 --max-semi-space-size=4';
/** What the run itself writes, so that it is in the dump as it was at some moment of it. */
const OWN = ['backups', 'cron_runs', 'check_rounds', 'checks', 'component_days', 'incidents', 'incident_events', 'notices'];

/**
 * @typedef {object} Made
 * @property {Record<string, any>} manifest
 * @property {number} working milliseconds that runs took
 * @property {number} runs
 * @property {number} cuts how often the runtime was killed while a run was under way
 * @property {number} writes transactions of others meanwhile
 * @property {string} dump where the object is
 */

/**
 * @param {object} plan
 * @param {number} plan.devices
 * @param {number} plan.hours of telemetry, a row a device
 * @param {number} plan.cuts how often it is cut off
 * @param {string} plan.root where state is kept, for this time
 * @param {(line: string) => void} [plan.say]
 */
export async function drillBackup({ devices, hours, cuts, root, say = () => {} }) {
  const directory = mkdtempSync(join(root, 'rs1-backup-drill-'));
  const stage = new Stage(directory, say);
  try {
    await stage.start({ tapped: true });
    await stage.cloud.migrate();
    await fill(await stage.cloud.database(), { devices, hours, say });
    const memory = await stage.watchMemory();
    const busy = await stage.backup({ id: '2026-11-21', cuts, spread: (devices * hours * 1_000) / ROWS_PER_SECOND, writing: true });
    say(`${busy.cuts} times cut off, ${busy.writes} transactions of others: ${busy.manifest.parts.length} parts in ${busy.runs} runs`);
    const { heap, process: resident, samples } = await memory.stop();
    await stage.stop();

    await stage.start({ tapped: false });
    const quiet = await stage.backup({ id: '2026-11-22', cuts: 0, writing: false });
    const peak = { heap, wasm: stage.wasmMemory, process: resident, samples };
    await stage.stop();

    say('restoring both, and comparing them with the source');
    const source = new DatabaseSync(stage.database(), { readOnly: true });
    const restored = await prove(quiet, source, join(directory, 'quiet.sqlite'), {});
    const meanwhile = await prove(busy, source, join(directory, 'busy.sqlite'), WRITTEN);
    source.close();
    quiet.sqlBytes = await lengthOf(quiet.dump);
    const rows = Object.values(quiet.manifest.tables).reduce((sum, table) => sum + table.rows, 0);
    return { rows, busy, quiet, peak, restored, meanwhile, tables: Object.keys(quiet.manifest.tables).length };
  } finally {
    await stage.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * The worker and its runtime. `tapped`, each call of the database goes out of the process and back, as it does in production:
 * else the local runtime does everything between two parts without once looking at what comes from outside, and nobody could
 * write meanwhile, nor look at the memory.
 */
class Stage {
  cloud;
  /** The most that the worker said it had, in bytes. */
  wasmMemory = 0;
  #directory;
  #say;
  /** Is told that the runtime is a new one. */
  #crashed = () => {};
  #due = Date.parse('2026-11-21T03:00:00Z');
  #inspector;

  constructor(directory, say) {
    this.#directory = directory;
    this.#say = say;
  }

  async start({ tapped }) {
    const faults = new Faults();
    const ports = await freePorts();
    this.#inspector = ports.control;
    const [table] = readWorkers(['health']);
    // It stays for the runtimes that follow those that are killed.
    process.env.MINIFLARE_WORKERD_V8_FLAGS = V8_FLAGS;
    this.cloud = await startCloud({
      workers: [{ ...table, services: [] }],
      secrets: generateSecrets(),
      ports,
      persist: this.#directory,
      inspectorPort: this.#inspector,
      onCrash: () => this.#crashed(),
      onLine: (line) => faults.takeLine(line) || this.#read(line),
      adapt: tapped ? (workers) => faults.adapt(workers) : undefined,
    });
  }

  #read(line) {
    const [, mebibytes] = /; (\d+) MiB of wasm memory/.exec(line) ?? [];
    this.wasmMemory = Math.max(this.wasmMemory, Number(mebibytes ?? 0) * 1024 * 1024);
  }

  async stop() {
    const { cloud } = this;
    this.cloud = undefined;
    await cloud?.stop();
    delete process.env.MINIFLARE_WORKERD_V8_FLAGS;
  }

  watchMemory() {
    return watchMemory(this.#inspector, this.cloud.workers[0].name, workersRuntime);
  }

  /** The file of the database. */
  database() {
    const folder = join(this.#directory, 'v3', 'd1', 'miniflare-D1DatabaseObject');
    const [file] = readdirSync(folder).filter((name) => name.endsWith('.sqlite') && name !== 'metadata.sqlite');
    return join(folder, file);
  }

  /**
   * @param {{ id: string, cuts: number, spread?: number, writing: boolean }} plan `spread`: about how many milliseconds it takes,
   *   over which the cuts are to be spread
   * @returns {Promise<Made>}
   */
  async backup({ id, cuts, spread = 0, writing }) {
    const writer = writing && this.#write();
    const made = { runs: 0, cuts: 0, working: 0 };
    this.#due = Date.parse(`${id}T03:00:00Z`);
    for (let row; ; ) {
      this.#due += 60_000;
      // A trigger that is killed before it has begun the backup is delivered again.
      const cron = row ? OFTEN : DAILY;
      const began = Date.now();
      const cutAfter = made.cuts < cuts ? Math.random() * ((2 * spread) / (cuts + 1)) : undefined;
      const whole = await this.#run(cron, cutAfter);
      made.working += Date.now() - began;
      made.runs += 1;
      if (whole === 'cut') made.cuts += 1;
      row = await this.#row(id);
      if (row?.state === 'complete') break;
      if (made.runs > cuts + 200) throw new Error(`the backup comes to no end: ${JSON.stringify(row)}`);
    }
    const turns = writer ? await writer.stop() : 0;
    const bucket = await this.cloud.bucket('BACKUPS');
    const manifest = await (await bucket.get(`backups/d1/${id}.manifest.json`)).json();
    const dump = join(this.#directory, `${id}.sql.gz`);
    await pipeline(Readable.fromWeb((await bucket.get(manifest.object)).body), createWriteStream(dump));
    return { ...made, manifest, writes: turns, dump };
  }

  /** One run of a trigger, which may be cut off: the runtime is killed. */
  async #run(cron, cutAfter) {
    const restarted = new Promise((done) => (this.#crashed = done));
    const ended = this.cloud.scheduled('health', cron, new Date(this.#due)).then(
      () => 'ended',
      // It was killed, of which the other promises tell.
      () => new Promise(() => {}),
    );
    const cut = cutAfter === undefined ? new Promise(() => {}) : sleep(cutAfter, 'cut');
    const first = await within(RUN_MS, 'a run to end', Promise.race([ended, cut, restarted.then(() => 'crashed')]));
    if (first === 'crashed') throw new Error('the runtime crashed by itself');
    if (first === 'ended') return 'ended';
    process.kill(workersRuntime(), 'SIGKILL');
    await within(RESTART_MS, 'the runtime to come back', restarted);
    await this.#ask(`UPDATE backups SET updated_at = updated_at - ${HOLD_MS} WHERE state = 'running'`);
    return 'cut';
  }

  async #row(id) {
    const { results } = await this.#ask('SELECT state, detail FROM backups WHERE backup_id = ?', id);
    return results[0];
  }

  /** Asks until there is an answer: a runtime that has come back does not take calls at once. What is asked may be done twice. */
  async #ask(sql, ...values) {
    const deadline = Date.now() + RESTART_MS;
    for (;;) {
      try {
        const database = await this.cloud.database();
        return await within(RESTART_MS, 'the database', database.prepare(sql).bind(...values).all());
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await sleep(50);
      }
    }
  }

  /** Others at work, until they are stopped; answers how many transactions they made. */
  #write() {
    let stopped = false;
    let turn = 0;
    const working = (async () => {
      while (!stopped) {
        try {
          const database = await this.cloud.database();
          // A call that was under way when the runtime was killed may never be answered.
          await within(RESTART_MS, 'a transaction', database.batch(writes(turn).map((sql) => database.prepare(sql))));
          turn += 1;
        } catch (error) {
          // The runtime was killed: the transaction was made, or it was not and is made now.
          if (/UNIQUE/.test(error.message)) turn += 1;
          await sleep(50);
        }
        await sleep(5);
      }
      return turn;
    })();
    return {
      stop: () => {
        stopped = true;
        return working;
      },
    };
  }
}

/** The outcome of `work`, which has so many milliseconds. */
async function within(ms, what, work) {
  const timer = new AbortController();
  const late = sleep(ms, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`waited ${ms / 1000} s for ${what}`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    late.catch(() => {});
    timer.abort();
  }
}

/** Restores a dump and compares it with its manifest, and with the source but for what `except` leaves out. */
async function prove({ manifest, dump }, source, path, except) {
  const result = await checkDump({ manifest, content: createReadStream(dump), path });
  const copy = new DatabaseSync(path, { readOnly: true });
  const faults = [...result.faults];
  for (const table of Object.keys(manifest.tables).filter((name) => !OWN.includes(name))) {
    const [there, here] = [source, copy].map((database) => sumOf(database, table, except[table]));
    if (there.rows !== here.rows || there.sum !== here.sum) faults.push(`${table}: ${here.rows} rows, sum ${here.sum}; the source has ${there.rows}, ${there.sum}`);
  }
  copy.close();
  rmSync(path, { force: true });
  return { ...result, faults };
}

/** Of the text in a dump. */
async function lengthOf(dump) {
  let bytes = 0;
  for await (const chunk of createReadStream(dump).pipe(createGunzip())) bytes += chunk.length;
  return bytes;
}

function sumOf(database, table, filter) {
  const columns = database.prepare(`PRAGMA table_xinfo("${table}")`).all();
  const sum = rowSum();
  const where = filter ? ` WHERE ${filter}` : '';
  for (const { line } of database.prepare(`${lineQuery(table, columns)}${where}`).iterate()) sum.add(line);
  return sum.result();
}
