//! What the watch over backups found, and the alarms that it raised.
//!
//! An alarm is a row of the security log, written in the transaction that notes its cause, so that it is neither lost nor
//! raised twice: one when something goes wrong, one for each further day that it stays so, and a word when it is well again.

use rs1_domain::UnixMillis;
use rs1_domain::json;
use rs1_domain::port::{Param, Statement};
use rs1_domain::security::SecurityKind;
use rs1_domain::time::as_millis;
use rs1_ops::watch::Finding;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::security::{into_security_log, json_text};

/// What is known of something that is watched.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Watched"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRow {
    /// What.
    pub subject: String,
    /// What is wrong: a list of texts; empty if all is well.
    #[serde(deserialize_with = "json_text")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub faults: Value,
    /// What was seen.
    #[serde(deserialize_with = "json_text")]
    pub facts: Value,
    /// When it was first looked at.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub first_at: UnixMillis,
    /// Since when it is well, or not.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub since: UnixMillis,
    /// When it was last looked at.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub looked_at: UnixMillis,
}

/// All that is watched: a handful of [`WatchRow`]s.
pub fn list() -> Statement {
    Statement {
        name: "watch_list",
        sql: "/* watch_list */
            SELECT subject, faults, facts, first_at, since, looked_at FROM backup_watch ORDER BY subject LIMIT 100",
        params: Vec::new(),
    }
}

/// Notes what was found, and raises the alarms that follow; the statements belong into one transaction. Each finding
/// comes with the id, `sec-…`, of what is logged if something is.
///
/// # Errors
/// When the findings cannot be written as JSON, which these types always can.
pub fn note(findings: &[(String, Finding)], now: UnixMillis) -> Result<[Statement; 3], json::Error> {
    let list: Vec<Value> = findings
        .iter()
        .map(|(id, finding)| {
            json!({"id": id, "subject": finding.subject, "faults": finding.faults, "facts": finding.facts})
        })
        .collect();
    let list = json::write(&list)?;
    let params = vec![list.into(), now.into()];
    let of = |kind: SecurityKind| -> Vec<Param> {
        params.iter().cloned().chain([kind.as_str().into(), kind.severity().as_str().into()]).collect()
    };
    Ok([
        Statement { name: "watch_recovered", sql: into_security_log!("watch_recovered", "
            SELECT value->>'id', ?3, ?4, subject, NULL,
              json_object('were', json(faults)), 1, ?2, ?2, ?3 || ':' || since || ':' || subject
            FROM json_each(?1) JOIN backup_watch ON subject = value->>'subject'
            WHERE json_array_length(faults) > 0 AND json_array_length(value->'faults') = 0"),
            params: of(SecurityKind::BackupRecovered) },
        Statement { name: "watch_note", sql: "/* watch_note */
            INSERT INTO backup_watch (subject, faults, facts, first_at, since, looked_at)
            SELECT value->>'subject', value->'faults', value->'facts', ?2, ?2, ?2 FROM json_each(?1) WHERE true
            ON CONFLICT (subject) DO UPDATE SET
              since = CASE WHEN (json_array_length(faults) = 0) = (json_array_length(excluded.faults) = 0)
                THEN since ELSE excluded.since END,
              faults = excluded.faults, facts = excluded.facts, looked_at = excluded.looked_at", params: params.clone() },
        Statement { name: "watch_alarm", sql: into_security_log!("watch_alarm", "
            SELECT value->>'id', ?3, ?4, subject, NULL,
              json_object('faults', json(backup_watch.faults), 'facts', json(backup_watch.facts)), 1, ?2, ?2,
              ?3 || ':' || since || '+' || ((CAST(?2 AS INTEGER) - since) / 86400000) || ':' || subject
            FROM json_each(?1) JOIN backup_watch ON subject = value->>'subject'
            WHERE json_array_length(backup_watch.faults) > 0 AND NOT EXISTS (
              SELECT 1 FROM security_log AS known WHERE known.window_key =
                ?3 || ':' || since || '+' || ((CAST(?2 AS INTEGER) - since) / 86400000) || ':' || backup_watch.subject)"),
            params: of(SecurityKind::BackupAlarm) },
    ])
}
