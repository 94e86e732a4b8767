// A measurement arrives, is kept, and can be asked for; by the message, or by the object.

import { gunzipSync } from 'node:zlib';
import { eventually } from '../lib/wait.mjs';
import { equal, status } from './expect.mjs';
import { connect } from './mqtt.mjs';

/** A number that no other message has. */
const HEAP = 123_456 + (process.pid % 1000);

/** @type {import('./journey.mjs').Step} */
const SENT = {
  name: 'a measurement is sent, twice',
  async run({ stack, device: { id, password } }) {
    const { code, client } = await connect({ port: stack.ports.mqtt, version: 4, username: id, password: password() });
    equal('CONNACK', code, 0);
    for (const heap of [HEAP, HEAP + 2]) {
      const metrics = { 'system.free_heap': heap, 'system.wifi_rssi': -55, 'zone.occupancy_changes': 1 };
      const message = { device_id: id, timestamp: new Date().toISOString(), firmware_version: '1.2.2', uptime_sec: 60, metrics };
      await client.publish(`opticworks/${id}/telemetry`, message);
    }
    await client.disconnect();
  },
};

/** @type {import('./journey.mjs').Step} */
const ARCHIVED = {
  name: 'both are in the R2 archive',
  async run({ stack, device: { id } }) {
    const bucket = await stack.cloud.bucket('ARCHIVES');
    const found = await eventually('two lines of this device', async () => {
      const lines = await archivedLines(bucket);
      const ours = lines.filter(({ line }) => line.includes(id) && (line.includes(String(HEAP)) || line.includes(String(HEAP + 2))));
      return ours.length >= 2 && ours;
    });
    equal('lines in the archive', found.length, 2);
    return found[0].key;
  },
};

/** @type {import('./journey.mjs').Step} */
const COUNTED = {
  name: 'the hour’s rollup has both',
  async run({ admin, device: { id } }) {
    const path = `/api/admin/devices/${id}/telemetry?hours=24`;
    const heap = await eventually('the rollup of system.free_heap', async () => {
      const answer = await admin('GET', path);
      status(answer, 200);
      const hours = answer.json.items.map(({ metrics }) => metrics['system.free_heap']).filter(Boolean);
      // Across the turn of the hour the two messages are in two rollups.
      const count = hours.reduce((sum, hour) => sum + hour.count, 0);
      return count >= 2 && { count, min: Math.min(...hours.map(({ min }) => min)), max: Math.max(...hours.map(({ max }) => max)) };
    });
    equal('system.free_heap', heap, { count: 2, min: HEAP, max: HEAP + 2 });
    return `count ${heap.count}, min ${heap.min}, max ${heap.max}`;
  },
};

/** @type {import('./journey.mjs').Step} */
const TAKEN_IN = {
  name: 'EMQX writes what it collected into an object, R2 tells the queue of it, and it is taken in and gone',
  async run({ stack }) {
    const [bucket, database] = [await stack.cloud.bucket('ARCHIVES'), await stack.cloud.database()];
    const object = await eventually('both to be counted, and telemetry/incoming/ to be empty', async () => {
      const { results } = await database.prepare('SELECT object_key, counted FROM telemetry_objects WHERE counted > 0').all();
      const left = await bucket.list({ prefix: 'telemetry/incoming/' });
      return results.reduce((sum, { counted }) => sum + counted, 0) >= 2 && left.objects.length === 0 && results[0];
    });
    return object.object_key;
  },
};

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const TELEMETRY = { title: 'telemetry', steps: [SENT, ARCHIVED, COUNTED] };

/** With the broker's second configuration. @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const COLLECTED = { title: 'telemetry, by the object', steps: [SENT, TAKEN_IN, ARCHIVED, COUNTED] };

async function archivedLines(bucket) {
  const { objects } = await bucket.list();
  const lines = [];
  for (const { key } of objects.filter((object) => object.key.endsWith('.gz'))) {
    const text = gunzipSync(Buffer.from(await (await bucket.get(key)).arrayBuffer())).toString('utf8');
    lines.push(...text.split('\n').filter(Boolean).map((line) => ({ key, line })));
  }
  return lines;
}
