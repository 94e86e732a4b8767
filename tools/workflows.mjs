// The checks of the GitHub workflows: their schema, and what zizmor knows of how workflows are attacked. All without
// network; a finding of any weight is a fault.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensurePythonTools } from './lib/python-tools.mjs';
import { capture } from './lib/proc.mjs';

/**
 * @param {import('./toolchain.mjs').Toolchain} toolchain
 * @param {string} directory with the workflows
 * @returns {Promise<{ passed: number, faults: string[] }>}
 */
export async function checkWorkflows(toolchain, directory) {
  const { zizmor, checkJsonschema } = await ensurePythonTools(toolchain.env);
  const files = readdirSync(directory)
    .filter((file) => /\.ya?ml$/.test(file))
    .map((file) => join(directory, file));
  const checks = [
    ['the schema of workflows', checkJsonschema, ['--builtin-schema', 'vendor.github-workflows', ...files]],
    ['every job has a time limit', checkJsonschema, ['--builtin-schema', 'custom.github-workflows-require-timeout', ...files]],
    ['zizmor', zizmor, ['--offline', '--no-progress', '--color=never', '--strict-collection', '--persona=auditor', ...files]],
  ];
  const faults = [];
  for (const [what, program, args] of checks) {
    const { ok, stdout, stderr } = await capture(program, args, { env: toolchain.env, timeout: 120_000 });
    if (!ok) faults.push(`${what}:\n${stdout}${stderr}`.trim());
  }
  return { passed: checks.length - faults.length, faults };
}
