//! What the status page shows: few columns of what [`checks`](crate::checks) and [`incidents`](crate::incidents) keep, and nothing
//! that only operators may know but where it says so.

use rs1_domain::port::Statement;
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_domain::{RecordId, UnixMillis};
use rs1_ops::check::Severity;
use rs1_ops::incident::{State, What};
use serde::Deserialize;

use crate::checks::from_text;
use crate::sql::flag;

/// A check, as far as the page and the metrics go. Its name is for operators.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CheckNow {
    /// Which.
    pub check_id: String,
    /// What it is a part of, to people.
    pub component: String,
    /// How bad it is when it fails.
    pub severity: Severity,
    /// How it is, by its latest results.
    pub state: State,
    /// When it was last looked at.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub checked_at: UnixMillis,
    /// How long that took, in milliseconds.
    pub latency_ms: i64,
    /// Whether a maintenance window names it.
    #[serde(deserialize_with = "flag")]
    pub silenced: bool,
}

/// Every [`CheckNow`].
pub fn checks() -> Statement {
    Statement {
        name: "status_checks",
        sql: "/* status_checks */
            SELECT check_id, component, severity, state, checked_at, latency_ms, silenced FROM checks ORDER BY check_id LIMIT 500",
        params: Vec::new(),
    }
}

/// What a component was like on a day (UTC).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DayNow {
    /// Which.
    pub component: String,
    /// `2026-01-20`.
    pub day: String,
    /// Rounds in which it was looked at.
    pub rounds: u32,
    /// Of those: some of its checks were down.
    pub rounds_ill: u32,
    /// Of those: all of its checks were, or one of SEV1.
    pub rounds_down: u32,
    /// Rounds besides in which maintenance silenced all of it.
    pub rounds_silent: u32,
    /// Results without a fault.
    pub fine: u32,
    /// Milliseconds of those, together.
    pub latency_sum_ms: i64,
}

/// The [`DayNow`]s since a day, the oldest first.
pub fn days(since: &str) -> Statement {
    Statement {
        name: "status_days",
        sql: "/* status_days */
            SELECT component, day, rounds, rounds_ill, rounds_down, rounds_silent, runs - failures AS fine, latency_sum_ms
            FROM component_days WHERE day >= ?1 ORDER BY day, component LIMIT 5000",
        params: vec![since.into()],
    }
}

/// An incident, as far as everybody may know of it: neither its title, which quotes what was found, nor who is at it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IncidentNow {
    /// `inc-…`.
    pub incident_id: String,
    /// The worst that it has been.
    pub severity: Severity,
    /// What is affected, to people.
    #[serde(deserialize_with = "from_text")]
    pub components: Vec<String>,
    /// When it began.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub opened_at: UnixMillis,
    /// When somebody acknowledged it.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub acknowledged_at: Option<UnixMillis>,
    /// When it was over.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub resolved_at: Option<UnixMillis>,
}

/// The [`IncidentNow`]s that opened after `border` was made, and those that go on since before it.
pub fn incidents(border: &RecordId) -> Statement {
    Statement {
        name: "status_incidents",
        // The plus keeps the second half to the index of what is open: few rows, however many incidents there were.
        sql: "/* status_incidents */
            SELECT * FROM (SELECT incident_id, severity, components, opened_at, acknowledged_at, resolved_at
              FROM incidents WHERE incident_id >= ?1 ORDER BY incident_id DESC LIMIT 100)
            UNION ALL
            SELECT * FROM (SELECT incident_id, severity, components, opened_at, acknowledged_at, resolved_at
              FROM incidents WHERE resolved_at IS NULL AND +incident_id < ?1 LIMIT 100)",
        params: vec![border.as_str().into()],
    }
}

/// A step of an incident that everybody may know of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StepNow {
    /// Of which incident.
    pub incident_id: String,
    /// When.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub at: UnixMillis,
    /// What.
    pub what: What,
    /// The check.
    pub about: Option<String>,
}

/// The latest [`StepNow`]s of incidents that opened after `border` was made, the newest first. That one began, was acknowledged and ended
/// is in the [`IncidentNow`] itself.
pub fn steps(border: &RecordId) -> Statement {
    Statement {
        name: "status_steps",
        sql: "/* status_steps */
            SELECT incident_id, at, what, about FROM incident_events
            WHERE incident_id >= ?1 AND what IN ('check_failed', 'check_recovered', 'escalated', 'explains')
            ORDER BY incident_id DESC, at DESC, step DESC LIMIT 1000",
        params: vec![border.as_str().into()],
    }
}

/// How many notices wait for a channel, and since when the oldest does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BacklogNow {
    /// The channel.
    pub channel: String,
    /// Notices.
    pub waiting: u64,
    /// When the oldest of them began to wait.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub since: UnixMillis,
}

/// A [`BacklogNow`] for each channel for which one waits.
pub fn backlog() -> Statement {
    Statement {
        name: "status_backlog",
        sql: "/* status_backlog */
            SELECT channel, count(*) AS waiting, min(since) AS since FROM notice_deliveries
            WHERE state = 'waiting' GROUP BY channel LIMIT 10",
        params: Vec::new(),
    }
}
