//! Incidents, what became of each step by step, and the maintenance windows that keep them from being opened.
//!
//! What an incident comes to is decided by `rs1_ops::incident`, once a round of checks. Here it is stored; and what operators do,
//! who acknowledge one, and declare maintenance.

use rs1_domain::json;
use rs1_domain::port::Statement;
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_domain::{RecordId, UnixMillis};
use rs1_ops::check::Severity;
use rs1_ops::incident::{Event, Incident, Member, What, Window};
use serde::{Deserialize, Serialize};

use crate::checks::from_text;
use crate::sql::PageRequest;

/// The place of what an operator did among what happened at one instant: after what the round found.
const BY_HAND: u32 = 1_000;

/// Whether an incident goes on, and whether somebody knows.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "IncidentStatus"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It goes on.
    Open,
    /// It goes on, and somebody said that they know.
    Acknowledged,
    /// It is over.
    Resolved,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Acknowledged, Self::Resolved].into_iter().find(|status| status.as_str() == text)
    }
}

/// An incident, as operators see it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Incident"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentRow {
    /// `inc-…`.
    pub incident_id: String,
    /// Whether it goes on, and whether somebody knows.
    pub status: Status,
    /// The group of checks that it is about.
    pub subject: String,
    /// The worst that it has been.
    pub severity: Severity,
    /// What it is, in a line.
    pub title: String,
    /// What is affected, to people.
    #[serde(deserialize_with = "from_text")]
    pub components: Vec<String>,
    /// The checks that failed.
    #[serde(deserialize_with = "from_text")]
    pub members: Vec<Member>,
    /// Checks that failed because of it.
    #[serde(deserialize_with = "from_text")]
    pub explains: Vec<String>,
    /// When it began.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub opened_at: UnixMillis,
    /// By when somebody is to have acknowledged it.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub respond_by: UnixMillis,
    /// When somebody was reminded of that.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub reminded_at: Option<UnixMillis>,
    /// When somebody acknowledged it.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub acknowledged_at: Option<UnixMillis>,
    /// Who.
    pub acknowledged_by: Option<String>,
    /// When it was over.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub resolved_at: Option<UnixMillis>,
    /// What happened, in order; told of one, not in a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<EventRow>,
}

impl From<IncidentRow> for Incident {
    fn from(row: IncidentRow) -> Self {
        let IncidentRow { incident_id, subject, severity, title, components, members, explains, .. } = row;
        let IncidentRow { opened_at, respond_by, reminded_at, acknowledged_at, resolved_at, .. } = row;
        Self {
            incident_id,
            subject,
            severity,
            title,
            components,
            members,
            explains,
            opened_at,
            respond_by,
            reminded_at,
            acknowledged_at,
            resolved_at,
        }
    }
}

/// The [`IncidentRow`]s that go on: one a group of checks at most.
pub fn open() -> Statement {
    Statement {
        name: "incidents_open",
        sql: "/* incidents_open */
            SELECT incident_id, CASE WHEN acknowledged_at IS NULL THEN 'open' ELSE 'acknowledged' END AS status, subject, severity,
              title, components, members, explains, opened_at, respond_by, reminded_at, acknowledged_at, acknowledged_by, resolved_at
            FROM incidents WHERE resolved_at IS NULL ORDER BY subject LIMIT 500",
        params: Vec::new(),
    }
}

/// Writes incidents, new ones and those that went on. What operators noted of them stays.
///
/// # Errors
/// When they cannot be written as JSON, which these types always can.
pub fn write(incidents: &[Incident]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "incident_write",
        sql: "/* incident_write */
            INSERT INTO incidents (incident_id, subject, severity, title, components, members, explains, opened_at, respond_by,
              reminded_at, resolved_at)
            SELECT value->>'incident_id', value->>'subject', value->>'severity', value->>'title', value->'components',
              value->'members', value->'explains', value->>'opened_at', value->>'respond_by', value->>'reminded_at',
              value->>'resolved_at'
            FROM json_each(?1) WHERE true
            ON CONFLICT (incident_id) DO UPDATE SET severity = excluded.severity, components = excluded.components,
              members = excluded.members, explains = excluded.explains, respond_by = excluded.respond_by,
              reminded_at = excluded.reminded_at, resolved_at = excluded.resolved_at",
        params: vec![json::write(incidents)?.into()],
    })
}

/// Writes what happened in incidents.
///
/// # Errors
/// As [`write`](fn@write).
pub fn record(events: &[Event]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "incident_record",
        sql: "/* incident_record */
            INSERT INTO incident_events (incident_id, at, step, what, about, detail)
            SELECT value->>'incident_id', value->>'at', value->>'step', value->>'what', value->>'about', value->>'detail'
            FROM json_each(?1) WHERE true
            ON CONFLICT (incident_id, at, step) DO NOTHING",
        params: vec![json::write(events)?.into()],
    })
}

/// A page of [`IncidentRow`]s, newest first: all, or those of a status.
pub fn list(status: Option<Status>, page: &PageRequest) -> Statement {
    Statement {
        name: "incident_list",
        sql: "/* incident_list */
            SELECT incident_id, CASE WHEN resolved_at IS NOT NULL THEN 'resolved' WHEN acknowledged_at IS NOT NULL THEN 'acknowledged'
                ELSE 'open' END AS status, subject, severity,
              title, components, members, explains, opened_at, respond_by, reminded_at, acknowledged_at, acknowledged_by, resolved_at
            FROM incidents WHERE incident_id < coalesce(?1, '~')
              AND (?2 IS NULL OR ?2 = CASE WHEN resolved_at IS NOT NULL THEN 'resolved'
                WHEN acknowledged_at IS NOT NULL THEN 'acknowledged' ELSE 'open' END)
            ORDER BY incident_id DESC LIMIT ?3",
        params: vec![page.after.as_deref().into(), status.map(Status::as_str).into(), page.rows().into()],
    }
}

/// One [`IncidentRow`].
pub fn by_id(incident: &str) -> Statement {
    Statement {
        name: "incident_by_id",
        sql: "/* incident_by_id */
            SELECT incident_id, CASE WHEN resolved_at IS NOT NULL THEN 'resolved' WHEN acknowledged_at IS NOT NULL THEN 'acknowledged'
                ELSE 'open' END AS status, subject, severity,
              title, components, members, explains, opened_at, respond_by, reminded_at, acknowledged_at, acknowledged_by, resolved_at
            FROM incidents WHERE incident_id = ?1",
        params: vec![incident.into()],
    }
}

/// Something that happened in an incident.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "IncidentEvent"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// When.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub at: UnixMillis,
    /// What.
    pub what: What,
    /// The check, or the operator.
    pub about: Option<String>,
    /// In words.
    pub detail: String,
}

/// The first `limit` [`EventRow`]s of an incident, in order.
pub fn timeline(incident: &str, limit: u32) -> Statement {
    Statement {
        name: "incident_timeline",
        sql: "/* incident_timeline */
            SELECT at, what, about, detail FROM incident_events WHERE incident_id = ?1 ORDER BY at, step LIMIT ?2",
        params: vec![incident.into(), limit.into()],
    }
}

/// Notes that an operator knows of an incident, if it goes on and nobody said so before: one change, or none.
pub fn acknowledge(incident: &str, by: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "incident_acknowledge",
        sql: "/* incident_acknowledge */
            UPDATE incidents SET acknowledged_at = ?3, acknowledged_by = ?2
            WHERE incident_id = ?1 AND resolved_at IS NULL AND acknowledged_at IS NULL",
        params: vec![incident.into(), by.into(), now.into()],
    }
}

/// Records that, in the transaction of [`acknowledge`]: nothing if that changed nothing.
pub fn record_acknowledged(incident: &str, by: &str, note: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "incident_record_acknowledged",
        sql: "/* incident_record_acknowledged */
            INSERT INTO incident_events (incident_id, at, step, what, about, detail)
            SELECT incident_id, acknowledged_at, ?5, 'acknowledged', ?2, ?4 FROM incidents
            WHERE incident_id = ?1 AND acknowledged_at = ?3 AND acknowledged_by = ?2
            ON CONFLICT (incident_id, at, step) DO NOTHING",
        params: vec![incident.into(), by.into(), now.into(), note.into(), BY_HAND.into()],
    }
}

/// Deletes what happened in incidents that opened before `border` was made, and are over; some at a time. Before [`prune`].
pub fn prune_events(border: &RecordId, limit: u32) -> Statement {
    Statement {
        name: "incident_events_prune",
        sql: "/* incident_events_prune */
            DELETE FROM incident_events WHERE incident_id IN
              (SELECT incident_id FROM incidents WHERE incident_id < ?1 AND resolved_at IS NOT NULL ORDER BY incident_id LIMIT ?2)",
        params: vec![border.as_str().into(), limit.into()],
    }
}

/// Deletes incidents that opened before `border` was made, and are over; some at a time.
pub fn prune(border: &RecordId, limit: u32) -> Statement {
    Statement {
        name: "incidents_prune",
        sql: "/* incidents_prune */
            DELETE FROM incidents WHERE incident_id IN
              (SELECT incident_id FROM incidents WHERE incident_id < ?1 AND resolved_at IS NOT NULL ORDER BY incident_id LIMIT ?2)",
        params: vec![border.as_str().into(), limit.into()],
    }
}

/// A maintenance window.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "MaintenanceWindow"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowRow {
    /// `mnt-…`.
    pub window_id: String,
    /// The checks, groups and components that it silences; `*` is everything.
    #[serde(deserialize_with = "from_text")]
    pub subjects: Vec<String>,
    /// What for.
    pub reason: String,
    /// When it begins.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub from_at: UnixMillis,
    /// When it ends.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub until_at: UnixMillis,
    /// The operator.
    pub created_by: String,
    /// The operator who ended it before its time.
    pub ended_by: Option<String>,
}

impl From<WindowRow> for Window {
    fn from(row: WindowRow) -> Self {
        Self { subjects: row.subjects, from: row.from_at, until: row.until_at }
    }
}

/// The [`WindowRow`]s that go on at that time.
pub fn windows_at(at: UnixMillis) -> Statement {
    Statement {
        name: "maintenance_now",
        sql: "/* maintenance_now */
            SELECT window_id, subjects, reason, from_at, until_at, created_by, ended_by
            FROM maintenance_windows WHERE until_at > ?1 AND from_at <= ?1 ORDER BY until_at LIMIT 100",
        params: vec![at.into()],
    }
}

/// A page of [`WindowRow`]s, newest first.
pub fn windows(page: &PageRequest) -> Statement {
    Statement {
        name: "maintenance_list",
        sql: "/* maintenance_list */
            SELECT window_id, subjects, reason, from_at, until_at, created_by, ended_by
            FROM maintenance_windows WHERE window_id < coalesce(?1, '~') ORDER BY window_id DESC LIMIT ?2",
        params: vec![page.after.as_deref().into(), page.rows().into()],
    }
}

/// One [`WindowRow`].
pub fn window(window: &str) -> Statement {
    Statement {
        name: "maintenance_by_id",
        sql: "/* maintenance_by_id */
            SELECT window_id, subjects, reason, from_at, until_at, created_by, ended_by
            FROM maintenance_windows WHERE window_id = ?1",
        params: vec![window.into()],
    }
}

/// Declares maintenance.
///
/// # Errors
/// When the subjects cannot be written as JSON, which texts always can.
pub fn declare(window: &WindowRow) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "maintenance_declare",
        sql: "/* maintenance_declare */
            INSERT INTO maintenance_windows (window_id, subjects, reason, from_at, until_at, created_by)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (window_id) DO NOTHING",
        params: vec![
            window.window_id.as_str().into(),
            json::write(&window.subjects)?.into(),
            window.reason.as_str().into(),
            window.from_at.into(),
            window.until_at.into(),
            window.created_by.as_str().into(),
        ],
    })
}

/// Ends a window now, or keeps it from beginning; nothing if it is over.
pub fn end_window(window: &str, by: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "maintenance_end",
        sql: "/* maintenance_end */
            UPDATE maintenance_windows SET until_at = max(from_at, CAST(?3 AS INTEGER)), ended_by = ?2
            WHERE window_id = ?1 AND until_at > ?3",
        params: vec![window.into(), by.into(), now.into()],
    }
}

/// Deletes windows that ended before `before`, some at a time.
pub fn prune_windows(before: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "maintenance_prune",
        sql: "/* maintenance_prune */
            DELETE FROM maintenance_windows WHERE window_id IN
              (SELECT window_id FROM maintenance_windows WHERE until_at < ?1 ORDER BY until_at LIMIT ?2)",
        params: vec![before.into(), limit.into()],
    }
}
