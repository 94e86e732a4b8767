// The local stack as a place where secrets are rotated: `.local/dev.vars` has them, the launcher starts the workers anew and has
// the broker read its files again.

import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { httpClient } from '../../local/lib/http.mjs';
import { parseSecrets } from '../../local/lib/secrets.mjs';
import { STATE, runningStack } from '../../local/lib/stack-file.mjs';
import { HEALTH, readWorkers } from '../../local/lib/workers.mjs';
import { SetupError } from '../lib/say.mjs';

/**
 * Where the workers, the broker and the database of an environment are.
 * @typedef {object} Place
 * @property {string} environment
 * @property {string} directory for journals
 * @property {number} quietMs how long nobody may have used the old secret
 * @property {number} pollMs
 * @property {(name: string) => Promise<string | undefined>} present the secret's value, where it can be known
 * @property {() => Promise<void>} ready throws if nothing may be changed now
 * @property {(workers: string[], secrets: Record<string, string | null>) => Promise<void>} put gives them to the workers, one after the other; null deletes
 * @property {(worker: string) => Promise<void>} isWell throws if it is not
 * @property {(worker: string, method: string, path: string, request?: { headers?: Record<string, string>, body?: unknown }) =>
 *   Promise<{ status: number, json: any }>} ask one of the worker's routes
 * @property {(path: string, pair: string) => Promise<number>} emqx the status of the broker's management API
 * @property {(sql: string, params: unknown[]) => Promise<any[]>} query
 * @property {((secrets?: Record<string, string | null>) => Promise<void>) | undefined} tellBroker where that needs nobody
 * @property {(() => Promise<void>) | undefined} round runs a round of checks, where that can be done at once
 */

/** @param {string} [state] of the stack that is meant @returns {Promise<Place>} */
export async function localPlace(state) {
  const directory = state ? resolve(state) : STATE;
  const { ports, control } = await runningStack(directory);
  const tables = new Map(readWorkers().map((table) => [table.worker, table]));

  async function told(method, path, body) {
    const { status, json, text } = await control(method, path, body);
    if (status >= 300) throw new SetupError(`the launcher answers ${status}: ${json?.error ?? text}`);
    return json;
  }
  async function ask(worker, method, path, { headers, body } = {}) {
    const api = httpClient({ port: ports.http, timeout: 10_000 });
    const [pattern] = tables.get(worker).routePatterns;
    try {
      return await api(method, path, { host: pattern.slice(0, pattern.indexOf('/')), headers, body });
    } finally {
      api.close();
    }
  }
  return {
    environment: 'local',
    directory: join(directory, 'rotations'),
    quietMs: 10_000,
    pollMs: 500,
    ask,
    present: async (name) => parseSecrets(readFileSync(join(directory, 'dev.vars'), 'utf8'))[name],
    ready: async () => {},
    // All of them at once: nothing reaches one before the others.
    put: (_, secrets) => told('POST', '/secrets', { set: secrets, tell: ['workers'] }),
    async isWell(worker) {
      const { status, json } = await ask(worker, 'GET', HEALTH[worker].path);
      if (status !== 200) throw new SetupError(`${worker} is not well: ${status} ${JSON.stringify(json?.checks)}`);
    },
    async emqx(path, pair) {
      const api = httpClient({ port: ports.emqx, timeout: 10_000 });
      const authorization = `Basic ${Buffer.from(pair).toString('base64')}`;
      try {
        return (await api('GET', `/api/v5${path}`, { host: '127.0.0.1', headers: { authorization } })).status;
      } finally {
        api.close();
      }
    },
    query: async (sql, params) => (await told('POST', '/sql', { sql, params })).results,
    tellBroker: (secrets = {}) => told('POST', '/secrets', { set: secrets, tell: ['broker'] }),
    round: () => told('POST', '/cron', { worker: 'health', cron: '*/5 * * * *' }),
  };
}
