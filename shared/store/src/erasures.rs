//! Erasures: what a device said is deleted, because its owner wants that.
//!
//! From the request on nobody is shown anything of the time before its border: `devices.history_from` says so. The rows go, then, and the
//! archive's lines hour by hour. Messages that were on their way at the time, and hours that are not packed yet, can come until the last of
//! these hours takes no more; so everything is looked at once more then.
//!
//! One invocation at a time works on erasures, on any of them: it takes one with [`take`], which is good until `held_until`, and each step
//! names the generation that it saw.

use rs1_domain::http::JSON;
use rs1_domain::json;
use rs1_domain::port::{Encoding, NewObject, Packs, PortError, Statement};
use rs1_domain::time::{HOUR, MINUTE, as_millis, as_optional_millis};
use rs1_domain::{DeviceId, RecordId, UnixMillis, UserId};
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::exports::ExportRow;

/// How long one invocation may be at it without a step: longer than the platform lets it run.
pub const HOLD: i64 = 16 * MINUTE;

/// Hours after which an hour of the archive takes no more messages, and is packed.
pub const FINAL: i64 = 122;

/// Hours of the archive that there may be: its objects are kept for a year.
pub const ARCHIVE: i64 = 366 * 24;

/// A row of `erasures`.
#[derive(Clone, Debug, Deserialize)]
pub struct ErasureRow {
    /// `era-…`.
    pub erasure_id: String,
    /// Of which device.
    pub device_id: DeviceId,
    /// The owner who asked.
    pub user_id: UserId,
    /// `running`: from the end of the last hour that goes on, the archive is gone through; `waiting`: until the last hour takes no more messages; `settling`: those hours are gone through
    /// once more; `done`.
    pub state: String,
    /// When it was asked for.
    #[serde(with = "as_millis")]
    pub requested_at: UnixMillis,
    /// Where the archive may begin to know the device.
    pub from_hour: i64,
    /// Everything before this hour goes.
    pub until_hour: i64,
    /// The hour of the archive that comes next.
    pub next_hour: i64,
    /// Lines that were taken out of the archive.
    pub lines: i64,
    /// To be named by the next write.
    pub generation: i64,
    /// When it was done.
    #[serde(with = "as_optional_millis")]
    pub done_at: Option<UnixMillis>,
}

/// Begins an erasure for the owner of a device, of everything before an hour; one that goes on becomes one of more. One change if so; follow with
/// [`hide`] and [`cancel_exports`] in the same transaction.
pub fn begin(
    id: &RecordId,
    owner: &UserId,
    device: &DeviceId,
    until_hour: i64,
    now: UnixMillis,
) -> Statement {
    Statement {
        name: "erasure_begin",
        sql: "/* erasure_begin */
            INSERT INTO erasures (erasure_id, device_id, user_id, state, requested_at, from_hour, until_hour, next_hour, generation, due_at, held_until)
            SELECT ?1, device_id, ?2, 'running', ?5, begin, ?4, begin, 1, ?4 * 3600000, 0
            FROM (SELECT device_id, max(enrolled_at / 3600000, ?4 - ?6) AS begin FROM devices WHERE device_id = ?3) AS wanted
            WHERE EXISTS (SELECT 1 FROM device_access WHERE device_id = ?3 AND user_id = ?2 AND role = 'owner')
            ON CONFLICT (device_id) WHERE state <> 'done' DO UPDATE SET
              state = 'running', requested_at = excluded.requested_at, until_hour = excluded.until_hour, due_at = excluded.due_at,
              next_hour = max(from_hour, min(next_hour, until_hour - ?7)), user_id = excluded.user_id, generation = generation + 1
            WHERE excluded.until_hour > erasures.until_hour",
        params: vec![
            id.as_str().into(),
            owner.as_str().into(),
            device.as_str().into(),
            until_hour.into(),
            now.into(),
            ARCHIVE.into(),
            FINAL.into(),
        ],
    }
}

/// Takes nothing in any more that is of a time before an hour, whoever read before that it would be: rollups, events and alerts are written
/// only of hours that were not erased.
pub fn close(device: &DeviceId, until_hour: i64) -> Statement {
    Statement {
        name: "erasure_close",
        sql: "/* erasure_close */
            UPDATE devices SET erased_before = ?2 WHERE device_id = ?1 AND erased_before < ?2",
        params: vec![device.as_str().into(), until_hour.into()],
    }
}

/// What is kept of an erasure beside the database, which may be restored from before it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// `era-…`.
    pub erasure_id: String,
    /// Of which device.
    pub device_id: DeviceId,
    /// The owner who asked.
    pub user_id: UserId,
    /// When it was asked for.
    #[serde(with = "as_millis")]
    pub requested_at: UnixMillis,
    /// Where the archive may begin to know the device.
    pub from_hour: i64,
    /// Everything before this hour goes.
    pub until_hour: i64,
}

/// Where erasures are kept beside the database, in the bucket of archives.
pub const KEPT: &str = "erasures/";

/// The key under which an erasure is kept there.
pub fn kept_key(id: &str) -> String {
    format!("{KEPT}{id}.json")
}

/// Keeps an erasure where no restored database forgets it.
///
/// # Errors
/// When the bucket cannot be reached.
pub async fn keep(erasure: &ErasureRow, archives: &impl Packs) -> Result<(), PortError> {
    let ErasureRow { erasure_id, device_id, user_id, requested_at, from_hour, until_hour, .. } =
        erasure.clone();
    let key = kept_key(&erasure_id);
    let kept = Kept { erasure_id, device_id, user_id, requested_at, from_hour, until_hour };
    let body = json::write(&kept).map_err(|error| PortError::new(key.as_str(), error.to_string()))?;
    let new = NewObject {
        key: &key,
        body: body.as_bytes(),
        content_type: JSON,
        encoding: Encoding::Identity,
        label: None,
    };
    archives.replace(new).await
}

/// Which of these erasures the database does not know, as [`Unknown`]s in that order.
///
/// # Errors
/// When the list cannot be written as JSON, which texts always can.
pub fn unknown(ids: &[&str]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "erasures_unknown",
        sql: "/* erasures_unknown */
            SELECT value AS erasure_id FROM json_each(?1)
            WHERE NOT EXISTS (SELECT 1 FROM erasures WHERE erasure_id = value)",
        params: vec![json::write(ids)?.into()],
    })
}

/// An erasure that the database does not know.
#[derive(Clone, Debug, Deserialize)]
pub struct Unknown {
    /// `era-…`.
    pub erasure_id: String,
}

/// Begins an erasure once more, unless another of that device goes on: one change if so. Whose the device is by now makes no difference.
/// Follow with [`hide`] and [`cancel_exports`] in the same transaction.
pub fn again(kept: &Kept, now: UnixMillis) -> Statement {
    Statement {
        name: "erasure_again",
        sql: "/* erasure_again */
            INSERT INTO erasures (erasure_id, device_id, user_id, state, requested_at, from_hour, until_hour, next_hour, generation, due_at, held_until)
            SELECT ?1, device_id, ?3, 'running', ?4, ?5, ?6, ?5, 1, ?7, 0 FROM devices WHERE device_id = ?2
            ON CONFLICT DO NOTHING",
        params: vec![
            kept.erasure_id.as_str().into(),
            kept.device_id.as_str().into(),
            kept.user_id.as_str().into(),
            kept.requested_at.into(),
            kept.from_hour.into(),
            kept.until_hour.into(),
            now.into(),
        ],
    }
}

/// Shows nobody anything of a device before the border of its erasure.
pub fn hide(device: &DeviceId) -> Statement {
    Statement {
        name: "erasure_hide",
        sql: "/* erasure_hide */
            UPDATE devices SET history_from = max(history_from,
              coalesce((SELECT until_hour * 3600000 FROM erasures WHERE device_id = ?1 AND state <> 'done'), 0))
            WHERE device_id = ?1",
        params: vec![device.as_str().into()],
    }
}

/// Ends the exports of a device that is being erased, those that are ready too, unless they are of the time after.
pub fn cancel_exports(device: &DeviceId) -> Statement {
    Statement {
        name: "erasure_cancel_exports",
        sql: "/* erasure_cancel_exports */
            UPDATE exports SET state = 'cancelled', generation = generation + 1
            WHERE device_id = ?1 AND state <> 'cancelled' AND from_at <
              (SELECT until_hour * 3600000 FROM erasures WHERE device_id = ?1 AND state <> 'done')",
        params: vec![device.as_str().into()],
    }
}

/// The latest [`ErasureRow`] of a device that this user asked for.
pub fn latest(owner: &UserId, device: &DeviceId) -> Statement {
    Statement {
        name: "erasure_latest",
        sql: "/* erasure_latest */
            SELECT erasure_id, device_id, user_id, state, requested_at, from_hour, until_hour, next_hour, lines, generation, done_at FROM erasures
            WHERE device_id = ?1 AND user_id = ?2 ORDER BY erasure_id DESC LIMIT 1",
        params: vec![device.as_str().into(), owner.as_str().into()],
    }
}

/// Takes the erasure that is due longest, if there is one and nobody is at any: the answer has its [`ErasureRow`] then. Two at once could
/// undo each other's work, where two devices share an object.
pub fn take(now: UnixMillis) -> Statement {
    Statement {
        name: "erasure_take",
        sql: "/* erasure_take */
            UPDATE erasures SET held_until = ?2, generation = generation + 1
            WHERE erasure_id = (SELECT erasure_id FROM erasures WHERE state <> 'done' AND due_at <= ?1 ORDER BY due_at LIMIT 1)
              AND NOT EXISTS (SELECT 1 FROM erasures WHERE state <> 'done' AND held_until > ?1)
            RETURNING erasure_id, device_id, user_id, state, requested_at, from_hour, until_hour, next_hour, lines, generation, done_at",
        params: vec![now.into(), now.plus(HOLD).into()],
    }
}

/// What becomes of an erasure.
#[derive(Clone, Copy, Debug)]
pub struct Saved {
    /// The state that it is in now.
    pub state: &'static str,
    /// The hour of the archive that comes next.
    pub next_hour: i64,
    /// Lines that were taken out of the archive so far.
    pub lines: i64,
    /// When there is something to do.
    pub due_at: UnixMillis,
    /// Until when it stays with who has it.
    pub held_until: UnixMillis,
}

/// Notes how far an erasure is: one change, or none if somebody else has it or it became one of more. The generation is one more then.
pub fn save(erasure: &ErasureRow, saved: &Saved, now: UnixMillis) -> Statement {
    Statement {
        name: "erasure_save",
        sql: "/* erasure_save */
            UPDATE erasures SET state = ?3, next_hour = ?4, lines = ?5, due_at = ?6, held_until = ?7, generation = generation + 1,
              done_at = CASE WHEN ?3 = 'done' THEN ?8 END
            WHERE erasure_id = ?1 AND generation = ?2",
        params: vec![
            erasure.erasure_id.as_str().into(),
            erasure.generation.into(),
            saved.state.into(),
            saved.next_hour.into(),
            saved.lines.into(),
            saved.due_at.into(),
            saved.held_until.into(),
            now.into(),
        ],
    }
}

/// Lets go of an erasure, so that the next run need not wait; whoever has taken it since keeps it.
pub fn let_go(erasure: &ErasureRow, now: UnixMillis) -> Statement {
    Statement {
        name: "erasure_let_go",
        sql: "/* erasure_let_go */
            UPDATE erasures SET held_until = ?3 WHERE erasure_id = ?1 AND generation IN (?2, ?2 + 1)",
        params: vec![erasure.erasure_id.as_str().into(), erasure.generation.into(), now.into()],
    }
}

/// Deletes a device's hours before an hour, its alerts, what was told of them, and what it is named for among the most affected. Alerts that go on are over
/// first, so that who was told of them is told that too. Five statements for one transaction.
pub fn delete_rows(device: &DeviceId, until_hour: i64, now: UnixMillis) -> [Statement; 5] {
    let border = UnixMillis(until_hour.saturating_mul(HOUR));
    let alerts = RecordId::generate("alr", border, [0; 10]);
    // What is told of it is of the time that goes, too, and goes when it was told.
    let over = now.min(border.plus(-1));
    [
        Statement {
            name: "erase_hours",
            sql: "/* erase_hours */ DELETE FROM telemetry_rollups WHERE device_id = ?1 AND hour < ?2",
            params: vec![device.as_str().into(), until_hour.into()],
        },
        Statement {
            name: "erase_open_alerts",
            sql: "/* erase_open_alerts */
                UPDATE alerts SET resolved_at = ?3, generation = generation + 1
                WHERE device_id = ?1 AND alert_id < ?2 AND resolved_at IS NULL",
            params: vec![device.as_str().into(), alerts.as_str().into(), over.into()],
        },
        Statement {
            name: "erase_alerts",
            sql: "/* erase_alerts */ DELETE FROM alerts WHERE device_id = ?1 AND alert_id < ?2",
            params: vec![device.as_str().into(), alerts.as_str().into()],
        },
        Statement {
            name: "erase_told",
            sql: "/* erase_told */ DELETE FROM alert_outbox WHERE device_id = ?1 AND at < ?2 AND taken_at IS NOT NULL",
            params: vec![device.as_str().into(), border.into()],
        },
        Statement {
            name: "erase_troubled",
            sql: "/* erase_troubled */ DELETE FROM fleet_troubled WHERE device_id = ?1 AND hour < ?2",
            params: vec![device.as_str().into(), until_hour.into()],
        },
    ]
}

/// Deletes a device's events before an hour, about `limit` of the oldest.
pub fn delete_events(device: &DeviceId, until_hour: i64, limit: u32) -> Statement {
    Statement {
        name: "erase_events",
        sql: "/* erase_events */
            DELETE FROM telemetry_events WHERE device_id = ?1 AND at <=
              (SELECT max(at) FROM (SELECT at FROM telemetry_events WHERE device_id = ?1 AND at < ?2 ORDER BY at LIMIT ?3))",
        params: vec![
            device.as_str().into(),
            UnixMillis(until_hour.saturating_mul(HOUR)).into(),
            limit.into(),
        ],
    }
}

/// The [`ExportRow`]s of a device that were cancelled.
pub fn doomed_exports(device: &DeviceId) -> Statement {
    Statement {
        name: "erase_exports_of",
        sql: "/* erase_exports_of */
            SELECT export_id, device_id, user_id, state, from_at, until_at, progress, bytes, generation, created_at
            FROM exports WHERE device_id = ?1 AND state = 'cancelled' ORDER BY export_id LIMIT 100",
        params: vec![device.as_str().into()],
    }
}

/// Forgets erasures that were asked for before `border` was made and are done, up to `limit`.
pub fn prune(border: &RecordId, limit: u32) -> Statement {
    Statement {
        name: "erasure_prune",
        sql: "/* erasure_prune */
            DELETE FROM erasures WHERE erasure_id IN
              (SELECT erasure_id FROM erasures WHERE erasure_id < ?1 AND state = 'done' ORDER BY erasure_id LIMIT ?2)",
        params: vec![border.as_str().into(), limit.into()],
    }
}
