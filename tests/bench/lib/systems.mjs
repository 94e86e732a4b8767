// What is measured, side by side: each in its own Miniflare and so its own workerd, all with the telemetry worker's
// configuration (bindings, queue settings, routes) and real D1, R2 and queues.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import workerd from 'workerd';
import { startCloud } from '../../../local/lib/cloud.mjs';
import { freePorts } from '../../../local/lib/ports.mjs';
import { readWorkers } from '../../../local/lib/workers.mjs';
import { unlimited } from './people.mjs';
import { FileLines } from './file-lines.mjs';

const HERE = fileURLToPath(new URL('..', import.meta.url));

/**
 * @typedef {object} System
 * @property {string} name
 * @property {'ours' | 'peer' | 'duties' | 'ceiling'} kind
 * @property {string} main the module that workerd loads
 * @property {import('../../../local/lib/workers.mjs').WorkerTable} table
 * @property {Record<string, number>} status what each route answers when all is well
 * @property {string[]} [routes] the only ones that it has
 */

/**
 * In memory, where a machine has such a place. The local D1 writes a counter to disk with every query, reads too, and waits
 * for the disk (5 ms on a common one) with everything else in the process standing still: on disk it is the disk
 * that is measured. In production a read writes nothing, and a write holds up nobody else.
 */
export function defaultRoot() {
  return existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
}

/** Right answers of the real ones; the ceiling knows only 200. */
const STATUS = { admission: 200, acl: 200, state: 204, telemetry: 202, devices: 200, device: 200, zones: 200 };
const CEILING_STATUS = Object.fromEntries(Object.keys(STATUS).map((route) => [route, 200]));

export class Workshop {
  /** Bundles and state; removed at the end. @type {string} */
  directory;

  /** @param {string} [root] where */
  constructor(root = defaultRoot()) {
    this.directory = mkdtempSync(join(root, 'rs1-bench-'));
  }

  /**
   * @param {{ name: string, directory: string }[]} also other bundles of the telemetry worker
   * @returns {Promise<System[]>} ours first
   */
  async systems(also = []) {
    const [table] = readWorkers(['telemetry']);
    const peer = await this.bundlePeer('index');
    const ours = (name, main) => ({ name, kind: 'ours', main, table: { ...table, main }, status: STATUS });
    const databases = table.d1_databases.map((db) => ({ ...db, migrations_dir: join(HERE, 'peer', 'migrations') }));
    const ceiling = join(HERE, 'ceiling', 'index.js');
    return [
      ours('ours', table.main),
      ...also.map(({ name, directory }) => ours(name, resolve(directory, 'index.js'))),
      { name: 'peer', kind: 'peer', main: peer, table: { ...table, main: peer, d1_databases: databases }, status: STATUS },
      { name: 'ceiling', kind: 'ceiling', main: ceiling, table: { ...table, main: ceiling }, status: CEILING_STATUS },
    ];
  }

  /** A worker that does what is required of every answer to the broker and decides nothing. @returns {System} */
  duties() {
    const [table] = readWorkers(['telemetry']);
    const main = join(HERE, 'duties', 'index.js');
    return { name: 'duties', kind: 'duties', main, table: { ...table, main }, status: STATUS, routes: ['admission', 'acl'] };
  }

  /** The same of the device API. @returns {Promise<System[]>} ours first */
  async apiSystems() {
    // What is measured asks no other worker, and none runs beside it.
    const table = { ...unlimited(readWorkers(['device-api'])[0]), services: [] };
    const peer = await this.bundlePeer('api');
    const databases = table.d1_databases.map((db) => ({ ...db, migrations_dir: join(HERE, 'peer', 'migrations') }));
    const ceiling = join(HERE, 'ceiling', 'index.js');
    return [
      { name: 'ours', kind: 'ours', main: table.main, table, status: STATUS },
      { name: 'peer', kind: 'peer', main: peer, table: { ...table, main: peer, d1_databases: databases }, status: STATUS },
      { name: 'ceiling', kind: 'ceiling', main: ceiling, table: { ...table, main: ceiling }, status: CEILING_STATUS },
    ];
  }

  /** The module of a peer. @param {'index' | 'api' | 'watch'} entry */
  async bundlePeer(entry) {
    const outfile = join(this.directory, `peer-${entry}`, 'index.js');
    await build({
      entryPoints: [join(HERE, 'peer', 'src', `${entry}.ts`)],
      outfile,
      bundle: true,
      minify: true,
      format: 'esm',
      target: 'es2024',
      conditions: ['workerd', 'worker', 'browser'],
      logLevel: 'warning',
    });
    return outfile;
  }

  /** An empty directory. @param {string} name */
  fresh(name) {
    const path = join(this.directory, 'state', name);
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path, { recursive: true });
    return path;
  }

  close() {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/**
 * @param {System} system
 * @param {object} run
 * @param {Record<string, string>} run.secrets
 * @param {string} run.persist
 * @param {(workers: object[]) => object[]} [run.adapt] the last word on Miniflare's workers
 */
export async function start(system, { secrets, persist, adapt }) {
  const ports = await freePorts();
  const before = runtimes();
  const trouble = [];
  const file = join(persist, 'runtime.log');
  writeFileSync(file, '');
  const cloud = await loggingTo(file, () =>
    startCloud({
      workers: [system.table],
      secrets,
      ports,
      persist,
      adapt,
      onLine: (line) => trouble.push(line),
      onDeadLetter: (letter) => trouble.push(`dead letter: ${JSON.stringify(letter).slice(0, 300)}`),
      onCrash: () => trouble.push('workerd crashed and was started again'),
    }),
  );
  const [runtime] = runtimes().filter((pid) => !before.includes(pid));
  return { cloud, port: ports.http, emqx: ports.emqx, trouble, log: new FileLines(file), cpu: () => (runtime ? cpuSeconds(runtime) : NaN) };
}

/**
 * Has the runtime that is started meanwhile write its log to a file. Were it a pipe, each line would wake this process, which
 * is none of what is measured: a wake-up costs the runtime about as much as the line (9 µs), and reading takes another 20 µs of the
 * cores that the load generator needs.
 */
async function loggingTo(file, startRuntime) {
  const { MINIFLARE_WORKERD_PATH: runtime } = process.env;
  const script = `${file}.sh`;
  const quoted = (path) => `'${path.replaceAll("'", `'\\''`)}'`;
  const real = quoted(runtime ?? workerd.default);
  writeFileSync(script, `#!/bin/sh\n[ "$1" = serve ] || exec ${real} "$@"\nexec ${real} "$@" >> ${quoted(file)} 2>&1\n`, { mode: 0o755 });
  process.env.MINIFLARE_WORKERD_PATH = script;
  try {
    return await startRuntime();
  } finally {
    if (runtime === undefined) delete process.env.MINIFLARE_WORKERD_PATH;
    else process.env.MINIFLARE_WORKERD_PATH = runtime;
  }
}

/** The workerd processes that this process has started (Linux; elsewhere none are found). */
export function runtimes() {
  try {
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
    return children.filter((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'workerd');
  } catch {
    return [];
  }
}

/** What a process has used, user and system; proc(5) counts hundredths of a second. @param {number | string} pid */
export function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
