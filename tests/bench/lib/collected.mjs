// Messages a second by the object, from R2's notification until all of them are archived, verified and counted and the object is
// deleted; beside the peer, which has one door: a request a message, done when it is answered. The two take turns.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { MINUTE, readArchive, records, withFeeder } from '../../load/collected.mjs';
import { INTERVAL, put, settled, tell } from '../../load/objects.mjs';
import { enrol, makeDevices, writeDevices } from './devices.mjs';
import { Ledger } from './ledger.mjs';
import { start } from './systems.mjs';
import { load } from './wrk.mjs';

/** An object as EMQX makes it: half an hour of so many devices. */
const DEVICES = 10_000;
/** Of the peer's, as in throughput.mjs. */
const PEER_DEVICES = 2_000;
const WARM_UP_DEVICES = 500;
const HOUR = 60 * MINUTE;

/**
 * @typedef {object} Taken one system in all rounds
 * @property {number} messages
 * @property {number} seconds
 * @property {number} cpuSeconds
 * @property {number[]} rate messages a second, a round each
 */

/**
 * @param {object} options
 * @param {import('./systems.mjs').System[]} options.systems of the telemetry worker
 * @returns {Promise<{ ours: Taken, peer: Taken, bytes: number, archive: { objects: number, distinct: number, counted: number } }>}
 */
export async function measureCollected({ systems, workshop, secrets, wrk, seconds, rounds, connections, say }) {
  const of = (kind) => systems.find((system) => system.kind === kind);
  const running = [];
  const result = { ours: { messages: 0, seconds: 0, cpuSeconds: 0, rate: [] }, peer: { messages: 0, seconds: 0, cpuSeconds: 0, rate: [] }, bytes: 0 };
  const add = (name, round, messages, took, cpu) => {
    if (round === 0) return;
    const into = result[name];
    into.messages += messages;
    into.seconds += took;
    into.cpuSeconds += cpu;
    into.rate.push(messages / took);
    say(`objects: ${name} ${Math.round(messages / took).toLocaleString('en')}/s`);
  };
  try {
    const ours = await start(of('ours'), { secrets, persist: workshop.fresh('ours'), adapt: withFeeder });
    running.push(ours);
    const peer = await start(of('peer'), { secrets, persist: workshop.fresh('peer') });
    running.push(peer);
    const devices = makeDevices(DEVICES);
    const few = devices.slice(0, PEER_DEVICES);
    await ours.cloud.migrate();
    await enrol(await ours.cloud.database(), devices, secrets.DEVICE_KEK, 'ours');
    await peer.cloud.migrate();
    await enrol(await peer.cloud.database(), few, secrets.DEVICE_KEK, 'peer');
    const ledger = new Ledger(of('peer'), peer.cloud);
    const file = join(workshop.directory, 'devices.txt');
    const begin = Math.floor(Date.now() / HOUR) * HOUR - Math.ceil((rounds * INTERVAL) / 60 + 2) * HOUR + 7 * MINUTE;

    let sent = 0;
    const byObject = async (round) => {
      const ids = devices.slice(0, round === 0 ? WARM_UP_DEVICES : DEVICES).map(({ id }) => id);
      const object = await put(ours.port, begin + round * INTERVAL * MINUTE, (from) => records(ids, from, INTERVAL));
      [sent, result.bytes] = [sent + object.lines, result.bytes + object.bytes];
      const [began, cpu] = [performance.now(), ours.cpu()];
      await tell(ours.cloud, [object]);
      await settled(ours.cloud, sent, ours.trouble);
      add('ours', round, object.lines, (performance.now() - began) / 1000, ours.cpu() - cpu);
    };
    const byMessage = async (round) => {
      writeDevices(file, few);
      const prefix = randomBytes(8).toString('hex').toUpperCase();
      const cpu = peer.cpu();
      const loaded = await load({ wrk, port: peer.port, route: 'telemetry', seconds, connections, devices: file, secret: secrets.WEBHOOK_SECRET, prefix, status: 202 });
      add('peer', round, loaded.good, loaded.good / loaded.rps, peer.cpu() - cpu);
      await ledger.settle({ prefix, ...loaded });
    };
    for (let round = 0; round <= rounds; round += 1) {
      for (const turn of round % 2 === 0 ? [byObject, byMessage] : [byMessage, byObject]) await turn(round);
    }

    await ledger.verify();
    const found = await readArchive(await ours.cloud.bucket('ARCHIVES'), gunzipSync);
    const { counted } = await (await ours.cloud.database()).prepare('SELECT sum(messages) AS counted FROM telemetry_rollups').first();
    const complaints = [ours, peer].flatMap(({ trouble, log }) => [...trouble, ...log.read().filter((line) => !line.startsWith('{') || /"level":"(warn|error)"/.test(line))]);
    if (complaints.length > 0) throw new Error(`complaints:\n${complaints.slice(0, 10).map((line) => line.slice(0, 500)).join('\n')}`);
    if (found.distinct !== sent || found.lines !== sent || counted !== sent) throw new Error(`${sent} sent, ${found.lines} archived, ${found.distinct} different ones, ${counted} counted`);
    return { ...result, archive: { objects: found.objects, distinct: found.distinct, counted } };
  } finally {
    for (const { cloud } of running) await cloud.stop();
  }
}
