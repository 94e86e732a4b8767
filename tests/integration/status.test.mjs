// The status page on the release bundles: asked of `health`, answered by `status`. What it says of which state is native tests'
// (workers/status/tests); here is what only the runtime shows, and the page in a real browser.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { fillStatus } from './fixtures/status.mjs';
import { eventually, startHarness } from './support/harness.mjs';
import { promtoolAccepts } from './support/promtool.mjs';

const host = 'status.localhost';
const KEPT = 'public, max-age=30';
/** Page, JSON and feed, with what each is. */
const PUBLIC = [
  ['/', 'text/html; charset=utf-8'],
  ['/status.json', 'application/json'],
  ['/feed.atom', 'application/atom+xml; charset=utf-8'],
];

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
before(async () => {
  cloud = await startHarness({ only: ['health', 'status'] });
  await fillStatus(cloud);
});
after(() => cloud?.stop());
beforeEach(() => cloud.faults.clear());

const get = (path, options) => cloud.api('GET', path, { host, ...options });

test('everybody may read the page, its document and its feed, and keep them half a minute', async () => {
  for (const [path, type] of PUBLIC) {
    const answer = await get(path);
    isStatus(answer, 200);
    assert.equal(answer.headers['content-type'], type, path);
    assert.equal(answer.headers['cache-control'], KEPT, path);
    assert.equal(answer.headers['x-content-type-options'], 'nosniff', path);
    const head = await cloud.api('HEAD', path, { host });
    isStatus(head, 200);
    assert.deepEqual([head.bytes.length, head.headers['content-type']], [0, type], path);
    const wrong = await cloud.api('POST', path, { host });
    isProblem(wrong, 405, []);
    assert.equal(wrong.headers.allow, 'GET, HEAD');
  }
  const page = await get('/');
  assert.match(page.headers['content-security-policy'], /^default-src 'none'; style-src 'sha256-/);
  assert.match(page.text, /^<!DOCTYPE html>/);
});

test('it says what the database says', async () => {
  const { json } = await get('/status.json');
  assert.equal(json.status, 'down');
  assert.deepEqual(
    json.components.map(({ id, status, days }) => [id, status, days.length]),
    [['api', 'operational', 90], ['broker', 'down', 90], ['devices', 'degraded', 90], ['storage', 'maintenance', 90], ['updates', 'operational', 90]],
  );
  assert.deepEqual(json.incidents.map(({ status }) => status), ['acknowledged', 'resolved']);
  const feed = (await get('/feed.atom')).text;
  for (const { id, title } of json.incidents) {
    assert.ok(feed.includes(`:${id}</id>`) && feed.includes(`<title>${title}</title>`), feed);
  }
});

test('however many ask, the database hears of it hardly at all', async () => {
  cloud.faults.forget();
  const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => get(PUBLIC[n % 3][0])));
  for (const answer of answers) isStatus(answer, 200);
  await eventually('the log lines', () => cloud.logs({ worker: 'status', status: 200 }).length >= 100);
  // An isolate that has just been told reads nothing; were it an hour later, once.
  cloud.faults.inject({ binding: 'DB', worker: 'status', message: 'not to be asked' });
  for (const [path] of PUBLIC) isStatus(await get(path), 200);
});

test('a request leaves its line with both workers, by one id', async () => {
  await get('/status.json', { headers: { 'x-request-id': 'status-1' } });
  const lines = await eventually('both lines', () => {
    const found = cloud.logs({ request_id: 'status-1' });
    return found.length === 2 && found;
  });
  assert.deepEqual(lines.map(({ worker, route }) => [worker, route]).sort(), [['health', '/status.json'], ['status', '/status.json']]);
});

test('metrics are for whoever has the token', async () => {
  const refused = [await get('/metrics'), await get('/metrics', { token: 'x'.repeat(43) }), await get('/metrics', { token: await cloud.adminToken() })];
  for (const answer of refused) {
    isProblem(answer, 401, []);
    assert.equal(answer.headers['www-authenticate'], 'Bearer');
  }
  const answer = await get('/metrics', { token: cloud.secrets.METRICS_TOKEN });
  isStatus(answer, 200);
  assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  assert.equal(answer.headers['cache-control'], 'no-store');
  assert.match(answer.text, /^rs1_check_up\{check="emqx",component="broker",severity="SEV1"\} 0$/m);
  assert.match(answer.text, /^rs1_incidents_open\{severity="SEV1",acknowledged="true"\} 1$/m);
  await promtoolAccepts(answer.text);
});

test('from outside only the health of the worker behind is to be seen', async () => {
  isStatus(await get('/page/health'), 200);
  for (const path of ['/page/status.json', '/page/../metrics', '/page/%2e%2e/metrics', '/page/']) {
    assert.ok([401, 404].includes((await get(path)).status), path);
  }
});
