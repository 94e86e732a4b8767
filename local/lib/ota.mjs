// What operators do to update a fleet, for whoever runs a stack: keys, artifacts, rollouts, and a clock that can be hurried.

import { setTimeout as sleep } from 'node:timers/promises';
import { makeImage, makeKey, publicKeyOf } from './firmware-image.mjs';
import { httpClient } from './http.mjs';

const CRON = ['ota', '* * * * *'];
const OPERATOR = 'fleet@optic.works';

/** A rollout that will not change any more. */
export const isOver = ({ status }) => status === 'COMPLETED' || status === 'ABORTED';

/**
 * An operator of a running stack's firmware.
 * @param {Awaited<ReturnType<typeof import('./stack.mjs').startStack>>} stack
 */
export function otaOperator(stack) {
  const client = httpClient({ port: stack.ports.http });

  /** @returns {Promise<import('./http.mjs').Answer>} whatever it is */
  const ask = async (method, path, { body, headers } = {}) => {
    const token = await stack.idp.operatorToken({ email: OPERATOR });
    return client(method, path, { host: 'ota.localhost', token, body, headers });
  };

  /** The JSON of an answer that is as good as asked for. */
  const want = async (statuses, method, path, options) => {
    const answer = await ask(method, path, options);
    if (![statuses].flat().includes(answer.status)) {
      throw new Error(`${method} ${path}: ${answer.status}, not ${[statuses].flat().join(' or ')}: ${answer.text.slice(0, 500)}`);
    }
    return answer.json;
  };

  return {
    ask,
    want,

    /**
     * Registers a new signing key and uploads an image that it signed.
     * @param {{ version: string, sku?: string, counter?: number, size?: number }} image
     */
    async publish({ version, sku = 'rs1_pro', counter, size }) {
      const key = makeKey();
      const publicKey = publicKeyOf(key);
      await want(201, 'POST', '/admin/firmware-keys', { body: { name: `for ${version} of ${sku}`, public_key: publicKey } });
      const image = makeImage({ version, key, project: sku, counter, size });
      const artifact = await want(201, 'PUT', `/admin/firmware/${sku}/${version}`, { body: image });
      return { image, publicKey, artifact };
    },

    /** @returns {Promise<any>} the rollout, not yet started */
    create: (body) => want(201, 'POST', '/admin/rollouts', { body }),
    rollout: (id) => want(200, 'GET', `/admin/rollouts/${id}`),
    /** `start`, `pause`, `resume`, `abort`, `advance`. */
    order: (id, verb, reason) => want(200, 'POST', `/admin/rollouts/${id}/${verb}`, { body: { reason } }),
    /** All of them, page after page. */
    devices: (id, query = '') => pages(want, `/admin/rollouts/${id}/devices?limit=100${query}`),
    events: (id) => pages(want, `/admin/rollouts/${id}/events?limit=100`),
    close: () => client.close(),
  };
}

async function pages(want, path) {
  const items = [];
  let cursor = null;
  do {
    const page = await want(200, 'GET', cursor === null ? path : `${path}&cursor=${encodeURIComponent(cursor)}`);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return items;
}

/**
 * Lets the worker's clock tick more often than once a minute, until it is stopped. Each tick is a run of the cron as it is on
 * schedule, for a time of its own.
 * @param {Awaited<ReturnType<typeof import('./stack.mjs').startStack>>} stack
 * @param {number} every milliseconds between the end of one run and the next
 * @returns {{ stop: () => Promise<void>, failed: Promise<never> }} `failed` rejects when a run did not end well
 */
export function hurry(stack, every) {
  let isOver = false;
  const failed = Promise.withResolvers();
  // Whoever waits for it is told; nobody has to.
  failed.promise.catch(() => {});
  const ticking = (async () => {
    while (!isOver) {
      const { outcome } = await stack.runCron(...CRON, new Date());
      if (outcome !== 'ok') throw new Error(`a tick of the clock ended with ${outcome}`);
      await sleep(every);
    }
  })().catch(failed.reject);
  return {
    failed: failed.promise,
    async stop() {
      isOver = true;
      await ticking;
    },
  };
}
