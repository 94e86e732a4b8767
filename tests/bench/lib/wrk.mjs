// The load generator: wrk, with ../load.lua.

import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Trouble } from '../../../local/lib/trouble.mjs';
import { API_ROUTES } from './people.mjs';

const SCRIPT = fileURLToPath(new URL('../load.lua', import.meta.url));
const API_SCRIPT = fileURLToPath(new URL('../api.lua', import.meta.url));

/** @returns {string} the path of wrk */
export function findWrk() {
  const found = (process.env.PATH ?? '')
    .split(delimiter)
    .map((directory) => join(directory, 'wrk'))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
  if (!found) {
    throw new Trouble('the load generator wrk is not installed', ['Debian, Ubuntu: sudo apt-get install wrk', 'macOS: brew install wrk']);
  }
  return found;
}

/**
 * @typedef {object} Load what one round did
 * @property {number} good answers that were as they should be
 * @property {number} made requests that were made up; a few of the last may never have been sent
 * @property {number} rps good answers a second
 * @property {number} p50 milliseconds
 * @property {number} p99 milliseconds
 */

/**
 * Loads one server with one kind of request. An answer that is not as expected fails the bench: a fast error is no result.
 * @param {object} what
 * @param {string} what.wrk
 * @param {number} what.port
 * @param {string} what.route one of ROUTES in throughput.mjs
 * @param {number} what.seconds
 * @param {number} what.connections
 * @param {string} what.devices the file with devices and passwords
 * @param {string} what.secret
 * @param {string} what.prefix 16 hex digits that message ids begin with
 * @param {number} what.status the expected one
 * @param {boolean} [what.anything] whatever the answer says: the ceiling's says nothing
 * @returns {Promise<Load>}
 */
export async function load({ wrk, port, route, seconds, connections, devices, secret, prefix, status, anything = false }) {
  const args = [
    ...['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', API_ROUTES.includes(route) ? API_SCRIPT : SCRIPT, `http://127.0.0.1:${port}/`],
    ...['--', route, devices, secret, prefix, String(status), anything ? 'anything' : 'right'],
  ];
  const { output, code } = await run(wrk, args);
  const line = output.split('\n').find((each) => each.startsWith('@@ '));
  if (code !== 0 || !line) throw new Error(`wrk failed (${code}):\n${output}`);
  const { good, bad, made, seconds: took, p50, p99, broken, first_bad } = JSON.parse(line.slice(3));
  if (bad > 0 || broken > 0 || good === 0) {
    throw new Error(`${route} on port ${port}: ${good} good answers, ${bad} wrong ones, ${broken} broken connections; first wrong one: ${first_bad}`);
  }
  return { good, made, rps: good / took, p50, p99 };
}

function run(command, args) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', fail);
    child.on('close', (code) => done({ output, code }));
  });
}
