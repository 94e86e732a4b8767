// POST /webhook/mqtt-auth: may a client connect? EMQX reads an opinion from a 200 with JSON only; everything else it takes
// for "no opinion", which ends in a refusal as well.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { at, beside } from './fixtures/beside.mjs';
import { topicOf } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

const PREVIOUS = 'the secret that is being replaced, also long enough';
const MINUTE = 60_000;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} The device of the contract's test vector. */
let device;
before(async () => {
  cloud = await startHarness({
    only: ['device-api', 'telemetry'],
    secrets: { WEBHOOK_SECRET_PREVIOUS: PREVIOUS },
    configure: beside(['telemetry'], 'clock.worker.js'),
  });
  device = await cloud.enroll({ mac: 'AA:BB:CC:DD:EE:01', secret: Buffer.from(Array.from({ length: 32 }, (_, index) => index)) });
});
after(() => cloud?.stop());
beforeEach(() => {
  cloud.faults.clear();
  cloud.faults.forget();
});

/** The vector's own time, hour and passwords. */
const TEN = Date.parse('2026-01-20T10:00:00Z');
const HOUR = 491_362;
const HEX = '75b8f8fd547e0ad36718a6d634d2ceba7e3c43f12cc8fc271c52e22904c221ec';
const BASE64 = 'dbj4/VR+CtNnGKbWNNLOun48Q/EsyPwnHFLiKQTCIew=';

const connect = (columns, { time = TEN, ...options } = {}) =>
  cloud.emqx.authn({ clientid: device.id, username: device.id, password: HEX, ...columns }, { headers: at(time), ...options });
/** The calls that requests made; failures are counted by the queue's consumer, whenever it comes to it. */
const OF_THE_CONSUMER = ['note_failures', 'record_security'];
const callsOfRequests = () => cloud.faults.calls().filter(({ names = [] }) => !names.some((name) => OF_THE_CONSUMER.includes(name)));
const admitted = (answer) => {
  isStatus(answer, 200);
  assert.equal(answer.verdict, 'allow', answer.text);
};
/** A refusal is an opinion, and gives no reason. */
const refused = (answer, why) => {
  isStatus(answer, 200);
  assert.equal(answer.verdict, 'deny', `${why}: ${answer.text}`);
  assert.deepEqual(answer.json, { result: 'deny', is_superuser: false }, why);
};

test('a device is admitted with its topics, and is no superuser', async () => {
  const answer = await connect();
  admitted(answer);
  assert.equal(answer.headers['content-type'], 'application/json');
  const { acl, ...rest } = answer.json;
  assert.deepEqual(rest, { result: 'allow', is_superuser: false });
  const topics = (action) =>
    acl
      .filter((rule) => rule.action === action)
      .flatMap((rule) => rule.topics)
      .sort();
  const own = (...names) => names.map((name) => topicOf(device, name)).sort();
  assert.deepEqual(
    topics('publish'),
    own('state', 'telemetry/#', 'telemetry/diagnostics', 'diag/response', 'ota/status', 'config/status', 'provision', 'targets/stream'),
  );
  const fromCloud = own('ota/trigger', 'config/update', 'diag/request', 'provision/response', 'command/factory-reset');
  assert.deepEqual(topics('subscribe'), fromCloud);
  for (const rule of acl) {
    assert.equal(rule.permission, 'allow');
    assert.deepEqual(
      Object.keys(rule).sort(),
      ['action', 'permission', 'topics'],
      'EMQX refuses the client for a rule that it does not know',
    );
  }
});

test('admission reads the database once and writes nothing', async () => {
  admitted(await connect());
  const [read, ...others] = callsOfRequests();
  assert.deepEqual(others, []);
  assert.equal(read.binding, 'DB');
  assert.equal(read.sql.length, 1);
  assert.match(read.sql[0], /^\/\* sealed_key \*\/ SELECT/);
});

test('both spellings of the password are good', async () => {
  for (const password of [HEX, HEX.toUpperCase(), BASE64]) admitted(await connect({ password }));
});

test('a password is good in its hour and the next, and five minutes before', async () => {
  for (const [offset, good] of [
    [-60 * MINUTE, false],
    [-5 * MINUTE - 1, false],
    [-5 * MINUTE, true],
    [-1, true],
    [0, true],
    [60 * MINUTE, true],
    [120 * MINUTE - 1, true],
    [120 * MINUTE, false],
    [24 * 60 * MINUTE, false],
  ]) {
    const answer = await connect({}, { time: TEN + offset });
    assert.equal(answer.verdict, good ? 'allow' : 'deny', `${offset / MINUTE} minutes from the beginning of its hour`);
  }
  admitted(await connect({ password: device.password({ hour: HOUR - 1, encoding: 'base64' }) }));
});

test('the real clock is used', async () => {
  const now = await cloud.enroll();
  const passwords = [now.password(), now.password({ hour: Math.floor(Date.now() / 3_600_000) - 1 })];
  for (const password of passwords) admitted(await cloud.emqx.authn({ clientid: now.id, username: now.id, password }));
});

test('a client id is the device’s own, or that and a suffix', async () => {
  for (const suffix of ['', '-1', '-abc_DEF-9', '-x'.padEnd(17, 'x')]) admitted(await connect({ clientid: device.id + suffix }));
  for (const clientid of [
    ...[`${device.id}-`, `${device.id}x`, `${device.id}-`.padEnd(50, 'x'), `${device.id}-a b`, `${device.id}-é`, `x-${device.id}`],
    ...[device.id.toUpperCase(), device.id.slice(1), '', makeDevice().id, `${makeDevice().id}-1`],
  ]) {
    refused(await connect({ clientid }), `client id ${clientid}`);
  }
});

test('nobody else is admitted', async () => {
  const [other, stranger] = [await cloud.enroll(), makeDevice()];
  const hour = { hour: HOUR };
  for (const [columns, why] of [
    [{ password: `${HEX.slice(0, -1)}d` }, 'a wrong password'],
    [{ password: HEX.slice(0, -2) }, 'a password that is too short'],
    [{ password: `${HEX}00` }, 'a password that is too long'],
    [{ password: BASE64.slice(0, -1) }, 'base64 without padding'],
    [{ password: BASE64.replaceAll('/', '_').replaceAll('+', '-') }, 'base64 for URLs'],
    [{ password: '0'.repeat(64) }, 'zeros'],
    [{ password: device.secretHash }, 'the key itself'],
    [{ password: other.password(hour) }, 'another device’s password'],
    [{ password: '' }, 'no password'],
    [{ password: 'päss"\\wörd😀\u0000' }, 'any text'],
    [{ username: '' }, 'no user name'],
    [{ username: 'undefined' }, 'no user name, as a rule would say it'],
    [{ username: device.id.toUpperCase() }, 'an upper-case user name'],
    [{ username: 'ünïcode' }, 'any user name'],
    [{ username: other.id }, 'another user name'],
    [{ username: stranger.id, clientid: stranger.id, password: stranger.password(hour) }, 'a device that is not enrolled'],
    [{ username: '', clientid: '', password: '' }, 'empty strings'],
    [{ peerhost: '' }, null],
    [{ peerhost: '2001:db8::1' }, null],
  ]) {
    const answer = await connect(columns);
    if (why) refused(answer, why);
    else admitted(answer);
  }
});

test('columns that we do not know, or do not get, are no fault', async () => {
  admitted(await connect({ cert_common_name: '', cert_pem: '', zone: 'default', port: 5 }));
  refused(await cloud.emqx.webhook('mqtt-auth', {}).then(read), 'an empty object');
});

test('without the secret nobody is answered, and the database is not asked', async () => {
  const short = cloud.secrets.WEBHOOK_SECRET.slice(0, -1);
  for (const secret of [null, '', 'wrong', short, `${cloud.secrets.WEBHOOK_SECRET}x`, cloud.secrets.DEVICE_KEK]) {
    const answer = await connect({}, { secret, headers: {} });
    isProblem(answer, 401, []);
    assert.equal(answer.verdict, 'ignore', 'which EMQX takes for a refusal');
  }
  assert.deepEqual(callsOfRequests().filter(({ binding }) => binding === 'DB'), []);
  const logged = "SELECT severity, subject, detail FROM security_log WHERE kind = 'bad_webhook_secret'";
  const [row] = await eventually('the security log', async () => (await cloud.rows(logged)).length > 0 && cloud.rows(logged));
  assert.equal(row.severity, 'high');
  assert.deepEqual(JSON.parse(row.detail), { route: '/webhook/mqtt-auth', secret: 'none' });
});

test('while the secret is rotated, both are good', async () => {
  admitted(await connect({}, { secret: cloud.secrets.WEBHOOK_SECRET, headers: at(TEN) }));
  admitted(await connect({}, { secret: PREVIOUS, headers: at(TEN) }));
});

test('a body that is not EMQX’s is refused as such', async () => {
  for (const body of ['', '{', '[]', 'null', '"x"', '{"clientid": 5}', '{"clientid": null}']) {
    isProblem(await cloud.emqx.webhook('mqtt-auth', body), 400);
  }
  isProblem(await connect({ password: 'x'.repeat(16 * 1024) }), 413);
});

test('a fault of ours is no opinion', async () => {
  cloud.faults.inject({ binding: 'DB', match: /sealed_key/ });
  const answer = await connect();
  isProblem(answer, 503, []);
  assert.equal(answer.verdict, 'ignore');
  admitted(await connect());
});

test('a key that was moved to another device’s row opens for nobody', async () => {
  const [mine, victim] = [await cloud.enroll(), await cloud.enroll()];
  const [{ sealed_key: sealed }] = await cloud.rows('SELECT sealed_key FROM devices WHERE device_id = ?', mine.id);
  await cloud.rows('UPDATE devices SET sealed_key = ? WHERE device_id = ?', sealed, victim.id);
  const key = makeDevice({ mac: victim.mac, secret: mine.secret });
  isProblem(await connect({ clientid: victim.id, username: victim.id, password: key.password({ hour: HOUR }) }), 503, []);
});

test('more than five failures from one address are reported once in ten minutes', async () => {
  const [attacker, forgetful] = ['198.51.100.1', '198.51.100.2'];
  const fail = async (peerhost, times, time) => {
    for (let n = 0; n < times; n += 1) refused(await connect({ peerhost, password: 'wrong' }, { time: time + n * 1000 }), 'wrong');
  };
  const counted = (peerhost, times) =>
    eventually(`${times} failures to be counted`, async () => {
      const [row] = await cloud.rows('SELECT last_failed_at FROM auth_failures WHERE peerhost = ?', peerhost);
      return row && row.last_failed_at >= times;
    });
  const reports = (peerhost) =>
    cloud.rows(
      "SELECT severity, subject, detail, count FROM security_log WHERE kind = 'auth_failure_repeated' AND peerhost = ? ORDER BY first_at",
      peerhost,
    );
  /** A row a window, which counts. */
  const reported = (peerhost, counts) =>
    eventually(`reports of ${counts} failures`, async () => {
      const found = await reports(peerhost);
      return JSON.stringify(found.map(({ count }) => count)) === JSON.stringify(counts) && found;
    });

  // A day on which nothing else happened: of a flood not every failure is told at once.
  const start = TEN + 24 * 60 * MINUTE;
  await fail(forgetful, 5, start);
  await counted(forgetful, start + 4_000);
  assert.deepEqual(await reports(forgetful), [], 'five are tolerated');

  await fail(attacker, 9, start);
  const [report] = await reported(attacker, [9]);
  const { detail, ...rest } = report;
  assert.deepEqual(rest, { severity: 'high', subject: attacker, count: 9 });
  assert.equal(JSON.parse(detail).window_sec, 600);

  await fail(attacker, 6, start + 5 * MINUTE);
  await reported(attacker, [15]);

  await fail(attacker, 6, start + 16 * MINUTE);
  await reported(attacker, [15, 6]);

  await fail(forgetful, 5, start + 30 * MINUTE);
  await counted(forgetful, start + 30 * MINUTE + 4_000);
  assert.deepEqual(await reports(forgetful), [], 'failures of another time do not add up');
});

test('a failure that cannot be counted is a refusal all the same', async () => {
  cloud.faults.inject({ binding: 'TELEMETRY_QUEUE' });
  const answer = await connect({ password: 'wrong' }, { headers: { ...at(TEN), 'x-request-id': 'not-counted' } });
  refused(answer, 'wrong');
  const line = await eventually('its log line', () => cloud.logs({ request_id: 'not-counted' })[0]);
  assert.match(line.log, /not counted/);
});

/** An answer as EMQX's authenticator reads it. */
function read(answer) {
  return Object.assign(answer, { verdict: answer.json?.result });
}
