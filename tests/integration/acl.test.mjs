// POST /webhook/mqtt-acl: may a client publish or subscribe? Decided by the contract's table, from the request alone.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { at, beside } from './fixtures/beside.mjs';
import { topicOf } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { authzVerdict } from './support/emqx.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
before(async () => {
  cloud = await startHarness({ only: ['telemetry'], configure: beside(['telemetry'], 'clock.worker.js') });
});
after(() => cloud?.stop());
beforeEach(() => {
  cloud.faults.clear();
  cloud.faults.forget();
});

const FROM_DEVICE = [
  ...['state', 'telemetry', 'telemetry/temp', 'telemetry/a/b', 'telemetry/diagnostics', 'diag/response'],
  ...['ota/status', 'config/status', 'provision', 'targets/stream'],
];
const FROM_CLOUD = ['ota/trigger', 'config/update', 'diag/request', 'provision/response', 'command/factory-reset'];
/** No topic of the contract, or a filter that could match more than one. */
const OF_NOBODY = [
  ...['', 'nonsense', 'state/', 'state/x', 'ota', 'ota/', 'config', 'command/#', 'command/reboot', 'telemetry/#'],
  ...['telemetry/+', '#', '+', '+/status', 'ota/+', 'State', 'targets', 'cmd/#'],
];
/** Topics that are no device's. */
const ELSEWHERE = [
  ...['#', '+/#', 'opticworks/#', 'opticworks/+/state', 'opticworks/+/telemetry/#', 'opticworks', 'opticworks/'],
  ...['$SYS/#', '$SYS/brokers', '/', '', '$share/g/x'],
];

/** The calls that requests made; violations are written down by the queue's consumer, whenever it comes to it. */
const callsOfRequests = () => cloud.faults.calls().filter(({ names = [] }) => !names.includes('record_security'));
const device = makeDevice();
const ask = (action, topic, columns) => cloud.emqx.authz({ clientid: device.id, username: device.id, action, topic, ...columns });
const is = (answer, verdict, what) => {
  isStatus(answer, 200);
  assert.equal(answer.headers['content-type'], 'application/json');
  assert.deepEqual(answer.json, { result: verdict }, what);
  assert.equal(authzVerdict(answer), verdict, what);
};

test('a device publishes what is a device’s and subscribes to what is the cloud’s', async () => {
  for (const clientid of [device.id, `${device.id}-2`]) {
    for (const name of FROM_DEVICE) is(await ask('publish', topicOf(device, name), { clientid }), 'allow', `publish ${name}`);
    for (const name of FROM_CLOUD) is(await ask('subscribe', topicOf(device, name), { clientid }), 'allow', `subscribe ${name}`);
  }
  assert.deepEqual(callsOfRequests(), [], 'neither the database nor the queue was asked');
});

test('and nothing else', async () => {
  const other = makeDevice();
  const denied = [
    ...FROM_CLOUD.map((name) => ['publish', topicOf(device, name)]),
    ...FROM_DEVICE.map((name) => ['subscribe', topicOf(device, name)]),
    ...['publish', 'subscribe'].flatMap((action) => [
      ...OF_NOBODY.map((name) => [action, topicOf(device, name)]),
      ...ELSEWHERE.map((topic) => [action, topic]),
      ...[...FROM_DEVICE, ...FROM_CLOUD].map((name) => [action, topicOf(other, name)]),
      [action, topicOf({ id: device.id.toUpperCase() }, 'state')],
      [action, `/${topicOf(device, 'state')}`],
      [action, `${topicOf(device, 'state')}\u0000`],
    ]),
    ['', topicOf(device, 'state')],
    ['PUBLISH', topicOf(device, 'state')],
    ['all', topicOf(device, 'state')],
  ];
  for (const [action, topic] of denied) is(await ask(action, topic), 'deny', `${action} ${JSON.stringify(topic)}`);
  assert.ok(
    callsOfRequests().every(({ binding }) => binding === 'TELEMETRY_QUEUE'),
    'the database was asked',
  );
});

test('names that do not belong together may do nothing', async () => {
  const other = makeDevice();
  for (const columns of [
    { username: other.id },
    { clientid: other.id },
    { username: '' },
    { clientid: '' },
    { clientid: `${device.id}x` },
    { username: 'undefined', clientid: 'undefined' },
    { username: 'http_api', clientid: 'http_api' },
  ]) {
    is(await ask('publish', topicOf(device, 'state'), columns), 'deny', JSON.stringify(columns));
  }
});

test('the secret is needed', async () => {
  for (const secret of [null, 'wrong']) {
    const answer = await cloud.emqx.authz({ clientid: device.id, username: device.id, topic: topicOf(device, 'state') }, { secret });
    isProblem(answer, 401, []);
    assert.equal(answer.verdict, 'ignore');
  }
  assert.deepEqual(callsOfRequests().filter(({ binding }) => binding === 'DB'), []);
});

test('EMQX may send no content type', async () => {
  const body = JSON.stringify({ username: device.id, clientid: device.id, topic: topicOf(device, 'state'), action: 'publish', qos: '0' });
  const secret = { 'x-webhook-secret': cloud.secrets.WEBHOOK_SECRET };
  for (const headers of [secret, { ...secret, 'content-type': 'text/plain' }]) {
    is(await cloud.api('POST', '/webhook/mqtt-acl', { headers, body }), 'allow', JSON.stringify(headers));
  }
});

test('a body that is not EMQX’s is refused as such', async () => {
  for (const body of ['', '{', '[]', '{"topic": 5}']) isProblem(await cloud.emqx.webhook('mqtt-acl', body), 400);
  isProblem(await ask('publish', topicOf(device, `telemetry/${'x'.repeat(16 * 1024)}`)), 413);
});

test('what is refused is counted in the security log, a burst in one row', async () => {
  const intruder = makeDevice();
  const columns = { clientid: `${intruder.id}-7`, username: intruder.id, peerhost: '198.51.100.9' };
  const topics = ['opticworks/+/state', '#', 'x'.repeat(1_000)];
  // At a time when nothing else happened: of a flood not every one is told at once.
  const options = { headers: at(Date.now() + 24 * 3_600_000) };
  for (const topic of topics) is(await cloud.emqx.authz({ ...columns, action: 'subscribe', topic }, options), 'deny', topic);
  const [row, ...more] = await eventually('the violations in the log', async () => {
    const found = await cloud.rows("SELECT * FROM security_log WHERE kind = 'acl_violation' AND peerhost = ?", columns.peerhost);
    return found.reduce((sum, { count }) => sum + count, 0) === topics.length && found;
  });
  assert.deepEqual(more, [], 'one row for one burst');
  const { severity, subject, detail, id } = row;
  assert.deepEqual({ severity, subject }, { severity: 'warning', subject: columns.peerhost });
  assert.match(id, /^sec-[0-9A-HJKMNP-TV-Z]{26}$/);
  const said = { topic: topics[0], client_id: `${intruder.id}-7`, username: intruder.id };
  assert.deepEqual(JSON.parse(detail), { reason: 'topic', action: 'subscribe', ...said });
});

test('a refusal that cannot be recorded is a refusal all the same', async () => {
  cloud.faults.inject({ binding: 'TELEMETRY_QUEUE' });
  is(await ask('subscribe', '#', { peerhost: '198.51.100.10' }), 'deny');
  await eventually('a log line that says so', () => cloud.logs({ route: '/webhook/mqtt-acl' }).some(({ log }) => /not recorded/.test(log)));
});
