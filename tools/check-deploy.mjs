// `npm run check:deploy`: would every worker deploy to every environment? Without account or network: the wrangler files
// are held against each other, then wrangler itself does everything of a deployment but the upload.

import { pathToFileURL } from 'node:url';
import { buildWorkers } from './build.mjs';
import { bindingFaults } from './lib/bindings.mjs';
import { ROOT, WORKERS } from './lib/paths.mjs';
import { capture, inParallel } from './lib/proc.mjs';
import { SetupError, duration, say } from './lib/say.mjs';
import { ENVIRONMENTS, configPath } from './lib/wrangler-config.mjs';
import { setUp } from './toolchain.mjs';

/** What wrangler warns of and we mean: files lie under the path that the route names (`/api/openapi.json` in `assets/api/`). */
const MEANT = /\bWARNING\b[^\n]*The following routes will attempt to serve Assets on a configured path/g;

/**
 * One dry run for each worker and environment; the bundles must be built.
 * @param {import('./toolchain.mjs').Toolchain} toolchain
 * @returns {Promise<{ name: string, fault: string | null }[]>}
 */
export async function dryRuns(toolchain) {
  const targets = WORKERS.flatMap((worker) => ENVIRONMENTS.map((environment) => ({ worker, environment })));
  return inParallel(targets, async ({ worker, environment }) => {
    const args = [toolchain.wranglerBin, 'deploy', '--dry-run', '--config', configPath(worker), '--env', environment];
    const { ok, stdout, stderr } = await capture(toolchain.node22, args, { cwd: ROOT, env: toolchain.env, timeout: 120_000 });
    // A warning (an unknown key, a binding that an environment lacks) is a mistake that wrangler lets pass.
    const warned = /\bWARNING\b/.test((stdout + stderr).replace(MEANT, ''));
    return { name: `${worker}, ${environment}`, fault: ok && !warned ? null : `${stdout}\n${stderr}`.trim() };
  });
}

/**
 * All checks.
 * @param {import('./toolchain.mjs').Toolchain} toolchain
 * @returns {Promise<{ passed: number, faults: string[] }>}
 */
export async function checkDeploy(toolchain) {
  const disagreements = bindingFaults();
  const runs = await dryRuns(toolchain);
  const failed = runs.filter(({ fault }) => fault !== null);
  return {
    passed: runs.length - failed.length + (disagreements.length === 0 ? 1 : 0),
    faults: [...disagreements, ...failed.map(({ name, fault }) => `wrangler deploy --dry-run: ${name}\n${fault}`)],
  };
}

async function main() {
  const started = Date.now();
  const toolchain = await setUp('wasm');
  await buildWorkers(WORKERS, toolchain);
  const { faults } = await checkDeploy(toolchain);
  if (faults.length > 0) throw new SetupError(`${faults.length} of the deployments would fail`, { output: faults.join('\n') });
  console.log(`${WORKERS.length} workers would deploy to ${ENVIRONMENTS.join(', ')} (${duration(Date.now() - started)})`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main().catch((error) => {
    say(error instanceof SetupError ? error.report() : error.stack);
    process.exit(1);
  });
}
