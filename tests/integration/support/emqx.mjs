// EMQX 5.10 without EMQX: what it sends to the webhooks, how it reads their answers, and its management API. Which answer
// means what is from EMQX's source, not from our configuration: a spec that passes here holds for the broker as well.

import { randomBytes } from 'node:crypto';
import { readJson, sendJson } from '../../../local/lib/http.mjs';
import { serveHttp } from '../../../local/lib/serve.mjs';

/** What EMQX's HTTP client sends with every webhook, as `emqx/emqx.conf` asks it to. */
const HEADERS = {
  'content-type': 'application/json',
  accept: 'application/json',
  'user-agent': 'emqx',
  'cache-control': 'no-cache',
};

/**
 * @param {object} options
 * @param {ReturnType<import('../../../local/lib/http.mjs').httpClient>} options.api
 * @param {string} options.secret the webhook secret
 */
export function emqxCaller({ api, secret }) {
  /** @param {string} path below /webhook/ @param {unknown} body @param {{ secret?: string | null, headers?: object }} [options] */
  const webhook = (path, body, { secret: other = secret, headers } = {}) => {
    const own = other === null ? {} : { 'x-webhook-secret': other };
    return api('POST', `/webhook/${path}`, { body, headers: { ...HEADERS, ...own, ...headers } });
  };
  const authn = async (columns, options) => {
    const body = { clientid: '', username: '', password: '', peerhost: '203.0.113.7', ...columns };
    const answer = await webhook('mqtt-auth', body, options);
    return Object.assign(answer, { verdict: authnVerdict(answer) });
  };
  const authz = async (columns, options) => {
    const usual = { clientid: '', username: '', peerhost: '203.0.113.7', topic: '', action: 'publish', qos: '1', retain: 'false' };
    const body = { ...usual, ...columns };
    const answer = await webhook('mqtt-acl', body, options);
    return Object.assign(answer, { verdict: authzVerdict(answer) });
  };
  const deliver = async (path, body, options) => {
    const answer = await webhook(path, body, options);
    return Object.assign(answer, { fate: fateOf(answer.status) });
  };

  return {
    webhook,
    authn,
    authz,
    deliver,

    /**
     * A message as a rule with `SELECT *` hands it over; `topic` decides which webhook gets it.
     * @param {string} topic
     * @param {unknown} payload text goes as it is, anything else as JSON
     * @param {{ path?: string, columns?: Record<string, unknown> }} [options]
     */
    message: (topic, payload, { path, columns, ...options } = {}) =>
      deliver(path ?? webhookFor(topic), messageEvent(topic, payload, columns), options),

    /** A client's disconnection. @param {string} clientid @param {Record<string, unknown>} [columns] */
    disconnected: (clientid, columns, options) => deliver('device-offline', disconnectedEvent(clientid, columns), options),

    /**
     * Sends a recorded call, with this harness's secret in place of the recorded one.
     * @param {{ method: string, purpose: string, path: string, headers: Record<string, string>, body: unknown }} fixture
     */
    async replay({ method, purpose, path, headers, body }) {
      const own = Object.entries(headers).map(([name, value]) => [name, /^x-webhook-secret$/i.test(name) ? secret : value]);
      // Sent as EMQX would: its JSON text, with the recorded content type or none.
      const text = typeof body === 'string' ? body : JSON.stringify(body);
      const sent = { ...Object.fromEntries(own), host: 'api.localhost', connection: 'keep-alive' };
      const answer = await api(method, path, { body: text, headers: sent });
      if (purpose === 'authn') return Object.assign(answer, { verdict: authnVerdict(answer) });
      if (purpose === 'authz') return Object.assign(answer, { verdict: authzVerdict(answer) });
      return Object.assign(answer, { fate: fateOf(answer.status) });
    },
  };
}

/** The columns of `message.publish`. */
export function messageEvent(topic, payload, columns = {}) {
  const id = topic.split('/')[1];
  const now = Date.now();
  return {
    id: randomBytes(16).toString('hex').toUpperCase(),
    event: 'message.publish',
    clientid: id,
    username: id,
    payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
    peerhost: '203.0.113.7',
    peername: '203.0.113.7:50412',
    topic,
    qos: 1,
    flags: { dup: false, retain: false },
    pub_props: { 'User-Property': {} },
    publish_received_at: now,
    timestamp: now,
    client_attrs: {},
    node: 'emqx@10.0.0.5',
    metadata: { rule_id: 'spec' },
    ...columns,
  };
}

/** The columns of `client.disconnected`. */
export function disconnectedEvent(clientid, columns = {}) {
  const now = Date.now();
  return {
    event: 'client.disconnected',
    reason: 'tcp_closed',
    clientid,
    username: clientid,
    peername: '203.0.113.7:50412',
    sockname: '10.0.0.5:8883',
    proto_name: 'MQTT',
    proto_ver: 5,
    disconn_props: {},
    disconnected_at: now,
    connected_at: now - 60_000,
    client_attrs: {},
    timestamp: now,
    node: 'emqx@10.0.0.5',
    metadata: { rule_id: 'spec' },
    ...columns,
  };
}

/** Which webhook the rules of `emqx/emqx.conf` give a device's topic to. */
function webhookFor(topic) {
  const kind = topic.split('/').slice(2).join('/');
  if (kind === 'state') return 'device-state';
  if (kind === 'config/status') return 'config-status';
  if (kind === 'ota/status') return 'ota-status';
  if (kind === 'diag/response') return 'diagnostics';
  if (kind === 'telemetry' || kind.startsWith('telemetry/')) return 'telemetry';
  if (kind === 'provision') return 'provision';
  throw new Error(`no webhook is known for ${topic}: give one as { path }`);
}

/**
 * What EMQX does with the HTTP authenticator's answer. `ignore` asks the next authenticator; there is none, so it ends in
 * a refusal, but as a fault and not as a decision.
 * @param {import('../../../local/lib/http.mjs').Answer} answer
 */
export function authnVerdict({ status, headers, json }) {
  if (status === 204) return 'allow';
  // The content type is compared by prefix, and its case matters.
  if (status !== 200 || !String(headers['content-type'] ?? '').startsWith('application/json')) return 'ignore';
  return ['allow', 'deny'].includes(json?.result) ? json.result : 'ignore';
}

/** What EMQX does with the HTTP authorizer's answer. Here a missing content type is taken for JSON. */
export function authzVerdict({ status, headers, json }) {
  if (status === 204) return 'allow';
  if (status !== 200 || !String(headers['content-type'] ?? 'application/json').startsWith('application/json')) return 'ignore';
  return ['allow', 'deny'].includes(json?.result) ? json.result : 'ignore';
}

/** What becomes of a rule's message: only 429 and 503 are sent again, all else that is not 2xx loses it. */
export function fateOf(status) {
  if (status >= 200 && status < 300) return 'delivered';
  return status === 429 || status === 503 ? 'retried' : 'dropped';
}

/**
 * EMQX's management API as far as the workers use it. Every message published through it is kept.
 * @param {object} options
 * @param {number} options.port
 * @param {string} options.key `key:secret`
 */
export async function startEmqxApi({ port, key }) {
  const state = {
    /** @type {{ topic: string, payload: string, qos?: number, retain?: boolean }[]} */
    published: [],
    /**
     * Answers in its place while it is set: `(request) => ({ status, body })`, or nothing to go on as usual.
     * @type {null | ((request: { method: string, path: string, body: any }) => undefined | { status: number, body?: unknown })}
     */
    answer: null,
    /** `/status` as text, with its HTTP status. */
    status: { code: 200, text: 'Node emqx@127.0.0.1 is started\nemqx is running' },
    /** @type {Record<string, number>} `/stats` */
    stats: { 'live_connections.count': 0 },
    /** @type {Record<string, number>} `/metrics`, counters since the broker began */
    metrics: { 'messages.received': 0, 'messages.dropped': 0, 'messages.dropped.no_subscribers': 0, 'authentication.failure': 0 },
  };
  const expected = `Basic ${Buffer.from(key).toString('base64')}`;
  const handle = async (incoming, response) => {
    const path = incoming.url.replace(/^\/api\/v5/, '');
    if (path.startsWith('/status')) return response.writeHead(state.status.code, { 'content-type': 'text/plain' }).end(state.status.text);
    if (incoming.headers.authorization !== expected) return sendJson(response, 401, { code: 'BAD_API_KEY_OR_SECRET' });
    let body;
    try {
      body = await readJson(incoming);
    } catch {
      return sendJson(response, 400, { code: 'BAD_REQUEST', message: 'not JSON' });
    }
    const other = state.answer?.({ method: incoming.method, path, body });
    if (other && other.body === undefined) return response.writeHead(other.status).end();
    if (other) return sendJson(response, other.status, other.body);
    if (path === '/publish' || path === '/publish/bulk') {
      const messages = [body].flat();
      state.published.push(...messages);
      const ids = messages.map(() => ({ id: randomBytes(16).toString('hex').toUpperCase() }));
      return sendJson(response, 200, path === '/publish' ? ids[0] : ids);
    }
    // Without `?aggregate=true` it would be a list with an object a node.
    const numbers = { '/stats?aggregate=true': state.stats, '/metrics?aggregate=true': state.metrics }[path];
    if (numbers) return sendJson(response, 200, numbers);
    return sendJson(response, 404, { code: 'NOT_FOUND', message: path });
  };
  const { close } = await serveHttp({ port, handle });
  return Object.assign(state, { close });
}
