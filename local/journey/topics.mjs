// What a device may say and hear.

import { makeDevice } from '../lib/credentials.mjs';
import { eventually } from '../lib/wait.mjs';
import { status } from './expect.mjs';
import { codeName, connect } from './mqtt.mjs';

/** Topics of the wire contract. */
const TO_CLOUD = [
  ...['state', 'telemetry', 'telemetry/diagnostics', 'diag/response'],
  ...['ota/status', 'config/status', 'provision', 'targets/stream'],
];
const FROM_CLOUD = ['ota/trigger', 'config/update', 'diag/request', 'provision/response', 'command/factory-reset'];
const SUBACK_REFUSED = { 4: 0x80, 5: 0x87 };

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const TOPICS = {
  title: 'topics',
  steps: [
    {
      name: 'its own topics are allowed',
      run: (traveller) =>
        connected(traveller, 5, async (client, id) => {
          for (const topic of FROM_CLOUD) granted(`SUBACK for ${topic}`, await client.subscribe(`opticworks/${id}/${topic}`), [0, 1]);
          // Empty payloads: the messages themselves have their own steps. No subscriber is as good as an acknowledgement.
          for (const topic of TO_CLOUD.filter((one) => one !== 'state')) {
            granted(`PUBACK for ${topic}`, await client.publish(`opticworks/${id}/${topic}`, '{}'), [0, 16]);
          }
          return `${TO_CLOUD.length - 1} to say, ${FROM_CLOUD.length} to hear`;
        }),
    },
    {
      name: 'saying anything else is refused',
      run: (traveller) =>
        connected(traveller, 5, async (client, id) => {
          const other = makeDevice().id;
          const topics = [`opticworks/${other}/state`, `opticworks/${id}/ota/trigger`, `opticworks/${id}`, 'elsewhere'];
          for (const topic of topics) granted(`PUBACK for ${topic}`, await client.publish(topic, '{}'), [0x87]);
          return `PUBACK ${codeName(0x87)}`;
        }),
    },
    ...[4, 5].map((version) => ({
      name: `hearing others, or more than its own, is refused (MQTT ${version === 4 ? '3.1.1' : '5.0'})`,
      run: (traveller) =>
        connected(traveller, version, async (client, id) => {
          const other = makeDevice().id;
          const others = `opticworks/${other}/ota/trigger`;
          const filters = [others, `$share/g/${others}`, 'opticworks/+/state', `opticworks/${id}/#`, '#', '$SYS/#'];
          for (const filter of filters) granted(`SUBACK for ${filter}`, await client.subscribe(filter), [SUBACK_REFUSED[version]]);
          return `SUBACK ${codeName(SUBACK_REFUSED[version])}`;
        }),
    })),
    {
      name: 'the refusals are in the security log',
      run: ({ admin, device }) =>
        eventually('an acl_violation of this device', async () => {
          const answer = await admin('GET', '/api/admin/security-log?kind=acl_violation');
          status(answer, 200);
          return answer.json.items.find((item) => JSON.stringify(item).includes(device.id)) && 'acl_violation';
        }),
    },
  ],
};

async function connected({ stack, device }, version, work) {
  const { code, client } = await connect({ port: stack.ports.mqtt, version, username: device.id, password: device.password() });
  granted('CONNACK', code, [0]);
  try {
    return await work(client, device.id);
  } finally {
    await client.disconnect();
  }
}

function granted(what, code, expected) {
  if (!expected.includes(code)) throw new Error(`${what}: expected ${expected.map(codeName).join(' or ')}, got ${codeName(code)}`);
}
