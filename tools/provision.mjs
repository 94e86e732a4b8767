// `npm run provision -- --env staging|production [--location weur] [--yes]`: creates what the wrangler files name, and
// nothing twice. It prints its plan first. Without `--yes` it asks; where nobody can answer, it only prints, and exits
// with 2 if there is something to do.
//
// The ids of databases and namespaces belong to an account: they are written into wrangler/*.jsonc, comments and all
// left as they are, to be committed. Routes, crons and queue consumers belong to a worker and come with its deployment.

import { createInterface } from 'node:readline/promises';
import { parseArgs } from 'node:util';
import { cloudflareClient, credentials } from './delivery/cloudflare.mjs';
import { openProject } from './delivery/project.mjs';
import { LOCATIONS, planResources } from './delivery/resources.mjs';
import { SetupError, say } from './lib/say.mjs';

const OPTIONS = {
  env: { type: 'string' },
  location: { type: 'string' },
  yes: { type: 'boolean', default: false },
  // Where wrangler/ is, for specifications.
  project: { type: 'string' },
};

async function main() {
  const { values } = parseArgs({ options: OPTIONS });
  const project = openProject(values.env, values.project);
  if (values.location !== undefined && !LOCATIONS.includes(values.location)) {
    throw new SetupError(`--location is ${values.location}; it must be one of ${LOCATIONS.join(', ')}`);
  }
  const api = cloudflareClient(credentials(process.env));

  const plan = await planResources(project, api, values.location);
  console.log(`${values.env}, account ${api.account}:`);
  for (const what of plan.kept) console.log(`  keep    ${what}`);
  for (const { action, what } of plan.steps) console.log(`  ${action.padEnd(6)}  ${what}`);
  if (plan.steps.length === 0 && plan.faults.length === 0) return console.log(`Everything is in place (${plan.kept.length}).`);
  if (plan.faults.length > 0) throw new SetupError(`${values.env} cannot be provisioned as it stands`, { advice: plan.faults });

  if (!values.yes && !(await agreed(`${plan.steps.length} to do, ${plan.kept.length} in place.`))) {
    process.exitCode = 2;
    return;
  }
  for (const [index, { action, what, run }] of plan.steps.entries()) {
    await run(plan.found);
    console.log(`  ${index + 1}/${plan.steps.length} done: ${action} ${what}`);
  }
  const written = plan.steps.some(({ action }) => action === 'write');
  console.log(`${values.env} is provisioned.${written ? ' Commit the ids: git add wrangler' : ''}`);
}

async function agreed(summary) {
  if (!process.stdin.isTTY) {
    console.log(`${summary} Nothing was changed; --yes carries it out.`);
    return false;
  }
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question(`${summary} Carry it out? [y/N] `);
  terminal.close();
  return /^y(es)?$/i.test(answer.trim());
}

main().catch((error) => {
  say(error instanceof SetupError ? error.report() : error.name === 'ApiError' || error.code?.startsWith('ERR_PARSE_ARGS') ? `error: ${error.message}` : error.stack);
  process.exit(1);
});
