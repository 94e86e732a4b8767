// The one dispatcher behind every npm script: `node tools/run.mjs COMMAND [arguments]`.
//
// It does the set-up that the command needs, then runs the command's script on Node 22 and passes on its signals and
// its exit status. It runs on Node 18 and newer, without dependencies, because it runs before they are installed.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './lib/paths.mjs';
import { SetupError, say, setQuiet } from './lib/say.mjs';
import { setUp } from './toolchain.mjs';

/**
 * The commands: their script, what of the set-up they need, and whether their output is for programs.
 * @type {Record<string, { script?: string, level: import('./toolchain.mjs').Level, quiet?: boolean, help: string }>}
 */
const COMMANDS = {
  setup: { level: 'test', help: 'installs what the other commands need' },
  start: { script: 'local/stack.mjs', level: 'wasm', help: 'runs the whole system on this machine' },
  test: { script: 'tools/test.mjs', level: 'test', help: 'every check that CI makes; --only STAGE,STAGE for some' },
  build: { script: 'tools/build.mjs', level: 'wasm', help: 'builds the workers into dist/; names of workers for some' },
  openapi: { script: 'tools/openapi.mjs', level: 'native', help: 'writes the OpenAPI document, from the code' },
  bench: { script: 'tests/bench/run.mjs', level: 'wasm', help: 'benchmarks' },
  fuzz: { script: 'tools/fuzz.mjs', level: 'native', help: 'fuzzes the parsers of bytes from outside' },
  scenarios: { script: 'tests/scenarios/run.mjs', level: 'wasm', help: 'rolls firmware out to simulated fleets, and judges what came of it' },
  load: { script: 'tests/load.mjs', level: 'wasm', help: 'loads a running stack' },
  token: { script: 'local/token.mjs', level: 'node', quiet: true, help: 'prints a bearer token for the running stack' },
  device: { script: 'local/device.mjs', level: 'native', quiet: true, help: 'connects one simulated RS-1' },
  firmware: { script: 'local/firmware.mjs', level: 'node', quiet: true, help: 'makes signed test images, and uploads them' },
  rollout: { script: 'local/rollout.mjs', level: 'node', quiet: true, help: 'draws a rollout of the running stack, and tells it what to do' },
  cron: { script: 'local/cron.mjs', level: 'node', quiet: true, help: 'runs one cron trigger of the running stack' },
  provision: { script: 'tools/provision.mjs', level: 'node', help: 'creates what an environment needs: --env staging|production' },
  // What it builds, it sets up for itself.
  deploy: { script: 'tools/deploy.mjs', level: 'node', help: 'releases to --env staging|production, or goes back: deploy -- rollback' },
  secrets: { script: 'tools/secrets.mjs', level: 'node', quiet: true, help: 'replaces secrets, and says which are due: --env local|staging|production' },
  backup: { script: 'tools/backup.mjs', level: 'node', help: 'emqx or offsite, --env production: what the backup workflow does' },
  restore: { script: 'tools/restore.mjs', level: 'node', quiet: true, help: 'loads a backup and proves it: --env, --from latest|ID, --into DATABASE' },
  'backup-drill': { script: 'tests/backup-drill.mjs', level: 'wasm', help: 'a backup of a large database, killed again and again, restored and compared' },
  drill: { script: 'tests/drill.mjs', level: 'wasm', help: 'the runbook on a stack of its own, timed' },
  'check:deploy': { script: 'tools/check-deploy.mjs', level: 'wasm', help: 'wrangler deploy --dry-run for every worker and environment' },
};

async function main() {
  const [name, ...args] = process.argv.slice(2);
  const command = COMMANDS[name];
  if (!command) {
    say(name ? `there is no command ${name}; there are:` : 'usage: npm run COMMAND');
    for (const [known, { help }] of Object.entries(COMMANDS)) say(`  ${known.padEnd(14)}${help}`);
    process.exit(2);
  }
  setQuiet(command.quiet === true);
  const toolchain = await setUp(command.level);
  if (command.script) process.exit(await runScript(toolchain, command.script, args));
}

/** Runs a script on Node 22 in our place; resolves to its exit status. */
function runScript(toolchain, script, args) {
  const path = join(ROOT, script);
  if (!existsSync(path)) throw new SetupError(`${script} is missing`);
  return new Promise((resolve, reject) => {
    const env = { ...toolchain.env, RS1_SETUP_DONE: '1' };
    const child = spawn(toolchain.node22, [path, ...args], { cwd: ROOT, env, stdio: 'inherit' });
    // A terminal sends Ctrl-C to the child as well; a `kill` reaches only us. Either way the child decides when
    // to end, and we end with it.
    process.on('SIGINT', () => {
      if (!process.stdin.isTTY) child.kill('SIGINT');
    });
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    process.on('SIGHUP', () => child.kill('SIGHUP'));
    child.on('error', reject);
    child.on('close', (status, signal) => resolve(status ?? (signal === 'SIGINT' ? 130 : 143)));
  });
}

main().catch((error) => {
  say(error instanceof SetupError ? error.report() : error.stack);
  process.exit(1);
});
