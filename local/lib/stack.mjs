// The whole system on this machine, part after part.

import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { buildWorkers } from '../../tools/build.mjs';
import { ROOT } from '../../tools/lib/paths.mjs';
import { duration } from '../../tools/lib/say.mjs';
import { setUp } from '../../tools/toolchain.mjs';
import { startIdentityProvider } from '../idp/provider.mjs';
import { shieldRuntime, startCloud } from './cloud.mjs';
import { startControl } from './control.mjs';
import { httpClient } from './http.mjs';
import { readLine, readProgramLine } from './part-lines.mjs';
import { SOON, buildPrograms, delivered, startBroker, startFleet } from './parts.mjs';
import { HOST, requireFree } from './ports.mjs';
import { r2Events } from './r2-events.mjs';
import { startS3 } from './r2-s3.mjs';
import { startReceivers } from './receivers.mjs';
import { localRotation } from './rotation.mjs';
import { startScheduler } from './scheduler.mjs';
import { ensureSecrets } from './secrets.mjs';
import { removeStackFile, workersRuntime, writeStackFile } from './stack-file.mjs';
import { eventually } from './wait.mjs';
import { HEALTH, bucketName, readWorkers } from './workers.mjs';

const LINES_KEPT = 1000;
/** The binding of the bucket that collected telemetry goes into. */
const ARCHIVES = 'ARCHIVES';

/**
 * Builds what changed. A newcomer's first time takes minutes, and says so.
 * @param {ReturnType<typeof import('./print.mjs').printer>} print
 */
export async function build(print) {
  await print.during('build', async () => {
    const toolchain = await setUp('wasm');
    const built = await buildWorkers(undefined, toolchain);
    await buildPrograms(toolchain.env);
    const rebuilt = built.filter((one) => one.rebuilt).map(({ worker }) => worker);
    return { text: rebuilt.length > 0 ? `built ${rebuilt.join(', ')}` : 'everything is up to date' };
  });
}

/**
 * @param {object} options
 * @param {import('./ports.mjs').Ports} options.ports
 * @param {string} options.directory its state; two stacks cannot share one
 * @param {number} options.fleet how many simulated devices
 * @param {boolean} [options.collected] telemetry comes by the object: the broker's second configuration
 * @param {Record<string, Record<string, unknown>>} [options.vars] by worker, over the configured ones
 * @param {ReturnType<typeof import('./print.mjs').printer>} options.print
 */
export async function startStack({ ports, directory, fleet, collected = false, vars = {}, print }) {
  await requireFree(ports);
  const failed = Promise.withResolvers();
  const running = [];
  const parts = {};
  /** The workers' last console lines, as they wrote them. */
  const lines = [];
  const brokerFiles = join(directory, 'emqx');
  let isUp = false;
  let isStopping = false;

  const stop = async () => {
    isStopping = true;
    // The last that came is the first to go: devices say goodbye while there is still a broker.
    for (const { close } of running.splice(0).reverse()) await close().catch((error) => print.line('stack', error.message, 'warn'));
  };
  const keep = (close) => running.push({ close });
  /** A part that ends while nobody stops it takes the stack with it. */
  const watch = (child) => {
    parts[child.part] = child.pid;
    keep(() => child.stop());
    child.ended.then((how) => isStopping || failed.resolve(`the ${child.part} ${how}`));
  };
  const said = (part) => (text) => {
    const { line, level } = readProgramLine(text);
    print.line(part, line, level);
  };

  try {
    mkdirSync(directory, { recursive: true });
    const varsPath = join(directory, 'dev.vars');
    const { secrets } = await print.during('secrets', async () => {
      const path = varsPath;
      const { secrets: all, made } = ensureSecrets(path);
      return { secrets: all, text: `${nameOf(path)}${made.length > 0 ? `, ${made.length} made` : ''}` };
    });

    const { idp } = await print.during('identity', async () => {
      const provider = await startIdentityProvider({ port: ports.idp, directory: join(directory, 'idp') });
      keep(() => provider.close());
      return { idp: provider, text: `http://${HOST}:${provider.port}, operators and users` };
    });

    const { cloud } = await print.during('workers', async () => {
      const workers = readWorkers().map((table) => ({ ...table, vars: { ...table.vars, ...vars[table.worker] } }));
      shieldRuntime(directory);
      const receivers = startReceivers({
        secrets,
        onTold: ({ channel, action, summary }) => print.line('notices', `${channel} was told: ${channel === 'slack' ? '' : `${action}, `}${summary}`),
        onRefused: (line) => print.line('notices', line, 'warn'),
      });
      const started = await startCloud({
        workers,
        secrets,
        ports,
        persist: directory,
        intercept: receivers.intercept,
        onLine: (text) => {
          if (lines.push(text) > LINES_KEPT) lines.shift();
          const { part, line, level } = readLine(text);
          // While the stack starts, its own checks are all that the workers have to tell.
          if (isUp || level !== 'info') print.line(part, line, level);
        },
        onDeadLetter: ({ queue, id }) => print.line('queues', `${id} was given up and is in ${queue}`, 'warn'),
        onRefused: (line) => print.line('workers', line, 'warn'),
        onCrash: () => isStopping || failed.resolve('the Workers runtime crashed'),
      });
      keep(() => started.stop());
      return { cloud: started, text: workers.map(({ worker }) => worker).join(', ') };
    });

    await print.during('database', async () => {
      const { applied, total } = await cloud.migrate();
      return { text: applied.length > 0 ? `applied ${applied.join(', ')}` : `${total} migrations, all applied before` };
    });

    const access = collected ? await print.during('r2', () => startR2({ cloud, ports, print, keep })) : null;

    await print.during('broker', async () => {
      const broker = startBroker({ ports, secrets, directory: brokerFiles, collected: access?.collected, onLine: said('broker') });
      watch(broker);
      await broker.ready;
      // The devices' goodbyes are on their way when the fleet has ended; a broker that is told to end drops them.
      keep(() => delivered(ports, 1_000));
      return { text: `mqtt://${HOST}:${ports.mqtt}, management http://${HOST}:${ports.emqx}/api/v5` };
    });

    await print.during('checks', () => everythingAnswers(ports, collected ? secrets.EMQX_API_KEY : null));
    isUp = true;

    const runCron = async (worker, cron, at) => {
      const started = Date.now();
      const { outcome } = await cloud.scheduled(worker, cron, at);
      return { outcome, ms: Date.now() - started };
    };
    const started_at = new Date().toISOString();
    const rotation = localRotation({
      path: varsPath,
      secrets,
      cloud,
      ports,
      brokerFiles,
      onReleased() {
        parts.workers = workersRuntime();
        writeStackFile(directory, { ports, pid: process.pid, parts, started_at });
        print.line('stack', 'the workers run with other secrets');
      },
    });
    const control = await startControl({ port: ports.control, cloud, runCron, rotation });
    keep(() => control.close());

    parts.workers = workersRuntime();
    writeStackFile(directory, { ports, pid: process.pid, parts, started_at });
    keep(async () => removeStackFile(directory));

    const stopScheduler = startScheduler(cloud.workers, (worker, cron, at) => {
      runCron(worker, cron, at).then(
        // A run that went well has written its own line.
        ({ outcome, ms }) => outcome === 'ok' || print.line(worker, `cron ${cron}: ${outcome} after ${duration(ms)}`, 'error'),
        (error) => isStopping || print.line(worker, `cron ${cron}: ${error.message}`, 'error'),
      );
    });
    keep(async () => stopScheduler());

    if (fleet > 0) {
      await print.during('fleet', async () => {
        const devices = startFleet({ devices: fleet, ports, state: directory, onLine: said('fleet') });
        watch(devices);
        await devices.ready;
        writeStackFile(directory, { ports, pid: process.pid, parts, started_at });
        return { text: fleet === 1 ? 'one simulated RS-1' : `${fleet} simulated RS-1s` };
      });
    }

    return {
      ports,
      directory,
      lines,
      secrets,
      collected,
      cloud,
      idp,
      runCron,
      /** Resolves, with the reason, when the stack cannot go on. */
      failed: failed.promise,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The bucket that the broker writes collected telemetry into, as it knows it: over R2's S3 API. */
async function startR2({ cloud, ports, print, keep }) {
  const credentials = { accessKeyId: randomBytes(16).toString('hex'), secretAccessKey: randomBytes(32).toString('hex') };
  const name = bucketName(cloud.workers, ARCHIVES);
  const server = await startS3({
    port: ports.r2,
    bucket: () => cloud.bucket(ARCHIVES),
    name,
    credentials,
    onStored: r2Events({ cloud, binding: ARCHIVES, bucket: name }),
    onRefused: (line) => print.line('r2', line, 'warn'),
  });
  keep(() => server.close());
  return { collected: { bucket: name, ...credentials, more: SOON }, text: `S3 API of ${name} on http://${HOST}:${ports.r2}, and its event notifications` };
}

/** Asks every part whether it is well, until all are. `key` is that of the management API, if the broker collects telemetry. */
async function everythingAnswers(ports, key) {
  const api = httpClient({ port: ports.http, timeout: 5_000 });
  const emqx = httpClient({ port: ports.emqx, timeout: 5_000 });
  const idp = httpClient({ port: ports.idp, timeout: 5_000 });
  const probes = {
    ...Object.fromEntries(Object.entries(HEALTH).map(([worker, { host, path }]) => [worker, () => api('GET', path, { host })])),
    broker: () => emqx('GET', '/api/v5/status', { host: HOST }),
    ...(key && { 'S3 action': () => s3Action(emqx, key) }),
    'identity provider': () => idp('GET', '/cdn-cgi/access/certs', { host: 'identity.localhost' }),
  };
  try {
    await Promise.all(
      Object.entries(probes).map(([part, probe]) => {
        let seen;
        const look = async () => {
          seen = await probe();
          return seen.status === 200;
        };
        const last = () => (seen ? `${seen.status} ${seen.text}` : 'no answer');
        return eventually(`the ${part} to be well`, look, { within: 15_000, every: 100, seen: last });
      }),
    );
  } finally {
    for (const client of [api, emqx, idp]) client.close();
  }
  return { text: `${Object.keys(probes).length} parts answer that they are well` };
}

/** The broker's answer about its S3 action; 200 only when that works. */
async function s3Action(emqx, key) {
  const headers = { authorization: `Basic ${Buffer.from(key).toString('base64')}` };
  const answer = await emqx('GET', '/api/v5/actions/s3:optic_collected', { host: HOST, headers });
  return answer.json?.status === 'connected' ? answer : { ...answer, status: 503, text: answer.text };
}

/** A path as a person in the repository would type it. */
function nameOf(path) {
  const short = relative(ROOT, path);
  return short.startsWith('..') ? path : short;
}
