// Rounds of checks on the real bindings, against servers on this machine that misbehave: what is found, what becomes of it,
// whom it harms (nobody else), and what operators see.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { HOST } from '../../local/lib/ports.mjs';
import { serveHttp } from '../../local/lib/serve.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { ulidOf } from './fixtures/status.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const OFTEN = '*/5 * * * *';
const LOGIN = 'https://opticworks.cloudflareaccess.com/';
const STORE = { status: 'ok', database: 'connected', redis: 'connected' };
const HUGE = 4 * 1024 * 1024;

/** How a server behaves, by the path that it is asked for; whom it hangs on to is let go when it closes. */
const MANNERS = {
  '/fine': (_, response) => response.end('fine'),
  '/store': (_, response) => response.setHeader('content-type', 'application/json').end(JSON.stringify(STORE)),
  '/store-ill': (_, response) => response.end(JSON.stringify({ ...STORE, redis: 'disconnected' })),
  '/no-json': (_, response) => response.end('<html>maintenance</html>'),
  '/broken': (_, response) => response.writeHead(500).end('oops'),
  '/login': (_, response) => response.writeHead(302, { location: `${LOGIN}cdn-cgi/access/login/x` }).end(),
  '/open': (_, response) => response.end('everybody is welcome'),
  '/elsewhere': (_, response) => response.writeHead(302, { location: 'https://evil.example/' }).end(),
  '/slow': (_, response) => setTimeout(() => response.end('at last'), 400),
  '/hangs': () => {},
  '/hangs-halfway': (_, response) => response.writeHead(200, { 'content-length': '1000' }).write('half'),
  '/closes': (request) => request.socket.destroy(),
  '/huge': (_, response) => response.end('x'.repeat(HUGE)),
  '/huge-json': (_, response) => response.end(JSON.stringify({ ...STORE, more: 'x'.repeat(HUGE) })),
  '/no-text': (_, response) => response.end(Buffer.from([0xff, 0xfe, 0x00, 0x80])),
};

async function startServer() {
  const asked = [];
  const handle = (request, response) => {
    asked.push(request.url);
    MANNERS[request.url]?.(request, response) ?? response.writeHead(404);
  };
  const { port, close } = await serveHttp({ port: 0, handle });
  return { asked, url: (path) => `http://${HOST}:${port}${path}`, close };
}

/** Runs the trigger; what became of it. Rounds may follow each other at once: what counts is that each is later. */
function clockOf(cloud) {
  let due = Date.parse('2026-11-21T03:00:00Z');
  return async () => {
    await cloud.cron('health', OFTEN, new Date((due += 300_000)));
    const [run] = await cloud.rows("SELECT outcome, detail FROM cron_runs WHERE worker = 'health' AND cron = ?", OFTEN);
    return run;
  };
}

const status = (cloud, token) => (method, path, options) => cloud.api(method, path, { host: 'status.localhost', token, ...options });

describe('targets that misbehave', () => {
  const target = (id, path, more = {}) => ({ id, component: 'sites', kind: 'http', path, timeout_ms: 1_500, ...more });
  const JSON_OF = { json: STORE };
  /** Each target, and what is to be said of it. */
  const EXPECTED = [
    [target('fine', '/fine'), null],
    [target('store', '/store', JSON_OF), null],
    [target('store-ill', '/store-ill', JSON_OF), 'redis is "disconnected", not "connected"'],
    [target('no-json', '/no-json', JSON_OF), 'its answer is no JSON object'],
    [target('broken', '/broken'), 'status 500'],
    [target('broken-as-told', '/broken', { status: [500] }), null],
    [target('login', '/login', { login: LOGIN }), null],
    [target('open', '/open', { login: LOGIN }), 'it lets everybody in: status 200 without a login'],
    [target('elsewhere', '/elsewhere', { login: LOGIN }), `it redirects, but not to ${LOGIN}`],
    [target('slow', '/slow'), null],
    [target('too-slow', '/slow', { max_ms: 200 }), /^it took \d+ ms to answer, and may take 200$/],
    [target('hangs', '/hangs'), 'no answer within 1500 ms'],
    [target('hangs-halfway', '/hangs-halfway'), 'no answer within 1500 ms'],
    [target('closes', '/closes'), /./],
    [target('huge', '/huge', { contains: 'xxx' }), null],
    [target('huge-json', '/huge-json', JSON_OF), 'its answer is no JSON object'],
    [target('no-text', '/no-text'), null],
    [target('says-it', '/open', { contains: 'welcome' }), null],
    [target('does-not-say-it', '/open', { contains: 'goodbye' }), 'its answer does not contain "goodbye"'],
  ];
  let cloud, server, round, ask;
  before(async () => {
    server = await startServer();
    const targets = EXPECTED.map(([{ path, ...check }]) => ({ ...check, url: server.url(path) }));
    cloud = await startHarness({ only: ['health'], vars: { health: { CHECKS: [], TARGETS: targets } } });
    round = clockOf(cloud);
    ask = status(cloud, await cloud.adminToken());
  });
  after(() => cloud?.stop());
  after(() => server?.close());

  test('each is found out for what it is, and none of them keeps the others waiting', async () => {
    const began = Date.now();
    const { outcome, detail } = await round();
    const took = Date.now() - began;
    assert.equal(outcome, 'ok', detail);
    const ill = EXPECTED.filter(([, fault]) => fault !== null).length;
    assert.match(detail, new RegExp(`checked ${EXPECTED.length} things, ${ill} with faults; 0 notices$`));
    const { json } = await ask('GET', '/admin/checks');
    const found = Object.fromEntries(json.items.map(({ check_id: id, ...rest }) => [id, rest]));
    for (const [{ id }, fault] of EXPECTED) {
      const said = found[id].fault;
      if (fault instanceof RegExp) assert.match(said ?? '', fault, id);
      else assert.equal(said, fault, id);
    }
    assert.ok(found.slow.latency_ms >= 390 && found.slow.latency_ms < 1_500, `${found.slow.latency_ms} ms`);
    // Two hang for a second and a half, side by side with the rest.
    assert.ok(took < 4_500, `the round took ${took} ms`);
    assert.equal(json.round.looked, EXPECTED.length);
  });

  test('the second time it is an incident each, told once, and over when they are well', async () => {
    await round();
    const { json } = await ask('GET', '/admin/incidents?limit=100');
    const ill = EXPECTED.filter(([, fault]) => fault !== null).map(([{ id }]) => id);
    assert.deepEqual(json.items.map(({ subject }) => subject).sort(), [...ill].sort());
    await round();
    const told = await cloud.rows("SELECT said FROM notices WHERE source = 'incident' ORDER BY seq");
    assert.equal(told.length, ill.length);
    assert.equal(new Set(told.map(({ said }) => said)).size, ill.length);

    const { incident_id: id } = json.items.find(({ subject }) => subject === 'broken');
    MANNERS['/broken'] = MANNERS['/fine'];
    await round();
    await round();
    const { json: one } = await ask('GET', `/admin/incidents/${id}`);
    assert.equal(one.status, 'resolved');
    assert.deepEqual(one.timeline.map(({ what }) => what), ['opened', 'resolved']);
    const [last] = await cloud.rows('SELECT what, dedup_key FROM notices WHERE dedup_key = ? ORDER BY seq DESC', `incident-${id}`);
    assert.equal(last.what, 'resolve');
    // The one that was to answer 500 does not any more.
    const { json: now } = await ask('GET', '/admin/checks');
    assert.equal(now.items.find(({ check_id }) => check_id === 'broken-as-told').fault, 'status 200');
  });
});

describe('queues', () => {
  const queue = (id, more) => ({ id, component: 'queues', kind: 'queue', fails: '1 of 1', ...more });
  // The second takes the same queue for one of dead letters, because on this machine those are taken out at once.
  const CHECKS = [
    queue('late', { binding: 'TELEMETRY_QUEUE', dead: 'TELEMETRY_DEAD_LETTERS', oldest_s: 1 }),
    queue('given-up', { binding: 'OTA_STATUS_QUEUE', dead: 'TELEMETRY_QUEUE' }),
  ];
  let cloud, round, ask;
  before(async () => {
    // The consumer waits for more, for a minute.
    cloud = await startHarness({ only: ['telemetry', 'health'], batchTimeout: 60, vars: { health: { CHECKS } } });
    round = clockOf(cloud);
    ask = status(cloud, await cloud.adminToken());
  });
  after(() => cloud?.stop());

  test('what waits too long is a fault, and what was given up', async () => {
    const fault = async (id) => {
      await round();
      return (await ask('GET', '/admin/checks')).json.items.find(({ check_id }) => check_id === id).fault;
    };
    assert.deepEqual([await fault('late'), await fault('given-up')], [null, null]);
    for (let n = 0; n < 3; n += 1) await (await cloud.queue('TELEMETRY_QUEUE')).send(`${n}`, { contentType: 'text' });
    assert.equal(await eventually('dead letters', () => fault('given-up')), '3 messages were given up');
    assert.match(await eventually('a message that is late', () => fault('late')), /^the oldest of 3 messages waits for \d+ s$/);
  });
});

describe('our own parts', () => {
  let cloud, round, ask, checks, heartbeat;
  before(async () => {
    heartbeat = await startServer();
    cloud = await startHarness({ vars: { health: { HEARTBEAT_URL: heartbeat.url('/fine') } } });
    round = clockOf(cloud);
    ask = status(cloud, await cloud.adminToken());
    checks = async () => {
      const { json } = await ask('GET', '/admin/checks');
      return Object.fromEntries(json.items.map(({ check_id: id, ...rest }) => [id, rest]));
    };
  });
  after(() => cloud?.stop());
  after(() => heartbeat?.close());
  beforeEach(() => cloud.faults.clear());
  const faultsOf = async () => Object.entries(await checks()).filter(([, { fault }]) => fault !== null).map(([id, { fault }]) => [id, fault]);

  test('all of them are well: database, buckets, namespaces, queues, workers, broker', async () => {
    assert.match((await round()).detail, /checked 23 things, 0 with faults; 0 notices$/);
    assert.deepEqual(await faultsOf(), []);
    assert.deepEqual(heartbeat.asked, ['/fine']);
    for (const binding of ['FIRMWARE', 'ARCHIVES', 'R2', 'BACKUPS']) {
      const { objects } = await (await cloud.cloud.bucket(binding)).list({ prefix: 'health-probe' });
      assert.deepEqual(objects, [], `a probe stays behind in ${binding}`);
    }
    // Every invocation may wait for six answers at once; what was called is bounded by what is checked.
    const calls = cloud.faults.calls({ worker: 'health' });
    assert.ok(calls.length < 60, `${calls.length} calls`);
  });

  test('a bucket, a namespace and a worker that fail are told apart from the rest', async () => {
    cloud.faults.inject({ binding: 'ARCHIVES', worker: 'health', op: 'get', message: 'We encountered an internal error.' });
    cloud.faults.inject({ binding: 'SESSIONS', worker: 'health', op: 'put', message: 'KV PUT failed: 500' });
    cloud.faults.inject({ binding: 'DB', worker: 'ota', times: Infinity });
    await round();
    assert.deepEqual(await faultsOf(), [
      ['bucket-archives', 'We encountered an internal error.'],
      ['kv-sessions', 'KV PUT failed: 500'],
      ['ota', 'status 503: database: does not answer'],
    ]);
  });

  test("the broker's state, its connections and its counters are judged", async () => {
    Object.assign(cloud.emqxApi.metrics, { 'messages.received': 10, 'authentication.failure': 0 });
    await round();
    cloud.emqxApi.metrics['authentication.failure'] = 500;
    // Counters tell a rate only some time after each other.
    await cloud.rows("UPDATE checks SET track = json_set(track, '$.memory.at', (track->>'$.memory.at') - 300000) WHERE check_id = 'emqx-messages'");
    cloud.emqxApi.stats['live_connections.count'] = 40;
    await round();
    const found = await checks();
    assert.match(found['emqx-messages'].fault, /^\d+ authentications a minute fail$/);
    assert.equal(found['emqx-connections'].fault, '40 clients are connected, and 0 devices are said to be online');
    cloud.emqxApi.stats['live_connections.count'] = 0;
    await round();
    await round();

    cloud.emqxApi.status = { code: 503, text: 'Node emqx@127.0.0.1 is stopping\nemqx is not_running' };
    cloud.emqxApi.answer = () => ({ status: 503 });
    await round();
    await round();
    const { json } = await ask('GET', '/admin/incidents?status=open');
    const broker = json.items.find(({ subject }) => subject === 'emqx');
    assert.deepEqual([broker.severity, broker.components], ['SEV1', ['broker']]);
    assert.deepEqual(broker.explains.sort(), ['emqx-connections', 'emqx-messages']);
    assert.ok(!json.items.some(({ subject }) => subject.startsWith('emqx-')), 'what follows from it is no incident of its own');

    // Thirty devices say nothing any more: that is a part of it, and no page of its own.
    const numbers = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)';
    await cloud.rows(`${numbers} INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by) SELECT printf('%032x', i), i, '1.x', 1, 'ada' FROM n`);
    await cloud.rows(
      `INSERT INTO alerts (alert_id, device_id, kind, severity, opened_at, last_at, occurrences, detail, generation)
       SELECT ?1 || substr(device_id, 17), device_id, 'device_offline', 'warning', ?2, ?2, 1, 'it says nothing', 1 FROM devices`,
      ulidOf('alr', Date.now()),
      Date.now(),
    );
    await cloud.cron('health', '* * * * *', new Date('2026-11-21T05:00:00Z'));
    const silence = await cloud.rows("SELECT what, dedup_key, summary FROM notices WHERE source = 'alert'");
    assert.deepEqual(silence, [{ what: 'info', dedup_key: `incident-${broker.incident_id}`, summary: `30 devices: device_offline (because of ${broker.title})` }]);

    const acknowledged = await ask('POST', `/admin/incidents/${broker.incident_id}/ack`, { body: { note: 'on it' } });
    isStatus(acknowledged, 200);
    assert.equal(acknowledged.json.acknowledged_by, 'operator@optic.works');
    isProblem(await ask('POST', `/admin/incidents/${broker.incident_id}/ack`, { body: { note: 7 } }), 422, ['/note']);
    cloud.emqxApi.status = { code: 200, text: 'Node emqx@127.0.0.1 is started\nemqx is running' };
    cloud.emqxApi.answer = null;
    await round();
    await round();
    const { json: over } = await ask('GET', `/admin/incidents/${broker.incident_id}`);
    assert.deepEqual(over.timeline.map(({ what }) => what), ['opened', 'explains', 'explains', 'acknowledged', 'resolved']);
    const told = await cloud.rows('SELECT what FROM notices WHERE dedup_key = ? ORDER BY seq', `incident-${broker.incident_id}`);
    assert.deepEqual(told.map(({ what }) => what), ['trigger', 'info', 'acknowledge', 'resolve']);
  });

  test('maintenance keeps quiet what it names', async () => {
    const until = new Date(Date.now() + 3_600_000).toISOString();
    isProblem(await ask('POST', '/admin/maintenance', { body: { subjects: ['nothing'], reason: 'x', until } }), 422, ['/subjects/0']);
    const window = await ask('POST', '/admin/maintenance', { body: { subjects: ['storage'], reason: 'a bucket moves', until } });
    isStatus(window, 201);
    cloud.faults.inject({ binding: 'R2', worker: 'health', op: 'put', times: Infinity });
    await round();
    await round();
    const { fault, state, silenced } = (await checks())['bucket-storage'];
    assert.deepEqual([fault, state, silenced], ['Network connection lost.', 'down', true]);
    const open = async () => (await ask('GET', '/admin/incidents?status=open')).json.items.map(({ subject }) => subject);
    assert.ok(!(await open()).includes('bucket-storage'));
    isStatus(await ask('DELETE', `/admin/maintenance/${window.json.window_id}`), 200);
    await round();
    assert.ok((await open()).includes('bucket-storage'), 'what is down when it ends is told');
  });

  test('without the database nobody hears a heartbeat, and the failure is logged once', async () => {
    const before = heartbeat.asked.length;
    const errors = () => cloud.logs({ worker: 'health', level: 'error' }).length;
    const logged = errors();
    cloud.faults.inject({ binding: 'DB', worker: 'health', message: 'D1 is overloaded', times: Infinity });
    await cloud.cron('health', OFTEN, new Date('2027-01-01T00:00:00Z'));
    await eventually('the line of the run that failed', () => errors() > logged);
    assert.deepEqual([errors() - logged, heartbeat.asked.length - before], [1, 0]);
    cloud.faults.clear();
    // A round that cannot be stored is none, either.
    cloud.faults.inject({ binding: 'DB', worker: 'health', match: /check_round_finish/ });
    await cloud.cron('health', OFTEN, new Date('2027-01-01T00:05:00Z'));
    await eventually('its line', () => errors() > logged + 1);
    assert.equal(heartbeat.asked.length, before);
  });
});
