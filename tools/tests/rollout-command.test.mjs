// The rollout command against a server that answers as the API does.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { readJson, sendJson } from '../../local/lib/http.mjs';
import { serveHttp } from '../../local/lib/serve.mjs';
import { writeStackFile } from '../../local/lib/stack-file.mjs';
import { ROOT } from '../lib/paths.mjs';

const state = mkdtempSync(join(tmpdir(), 'rs1-rollout-'));
/** What the API answers, by method and path; a function of the request's body. */
let answers;
/** What it was asked. */
let asked;
let tokens;
let server;

before(async () => {
  const handle = async (request, response) => {
    const body = await readJson(request);
    if (request.headers.host === 'identity.localhost') {
      tokens += 1;
      return sendJson(response, 200, { token: `token-${tokens}` });
    }
    const route = `${request.method} ${request.url}`;
    asked.push({ route, body, host: request.headers.host, token: request.headers.authorization });
    const [status, answer] = answers[route]?.(body) ?? [404, { title: 'Not found', detail: 'there is no such resource' }];
    return sendJson(response, status, answer);
  };
  server = await serveHttp({ port: 0, handle });
  const { port } = server;
  writeStackFile(state, { ports: { http: port, idp: port, control: port }, pid: process.pid, parts: {}, started_at: '' });
});

beforeEach(() => {
  [answers, asked, tokens] = [{}, [], 0];
});

after(async () => {
  await server?.close();
  rmSync(state, { recursive: true, force: true });
});

function start(...args) {
  const child = spawn(process.execPath, [join(ROOT, 'local/rollout.mjs'), ...args, '--state', state]);
  const out = { text: '', errors: '', ended: once(child, 'close') };
  child.stdout.setEncoding('utf8').on('data', (text) => {
    out.text += text;
    child.emit('said');
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    out.errors += text;
  });
  return Object.assign(child, { out });
}

async function run(...args) {
  const { out } = start(...args);
  const [status] = await out.ended;
  return { status, text: out.text, errors: out.errors };
}

const rollout = (status, counts) => ({
  ...{ rollout_id: 'rol-01', sku: 'rs1_pro', version: '1.2.0', status, cause: null, stage: 0, counts, report: null },
  ...{ stages: [{ percent: 100 }], started_at: '2026-01-20T10:00:00Z', stage_ends_at: null, next_judgement_at: null },
});

test('watching into a pipe writes what changed, once each, and ends with the rollout', async () => {
  const views = [{ triggered: 2 }, { triggered: 2 }, { triggered: 1, confirmed: 1 }].map((counts) => rollout('STAGED', counts));
  answers['GET /admin/rollouts/rol-01'] = () => [200, views.shift() ?? rollout('COMPLETED', { confirmed: 2 })];
  const { status, text } = await run('watch', 'rol-01', '--every', '0s');
  assert.equal(status, 0);
  const written = text.trim().split('\n\n');
  assert.equal(written.length, 3, text);
  assert.match(written[0], /^\d{4}-\d\d-\d\dT\S+Z\nrol-01 .* STAGED\n/);
  assert.match(written[2], /COMPLETED/);
  assert.ok(asked.every(({ host, token }) => host === 'ota.localhost' && token === 'Bearer token-1'), JSON.stringify(asked));
});

test('an aborted rollout ends the watch only when nothing is under way any more, with status 1', async () => {
  const views = [{ downloading: 1 }, { failed: 1 }].map((counts) => rollout('ABORTED', counts));
  answers['GET /admin/rollouts/rol-01'] = () => [200, views.shift()];
  const { status, text } = await run('watch', 'rol-01', '--every', '0s');
  assert.deepEqual([status, text.match(/ABORTED/g).length, views.length], [1, 2, 0]);
});

test('Ctrl-C ends a watch at once, and leaves nothing behind', async () => {
  answers['GET /admin/rollouts/rol-01'] = () => [200, rollout('STAGED', { triggered: 1 })];
  const child = start('watch', 'rol-01', '--every', '1h');
  await once(child, 'said');
  child.kill('SIGINT');
  const [status, signal] = await child.out.ended;
  assert.deepEqual([status, signal, child.out.errors], [130, null, '']);
});

test('a token that has run out is renewed, and a stack that is down for a moment is waited for', async () => {
  const script = [[200, rollout('STAGED', {})], [401, {}], [503, { title: 'Not available right now' }], [200, rollout('COMPLETED', {})]];
  answers['GET /admin/rollouts/rol-01'] = () => script.shift();
  const { status, text, errors } = await run('watch', 'rol-01', '--every', '0s');
  assert.deepEqual([status, errors], [0, '']);
  assert.match(text, /503 Not available right now/);
  assert.equal(tokens, 2);
});

test('what the API refuses is told in its own words, with every fault', async () => {
  answers['POST /admin/rollouts'] = () => [
    422,
    { title: 'The request is not valid', detail: '1 fault was found', errors: [{ pointer: '/stages/0/percent', detail: 'must be 100' }] },
  ];
  const { status, errors } = await run('create', '--sku', 'rs1_pro', '--version', '1.2.0', '--stages', '50');
  assert.equal(status, 1);
  assert.match(errors, /error: 422 The request is not valid: 1 fault was found\n {2}-> \/stages\/0\/percent: must be 100\n/);
  assert.equal((await run('watch', 'rol-02')).status, 1);
});

test('a rollout is made as it was asked for', async () => {
  answers['POST /admin/rollouts'] = () => [201, rollout('PENDING', {})];
  const { text } = await run('create', '--sku', 'rs1_pro', '--version', '1.2.0', '--stages', '1:90s,10:4h,100', '--rate', '60', '--tag', 'beta');
  assert.equal(text, 'rol-01\n');
  assert.deepEqual(asked[0].body, {
    ...{ sku: 'rs1_pro', version: '1.2.0', rate_per_minute: 60, selector: { tags: ['beta'] } },
    stages: [{ percent: 1, duration_sec: 90 }, { percent: 10, duration_sec: 14_400 }, { percent: 100 }],
  });
});

test('a dry run says who would be reached, and why others are not', async () => {
  answers['POST /admin/rollouts?dry_run=true'] = () => [
    200,
    { stages: [{ percent: 1, devices: 3 }, { percent: 100, devices: 9 }], held_back: { up_to_date: { devices: 4 } } },
  ];
  const { text } = await run('create', '--sku', 'rs1_pro', '--version', '1.2.0', '--dry-run');
  assert.equal(text, 'stage 1, 1 %: 3 devices\nstage 2, 100 %: 9 devices\nheld back, up to date: 4\n');
});

test('verbs go to the rollout that is meant, with their reason', async () => {
  answers['GET /admin/rollouts?limit=1'] = () => [200, { items: [rollout('STAGED', {})], next_cursor: null }];
  answers['POST /admin/rollouts/rol-01/pause'] = () => [200, rollout('PAUSED', {})];
  const { text } = await run('pause', 'latest', '--reason', 'a look at the failures');
  assert.match(text, /^rol-01 .* PAUSED/);
  assert.deepEqual(asked.at(-1).body, { reason: 'a look at the failures' });
});

test('a list has all pages', async () => {
  answers['GET /admin/rollouts?limit=200'] = () => [200, { items: [rollout('STAGED', {})], next_cursor: 'rol-01' }];
  answers['GET /admin/rollouts?limit=200&cursor=rol-01'] = () => [200, { items: [rollout('ABORTED', {})], next_cursor: null }];
  assert.equal((await run('list')).text.trim().split('\n').length, 2);
});

test('a command line that cannot be meant is refused with the help', async () => {
  for (const args of [[], ['watch'], ['draw', 'rol-01'], ['list', 'rol-01'], ['create', '--sku', 'rs1_pro']]) {
    const { status, errors } = await run(...args);
    assert.equal(status, 2, `${args}`);
    assert.match(errors, /npm run -s rollout -- watch ID/);
  }
});
