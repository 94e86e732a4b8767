// The cloud as a spec sees it: the release bundles under Miniflare, on fresh state, with everything around them played by
// this process (identity provider, EMQX) and everything between them in reach (faults, archives, console).
//
//     const cloud = await startHarness();
//     after(() => cloud.stop());
//     const device = await cloud.enroll();
//     const answer = await cloud.emqx.authn({ clientid: device.id, username: device.id, password: device.password() });

import { gunzipSync } from 'node:zlib';
import { startIdentityProvider } from '../../../local/idp/provider.mjs';
import { startCloud } from '../../../local/lib/cloud.mjs';
import { makeDevice } from '../../../local/lib/credentials.mjs';
import { httpClient } from '../../../local/lib/http.mjs';
import { freePorts } from '../../../local/lib/ports.mjs';
import { startReceivers } from '../../../local/lib/receivers.mjs';
import { generateSecrets } from '../../../local/lib/secrets.mjs';
import { readWorkers } from '../../../local/lib/workers.mjs';
import { emqxCaller, startEmqxApi } from './emqx.mjs';
import { Faults } from './faults.mjs';

export { makeDevice } from '../../../local/lib/credentials.mjs';
export { eventually } from '../../../local/lib/wait.mjs';

const OPERATOR = 'operator@optic.works';

/** What Cloudflare adds to a request on its way in, and Miniflare does not. */
const FROM_THE_EDGE = { 'cf-ray': '9a1b2c3d4e5f6071-LCL' };

/**
 * @param {object} [options]
 * @param {string[]} [options.only] these workers; the others' routes answer 404
 * @param {Record<string, string>} [options.secrets] over the generated ones
 * @param {Record<string, Record<string, unknown>>} [options.vars] by worker, over the configured ones
 * @param {(tables: import('../../../local/lib/workers.mjs').WorkerTable[]) => typeof tables} [options.configure] any other change
 * @param {boolean} [options.faults] false leaves the bindings as they are, and `faults` without effect
 * @param {number} [options.batchTimeout] seconds that queue consumers wait for a batch to fill
 * @param {Parameters<typeof startCloud>[0]['intercept']} [options.intercept] answers a worker's `fetch` itself
 * @param {boolean} [options.migrate] false starts with an empty database
 * @param {string | null} [options.persist] a directory in which the state stays, for another harness after this one
 */
export async function startHarness(options = {}) {
  const { only, vars = {}, configure = (same) => same, faults: tapped = true, batchTimeout = 0.2, intercept, migrate = true, persist = null } = options;
  const secrets = { ...generateSecrets(), ...options.secrets };
  const ports = await freePorts();
  const workers = configure(tables(only, vars));

  const faults = new Faults();
  const lines = [];
  const deadLetters = [];
  const refused = [];
  const receivers = startReceivers({ secrets, onRefused: (line) => refused.push(line) });
  const idp = await startIdentityProvider({ port: ports.idp });
  const emqxApi = await startEmqxApi({ port: ports.emqx, key: secrets.EMQX_API_KEY });
  const closers = [() => idp.close(), () => emqxApi.close()];
  let cloud;
  try {
    cloud = await startCloud({
      workers,
      secrets,
      ports,
      persist,
      batchTimeout,
      intercept: async (request, url) => (await intercept?.(request, url)) ?? receivers.intercept(request, url),
      onLine: (line) => faults.takeLine(line) || lines.push(line),
      onDeadLetter: (letter) => deadLetters.push(letter),
      onRefused: (line) => refused.push(line),
      adapt: tapped ? (all) => faults.adapt(all) : undefined,
    });
    closers.unshift(() => cloud.stop());
    if (migrate) await cloud.migrate();
  } catch (error) {
    await stopAll(closers);
    throw error;
  }
  const api = httpClient({ port: ports.http, headers: FROM_THE_EDGE });
  closers.unshift(() => api.close());

  const adminToken = ({ email = OPERATOR, ...rest } = {}) => idp.operatorToken({ email, ...rest });

  return {
    api,
    ports,
    secrets,
    /** The real bindings, crons and Miniflare itself. */
    cloud,
    /** `operators` and `users`: sign anything, rotate keys. */
    idp,
    adminToken,
    userToken: (token) => idp.userToken(token),

    /**
     * Signs somebody in; `call` sends requests as them.
     * @param {string} email
     */
    async signIn(email) {
      const answer = await api('POST', '/api/auth/session', { body: { id_token: await idp.userToken({ email }) } });
      if (answer.status !== 201) throw new Error(`signing in answered ${answer.status}: ${answer.text}`);
      const { access_token, user } = answer.json;
      return { user, token: access_token, call: (method, path, options) => api(method, path, { token: access_token, ...options }) };
    },
    emqx: emqxCaller({ api, secret: secrets.WEBHOOK_SECRET }),
    /** EMQX's management API, as the workers reach it. */
    emqxApi,
    faults,
    /** Messages that ended in a dead-letter queue. */
    deadLetters,
    /** Requests to the internet that were not sent, and notices that their receivers refused. */
    refused,
    /** PagerDuty, Slack and the receiver of the webhook. */
    receivers,
    /** Every line that the workers wrote to their consoles. */
    lines,
    /** Those lines that are JSON objects, parsed. @param {Record<string, unknown>} [like] members they must have */
    logs: (like = {}) =>
      lines.map(parseLine).filter((entry) => entry && Object.entries(like).every(([name, value]) => entry[name] === value)),

    /**
     * Enrols a device through the API.
     * @param {{ mac?: string, secret?: Buffer, sku?: string }} [options]
     */
    async enroll({ mac, secret, sku } = {}) {
      const device = makeDevice({ mac, secret });
      const body = { mac_address: device.mac, device_secret_hash: device.secretHash, ...(sku ? { product_sku: sku } : {}) };
      const answer = await api('POST', '/api/admin/enroll', { token: await adminToken(), body });
      if (answer.status !== 201) throw new Error(`enrolment answered ${answer.status}: ${answer.text}`);
      return { ...device, enrolledAt: answer.json.enrolled_at };
    },

    /** Rows of the database, read past the fault injector. @param {string} sql @param {...unknown} params */
    async rows(sql, ...params) {
      const { results } = await (await cloud.database()).prepare(sql).bind(...params).all();
      return results;
    },

    /**
     * The archived lines: gzip NDJSON objects of a bucket, in the order of their keys.
     * @param {string} [prefix]
     * @param {string} [binding]
     * @returns {Promise<{ key: string, lines: any[], bytes: Buffer }[]>}
     */
    async archive(prefix = '', binding = 'ARCHIVES') {
      const bucket = await cloud.bucket(binding);
      const found = [];
      let cursor;
      do {
        const page = await bucket.list({ prefix, cursor });
        for (const { key } of page.objects) {
          const bytes = Buffer.from(await (await bucket.get(key)).arrayBuffer());
          found.push({ key, bytes, lines: key.endsWith('.gz') ? ndjson(gunzipSync(bytes)) : ndjson(bytes) });
        }
        cursor = page.truncated ? page.cursor : undefined;
      } while (cursor);
      return found;
    },

    /** @param {string} binding `TELEMETRY_QUEUE` … */
    queue: (binding) => cloud.queue(binding),

    /** Runs a cron trigger. @param {string} worker @param {string} cron @param {Date} [scheduledTime] */
    cron: (worker, cron, scheduledTime) => cloud.scheduled(worker, cron, scheduledTime),

    stop: () => stopAll(closers),
  };
}

/** The workers' configuration, without service bindings to workers that are left out. */
function tables(only, vars) {
  const read = readWorkers(only);
  const present = new Set(read.map(({ name }) => name));
  return read.map((table) => ({
    ...table,
    vars: { ...table.vars, ...vars[table.worker] },
    services: table.services.filter(({ service }) => present.has(service)),
  }));
}

async function stopAll(closers) {
  for (const close of closers) await close();
}

const ndjson = (bytes) => bytes.toString('utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));

function parseLine(line) {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
