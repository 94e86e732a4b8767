// Programs from crates.io, at exact versions, built by the native compiler into the user's cache.

import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { withLock } from './lock.mjs';
import { CACHE, TOOLS } from './paths.mjs';
import { capture, crateCounter, runLong } from './proc.mjs';
import { SetupError, duration, say } from './say.mjs';

/**
 * @typedef {object} CargoTool
 * @property {string} crate
 * @property {string} bin the program; its directory in the cache is `<bin>-<version>`
 * @property {string} version
 * @property {boolean} locked use the versions that the crate's author locked
 * @property {string} why for the person who waits
 * @property {boolean} [keepBuild] another tool is built next, of many of the same crates
 * @property {string[]} [versionArgs] how the program is asked for its version
 */

/** What makes a build quick on two cores: these run for seconds a day, and took 10 minutes with full optimization. */
const QUICK_PROFILE = {
  CARGO_PROFILE_RELEASE_OPT_LEVEL: '1',
  CARGO_PROFILE_RELEASE_LTO: 'off',
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16',
  CARGO_PROFILE_RELEASE_DEBUG: '0',
};

/**
 * Installs the tool if it is missing, broken or of another version.
 * @param {CargoTool} tool
 * @param {NodeJS.ProcessEnv} env the native environment
 * @param {() => Promise<void>} [prepare] done before building, when building is needed
 * @returns {Promise<string>} the program's path
 */
export async function ensureCargoTool(tool, env, prepare) {
  const root = join(TOOLS, `${tool.bin}-${tool.version}`);
  const path = join(root, 'bin', tool.bin);
  if (await works(path, tool, env)) return path;
  await withLock('cargo-tools', async () => {
    if (await works(path, tool, env)) return;
    await prepare?.();
    await install(tool, root, env);
    if (!(await works(path, tool, env))) {
      throw new SetupError(`${tool.crate} ${tool.version} was built, but ${path} does not run or is of another version`, {
        advice: [`delete ${root} and run the command again`],
      });
    }
  });
  return path;
}

async function works(path, tool, env) {
  if (!existsSync(path)) return false;
  const { ok, stdout } = await capture(path, tool.versionArgs ?? ['--version'], { env });
  return ok && stdout.split(/\s+/).includes(tool.version);
}

async function install(tool, root, env) {
  say(`${tool.crate} ${tool.version}: building with cargo install; ${tool.why} (once; a few minutes)`);
  mkdirSync(TOOLS, { recursive: true });
  const build = join(CACHE, 'build');
  const args = ['install', tool.crate, '--version', `=${tool.version}`, '--bin', tool.bin, '--root', root, '--force'];
  if (tool.locked) args.push('--locked');
  const result = await runLong(tool.crate, 'cargo', args, {
    // Away from the project, whose own cargo configuration is not for tools.
    cwd: CACHE,
    env: { ...env, ...QUICK_PROFILE, CARGO_TARGET_DIR: build },
    ...crateCounter(),
  });
  // Half a gigabyte that only the next tool may have a use for.
  if (!tool.keepBuild || !result.ok) rmSync(build, { recursive: true, force: true });
  if (!result.ok) {
    throw new SetupError(`${tool.crate} ${tool.version} could not be built`, {
      output: result.tail,
      advice: ['is crates.io reachable? the first lines of the log tell', `the whole output is in ${result.log}`],
    });
  }
  say(`${tool.crate} ${tool.version}: done (${duration(result.ms)})`);
}
