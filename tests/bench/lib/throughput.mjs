// Requests a second and latencies: short rounds, the systems in turn, so that whatever else this machine does falls on all of
// them alike.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { enrol, makeDevices, writeDevices } from './devices.mjs';
import { Ledger } from './ledger.mjs';
import { rate } from './numbers.mjs';
import { API_ROUTES, own, startBroker, writeTokens } from './people.mjs';
import { start } from './systems.mjs';
import { load } from './wrk.mjs';

/** A minute's worth at one message a minute each of what one local runtime can take: an hour's rollup stays as small as in the field. */
const DEVICES = 2_000;

/** Seconds of load before the first round: code is compiled, files are opened, heaps grow to where they are collected. */
export const WARM_UP = 5;

export const ROUTES = ['admission', 'acl', 'state', 'telemetry', ...API_ROUTES];

/**
 * @typedef {object} Series one system on one route
 * @property {number} answers in all rounds, and the seconds that they took
 * @property {number} seconds
 * @property {number} cpuSeconds workerd's time for them, and for what follows from them; NaN where the system does not tell
 * @property {number[]} rps a round each
 * @property {number[]} p50
 * @property {number[]} p99
 * @property {number[]} [settled] telemetry: messages a second when the time until all were archived and counted is added
 * @property {number[]} [drain] telemetry: seconds from the last answer until then
 */

/**
 * @param {object} options
 * @param {import('./systems.mjs').System[]} options.systems of the telemetry worker
 * @param {import('./systems.mjs').System[]} options.apiSystems of the device API
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
export async function measureThroughput({ systems: webhooks, apiSystems, routes, say, ...options }) {
  const [series, ledgers] = [{}, {}];
  for (const route of routes) {
    const systems = (API_ROUTES.includes(route) ? apiSystems : webhooks).filter((system) => system.routes?.includes(route) ?? true);
    series[route] = await measureRoute(route, systems, ledgers, options);
    const summary = systems.map(({ name }) => `${name} ${Math.round(rate(series[route][name])).toLocaleString('en')}/s`);
    say(`${route}: ${summary.join(', ')}`);
  }
  return { series, ledgers };
}

/** Each route begins with new runtimes: none is measured on a heap that another one has left. */
async function measureRoute(route, systems, ledgers, { workshop, secrets, wrk, seconds, rounds, connections }) {
  const devices = makeDevices(DEVICES);
  const isApi = API_ROUTES.includes(route);
  const file = join(workshop.directory, 'devices.txt');
  const series = Object.fromEntries(
    systems.map(({ name }) => [name, { answers: 0, seconds: 0, cpuSeconds: 0, rps: [], p50: [], p99: [], settled: [], drain: [] }]),
  );
  const running = [];
  try {
    for (const system of systems) {
      const started = await start(system, { secrets, persist: workshop.fresh(system.name) });
      const { cloud } = started;
      const broker = isApi ? await startBroker(started.emqx) : undefined;
      running.push({ system, ...started, broker, ledger: route === 'telemetry' && system.kind !== 'ceiling' ? new Ledger(system, cloud) : undefined });
      if (system.kind === 'ceiling') continue;
      await cloud.migrate();
      await enrol(await cloud.database(), devices, secrets.DEVICE_KEK, system.kind);
      if (isApi) await own(await cloud.database(), devices, system.kind);
    }
    for (let round = 0; round <= rounds; round++) {
      for (const each of turn(running, round)) {
        if (isApi) writeTokens(file, devices, secrets.JWT_SECRET);
        else writeDevices(file, devices);
        const prefix = randomBytes(8).toString('hex').toUpperCase();
        const { system, port, ledger } = each;
        const before = each.cpu();
        const result = await load({
          ...{ wrk, port, route, connections, prefix, devices: file, secret: secrets.WEBHOOK_SECRET, status: system.status[route], anything: system.kind === 'ceiling' },
          seconds: round === 0 ? WARM_UP : seconds,
        });
        const drained = ledger ? await ledger.settle({ prefix, connections, ...result }) : 0;
        const used = each.cpu() - before;
        checkLog(each, result.good);
        if (round === 0) continue;
        const into = series[system.name];
        into.answers += result.good;
        into.seconds += result.good / result.rps;
        into.cpuSeconds += used;
        into.rps.push(result.rps);
        into.p50.push(result.p50);
        into.p99.push(result.p99);
        into.drain.push(drained);
        into.settled.push(result.good / (result.good / result.rps + drained));
      }
    }
    for (const { system, ledger } of running) if (ledger) ledgers[system.name] = await ledger.verify();
    return series;
  } finally {
    for (const { cloud, broker } of running) {
      await cloud.stop();
      await broker?.close();
    }
  }
}

/** Nothing went wrong, and every request left a line. */
function checkLog({ system, trouble, log }, answers) {
  const lines = log.read();
  const wrong = [...trouble, ...lines.filter((line) => !line.startsWith('{') || /"level":"(warn|error)"/.test(line))];
  if (wrong.length > 0) {
    throw new Error(`${system.name} complained:\n${wrong.slice(0, 10).map((line) => line.slice(0, 500)).join('\n')}`);
  }
  const requests = lines.filter((line) => line.includes('"route":')).length;
  if (system.kind !== 'ceiling' && requests < answers) throw new Error(`${system.name}: ${answers} answers, but ${requests} log lines`);
}

/** Another one begins each round: none always runs on the heels of the same. */
const turn = (list, round) => list.map((_, i) => list[(i + round) % list.length]);
