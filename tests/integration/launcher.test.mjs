// The launcher's own spec: the parts of the local stack that can be wrong without anybody noticing.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { startIdentityProvider } from '../../local/idp/provider.mjs';
import { startChild } from '../../local/lib/child.mjs';
import { httpClient } from '../../local/lib/http.mjs';
import { readOptions, span } from '../../local/lib/options.mjs';
import { readLine, readProgramLine } from '../../local/lib/part-lines.mjs';
import { SOON, writeCollected } from '../../local/lib/parts.mjs';
import { DEFAULT_PORTS, addressMover, freePorts, requireFree } from '../../local/lib/ports.mjs';
import { nextRun } from '../../local/lib/scheduler.mjs';
import { ensureSecrets } from '../../local/lib/secrets.mjs';
import { eventually } from '../../local/lib/wait.mjs';
import { ROOT } from '../../tools/lib/paths.mjs';

const directory = mkdtempSync(join(tmpdir(), 'rs1-launcher-'));
after(() => rmSync(directory, { recursive: true }));

test('crons are read as Cloudflare reads them', () => {
  const tuesday = new Date('2026-01-20T10:00:30Z');
  const cases = {
    '* * * * *': '2026-01-20T10:01:00.000Z',
    '*/5 * * * *': '2026-01-20T10:05:00.000Z',
    '0 3 * * *': '2026-01-21T03:00:00.000Z',
    // Weekday 1 is Sunday, 7 is Saturday.
    '0 0 * * 1': '2026-01-25T00:00:00.000Z',
    '0 0 * * 7': '2026-01-24T00:00:00.000Z',
    '0 0 * * MON': '2026-01-26T00:00:00.000Z',
  };
  for (const [cron, due] of Object.entries(cases)) assert.equal(nextRun(cron, tuesday).toISOString(), due, cron);
  assert.throws(() => nextRun('* * * * * *'), 'six fields are not ours');
});

test('secrets are made once, and what people wrote stays', () => {
  const path = join(directory, 'vars', 'dev.vars');
  const first = ensureSecrets(path);
  const all = ['DEVICE_KEK', 'EMQX_API_KEY', 'JWT_SECRET', 'METRICS_TOKEN', 'NOTICE_WEBHOOK_SECRET', 'PAGERDUTY_ROUTING_KEY', 'SIGNING_KEY', 'SLACK_WEBHOOK_URL', 'WEBHOOK_SECRET'];
  assert.deepEqual(first.made.sort(), all);
  assert.match(first.secrets.DEVICE_KEK, /^[0-9a-f]{64}$/);
  assert.match(first.secrets.EMQX_API_KEY, /^rs1-local:.{40,}$/);
  assert.equal(statSync(path).mode & 0o777, 0o600);

  const kept = readFileSync(path, 'utf8').replace(/^JWT_SECRET=.*\n/m, '');
  writeFileSync(path, `${kept}# mine\nSLACK_WEBHOOK_URL = "http://127.0.0.1:9/a=b"\n`);
  const second = ensureSecrets(path);
  assert.deepEqual(second.made, ['JWT_SECRET']);
  assert.equal(second.secrets.WEBHOOK_SECRET, first.secrets.WEBHOOK_SECRET);
  assert.equal(second.secrets.SLACK_WEBHOOK_URL, 'http://127.0.0.1:9/a=b');
  assert.match(readFileSync(path, 'utf8'), /^# mine$/m);
});

test('addresses in the configuration follow the ports in use', async () => {
  const move = addressMover({ ...DEFAULT_PORTS, http: 9000, emqx: 9001 });
  assert.equal(move('http://127.0.0.1:18083/api/v5'), 'http://127.0.0.1:9001/api/v5');
  assert.equal(move('http://ota.localhost:8787/firmware'), 'http://ota.localhost:9000/firmware');
  assert.equal(move('https://api.optic.works:8787'), 'https://api.optic.works:8787', 'other machines are not ours to move');
  assert.equal(move('127.0.0.1:87870'), '127.0.0.1:87870');
  assert.deepEqual(move({ limit: 8787 }), { limit: 8787 });
});

test('the broker’s second configuration is the repository’s file, and is gone when it is not asked for', () => {
  const files = join(directory, 'emqx');
  mkdirSync(files);
  const access = { bucket: 'archives', accessKeyId: 'id', secretAccessKey: 'secret', more: SOON };
  writeCollected(files, access);
  assert.deepEqual(readFileSync(join(files, 'collected.hocon')), readFileSync(join(ROOT, 'emqx', 'options', 'collected.hocon')));
  assert.match(readFileSync(join(files, 'r2-access.hocon'), 'utf8'), /^connectors\.s3\.optic\.secret_access_key = "secret"$/m);
  assert.equal(statSync(join(files, 'r2-access.hocon')).mode & 0o777, 0o600);
  writeCollected(files, null);
  assert.deepEqual(readdirSync(files), []);
});

test('a taken port is named, with the option that chooses another', async () => {
  const idp = await startIdentityProvider();
  const ports = { ...(await freePorts()), idp: idp.port };
  await assert.rejects(requireFree(ports), new RegExp(`port ${idp.port} \\(idp\\) is taken: choose another with --idp-port`));
  await idp.close();
  await requireFree(ports);
});

test('an unknown option is refused with the help and status 2', () => {
  const usage = { text: 'the help', options: { port: { type: 'string' } } };
  assert.throws(() => readOptions(usage, ['--prot', '1']), { exitCode: 2, message: /'--prot'[^]*the help/ });
  assert.equal(span({ ttl: '8h' }, 'ttl', ''), 28_800);
  assert.throws(() => span({ ttl: 'soon' }, 'ttl', ''), /--ttl wants a length of time/);
});

test('the identity provider’s tokens hold against its published keys, also after a rotation', async () => {
  const keys = join(directory, 'idp');
  let idp = await startIdentityProvider({ directory: keys });
  const { operators, users } = idp;
  const old = await idp.operatorToken({ email: 'operator@optic.works' });
  const verified = await jwtVerify(old, createLocalJWKSet(operators.jwks()), { issuer: operators.url, audience: operators.audience });
  assert.equal(verified.protectedHeader.alg, 'RS256');
  assert.deepEqual([verified.payload.email, verified.payload.type, verified.payload.aud], ['operator@optic.works', 'app', ['rs1-local']]);

  const kid = await operators.rotate();
  assert.equal(operators.jwks().keys.length, 2, 'the old key stays until it is retired');
  assert.ok(operators.jwks().keys.every((key) => key.d === undefined), 'no private member is published');
  await jwtVerify(old, createLocalJWKSet(operators.jwks()));
  await users.rotate({ alg: 'ES256', retire: true });
  await idp.close();

  idp = await startIdentityProvider({ directory: keys });
  const api = httpClient({ port: idp.port });
  const published = createLocalJWKSet((await api('GET', '/cdn-cgi/access/certs', { host: 'identity.localhost' })).json);
  api.close();
  const operator = await jwtVerify(await idp.operatorToken({ email: 'a@b.c' }), published);
  assert.equal(operator.protectedHeader.kid, kid, 'keys outlive a restart');
  const user = await jwtVerify(await idp.userToken({ email: 'a@b.c', nonce: 'n' }), createLocalJWKSet(idp.users.jwks()));
  assert.deepEqual([user.protectedHeader.alg, user.payload.email_verified, user.payload.nonce], ['ES256', true, 'n']);
  await idp.close();
});

test('waiting says what was last seen', async () => {
  let calls = 0;
  assert.equal(await eventually('the third call', () => (calls += 1) === 3 && 'there', { every: 1 }), 'there');
  await assert.rejects(eventually('rain', () => false, { within: 5, every: 1, seen: () => ({ sky: 'blue' }) }), {
    message: 'waited 0.005 s for rain; last seen: {"sky":"blue"}',
  });
});

test('a part that ends is noticed, and one that does not end is made to', async () => {
  const node = process.execPath;
  const lines = [];
  const run = (part, script) =>
    startChild({ part, command: node, args: ['-e', script], readyLine: /^ready/, onLine: (line) => lines.push(line) });
  const short = run('broker', 'process.exit(3)');
  await assert.rejects(short.ready, /the broker ended with status 3 before it was ready/);

  const script = 'process.on("SIGTERM", () => console.log("no")); console.log("said"); console.log("ready now"); setInterval(() => {}, 1000)';
  const stubborn = run('fleet', script);
  assert.equal(await stubborn.ready, 'ready now');
  await stubborn.stop();
  assert.equal(await stubborn.ended, 'ended by SIGKILL');
  assert.deepEqual(lines, ['said', 'no']);
});

test('lines of the parts are shown as words', () => {
  const route = { method: 'POST', route: '/webhook/telemetry', status: 422 };
  const request = { ts: 1, level: 'warn', worker: 'telemetry', request_id: 'r', ...route, duration_ms: 3, log: 'no metrics' };
  const line = 'POST /webhook/telemetry 422, 3 ms  no metrics';
  assert.deepEqual(readLine(JSON.stringify(request)), { part: 'telemetry', line, level: 'warn' });
  const outcome = { event: 'cron * * * * *', outcome: 'nothing to do' };
  const job = { ts: 1, level: 'info', worker: 'ota', request_id: 'r', ...outcome, duration_ms: 1 };
  assert.equal(readLine(JSON.stringify(job)).line, 'cron * * * * *: nothing to do, 1 ms');
  assert.deepEqual(readProgramLine('04:42:48.289 warn  auth    denied'), { line: 'auth    denied', level: 'warn' });
  assert.deepEqual(readLine('panicked at src/lib.rs'), { part: 'workers', line: 'panicked at src/lib.rs', level: 'error' });
});
