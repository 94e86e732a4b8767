// Updates of a simulated fleet: how fast a halt follows the report that calls for it, what slips out meanwhile, whether reports
// that come twice, late or out of order change anything, how fast triggers leave, and what a cut download costs.
//
// The whole local stack takes part, the queues' waits included (a second each locally; up to five in production).

import { setTimeout as sleep } from 'node:timers/promises';
import { raise } from '../../scenarios/lib/world.mjs';
import { isOver } from '../../../local/lib/ota.mjs';
import { printer } from '../../../local/lib/print.mjs';
import { eventually } from '../../../local/lib/wait.mjs';
import { median, percentile } from './numbers.mjs';

/** The most triggers a minute that a rollout may ask for. */
const MOST = 10_000;
const NO_SPIKES = { ROLLOUT_SPIKE_FAILURES: 1_000_000 };

/**
 * @param {object} options
 * @param {(name: string) => string} options.fresh gives an empty directory
 * @param {(line: string) => void} options.say
 * @param {number} options.devices of the largest fleet
 */
export async function measureUpdates({ fresh, say, devices }) {
  const stage = (name, scene, play) => {
    say(`updates: ${name}, ${scene.devices} devices`);
    return inWorld({ ...scene, directory: fresh(name), print: printer({ to: { write() {} }, lines: 'none' }), tell() {} }, play);
  };
  return {
    triggers: await stage('triggers', { devices, faults: 'silent' }, triggers),
    flow: await stage('flow', { devices, faults: 'cuts=40%,twice=20%,late=15%,shuffle=15%,replay=30%', size: 256 * 1024 }, flow),
    halts: await stage('halts', { devices: TRIALS * GROUP, faults: `fail-download=${TRIALS}`, speed: 400 }, halts),
    overshoot: await stage('overshoot', { devices, faults: 'fail-hash=10%' }, overshoot),
  };
}

async function inWorld(scene, play) {
  const world = await raise({ ...scene, settings: NO_SPIKES });
  try {
    return await play(world);
  } finally {
    await world.stop();
  }
}

/** How fast triggers leave to devices that hear them and do nothing. */
async function triggers(world) {
  const id = await world.rollOut({ stages: [{ percent: 100 }], rate_per_minute: MOST });
  let record;
  const allSent = async () => {
    record = await world.record(id);
    return record.devices.length === world.devices && record.devices.every(({ sent_at: at }) => at !== null);
  };
  await eventually('every trigger to be sent', allSent, { within: 300_000, every: 2_000 });
  const sent = record.devices.map(({ sent_at: at }) => Date.parse(at)).sort((a, b) => a - b);
  // Without the first and the last twentieth: the start and the tail are no steady flow.
  const [from, to] = [0.05, 0.95].map((share) => Math.floor(share * (sent.length - 1)));
  return { perSecond: (to - from) / ((sent[to] - sent[from]) / 1000), asked: MOST / 60 };
}

/** A whole fleet as fast as may be: cuts, and reports in disorder. */
async function flow(world) {
  const id = await world.rollOut({ stages: [{ percent: 100 }], rate_per_minute: MOST });
  const done = await world.until(id, 'the rollout to end', isOver);
  const before = await settled(world, id);
  const truth = await world.truth();
  if (done.status !== 'COMPLETED') throw new Error(`the rollout is ${done.status}`);
  const { ota } = truth;
  return {
    reports: ota.reports,
    copies: ota.report_copies,
    countsChanged: changedAgain(before.changes) + before.devices.filter(({ state }) => state !== 'confirmed').length,
    cuts: ota.cuts,
    sentAgain: ota.resent_bytes,
    sentAgainMost: ota.resent_most_bytes,
    image: world.image.length,
    downloads: ota.downloaded,
    downloadP50: ota.download_ms.p50,
    downloadP99: ota.download_ms.p99,
  };
}

/** The record once everything that devices still say has been heard and worked in: nothing is added to the history any more. */
async function settled(world, id) {
  let events = -1;
  for (;;) {
    await world.delivered();
    const record = await world.record(id);
    if (record.events === events) return record;
    events = record.events;
    // Longer than a queue's wait and a device's replay.
    await sleep(3_000);
  }
}

/** Changes that only a report which had been heard before, or came after the end, can have made: a state entered again, or left for good. */
function changedAgain(changes) {
  const seen = new Map();
  let again = 0;
  for (const { device_id: device, state } of changes) {
    const states = seen.get(device) ?? new Set();
    if (states.has(state) || states.has('confirmed')) again += 1;
    seen.set(device, states.add(state));
  }
  return again;
}

const TRIALS = 40;
const GROUP = 12;
/** Rollouts that run at a time. */
const WAVE = 8;

/**
 * From the report of a failure to the halt that it calls for: small rollouts, in each of which one device of twelve gives up
 * after all the others have confirmed. Its report makes the share 8 %, and the rollout must be aborted.
 */
async function halts(world) {
  const bad = world.fleet.filter(({ misbehaviour }) => misbehaviour.length > 0);
  const good = world.fleet.filter(({ misbehaviour }) => misbehaviour.length === 0);
  const groups = bad.map((device, i) => [device, ...good.slice(i * (GROUP - 1), (i + 1) * (GROUP - 1))].map(({ device_id: one }) => one));
  const trials = [];
  for (let from = 0; from < groups.length; from += WAVE) {
    const wave = groups.slice(from, from + WAVE);
    const ids = [];
    for (const device_ids of wave) {
      ids.push(await world.rollOut({ stages: [{ percent: 100 }], rate_per_minute: MOST, selector: { device_ids } }));
    }
    for (const [i, id] of ids.entries()) {
      await world.until(id, 'the rollout to be aborted', isOver, 120_000);
      trials.push({ id, failing: wave[i][0], record: await world.record(id) });
    }
  }
  const truth = await world.truth();
  const reported = new Map(truth.roster.map(({ device_id: id, reports }) => [id, reports.find(([, status]) => status === 'failed')?.[0]]));
  const took = trials.map(({ failing, record }) => {
    const [halt] = record.halts;
    const others = record.changes.filter(({ state }) => state === 'confirmed').map(({ at }) => at);
    if (halt?.status !== 'ABORTED') throw new Error(`a rollout with a failure in twelve is ${record.rollout.status}`);
    // Had the others not all confirmed before, the halt would have waited for them.
    return { ms: halt.at - reported.get(failing), counts: Math.max(...others) <= reported.get(failing) };
  });
  const counted = took.filter(({ counts }) => counts).map(({ ms }) => ms);
  return { trials: took.length, counted: counted.length, p50: median(counted), p99: percentile(counted, 0.99), max: Math.max(...counted) };
}

/** Parts of the fleet that a bad image is rolled out to, one after the other. */
const PARTS = 5;

/** A tenth of the devices fail at once, while triggers leave at 50 a second. */
async function overshoot(world) {
  const rate = 3_000;
  const trials = [];
  const size = Math.floor(world.devices / PARTS);
  for (let part = 0; part < PARTS; part += 1) {
    const device_ids = world.fleet.slice(part * size, (part + 1) * size).map(({ device_id: id }) => id);
    const id = await world.rollOut({ stages: [{ percent: 100 }], rate_per_minute: rate, selector: { device_ids } });
    await world.until(id, 'the rollout to halt', ({ status }) => status !== 'STAGED');
    trials.push(await settled(world, id));
  }
  const reports = new Map((await world.truth()).roster.map(({ device_id: id, reports: all }) => [id, all]));
  const past = trials.map((record) => {
    // Of those that are confirmed, it is the boot that counts, a moment later.
    const [reported] = reports.get(crossingOf(record.changes).device_id).find(([, status]) => ['failed', 'success'].includes(status));
    return { reached: record.reached.length, afterReport: record.sentAfter(reported), afterHalt: record.sentAfter(record.halts[0].at) };
  });
  const most = (name) => Math.max(...past.map((one) => one[name]));
  return { rate, trials: past.length, size, reached: most('reached'), afterReport: most('afterReport'), afterHalt: most('afterHalt') };
}

/** The outcome with which failures came above 2 % of ten outcomes or more. */
function crossingOf(changes) {
  let [outcomes, failures] = [0, 0];
  for (const change of changes) {
    const isFailure = ['failed', 'rolled_back', 'timed_out'].includes(change.state);
    if (!isFailure && change.state !== 'confirmed') continue;
    outcomes += 1;
    if (isFailure) failures += 1;
    if (outcomes >= 10 && failures > outcomes * 0.02) return change;
  }
  throw new Error(`failures never were above 2 %: ${failures} of ${outcomes}`);
}
