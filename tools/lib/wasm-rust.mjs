// A Rust compiler for wasm32-unknown-unknown: rustup's where it can be had, else one that we complete ourselves.
//
// Debian's own compiler (the packages `rustc-web` and friends, kept new for building browsers) comes without the
// wasm32 standard library but with its source. So the library is built once, into the user's cache: a private
// "sysroot", which is Debian's host part by symbolic link plus our wasm32 part, and beside it a `rustc` that uses it.
// /usr stays as the package manager left it.

import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureDebianPackages, hasApt } from './debian.mjs';
import { withLock } from './lock.mjs';
import { TOOLS, WASM_TARGET_DIR } from './paths.mjs';
import { capture, crateCounter, runLong } from './proc.mjs';
import { pathWith } from './rust.mjs';
import { SetupError, duration, say } from './say.mjs';

const TARGET = 'wasm32-unknown-unknown';
const DEBIAN_PACKAGES = ['rustc-web', 'cargo-web', 'rust-web-src', 'rust-web-clippy', 'lld-22'];
const DEBIAN_LINKER = 'wasm-ld-22';
/** Long enough for a slow line, short enough for a network that drops packets. */
const RUSTUP_TIMEOUT_MS = 180_000;

/**
 * @typedef {object} WasmRust
 * @property {'rustup' | 'debian'} variant
 * @property {string} version of rustc
 * @property {NodeJS.ProcessEnv} env what to add to the environment: with it, plain `cargo build --target wasm32…`,
 *   `cargo clippy --target wasm32…` and `worker-build` work
 */

/**
 * @param {NodeJS.ProcessEnv} env the native environment
 * @param {{ rustup: boolean }} native
 * @param {string[]} pathFirst directories that stay in front on PATH
 * @returns {Promise<WasmRust>}
 */
export async function ensureWasmRust(env, native, pathFirst) {
  const forced = process.env.RS1_WASM_TOOLCHAIN;
  if (forced && forced !== 'rustup' && forced !== 'debian') {
    throw new SetupError(`RS1_WASM_TOOLCHAIN is "${forced}"; it may be "rustup", "debian" or unset`);
  }
  if (forced !== 'debian') {
    // Any compiler with the library will do, whoever put it there.
    const ready = await nativeWasm(env);
    if (ready) return ready;
  }
  if (forced !== 'rustup') {
    const ready = await debianWasm(pathFirst);
    if (ready) return ready;
  }
  let rustupTold = 'rustup is not installed';
  if (forced !== 'debian' && native.rustup) {
    const added = await addTargetWithRustup(env);
    const ready = added.ok && (await nativeWasm(env));
    if (ready) return ready;
    rustupTold = added.tail.trim();
  }
  if (forced !== 'rustup' && hasApt()) {
    if (forced !== 'debian') {
      say(`  rustup could not (${reasonIn(rustupTold)}); using the compiler that Debian packages instead`);
    }
    await ensureDebianPackages(DEBIAN_PACKAGES, 'compiling to WebAssembly');
    const ready = await withLock('wasm32-library', async () => {
      // There already, if only a package was missing or another process has just built it.
      const before = await debianWasm(pathFirst);
      if (before) return before;
      await buildDebianSysroot();
      return debianWasm(pathFirst);
    });
    if (ready) return ready;
    throw new SetupError('the wasm32 standard library was built, but the compiler does not accept it', {
      advice: [`delete ${TOOLS} and run the command again`],
    });
  }
  throw new SetupError(`there is no Rust standard library for ${TARGET}, and it could not be added`, {
    output: rustupTold,
    advice: [`with rustup: rustup target add ${TARGET}`, 'without it: use Debian 12 with apt, where this script builds the library itself'],
  });
}

/** The words of rustup's output that say what went wrong; the causes that it adds go on for a screen. */
const reasonIn = (output) => (/^error: ([^:\n]*)/m.exec(output)?.[1] ?? output.split('\n').pop() ?? '').trim();

/** The native compiler, if it has the wasm32 library. */
async function nativeWasm(env) {
  const { ok, stdout } = await capture('rustc', ['--target', TARGET, '--print', 'target-libdir'], { env });
  if (!ok || !hasLibrary(stdout.trim())) return null;
  const { stdout: version } = await capture('rustc', ['--version'], { env });
  return { variant: 'rustup', version: shortVersion(version), env: commonEnv() };
}

async function addTargetWithRustup(env) {
  say(`Rust: adding the standard library for ${TARGET} with rustup; the workers are compiled to WebAssembly`);
  const result = await runLong('rustup target add', 'rustup', ['target', 'add', TARGET], {
    env: { ...env, RUST_BACKTRACE: '0' },
    timeout: RUSTUP_TIMEOUT_MS,
  });
  if (result.ok) say(`Rust: done (${duration(result.ms)})`);
  return result;
}

/** `rustc 1.96.0`, without the commit and the vendor's remarks. */
const shortVersion = (text) => /^rustc [\d.]+/.exec(text)?.[0] ?? text.trim();

/** What every wasm build is given. */
function commonEnv() {
  return {
    CARGO_TARGET_DIR: WASM_TARGET_DIR,
    // worker-build sets it; clippy and plain builds must see the same code as it does.
    WASM_BINDGEN_USE_JS_SYS: '1',
  };
}

// ---------------------------------------------------------------------------------------------------------------
// Debian's compiler, completed

/** One sysroot for each compiler version: a package upgrade makes a new one. */
function sysrootFor(rustcVersion) {
  return join(TOOLS, `wasm32-rust-${/^rustc ([\d.]+)/.exec(rustcVersion)?.[1] ?? 'unknown'}`);
}

/** @returns {Promise<WasmRust | null>} null where the packages are missing or the library is not yet built */
async function debianWasm(pathFirst) {
  if (!existsSync('/usr/bin/rustc') || !existsSync('/usr/bin/cargo') || !existsSync(`/usr/bin/${DEBIAN_LINKER}`)) return null;
  const { ok, stdout } = await capture('/usr/bin/rustc', ['--version']);
  if (!ok) return null;
  const home = sysrootFor(stdout);
  const rustc = join(home, 'bin', 'rustc');
  if (!existsSync(rustc)) return null;
  const libdir = await capture(rustc, ['--target', TARGET, '--print', 'target-libdir']);
  if (!libdir.ok || !hasLibrary(libdir.stdout.trim())) return null;
  return {
    variant: 'debian',
    version: shortVersion(stdout),
    env: {
      ...commonEnv(),
      PATH: pathWith(join(home, 'bin'), ...pathFirst),
      RUSTC: rustc,
      // clippy-driver is a compiler of its own and does not go through our `rustc`.
      SYSROOT: home,
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER: DEBIAN_LINKER,
      // Set by rustup's proxies; cargo would take it as a reason to look for rustup's rustc.
      RUSTUP_TOOLCHAIN: undefined,
      RUSTUP_HOME: undefined,
      CARGO: undefined,
    },
  };
}

function hasLibrary(libdir) {
  return existsSync(libdir) && readdirSync(libdir).some((name) => /^libstd-.*\.rlib$/.test(name));
}

async function buildDebianSysroot() {
  const { ok, stdout: version, stderr } = await capture('/usr/bin/rustc', ['--version']);
  if (!ok) throw new SetupError('/usr/bin/rustc, of the package rustc-web, does not run', { output: stderr });
  const home = sysrootFor(version);
  if (existsSync(home)) rmSync(home, { recursive: true, force: true });

  say(`Rust: building the wasm32 standard library for ${shortVersion(version)} (once; one to two minutes)`);
  mkdirSync(TOOLS, { recursive: true });
  // Built beside its destination and renamed at the end, so that a half-built one is never used.
  const work = mkdtempSync(join(TOOLS, 'wasm32-rust-building-'));
  try {
    const crate = join(work, 'crate');
    mkdirSync(join(crate, 'src'), { recursive: true });
    // `-Zbuild-std` builds the library for some crate; this one is empty.
    writeFileSync(join(crate, 'Cargo.toml'), '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n');
    writeFileSync(join(crate, 'src', 'lib.rs'), '');
    const counter = crateCounter();
    const args = ['build', '--release', '--target', TARGET, '-Zbuild-std=std,panic_abort'];
    const result = await runLong('wasm32 library', '/usr/bin/cargo', args, {
      cwd: crate,
      env: {
        ...process.env,
        PATH: `/usr/bin:/bin:${process.env.PATH}`,
        // `-Z` is for nightly compilers; this says "I know".
        RUSTC_BOOTSTRAP: '1',
        RUSTC: '/usr/bin/rustc',
        // The workers are linked with LTO, which needs the library's bitcode.
        RUSTFLAGS: '-Cembed-bitcode=yes',
        CARGO_TARGET_DIR: join(work, 'target'),
        RUSTUP_TOOLCHAIN: undefined,
        CARGO: undefined,
      },
      ...counter,
    });
    if (!result.ok) {
      throw new SetupError('the wasm32 standard library could not be built', {
        output: result.tail,
        advice: [`the whole output is in ${result.log}`, 'are rustc-web, cargo-web and rust-web-src of one version? `apt-get install` them again'],
      });
    }
    const tree = join(work, 'sysroot');
    layOutSysroot(tree, join(work, 'target', TARGET, 'release', 'deps'));
    writeWrapper(join(tree, 'bin', 'rustc'), `exec /usr/bin/rustc --sysroot '${home}' "$@"`);
    symlinkSync('/usr/bin/cargo', join(tree, 'bin', 'cargo'));
    symlinkSync('/usr/bin/cargo-clippy', join(tree, 'bin', 'cargo-clippy'));
    renameSync(tree, home);
    say(`Rust: done (${duration(result.ms)})`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** A sysroot: Debian's host libraries by link, and the wasm32 libraries that were just built. */
function layOutSysroot(tree, built) {
  const rustlib = join(tree, 'lib', 'rustlib');
  const wasmLib = join(rustlib, TARGET, 'lib');
  mkdirSync(wasmLib, { recursive: true });
  mkdirSync(join(tree, 'bin'));
  for (const entry of readdirSync('/usr/lib/rustlib')) {
    if (entry !== TARGET) symlinkSync(join('/usr/lib/rustlib', entry), join(rustlib, entry));
  }
  for (const file of readdirSync(built)) {
    if (file.endsWith('.rlib') && !file.startsWith('libempty-')) copyFileSync(join(built, file), join(wasmLib, file));
  }
}

function writeWrapper(path, command) {
  writeFileSync(path, `#!/bin/sh\n${command}\n`, { mode: 0o755 });
}
