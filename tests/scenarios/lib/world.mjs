// One scenario's world: a stack of its own with its timers shortened, a signed image in it, a fleet of simulated devices that
// misbehave as the scenario says, and a clock that ticks every few hundred milliseconds.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hurry, otaOperator } from '../../../local/lib/ota.mjs';
import { capture } from '../../../tools/lib/proc.mjs';
import { FLEET, delivered, startFleet } from '../../../local/lib/parts.mjs';
import { freePorts } from '../../../local/lib/ports.mjs';
import { startStack } from '../../../local/lib/stack.mjs';
import { eventually } from '../../../local/lib/wait.mjs';

/** What the fleet runs at first, and what it is to run. */
export const BEFORE = '1.2.0';
export const AFTER = '1.3.0';
const SKU = 'rs1_pro';
const SEED = '1';
/** Weaker than any device's signal, but for those that are asked to be weak. */
const MIN_RSSI = -90;

/** A minute of the firmware's is 60 ms: it gives a download up after 36 of them, a bit more than two seconds. */
const DEVICE_SPEED = 1_000;

/**
 * So, too, the cloud's timers. What they wait for is real work on one machine, which may be busy with other things: a report that
 * waits in a queue must not look like silence.
 */
const TIMERS = { ROLLOUT_ACKNOWLEDGE_TIMEOUT_SEC: 600, ROLLOUT_FINISH_TIMEOUT_SEC: 900, ROLLOUT_SEND_TIMEOUT_SEC: 900 };
const TICK_MS = 500;

/**
 * @typedef {object} Scene what a scenario asks for
 * @property {string} faults of the devices' updates, as `rs1-fleet run --ota-faults` takes them
 * @property {Record<string, unknown>} [settings] of the ota worker
 * @property {number} [size] of the image, in bytes
 * @property {number} [speed] how many times faster than in the field devices wait
 *
 * @typedef {Awaited<ReturnType<typeof raise>>} World
 */

/**
 * @param {object} scene a {@link Scene}, and
 * @param {number} scene.devices
 * @param {string} scene.directory where the stack keeps its state
 * @param {ReturnType<typeof import('../../../local/lib/print.mjs').printer>} scene.print takes what the parts of the stack say
 * @param {(line: string) => void} scene.tell takes how far it is
 */
export async function raise({ devices, faults, settings = {}, size = 48 * 1024, speed = DEVICE_SPEED, directory, print, tell }) {
  const stack = await startStack({ ports: await freePorts(), directory, fleet: 0, vars: { ota: { ...TIMERS, ...settings } }, print });
  const operator = otaOperator(stack);
  const clock = hurry(stack, TICK_MS);
  const report = join(directory, 'fleet.json');
  let fleet;
  let isUp = false;
  try {
    const members = await list(devices, faults);
    const { publicKey, image } = await operator.publish({ version: AFTER, sku: SKU, size });
    fleet = startFleet({
      devices,
      ports: stack.ports,
      state: directory,
      options: [
        ...['--sku', SKU, '--seed', SEED, '--firmware', BEFORE, '--interval', '3600', '--mqtt-version', 'mixed'],
        ...['--ota-key', publicKey, '--ota-faults', faults, '--ota-speed', String(speed), '--report', report],
      ],
      onLine: (line) => (isUp ? print.line('fleet', line) : tell(line)),
    });
    await fleet.ready;
    isUp = true;
    await delivered(stack.ports, 60_000);
    const ended = Promise.race([
      clock.failed,
      stack.failed.then((what) => {
        throw new Error(what);
      }),
      fleet.ended.then((how) => {
        throw new Error(`the fleet ${how}`);
      }),
    ]);
    ended.catch(() => {});

    return {
      stack,
      operator,
      image,
      devices,
      /** Every device, and how it misbehaves. */
      fleet: members,

      /** A rollout of the image, started. @returns {Promise<string>} its id */
      async rollOut(body) {
        const { rollout_id: id } = await operator.create({ sku: SKU, version: AFTER, min_rssi: MIN_RSSI, ...body });
        await operator.order(id, 'start', 'a scenario');
        return id;
      },

      /** Pauses the rollout, unless it has just paused by itself. @returns {Promise<boolean>} whether that was we */
      async pause(id) {
        const answer = await operator.ask('POST', `/admin/rollouts/${id}/pause`, { body: { reason: 'somebody wants to have a look' } });
        if (![200, 409].includes(answer.status)) throw new Error(`pause: ${answer.status}: ${answer.text}`);
        return answer.status === 200;
      },

      /**
       * Waits until the rollout is as asked for, and tells how it goes meanwhile.
       * @param {string} id
       * @param {string} what
       * @param {(rollout: any) => boolean} look
       * @param {number} [within] milliseconds
       */
      async until(id, what, look, within = 600_000) {
        let told = '';
        let seen;
        const see = async () => {
          seen = await operator.rollout(id);
          const line = progress(seen);
          if (line !== told) tell(line);
          told = line;
          return look(seen) && seen;
        };
        return Promise.race([eventually(what, see, { within, every: 500, seen: () => seen }), ended]);
      },

      /** What the API tells of it: the rollout, its devices, and what happened when. */
      async record(id) {
        const [rollout, states, events] = [await operator.rollout(id), await operator.devices(id), await operator.events(id)];
        return recordOf(rollout, states, events, members);
      },

      /** Waits until the broker has handed on all that it was told. */
      delivered: () => delivered(stack.ports, 60_000),

      /** Ends the fleet, and answers what it really did. */
      async truth() {
        await fleet.stop();
        return JSON.parse(readFileSync(report, 'utf8'));
      },

      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }

  async function stop() {
    await clock.stop();
    await fleet?.stop();
    operator.close();
    await stack.stop();
  }
}

/** The fleet before it lives. @returns {Promise<{ device_id: string, cohort: number, misbehaviour: string[] }[]>} */
async function list(devices, faults) {
  const args = ['list', '--devices', String(devices), '--sku', SKU, '--seed', SEED, '--ota-faults', faults];
  const { ok, stdout, stderr } = await capture(FLEET, args);
  if (!ok) throw new Error(stderr);
  return stdout.trim().split('\n').map((line) => JSON.parse(line));
}

/**
 * A rollout's history, sorted out. Times are Unix milliseconds.
 * @param {any} rollout
 * @param {any[]} devices
 * @param {any[]} events
 * @param {{ device_id: string, cohort: number }[]} members
 */
export function recordOf(rollout, devices, events, members) {
  const cohorts = new Map(members.map(({ device_id: id, cohort }) => [id, cohort]));
  const of = (...kinds) => events.filter(({ kind }) => kinds.includes(kind)).map((event) => ({ ...event, at: Date.parse(event.at) }));
  return {
    rollout,
    devices,
    /** Lines of its history. */
    events: events.length,
    /** When each stage began. */
    stages: of('started', 'advanced').map(({ at, detail }) => ({ at, stage: detail?.to ?? 0 })),
    /** Who was triggered when, and in which attempt. */
    triggers: of('device')
      .filter(({ state }) => state === 'triggered')
      .map(({ at, device_id, attempt }) => ({ at, device_id, attempt, cohort: cohorts.get(device_id) })),
    /** Every count that changed: who came to which state. */
    changes: of('device').map(({ at, device_id, state }) => ({ at, device_id, state })),
    /** When the planner paused or gave up, and why. */
    halts: of('halted').map(({ at, detail }) => ({ at, cause: detail.cause, says: detail.says, status: detail.status })),
    /** Devices that were told to update. */
    reached: devices.filter(({ state }) => state !== 'eligible' && state !== 'cancelled'),
    /** How many triggers the broker took after that instant. */
    sentAfter: (at) => devices.filter(({ sent_at: sent }) => sent !== null && Date.parse(sent) > at).length,
  };
}

/** A rollout in a line. */
export function progress({ status, stage, counts }) {
  const states = Object.entries(counts).filter(([, count]) => count > 0);
  return `${status.padEnd(9)} stage ${stage + 1}  ${states.map(([state, count]) => `${state} ${count}`).join(', ')}`;
}
