// Staging or production as a place where secrets are rotated: Cloudflare's API gives them to the workers, and what reaches a
// worker is asked where everybody asks. Values go in bodies of requests, to Cloudflare and to our own workers, and nowhere else.

import { probe, send } from '../delivery/probe.mjs';
import { SetupError } from '../lib/say.mjs';
import { configDirectory } from './journal.mjs';

const SECOND = 1_000;
/** How long a version may take until it answers. */
const START_MS = 60 * SECOND;

/**
 * @param {import('../delivery/project.mjs').Project} project
 * @param {ReturnType<import('../delivery/cloudflare.mjs').cloudflareClient>} api
 * @param {{ connect?: string, poll?: number }} [options] `host:port` to send requests to instead, without TLS
 * @returns {import('./local.mjs').Place}
 */
export function deployedPlace(project, api, { connect, poll = 5 } = {}) {
  const configs = new Map(project.workers.map(({ worker, config }) => [worker, config]));
  const pollMs = poll * SECOND;
  const database = project.workers.flatMap(({ config }) => config.d1_databases).find(({ binding }) => binding === 'DB').database_id;
  const serving = async (config) => (await api.get(`/workers/scripts/${config.name}/deployments`)).deployments[0].versions;

  /** A secret comes with a version of its own; where two share the traffic, it would be of one of them. */
  async function isWhole(worker) {
    const config = configs.get(worker);
    const versions = await serving(config);
    if (versions.length !== 1) {
      throw new SetupError(`a release of ${config.name} is under way: two versions share its traffic`, { advice: ['let it end, or roll it back, and run the same command again'] });
    }
    return versions[0].version_id;
  }
  async function answers(worker, version) {
    const config = configs.get(worker);
    const deadline = Date.now() + START_MS;
    for (;;) {
      const fault = await probe({ config, version, connect });
      if (fault === null) return;
      if (Date.now() >= deadline) throw new SetupError(fault, { advice: ['nothing was dropped; run the same command again to go on'] });
      await new Promise((done) => setTimeout(done, Math.min(SECOND, pollMs)));
    }
  }
  return {
    environment: project.environment,
    directory: configDirectory(),
    quietMs: 600 * SECOND,
    pollMs,
    present: async () => undefined,
    async ready() {
      for (const worker of configs.keys()) await isWhole(worker);
    },
    async put(workers, secrets) {
      for (const worker of workers) {
        const config = configs.get(worker);
        const before = await isWhole(worker);
        const entries = Object.entries(secrets).map(([name, value]) => [name, value === null ? null : { type: 'secret_text', name, text: value }]);
        // All of them in one version: there is no moment with one of two.
        await api.merge(`/workers/scripts/${config.name}/secrets-bulk`, { secrets: Object.fromEntries(entries) });
        const now = await isWhole(worker);
        if (now === before) throw new SetupError(`${config.name} still runs the version from before`, { advice: ['its latest version is not the deployed one: deploy, and run the same command again'] });
        await answers(worker, now);
      }
    },
    isWell: (worker) => answers(worker),
    async ask(worker, method, path, { headers = {}, body } = {}) {
      const [pattern] = configs.get(worker).routePatterns;
      const text = body === undefined ? undefined : JSON.stringify(body);
      const answer = await send({
        host: pattern.slice(0, pattern.indexOf('/')),
        path,
        connect,
        method,
        headers: { ...headers, ...(text !== undefined && { 'content-type': 'application/json' }) },
        body: text,
      });
      return { status: answer.status, json: asJson(answer.body) };
    },
    async emqx(path, pair) {
      const url = new URL(`${configs.get('telemetry').vars.EMQX_API_URL}${path}`);
      const headers = { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
      return (await send({ host: url.host, path: `${url.pathname}${url.search}`, connect, method: 'GET', headers })).status;
    },
    // The API takes texts only; columns make numbers of them again.
    query: async (sql, params = []) => (await api.post(`/d1/database/${database}/query`, { sql, params: params.map(String) }))[0].results,
    tellBroker: undefined,
    round: undefined,
  };
}

function asJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
