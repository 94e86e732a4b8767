// Crons, fired by hand.

import { httpClient } from '../lib/http.mjs';
import { equal, status } from './expect.mjs';

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const CLOCK = {
  title: 'the clock',
  steps: [
    {
      name: 'every cron of every worker runs by hand',
      async run({ stack }) {
        const crons = stack.cloud.workers.flatMap(({ worker, crons: own }) => own.map((cron) => ({ worker, cron })));
        for (const { worker, cron } of crons) {
          const answer = await control(stack, { worker, cron });
          status(answer, 200);
          equal(`outcome of ${worker} "${cron}"`, answer.json.outcome, 'ok');
        }
        return crons.map(({ worker, cron }) => `${worker} "${cron}"`).join(', ');
      },
    },
    {
      name: 'a cron that nobody has is refused',
      run: async ({ stack }) => status(await control(stack, { worker: 'telemetry', cron: '1 2 3 4 *' }), 422),
    },
  ],
};

async function control({ ports }, body) {
  const client = httpClient({ port: ports.control });
  try {
    return await client('POST', '/cron', { host: '127.0.0.1', body });
  } finally {
    client.close();
  }
}
