// The broker asks the cloud whom to let in.

import { hourOf, makeDevice } from '../lib/credentials.mjs';
import { codeName, connect } from './mqtt.mjs';

/** CONNACK "not authorized", by protocol version (4 is 3.1.1). */
const NOT_AUTHORIZED = { 4: 5, 5: 0x87 };
const NAME = { 4: 'MQTT 3.1.1', 5: 'MQTT 5.0' };

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const ADMISSION = {
  title: 'admission to the broker',
  steps: [
    ...[4, 5].map((version) => ({
      name: `the right password is admitted, ${NAME[version]}`,
      async run({ stack, device }) {
        for (const encoding of ['hex', 'base64']) {
          const password = device.password({ encoding });
          const { code, client } = await connect({ port: stack.ports.mqtt, version, username: device.id, password });
          if (code !== 0) throw new Error(`with the password in ${encoding}: expected CONNACK 0, got ${codeName(code)}`);
          await client.disconnect();
        }
      },
    })),
    refused('a wrong password', ({ device }) => ({ username: device.id, password: makeDevice().password() })),
    refused('the password of two hours ago', ({ device }) => ({ username: device.id, password: device.password({ hour: hourOf() - 2 }) })),
    refused('the right password under a foreign client id', ({ device }) => ({
      username: device.id,
      password: device.password(),
      clientId: makeDevice().id,
    })),
    refused('a device that nobody enrolled', () => {
      const stranger = makeDevice();
      return { username: stranger.id, password: stranger.password() };
    }),
  ],
};

/** @returns {import('./journey.mjs').Step} */
function refused(what, credentials) {
  return {
    name: `${what} is refused`,
    async run(traveller) {
      const seen = [];
      for (const version of [4, 5]) {
        const { code, client } = await connect({ port: traveller.stack.ports.mqtt, version, ...credentials(traveller) });
        client?.vanish();
        if (code !== NOT_AUTHORIZED[version]) {
          throw new Error(`${NAME[version]}: expected CONNACK ${codeName(NOT_AUTHORIZED[version])}, got ${codeName(code)}`);
        }
        seen.push(codeName(code));
      }
      return `CONNACK ${seen.join(' and ')}`;
    },
  };
}
