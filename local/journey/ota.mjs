// Updates: a simulated RS-1 is brought to another version, and is seen to run it; another falls back, and that is the end of it.

import { hurry, isOver, otaOperator } from '../lib/ota.mjs';
import { delivered, startFleet } from '../lib/parts.mjs';
import { eventually } from '../lib/wait.mjs';
import { equal, status } from './expect.mjs';

const SKU = 'rs1_pro';
const [BEFORE, AFTER, BAD] = ['1.2.0', '1.3.0', '1.4.0'];
/** How many times faster than in the field a device restarts. */
const SPEED = 20;
const TICK_MS = 250;

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const OTA = {
  title: 'updates',
  steps: [
    {
      name: 'a key is registered, and an image that it signed is uploaded',
      async run(traveller) {
        traveller.ota = { operator: otaOperator(traveller.stack) };
        const { image, artifact } = await publish(traveller, AFTER);
        equal('its size', artifact.size, image.length);
        return `${AFTER}, ${artifact.size} bytes, SHA-256 ${artifact.sha256.slice(0, 12)}…`;
      },
    },
    {
      name: 'a rollout reaches a simulated RS-1, which downloads, checks, installs and restarts',
      async run(traveller) {
        const { rollout, device } = await rollOut(traveller, { version: AFTER, seed: 1 });
        equal('its status', rollout.status, 'COMPLETED');
        equal('devices confirmed', rollout.counts.confirmed, 1);
        const answer = await traveller.admin('GET', `/api/admin/devices/${device}`);
        status(answer, 200);
        equal('the version that it runs', answer.json.firmware_version, AFTER);
        return story(traveller, rollout, device);
      },
    },
    {
      name: 'one whose new image does not come up falls back, and its rollout is aborted by itself',
      async run(traveller) {
        await publish(traveller, BAD);
        const { rollout, device } = await rollOut(traveller, { version: BAD, seed: 2, faults: 'rollback' });
        equal('its status', rollout.status, 'ABORTED');
        equal('the cause', rollout.cause, 'failure_share');
        equal('devices that rolled back', rollout.counts.rolled_back, 1);
        const remark = await story(traveller, rollout, device);
        traveller.ota.operator.close();
        return remark;
      },
    },
  ],
};

async function publish({ ota }, version) {
  const published = await ota.operator.publish({ version, sku: SKU });
  ota.publicKey = published.publicKey;
  return published;
}

/** Rolls the version out to one simulated device that lives for so long. @returns {Promise<{ rollout: any, device: string }>} */
async function rollOut({ stack, admin, ota: { operator, publicKey } }, { version, seed, faults = '' }) {
  const said = [];
  const options = [
    ...['--sku', SKU, '--seed', String(seed), '--firmware', BEFORE],
    ...['--ota-key', publicKey, '--ota-faults', faults, '--ota-speed', String(SPEED)],
  ];
  const onLine = (line) => said.push(line);
  const before = await online(admin);
  const fleet = startFleet({ devices: 1, ports: stack.ports, state: stack.directory, options, onLine });
  const clock = hurry(stack, TICK_MS);
  try {
    await fleet.ready;
    await delivered(stack.ports);
    const [device] = (await online(admin)).filter((one) => !before.includes(one));
    const stages = [{ percent: 100 }];
    const { rollout_id: id } = await operator.create({ sku: SKU, version, stages, selector: { device_ids: [device] } });
    await operator.order(id, 'start', 'the smoke journey');
    let seen;
    const look = async () => {
      seen = await operator.rollout(id);
      return isOver(seen);
    };
    await Promise.race([eventually('the rollout to end', look, { within: 60_000, every: 250, seen: () => seen }), clock.failed]);
    return { rollout: seen, device };
  } catch (error) {
    throw new Error(`${error.message}; the fleet: ${said.slice(-3).join(' / ')}`, { cause: error });
  } finally {
    await clock.stop();
    await fleet.stop();
  }
}

/** The ids of the devices that are connected. */
async function online(admin) {
  const answer = await admin('GET', '/api/admin/devices?limit=100');
  status(answer, 200);
  return answer.json.items.filter((device) => device.online).map(({ device_id }) => device_id);
}

/** What the rollout's history says of a device, in the order in which it was learnt. */
async function story({ ota: { operator } }, { rollout_id: id }, device) {
  const events = await operator.events(id);
  return events.filter(({ device_id }) => device_id === device).map(({ state }) => state).join(', ');
}
