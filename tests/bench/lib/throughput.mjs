// Requests a second and latencies: short rounds, the systems in turn, so that whatever else this machine does falls on all of
// them alike; ratios are taken within a round.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { enrol, makeDevices, writeDevices } from './devices.mjs';
import { Ledger } from './ledger.mjs';
import { median } from './numbers.mjs';
import { start } from './systems.mjs';
import { load } from './wrk.mjs';

/** A minute's worth at one message a minute each of what one local runtime can take: an hour's rollup stays as small as in the field. */
const DEVICES = 2_000;

export const ROUTES = ['admission', 'acl', 'state', 'telemetry'];

/**
 * @typedef {object} Series one system on one route
 * @property {number[]} rps a round each
 * @property {number[]} p50
 * @property {number[]} p99
 * @property {number[]} cpu microseconds of workerd's time an answer, and what follows from it; NaN where the system does not tell
 * @property {number[]} [settled] telemetry: messages a second when the time until all were archived and counted is added
 * @property {number[]} [drain] telemetry: seconds from the last answer until then
 */

/**
 * @param {object} options
 * @param {import('./systems.mjs').System[]} options.systems
 * @param {import('./systems.mjs').Workshop} options.workshop
 * @param {Record<string, string>} options.secrets
 * @param {string} options.wrk
 * @param {string[]} options.routes
 * @param {number} options.seconds
 * @param {number} options.rounds
 * @param {number} options.connections
 * @param {(line: string) => void} options.say
 * @returns {Promise<{ series: Record<string, Record<string, Series>>, ledgers: Record<string, object> }>} by route, then by system
 */
export async function measureThroughput({ systems, workshop, secrets, wrk, routes, seconds, rounds, connections, say }) {
  const devices = makeDevices(DEVICES);
  const file = join(workshop.directory, 'devices.txt');
  const running = [];
  try {
    for (const system of systems) {
      const started = await start(system, { secrets, persist: workshop.fresh(system.name) });
      const { cloud } = started;
      running.push({ system, ...started, ledger: system.kind === 'ceiling' ? undefined : new Ledger(system, cloud) });
      if (system.kind === 'ceiling') continue;
      await cloud.migrate();
      await enrol(await cloud.database(), devices, secrets.DEVICE_KEK, system.kind);
    }
    const series = {};
    for (const route of routes) {
      series[route] = Object.fromEntries(systems.map(({ name }) => [name, { rps: [], p50: [], p99: [], cpu: [], settled: [], drain: [] }]));
      // Round 0 warms up: the first requests compile code and open files.
      for (let round = 0; round <= rounds; round++) {
        for (const each of turn(running, round)) {
          writeDevices(file, devices);
          const prefix = randomBytes(8).toString('hex').toUpperCase();
          const { system, port, ledger } = each;
          const before = each.cpu();
          const result = await load({
            ...{ wrk, port, route, connections, prefix, devices: file, secret: secrets.WEBHOOK_SECRET, status: system.status[route] },
            seconds: round === 0 ? 1 : seconds,
          });
          const drained = route === 'telemetry' && ledger ? await ledger.settle({ prefix, connections, ...result }) : 0;
          if (each.trouble.length > 0) throw new Error(`${system.name} complained:\n${each.trouble.slice(0, 10).join('\n')}`);
          if (round === 0) continue;
          const into = series[route][system.name];
          into.rps.push(result.rps);
          into.p50.push(result.p50);
          into.p99.push(result.p99);
          into.cpu.push(((each.cpu() - before) / result.good) * 1e6);
          into.drain.push(drained);
          into.settled.push(result.good / (result.good / result.rps + drained));
        }
      }
      const summary = systems.map(({ name }) => `${name} ${Math.round(median(series[route][name].rps)).toLocaleString('en')}/s`);
      say(`${route}: ${summary.join(', ')}`);
    }
    const ledgers = {};
    if (routes.includes('telemetry')) {
      for (const { system, ledger } of running) if (ledger) ledgers[system.name] = await ledger.verify();
    }
    return { series, ledgers };
  } finally {
    for (const { cloud } of running) await cloud.stop();
  }
}

/** Another one begins each round: none always runs on the heels of the same. */
const turn = (list, round) => list.map((_, i) => list[(i + round) % list.length]);
