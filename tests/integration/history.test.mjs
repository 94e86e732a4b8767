// GET /api/devices/{id}/telemetry: what a device measured, through three workers: taken in by one, asked of another, told by a third.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { messageId, telemetry, topicOf } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const MINUTE = 60_000;
const APP = 'https://app.optic.works';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let admin;
/** @type {Awaited<ReturnType<typeof cloud.signIn>>} The owner. */
let ada;
let device;
let path;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry', 'history', 'archive'], batchTimeout: 0.05 });
  admin = await cloud.adminToken();
  ada = await cloud.signIn('ada@example.com');
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  device = await cloud.enroll();
  path = `/api/devices/${device.id}/telemetry`;
  const body = { email: 'ada@example.com', reason: 'spec' };
  isStatus(await cloud.api('POST', `/api/admin/devices/${device.id}/claim`, { token: admin, body }), 200);
  cloud.faults.forget();
});

const iso = (time) => new Date(time).toISOString();
/** Publishes a message a minute, the newest a minute ago, one of them twice; resolves to what was published, oldest first. */
async function measure(count) {
  const newest = Math.floor(Date.now() / MINUTE) * MINUTE - MINUTE;
  const messages = Array.from({ length: count }, (_, n) => ({ id: messageId(), at: newest - (count - 1 - n) * MINUTE, heap: 1000 + n }));
  for (const { id, at, heap } of [...messages, messages[0]]) {
    const payload = telemetry(device, { at, metrics: { 'system.free_heap': heap, 'radar.frames_received': 600 } });
    isStatus(await cloud.emqx.message(topicOf(device, 'telemetry'), payload, { columns: { id, publish_received_at: at + 250 } }), 202);
  }
  const counted = async () => {
    const rows = await cloud.rows('SELECT sum(messages) AS messages FROM telemetry_rollups WHERE device_id = ?1', device.id);
    return rows[0].messages === count;
  };
  await eventually('every message to be counted', counted);
  return messages;
}
const raw = (messages) =>
  messages.map(({ id, at, heap }) => ({
    ...{ id, time: iso(at).replace('.000Z', 'Z'), received_at: iso(at + 250) },
    metrics: { 'radar.frames_received': 600, 'system.free_heap': heap },
  }));

test('the owner is told by the hour, by the day, and message by message', async () => {
  const messages = await measure(5);
  const from = iso(messages[0].at - 60 * MINUTE);
  const hours = await ada.call('GET', path);
  isStatus(hours, 200);
  const metrics = hours.json.items.map((item) => item.metrics['system.free_heap']);
  assert.equal(metrics.reduce((sum, metric) => sum + metric.count, 0), 5, hours.text);
  assert.equal(metrics.reduce((sum, metric) => sum + metric.sum, 0), 5010);
  assert.equal(metrics.at(-1).last, 1004);
  assert.equal(metrics.at(-1).value, metrics.at(-1).sum / metrics.at(-1).count);
  const days = await ada.call('GET', `${path}?resolution=day&metric=radar.frames_received&from=${from}`);
  isStatus(days, 200);
  assert.equal(days.json.items.reduce((sum, item) => sum + item.metrics['radar.frames_received'].value, 0), 3000);
  assert.ok(days.json.items.every((item) => Object.keys(item.metrics).length === 1), days.text);

  const found = [];
  let cursor = '';
  do {
    const page = await ada.call('GET', `${path}?resolution=raw&limit=2&from=${from}${cursor}`);
    isStatus(page, 200);
    found.push(...page.json.items);
    cursor = page.json.next_cursor && `&cursor=${page.json.next_cursor}`;
  } while (cursor);
  assert.deepEqual(found, raw(messages));
});

test('as a table or line by line, a page leads to the next, and the app may read it', async () => {
  const messages = await measure(3);
  const from = iso(messages[0].at);
  const rows = [];
  let target = `${path}?resolution=raw&metric=system.free_heap&limit=2&from=${from}`;
  while (target) {
    const page = await ada.call('GET', target, { headers: { accept: 'text/csv', origin: APP } });
    isStatus(page, 200);
    assert.equal(page.headers['content-type'], 'text/csv; charset=utf-8; header=present');
    assert.equal(page.headers['access-control-allow-origin'], APP);
    assert.match(page.headers['access-control-expose-headers'], /\blink\b/);
    const [header, ...lines] = page.text.trimEnd().split('\r\n');
    assert.equal(header, 'received_at,time,id,metric,value');
    rows.push(...lines.filter(Boolean).map((line) => line.split(',')));
    target = page.headers.link?.match(/^<([^>]+)>; rel="next"$/)?.[1];
  }
  assert.deepEqual(rows.map(([, , id, metric, value]) => [id, metric, value]), messages.map(({ id, heap }) => [id, 'system.free_heap', String(heap)]));
  const lines = await ada.call('GET', `${path}?resolution=raw&from=${from}`, { headers: { accept: 'application/x-ndjson' } });
  assert.equal(lines.headers['content-type'], 'application/x-ndjson');
  assert.deepEqual(lines.text.trimEnd().split('\n').map((line) => JSON.parse(line)), raw(messages));
  const head = await ada.call('HEAD', path);
  isStatus(head, 200);
  assert.equal(head.bytes.length, 0);
});

test('what happened is kept once, and told newest first', async () => {
  const at = Date.now() - 2 * MINUTE;
  const log = (ts, tag, msg) => ({ ts, lvl: 'I', tag, msg });
  const logs = [log(1_000, 'BOOT', 'boot:power_on'), log(31_000, 'OTA', 'ota_failed:sha256'), log(60_000, 'WIFI', 'all is well')];
  const payload = telemetry(device, { at, uptime_sec: 61, logs });
  const id = messageId();
  for (let twice = 0; twice < 2; twice += 1) {
    isStatus(await cloud.emqx.message(topicOf(device, 'telemetry'), payload, { columns: { id, publish_received_at: at } }), 202);
  }
  const events = () => ada.call('GET', `/api/devices/${device.id}/events`);
  const found = await eventually('the events', async () => (await events()).json.items.length > 0 && events());
  const seen = found.json.items.map(({ time, ...rest }) => ({ ...rest, ago: at - Date.parse(time) }));
  assert.deepEqual(seen, [
    { kind: 'ota_failed', detail: 'sha256', count: 1, ago: 30_000 },
    { kind: 'boot', detail: 'power_on', count: 1, ago: 60_000 },
  ]);
  const eve = await cloud.signIn('eve@example.com');
  isProblem(await eve.call('GET', `/api/devices/${device.id}/events`), 404, []);
});

test('an alert opens, somebody knows, and it ends by itself', async () => {
  const alerts = async () => (await ada.call('GET', `/api/devices/${device.id}/alerts`)).json.items;
  const said = async (minutes, heap) => {
    const at = Date.now() - minutes * MINUTE;
    const payload = telemetry(device, { at, metrics: { 'system.free_heap': heap } });
    isStatus(await cloud.emqx.message(topicOf(device, 'telemetry'), payload, { columns: { id: messageId(), publish_received_at: at } }), 202);
  };
  await said(20, 15_000);
  const opened = await eventually('two alerts', async () => (await alerts()).length === 2 && alerts());
  assert.deepEqual(opened.map(({ type, status, severity }) => [type, status, severity]).sort(), [
    ['critical_memory', 'open', 'critical'],
    ['low_memory', 'open', 'warning'],
  ]);
  const [{ id }] = opened;
  const known = await ada.call('POST', `/api/devices/${device.id}/alerts/${id}/ack`);
  isStatus(known, 200);
  assert.equal(known.json.status, 'acknowledged');
  assert.equal(known.json.acknowledged_by, ada.user.user_id);
  isProblem(await ada.call('POST', `/api/devices/${device.id}/alerts/alr-none/ack`), 404, []);
  await said(10, 90_000);
  await eventually('both to be over', async () => (await alerts()).every(({ status }) => status === 'resolved'), { seen: alerts });
  const outbox = await cloud.rows('SELECT kind, what FROM alert_outbox WHERE device_id = ?1 ORDER BY entry_id', device.id);
  assert.deepEqual(outbox, [{ kind: 'critical_memory', what: 'opened' }, { kind: 'critical_memory', what: 'resolved' }]);
});

test('a device that falls silent is found by the minute’s watch', async () => {
  const seen = (ago) => cloud.rows('UPDATE devices SET online = 1, presence_at = ?2, last_seen_at = ?2 WHERE device_id = ?1', device.id, Date.now() - ago);
  const minute = (after) => cloud.cron('archive', '* * * * *', new Date((Math.floor(Date.now() / MINUTE) + after) * MINUTE));
  const statuses = async () => (await ada.call('GET', `/api/devices/${device.id}/alerts?type=device_offline`)).json.items.map(({ status }) => status);
  await seen(10 * MINUTE);
  await minute(1);
  assert.deepEqual(await statuses(), ['open']);
  await seen(0);
  await minute(2);
  assert.deepEqual(await statuses(), ['resolved']);
});

test('nobody else is told, and what is wrong with a question is all named', async () => {
  const eve = await cloud.signIn('eve@example.com');
  isProblem(await eve.call('GET', path), 404, []);
  isProblem(await eve.call('GET', `${path}?resolution=raw`), 404, []);
  isProblem(await cloud.api('GET', path), 401, []);
  isProblem(await ada.call('GET', `${path}?resolution=week&limit=0&x=1`), 422, ['?resolution', '?limit', '?x']);
  // From outside no path leads past device-api, nor past the token.
  for (const way of [`/api/history/devices/${device.id}/telemetry`, `/api/history/../devices/${device.id}/telemetry`, `/api/history/%2e%2e/devices/${device.id}/telemetry`]) {
    const answer = await cloud.api('GET', way);
    assert.ok([401, 404].includes(answer.status), `${way}: ${answer.status}`);
  }
});

test('an archive or a database that fails is told as a moment’s trouble', async () => {
  await measure(1);
  for (const fault of [{ binding: 'ARCHIVES', worker: 'history', op: 'list' }, { binding: 'ARCHIVES', worker: 'history', op: 'get' }, { binding: 'DB', worker: 'history' }]) {
    cloud.faults.inject(fault);
    const answer = await ada.call('GET', `${path}?resolution=raw&from=${iso(Date.now() - 120 * MINUTE)}`);
    isProblem(answer, 503, []);
    isStatus(await ada.call('GET', `${path}?resolution=raw`), 200);
  }
});
