// `npm run drill`: the recoveries of docs/runbook.md on this machine, timed. `npm test` makes those that need no broker.

import { readOptions } from '../local/lib/options.mjs';
import { printer } from '../local/lib/print.mjs';
import { build } from '../local/lib/stack.mjs';
import { Trouble, command } from '../local/lib/trouble.mjs';
import { ELSEWHERE, SCENES, drillRecovery } from './drill/recovery.mjs';

const HELP = `npm run drill [-- options]: breaks things and recovers them as docs/runbook.md says, on stacks of its own

  --only ROW      one of: ${SCENES.map(({ row }) => `"${row}"`).join(', ')}
  --help          this

Exit status: 0 everything was recovered, 1 something was not.
`;

await command(async () => {
  const { values, help } = readOptions({ text: HELP, options: { only: { type: 'string' } } });
  if (help) return 0;
  const scenes = SCENES.filter(({ row }) => values.only === undefined || row === values.only);
  if (scenes.length === 0) throw new Trouble(`there is no row "${values.only}"`, [`there are: ${SCENES.map(({ row }) => row).join(', ')}`]);
  const print = printer({ lines: 'none' });
  await build(print);
  const results = await drillRecovery(scenes, (line) => print.write(line));
  for (const { row, steps } of results) for (const { what, seconds } of steps) print.write(`  ${seconds.toFixed(1).padStart(6)} s  ${row}: ${what}`);
  for (const [row, where] of Object.entries(ELSEWHERE)) print.write(`  ${'—'.padStart(6)}    ${row}: ${where}`);
  return results.some(({ fault }) => fault) ? 1 : 0;
});
process.exit();
