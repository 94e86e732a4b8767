// POST /api/admin/enroll and /api/admin/enroll/bulk: the factory's devices become known, once, and their keys stay sealed.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let token;
before(async () => {
  cloud = await startHarness({ only: ['device-api'] });
  token = await cloud.adminToken({ email: 'ada@optic.works' });
});
after(() => cloud?.stop());
beforeEach(() => {
  cloud.faults.clear();
  cloud.faults.forget();
});

const asked = (device, fields = {}) => ({ mac_address: device.mac, device_secret_hash: device.secretHash, ...fields });
const enroll = (body, options) => cloud.api('POST', '/api/admin/enroll', { token, body, ...options });
const bulk = (lines) =>
  cloud.api('POST', '/api/admin/enroll/bulk', {
    token,
    headers: { 'content-type': 'application/x-ndjson' },
    body: lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'),
  });
const answered = (answer) => {
  isStatus(answer, 200);
  assert.equal(answer.headers['content-type'], 'application/x-ndjson');
  assert.ok(answer.text.endsWith('\n'), 'each line ends');
  return answer.text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
};
const stored = async (device) => (await cloud.rows('SELECT * FROM devices WHERE device_id = ?', device.id))[0];
const count = async (table) => (await cloud.rows(`SELECT count(*) AS n FROM ${table}`))[0].n;

test('a new device is enrolled under the id that its MAC address gives', async () => {
  const device = makeDevice({ mac: 'AA:BB:CC:DD:EE:01' });
  const answer = await enroll(asked(device, { product_sku: 'rs1_pro' }));
  isStatus(answer, 201);
  assert.deepEqual(Object.keys(answer.json).sort(), ['device_id', 'enrolled_at']);
  assert.equal(answer.json.device_id, '3e32e97b9d6cf5e193d3a3a7e8fd9a97');
  assert.ok(Math.abs(Date.parse(answer.json.enrolled_at) - Date.now()) < 60_000, answer.json.enrolled_at);
  assert.match(answer.json.enrolled_at, /Z$/);
  assert.equal(answer.headers.location, `/api/admin/devices/${device.id}`);

  const found = await cloud.api('GET', answer.headers.location, { token });
  const { device_id, mac_address, product_sku, enrolled_at, enrolled_by, online } = found.json;
  assert.deepEqual(
    { device_id, mac_address, product_sku, enrolled_at, enrolled_by, online },
    {
      ...{ device_id: device.id, mac_address: device.mac, product_sku: 'rs1_pro' },
      ...{ enrolled_at: answer.json.enrolled_at, enrolled_by: 'ada@optic.works', online: false },
    },
  );
});

test('the same again is the same answer', async () => {
  const device = makeDevice();
  const first = await enroll(asked(device, { product_sku: 'rs1_lite' }));
  isStatus(first, 201);
  const before = await stored(device);
  for (const body of [
    asked(device, { product_sku: 'rs1_lite' }),
    asked(device),
    asked(device, { product_sku: null }),
    asked({ ...device, mac: device.mac.toLowerCase() }),
  ]) {
    const again = await enroll(body);
    isStatus(again, 200);
    assert.deepEqual(again.json, first.json);
  }
  assert.deepEqual(await stored(device), before, 'nothing was written');
});

test('other values for an enrolled device are a conflict, and what is stored stays', async () => {
  const device = makeDevice();
  isStatus(await enroll(asked(device, { product_sku: 'rs1_pro' })), 201);
  const before = await stored(device);
  const otherHash = await enroll(asked(device, { device_secret_hash: makeDevice().secretHash }));
  isProblem(otherHash, 409);
  assert.match(otherHash.json.detail, /device_secret_hash/);
  const otherSku = await enroll(asked(device, { product_sku: 'rs1_lite' }));
  isProblem(otherSku, 409);
  assert.match(otherSku.json.detail, /product_sku/);
  assert.deepEqual(await stored(device), before);
});

test('every fault of a request is named at once, and nothing is stored', async () => {
  const device = makeDevice();
  const before = await count('devices');
  for (const [body, pointers] of [
    [{}, ['/mac_address', '/device_secret_hash']],
    [{ mac_address: null, device_secret_hash: null }, ['/mac_address', '/device_secret_hash']],
    [
      { mac_address: 'nope', device_secret_hash: 5, product_sku: 'rs2', colour: 'red' },
      ['/mac_address', '/device_secret_hash', '/product_sku', '/colour'],
    ],
    [asked(device, { mac_address: 'AABBCCDDEE01' }), ['/mac_address']],
    [asked(device, { mac_address: 'AA:BB:CC:DD:EE:01:02' }), ['/mac_address']],
    [asked(device, { device_secret_hash: device.secretHash.toUpperCase() }), ['/device_secret_hash']],
    [asked(device, { device_secret_hash: device.secretHash.slice(1) }), ['/device_secret_hash']],
    [asked(device, { device_id: device.id }), ['/device_id']],
    [asked(device, { 'a/b~c': 1 }), ['/a~1b~0c']],
    ['[]', ['']],
    ['"text"', ['']],
    ['null', ['']],
  ]) {
    isProblem(await enroll(body), 422, pointers);
  }
  assert.equal(await count('devices'), before);
});

test('a body that is no JSON cannot be read', async () => {
  for (const body of ['', '{', '{"mac_address": ', 'mac=1', Buffer.from([0xff, 0xfe])]) {
    isProblem(await enroll(body), 400);
  }
});

test('a body that is too long is refused, whether or not its length is told', async () => {
  const before = await count('devices');
  isProblem(await enroll(asked(makeDevice(), { colour: 'x'.repeat(64 * 1024) })), 413);
  isProblem(await bulk(['x'.repeat(512 * 1024 + 1)]), 413);
  const line = `${JSON.stringify(asked(makeDevice()))}\n`;
  const long = await chunked(
    '/api/admin/enroll/bulk',
    Array.from({ length: 9 }, () => line.padEnd(64 * 1024, ' ')),
  );
  assert.equal(long.status, 413, long.text);
  assert.equal(await count('devices'), before);
  const fine = await chunked('/api/admin/enroll/bulk', [line.slice(0, 30), line.slice(30)]);
  assert.equal(fine.status, 200, fine.text);
  assert.equal(JSON.parse(fine.text).status, 201, 'what comes in pieces is put together');
});

test('the key is sealed at rest, and is in no log', async () => {
  const [one, two] = [makeDevice(), makeDevice()];
  isStatus(await enroll(asked(one)), 201);
  isStatus(await enroll(asked({ ...two, secretHash: one.secretHash })), 201);
  const key = Buffer.from(one.secretHash, 'hex');
  const rows = [await stored(one), await stored(two)];
  for (const row of rows) {
    const dump = JSON.stringify(row);
    for (const form of [one.secretHash, key.toString('base64'), key.toString('base64url')]) {
      assert.ok(!dump.includes(form), 'the row gives the key away');
    }
    assert.match(row.sealed_key, /^1\.[A-Za-z0-9+/]+=*$/);
    assert.equal(Buffer.from(row.sealed_key.slice(2), 'base64').length, 12 + 32 + 16, 'nonce, key and tag');
  }
  assert.notEqual(rows[0].sealed_key, rows[1].sealed_key, 'the same key is never sealed the same way');
  const others = await cloud.rows('SELECT * FROM audit_log');
  assert.ok(!JSON.stringify([others, cloud.lines]).includes(one.secretHash));
});

test('a thousand devices are enrolled with one request, answered a line each', async () => {
  const devices = Array.from({ length: 1_000 }, () => makeDevice());
  const lines = answered(await bulk(devices.map((device) => asked(device))));
  assert.equal(lines.length, 1_000);
  for (const [index, line] of lines.entries()) {
    assert.equal(line.status, 201, JSON.stringify(line));
    assert.deepEqual([line.line, line.device_id], [index + 1, devices[index].id]);
  }
  const calls = cloud.faults.calls({ binding: 'DB' });
  assert.deepEqual(
    calls.map(({ sql }) => sql.length),
    [2, 2],
    'one transaction for the audit, one for the devices, whatever their number',
  );

  const again = answered(await bulk(devices.map((device) => asked(device))));
  assert.deepEqual(
    again,
    lines.map((line) => ({ ...line, status: 200 })),
  );
});

test('a thousand and one are too many, and none is too few', async () => {
  const before = await count('devices');
  isProblem(await bulk(Array.from({ length: 1_001 }, () => asked(makeDevice()))), 422, ['']);
  isProblem(await bulk([]), 422, ['']);
  isProblem(await bulk(['', '   ', '\r']), 422, ['']);
  assert.equal(await count('devices'), before);
});

test('in a bulk, a bad line harms no other', async () => {
  const [fresh, known, windows] = [makeDevice(), makeDevice(), makeDevice()];
  isStatus(await enroll(asked(known)), 201);
  const lines = answered(
    await bulk([
      asked(fresh),
      'no json',
      '',
      asked(known),
      asked(known, { device_secret_hash: makeDevice().secretHash }),
      { mac_address: 'x', device_secret_hash: 'y', z: 1 },
      asked(fresh),
      asked(fresh, { device_secret_hash: makeDevice().secretHash }),
      `${JSON.stringify(asked(windows))}\r`,
    ]),
  );
  assert.deepEqual(
    lines.map(({ line, status }) => [line, status]),
    [
      [1, 201],
      [2, 422],
      // Line 3 is empty: it counts, and needs no answer.
      [4, 200],
      [5, 409],
      [6, 422],
      [7, 200],
      [8, 409],
      [9, 201],
    ],
  );
  const [first, , same, conflict, invalid, repeated] = lines;
  assert.equal(same.device_id, known.id);
  assert.match(conflict.detail, /device_secret_hash/);
  assert.equal(conflict.enrolled_at, undefined);
  assert.deepEqual(invalid.errors.map(({ pointer }) => pointer).sort(), ['/device_secret_hash', '/mac_address', '/z']);
  assert.equal(repeated.enrolled_at, first.enrolled_at, 'the first of two lines for one device wins');
  assert.ok(await stored(fresh));
});

test('who asked for what is audited, whatever came of it', async () => {
  const email = 'grace@optic.works';
  const grace = await cloud.adminToken({ email });
  const device = makeDevice();
  const calls = [
    ['/api/admin/enroll', asked(device), 201],
    ['/api/admin/enroll', asked(device), 200],
    ['/api/admin/enroll', asked(device, { product_sku: 'rs1_lite' }), 409],
    ['/api/admin/enroll', {}, 422],
    ['/api/admin/enroll/bulk', asked(device), 200],
  ];
  for (const [index, [path, body, status]] of calls.entries()) {
    isStatus(await cloud.api('POST', path, { token: grace, body, headers: { 'x-request-id': `audit-${index}` } }), status);
  }
  isStatus(await cloud.api('POST', '/api/admin/enroll', { body: asked(device), headers: { 'x-request-id': 'audit-nobody' } }), 401);
  const rows = await cloud.rows("SELECT * FROM audit_log WHERE request_id LIKE 'audit-%' ORDER BY at, request_id");
  assert.deepEqual(
    rows.map(({ actor, action, method, route, request_id }) => [actor, action, method, route, request_id]),
    calls.map(([path], index) => [email, 'admin_api_access', 'POST', path, `audit-${index}`]),
  );
  for (const { id, at } of rows) {
    assert.match(id, /^aud-[0-9A-HJKMNP-TV-Z]{26}$/);
    assert.ok(Math.abs(at - Date.now()) < 60_000);
  }
  const [access] = await cloud.rows(
    "SELECT sum(count) AS n, min(severity) AS severity FROM security_log WHERE kind = 'admin_api_access' AND subject = ?",
    email,
  );
  assert.deepEqual(access, { n: calls.length, severity: 'info' });
});

test('while the database is down nothing is enrolled', async () => {
  const device = makeDevice();
  for (const statement of [/\/\* audit \*\//, /\/\* enroll \*\//]) {
    cloud.faults.inject({ binding: 'DB', match: statement });
    isProblem(await enroll(asked(device)), 503, []);
    assert.equal(await stored(device), undefined, String(statement));
    cloud.faults.inject({ binding: 'DB', match: statement });
    isProblem(await bulk([asked(device)]), 503, []);
    assert.equal(await stored(device), undefined, String(statement));
  }
  isStatus(await enroll(asked(device)), 201);
});

test('what cannot be audited is not carried out', async () => {
  const device = makeDevice();
  cloud.faults.inject({ binding: 'DB', match: /\/\* audit \*\// });
  isProblem(await enroll(asked(device)), 503, []);
  assert.deepEqual(cloud.faults.calls({ binding: 'DB' }).length, 1, 'nothing was tried after it');
});

test('an enrolment that was stored though it failed is found when it is asked for again', async () => {
  const [one, two] = [makeDevice(), makeDevice()];
  cloud.faults.inject({ binding: 'DB', match: /\/\* enroll \*\//, when: 'after' });
  isProblem(await enroll(asked(one)), 503, []);
  const again = await enroll(asked(one));
  isStatus(again, 200);
  assert.equal(Date.parse(again.json.enrolled_at), (await stored(one)).enrolled_at);

  cloud.faults.inject({ binding: 'DB', match: /\/\* enroll \*\//, when: 'after' });
  isProblem(await bulk([asked(two), asked(one)]), 503, []);
  assert.deepEqual(
    answered(await bulk([asked(two), asked(one)])).map(({ status }) => status),
    [200, 200],
  );
});

test('two that enrol the same device at once agree', async (t) => {
  const device = makeDevice();
  const gate = cloud.faults.hold({ binding: 'DB', match: /\/\* enroll \*\// });
  t.after(gate.release);
  const slow = enroll(asked(device));
  await gate.reached;
  const fast = await enroll(asked(device));
  gate.release();
  isStatus(fast, 201);
  isStatus(await slow, 200);
  assert.deepEqual((await slow).json, fast.json);
});

test('what was begun is done though the client hangs up', async (t) => {
  const device = makeDevice();
  const gate = cloud.faults.hold({ binding: 'DB', match: /\/\* audit \*\// });
  t.after(gate.release);
  const body = JSON.stringify(asked(device));
  const headers = { host: 'api.localhost', authorization: `Bearer ${token}`, 'content-length': body.length };
  const outgoing = request({ host: '127.0.0.1', port: cloud.ports.http, method: 'POST', path: '/api/admin/enroll', headers });
  const gone = new Promise((done) => outgoing.on('error', done));
  outgoing.end(body);
  await gate.reached;
  outgoing.destroy(new Error('hung up'));
  await gone;
  gate.release();
  await eventually('the device to be enrolled', () => stored(device));
});

/** A POST without a content-length, in these pieces. */
function chunked(path, pieces) {
  return new Promise((done, fail) => {
    const headers = { host: 'api.localhost', authorization: `Bearer ${token}`, 'transfer-encoding': 'chunked' };
    const outgoing = request({ host: '127.0.0.1', port: cloud.ports.http, method: 'POST', path, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => (text += part));
      response.on('end', () => done({ status: response.statusCode, text }));
    });
    outgoing.on('error', fail);
    for (const piece of pieces) outgoing.write(piece);
    outgoing.end();
  });
}
