// Debian packages, asked for only when something that needs them is missing.

import { existsSync } from 'node:fs';
import { capture, runLong } from './proc.mjs';
import { SetupError, duration, say } from './say.mjs';

/** Is this a Debian (or a derivative) whose packages we can name? */
export function hasApt() {
  return process.platform === 'linux' && existsSync('/usr/bin/apt-get') && existsSync('/etc/debian_version');
}

/**
 * @param {string[]} packages
 * @returns {Promise<string[]>} those that are not installed
 */
export async function missingPackages(packages) {
  const { stdout } = await capture('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Status}\n', ...packages]);
  const installed = new Set(
    stdout
      .split('\n')
      .filter((line) => line.endsWith(' installed'))
      .map((line) => line.split(' ')[0]),
  );
  return packages.filter((name) => !installed.has(name));
}

/**
 * Installs those of `packages` that are missing.
 * @param {string[]} packages
 * @param {string} why for the person: what needs them
 */
export async function ensureDebianPackages(packages, why) {
  const missing = await missingPackages(packages);
  if (missing.length === 0) return;
  const byHand = `apt-get update && apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  if (!hasApt()) {
    throw new SetupError(`${why} needs the programs that Debian packages as ${missing.join(', ')}`, {
      advice: ['this machine has no apt: install their equivalents by hand and run the command again'],
    });
  }
  const prefix = await rootPrefix();
  if (prefix === null) {
    throw new SetupError(`${why} needs Debian packages, and installing them needs root: ${missing.join(', ')}`, {
      advice: [`as root: ${byHand}`, 'then run the command again'],
    });
  }
  say(`Debian packages: installing ${missing.join(', ')}; ${why} needs them`);
  const started = Date.now();
  const apt = async (label, ...args) => {
    // Another apt may be running (unattended upgrades): wait for it rather than fail.
    const command = [...prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-o', 'DPkg::Lock::Timeout=300', ...args];
    return runLong(label, command[0], command.slice(1));
  };
  // A stale or empty package list is the usual reason why a package "does not exist": a failed update is not yet fatal.
  await apt('apt-get update', 'update', '-q');
  const result = await apt('apt-get install', 'install', '-y', '-q', '--no-install-recommends', ...missing);
  if (!result.ok) {
    throw new SetupError(`apt-get could not install ${missing.join(', ')}`, {
      output: result.tail,
      advice: [`by hand: ${byHand}`, `the whole output is in ${result.log}`],
    });
  }
  say(`Debian packages: done (${duration(Date.now() - started)})`);
}

/** What to put before a command that needs root: nothing for root, `sudo -n` where it asks no password, else null. */
async function rootPrefix() {
  if (process.getuid?.() === 0) return [];
  const { ok } = await capture('sudo', ['-n', 'true'], { timeout: 5_000 });
  return ok ? ['sudo', '-n'] : null;
}
