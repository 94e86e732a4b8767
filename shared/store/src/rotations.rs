//! When secrets were replaced.
//!
//! The two statements that write are files, since `npm run secrets` runs the same text through wrangler: SQL has one place.

use rs1_domain::port::Statement;
use rs1_domain::security::SecurityKind;
use rs1_domain::{RecordId, UnixMillis};
use serde_json::json;

/// All of them as [`Rotation`](rs1_ops::rotation::Rotation)s, a handful.
pub fn list() -> Statement {
    Statement {
        name: "secret_rotations",
        sql: "/* secret_rotations */
            SELECT name, every_days, rotated_at, dropped_at FROM secret_rotations ORDER BY name LIMIT 100",
        params: Vec::new(),
    }
}

/// What was done with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It was replaced; the one before it is still good.
    Replaced,
    /// The one before it is not good any more.
    Dropped,
}

/// Notes that a secret was replaced, or the one before it dropped, and writes it into the security log: its name and the time.
/// Of a secret that is not in the table, nothing is noted. The statements belong into one transaction. `id` is `sec-…`.
pub fn note(id: &RecordId, name: &str, act: Act, at: UnixMillis) -> [Statement; 2] {
    let kind = SecurityKind::SecretRotated;
    let act = match act {
        Act::Replaced => "replaced",
        Act::Dropped => "dropped",
    };
    [
        Statement {
            name: "secret_rotation_note",
            sql: include_str!("../sql/secret_rotation_note.sql"),
            params: vec![name.into(), act.into(), at.into()],
        },
        Statement {
            name: "secret_rotation_log",
            sql: include_str!("../sql/secret_rotation_log.sql"),
            params: vec![
                id.as_str().into(),
                kind.as_str().into(),
                kind.severity().as_str().into(),
                name.into(),
                json!({"act": act}).to_string().into(),
                at.into(),
            ],
        },
    ]
}
