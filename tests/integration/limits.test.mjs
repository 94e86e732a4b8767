// How often somebody may ask, counted by the real binding; and which pages may read the answers.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isStatus } from './fixtures/expect.mjs';
import { startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
before(async () => {
  cloud = await startHarness({ only: ['device-api'] });
});
after(() => cloud?.stop());

const tally = (answers) => {
  const counts = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
};
/** Asks until one minute has seen all of it: the binding's windows are the clock's minutes. */
async function burst(count, ask) {
  for (;;) {
    const began = Math.floor(Date.now() / 60_000);
    const answers = await Promise.all(Array.from({ length: count }, ask));
    if (Math.floor(Date.now() / 60_000) === began) return answers;
  }
}

test('a person may ask a hundred times a minute, another one as often, and the excess is logged once', async () => {
  const [ada, bob] = [await cloud.signIn('ada@example.com'), await cloud.signIn('bob@example.com')];
  const answers = await burst(110, () => ada.call('GET', '/api/me'));
  const refused = answers.filter(({ status }) => status === 429);
  assert.ok(refused.length >= 10, JSON.stringify(tally(answers)));
  const [{ headers, json }] = refused;
  const seconds = Number(headers['retry-after']);
  assert.ok(seconds >= 1 && seconds <= 60, headers['retry-after']);
  assert.equal(json.type, 'urn:rs1:problem:too-many-requests');
  isStatus(await bob.call('GET', '/api/me'), 200);
  const logged = await cloud.rows("SELECT subject, count FROM security_log WHERE kind = 'rate_limit_exceeded'");
  assert.deepEqual(logged.map(({ subject }) => subject), [`user:${ada.user.user_id}`]);
  assert.ok(logged[0].count <= 2, 'once a minute');
});

test('strangers are counted by their address, and health is not counted', async () => {
  const answers = await burst(110, () => cloud.api('GET', '/api/me', { token: 'x' }));
  assert.ok(tally(answers)[429] >= 10 && tally(answers)[401] <= 100, JSON.stringify(tally(answers)));
  isStatus(await cloud.api('GET', '/api/health'), 200);
});

test('operators may ask more often', async () => {
  const token = await cloud.adminToken();
  const answers = await burst(150, () => cloud.api('GET', '/api/admin/users', { token }));
  assert.deepEqual(tally(answers), { 200: 150 });
});

test('the app’s pages may read answers, and no others', async () => {
  const preflight = (origin) =>
    cloud.api('OPTIONS', '/api/devices/x', { headers: { origin, 'access-control-request-method': 'PATCH', 'access-control-request-headers': 'if-match' } });
  const allowed = await preflight('https://app.optic.works');
  isStatus(allowed, 204);
  assert.equal(allowed.headers['access-control-allow-origin'], 'https://app.optic.works');
  assert.match(allowed.headers['access-control-allow-methods'], /PATCH/);
  assert.match(allowed.headers['access-control-allow-headers'], /if-match/);
  assert.equal(allowed.headers['access-control-allow-credentials'], undefined);
  const foreign = await preflight('https://evil.example');
  assert.equal(foreign.headers['access-control-allow-origin'], undefined);
  const answer = await cloud.api('GET', '/api/health', { headers: { origin: 'http://localhost:5173' } });
  assert.equal(answer.headers['access-control-allow-origin'], 'http://localhost:5173');
  assert.match(answer.headers['access-control-expose-headers'], /etag/);
});
