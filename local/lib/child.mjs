// A program that is part of the stack: started, listened to, stopped.

import { spawn } from 'node:child_process';
import { eachLine } from './lines.mjs';
import { Trouble } from './trouble.mjs';

/** How long a part may take to end when asked to, before it is made to. */
const GRACE_MS = 3_000;

/** The process groups that run now. A launcher that ends without stopping them, however that comes, ends them. */
const groups = new Set();
process.on('exit', () => groups.forEach((pid) => signalGroup(pid, 'SIGKILL')));

/**
 * @typedef {object} Child
 * @property {string} part
 * @property {number} pid
 * @property {Promise<string>} ready the line that said so; rejects when it ended before that
 * @property {Promise<string>} ended how it ended, in words
 * @property {() => Promise<void>} stop
 */

/**
 * @param {object} options
 * @param {string} options.part its name for people
 * @param {string} options.command
 * @param {string[]} options.args
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {RegExp} [options.readyLine] the line of its output that says it is ready; none: it is at once
 * @param {(line: string) => void} options.onLine
 * @returns {Child}
 */
export function startChild({ part, command, args, env = process.env, readyLine, onLine }) {
  const ready = Promise.withResolvers();
  const ended = Promise.withResolvers();
  // A failure to start is told by whoever waits; a child that nobody waits for is not an unhandled rejection.
  ready.promise.catch(() => {});

  // Its own process group: Ctrl-C in the terminal reaches only the launcher, which stops the parts in their order.
  const child = spawn(command, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const take = (line) => {
    if (readyLine?.test(line)) return ready.resolve(line);
    onLine(line);
  };
  eachLine(child.stdout, take);
  eachLine(child.stderr, take);
  child.on('spawn', () => {
    groups.add(child.pid);
    if (!readyLine) ready.resolve('');
  });
  child.on('error', (error) => end(`did not start: ${error.message}`, `did not start: ${error.message}`));
  child.on('close', (status, signal) => end(signal ? `ended by ${signal}` : `ended with status ${status}`));

  function end(how, instead = `${how} before it was ready, and what it said is above`) {
    groups.delete(child.pid);
    ready.reject(new Trouble(`the ${part} ${instead}`));
    ended.resolve(how);
  }

  let isOver = false;
  ended.promise.then(() => (isOver = true));
  return {
    part,
    pid: child.pid,
    ready: ready.promise,
    ended: ended.promise,
    async stop() {
      if (isOver || child.pid === undefined) return;
      signalGroup(child.pid, 'SIGTERM');
      const timer = setTimeout(() => signalGroup(child.pid, 'SIGKILL'), GRACE_MS);
      await ended.promise;
      clearTimeout(timer);
    },
  };
}

function signalGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // It ended meanwhile.
    if (error.code !== 'ESRCH') throw error;
  }
}
