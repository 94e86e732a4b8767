// The scenarios. Each plays a rollout to its end and says what must be true of it: by the API's account (counts, events,
// devices) and by the simulated devices' own (who really runs what). The two never share code.
//
// Times are shorter than in the field, by settings alone: a stage of an hour takes seconds, devices wait 1,000 times less
// between two downloads, and the cron runs every half second. Limits and shares are those of production
// unless a scenario says why not.

import { isOver } from '../../local/lib/ota.mjs';
import { AFTER, BEFORE } from './lib/world.mjs';

/** Percent of the fleet, and seconds; the failure shares are the defaults of production. */
const STAGES = [
  { percent: 1, duration_sec: 2, max_failure_share: 0.01 },
  { percent: 10, duration_sec: 8, max_failure_share: 0.01 },
  { percent: 50, duration_sec: 8, max_failure_share: 0.02 },
  { percent: 100 },
];

/** The most that may be asked for: the fleet would otherwise take 20 minutes, as it should. */
const RATE = 10_000;

/** As many as one machine serves without falling behind that plays the devices as well. */
const STEADY = 2_000;

/**
 * Failures of the last hour that pause every rollout: 5. An hour of ours is seconds, in which a share that is under every
 * limit is more than five devices of two thousand. The rule has tests of its own; here the shares are on trial.
 */
const NO_SPIKES = { ROLLOUT_SPIKE_FAILURES: 1_000_000 };

/**
 * @typedef {object} Scenario
 * @property {string} title what comes true
 * @property {import('./lib/world.mjs').Scene} scene
 * @property {(world: import('./lib/world.mjs').World, expect: import('./lib/claims.mjs').Claims) => Promise<void>} play
 */

/** @type {Record<string, Scenario>} */
export const SCENARIOS = {
  good: {
    title: 'a good image reaches every device through four stages, however untidily they report',
    scene: {
      // None of this is the image's fault, and none of it may change what becomes of a device.
      faults: 'twice=10%,late=10%,shuffle=10%,stray=5%,mute=5%,skew=10%,weak=5%,power-cut=2%',
      settings: NO_SPIKES,
    },
    async play(world, claims) {
      const id = await world.rollOut({ stages: STAGES, rate_per_minute: RATE });
      const done = await world.until(id, 'the rollout to complete', isOver);
      const record = await world.record(id);
      const truth = await world.truth();
      claims.equal('status', done.status, 'COMPLETED');
      claims.equal('confirmed, by the API', done.counts.confirmed, world.devices);
      claims.equal(`devices that run ${AFTER}`, truth.versions[AFTER], world.devices);
      claims.equal('stages entered', record.stages.length, STAGES.length);
      stagesKept(claims, record, world);
      agrees(claims, record, truth);
      wellServed(claims, truth);
    },
  },

  abort: {
    title: 'with 6 % of devices failing, the rollout is aborted, and hardly anybody else is reached',
    scene: { faults: 'fail-download=6%', settings: NO_SPIKES },
    async play(world, claims) {
      const id = await world.rollOut({ stages: LONG_SECOND, rate_per_minute: RATE });
      const done = await world.until(id, 'the rollout to be aborted', isOver);
      // What was under way when it was aborted goes on to its end.
      const settled = await world.until(id, 'everything under way to end', ({ counts }) => open(counts) === 0);
      const record = await world.record(id);
      const truth = await world.truth();
      claims.equal('status', done.status, 'ABORTED');
      claims.match('cause', record.halts.at(-1)?.cause, /failure_share/);
      const { percent } = LONG_SECOND[done.stage];
      const share = Math.max(1, world.fleet.filter(({ cohort }) => cohort < percent).length);
      claims.atMost('devices that were reached', record.reached.length, share, `no more than the stage's share: ${share} of ${world.devices}`);
      claims.equal('triggers sent after the halt', record.sentAfter(record.halts[0]?.at), 0);
      claims.equal(`devices that run ${BEFORE} still`, truth.versions[BEFORE], world.devices - settled.counts.confirmed);
      agrees(claims, record, truth);
      wellServed(claims, truth);
    },
  },

  pause: {
    title: 'with 3 % of devices failing, it pauses, a person resumes it, pauses it again and resumes it, and it is done',
    scene: { faults: 'fail-download=3%', settings: NO_SPIKES, speed: 250 },
    async play(world, claims) {
      const id = await world.rollOut({ stages: LARGE, rate_per_minute: STEADY });
      let byHand = false;
      let resumed = 0;
      let done;
      for (;;) {
        const isTime = ({ stage, counts }) => !byHand && resumed > 0 && stage === 1 && counts.triggered > 0 && counts.downloading > 0;
        const { status } = await world.until(id, 'a pause, or the end', (rollout) => rollout.status !== 'STAGED' || isTime(rollout));
        if (status === 'STAGED') {
          // Once a person pauses while triggers leave: who is turned away at the download has not failed, and is asked again.
          byHand = await world.pause(id);
        }
        // They look when the dust has settled, and take note of what failed.
        done = await world.until(id, 'everything under way to end', ({ counts }) => open(counts) === 0);
        if (isOver(done)) break;
        resumed += 1;
        await world.operator.order(id, 'resume', 'the failures are known: old routers');
      }
      const record = await world.record(id);
      const truth = await world.truth();
      claims.equal('status', done.status, 'COMPLETED');
      claims.atLeast('pauses', record.halts.length, 1);
      claims.match('cause of the first', record.halts[0]?.cause, /failure_share/);
      claims.equal('times that it was resumed', resumed, record.halts.length + Number(byHand));
      const bad = Math.round(world.devices * 0.03);
      claims.equal('confirmed, by the API', done.counts.confirmed, world.devices - bad);
      claims.equal('failed, by the API', done.counts.failed, bad);
      claims.equal(`devices that run ${AFTER}`, truth.versions[AFTER], world.devices - bad);
      agrees(claims, record, truth);
      wellServed(claims, truth);
    },
  },

  silent: {
    title: 'the 30 % of devices that never answer are timed out, count as failures, and end it in its first stage',
    scene: { faults: 'silent=30%', settings: { ...NO_SPIKES, ROLLOUT_ACKNOWLEDGE_TIMEOUT_SEC: 25 } },
    async play(world, claims) {
      const id = await world.rollOut({ stages: [{ percent: 10, duration_sec: 75 }, { percent: 100 }], rate_per_minute: RATE });
      await world.until(id, 'the rollout to end', isOver);
      const done = await world.until(id, 'everything under way to end', ({ counts }) => open(counts) === 0);
      const record = await world.record(id);
      const truth = await world.truth();
      const stage = world.fleet.filter(({ cohort }) => cohort < 10);
      const silent = stage.filter(({ misbehaviour }) => misbehaviour.includes('silent'));
      claims.equal('status', done.status, 'ABORTED');
      claims.match('cause', record.halts.at(-1)?.cause, /failure_share/);
      claims.equal('timed out, by the API', done.counts.timed_out, silent.length);
      claims.equal('confirmed, by the API', done.counts.confirmed, stage.length - silent.length);
      claims.equal('devices beyond the stage that were reached', record.reached.length - stage.length, 0);
      const timedOut = record.devices.filter(({ state }) => state === 'timed_out').map(({ device_id }) => device_id);
      claims.equal('timed out although they answered', without(timedOut, silent.map(({ device_id }) => device_id)), []);
      claims.equal(`devices that run ${AFTER}`, truth.versions[AFTER], stage.length - silent.length);
      agrees(claims, record, truth);
      wellServed(claims, truth);
    },
  },

  cuts: {
    title: 'downloads that are cut at random places go on from there, and send less than one range again',
    scene: { faults: 'cuts=60%', settings: NO_SPIKES, size: 256 * 1024 },
    async play(world, claims) {
      const id = await world.rollOut({ stages: STAGES, rate_per_minute: STEADY });
      const done = await world.until(id, 'the rollout to complete', isOver);
      const record = await world.record(id);
      const truth = await world.truth();
      claims.equal('status', done.status, 'COMPLETED');
      claims.equal(`devices that run ${AFTER}`, truth.versions[AFTER], world.devices);
      claims.atLeast('cuts', truth.ota.cuts, Math.round(world.devices * 0.6));
      claims.atMost('bytes sent again after one cut', truth.ota.resent_most_bytes, SECTOR - 1, 'less than a sector, 4,096 bytes');
      const least = world.devices * world.image.length;
      claims.equal('bytes fetched', truth.ota.fetched_bytes, least + truth.ota.resent_bytes);
      agrees(claims, record, truth);
      wellServed(claims, truth);
    },
  },
};

/** The second stage is not over before a device has given up: that takes two and a half seconds here. */
const LONG_SECOND = STAGES.map((stage, index) => (index === 1 ? { ...stage, duration_sec: 15 } : stage));

/**
 * Of a stage of twenty, one that fails is 5 %, and that is an abort. So this has a large one; and it lasts until a device has
 * given up, which with so many takes longer than it takes the good ones to be confirmed: judged by their failures alone,
 * they would look worse than they are.
 */
const LARGE = [{ percent: 50, duration_sec: 30 }, { percent: 100 }];

/** What a device writes at once. */
const SECTOR = 4_096;

const OPEN = ['triggered', 'deferred', 'downloading', 'verifying', 'installed'];
const open = (counts) => OPEN.reduce((sum, state) => sum + (counts[state] ?? 0), 0);

const without = (list, others) => list.filter((one) => !others.includes(one));

/** No device was triggered before its cohort's stage had begun, but for the one that stands in where a stage has none. */
function stagesKept(claims, record, world) {
  const early = record.triggers.filter(({ at, cohort }) => {
    const since = record.stages.find(({ stage }) => cohort < STAGES[stage].percent)?.at;
    return since === undefined || at < since;
  });
  const empty = STAGES.filter(({ percent }) => !world.fleet.some(({ cohort }) => cohort < percent));
  claims.equal('devices triggered before their stage', early.length, empty.length > 0 ? 1 : 0);
}

/** The API's word for every device, against the device's own. */
function agrees(claims, record, truth) {
  const states = new Map(record.devices.map(({ device_id, state }) => [device_id, state]));
  const wrong = truth.roster.filter(({ device_id, firmware_version }) => (states.get(device_id) === 'confirmed') !== (firmware_version === AFTER));
  claims.equal('devices about which API and fleet disagree', wrong.length, 0);
  const counted = {};
  for (const { state } of record.devices) counted[state] = (counted[state] ?? 0) + 1;
  const claimed = Object.fromEntries(Object.entries(record.rollout.counts).filter(([, count]) => count > 0));
  claims.equal('counts of the rollout', claimed, counted);
}

/** What the devices' HTTP client thinks of the downloads. */
function wellServed(claims, truth) {
  claims.equal('answers that were not as promised', truth.ota.breaches, {});
  claims.equal('downloads that had to begin again', truth.ota.restarts, 0);
  claims.equal('devices that were never connected', truth.never_connected, 0);
}
