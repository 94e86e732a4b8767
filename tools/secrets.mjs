// `npm run -s secrets -- status --env staging|production`: which secrets each worker has, which are still accepted beside a
// newer one, and what is due. `… -- note NAME replaced|dropped --env …` writes down that a secret was replaced, or the one
// before it dropped: in the table that the check reads, and in the security log, by its name and never by its value.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { secretNames } from './delivery/account.mjs';
import { cloudflareClient, credentials } from './delivery/cloudflare.mjs';
import { openProject } from './delivery/project.mjs';
import { ROOT } from './lib/paths.mjs';
import { SetupError, say } from './lib/say.mjs';

const DAY = 24 * 60 * 60 * 1000;
const ACTS = ['replaced', 'dropped'];
const HELP = `npm run -s secrets -- COMMAND --env staging|production

  status                       which secrets there are, since when, and what is due
  note NAME replaced|dropped   writes down that NAME was replaced, or the one before it dropped

A rotation goes: NAME_PREVIOUS gets the present value and NAME a new one (docs/runbook.md, "A secret"); note replaced; whoever
uses it (the broker) gets the new one; NAME_PREVIOUS is deleted; note dropped.
`;

const OPTIONS = {
  env: { type: 'string' },
  help: { type: 'boolean', default: false },
  // Where wrangler/ is, for specifications.
  project: { type: 'string' },
};

async function main() {
  const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
  const [act, ...rest] = positionals;
  if (values.help) return process.stdout.write(HELP);
  const isGood = (act === 'status' && rest.length === 0) || (act === 'note' && rest.length === 2 && ACTS.includes(rest[1]));
  if (!isGood) throw new SetupError('say status, or note NAME replaced|dropped', { advice: HELP.split('\n') });
  const project = openProject(values.env, values.project);
  const api = cloudflareClient(credentials(process.env));
  const database = project.workers.flatMap(({ config }) => config.d1_databases).find(({ binding }) => binding === 'DB').database_id;
  // The API takes texts only; a STRICT table makes numbers of them again.
  const run = async (sql, params = []) => (await api.post(`/d1/database/${database}/query`, { sql, params: params.map(String) }))[0].results;
  const known = () => run('SELECT name, every_days, rotated_at, dropped_at FROM secret_rotations ORDER BY name LIMIT 100');
  if (act === 'status') return status(project, api, await known());
  return note(run, await known(), ...rest);
}

/** @param {{ name: string, every_days: number, rotated_at: number, dropped_at: number | null }[]} rotations */
async function status(project, api, rotations) {
  const owners = new Map();
  for (const entry of project.workers) {
    for (const name of await secretNames(api, entry)) owners.set(name, [...(owners.get(name) ?? []), entry.worker]);
  }
  const day = (time) => new Date(time).toISOString().slice(0, 10);
  const names = [...new Set([...rotations.map(({ name }) => name), ...[...owners.keys()].filter((name) => !name.endsWith('_PREVIOUS'))])].sort();
  const rows = names.map((name) => {
    const rotation = rotations.find((each) => each.name === name);
    const due = rotation && rotation.rotated_at + rotation.every_days * DAY;
    const when = due === undefined ? 'when it leaked' : due <= Date.now() ? `DUE since ${day(due)}` : day(due);
    const set = owners.get(name)?.join(', ') ?? 'nowhere';
    const previous = owners.has(`${name}_PREVIOUS`) ? 'accepted' : '';
    return [name, set, previous, rotation ? day(rotation.rotated_at) : '', when];
  });
  const table = [['secret', 'set in', 'previous', 'replaced', 'due'], ...rows];
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  for (const row of table) console.log(row.map((cell, column) => cell.padEnd(widths[column])).join('  ').trimEnd());
}

async function note(run, rotations, name, act) {
  if (!rotations.some((rotation) => rotation.name === name)) {
    throw new SetupError(`${name} is none of ${rotations.map((rotation) => rotation.name).join(', ')}`);
  }
  const at = Date.now();
  const sql = (file) => readFileSync(join(ROOT, 'shared', 'store', 'sql', file), 'utf8');
  // The log first: what is noted twice because the second call failed is logged twice, and nothing is noted without a trace.
  await run(sql('secret_rotation_log.sql'), [recordId(at), 'secret_rotated', 'info', name, JSON.stringify({ act }), at]);
  await run(sql('secret_rotation_note.sql'), [name, act, at]);
  console.log(`${name}: ${act}, ${new Date(at).toISOString()}`);
}

/** `sec-` and a ULID. */
function recordId(at) {
  const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
  const time = Array.from({ length: 10 }, (_, place) => alphabet[Math.floor(at / 32 ** (9 - place)) % 32]);
  const random = Array.from(randomBytes(16), (byte) => alphabet[byte % 32]);
  return `sec-${[...time, ...random].join('')}`;
}

main().catch((error) => {
  say(error instanceof SetupError ? error.report() : error.name === 'ApiError' || error.code?.startsWith('ERR_PARSE_ARGS') ? `error: ${error.message}` : error.stack);
  process.exit(1);
});
