// Ports of 127.0.0.1: who has them, which are free, and where the addresses written in the configuration go.

import { createServer } from 'node:net';
import { Trouble } from './trouble.mjs';

export const HOST = '127.0.0.1';

/**
 * @typedef {object} Ports
 * @property {number} http the workers
 * @property {number} control the launcher's own endpoint
 * @property {number} idp the identity provider
 * @property {number} mqtt
 * @property {number} emqx the management API
 * @property {number} [r2] R2's S3 API, where telemetry comes by the object
 */

/** The ports that `wrangler/*.jsonc` (environment `local`) and `emqx/emqx.conf` are written for. @type {Ports} */
export const DEFAULT_PORTS = { http: 8787, control: 8789, idp: 8790, mqtt: 1883, emqx: 18083, r2: 8791 };

const OPTION = { http: '--port', control: '--port', idp: '--idp-port', mqtt: '--mqtt-port', emqx: '--emqx-port', r2: '--port' };

/**
 * @param {Ports} ports
 * @throws {Trouble} naming all that are taken
 */
export async function requireFree(ports) {
  const taken = [];
  for (const [part, port] of Object.entries(ports)) {
    if (!(await isFree(port))) taken.push(`port ${port} (${part}) is taken: choose another with ${OPTION[part]}`);
  }
  if (taken.length > 0) {
    throw new Trouble(taken.join('\n       '), ['which program has it: ss -ltnp (Linux) or lsof -iTCP -sTCP:LISTEN']);
  }
}

/** A port for each that nobody has now. @returns {Promise<Ports>} */
export async function freePorts() {
  // All are held until all are known: else the system hands the same one out twice.
  const servers = await Promise.all(Object.keys(DEFAULT_PORTS).map(() => listen(0)));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return Object.fromEntries(Object.keys(DEFAULT_PORTS).map((part, i) => [part, ports[i]]));
}

async function isFree(port) {
  try {
    const server = await listen(port);
    await new Promise((done) => server.close(done));
    return true;
  } catch (error) {
    if (error.code === 'EADDRINUSE' || error.code === 'EACCES') return false;
    throw error;
  }
}

function listen(port) {
  return new Promise((done, fail) => {
    const server = createServer();
    server.once('error', fail).listen(port, HOST, () => done(server));
  });
}

/**
 * Addresses in the local configuration are written with the default ports. A stack on other ports moves them.
 *
 * @param {Ports} ports the ports in use
 * @returns {(value: unknown) => unknown} for the value of one var
 */
export function addressMover(ports) {
  const moves = new Map(Object.entries(ports).map(([part, to]) => [String(DEFAULT_PORTS[part]), String(to)]));
  return (value) =>
    typeof value !== 'string'
      ? value
      : value.replace(/\b(127\.0\.0\.1|(?:[a-z0-9-]+\.)*localhost):(\d+)\b/g, (whole, host, port) =>
          moves.has(port) ? `${host}:${moves.get(port)}` : whole,
        );
}
