//! How far each object of collected telemetry is taken in.
//!
//! One invocation at a time works on an object: it takes it with [`take`], which is good until `held_until`, and each step names
//! the generation that it saw.

use rs1_domain::UnixMillis;
use rs1_domain::json;
use rs1_domain::port::{Param, Statement};
use rs1_domain::time::{HOUR, MINUTE};
use serde::Deserialize;

/// How long one invocation may be at an object without a step: longer than the platform lets it run.
pub const HOLD: i64 = 16 * MINUTE;

/// How far the registry may be behind telemetry that comes by the object, in milliseconds: with two objects an hour it
/// is written every third time.
pub const PATIENCE: i64 = 65 * MINUTE;

/// How long a device that sends may go unheard while telemetry comes by the object: [`PATIENCE`], an object's time, and what it
/// takes to bring it here.
pub const QUIET: i64 = 115 * MINUTE;

/// How long after the last object it is believed that telemetry comes by the object.
pub const IN_USE: i64 = 2 * HOUR;

/// A row of `telemetry_objects`, taken.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ObjectRow {
    /// The version that it is about; null before it was opened.
    pub etag: Option<String>,
    /// `open`, `done`, `damaged` or `gone`.
    pub state: String,
    /// Bytes, before compression, whose lines are archived and counted.
    pub position: u64,
    /// Messages that were new.
    pub counted: u64,
    /// Messages that were known.
    pub repeated: u64,
    /// Lines in quarantine.
    pub refused: u64,
    /// To be named by the next write.
    pub generation: u32,
}

/// Takes an object, unless somebody is at it: the answer has its [`ObjectRow`] then.
pub fn take(key: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "object_take",
        sql: "/* object_take */
            INSERT INTO telemetry_objects (object_key, state, generation, held_until, begun_at, updated_at)
            VALUES (?1, 'open', 1, ?3, ?2, ?2)
            ON CONFLICT (object_key) DO UPDATE SET
              generation = generation + 1, held_until = excluded.held_until, updated_at = excluded.updated_at
            WHERE telemetry_objects.held_until <= excluded.begun_at
            RETURNING etag, state, position, counted, repeated, refused, generation",
        params: vec![key.into(), now.into(), now.plus(HOLD).into()],
    }
}

/// Notes how far an object is: one change, or none if somebody else has it. The generation is one more then. `held` says whether
/// its taker goes on with it.
pub fn save(key: &str, row: &ObjectRow, held: bool, now: UnixMillis) -> Statement {
    let count = |value: u64| Param::Int(i64::try_from(value).unwrap_or(i64::MAX));
    Statement {
        name: "object_save",
        sql: "/* object_save */
            UPDATE telemetry_objects SET etag = ?3, state = ?4, position = ?5, counted = ?6, repeated = ?7, refused = ?8,
              held_until = ?9, updated_at = ?10, generation = generation + 1
            WHERE object_key = ?1 AND generation = ?2",
        params: vec![
            key.into(),
            row.generation.into(),
            row.etag.as_deref().into(),
            row.state.as_str().into(),
            count(row.position),
            count(row.counted),
            count(row.repeated),
            count(row.refused),
            if held { now.plus(HOLD) } else { now }.into(),
            now.into(),
        ],
    }
}

/// Lets go of an object, so that the next delivery need not wait; also if the row was saved and the answer lost.
pub fn let_go(key: &str, row: &ObjectRow, now: UnixMillis) -> Statement {
    Statement {
        name: "object_let_go",
        sql:
            "/* object_let_go */
            UPDATE telemetry_objects SET held_until = ?3 WHERE object_key = ?1 AND generation IN (?2, ?2 + 1)",
        params: vec![key.into(), row.generation.into(), now.into()],
    }
}

/// One of several objects.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Waiting {
    /// Its key.
    pub object_key: String,
}

/// Which of these objects are [`Waiting`]: nobody is at them, and it was not decided that they stay where they are.
///
/// # Errors
/// When the list cannot be written as JSON, which texts always can.
pub fn waiting(keys: &[&str], now: UnixMillis) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "objects_waiting",
        sql: "/* objects_waiting */
            SELECT listed.value AS object_key FROM json_each(?1) AS listed
            LEFT JOIN telemetry_objects AS o ON o.object_key = listed.value
            WHERE o.object_key IS NULL OR (o.state <> 'damaged' AND o.held_until <= ?2)",
        params: vec![json::write(keys)?.into(), now.into()],
    })
}

/// Forgets objects of which nothing was heard since `before`, `limit` of them.
pub fn prune(before: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "prune_objects",
        sql: "/* prune_objects */
            DELETE FROM telemetry_objects WHERE object_key IN
              (SELECT object_key FROM telemetry_objects WHERE updated_at < ?1 ORDER BY updated_at LIMIT ?2)",
        params: vec![before.into(), limit.into()],
    }
}
