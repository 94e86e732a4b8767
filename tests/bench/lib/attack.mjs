// What honest devices notice of an attack: how long an admission takes beside nothing, beside 10,000 good requests a minute (half
// of them logins, half of them topics), and beside 10,000 failed authentications and refused topics a minute, from the same 50
// addresses. All come at a fixed pace, whatever the answers take, and the three kinds of round take turns.
//
// Load generator, workers and database share this machine's cores, so any load beside it slows an admission. What an attack does
// that good devices in the same number do not is the ratio of the last to the second.

import { makeDevice } from '../../../local/lib/credentials.mjs';
import { startCloud } from '../../../local/lib/cloud.mjs';
import { httpClient } from '../../../local/lib/http.mjs';
import { freePorts } from '../../../local/lib/ports.mjs';
import { readWorkers } from '../../../local/lib/workers.mjs';
import { startIdentityProvider } from '../../../local/idp/provider.mjs';
import { percentile } from './numbers.mjs';

const ADDRESSES = 50;
/** 10,000 a minute. */
const ATTACKS_A_SECOND = 10_000 / 60;
/** 10,000 devices that each come back once in an hour are three a second. */
const HONEST_A_SECOND = 20;
const WARM_UP = 3;
/** @typedef {'calm' | 'good' | 'attacked'} Kind what is beside the honest device */
const KINDS = ['calm', 'good', 'attacked'];
/** A round of less tells nothing of the slowest of twenty. */
const LEAST_SECONDS = 8;

/**
 * @param {{ secrets: Record<string, string>, rounds: number, seconds: number, say: (line: string) => void }} options
 * @returns {Promise<Record<Kind, number[]> & { requests: Record<Kind, number> }>} milliseconds of each admission, and the requests beside
 */
export async function measureAttack({ secrets, rounds, seconds, say }) {
  const ports = await freePorts();
  const idp = await startIdentityProvider({ port: ports.idp });
  const closers = [() => idp.close()];
  try {
    // Those that enrol and admit, and the one that device-api cannot be without.
    const workers = readWorkers(['device-api', 'history', 'telemetry']);
    const cloud = await startCloud({ workers, secrets, ports, persist: null, onLine: () => {} });
    closers.unshift(() => cloud.stop());
    const api = httpClient({ port: ports.http, headers: { 'cf-ray': '9a1b2c3d4e5f6071-LCL' } });
    closers.unshift(() => api.close());
    await cloud.migrate();
    const [device, ...others] = Array.from({ length: 1 + ADDRESSES }, () => makeDevice());
    const lines = [device, ...others].map(({ mac, secretHash }) => `${JSON.stringify({ mac_address: mac, device_secret_hash: secretHash })}\n`);
    const token = await idp.operatorToken({ email: 'bench@optic.works' });
    const enrolled = await api('POST', '/api/admin/enroll/bulk', { token, body: lines.join(''), headers: { 'content-type': 'application/x-ndjson' } });
    if (enrolled.status !== 200 || /"status":(?!201)/.test(enrolled.text)) throw new Error(`enrolment answered ${enrolled.status}: ${enrolled.text}`);

    const ask = async (path, body, wanted) => {
      const answer = await api('POST', path, { headers: { 'x-webhook-secret': secrets.WEBHOOK_SECRET }, body });
      if (answer.json?.result !== wanted) throw new Error(`${path} answered ${answer.status}: ${answer.text}`);
    };
    let number = 0;
    /** A login or a topic, in turns for each address. */
    const from = (name, password, topic, wanted) => {
      const who = { clientid: name, username: name, peerhost: `198.51.100.${number % ADDRESSES}` };
      return Math.floor(number / ADDRESSES) % 2 === 0
        ? ask('/webhook/mqtt-auth', { ...who, password }, wanted)
        : ask('/webhook/mqtt-acl', { ...who, action: 'publish', topic: `opticworks/${topic}/state`, qos: '1', retain: 'false' }, wanted);
    };
    const BESIDE = {
      good() {
        number += 1;
        const { id, password } = others[number % ADDRESSES];
        return from(id, password(), id, 'allow');
      },
      attacked() {
        number += 1;
        // A device that there might be, and a password of the right form: all the work of a login is done.
        const name = number.toString(16).padStart(32, '0');
        return from(name, name.repeat(2), 'of-another', 'deny');
      },
    };
    const admit = () => ask('/webhook/mqtt-auth', { clientid: device.id, username: device.id, password: device.password(), peerhost: '203.0.113.7' }, 'allow');

    const round = async (length, beside) => {
      const times = [];
      const honest = paced(HONEST_A_SECOND, length, async () => {
        const began = performance.now();
        await admit();
        times.push(performance.now() - began);
      });
      await Promise.all([honest, beside && paced(ATTACKS_A_SECOND, length, beside)]);
      return times;
    };
    for (const beside of Object.values(BESIDE)) await round(WARM_UP, beside);
    const measured = { calm: [], good: [], attacked: [], requests: { calm: 0, good: 0, attacked: 0 } };
    const length = Math.max(seconds, LEAST_SECONDS);
    for (let index = 0; index < rounds; index += 1) {
      say(`attack: round ${index + 1} of ${rounds}, ${KINDS.length * length} s`);
      // Whoever comes first finds what the last one left behind: so each does.
      for (const kind of [...KINDS.slice(index % KINDS.length), ...KINDS.slice(0, index % KINDS.length)]) {
        const before = number;
        measured[kind].push(...(await round(length, BESIDE[kind])));
        measured.requests[kind] += number - before;
      }
    }
    return measured;
  } finally {
    for (const close of closers) await close();
  }
}

/** Does something so many times a second for that long, each at its time, and waits for the last. */
async function paced(perSecond, seconds, work) {
  const began = performance.now();
  const running = [];
  for (let index = 0; index < perSecond * seconds; index += 1) {
    const wait = began + (index * 1000) / perSecond - performance.now();
    if (wait > 1) await new Promise((done) => setTimeout(done, wait));
    running.push(work());
  }
  await Promise.all(running);
}

/** The percentiles of each kind, and by how much the attack slows. @param {Awaited<ReturnType<typeof measureAttack>>} measured */
export const slowdown = (measured) =>
  Object.fromEntries(
    [50, 95].map((share) => {
      const [calm, good, attacked] = KINDS.map((kind) => percentile(measured[kind], share / 100));
      return [`p${share}`, { calm, good, attacked, ofGood: attacked / good, ofCalm: attacked / calm }];
    }),
  );
