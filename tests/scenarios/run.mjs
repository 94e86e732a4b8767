// `npm run scenarios`: rollouts to two thousand simulated devices, each scenario on a stack of its own. See scenarios.mjs.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { misuse, readOptions, wholeNumber } from '../../local/lib/options.mjs';
import { printer } from '../../local/lib/print.mjs';
import { build } from '../../local/lib/stack.mjs';
import { command } from '../../local/lib/trouble.mjs';
import { duration } from '../../tools/lib/say.mjs';
import { Claims } from './lib/claims.mjs';
import { raise } from './lib/world.mjs';
import { SCENARIOS } from './scenarios.mjs';

const NAMES = Object.keys(SCENARIOS);

const HELP = `npm run scenarios [-- NAME... --devices N]: rolls images out to simulated fleets, and judges what came of it

${Object.entries(SCENARIOS).map(([name, { title }]) => `  ${name.padEnd(14)}${title}`).join('\n')}

All of them one after the other, or those that are named.

  --devices N   how many devices (2000)
  --json FILE   writes every claim there
  --help        this

Exit status: 0 every claim holds, 1 one does not, 2 wrong usage.
`;

const USAGE = {
  text: HELP,
  positionals: true,
  options: { devices: { type: 'string', default: '2000' }, json: { type: 'string' } },
};

await command(async () => {
  const { values, positionals, help } = readOptions(USAGE);
  if (help) return 0;
  const unknown = positionals.filter((name) => !NAMES.includes(name));
  if (unknown.length > 0) throw misuse(`there is no ${unknown.join(', ')}; there are ${NAMES.join(', ')}`, HELP);
  const devices = wholeNumber(values, 'devices', HELP, 20, 100_000);
  const names = positionals.length > 0 ? positionals : NAMES;
  // Every part has a process group of its own, ended when we end.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));
  const print = printer({ lines: 'none' });
  await build(print);
  const results = {};
  for (const name of names) results[name] = await enact(name, devices, print);
  print.write('');
  for (const line of overview(results, print.paint)) print.write(line);
  if (values.json) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
  return Object.values(results).every(({ holds }) => holds) ? 0 : 1;
});
process.exit();

/** A line a scenario. */
function overview(results, paint) {
  const width = Math.max(...Object.keys(results).map((name) => name.length));
  return Object.entries(results).map(([name, { holds, devices, seconds, claims }]) => {
    const held = claims.filter((claim) => claim.holds).length;
    const mark = holds ? paint('green', '✓') : paint('red', '✗');
    const numbers = [`${devices.toLocaleString('en')} devices`, `${held} of ${claims.length} claims`, duration(seconds * 1000)];
    return `${mark} ${name.padEnd(width)}  ${numbers.join('  ')}`;
  });
}

async function enact(name, devices, print) {
  const { title, scene, play } = SCENARIOS[name];
  const directory = mkdtempSync(join(tmpdir(), 'rs1-scenario-'));
  const clean = () => rmSync(directory, { recursive: true, force: true });
  process.on('exit', clean);
  print.write('');
  print.write(print.paint('bold', `${name}: ${title}`));
  print.write(print.paint('dim', `    npm run -s rollout -- watch latest --state ${directory}`));
  const started = Date.now();
  const claims = new Claims();
  // What the parts of the stack say is shown if something goes wrong.
  const parts = printer({ to: { write() {} }, lines: 'none' });
  let world;
  let trouble;
  try {
    world = await raise({ ...scene, devices, directory, print: parts, tell: (line) => print.write(`    ${line}`) });
    await play(world, claims);
  } catch (error) {
    trouble = error;
  } finally {
    await world?.stop();
  }
  for (const line of claims.table(print.paint)) print.write(line);
  if (trouble) {
    print.write(print.paint('red', `  ${trouble.message}`));
    parts.takeKept().slice(-20).forEach((line) => print.write(`    ${line}`));
  }
  const holds = trouble === undefined && claims.hold;
  const took = duration(Date.now() - started);
  print.write(holds ? print.paint('green', `  ${devices} devices, ${took}`) : print.paint('red', `  it is not so (${took})`));
  process.off('exit', clean);
  clean();
  return { holds, title, devices, seconds: (Date.now() - started) / 1000, claims: claims.all, trouble: trouble?.message };
}
