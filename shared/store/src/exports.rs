//! Exports: all that there is of a device, for its owner, in one archive that is made step by step.
//!
//! One invocation at a time works on an export: it takes it with [`take`], which is good until `held_until`, and each step names the
//! generation that it saw.

use rs1_domain::json;
use rs1_domain::port::{Param, Statement};
use rs1_domain::time::{DAY, HOUR, MINUTE, as_millis};
use rs1_domain::{DeviceId, RecordId, UnixMillis, UserId};
use rs1_telemetry::rollup::METRICS;
use serde::{Deserialize, Serialize};

/// How long one invocation may be at it without a step: longer than the platform lets it run.
pub const HOLD: i64 = 16 * MINUTE;

/// How long an export can be had. Its objects go a week after they were written, and the first of them are a little older than
/// the last.
pub const KEPT: i64 = 6 * DAY;

/// A row of `exports`.
#[derive(Clone, Debug, Deserialize)]
pub struct ExportRow {
    /// `exp-…`.
    pub export_id: String,
    /// Of which device.
    pub device_id: DeviceId,
    /// For whom.
    pub user_id: UserId,
    /// `running`, `ready` or `cancelled`.
    pub state: String,
    /// What was received from then on.
    #[serde(with = "as_millis")]
    pub from_at: UnixMillis,
    /// And before then.
    #[serde(with = "as_millis")]
    pub until_at: UnixMillis,
    /// What comes next: JSON.
    pub progress: String,
    /// Of the whole archive, once it is ready.
    pub bytes: u64,
    /// To be named by the next write.
    pub generation: i64,
    /// When it was asked for.
    #[serde(with = "as_millis")]
    pub created_at: UnixMillis,
}

/// What an export does next, and what it has done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Which of the database's files comes next; after the last one comes the archive.
    pub file: usize,
    /// The page of it.
    pub page: u32,
    /// Where that page begins.
    pub number: i64,
    /// See `number`.
    pub text: String,
    /// The hour of the archive that comes next; 0 before the first.
    pub hour: i64,
    /// Objects that are stored.
    pub objects: u32,
    /// Rows so far.
    pub rows: usize,
    /// Archive lines so far.
    pub lines: usize,
}

impl Progress {
    /// Nothing yet, as it is stored.
    ///
    /// # Errors
    /// When it cannot be written, which it always can.
    pub fn begin() -> Result<String, json::Error> {
        json::write(&Self::default())
    }

    /// Hours of the archive that are read, and how many there are.
    pub fn hours(&self, from: UnixMillis, until: UnixMillis) -> (i64, i64) {
        let all = end_of(until).saturating_sub(from.hour()).max(0);
        (self.hour.saturating_sub(from.hour()).clamp(0, all), all)
    }
}

/// The key of an object of an export.
pub fn key(export: &str, number: u32) -> String {
    format!("{}{number:05}.tar.gz", prefix(export))
}

/// What the keys of an export's objects begin with.
pub fn prefix(export: &str) -> String {
    format!("exports/{export}/")
}

/// The first hour that has nothing from before `until`.
pub fn end_of(until: UnixMillis) -> i64 {
    until.plus(-1).hour().saturating_add(1)
}

/// Begins an export for the owner of a device, unless one runs, or one is there that was asked for after `since`: one change if so. It is
/// of what was received since the device is theirs.
pub fn begin(
    id: &RecordId,
    owner: &UserId,
    device: &DeviceId,
    progress: &str,
    since: UnixMillis,
    now: UnixMillis,
) -> Statement {
    Statement {
        name: "export_begin",
        sql: "/* export_begin */
            INSERT INTO exports (export_id, device_id, user_id, state, from_at, until_at, progress, generation, held_until, created_at)
            SELECT ?1, d.device_id, ?2, 'running', max(d.history_from, d.enrolled_at, CAST(?6 AS INTEGER) - 31622400000), ?6, ?4, 1, 0, ?6
            FROM devices AS d
            WHERE d.device_id = ?3
              AND EXISTS (SELECT 1 FROM device_access WHERE device_id = ?3 AND user_id = ?2 AND role = 'owner')
              AND NOT EXISTS (SELECT 1 FROM exports WHERE device_id = ?3 AND user_id = ?2 AND state <> 'cancelled' AND created_at > ?5)
            ON CONFLICT DO NOTHING",
        params: vec![
            id.as_str().into(),
            owner.as_str().into(),
            device.as_str().into(),
            progress.into(),
            since.into(),
            now.into(),
        ],
    }
}

/// The latest [`ExportRow`] that somebody asked for of a device, if it can still be had.
pub fn latest(owner: &UserId, device: &DeviceId, now: UnixMillis) -> Statement {
    Statement {
        name: "export_latest",
        sql: "/* export_latest */
            SELECT export_id, device_id, user_id, state, from_at, until_at, progress, bytes, generation, created_at
            FROM exports
            WHERE device_id = ?1 AND user_id = ?2 AND state <> 'cancelled' AND created_at > ?3
            ORDER BY export_id DESC LIMIT 1",
        params: vec![device.as_str().into(), owner.as_str().into(), now.plus(KEPT.saturating_neg()).into()],
    }
}

/// The [`ExportRow`] of that id if it is ready and the device still belongs to whom it is for.
pub fn ready(id: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "export_ready",
        sql: "/* export_ready */
            SELECT e.export_id, e.device_id, e.user_id, e.state, e.from_at, e.until_at, e.progress, e.bytes, e.generation, e.created_at
            FROM exports AS e
            CROSS JOIN device_access AS a ON a.device_id = e.device_id AND a.user_id = e.user_id AND a.role = 'owner'
            WHERE e.export_id = ?1 AND e.state = 'ready' AND e.created_at > ?2",
        params: vec![id.into(), now.plus(KEPT.saturating_neg()).into()],
    }
}

/// Takes the export that waits longest, if there is one and nobody is at it: the answer has the [`ExportRow`] then.
pub fn take(now: UnixMillis) -> Statement {
    Statement {
        name: "export_take",
        sql: "/* export_take */
            UPDATE exports SET held_until = ?2, generation = generation + 1
            WHERE export_id = (SELECT export_id FROM exports WHERE state = 'running' AND held_until <= ?1 ORDER BY held_until LIMIT 1)
            RETURNING export_id, device_id, user_id, state, from_at, until_at, progress, bytes, generation, created_at",
        params: vec![now.into(), now.plus(HOLD).into()],
    }
}

/// Notes how far an export is: one change, or none if it was cancelled or somebody else has it. The generation is one more then.
/// It is somebody else's turn from `held_until` on. With `bytes` it is ready.
pub fn save(export: &ExportRow, progress: &str, bytes: Option<u64>, held_until: UnixMillis) -> Statement {
    Statement {
        name: "export_save",
        sql: "/* export_save */
            UPDATE exports SET progress = ?3, held_until = ?5, generation = generation + 1,
              state = CASE WHEN ?4 IS NULL THEN 'running' ELSE 'ready' END, bytes = coalesce(?4, 0)
            WHERE export_id = ?1 AND generation = ?2 AND state = 'running'",
        params: vec![
            export.export_id.as_str().into(),
            export.generation.into(),
            progress.into(),
            bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)).into(),
            held_until.into(),
        ],
    }
}

/// Lets go of an export, so that the next run need not wait; whoever has taken it since keeps it.
pub fn let_go(export: &ExportRow, now: UnixMillis) -> Statement {
    Statement {
        name: "export_let_go",
        sql: "/* export_let_go */
            UPDATE exports SET held_until = ?3 WHERE export_id = ?1 AND generation IN (?2, ?2 + 1)",
        params: vec![export.export_id.as_str().into(), export.generation.into(), now.into()],
    }
}

/// Forgets exports that cannot be had any more, up to `limit`.
pub fn prune(border: &RecordId, limit: u32) -> Statement {
    Statement {
        name: "export_prune",
        sql: "/* export_prune */
            DELETE FROM exports WHERE export_id IN
              (SELECT export_id FROM exports WHERE export_id < ?1 ORDER BY export_id LIMIT ?2)",
        params: vec![border.as_str().into(), limit.into()],
    }
}

/// Which of a device's rows an export takes next: after these two, which are what the rows are ordered by.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct After {
    /// An hour, or Unix milliseconds.
    #[serde(default)]
    pub number: i64,
    /// A mark, or an id.
    #[serde(default)]
    pub text: String,
}

/// Up to `limit` rows about a device of a time, as one JSON array, in the order of what [`After`] says.
pub type Page = fn(&DeviceId, UnixMillis, UnixMillis, &After, u32) -> Statement;

/// The files of rows that an export has, by name, in the order in which they are written. A row has what it is ordered by as `number` or
/// `text`, so that who asks for the next page need know no more of it.
pub const FILES: [(&str, Page); 7] = [
    ("device", device),
    ("people", people),
    ("zones", zones),
    ("alerts", alerts),
    ("audit", audit),
    ("hours", hours),
    ("events", events),
];

fn device(device: &DeviceId, _: UnixMillis, _: UnixMillis, _: &After, _: u32) -> Statement {
    Statement {
        name: "export_device",
        sql: "/* export_device */
            SELECT '[' || json_object('device_id', device_id, 'mac_address', mac_address, 'product_sku', product_sku, 'name', name, 'room', room,
              'enrolled_at', enrolled_at, 'provisioned_at', provisioned_at, 'online', json(iif(online, 'true', 'false')),
              'offline_reason', offline_reason, 'last_seen_at', last_seen_at, 'last_telemetry_at', last_telemetry_at,
              'state_at', nullif(state_at, 0), 'firmware_version', firmware_version, 'protocol_version', protocol_version,
              'uptime_sec', uptime_sec, 'wifi_rssi', wifi_rssi, 'config_version', config_version, 'zone_count', zone_count,
              'radar_connected', json(iif(radar_connected IS NULL, 'null', iif(radar_connected, 'true', 'false'))),
              'boot_count', boot_count, 'reset_reason', reset_reason) || ']' AS json
            FROM devices WHERE device_id = ?1",
        params: vec![device.as_str().into()],
    }
}

fn people(device: &DeviceId, _: UnixMillis, _: UnixMillis, _: &After, _: u32) -> Statement {
    Statement {
        name: "export_people",
        sql: "/* export_people */
            SELECT '[' || coalesce(group_concat(row, ','), '') || ']' AS json FROM (
              SELECT json_object('id', a.user_id, 'email', u.email, 'name', u.name, 'role', a.role, 'since', a.granted_at) AS row
              FROM device_access AS a CROSS JOIN users AS u ON u.user_id = a.user_id WHERE a.device_id = ?1
              UNION ALL
              SELECT json_object('id', invitation_id, 'email', email, 'name', NULL, 'role', role, 'since', created_at)
              FROM invitations WHERE device_id = ?1
              UNION ALL
              SELECT json_object('id', transfer_id, 'email', to_email, 'name', NULL, 'role', 'owner', 'since', created_at)
              FROM transfers WHERE device_id = ?1)",
        params: vec![device.as_str().into()],
    }
}

fn zones(device: &DeviceId, _: UnixMillis, _: UnixMillis, _: &After, _: u32) -> Statement {
    Statement {
        name: "export_zones",
        sql: "/* export_zones */
            SELECT '[' || coalesce(group_concat(row, ','), '') || ']' AS json FROM (
              SELECT json_object('version', version, 'updated_at', updated_at, 'updated_by', updated_by, 'zones', json(zones)) AS row
              FROM zone_versions WHERE device_id = ?1 ORDER BY version)",
        params: vec![device.as_str().into()],
    }
}

/// What a page of rows wants to know that are ordered by their id.
fn by_id(device: &DeviceId, from: UnixMillis, until: UnixMillis, after: &After, limit: u32) -> Vec<Param> {
    vec![device.as_str().into(), from.into(), until.into(), after.text.as_str().into(), limit.into()]
}

fn alerts(device: &DeviceId, from: UnixMillis, until: UnixMillis, after: &After, limit: u32) -> Statement {
    Statement {
        name: "export_alerts",
        sql: "/* export_alerts */
            SELECT '[' || coalesce(group_concat(row, ','), '') || ']' AS json FROM (
              SELECT json_object('text', alert_id, 'type', kind, 'severity', severity, 'opened_at', opened_at, 'last_at', last_at,
                'occurrences', occurrences, 'detail', detail, 'acknowledged_at', acknowledged_at, 'acknowledged_by', acknowledged_by,
                'resolved_at', resolved_at) AS row
              FROM alerts WHERE device_id = ?1 AND alert_id > ?4 AND opened_at >= ?2 AND opened_at < ?3 ORDER BY alert_id LIMIT ?5)",
        params: by_id(device, from, until, after, limit),
    }
}

/// Operators are not named: that one looked is told, and why is theirs to say.
fn audit(device: &DeviceId, from: UnixMillis, until: UnixMillis, after: &After, limit: u32) -> Statement {
    Statement {
        name: "export_audit",
        sql: "/* export_audit */
            SELECT '[' || coalesce(group_concat(row, ','), '') || ']' AS json FROM (
              SELECT json_object('text', id, 'at', at, 'actor', iif(actor GLOB 'usr-*', actor, 'operator'), 'action', action,
                'method', method, 'route', route) AS row
              FROM audit_log WHERE target = ?1 AND id > ?4 AND at >= ?2 AND at < ?3 ORDER BY id LIMIT ?5)",
        params: by_id(device, from, until, after, limit),
    }
}

fn hours(device: &DeviceId, from: UnixMillis, until: UnixMillis, after: &After, limit: u32) -> Statement {
    // Only hours that are wholly the present owner's.
    let begin = from.plus(HOUR.saturating_sub(1)).hour();
    let names = METRICS.map(|(letter, name)| format!("\"{letter}\":\"{name}\"")).join(",");
    Statement {
        name: "export_hours",
        sql: "/* export_hours */
            SELECT '[' || coalesce(group_concat(row, ','), '') || ']' AS json FROM (
              SELECT json_object('number', hour, 'messages', messages, 'last_at', last_at, 'last_received_at', last_received_at,
                'metrics', json((SELECT json_group_object(coalesce(?6->>m.key, m.key), json(m.value)) FROM json_each(metrics) AS m))) AS row
              FROM telemetry_rollups WHERE device_id = ?1 AND hour >= ?2 AND hour <= ?3 AND hour > ?4 ORDER BY hour LIMIT ?5)",
        params: vec![
            device.as_str().into(),
            begin.into(),
            until.hour().into(),
            after.number.into(),
            limit.into(),
            format!("{{{names}}}").into(),
        ],
    }
}

fn events(device: &DeviceId, from: UnixMillis, until: UnixMillis, after: &After, limit: u32) -> Statement {
    Statement {
        name: "export_events",
        sql: "/* export_events */
            SELECT '[' || coalesce(group_concat(row, ','), '') || ']' AS json FROM (
              SELECT json_object('number', at, 'text', mark, 'kind', kind, 'detail', detail, 'count', count) AS row
              FROM telemetry_events WHERE device_id = ?1 AND at >= ?2 AND at < ?3 AND (at, mark) > (?4, ?5) ORDER BY at, mark LIMIT ?6)",
        params: vec![
            device.as_str().into(),
            from.into(),
            until.into(),
            after.number.into(),
            after.text.as_str().into(),
            limit.into(),
        ],
    }
}
