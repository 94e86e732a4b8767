// /api/admin/devices/{id}/diagnostics: an operator asks, the device answers over MQTT, and the answer is kept for seven days.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { topicOf } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let token;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} */
let device;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'history', 'telemetry'] });
  token = await cloud.adminToken();
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  cloud.emqxApi.answer = null;
  cloud.emqxApi.published.splice(0);
  device = await cloud.enroll();
  cloud.faults.forget();
});

const path = (rest = '', { id } = device) => `/api/admin/devices/${id}/diagnostics${rest}`;
const ask = (body = { include: ['heap', 'tasks'] }, of = device) => cloud.api('POST', path('', of), { token, body });
const fetch = (id, of = device) => cloud.api('GET', path(`/${id}`, of), { token });
const asked = async (body) => {
  const answer = await ask(body);
  isStatus(answer, 202);
  return answer.json.request_id;
};
const report = (request_id, diagnostics = { heap: { free: 150_000 } }) => ({ request_id, timestamp: '2026-01-20T10:00:01Z', diagnostics });
const responds = (payload, { rest = 'diag/response', of = device, ...options } = {}) => cloud.emqx.message(topicOf(of, rest), payload, options);
const taken = (answer) => {
  isStatus(answer, 204);
  assert.equal(answer.fate, 'delivered');
};
const TOPICS = ['diag/response', 'telemetry/diagnostics'];
/** The question was asked so long ago. */
const ago = (id, seconds) => cloud.rows('UPDATE diagnostics SET requested_at = requested_at - ?2 WHERE request_id = ?1 RETURNING 1', id, seconds * 1000);

test('a device is asked, and its answer is fetched, whichever topic it comes on', async () => {
  for (const rest of TOPICS) {
    device = await cloud.enroll();
    const answer = await ask();
    isStatus(answer, 202);
    const { request_id } = answer.json;
    assert.match(request_id, /^dia-[0-9A-Z]{26}$/);
    assert.equal(answer.headers.location, path(`/${request_id}`));
    const [question] = cloud.emqxApi.published.splice(0);
    assert.deepEqual([question.topic, question.qos, JSON.parse(question.payload)], [topicOf(device, 'diag/request'), 1, { request_id, include: ['heap', 'tasks'] }]);

    const waiting = await fetch(request_id);
    isStatus(waiting, 202);
    assert.deepEqual([waiting.json.status, waiting.headers['retry-after']], ['waiting', '2']);
    const sent = `{"request_id": "${request_id}", "timestamp": "2026-01-20T10:00:01Z", "diagnostics": {"heap": {"free": 1.50}, "é": ["\\u00e9"]}}`;
    taken(await responds(sent, { rest }));
    const there = await fetch(request_id);
    isStatus(there, 200);
    assert.ok(there.text.includes('{"heap": {"free": 1.50}, "é": ["\\u00e9"]}'), 'as the device sent it');
    const { requested_at, answered_at, ...fields } = there.json;
    assert.ok(Date.parse(requested_at) <= Date.parse(answered_at) + 1000);
    assert.deepEqual(fields, {
      ...{ request_id, device_id: device.id, status: 'answered', requested_by: 'operator@optic.works', include: ['heap', 'tasks'] },
      ...{ timestamp: '2026-01-20T10:00:01Z', diagnostics: { heap: { free: 1.5 }, é: ['é'] } },
    });
    const date = new Date(requested_at).toISOString().slice(0, 10);
    const object = await (await cloud.cloud.bucket('R2')).get(`diagnostics/${date}/${device.id}/${request_id}.json`);
    assert.equal(await object.text(), sent);
  }
  assert.deepEqual(await cloud.archive(), [], 'and nowhere else');
});

test('an answer of the greatest length is taken, a longer one is not', async () => {
  const request = await asked();
  const frame = JSON.stringify(report(request, { dump: '' })).length;
  const longest = report(request, { dump: 'x'.repeat(64 * 1024 - frame) });
  const tooLong = await responds(report(request, { dump: 'x'.repeat(64 * 1024 - frame + 1) }));
  assert.equal(tooLong.status, 422);
  assert.equal(tooLong.fate, 'dropped');
  isStatus(await fetch(request), 202);
  taken(await responds(longest));
  assert.deepEqual((await fetch(request)).json.diagnostics, longest.diagnostics);
});

test('a device has two minutes; later than that is late, not never', async () => {
  const request = await asked();
  await ago(request, 115);
  isStatus(await fetch(request), 202);
  await ago(request, 10);
  isProblem(await fetch(request), 504, []);
  taken(await responds(report(request)));
  isStatus(await fetch(request), 200);
});

test('of several answers the first stays', async () => {
  const request = await asked();
  taken(await responds(report(request, { n: 1 })));
  taken(await responds(report(request, { n: 2 }), { rest: TOPICS[1] }));
  taken(await responds(report(request, { n: 1 })));
  assert.deepEqual((await fetch(request)).json.diagnostics, { n: 1 });
});

test('what nobody asked this device for is noted and not kept', async () => {
  const request = await asked();
  const other = await cloud.enroll();
  for (const rest of TOPICS) {
    taken(await responds(report(request), { of: other, rest }));
    taken(await responds(report('made-up'), { of: other, rest }));
  }
  taken(await responds(report(request), { columns: { clientid: 'http_api' } }));
  isStatus(await fetch(request), 202);
  isProblem(await fetch(request, other), 404, []);
  const logged = await eventually('the security log to have them', async () => {
    const answer = await cloud.api('GET', '/api/admin/security-log?kind=unsolicited_diagnostics', { token });
    return answer.json.items.find(({ subject, count }) => subject === other.id && count === 4);
  });
  assert.equal(logged.severity, 'warning');
});

test('every fault is named, and nobody is asked', async () => {
  isProblem(await ask({ include: ['heap', 'Heap', 5, 'heap', ''], all: true }), 422, ['/include/1', '/include/2', '/include/3', '/include/4', '/all']);
  for (const include of [[], 'heap', Array.from({ length: 17 }, (_, index) => `s${index}`)]) isProblem(await ask({ include }), 422, ['/include']);
  isProblem(await ask('no json'), 400);
  isProblem(await ask([]), 422, ['']);
  isProblem(await ask({}, makeDevice()), 404, []);
  assert.deepEqual(cloud.emqxApi.published, []);
  for (const rest of TOPICS) {
    isProblem(await responds({}, { rest }), 422, ['/request_id', '/timestamp', '/diagnostics']);
    isProblem(await responds('[]', { rest }), 422, ['']);
  }
  isProblem(await cloud.emqx.message(topicOf(device, 'state'), report('x'), { path: 'diagnostics' }), 422, ['/topic']);
});

test('a device is asked once in ten seconds, and only if it is connected', async () => {
  await asked({});
  const again = await ask({});
  isProblem(again, 429, []);
  assert.equal(again.headers['retry-after'], '10');
  device = await cloud.enroll();
  const rivals = await Promise.all(Array.from({ length: 5 }, () => ask({})));
  assert.deepEqual(rivals.map(({ status }) => status).sort(), [202, 429, 429, 429, 429]);
  device = await cloud.enroll();
  cloud.emqxApi.answer = () => ({ status: 202, body: [{ reason_code: 16, message: 'no_matching_subscribers' }] });
  isProblem(await ask({}), 409, []);
  device = await cloud.enroll();
  cloud.emqxApi.answer = () => ({ status: 500, body: {} });
  isProblem(await ask({}), 503, []);
});

test('what fails in between is made up for when EMQX tries again', async () => {
  const request = await asked();
  for (const fault of [
    { binding: 'R2', worker: 'telemetry' },
    { binding: 'R2', worker: 'telemetry', when: 'after' },
    { binding: 'DB', worker: 'telemetry', match: /diagnostics_answered/ },
    { binding: 'DB', worker: 'telemetry', match: /diagnostics_answered/, when: 'after' },
  ]) {
    cloud.faults.inject(fault);
    const answer = await responds(report(request));
    isProblem(answer, 503, []);
    assert.equal(answer.fate, 'retried');
  }
  taken(await responds(report(request)));
  isStatus(await fetch(request), 200);
  cloud.faults.inject({ binding: 'R2', worker: 'device-api' });
  isProblem(await fetch(request), 503, []);
});

test('an answer whose object is gone is gone', async () => {
  const request = await asked();
  taken(await responds(report(request)));
  const bucket = await cloud.cloud.bucket('R2');
  for (const { key } of (await bucket.list({ prefix: 'diagnostics/' })).objects) if (key.includes(request)) await bucket.delete(key);
  isProblem(await fetch(request), 404, []);
});

test('only operators may ask and look, and all of it is audited', async () => {
  for (const [method, rest] of [['POST', ''], ['GET', '/dia-x']]) {
    isProblem(await cloud.api(method, path(rest), {}), 401, []);
    isProblem(await cloud.api(method, path(rest), { token: await cloud.userToken({ email: 'ada@example.com' }) }), 401, []);
  }
  const request = await asked();
  await fetch(request);
  const audited = await cloud.rows('SELECT method, route FROM audit_log WHERE target = ?1 ORDER BY id', device.id);
  assert.deepEqual(audited, [
    { method: 'POST', route: '/api/admin/devices/{id}/diagnostics' },
    { method: 'GET', route: '/api/admin/devices/{id}/diagnostics/{request}' },
  ]);
  device = await cloud.enroll();
  cloud.emqxApi.published.splice(0);
  cloud.faults.inject({ binding: 'DB', match: /audit/ });
  isProblem(await ask(), 503, []);
  assert.deepEqual(cloud.emqxApi.published, [], 'what cannot be recorded is not done');
});
