// When a migration may run: what expands the schema before the code that needs it, what contracts it after, when the
// last instance of the old code is gone. One release may do both, in this order, and only in this order.
//
// A migration expands unless it says otherwise in its header. What drops or renames something must say which it is:
//
//   -- phase: contract
//   -- phase: expand, because nothing reads the column yet

import { readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { SetupError } from '../lib/say.mjs';

/** What the code that runs now may still be using. */
const TAKES_AWAY = /\bDROP\s+(TABLE|VIEW|COLUMN|INDEX)\b|\bRENAME\s+(TO|COLUMN)\b|\bALTER\s+TABLE\s+\S+\s+DROP\b/i;
/** What the code that runs now cannot know yet. */
const ADDS = /\bCREATE\s+(TABLE|VIEW|TRIGGER|INDEX|UNIQUE\s+INDEX)\b|\bADD\s+COLUMN\b|\bALTER\s+TABLE\s+\S+\s+ADD\b/i;

/**
 * @typedef {{ name: string, phase: 'expand' | 'contract' }} Migration
 */

/**
 * @param {string} name the file's
 * @param {string} sql
 * @returns {Migration & { fault: string | null }}
 */
export function classify(name, sql) {
  const header = /^(?:--[^\n]*\n|\s*\n)*/.exec(sql)[0];
  const [, declared, reason] = /^--\s*phase:\s*(\w+)(?:,\s*(\S[^\n]*))?$/m.exec(header) ?? [];
  const statements = withoutTexts(sql);
  const takesAway = TAKES_AWAY.exec(statements)?.[0];
  const adds = ADDS.exec(statements)?.[0];
  const say = (fault) => ({ name, phase: declared === 'contract' ? 'contract' : 'expand', fault });
  if (declared !== undefined && !['expand', 'contract'].includes(declared)) return say(`${name}: the phase ${declared} is neither expand nor contract`);
  if (takesAway && declared === undefined) return say(`${name} has ${takesAway}: say in its header which phase it is, -- phase: contract, or -- phase: expand, REASON`);
  if (takesAway && declared === 'expand' && !reason) return say(`${name} has ${takesAway} and says that it expands: give the reason, -- phase: expand, REASON`);
  if (adds && declared === 'contract') return say(`${name} contracts, and yet has ${adds}: make it two migrations`);
  return say(null);
}

/** The statements alone: no comments, no string literals. */
function withoutTexts(sql) {
  return sql.replace(/'(?:[^']|'')*'|--[^\n]*|\/\*[^]*?\*\//g, ' ');
}

/**
 * All migrations of a directory, in the order in which they are applied.
 * @param {string} directory
 * @returns {Migration[]}
 * @throws {SetupError} with every file that is not clear
 */
export function readMigrations(directory) {
  const files = readdirSync(directory)
    .filter((file) => file.endsWith('.sql'))
    .sort();
  const read = files.map((file) => classify(file, readFileSync(join(directory, file), 'utf8')));
  const faults = read.flatMap(({ fault }) => (fault ? [fault] : []));
  const numbers = files.map((file) => /^(\d{4})_/.exec(file)?.[1]);
  files.forEach((file, index) => {
    if (numbers[index] === undefined) faults.push(`${file}: the name must be NNNN_what.sql`);
    else if (numbers.indexOf(numbers[index]) !== index) faults.push(`${file}: its number is taken by ${files[numbers.indexOf(numbers[index])]}`);
  });
  if (faults.length > 0) throw new SetupError('the migrations cannot be released', { advice: faults });
  return read.map(({ name, phase }) => ({ name, phase }));
}

/**
 * What of the migrations is still to be applied, before the code and after it.
 * @param {Migration[]} all in order
 * @param {string[]} applied names
 * @returns {{ before: Migration[], after: Migration[] }}
 * @throws {SetupError} where the order of the files contradicts the order of a release
 */
export function pendingMigrations(all, applied) {
  const unknown = applied.filter((name) => !all.some((each) => each.name === name));
  if (unknown.length > 0) {
    throw new SetupError(`the database has migrations that this commit does not know: ${unknown.join(', ')}`, {
      advice: ['this commit is older than what is deployed: release a newer one, or roll back with: npm run deploy -- rollback'],
    });
  }
  const pending = all.filter(({ name }) => !applied.includes(name));
  const first = pending.findIndex(({ phase }) => phase === 'contract');
  const [before, after] = first < 0 ? [pending, []] : [pending.slice(0, first), pending.slice(first)];
  const late = after.find(({ phase }) => phase === 'expand');
  if (late) {
    throw new SetupError(`${late.name} expands the schema, and ${after[0].name} before it contracts it: they cannot be one release`, {
      advice: [`release the commit with ${after[0].name} first, then this one`],
    });
  }
  const held = all.findIndex(({ name }) => name === pending[0]?.name);
  const overtaken = all.slice(held + 1).find(({ name }) => held >= 0 && applied.includes(name));
  if (overtaken) throw new SetupError(`${pending[0].name} is not applied, though the later ${overtaken.name} is: give it a number of its own at the end`);
  return { before, after };
}

/** The directory that a worker's binding names. */
export function migrationsDirectory({ root, workers }) {
  const bound = workers.flatMap(({ config }) => config.d1_databases);
  const directories = [...new Set(bound.map(({ migrations_dir: directory }) => directory))];
  if (directories.length !== 1) throw new SetupError(`the workers name ${directories.length} directories of migrations, and should name one`);
  return { directory: resolve(root, 'wrangler', directories[0]), database: bound[0] };
}
