// What holds for every worker and every route: health, request ids, problem documents, one log line and one point a request.

import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { after, before, beforeEach, describe, test } from 'node:test';
import { HEALTH } from '../../local/lib/workers.mjs';
import { telemetry, topicOf } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

const WORKERS = Object.keys(HEALTH);
/** Data centres: the platform names the one that took a request in `Cf-Ray`. */
const COLOS = ['AMS', 'FRA', 'SIN'];
/** A request on a connection of its own. */
const ALONE = { connection: 'close' };
const ULID = /^req-[0-9A-HJKMNP-TV-Z]{26}$/;

describe('workers that are configured well', () => {
  /** @type {Awaited<ReturnType<typeof startHarness>>} */
  let cloud;
  before(async () => {
    cloud = await startHarness();
  });
  after(() => cloud?.stop());
  beforeEach(() => {
    cloud.faults.clear();
    cloud.faults.forget();
  });

  const ask = (worker, method = 'GET', { path = HEALTH[worker].path, ...options } = {}) =>
    cloud.api(method, path, { host: HEALTH[worker].host, ...options });
  const logged = (requestId) => cloud.logs({ request_id: requestId });

  for (const worker of WORKERS) {
    test(`${worker} says that it is well, and its version`, async () => {
      const answer = await ask(worker);
      isStatus(answer, 200);
      assert.equal(answer.headers['content-type'], 'application/json');
      const { version, ...rest } = answer.json;
      assert.match(version, /^\d+\.\d+\.\d+/);
      // Which upload answers: a release asks for it.
      assert.match(answer.headers['x-version'], /^[0-9a-f]{8}-[0-9a-f]{4}-/);
      assert.equal(rest.status, 'ok');
      assert.deepEqual(rest.checks.database, { status: 'ok' });
      const { notices, ...others } = rest.checks;
      if (notices) assert.deepEqual(notices, { status: 'ok', detail: 'pagerduty, slack, webhook' });
      for (const [name, check] of Object.entries(others)) assert.deepEqual(check, { status: 'ok' }, name);
    });

    test(`${worker} answers HEAD as GET, without the body`, async () => {
      const [get, head] = [await ask(worker), await ask(worker, 'HEAD')];
      isStatus(head, 200);
      assert.equal(head.bytes.length, 0);
      assert.equal(head.headers['content-type'], get.headers['content-type']);
    });

    test(`${worker} says that its database is down, and not why`, async () => {
      cloud.faults.inject({ binding: 'DB', worker, message: 'internal text' });
      const answer = await ask(worker, 'GET', { headers: { 'x-request-id': `down-${worker}` } });
      isStatus(answer, 503);
      assert.equal(answer.json.status, 'fail');
      assert.deepEqual(answer.json.checks.database, { status: 'fail', detail: 'does not answer' });
      const [line] = await eventually('the log line', () => logged(`down-${worker}`).length > 0 && logged(`down-${worker}`));
      assert.equal(line.level, 'error');
      assert.match(line.log, /internal text/, 'we are told why');
      isStatus(await ask(worker), 200);
    });

    test(`${worker} has nothing on other paths`, async () => {
      const root = HEALTH[worker].path.replace(/health$/, '');
      for (const path of [`${root}nothing`, `${root}health/`, `${root}healthy`, `${root}HEALTH`, `${root}health%2f`]) {
        isProblem(await ask(worker, 'GET', { path }), 404, []);
      }
      isProblem(await ask(worker, 'POST', { path: `${root}nothing`, body: { a: 'body' }, headers: ALONE }), 404, []);
    });

    test(`${worker} names the methods that its health takes`, async () => {
      // Browsers ask the device API for what they may do, so that one answers OPTIONS everywhere (limits.test.mjs).
      const others = ['POST', 'PUT', 'DELETE', 'PATCH', ...(worker === 'device-api' ? [] : ['OPTIONS'])];
      for (const method of others) {
        const answer = await ask(worker, method);
        isProblem(answer, 405, []);
        assert.equal(answer.headers.allow, 'GET, HEAD', method);
      }
      isProblem(await ask(worker, 'POST', { body: { a: 'body' }, headers: ALONE }), 405, []);
    });

    test(`${worker} keeps a connection open though nobody reads the request’s body`, async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const { host, path } = HEALTH[worker];
      const send = (method, body) =>
        new Promise((done, fail) => {
          const headers = { host, 'content-length': body.length };
          const outgoing = request({ agent, host: '127.0.0.1', port: cloud.ports.http, method, path, headers });
          outgoing.on('error', fail).on('response', (response) => {
            response.resume().on('end', () => done({ status: response.statusCode, reused: outgoing.reusedSocket }));
          });
          outgoing.end(body);
        });
      assert.deepEqual(await send('POST', '{"a": "body"}'), { status: 405, reused: false });
      assert.deepEqual(await send('GET', ''), { status: 200, reused: true });
      agent.destroy();
    });

    test(`${worker} keeps a request id that is well-formed and replaces any other`, async () => {
      for (const good of ['a', 'req-7', 'A.b_c:d-9', 'x'.repeat(128)]) {
        assert.equal((await ask(worker, 'GET', { headers: { 'x-request-id': good } })).headers['x-request-id'], good);
      }
      for (const bad of ['', ' ', 'two words', 'x'.repeat(129), 'a,b', '<script>', '"quoted"', 'é']) {
        const answer = await ask(worker, 'GET', { headers: { 'x-request-id': bad } });
        assert.match(answer.headers['x-request-id'], ULID, `instead of ${bad}`);
      }
      const [one, two] = [await ask(worker), await ask(worker)];
      assert.match(one.headers['x-request-id'], ULID);
      assert.notEqual(one.headers['x-request-id'], two.headers['x-request-id']);
    });
  }

  test('every route names its methods', async () => {
    for (const [path, allow] of [
      ['/api/admin/enroll', 'POST'],
      ['/api/admin/enroll/bulk', 'POST'],
      ['/api/admin/devices', 'GET, HEAD'],
      ['/api/admin/devices/x', 'GET, HEAD'],
      ['/api/admin/devices/x/telemetry', 'GET, HEAD'],
      ['/api/admin/security-log', 'GET, HEAD'],
      ['/api/devices/x/telemetry', 'GET, HEAD'],
      ['/api/devices/x/events', 'GET, HEAD'],
      ['/api/devices/x/alerts/y/ack', 'POST'],
      ['/webhook/mqtt-auth', 'POST'],
      ['/webhook/mqtt-acl', 'POST'],
      ['/webhook/device-state', 'POST'],
      ['/webhook/device-offline', 'POST'],
      ['/webhook/telemetry', 'POST'],
    ]) {
      const answer = await cloud.api('DELETE', path);
      isProblem(answer, 405, []);
      assert.equal(answer.headers.allow, allow, path);
    }
  });

  test('every answer has a request id; what could be cached or guessed at says not to', async () => {
    const device = makeDevice();
    for (const [status, { headers, ...answer }, isRead] of [
      [200, await ask('ota'), true],
      [202, await cloud.emqx.message(topicOf(device, 'telemetry'), telemetry(device))],
      [204, await cloud.emqx.disconnected('no-device')],
      [401, await cloud.api('GET', '/api/admin/devices'), true],
      [404, await ask('health', 'GET', { path: '/x' }), true],
      [404, await ask('health', 'HEAD', { path: '/x' }), true],
      [405, await ask('ota', 'PUT')],
      [413, await cloud.emqx.webhook('mqtt-acl', 'x'.repeat(20_000))],
    ]) {
      assert.equal(answer.status, status);
      assert.match(headers['x-request-id'], ULID, String(status));
      assert.equal(headers['cache-control'], isRead ? 'no-store' : undefined, String(status));
      assert.equal(headers['x-content-type-options'], isRead ? 'nosniff' : undefined, String(status));
    }
  });

  test('every request leaves one log line and one analytics point', async () => {
    const token = await cloud.adminToken();
    const headers = { 'x-webhook-secret': cloud.secrets.WEBHOOK_SECRET };
    const cases = [
      { worker: 'device-api', call: 'GET /api/health', route: '/api/health', status: 200 },
      { worker: 'device-api', call: 'GET /api/who/knows?q=1', route: 'unknown', status: 404 },
      { worker: 'device-api', call: 'GET /api/admin/devices?limit=1', route: '/api/admin/devices', status: 200, token },
      { worker: 'device-api', call: 'GET /api/admin/devices/x', route: '/api/admin/devices/{id}', status: 404, token },
      { worker: 'device-api', call: 'GET /api/admin/devices', route: '/api/admin/devices', status: 401 },
      { worker: 'telemetry', call: 'HEAD /webhook/health', route: '/webhook/health', status: 200 },
      { worker: 'telemetry', call: 'POST /webhook/mqtt-acl', route: '/webhook/mqtt-acl', status: 400, headers, body: '[' },
      { worker: 'telemetry', call: 'POST /webhook/telemetry', route: '/webhook/telemetry', status: 401, body: {} },
      { worker: 'history', call: 'GET /api/history/health', route: '/api/history/health', status: 200 },
      { worker: 'archive', call: 'GET /api/archive/health', route: '/api/archive/health', status: 200 },
      { worker: 'ota', call: 'DELETE /health', route: '/health', status: 405 },
      { worker: 'health', call: 'GET /health', route: '/health', status: 200 },
    ].map(({ call, status, ...rest }) => {
      const [method, path] = call.split(' ');
      return { ...rest, method, path, status, level: status < 400 ? 'info' : 'warn' };
    });
    // Points of the requests before this test may still be on their way; those are done with when this one is there.
    await ask('ota', 'PATCH');
    const border = () => cloud.faults.points.findLastIndex(({ blobs }) => blobs[1] === 'PATCH') + 1;
    await eventually('the point of the last request before', border);
    const points = () => cloud.faults.points.slice(border());
    for (const [n, { worker, method, path, status, body, token: bearer, headers: own }] of cases.entries()) {
      const added = { 'x-request-id': `case-${n}`, 'cf-ray': `8f2b3c4d5e6f7a8b-${COLOS[n % COLOS.length]}` };
      isStatus(await ask(worker, method, { path, body, token: bearer, headers: { ...own, ...added } }), status);
    }
    await eventually('a point for each', () => points().length >= cases.length, { seen: points });
    assert.equal(points().length, cases.length, 'and no more');
    for (const [n, { worker, method, route, status, level }] of cases.entries()) {
      const [line, ...others] = logged(`case-${n}`);
      assert.deepEqual(others, [], 'one line');
      const { ts, duration_ms: duration, log, ...rest } = line;
      assert.deepEqual(rest, { level, worker, request_id: `case-${n}`, method, route, status });
      assert.ok(Math.abs(Date.parse(ts) - Date.now()) < 60_000, `${ts} is no time of now`);
      assert.ok(duration >= 0 && Number.isInteger(duration), String(duration));
      assert.ok(log === undefined || typeof log === 'string');

      const point = points()[n];
      assert.deepEqual(point.problems, [], 'the platform would drop it');
      assert.deepEqual(point.indexes, [worker]);
      const [version] = point.blobs.slice(5);
      assert.deepEqual(point.blobs, [route, method, `${Math.floor(status / 100)}xx`, COLOS[n % COLOS.length], 'local', version]);
      assert.match(version, /^[0-9a-f]{8}-[0-9a-f]{4}-/, 'which upload answered');
      assert.deepEqual(point.doubles, [status, duration]);
    }
  });
});

test('bad settings are all named, and their values nowhere', async (t) => {
  const values = {
    ENVIRONMENT: 'no-such-environment',
    WEBHOOK_SECRET: 'too-short-a-secret',
    DEVICE_KEK: 'no-hex-at-all',
    OPERATOR_JWKS_URL: 'ftp://keys.example',
    EMQX_API_KEY: 'a-key-without-its-secret',
    SIGNING_KEY: 'too-short-a-signing-key',
    JWT_SECRET: 'too-short-a-token-key',
    METRICS_TOKEN: 'too-short-a-metrics-token',
  };
  const { ENVIRONMENT, OPERATOR_JWKS_URL } = values;
  const cloud = await startHarness({
    secrets: { WEBHOOK_SECRET: values.WEBHOOK_SECRET, DEVICE_KEK: values.DEVICE_KEK, EMQX_API_KEY: values.EMQX_API_KEY, SIGNING_KEY: values.SIGNING_KEY, JWT_SECRET: values.JWT_SECRET, METRICS_TOKEN: values.METRICS_TOKEN },
    vars: {
      'device-api': { ENVIRONMENT, OPERATOR_ISSUER: '', OPERATOR_AUDIENCE: '', OPERATOR_JWKS_URL },
      telemetry: { ENVIRONMENT },
      history: { ENVIRONMENT },
      archive: { ENVIRONMENT },
      ota: { ENVIRONMENT, OPERATOR_ISSUER: '', OPERATOR_AUDIENCE: '', OPERATOR_JWKS_URL, FIRMWARE_ORIGIN: '', DOWNLOAD_ATTEMPTS: 0 },
      status: { ENVIRONMENT, STATUS_ORIGIN: '' },
      health: { ENVIRONMENT, OPERATOR_ISSUER: '', OPERATOR_AUDIENCE: '', OPERATOR_JWKS_URL, WATCHED_BACKUPS: 'postgres', HEARTBEAT_URL: 'nowhere' },
    },
  });
  t.after(() => cloud.stop());
  const faulty = {
    'device-api': ['ENVIRONMENT', 'OPERATOR_ISSUER', 'OPERATOR_AUDIENCE', 'OPERATOR_JWKS_URL', 'DEVICE_KEK', 'EMQX_API_KEY', 'JWT_SECRET'],
    telemetry: ['ENVIRONMENT', 'WEBHOOK_SECRET', 'DEVICE_KEK', 'EMQX_API_KEY'],
    history: ['ENVIRONMENT', 'JWT_SECRET'],
    archive: ['ENVIRONMENT'],
    ota: [
      ...['ENVIRONMENT', 'OPERATOR_ISSUER', 'OPERATOR_AUDIENCE', 'OPERATOR_JWKS_URL'],
      ...['EMQX_API_KEY', 'FIRMWARE_ORIGIN', 'SIGNING_KEY', 'DOWNLOAD_ATTEMPTS'],
    ],
    status: ['ENVIRONMENT', 'STATUS_ORIGIN', 'METRICS_TOKEN'],
    health: ['ENVIRONMENT', 'OPERATOR_ISSUER', 'OPERATOR_AUDIENCE', 'OPERATOR_JWKS_URL', 'WATCHED_BACKUPS', 'EMQX_API_KEY', 'HEARTBEAT_URL'],
  };
  for (const [worker, names] of Object.entries(faulty)) {
    const answer = await cloud.api('GET', HEALTH[worker].path, { host: HEALTH[worker].host });
    isStatus(answer, 503);
    const { status, detail } = answer.json.checks.config;
    assert.equal(status, 'fail', worker);
    assert.deepEqual(detail.match(/ENVIRONMENT|[A-Z]+(_[A-Z]+)+/g).sort(), names.sort(), detail);
    assert.deepEqual(answer.json.checks.database, { status: 'ok' }, 'the other checks are made all the same');
  }
  // Nothing works on half a configuration, and strangers are not told which half.
  const calls = [
    await cloud.api('GET', '/api/admin/devices', { token: await cloud.adminToken() }),
    await cloud.emqx.authn({ clientid: 'x', username: 'x' }, { secret: values.WEBHOOK_SECRET }),
  ];
  for (const answer of calls) {
    isProblem(answer, 503, []);
    assert.doesNotMatch(answer.text, /[A-Z]+_[A-Z]+/);
  }
  await eventually('their log lines', () => cloud.logs({ status: 503 }).length >= Object.keys(faulty).length + calls.length);
  const all = cloud.lines.join('\n');
  assert.match(all, /WEBHOOK_SECRET/, 'we are told');
  for (const [name, value] of Object.entries(values)) assert.ok(!all.includes(value), `the value of ${name} was logged`);
});
