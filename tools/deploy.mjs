// `npm run deploy -- --env staging|production`: brings what this commit says to an environment, in stages that are watched.
// `npm run deploy -- rollback --env …`: gives the traffic back to the versions before the latest release.
//
// The account is the journal: run it again after it was cut off, anywhere, and it goes on from there. README.md,
// Deploying, tells the steps; delivery/release.mjs does them.

import { appendFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { parseArgs } from 'node:util';
import { buildWorkers } from './build.mjs';
import { cloudflareClient, credentials } from './delivery/cloudflare.mjs';
import { openProject } from './delivery/project.mjs';
import { carryOut, describePlan, planRelease, planRollback, rollBack } from './delivery/release.mjs';
import { wranglerFor } from './delivery/wrangler.mjs';
import { bindingFaults } from './lib/bindings.mjs';
import { ROOT, WORKERS } from './lib/paths.mjs';
import { capture, runLong } from './lib/proc.mjs';
import { SetupError, duration, say } from './lib/say.mjs';
import { setUp } from './toolchain.mjs';

const USAGE = `npm run deploy -- [rollback] --env staging|production [options]

  --dry-run            says what would be done, and does nothing
  --tested COMMIT      the tests have passed for this commit elsewhere; without it they run here first
  --built              dist/ has the bundles of this commit
  --secrets-file FILE  KEY=value lines or JSON, for workers that do not exist yet
  --hold SECONDS       how long each stage is watched (staging 120, production 600)
  --poll SECONDS       between two looks (30)
  --yes                rollback: do not ask`;

const OPTIONS = {
  env: { type: 'string' },
  'dry-run': { type: 'boolean', default: false },
  tested: { type: 'string' },
  built: { type: 'boolean', default: false },
  'secrets-file': { type: 'string' },
  hold: { type: 'string' },
  poll: { type: 'string', default: '30' },
  yes: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
  // Another project's directory, and `host:port` to send probes to: for specifications.
  project: { type: 'string' },
  connect: { type: 'string' },
};
const HOLD_SECONDS = { staging: 120, production: 600 };

let stopped = false;

/** @throws {SetupError} once the person wants to stop */
function checkStopped() {
  if (!stopped) return;
  throw new SetupError('stopped; what is done stays as it is', {
    advice: ['run the same command again to go on', 'npm run deploy -- rollback --env … to give the traffic back'],
  });
}

function log(line) {
  console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);
}

/** A line for whoever looks at the workflow's run. */
function summarize(line) {
  log(line);
  if (process.env.GITHUB_STEP_SUMMARY) appendFileSync(process.env.GITHUB_STEP_SUMMARY, `- ${line}\n`);
}

const seconds = (name, text) => {
  const value = Number(text);
  if (!(value >= 0)) throw new SetupError(`--${name} is ${text}; it must be a number of seconds`);
  return value * 1000;
};

/** The commit, and whether the files are the commit's. */
async function commitOf(root) {
  const git = async (...args) => {
    const { ok, stdout, stderr } = await capture('git', ['-C', root, ...args]);
    if (!ok) throw new SetupError(`git ${args.join(' ')} failed`, { output: stderr });
    return stdout.trim();
  };
  return { commit: await git('rev-parse', 'HEAD'), dirty: (await git('status', '--porcelain')) !== '' };
}

/** The tests have no business with the account. */
async function runTests(toolchain) {
  const env = Object.fromEntries(Object.entries(toolchain.env).filter(([name]) => !name.startsWith('CLOUDFLARE_')));
  const { ok, tail, log: file } = await runLong('npm test', toolchain.node22, ['tools/test.mjs'], { cwd: ROOT, env, onLine: (line) => log(`  ${line}`) });
  if (!ok) throw new SetupError('the tests fail; nothing was deployed', { output: tail, advice: [`the whole output is in ${file}`] });
}

async function deploy(values, project) {
  const { commit, dirty } = await commitOf(project.root);
  if (dirty && project.environment === 'production') {
    throw new SetupError('there are changes that are not committed; production gets commits only', { advice: ['git status tells which'] });
  }
  if (values.tested !== undefined && (dirty || values.tested !== commit)) {
    throw new SetupError(`--tested ${values.tested}: this is ${commit}${dirty ? ', with changes' : ''}`);
  }
  // What is not committed has no name of its own: the time tells one such release from the next.
  const release = dirty ? `${commit.slice(0, 12)}-dirty-${new Date().toISOString().slice(0, 16)}` : commit.slice(0, 12);
  const api = cloudflareClient(credentials(process.env));
  const toolchain = await setUp(values.built ? 'node' : 'wasm');
  const disagreements = bindingFaults();
  if (disagreements.length > 0) throw new SetupError('the wrangler files contradict each other', { advice: disagreements });

  log(`release ${release} to ${project.environment}`);
  if (values.tested === undefined && !values['dry-run']) await runTests(toolchain);
  if (!values.built) await buildWorkers(WORKERS, toolchain);
  const plan = await planRelease(project, api, { secretsFile: values['secrets-file'] });
  for (const line of describePlan(plan)) log(line);
  if (values['dry-run']) return log('dry run: nothing was done');

  await carryOut(project, api, wranglerFor(toolchain, project), plan, {
    release,
    holdMs: seconds('hold', values.hold ?? HOLD_SECONDS[project.environment]),
    pollMs: seconds('poll', values.poll),
    connect: values.connect,
    secretsFile: values['secrets-file'],
    checkStopped,
    log: (line) => (/bookmark|going back|back at/.test(line) ? summarize(line) : log(line)),
  });
  summarize(`release ${release} is in ${project.environment}`);
}

async function rollback(values, project) {
  const api = cloudflareClient(credentials(process.env));
  const plan = await planRollback(project, api);
  log(`back from release ${plan.release}:`);
  for (const { worker, candidate, stable } of plan.entries) log(`${worker.padEnd(12)}${candidate} -> ${stable}`);
  for (const worker of plan.first) log(`${worker.padEnd(12)}stays: it has nothing before this release`);
  if (values['dry-run']) return log('dry run: nothing was done');
  if (!values.yes && !(await agreed())) throw new SetupError('nothing was done', { advice: ['--yes does it without asking'] });
  await rollBack(api, plan, { connect: values.connect, log });
  summarize(`${project.environment} is back from release ${plan.release}; the database is as it was`);
}

async function agreed() {
  if (!process.stdin.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question('Go back? [y/N] ');
  terminal.close();
  return /^y(es)?$/i.test(answer.trim());
}

async function main() {
  const started = Date.now();
  const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
  if (values.help) return console.log(USAGE);
  const [command, ...rest] = positionals;
  if (rest.length > 0 || (command !== undefined && command !== 'rollback')) throw new SetupError(`there is no command ${positionals.join(' ')}`, { output: USAGE });
  const project = openProject(values.env, values.project);
  await (command === 'rollback' ? rollback : deploy)(values, project);
  log(`done (${duration(Date.now() - started)})`);
}

// The first signal lets the step that runs finish; another one ends us.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    if (stopped) process.exit(130);
    stopped = true;
    say('stopping after this step; once more to stop at once');
  });
}

main().catch((error) => {
  const expected = error.name === 'ApiError' || error.code?.startsWith('ERR_PARSE_ARGS');
  say(error instanceof SetupError ? error.report() : expected ? `error: ${error.message}` : error.stack);
  process.exit(stopped ? 130 : 1);
});
