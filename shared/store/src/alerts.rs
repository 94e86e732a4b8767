//! Alerts, what the minute's watch looks at to find them, and what somebody is to be told.
//!
//! What becomes of an alert is decided by `rs1_telemetry::alert`. Here it is stored: [`write`](fn@write) changes an alert only where
//! nobody changed it meanwhile, and the database keeps one open alert a device and kind. Critical ones enter the outbox by trigger.

use rs1_domain::json;
use rs1_domain::port::Statement;
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_domain::{DeviceId, RecordId, UnixMillis, UserId};
use rs1_telemetry::alert::{Alert, Kind, Severity};
use serde::Deserialize;

/// Alerts go through the same as incidents do.
pub use crate::incidents::Status;
use crate::objects;
use crate::sql::PageRequest;

/// Most facts that one statement of the watch tells; the rest waits a minute.
const MOST_FACTS: u32 = 500;

/// The open [`Alert`]s of those devices.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn open(devices: &[&DeviceId]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "open_alerts",
        sql: "/* open_alerts */
            SELECT a.alert_id, a.device_id, a.kind, a.severity, a.opened_at, a.last_at, a.occurrences, a.detail, a.resolved_at,
              a.generation
            FROM json_each(?1) AS wanted CROSS JOIN alerts AS a
            ON a.device_id = wanted.value AND a.resolved_at IS NULL",
        params: vec![json::write(devices)?.into()],
    })
}

/// Writes alerts of devices that are enrolled, in the given order: new ones, and those whose stored generation is one less. What
/// somebody else wrote meanwhile stays; what began in an hour that was erased is not written.
///
/// # Errors
/// As [`open`].
pub fn write(alerts: &[Alert]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "write_alerts",
        sql: "/* write_alerts */
            INSERT INTO alerts (alert_id, device_id, kind, severity, opened_at, last_at, occurrences, detail, resolved_at, generation)
            SELECT value->>'alert_id', value->>'device_id', value->>'kind', value->>'severity', value->>'opened_at',
              value->>'last_at', value->>'occurrences', value->>'detail', value->>'resolved_at', value->>'generation'
            FROM json_each(?1)
            WHERE EXISTS (SELECT 1 FROM devices WHERE device_id = value->>'device_id' AND erased_before * 3600000 <= value->>'opened_at')
            ON CONFLICT (alert_id) DO UPDATE SET last_at = excluded.last_at, occurrences = excluded.occurrences,
              detail = excluded.detail, resolved_at = excluded.resolved_at, generation = excluded.generation
            WHERE alerts.generation = excluded.generation - 1
            ON CONFLICT DO NOTHING",
        params: vec![json::write(alerts)?.into()],
    })
}

/// Something that the registry says of a device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Fact {
    /// The device.
    pub device_id: DeviceId,
    /// Which kind of alert it is about.
    pub kind: Kind,
    /// As of when.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
    /// What is seen of it; null when it is over.
    pub detail: Option<String>,
}

/// The [`Fact`]s of devices that are silent since before `since`, did not take their leave, and have no alert of it. While telemetry
/// comes by the object a device that is connected may go unheard for longer.
pub fn silent(since: UnixMillis, now: UnixMillis) -> Statement {
    Statement {
        name: "silent_devices",
        sql: "/* silent_devices */
            SELECT device_id, 'device_offline' AS kind, CAST(?2 AS INTEGER) AS at, 'silent' AS detail
            FROM devices AS d WHERE online = 1
              AND last_seen_at < ?1 - CASE WHEN EXISTS (SELECT 1 FROM telemetry_objects WHERE updated_at > ?4) THEN ?5 ELSE 0 END
              AND NOT EXISTS (SELECT 1 FROM alerts WHERE device_id = d.device_id AND kind = 'device_offline' AND resolved_at IS NULL)
            UNION ALL
            SELECT device_id, 'device_offline', CAST(?2 AS INTEGER), offline_reason
            FROM devices AS d WHERE online = 0 AND last_seen_at < ?1 AND presence_at < ?1
              AND offline_reason NOT IN ('goodbye', 'normal')
              AND NOT EXISTS (SELECT 1 FROM alerts WHERE device_id = d.device_id AND kind = 'device_offline' AND resolved_at IS NULL)
            LIMIT ?3",
        params: vec![
            since.into(),
            now.into(),
            MOST_FACTS.into(),
            now.plus(objects::IN_USE.saturating_neg()).into(),
            objects::QUIET.into(),
        ],
    }
}

/// How far back the watch looks.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// The present.
    pub now: UnixMillis,
    /// A radar that is gone since before then is gone for long.
    pub prolonged: UnixMillis,
    /// A reset before then is no news.
    pub reset: UnixMillis,
    /// Failures of updates before then count no more.
    pub ota: UnixMillis,
    /// So many of them are a spike.
    pub ota_failures: u32,
}

/// The [`Fact`]s of devices whose radar is gone, or is gone for long, that a watchdog restarted, and whose updates keep failing.
/// What an alert knows already is not told again, nor what was before an erasure.
pub fn troubled(horizon: &Horizon) -> Statement {
    Statement {
        name: "troubled_devices",
        sql: "/* troubled_devices */
            SELECT device_id, 'radar_disconnected' AS kind, state_at AS at, 'reported by its state' AS detail
            FROM devices AS d WHERE radar_connected = 0 AND state_at >= erased_before * 3600000
              AND NOT EXISTS (SELECT 1 FROM alerts WHERE device_id = d.device_id AND kind = 'radar_disconnected'
                AND (resolved_at IS NULL OR resolved_at >= d.state_at))
            UNION ALL
            SELECT device_id, 'radar_prolonged', CAST(?1 AS INTEGER), detail
            FROM alerts AS a WHERE kind = 'radar_disconnected' AND resolved_at IS NULL AND opened_at <= ?2
              AND NOT EXISTS (SELECT 1 FROM alerts WHERE device_id = a.device_id AND kind = 'radar_prolonged' AND resolved_at IS NULL)
            UNION ALL
            SELECT device_id, 'watchdog_reset', state_at - coalesce(uptime_sec, 0) * 1000, 'reported by its state'
            FROM devices AS d WHERE reset_reason = 'watchdog'
              AND state_at - coalesce(uptime_sec, 0) * 1000 > max(CAST(?3 AS INTEGER), erased_before * 3600000)
              AND NOT EXISTS (SELECT 1 FROM alerts WHERE device_id = d.device_id AND kind = 'watchdog_reset'
                AND last_at > d.state_at - coalesce(d.uptime_sec, 0) * 1000 - 600000)
            UNION ALL
            SELECT device_id, 'ota_failure_spike', counted_at, 'the update by ' || rollout_id || ' failed'
            FROM rollout_devices AS r WHERE state IN ('failed', 'rolled_back', 'timed_out') AND counted_at > ?4
              AND counted_at >= (SELECT erased_before * 3600000 FROM devices WHERE device_id = r.device_id)
              AND NOT EXISTS (SELECT 1 FROM alerts WHERE device_id = r.device_id AND kind = 'ota_failure_spike'
                AND last_at >= r.counted_at)
              AND ?5 <= (SELECT sum(attempt) FROM rollout_devices WHERE device_id = r.device_id
                AND state IN ('failed', 'rolled_back', 'timed_out') AND counted_at > ?4)
            LIMIT ?6",
        params: vec![
            horizon.now.into(),
            horizon.prolonged.into(),
            horizon.reset.into(),
            horizon.ota.into(),
            horizon.ota_failures.into(),
            MOST_FACTS.into(),
        ],
    }
}

/// The [`Fact`]s of devices that are well again: heard of since `heard`, or gone with leave; whose radar answers; and whose resets and
/// failures are no news any more.
pub fn recovered(horizon: &Horizon, heard: UnixMillis) -> Statement {
    Statement {
        name: "recovered_devices",
        sql: "/* recovered_devices */
            SELECT a.device_id, a.kind, CAST(?1 AS INTEGER) AS at, NULL AS detail
            FROM alerts AS a CROSS JOIN devices AS d ON d.device_id = a.device_id
            WHERE a.kind = 'device_offline' AND a.resolved_at IS NULL
              AND (d.last_seen_at >= ?4 OR (d.online = 0 AND d.offline_reason IN ('goodbye', 'normal'))
                OR (d.online = 1 AND d.last_seen_at >=
                  ?4 - CASE WHEN EXISTS (SELECT 1 FROM telemetry_objects WHERE updated_at > ?6) THEN ?7 ELSE 0 END))
            UNION ALL
            SELECT a.device_id, a.kind, d.state_at, NULL
            FROM alerts AS a CROSS JOIN devices AS d ON d.device_id = a.device_id
            WHERE a.kind = 'radar_disconnected' AND a.resolved_at IS NULL AND d.radar_connected = 1 AND d.state_at > a.last_at
            UNION ALL
            SELECT device_id, kind, CAST(?1 AS INTEGER), NULL FROM alerts
            WHERE kind = 'watchdog_reset' AND resolved_at IS NULL AND last_at <= ?2
            UNION ALL
            SELECT device_id, kind, CAST(?1 AS INTEGER), NULL FROM alerts
            WHERE kind = 'ota_failure_spike' AND resolved_at IS NULL AND last_at <= ?3
            LIMIT ?5",
        params: vec![
            horizon.now.into(),
            horizon.reset.into(),
            horizon.ota.into(),
            heard.into(),
            MOST_FACTS.into(),
            horizon.now.plus(objects::IN_USE.saturating_neg()).into(),
            objects::QUIET.into(),
        ],
    }
}

/// An alert, to be shown.
#[derive(Clone, Debug, Deserialize)]
pub struct ShownAlert {
    /// `alr-…`.
    pub alert_id: String,
    /// What is wrong.
    pub kind: Kind,
    /// How urgent it is.
    pub severity: Severity,
    /// When it was first seen.
    #[serde(with = "as_millis")]
    pub opened_at: UnixMillis,
    /// When it was last seen.
    #[serde(with = "as_millis")]
    pub last_at: UnixMillis,
    /// How often it was seen.
    pub occurrences: i64,
    /// What was last seen of it.
    pub detail: String,
    /// When somebody said that they know.
    #[serde(with = "as_optional_millis")]
    pub acknowledged_at: Option<UnixMillis>,
    /// Who.
    pub acknowledged_by: Option<String>,
    /// When it was over.
    #[serde(with = "as_optional_millis")]
    pub resolved_at: Option<UnixMillis>,
}

impl ShownAlert {
    /// Its status.
    pub fn status(&self) -> Status {
        match (self.resolved_at, self.acknowledged_at) {
            (Some(_), _) => Status::Resolved,
            (None, Some(_)) => Status::Acknowledged,
            (None, None) => Status::Open,
        }
    }
}

/// A page of a device's [`ShownAlert`]s, newest first, that the present people may know of (see [`Sight`](crate::access::Sight)):
/// all, or those of a status, of a kind.
pub fn of_device(
    device: &DeviceId,
    status: Option<Status>,
    kind: Option<Kind>,
    page: &PageRequest,
) -> Statement {
    Statement {
        name: "device_alerts",
        sql: "/* device_alerts */
            SELECT alert_id, kind, severity, opened_at, last_at, occurrences, detail, acknowledged_at, acknowledged_by, resolved_at
            FROM alerts WHERE device_id = ?1 AND (?2 IS NULL OR alert_id < ?2)
              AND opened_at >= (SELECT history_from FROM devices WHERE device_id = ?1)
              AND (?3 IS NULL OR ?3 = CASE WHEN resolved_at IS NOT NULL THEN 'resolved'
                WHEN acknowledged_at IS NOT NULL THEN 'acknowledged' ELSE 'open' END)
              AND (?4 IS NULL OR kind = ?4)
            ORDER BY alert_id DESC LIMIT ?5",
        params: vec![
            device.as_str().into(),
            page.after.as_deref().into(),
            status.map(Status::as_str).into(),
            kind.map(Kind::as_str).into(),
            page.rows().into(),
        ],
    }
}

/// One [`ShownAlert`] of a device.
pub fn one(device: &DeviceId, alert: &str) -> Statement {
    Statement {
        name: "device_alert",
        sql: "/* device_alert */
            SELECT alert_id, kind, severity, opened_at, last_at, occurrences, detail, acknowledged_at, acknowledged_by, resolved_at
            FROM alerts WHERE alert_id = ?2 AND device_id = ?1
              AND opened_at >= (SELECT history_from FROM devices WHERE device_id = ?1)",
        params: vec![device.as_str().into(), alert.into()],
    }
}

/// Notes that a user who may change the device knows of an alert, if it goes on and nobody said so before. Follow with [`one`].
pub fn acknowledge(user: &UserId, device: &DeviceId, alert: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "acknowledge_alert",
        sql: "/* acknowledge_alert */
            UPDATE alerts SET acknowledged_at = ?4, acknowledged_by = ?1
            WHERE alert_id = ?3 AND device_id = ?2 AND resolved_at IS NULL AND acknowledged_at IS NULL
              AND opened_at >= (SELECT history_from FROM devices WHERE device_id = ?2)
              AND EXISTS (SELECT 1 FROM device_access WHERE device_id = ?2 AND user_id = ?1 AND role IN ('owner', 'admin'))",
        params: vec![user.as_str().into(), device.as_str().into(), alert.into(), now.into()],
    }
}

/// Deletes alerts that are over and opened before `border` was made, for the devices after `after` up to `last`.
pub fn delete(after: &str, last: &DeviceId, border: &RecordId) -> Statement {
    Statement {
        name: "delete_alerts",
        sql: "/* delete_alerts */
            DELETE FROM alerts
            WHERE device_id IN (SELECT device_id FROM devices WHERE device_id > ?1 AND device_id <= ?2)
              AND alert_id < ?3 AND resolved_at IS NOT NULL",
        params: vec![after.into(), last.as_str().into(), border.as_str().into()],
    }
}

/// What somebody is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OutboxEntry {
    /// Its number; they rise.
    pub entry_id: i64,
    /// The alert.
    pub alert_id: String,
    /// The device.
    pub device_id: DeviceId,
    /// What is wrong.
    pub kind: Kind,
    /// `opened` or `resolved`.
    pub what: String,
    /// When that was.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
    /// What was seen of it.
    pub detail: String,
}

/// The first `limit` [`OutboxEntry`]s that nobody has taken, oldest first. Follow with [`taken`] once somebody was told.
pub fn outbox(limit: u32) -> Statement {
    Statement {
        name: "alert_outbox",
        sql: "/* alert_outbox */
            SELECT entry_id, alert_id, device_id, kind, what, at, detail FROM alert_outbox
            WHERE taken_at IS NULL ORDER BY entry_id LIMIT ?1",
        params: vec![limit.into()],
    }
}

/// Notes that these entries were told, unless somebody collected notices since that generation was read (see
/// [`collector`](crate::notices::collector)): then it is theirs to say. Those that were told before stay as they are.
///
/// # Errors
/// When the list cannot be written as JSON, which numbers always can.
pub fn taken(entries: &[i64], generation: i64, now: UnixMillis) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "alert_outbox_taken",
        sql: "/* alert_outbox_taken */
            UPDATE alert_outbox SET taken_at = ?2
            WHERE entry_id IN (SELECT value FROM json_each(?1)) AND taken_at IS NULL
              AND coalesce((SELECT generation FROM notice_collector WHERE id = 1), 0) = ?3",
        params: vec![json::write(entries)?.into(), now.into(), generation.into()],
    })
}

/// Deletes entries that were taken, up to `limit` of the oldest, if they are about a time before `before`.
pub fn prune_outbox(before: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "prune_alert_outbox",
        sql:
            "/* prune_alert_outbox */
            DELETE FROM alert_outbox WHERE entry_id IN
              (SELECT entry_id FROM alert_outbox WHERE taken_at IS NOT NULL AND at < ?1 ORDER BY at LIMIT ?2)",
        params: vec![before.into(), limit.into()],
    }
}
