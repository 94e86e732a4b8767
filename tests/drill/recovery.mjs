// The recoveries of docs/runbook.md on this machine, as far as they can be done without an account: something is broken as it
// breaks, the runbook's commands are run, and what was there before is looked for. Each is timed.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { httpClient } from '../../local/lib/http.mjs';
import { startBroker } from '../../local/lib/parts.mjs';
import { HOST, freePorts } from '../../local/lib/ports.mjs';
import { printer } from '../../local/lib/print.mjs';
import { generateSecrets } from '../../local/lib/secrets.mjs';
import { readStackFile, workersRuntime } from '../../local/lib/stack-file.mjs';
import { startStack } from '../../local/lib/stack.mjs';
import { eventually } from '../../local/lib/wait.mjs';
import { HEALTH } from '../../local/lib/workers.mjs';
import { localTarget } from '../../tools/delivery/restore-target.mjs';
import { ROOT } from '../../tools/lib/paths.mjs';
import { capture } from '../../tools/lib/proc.mjs';
import { operatorOf, putDevice, putMember, putRollout, signedLink } from '../integration/fixtures/firmware.mjs';
import { makeDevice, startHarness } from '../integration/support/harness.mjs';

const OFTEN = '*/5 * * * *';
const DEVICES = 5;

/**
 * @typedef {object} Scene
 * @property {string} row of the runbook's table
 * @property {(state: string, timer: Timer) => Promise<string>} run answers what was found afterwards
 * @property {boolean} [programs] whether it needs the broker and the fleet
 *
 * @typedef {(what: string, work: () => Promise<any>) => Promise<any>} Timer measures a step of the recovery
 */

/** Rows that need an account; where they are tried instead. */
export const ELSEWHERE = {
  'The database, by its own history': 'Time Travel is D1’s: tests/delivery/runbook.test.mjs runs the commands against a stand-in',
};

/** @type {Scene[]} */
export const SCENES = [
  { row: 'A worker', run: workerFails },
  { row: 'The database, by a backup', run: databaseLost },
  { row: 'The broker', run: brokerLost, programs: true },
  { row: 'A region', run: regionLost },
  { row: 'A secret', run: secretLeaks },
  { row: 'Bad firmware', run: badFirmware },
];

/**
 * @param {Scene[]} scenes
 * @param {(line: string) => void} [say]
 * @returns {Promise<{ row: string, seconds: number, steps: { what: string, seconds: number }[], found?: string, fault?: string }[]>}
 */
export async function drillRecovery(scenes, say = () => {}) {
  const results = [];
  for (const { row, run } of scenes) {
    const state = mkdtempSync(join(tmpdir(), 'rs1-drill-'));
    const steps = [];
    const timer = async (what, work) => {
      const began = Date.now();
      const result = await work();
      steps.push({ what, seconds: (Date.now() - began) / 1000 });
      return result;
    };
    const result = { row, steps };
    try {
      result.found = await run(state, timer);
    } catch (error) {
      result.fault = error.stack;
    } finally {
      rmSync(state, { recursive: true, force: true });
    }
    result.seconds = steps.reduce((sum, step) => sum + step.seconds, 0);
    results.push(result);
    say(`${result.fault ? '✗' : '✓'} ${row}: ${result.seconds.toFixed(1)} s; ${result.fault ?? result.found}`);
  }
  return results;
}

// ---------------------------------------------------------------------------------------------------------------
// What the scenes have in common

const devicesOf = async (cloud) => (await cloud.api('GET', '/api/admin/devices', { token: await cloud.adminToken() })).json.items.map(({ device_id: id }) => id).sort();

async function enrolled(cloud) {
  const devices = [];
  for (let count = 0; count < DEVICES; count += 1) devices.push(await cloud.enroll());
  return devices;
}

/** Asks for a backup, as an operator does, and lets the clock make it. */
async function backUp(cloud) {
  const token = await cloud.adminToken();
  const asked = await cloud.api('POST', '/admin/backups', { host: 'status.localhost', token, body: { reason: 'drill' } });
  assert.equal(asked.status, 202, asked.text);
  const id = asked.json.backup_id;
  await cloud.cron('health', OFTEN, new Date());
  const { json } = await cloud.api('GET', `/admin/backups/${id}`, { host: 'status.localhost', token });
  assert.equal(json.state, 'complete', JSON.stringify(json));
}

async function restore(state, ...args) {
  const { ok, stdout, stderr } = await capture(process.execPath, [join(ROOT, 'tools', 'restore.mjs'), '--local', '--state', state, '--from', 'latest', ...args], {
    cwd: ROOT,
    env: { ...process.env, RS1_SETUP_DONE: '1' },
    timeout: 300_000,
  });
  assert.ok(ok, `${stdout}\n${stderr}`);
}

/** Starts anew on what there is, as a release does; the migrations have nothing to add to what was restored. */
async function restarted(state, options = {}) {
  const cloud = await startHarness({ persist: state, faults: false, migrate: false, ...options });
  const { applied } = await cloud.cloud.migrate();
  assert.deepEqual(applied, [], 'the restored database has its migrations');
  return cloud;
}

// ---------------------------------------------------------------------------------------------------------------
// The scenes

/** The runtime dies in the middle of its work, and what it had acknowledged is there. */
async function workerFails(state, timer) {
  const cloud = await startHarness({ persist: state, faults: false });
  try {
    const devices = await enrolled(cloud);
    const killed = workersRuntime();
    process.kill(killed, 'SIGKILL');
    await timer('until every worker says that it is well', () =>
      Promise.all(
        Object.entries(HEALTH).map(([worker, { host, path }]) =>
          eventually(`${worker} to be well`, async () => (await cloud.api('GET', path, { host }).catch(() => ({}))).status === 200, { within: 30_000, every: 20 }),
        ),
      ),
    );
    assert.notEqual(workersRuntime(), killed);
    assert.deepEqual(await devicesOf(cloud), devices.map(({ id }) => id).sort());
    return `the workers are back, all ${DEVICES} devices are there`;
  } finally {
    await cloud.stop();
  }
}

/** The database is gone; it is loaded from the latest backup under its own name. */
async function databaseLost(state, timer) {
  const secrets = generateSecrets();
  let cloud = await startHarness({ persist: state, faults: false, secrets });
  let devices;
  try {
    devices = await enrolled(cloud);
    await backUp(cloud);
  } finally {
    await cloud.stop();
  }
  rmSync(join(state, 'v3', 'd1'), { recursive: true });
  await timer('restore --into rs1-local', () => restore(state, '--into', 'rs1-local'));
  cloud = await timer('release', () => restarted(state, { secrets }));
  try {
    assert.deepEqual(await devicesOf(cloud), devices.map(({ id }) => id).sort());
    // Sealed keys are of use only with the secret that sealed them, which no backup has.
    const [device] = devices;
    const { verdict } = await cloud.emqx.authn({ clientid: device.id, username: device.id, password: device.password() });
    assert.equal(verdict, 'allow');
    return `all ${DEVICES} devices are there and let in`;
  } finally {
    await cloud.stop();
  }
}

/** The database's place is gone: the backup is loaded into another database, which the workers are then bound to. */
async function regionLost(state, timer) {
  let cloud = await startHarness({ persist: state, faults: false });
  let devices;
  try {
    devices = await enrolled(cloud);
    await backUp(cloud);
  } finally {
    await cloud.stop();
  }
  await timer('restore --into rs1-elsewhere', () => restore(state, '--into', 'rs1-elsewhere'));
  const { id } = localTarget('rs1-elsewhere', state, []);
  const configure = (tables) =>
    tables.map((table) => ({ ...table, d1_databases: table.d1_databases.map((bound) => ({ ...bound, database_name: 'rs1-elsewhere', database_id: id })) }));
  cloud = await timer('release to the other database', () => restarted(state, { configure }));
  try {
    assert.deepEqual(await devicesOf(cloud), devices.map(({ id: device }) => device).sort());
    const late = await cloud.enroll();
    assert.ok((await devicesOf(cloud)).includes(late.id));
    return `all ${DEVICES} devices are there, and new ones enrol`;
  } finally {
    await cloud.stop();
  }
}

/** The broker is killed; another one starts from the same file, and the devices find it by themselves. */
async function brokerLost(state, timer) {
  const ports = await freePorts();
  const print = printer({ to: { write: () => {} }, lines: 'none' });
  // A stack has its runtime started by a script in its directory, which the scenes after this one will not have.
  const { MINIFLARE_WORKERD_PATH: runtime } = process.env;
  const stack = await startStack({ ports, directory: state, fleet: 3, print });
  const emqx = httpClient({ port: ports.emqx });
  let broker;
  try {
    const key = Buffer.from(stack.secrets.EMQX_API_KEY).toString('base64');
    const connected = async () => (await emqx('GET', '/api/v5/stats?aggregate=true', { host: HOST, headers: { authorization: `Basic ${key}` } }).catch(() => ({}))).json?.['live_connections.count'];
    await eventually('the fleet', async () => (await connected()) === 3, { within: 30_000 });
    const killed = Date.now();
    process.kill(readStackFile(state).parts.broker, 'SIGKILL');
    await stack.failed;
    broker = await timer('a broker from emqx/emqx.conf', async () => {
      const started = startBroker({ ports, secrets: stack.secrets, directory: join(state, 'emqx'), onLine: () => {} });
      await started.ready;
      return started;
    });
    await timer('until every device is back', () => eventually('the fleet to come back', async () => (await connected()) === 3, { within: 120_000 }));
    const database = await stack.cloud.database();
    const seen = () => database.prepare('SELECT count(*) AS n FROM devices WHERE online AND presence_at > ?').bind(killed).first('n');
    await timer('until the registry has heard of each', () => eventually('three devices in the registry', async () => (await seen()) === 3, { within: 60_000 }));
    return 'three devices are connected and online again';
  } finally {
    emqx.close();
    await stack.stop();
    await broker?.stop();
    delete process.env.MINIFLARE_WORKERD_PATH;
    if (runtime !== undefined) process.env.MINIFLARE_WORKERD_PATH = runtime;
  }
}

/** The webhook's secret is known to a stranger: it is replaced while the broker goes on, then the old one is worth nothing. */
async function secretLeaks(state, timer) {
  const old = generateSecrets();
  const fresh = { ...old, WEBHOOK_SECRET: generateSecrets().WEBHOOK_SECRET, WEBHOOK_SECRET_PREVIOUS: old.WEBHOOK_SECRET };
  const { WEBHOOK_SECRET_PREVIOUS: _, ...rotated } = fresh;
  const device = makeDevice({});
  const asks = async (cloud, secret) => (await cloud.emqx.authn({ clientid: device.id, username: device.id, password: 'x' }, { secret })).status;
  const release = (secrets, migrate) => startHarness({ only: ['telemetry'], persist: state, faults: false, secrets, migrate });

  let cloud = await release(old, true);
  assert.equal(await asks(cloud, old.WEBHOOK_SECRET), 200);
  await cloud.stop();
  cloud = await timer('the new secret, with the old one as …_PREVIOUS', () => release(fresh, false));
  assert.deepEqual([await asks(cloud, old.WEBHOOK_SECRET), await asks(cloud, fresh.WEBHOOK_SECRET)], [200, 200], 'the broker may have either');
  await cloud.stop();
  cloud = await timer('…_PREVIOUS deleted, once the broker has the new one', () => release(rotated, false));
  try {
    assert.deepEqual([await asks(cloud, old.WEBHOOK_SECRET), await asks(cloud, fresh.WEBHOOK_SECRET)], [401, 200], 'the old one is worth nothing');
    return 'nobody was refused in between, and the old secret is refused now';
  } finally {
    await cloud.stop();
  }
}

/** An image that must not spread: nobody is given it any more, at once. */
async function badFirmware(state, timer) {
  const cloud = await startHarness({ only: ['ota'], persist: state, faults: false });
  try {
    const operator = await operatorOf(cloud);
    const artifact = await operator.publish('1.0.1');
    const device = await putDevice(cloud, makeDevice({}));
    const rollout = await putRollout(cloud, artifact);
    await putMember(cloud, rollout, device);
    const download = () => cloud.api('GET', signedLink({ key: cloud.secrets.SIGNING_KEY, version: '1.0.1', device, rollout }), { host: 'ota.localhost' });
    assert.equal((await download()).status, 200);
    await timer('yank', async () => {
      const { status, text } = await operator.ask('POST', '/admin/firmware/rs1_pro/1.0.1/yank', { body: { reason: 'drill' } });
      assert.equal(status, 200, text);
    });
    assert.equal((await download()).status, 410);
    assert.deepEqual(await cloud.rows('SELECT status, cause FROM rollouts'), [{ status: 'PAUSED', cause: 'artifact_yanked' }]);
    return 'downloads are refused, and the rollout is paused';
  } finally {
    await cloud.stop();
  }
}
