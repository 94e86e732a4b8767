// What a request costs at the platform: D1 statements, R2 and queue operations, counted by the harness of the
// integration tests, which stands between the worker and its bindings.

import { eventually, startHarness } from '../../integration/support/harness.mjs';
import { enrol, makeDevices } from './devices.mjs';

/** Messages at once; 100 is the largest batch that a queue delivers. */
const BATCHES = [1, 10, 100];

/** Long enough that a hundred messages through the taps still make one batch. */
const BATCH_TIMEOUT = 2;

/**
 * @typedef {object} Calls
 * @property {number} statements in D1
 * @property {number} r2
 * @property {number} queue
 */

/**
 * @param {import('./systems.mjs').System} system ours or the peer
 * @returns {Promise<Record<string, Calls>>} for one request of a route; `batch of N`: for the queue's consumer, one batch
 */
export async function countCalls(system) {
  const cloud = await startHarness({ only: ['telemetry'], configure: () => [system.table], batchTimeout: BATCH_TIMEOUT });
  try {
    const devices = makeDevices(Math.max(...BATCHES));
    await enrol(await cloud.cloud.database(), devices, cloud.secrets.DEVICE_KEK, system.kind);
    const [device] = devices;
    const counts = {};
    const count = async (what, run) => {
      cloud.faults.forget();
      await run();
      counts[what] = tally(cloud.faults.calls());
    };
    const measured = async ({ id }) => expect(await cloud.emqx.message(`opticworks/${id}/telemetry`, telemetry(id)), 202);

    await count('admission', async () => {
      expect(await cloud.emqx.authn({ clientid: device.id, username: device.id, password: device.password() }), 200);
    });
    await count('acl', async () => {
      expect(await cloud.emqx.authz({ clientid: device.id, username: device.id, topic: `opticworks/${device.id}/state` }), 200);
    });
    await count('state', async () => expect(await cloud.emqx.message(`opticworks/${device.id}/state`, state()), 204));
    // Counted at the answer: the consumer waits for its batch to fill.
    await count('telemetry', () => measured(device));
    if (system.kind !== 'ours') return counts;

    await eventually('the first batch', () => jobs(cloud).length === 1);
    let batches = 1;
    for (const size of BATCHES) {
      await count(`batch of ${size}`, async () => {
        await Promise.all(devices.slice(0, size).map(measured));
        await eventually(`a batch of ${size}`, () => jobs(cloud).length > batches);
        batches += 1;
        if (delivered(jobs(cloud).at(-1)) !== size) throw new Error(`${size} messages did not come as one batch: ${jobs(cloud).at(-1).outcome}`);
      });
      // The requests' own.
      counts[`batch of ${size}`].queue -= size;
    }
    return counts;
  } finally {
    await cloud.stop();
  }
}

/** @returns {Calls} */
function tally(calls) {
  const of = (...ops) => calls.filter(({ sql, op }) => !sql && ops.includes(op)).length;
  const statements = calls.reduce((sum, { sql }) => sum + (sql?.length ?? 0), 0);
  return { statements, r2: of('put', 'get', 'head', 'list', 'delete'), queue: of('send', 'sendBatch') };
}

/** The consumer's log lines, as shared/platform/src/queue.rs writes them: `3 delivered, 0 to be retried`. */
const jobs = (cloud) => cloud.logs().filter(({ event }) => event?.startsWith('queue '));
const delivered = ({ outcome }) => Number.parseInt(outcome, 10);

function expect(answer, status) {
  if (answer.status !== status) throw new Error(`expected ${status}, got ${answer.status}: ${answer.text}`);
}

const state = () => ({ online: true, firmware_version: '1.2.0', last_seen: new Date().toISOString(), uptime_sec: 60, wifi_rssi: -60 });

const telemetry = (id) => ({
  device_id: id,
  timestamp: new Date().toISOString(),
  metrics: { 'system.free_heap': 150_000, 'system.wifi_rssi': -60 },
});
