// R2's event notifications: what becomes of an object that was stored, by the rules of `wrangler/r2/<binding>.notifications.json`.
// Miniflare has buckets and queues, and nothing between them.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../tools/lib/paths.mjs';

const ACCOUNT = '3f4b7e3dcab231cbfdaa90a6a28bd548';

/**
 * @typedef {object} Stored
 * @property {'PutObject' | 'CopyObject' | 'CompleteMultipartUpload'} action
 * @property {string} key
 * @property {number} size
 * @property {string} eTag
 */

/**
 * The message of R2's (its documentation, "Event notifications: message format").
 * @param {string} bucket its name
 * @param {Partial<Stored> & { key: string }} stored
 */
export const notification = (bucket, { action = 'PutObject', key, size = 65_536, eTag = 'c846ff7a18f28c2e262116d6e8719ef0' }) => ({
  account: ACCOUNT,
  action,
  bucket,
  object: { key, size, eTag },
  eventTime: new Date().toISOString(),
});

/**
 * Tells the queues of what is stored in a bucket.
 * @param {object} options
 * @param {Awaited<ReturnType<typeof import('./cloud.mjs').startCloud>>} options.cloud
 * @param {string} options.binding `ARCHIVES` …
 * @param {string} options.bucket its name
 * @returns {(stored: Stored) => Promise<void>}
 */
export function r2Events({ cloud, binding, bucket }) {
  const rules = rulesOf(binding);
  return async (stored) => {
    const concerned = rules.filter(({ prefix = '', suffix = '', actions }) => actions.includes(stored.action) && stored.key.startsWith(prefix) && stored.key.endsWith(suffix));
    for (const { queue } of concerned) await (await cloud.queue(queue)).send(notification(bucket, stored));
  };
}

/** @returns {{ queue: string, prefix?: string, suffix?: string, actions: string[] }[]} */
function rulesOf(binding) {
  const path = join(ROOT, 'wrangler', 'r2', `${binding.toLowerCase()}.notifications.json`);
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).rules : [];
}
