// How long the rollout planner takes: a native program of its own (shared/rollout/examples), with no stack around it.

import { join } from 'node:path';
import { Trouble } from '../../../local/lib/trouble.mjs';
import { ROOT } from '../../../tools/lib/paths.mjs';
import { capture, crateCounter, runLong } from '../../../tools/lib/proc.mjs';
import { setUp } from '../../../tools/toolchain.mjs';

const NAME = 'rs1-rollout-bench';

/**
 * @typedef {object} Planned
 * @property {number} devices in the fleet
 * @property {number} ms of one plan, the median of many
 * @property {number} slowest_ms
 * @property {number} attempts of the fleet's devices that have one
 * @property {number} read_attempts_ms to read these from the JSON in which they are stored
 */

/**
 * Builds it with the workers' own profile, and runs it.
 * @returns {Promise<Planned[]>} one for each size of fleet, the smallest first
 */
export async function measurePlanner() {
  const { env } = await setUp('native');
  const target = join(ROOT, 'target');
  const args = ['build', '--release', '-p', 'rs1-rollout', '--example', NAME];
  const built = await runLong('compiling the planner', 'cargo', args, {
    cwd: ROOT,
    env: { ...env, CARGO_TARGET_DIR: target },
    ...crateCounter(),
  });
  if (!built.ok) throw new Trouble(`the planner does not compile\n\n${built.tail}`, [`the whole output is in ${built.log}`]);
  const { ok, stdout, stderr } = await capture(join(target, 'release', 'examples', NAME), []);
  if (!ok) throw new Trouble(`${NAME} failed: ${stderr}`);
  return JSON.parse(stdout).planner;
}
