//! When secrets were replaced.
//!
//! Statements are files where `npm run secrets` runs the same text: SQL has one place.

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

/// What `npm run secrets` asks while it walks through a rotation, with parameters of the kinds that it gives. Nobody else asks
/// these: they are here to be proved.
pub fn walks(since: UnixMillis) -> Vec<Statement> {
    let at = || vec![since.into()];
    let key = || vec!["fwk-1".into()];
    let keys = json!([{"device_id": "d", "old": "1.a", "new": "1.b"}]).to_string();
    vec![
        Statement {
            name: "secret_acts",
            sql: include_str!("../sql/secret_acts.sql"),
            params: vec!["WEBHOOK_SECRET".into(), since.into()],
        },
        Statement { name: "secret_outdated", sql: include_str!("../sql/secret_outdated.sql"), params: at() },
        Statement { name: "secret_refused", sql: include_str!("../sql/secret_refused.sql"), params: at() },
        Statement { name: "devices_heard", sql: include_str!("../sql/devices_heard.sql"), params: at() },
        Statement {
            name: "check_of_broker",
            sql: include_str!("../sql/check_of_broker.sql"),
            params: Vec::new(),
        },
        Statement {
            name: "device_keys_page",
            sql: include_str!("../sql/device_keys_page.sql"),
            params: vec!["".into(), 500_u32.into()],
        },
        Statement {
            name: "device_keys_reseal",
            sql: include_str!("../sql/device_keys_reseal.sql"),
            params: vec![keys.into()],
        },
        Statement {
            name: "firmware_key_latest",
            sql: include_str!("../sql/firmware_key_latest.sql"),
            params: Vec::new(),
        },
        Statement {
            name: "firmware_keys_before",
            sql: include_str!("../sql/firmware_keys_before.sql"),
            params: key(),
        },
        Statement { name: "firmware_signed", sql: include_str!("../sql/firmware_signed.sql"), params: key() },
        Statement { name: "firmware_needed", sql: include_str!("../sql/firmware_needed.sql"), params: key() },
    ]
}
