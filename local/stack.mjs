// `npm start`: the whole system on this machine. What it promises to tests and people is in the help below.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DEFAULT_PORTS, HOST, freePorts, requireFree } from './lib/ports.mjs';
import { port, readOptions, wholeNumber } from './lib/options.mjs';
import { printer } from './lib/print.mjs';
import { STATE, endLeftovers, isAnswering, readStackFile } from './lib/stack-file.mjs';
import { build, startStack } from './lib/stack.mjs';
import { Trouble, command, report } from './lib/trouble.mjs';
import { eventually } from './lib/wait.mjs';

const HELP = `npm start [-- options]: runs the whole system on this machine, until Ctrl-C

  --port N        HTTP, virtual hosts by Host header: api.localhost, ota.localhost, status.localhost (${DEFAULT_PORTS.http})
  --mqtt-port N   MQTT 3.1.1 and 5.0 (${DEFAULT_PORTS.mqtt})
  --emqx-port N   the broker's management API (${DEFAULT_PORTS.emqx})
  --idp-port N    the identity provider (HTTP port + 3); HTTP port + 2 is the launcher's own
  --collected     telemetry by the object: the broker's second configuration (emqx/README.md); HTTP port + 4 is R2's S3 API then
  --fleet N       simulated devices, 0 for none (3)
  --fresh         forget the state of earlier runs: database, buckets, secrets, keys
  --state DIR     keep the state there instead of .local/
  --quiet         once it runs, show warnings and errors only
  --once          run the smoke journey on a throw-away stack on free ports, print it, and exit 0 or 1
  --help          this

It prints "ready http://${HOST}:PORT mqtt://${HOST}:PORT" when everything answers. While it runs:
  npm run -s token -- --admin you@example.com     npm run -s device -- --mac AA:BB:CC:DD:EE:01 --enroll
  npm run -s token -- --user you@example.com      npm run -s cron -- archive "30 * * * *"
`;

const text = (value) => ({ type: 'string', default: String(value) });
const USAGE = {
  text: HELP,
  options: {
    port: text(DEFAULT_PORTS.http),
    'mqtt-port': text(DEFAULT_PORTS.mqtt),
    'emqx-port': text(DEFAULT_PORTS.emqx),
    'idp-port': { type: 'string' },
    fleet: text(3),
    state: { type: 'string' },
    fresh: { type: 'boolean', default: false },
    quiet: { type: 'boolean', default: false },
    once: { type: 'boolean', default: false },
    collected: { type: 'boolean', default: false },
  },
};

// `npm start | head`: who reads us has gone, and so do we.
process.stdout.on('error', () => process.exit(0));

await command(async () => {
  const { values, help } = readOptions(USAGE);
  if (help) return 0;
  return values.once ? once(values) : stay(values);
});
// Anything that still holds the process (an idle connection, a timer of a library) has nothing more to say.
process.exit();

async function stay(values) {
  const ports = portsOf(values);
  const fleet = wholeNumber(values, 'fleet', HELP, 0, 100_000);
  const directory = values.state ? resolve(values.state) : STATE;
  const print = printer({ lines: values.quiet ? 'serious' : 'all' });
  const other = readStackFile(directory);
  if (other && (await isAnswering(other))) {
    throw new Trouble(`a stack is already running on http://${HOST}:${other.ports.http} (process ${other.pid})`, [
      'stop it with Ctrl-C in its terminal',
      'or run a second one beside it: npm start -- --state .local/second --port 9787 --mqtt-port 2883 --emqx-port 28083',
    ]);
  }
  const left = endLeftovers(directory);
  if (left.length > 0) {
    print.write(`ended what an earlier stack left behind: ${left.join(', ')}`);
    // The system takes a moment to give their ports back.
    await eventually('its ports', () => requireFree(ports).then(() => true), { within: 3_000 }).catch(() => {});
  }
  // Before the build as well as after it: nobody should wait minutes to hear of a port.
  await requireFree(ports);
  print.write(print.paint('bold', 'RS-1 Cloud on this machine'));
  await build(print);
  if (values.fresh) forget(directory, print);
  const interrupted = interruption();

  const starting = startStack({ ports, directory, fleet, collected: values.collected, print });
  // Ctrl-C while it starts: let the step in hand finish, so that whatever it started is known and can be stopped.
  const early = await Promise.race([starting.then(() => null), interrupted]);
  const stack = await starting;
  if (!early) print.write(`ready http://${HOST}:${ports.http} mqtt://${HOST}:${ports.mqtt}`);

  const reason = early ?? (await Promise.race([interrupted, stack.failed.then((what) => ({ what }))]));
  const began = Date.now();
  if (reason.what) print.line('stack', `${reason.what}: stopping`, 'error');
  await stack.stop();
  print.write(`stopped in ${((Date.now() - began) / 1000).toFixed(1)} s`);
  return reason.what ? 1 : 0;
}

async function once(values) {
  const print = printer({ lines: 'none' });
  const throwAway = values.state === undefined;
  const directory = throwAway ? mkdtempSync(join(tmpdir(), 'rs1-once-')) : resolve(values.state);
  process.on('exit', () => throwAway && rmSync(directory, { recursive: true, force: true }));
  interruption().then(() => process.exit(130));
  print.write(print.paint('bold', 'RS-1 Cloud, smoke journey on a stack of its own'));
  let stack;
  try {
    await build(print);
    stack = await startStack({ ports: await freePorts(), directory, fleet: 0, collected: values.collected, print });
    const { journey } = await import('./journey/journey.mjs');
    return (await journey({ stack, print })) ? 0 : 1;
  } catch (error) {
    print.takeKept().forEach((line) => print.write(`    ${line}`));
    report(error);
    return 1;
  } finally {
    await stack?.stop();
  }
}

function portsOf(values) {
  const http = port(values, 'port', HELP);
  return {
    http,
    control: http + 2,
    idp: values['idp-port'] === undefined ? http + 3 : port(values, 'idp-port', HELP),
    mqtt: port(values, 'mqtt-port', HELP),
    emqx: port(values, 'emqx-port', HELP),
    ...(values.collected && { r2: http + 4 }),
  };
}

/** Only what the stack itself put there: someone may have pointed --state at a directory with other things in it. */
function forget(directory, print) {
  for (const name of ['v3', 'idp', 'emqx', 'dev.vars', 'stack.json', 'workerd']) rmSync(join(directory, name), { recursive: true, force: true });
  print.step('fresh', 'the state of earlier runs is forgotten');
}

/** Resolves at the first Ctrl-C (or `kill`); pressed again, it ends the process at once. */
function interruption() {
  return new Promise((done) => {
    let first;
    const onSignal = () => {
      first ??= Date.now();
      // One Ctrl-C may arrive twice: from the terminal, and passed on by npm.
      if (Date.now() - first > 500) process.exit(130);
      done({});
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, onSignal);
  });
}
