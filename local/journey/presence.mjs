// A device says how it is, and is seen to go and to come back.

import { delivered } from '../lib/parts.mjs';
import { eventually } from '../lib/wait.mjs';
import { equal, status } from './expect.mjs';
import { connect } from './mqtt.mjs';

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const PRESENCE = {
  title: 'presence',
  steps: [
    {
      name: 'its state is seen in the API',
      async run(traveller) {
        const client = await online(traveller, '1.2.0');
        await becomes(traveller, 'online with version 1.2.0', { online: true, firmware_version: '1.2.0' });
        traveller.client = client;
      },
    },
    {
      name: 'gone without a word, it is offline by its last will',
      async run(traveller) {
        const { stack } = traveller;
        const [wills, ends] = [reports(stack, 'device-state'), reports(stack, 'device-offline')];
        traveller.client.vanish();
        await becomes(traveller, 'offline', { online: false });
        await eventually('the will', () => reports(stack, 'device-state') > wills);
        await eventually('the disconnect event', () => reports(stack, 'device-offline') > ends);
      },
    },
    {
      name: 'back again, it is online',
      async run(traveller) {
        traveller.client = await online(traveller, '1.2.1');
        await becomes(traveller, 'online with version 1.2.1', { online: true, firmware_version: '1.2.1' });
      },
    },
    {
      name: 'connected twice, the old session ends and the device stays online',
      async run(traveller) {
        const { stack } = traveller;
        const before = reports(stack, 'device-offline');
        const client = await online(traveller, '1.2.2');
        await eventually('the broker to report the end of the old session', () => reports(stack, 'device-offline') > before);
        // The old session's will, its end and the new state are under way side by side: what counts is where they end.
        await delivered(stack.ports);
        const { online: isOnline, firmware_version } = await device(traveller);
        equal('the device', { isOnline, firmware_version }, { isOnline: true, firmware_version: '1.2.2' });
        traveller.client = client;
      },
    },
    {
      name: 'it says goodbye, and is offline by the disconnect event',
      async run(traveller) {
        await traveller.client.disconnect();
        await becomes(traveller, 'offline', { online: false });
      },
    },
  ],
};

/** Connects and reports a state with this firmware version; the last will says that it is offline. */
async function online({ stack, device: { id, password } }, firmware_version) {
  const topic = `opticworks/${id}/state`;
  const state = (isOnline) => ({
    online: isOnline,
    firmware_version,
    last_seen: new Date().toISOString(),
    protocol_version: '1.0',
    product_sku: 'rs1_pro',
    uptime_sec: 12,
    wifi_rssi: -55,
    boot_count: 1,
    reset_reason: 'power_on',
  });
  const will = { topic, payload: JSON.stringify(state(false)) };
  const { code, client } = await connect({ port: stack.ports.mqtt, version: 5, username: id, password: password(), will });
  equal('CONNACK', code, 0);
  const puback = await client.publish(topic, state(true), { retain: true });
  if (![0, 16].includes(puback)) throw new Error(`PUBACK for the state: ${puback}`);
  return client;
}

async function device({ admin, device: { id } }) {
  const answer = await admin('GET', `/api/admin/devices/${id}`);
  status(answer, 200);
  return answer.json;
}

function becomes(traveller, what, expected) {
  let seen;
  const look = async () => {
    seen = await device(traveller);
    return Object.entries(expected).every(([name, value]) => seen[name] === value);
  };
  return eventually(`the device to be ${what}`, look, { seen: () => seen }).then(() => {});
}

/** How many reports of a kind the workers have answered. */
const reports = (stack, kind) => stack.lines.filter((line) => line.includes(`/webhook/${kind}`)).length;
