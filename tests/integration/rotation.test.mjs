// `npm run secrets -- rotate` on the whole local stack, with real MQTT: secrets are replaced while devices are connected, others
// come and go all the time, and nobody is refused.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect } from '../../local/journey/mqtt.mjs';
import { makeDevice } from '../../local/lib/credentials.mjs';
import { httpClient } from '../../local/lib/http.mjs';
import { buildPrograms, startFleet } from '../../local/lib/parts.mjs';
import { HOST, freePorts } from '../../local/lib/ports.mjs';
import { printer } from '../../local/lib/print.mjs';
import { parseSecrets } from '../../local/lib/secrets.mjs';
import { startStack } from '../../local/lib/stack.mjs';
import { eventually } from '../../local/lib/wait.mjs';
import { ROOT } from '../../tools/lib/paths.mjs';

const FLEET = 3;
/** From one visit to the next. */
const VISIT_MS = 100;
const state = mkdtempSync(join(tmpdir(), 'rs1-rotation-'));
const silent = printer({ to: { write: () => true }, lines: 'none' });
/** @type {Awaited<ReturnType<typeof startStack>>} */
let stack;
let api, emqx, device, fleet;
before(
  async () => {
    await buildPrograms(process.env);
    stack = await startStack({ ports: await freePorts(), directory: state, fleet: 0, print: silent });
    api = httpClient({ port: stack.ports.http });
    emqx = httpClient({ port: stack.ports.emqx });
    device = makeDevice();
    const token = await stack.idp.operatorToken({ email: 'rotation@optic.works' });
    const enrolled = await api('POST', '/api/admin/enroll', { token, body: { mac_address: device.mac, device_secret_hash: device.secretHash } });
    assert.equal(enrolled.status, 201, enrolled.text);
    fleet = startFleet({ devices: FLEET, ports: stack.ports, state, options: ['--interval', '1'], onLine: () => {} });
    await fleet.ready;
  },
  { timeout: 900_000 },
);
after(async () => {
  await fleet?.stop();
  api?.close();
  emqx?.close();
  await stack?.stop();
  delete process.env.MINIFLARE_WORKERD_PATH;
  rmSync(state, { recursive: true, force: true });
});

const secretsNow = () => parseSecrets(readFileSync(join(state, 'dev.vars'), 'utf8'));
const rows = async (sql, ...params) => (await (await stack.cloud.database()).prepare(sql).bind(...params).all()).results;
const metrics = async () => {
  const authorization = `Basic ${Buffer.from(secretsNow().EMQX_API_KEY).toString('base64')}`;
  return (await emqx('GET', '/api/v5/metrics?aggregate=true', { host: HOST, headers: { authorization } })).json;
};
/** What the broker could not deliver, and what it was refused. */
const lost = async () => {
  const { json } = await emqx('GET', '/local/actions', { host: HOST });
  return Object.entries(json.actions).flatMap(([name, { failed, dropped, expired }]) => (failed + dropped + expired > 0 ? [`${name}: ${failed}, ${dropped}, ${expired}`] : []));
};

/** The command, as a person would run it. `onLine` may cut it off. */
function secrets(words, { onLine = () => {} } = {}) {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [join(ROOT, 'tools', 'secrets.mjs'), ...words, '--env', 'local', '--state', state], {
      env: { ...process.env, RS1_SETUP_DONE: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
        onLine(text, child);
      });
    }
    child.on('error', fail);
    child.on('close', (status) => done({ status, output }));
  });
}

const rotate = (name, { args = [], ...rest } = {}) => secrets(['rotate', name, ...args], rest);

/** A device that comes, and goes, and comes again, until it is told to end; how often, and what it was told when it was not let in. */
function visitor() {
  let isOver = false;
  const told = { visits: 0, refusals: [] };
  const visiting = (async () => {
    while (!isOver) {
      const { code, client } = await connect({ port: stack.ports.mqtt, version: 5, username: device.id, password: device.password() });
      if (client) await client.disconnect();
      else told.refusals.push(code);
      told.visits += 1;
      await new Promise((done) => setTimeout(done, VISIT_MS));
    }
  })();
  return async () => {
    isOver = true;
    await visiting;
    return told;
  };
}

/** That all are connected still, and nobody was refused while `work` went on. */
async function undisturbed(work) {
  const before = await metrics();
  const leave = visitor();
  const result = await work().finally(async () => {
    Object.assign(leave, { told: await leave() });
  });
  const { visits, refusals } = leave.told;
  const now = await metrics();
  assert.ok(visits > 3, `${visits} visits`);
  assert.deepEqual(refusals, []);
  const grown = (name) => now[name] - before[name];
  assert.equal(grown('authentication.failure'), 0);
  assert.equal(grown('client.connected'), visits, 'nobody of the fleet came back, because nobody had gone');
  assert.equal(grown('packets.publish.auth_error'), 0);
  assert.deepEqual(await lost(), []);
  return result;
}

/** That neither of a secret's values was said, and nothing of the rotation is left. */
function isSecret(output, ...values) {
  for (const value of values) assert.ok(value && !output.includes(value), 'a value was said');
  assert.deepEqual(existsSync(join(state, 'rotations')) ? readdirSync(join(state, 'rotations')) : [], []);
}

const acts = async (name) => {
  const found = await rows("SELECT detail FROM security_log WHERE kind = 'secret_rotated' AND subject = ? ORDER BY id", name);
  return found.map(({ detail }) => JSON.parse(detail).act);
};

test('the webhook secret is replaced while devices are connected, cut off half way and taken up again', async () => {
  const old = secretsNow().WEBHOOK_SECRET;
  const journal = join(state, 'rotations', 'local-WEBHOOK_SECRET.json');
  const output = await undisturbed(async () => {
    let isCut = false;
    const first = await rotate('WEBHOOK_SECRET', {
      onLine(text, child) {
        // Where the workers have both, and the broker the old one.
        if (!isCut && /broker: /.test(text)) isCut = child.kill('SIGKILL');
      },
    });
    assert.notEqual(first.status, 0);
    assert.equal(statSync(journal).mode & 0o777, 0o600);
    const half = JSON.parse(readFileSync(journal, 'utf8'));
    assert.deepEqual(Object.keys(half.done).slice(0, 4), ['begin', 'both', 'accepted', 'replaced']);
    const { WEBHOOK_SECRET: present, WEBHOOK_SECRET_PREVIOUS: previous } = secretsNow();
    assert.deepEqual([present, previous], [half.values.new, old]);
    assert.notEqual(present, old);
    const shown = await secrets(['status']);
    assert.match(shown.output, /^WEBHOOK_SECRET +accepted .* after replaced$/m);

    const second = await rotate('WEBHOOK_SECRET', { args: ['--quiet', '3'] });
    assert.equal(second.status, 0, second.output);
    assert.match(second.output, /goes on, after /);
    assert.doesNotMatch(second.output, /accepted: the new one/, 'what was done is not done again');
    return first.output + shown.output + second.output;
  });
  const { WEBHOOK_SECRET: fresh, WEBHOOK_SECRET_PREVIOUS: previous } = secretsNow();
  assert.equal(previous, undefined);
  isSecret(output, old, fresh);
  assert.deepEqual(await acts('WEBHOOK_SECRET'), ['replaced', 'dropped']);
  const ask = async (secret) => (await api('POST', '/webhook/mqtt-acl', { headers: { 'x-webhook-secret': secret }, body: [] })).status;
  assert.deepEqual([await ask(old), await ask(fresh)], [401, 400]);
  const refused = await rows("SELECT severity, subject FROM security_log WHERE kind = 'bad_webhook_secret'");
  assert.deepEqual(refused, [{ severity: 'high', subject: '127.0.0.1' }]);
  const [{ n }] = await rows("SELECT count(*) AS n FROM notice_inbox WHERE kind = 'bad_webhook_secret'");
  const [{ told }] = await rows("SELECT count(*) AS told FROM notices WHERE source = 'security'");
  assert.equal(n + told, 1, 'that refusal is told');
  const outdated = await rows("SELECT severity, subject FROM security_log WHERE kind = 'outdated_secret'");
  assert.deepEqual(outdated, [{ severity: 'info', subject: '127.0.0.1' }], 'the broker, while it had the old one');
});

describe('the others, and nobody notices', () => {
  for (const [name, args] of [
    ['JWT_SECRET', ['--wait', '0']],
    ['SIGNING_KEY', ['--wait', '0']],
    ['EMQX_API_KEY', []],
    ['DEVICE_KEK', []],
    ['NOTICE_WEBHOOK_SECRET', []],
    ['METRICS_TOKEN', []],
  ]) {
    test(name, async () => {
      const { [name]: old } = secretsNow();
      const sealed = await rows('SELECT device_id, sealed_key FROM devices ORDER BY device_id');
      const { status, output } = await undisturbed(() => rotate(name, { args }));
      assert.equal(status, 0, output);
      const now = secretsNow();
      assert.notEqual(now[name], old);
      assert.equal(now[`${name}_PREVIOUS`], undefined);
      isSecret(output, old, now[name]);
      assert.deepEqual(await acts(name), ['replaced', 'dropped']);
      const anew = await rows('SELECT device_id, sealed_key FROM devices ORDER BY device_id');
      const same = anew.filter((row, index) => row.sealed_key === sealed[index].sealed_key).length;
      assert.equal(same, name === 'DEVICE_KEK' ? 0 : sealed.length);
    });
  }

  test('what is wrong changes nothing', async () => {
    const before = secretsNow();
    const { status, output } = await rotate('PAGERDUTY_ROUTING_KEY');
    assert.equal(status, 1);
    assert.match(output, /is made at PagerDuty: give the new one with --value FILE/);
    const unknown = await rotate('SECRET');
    assert.equal(unknown.status, 1);
    assert.match(unknown.output, /SECRET is none of WEBHOOK_SECRET, /);
    assert.deepEqual(secretsNow(), before);
  });

  test('devices that come for the first time find everything as it was', async () => {
    const admitted = await connect({ port: stack.ports.mqtt, version: 5, username: device.id, password: device.password() });
    assert.equal(admitted.code, 0);
    await admitted.client.disconnect();
    const heard = Date.now();
    await eventually('the fleet to be heard of', async () => (await rows('SELECT count(*) AS n FROM devices WHERE online = 1 AND last_telemetry_at > ?', heard))[0].n === FLEET);
  });
});
