// Notices: what happened anywhere is told to people, once and in order, whatever their receivers do meanwhile. PagerDuty, Slack
// and the receiver of the webhook are played by local/lib/receivers.mjs, which refuse what the real ones would.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { Response } from 'miniflare';
import { hourStart } from './fixtures/builders.mjs';
import { isStatus } from './fixtures/expect.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const EVERY_MINUTE = '* * * * *';
const CHANNELS = ['pagerduty', 'slack', 'webhook'];
const host = 'status.localhost';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let token;
before(async () => {
  cloud = await startHarness({ only: ['health'] });
  token = await cloud.adminToken();
});
after(() => cloud?.stop());
beforeEach(async () => {
  for (const channel of CHANNELS) cloud.receivers.behave(channel, null);
  await settled();
  cloud.receivers.forget();
});

/** Times at which the trigger is due, each later than the one before. */
let due = hourStart();
/** The trigger, a minute later by its schedule. Deliveries that wait for their time are due: no spec waits half a minute. */
async function tick() {
  await cloud.rows("UPDATE notice_deliveries SET next_at = 0 WHERE state = 'waiting'");
  due += 60_000;
  await cloud.cron('health', EVERY_MINUTE, new Date(due));
  return (await cloud.rows("SELECT outcome, detail FROM cron_runs WHERE worker = 'health' AND cron = ?", EVERY_MINUTE))[0];
}
const settled = () =>
  eventually('everything to be delivered', async () => {
    await cloud.rows('DELETE FROM notice_channels');
    const { outcome } = await tick();
    return outcome === 'ok' && (await notices('?state=waiting')).length === 0;
  });

/** An answer's JSON. */
const ok = (answer, status = 200) => {
  isStatus(answer, status);
  return answer.json;
};
const notices = async (query = '') => ok(await cloud.api('GET', `/admin/notices${query}`, { host, token })).items;
let number = 0;
/** Says something about `key`, as whoever has something to tell does. */
async function tell(key, what) {
  number += 1;
  await cloud.rows(
    `INSERT INTO notices (notice_id, said, source, dedup_key, what, severity, component, summary, at, detail, created_at)
     VALUES (?1, ?1, 'incident', ?2, ?3, 'critical', 'broker', ?4, ?5, '{"check":"emqx"}', ?5)`,
    ...[`ntc-${String(number).padStart(26, '0')}`, key, what, `${key} ${what} ${number}`, Date.now()],
  );
}
/** What each channel got about `key`. */
const got = (key) =>
  Object.fromEntries(
    CHANNELS.map((channel) => [channel, cloud.receivers.told.filter((one) => one.channel === channel && one.summary.includes(key)).map(({ summary }) => summary)]),
  );

test('a notice reaches each channel in the form that the channel takes', async () => {
  await tell('incident:form', 'trigger');
  assert.equal((await tick()).detail, '0 told; 1 to pagerduty, 1 to slack, 1 to webhook; nothing forgotten');
  const [event] = cloud.receivers.told.filter(({ channel }) => channel === 'pagerduty');
  assert.deepEqual([event.action, event.about, event.body.payload.severity, event.body.payload.source], ['trigger', 'incident:form', 'critical', 'rs1-cloud-local']);
  assert.deepEqual(cloud.receivers.alerts.get('incident:form'), { state: 'triggered', triggers: 1 });
  const ids = new Set(cloud.receivers.told.map(({ id }) => id));
  assert.equal(ids.size, 1, 'one notice, by one id');
  assert.deepEqual(cloud.refused, []);
  const [shown] = await notices('?source=incident&limit=1');
  assert.deepEqual(shown.deliveries.map(({ channel, state, attempts, status }) => [channel, state, attempts, status]), [
    ['pagerduty', 'sent', 1, 202],
    ['slack', 'sent', 1, 200],
    ['webhook', 'sent', 1, 204],
  ]);
  await tick();
  assert.equal(cloud.receivers.told.length, 3, 'once');
});

const DOWN = {
  down: () => Promise.reject(new Error('connection refused')),
  'hanging for longer than anybody waits': (take) => new Promise((done) => setTimeout(() => done(new Response('late', { status: 500 })), 12_000).unref()),
  'answering 500': () => new Response('oops', { status: 500 }),
  'answering 503': () => new Response(null, { status: 503 }),
  'answering 429': () => new Response('rate limited', { status: 429, headers: { 'retry-after': '1' } }),
  'refusing the key for now': () => new Response('forbidden', { status: 403 }),
};

for (const [how, behaviour] of Object.entries(DOWN)) {
  test(`PagerDuty ${how}: the others are told at once, and it is told everything once, in order, when it is back`, async () => {
    const key = `incident:${how.replaceAll(' ', '-')}`;
    cloud.receivers.behave('pagerduty', behaviour);
    await tell(key, 'trigger');
    assert.equal((await tick()).outcome, 'failed');
    await tell(key, 'acknowledge');
    await tell(key, 'resolve');
    if (!how.startsWith('hanging')) await tick();
    else {
      // What is said while it hangs is told to the others all the same, by the next run.
      cloud.receivers.behave('pagerduty', DOWN['answering 500']);
      await tick();
    }
    assert.deepEqual(got(key).pagerduty, []);
    assert.equal(got(key).slack.length, 3);
    assert.equal(got(key).webhook.length, 3);
    cloud.receivers.behave('pagerduty', null);
    await settled();
    const events = cloud.receivers.of('pagerduty').filter(([, about]) => about === key);
    assert.deepEqual(events.map(([action]) => action), ['trigger', 'acknowledge', 'resolve']);
    assert.deepEqual(cloud.receivers.alerts.get(key), { state: 'resolved', triggers: 1 });
    assert.equal(got(key).slack.length, 3, 'nobody heard anything twice');
    assert.equal(got(key).webhook.length, 3);
  });
}

test('a channel that is slow takes its time, and nobody else waits for it', async () => {
  let release;
  const gate = new Promise((done) => (release = done));
  cloud.receivers.behave('pagerduty', async (take) => {
    await gate;
    return take();
  });
  await tell('incident:slow', 'trigger');
  const run = tick();
  await eventually('the others to be told', () => got('incident:slow').slack.length === 1 && got('incident:slow').webhook.length === 1);
  assert.equal(cloud.receivers.tried.pagerduty, 1);
  release();
  assert.equal((await run).outcome, 'ok');
  assert.deepEqual(cloud.receivers.of('pagerduty'), [['trigger', 'incident:slow']]);
});

test('a channel that asks for quiet is not called until then', async () => {
  cloud.receivers.behave('slack', () => new Response('rate_limited', { status: 429, headers: { 'retry-after': '600' } }));
  await tell('incident:quiet', 'trigger');
  await tell('incident:quiet-too', 'trigger');
  await tick();
  await tick();
  assert.equal(cloud.receivers.tried.slack, 1, 'one call, and then none');
  const [{ quiet_until: until }] = await cloud.rows("SELECT quiet_until FROM notice_channels WHERE channel = 'slack'");
  assert.ok(Math.abs(until - Date.now() - 600_000) < 60_000, new Date(until).toISOString());
  assert.equal(got('incident:quiet').pagerduty.length, 2);
});

test('what a receiver took while its answer was lost is sent again under the same id, and followed once', async () => {
  cloud.receivers.behave('webhook', async (take) => {
    await take();
    cloud.receivers.behave('webhook', null);
    throw new Error('the connection broke');
  });
  cloud.receivers.behave('pagerduty', async (take) => {
    await take();
    cloud.receivers.behave('pagerduty', null);
    return new Response('Bad Gateway', { status: 502 });
  });
  await tell('incident:lost', 'trigger');
  await tick();
  await settled();
  assert.deepEqual([cloud.receivers.tried.webhook, got('incident:lost').webhook.length], [2, 1]);
  assert.deepEqual(cloud.receivers.alerts.get('incident:lost'), { state: 'triggered', triggers: 2 }, 'one alert');
});

test('two runs that cross send nothing twice', async (t) => {
  const entered = Promise.withResolvers();
  let release;
  const gate = new Promise((done) => (release = done));
  t.after(() => release());
  cloud.receivers.behave('pagerduty', async (take) => {
    entered.resolve();
    await gate;
    return take();
  });
  await tell('incident:cross', 'trigger');
  await tell('incident:cross-two', 'trigger');
  const first = tick();
  await entered.promise;
  cloud.receivers.behave('pagerduty', null);
  due += 60_000;
  await cloud.cron('health', EVERY_MINUTE, new Date(due));
  assert.deepEqual(cloud.receivers.of('pagerduty'), [['trigger', 'incident:cross-two']], 'not what the first has in hand');
  release();
  await first;
  await settled();
  assert.deepEqual(cloud.receivers.of('pagerduty').map(([, about]) => about).sort(), ['incident:cross', 'incident:cross-two']);
  assert.deepEqual(CHANNELS.map((channel) => cloud.receivers.tried[channel]), [2, 2, 2]);
});

test('what a receiver will never take is given up and shown, and an operator sends it again', async () => {
  cloud.receivers.behave('slack', () => new Response('invalid_payload', { status: 400 }));
  await tell('incident:refused', 'trigger');
  await tick();
  const [failed] = await notices('?state=failed');
  const slack = () => failed.deliveries.find(({ channel }) => channel === 'slack');
  assert.deepEqual([slack().state, slack().error], ['failed', 'status 400: invalid_payload']);
  cloud.receivers.behave('slack', null);
  const path = `/admin/notices/${failed.notice_id}/retry`;
  assert.equal(ok(await cloud.api('POST', path, { host, token }), 202).notice_id, failed.notice_id);
  await settled();
  assert.equal(got('incident:refused').slack.length, 1);
  isStatus(await cloud.api('POST', path, { host, token }), 409);
  isStatus(await cloud.api('POST', path, { host }), 401);
  assert.ok((await cloud.rows("SELECT 1 FROM audit_log WHERE route = '/admin/notices/{id}/retry' AND target = ?", failed.notice_id)).length >= 2);
});

test('an operator tries the channels', async () => {
  const { notice_ids: ids, channels } = ok(await cloud.api('POST', '/admin/notices/test', { host, token }), 202);
  assert.deepEqual([ids.length, channels], [2, CHANNELS]);
  await tick();
  const [[opened, about], closed] = cloud.receivers.of('pagerduty');
  assert.deepEqual([opened, closed], ['trigger', ['resolve', about]]);
  assert.equal(cloud.receivers.alerts.get(about).state, 'resolved');
  assert.deepEqual([cloud.receivers.of('slack').length, cloud.receivers.of('webhook').length], [1, 1]);
  assert.equal(ok(await cloud.api('GET', '/health', { host })).checks.notices.detail, 'pagerduty, slack, webhook');
});

test('a critical alert, a halted rollout and a high row of the security log are told, and their ends', async () => {
  const device = 'd'.repeat(32);
  await cloud.rows("INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by) VALUES (?, 'x', 'x', 0, 'spec')", device);
  await cloud.rows(
    `INSERT INTO alerts (alert_id, device_id, kind, severity, opened_at, last_at, occurrences, detail, generation)
     VALUES ('alr-1', ?, 'critical_memory', 'critical', ?2, ?2, 1, '19000 bytes free', 1)`,
    ...[device, Date.now()],
  );
  await cloud.rows(
    `INSERT INTO rollouts (rollout_id, sku, version, sha256, elf_sha256, fw_version, stages, min_rssi, force, rate_per_minute, selector, created_at, created_by, status)
     VALUES ('rol-1', 'rs1_pro', '1.1.0', printf('%064d', 1), printf('%064d', 1), 1, '[]', -70, 0, 60, '{}', 0, 'ada', 'PAUSED')`,
  );
  const happens = (kind, detail) => cloud.rows("INSERT INTO rollout_events (rollout_id, at, kind, actor, detail) VALUES ('rol-1', ?, ?, 'ada', ?)", Date.now(), kind, JSON.stringify(detail));
  await happens('halted', { cause: 'failure_share', says: '6 of 20 devices with an outcome failed', status: 'PAUSED' });
  const logged = (id) =>
    cloud.rows(
      `INSERT INTO security_log (id, kind, severity, subject, peerhost, detail, first_at, last_at, window_key)
       VALUES (?1, 'auth_failure_repeated', 'high', '203.0.113.7', '203.0.113.7', '{"failures":6}', ?2, ?2, 'auth_failure_repeated:203.0.113.7:1')
       ON CONFLICT (window_key) DO UPDATE SET count = count + 1`,
      ...[id, Date.now()],
    );
  await logged('sec-1');
  await logged('sec-2');
  assert.match((await tick()).detail, /^3 told; 3 to pagerduty/);
  const heard = () => cloud.receivers.of('webhook');
  assert.deepEqual(heard(), [
    ['trigger', 'alert:alr-1'],
    ['trigger', 'rollout:rol-1'],
    ['trigger', 'security:auth_failure_repeated:203.0.113.7'],
  ]);
  await cloud.rows("UPDATE alerts SET resolved_at = ? WHERE alert_id = 'alr-1'", Date.now());
  await happens('resumed', {});
  await logged('sec-3');
  await tick();
  assert.deepEqual(heard().slice(3), [
    ['resolve', 'alert:alr-1'],
    ['resolve', 'rollout:rol-1'],
  ]);
  await tick();
  assert.equal(heard().length, 5);
  assert.equal(cloud.receivers.alerts.get('rollout:rol-1').state, 'resolved');
});

test('when the database is away PagerDuty is told straight, and hears when it is back', async () => {
  cloud.faults.inject({ binding: 'DB', worker: 'health', match: /cron_begin/, message: 'the database is gone', times: 3 });
  due += 60_000;
  await cloud.cron('health', EVERY_MINUTE, new Date(due));
  assert.deepEqual(cloud.receivers.of('pagerduty'), [['trigger', 'database:unreachable']]);
  assert.match(cloud.logs({ worker: 'health', outcome: 'failed' }).at(-1).log, /the database is gone|PagerDuty was told/);
  // It was away for ten minutes.
  await cloud.rows("UPDATE notice_collector SET state = json_set(state, '$.ran_at', CAST(? AS INTEGER))", Date.now() - 600_000);
  await tick();
  assert.equal(cloud.receivers.alerts.get('database:unreachable').state, 'resolved');
  assert.match(cloud.receivers.told.find(({ channel }) => channel === 'slack').summary, /The database answers/);
});

test('120 notices go out within a few runs, a bounded number in each', async () => {
  for (let n = 0; n < 120; n += 1) await tell(`incident:many-${n % 30}`, n < 30 ? 'trigger' : n < 90 ? 'acknowledge' : 'resolve');
  const { detail } = await tick();
  assert.match(detail, /40 to pagerduty, 40 to slack, 40 to webhook/);
  await settled();
  const events = cloud.receivers.of('pagerduty');
  assert.equal(events.length, 120);
  for (let n = 0; n < 30; n += 1) {
    const about = events.filter(([, key]) => key === `incident:many-${n}`).map(([action]) => action);
    assert.deepEqual(about, ['trigger', 'acknowledge', 'acknowledge', 'resolve']);
  }
  assert.deepEqual(CHANNELS.map((channel) => cloud.receivers.tried[channel]), [120, 120, 120]);
});
