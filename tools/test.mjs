// `npm test`: everything that must hold before a change is merged, in stages, quickest first.
//
// A failing stage does not hide what the later ones have to say; only those that need its result fail with it. Nothing
// is ever skipped. The last line but for npm's own is `N passed, N failed`: tests are counted where a stage runs tests,
// and checks where it makes checks.
//
//   npm test -- --only fmt,clippy     some stages, for developers; CI runs them all

import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildWorkers, measureBundles, sizeTable } from './build.mjs';
import { checkDeploy } from './check-deploy.mjs';
import { ROOT, WORKERS } from './lib/paths.mjs';
import { capture, crateCounter, runLong } from './lib/proc.mjs';
import { SetupError, duration } from './lib/say.mjs';
import { countCargoTests, countNodeTests } from './lib/test-output.mjs';
import { configPath } from './lib/wrangler-config.mjs';
import { setUp } from './toolchain.mjs';
import { checkWatch } from './watch.mjs';
import { checkWorkflows } from './workflows.mjs';

/** Everything compiles natively; of the platform crate, the parts that need no runtime have tests. */
const NATIVE = ['--workspace'];
/** The broker and the fleet come from the same compilation as the Rust tests; see local/lib/parts.mjs. */
const PROGRAMS = { RS1_PROGRAMS: 'dev' };
const WASM = ['--target', 'wasm32-unknown-unknown', '-p', 'rs1-platform', ...WORKERS.flatMap((worker) => ['-p', `rs1-worker-${worker}`])];
/** The journey through the whole stack; it ends by itself. */
const SMOKE = ['local/stack.mjs', '--once'];
/** Scenarios of rollouts, with a fleet that is small enough for every change. */
const SCENARIOS = ['tests/scenarios/run.mjs', 'good', 'abort', '--devices', '60'];
/** No test of ours takes as long; one that does hangs. */
const TEST_TIMEOUT_MS = 180_000;
/** Files of tests at once. Each has its ports, its directory and its processes to itself, and waits for them more than it computes: two for two cores. */
const TEST_FILES = Math.max(2, availableParallelism() - 1);
/** A file counts as a test, and the releases are one file: some fifty runs of wrangler, a minute and a half when nothing else runs. */
const DELIVERY_TIMEOUT_MS = 900_000;
/** One file, too: some thousands of calls of a generated client, a minute when nothing else runs. */
const CONTRACT_TIMEOUT_MS = 300_000;
const STAGE_TIMEOUT_MS = 30 * 60_000;
const TAIL_LINES = 600;

/**
 * @typedef {object} Verdict
 * @property {number} passed
 * @property {number} failed
 * @property {string} [output] shown if something failed
 */

/**
 * @typedef {object} Stage
 * @property {string} id for `--only`
 * @property {string} title
 * @property {string[]} [after] stages whose result it needs
 * @property {(tools: import('./toolchain.mjs').Toolchain) => Promise<Verdict>} run
 */

/** @type {Stage[]} */
const STAGES = [
  { id: 'fmt', title: 'format', run: (tools) => oneCheck(tools.env, 'cargo', ['fmt', '--all', '--check', '--', '--color=never']) },
  {
    id: 'locked',
    title: 'Cargo.lock is current',
    run: (tools) => oneCheck(tools.env, 'cargo', ['metadata', '--locked', '--format-version', '1', '--quiet'], { hideStdout: true }),
  },
  { id: 'tools', title: 'tests of the tools', run: (tools) => nodeTests(tools, join('tools', 'tests')) },
  { id: 'workflows', title: 'GitHub workflows', run: workflows },
  { id: 'watch', title: 'rules for Prometheus, and the dashboard', run: watch },
  { id: 'delivery', title: 'provisioning and deploying', run: (tools) => nodeTests(tools, join('tests', 'delivery'), DELIVERY_TIMEOUT_MS) },
  { id: 'clippy', title: 'clippy', run: (tools) => clippy('clippy', tools.env, [...NATIVE, '--all-targets', '--all-features']) },
  { id: 'clippy-wasm', title: 'clippy for wasm32', run: (tools) => clippy('clippy for wasm32', tools.wasmEnv, WASM) },
  { id: 'unit', title: 'Rust tests', run: rustTests },
  { id: 'build', title: 'workers and their budgets', run: bundles },
  { id: 'migrations', title: 'migrations', run: migrations },
  { id: 'deploy', title: 'deployments, dry', after: ['build'], run: deployments },
  { id: 'integration', title: 'integration tests', after: ['build'], run: (tools) => nodeTests(tools, join('tests', 'integration')) },
  { id: 'contract', title: 'the API and its document', after: ['build'], run: (tools) => nodeTests(tools, join('tests', 'contract'), CONTRACT_TIMEOUT_MS) },
  { id: 'smoke', title: 'the whole stack, once', after: ['build'], run: smoke },
  { id: 'scenarios', title: 'rollouts to a small fleet', after: ['build'], run: scenarios },
];

// ---------------------------------------------------------------------------------------------------------------
// The stages

/** A command that is one check: it succeeds or fails. @returns {Promise<Verdict>} */
async function oneCheck(env, command, args, { hideStdout = false } = {}) {
  const { ok, stdout, stderr } = await capture(command, args, { cwd: ROOT, env, timeout: STAGE_TIMEOUT_MS });
  return ok ? { passed: 1, failed: 0 } : { passed: 0, failed: 1, output: `${hideStdout ? '' : stdout}${stderr}` };
}

async function workflows(tools) {
  const { passed, faults } = await checkWorkflows(tools, join(ROOT, '.github', 'workflows'));
  return { passed, failed: faults.length, output: faults.join('\n\n') };
}

async function watch() {
  const { passed, faults } = await checkWatch();
  return { passed, failed: faults.length, output: faults.join('\n\n') };
}

async function clippy(title, env, selection) {
  const result = await runLong(title, 'cargo', ['clippy', ...selection, '--', '-D', 'warnings'], {
    cwd: ROOT,
    env,
    timeout: STAGE_TIMEOUT_MS,
    tailLines: TAIL_LINES,
    ...crateCounter(),
  });
  return result.ok ? { passed: 1, failed: 0 } : { passed: 0, failed: 1, output: withoutCargoProgress(result.tail) };
}

async function rustTests(tools) {
  const crates = crateCounter();
  let output = '';
  const result = await runLong('Rust tests', 'cargo', ['test', ...NATIVE, '--all-features', '--no-fail-fast'], {
    cwd: ROOT,
    env: tools.env,
    timeout: STAGE_TIMEOUT_MS,
    tailLines: TAIL_LINES,
    onLine: (line) => {
      crates.onLine(line);
      if (line.startsWith('test result:')) output += `${line}\n`;
    },
    progress: () => `${crates.progress()}, ${countCargoTests(output).passed} tests passed`,
  });
  return verdictOf(countCargoTests(output), result, withoutCargoProgress);
}

async function nodeTests(tools, directory, testTimeout = TEST_TIMEOUT_MS) {
  const files = readdirSync(join(ROOT, directory), { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.mjs'))
    .map((entry) => join(directory, entry.name))
    .sort();
  if (files.length === 0) return { passed: 0, failed: 1, output: `${directory} has no *.test.mjs` };
  const args = ['--test', '--test-reporter=spec', `--test-concurrency=${TEST_FILES}`, `--test-timeout=${testTimeout}`, ...files];
  let output = '';
  const result = await runLong(`tests in ${directory}`, tools.node22, args, {
    cwd: ROOT,
    // Colours would hide the totals from us.
    env: { ...tools.env, ...PROGRAMS, NO_COLOR: '1', FORCE_COLOR: undefined },
    timeout: STAGE_TIMEOUT_MS,
    tailLines: TAIL_LINES,
    onLine: (line) => (output += `${line}\n`),
    progress: () => `${(output.match(/^\s*✔ /gm) ?? []).length} tests passed`,
  });
  return verdictOf(countNodeTests(output), result);
}

/**
 * @param {import('./lib/test-output.mjs').Counts} counts
 * @param {{ ok: boolean, tail: string }} result
 * @returns {Verdict}
 */
function verdictOf({ passed, failed, skipped }, result, clean = (text) => text) {
  let wrong = failed + skipped;
  let output = clean(result.tail);
  if (skipped > 0) output += `\n${skipped} tests were skipped, which counts as failed: delete them or make them run.`;
  // It failed, but no test did: something did not compile, or the runner itself broke.
  if (!result.ok && wrong === 0) wrong = 1;
  if (result.ok && passed + wrong === 0) {
    wrong = 1;
    output += '\nnot one test ran';
  }
  return { passed, failed: wrong, output };
}

async function bundles(tools) {
  await buildWorkers(WORKERS, tools);
  const sizes = measureBundles();
  const table = sizeTable(sizes);
  console.log(table);
  const passed = sizes.filter(({ ok }) => ok).length;
  return { passed, failed: sizes.length - passed, output: table };
}

/** The migrations, as wrangler applies them: all of them to an empty database, then once more, when there must be nothing to do. */
async function migrations(tools) {
  const directory = mkdtempSync(join(tmpdir(), 'rs1-migrations-'));
  const d1 = (...args) =>
    capture(tools.node22, [tools.wranglerBin, 'd1', ...args, '--local', '--persist-to', directory, '--env', 'local', '--config', configPath('telemetry')], {
      cwd: ROOT,
      env: { ...tools.env, CI: 'true' },
      timeout: 120_000,
    });
  try {
    const steps = [
      ['applying', () => d1('migrations', 'apply', 'DB'), () => true],
      ['applying again', () => d1('migrations', 'apply', 'DB'), (text) => /No migrations to apply/.test(text)],
      ['PRAGMA foreign_key_check', () => d1('execute', 'DB', '--json', '--command', 'PRAGMA foreign_key_check'), (text) => /"results": \[\]/.test(text)],
      ['PRAGMA quick_check', () => d1('execute', 'DB', '--json', '--command', 'PRAGMA quick_check'), (text) => /"quick_check": "ok"/.test(text)],
    ];
    let passed = 0;
    for (const [name, run, asExpected] of steps) {
      const { ok, stdout, stderr } = await run();
      if (!ok || !asExpected(stdout)) {
        return { passed, failed: steps.length - passed, output: `${name}:\n${stdout}\n${stderr}` };
      }
      passed += 1;
    }
    return { passed, failed: 0 };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function deployments(tools) {
  const { passed, faults } = await checkDeploy(tools);
  return { passed, failed: faults.length, output: faults.join('\n\n') };
}

/** `npm start -- --once`: a stack of its own on free ports, so that it can run beside one that is running. */
async function smoke(tools) {
  const result = await runLong('smoke', tools.node22, SMOKE, {
    cwd: ROOT,
    env: { ...tools.env, ...PROGRAMS, NO_COLOR: '1' },
    timeout: STAGE_TIMEOUT_MS,
    tailLines: TAIL_LINES,
  });
  return result.ok ? { passed: 1, failed: 0 } : { passed: 0, failed: 1, output: result.tail };
}

/** A good image and a bad one, to as many devices as take half a minute each; `npm run scenarios` has two thousand. */
async function scenarios(tools) {
  const directory = mkdtempSync(join(tmpdir(), 'rs1-scenarios-'));
  const json = join(directory, 'claims.json');
  try {
    const result = await runLong('scenarios', tools.node22, [...SCENARIOS, '--json', json], {
      cwd: ROOT,
      env: { ...tools.env, ...PROGRAMS, NO_COLOR: '1' },
      timeout: STAGE_TIMEOUT_MS,
      tailLines: TAIL_LINES,
    });
    const claims = existsSync(json) ? Object.values(JSON.parse(readFileSync(json, 'utf8'))).flatMap(({ claims: all }) => all) : [];
    const passed = claims.filter(({ holds }) => holds).length;
    const failed = claims.length - passed;
    return { passed, failed: result.ok ? failed : Math.max(1, failed), output: result.tail };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function withoutCargoProgress(text) {
  return text
    .split('\n')
    .filter((line) => !/^\s*(Compiling|Checking|Blocking|Downloaded|Downloading|Updating|Locking|Finished|Running|Doc-tests) /.test(line))
    .filter((line) => !/^test .* \.\.\. ok$|^running \d+ tests?$|^test result: ok\./.test(line))
    // A failed call of the compiler is shown with all its arguments, which fill a screen.
    .map((line) => (line.length > 400 ? `${line.slice(0, 400)} …` : line))
    .join('\n')
    .replace(/\n{3,}/g, '\n\n');
}

// ---------------------------------------------------------------------------------------------------------------
// Running them

/** @param {string[]} argv @returns {Stage[]} */
function chosenStages(argv) {
  if (argv.length === 0) return STAGES;
  const ids = STAGES.map(({ id }) => id);
  const wanted = /^--only(?:=(.+))?$/.exec(argv[0]);
  const names = (wanted?.[1] ?? argv[1] ?? '').split(',').filter(Boolean);
  const unknown = names.filter((name) => !ids.includes(name));
  if (!wanted || names.length === 0 || unknown.length > 0) {
    throw new SetupError(`usage: npm test [-- --only ${ids.join(',')}]`, { advice: unknown.map((name) => `there is no stage ${name}`) });
  }
  return STAGES.filter(({ id }) => names.includes(id));
}

/** @param {Stage} stage @returns {Promise<Verdict>} */
async function runStage(stage, tools, verdicts) {
  const broken = (stage.after ?? []).filter((id) => verdicts.get(id)?.failed > 0);
  if (broken.length > 0) return { passed: 0, failed: 1, output: `it needs the stage ${broken.join(', ')}, which failed` };
  try {
    return await stage.run(tools);
  } catch (error) {
    return { passed: 0, failed: 1, output: error instanceof SetupError ? error.report() : error.stack };
  }
}

async function main() {
  const stages = chosenStages(process.argv.slice(2));
  const started = Date.now();
  const tools = await setUp('test');
  // A subset may leave out the stage that builds what another one needs.
  if (!stages.some(({ id }) => id === 'build') && stages.some(({ after }) => after)) await buildWorkers(WORKERS, tools);

  /** @type {Map<string, Verdict & { ms: number }>} */
  const verdicts = new Map();
  for (const [index, stage] of stages.entries()) {
    console.log(`\n== ${index + 1}/${stages.length} ${stage.title}`);
    const stageStarted = Date.now();
    const verdict = await runStage(stage, tools, verdicts);
    const ms = Date.now() - stageStarted;
    verdicts.set(stage.id, { ...verdict, ms });
    if (verdict.failed > 0 && verdict.output) console.log(verdict.output.trimEnd());
    console.log(`${verdict.failed > 0 ? 'FAILED' : 'ok'}: ${verdict.passed} passed, ${verdict.failed} failed (${duration(ms)})`);
  }

  console.log(`\n== summary (${duration(Date.now() - started)}; workers by ${tools.wasmRust})`);
  for (const { id, title } of stages) {
    const { passed, failed, ms } = verdicts.get(id);
    console.log(
      `  ${failed > 0 ? 'FAILED' : 'ok    '}  ${title.padEnd(28)}${String(passed).padStart(5)} passed ${String(failed).padStart(4)} failed  ${duration(ms).padStart(12)}`,
    );
  }
  const sum = (key) => [...verdicts.values()].reduce((total, verdict) => total + verdict[key], 0);
  console.log(`\n${sum('passed')} passed, ${sum('failed')} failed`);
  process.exitCode = sum('failed') > 0 ? 1 : 0;
}

// Exiting, rather than being ended by the signal, stops what is running (lib/proc.mjs).
for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) process.on(signal, () => process.exit(status));

main().catch((error) => {
  console.error(error instanceof SetupError ? error.report() : error.stack);
  process.exitCode = 1;
});
