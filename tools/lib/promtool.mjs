// promtool, which knows what Prometheus makes of rules. Debian has it in the package `prometheus`, together with a server that would be
// started where it is installed; so only the program is taken out of it, into the user's cache, which needs no root.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { hasApt } from './debian.mjs';
import { TOOLS } from './paths.mjs';
import { capture } from './proc.mjs';
import { SetupError, say } from './say.mjs';

const KEPT = join(TOOLS, 'promtool', 'bin', 'promtool');

/** @returns {Promise<string>} the program's path */
export async function ensurePromtool() {
  const installed = await capture('sh', ['-c', 'command -v promtool']);
  if (installed.ok) return installed.stdout.trim();
  if (existsSync(KEPT)) return KEPT;
  const advice = ['install the program promtool, of Prometheus 2.40 or later, so that it is in PATH, and run the command again'];
  if (!hasApt()) throw new SetupError('the rules for Prometheus need promtool, and this machine has no apt to get it from', { advice });
  say('promtool: taking it out of Debian’s package prometheus; the rules for Prometheus need it');
  mkdirSync(dirname(KEPT), { recursive: true });
  const directory = mkdtempSync(join(TOOLS, 'promtool', 'package-'));
  try {
    let got = await capture('apt-get', ['download', 'prometheus'], { cwd: directory, timeout: 300_000 });
    if (!got.ok) {
      // A list of packages that is empty or old is the usual reason.
      await capture('apt-get', ['update', '-q'], { timeout: 300_000 });
      got = await capture('apt-get', ['download', 'prometheus'], { cwd: directory, timeout: 300_000 });
    }
    const file = readdirSync(directory).find((name) => name.endsWith('.deb'));
    if (!got.ok || !file) {
      throw new SetupError('apt-get could not download the package prometheus', { output: got.stderr, advice: ['as root: apt-get update', ...advice] });
    }
    const { ok, stderr } = await capture('dpkg-deb', ['-x', file, 'files'], { cwd: directory, timeout: 120_000 });
    if (!ok) throw new SetupError(`${file} could not be unpacked`, { output: stderr, advice });
    // Whole or not at all, whoever else does the same just now.
    renameSync(join(directory, 'files', 'usr', 'bin', 'promtool'), KEPT);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  return KEPT;
}
