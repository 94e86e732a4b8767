// Door (b) at full size: a million messages in objects through the real worker, and what its isolate holds meanwhile.

import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { startCloud } from '../../local/lib/cloud.mjs';
import { freePorts } from '../../local/lib/ports.mjs';
import { notification } from '../../local/lib/r2-events.mjs';
import { generateSecrets } from '../../local/lib/secrets.mjs';
import { workersRuntime } from '../../local/lib/stack-file.mjs';
import { bucketName, readWorkers } from '../../local/lib/workers.mjs';
import { enrol, makeDevices } from '../bench/lib/devices.mjs';
import { cpuSeconds } from '../bench/lib/systems.mjs';
import { residentOf, wasmMemory, watchMemory } from '../drill/memory.mjs';
import { MINUTE, keyOf, readArchive, records, store, withFeeder } from './collected.mjs';

/**
 * As in tests/drill/backup.mjs: an isolate in production is ended at 128 MB, the local runtime knows no such limit and collects its
 * garbage late. What does not fit into 48 MB of long-lived objects ends the process, and the run.
 */
const V8_FLAGS = '--max-old-space-size=48 --max-semi-space-size=4';
/** Minutes of EMQX's interval. */
export const INTERVAL = 30;
/** After the hour: intervals begin when a node does, so an object's messages are of two hours. */
const BEGINS_AT = 7 * MINUTE;
const HOUR = 60 * MINUTE;
/** Seconds without progress after which the rest is taken for lost: a held object is let go by then. */
const PATIENCE = 120;
const WARM_UP = 2;

/**
 * @typedef {object} ObjectsRun
 * @property {number} devices
 * @property {number} objects
 * @property {number} sent
 * @property {number} bytes of the objects
 * @property {number} archived different ones
 * @property {number} lines in the archive
 * @property {number} archiveObjects
 * @property {number} archiveBytes compressed
 * @property {number} counted
 * @property {string[]} left keys that should be gone, or should not have come
 * @property {string[]} troubles
 * @property {number} seconds from the notifications until all was counted and every object deleted
 * @property {number} cpuSeconds of the runtime, R2 and D1 included
 * @property {{ heap: number, wasm: number, idle: number, process: number, samples: number }} memory in bytes
 */

/**
 * @param {object} plan
 * @param {number} plan.messages
 * @param {number} plan.devices
 * @param {string} plan.root where state is kept, for this time
 * @param {(line: string) => void} [plan.say]
 * @returns {Promise<ObjectsRun>}
 */
export async function runObjects({ messages, devices: count, root, say = () => {} }) {
  const directory = mkdtempSync(join(root, 'rs1-objects-'));
  const troubles = [];
  const ports = await freePorts();
  const secrets = generateSecrets();
  const [table] = readWorkers(['telemetry']);
  let cloud;
  try {
    process.env.MINIFLARE_WORKERD_V8_FLAGS = V8_FLAGS;
    cloud = await startCloud({
      workers: [table],
      secrets,
      ports,
      persist: directory,
      inspectorPort: ports.control,
      adapt: withFeeder,
      onLine: (line) => /^\{.*"level":"info"/.test(line) || troubles.push(line),
      onDeadLetter: (letter) => troubles.push(`given up: ${JSON.stringify(letter).slice(0, 300)}`),
      onCrash: () => troubles.push('the Workers runtime crashed'),
    });
    await cloud.migrate();
    const database = await cloud.database();
    const devices = makeDevices(count);
    await enrol(database, devices, secrets.DEVICE_KEK, 'ours');
    const ids = devices.map(({ id }) => id);

    const perObject = count * INTERVAL;
    const objects = Math.ceil(messages / perObject);
    const begin = Math.floor(Date.now() / HOUR) * HOUR - Math.ceil((objects * INTERVAL) / 60 + 3) * HOUR + BEGINS_AT;
    // A small one first: code is compiled, and the runtime is as it is between two objects.
    const warm = [await put(ports.http, begin - HOUR, (from) => records(ids.slice(0, 100), from, WARM_UP))];
    await tell(cloud, warm);
    await settled(cloud, 100 * WARM_UP, troubles);

    const stored = [];
    let [sent, bytes] = [0, 0];
    for (let index = 0; sent < messages; index += 1) {
      const minutes = Math.min(INTERVAL, Math.ceil((messages - sent) / count));
      const object = await put(ports.http, begin + index * INTERVAL * MINUTE, (from) => records(ids, from, minutes));
      stored.push(object);
      [sent, bytes] = [sent + object.lines, bytes + object.bytes];
      say(`stored ${object.key}: ${object.lines} messages, ${(object.bytes / 1e6).toFixed(0)} MB`);
    }

    const pid = workersRuntime();
    const idle = residentOf(pid);
    const memory = await watchMemory(ports.control, table.name, workersRuntime);
    const before = cpuSeconds(pid);
    const began = performance.now();
    await tell(cloud, stored);
    await settled(cloud, sent + 100 * WARM_UP, troubles);
    const seconds = (performance.now() - began) / 1000;
    const cpu = cpuSeconds(pid) - before;
    const { heap, process: resident, samples } = await memory.stop();
    const wasm = await wasmMemory(ports.control, table.name);

    const bucket = await cloud.bucket('ARCHIVES');
    const found = await readArchive(bucket, gunzipSync);
    const left = (await Promise.all(['telemetry/incoming/', 'quarantine/'].map((prefix) => bucket.list({ prefix })))).flatMap((page) => page.objects.map(({ key }) => key));
    return {
      devices: count,
      objects: stored.length,
      sent: sent + 100 * WARM_UP,
      bytes,
      archived: found.distinct,
      lines: found.lines,
      archiveObjects: found.objects,
      archiveBytes: found.bytes,
      counted: await counted(cloud),
      left,
      troubles,
      seconds,
      cpuSeconds: cpu,
      memory: { heap, wasm, idle, process: resident, samples },
    };
  } finally {
    delete process.env.MINIFLARE_WORKERD_V8_FLAGS;
    await cloud?.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * Stores an object.
 * @param {number} port the workers'
 * @param {number} from Unix milliseconds: when its interval began
 * @param {(from: number) => Iterable<object>} messages
 */
export async function put(port, from, messages) {
  const key = keyOf(from);
  return { key, ...(await store(port, key, messages(from))) };
}

/** Tells the queue of objects, as R2 does. */
export async function tell(cloud, objects) {
  const queue = await cloud.queue('TELEMETRY_QUEUE');
  const bucket = bucketName(cloud.workers, 'ARCHIVES');
  for (const { key, bytes: size } of objects) await queue.send(notification(bucket, { key, size }));
}

/** Waits until so many messages are counted and every object is deleted. */
export async function settled(cloud, wanted, troubles) {
  let [seen, moved] = ['', Date.now()];
  for (;;) {
    const now = await progress(cloud);
    if (now.counted >= wanted && now.open === 0 && now.left === 0) return;
    if (JSON.stringify(now) !== seen) [seen, moved] = [JSON.stringify(now), Date.now()];
    if (Date.now() - moved > PATIENCE * 1000) throw new Error(`${wanted} messages were sent, ${seen}, and nothing moved for ${PATIENCE} s\n${troubles.slice(-10).join('\n')}`);
    await sleep(200);
  }
}

async function progress(cloud) {
  try {
    const database = await cloud.database();
    const row = await database.prepare("SELECT sum(counted) AS counted, sum(state = 'open') AS open FROM telemetry_objects").first();
    const left = (await (await cloud.bucket('ARCHIVES')).list({ prefix: 'telemetry/incoming/' })).objects.length;
    return { ...row, left };
  } catch (error) {
    // While the worker works on a piece nobody answers, and a connection that was kept may be closed.
    if (!/fetch failed/.test(String(error))) throw error;
    return {};
  }
}

async function counted(cloud) {
  return (await (await cloud.database()).prepare('SELECT sum(messages) AS counted FROM telemetry_rollups').first()).counted;
}

/** What a worker may hold while it takes objects in; an isolate may hold 128 MB. */
const MEMORY = 100_000_000;

/**
 * Prints the table, and what is wrong.
 * @param {ObjectsRun} run
 * @param {{ write: (line: string) => void, paint: (color: string, text: string) => string }} said
 * @returns {number} the exit status
 */
export function judgeObjects(run, said) {
  const { sent, archived, lines, counted: rolledUp, left, troubles, memory } = run;
  const mega = (bytes) => (bytes / 1e6).toFixed(1);
  const held = memory.heap + memory.wasm;
  const rows = [
    ['sent', sent, `${run.objects} objects of ${run.devices} devices, ${mega(run.bytes)} MB`],
    ['archived', archived, `R2, ${run.archiveObjects} objects, ${mega(run.archiveBytes)} MB`],
    ['counted', rolledUp, 'D1, hourly rollups'],
    ['doubled', lines - archived, ''],
    ['messages a second', Math.round(sent / run.seconds), 'from the notification until all is archived, verified, counted and the objects are deleted'],
    ['CPU, µs a message', ((run.cpuSeconds / sent) * 1e6).toFixed(1), 'of the whole runtime, with R2 and D1'],
    ['memory of the worker, MB', mega(held), `at most: ${mega(memory.heap)} V8's heap and buffers (${memory.samples} samples), ${mega(memory.wasm)} wasm's`],
    ['of the whole process, MB', mega(memory.process), `at most; ${mega(memory.idle)} before: with R2 and D1, which are elsewhere in production`],
  ];
  said.write('');
  for (const [name, value, note] of rows) said.write(`  ${name.padEnd(26)}${String(value).padStart(12)}   ${note}`.trimEnd());
  said.write('');
  const wrong = [
    [archived !== sent, `${sent} sent, but ${archived} archived`],
    [lines !== archived, `in the archive more than once: ${lines - archived}`],
    [rolledUp !== sent, `${sent} sent, but ${rolledUp} counted`],
    [left.length > 0, `should not be there: ${left.slice(0, 3).join(', ')}`],
    [troubles.length > 0, `complaints: ${troubles.slice(0, 3).join('\n')}`],
    [memory.samples === 0 || memory.wasm === 0, 'nobody looked at the memory'],
    [held >= MEMORY, `${mega(held)} MB of memory, and ${mega(MEMORY)} are allowed`],
  ].filter(([isWrong]) => isWrong);
  wrong.forEach(([, what]) => said.write(said.paint('red', `  ${what}`)));
  if (wrong.length > 0) return 1;
  said.write(said.paint('green', '  everything that was sent was archived and counted, once'));
  return 0;
}
