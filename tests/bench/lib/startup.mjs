// How long a fresh isolate takes to be there and to answer its first request.

import { setTimeout as sleep } from 'node:timers/promises';
import { httpClient } from '../../../local/lib/http.mjs';
import { start } from './systems.mjs';

/**
 * @param {object} options
 * @param {import('./systems.mjs').System[]} options.systems
 * @param {import('./systems.mjs').Workshop} options.workshop
 * @param {Record<string, string>} options.secrets
 * @param {number} options.times
 * @returns {Promise<Record<string, { ready: number[], first: number[], second: number[] }>>} milliseconds: until Miniflare is
 *   ready (workerd has then compiled and loaded the worker), from then to the first answer, and the answer after that
 */
export async function measureStartup({ systems, workshop, secrets, times }) {
  const results = Object.fromEntries(systems.map(({ name }) => [name, { ready: [], first: [], second: [] }]));
  // The first one of all pays for the files that the others find in the page cache.
  for (let round = 0; round <= times; round++) {
    for (const system of systems) {
      const began = performance.now();
      const { cloud, port } = await start(system, { secrets, persist: workshop.fresh(`startup-${system.name}`) });
      const ready = performance.now();
      const api = httpClient({ port });
      try {
        // The first connection of all loads Miniflare's own front: that is not the worker's.
        await api('GET', '/nothing', { host: 'nobody.localhost' });
        await sleep(20);
        const first = await ask(api, secrets);
        const second = await ask(api, secrets);
        if (round === 0) continue;
        results[system.name].ready.push(ready - began);
        results[system.name].first.push(first);
        results[system.name].second.push(second);
      } finally {
        api.close();
        await cloud.stop();
      }
    }
  }
  return results;
}

/** An ACL question needs no database, so it shows the worker alone. */
async function ask(api, secrets) {
  const device = '0'.repeat(32);
  const body = { action: 'publish', clientid: device, username: device, peerhost: '203.0.113.7', qos: '1', retain: 'false', topic: `opticworks/${device}/state` };
  const began = performance.now();
  const answer = await api('POST', '/webhook/mqtt-acl', { body, headers: { 'x-webhook-secret': secrets.WEBHOOK_SECRET } });
  const took = performance.now() - began;
  if (answer.status !== 200 || answer.json?.result !== 'allow') throw new Error(`the first answer was ${answer.status} ${answer.text}`);
  return took;
}
