// One request to a worker: to any of its routes, or to the health route of one version of it.

import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';

const TIMEOUT_MS = 10_000;

/** The health route of a worker: what its first route's `*` stands for. */
export function healthUrl({ routePatterns: [pattern] }) {
  const slash = pattern.indexOf('/');
  return { host: pattern.slice(0, slash), path: pattern.slice(slash).replace('*', 'health') };
}

/**
 * @param {object} probe
 * @param {{ name: string, routePatterns: string[] }} probe.config
 * @param {string} [probe.version] this one, whatever share of the traffic it has; else whichever answers
 * @param {string} [probe.connect] `host:port` to send it to instead, without TLS
 * @returns {Promise<string | null>} what is wrong
 */
export async function probe({ config, version, connect }) {
  const { host, path } = healthUrl(config);
  const where = `https://${host}${path}`;
  let answer;
  try {
    const override = version && { 'cloudflare-workers-version-overrides': `${config.name}="${version}"` };
    answer = await send({ host, path, connect, headers: { 'cache-control': 'no-cache', ...override } });
  } catch (error) {
    return `${where}: ${error.message || error.code}`;
  }
  const { status, headers, body } = answer;
  let report;
  try {
    report = JSON.parse(body);
  } catch {
    return `${where}: ${status}, and no health report`;
  }
  if (status !== 200 || report.status !== 'ok') {
    const failing = Object.entries(report.checks ?? {}).filter(([, check]) => check.status !== 'ok');
    return `${where}: ${status}, ${failing.map(([name, { detail }]) => `${name}: ${detail}`).join('; ') || `status ${report.status}`}`;
  }
  // Without this an override that the platform did not understand would have us look at the old version.
  const answered = headers['x-version'];
  if (version && answered !== version) return `${where}: asked for version ${version}, answered by ${answered ?? 'one that does not say which it is'}`;
  return null;
}

/**
 * @param {object} request
 * @param {string} request.host
 * @param {string} request.path with its query
 * @param {string} [request.connect] `host:port` to send it to instead, without TLS
 * @param {string} [request.method]
 * @param {Record<string, string>} [request.headers]
 * @param {string} [request.body]
 * @returns {Promise<{ status: number, headers: Record<string, string>, body: string }>}
 */
export function send({ host, path, connect, method = 'GET', headers = {}, body }) {
  const [hostname, port] = (connect ?? host).split(':');
  const request = connect ? httpRequest : httpsRequest;
  const own = { host, 'user-agent': 'rs1-deploy/1', ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }) };
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, path, method, headers: { ...own, ...headers }, timeout: TIMEOUT_MS }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => (text += part));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: text }));
      response.on('error', reject);
    });
    sent.on('timeout', () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    sent.on('error', reject);
    sent.end(body);
  });
}
