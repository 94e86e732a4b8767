// A cloud in which every route finds something: people, devices, orders, firmware and rollouts, made through the API, and the
// document with their ids in it, so that a client that is generated from it gets past "not found".

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeImage } from '../../local/lib/firmware-image.mjs';
import { telemetry, topicOf } from '../integration/fixtures/builders.mjs';
import { grant, signIn } from '../integration/fixtures/owner.mjs';
import { NEW, rolloutsOf } from '../integration/fixtures/rollout.mjs';
import { eventually, makeDevice } from '../integration/support/harness.mjs';

const STATUS = 'status.localhost';
/** What the document's examples are about. */
const SAMPLE = { device: '3e32e97b9d6cf5e193d3a3a7e8fd9a97', mac: 'AA:BB:CC:DD:EE:01' };
const ANOTHER = '00000000000000000000000000000000';

const ok = (answer) => {
  if (answer.status >= 300) throw new Error(`the world was not made: ${answer.status} ${answer.text}`);
  return answer.json;
};
const times = async (count, make) => {
  const made = [];
  for (let n = 0; n < count; n += 1) made.push(await make(n));
  return made;
};

/**
 * @param {Awaited<ReturnType<typeof import('../integration/support/harness.mjs').startHarness>>} cloud
 * @param {string} directory for images
 */
export async function makeWorld(cloud, directory) {
  const ada = await signIn(cloud, 'ada@example.com');
  const grace = await signIn(cloud, 'grace@example.com');
  const token = await cloud.adminToken();
  const admin = async (method, path, options) => ok(await cloud.api(method, path, { token, ...options }));
  const enrolled = (count) => times(count, () => cloud.enroll({ sku: 'rs1_pro' }));
  const owned = async (count, person) => {
    const devices = await enrolled(count);
    for (const device of devices) await grant(cloud, person, device, 'owner');
    return devices;
  };
  const ids = (devices) => devices.map(({ id }) => id);

  // People and their devices. What is given up, withdrawn or accepted is gone, so each has its own.
  const own = await owned(4, ada);
  const [first] = own;
  const givenUp = await owned(10, ada);
  const [shared] = await owned(1, ada);
  const invitations = await times(12, async (n) => ok(await ada.call('POST', `/api/devices/${shared.id}/shares`, { body: { email: `guest${n}@example.com`, role: 'viewer' } })).id);
  const offer = async (person, device, email) => ok(await person.call('POST', `/api/devices/${device.id}/transfer`, { body: { email } }));
  const [offered, withdrawn, toAda] = [await owned(2, ada), await owned(6, ada), await owned(2, grace)];
  for (const device of [...offered, ...withdrawn]) await offer(ada, device, 'grace@example.com');
  for (const device of toAda) await offer(grace, device, 'ada@example.com');
  const zones = [{ id: 'sofa', name: 'Sofa', type: 'include', sensitivity: 50, vertices: [[0, 0], [900, 0], [0, 900]] }];
  for (const body of [{ zones: [] }, { zones }, { zones: [] }]) ok(await ada.call('PUT', `/api/devices/${first.id}/zones`, { body, headers: { 'if-match': '*' } }));
  await cloud.emqx.message(topicOf(first, 'telemetry'), telemetry(first));
  await eventually('an hour of telemetry', async () => (await admin('GET', `/api/admin/devices/${first.id}/telemetry`)).items.length === 1);
  // How alerts open is another specification's.
  const alert = 'alr-01KDQ3Y8E0C8M4T6R2V9W1X5Z7';
  const sql = `INSERT INTO alerts (alert_id, device_id, kind, severity, opened_at, last_at, occurrences, detail, generation)
    VALUES (?1, ?2, 'low_memory', 'warning', ?3, ?3, 1, '41200 bytes free', 1)`;
  await cloud.rows(sql, alert, first.id, Date.now());
  // All of a device's data, once it is put together; that of others is asked for, and deleted.
  const [exported, ...askedFor] = await owned(6, ada);
  const exportOf = (device) => `/api/devices/${device.id}/export`;
  ok(await ada.call('POST', exportOf(exported)));
  const made = await eventually('an export', async () => {
    await cloud.cron('archive', '* * * * *');
    const { download } = ok(await ada.call('GET', exportOf(exported)));
    return download && new URL(download, 'https://api.localhost');
  });
  const doomed = await owned(1, ada);
  ok(await ada.call('DELETE', `/api/devices/${doomed[0].id}/data?confirm=${doomed[0].id}`));
  const sessions = await times(3, async () => ok(await cloud.api('POST', '/api/auth/session', { body: { id_token: await cloud.userToken({ email: 'linus@example.com' }) } })).refresh_token);
  const idTokens = await times(2, (n) => cloud.userToken({ email: `new${n}@example.com` }));

  // What operators look after.
  const unclaimed = await enrolled(3);
  const [asked, answered, ...quiet] = await enrolled(12);
  const question = async (device) => (await admin('POST', `/api/admin/devices/${device.id}/diagnostics`)).request_id;
  const [open, closed] = [await question(asked), await question(answered)];
  const say = (device, request) => cloud.emqx.message(topicOf(device, 'diag/response'), { request_id: request, timestamp: new Date().toISOString(), diagnostics: { heap: { free: 81_920 } } });
  await say(answered, closed);
  // How notices are given up is another specification's.
  const givenUpNotices = await times(4, async (n) => {
    const id = `ntc-01KDQ3Y8E0C8M4T6R2V9W1X5Z${n}`;
    await cloud.rows(
      `INSERT INTO notices (seq, notice_id, said, source, dedup_key, what, severity, component, summary, at, detail, created_at, planned_at)
       VALUES (?1, ?2, ?2, 'rollout', ?2, 'trigger', 'critical', 'updates', 'A rollout was halted', ?3, '{}', ?3, ?3)`,
      ...[n + 1, id, Date.now()],
    );
    await cloud.rows(
      `INSERT INTO notice_deliveries (seq, channel, dedup_key, state, since, attempts, next_at, status, error, settled_at)
       VALUES (?1, 'slack', ?2, 'failed', ?3, 1, ?3, 400, 'status 400: invalid_payload', ?3)`,
      ...[n + 1, id, Date.now()],
    );
    return id;
  });
  await cloud.cron('health', '0 3 * * *');
  const backups = () => cloud.api('GET', '/admin/backups', { host: STATUS, token });
  const backup = await eventually('a backup', async () => {
    await cloud.cron('health', '*/5 * * * *');
    const [made] = ok(await backups()).items;
    return made?.state === 'complete' && made.backup_id;
  });

  // Which incidents there are is another specification's: one that goes on, one that is over.
  const [wrong, over] = ['inc-01KDQ3Y8E0C8M4T6R2V9W1X5Z7', 'inc-01KDQ3Y8E0C8M4T6R2V9W1X5Z6'];
  for (const [id, resolved] of [[wrong, null], [over, Date.now()]]) {
    await cloud.rows(
      `INSERT INTO incidents (incident_id, subject, severity, title, components, members, explains, opened_at, respond_by, resolved_at)
       VALUES (?1, ?1, 'SEV3', 'store-api: status 502', '["store"]', '[{"check_id":"store-api","fault":"status 502","down":true}]', '["app"]', ?2, ?2, ?3)`,
      id,
      Date.now(),
      resolved,
    );
    await cloud.rows("INSERT INTO incident_events (incident_id, at, step, what, about, detail) VALUES (?1, ?2, 0, 'opened', NULL, 'status 502')", id, Date.now());
  }
  const later = (hours) => new Date(Date.now() + hours * 3_600_000).toISOString();
  const maintenance = { subjects: ['broker'], reason: 'the broker is upgraded', until: later(1) };
  const windows = await times(4, async (n) => (await admin('POST', '/admin/maintenance', { host: STATUS, body: { ...maintenance, from: later(0.1 * n) } })).window_id);

  // Firmware, and a device that is being updated.
  const fleet = await rolloutsOf(cloud);
  const { key } = await fleet.operator.trust();
  const spareKeys = await times(6, async () => (await fleet.operator.trust()).id);
  await fleet.operator.publish('9.0.0', { key });
  const images = await times(4, async (n) => {
    const path = join(directory, `3.0.${n}.bin`);
    writeFileSync(path, makeImage({ version: `3.0.${n}`, key }));
    return path;
  });
  const [updating] = await fleet.fleet(1);
  const running = await fleet.make({ selector: { device_ids: [updating.id] } });
  await fleet.tell(running, 'start');
  const [{ trigger }] = await fleet.untilTold(1);
  const link = new URL(trigger.url);
  const nobody = { selector: { tags: ['nobody'] }, stages: [{ percent: 1, duration_sec: 3600 }, { percent: 50, duration_sec: 3600 }, { percent: 100 }] };
  const rollouts = (count, ...verbs) =>
    times(count, async () => {
      const id = await fleet.make(nobody);
      for (const verb of verbs) ok(await fleet.tell(id, verb));
      return id;
    });
  const verbs = {
    startRollout: await rollouts(4),
    scheduleRollout: await rollouts(2),
    abortRollout: await rollouts(4),
    pauseRollout: await rollouts(4, 'start'),
    advanceRollout: await rollouts(4, 'start'),
    resumeRollout: await rollouts(4, 'start', 'pause'),
  };

  const about = (id) => ({ id: [...id, ANOTHER] });
  return {
    tokens: { person: ada.token, operator: token, broker: cloud.secrets.WEBHOOK_SECRET, scraper: cloud.secrets.METRICS_TOKEN },
    images,
    /** What an example's device and address become. */
    stands: [
      [SAMPLE.device, first.id],
      [SAMPLE.mac, first.mac],
    ],
    /** Values of path and query parameters by operation; `*` for those that are not named. */
    parameters: {
      '*': { ...about(ids(own)), version: ['1', '2', '3', '99'], 'If-Match': ['*', '"3"'] },
      giveUpDevice: about(ids(givenUp)),
      unshare: { id: [shared.id], share: invitations },
      transfer: about(ids(offered)),
      withdrawTransfer: about(ids(withdrawn)),
      acceptTransfer: about(ids(toAda)),
      askExport: about(ids(askedFor)),
      deviceExport: about([exported.id]),
      downloadExport: { export: [made.pathname.split('/').pop()], ...Object.fromEntries([...made.searchParams].map(([name, value]) => [name, [value]])) },
      deleteData: { id: [doomed[0].id], confirm: [doomed[0].id] },
      dataDeletion: about([doomed[0].id]),
      acknowledgeAlert: { id: [first.id], alert: [alert, 'alr-00000000000000000000000000'] },
      claim: about(ids(unclaimed)),
      askDiagnostics: about(ids(quiet)),
      diagnostics: { id: [answered.id], request: [closed] },
      revokeKey: { id: spareKeys },
      artifact: { sku: ['rs1_pro'], version: [NEW, '9.0.0', '7.7.7'] },
      yank: { sku: ['rs1_pro'], version: ['9.0.0'] },
      uploadFirmware: { sku: ['rs1_pro'], version: ['3.0.0', '3.0.1', '3.0.2', '3.0.3'] },
      ...Object.fromEntries(
        ['download', 'downloadHead'].map((name) => [name, { sku: ['rs1_pro'], version: [NEW], ...Object.fromEntries([...link.searchParams].map(([parameter, value]) => [parameter, [value]])) }]),
      ),
      ...Object.fromEntries(['rollout', 'rolloutDevices', 'rolloutEvents'].map((name) => [name, { id: [running, verbs.pauseRollout[0]] }])),
      ...Object.fromEntries(Object.entries(verbs).map(([name, id]) => [name, { id }])),
      backup: { id: [backup, '2020-01-01'] },
      retryNotice: { id: [...givenUpNotices, 'ntc-00000000000000000000000000'] },
      incident: { id: [wrong, over, 'inc-00000000000000000000000000'] },
      acknowledgeIncident: { id: [wrong] },
      endMaintenance: { id: [...windows, 'mnt-00000000000000000000000000'] },
      listRegistry: {},
    },
    /** Bodies in place of the examples, where an example cannot know. */
    bodies: {
      signIn: idTokens.map((id_token) => ({ id_token })),
      refresh: sessions.map((refresh_token) => ({ refresh_token })),
      claim: [{ email: 'grace@example.com', reason: 'ticket 4711' }],
      declareMaintenance: [maintenance, { ...maintenance, from: later(24), until: later(26) }],
      mqttAuth: [{ clientid: first.id, username: first.id, password: first.password(), peerhost: '203.0.113.7' }],
      diagnosticsAnswer: [
        {
          clientid: asked.id,
          topic: topicOf(asked, 'diag/response'),
          payload: JSON.stringify({ request_id: open, timestamp: new Date().toISOString(), diagnostics: {} }),
        },
      ],
      enroll: [enrolment(makeDevice()), enrolment(first)],
    },
  };
}

const enrolment = ({ mac, secretHash }) => ({ mac_address: mac, device_secret_hash: secretHash, product_sku: 'rs1_pro' });

/**
 * The document as a client of this world reads it: what exists in the place of what might, and answers closed, so that a field that
 * is not described is found.
 * @param {any} document
 * @param {Awaited<ReturnType<typeof makeWorld>>} world
 */
export function documentOf(document, world) {
  const copy = structuredClone(document);
  const hosts = {};
  for (const item of Object.values(copy.paths)) {
    const host = new URL(item.servers?.[0].url ?? 'https://api.optic.works').hostname.replace('.optic.works', '.localhost');
    delete item.servers;
    for (const operation of Object.values(item)) {
      const name = operation.operationId;
      hosts[name] = host;
      for (const parameter of operation.parameters ?? []) {
        const values = (world.parameters[name] ?? world.parameters['*'])[parameter.name];
        if (!values) continue;
        parameter.schema = { type: 'string', enum: values };
        delete parameter.example;
        parameter.examples = Object.fromEntries(values.map((value, index) => [`existing-${index}`, { value }]));
      }
      for (const media of Object.values(operation.requestBody?.content ?? {})) {
        if (world.bodies[name]) media.examples = Object.fromEntries(world.bodies[name].map((value, index) => [`real-${index}`, { value }]));
        else if (media.examples) media.examples = JSON.parse(world.stands.reduce((text, [sample, real]) => text.replaceAll(sample, real), JSON.stringify(media.examples)));
      }
      // One way to show who one is is enough.
      operation.security = operation.security.slice(0, 1);
    }
  }
  delete copy.components.securitySchemes.access;
  copy.servers = [{ url: '/' }];
  for (const [name, schema] of Object.entries(copy.components.schemas)) close(name, schema);
  return { document: copy, hosts };
}

/** An object has the members that are described, and no others. The base of all problems is closed where it is used. */
function close(name, schema) {
  if (schema.properties && name !== 'Problem' && schema.additionalProperties === undefined) schema.unevaluatedProperties = false;
}
