//! Sealed hours: how far each was compared with the archive, and which rollups of theirs are to be made anew.

use rs1_domain::json;
use rs1_domain::port::Statement;
use rs1_domain::{DeviceId, UnixMillis};
use serde::Deserialize;

/// What stands behind every device id.
pub const END: &str = "g";

/// How far an hour is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SealRow {
    /// Unix ms / 3,600,000, rounded down.
    pub hour: i64,
    /// Devices up to here are done; [`END`] at the end.
    pub after: String,
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Rollups that were compared with the archive.
    pub checked: u32,
    /// Of these: had counted more than it holds.
    pub more: u32,
    /// Fewer.
    pub fewer: u32,
    /// As many, and other values.
    pub other: u32,
}

/// The [`SealRow`] of the latest hour that was begun, from `from_hour` on.
pub fn latest(from_hour: i64) -> Statement {
    Statement {
        name: "seal_latest",
        sql: "/* seal_latest */
            SELECT hour, after FROM telemetry_seals
            WHERE hour >= ?1 ORDER BY hour DESC LIMIT 1",
        params: vec![from_hour.into()],
    }
}

/// The next `limit` devices after `after` and before `below`, each with its rollup of that hour if there is one: as
/// [`RollupSlot`](crate::telemetry::RollupSlot)s, without what they have seen. Not those of which that hour was erased, or the one before:
/// messages that a fast clock dates into the next hour went out of the archive with the hour in which they came.
pub fn slots(hour: i64, after: &str, below: &str, limit: u32) -> Statement {
    Statement {
        name: "seal_slots",
        sql: "/* seal_slots */
            SELECT d.device_id, CAST(?1 AS INTEGER) AS hour, 0 AS erased, r.generation, r.messages, r.last_at, r.last_received_at, r.metrics,
              NULL AS seen, NULL AS alerts
            FROM devices AS d LEFT JOIN telemetry_rollups AS r ON r.device_id = d.device_id AND r.hour = ?1
            WHERE d.device_id > ?2 AND d.device_id < ?3 AND d.erased_before < ?1 ORDER BY d.device_id LIMIT ?4",
        params: vec![hour.into(), after.into(), below.into(), limit.into()],
    }
}

/// Forgets the message ids of an hour, of the devices after `after` up to `last`.
pub fn seal(hour: i64, after: &str, last: &str) -> Statement {
    Statement {
        name: "seal_hour",
        sql: "/* seal_hour */
            UPDATE telemetry_rollups SET seen = NULL, generation = generation + 1
            WHERE device_id IN (SELECT device_id FROM devices WHERE device_id > ?2 AND device_id <= ?3)
              AND hour = ?1 AND seen IS NOT NULL",
        params: vec![hour.into(), after.into(), last.into()],
    }
}

/// Notes how far an hour is; the counts of what was compared are added to those that are there.
pub fn note(hour: i64, after: &str, compared: Compared, now: UnixMillis) -> Statement {
    Statement {
        name: "seal_note",
        sql: "/* seal_note */
            INSERT INTO telemetry_seals (hour, after, checked, more, fewer, other, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            ON CONFLICT (hour) DO UPDATE SET
              after = max(after, excluded.after), checked = checked + excluded.checked, more = more + excluded.more,
              fewer = fewer + excluded.fewer, other = other + excluded.other, updated_at = excluded.updated_at",
        params: vec![
            hour.into(),
            after.into(),
            compared.checked.into(),
            compared.more.into(),
            compared.fewer.into(),
            compared.other.into(),
            now.into(),
        ],
    }
}

/// Counts rollups of an hour that were made anew. An hour that was never begun stays so: sealing goes on behind the latest.
pub fn note_repaired(hour: i64, repaired: u32, now: UnixMillis) -> Statement {
    Statement {
        name: "seal_repaired",
        sql: "/* seal_repaired */
            UPDATE telemetry_seals SET repaired = repaired + ?2, updated_at = ?3 WHERE hour = ?1",
        params: vec![hour.into(), repaired.into(), now.into()],
    }
}

/// Forgets hours before `before_hour`, and marks on them.
pub fn prune(before_hour: i64) -> [Statement; 2] {
    [
        Statement {
            name: "prune_seals",
            sql: "/* prune_seals */
                DELETE FROM telemetry_seals WHERE hour < ?1",
            params: vec![before_hour.into()],
        },
        Statement {
            name: "prune_late",
            sql: "/* prune_late */
                DELETE FROM telemetry_late WHERE hour < ?1",
            params: vec![before_hour.into()],
        },
    ]
}

/// Marks rollups that are to be made anew of the archive.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn mark(keys: &[(&DeviceId, i64)]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "mark_late",
        sql: "/* mark_late */
            INSERT INTO telemetry_late (hour, device_id, marks)
            SELECT value->>1, value->>0, 1 FROM json_each(?1) WHERE true
            ON CONFLICT (hour, device_id) DO UPDATE SET marks = marks + 1",
        params: vec![json::write(keys)?.into()],
    })
}

/// A rollup that is to be made anew.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Mark {
    /// The hour.
    pub hour: i64,
    /// The device.
    pub device_id: DeviceId,
    /// How many reasons there are.
    pub marks: i64,
}

/// The first [`Mark`]s of the oldest hour that has some, from an hour on, by device.
pub fn marks(from_hour: i64, limit: u32) -> Statement {
    Statement {
        name: "late_marks",
        sql: "/* late_marks */
            SELECT hour, device_id, marks FROM telemetry_late
            WHERE hour = (SELECT min(hour) FROM telemetry_late WHERE hour >= ?1) ORDER BY device_id LIMIT ?2",
        params: vec![from_hour.into(), limit.into()],
    }
}

/// Takes a mark away, unless another was added to it.
pub fn settle(mark: &Mark) -> Statement {
    Statement {
        name: "settle_late",
        sql: "/* settle_late */
            DELETE FROM telemetry_late WHERE hour = ?1 AND device_id = ?2 AND marks = ?3",
        params: vec![mark.hour.into(), mark.device_id.as_str().into(), mark.marks.into()],
    }
}

/// Deletes the rollup of a device's hour, of which the archive knows nothing, where nobody wrote it since: one change, or none.
pub fn delete(device: &DeviceId, hour: i64, generation: i64) -> Statement {
    Statement {
        name: "delete_rollup",
        sql: "/* delete_rollup */
            DELETE FROM telemetry_rollups WHERE device_id = ?1 AND hour = ?2 AND generation = ?3",
        params: vec![device.as_str().into(), hour.into(), generation.into()],
    }
}
