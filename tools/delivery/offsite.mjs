// A store outside Cloudflare that speaks S3: put an object whose hash is known, and ask whether it is there.

import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SetupError } from '../lib/say.mjs';
import { EMPTY, signed } from './sigv4.mjs';

const VARIABLES = ['OFFSITE_ENDPOINT', 'OFFSITE_REGION', 'OFFSITE_BUCKET', 'OFFSITE_ACCESS_KEY_ID', 'OFFSITE_SECRET_ACCESS_KEY'];
/** Without a byte moving. */
const STALL_MS = 60_000;

/** @param {NodeJS.ProcessEnv} env @throws {SetupError} naming all that is missing */
export function offsiteStore(env) {
  const missing = VARIABLES.filter((name) => !env[name]);
  if (missing.length > 0) throw new SetupError(`the environment lacks ${missing.join(', ')}`);
  const endpoint = new URL(env.OFFSITE_ENDPOINT);
  const access = { id: env.OFFSITE_ACCESS_KEY_ID, secret: env.OFFSITE_SECRET_ACCESS_KEY, region: env.OFFSITE_REGION };

  /** @param {string} method @param {string} key @param {{ body?: Readable, headers?: Record<string, string>, payload?: string }} [options] */
  async function call(method, key, { body, headers = {}, payload = EMPTY } = {}) {
    const path = `/${env.OFFSITE_BUCKET}/${key}`;
    const send = endpoint.protocol === 'http:' ? httpRequest : httpsRequest;
    const sent = send({
      hostname: endpoint.hostname,
      port: endpoint.port,
      method,
      path,
      headers: signed({ method, host: endpoint.host, path, headers, payload }, access, new Date()),
      timeout: STALL_MS,
    });
    const answered = new Promise((resolve, reject) => {
      sent.on('response', resolve);
      sent.on('error', reject);
      sent.on('timeout', () => sent.destroy(new Error(`nothing moved for ${STALL_MS / 1000} s`)));
    });
    const [response] = await Promise.all([answered, body ? pipeline(body, sent) : sent.end()]);
    const said = Buffer.concat(await response.toArray()).toString();
    return { status: response.statusCode, headers: response.headers, said };
  }

  return {
    name: `${endpoint.host}/${env.OFFSITE_BUCKET}`,

    /** Whether an object with this hash is there. */
    async has(key, sha256) {
      const { status, headers } = await call('HEAD', key);
      return status === 200 && headers['x-amz-meta-sha256'] === sha256;
    },

    /** @param {string} key @param {ReadableStream | Buffer} content @param {{ sha256: string, bytes: number, type: string }} known */
    async put(key, content, { sha256, bytes, type }) {
      const body = content instanceof Buffer ? Readable.from([content]) : Readable.fromWeb(content);
      const headers = { 'content-length': String(bytes), 'content-type': type, 'x-amz-meta-sha256': sha256 };
      const { status, said } = await call('PUT', key, { body, headers, payload: sha256 });
      if (status !== 200) throw new SetupError(`${key} was not taken: ${status}`, { output: said });
    },
  };
}
