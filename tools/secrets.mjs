// `npm run -s secrets -- status --env ENV`: which secrets each worker has, which are still accepted beside a newer one, and what
// is due. `… -- rotate NAME --env ENV` replaces one, step by step, and tries each step (rotation/walks.mjs). `… -- note NAME
// replaced|dropped --env ENV` writes down what was done by hand. A value is never printed, and never an argument.

import { parseArgs } from 'node:util';
import { Trouble } from '../local/lib/trouble.mjs';
import { secretNames } from './delivery/account.mjs';
import { cloudflareClient, credentials } from './delivery/cloudflare.mjs';
import { openProject } from './delivery/project.mjs';
import { SetupError, say } from './lib/say.mjs';
import { deployedPlace } from './rotation/deployed.mjs';
import { rewrap } from './rotation/device-keys.mjs';
import { Journal, underWay } from './rotation/journal.mjs';
import { localPlace } from './rotation/local.mjs';
import { ROTATIONS, fromFile, note, walkOn } from './rotation/walks.mjs';

const DAY = 24 * 60 * 60 * 1000;
const ACTS = ['replaced', 'dropped'];
/** What is not done yet waits for somebody. */
const WAITS = 3;
const HELP = `npm run -s secrets -- COMMAND --env local|staging|production

  status                       which secrets there are, since when, what is due, and which rotation is under way
  rotate NAME                  replaces NAME: ${Object.keys(ROTATIONS).join(', ')}
  reseal --sealed-with FILE    seals device keys of an older backup with the present DEVICE_KEK (--present FILE)
  note NAME replaced|dropped   writes down what was done by hand

rotate goes as far as it can and is taken up where it stood; it ends with status ${WAITS} where somebody has to do something first.
  --dry-run        prints the steps, and what is interrupted
  --done           what the last run asked for is done
  --present FILE   the present value, where it is not on this machine (a file of mode 0600; the broker's own will do)
  --value FILE     the new value, where somebody else makes it
  --quiet SECONDS  how long nobody may have used the old webhook secret before it is dropped (local 10, else 600; who
                   calls often is logged once a minute)
  --wait SECONDS   how long to wait for what the old key signed to expire, instead of its whole life: what is left is refused
  --state DIR      local: the state of the stack that is meant (.local/)
`;

const text = { type: 'string' };
const OPTIONS = {
  env: text,
  help: { type: 'boolean', default: false },
  'dry-run': { type: 'boolean', default: false },
  done: { type: 'boolean', default: false },
  present: text,
  value: text,
  'sealed-with': text,
  quiet: text,
  wait: text,
  state: text,
  // Where wrangler/ is, `host:port` to send requests to, and seconds between two looks: for specifications.
  project: text,
  connect: text,
  poll: text,
};

async function main() {
  const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
  const [act, ...rest] = positionals;
  if (values.help) return process.stdout.write(HELP);
  const shapes = { status: rest.length === 0, note: rest.length === 2 && ACTS.includes(rest[1]), rotate: rest.length === 1, reseal: rest.length === 0 && values['sealed-with'] };
  if (!shapes[act]) throw new SetupError('say status, rotate NAME, reseal --sealed-with FILE, or note NAME replaced|dropped', { advice: HELP.split('\n') });
  if (act === 'rotate' && !ROTATIONS[rest[0]]) throw new SetupError(`${rest[0]} is none of ${Object.keys(ROTATIONS).join(', ')}`);
  if (act === 'rotate' && values['dry-run']) return describe(rest[0]);

  const isLocal = values.env === 'local';
  const project = isLocal ? null : openProject(values.env, values.project);
  const api = isLocal ? null : cloudflareClient(credentials(process.env));
  const poll = seconds(values, 'poll');
  const place = isLocal ? await localPlace(values.state) : deployedPlace(project, api, { connect: values.connect, poll });
  if (act === 'rotate') return rotate(place, rest[0], values);
  if (act === 'reseal') return reseal(place, values);
  const known = await place.query('SELECT name, every_days, rotated_at, dropped_at FROM secret_rotations ORDER BY name LIMIT 100', []);
  if (act === 'note') return noteByHand(place, known, ...rest);
  return status(known, isLocal ? new Map() : await owners(project, api), underWay(place.directory, place.environment));
}

/** @param {string} name */
function describe(name) {
  const { steps, interrupts } = ROTATIONS[name];
  console.log(`${name}: interrupts ${interrupts}`);
  for (const [index, { id, says }] of steps.entries()) console.log(`${String(index + 1).padStart(2)}  ${id.padEnd(14)} ${says.replaceAll('NAME', name)}`);
}

async function rotate(place, name, values) {
  const journal = new Journal(place.directory, place.environment, name);
  const options = { present: values.present, value: values.value, done: values.done, quiet: millis(values, 'quiet'), wait: millis(values, 'wait') };
  const log = (line) => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);
  if (journal.isOpen) log(`${name}: goes on, after ${Object.keys(journal.entry.done).at(-1)}`);
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  try {
    const done = await walkOn({ name, journal, place, options, say: log, sleep });
    if (!done) process.exitCode = WAITS;
    else log(`${name} is replaced`);
  } catch (error) {
    // What somebody else said of a request may have the request in it.
    for (const value of Object.values(journal.entry.values)) error.message = error.message.replaceAll(value, '[secret]');
    throw error;
  }
}

/** What a backup brought back that was made before the last rotation of DEVICE_KEK. */
async function reseal(place, values) {
  const to = values.present ? fromFile(values.present) : await place.present('DEVICE_KEK');
  const from = fromFile(values['sealed-with']);
  if (![from, to].every((kek) => /^[0-9a-f]{64}$/i.test(kek ?? ''))) throw new SetupError('--sealed-with and --present want files with 64 hex digits');
  const { sealed, already, strange } = await rewrap(place.query, { from, to });
  console.log(`${sealed} device keys sealed anew, ${already} were already`);
  if (strange > 0) throw new SetupError(`${strange} open with neither`);
}

/** Which workers have which secrets. @returns {Promise<Map<string, string[]>>} */
async function owners(project, api) {
  const found = new Map();
  for (const entry of project.workers) {
    for (const name of await secretNames(api, entry)) found.set(name, [...(found.get(name) ?? []), entry.worker]);
  }
  return found;
}

/** @param {{ name: string, every_days: number, rotated_at: number, dropped_at: number | null }[]} rotations */
function status(rotations, set, walks) {
  const day = (time) => new Date(time).toISOString().slice(0, 10);
  const names = [...new Set([...rotations.map(({ name }) => name), ...[...set.keys()].filter((name) => !name.endsWith('_PREVIOUS'))])].sort();
  const rows = names.map((name) => {
    const rotation = rotations.find((each) => each.name === name);
    const due = rotation && rotation.rotated_at + rotation.every_days * DAY;
    const when = due === undefined ? 'when it leaked' : due <= Date.now() ? `DUE since ${day(due)}` : day(due);
    const previous = set.has(`${name}_PREVIOUS`) || (rotation && rotation.dropped_at === null) ? 'accepted' : '';
    const stands = walks.has(name) ? `after ${walks.get(name) ?? 'nothing yet'}` : '';
    return [name, set.get(name)?.join(', ') ?? '', previous, rotation ? day(rotation.rotated_at) : '', when, stands];
  });
  const table = [['secret', 'set in', 'previous', 'replaced', 'due', 'rotation'], ...rows];
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  for (const row of table) console.log(row.map((cell, column) => cell.padEnd(widths[column])).join('  ').trimEnd());
}

async function noteByHand(place, rotations, name, act) {
  if (!rotations.some((rotation) => rotation.name === name)) {
    throw new SetupError(`${name} is none of ${rotations.map((rotation) => rotation.name).join(', ')}`);
  }
  const at = await note(place.query, name, act);
  console.log(`${name}: ${act}, ${new Date(at).toISOString()}`);
}

function seconds(values, name) {
  if (values[name] === undefined) return undefined;
  const value = Number(values[name]);
  if (!(value >= 0)) throw new SetupError(`--${name} is ${values[name]}; it must be a number of seconds`);
  return value;
}
const millis = (values, name) => values[name] && 1000 * seconds(values, name);

const isOurs = (error) => error instanceof SetupError || error instanceof Trouble || error.name === 'ApiError' || error.code?.startsWith('ERR_PARSE_ARGS');
main().catch((error) => {
  say(error instanceof SetupError ? error.report() : isOurs(error) ? [`error: ${error.message}`, ...(error.advice ?? []).map((line) => `  -> ${line}`)].join('\n') : error.stack);
  process.exit(1);
});
