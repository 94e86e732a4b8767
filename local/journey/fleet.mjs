// A simulated RS-1, the one that `npm start` runs three of, enrols itself and lives.

import { startFleet } from '../lib/parts.mjs';
import { eventually } from '../lib/wait.mjs';
import { status } from './expect.mjs';

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const FLEET = {
  title: 'a simulated RS-1',
  steps: [
    {
      name: 'it enrols, connects and is online',
      async run({ stack, admin, device }) {
        const said = [];
        const fleet = startFleet({ devices: 1, ports: stack.ports, state: stack.directory, onLine: (line) => said.push(line) });
        let isOver = false;
        fleet.ended.then((how) => {
          isOver = true;
          said.push(how);
        });
        try {
          const other = await eventually(
            'another device that is online',
            async () => {
              if (isOver) return { ended: true };
              const answer = await admin('GET', '/api/admin/devices');
              status(answer, 200);
              return answer.json.items.find(({ device_id, online }) => device_id !== device.id && online);
            },
            { within: 20_000 },
          );
          if (other.ended) throw new Error(`the fleet ended: ${said.slice(-3).join(' / ')}`);
          return other.device_id;
        } finally {
          await fleet.stop();
        }
      },
    },
  ],
};
