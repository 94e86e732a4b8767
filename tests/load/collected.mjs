// Objects of collected telemetry as EMQX's S3 action writes them (emqx/options/collected.hocon), and the way into the bucket.

import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { HOST } from '../../local/lib/ports.mjs';

export const MINUTE = 60_000;
const NODE = 'emqx@10.0.0.5';
/** Bytes that are handed to the socket at once, about. */
const CHUNK = 1 << 20;

/** What takes an object in and stores it: a handle on the bucket from outside would hold the whole of it in memory, several times. */
const FEEDER = `export default {
  async fetch(request, env) {
    await env.ARCHIVES.put(decodeURIComponent(new URL(request.url).pathname.slice(1)), request.body);
    return new Response(null, { status: 204 });
  },
};`;
const FEEDER_HOST = 'feeder.localhost';

/**
 * Miniflare's workers and one more, through which objects come into the bucket.
 * @param {any[]} workers
 */
export function withFeeder(workers) {
  const { compatibilityDate, r2Buckets } = workers.find((worker) => worker.r2Buckets?.ARCHIVES && worker.compatibilityDate);
  const feeder = { name: 'feeder', modules: true, script: FEEDER, compatibilityDate, routes: [`${FEEDER_HOST}/*`], r2Buckets: { ARCHIVES: r2Buckets.ARCHIVES } };
  return [...workers, feeder];
}

/**
 * A device's message of a minute: what the rule `rs1_collected` selects.
 * @param {string} device
 * @param {number} index of the device
 * @param {number} at Unix milliseconds: when the broker received it
 * @param {string} id
 */
export function record(device, index, at, id) {
  const n = Math.floor(at / MINUTE) + index;
  const sent = new Date(at - 150 - (n % 90)).toISOString();
  const payload =
    `{"device_id":"${device}","timestamp":"${sent}","firmware_version":"1.2.0","uptime_sec":${n % 900_000},"metrics":{"system.uptime_sec":${n % 900_000},` +
    `"system.free_heap":${142_000 + ((n * 7_919) % 23_456)},"system.wifi_rssi":-${48 + ((n * 31) % 17)},"system.cpu_usage":${((n * 271) % 640) / 10},` +
    `"radar.frames_received":${590 + ((n * 13) % 20)},"radar.frames_invalid":${(n * 7) % 3},"tracking.active_tracks":${Math.floor(n / 7) % 4},` +
    `"zone.occupancy_changes":${(n * 5) % 6},"api.connections":${n % 2}}}`;
  return { id, clientid: device, topic: `opticworks/${device}/telemetry`, payload, publish_received_at: at, node: NODE };
}

/** When in its minute a device sends, in milliseconds: they are spread over it. @param {number} index */
export const offset = (index) => (index * 7_919) % MINUTE;

/**
 * The messages of these minutes, one a device and minute, in the order in which they are received.
 * @param {string[]} devices their ids
 * @param {number} from Unix milliseconds
 * @param {number} minutes
 */
export function* records(devices, from, minutes) {
  const order = devices.map((_, index) => index).sort((one, other) => offset(one) - offset(other));
  const prefix = randomBytes(10).toString('hex').toUpperCase();
  let count = 0;
  for (let minute = 0; minute < minutes; minute += 1) {
    for (const index of order) {
      const id = `${prefix}${(count += 1).toString(16).toUpperCase().padStart(12, '0')}`;
      yield record(devices[index], index, from + minute * MINUTE + offset(index), id);
    }
  }
}

/**
 * Stores an object of those messages.
 * @param {number} port the workers'
 * @param {string} key
 * @param {Iterable<object>} messages
 * @returns {Promise<{ lines: number, bytes: number }>}
 */
export async function store(port, key, messages) {
  const chunks = [];
  let [text, lines, bytes] = ['', 0, 0];
  const cut = () => {
    const chunk = Buffer.from(text);
    chunks.push(chunk);
    [text, bytes] = ['', bytes + chunk.length];
  };
  for (const message of messages) {
    text += `${JSON.stringify(message)}\n`;
    lines += 1;
    if (text.length >= CHUNK) cut();
  }
  cut();
  await send(port, key, chunks, bytes);
  return { lines, bytes };
}

function send(port, key, chunks, bytes) {
  return new Promise((done, fail) => {
    const headers = { host: FEEDER_HOST, 'content-length': bytes };
    const outgoing = request({ host: HOST, port, method: 'PUT', path: `/${encodeURIComponent(key)}`, headers });
    outgoing.on('error', fail);
    outgoing.on('response', (response) => {
      response.resume();
      response.on('end', () => (response.statusCode === 204 ? done() : fail(new Error(`${key}: status ${response.statusCode}`))));
    });
    (async () => {
      for (const chunk of chunks) if (!outgoing.write(chunk)) await new Promise((drained) => outgoing.once('drain', drained));
      outgoing.end();
    })().catch(fail);
  });
}

/** The key of the n-th object, as EMQX makes them. @param {number} from when its interval began @param {number} sequence */
export const keyOf = (from, sequence = 0) =>
  `telemetry/incoming/optic_collected/${NODE}/${new Date(from).toISOString().replace('.000Z', 'Z').replaceAll(':', '_')}_${sequence}.jsonl`;

/**
 * How many messages an archive has, and how many different ones.
 * @param {R2Bucket} bucket
 * @param {(bytes: Buffer) => Buffer} unzip
 */
export async function readArchive(bucket, unzip) {
  const ids = new Set();
  let [objects, bytes, lines, cursor] = [0, 0, 0, undefined];
  do {
    const page = await bucket.list({ prefix: 'telemetry/2', cursor });
    for (const { key, size } of page.objects) {
      if (!key.endsWith('.ndjson.gz') || key.includes('/index-')) continue;
      [objects, bytes] = [objects + 1, bytes + size];
      const text = unzip(Buffer.from(await (await bucket.get(key)).arrayBuffer())).toString('latin1');
      for (const [, id] of text.matchAll(/^\{"id":"([0-9A-F]+)"/gm)) {
        ids.add(id);
        lines += 1;
      }
    }
    cursor = page.truncated ? page.cursor : undefined;
  } while (cursor);
  return { objects, bytes, lines, distinct: ids.size };
}
