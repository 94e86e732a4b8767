// `npm run bench`: our telemetry worker beside a plain TypeScript peer and an empty JavaScript worker. See README.md.

import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { gzipSync } from 'node:zlib';
import { misuse, readOptions, wholeNumber } from '../../local/lib/options.mjs';
import { generateSecrets } from '../../local/lib/secrets.mjs';
import { printer } from '../../local/lib/print.mjs';
import { build } from '../../local/lib/stack.mjs';
import { command } from '../../local/lib/trouble.mjs';
import { buildWorkers, measureBundles } from '../../tools/build.mjs';
import { drillBackup } from '../drill/backup.mjs';
import { numbers as drillNumbers } from '../drill/report.mjs';
import { measureAttack } from './lib/attack.mjs';
import { countCalls } from './lib/calls.mjs';
import { measureCollected } from './lib/collected.mjs';
import { measureDownloads } from './lib/download.mjs';
import {
  attackReport,
  backupReport,
  callsReport,
  collectedReport,
  downloadReport,
  sizeReport,
  speedReport,
  startupReport,
  summary,
  updatesReport,
  usageReport,
  watchReport,
} from './lib/report.mjs';
import { measurePlanner } from './lib/planner.mjs';
import { measureStartup } from './lib/startup.mjs';
import { Workshop, defaultRoot } from './lib/systems.mjs';
import { ROUTES, WARM_UP, measureThroughput } from './lib/throughput.mjs';
import { measureUpdates } from './lib/updates.mjs';
import { measureUsage } from './lib/usage.mjs';
import { measureWatch } from './lib/watch.mjs';
import { findWrk } from './lib/wrk.mjs';

const PARTS = [...ROUTES, 'objects', 'usage', 'sizes', 'startup', 'calls', 'download', 'updates', 'backup', 'attack', 'watch'];
/** A database that takes a part every second or two; `npm run backup-drill` is for one of full size. */
const BACKUP = { devices: 2_000, hours: 60, cuts: 0 };

const USAGE = {
  text: `npm run bench [-- OPTIONS]

Measures the telemetry worker's release bundle beside others, each in its own Miniflare:
  peer      the same in plain TypeScript (tests/bench/peer)
  duties    a JavaScript worker that does what is required of every answer to the broker and decides nothing
  ceiling   an empty JavaScript worker: looks at nothing, logs nothing, answers a constant
Downloads ("download"): 200 devices at once, each fetching an image range by range, beside a plain worker that streams the
same object of R2 and does nothing else (tests/bench/peer-download).
Telemetry that comes collected ("objects"), beside the peer's requests; and what a device's hour costs at the platform by each door
("usage"): rows of D1, operations of R2, and dollars a month for 10,000 and 1,000,000 devices.
A round of forty checks by the health worker ("watch"), beside plain TypeScript that does them one after another, or all at once.
What honest devices notice of 10,000 refusals a minute ("attack"), without a peer.
And what nobody publishes of updates ("updates"): the whole stack with a simulated fleet, without a peer.

  --seconds N        of one round (default 4)
  --rounds N         a system and route (default 6); the systems take turns
  --connections N    of the load generator (default 8)
  --only A,B         of ${PARTS.join(', ')}
  --devices N        of the fleet that is updated (default 1000)
  --also NAME=DIR    another bundle of the telemetry worker, e.g. one that was kept before a change; may be repeated
  --no-build         measures what is in dist/, however old
  --strict           a missed target is an exit status of 1; otherwise only a wrong answer or a lost message is
  --state DIR        where D1, R2 and queues keep theirs (default ${defaultRoot()}; why, says lib/systems.mjs)
  --json FILE        writes every number there
`,
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '6' },
    connections: { type: 'string', default: '8' },
    devices: { type: 'string', default: '1000' },
    only: { type: 'string' },
    also: { type: 'string', multiple: true, default: [] },
    'no-build': { type: 'boolean', default: false },
    strict: { type: 'boolean', default: false },
    state: { type: 'string' },
    json: { type: 'string' },
  },
};

async function main() {
  const options = readOptions(USAGE);
  if (options.help) return 0;
  const { values } = options;
  const seconds = wholeNumber(values, 'seconds', USAGE.text, 1, 600);
  const rounds = wholeNumber(values, 'rounds', USAGE.text, 1, 100);
  const connections = wholeNumber(values, 'connections', USAGE.text, 1, 256);
  const devices = wholeNumber(values, 'devices', USAGE.text, 100, 100_000);
  const parts = values.only?.split(',') ?? PARTS;
  const unknown = parts.filter((part) => !PARTS.includes(part));
  if (unknown.length > 0) throw misuse(`--only knows no ${unknown.join(', ')}`, USAGE.text);
  const also = values.also.map((each) => {
    const [, name, directory] = /^([\w.-]+)=(.+)$/.exec(each) ?? [];
    if (!name || ['ours', 'peer', 'duties', 'ceiling'].includes(name)) throw misuse(`--also wants NAME=DIR, not "${each}"`, USAGE.text);
    return { name, directory };
  });
  const routes = ROUTES.filter((route) => parts.includes(route));
  const wrk = routes.length > 0 || parts.includes('objects') ? findWrk() : undefined;
  const print = printer({ to: process.stderr, lines: 'none' });
  if (!values['no-build']) await (parts.includes('updates') ? build(print) : buildWorkers());

  const say = (line) => process.stderr.write(`${line}\n`);
  const workshop = new Workshop(values.state);
  try {
    const secrets = generateSecrets();
    const systems = await workshop.systems(also);
    const results = { machine: { cores: cpus().length, model: cpus()[0]?.model, load: loadavg()[0] }, options: { seconds, rounds, connections } };
    const reports = [];
    const add = (report) => reports.push(report);

    if (parts.includes('sizes')) add(sizeReport((results.sizes = sizes(systems))));
    if (parts.includes('calls')) {
      say('calls: counting');
      results.calls = {};
      for (const system of systems) if (system.kind !== 'ceiling') results.calls[system.name] = await countCalls(system);
      add(callsReport(results.calls));
    }
    if (parts.includes('startup')) {
      say('start-up: measuring');
      add(startupReport((results.startup = await measureStartup({ systems, workshop, secrets, times: rounds }))));
    }
    if (routes.length > 0) {
      const loaded = [...systems, workshop.duties()];
      say(`load: some ${routes.length * systems.length * (rounds * seconds + WARM_UP)} s and the time to drain; ${connections} connections`);
      results.load = await measureThroughput({ systems: loaded, apiSystems: await workshop.apiSystems(), workshop, secrets, wrk, routes, seconds, rounds, connections, say });
      add(speedReport(loaded, results.load));
    }

    if (parts.includes('objects')) {
      results.objects = await measureCollected({ systems, workshop, secrets, wrk, seconds, rounds, connections, say });
      add(collectedReport(results.objects));
    }
    if (parts.includes('usage')) {
      results.usage = await measureUsage({ secrets, workshop, say });
      add(usageReport(results.usage));
    }
    if (parts.includes('download')) {
      results.download = await measureDownloads({ secrets, workshop, rounds, say });
      add(downloadReport(results.download));
    }
    if (parts.includes('backup')) {
      say(`backup: of ${BACKUP.devices} devices, twice, and restored`);
      results.backup = drillNumbers(await drillBackup({ ...BACKUP, root: values.state ?? defaultRoot(), say }));
      add(backupReport(results.backup));
    }
    if (parts.includes('attack')) {
      results.attack = await measureAttack({ secrets, rounds, seconds, say });
      add(attackReport(results.attack));
    }
    if (parts.includes('watch')) {
      results.watch = await measureWatch({ workshop, rounds, say });
      add(watchReport(results.watch));
    }
    if (parts.includes('updates')) {
      const fresh = (name) => workshop.fresh(name);
      results.updates = { ...(await measureUpdates({ fresh, say, devices })), planner: await measurePlanner() };
      add(updatesReport(results.updates));
    }

    const verdicts = reports.flatMap((report) => report.verdicts);
    results.verdicts = verdicts;
    const machine = `${results.machine.cores} cores, load ${results.machine.load.toFixed(1)} at the start; state in ${values.state ?? defaultRoot()}; ${rounds} rounds of ${seconds} s, ${connections} connections`;
    process.stdout.write(`\n${reports.map(({ text }) => text).join('\n\n')}\n\n  ${machine}\n  ceiling: an empty JavaScript worker; it takes the body in, looks at nothing and logs nothing\n\n`);
    process.stdout.write(`${summary(verdicts)}\n`);
    if (values.json) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
    return values.strict && verdicts.some(({ met }) => !met) ? 1 : 0;
  } finally {
    workshop.close();
  }
}

function sizes(systems) {
  const peer = systems.find(({ name }) => name === 'peer').main;
  const others = [{ name: 'peer', js: statSync(peer).size, wasm: 0, gzip: gzipSync(readFileSync(peer), { level: 9 }).length, ours: false }];
  return [...measureBundles().map(({ worker, js, wasm, gzip }) => ({ name: worker, js, wasm, gzip, ours: true })), ...others];
}

await command(main);
