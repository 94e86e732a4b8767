// People and their devices on the release bundles: lists, names, sharing, transfers, giving up. What every role may do is
// tried natively (workers/device-api/tests/it/people.rs); here is what only the real D1 and broker's API can show.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let admin;
before(async () => {
  cloud = await startHarness();
  admin = await cloud.adminToken();
});
after(() => cloud?.stop());

/** A device that somebody owns. */
async function owned(person) {
  const device = await cloud.enroll({ sku: 'rs1_pro' });
  const body = { email: person.user.email, reason: 'spec' };
  isStatus(await cloud.api('POST', `/api/admin/devices/${device.id}/claim`, { token: admin, body }), 200);
  return device;
}

test('a person sees what is theirs, renames it against its version, and nobody else learns of it', async () => {
  const [ada, eve] = [await cloud.signIn('ada@example.com'), await cloud.signIn('eve@example.com')];
  const device = await owned(ada);
  const path = `/api/devices/${device.id}`;
  const list = await ada.call('GET', '/api/devices?q=' + device.id.slice(0, 8));
  assert.deepEqual(list.json.items.map(({ device_id, role }) => [device_id, role]), [[device.id, 'owner']]);
  const seen = await ada.call('GET', path);
  isStatus(seen, 200);
  assert.equal(seen.headers.etag, '"0"');

  const rename = (name, headers) => ada.call('PATCH', path, { body: { name }, headers });
  isProblem(await rename('Lamp'), 428, []);
  const [one, other] = await Promise.all([rename('One', { 'if-match': '"0"' }), rename('Other', { 'if-match': '"0"' })]);
  assert.deepEqual([one.status, other.status].sort(), [200, 412], 'exactly one wins');
  const stale = one.status === 412 ? one : other;
  assert.equal(stale.json.current.version, 1);

  for (const [method, rest, body] of [
    ['GET', ''],
    ['PATCH', '', { name: 'x' }],
    ['DELETE', ''],
    ['GET', '/shares'],
    ['POST', '/shares', { email: 'eve@example.com', role: 'admin' }],
    ['DELETE', `/shares/${ada.user.user_id}`],
    ['GET', '/transfer'],
    ['POST', '/transfer', { email: 'eve@example.com' }],
    ['DELETE', '/transfer'],
    ['POST', '/transfer/accept'],
    ['POST', '/factory-reset'],
    ['GET', '/zones'],
  ]) {
    isProblem(await eve.call(method, `${path}${rest}`, { body, headers: { 'if-match': '"1"' } }), 404, []);
  }
  assert.deepEqual((await eve.call('GET', '/api/devices')).json, { items: [], next_cursor: null });
});

test('a device that is given up is nobody’s, and its session ends', async () => {
  const ada = await cloud.signIn('ada@example.com');
  const device = await owned(ada);
  const kicked = [];
  cloud.emqxApi.answer = ({ method, path }) => {
    if (method !== 'DELETE') return undefined;
    kicked.push(path);
    return { status: 204, body: undefined };
  };
  isStatus(await ada.call('DELETE', `/api/devices/${device.id}`), 204);
  cloud.emqxApi.answer = null;
  assert.deepEqual(kicked, [`/clients/${device.id}`]);
  isProblem(await ada.call('GET', `/api/devices/${device.id}`), 404, []);
  const trail = await cloud.api('GET', `/api/admin/devices/${device.id}/audit`, { token: admin });
  const acts = trail.json.items.map(({ action }) => action).filter((action) => action !== 'admin_api_access');
  assert.deepEqual(acts, ['device_given_up', 'device_claimed'], 'newest first, each once');
});

test('a reset is sent to a device that listens, and said to be impossible otherwise', async () => {
  const ada = await cloud.signIn('ada@example.com');
  const device = await owned(ada);
  const reset = () => ada.call('POST', `/api/devices/${device.id}/factory-reset`);
  cloud.emqxApi.answer = () => ({ status: 202, body: [{ reason_code: 16, message: 'no_matching_subscribers' }] });
  isProblem(await reset(), 409, []);
  cloud.emqxApi.answer = () => ({ status: 500, body: { code: 'INTERNAL_ERROR' } });
  isProblem(await reset(), 503, []);
  cloud.emqxApi.answer = null;
  const sent = await reset();
  isStatus(sent, 202);
  const message = cloud.emqxApi.published.at(-1);
  assert.equal(message.topic, `opticworks/${device.id}/command/factory-reset`);
  assert.equal(JSON.parse(message.payload).request_id, sent.json.request_id);
});

test('operators find devices and people, and see the whole in numbers', async () => {
  const get = (path) => cloud.api('GET', `/api/admin/${path}`, { token: admin });
  const people = await get('users?limit=1');
  isStatus(people, 200);
  assert.equal(people.json.items.length, 1);
  assert.ok(people.json.next_cursor);
  const found = await get('devices?q=ada@example.com&status=offline&sku=rs1_pro');
  isStatus(found, 200);
  assert.ok(found.json.items.length >= 1 && found.json.items.every(({ owner }) => owner !== null));
  const stats = await get('stats');
  isStatus(stats, 200);
  await cloud.enroll();
  assert.deepEqual((await get('stats')).json, stats.json, 'kept for a minute');
});
