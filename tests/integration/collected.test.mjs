// Telemetry by the object from end to end: devices over MQTT, the broker with its second configuration, R2's S3 API and its event
// notification, the queue, the workers. What the broker does by itself is held in its own tests, what the consumer does with
// objects of any kind in objects.test.mjs.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { connect } from '../../local/journey/mqtt.mjs';
import { httpClient } from '../../local/lib/http.mjs';
import { buildPrograms, startBroker, writeCollected } from '../../local/lib/parts.mjs';
import { HOST, freePorts } from '../../local/lib/ports.mjs';
import { r2Events } from '../../local/lib/r2-events.mjs';
import { startS3 } from '../../local/lib/r2-s3.mjs';
import { S3Error } from '../../local/lib/sigv4.mjs';
import { bucketName } from '../../local/lib/workers.mjs';
import { telemetry, topicOf } from './fixtures/builders.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const ACTION = 's3:optic_collected';
const SOON = ['parameters.aggregation.time_interval = 1s', 'resource_opts.health_check_interval = 100ms'];
const credentials = { accessKeyId: randomBytes(16).toString('hex'), secretAccessKey: randomBytes(32).toString('hex') };
const directory = mkdtempSync(join(tmpdir(), 'rs1-collected-'));

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let ports, name, r2, broker, emqx;
/** What the broker said since it was started. */
let said = [];
/** Objects that were stored. @type {{ key: string }[]} */
let stored = [];
/** Devices that have measured nothing yet. @type {Awaited<ReturnType<typeof cloud.enroll>>[]} */
let devices;

before(
  async () => {
    await buildPrograms(process.env);
    cloud = await startHarness({ only: ['device-api', 'telemetry', 'history'], batchTimeout: 0.05 });
    const { mqtt, emqx: management, r2: s3 } = await freePorts();
    ports = { ...cloud.ports, mqtt, emqx: management, r2: s3 };
    name = bucketName(cloud.cloud.workers, 'ARCHIVES');
    emqx = httpClient({ port: ports.emqx, headers: { authorization: `Basic ${Buffer.from(cloud.secrets.EMQX_API_KEY).toString('base64')}` } });
    await openR2();
    await startEmqx();
  },
  { timeout: 900_000 },
);
after(async () => {
  emqx?.close();
  await broker?.stop();
  await r2?.close();
  await cloud?.stop();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(async () => {
  devices = [await cloud.enroll(), await cloud.enroll(), await cloud.enroll()];
});

async function openR2() {
  const tell = r2Events({ cloud: cloud.cloud, binding: 'ARCHIVES', bucket: name });
  const onStored = async (one) => {
    stored.push(one);
    await tell(one);
  };
  r2 = await startS3({ port: ports.r2, bucket: () => cloud.cloud.bucket('ARCHIVES'), name, credentials, onStored });
}

/** Starts the broker; `more` is the account's part about the action. */
async function startEmqx({ more = SOON, access = credentials, works = true } = {}) {
  said = [];
  const lines = ['connectors.s3.optic.resource_opts.health_check_interval = 100ms', ...more.map((line) => `actions.s3.optic_collected.${line}`)];
  broker = startBroker({ ports, secrets: cloud.secrets, directory, collected: { bucket: name, ...access, more: lines }, onLine: (line) => said.push(line) });
  await broker.ready;
  if (works) await isAt('actions', ACTION, 'connected');
}

/** What the broker says of its action or connector, once that is so. */
const isAt = (kind, id, status) =>
  eventually(`${id} to be ${status}`, async () => {
    const { json } = await emqx('GET', `/api/v5/${kind}/${id}`, { host: HOST });
    return json.status === status && json;
  });
const counters = async () => (await emqx('GET', '/local/actions', { host: HOST })).json.actions[ACTION];
/** All that was published is on the broker's disk. */
const onDisk = () => eventually('records to be on disk', async () => (await counters()).queued === 0);
const buffers = () => readdirSync(join(directory, 'data', 'bridge', 's3', 'optic_collected'));

/** Connects a device and publishes these payloads, one after the other. */
async function publish(device, payloads) {
  const { code, client } = await connect({ port: ports.mqtt, version: 5, username: device.id, password: device.password() });
  assert.equal(code, 0);
  for (const payload of payloads) assert.equal(await client.publish(topicOf(device, 'telemetry'), payload) & 0x80, 0);
  await client.disconnect();
}
/** A measurement that no other is like. */
const measured = (device, n, metrics = {}) => telemetry(device, { metrics: { 'system.free_heap': 150_000 + n, ...metrics } });
const measurements = (device, count) => Array.from({ length: count }, (_, n) => measured(device, n));

const messagesOf = async ({ id }) => (await cloud.rows('SELECT sum(messages) AS n FROM telemetry_rollups WHERE device_id = ?1', id))[0].n ?? 0;
/** Ten megabytes on a machine that is busy with other things take a while. */
const counted = (device, count) =>
  eventually(`${count} messages of a device to be counted`, async () => (await messagesOf(device)) >= count, { within: 60_000, seen: () => messagesOf(device) });
const archivedOf = async ({ id }) => (await cloud.archive('telemetry/2')).flatMap(({ lines }) => lines).filter((line) => line.device_id === id);
const nothingWaits = async () =>
  eventually('every object to be taken in', async () => (await (await cloud.cloud.bucket('ARCHIVES')).list({ prefix: 'telemetry/incoming/' })).objects.length === 0);

/** Each of so many messages of a device is archived and counted, once. */
async function onceEach(device, count) {
  await counted(device, count);
  await nothingWaits();
  const lines = await archivedOf(device);
  assert.deepEqual([await messagesOf(device), lines.length, new Set(lines.map(({ id }) => id)).size], [count, count, count]);
  assert.equal(new Set(lines.map(({ payload }) => payload.metrics['system.free_heap'])).size, count, 'what was sent');
}

test('what devices measure comes as objects: archived, counted, looked at, and deleted', async () => {
  stored = [];
  const [weak, ...others] = devices;
  await Promise.all([publish(weak, [measured(weak, 0), measured(weak, -140_000)]), ...others.map((device) => publish(device, measurements(device, 6)))]);
  await onceEach(weak, 2);
  for (const device of others) await onceEach(device, 6);
  assert.ok(stored.length >= 1 && stored.length < 14, `${stored.length} objects of 14 messages`);
  for (const { key } of stored) assert.match(key, /^telemetry\/incoming\/optic_collected\/emqx@127\.0\.0\.1\/\d{4}-\d\d-\d\dT\d\d_\d\d_\d\dZ_0\.jsonl$/);
  const open = await cloud.rows('SELECT kind FROM alerts WHERE device_id = ?1 AND resolved_at IS NULL ORDER BY kind', weak.id);
  assert.deepEqual(open.map(({ kind }) => kind), ['critical_memory', 'low_memory']);
  assert.deepEqual(cloud.logs({ route: '/webhook/telemetry' }), [], 'none came by the webhook');
  await eventually('the disk to be empty', () => buffers().length === 0);
});

test('what cannot be read is kept with the reason, and the rest is counted', async () => {
  const [device] = devices;
  await publish(device, [measured(device, 0), 'no JSON', { ...measured(device, 1), device_id: '0'.repeat(32) }, measured(device, 2)]);
  await onceEach(device, 2);
  const kept = (await cloud.archive('quarantine/telemetry/')).flatMap(({ lines }) => lines).flatMap(({ lines }) => lines);
  const texts = kept.filter(({ text }) => text.includes(device.id));
  assert.equal(texts.length, 2, JSON.stringify(kept));
  assert.match(texts[0].reason, /JSON/);
  assert.match(texts[1].reason, /device_id/);
});

test('nothing is lost and nothing comes twice while R2 is away and the broker is killed', async () => {
  const [before, meanwhile, after] = devices;
  r2.behave((method) => (method === 'PUT' ? new S3Error(503, 'ServiceUnavailable', 'Please try again.') : undefined));
  await publish(before, measurements(before, 5));
  await onDisk();
  assert.match((await isAt('actions', ACTION, 'disconnected')).status_reason, /ServiceUnavailable/);
  await r2.close();
  await isAt('connectors', 's3:optic', 'disconnected');
  process.kill(-broker.pid, 'SIGKILL');
  await broker.ended;
  assert.ok(buffers().length >= 1);

  await startEmqx({ works: false });
  assert.match((await isAt('connectors', 's3:optic', 'disconnected')).status_reason, /^Socket error: /);
  await publish(meanwhile, measurements(meanwhile, 5));
  await eventually('them to wait', async () => (await counters()).queued === 5);
  await openR2();
  await isAt('actions', ACTION, 'connected');
  await publish(after, measurements(after, 5));
  for (const device of devices) await onceEach(device, 5);
});

test('an object that R2 has and EMQX did not learn of comes again, and is counted once', async () => {
  const [device] = devices;
  stored = [];
  const bucket = await cloud.cloud.bucket('ARCHIVES');
  const tell = r2Events({ cloud: cloud.cloud, binding: 'ARCHIVES', bucket: name });
  await r2.close();
  // Stored, and told of; then the connection breaks.
  let isFirst = true;
  const onStored = async (one) => {
    stored.push(one);
    await tell(one);
    if (!isFirst) return;
    isFirst = false;
    throw new S3Error(500, 'InternalError', 'We encountered an internal error. Please try again.');
  };
  r2 = await startS3({ port: ports.r2, bucket: async () => bucket, name, credentials, onStored });
  await isAt('actions', ACTION, 'connected');
  await publish(device, measurements(device, 4));
  await eventually('one to come again', () => new Set(stored.map(({ key }) => key)).size < stored.length);
  await onceEach(device, 4);
  await r2.close();
  await openR2();
});

test('a wrong secret is refused and told, and what waits comes when it is put right', async () => {
  const [device] = devices;
  await broker.stop();
  await startEmqx({ access: { ...credentials, secretAccessKey: '0'.repeat(64) }, works: false });
  const { status_reason, node_status } = await isAt('connectors', 's3:optic', 'disconnected');
  assert.match(status_reason, /^AWS error: SignatureDoesNotMatch: /);
  assert.equal(node_status[0].status, 'disconnected');
  const told = () => said.some((line) => /warn .*connector s3:optic is disconnected: AWS error: SignatureDoesNotMatch/.test(line));
  await eventually('it to be told', told, { seen: () => said.join('\n') });
  await publish(device, measurements(device, 3));
  await eventually('them to wait', async () => (await counters()).queued === 3);
  writeCollected(directory, { bucket: name, ...credentials });
  assert.equal((await emqx('POST', '/local/reload', { host: HOST })).status, 204);
  await onceEach(device, 3);
});

test('what is more than max_records is the next object, and what is left the first of the next run', async () => {
  const [device] = devices;
  await broker.stop();
  stored = [];
  await startEmqx({ more: ['parameters.aggregation { time_interval = 1h, max_records = 5 }', 'resource_opts { batch_size = 1, health_check_interval = 100ms }'] });
  await publish(device, measurements(device, 12));
  await counted(device, 10);
  assert.deepEqual(stored.map(({ key }) => /_(\d+)\.jsonl$/.exec(key)[1]).sort(), ['0', '1']);
  assert.deepEqual(buffers().map((file) => file.split('_')[1]), ['0002']);
  await broker.stop();
  await startEmqx();
  await onceEach(device, 12);
});

test('R2 refuses what EMQX makes of parts: why objects go whole', async () => {
  await broker.stop();
  await startEmqx({ more: ['parameters { min_part_size = 5MB, aggregation { time_interval = 1h, max_records = 540 } }', 'resource_opts { batch_size = 1, health_check_interval = 100ms }'] });
  const [device] = devices;
  const padding = 'x'.repeat(20_000);
  await publish(device, Array.from({ length: 540 }, (_, n) => ({ ...measured(device, n), padding: `${padding}${n}` })));
  await onDisk();
  const reason = await eventually('the refusal', async () => said.find((line) => /All non-trailing parts must have the same length/.test(line)));
  assert.match(reason, /error .*optic_collected.*stays in /);
  await broker.stop();
  await startEmqx();
  await onceEach(device, 540);
});
