// The native Rust tool chain: found, never installed. How to get Rust onto a machine is its owner's choice.

import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { ensureDebianPackages } from './debian.mjs';
import { capture, runLong } from './proc.mjs';
import { SetupError, say } from './say.mjs';
import { atLeast, minimumRust } from './versions.mjs';

export const CARGO_HOME_BIN = join(process.env.CARGO_HOME || join(homedir(), '.cargo'), 'bin');

/**
 * PATH for native builds. rustup's directory is added because a shell that was open before rustup was
 * installed, or a CI runner that reads no profile, does not have it.
 * @param {string[]} first directories that come before everything else
 */
export function pathWith(...first) {
  const inherited = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  const wanted = [...first, ...inherited];
  if (!wanted.includes(CARGO_HOME_BIN)) wanted.push(CARGO_HOME_BIN);
  return wanted.join(delimiter);
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<{ version: string, host: string, rustup: boolean }>}
 */
export async function checkNativeRust(env) {
  const minimum = minimumRust();
  const advice = [
    'with rustup: https://rustup.rs, then `rustup toolchain install stable`',
    'on Debian 12: apt-get install rustc-web cargo-web rust-web-clippy',
  ];
  const [rustc, cargo, rustup] = await Promise.all([
    capture('rustc', ['--version', '--verbose'], { env }),
    capture('cargo', ['--version'], { env }),
    capture('rustup', ['--version'], { env }),
  ]);
  if (!rustc.ok || !cargo.ok) {
    throw new SetupError(`Rust ${minimum} or newer is needed, and ${rustc.ok ? 'cargo' : 'rustc'} does not run here`, {
      output: rustc.ok ? cargo.stderr : rustc.stderr,
      advice,
    });
  }
  const version = /^release: ([\d.]+)/m.exec(rustc.stdout)?.[1] ?? '0';
  if (!atLeast(version, minimum)) {
    throw new SetupError(`Rust ${minimum} or newer is needed; rustc here is ${version}`, {
      advice: rustup.ok ? ['rustup update stable'] : advice,
    });
  }
  const host = /^host: (\S+)/m.exec(rustc.stdout)?.[1] ?? '';
  return { version, host, rustup: rustup.ok };
}

/** C for SQLite (rusqlite) and the cryptography of native crates. */
export async function ensureCompilers(env) {
  const probes = await Promise.all([
    capture('cc', ['--version'], { env }),
    capture('c++', ['--version'], { env }),
  ]);
  if (probes.every(({ ok }) => ok)) return;
  await ensureDebianPackages(['gcc', 'g++', 'make', 'libc6-dev'], 'building the crates that contain C');
}

/** What cargo-installed tools link with: `worker-build` speaks TLS with the system's OpenSSL. */
export async function ensureOpenSsl(env) {
  const { ok } = await capture('pkg-config', ['--exists', 'openssl'], { env });
  if (ok || process.platform !== 'linux' || env.OPENSSL_DIR) return;
  await ensureDebianPackages(['pkg-config', 'libssl-dev'], 'building worker-build');
}

/** `cargo fmt` and `cargo clippy`, for `npm test`. */
export async function ensureLinters(env, { rustup }) {
  const [fmt, clippy] = await Promise.all([
    capture('cargo', ['fmt', '--version'], { env }),
    capture('cargo', ['clippy', '--version'], { env }),
  ]);
  const missing = [...(fmt.ok ? [] : ['rustfmt']), ...(clippy.ok ? [] : ['clippy'])];
  if (missing.length === 0) return;
  const byHand = `rustup component add ${missing.join(' ')}`;
  if (rustup) {
    say(`Rust: adding ${missing.join(' and ')} with rustup; npm test needs them`);
    const result = await runLong('rustup component add', 'rustup', ['component', 'add', ...missing], { env, timeout: 300_000 });
    if (result.ok) return;
    throw new SetupError(`rustup could not add ${missing.join(' and ')}`, { output: result.tail, advice: [`by hand: ${byHand}`] });
  }
  if (existsSync('/usr/bin/cargo')) {
    const packages = missing.map((name) => (name === 'clippy' ? 'rust-web-clippy' : 'rustfmt-web'));
    return void (await ensureDebianPackages(packages, 'checking the style of the code'));
  }
  throw new SetupError(`cargo has no ${missing.join(' and no ')} here`, { advice: [`with rustup: ${byHand}`] });
}
