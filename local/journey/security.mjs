// Guessing is noticed.

import { makeDevice } from '../lib/credentials.mjs';
import { eventually } from '../lib/wait.mjs';
import { equal, status } from './expect.mjs';
import { connect } from './mqtt.mjs';

/** One more than the number of failures in ten minutes that pass for clumsiness. */
const GUESSES = 6;

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const SECURITY = {
  title: 'security',
  steps: [
    {
      name: `${GUESSES} wrong passwords from one address are in the security log`,
      async run({ stack, admin, device }) {
        for (let i = 0; i < GUESSES; i += 1) {
          const { code } = await connect({ port: stack.ports.mqtt, version: 5, username: device.id, password: makeDevice().password() });
          equal('CONNACK', code, 0x87);
        }
        const entry = await eventually('auth_failure_repeated from 127.0.0.1', async () => {
          const answer = await admin('GET', '/api/admin/security-log?kind=auth_failure_repeated');
          status(answer, 200);
          return answer.json.items.find(({ peerhost }) => peerhost === '127.0.0.1');
        });
        equal('its severity', entry.severity, 'high');
      },
    },
    {
      name: 'the right password is still admitted',
      async run({ stack, device }) {
        const { code, client } = await connect({ port: stack.ports.mqtt, version: 5, username: device.id, password: device.password() });
        equal('CONNACK', code, 0);
        await client.disconnect();
      },
    },
  ],
};
