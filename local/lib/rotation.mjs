// Other secrets while the stack runs: what in production a release of the workers does, and a reload of the broker.

import { httpClient } from './http.mjs';
import { writeBrokerFiles } from './parts.mjs';
import { HOST } from './ports.mjs';
import { changeSecrets } from './secrets.mjs';
import { Trouble } from './trouble.mjs';
import { eventually } from './wait.mjs';

/** How long queues may take to run empty while the broker holds what is for the workers. EMQX waits 5 s for an answer. */
const DRAIN_MS = 2_500;
/** A batch that a worker has in hand takes a fraction of that. */
const IN_HAND_MS = 300;
const ATTEMPTS = 10;

/**
 * @param {object} options
 * @param {string} options.path of `dev.vars`
 * @param {Record<string, string>} options.secrets as all parts of the stack know them; changed in place
 * @param {Awaited<ReturnType<typeof import('./cloud.mjs').startCloud>>} options.cloud
 * @param {import('./ports.mjs').Ports} options.ports
 * @param {string} options.brokerFiles
 * @param {() => void} options.onReleased
 */
export function localRotation({ path, secrets, cloud, ports, brokerFiles, onReleased }) {
  async function broker(method, what) {
    const client = httpClient({ port: ports.emqx });
    try {
      const { status, json, text } = await client(method, `/local/${what}`, { host: HOST });
      if (status !== 204) throw new Trouble(`the broker answers ${status}: ${json?.message ?? text}`);
    } finally {
      client.close();
    }
  }

  /** Nobody is refused and nothing is lost: the broker holds what it has for the workers until the new ones are there. */
  async function release() {
    for (let attempt = 1; ; attempt += 1) {
      await broker('POST', 'hold');
      try {
        const isEmpty = async () => (await cloud.waiting()) === 0;
        if (await eventually('the queues to run empty', isEmpty, { within: DRAIN_MS }).catch(() => false)) {
          await new Promise((done) => setTimeout(done, IN_HAND_MS));
          await cloud.release(secrets);
          return onReleased();
        }
        if (attempt === ATTEMPTS) throw new Trouble('the queues do not run empty; the workers still have the secrets from before');
      } finally {
        await broker('DELETE', 'hold');
      }
    }
  }

  return {
    /** @param {{ set?: Record<string, string | null>, tell?: ('workers' | 'broker')[] }} change */
    async change({ set = {}, tell = [] }) {
      const now = changeSecrets(path, set);
      for (const name of Object.keys(set)) {
        if (now[name] === undefined) delete secrets[name];
        else secrets[name] = now[name];
      }
      if (tell.includes('broker')) {
        writeBrokerFiles(brokerFiles, secrets);
        await broker('POST', 'reload');
      }
      if (tell.includes('workers')) await release();
    },
  };
}
