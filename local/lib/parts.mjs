// The programs beside the workers: how they are built and called.

import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../tools/lib/paths.mjs';
import { crateCounter, runLong } from '../../tools/lib/proc.mjs';
import { startChild } from './child.mjs';
import { httpClient } from './http.mjs';
import { HOST } from './ports.mjs';
import { Trouble } from './trouble.mjs';
import { eventually } from './wait.mjs';

const TARGET = join(ROOT, 'target');

/**
 * How the programs are compiled: `local` is made for running them. `npm test` asks for `dev` (RS1_PROGRAMS), in which its Rust
 * tests have just compiled all that they are made of; the same crates again, optimized, would take it three minutes.
 */
const PROFILES = {
  local: { directory: 'local', args: ['--profile', 'local', '-p', 'rs1-broker', '-p', 'rs1-fleet'] },
  // A test among the targets has cargo choose the features of libraries as it does for tests: without it, some are compiled again.
  dev: { directory: 'debug', args: ['--workspace', '--all-features', '--bin', 'rs1-broker', '--bin', 'rs1-fleet', '--test', 'document'] },
};
const PROFILE = PROFILES[process.env.RS1_PROGRAMS ?? 'local'];
if (!PROFILE) throw new Trouble(`RS1_PROGRAMS is ${Object.keys(PROFILES).join(' or ')}`);
const program = (name) => join(TARGET, PROFILE.directory, name);

/** The fleet's program; `rs1-fleet run` is the fleet, `rs1-fleet device` a single device. */
export const FLEET = program('rs1-fleet');

/**
 * Builds the broker and the fleet.
 * @param {NodeJS.ProcessEnv} env
 */
export async function buildPrograms(env) {
  const result = await runLong('compiling the broker and the fleet', 'cargo', ['build', ...PROFILE.args], {
    cwd: ROOT,
    env: { ...env, CARGO_TARGET_DIR: TARGET },
    ...crateCounter(),
  });
  if (!result.ok) throw new Trouble(`the broker and the fleet do not compile\n\n${result.tail}`, [`the whole output is in ${result.log}`]);
}

/**
 * The two secret files that production's broker has beside its configuration: what it says to the workers, and the keys with
 * which it may be called; both keys while one is being replaced.
 * @param {string} directory
 * @param {Record<string, string>} secrets
 */
export function writeBrokerFiles(directory, { WEBHOOK_SECRET: secret, EMQX_API_KEY: key, EMQX_API_KEY_PREVIOUS: other }) {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const files = {
    'webhook-secret.hocon': `connectors.http.optic.headers.x-webhook-secret = "${secret}"\n`,
    'api-keys': [key, other].filter(Boolean).map((pair) => `${pair}:administrator\n`).join(''),
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text, { mode: 0o600 });
}

/** The host of an account's R2, as the broker knows it; it leads to this machine. */
const R2_HOST = 'local.r2.cloudflarestorage.com';

/**
 * @typedef {object} Collected what the second configuration of the broker needs (emqx/README.md)
 * @property {string} bucket its name
 * @property {string} accessKeyId
 * @property {string} secretAccessKey
 * @property {string[]} [more] further lines of `r2-access.hocon`
 */

/** Nobody at a desk waits for half an hour; EMQX uploads what is due when it looks after its action. */
export const SOON = [
  'actions.s3.optic_collected.parameters.aggregation.time_interval = 2s',
  'actions.s3.optic_collected.resource_opts.health_check_interval = 1s',
  'connectors.s3.optic.resource_opts.health_check_interval = 1s',
];

/**
 * The two files by which production's broker has its second configuration: the one of the repository, as it is, and the account's
 * part. Without them it has its first.
 * @param {string} directory
 * @param {Collected | null} collected
 */
export function writeCollected(directory, collected) {
  const [option, access] = ['collected.hocon', 'r2-access.hocon'].map((name) => join(directory, name));
  if (!collected) return [option, access].forEach((path) => rmSync(path, { force: true }));
  const { bucket, accessKeyId, secretAccessKey, more = [] } = collected;
  const lines = [
    `connectors.s3.optic.host = "${R2_HOST}"`,
    `connectors.s3.optic.access_key_id = "${accessKeyId}"`,
    `connectors.s3.optic.secret_access_key = "${secretAccessKey}"`,
    `actions.s3.optic_collected.parameters.bucket = "${bucket}"`,
    ...more,
  ];
  copyFileSync(join(ROOT, 'emqx', 'options', 'collected.hocon'), option);
  writeFileSync(access, lines.map((line) => `${line}\n`).join(''), { mode: 0o600 });
}

/**
 * EMQX as this machine plays it: the production configuration, with the production host led to the local workers.
 * @param {object} options
 * @param {import('./ports.mjs').Ports} options.ports
 * @param {Record<string, string>} options.secrets
 * @param {string} options.directory for its files
 * @param {Collected | null} [options.collected] with the second configuration
 * @param {(line: string) => void} options.onLine
 */
export function startBroker({ ports, secrets, directory, collected = null, onLine }) {
  writeBrokerFiles(directory, secrets);
  writeCollected(directory, collected);
  return startChild({
    part: 'broker',
    command: program('rs1-broker'),
    args: [
      ...['--config', join(ROOT, 'emqx', 'emqx.conf')],
      ...['--mqtt', `${HOST}:${ports.mqtt}`],
      ...['--api', `${HOST}:${ports.emqx}`],
      // Secrets go by files: a command line is everybody's to read.
      ...['--secrets', directory],
      ...['--origin', `https://api.optic.works=http://${HOST}:${ports.http}`],
      ...['--host', 'api.optic.works=api.localhost'],
      ...(collected ? ['--origin', `https://${R2_HOST}=http://${HOST}:${ports.r2}`] : []),
      ...['--data', join(directory, 'data')],
    ],
    readyLine: /^ready\b/,
    onLine,
  });
}

/**
 * Waits until the broker has handed everything to the workers.
 * @param {import('./ports.mjs').Ports} ports
 * @param {number} [within] milliseconds
 */
export async function delivered(ports, within) {
  const broker = httpClient({ port: ports.emqx });
  const look = async () => {
    const { json } = await broker('GET', '/local/actions', { host: HOST });
    return Object.values(json.actions).every(({ queued }) => queued === 0);
  };
  try {
    await eventually('the broker to deliver everything', look, { within });
  } finally {
    broker.close();
  }
}

/** Where a device finds the cloud, as the fleet's options. @param {import('./ports.mjs').Ports} ports @param {string} state */
export function cloudOptions(ports, state) {
  return [
    ...['--mqtt', `${HOST}:${ports.mqtt}`],
    ...['--api', `http://${HOST}:${ports.http}`],
    // Asked when a device is to be enrolled: a token lasts an hour, a fleet may run for days.
    ...['--token-command', `"${process.execPath}" "${join(ROOT, 'local', 'token.mjs')}" --admin fleet@optic.works --state "${state}"`],
  ];
}

/**
 * @param {object} options
 * @param {number} options.devices
 * @param {import('./ports.mjs').Ports} options.ports
 * @param {string} options.state the stack's directory
 * @param {string[]} [options.options] more of `rs1-fleet run`
 * @param {(line: string) => void} options.onLine
 * @returns {import('./child.mjs').Child} ready when all its devices are connected
 */
export function startFleet({ devices, ports, state, options = [], onLine }) {
  return startChild({
    part: 'fleet',
    command: FLEET,
    args: ['run', '--devices', String(devices), ...cloudOptions(ports, state), ...options],
    readyLine: /^ready\b/,
    onLine,
  });
}

/**
 * One simulated device, which enrols itself.
 * @param {object} options
 * @param {import('./credentials.mjs').Device} options.device
 * @param {import('./ports.mjs').Ports} options.ports
 * @param {string} options.state the stack's directory
 * @param {(line: string) => void} [options.onLine]
 * @returns {import('./child.mjs').Child} ready when its subscriptions are granted
 */
export function startDevice({ device, ports, state, onLine = () => {} }) {
  return startChild({
    part: 'device',
    command: FLEET,
    args: ['device', '--mac', device.mac, '--enroll', ...cloudOptions(ports, state)],
    // Secrets go by the environment: a command line is everybody's to read.
    env: { ...process.env, RS1_DEVICE_SECRET: device.secret.toString('hex') },
    readyLine: /SUBACK /,
    onLine,
  });
}
