// Signing in with an identity provider's word, and staying signed in: real signatures, real KV, the worker's own clock.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { at, beside } from './fixtures/beside.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { startHarness } from './support/harness.mjs';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
before(async () => {
  cloud = await startHarness({ only: ['device-api'], configure: beside(['device-api'], 'clock.worker.js') });
});
after(() => cloud?.stop());

const signIn = (id_token, options = {}) => {
  const { time, ...body } = options;
  return cloud.api('POST', '/api/auth/session', { body: { id_token, ...body }, headers: time ? at(time) : {} });
};
const refresh = (refresh_token, time) => cloud.api('POST', '/api/auth/refresh', { body: { refresh_token }, headers: time ? at(time) : {} });
const me = (token, time) => cloud.api('GET', '/api/me', { token, headers: time ? at(time) : {} });

test('an ID token of either algorithm signs somebody in', async () => {
  for (const alg of ['RS256', 'ES256']) {
    await cloud.idp.users.rotate({ alg, retire: true });
    // The worker fetches keys that it does not know twice a minute at most.
    const time = Date.now() + (alg === 'ES256' ? MINUTE : 0);
    const answer = await signIn(await cloud.userToken({ email: 'Ada@example.com', ttl: 600 }), { time });
    isStatus(answer, 201);
    assert.equal(answer.headers['cache-control'], 'no-store');
    assert.deepEqual(
      { ...answer.json, access_token: undefined, refresh_token: undefined, user: undefined },
      { access_token: undefined, refresh_token: undefined, user: undefined, token_type: 'Bearer', expires_in: 300, refresh_expires_in: 86_400 },
    );
    assert.equal(answer.json.user.email, 'ada@example.com');
    const who = await me(answer.json.access_token, time);
    isStatus(who, 200);
    assert.deepEqual(who.json, answer.json.user);
  }
  assert.equal((await cloud.rows('SELECT 1 FROM users')).length, 1);
});

test('what is no good ID token signs nobody in', async () => {
  const time = Date.now() + 2 * MINUTE;
  const good = await cloud.userToken({ email: 'eve@example.com', ttl: 600 });
  const [header, payload] = good.split('.');
  isProblem(await signIn(`${header}.${payload}.${'A'.repeat(86)}`, { time }), 401, []);
  isProblem(await signIn(await cloud.adminToken(), { time }), 401, []);
  isProblem(await signIn(await cloud.userToken({ email: 'eve@example.com', claims: { aud: 'elsewhere' } }), { time }), 401, []);
  isProblem(await signIn(await cloud.userToken({ email: 'eve@example.com', nonce: 'n-1', ttl: 600 }), { time, nonce: 'n-2' }), 401, []);
  isProblem(await signIn('', { time }), 401, []);
  isProblem(await signIn(undefined, { time }), 422, ['/id_token']);
  const unverified = await cloud.userToken({ email: 'eve@example.com', ttl: 600, claims: { email_verified: false } });
  isProblem(await signIn(unverified, { time }), 403, []);
  assert.deepEqual(await cloud.rows("SELECT 1 FROM users WHERE email = 'eve@example.com'"), []);
});

test('a session lasts a day after each refresh, and what is stored is no token', async () => {
  const begin = Date.now() + 3 * MINUTE;
  const first = (await signIn(await cloud.userToken({ email: 'bob@example.com', ttl: 600 }), { time: begin })).json;
  isProblem(await me(first.access_token, begin + 5 * MINUTE), 401, []);
  const second = await refresh(first.refresh_token, begin + 23 * HOUR);
  isStatus(second, 200);
  assert.equal(second.headers['cache-control'], 'no-store');
  const third = await refresh(second.json.refresh_token, begin + 46 * HOUR);
  isStatus(third, 200);
  isStatus(await me(third.json.access_token, begin + 46 * HOUR), 200);
  isProblem(await refresh(third.json.refresh_token, begin + 71 * HOUR), 401, []);

  const kv = await cloud.cloud.namespace('SESSIONS');
  const keys = (await kv.list()).keys;
  assert.ok(keys.length >= 3 && keys.every(({ name, expiration }) => /^refresh:[0-9a-f]{64}$/.test(name) && expiration > 0));
  const rows = JSON.stringify(await cloud.rows('SELECT * FROM sessions'));
  for (const { refresh_token } of [first, second.json, third.json]) assert.ok(!rows.includes(refresh_token));
});

test('a refresh token that was used ends its session, once and for all, and is logged', async () => {
  const first = (await signIn(await cloud.userToken({ email: 'vic@example.com' }), { time: Date.now() + 4 * MINUTE })).json;
  const second = (await refresh(first.refresh_token)).json;
  isProblem(await refresh(first.refresh_token), 401, []);
  isProblem(await refresh(second.refresh_token), 401, []);
  const [logged] = await cloud.rows("SELECT subject, severity, count FROM security_log WHERE kind = 'token_reuse'");
  assert.deepEqual(logged, { subject: first.user.user_id, severity: 'high', count: 1 });
});

test('of many who refresh with one token at once, one at most is given another', async () => {
  const { refresh_token } = (await signIn(await cloud.userToken({ email: 'race@example.com' }), { time: Date.now() + 5 * MINUTE })).json;
  const answers = await Promise.all(Array.from({ length: 8 }, () => refresh(refresh_token)));
  const won = answers.filter(({ status }) => status === 200);
  assert.ok(won.length <= 1, answers.map(({ status }) => status).join());
  for (const { json } of won) isProblem(await refresh(json.refresh_token), 401, []);
});

test('signing out ends the session', async () => {
  const time = Date.now() + 6 * MINUTE;
  const { access_token, refresh_token } = (await signIn(await cloud.userToken({ email: 'ada@example.com', ttl: 900 }), { time })).json;
  isStatus(await cloud.api('DELETE', '/api/auth/session', { token: access_token, headers: at(time) }), 204);
  isProblem(await refresh(refresh_token, time), 401, []);
});

test('what goes wrong on our side costs nobody their session', async () => {
  const time = Date.now() + 7 * MINUTE;
  let token = (await signIn(await cloud.userToken({ email: 'ada@example.com', ttl: 900 }), { time })).json.refresh_token;
  // Once lost it is tried again; and that the first attempt was carried out is no theft.
  for (const when of ['before', 'after']) {
    cloud.faults.inject({ binding: 'DB', match: /rotate_session/, when });
    const answer = await refresh(token, time);
    isStatus(answer, 200);
    token = answer.json.refresh_token;
  }
  cloud.faults.inject({ binding: 'DB', match: /rotate_session/, times: 2 });
  isProblem(await refresh(token, time), 503, []);
  for (const op of ['get', 'put']) {
    cloud.faults.inject({ binding: 'SESSIONS', op });
    isProblem(await refresh(token, time), 503, []);
  }
  isStatus(await refresh(token, time), 200, 'it is still good');
});
