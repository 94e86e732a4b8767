// `npm run fuzz`: runs every fuzz target for a minute. `npm run fuzz -- telemetry --seconds 600` for one, and longer.
//
// The targets are in fuzz/ (cargo-fuzz's layout). What libFuzzer learns is kept in target/fuzz-corpus, so that the next
// run goes on from there; fuzz/seeds/<target>, if there, is where it starts. A crash is a file in fuzz/artifacts/<target>.

import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ensureCargoTool } from './lib/cargo-tools.mjs';
import { ROOT } from './lib/paths.mjs';
import { capture, runLong } from './lib/proc.mjs';
import { SetupError, duration, say } from './lib/say.mjs';
import { setUp } from './toolchain.mjs';

const CARGO_FUZZ_VERSION = '0.13.2';
/** An input that takes longer, in seconds, is a finding: the parsers see at most 128 KB. */
const SLOW_INPUT_SECONDS = 5;

async function main() {
  const { values, positionals } = parseArgs({
    options: { seconds: { type: 'string', default: '60' } },
    allowPositionals: true,
  });
  const seconds = Number(values.seconds);
  if (!Number.isInteger(seconds) || seconds < 1) throw new SetupError(`--seconds wants a whole number, not "${values.seconds}"`);
  const targets = chooseTargets(positionals);

  const { env } = await setUp('native');
  const cargoFuzz = await ensureCargoTool(
    { crate: 'cargo-fuzz', bin: 'cargo-fuzz', version: CARGO_FUZZ_VERSION, locked: true, why: 'it runs the fuzz targets' },
    env,
  );
  const sanitizer = await chooseSanitizer(env);

  const failed = [];
  for (const target of targets) {
    console.log(`\n== ${target}, ${seconds} s${sanitizer === 'none' ? ', without a sanitizer: this compiler has none' : ''}`);
    const result = await fuzz(target, { seconds, cargoFuzz, sanitizer, env });
    console.log(result.ok ? `ok: ${result.executions} inputs (${duration(result.ms)})` : `${result.tail}\nFAILED (${duration(result.ms)})`);
    if (!result.ok) failed.push(target);
  }
  console.log(`\n${targets.length - failed.length} passed, ${failed.length} failed`);
  process.exitCode = failed.length > 0 ? 1 : 0;
}

function chooseTargets(names) {
  const directory = join(ROOT, 'fuzz', 'fuzz_targets');
  const all = existsSync(directory)
    ? readdirSync(directory)
        .filter((file) => file.endsWith('.rs'))
        .map((file) => file.slice(0, -'.rs'.length))
        .sort()
    : [];
  if (all.length === 0) throw new SetupError('fuzz/fuzz_targets has no targets');
  const unknown = names.filter((name) => !all.includes(name));
  if (unknown.length > 0) throw new SetupError(`there is no fuzz target ${unknown.join(', ')}; there are ${all.join(', ')}`);
  return names.length > 0 ? names : all;
}

/** The address sanitizer where the compiler brings its runtime (rustup's do, Debian's do not). */
async function chooseSanitizer(env) {
  const { stdout } = await capture('rustc', ['--print', 'target-libdir'], { env });
  const libdir = stdout.trim();
  return existsSync(libdir) && readdirSync(libdir).some((name) => /_rt\.asan\.a$/.test(name)) ? 'address' : 'none';
}

async function fuzz(target, { seconds, cargoFuzz, sanitizer, env }) {
  const corpus = join(ROOT, 'target', 'fuzz-corpus', target);
  mkdirSync(corpus, { recursive: true });
  const seeds = join(ROOT, 'fuzz', 'seeds', target);
  const args = ['run', '--fuzz-dir', 'fuzz', '--sanitizer', sanitizer, target, corpus];
  if (existsSync(seeds)) args.push(seeds);
  args.push('--', `-max_total_time=${seconds}`, `-timeout=${SLOW_INPUT_SECONDS}`, '-max_len=131072', '-print_final_stats=1');
  let latest = 'compiling';
  let executions = '0';
  const result = await runLong(`fuzz ${target}`, cargoFuzz, args, {
    cwd: ROOT,
    env: {
      ...env,
      // The sanitizers and coverage are behind `-Z`; this lets a stable compiler have them.
      RUSTC_BOOTSTRAP: '1',
      CARGO_TARGET_DIR: join(ROOT, 'target', 'fuzz'),
    },
    tailLines: 80,
    progress: () => latest,
    onLine: (line) => {
      const pulse = /^#(\d+)\s.*\bcov: (\d+)/.exec(line);
      if (pulse) latest = `${pulse[1]} inputs, ${pulse[2]} places reached`;
      executions = /^stat::number_of_executed_units:\s+(\d+)/.exec(line)?.[1] ?? executions;
    },
  });
  return { ...result, executions };
}

main().catch((error) => {
  say(error instanceof SetupError ? error.report() : error.stack);
  process.exitCode = 1;
});
