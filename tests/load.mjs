// `npm run load`: a thousand simulated devices send 500 messages a second for a minute through the whole local stack,
// and then everything that was sent is looked for where it has to be: every message in the archive (R2) once, every
// message counted in the hourly rollups (D1) once, nothing in quarantine, nothing in the dead-letter queue.
//
// The stack is one of its own, on free ports and in a directory that is thrown away. What was sent is known for
// certain although telemetry is QoS 0: each device ends with a QoS 1 publish on the same connection and waits for its
// PUBACK, which the broker can only send after it has read all that came before.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { startChild } from '../local/lib/child.mjs';
import { httpClient } from '../local/lib/http.mjs';
import { misuse, readOptions, wholeNumber } from '../local/lib/options.mjs';
import { FLEET } from '../local/lib/parts.mjs';
import { HOST, freePorts } from '../local/lib/ports.mjs';
import { printer } from '../local/lib/print.mjs';
import { build, startStack } from '../local/lib/stack.mjs';
import { Trouble, command } from '../local/lib/trouble.mjs';
import { buildWorkers } from '../tools/build.mjs';
import { defaultRoot } from './bench/lib/systems.mjs';
import { judgeObjects, runObjects } from './load/objects.mjs';

const HELP = `npm run load [-- options]: loads the local stack and counts what arrives

  --devices N     simulated devices (1000)
  --rate N        telemetry messages a second, of all devices together (500)
  --seconds N     for how long (60)
  --patience N    give up when nothing more has arrived for so many seconds (60)
  --mqtt VERSION  4, 5 or mixed (mixed)
  --faults LIST   faults of the devices, as rs1-fleet run takes them: then what may have arrived is told apart from
                  what must have
  --seed N        another fleet (1)
  --collected     by the object: the broker's second configuration (emqx/README.md), and R2's S3 API
  --objects       no fleet and no broker: messages that come collected, in objects as EMQX writes them, through the telemetry
                  worker alone; --messages N (1000000) of --devices N (10000), and what the worker's memory is at most
  --help          this

Exit status: 0 everything that was sent arrived once, 1 something is missing, doubled or refused, 2 wrong usage.
`;

/** Objects of collected telemetry that are not taken in yet. */
const INCOMING = 'telemetry/incoming/';
const S3_ACTION = 's3:optic_collected';

const text = (value) => ({ type: 'string', default: String(value) });
const USAGE = {
  text: HELP,
  options: {
    devices: { type: 'string' },
    rate: text(500),
    seconds: text(60),
    patience: text(60),
    mqtt: text('mixed'),
    faults: text(''),
    seed: text(1),
    collected: { type: 'boolean', default: false },
    objects: { type: 'boolean', default: false },
    messages: text(1_000_000),
  },
};

await command(async () => {
  const { values, help } = readOptions(USAGE);
  if (help) return 0;
  const number = (name, most) => wholeNumber(values, name, HELP, 1, most);
  values.devices ??= values.objects ? '10000' : '1000';
  if (values.objects) return loadObjects({ messages: number('messages', 100_000_000), devices: number('devices', 100_000) });
  const plan = {
    devices: number('devices', 100_000),
    rate: number('rate', 100_000),
    seconds: number('seconds', 86_400),
    patience: number('patience', 3_600),
    seed: number('seed', 2 ** 31),
    mqtt: values.mqtt,
    faults: values.faults,
    collected: values.collected,
  };
  if (!['4', '5', 'mixed'].includes(plan.mqtt)) throw misuse(`--mqtt wants 4, 5 or mixed, not "${plan.mqtt}"`, HELP);
  const said = watchful(printer({ lines: 'none' }));
  const directory = mkdtempSync(join(tmpdir(), 'rs1-load-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  // Every part has a process group of its own, ended when we end.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

  said.write(said.paint('bold', `RS-1 Cloud under load: ${plan.devices} devices, ${plan.rate} messages/s, ${plan.seconds} s${plan.collected ? ', by the object' : ''}`));
  await build(said);
  const stack = await startStack({ ports: await freePorts(), directory, fleet: 0, collected: plan.collected, print: said });
  try {
    const outcome = await Promise.race([
      load(stack, plan, said, directory),
      stack.failed.then((what) => {
        throw new Trouble(what);
      }),
    ]);
    return judge(outcome, said);
  } catch (error) {
    said.troubles.slice(-20).forEach((line) => said.write(`    ${line}`));
    throw error;
  } finally {
    await stack.stop();
  }
});
process.exit();

/** Door (b): see load/objects.mjs. @param {{ messages: number, devices: number }} plan @returns {Promise<number>} the exit status */
async function loadObjects(plan) {
  const said = printer({ lines: 'none' });
  said.write(said.paint('bold', `RS-1 Cloud: ${plan.messages} messages of ${plan.devices} devices, in objects`));
  await buildWorkers(['telemetry']);
  return judgeObjects(await runObjects({ ...plan, root: defaultRoot(), say: (line) => said.write(said.paint('dim', `  ${line}`)) }), said);
}

/** A printer that also remembers what was given up and what went wrong. */
function watchful(print) {
  const deadLetters = [];
  const troubles = [];
  return {
    ...print,
    deadLetters,
    troubles,
    line(part, line, level = 'info') {
      if (part === 'queues') deadLetters.push(line);
      else if (level !== 'info') troubles.push(`${part}: ${line}`);
      print.line(part, line, level);
    },
  };
}

/**
 * @typedef {object} Outcome
 * @property {any} fleet its report
 * @property {string} how how the fleet ended
 * @property {Array<{ id: string, device_id: string }>} archived
 * @property {number} objects that hold them
 * @property {number} counted
 * @property {string[]} quarantined keys
 * @property {Record<string, Record<string, number>>} actions what the broker's actions did
 * @property {number} drain seconds from the last device's goodbye until all was counted
 * @property {number} elapsed seconds from the first telemetry message until all was counted
 */

/** @returns {Promise<Outcome>} */
async function load(stack, plan, said, directory) {
  const report = join(directory, 'fleet.json');
  const fleet = startChild({
    part: 'fleet',
    command: FLEET,
    args: [
      'run',
      ...['--devices', String(plan.devices), '--rate', String(plan.rate), '--duration', String(plan.seconds)],
      ...['--mqtt', `${HOST}:${stack.ports.mqtt}`, '--mqtt-version', plan.mqtt],
      ...['--api', `http://${HOST}:${stack.ports.http}`, '--seed', String(plan.seed)],
      ...['--faults', plan.faults, '--report', report],
    ],
    // A command line is everybody's to read; an environment is not.
    env: { ...process.env, RS1_TOKEN: await operatorToken(stack) },
    onLine: (line) => said.write(`  ${line}`),
  });
  const how = await fleet.ended;
  const left = Date.now();
  if (how === 'ended with status 2') throw misuse('the fleet does not understand what it is told; see above', HELP);
  const sent = readReport(report, how);
  const { idle } = await drained(stack, sent, plan.patience, said);
  const settled = Date.now() - idle;
  return {
    fleet: sent,
    how,
    ...(await archive(stack)),
    counted: await counted(stack),
    quarantined: await keys(stack, 'quarantine/'),
    actions: await actions(stack),
    drain: Math.max(0, (settled - left) / 1000),
    elapsed: Math.max(0, (settled - left) / 1000) + sent.talking_seconds,
  };
}

async function operatorToken(stack) {
  const idp = httpClient({ port: stack.ports.idp });
  try {
    const { status, json, text: body } = await idp('POST', '/token', { host: 'identity.localhost', body: { email: 'load@optic.works', ttl: 7200 } });
    if (status !== 200) throw new Trouble(`the identity provider answers ${status}: ${body}`);
    return json.token;
  } finally {
    idp.close();
  }
}

function readReport(path, how) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Trouble(`the fleet ${how} and left no report: ${error.message}`);
  }
}

/**
 * Waits until as many messages are counted as were sent and the broker has nothing left to deliver, or nothing has
 * moved for a while.
 *
 * The database is asked only once the broker is done. Miniflare's handle on it blocks this process until the answer
 * comes, and while this process is blocked nobody reads what the workers log: under load the two would wait for each
 * other for ever.
 * @returns {Promise<{ idle: number }>} for how long nothing had moved when the wait ended, in milliseconds
 */
async function drained(stack, sent, patience, said) {
  let [seen, moved, told] = ['', Date.now(), Date.now()];
  for (;;) {
    const waiting = queued(await actions(stack));
    const messages = waiting === 0 ? await counted(stack) : 'not yet';
    const now = Date.now();
    if (`${messages} ${waiting}` !== seen) [seen, moved] = [`${messages} ${waiting}`, now];
    if (messages >= sent.telemetry && (await keys(stack, INCOMING)).length === 0) return { idle: now - moved };
    // Sending is over: what was in doubt has arrived by now, or never will.
    const enough = sent.in_doubt > 0 && messages >= sent.confirmed ? Math.min(10, patience) : patience;
    if (now - moved > enough * 1000) return { idle: now - moved };
    if (now - told > 5_000) {
      said.write(said.paint('dim', `  ${waiting} still in the broker, ${messages} of ${sent.telemetry} counted`));
      told = now;
    }
    await sleep(250);
  }
}

async function counted(stack) {
  const database = await stack.cloud.database();
  const row = await database.prepare('SELECT coalesce(sum(messages), 0) AS messages FROM telemetry_rollups').first();
  return row.messages;
}

/** What the broker's actions did. @returns {Promise<Record<string, Record<string, number>>>} */
async function actions(stack) {
  const emqx = httpClient({ port: stack.ports.emqx });
  try {
    return (await emqx('GET', '/local/actions', { host: HOST })).json.actions;
  } finally {
    emqx.close();
  }
}

/** How many messages wait for delivery. */
function queued(all) {
  return total(all, 'queued');
}

/** Every line of the archive, and how many objects there are. */
async function archive(stack) {
  const bucket = await stack.cloud.bucket('ARCHIVES');
  const objects = await keys(stack, 'telemetry/');
  const archived = [];
  for (const key of objects) {
    const bytes = Buffer.from(await (await bucket.get(key)).arrayBuffer());
    for (const line of gunzipSync(bytes).toString('utf8').split('\n')) if (line) archived.push(JSON.parse(line));
  }
  return { archived, objects: objects.length };
}

async function keys(stack, prefix) {
  const bucket = await stack.cloud.bucket('ARCHIVES');
  const found = [];
  let cursor;
  do {
    const page = await bucket.list({ prefix, cursor });
    found.push(...page.objects.map(({ key }) => key));
    cursor = page.truncated ? page.cursor : undefined;
  } while (cursor);
  return found;
}

/** Prints the table, and what is wrong. @param {Outcome} outcome @returns {number} the exit status */
function judge({ fleet, how, archived, objects, counted: rolledUp, quarantined, actions: broker, drain, elapsed }, said) {
  const ids = new Set(archived.map(({ id }) => id));
  const { telemetry: sent, confirmed, in_doubt: inDoubt } = fleet;
  const doubled = archived.length - ids.size;
  // With faults, a message that was in doubt may be there or not.
  const least = inDoubt > 0 ? confirmed : sent;
  const lost = Math.max(0, least - ids.size);
  const devices = new Set(archived.map(({ device_id: device }) => device)).size;

  const wrong = [
    [how !== 'ended with status 0', `the fleet ${how}`],
    [fleet.never_connected > 0, `devices that were never connected: ${fleet.never_connected}`],
    [sent === 0, 'nothing was sent'],
    [lost > 0, `missing from the archive: ${lost}`],
    [ids.size > sent + inDoubt, `in the archive, but never sent: ${ids.size - sent}`],
    [doubled > 0, `in the archive more than once: ${doubled}`],
    [rolledUp !== ids.size, `counted ${rolledUp}, but archived ${ids.size}`],
    [quarantined.length > 0, `in quarantine: ${quarantined.slice(0, 3).join(', ')}`],
    [said.deadLetters.length > 0, `given up: ${said.deadLetters.slice(0, 3).join(', ')}`],
    [total(broker, 'dropped') > 0, `dropped by the broker: ${total(broker, 'dropped')}`],
  ].filter(([isWrong]) => isWrong);

  const rows = [
    ['sent', sent, `${fleet.devices} devices, ${fleet.rate}/s`],
    ...(inDoubt > 0 ? [['  in doubt', inDoubt, 'cut connections: they may have arrived or not']] : []),
    ['archived', ids.size, `R2, ${objects} objects, ${devices} devices`],
    ['counted', rolledUp, 'D1, hourly rollups'],
    ['lost', lost, ''],
    ['doubled', doubled, ''],
    ['quarantined', quarantined.length, ''],
    ['dead letters', said.deadLetters.length, ''],
    ['retried by the broker', total(broker, 'retried'), ''],
    ...(broker[S3_ACTION] ? [['objects of the broker', broker[S3_ACTION].objects.uploaded, `${broker[S3_ACTION].objects.failed} uploads failed`]] : []),
    ['throughput', (ids.size / elapsed).toFixed(1), 'messages/s, from the first sent to the last counted'],
    ['time to drain', drain.toFixed(1), 'seconds, from the last goodbye to the last counted'],
  ];
  said.write('');
  for (const [name, value, note] of rows) said.write(`  ${name.padEnd(24)}${String(value).padStart(12)}   ${note}`.trimEnd());
  said.write('');
  if (said.troubles.length > 0) {
    said.write(said.paint('yellow', `  ${said.troubles.length} warnings and errors on the way, the first of them:`));
    said.troubles.slice(0, 5).forEach((line) => said.write(`    ${line}`));
  }
  wrong.forEach(([, what]) => said.write(said.paint('red', `  ${what}`)));
  if (wrong.length > 0) return 1;
  const all = ids.size >= sent ? 'everything that was sent arrived, once' : 'everything that must have arrived did, once';
  said.write(said.paint('green', `  ${all}`));
  return 0;
}

function total(broker, counter) {
  return Object.values(broker).reduce((sum, action) => sum + action[counter], 0);
}
