// What operators see: devices, one device, its hours, the security log. Lists go page by page.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { hourStart, queued } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let token;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry'], batchTimeout: 0.05 });
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
    ['security-log?limit=1000&kinds=x', ['?limit', '?kinds']],
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
    'security-log?kind=nothing',
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

test('the security log is newest first, by kind, page by page', async () => {
  const ulid = (n) => `01K${String(n).padStart(23, '0')}`;
  const kindOf = (n) => (n % 5 === 0 ? 'spec_rare' : 'spec_often');
  const rows = Array.from({ length: 25 }, (_, n) => ({ id: `sec-${ulid(n)}`, kind: kindOf(n), at: 1_768_903_200_000 + n }));
  for (const { id, kind, at } of rows) {
    await cloud.rows(
      `INSERT INTO security_log (id, kind, severity, subject, detail, count, first_at, last_at, window_key)
       VALUES (?, ?, 'warning', 'x', '{"a":1}', 3, ?, ?, ?)`,
      ...[id, kind, at, at, id],
    );
  }
  const newestFirst = (kind) =>
    rows
      .filter((row) => !kind || row.kind === kind)
      .map(({ id }) => id)
      .reverse();
  const rare = await pages('security-log?kind=spec_rare', 2);
  assert.deepEqual(
    rare.map(({ length }) => length),
    [2, 2, 1],
  );
  assert.deepEqual(
    rare.flat().map(({ id }) => id),
    newestFirst('spec_rare'),
  );
  assert.deepEqual(
    (await pages('security-log?kind=spec_often', 7)).flat().map(({ id }) => id),
    newestFirst('spec_often'),
  );
  const all = (await pages('security-log', 4)).flat();
  assert.deepEqual(
    all.filter(({ kind }) => kind.startsWith('spec_')).map(({ id }) => id),
    newestFirst(),
  );
  assert.deepEqual(
    all.map(({ id }) => id),
    all
      .map(({ id }) => id)
      .sort()
      .reverse(),
    'all kinds in one order',
  );
  assert.deepEqual(rare[0][0], {
    ...{ id: rows[20].id, kind: 'spec_rare', severity: 'warning', subject: 'x', peerhost: null, count: 3 },
    ...{ first_at: '2026-01-20T10:00:00.020Z', last_at: '2026-01-20T10:00:00.020Z', detail: { a: 1 } },
  });
});

test('looking is audited too, with what was looked at and how', async () => {
  const { id } = makeDevice();
  for (const [n, path] of [`devices/${id}`, `devices/${id}/telemetry?hours=5`, 'security-log?kind=x&limit=3'].entries()) {
    await get(path, { headers: { 'x-request-id': `look-${n}` } });
  }
  const rows = await cloud.rows(
    "SELECT actor, method, route, target, detail FROM audit_log WHERE request_id LIKE 'look-%' ORDER BY request_id",
  );
  const common = { actor: 'ada@optic.works', method: 'GET' };
  assert.deepEqual(rows, [
    { ...common, route: '/api/admin/devices/{id}', target: id, detail: null },
    { ...common, route: '/api/admin/devices/{id}/telemetry', target: id, detail: '{"query":"hours=5"}' },
    { ...common, route: '/api/admin/security-log', target: null, detail: '{"query":"kind=x&limit=3"}' },
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
    ['security-log?kind=x', /security_list_kind/],
    ['devices', /audit/],
  ]) {
    cloud.faults.inject({ binding: 'DB', match: statement });
    isProblem(await get(path), 503, []);
    isStatus(await get(path), 200);
  }
});
