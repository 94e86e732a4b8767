// A database as a fleet of that size fills it: rows in every table, of the length that they have in production.

/** Hours since 1970 of the first hour that is filled; any will do. */
const FIRST_HOUR = 490_000;
const NOW = (FIRST_HOUR + 720) * 3_600_000;
/** Devices whose rollups one statement inserts: a statement of seconds, not of minutes. */
const DEVICES_A_STATEMENT = 100;
/** What the rows of others may be told by: the fleet's device ids begin with 0, those of the writers with f. */
export const WRITERS = 'f';

const METRICS = [
  ...['system.free_heap', 'system.min_free_heap', 'system.uptime', 'wifi.rssi', 'mqtt.reconnects', 'radar.frame_rate'],
  ...['presence.seconds', 'zone.1.occupied', 'zone.2.occupied', 'zone.3.occupied', 'environment.temperature', 'environment.lux'],
];
/** `{"system.free_heap":[60,…],…}` with other digits in each row, so that it compresses as little as the real ones. */
const ROLLUP = `json_object(${METRICS.map((name) => `'${name}', json_array(60, ${'abs(random() % 100000000) / 100.0, '.repeat(3)}abs(random() % 1000000))`).join(', ')})`;
const range = (from, to) => `n (i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${to})`;
const hex32 = (number) => `printf('%032x', ${number})`;

/** Every table but those that the health worker itself writes, and what fills it. @param {number} devices */
function statements(devices) {
  const fleet = `WITH RECURSIVE ${range(1, devices)}`;
  const few = `WITH RECURSIVE ${range(1, Math.min(devices, 20))}`;
  const people = Math.max(1, Math.floor(devices / 2));
  const zones = `'[{"id":1,"name":"Sofa; it''s ' || hex(randomblob(150)) || '"}]'`;
  return [
    `${fleet} INSERT INTO devices (device_id, mac_address, product_sku, sealed_key, enrolled_at, enrolled_by, firmware_version, wifi_rssi, tags, name, room)
     SELECT ${hex32('i')}, printf('02:00:00:%02X:%02X:%02X', i / 65536, i / 256 % 256, i % 256), 'rs1_pro', '1.' || hex(randomblob(60)), ${NOW} + i, 'operator@optic.works',
       '1.' || (i % 5) || '.0', -50 - i % 40, '["beta"]', 'Sensor ' || i || ' — it''s', 'Küche' || char(10) FROM n`,
    `WITH RECURSIVE ${range(1, people)} INSERT INTO users (user_id, issuer, subject, email, email_verified_at, name, created_at)
     SELECT printf('usr-%026d', i), 'https://accounts', i, 'person' || i || '@example.com', ${NOW}, 'Ada ' || i, ${NOW} FROM n`,
    `WITH RECURSIVE ${range(1, people)} INSERT INTO sessions (session_id, user_id, token_hash, created_at, refreshed_at, expires_at)
     SELECT printf('ses-%026d', i), printf('usr-%026d', i), lower(hex(randomblob(32))), ${NOW}, ${NOW}, ${NOW} FROM n`,
    `${fleet} INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by) SELECT ${hex32('i')}, printf('usr-%026d', (i - 1) / 2 % ${people} + 1), 'owner', ${NOW}, 'order' FROM n`,
    `${fleet} INSERT INTO invitations (invitation_id, device_id, email, role, invited_by, created_at) SELECT printf('inv-%026d', i), ${hex32('i')}, 'guest@example.com', 'viewer', 'usr', ${NOW} FROM n`,
    `${few} INSERT INTO transfers (device_id, transfer_id, from_user, to_email, created_at, expires_at) SELECT ${hex32('i')}, printf('trf-%026d', i), printf('usr-%026d', 1), 'heir@example.com', ${NOW}, ${NOW} FROM n`,
    `${fleet} INSERT INTO orders (device_id, order_id, mac_address, email, imported_at) SELECT ${hex32('i')}, i, 'x', 'person@example.com', ${NOW} FROM n`,
    `${fleet} INSERT INTO zone_configurations (device_id, version, updated_at, updated_by, zones) SELECT ${hex32('i')}, 1, ${NOW}, 'system', ${zones} FROM n`,
    `UPDATE zone_configurations SET version = 2, zones = ${zones}`,
    `UPDATE zone_configurations SET version = 3, zones = ${zones}`,
    `${few} INSERT INTO diagnostics (request_id, device_id, requested_at, requested_by, include) SELECT printf('dia-%026d', i), ${hex32('i')}, ${NOW}, 'ada', '["all"]' FROM n`,
    `INSERT INTO firmware_keys (key_id, name, public_key, created_at, created_by) VALUES ('fwk-1', 'ci', printf('%0128d', 1), ${NOW}, 'ada')`,
    `${few} INSERT INTO firmware_artifacts (sku, version, artifact_id, sha256, size, elf_sha256, fw_version, project_name, built_at, key_id, uploaded_at, uploaded_by)
     SELECT 'rs1_pro', '1.' || i || '.0', 'fwa-' || i, printf('%064d', i), 1000, printf('%064d', i), 1, 'rs1', ${NOW}, 'fwk-1', ${NOW}, 'ada' FROM n`,
    `${few} INSERT INTO firmware_checks (artifact_id, checked_at) SELECT 'fwa-' || i, 32503680000000 FROM n`,
    `${fleet} INSERT INTO firmware_downloads (device_id, sku, version, rollout_id, attempts, began_at) SELECT ${hex32('i')}, 'rs1_pro', '1.1.0', 'rol-1', 1, ${NOW} FROM n`,
    `INSERT INTO rollouts (rollout_id, sku, version, sha256, elf_sha256, fw_version, stages, min_rssi, force, rate_per_minute, selector, created_at, created_by, status)
     VALUES ('rol-1', 'rs1_pro', '1.1.0', printf('%064d', 1), printf('%064d', 1), 1, '[]', -70, 0, 60, '{}', ${NOW}, 'ada', 'STAGED')`,
    `${fleet} INSERT INTO rollout_devices (rollout_id, device_id, state, attempt, facts, triggered_at, revision, written_by) SELECT 'rol-1', ${hex32('i')}, 'confirmed', 1, '{"attempt":1}', ${NOW}, 1, 'dec' FROM n`,
    `${fleet} INSERT INTO rollout_events (rollout_id, at, kind, device_id, state, attempt) SELECT 'rol-1', ${NOW}, 'device', ${hex32('i')}, 'confirmed', 1 FROM n`,
    `${few} INSERT INTO idempotency_keys (actor, key, fingerprint, request_id, status, body, created_at) SELECT 'ada', i, 'f', 'r', 200, '{}', ${NOW} FROM n`,
    `${fleet} INSERT INTO audit_log (id, at, actor, action, method, route, target, request_id, detail) SELECT printf('aud-0%025d', i), ${NOW}, 'ada', 'admin_api_access', 'GET', '/', ${hex32('i')}, 'r', '{}' FROM n`,
    `${fleet} INSERT INTO security_log (id, kind, severity, subject, detail, first_at, last_at, window_key) SELECT printf('sec-0%025d', i), 'acl_violation', 'warning', ${hex32('i')}, '{}', ${NOW}, ${NOW}, 'w' || i FROM n`,
    `${few} INSERT INTO auth_failures (peerhost, recent, last_failed_at) SELECT '203.0.113.' || i, '[]', ${NOW} FROM n`,
    `WITH RECURSIVE ${range(1, devices)}, e (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM e WHERE k < 5)
     INSERT INTO telemetry_events (device_id, at, mark, kind, detail, count) SELECT ${hex32('i')}, ${NOW} + k, lower(hex(randomblob(8))), 'boot', 'power_on', 1 FROM n, e`,
    `${few} INSERT INTO notices (notice_id, said, source, dedup_key, what, severity, component, summary, at, detail, created_at, planned_at)
     SELECT printf('ntc-%026d', i), 'drill:' || i, 'incident', 'incident:' || i, 'trigger', 'critical', 'broker', 'It''s — down', ${NOW}, '{"lines":["one"]}', ${NOW}, ${NOW} FROM n`,
    `${few} INSERT INTO notice_deliveries (seq, channel, dedup_key, state, since, attempts, next_at, status, settled_at) SELECT i, 'slack', 'incident:' || i, 'sent', ${NOW}, 1, ${NOW}, 200, ${NOW} FROM n`,
    // Triggers hand what is high on to notice_inbox, and critical alerts to alert_outbox.
    `INSERT INTO security_log (id, kind, severity, subject, detail, first_at, last_at, window_key) VALUES ('sec-1', 'token_reuse', 'high', 'usr', '{}', ${NOW}, ${NOW}, 'high')`,
    `${few} INSERT INTO alerts (alert_id, device_id, kind, severity, opened_at, last_at, occurrences, detail, generation) SELECT printf('alr-%026d', i), ${hex32('i')}, 'critical_memory', 'critical', ${NOW}, ${NOW}, 3, 'it''s 19 KB', 1 FROM n`,
    `${few} INSERT INTO fleet_hours (hour, devices, messages, metrics, errors, troubled, made_at)
     SELECT ${FIRST_HOUR} + i, ${devices}, 60 * ${devices}, '[{"name":"system.free_heap","count":60,"sum":1,"min":1,"max":1}]', '[]', 0, ${NOW} FROM n`,
    `${few} INSERT INTO fleet_troubled (hour, device_id, events, alerts) SELECT ${FIRST_HOUR} + i, ${hex32('i')}, i, 1 FROM n`,
    `${few} INSERT INTO exports (export_id, device_id, user_id, state, from_at, until_at, progress, generation, held_until, created_at)
     SELECT printf('exp-%026d', i), ${hex32('i')}, printf('usr-%026d', 1), 'ready', 0, ${NOW}, '{"file":7,"page":0,"number":0,"text":"","hour":0,"objects":1,"rows":1,"lines":1}', 1, 0, 32503680000000 FROM n`,
    `${few} INSERT INTO erasures (erasure_id, device_id, user_id, state, requested_at, from_hour, until_hour, next_hour, generation, due_at, held_until)
     SELECT printf('era-%026d', i), ${hex32('i')}, printf('usr-%026d', 1), 'waiting', ${NOW}, 1, 2, 2, 1, 32503680000000, 0 FROM n`,
    `${few} INSERT INTO checks (check_id, component, kind, severity, state, since, checked_at, latency_ms, silenced, track) SELECT 'check-' || i, 'Broker', 'http', 'SEV2', 'up', ${NOW}, ${NOW}, 20, 0, '{}' FROM n`,
    `${few} INSERT INTO component_days SELECT 'Broker', '2026-01-' || i, 288, 1, 0, 0, 288, 1, 5740, 300, 280, 287, 287, 287 FROM n`,
    `${few} INSERT INTO incidents (incident_id, subject, severity, title, components, members, explains, opened_at, respond_by, resolved_at) SELECT printf('inc-%026d', i), 'broker', 'SEV2', 'It''s down', '["Broker"]', '[]', '[]', ${NOW}, ${NOW}, ${NOW} FROM n`,
    `${few} INSERT INTO incident_events (incident_id, at, step, what, about, detail) SELECT printf('inc-%026d', i), ${NOW}, 0, 'opened', 'emqx', '' FROM n`,
    `${few} INSERT INTO maintenance_windows (window_id, subjects, reason, from_at, until_at, created_by) SELECT printf('mnt-%026d', i), '["*"]', 'it''s moved', ${NOW}, ${NOW}, 'ada' FROM n`,
    `INSERT INTO notice_channels (channel, quiet_until) VALUES ('slack', ${NOW})`,
    `${few} INSERT INTO telemetry_objects (object_key, etag, state, position, generation, held_until, begun_at, updated_at) SELECT 'telemetry/incoming/' || i, 'e', 'done', 1, 1, ${NOW}, ${NOW}, ${NOW} FROM n`,
    `${few} INSERT INTO telemetry_seals (hour, after, checked, repaired, updated_at) SELECT ${FIRST_HOUR} + i, 'g', 1000, 1, ${NOW} FROM n`,
    // Of a time that is past its retention: nobody makes them anew.
    `${few} INSERT INTO telemetry_late (hour, device_id, marks) SELECT i, ${hex32('i')}, 1 FROM n`,
    // Their rows are there from the beginning; alerts and seals have counted themselves.
    `UPDATE telemetry_tallies SET received = 1000, archived_bytes = 250000, duplicates = 1, taken_at = ${NOW}, oldest_age = 1500`,
    `UPDATE telemetry_upkeep SET hours_compacted = 720, compacted_messages = 1000`,
    `INSERT INTO backup_watch (subject, faults, facts, first_at, since, looked_at) VALUES ('drill', '[]', '{}', ${NOW}, ${NOW}, 32503680000000)`,
  ];
}

/** Tables of which the health worker keeps the rows itself, while it runs. */
const ITS_OWN = ['backups', 'cron_runs', 'check_rounds', 'notice_collector'];

/**
 * @param {D1Database} database with the schema and nothing else
 * @param {{ devices: number, hours: number, say?: (line: string) => void }} size
 */
export async function fill(database, { devices, hours, say = () => {} }) {
  for (const sql of statements(devices)) await database.prepare(sql).run();
  // A table that is forgotten here would be one whose backup nobody has seen restored.
  const tables = await database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\' AND name NOT LIKE 'sqlite%' AND name <> 'telemetry_rollups'").all();
  for (const { name } of tables.results.filter(({ name }) => !ITS_OWN.includes(name))) {
    const { found } = await database.prepare(`SELECT EXISTS (SELECT 1 FROM "${name}") AS found`).first();
    if (!found) throw new Error(`nothing fills the table ${name}: tests/drill/fill.mjs`);
  }
  for (let first = 1; first <= devices; first += DEVICES_A_STATEMENT) {
    const last = Math.min(devices, first + DEVICES_A_STATEMENT - 1);
    await database
      .prepare(
        `WITH RECURSIVE ${range(first, last)}, h (hour) AS (SELECT 1 UNION ALL SELECT hour + 1 FROM h WHERE hour < ${hours})
         INSERT INTO telemetry_rollups (device_id, hour, messages, last_at, last_received_at, metrics, generation)
         SELECT ${hex32('i')}, ${FIRST_HOUR} + hour, 60, ${NOW}, ${NOW}, ${ROLLUP}, 60 FROM n, h`,
      )
      .run();
    if (last % 1_000 === 0) say(`filled: ${last} of ${devices} devices`);
  }
}

/**
 * What a fleet writes while a backup is made: devices enrol, report, and hours are closed and dropped. Only rows of its own
 * are touched, so that all others can be compared with the source.
 * @param {number} turn counts up
 */
export function writes(turn) {
  const device = (number) => `${WRITERS}${number.toString(16).padStart(31, '0')}`;
  // One in front of the page that is being read and one behind it, wherever that is.
  const [low, high] = [device(turn), device(0xfff_ffff - turn)];
  const enrol = (id) => `INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by) VALUES ('${id}', '${id}', '1.x', 1, 'ada')`;
  const rollup = (id) => `INSERT INTO telemetry_rollups (device_id, hour, messages, last_at, last_received_at, metrics, generation) VALUES ('${id}', 1, 1, ${turn}, ${turn}, '{}', 1)`;
  return [
    enrol(low),
    enrol(high),
    rollup(low),
    rollup(high),
    `UPDATE telemetry_rollups SET messages = messages + 1, last_received_at = last_received_at + 60000, generation = generation + 1 WHERE device_id >= '${WRITERS}' AND hour = 1`,
    `DELETE FROM telemetry_rollups WHERE device_id = '${device(Math.max(0, turn - 50))}'`,
    `INSERT INTO zone_configurations (device_id, version, updated_at, updated_by, zones) VALUES ('${low}', 1, ${turn}, 'system', '[]')`,
    `INSERT INTO audit_log (id, at, actor, action, method, route, request_id) VALUES ('aud-${WRITERS}${turn}', ${turn}, 'ada', 'a', 'GET', '/', 'r')`,
  ];
}

/** By which column the writers' rows are told, in the tables that they write. */
export const WRITTEN = {
  devices: `device_id < '${WRITERS}'`,
  telemetry_rollups: `device_id < '${WRITERS}'`,
  zone_configurations: `device_id < '${WRITERS}'`,
  zone_versions: `device_id < '${WRITERS}'`,
  audit_log: `id < 'aud-${WRITERS}'`,
};
