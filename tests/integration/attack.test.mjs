// Ten thousand failed authentications and refused topics in a minute, from fifty addresses, each with another name: what an
// attacker sends must not decide how much is written, nor how often somebody is woken. How fast honest devices are
// admitted meanwhile is measured by `npm run bench -- --only attack`.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { at, beside } from './fixtures/beside.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const ADDRESSES = 50;
const REQUESTS = 10_000;
const SIDE_BY_SIDE = 50;
const MINUTE = 60_000;
/** The first minute of a window of ten. */
const START = Math.ceil(Date.now() / (10 * MINUTE)) * 10 * MINUTE;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let device;
before(async () => {
  // Without the taps: they would write down every call.
  cloud = await startHarness({ only: ['device-api', 'telemetry'], faults: false, configure: beside(['telemetry'], 'counted.worker.js') });
  device = await cloud.enroll();
});
after(() => cloud?.stop());

/** How many rows each table has. */
async function sizes() {
  const tables = await cloud.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_cf_%' AND name <> 'd1_migrations'");
  const counts = await Promise.all(tables.map(({ name }) => cloud.rows(`SELECT count(*) AS n FROM "${name}"`)));
  return Object.fromEntries(tables.map(({ name }, index) => [name, counts[index][0].n]));
}

const peer = (number) => `198.51.100.${number % ADDRESSES}`;

/** In turns: a login of a device that there might be, of one that there cannot be, and two topics. */
const kindOf = (number) => Math.floor(number / ADDRESSES) % 4;

/** The attack's request of that number; each has names and topics of its own. */
async function attack(number) {
  const headers = at(START + Math.floor((number * MINUTE) / REQUESTS));
  const guess = kindOf(number) < 2;
  const name = kindOf(number) === 0 ? number.toString(16).padStart(32, '0') : `forged-${number}`;
  const columns = { clientid: name, username: name, peerhost: peer(number) };
  const answer = guess
    ? await cloud.emqx.authn({ ...columns, password: name.padEnd(64, '0') }, { headers })
    : await cloud.emqx.authz({ ...columns, action: 'publish', topic: `opticworks/${name}/state` }, { headers });
  assert.equal(answer.verdict ?? answer.json?.result, 'deny', answer.text);
}

/** A device that has nothing to do with it. */
async function admitted(number) {
  const time = START + Math.floor((number * MINUTE) / REQUESTS);
  const password = device.password({ hour: Math.floor(time / 3_600_000) });
  const answer = await cloud.emqx.authn({ clientid: device.id, username: device.id, password, peerhost: '203.0.113.7' }, { headers: at(time) });
  assert.equal(answer.json?.result, 'allow', answer.text);
}

test('10,000 refusals from 50 addresses in a minute are few rows, and one alarm an address', async (t) => {
  await admitted(0);
  const before = await sizes();
  let [next, logins] = [0, 1];
  await Promise.all(
    Array.from({ length: SIDE_BY_SIDE }, async () => {
      while (next < REQUESTS) {
        const number = next;
        next += 1;
        await attack(number);
        if (number % 100 === 0) {
          logins += 1;
          await admitted(number);
        }
      }
    }),
  );

  const rowsOf = (kind) => cloud.rows('SELECT subject, peerhost, severity, count FROM security_log WHERE kind = ? ORDER BY subject', kind);
  await eventually('both kinds in the log', async () =>
    (await rowsOf('auth_failure_repeated')).length >= ADDRESSES && (await rowsOf('acl_violation')).length >= ADDRESSES);
  // Nothing is on its way any more when the queue delivers what was put into it after everything else.
  const mark = { clientid: 'last', username: 'last', peerhost: '192.0.2.1', action: 'publish', topic: 'last' };
  await cloud.emqx.authz(mark, { headers: at(START + 60 * MINUTE) });
  await eventually('the last word', async () => (await cloud.rows("SELECT 1 FROM security_log WHERE subject = '192.0.2.1'")).length === 1);

  const addresses = Array.from({ length: ADDRESSES }, (_, number) => peer(number)).sort();
  for (const [kind, severity] of [
    ['auth_failure_repeated', 'high'],
    ['acl_violation', 'warning'],
  ]) {
    const rows = (await rowsOf(kind)).filter(({ subject }) => subject !== '192.0.2.1');
    assert.deepEqual(rows.map(({ subject }) => subject), addresses, `${kind}: a row an address`);
    for (const row of rows) assert.deepEqual({ severity: row.severity, peerhost: row.peerhost }, { severity, peerhost: row.subject });
  }
  const alarms = await cloud.rows("SELECT kind, subject FROM notice_inbox WHERE source = 'security' ORDER BY subject");
  assert.deepEqual(alarms, addresses.map((subject) => ({ kind: 'auth_failure_repeated', subject })), 'one to be told an address and window');

  const now = await sizes();
  const grown = Object.entries(now).filter(([name, count]) => count !== before[name]).map(([name, count]) => `${name} ${count - before[name]}`);
  const more = Object.values(now).reduce((sum, count) => sum + count, 0) - Object.values(before).reduce((sum, count) => sum + count, 0);
  const said = cloud.logs({ spec: 'd1' });
  const total = (name) => said.reduce((sum, line) => sum + line[name], 0);
  t.diagnostic(`${more} rows more (${grown.join(', ')}); ${total('changes')} rows inserted or changed; ${total('rows_written')} written with the entries of indexes`);
  assert.ok(more < 500, `${more} rows more: ${grown}`);
  assert.ok(total('changes') > 0 && total('changes') < 500, `${total('changes')} rows inserted or changed`);
  // The entries of indexes come on top; how many, is for how the queue cut its batches.
  assert.ok(total('rows_written') < 1_000, `${total('rows_written')} rows written, with the entries of indexes`);

  // A refusal costs no more than an admission, which asks the database once; who cannot be a device costs no question at all,
  // and a queue hardly hears of any of them.
  const costs = cloud.logs({ spec: 'requests' }).at(-1);
  const possible = Array.from({ length: REQUESTS }, (_, number) => number).filter((number) => kindOf(number) === 0).length;
  t.diagnostic(`${costs.statements} statements and ${costs.sends} messages for ${REQUESTS} refusals and ${logins} admissions`);
  assert.equal(costs.statements, possible + logins);
  assert.ok(costs.sends >= 2 * ADDRESSES && costs.sends < 4 * ADDRESSES, `${costs.sends} messages`);
});
