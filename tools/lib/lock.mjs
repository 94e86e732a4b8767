// One set-up at a time. Two terminals may run `npm test` and `npm start` in the same fresh clone; the
// second one waits for the first instead of deleting node_modules under its feet.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CACHE } from './paths.mjs';
import { say } from './say.mjs';

/**
 * Runs `work` while holding the lock `name`. A lock whose owner no longer runs is taken over.
 *
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(name, work) {
  const directory = join(CACHE, 'locks');
  mkdirSync(directory, { recursive: true });
  const path = join(directory, name);
  let waited = false;
  while (!take(path)) {
    if (!waited) say(`waiting: another process is busy with ${name}`);
    waited = true;
    await sleep(500);
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

function take(path) {
  try {
    // `wx` creates the file or fails: the one atomic step that this needs.
    writeFileSync(path, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  if (!ownerRuns(path)) removeStale(path);
  return false;
}

/**
 * Two processes may find the same stale lock. Renaming it away works for one of them only; if what it renamed turns out
 * to be the other's fresh lock, it is put back.
 */
function removeStale(path) {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
    if (ownerRuns(aside)) renameSync(aside, path);
    else rmSync(aside, { force: true });
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
}

function ownerRuns(path) {
  let pid;
  try {
    pid = Number(readFileSync(path, 'utf8'));
  } catch {
    return false;
  }
  // Empty for the instant between creation and writing: the owner is alive.
  if (!pid) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
