// `.local/stack.json`: how the other commands find the running stack.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../tools/lib/paths.mjs';
import { httpClient } from './http.mjs';
import { Trouble } from './trouble.mjs';

/** Where the state of `npm start` is. */
export const STATE = join(ROOT, '.local');

const path = (directory) => join(directory, 'stack.json');

/**
 * @typedef {object} StackFile
 * @property {import('./ports.mjs').Ports} ports
 * @property {number} pid the launcher
 * @property {Record<string, number>} parts process ids
 * @property {string} started_at
 */

/** @param {string} directory @param {StackFile} content */
export function writeStackFile(directory, content) {
  mkdirSync(directory, { recursive: true });
  writeFileSync(path(directory), `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
}

/** @param {string} directory @returns {StackFile | null} null when there is none, or its launcher no longer runs */
export function readStackFile(directory) {
  let content;
  try {
    content = JSON.parse(readFileSync(path(directory), 'utf8'));
  } catch {
    return null;
  }
  return isRunning(content.pid) ? content : null;
}

/**
 * Ends what a launcher left behind that was itself killed (`kill -9`, out of memory): its parts would hold the ports.
 * Needs /proc, to be sure that a process id still is what it was; elsewhere the taken ports are reported as such.
 * @param {string} directory
 * @returns {string[]} the parts that were ended
 */
export function endLeftovers(directory) {
  let content;
  try {
    content = JSON.parse(readFileSync(path(directory), 'utf8'));
  } catch {
    return [];
  }
  if (isRunning(content.pid)) return [];
  const left = Object.entries(content.parts).filter(([, pid]) => PARTS.includes(commandOf(pid)));
  for (const [, pid] of left) process.kill(pid, 'SIGKILL');
  return left.map(([part]) => part);
}

/** What /proc calls the programs of a stack. */
const PARTS = ['workerd', 'rs1-broker', 'rs1-fleet'];

/** The Workers runtime that this process started; Miniflare does not tell. @returns {number | undefined} */
export function workersRuntime() {
  try {
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
    return children.find((pid) => commandOf(pid) === 'workerd');
  } catch {
    return undefined;
  }
}

function commandOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** @param {string} directory */
export function removeStackFile(directory) {
  rmSync(path(directory), { force: true });
}

/** Whether it is a stack that runs, and not another program that was given its launcher's process id. @param {StackFile} stack */
export async function isAnswering(stack) {
  const client = httpClient({ port: stack.ports.control, timeout: 2_000 });
  try {
    const { json } = await client('GET', '/', { host: '127.0.0.1' });
    return Array.isArray(json?.workers);
  } catch {
    return false;
  } finally {
    client.close();
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/**
 * The running stack, for the commands that talk to it.
 * @param {string} [directory]
 * @returns {Promise<StackFile & { control: (method: string, path: string, body?: unknown) => Promise<import('./http.mjs').Answer> }>}
 */
export async function runningStack(directory = STATE) {
  const stack = readStackFile(directory);
  const advice = ['start one with: npm start'];
  if (!stack) throw new Trouble('no local stack is running', advice);
  const client = httpClient({ port: stack.ports.control, timeout: 120_000 });
  const control = async (method, target, body) => {
    try {
      return await client(method, target, { host: '127.0.0.1', body });
    } catch (error) {
      throw new Trouble(`the local stack does not answer (${error.message})`, advice);
    } finally {
      client.close();
    }
  };
  return { ...stack, control };
}
