// What honest devices notice of an attack: how long an admission takes, with and without 10,000 failed authentications and
// refused topics a minute from 50 addresses beside it. Both come at a fixed pace, whatever the answers take, and the two
// kinds of round take turns.

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
/** A round of less tells nothing of the slowest of twenty. */
const LEAST_SECONDS = 8;

/**
 * @param {{ secrets: Record<string, string>, rounds: number, seconds: number, say: (line: string) => void }} options
 * @returns {Promise<{ calm: number[], attacked: number[], attacks: number }>} milliseconds of each admission
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
    const device = makeDevice();
    const enrolled = await api('POST', '/api/admin/enroll', { token: await idp.operatorToken({ email: 'bench@optic.works' }), body: { mac_address: device.mac, device_secret_hash: device.secretHash } });
    if (enrolled.status !== 201) throw new Error(`enrolment answered ${enrolled.status}: ${enrolled.text}`);

    const ask = async (path, body, wanted) => {
      const answer = await api('POST', path, { headers: { 'x-webhook-secret': secrets.WEBHOOK_SECRET }, body });
      if (answer.json?.result !== wanted) throw new Error(`${path} answered ${answer.status}: ${answer.text}`);
    };
    let number = 0;
    const attack = () => {
      number += 1;
      const name = `forged-${number}`;
      const who = { clientid: name, username: name, peerhost: `198.51.100.${number % ADDRESSES}` };
      const guess = Math.floor(number / ADDRESSES) % 2 === 0;
      return guess
        ? ask('/webhook/mqtt-auth', { ...who, password: 'x' }, 'deny')
        : ask('/webhook/mqtt-acl', { ...who, action: 'publish', topic: `opticworks/${name}/state`, qos: '1', retain: 'false' }, 'deny');
    };
    const admit = () => ask('/webhook/mqtt-auth', { clientid: device.id, username: device.id, password: device.password(), peerhost: '203.0.113.7' }, 'allow');

    const round = async (length, isAttacked) => {
      const times = [];
      const honest = paced(HONEST_A_SECOND, length, async () => {
        const began = performance.now();
        await admit();
        times.push(performance.now() - began);
      });
      await Promise.all([honest, isAttacked && paced(ATTACKS_A_SECOND, length, attack)]);
      return times;
    };
    await round(WARM_UP, true);
    const measured = { calm: [], attacked: [], attacks: 0 };
    const length = Math.max(seconds, LEAST_SECONDS);
    for (let index = 0; index < rounds; index += 1) {
      say(`attack: round ${index + 1} of ${rounds}, ${2 * length} s`);
      measured.calm.push(...(await round(length, false)));
      const before = number;
      measured.attacked.push(...(await round(length, true)));
      measured.attacks += number - before;
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

/** The percentiles of both, and by how much the attack slows. @param {Awaited<ReturnType<typeof measureAttack>>} measured */
export const slowdown = ({ calm, attacked }) =>
  Object.fromEntries(
    [50, 95].map((share) => {
      const [before, during] = [percentile(calm, share / 100), percentile(attacked, share / 100)];
      return [`p${share}`, { before, during, ratio: during / before }];
    }),
  );
