// The identity provider of the local stack: it plays both that of the operators (Cloudflare Access) and that of the
// users (any OpenID Connect issuer). It asks nobody for a password, so it must never be reachable from another machine.

import { join } from 'node:path';
import { readJson, sendJson } from '../lib/http.mjs';
import { serveHttp } from '../lib/serve.mjs';
import { Issuer, subjectOf } from './issuer.mjs';

const HOUR = 3600;

/**
 * The two issuers. Their names are addresses only to the workers (see local/lib/outbound.mjs), so that they are the same
 * whatever ports a stack runs on. Paths are those of Cloudflare Access and of everyone else.
 */
const OPERATORS = { url: 'http://identity.localhost', audience: 'rs1-local', jwksPath: '/cdn-cgi/access/certs' };
const USERS = { url: 'http://accounts.localhost', audience: 'rs1-app-local', jwksPath: '/jwks' };

/**
 * @param {object} [options]
 * @param {number} [options.port] 0 chooses a free one
 * @param {string | null} [options.directory] where keys are kept; null keeps them in memory
 */
export async function startIdentityProvider({ port = 0, directory = null } = {}) {
  const open = (name, settings) => new Issuer({ ...settings, path: directory && join(directory, `${name}.json`) }).open();
  const [operators, users] = await Promise.all([open('operators', OPERATORS), open('users', USERS)]);

  /** What Cloudflare Access puts into `Cf-Access-Jwt-Assertion` for a person. Claims given win; undefined ones are left out. */
  const operatorToken = ({ email, ttl = HOUR, claims = {}, header = {} }) => {
    const now = Math.floor(Date.now() / 1000);
    const usual = { iss: operators.url, aud: [operators.audience], sub: subjectOf(email), email, type: 'app', country: 'XX' };
    return operators.sign({ ...usual, iat: now, nbf: now, exp: now + ttl, ...claims }, header);
  };
  /** An OpenID Connect ID token. */
  const userToken = ({ email, ttl = HOUR, nonce, claims = {}, header = {} }) => {
    const now = Math.floor(Date.now() / 1000);
    const usual = { iss: users.url, aud: users.audience, sub: subjectOf(email), email, email_verified: true, nonce };
    return users.sign({ ...usual, iat: now, exp: now + ttl, ...claims }, header);
  };

  const sites = {
    'identity.localhost': { issuer: operators, token: operatorToken },
    'accounts.localhost': { issuer: users, token: userToken },
  };
  const handle = (incoming, response) => serve(sites, incoming, response).catch((error) => sendJson(response, 400, { error: error.message }));
  const server = await serveHttp({ port, handle });

  return {
    ...server,
    operators,
    users,
    operatorToken,
    userToken,
  };
}

async function serve(sites, incoming, response) {
  const site = sites[incoming.headers.host?.split(':')[0]];
  const path = incoming.url.split('?')[0];
  if (!site) return sendJson(response, 404, { error: `send one of these as Host: ${Object.keys(sites).join(', ')}` });
  const { issuer } = site;
  if (incoming.method === 'GET') {
    if (path === '/.well-known/openid-configuration') return sendJson(response, 200, issuer.discovery());
    if (path === issuer.jwksPath) return sendJson(response, 200, issuer.jwks());
  }
  if (incoming.method === 'POST') {
    // A page in this machine's browser can post to us, but not with this type: the browser would ask first (CORS).
    if (incoming.headers['content-type'] !== 'application/json') {
      return sendJson(response, 415, { error: 'content-type must be application/json' });
    }
    const { email, ttl, nonce, alg, retire } = await readJson(incoming);
    if (path === '/rotate') return sendJson(response, 200, { kid: await issuer.rotate({ alg, retire }) });
    if (path === '/token') {
      if (!/^[^\s@]+@[^\s@]+$/.test(email ?? '')) return sendJson(response, 400, { error: 'email is missing or is none' });
      return sendJson(response, 200, { token: await site.token({ email, ttl, nonce }) });
    }
  }
  return sendJson(response, 404, { error: `nothing at ${incoming.method} ${path}` });
}
