// D1 databases that a backup is loaded into, in an account or on this machine. wrangler loads them, in one transaction; what
// is in them afterwards is read here, row by row.

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SetupError } from '../lib/say.mjs';
import { runLong } from '../lib/proc.mjs';
import { lineQuery, rowSum } from './restore-check.mjs';

const TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'";
const LOAD_TIMEOUT_MS = 3_600_000;
/** Text that a page of rows should have: small beside what the API answers at once. */
const PAGE_BYTES = 1_000_000;
const MOST_ROWS = 5_000;

/**
 * @typedef {object} Target
 * @property {string} name
 * @property {string} id
 * @property {(sql: string) => Promise<Record<string, any>[]>} query
 * @property {string[]} where wrangler's options
 * @property {() => Promise<void>} close until the next query
 */

/** @param {ReturnType<import('./cloudflare.mjs').cloudflareClient>} api @param {string} name @returns {Promise<Target>} */
export async function remoteTarget(api, name) {
  const database = (await api.list('/d1/database')).find((each) => each.name === name);
  if (!database) throw new SetupError(`there is no database ${name}`, { advice: [`create it: npx wrangler d1 create ${name}`] });
  const query = async (sql) => (await api.post(`/d1/database/${database.uuid}/query`, { sql }))[0].results;
  return { name, id: database.uuid, query, where: ['--remote'], close: async () => {} };
}

/**
 * @param {string} name
 * @param {string} state the local stack's; a database that it has not, it gets
 * @param {import('../lib/wrangler-config.mjs').workerConfig[]} databases those that the local stack binds
 * @returns {Target}
 */
export function localTarget(name, state, databases) {
  const bound = databases.find((each) => each.database_name === name);
  // Any other is told apart by its name.
  const [, a, b, c, d, e] = /^(.{8})(.{4})(.{4})(.{4})(.{12})/.exec(createHash('sha256').update(name).digest('hex'));
  const id = bound?.database_id ?? [a, b, c, d, e].join('-');
  let mf;
  const query = async (sql) => {
    // Loading it costs a second, which the account's databases need not pay.
    const { Miniflare } = await import('miniflare');
    mf ??= new Miniflare({ modules: true, script: 'export default {}', d1Databases: { DB: id }, defaultPersistRoot: join(state, 'v3') });
    return (await (await mf.getD1Database('DB')).prepare(sql).all()).results;
  };
  const close = async () => {
    await mf?.dispose();
    mf = undefined;
  };
  return { name, id, query, where: ['--local', '--persist-to', state], close };
}

/** @param {Target} target @throws {SetupError} if there is anything in it */
export async function requireEmpty(target) {
  const there = await target.query(TABLES);
  if (there.length > 0) throw new SetupError(`${target.name} is not empty: it has ${there.length} tables`, { advice: ['restore into a new database, then let the configs name it'] });
}

/**
 * @param {Target} target
 * @param {string} file the dump's text
 * @param {string} scratch a directory for wrangler's configuration
 * @param {import('../toolchain.mjs').Toolchain} toolchain
 */
export async function load({ name, id, where, close }, file, scratch, toolchain) {
  // wrangler has it to itself.
  await close();
  mkdirSync(scratch, { recursive: true });
  const config = join(scratch, 'wrangler.json');
  writeFileSync(config, JSON.stringify({ name: 'rs1-restore', compatibility_date: '2026-07-30', d1_databases: [{ binding: 'DB', database_name: name, database_id: id }] }));
  const args = [toolchain.wranglerBin, 'd1', 'execute', 'DB', '--yes', '--file', file, '--config', config, ...where];
  const loaded = await runLong(`restore into ${name}`, toolchain.node22, args, { cwd: scratch, env: { ...toolchain.env, CI: 'true' }, timeout: LOAD_TIMEOUT_MS });
  if (!loaded.ok) throw new SetupError(`${name} could not be loaded`, { output: loaded.tail, advice: ['D1 is as it was before: the command can be run again'] });
}

/**
 * What is in a database that is not as the manifest has it.
 * @param {Target} target
 * @param {import('./restore-check.mjs').Manifest} manifest
 * @param {(table: string, rows: number) => void} onTable
 * @returns {Promise<string[]>}
 */
export async function compareTarget({ query }, { tables }, onTable) {
  const faults = [];
  for (const [table, wanted] of Object.entries(tables)) {
    const sum = rowSum();
    const columns = await query(`PRAGMA table_xinfo("${table}")`);
    let after = null;
    let limit = 500;
    for (;;) {
      const page = await query(lineQuery(table, columns, { after, limit }));
      for (const { line } of page) sum.add(line);
      if (page.length < limit) break;
      after = JSON.parse(page.at(-1).key);
      const bytes = page.reduce((total, { line }) => total + line.length, 0) / page.length;
      limit = Math.max(1, Math.min(MOST_ROWS, Math.floor(PAGE_BYTES / bytes)));
    }
    const found = sum.result();
    if (found.rows !== wanted.rows || found.sum !== wanted.sum) faults.push(`${table}: ${found.rows} rows, sum ${found.sum}; the manifest says ${wanted.rows}, ${wanted.sum}`);
    onTable(table, found.rows);
  }
  const strange = (await query(TABLES)).filter(({ name }) => !tables[name]);
  faults.push(...strange.map(({ name }) => `${name} is not in the manifest`));
  return faults;
}
