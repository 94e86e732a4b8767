// What the workers reach with `fetch`: this machine, and nothing else. It stands in for DNS (`*.localhost` is not
// resolved by glibc) and keeps the local stack off the internet: a health check or a page that went to the real
// OpticWorks from a laptop would be worse than none.

import { request as httpRequest } from 'node:http';
import { Response } from 'miniflare';
import { HOST } from './ports.mjs';

/** The identity provider's two hosts. */
export const IDENTITY_HOSTS = ['identity.localhost', 'accounts.localhost'];

/**
 * @param {object} options
 * @param {import('./ports.mjs').Ports} options.ports
 * @param {(request: Request, url: URL) => Promise<Response | undefined> | Response | undefined} [options.intercept] a test's answer instead
 * @param {(line: string) => void} [options.onRefused]
 * @returns {(request: Request) => Promise<Response>} Miniflare's `outboundService`
 */
export function outbound({ ports, intercept, onRefused = () => {} }) {
  return async (request) => {
    const url = new URL(request.url);
    const intercepted = await intercept?.(request, url);
    if (intercepted) return intercepted;
    const port = portOf(url, ports);
    if (port === null) {
      onRefused(`${request.method} ${url.origin}${url.pathname} was not sent: the local stack has no internet`);
      return new Response(`the local stack does not call ${url.host}\n`, { status: 503 });
    }
    return pass(request, url, port);
  };
}

/** @returns {number | null} null: not on this machine */
function portOf(url, ports) {
  if (url.protocol !== 'http:') return null;
  if (url.port) return url.hostname === HOST || /(^|\.)localhost$/.test(url.hostname) ? Number(url.port) : null;
  if (IDENTITY_HOSTS.includes(url.hostname)) return ports.idp;
  return url.hostname.endsWith('.localhost') ? ports.http : null;
}

/** With Node's own client, because `fetch` would not let us choose the Host header. */
async function pass(request, url, port) {
  const body = request.body ? Buffer.from(await request.arrayBuffer()) : undefined;
  const headers = { ...Object.fromEntries(request.headers), host: url.host };
  delete headers['transfer-encoding'];
  if (body) headers['content-length'] = String(body.length);
  return new Promise((done, fail) => {
    const outgoing = httpRequest({ host: HOST, port, method: request.method, path: url.pathname + url.search, headers });
    outgoing.on('error', fail);
    outgoing.on('response', (incoming) => {
      const parts = [];
      incoming.on('data', (part) => parts.push(part));
      incoming.on('error', fail);
      incoming.on('end', () => {
        const bare = [204, 205, 304].includes(incoming.statusCode);
        const kept = Object.entries(incoming.headers).filter(([name]) => !['connection', 'keep-alive', 'transfer-encoding'].includes(name));
        done(new Response(bare ? null : Buffer.concat(parts), { status: incoming.statusCode, headers: kept.flatMap(pairs) }));
      });
    });
    outgoing.end(body);
  });
}

/** `set-cookie` is the one header that Node gives as a list. */
const pairs = ([name, value]) => [value].flat().map((one) => [name, one]);
