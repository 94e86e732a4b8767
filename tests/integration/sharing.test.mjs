// A household: people are let in, invited, and let out again; a device changes hands.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let admin;
before(async () => {
  cloud = await startHarness({ only: ['device-api'] });
  admin = await cloud.adminToken();
});
after(() => cloud?.stop());

async function owned(person) {
  const device = await cloud.enroll({ sku: 'rs1_pro' });
  const body = { email: person.user.email, reason: 'spec' };
  isStatus(await cloud.api('POST', `/api/admin/devices/${device.id}/claim`, { token: admin, body }), 200);
  return `/api/devices/${device.id}`;
}

test('known people are let in at once, unknown ones with their first sign-in', async () => {
  const [ada, bob] = [await cloud.signIn('ada@example.com'), await cloud.signIn('bob@example.com')];
  const device = await owned(ada);
  const share = (email, role) => ada.call('POST', `${device}/shares`, { body: { email, role } });
  isStatus(await share('Bob@Example.com', 'admin'), 201);
  assert.equal((await bob.call('GET', device)).json.role, 'admin');
  const invited = await share('new@example.com', 'viewer');
  isStatus(invited, 201);
  assert.equal(invited.json.pending, true);
  const newcomer = await cloud.signIn('new@example.com');
  assert.equal((await newcomer.call('GET', device)).json.role, 'viewer');
  isProblem(await newcomer.call('PATCH', device, { body: { name: 'x' }, headers: { 'if-match': '*' } }), 403, []);
  isProblem(await bob.call('GET', `${device}/shares`), 403, []);
  isProblem(await share('x', 'owner'), 422, ['/email', '/role']);

  const list = (await ada.call('GET', `${device}/shares`)).json.items;
  assert.deepEqual(list.map(({ email, role }) => `${email} ${role}`).sort(), [
    'ada@example.com owner',
    'bob@example.com admin',
    'new@example.com viewer',
  ]);
  isStatus(await ada.call('DELETE', `${device}/shares/${bob.user.user_id}`), 204);
  isProblem(await bob.call('GET', device), 404, []);
  isProblem(await ada.call('DELETE', `${device}/shares/${bob.user.user_id}`), 404, []);
  isStatus(await newcomer.call('DELETE', `${device}/shares/${newcomer.user.user_id}`), 204, 'a guest may leave');
});

test('a device changes hands when both want it, and nobody of before is left', async () => {
  const [ada, bob] = [await cloud.signIn('ada@example.com'), await cloud.signIn('bob@example.com')];
  const device = await owned(ada);
  await ada.call('POST', `${device}/shares`, { body: { email: 'guest@example.com', role: 'viewer' } });
  isStatus(await ada.call('POST', `${device}/transfer`, { body: { email: 'bob@example.com' } }), 201);
  const waiting = (await bob.call('GET', '/api/transfers')).json.items;
  assert.deepEqual(waiting.map(({ device_id }) => `/api/devices/${device_id}`), [device]);
  const accepted = await Promise.all([bob, bob].map((who) => who.call('POST', `${device}/transfer/accept`)));
  for (const answer of accepted) isStatus(answer, 200);
  isProblem(await ada.call('GET', device), 404, []);
  const people = (await bob.call('GET', `${device}/shares`)).json.items;
  assert.deepEqual(people.map(({ email, role }) => [email, role]), [['bob@example.com', 'owner']]);
});

test('fifty devices are the most, also for the database itself', async () => {
  const [ada, full] = [await cloud.signIn('ada@example.com'), await cloud.signIn('full@example.com')];
  const lines = Array.from({ length: 50 }, (_, index) => {
    const mac_address = `02:00:00:00:10:${index.toString(16).padStart(2, '0')}`;
    return JSON.stringify({ mac_address, device_secret_hash: 'ab'.repeat(32) });
  });
  const enrolled = await cloud.api('POST', '/api/admin/enroll/bulk', { token: admin, body: lines.join('\n') });
  const ids = enrolled.text.trim().split('\n').map((line) => JSON.parse(line).device_id);
  const rows = JSON.stringify(ids);
  await cloud.rows(
    "INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by) SELECT value, ?2, 'owner', 1, 'spec' FROM json_each(?1)",
    rows,
    full.user.user_id,
  );
  const device = await owned(ada);
  isProblem(await ada.call('POST', `${device}/shares`, { body: { email: 'full@example.com', role: 'viewer' } }), 409, []);
  await ada.call('POST', `${device}/transfer`, { body: { email: 'full@example.com' } });
  isProblem(await full.call('POST', `${device}/transfer/accept`), 409, []);
  assert.equal((await ada.call('GET', device)).json.role, 'owner', 'all of it or none');
  assert.equal((await full.call('GET', '/api/devices')).json.items.length, 50);
});
