// The npm packages: Node 22, wrangler, Miniflare, esbuild, wasm-opt.

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { withLock } from './lock.mjs';
import { CLONE, NODE_MODULES, ROOT } from './paths.mjs';
import { capture, runLong } from './proc.mjs';
import { SetupError, duration, say } from './say.mjs';

const STAMP = join(NODE_MODULES, '.rs1-setup');
/** What the newest wrangler and Miniflare need. */
const MINIMUM_NODE = 22;

/**
 * Installs what package-lock.json names, unless exactly that is installed.
 * @returns {Promise<{ node22: string, wranglerBin: string, esbuildBin: string, wasmOptBin: string }>}
 */
export async function ensurePackages() {
  if (!installed()) {
    await withLock(`npm-packages-${CLONE}`, async () => {
      if (!installed()) await install();
    });
  }
  return {
    node22: await findNode22(),
    wranglerBin: join(NODE_MODULES, 'wrangler', 'bin', 'wrangler.js'),
    esbuildBin: findEsbuild(),
    wasmOptBin: join(NODE_MODULES, 'binaryen', 'bin', 'wasm-opt'),
  };
}

/** What the stamp must say: another lock file, or node_modules copied from another machine, is stale. */
function wanted() {
  const lock = readFileSync(join(ROOT, 'package-lock.json'));
  return `${createHash('sha256').update(lock).digest('hex')} ${process.platform}-${process.arch}\n`;
}

function installed() {
  return existsSync(STAMP) && readFileSync(STAMP, 'utf8') === wanted();
}

async function install() {
  say('npm packages: installing what package-lock.json names (Node 22, wrangler, Miniflare, esbuild, wasm-opt)');
  // `engines` warnings are about the Node that runs npm; our tools run on the Node 22 that comes with them.
  const args = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
  let result = await runLong('npm ci', 'npm', args, { cwd: ROOT, env: outerEnv() });
  if (!result.ok) {
    say('  npm ci failed; trying once more');
    result = await runLong('npm ci', 'npm', args, { cwd: ROOT, env: outerEnv() });
  }
  if (!result.ok) {
    throw new SetupError('the npm packages could not be installed', {
      output: result.tail,
      advice: [
        'is the npm registry reachable? `npm ping` tells',
        'if package.json changed, run `npm install` and commit package-lock.json',
        `the whole output is in ${result.log}`,
      ],
    });
  }
  writeFileSync(STAMP, wanted());
  say(`npm packages: done (${duration(result.ms)})`);
}

/**
 * The environment for npm itself. `npm ci` deletes node_modules, so npm must not run on the Node in there,
 * which `npm run` puts first on PATH.
 */
function outerEnv() {
  const env = { ...process.env };
  env.PATH = (env.PATH ?? '')
    .split(delimiter)
    .filter((entry) => !entry.endsWith(join('node_modules', '.bin')))
    .join(delimiter);
  delete env.NODE_ENV;
  delete env.npm_config_loglevel;
  return env;
}

async function findNode22() {
  // By its own path: npm 10 does not link the programs of platform packages into node_modules/.bin.
  const ours = join(NODE_MODULES, `node-${process.platform}-${process.arch}`, 'bin', 'node');
  if (existsSync(ours)) {
    const { ok, stderr } = await capture(ours, ['--version']);
    if (ok) return ours;
    throw new SetupError('the Node of node_modules does not run on this machine', {
      output: stderr,
      advice: ['delete node_modules and run the command again', 'Node from npm needs glibc 2.28 or newer'],
    });
  }
  // npm has no Node 22 for this platform (Apple silicon is one): the machine's own will do if it is new enough.
  if (Number(process.versions.node.split('.')[0]) >= MINIMUM_NODE) return process.execPath;
  throw new SetupError(`Node ${MINIMUM_NODE} or newer is needed; this is ${process.version}`, {
    advice: [
      `npm has no package with Node ${MINIMUM_NODE} for ${process.platform}-${process.arch}, or left it out: delete node_modules and try again`,
      `or install Node ${MINIMUM_NODE} and run the command again`,
    ],
  });
}

/** The native program rather than the JavaScript that starts it: `worker-build` runs it by its path. */
function findEsbuild() {
  const native = join(NODE_MODULES, '@esbuild', `${process.platform}-${process.arch}`, 'bin', 'esbuild');
  return existsSync(native) ? native : join(NODE_MODULES, 'esbuild', 'bin', 'esbuild');
}
