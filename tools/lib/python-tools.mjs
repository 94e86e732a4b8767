// Programs from PyPI, at exact versions, in a virtual environment of their own in the user's cache.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureDebianPackages } from './debian.mjs';
import { withLock } from './lock.mjs';
import { ROOT, TOOLS } from './paths.mjs';
import { capture, runLong } from './proc.mjs';
import { SetupError, duration, say } from './say.mjs';

/** Names every package; a version that changes there is another environment. */
const LIST = join(ROOT, 'tools', 'python-tools.txt');
const PROGRAMS = ['zizmor', 'check-jsonschema', 'schemathesis', 'openapi-spec-validator'];

/**
 * Installs what LIST names, unless exactly that is installed.
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<{ zizmor: string, checkJsonschema: string, schemathesis: string, openapiSpecValidator: string }>} the programs' paths
 */
export async function ensurePythonTools(env) {
  const root = join(TOOLS, `python-${createHash('sha256').update(readFileSync(LIST)).digest('hex').slice(0, 12)}`);
  const bin = (name) => join(root, 'bin', name);
  const works = async () => existsSync(join(root, 'complete')) && (await Promise.all(PROGRAMS.map((name) => capture(bin(name), ['--version'], { env })))).every(({ ok }) => ok);
  if (!(await works())) {
    await withLock('python-tools', async () => {
      if (!(await works())) await install(root, env);
    });
    if (!(await works())) throw new SetupError(`${PROGRAMS.join(' and ')} were installed, but do not run`, { advice: [`delete ${root} and run the command again`] });
  }
  return { zizmor: bin('zizmor'), checkJsonschema: bin('check-jsonschema'), schemathesis: bin('schemathesis'), openapiSpecValidator: bin('openapi-spec-validator') };
}

async function install(root, env) {
  const started = Date.now();
  await ensurePython(env);
  say(`${PROGRAMS.join(', ')}: installing from PyPI; npm test checks the workflows and the API with them`);
  rmSync(root, { recursive: true, force: true });
  mkdirSync(TOOLS, { recursive: true });
  const created = await capture('python3', ['-m', 'venv', root], { env });
  if (!created.ok) throw new SetupError('python3 could not make a virtual environment', { output: created.stdout + created.stderr });
  // Wheels only, so that nothing is built and no package's code runs; no dependencies, because the list has them all.
  const args = ['install', '--only-binary=:all:', '--no-deps', '--disable-pip-version-check', '--requirement', LIST];
  const result = await runLong('pip install', join(root, 'bin', 'pip'), args, { env });
  if (!result.ok) {
    throw new SetupError(`${PROGRAMS.join(' and ')} could not be installed`, {
      output: result.tail,
      advice: ['is PyPI reachable? `python3 -m pip download zizmor` tells', `the whole output is in ${result.log}`],
    });
  }
  writeFileSync(join(root, 'complete'), '');
  say(`${PROGRAMS.join(', ')}: done (${duration(Date.now() - started)})`);
}

/** Debian has `venv` in a package of its own. */
async function ensurePython(env) {
  const { ok } = await capture('python3', ['-c', 'import venv, ensurepip'], { env });
  if (!ok) await ensureDebianPackages(['python3', 'python3-venv'], 'checking the workflows and the API');
}
