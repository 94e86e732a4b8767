// Running other programs: quickly and silently to ask them something, or for minutes with signs of life.

import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { LOGS } from './paths.mjs';
import { duration, say } from './say.mjs';

/**
 * Runs a program and returns what it said. Never rejects: a missing program is a failure like another.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, timeout?: number }} [options] `timeout` in milliseconds
 * @returns {Promise<{ ok: boolean, status: number | null, stdout: string, stderr: string }>}
 */
export function capture(command, args, { cwd, env = process.env, timeout = 60_000 } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, timeout, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    child.on('error', (error) => resolve({ ok: false, status: null, stdout, stderr: stderr || error.message }));
    child.on('close', (status) => resolve({ ok: status === 0, status, stdout, stderr }));
  });
}

/** Long-running children, which must not outlive us: whoever stops `npm test` wants the compiler stopped too. */
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGTERM')));

/** How often a long step says that it is alive. */
const PULSE_MS = 20_000;
/** How much of a failed program's output is worth showing; the log file has the rest. */
const TAIL_LINES = 40;

/**
 * Runs a program that takes a while. Its output goes to a log file; every 20 seconds one line tells how
 * far it is, so that nobody takes a slow step for a hung one.
 *
 * @param {string} label what the person reads in front of each line
 * @param {string} command
 * @param {string[]} args
 * @param {object} [options]
 * @param {string} [options.cwd]
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {number} [options.timeout] milliseconds
 * @param {(line: string) => void} [options.onLine] sees every line of output
 * @param {() => string} [options.progress] says how far it is
 * @param {number} [options.tailLines] how much of the output is returned
 * @returns {Promise<{ ok: boolean, tail: string, log: string, ms: number }>}
 */
export function runLong(label, command, args, { cwd, env = process.env, timeout, onLine, progress, tailLines = TAIL_LINES } = {}) {
  const started = Date.now();
  mkdirSync(LOGS, { recursive: true });
  const log = join(LOGS, `${label.replace(/[^a-z0-9.]+/gi, '-')}.log`);
  const file = createWriteStream(log);
  file.write(`$ ${[command, ...args].join(' ')}\n`);

  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, timeout, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    const tail = [];
    let rest = '';
    const take = (text) => {
      file.write(text);
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        onLine?.(line);
        tail.push(line);
        if (tail.length > tailLines) tail.shift();
      }
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);

    const pulse = setInterval(() => {
      const far = progress?.();
      say(`  ${label}: ${far ? `${far}, ` : ''}${duration(Date.now() - started)} so far`);
    }, PULSE_MS);

    const done = (ok, extra) => {
      clearInterval(pulse);
      running.delete(child);
      if (rest) tail.push(rest);
      if (extra) tail.push(extra);
      file.end(() => resolve({ ok, tail: tail.join('\n'), log, ms: Date.now() - started }));
    };
    child.on('error', (error) => done(false, error.message));
    child.on('close', (status, signal) => done(status === 0, signal ? `(ended by ${signal})` : ''));
  });
}

/** Counts the crates in cargo's output, as progress for `runLong`. */
export function crateCounter() {
  let crates = 0;
  return {
    onLine: (line) => {
      if (/^\s*(Compiling|Checking) /.test(line)) crates += 1;
    },
    progress: () => `${crates} crates done`,
  };
}

/**
 * Does `work` for each item, as many at a time as there are processors. Keeps the order of results.
 *
 * @template T, R
 * @param {T[]} items
 * @param {(item: T) => Promise<R>} work
 * @returns {Promise<R[]>}
 */
export async function inParallel(items, work) {
  const results = [];
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const index = next;
      next += 1;
      results[index] = await work(items[index]);
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), items.length) }, lane));
  return results;
}
