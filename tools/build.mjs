// Builds the workers into dist/<worker>/: `npm run build`, or `npm run build -- telemetry ota`.
//
// cargo decides what is stale, because only cargo knows everything that goes into a crate. Its wasm is then compared
// with the one that the present bundle was made of; worker-build (wasm-bindgen, wasm-opt, esbuild) runs if they differ.
//
// We call cargo ourselves, and not worker-build, for the sake of link-time optimization: cargo leaves it out, without a
// word, for a crate that is also an `rlib`, as the workers are so that native tests can run their routes. `cargo rustc
// --crate-type cdylib` has it done (12 % of the compressed size). worker-build then finds a `cargo` whose `build` has
// nothing left to do.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { assembleAssets } from './lib/assets.mjs';
import { withLock } from './lib/lock.mjs';
import { CLONE, NODE_MODULES, ROOT, WASM_TARGET_DIR, WORKERS, bundleDir } from './lib/paths.mjs';
import { crateCounter, inParallel, runLong } from './lib/proc.mjs';
import { SetupError, duration, say } from './lib/say.mjs';
import { lockedVersion } from './lib/versions.mjs';
import { setUp } from './toolchain.mjs';

const TARGET = 'wasm32-unknown-unknown';
/** What a worker may weigh, compressed. 3 MB is the platform's limit; a start-up, which somebody waits for, is quicker far below it. */
export const BUDGET_BYTES = 250_000;
/** The two files of a bundle that are uploaded. */
const BUNDLE_FILES = ['index.js', 'index_bg.wasm'];
const STAMPS = join(ROOT, 'dist', '.stamps');
/** The module that the runtime loads, where the platform crate brings one of its own instead of worker-build's. */
const SHIM = join(ROOT, 'shared', 'platform', 'shim.js');
/**
 * Workers whose routes are many and whose CPU time is D1's, not theirs: built for size throughout, hashing and JSON included.
 * The others keep the release profile's speed where it shows.
 */
const SMALL = new Set(['device-api', 'health', 'history', 'ota', 'status']);
const SMALLEST = ['sha2', 'hmac', 'aes', 'serde_json']
  .map((name) => `profile.release.package.${name}.opt-level="z"`)
  .concat('profile.release.opt-level="z"')
  .flatMap((setting) => ['--config', setting]);
/** To be raised when this script changes what it makes of the same wasm. */
const RECIPE = 4;

/**
 * Brings the bundles of `workers` up to date.
 * @param {string[]} [workers]
 * @param {import('./toolchain.mjs').Toolchain} [toolchain]
 * @returns {Promise<{ worker: string, rebuilt: boolean }[]>}
 * @throws {SetupError} with the compiler's output
 */
export async function buildWorkers(workers = WORKERS, toolchain) {
  const unknown = workers.filter((worker) => !WORKERS.includes(worker));
  if (unknown.length > 0) throw new SetupError(`there is no worker ${unknown.join(', ')}; there are ${WORKERS.join(', ')}`);
  const tools = toolchain ?? (await setUp('wasm'));
  return withLock(`build-${CLONE}`, async () => {
    // Those of one profile one after the other: they share what they depend on, and cargo locks a target directory anyway.
    const lanes = [true, false].map((small) => workers.filter((worker) => SMALL.has(worker) === small));
    const compiled = await Promise.allSettled(lanes.map((lane) => compileInTurn(lane, tools)));
    const failed = compiled.find(({ status }) => status === 'rejected');
    if (failed) throw failed.reason;
    assembleAssets(workers);
    const env = bundlingEnv(tools.wasmEnv);
    return inParallel(workers, async (worker) => ({ worker, rebuilt: await bundle(worker, tools.workerBuildBin, env) }));
  });
}

/**
 * Where a worker is compiled. The two profiles have nothing in common that is compiled for wasm, so each has a directory: link-time
 * optimization keeps one processor busy, and the other would have nothing to do.
 */
const targetDir = (worker) => (SMALL.has(worker) ? `${WASM_TARGET_DIR}-small` : WASM_TARGET_DIR);

async function compileInTurn(workers, tools) {
  for (const worker of workers) await compile(worker, tools);
}

async function compile(worker, tools) {
  const args = ['rustc', '-p', `rs1-worker-${worker}`, '--lib', '--crate-type', 'cdylib', '--release', '--target', TARGET, ...(SMALL.has(worker) ? SMALLEST : [])];
  const result = await runLong(`compiling ${worker}`, 'cargo', args, {
    cwd: ROOT,
    env: { ...tools.wasmEnv, CARGO_TARGET_DIR: targetDir(worker) },
    tailLines: 400,
    ...crateCounter(),
  });
  if (!result.ok) {
    const output = result.tail.replace(/^\s*(Compiling|Blocking|Locking|Updating|Downloaded|Downloading) .*\n/gm, '');
    throw new SetupError(`the worker ${worker} does not compile`, { output });
  }
}

/**
 * The environment of worker-build, with two programs in it that are not what it thinks:
 *
 * - `cargo`, first on PATH, has nothing to build and is otherwise the real one. So the bundle is made of exactly the wasm
 *   that was compared, even if someone saves a source file just now.
 * - `esbuild` puts our shim in the place of worker-build's before it bundles. (worker-build's own CUSTOM_SHIM is for its
 *   old kind of bundle, which cannot restart after a panic.)
 */
function bundlingEnv(env) {
  const directory = join(WASM_TARGET_DIR, 'stand-ins');
  mkdirSync(directory, { recursive: true });
  const standIn = (name, lines) => {
    const path = join(directory, name);
    writeFileSync(path, `#!/bin/sh\n# Stands in for ${name} while worker-build runs; see tools/build.mjs.\n${lines}\n`, { mode: 0o755 });
    return path;
  };
  standIn('cargo', `[ "$1" = build ] && exit 0\nPATH="\${PATH#*${delimiter}}"\nexec cargo "$@"`);
  const esbuild = standIn('esbuild', `cp '${SHIM}' shim.js || exit 1\nexec '${env.ESBUILD_BIN}' "$@"`);
  return {
    ...env,
    PATH: `${directory}${delimiter}${env.PATH}`,
    ESBUILD_BIN: existsSync(SHIM) ? esbuild : env.ESBUILD_BIN,
    CARGO: undefined,
    RUST_BACKTRACE: '0',
  };
}

/** Makes the bundle unless the present one was made of the same wasm by the same tools. Resolves to whether it did. */
async function bundle(worker, workerBuildBin, env) {
  const stamp = join(STAMPS, `${worker}.json`);
  const made = inputsOf(worker);
  if (existsSync(stamp)) {
    const previous = JSON.parse(readFileSync(stamp, 'utf8'));
    if (previous.made === made && previous.bundle === bundleHash(worker)) return false;
    rmSync(stamp);
  }
  const crate = join(ROOT, 'workers', worker);
  const result = await runLong(`bundling ${worker}`, workerBuildBin, ['--release', '--out-dir', bundleDir(worker), crate], {
    cwd: crate,
    env: { ...env, CARGO_TARGET_DIR: targetDir(worker) },
  });
  if (!result.ok) {
    throw new SetupError(`worker-build failed for ${worker}`, { output: result.tail, advice: [`the whole output is in ${result.log}`] });
  }
  mkdirSync(STAMPS, { recursive: true });
  writeFileSync(stamp, JSON.stringify({ made, bundle: bundleHash(worker) }));
  return true;
}

/** Everything that a bundle is made of: the wasm, the shim, the tools' versions, and what Cargo.toml tells worker-build. */
function inputsOf(worker) {
  const wasm = join(targetDir(worker), TARGET, 'release', `rs1_worker_${worker.replaceAll('-', '_')}.wasm`);
  const npmVersion = (name) => JSON.parse(readFileSync(join(NODE_MODULES, name, 'package.json'), 'utf8')).version;
  return createHash('sha256')
    .update(readFileSync(wasm))
    .update(existsSync(SHIM) ? readFileSync(SHIM) : 'worker-build has its own')
    .update(readFileSync(join(ROOT, 'workers', worker, 'Cargo.toml')))
    .update(JSON.stringify([RECIPE, lockedVersion('worker'), lockedVersion('wasm-bindgen'), npmVersion('binaryen'), npmVersion('esbuild')]))
    .digest('hex');
}

/** Null where a file is missing: someone deleted or half-copied dist/. */
function bundleHash(worker) {
  const hash = createHash('sha256');
  for (const file of BUNDLE_FILES) {
    const path = join(bundleDir(worker), file);
    if (!existsSync(path)) return null;
    hash.update(readFileSync(path));
  }
  return hash.digest('hex');
}

/**
 * What the bundles weigh.
 * @param {string[]} [workers]
 */
export function measureBundles(workers = WORKERS) {
  return workers.map((worker) => {
    const files = BUNDLE_FILES.map((file) => readFileSync(join(bundleDir(worker), file)));
    const sum = (sizes) => sizes.reduce((total, size) => total + size, 0);
    const gzip = sum(files.map((bytes) => gzipSync(bytes, { level: 9 }).length));
    return { worker, js: files[0].length, wasm: files[1].length, gzip, budget: BUDGET_BYTES, ok: gzip <= BUDGET_BYTES };
  });
}

/** @param {ReturnType<typeof measureBundles>} sizes */
export function sizeTable(sizes) {
  const kilo = (bytes) => `${(bytes / 1000).toFixed(1)} KB`.padStart(10);
  return [
    `  ${'worker'.padEnd(12)}${'js'.padStart(10)}${'wasm'.padStart(10)}${'gzip'.padStart(10)}${'of'.padStart(10)}`,
    ...sizes.map(
      ({ worker, js, wasm, gzip, budget, ok }) =>
        `  ${worker.padEnd(12)}${kilo(js)}${kilo(wasm)}${kilo(gzip)}${kilo(budget)}   ${Math.round((gzip / budget) * 100)} %${ok ? '' : '   OVER BUDGET'}`,
    ),
  ].join('\n');
}

async function main() {
  const workers = process.argv.length > 2 ? process.argv.slice(2) : WORKERS;
  const started = Date.now();
  const built = await buildWorkers(workers);
  const rebuilt = built.filter((each) => each.rebuilt).map((each) => each.worker);
  console.log(`workers: ${rebuilt.length ? `built ${rebuilt.join(', ')}` : 'nothing had changed'} (${duration(Date.now() - started)})`);
  const sizes = measureBundles(workers);
  console.log(sizeTable(sizes));
  if (!sizes.every(({ ok }) => ok)) {
    throw new SetupError(`over budget: ${sizes.filter(({ ok }) => !ok).map(({ worker }) => worker).join(', ')}`, {
      advice: ['see what is in it: `cargo tree -e normal -p rs1-worker-NAME --target wasm32-unknown-unknown`'],
    });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main().catch((error) => {
    say(error instanceof SetupError ? error.report() : error.stack);
    process.exit(1);
  });
}
