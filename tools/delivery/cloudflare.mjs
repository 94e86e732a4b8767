// A client of Cloudflare's REST API: what provisioning and deploying ask the account and tell it.
//
// wrangler is left what only it knows: how to upload a bundle, apply a migration, and set triggers. Everything else is
// asked for here, because wrangler prints for people where we need values to compare: a plan is a difference, and a
// deployment that was cut off is continued from what the account says.

import { SetupError } from '../lib/say.mjs';

/** Where the API is; wrangler reads the same variable. */
const BASE_URL = 'https://api.cloudflare.com/client/v4';
const ATTEMPTS = 4;
const TIMEOUT_MS = 30_000;

/** What the API answered, when it was not what was asked for. */
export class ApiError extends Error {
  /**
   * @param {string} request method and path
   * @param {number} status 0 where no answer came
   * @param {{ code?: number, message: string }[]} errors
   */
  constructor(request, status, errors) {
    const said = errors.map(({ code, message }) => (code ? `${message} [${code}]` : message)).join('; ');
    super(`${request}: ${status || 'no answer'}: ${said}`);
    this.name = 'ApiError';
    this.status = status;
    this.codes = errors.map(({ code }) => code);
  }
}

/**
 * The account and the token from the environment, under the names that wrangler gives them.
 * @param {NodeJS.ProcessEnv} env
 * @throws {SetupError} naming all that is missing
 */
export function credentials(env) {
  const missing = ['CLOUDFLARE_API_TOKEN', 'CLOUDFLARE_ACCOUNT_ID'].filter((name) => !env[name]);
  if (missing.length > 0) {
    throw new SetupError(`the environment lacks ${missing.join(' and ')}`, {
      advice: ['the token needs, for the account: Workers Scripts, D1, R2, KV and Queues (edit), Analytics (read); for the zone: Workers Routes (edit), Zone (read)'],
    });
  }
  return { token: env.CLOUDFLARE_API_TOKEN, account: env.CLOUDFLARE_ACCOUNT_ID, baseUrl: env.CLOUDFLARE_API_BASE_URL || BASE_URL };
}

/**
 * @param {{ token: string, account: string, baseUrl: string }} access
 * @param {{ wait?: (ms: number) => Promise<void> }} [clock]
 */
export function cloudflareClient({ token, account, baseUrl }, { wait = (ms) => new Promise((done) => setTimeout(done, ms)) } = {}) {
  /** One request; answers the whole envelope. What changes something is repeated only where it was surely not done. */
  async function request(method, path, { query, body, text, type = 'application/json' } = {}) {
    const url = new URL(`${baseUrl}/accounts/${account}${path}`);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
    const name = `${method} ${path}`;
    for (let attempt = 1; ; attempt += 1) {
      let response;
      try {
        response = await fetch(url, {
          method,
          headers: {
            authorization: `Bearer ${token}`,
            ...(body !== undefined && { 'content-type': type }),
            ...(text !== undefined && { 'content-type': 'text/plain' }),
          },
          body: body === undefined ? text : JSON.stringify(body),
          signal: AbortSignal.timeout(TIMEOUT_MS),
        });
      } catch (error) {
        if (method === 'GET' && attempt < ATTEMPTS) {
          await wait(1000 * 2 ** attempt);
          continue;
        }
        throw new ApiError(name, 0, [{ message: error.cause?.message ?? error.message }]);
      }
      const safe = method === 'GET' || method === 'PUT' || method === 'DELETE';
      if (attempt < ATTEMPTS && (response.status === 429 || (safe && response.status >= 500))) {
        await response.body?.cancel();
        await wait(1000 * (Number(response.headers.get('retry-after')) || 2 ** attempt));
        continue;
      }
      return { name, response };
    }
  }

  /** @returns {Promise<any>} the envelope of a JSON answer */
  async function envelope(method, path, options) {
    const { name, response } = await request(method, path, options);
    const answer = await response.text();
    let json;
    try {
      json = JSON.parse(answer);
    } catch {
      throw new ApiError(name, response.status, [{ message: answer.slice(0, 200) || 'an empty answer' }]);
    }
    if (!response.ok || json.success === false) throw new ApiError(name, response.status, json.errors ?? [{ message: answer.slice(0, 200) }]);
    return json;
  }

  const call = async (method, path, options) => (await envelope(method, path, options)).result;

  return {
    account,
    get: (path, query) => call('GET', path, { query }),
    post: (path, body) => call('POST', path, { body }),
    put: (path, body) => call('PUT', path, { body }),
    patch: (path, body) => call('PATCH', path, { body }),
    /** A merge patch (RFC 7396): what is null goes, what is not named stays. */
    merge: (path, body) => call('PATCH', path, { body, type: 'application/merge-patch+json' }),

    /** The resource, or null where the API says that there is none. */
    async find(path, query) {
      try {
        return await call('GET', path, { query });
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return null;
        throw error;
      }
    },

    /** All pages of a list. */
    async list(path, query = {}) {
      const items = [];
      for (let page = 1; ; page += 1) {
        const { result, result_info: info } = await envelope('GET', path, { query: { ...query, page, per_page: 100 } });
        items.push(...result);
        if (result.length === 0 || items.length >= (info?.total_count ?? items.length)) return items;
      }
    },

    /** A query of the Analytics Engine; its rows. The answer has no envelope. */
    async analytics(sql) {
      const { name, response } = await request('POST', '/analytics_engine/sql', { text: `${sql}\nFORMAT JSON` });
      const answer = await response.text();
      if (!response.ok) throw new ApiError(name, response.status, [{ message: answer.slice(0, 200) }]);
      return JSON.parse(answer).data;
    },

    /** The keys of a bucket's objects that begin like this. */
    async objects(bucket, prefix) {
      const keys = [];
      for (let cursor; ; ) {
        const query = { prefix, per_page: 1000, ...(cursor && { cursor }) };
        const { result, result_info: info } = await envelope('GET', `/r2/buckets/${bucket}/objects`, { query });
        keys.push(...result.map(({ key }) => key));
        cursor = info?.cursor;
        if (!cursor || result.length === 0) return keys;
      }
    },

    /** An object of a bucket as a stream, with its length; null where there is none. */
    async object(bucket, key) {
      const { name, response } = await request('GET', `/r2/buckets/${bucket}/objects/${key}`);
      if (response.status === 404) {
        await response.body?.cancel();
        return null;
      }
      if (!response.ok) throw new ApiError(name, response.status, [{ message: (await response.text()).slice(0, 200) }]);
      return { body: response.body, length: Number(response.headers.get('content-length')) };
    },

    /** Stores an object; the API takes up to 300 MB at once. */
    async putObject(bucket, key, bytes, contentType) {
      const url = `${baseUrl}/accounts/${account}/r2/buckets/${bucket}/objects/${key}`;
      const headers = { authorization: `Bearer ${token}`, 'content-type': contentType };
      const response = await fetch(url, { method: 'PUT', headers, body: bytes, signal: AbortSignal.timeout(10 * TIMEOUT_MS) });
      if (!response.ok) throw new ApiError(`PUT /r2/buckets/${bucket}/objects/${key}`, response.status, [{ message: (await response.text()).slice(0, 200) }]);
      await response.body?.cancel();
    },
  };
}
