// The harness's own spec, on a worker written for it: what the other specs lean on must hold.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { patient } from '../../local/lib/patient-wait.mjs';
import { authnVerdict, authzVerdict, fateOf } from './support/emqx.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

const PROBE = fileURLToPath(new URL('./support/probe.worker.js', import.meta.url));

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;

before(async () => {
  // Few retries: a test waits for the dead letter.
  const impatient = (queues) => ({ ...queues, consumers: queues.consumers.map((consumer) => ({ ...consumer, max_retries: 3 })) });
  const configure = (tables) => tables.map((table) => ({ ...table, main: PROBE, crons: ['0 * * * *'], queues: impatient(table.queues) }));
  cloud = await startHarness({ only: ['telemetry'], migrate: false, configure });
  await cloud.rows('CREATE TABLE probe (word TEXT NOT NULL)');
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  cloud.faults.forget();
  await cloud.rows('DELETE FROM probe');
});

const step = (name, body) => cloud.api('POST', `/webhook/${name}`, { body });
const words = async () => (await cloud.rows('SELECT COUNT(*) AS n FROM probe'))[0].n;

test('a tapped binding still passes for the real one', async () => {
  const { json } = await step('names');
  assert.deepEqual(json, { DB: 'D1Database', ARCHIVES: 'R2Bucket', TELEMETRY_QUEUE: 'WorkerQueue', ANALYTICS: 'AnalyticsEngineDataset' });
});

test('every call is seen, a batch as one', async () => {
  const { json } = await step('insert');
  assert.deepEqual(json, { words: 1 });
  const calls = cloud.faults.calls({ worker: 'telemetry', binding: 'DB' });
  assert.equal(calls.length, 1);
  assert.deepEqual(calls[0].names, ['insert-word', 'count-words']);
});

test('D1 that fails before has done nothing', async () => {
  cloud.faults.inject({ binding: 'DB', match: /insert-word/, when: 'before' });
  const failed = await step('insert');
  assert.equal(failed.status, 503);
  assert.equal(failed.json.error, 'D1_ERROR: Network connection lost.');
  assert.equal(await words(), 0);
  assert.equal((await step('insert')).status, 200, 'a fault lasts once unless it says otherwise');
});

test('D1 that fails after has done it all the same', async () => {
  cloud.faults.inject({ binding: 'DB', when: 'after' });
  assert.equal((await step('insert')).status, 503);
  assert.equal(await words(), 1);
});

test('a fault for another worker, or other SQL, changes nothing', async () => {
  cloud.faults.inject({ worker: 'ota', times: Infinity });
  cloud.faults.inject({ match: /delete-word/, times: Infinity });
  assert.equal((await step('insert')).status, 200);
});

test('R2 and queues fail the same way', async () => {
  cloud.faults.inject({ binding: 'ARCHIVES', op: 'put', match: /^2026/, when: 'after' });
  assert.equal((await step('put')).status, 503);
  assert.deepEqual((await cloud.archive('2026/'))[0].lines, [{ n: 1 }, { n: 2 }]);
  assert.equal((await step('put')).status, 200);

  cloud.faults.inject({ binding: 'TELEMETRY_QUEUE', message: 'Too Many Requests' });
  const failed = await step('send', { word: 'lost' });
  assert.deepEqual([failed.status, failed.json.error], [503, 'Too Many Requests']);
});

test('a call can be held, for races', async () => {
  const gate = cloud.faults.hold({ binding: 'DB', match: /insert-word/ });
  const first = step('insert');
  await gate.reached;
  assert.deepEqual((await step('insert')).json, { words: 1 }, 'the second one overtakes it');
  gate.release();
  assert.deepEqual((await first).json, { words: 2 });
});

test('a queue survives a database that is down for a while, and gives up on poison', async () => {
  cloud.faults.inject({ binding: 'DB', match: /consume/, times: 2 });
  await step('send', { word: 'late' });
  await eventually('the message to be consumed', async () => (await words()) === 1);
  assert.equal(cloud.faults.calls({ match: /consume/ }).length, 3, 'two failures and a success');

  await step('send', { poison: true });
  const letter = await eventually('the dead letter', () => cloud.deadLetters[0], { within: 20_000 });
  assert.deepEqual([letter.queue, letter.body], ['rs1-telemetry-local-dlq', { poison: true }]);
});

test('crons run by hand, and their outcome is told', async () => {
  const at = new Date('2026-01-20T10:00:00Z');
  assert.equal((await cloud.cron('telemetry', '0 * * * *', at)).outcome, 'ok');
  await eventually('its log line', () => cloud.logs({ cron: '0 * * * *', at: at.getTime() })[0]);
  assert.equal((await cloud.cron('telemetry', '0 * * * *', new Date(0))).outcome, 'exception');
  await assert.rejects(() => cloud.cron('telemetry', '1 * * * *'), /it has: "0 \* \* \* \*"/);
});

test('Analytics Engine points are kept, with the limits that they break', async () => {
  await step('point');
  const point = await eventually('the point', () => cloud.faults.points[0]);
  assert.deepEqual(point, {
    ...{ worker: 'telemetry', binding: 'ANALYTICS', indexes: ['a', 'b'], blobs: ['telemetry'], doubles: [1] },
    problems: ['2 indexes, and 1 is allowed'],
  });
});

test('workers reach the identity provider by name, and the internet not at all', async () => {
  assert.deepEqual((await step('keys')).json, cloud.idp.operators.jwks());
  assert.equal((await step('internet')).json, 503);
  assert.match(cloud.refused[0], /api\.optic\.works\/health was not sent/);
});

test('a worker gets the secrets that it requires and no others', async () => {
  assert.deepEqual((await step('secret')).json, { webhook: cloud.secrets.WEBHOOK_SECRET });
});

test('what no worker claims is answered by nobody', async () => {
  assert.equal((await cloud.api('GET', '/elsewhere')).status, 404);
});

test('who is woken by somebody else’s wake-up waits for its own', async () => {
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const source = `const { workerData: flag } = require('node:worker_threads');
    while (Atomics.notify(flag, 0) === 0);
    Atomics.wait(flag, 0, 0, 20);
    Atomics.store(flag, 0, 1);
    Atomics.notify(flag, 0);`;
  const other = new Worker(source, { eval: true, workerData: flag });
  Atomics.wait(flag, 0, 0);
  assert.equal(flag[0], 1);
  await other.terminate();
});

test('who asks a thread that has ended is told, and does not wait for ever', () => {
  const flag = new Int32Array(new SharedArrayBuffer(4));
  assert.throws(() => patient(50)(flag, 0, 0), /has not answered for 0\.05 s, or was stopped/);
  assert.equal(patient(50)(flag, 0, 0, 1), 'timed-out', 'who gives a timeout knows what it means');
});

test('device credentials are those of the contract', () => {
  const device = makeDevice({ mac: 'AA:BB:CC:DD:EE:01', secret: Buffer.from(Array.from({ length: 32 }, (_, i) => i)) });
  assert.equal(device.id, '3e32e97b9d6cf5e193d3a3a7e8fd9a97');
  assert.equal(device.secretHash, '630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd');
  assert.equal(device.password({ hour: 491_362 }), '75b8f8fd547e0ad36718a6d634d2ceba7e3c43f12cc8fc271c52e22904c221ec');
  assert.equal(device.password({ hour: 491_362, encoding: 'base64' }), 'dbj4/VR+CtNnGKbWNNLOun48Q/EsyPwnHFLiKQTCIew=');
});

test('answers are read as EMQX reads them', () => {
  const json = (result, type = 'application/json') => ({ status: 200, headers: { 'content-type': type }, json: { result } });
  assert.equal(authnVerdict(json('allow')), 'allow');
  assert.equal(authnVerdict(json('deny', 'application/json; charset=utf-8')), 'deny');
  assert.equal(authnVerdict(json('allow', 'text/plain')), 'ignore');
  assert.equal(authnVerdict(json('allow', 'Application/JSON')), 'ignore', 'the content type is case-sensitive');
  assert.equal(authnVerdict({ status: 200, headers: {}, json: { result: 'allow' } }), 'ignore');
  assert.equal(authzVerdict({ status: 200, headers: {}, json: { result: 'allow' } }), 'allow', 'authorization takes no type for JSON');
  assert.equal(authnVerdict({ status: 401, headers: {} }), 'ignore');
  assert.equal(authzVerdict({ status: 204, headers: {} }), 'allow');
  assert.deepEqual([200, 204, 400, 413, 429, 500, 503].map(fateOf), [
    ...['delivered', 'delivered', 'dropped', 'dropped', 'retried', 'dropped', 'retried'],
  ]);
});
