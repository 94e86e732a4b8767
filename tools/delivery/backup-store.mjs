// Where backups of the database are: in the bucket of an environment, through Cloudflare's API, or in the local stack's.

import { join } from 'node:path';
import { Readable } from 'node:stream';
import { SetupError } from '../lib/say.mjs';

const PREFIX = 'backups/d1/';
const MANIFEST = '.manifest.json';

/**
 * @typedef {object} BackupStore
 * @property {string} name
 * @property {() => Promise<string[]>} keys of all objects that belong to backups
 * @property {(key: string) => Promise<import('node:stream').Readable | null>} open
 * @property {(key: string, bytes: Buffer, type: string) => Promise<void>} put
 * @property {() => Promise<void>} close
 */

/** @param {ReturnType<import('./cloudflare.mjs').cloudflareClient>} api @param {string} bucket @returns {BackupStore} */
export function remoteStore(api, bucket) {
  return {
    name: bucket,
    keys: () => api.objects(bucket, PREFIX),
    open: async (key) => {
      const object = await api.object(bucket, key);
      return object && Readable.fromWeb(object.body);
    },
    put: (key, bytes, type) => api.putObject(bucket, key, bytes, type),
    close: async () => {},
  };
}

/**
 * The bucket of a local stack, whether it runs or not.
 * @param {string} bucket
 * @param {string} state where the stack keeps it
 * @returns {Promise<BackupStore>}
 */
export async function localStore(bucket, state) {
  // Loading it costs a second, which the account's buckets need not pay.
  const { Miniflare } = await import('miniflare');
  const mf = new Miniflare({ modules: true, script: 'export default {}', r2Buckets: { BACKUPS: bucket }, defaultPersistRoot: join(state, 'v3') });
  const r2 = await mf.getR2Bucket('BACKUPS');
  return {
    name: `${bucket} in ${state}`,
    async keys() {
      const keys = [];
      for (let cursor; ; ) {
        const page = await r2.list({ prefix: PREFIX, cursor });
        keys.push(...page.objects.map(({ key }) => key));
        if (!page.truncated) return keys;
        cursor = page.cursor;
      }
    },
    open: async (key) => {
      const object = await r2.get(key);
      return object && Readable.fromWeb(object.body);
    },
    put: async (key, bytes, type) => void (await r2.put(key, bytes, { httpMetadata: { contentType: type } })),
    close: () => mf.dispose(),
  };
}

/** A small object as text; null where there is none. @param {BackupStore} store @param {string} key */
export async function textOf(store, key) {
  const stream = await store.open(key);
  return stream && Buffer.concat(await stream.toArray()).toString('utf8');
}

/**
 * The whole backups, newest first: those that have a manifest.
 * @param {BackupStore} store
 * @returns {Promise<{ id: string, checked: boolean }[]>}
 */
export async function wholeBackups(store) {
  const keys = new Set(await store.keys());
  const ids = [...keys].filter((key) => key.endsWith(MANIFEST)).map((key) => key.slice(PREFIX.length, -MANIFEST.length));
  return ids.sort().reverse().map((id) => ({ id, checked: keys.has(checkKey(id)) }));
}

/**
 * The backups that are meant: the one of that id, the `latest`, or all that no restore check has looked at and the latest, if
 * `unchecked` are.
 * @param {BackupStore} store
 * @param {string} from
 * @returns {Promise<{ id: string, manifest: import('./restore-check.mjs').Manifest & Record<string, any> }[]>} oldest first
 */
export async function findBackups(store, from) {
  const whole = await wholeBackups(store);
  const [latest] = whole;
  const meant = {
    latest: () => [latest],
    unchecked: () => whole.filter((backup) => backup === latest || !backup.checked).reverse(),
  }[from]?.() ?? whole.filter(({ id }) => id === from);
  if (!meant[0]) throw new SetupError(`${store.name} has no backup${from === 'latest' || from === 'unchecked' ? '' : ` ${from}`}`, { advice: whole.slice(0, 5).map(({ id }) => `it has ${id}`) });
  return Promise.all(meant.map(async ({ id }) => ({ id, manifest: JSON.parse(await textOf(store, `${PREFIX}${id}${MANIFEST}`)) })));
}

/** Where the result of a backup's restore check stands. @param {string} id */
export const checkKey = (id) => `${PREFIX}${id}.check.json`;
