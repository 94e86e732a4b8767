// POST /webhook/device-state and /webhook/device-offline: what a device says of itself, and that it is gone. Messages come
// late, twice and crossing; the broker's clock (`publish_received_at`, `disconnected_at`) says which one is the newest.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { messageId, state, topicOf } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { makeDevice, startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let token;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} A device that has said nothing yet. */
let device;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry'] });
  token = await cloud.adminToken();
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  device = await cloud.enroll();
  cloud.faults.forget();
});

/** When the specs' first message was received. */
const T = Date.parse('2026-01-20T10:00:00Z');
const iso = (time) => new Date(time).toISOString().replace('.000Z', 'Z');

/** The device, or its last will, says something; `received` is the broker's clock. */
const says = (fields, received, columns) =>
  cloud.emqx.message(topicOf(device, 'state'), state(fields), { columns: { publish_received_at: received, ...columns } });
const ended = (reason, at, columns) => cloud.emqx.disconnected(device.id, { reason, disconnected_at: at, ...columns });
const taken = (answer) => {
  isStatus(answer, 204);
  assert.equal(answer.fate, 'delivered');
};
const shown = async (...names) => {
  const answer = await cloud.api('GET', `/api/admin/devices/${device.id}`, { token });
  isStatus(answer, 200);
  return Object.fromEntries(names.map((name) => [name, answer.json[name]]));
};
const presence = async () => {
  const { online, offline_reason: reason } = await shown('online', 'offline_reason');
  return online ? 'online' : reason;
};

test('a state is shown', async () => {
  const fields = {
    ...{ firmware_version: '1.2.0-rc.1', protocol_version: '1.0', product_sku: 'rs1_pro', uptime_sec: 3_600, wifi_rssi: -61 },
    ...{ config_version: 4, zone_count: 2, radar_connected: true, boot_count: 17, reset_reason: 'watchdog' },
  };
  taken(await says(fields, T));
  assert.deepEqual(await shown(...Object.keys(fields), 'online', 'offline_reason', 'state_at', 'last_seen_at', 'last_telemetry_at'), {
    ...fields,
    ...{ online: true, offline_reason: null, state_at: iso(T), last_seen_at: iso(T), last_telemetry_at: null },
  });
});

test('a state costs one statement', async () => {
  taken(await says({}, T));
  taken(await says({}, T + 1));
  assert.deepEqual(
    cloud.faults.calls().map(({ names }) => names),
    [['report_state'], ['report_state']],
  );
});

test('what a device does not say is not known any more, but for what it keeps', async () => {
  const passing = { wifi_rssi: -61, uptime_sec: 10, radar_connected: true };
  const lasting = { product_sku: 'rs1_pro', config_version: 4, zone_count: 2, boot_count: 17, reset_reason: 'panic' };
  taken(await says({ ...passing, ...lasting }, T));
  taken(await says({ product_sku: 'rs1_lite' }, T + 1));
  assert.deepEqual(await shown(...Object.keys(passing)), { wifi_rssi: null, uptime_sec: null, radar_connected: null });
  assert.deepEqual(await shown(...Object.keys(lasting)), lasting);
});

test('a last will takes the device offline and changes nothing else', async () => {
  taken(await says({ wifi_rssi: -61 }, T));
  taken(await says({ online: false, firmware_version: '0.9.0', wifi_rssi: -99 }, T + 1000));
  assert.equal(await presence(), 'will');
  assert.deepEqual(await shown('firmware_version', 'wifi_rssi', 'state_at', 'last_seen_at'), {
    ...{ firmware_version: '1.2.0', wifi_rssi: -61, state_at: iso(T), last_seen_at: iso(T) },
  });
  taken(await says({}, T + 2000));
  assert.equal(await presence(), 'online', 'it is back');
});

test('late and repeated messages change nothing', async () => {
  const id = messageId();
  taken(await says({ wifi_rssi: -50 }, T, { id }));
  taken(await says({ wifi_rssi: -50 }, T, { id }));
  taken(await says({ wifi_rssi: -60 }, T + 2000));
  taken(await says({ wifi_rssi: -70 }, T + 1000));
  assert.deepEqual(await shown('wifi_rssi', 'state_at'), { wifi_rssi: -60, state_at: iso(T + 2000) });
  taken(await says({ online: false }, T + 3000));
  taken(await says({ wifi_rssi: -50 }, T, { id }));
  assert.equal(await presence(), 'will', 'an old state does not bring a device back');
  taken(await says({ wifi_rssi: -80 }, T + 2500));
  assert.equal(await presence(), 'will', 'it was said before the will');
  assert.deepEqual(await shown('wifi_rssi'), { wifi_rssi: -80 }, 'but it is the newest that was said');
});

test('in whatever order they come, the outcome is the same', async () => {
  const messages = [
    () => says({ wifi_rssi: -50 }, T),
    () => says({ online: false }, T + 1000),
    () => says({ wifi_rssi: -60, firmware_version: '1.3.0' }, T + 2000),
    () => ended('keepalive_timeout', T + 3000),
    () => says({ wifi_rssi: -70 }, T + 4000),
  ];
  const orders = [
    [0, 1, 2, 3, 4],
    [4, 3, 2, 1, 0],
    [2, 4, 0, 3, 1],
    [3, 1, 4, 0, 2],
    [1, 3, 0, 4, 2, 2, 0],
  ];
  for (const order of orders) {
    device = await cloud.enroll();
    for (const index of order) taken(await messages[index]());
    assert.deepEqual(
      await shown('online', 'offline_reason', 'wifi_rssi', 'firmware_version', 'state_at'),
      { online: true, offline_reason: null, wifi_rssi: -70, firmware_version: '1.2.0', state_at: iso(T + 4000) },
      `in the order ${order}`,
    );
  }
});

test('a session that ended takes the device offline, with EMQX’s reason', async () => {
  for (const [index, reason] of ['normal', 'keepalive_timeout', 'tcp_closed', 'kicked', 'a_reason_of_tomorrow'].entries()) {
    taken(await says({}, T + index * 10));
    taken(await ended(reason, T + index * 10 + 5));
    assert.equal(await presence(), reason);
  }
  const statements = cloud.faults.calls({ worker: 'telemetry' }).flatMap(({ names }) => names);
  assert.deepEqual(statements.slice(0, 2), ['report_state', 'report_gone'], 'one statement each');
});

test('a session that was replaced does not: the device is here again', async () => {
  taken(await says({}, T));
  for (const reason of ['takenover', 'discarded']) {
    taken(await ended(reason, T + 500, { connected_at: T - 3_600_000 }));
    assert.equal(await presence(), 'online', reason);
  }
});

test('the end of an old session that crosses the new one’s state does not', async () => {
  taken(await says({}, T));
  // The old connection is found dead before the new one speaks, and is reported after.
  taken(await says({}, T + 2000));
  taken(await ended('keepalive_timeout', T + 1000));
  assert.equal(await presence(), 'online');
});

test('the end of another session of the same device does not', async () => {
  taken(await says({}, T, { clientid: `${device.id}-new` }));
  taken(await ended('tcp_closed', T + 1000, { clientid: `${device.id}-old` }));
  assert.equal(await presence(), 'online');
  taken(await ended('tcp_closed', T + 1000, { clientid: `${device.id}-new` }));
  assert.equal(await presence(), 'tcp_closed');
});

test('sessions of no device are nobody’s business', async () => {
  for (const clientid of ['dashboard-1', 'http_api', `${device.id}x`]) taken(await cloud.emqx.disconnected(clientid));
  assert.deepEqual(cloud.faults.calls(), []);
});

test('what the cloud itself publishes is not what a device said', async () => {
  taken(await says({}, T, { clientid: 'http_api', username: 'undefined', peerhost: 'undefined' }));
  assert.deepEqual(cloud.faults.calls(), []);
  assert.deepEqual(await shown('online', 'state_at'), { online: false, state_at: null });
});

test('a device that is not enrolled is not there', async () => {
  device = makeDevice();
  isProblem(await says({}, T), 404, []);
  isProblem(await says({ online: false }, T), 404, []);
  const answer = await ended('tcp_closed', T);
  isProblem(answer, 404, []);
  assert.equal(answer.fate, 'dropped', 'which will not change by trying again');
});

test('every fault of a state is named at once, and nothing changes', async () => {
  const bare = (payload) => cloud.emqx.message(topicOf(device, 'state'), payload);
  for (const [payload, pointers] of [
    [{}, ['/online', '/firmware_version', '/last_seen']],
    [{ online: 'yes', firmware_version: '1.2', last_seen: 'yesterday' }, ['/online', '/firmware_version', '/last_seen']],
    [
      state({ protocol_version: '1', product_sku: 'rs2', uptime_sec: -1, wifi_rssi: 1, config_version: 1.5 }),
      ['/protocol_version', '/product_sku', '/uptime_sec', '/wifi_rssi', '/config_version'],
    ],
    [
      state({ zone_count: 17, radar_connected: 1, boot_count: '5', reset_reason: 'bored' }),
      ['/zone_count', '/radar_connected', '/boot_count', '/reset_reason'],
    ],
    [state({ last_seen: '2026-02-30T00:00:00Z' }), ['/last_seen']],
    [state({ firmware_version: `1.2.0-${'x'.repeat(40)}` }), ['/firmware_version']],
    ['no json', ['']],
    ['[]', ['']],
    ['', ['']],
  ]) {
    const answer = await bare(payload);
    isProblem(answer, 422, pointers);
    assert.equal(answer.fate, 'dropped');
  }
  assert.deepEqual(cloud.faults.calls(), []);
  assert.deepEqual(await shown('online', 'state_at'), { online: false, state_at: null });
});

test('fields of tomorrow are no fault', async () => {
  taken(await says({ battery: 5, nested: { a: [1] } }, T));
});

test('a topic that is none of ours is a fault', async () => {
  const upper = { id: device.id.toUpperCase() };
  for (const topic of [
    ...['', 'opticworks', 'opticworks/+/state', `opticworks/${device.id}`, `other/${device.id}/state`],
    ...[topicOf(device, 'telemetry'), topicOf(device, 'state/'), topicOf(upper, 'state')],
  ]) {
    isProblem(await cloud.emqx.message(topic, state(), { path: 'device-state' }), 422, ['/topic']);
  }
});

test('an event that is no end of a session is a fault', async () => {
  isProblem(await cloud.emqx.deliver('device-offline', {}), 422, ['/clientid', '/disconnected_at']);
  isProblem(await ended('normal', T, { event: 'client.connected' }), 422, ['/event']);
  isProblem(await cloud.emqx.deliver('device-offline', { clientid: device.id, disconnected_at: 'now' }), 422, ['']);
});

test('while the database is down EMQX is told to try again', async () => {
  for (const report of [() => says({ wifi_rssi: -42 }, T), () => says({ online: false }, T + 1), () => ended('tcp_closed', T + 2)]) {
    cloud.faults.inject({ binding: 'DB' });
    const answer = await report();
    isProblem(answer, 503, []);
    assert.equal(answer.fate, 'retried');
    taken(await report());
  }
  assert.deepEqual(await shown('wifi_rssi'), { wifi_rssi: -42 });
  assert.equal(await presence(), 'tcp_closed');
});

test('a state that was stored though it failed may come again', async () => {
  cloud.faults.inject({ binding: 'DB', when: 'after' });
  assert.equal((await says({ wifi_rssi: -42 }, T)).fate, 'retried');
  taken(await says({ wifi_rssi: -42 }, T));
  assert.deepEqual(await shown('wifi_rssi', 'online'), { wifi_rssi: -42, online: true });
});

test('the secret is needed', async () => {
  for (const secret of [null, 'wrong']) {
    isProblem(await cloud.emqx.message(topicOf(device, 'state'), state(), { secret }), 401, []);
    isProblem(await cloud.emqx.disconnected(device.id, {}, { secret }), 401, []);
  }
  // The queue is told who tried, and of the message nothing.
  const calls = cloud.faults.calls().filter(({ names = [] }) => !names.includes('record_security'));
  assert.deepEqual(calls.filter(({ binding }) => binding !== 'TELEMETRY_QUEUE'), []);
});
