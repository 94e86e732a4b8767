// Who is asking: operators' tokens, checked against the keys that their issuer publishes. The keys are fetched when they
// are needed, at most twice a minute whatever anybody sends, and outlive an issuer that is down.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, test } from 'node:test';
import { Response } from 'miniflare';
import { at, beside } from './fixtures/beside.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
after(() => cloud?.stop());

/** What the issuer answers, if not its keys; and how often it was asked. */
const issuer = { answers: null, asked: 0 };

/** A worker that has fetched no keys yet. */
async function start() {
  await cloud?.stop();
  Object.assign(issuer, { answers: null, asked: 0 });
  cloud = await startHarness({
    only: ['device-api'],
    configure: beside(['device-api'], 'clock.worker.js'),
    intercept: (_, url) => {
      if (url.href !== 'http://identity.localhost/cdn-cgi/access/certs') return undefined;
      issuer.asked += 1;
      return issuer.answers?.();
    },
  });
}

const PATH = '/api/admin/devices';
const down = () => new Response('down', { status: 503 });
/** Asks with a token, or with none; `time` is the worker's clock. */
const ask = (token, { time, headers } = {}) => cloud.api('GET', PATH, { token, headers: { ...(time ? at(time) : {}), ...headers } });
/** A token that is good at any time that these specs tell. */
const goodToken = (fields) => cloud.adminToken({ ttl: 100 * 3600, ...fields });
const base64url = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
/** Strangers learn nothing; the log says why. */
const refused = async (answer, why) => {
  isProblem(answer, 401, []);
  assert.equal(answer.headers['www-authenticate'], 'Bearer');
  const line = await eventually('its log line', () => cloud.logs({ request_id: answer.headers['x-request-id'] })[0]);
  assert.equal(line.log, `token: ${why}`);
};

test('a token that is good is taken, and any other is not', async (t) => {
  await start();
  const token = await cloud.adminToken();
  const now = Math.floor(Date.now() / 1000);
  const { kid, n } = cloud.idp.operators.jwks().keys[0];
  const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  const [header, payload, signature] = token.split('.');

  await t.test('in Cf-Access-Jwt-Assertion, as Cloudflare Access sends it, or in Authorization', async () => {
    isStatus(await ask(token), 200);
    isStatus(await ask(undefined, { headers: { 'cf-access-jwt-assertion': token } }), 200);
    isStatus(await ask(undefined, { headers: { authorization: `bearer  ${token}` } }), 200);
    isStatus(await ask('garbage', { headers: { 'cf-access-jwt-assertion': token } }), 200);
  });

  await t.test('what is no token', async () => {
    await refused(await ask(undefined), 'no token');
    await refused(await ask(undefined, { headers: { authorization: `Basic ${token}` } }), 'no token');
    await refused(await ask(undefined, { headers: { authorization: token } }), 'no token');
    const parts = [`${header}.${payload}`, `${token}.x`, `${token}=`, `${header}.${base64url('[]')}.${signature}`];
    for (const garbage of ['x', '..', 'a.b.c', ...parts, 'x'.repeat(9_000)]) await refused(await ask(garbage), 'form');
  });

  await t.test('other algorithms, the issuer’s own key as HMAC secret included', async () => {
    const unsigned = `${base64url({ alg: 'none', kid })}.${payload}.`;
    await refused(await ask(unsigned), 'algorithm');
    const symmetric = `${base64url({ alg: 'HS256', kid })}.${payload}`;
    const tag = createHmac('sha256', Buffer.from(n, 'base64url')).update(symmetric).digest('base64url');
    await refused(await ask(`${symmetric}.${tag}`), 'algorithm');
    await refused(await ask(`${base64url({ alg: 'RS512', kid })}.${payload}.${signature}`), 'algorithm');
  });

  await t.test('signatures of somebody else, or of something else', async () => {
    await refused(await ask(await cloud.idp.users.sign(claims, { kid })), 'signature');
    await refused(await ask(`${header}.${base64url({ ...claims, email: 'mallory@optic.works' })}.${signature}`), 'signature');
    await refused(await ask(`${header}.${payload}.${base64url('short')}`), 'signature');
    await refused(await ask(`${header}.${payload}.`), 'signature');
  });

  await t.test('claims of somebody else, or of another time', async () => {
    const changed = (change) => cloud.adminToken({ claims: change });
    await refused(await ask(await changed({ iss: 'http://accounts.localhost' })), 'issuer');
    await refused(await ask(await changed({ aud: ['rs1-production'] })), 'audience');
    await refused(await ask(await changed({ aud: [] })), 'audience');
    await refused(await ask(await changed({ exp: now - 120 })), 'expired');
    await refused(await ask(await changed({ nbf: now + 120 })), 'not_yet');
    await refused(await ask(await changed({ email: undefined })), 'nameless');
    await refused(await ask(await changed({ exp: undefined })), 'form');
    await refused(await ask(await cloud.userToken({ email: 'user@example.com' })), 'unknown key');
    isStatus(await ask(await changed({ exp: now - 30 })), 200, 'clocks may differ by a minute');
    isStatus(await ask(await changed({ nbf: now + 30 })), 200);
    isStatus(await ask(await changed({ aud: 'rs1-local' })), 200, 'one audience may stand alone');
    isStatus(await ask(await changed({ nbf: undefined })), 200);
  });

  await t.test('a service token says its name in common_name', async () => {
    const service = await cloud.adminToken({ claims: { email: undefined, common_name: 'ci.access' } });
    isStatus(await ask(service, { headers: { 'x-request-id': 'service' } }), 200);
    assert.deepEqual(await cloud.rows("SELECT actor FROM audit_log WHERE request_id = 'service'"), [{ actor: 'ci.access' }]);
  });

  await t.test('whoever is refused leaves no trace in the database', async () => {
    cloud.faults.forget();
    await ask('x');
    await ask(await cloud.idp.users.sign(claims, { kid }));
    assert.deepEqual(cloud.faults.calls(), []);
  });

  assert.equal(issuer.asked, 1, 'the keys were fetched once for all of this');
});

test('keys are fetched when a token names one that is not known, but not at a stranger’s pace', async () => {
  await start();
  const begin = Date.now();
  const [old, stranger] = [await goodToken(), await goodToken({ header: { kid: 'never-heard-of' } })];
  isStatus(await ask(old, { time: begin }), 200);
  for (let second = 1; second < 30; second += 4) await refused(await ask(stranger, { time: begin + second * 1000 }), 'unknown key');
  assert.equal(issuer.asked, 1, 'the keys are half a minute old at most');

  await refused(await ask(stranger, { time: begin + 31_000 }), 'unknown key');
  assert.equal(issuer.asked, 2, 'one more attempt');
  await refused(await ask(stranger, { time: begin + 32_000 }), 'unknown key');
  assert.equal(issuer.asked, 2, 'and then again none');

  // The issuer rotates, and keeps the old key for the tokens that are about.
  await cloud.idp.operators.rotate();
  const fresh = await goodToken();
  isStatus(await ask(old, { time: begin + 62_000 }), 200);
  assert.equal(issuer.asked, 2, 'a known key needs no fetch');
  isStatus(await ask(fresh, { time: begin + 62_000 }), 200);
  assert.equal(issuer.asked, 3);
  isStatus(await ask(old, { time: begin + 62_000 }), 200);

  // The old key is retired: who notices it is the hourly fetch.
  await cloud.idp.operators.rotate({ retire: true });
  const newest = await goodToken();
  isStatus(await ask(newest, { time: begin + 2 * HOUR }), 200);
  await refused(await ask(old, { time: begin + 2 * HOUR }), 'unknown key');
});

test('many strangers at once cause one fetch', async () => {
  await start();
  const begin = Date.now();
  isStatus(await ask(await goodToken(), { time: begin }), 200);
  const stranger = await goodToken({ header: { kid: 'never-heard-of' } });
  const gate = Promise.withResolvers();
  issuer.answers = async () => gate.promise.then(() => undefined);
  const asking = Array.from({ length: 8 }, () => ask(stranger, { time: begin + MINUTE }));
  // All of them have reached the worker once a request sent after them was answered.
  isStatus(await cloud.api('GET', '/api/health', { headers: at(begin + MINUTE) }), 200);
  gate.resolve();
  for (const { status, text } of await Promise.all(asking)) assert.ok([401, 503].includes(status), text);
  assert.equal(issuer.asked, 2, 'one fetch at the start, one for all of them');
});

test('known keys go on for a day while the issuer is down', async () => {
  await start();
  const begin = Date.now();
  const token = await goodToken();
  isStatus(await ask(token, { time: begin }), 200);
  issuer.answers = down;
  for (const hours of [0.5, 1.5, 12, 23.9]) isStatus(await ask(token, { time: begin + hours * HOUR }), 200);
  isProblem(await ask(token, { time: begin + 24.5 * HOUR }), 503, []);
  issuer.answers = null;
  isStatus(await ask(token, { time: begin + 24.5 * HOUR + MINUTE }), 200);
});

test('without any keys nobody can be told apart, which is our fault and passes', async () => {
  await start();
  const begin = Date.now();
  const token = await goodToken();
  const answers = [
    down,
    () => new Response('<html>', { status: 200 }),
    () => Response.json({ no: 'keys' }),
    () => new Response('x'.repeat(100_000)),
    () => new Response(null, { status: 302, headers: { location: 'http://identity.localhost/elsewhere' } }),
    () => {
      throw new Error('the network is gone');
    },
  ];
  for (const [index, answer] of answers.entries()) {
    issuer.answers = answer;
    isProblem(await ask(token, { time: begin + index * MINUTE }), 503, []);
    isProblem(await ask(token, { time: begin + index * MINUTE + 1_000 }), 503, []);
    assert.equal(issuer.asked, index + 1, 'a second attempt waits for its time');
  }
  isProblem(await ask('garbage', { time: begin + 5 * MINUTE }), 401, []);
  issuer.answers = null;
  isStatus(await ask(token, { time: begin + 6 * MINUTE }), 200);
});

test('a key that is broken is not a caller’s fault', async () => {
  await start();
  const [key] = cloud.idp.operators.jwks().keys;
  issuer.answers = () => Response.json({ keys: [{ ...key, n: '!' }] });
  isProblem(await ask(await goodToken()), 503, []);
});
