//! Hourly rollups.
//!
//! A writer reads the rows it is about to change ([`rollups_for`]), merges in Rust, and writes them
//! back ([`write_rollups`]) only where nobody wrote in between: each row's `generation` is its
//! guard. The registry's `last_telemetry_at` and presence follow by trigger, and so does what is counted
//! of everything that came ([`tallies`](crate::tallies)), so one statement a batch writes all of it.

use rs1_domain::json;
use rs1_domain::port::Statement;
use rs1_domain::time::as_millis;
use rs1_domain::{DeviceId, UnixMillis};
use rs1_telemetry::batch::Adds;
use serde::{Deserialize, Serialize};

use crate::tallies::{Door, Tally};

/// A row of `telemetry_rollups`; also the form in which it is written back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RollupRow {
    /// The device.
    pub device_id: DeviceId,
    /// Unix ms / 3,600,000, rounded down.
    pub hour: i64,
    /// Messages counted.
    pub messages: i64,
    /// The latest message, by the device's clock.
    #[serde(serialize_with = "as_millis::serialize")]
    pub last_at: UnixMillis,
    /// The latest message, by the broker's clock.
    #[serde(serialize_with = "as_millis::serialize")]
    pub last_received_at: UnixMillis,
    /// JSON: a metric's letter or name to `[count, sum, min, max, last]`.
    pub metrics: String,
    /// 8 characters a message id; null once the hour is sealed.
    pub seen: Option<String>,
    /// Counts writes, from 1.
    pub generation: i64,
    /// What this write adds, for the [`Tally`] that goes along; none of the columns.
    pub adds: Adds,
}

/// A device and hour that messages are about, with its row if there is one.
#[derive(Clone, Debug, Deserialize)]
pub struct RollupSlot {
    /// The device, which is enrolled.
    pub device_id: DeviceId,
    /// The hour.
    pub hour: i64,
    /// Whether what the hour had was deleted, at the wish of its owner: it takes in nothing any more.
    #[serde(deserialize_with = "crate::sql::flag")]
    pub erased: bool,
    /// The device's open alerts: a JSON array of [`Alert`](rs1_telemetry::alert::Alert)s, null if there are none.
    pub alerts: Option<String>,
    /// Null when there is no row yet; so are the fields below.
    pub generation: Option<i64>,
    messages: Option<i64>,
    last_at: Option<i64>,
    last_received_at: Option<i64>,
    metrics: Option<String>,
    seen: Option<String>,
}

impl RollupSlot {
    /// The row, if there is one.
    pub fn into_row(self) -> Option<RollupRow> {
        Some(RollupRow {
            device_id: self.device_id,
            hour: self.hour,
            messages: self.messages?,
            last_at: UnixMillis(self.last_at?),
            last_received_at: UnixMillis(self.last_received_at?),
            metrics: self.metrics?,
            seen: self.seen,
            generation: self.generation?,
            adds: Adds::default(),
        })
    }
}

/// The [`RollupSlot`]s of those device-hours whose device is enrolled; one that is missing from the
/// answer belongs to no device of ours.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn rollups_for(keys: &[(&DeviceId, i64)]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollups_for",
        sql: "/* rollups_for */
            SELECT wanted.device_id, wanted.hour, wanted.hour < d.erased_before AS erased, r.generation, r.messages, r.last_at, r.last_received_at,
              r.metrics, r.seen,
              CASE WHEN EXISTS (SELECT 1 FROM alerts WHERE device_id = wanted.device_id AND resolved_at IS NULL) THEN
                (SELECT json_group_array(json_object('alert_id', alert_id, 'device_id', device_id, 'kind', kind,
                    'severity', severity, 'opened_at', opened_at, 'last_at', last_at, 'occurrences', occurrences,
                    'detail', detail, 'resolved_at', resolved_at, 'generation', generation))
                 FROM alerts WHERE device_id = wanted.device_id AND resolved_at IS NULL)
              END AS alerts
            FROM (SELECT value->>0 AS device_id, value->>1 AS hour FROM json_each(?1)) AS wanted
            JOIN devices AS d ON d.device_id = wanted.device_id
            LEFT JOIN telemetry_rollups AS r ON r.device_id = wanted.device_id AND r.hour = wanted.hour",
        params: vec![json::write(keys)?.into()],
    })
}

/// A row that [`write_rollups`] wrote.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Written {
    /// The device.
    pub device_id: DeviceId,
    /// The hour.
    pub hour: i64,
}

/// Writes rows whose `generation` is one more than what was read, and answers those that were
/// [`Written`]. A row that is missing from the answer was changed by somebody else since (read and
/// merge it again), was erased, or its device is gone. The registry may be `patience` milliseconds behind them. What is written is
/// counted for the door that it came by, with what else is in the tally.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn write_rollups(
    rows: &[RollupRow],
    patience: i64,
    tally: Option<(Door, &Tally)>,
) -> Result<Statement, json::Error> {
    let (door, tally) = tally.unzip();
    Ok(Statement {
        name: "write_rollups",
        sql: "/* write_rollups */
            INSERT INTO telemetry_rollups
              (device_id, hour, messages, last_at, last_received_at, metrics, seen, generation, patience)
            SELECT ?3, 0, 0, 0, 0, ?1, ?4, 0, 0 WHERE ?3 IS NOT NULL
            UNION ALL
            SELECT value->>'device_id', value->>'hour', value->>'messages', value->>'last_at',
              value->>'last_received_at', value->>'metrics', value->>'seen', value->>'generation', ?2
            FROM json_each(?1)
            WHERE EXISTS (SELECT 1 FROM devices WHERE device_id = value->>'device_id' AND erased_before <= value->>'hour')
            ON CONFLICT (device_id, hour) DO UPDATE SET
              messages = excluded.messages, last_at = excluded.last_at,
              last_received_at = excluded.last_received_at, metrics = excluded.metrics,
              seen = excluded.seen, generation = excluded.generation, patience = excluded.patience
            WHERE telemetry_rollups.generation = excluded.generation - 1
            RETURNING device_id, hour",
        params: vec![
            json::write(rows)?.into(),
            patience.into(),
            door.map(Door::as_str).into(),
            tally.map(json::write).transpose()?.as_deref().into(),
        ],
    })
}

/// An hour of a device, to be shown.
#[derive(Clone, Debug, Deserialize)]
pub struct HourRow {
    /// Unix ms / 3,600,000, rounded down.
    pub hour: i64,
    /// Messages counted.
    pub messages: i64,
    /// The latest message, by the device's clock.
    #[serde(with = "as_millis")]
    pub last_at: UnixMillis,
    /// JSON: a metric's letter or name to `[count, sum, min, max, last]`.
    pub metrics: String,
}

/// The [`HourRow`]s of a device from an hour on, oldest first.
pub fn hours(device: &DeviceId, from_hour: i64) -> Statement {
    Statement {
        name: "rollup_hours",
        sql: "/* rollup_hours */
            SELECT hour, messages, last_at, metrics FROM telemetry_rollups
            WHERE device_id = ?1 AND hour >= ?2 ORDER BY hour LIMIT 1000",
        params: vec![device.as_str().into(), from_hour.into()],
    }
}

/// The first `limit` [`HourRow`]s of a device from `from_hour` until before `until_hour`, oldest first; none that is not wholly
/// the present people's (see [`Sight`](crate::access::Sight)).
pub fn hours_between(device: &DeviceId, from_hour: i64, until_hour: i64, limit: u32) -> Statement {
    Statement {
        name: "rollup_hours_between",
        sql: "/* rollup_hours_between */
            SELECT hour, messages, last_at, metrics FROM telemetry_rollups
            WHERE device_id = ?1 AND hour < ?3 AND hour >= max(CAST(?2 AS INTEGER),
              (SELECT (history_from + 3599999) / 3600000 FROM devices WHERE device_id = ?1))
            ORDER BY hour LIMIT ?4",
        params: vec![device.as_str().into(), from_hour.into(), until_hour.into(), limit.into()],
    }
}

/// A row of `telemetry_events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// The device; not read back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_id: Option<DeviceId>,
    /// When, by the device's clock.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
    /// Which line of which message.
    pub mark: String,
    /// What.
    pub kind: String,
    /// What stood behind it.
    pub detail: String,
    /// How often the message says so.
    pub count: i64,
}

/// Most events that are kept of a device's hour; of more there are only the lines in the archive. A batch that crosses it is
/// written whole.
const EVENTS_AN_HOUR: u32 = 100;

/// Writes events of devices that are enrolled; those that are there already stay as they are.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn record_events(events: &[EventRow]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "record_events",
        sql: "/* record_events */
            INSERT INTO telemetry_events (device_id, at, mark, kind, detail, count)
            SELECT e.value->>'device_id', e.value->>'at', e.value->>'mark', e.value->>'kind', e.value->>'detail', e.value->>'count'
            FROM json_each(?1) AS e
            WHERE EXISTS (SELECT 1 FROM devices WHERE device_id = e.value->>'device_id' AND erased_before <= (e.value->>'at') / 3600000)
              AND (SELECT count(*) FROM telemetry_events WHERE device_id = e.value->>'device_id'
                AND at >= (e.value->>'at') / 3600000 * 3600000 AND at < ((e.value->>'at') / 3600000 + 1) * 3600000) < ?2
            ON CONFLICT (device_id, at, mark) DO NOTHING",
        params: vec![json::write(events)?.into(), EVENTS_AN_HOUR.into()],
    })
}

/// Which of a device's events are wanted.
#[derive(Clone, Debug)]
pub struct WantedEvents<'a> {
    /// From then on.
    pub from: UnixMillis,
    /// Before then.
    pub until: UnixMillis,
    /// Only these; `None` for all.
    pub kind: Option<&'a str>,
    /// Only those older than the one of this time and mark.
    pub before: Option<(UnixMillis, &'a str)>,
    /// So many.
    pub limit: u32,
}

/// The [`EventRow`]s of a device, newest first, that the present people may know of (see [`Sight`](crate::access::Sight)).
pub fn events(device: &DeviceId, wanted: &WantedEvents<'_>) -> Statement {
    let (at, mark) = wanted.before.unwrap_or((wanted.until, ""));
    Statement {
        name: "telemetry_events",
        sql: "/* telemetry_events */
            SELECT at, mark, kind, detail, count FROM telemetry_events
            WHERE device_id = ?1 AND at < ?3
              AND at >= max(CAST(?2 AS INTEGER), (SELECT history_from FROM devices WHERE device_id = ?1))
              AND (at, mark) < (?4, ?5) AND (?6 IS NULL OR kind = ?6)
            ORDER BY at DESC, mark DESC LIMIT ?7",
        params: vec![
            device.as_str().into(),
            wanted.from.into(),
            wanted.until.into(),
            at.into(),
            mark.into(),
            wanted.kind.into(),
            wanted.limit.into(),
        ],
    }
}

/// Deletes events before `before` for the devices after `after` up to `last`.
pub fn delete_events(after: &str, last: &DeviceId, before: UnixMillis) -> Statement {
    Statement {
        name: "delete_events",
        sql: "/* delete_events */
            DELETE FROM telemetry_events
            WHERE device_id IN (SELECT device_id FROM devices WHERE device_id > ?1 AND device_id <= ?2)
              AND at < ?3",
        params: vec![after.into(), last.as_str().into(), before.into()],
    }
}

/// A step through the registry: the last device of the next `limit` after `after`.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    /// The last device of the step; null when there is none left.
    pub last: Option<DeviceId>,
}

/// The next [`Step`]. Work on every device's rows goes step by step, so that no statement grows
/// with the fleet.
pub fn next_devices(after: &str, limit: u32) -> Statement {
    Statement {
        name: "next_devices",
        sql: "/* next_devices */
            SELECT max(device_id) AS last FROM
              (SELECT device_id FROM devices WHERE device_id > ?1 ORDER BY device_id LIMIT ?2)",
        params: vec![after.into(), limit.into()],
    }
}

/// Deletes hours before `before_hour` for the devices after `after` up to `last`.
pub fn delete_hours(after: &str, last: &DeviceId, before_hour: i64) -> Statement {
    Statement {
        name: "delete_hours",
        sql: "/* delete_hours */
            DELETE FROM telemetry_rollups
            WHERE device_id IN (SELECT device_id FROM devices WHERE device_id > ?1 AND device_id <= ?2)
              AND hour < ?3",
        params: vec![after.into(), last.as_str().into(), before_hour.into()],
    }
}
