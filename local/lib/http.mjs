// HTTP to the local stack. `fetch` cannot choose the Host header and glibc does not resolve `*.localhost`, so this goes
// to 127.0.0.1 over a real socket and names the virtual host itself.

import { Agent, request } from 'node:http';

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {Record<string, string>} headers lower-case names
 * @property {Buffer} bytes
 * @property {string} text
 * @property {any} json the parsed body, undefined when it is not JSON
 */

/**
 * @param {object} options
 * @param {number} options.port
 * @param {number} [options.timeout] milliseconds without a byte
 * @param {Record<string, string>} [options.headers] sent with every request
 * @returns {((method: string, path: string, options?: { host?: string, token?: string, body?: unknown,
 *   headers?: Record<string, string> }) => Promise<Answer>) & { close: () => void }}
 */
export function httpClient({ port, timeout = 30_000, headers: always = {} }) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });

  /** An object is sent as JSON; text and bytes go as they are. */
  const call = (method, path, { host = 'api.localhost', token, body, headers = {} } = {}) => {
    const bytes = encode(body);
    const isJson = bytes !== undefined && typeof body !== 'string' && !ArrayBuffer.isView(body);
    const options = {
      ...{ host: '127.0.0.1', port, method, path, timeout },
      headers: {
        host,
        ...always,
        ...(isJson ? { 'content-type': 'application/json' } : {}),
        ...(bytes === undefined ? {} : { 'content-length': String(bytes.length) }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
    };
    return send({ ...options, agent }, bytes)
      .catch((error) => {
        // The server had closed the connection that we kept: workerd does so after a request whose body nobody read.
        if (error.isStale) return send({ ...options, agent: false }, bytes);
        throw error;
      })
      .catch((error) => {
        throw new Error(`${method} http://${host}:${port}${path}: ${error.message}`, { cause: error });
      });
  };

  return Object.assign(call, { close: () => agent.destroy() });
}

/** @returns {Promise<Answer>} */
function send(options, bytes) {
  return new Promise((done, fail) => {
    const outgoing = request(options);
    outgoing.on('error', (error) => {
      error.isStale = error.code === 'ECONNRESET' && outgoing.reusedSocket;
      fail(error);
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer for ${options.timeout / 1000} s`)));
    outgoing.on('response', (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('error', fail);
      response.on('end', () => done(answer(response, Buffer.concat(parts))));
    });
    outgoing.end(bytes);
  });
}

function encode(body) {
  if (body === undefined) return undefined;
  if (typeof body === 'string') return Buffer.from(body);
  if (ArrayBuffer.isView(body)) return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  return Buffer.from(JSON.stringify(body));
}

/** @returns {Answer} */
function answer(response, bytes) {
  return {
    status: response.statusCode,
    headers: response.headers,
    bytes,
    get text() {
      return bytes.toString('utf8');
    },
    get json() {
      try {
        return JSON.parse(bytes.toString('utf8'));
      } catch {
        return undefined;
      }
    },
  };
}

/**
 * Reads the body of a request as JSON; for this machine's own small servers.
 * @param {import('node:http').IncomingMessage} incoming
 */
export async function readJson(incoming) {
  const parts = [];
  for await (const part of incoming) parts.push(part);
  const text = Buffer.concat(parts).toString('utf8');
  if (text === '') return {};
  return JSON.parse(text);
}

/** @param {import('node:http').ServerResponse} response */
export function sendJson(response, status, body, headers = {}) {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length, ...headers });
  response.end(bytes);
}
