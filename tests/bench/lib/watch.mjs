// A round of checks: forty of them, by the health worker and by a plain TypeScript worker that does them one after another or all at
// once. What it takes when all is well, and when three servers do not answer; what it asks of the platform. The systems take turns.

import { join } from 'node:path';
import { HOST } from '../../../local/lib/ports.mjs';
import { serveHttp } from '../../../local/lib/serve.mjs';
import { startHarness } from '../../integration/support/harness.mjs';

const OFTEN = '*/5 * * * *';
/** How long a server that is well takes, and how long one is waited for. */
const ANSWERS_AFTER_MS = 50;
const TIMEOUT_MS = 2_000;
const HANG = 3;
const BOUND = [
  { kind: 'd1' },
  ...['FIRMWARE', 'R2', 'ARCHIVES', 'BACKUPS'].map((binding) => ({ kind: 'r2', binding })),
  ...['SESSIONS', 'CACHE'].map((binding) => ({ kind: 'kv', binding })),
];
const CHECKS = 40;
/** The rounds' triggers, a minute apart, are all due before 03:00: after that our trigger makes the day's backup too. */
const NIGHT = '2026-11-21T00:00:00Z';
const APART_MS = 60_000;

/** Ours, and the peer's two ways. */
const SYSTEMS = [
  { name: 'ours', table: 'checks' },
  { name: 'peer, in sequence', peer: true, table: 'watch_checks', vars: { ALL_AT_ONCE: '' } },
  { name: 'peer, all at once', peer: true, table: 'watch_checks', vars: { ALL_AT_ONCE: 'yes' } },
];

/**
 * @typedef {object} Cost of a round
 * @property {number} requests to servers, buckets and namespaces
 * @property {number} statements of D1
 * @property {number} calls of D1: how often it was waited for
 */

/**
 * @param {{ workshop: import('./systems.mjs').Workshop, rounds: number, say: (line: string) => void }} options
 * @returns {Promise<{ checks: number, hang: number, timeout: number, systems: Record<string, { well: number[], ill: number[], most: number, cost: Cost }> }>}
 *   milliseconds of each round; the most requests that were under way at once
 */
export async function measureWatch({ workshop, rounds, say }) {
  const servers = await startServers();
  const main = await workshop.bundlePeer('watch');
  const checks = [...BOUND, ...servers.urls(CHECKS - BOUND.length).map((url) => ({ kind: 'http', url }))].map((check, n) => ({
    ...check,
    id: `check-${n + 1}`,
    component: 'bench',
    timeout_ms: TIMEOUT_MS,
  }));
  const start = async (system, faults) => {
    const cloud = await startHarness({
      only: ['health'],
      faults,
      vars: { health: { CHECKS: checks, TARGETS: [], ...system.vars } },
      configure: (tables) => (system.peer ? tables.map((table) => asPeer(table, main)) : tables),
    });
    return { ...system, cloud, due: Date.parse(NIGHT) };
  };
  const running = [];
  try {
    const found = {};
    for (const system of SYSTEMS) {
      say(`watch: ${system.name}, counting`);
      const counted = await start(system, true);
      running.push(counted);
      await round(counted, 0);
      found[system.name] = { well: [], ill: [], most: 0, cost: await count(counted, servers) };
      await counted.cloud.stop();
      running.pop();
    }
    for (const system of SYSTEMS) running.push(await start(system, false));
    for (const [kind, hang, times] of [['well', 0, rounds], ['ill', HANG, Math.ceil(rounds / 2)]]) {
      servers.hang(hang);
      for (let index = -1; index < times; index += 1) {
        for (const system of running) {
          say(`watch: ${system.name}, ${hang} of ${checks.length} hang, ${index < 0 ? 'warming up' : `round ${index + 1} of ${times}`}`);
          servers.forget();
          const took = await round(system, hang);
          const mine = found[system.name];
          // A server that does not answer does not learn at once that nobody waits for it any more.
          if (hang === 0) mine.most = Math.max(mine.most, servers.seen().most);
          if (index >= 0) mine[kind].push(took);
        }
      }
    }
    return { checks: checks.length, hang: HANG, timeout: TIMEOUT_MS, systems: found };
  } finally {
    for (const { cloud } of running) await cloud.stop();
    await servers.close();
  }
}

/** The health worker's configuration, with another program and another schema. */
const asPeer = (table, main) => ({
  ...table,
  main,
  d1_databases: table.d1_databases.map((database) => ({ ...database, migrations_dir: join(import.meta.dirname, '..', 'peer', 'migrations') })),
});

/** One round: how long it took, and whether each check was looked at and judged rightly. */
async function round(system, ill) {
  const { cloud, table } = system;
  const [before] = await cloud.rows(`SELECT coalesce(max(checked_at), 0) AS at FROM ${table}`);
  const began = performance.now();
  const { outcome } = await cloud.cron('health', OFTEN, new Date((system.due += APART_MS)));
  const took = performance.now() - began;
  const [after] = await cloud.rows(`SELECT count(*) AS looked, count(fault) AS faults FROM ${table} WHERE checked_at > ?`, before.at);
  if (outcome !== 'ok' || after.looked !== CHECKS || after.faults !== ill) {
    throw new Error(`${system.name}: ${outcome}, ${after.looked} of ${CHECKS} checks, ${after.faults} faults where there are ${ill}\n${cloud.lines.slice(-5).join('\n')}`);
  }
  return took;
}

/** What a round asks of the platform. @returns {Promise<Cost>} */
async function count(system, servers) {
  system.cloud.faults.forget();
  servers.forget();
  await round(system, 0);
  const calls = system.cloud.faults.calls();
  const statements = calls.flatMap(({ sql }) => sql ?? []);
  const bound = calls.filter(({ sql, binding }) => !sql && binding !== 'ANALYTICS');
  return { requests: servers.seen().asked + bound.length, statements: statements.length, calls: calls.length - bound.length };
}

/** Servers of the company, in one. */
async function startServers() {
  let [asked, under, most, hanging] = [0, 0, 0, 0];
  const handle = (request, response) => {
    asked += 1;
    under += 1;
    most = Math.max(most, under);
    response.once('close', () => (under -= 1));
    if (Number(request.url.slice(1)) < hanging) return;
    setTimeout(() => response.end('fine'), ANSWERS_AFTER_MS);
  };
  const { port, close } = await serveHttp({ port: 0, handle });
  return {
    urls: (number) => Array.from({ length: number }, (_, n) => `http://${HOST}:${port}/${n}`),
    /** So many of them answer no more. @param {number} number */
    hang: (number) => (hanging = number),
    forget: () => ([asked, most] = [0, under]),
    seen: () => ({ asked, most }),
    close,
  };
}
