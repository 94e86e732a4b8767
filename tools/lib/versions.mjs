// Versions are written down once, where their own tool reads them: Cargo.toml, Cargo.lock, package.json.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './paths.mjs';
import { SetupError } from './say.mjs';

/**
 * The version that Cargo.lock pins for a crate.
 * @param {string} crate
 */
export function lockedVersion(crate) {
  const lock = readProjectFile('Cargo.lock', 'it is committed with the sources; restore it with `git checkout Cargo.lock`');
  const versions = [...lock.matchAll(/\[\[package\]\]\nname = "([^"]+)"\nversion = "([^"]+)"/g)]
    .filter(([, name]) => name === crate)
    .map(([, , version]) => version);
  if (versions.length !== 1) {
    throw new SetupError(`Cargo.lock has ${versions.length} versions of the crate ${crate}, and exactly one is needed`, {
      advice: [`see why with: cargo tree -i ${crate}`],
    });
  }
  return versions[0];
}

/** The oldest Rust that the workspace accepts (`rust-version`), as `1.95`. */
export function minimumRust() {
  return /^rust-version = "([\d.]+)"/m.exec(readProjectFile('Cargo.toml'))[1];
}

/** @param {string} version @param {string} minimum */
export function atLeast(version, minimum) {
  const [a, b] = [version, minimum].map((text) => text.split('.').map(Number));
  for (let i = 0; i < b.length; i += 1) {
    if ((a[i] ?? 0) !== b[i]) return (a[i] ?? 0) > b[i];
  }
  return true;
}

function readProjectFile(name, advice) {
  try {
    return readFileSync(join(ROOT, name), 'utf8');
  } catch {
    throw new SetupError(`${name} is missing`, { advice: advice ? [advice] : [] });
  }
}
