// What operators see: devices, one device, its hours, the security log. Lists go page by page.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { ulidTime } from '../../tools/lib/ulid.mjs';
import { hourStart, queued } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let token;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'history', 'telemetry'], batchTimeout: 0.05 });
  token = await cloud.adminToken({ email: 'ada@optic.works' });
});
after(() => cloud?.stop());
beforeEach(() => {
  cloud.faults.clear();
  cloud.faults.forget();
});

const get = (path, options) => cloud.api('GET', `/api/admin/${path}`, { token, ...options });
/** All pages of a list; the answer of each is well-formed. */
async function pages(path, limit) {
  const found = [];
  let cursor = null;
  do {
    const query = [...(limit ? [`limit=${limit}`] : []), ...(cursor ? [`cursor=${encodeURIComponent(cursor)}`] : [])].join('&');
    const answer = await get(`${path}${path.includes('?') ? '&' : '?'}${query}`);
    isStatus(answer, 200);
    assert.deepEqual(Object.keys(answer.json).sort(), ['items', 'next_cursor']);
    found.push(answer.json.items);
    cursor = answer.json.next_cursor;
  } while (cursor !== null);
  return found;
}

test('an empty registry is an empty page', async () => {
  const answer = await get('devices');
  isStatus(answer, 200);
  assert.equal(answer.headers['content-type'], 'application/json');
  assert.deepEqual(answer.json, { items: [], next_cursor: null });
});

test('devices are listed page by page, each once', async () => {
  const devices = Array.from({ length: 230 }, () => makeDevice());
  const body = devices.map(({ mac, secretHash }) => JSON.stringify({ mac_address: mac, device_secret_hash: secretHash })).join('\n');
  isStatus(await cloud.api('POST', '/api/admin/enroll/bulk', { token, body }), 200);
  const ids = devices.map(({ id }) => id).sort();
  for (const [limit, sizes] of [
    [undefined, [50, 50, 50, 50, 30]],
    [200, [200, 30]],
    [115, [115, 115]],
    [100, [100, 100, 30]],
  ]) {
    const found = await pages('devices', limit);
    assert.deepEqual(
      found.map(({ length }) => length),
      sizes,
      `limit ${limit}`,
    );
    assert.deepEqual(
      found.flat().map(({ device_id: id }) => id),
      ids,
      `limit ${limit}`,
    );
  }
});

test('a page is not disturbed by what happens before it', async () => {
  const first = await get('devices?limit=10');
  const last = first.json.items.at(-1).device_id;
  await cloud.rows('DELETE FROM devices WHERE device_id = ?', last);
  const next = await get(`devices?limit=1&cursor=${first.json.next_cursor}`);
  isStatus(next, 200);
  assert.ok(next.json.items[0].device_id > last, 'it goes on behind a device that is gone');
  const [row] = await cloud.rows('SELECT device_id FROM devices WHERE device_id > ? ORDER BY device_id LIMIT 1', last);
  assert.equal(next.json.items[0].device_id, row.device_id);
});

test('a device of the list is the device itself', async () => {
  const [item] = (await get('devices?limit=1')).json.items;
  const one = await get(`devices/${item.device_id}`);
  isStatus(one, 200);
  assert.deepEqual(one.json, item);
  assert.deepEqual(Object.keys(item).sort(), [
    ...['boot_count', 'config_version', 'device_id', 'enrolled_at', 'enrolled_by', 'firmware_version', 'last_seen_at'],
    ...['last_telemetry_at', 'mac_address', 'name', 'offline_reason', 'online', 'owner', 'product_sku', 'protocol_version', 'provisioned_at'],
    ...['radar_connected', 'reset_reason', 'room', 'state_at', 'uptime_sec', 'wifi_rssi', 'zone_count'],
  ]);
});

test('HEAD is GET without the body', async () => {
  const head = await cloud.api('HEAD', '/api/admin/devices?limit=1', { token });
  isStatus(head, 200);
  assert.equal(head.bytes.length, 0);
  isStatus(await cloud.api('HEAD', `/api/admin/devices/${makeDevice().id}`, { token }), 404);
});

test('a parameter that is wrong, or that nobody knows, is named', async () => {
  const { id } = makeDevice();
  for (const [path, pointers] of [
    ['devices?limit=0', ['?limit']],
    ['devices?limit=201', ['?limit']],
    ['devices?limit=ten', ['?limit']],
    ['devices?limit=', ['?limit']],
    ['devices?limit=-1&cursor=x&page=2', ['?limit', '?cursor', '?page']],
    [`devices?cursor=${id.toUpperCase()}`, ['?cursor']],
    ['devices?cursor=', ['?cursor']],
    ['devices?Limit=5', ['?Limit']],
    ['security-log?cursor=aud-1', ['?cursor']],
    ['metrics?period=24h', ['?period']],
    ['security-log?limit=1000&kinds=x', ['?limit', '?kinds']],
    ['security-log?kind=nothing&severity=low&from=now&to=5', ['?kind', '?severity', '?from', '?to']],
    [`security-log?subject=${'x'.repeat(257)}&peerhost=${'x'.repeat(257)}`, ['?subject', '?peerhost']],
    [`devices/${id}?limit=1`, ['?limit']],
    [`devices/${id}/telemetry?hours=0`, ['?hours']],
    [`devices/${id}/telemetry?hours=721`, ['?hours']],
    [`devices/${id}/telemetry?hours=1.5&limit=1`, ['?hours', '?limit']],
  ]) {
    isProblem(await get(path), 422, pointers);
  }
  for (const path of [
    'devices?limit=1',
    'devices?limit=200',
    `devices?cursor=${id}`,
    'devices?',
    'devices?&',
    'security-log?kind=secret_rotated',
  ]) {
    isStatus(await get(path), 200);
  }
});

test('a device that is not enrolled is not there', async () => {
  const { id: stranger } = makeDevice();
  for (const id of [stranger, 'x', '%2e%2e', stranger.toUpperCase(), `${stranger}0`, "'%20OR%201=1%20--"]) {
    isProblem(await get(`devices/${id}`), 404, []);
    isProblem(await get(`devices/${id}/telemetry`), 404, []);
  }
  for (const path of ['devices/', 'devices/x/', 'devices/x/y', 'security-log/', '']) isProblem(await get(path), 404, []);
});

test('the hours of a device, as many as are asked for', async () => {
  const device = await cloud.enroll();
  assert.deepEqual((await get(`devices/${device.id}/telemetry`)).json, { device_id: device.id, items: [] });
  const ages = [0, 1, 23, 24, 100, 719, 720];
  const queue = await cloud.queue('TELEMETRY_QUEUE');
  const message = (ago) => queued(device, { at: hourStart(ago), metrics: { 'system.free_heap': ago } });
  await queue.sendBatch(ages.map((ago) => ({ contentType: 'text', body: message(ago) })));
  const rows = () => cloud.rows('SELECT hour FROM telemetry_rollups WHERE device_id = ?', device.id);
  await eventually('all hours to be counted', async () => (await rows()).length === ages.length);
  for (const [query, youngest] of [
    ['', 24],
    ['?hours=24', 24],
    ['?hours=1', 1],
    ['?hours=2', 2],
    ['?hours=25', 25],
    ['?hours=720', 720],
  ]) {
    const { json } = await get(`devices/${device.id}/telemetry${query}`);
    const expected = ages.filter((ago) => ago < youngest).reverse();
    assert.deepEqual(
      json.items.map(({ metrics }) => metrics['system.free_heap'].last),
      expected,
      `oldest first: ${query}`,
    );
    assert.deepEqual(
      json.items.map(({ hour }) => Date.parse(hour)),
      expected.map((ago) => hourStart(ago)),
      query,
    );
  }
});

/** Rows of the security log: every fifth about firmware, the others of topics; a second apart. */
const logged = Array.from({ length: 25 }, (_, n) => {
  const at = Date.parse('2026-01-20T10:00:00Z') + n * 1000;
  const rest = n % 5 === 0 ? { kind: 'firmware_rejected', severity: 'high', subject: `device-${n}` } : { kind: 'acl_violation', severity: 'warning', subject: '203.0.113.7' };
  return { id: `sec-${ulidTime(at)}${'0'.repeat(16)}`, at, peerhost: n % 5 === 0 ? `203.0.113.${n}` : '203.0.113.7', ...rest };
});

test('the security log is newest first, as it is asked for, page by page', async () => {
  for (const { id, kind, severity, subject, peerhost, at } of logged) {
    await cloud.rows(
      `INSERT INTO security_log (id, kind, severity, subject, peerhost, detail, count, first_at, last_at, window_key)
       VALUES (?, ?, ?, ?, ?, '{"a":1}', 3, ?, ?, ?)`,
      ...[id, kind, severity, subject, peerhost, at, at, id],
    );
  }
  const to = 'to=2026-01-20T11:00:00Z';
  for (const [query, wanted, limit] of [
    [to, () => true, 4],
    [`kind=firmware_rejected&${to}`, ({ kind }) => kind === 'firmware_rejected', 2],
    [`kind=acl_violation&${to}`, ({ kind }) => kind === 'acl_violation', 7],
    [`severity=high&${to}`, ({ severity }) => severity === 'high', 2],
    [`severity=high&kind=acl_violation&${to}`, () => false, 2],
    [`subject=203.0.113.7&${to}`, ({ subject }) => subject === '203.0.113.7', 6],
    [`subject=device-10&${to}`, ({ subject }) => subject === 'device-10', 6],
    [`peerhost=203.0.113.7&${to}`, ({ peerhost }) => peerhost === '203.0.113.7', 6],
    [`peerhost=203.0.113.10&${to}`, ({ peerhost }) => peerhost === '203.0.113.10', 6],
    ['from=2026-01-20T10:00:05Z&to=2026-01-20T10:00:20Z', ({ at }) => new Date(at).getUTCSeconds() >= 5 && new Date(at).getUTCSeconds() < 20, 4],
  ]) {
    const found = await pages(`security-log?${query}`, limit);
    const expected = logged.filter(wanted).map(({ id }) => id).reverse();
    assert.deepEqual(found.flat().map(({ id }) => id), expected, query);
    assert.equal(found.length, Math.max(1, Math.ceil(expected.length / limit)), `${query}: no page but the last is short`);
  }
  const [[first]] = await pages(`security-log?kind=firmware_rejected&${to}`, 2);
  assert.deepEqual(first, {
    ...{ id: logged[20].id, kind: 'firmware_rejected', severity: 'high', subject: 'device-20', peerhost: '203.0.113.20', count: 3 },
    ...{ first_at: '2026-01-20T10:00:20Z', last_at: '2026-01-20T10:00:20Z', detail: { a: 1 } },
  });
  const all = (await pages('security-log', 20)).flat().map(({ id }) => id);
  assert.deepEqual(all, [...all].sort().reverse(), 'all kinds in one order');
});

test('the security log is exported line by line, as far as it goes', async () => {
  const lines = [];
  let path = '/api/admin/security-log?to=2026-01-20T11:00:00Z&limit=10';
  let requests = 0;
  while (path) {
    const answer = await cloud.api('GET', path, { token, headers: { accept: 'application/x-ndjson' } });
    isStatus(answer, 200);
    assert.equal(answer.headers['content-type'], 'application/x-ndjson');
    lines.push(...answer.text.split('\n').filter(Boolean).map((line) => JSON.parse(line).id));
    path = /^<([^>]+)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1];
    requests += 1;
  }
  assert.equal(requests, 3);
  assert.deepEqual(lines, logged.map(({ id }) => id).reverse());
  const lots = await cloud.api('GET', '/api/admin/security-log?limit=1000', { token, headers: { accept: 'application/x-ndjson' } });
  isStatus(lots, 200);
});

test('looking is audited too, with what was looked at and how', async () => {
  const { id } = makeDevice();
  for (const [n, path] of [`devices/${id}`, `devices/${id}/telemetry?hours=5`, 'security-log?kind=acl_violation&limit=3'].entries()) {
    await get(path, { headers: { 'x-request-id': `look-${n}` } });
  }
  const rows = await cloud.rows(
    "SELECT actor, method, route, target, detail FROM audit_log WHERE request_id LIKE 'look-%' ORDER BY request_id",
  );
  const common = { actor: 'ada@optic.works', method: 'GET' };
  assert.deepEqual(rows, [
    { ...common, route: '/api/admin/devices/{id}', target: id, detail: null },
    { ...common, route: '/api/admin/devices/{id}/telemetry', target: id, detail: '{"query":"hours=5"}' },
    { ...common, route: '/api/admin/security-log', target: null, detail: '{"query":"kind=acl_violation&limit=3"}' },
  ]);
});

test('the security log tells where an operator came from', async () => {
  const grace = await cloud.adminToken({ email: 'grace@optic.works' });
  await cloud.api('GET', '/api/admin/devices?limit=1', { token: grace, headers: { 'cf-connecting-ip': '198.51.100.20' } });
  const { json } = await get('security-log?kind=admin_api_access');
  const { severity, peerhost, detail } = json.items.find(({ subject }) => subject === 'grace@optic.works');
  assert.deepEqual([severity, peerhost, detail], ['info', '198.51.100.20', { method: 'GET', route: '/api/admin/devices' }]);
});

test('nobody looks without being known', async () => {
  for (const path of ['devices', `devices/${makeDevice().id}`, `devices/${makeDevice().id}/telemetry`, 'security-log']) {
    isProblem(await get(path, { token: undefined }), 401, []);
  }
  assert.deepEqual(cloud.faults.calls(), []);
});

test('while the database is down there is nothing to see', async () => {
  const device = await cloud.enroll();
  for (const [path, statement] of [
    ['devices', /device_list/],
    [`devices/${device.id}`, /device_by_id/],
    [`devices/${device.id}/telemetry`, /rollup_hours/],
    ['security-log', /security_list/],
    ['security-log?kind=acl_violation', /security_list_kinds/],
    ['security-log?severity=high&subject=x', /security_list_subject/],
    ['security-log?peerhost=x', /security_list_peerhost/],
    ['devices', /audit/],
  ]) {
    cloud.faults.inject({ binding: 'DB', match: statement });
    isProblem(await get(path), 503, []);
    isStatus(await get(path), 200);
  }
});
