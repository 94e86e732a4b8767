// A device reports for duty and hears whose it is; what the shop sold finds its buyer.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let admin;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry'], batchTimeout: 0.05 });
  admin = await cloud.adminToken();
});
after(() => cloud?.stop());
beforeEach(() => {
  cloud.emqxApi.published.length = 0;
  cloud.emqxApi.answer = null;
});

const orders = async (...lines) => {
  const body = lines.map((line) => JSON.stringify(line)).join('\n');
  const answer = await cloud.api('POST', '/api/admin/orders/bulk', { token: admin, body });
  isStatus(answer, 200);
  return answer.text.trim().split('\n').map((line) => JSON.parse(line));
};
const provision = (device, change = {}, topic = device.id) => {
  const payload = { device_id: device.id, mac_address: device.mac, firmware_version: '1.2.0', timestamp: new Date().toISOString(), ...change };
  return cloud.emqx.message(`opticworks/${topic}/provision`, payload);
};
const heard = () => cloud.emqxApi.published.map(({ topic, payload }) => [topic, JSON.parse(payload)]);
let sold = 0;
const order = (device, email, shipped_at) => ({ order_id: `R-${(sold += 1)}`, mac_address: device.mac, email, shipped_at });

test('a device that nobody bought is registered all the same', async () => {
  const device = await cloud.enroll();
  assert.equal((await provision(device)).fate, 'delivered');
  const [[topic, { timestamp, ...answer }]] = heard();
  assert.equal(topic, `opticworks/${device.id}/provision/response`);
  assert.deepEqual(answer, { status: 'registered', device_id: device.id, owner: null });
  assert.match(timestamp, /^\d{4}-/);
});

test('the buyer of a shipped order owns it; one that ships later is linked then', async () => {
  const ada = await cloud.signIn('ada@example.com');
  const [first, second] = [await cloud.enroll(), await cloud.enroll()];
  const [now, later] = [order(first, 'Ada@Example.com', '2026-01-19T10:00:00Z'), order(second, 'ada@example.com')];
  assert.deepEqual((await orders(now, later)).map(({ status }) => status), [201, 201]);
  await provision(first);
  await provision(second);
  assert.deepEqual(heard().map(([, { owner }]) => owner), [ada.user.user_id, null]);
  assert.deepEqual((await orders(later)).map(({ status, owner }) => [status, owner]), [[200, undefined]]);
  const [shipped] = await orders({ ...later, shipped_at: '2026-01-20T10:00:00Z' });
  assert.equal(shipped.owner, ada.user.user_id);
  const mine = (await ada.call('GET', '/api/devices')).json.items.map(({ device_id }) => device_id);
  assert.deepEqual(mine.sort(), [first.id, second.id].sort());
});

test('a buyer who signs in later finds the device there; one who gave it up does not get it back', async () => {
  const device = await cloud.enroll();
  await orders(order(device, 'late@example.com', '2026-01-19T10:00:00Z'));
  await provision(device);
  const late = await cloud.signIn('late@example.com');
  isStatus(await late.call('GET', `/api/devices/${device.id}`), 200);
  isStatus(await late.call('DELETE', `/api/devices/${device.id}`), 204);
  cloud.emqxApi.published.length = 0;
  await provision(device);
  assert.equal(heard()[0][1].owner, null);
});

test('a device that says it is another is told no, and is in the security log', async () => {
  const [device, other] = [await cloud.enroll(), await cloud.enroll()];
  for (const change of [{ device_id: other.id }, { mac_address: other.mac }, { device_id: other.id, mac_address: other.mac }]) {
    await provision(device, change);
  }
  for (const [topic, { timestamp, ...answer }] of heard()) {
    assert.equal(topic, `opticworks/${device.id}/provision/response`, 'on the topic that it may read');
    assert.deepEqual(answer, { status: 'rejected', device_id: device.id, error: 'device_id_mismatch' });
  }
  assert.equal(heard().length, 3);
  const logged = async () => (await cloud.rows("SELECT count FROM security_log WHERE kind = 'provision_mismatch' AND subject = ?", device.id))[0];
  assert.equal((await eventually('the security log', async () => ((await logged())?.count === 3 ? logged() : undefined))).count, 3);
  const [{ provisioned_at }] = await cloud.rows('SELECT provisioned_at FROM devices WHERE device_id = ?', other.id);
  assert.equal(provisioned_at, null);
});

test('a broker that cannot be reached has the message come again, and all is the same again', async () => {
  const ada = await cloud.signIn('ada@example.com');
  const device = await cloud.enroll();
  await orders(order(device, 'ada@example.com', '2026-01-19T10:00:00Z'));
  cloud.emqxApi.answer = () => ({ status: 500, body: {} });
  assert.equal((await provision(device)).status, 503);
  cloud.emqxApi.answer = null;
  isStatus(await provision(device), 204);
  isStatus(await provision(device), 204);
  assert.deepEqual(heard().map(([, { owner }]) => owner), [ada.user.user_id, ada.user.user_id]);
  isProblem(await provision({ ...device, mac: 'x' }), 422, ['/mac_address']);
  isStatus(await provision({ id: '0'.repeat(32), mac: '00:00:00:00:00:00' }), 204, 'no device derives to that');
});

test('an import names every fault of every line and harms no other', async () => {
  const device = await cloud.enroll();
  const [bad, good] = await orders({ order_id: 1, mac_address: 'x', email: 'x', shipped_at: 'soon', more: 1 }, order(device, 'a@example.com'));
  assert.deepEqual(bad.errors.map(({ pointer }) => pointer).sort(), ['/email', '/mac_address', '/more', '/order_id', '/shipped_at']);
  assert.equal(good.status, 201);
  isProblem(await cloud.api('POST', '/api/admin/orders/bulk', { token: admin, body: '' }), 422, ['']);
});
