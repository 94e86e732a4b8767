// `npm run secrets -- rotate` against a stand-in of Cloudflare's API, with workers that judge secrets as ours do: what is sent to
// the API and when, what is asked of a person, and what becomes of a rotation that is cut off.

import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { openProject } from '../../tools/delivery/project.mjs';
import { startCloudflare } from './support/cloudflare.mjs';
import { command, copyProject } from './support/project.mjs';

const OLD = {
  WEBHOOK_SECRET: 'the webhook secret of before, long enough',
  SIGNING_KEY: 'the signing key of before, long enough too',
  JWT_SECRET: 'the secret of tokens of before, long enough',
  DEVICE_KEK: 'ab'.repeat(32),
  EMQX_API_KEY: 'rs1:the key of before',
};
/** Waits for somebody. */
const WAITS = 3;

/** Judges as ours do; of what it refuses, it tells whoever plays the security log. */
const judging = (answer) => `
const health = (env) => Response.json({ status: 'ok', version: '1.0.0', checks: {} }, { headers: { 'x-version': env.VERSION.id } });
const ring = (env, name) => [env[name], env[name + '_PREVIOUS']].filter(Boolean);
const told = (name, ...rest) => globalThis.rotationSpec[name](...rest);
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname.endsWith('/health')) return health(env);
    ${answer}
  },
  async queue() {},
  async scheduled() {},
};`;
const BUNDLES = {
  telemetry: judging(`
    const secret = request.headers.get('x-webhook-secret');
    if (!ring(env, 'WEBHOOK_SECRET').includes(secret)) { await told('refused'); return new Response('', { status: 401 }); }
    return new Response('', { status: 400 });`),
  ota: judging(`
    const { text, sig } = told('link', url);
    const isOurs = ring(env, 'SIGNING_KEY').some((key) => told('sign', key, text) === sig);
    return Response.json({ type: 'https://api.optic.works/problems/' + (isOurs ? 'url-expired' : 'bad-signature') }, { status: 403 });`),
  // History is asked by the same secrets: what matters here is that both have them.
  'device-api': judging(`
    const [signed, sig] = told('token', request.headers.get('authorization'));
    const isOurs = ring(env, 'JWT_SECRET').some((key) => told('sign', key, signed) === sig);
    return new Response('', { status: !isOurs ? 401 : url.pathname === '/api/devices' ? 200 : 404 });`),
  history: judging("return new Response('', { status: 404 });"),
  archive: judging("return new Response('', { status: 404 });"),
  health: judging("return new Response('', { status: 404 });"),
};

/** @type {Awaited<ReturnType<typeof startCloudflare>>} */
let cloudflare;
/** @type {ReturnType<typeof copyProject>} */
let project;
let scratch, released, config;

const sqlite = () => cloudflare.database('rs1-staging').sqlite;
const run = (sql, ...params) => sqlite().prepare(sql).run(...params);
const rows = (sql, ...params) => sqlite().prepare(sql).all(...params).map((row) => ({ ...row }));
const script = (worker) => cloudflare.script(`rs1-${worker}-staging`);
const file = (name, text) => {
  writeFileSync(join(scratch, name), text, { mode: 0o600 });
  return join(scratch, name);
};
/** What was sent to the API: which worker, and which secrets it was given (`+`) or lost (`-`). */
let sent;
const security = (kind, subject, at) =>
  run('INSERT INTO security_log (id, kind, severity, subject, detail, first_at, last_at, window_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?)', `sec-${at}-${randomBytes(4).toString('hex')}`, kind, 'info', subject, '{}', at, at, randomBytes(9).toString('hex'));

before(async () => {
  cloudflare = await startCloudflare();
  project = copyProject();
  scratch = mkdtempSync(join(tmpdir(), 'rs1-rotation-'));
  config = join(scratch, 'config');
  globalThis.rotationSpec = {
    refused: () => security('bad_webhook_secret', '198.51.100.7', Date.now()),
    sign: (key, text) => createHmac('sha256', key).update(text).digest('base64url'),
    link: (url) => ({ text: ['GET', url.pathname, ...url.search.slice(1).split('&').slice(0, -1)].join('\n'), sig: url.searchParams.get('sig') }),
    token: (header) => /^Bearer (.+)\.([^.]+)$/.exec(header).slice(1),
  };
  const provisioned = await command('provision.mjs', ['--env', 'staging', '--project', project.root, '--location', 'weur', '--yes'], { env: cloudflare.env });
  assert.equal(provisioned.status, 0, provisioned.output);
  for (const [worker, source] of Object.entries(BUNDLES)) project.write(join('dist', worker, 'index.js'), source);
  const commit = project.commit('Workers that judge');
  const secrets = file('secrets.env', Object.entries(OLD).map(([name, value]) => `${name}=${value}\n`).join(''));
  const release = ['--env', 'staging', '--project', project.root, '--built', '--tested', commit, '--hold', '0', '--poll', '0.1', '--connect', cloudflare.address, '--secrets-file', secrets];
  const deployed = await command('deploy.mjs', release, { env: cloudflare.env });
  assert.equal(deployed.status, 0, deployed.output);
  released = cloudflare.snapshot();
});
after(async () => {
  await cloudflare.stop();
  project.remove();
  rmSync(scratch, { recursive: true, force: true });
  delete globalThis.rotationSpec;
});
beforeEach(() => {
  cloudflare.restore(released);
  sent = [];
  cloudflare.onCall = async ({ method, path }) => {
    const [, name] = /^\/workers\/scripts\/rs1-(.+)-staging\/secrets-bulk$/.exec(path) ?? [];
    if (method === 'PATCH' && name) sent.push(name);
  };
});
afterEach(() => {
  assert.deepEqual(cloudflare.complaints, []);
  rmSync(config, { recursive: true, force: true });
});

const journals = () => (existsSync(join(config, 'rs1-cloud', 'rotations')) ? readdirSync(join(config, 'rs1-cloud', 'rotations')) : []);
const journal = (name) => join(config, 'rs1-cloud', 'rotations', `staging-${name}`);
const secrets = (...args) =>
  command('secrets.mjs', [...args, '--env', 'staging', '--project', project.root, '--connect', cloudflare.address, '--poll', '0.1'], { env: { ...cloudflare.env, XDG_CONFIG_HOME: config } });
const rotate = (name, ...args) => secrets('rotate', name, ...args);
const value = (worker, name) => script(worker).secrets.get(name);
const acts = (name) => rows("SELECT detail FROM security_log WHERE kind = 'secret_rotated' AND subject = ? ORDER BY id", name).map(({ detail }) => JSON.parse(detail).act);
/** The workers, in the order in which they were given something. */
const order = () => sent.splice(0);
const isUnsaid = (output, ...values) => values.forEach((each) => assert.ok(each && !output.includes(each), output));

test('the webhook secret: both at once, the broker by somebody, and the old one when nobody uses it any more', async () => {
  // As the broker has it.
  const present = file('webhook-secret.hocon', `connectors.http.optic.headers.x-webhook-secret = "${OLD.WEBHOOK_SECRET}"\n`);
  const first = await rotate('WEBHOOK_SECRET', '--present', present);
  assert.equal(first.status, WAITS, first.output);
  assert.deepEqual(order(), ['telemetry'], 'both in one version');
  const fresh = value('telemetry', 'WEBHOOK_SECRET');
  assert.equal(value('telemetry', 'WEBHOOK_SECRET_PREVIOUS'), OLD.WEBHOOK_SECRET);
  assert.match(fresh, /^[\w-]{43}$/);
  assert.deepEqual(acts('WEBHOOK_SECRET'), ['replaced']);
  assert.equal(rows("SELECT dropped_at FROM secret_rotations WHERE name = 'WEBHOOK_SECRET'")[0].dropped_at, null);
  for (const [name, text] of [
    ['WEBHOOK_SECRET.webhook-secret.hocon', `connectors.http.optic.headers.x-webhook-secret = "${fresh}"\n`],
    ['WEBHOOK_SECRET.json', undefined],
  ]) {
    assert.equal(statSync(journal(name)).mode & 0o777, 0o600, name);
    if (text) assert.equal(readFileSync(journal(name), 'utf8'), text);
  }
  const shown = await secrets('status');
  assert.match(shown.output, /WEBHOOK_SECRET .*telemetry.* accepted .* after replaced\n/);

  const again = await rotate('WEBHOOK_SECRET');
  assert.equal(again.status, WAITS, 'without --done it still waits');
  assert.deepEqual(order(), []);

  // A node that nobody thought of calls with the old one for another second; and a device is heard of.
  const began = Date.now();
  security('outdated_secret', '192.0.2.10', began + 1_000);
  run("INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by, online, last_seen_at) VALUES (?, 'AA', 'x', 1, 'ada', 1, ?)", 'd'.repeat(32), began + 60_000);
  const done = await rotate('WEBHOOK_SECRET', '--done', '--quiet', '2');
  assert.equal(done.status, 0, done.output);
  assert.match(done.output, /the old one came from 192\.0\.2\.10/);
  assert.ok(Date.now() - began >= 3_000, 'two seconds after it had come for the last time');
  assert.deepEqual(order(), ['telemetry']);
  assert.equal(value('telemetry', 'WEBHOOK_SECRET_PREVIOUS'), undefined);
  assert.equal(value('telemetry', 'WEBHOOK_SECRET'), fresh);
  assert.deepEqual(acts('WEBHOOK_SECRET'), ['replaced', 'dropped']);
  isUnsaid(first.output + shown.output + again.output + done.output, OLD.WEBHOOK_SECRET, fresh);
  assert.deepEqual(journals(), []);
});

test('what is not the present one, or comes while a release is under way, changes nothing', async () => {
  const wrong = await rotate('WEBHOOK_SECRET', '--present', file('wrong', 'not the one that is in use at all'));
  assert.equal(wrong.status, 1);
  assert.match(wrong.output, /is not the present one: the worker refuses it/);
  const none = await rotate('WEBHOOK_SECRET');
  assert.match(none.output, /--present FILE/);
  const [deployment] = script('telemetry').deployments;
  const [{ version_id: id }] = deployment.versions;
  deployment.versions = [
    { version_id: id, percentage: 90 },
    { version_id: id, percentage: 10 },
  ];
  const during = await rotate('WEBHOOK_SECRET', '--present', file('present', OLD.WEBHOOK_SECRET));
  assert.equal(during.status, 1);
  assert.match(during.output, /a release of rs1-telemetry-staging is under way/);
  assert.deepEqual(order(), []);
  assert.deepEqual(acts('WEBHOOK_SECRET'), []);
});

test('an API that fails half way leaves a rotation that goes on', async () => {
  const present = file('jwt', OLD.JWT_SECRET);
  const { onCall } = cloudflare;
  let failures = 1;
  cloudflare.onCall = async (call) => {
    await onCall(call);
    if (call.method === 'PATCH' && call.path.includes('device-api') && failures > 0) {
      failures -= 1;
      throw Object.assign(new Error(`not now: ${value('history', 'JWT_SECRET')}`), { status: 503, code: 10000 });
    }
  };
  cloudflare.complaints.length = 0;
  const first = await rotate('JWT_SECRET', '--present', present);
  assert.equal(first.status, 1);
  // The stand-in takes what it cannot answer for a fault of ours.
  cloudflare.complaints.length = 0;
  assert.deepEqual(order(), ['history', 'device-api'], 'who verifies, before who signs');
  assert.equal(value('device-api', 'JWT_SECRET'), OLD.JWT_SECRET);
  const second = await rotate('JWT_SECRET', '--wait', '0');
  assert.equal(second.status, 0, second.output);
  assert.match(second.output, /goes on, after begin/);
  assert.deepEqual(order(), ['history', 'device-api', 'device-api', 'history']);
  for (const worker of ['history', 'device-api']) {
    assert.notEqual(value(worker, 'JWT_SECRET'), OLD.JWT_SECRET);
    assert.equal(value(worker, 'JWT_SECRET_PREVIOUS'), undefined);
  }
  isUnsaid(first.output + second.output, OLD.JWT_SECRET, value('history', 'JWT_SECRET'));
});

test('the key of links is dropped when the links made with it have expired', async () => {
  const { status, output } = await rotate('SIGNING_KEY', '--present', file('signing', OLD.SIGNING_KEY), '--wait', '3');
  assert.equal(status, 0, output);
  assert.match(output, /expired: links of the old key expire: 15 minutes/);
  assert.deepEqual(order(), ['ota', 'ota']);
  assert.deepEqual(acts('SIGNING_KEY'), ['replaced', 'dropped']);
});

test('device keys are sealed anew, those of today and not those of somebody else', async () => {
  const open = (kek, device, sealed) => {
    const bytes = Buffer.from(sealed.slice(2), 'base64');
    const decipher = createDecipheriv('aes-256-gcm', Buffer.from(kek, 'hex'), bytes.subarray(0, 12)).setAAD(Buffer.from(device)).setAuthTag(bytes.subarray(-16));
    return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]).toString('hex');
  };
  const seal = (kek, device, key) => {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', Buffer.from(kek, 'hex'), nonce).setAAD(Buffer.from(device));
    return `1.${Buffer.concat([nonce, cipher.update(Buffer.from(key, 'hex')), cipher.final(), cipher.getAuthTag()]).toString('base64')}`;
  };
  const devices = Array.from({ length: 1_200 }, (_, number) => [number.toString(16).padStart(32, '0'), randomBytes(32).toString('hex')]);
  const insert = (id, sealed) => run("INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by) VALUES (?, ?, ?, 1, 'ada')", id, id, sealed);
  for (const [id, key] of devices) insert(id, seal(OLD.DEVICE_KEK, id, key));
  const strange = 'f'.repeat(32);
  insert(strange, seal('cd'.repeat(32), strange, devices[0][1]));

  const stuck = await rotate('DEVICE_KEK', '--present', file('kek', OLD.DEVICE_KEK));
  assert.equal(stuck.status, 1);
  assert.match(stuck.output, /1200 sealed anew, 0 were already/);
  assert.match(stuck.output, /1 keys open with neither/);
  assert.deepEqual(order(), ['telemetry', 'device-api'], 'who opens, before who seals; nothing is dropped');
  run('DELETE FROM devices WHERE device_id = ?', strange);
  const waits = await rotate('DEVICE_KEK');
  assert.equal(waits.status, WAITS, waits.output);
  assert.match(waits.output, /0 sealed anew, 1200 were already/);
  assert.equal(readFileSync(journal('DEVICE_KEK.kek-of-backups'), 'utf8'), `${OLD.DEVICE_KEK}\n`);
  const done = await rotate('DEVICE_KEK', '--done');
  assert.equal(done.status, 0, done.output);
  assert.deepEqual(order(), ['device-api', 'telemetry']);
  const fresh = value('telemetry', 'DEVICE_KEK');
  assert.match(fresh, /^[0-9a-f]{64}$/);
  const sealed = new Map(rows('SELECT device_id, sealed_key FROM devices').map((row) => [row.device_id, row.sealed_key]));
  for (const [id, key] of devices) assert.equal(open(fresh, id, sealed.get(id)), key, id);
  isUnsaid(stuck.output + waits.output + done.output, OLD.DEVICE_KEK, fresh);

  // A backup from before comes back: its keys are sealed with the one that was dropped.
  for (const [id, key] of devices.slice(0, 3)) run('UPDATE devices SET sealed_key = ? WHERE device_id = ?', seal(OLD.DEVICE_KEK, id, key), id);
  const resealed = await secrets('reseal', '--sealed-with', file('kek', OLD.DEVICE_KEK), '--present', file('fresh', fresh));
  assert.equal(resealed.status, 0, resealed.output);
  assert.match(resealed.output, /3 device keys sealed anew, 1197 were already/);
  for (const [id, key] of devices.slice(0, 3)) assert.equal(open(fresh, id, rows('SELECT sealed_key FROM devices WHERE device_id = ?', id)[0].sealed_key), key);
});

test('the steps of each are printed without a word to anybody', async () => {
  for (const name of ['WEBHOOK_SECRET', 'SIGNING_KEY', 'JWT_SECRET', 'DEVICE_KEK', 'EMQX_API_KEY', 'NOTICE_WEBHOOK_SECRET', 'METRICS_TOKEN', 'PAGERDUTY_ROUTING_KEY', 'SLACK_WEBHOOK_URL', 'FIRMWARE_KEY']) {
    cloudflare.calls.length = 0;
    const { status, output } = await rotate(name, '--dry-run');
    assert.equal(status, 0, output);
    assert.match(output, new RegExp(`^${name}: interrupts nothing`));
    assert.match(output, /\n 1 {2}begin/);
    assert.match(output, / dropped +it is noted/);
    assert.deepEqual(cloudflare.calls, []);
  }
});
