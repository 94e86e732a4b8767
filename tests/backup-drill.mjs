// `npm run backup-drill`: backs a database of a fleet's size up with the real worker, kills the runtime while it does, and
// proves what comes out. What it measures, and how, is in the table that it prints.

import { writeFileSync } from 'node:fs';
import { misuse, readOptions, wholeNumber } from '../local/lib/options.mjs';
import { command } from '../local/lib/trouble.mjs';
import { buildWorkers } from '../tools/build.mjs';
import { defaultRoot } from './bench/lib/systems.mjs';
import { drillBackup } from './drill/backup.mjs';
import { numbers, table } from './drill/report.mjs';

const HELP = `npm run backup-drill [-- options]

  --devices N     devices in the database (10000)
  --hours N       hours of telemetry, a row a device; 120 are about a gigabyte of SQL for 10,000 devices (120)
  --cuts N        how often the runtime is killed during the first backup, at random moments (10)
  --state DIR     where the database and the bucket are meanwhile (${defaultRoot()})
  --no-build      with the bundle in dist/, however old
  --json FILE     writes every number there
  --help          this

Exit status: 0 both backups restore to what they were taken of, 1 they do not.
`;

const USAGE = {
  text: HELP,
  options: {
    devices: { type: 'string', default: '10000' },
    hours: { type: 'string', default: '120' },
    cuts: { type: 'string', default: '10' },
    state: { type: 'string', default: defaultRoot() },
    'no-build': { type: 'boolean', default: false },
    json: { type: 'string' },
  },
};

await command(async () => {
  const { values, help } = readOptions(USAGE);
  if (help) return 0;
  const number = (name, least, most) => wholeNumber(values, name, HELP, least, most);
  const plan = { devices: number('devices', 1, 100_000), hours: number('hours', 1, 720), cuts: number('cuts', 0, 100) };
  if (plan.devices * plan.hours > 20_000_000) throw misuse('that is more than D1 holds', HELP);
  if (!values['no-build']) await buildWorkers(['health']);
  const began = Date.now();
  const drill = await drillBackup({ ...plan, root: values.state, say: (line) => process.stderr.write(`${((Date.now() - began) / 1000).toFixed(0).padStart(5)} s  ${line}\n`) });
  const measured = numbers(drill);
  process.stdout.write(`\n${table(plan, measured)}\n`);
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ plan, ...measured }, null, 2)}\n`);
  return measured.faults.length === 0 ? 0 : 1;
});
process.exit();
