// `npm run -s cron -- WORKER "CRON"`: runs one cron trigger of the running stack now.

import { resolve } from 'node:path';
import { duration } from '../tools/lib/say.mjs';
import { misuse, readOptions } from './lib/options.mjs';
import { STATE, runningStack } from './lib/stack-file.mjs';
import { Trouble, command } from './lib/trouble.mjs';

const HELP = `npm run -s cron -- WORKER "CRON": runs one cron trigger of the running stack now, and prints its outcome

  WORKER, CRON    as in wrangler/WORKER.jsonc; without them, the list of what exists
  --time TIME     the time for which it runs, as 2026-01-20T10:00:00Z (now)
  --state DIR     the state of the stack that is meant (.local/)
  --help          this

For example: npm run -s cron -- archive "30 * * * *"
`;

const USAGE = { text: HELP, positionals: true, options: { time: { type: 'string' }, state: { type: 'string' } } };

await command(async () => {
  const { values, positionals, help } = readOptions(USAGE);
  if (help) return 0;
  if (![0, 2].includes(positionals.length)) throw misuse('say a worker and a cron, the cron in quotes', HELP);
  if (values.time !== undefined && Number.isNaN(Date.parse(values.time))) throw misuse(`--time wants a time, not "${values.time}"`, HELP);
  const [worker, cron] = positionals;
  const stack = await runningStack(values.state ? resolve(values.state) : STATE);
  if (worker === undefined) {
    const { json } = await stack.control('GET', '/');
    process.stdout.write(`${table(json.workers).join('\n')}\n`);
    return 0;
  }
  const { status, json, text } = await stack.control('POST', '/cron', { worker, cron, time: values.time });
  if (status === 422) {
    const trouble = new Trouble(json.error, ['there are:', ...table(json.exist)]);
    trouble.exitCode = 2;
    throw trouble;
  }
  if (status !== 200) throw new Trouble(`the launcher answers ${status}: ${json?.error ?? text}`);
  process.stdout.write(`${worker} "${cron}": ${json.outcome}, ${duration(json.ms)}\n`);
  return json.outcome === 'ok' ? 0 : 1;
});

function table(workers) {
  return workers.flatMap(({ worker, crons }) => crons.map((cron) => `${worker} "${cron}"`));
}
