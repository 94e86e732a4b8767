// Loads a dump into a scratch database and holds what is in it against the dump's manifest (shared/ops: dump.rs, plan.rs).

import { createHash } from 'node:crypto';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { DatabaseSync } from 'node:sqlite';
import { createGunzip } from 'node:zlib';

const SPACE = 1n << 128n;

/**
 * @param {object} dump
 * @param {Manifest} dump.manifest
 * @param {AsyncIterable<Uint8Array>} dump.content the dump as it is stored
 * @param {string} [dump.path] of the scratch database; in memory without
 * @param {(statements: number) => void} [dump.onProgress]
 * @returns {Promise<{ ok: boolean, faults: string[], rows: number, duration_ms: number }>}
 *
 * @typedef {{ object: string, bytes: number, sha256: string, tables: Record<string, { rows: number, sum: string }> }} Manifest
 */
export async function checkDump({ manifest, content, path = ':memory:', onProgress }) {
  const started = Date.now();
  const faults = [];
  const database = new DatabaseSync(path, { enableForeignKeyConstraints: false });
  try {
    const { bytes, sha256 } = await load(database, content, onProgress);
    if (bytes !== manifest.bytes || sha256 !== manifest.sha256) faults.push(`the object is ${bytes} bytes, ${sha256}; the manifest says ${manifest.bytes}, ${manifest.sha256}`);
    faults.push(...compare(database, manifest.tables));
  } catch (error) {
    faults.push(`it does not load: ${error.message}`);
  } finally {
    database.close();
  }
  const rows = Object.values(manifest.tables).reduce((sum, table) => sum + table.rows, 0);
  return { ok: faults.length === 0, faults, rows, duration_ms: Date.now() - started };
}

/** Decompresses and executes, statement by statement; the object's size and hash come on the way. */
async function load(database, content, onProgress) {
  const hash = createHash('sha256');
  let bytes = 0;
  const measure = new Transform({
    transform(chunk, _encoding, done) {
      hash.update(chunk);
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  const statements = splitter((sql, count) => {
    database.exec(sql);
    onProgress?.(count);
  });
  database.exec('PRAGMA synchronous = OFF');
  database.exec('BEGIN');
  await pipeline(Readable.from(content), measure, createGunzip(), async (texts) => {
    texts.setEncoding('utf8');
    for await (const text of texts) statements.take(text);
  });
  statements.finish();
  database.exec('COMMIT');
  return { bytes, sha256: hash.digest('hex') };
}

/**
 * Cuts a dump into what comes before the rows, each INSERT, and what comes after. Only INSERTs are many and long; they
 * have no comments, so that a quote in them is always a literal's.
 * @param {(sql: string, count: number) => void} execute
 */
export function splitter(execute) {
  const ROW = 'INSERT INTO "';
  let text = '';
  let phase = 'head';
  let count = 0;
  const run = (sql) => execute(sql, (count += 1));
  const cut = (end) => {
    const sql = text.slice(0, end);
    text = text.slice(end);
    return sql;
  };
  return {
    take(more) {
      text += more;
      if (phase === 'head') {
        const begin = text.indexOf(`\n${ROW}`);
        if (begin < 0) return;
        run(cut(begin + 1));
        phase = 'rows';
      }
      while (phase === 'rows' && text.length >= ROW.length) {
        if (!text.startsWith(ROW)) phase = 'tail';
        const end = phase === 'rows' ? endOfInsert(text) : -1;
        if (end < 0) return;
        run(cut(end));
      }
    },
    finish() {
      if (!text.trimEnd().endsWith('-- end')) throw new Error('the dump has no end');
      run(text);
    },
  };
}

/** Where an INSERT ends, behind its semicolon and line feed; -1 if that has not come yet. */
function endOfInsert(text) {
  let at = 0;
  for (;;) {
    const end = text.indexOf(';\n', at);
    if (end < 0) return -1;
    const quote = text.indexOf("'", at);
    if (quote < 0 || quote > end) return end + 2;
    // A doubled quote closes a literal and opens it again.
    const close = text.indexOf("'", quote + 1);
    if (close < 0) return -1;
    at = close + 1;
  }
}

/** What is wrong with the tables. */
function compare(database, tables) {
  const faults = [];
  for (const [name, { rows, sum }] of Object.entries(tables)) {
    const found = sumOf(database, name);
    if (found.rows !== rows || found.sum !== sum) faults.push(`${name}: ${found.rows} rows, sum ${found.sum}; the manifest says ${rows}, ${sum}`);
  }
  const there = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'").all();
  for (const { name } of there) if (!tables[name]) faults.push(`${name} is not in the manifest`);
  const orphans = database.prepare('PRAGMA foreign_key_check').all();
  if (orphans.length > 0) faults.push(`${orphans.length} rows refer to one that is missing, the first in ${orphans[0].table}`);
  const [{ quick_check: state }] = database.prepare('PRAGMA quick_check').all();
  if (state !== 'ok') faults.push(`quick_check: ${state}`);
  return faults;
}

const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

/** As shared/ops/src/hash.rs sums: the first 16 bytes of each row's SHA-256, modulo 2^128. */
export function rowSum() {
  let sum = 0n;
  let rows = 0;
  return {
    /** @param {string} line the row as literals in parentheses */
    add(line) {
      const digest = createHash('sha256').update(line).digest();
      sum = (sum + ((digest.readBigUInt64BE(0) << 64n) | digest.readBigUInt64BE(8))) % SPACE;
      rows += 1;
    },
    result: () => ({ rows, sum: sum.toString(16).padStart(32, '0') }),
  };
}

/** The most arguments that D1 lets a function have, and operands deep that it lets an expression be, are about three times this. */
const GROUP = 30;

/**
 * The query for a table's rows as literals, `line`, in the order of the primary key. With `limit`, of one page: `key` is then
 * where the next one begins `after`, the key's values as literals.
 * @param {string} table
 * @param {{ name: string, pk: number, hidden: number }[]} columns as `PRAGMA table_xinfo` has them
 * @param {{ after?: string[] | null, limit?: number }} [page]
 */
export function lineQuery(table, columns, { after = null, limit } = {}) {
  const literals = columns.filter(({ hidden }) => hidden === 0).map(({ name }) => `quote(t.${quoted(name)})`);
  const groups = [];
  for (let at = 0; at < literals.length; at += GROUP) groups.push(literals.slice(at, at + GROUP).join(` || ',' || `));
  const line = `'(' || ${groups.map((group) => `(${group})`).join(` || ',' || `)} || ')' AS line`;
  if (limit === undefined) return `SELECT ${line} FROM ${quoted(table)} AS t`;
  const key = columns.filter(({ pk }) => pk > 0).sort((a, b) => a.pk - b.pk).map(({ name }) => `t.${quoted(name)}`);
  const filter = after === null ? '' : ` WHERE (${key.join(', ')}) > (${after.join(', ')})`;
  return `SELECT json_array(${key.map((name) => `quote(${name})`).join(', ')}) AS key, ${line} FROM ${quoted(table)} AS t${filter} ORDER BY ${key.join(', ')} LIMIT ${limit}`;
}

function sumOf(database, name) {
  const columns = database.prepare(`PRAGMA table_xinfo(${quoted(name)})`).all();
  if (columns.length === 0) return { rows: 0, sum: 'no such table' };
  const sum = rowSum();
  for (const { line } of database.prepare(lineQuery(name, columns)).iterate()) sum.add(line);
  return sum.result();
}
