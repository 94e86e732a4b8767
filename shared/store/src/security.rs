//! The audit log, the security log and the failed authentications behind it.

use rs1_domain::json;
use rs1_domain::port::{Param, Statement};
use rs1_domain::security::{AuthFailure, SecurityEvent, Severity};
use rs1_domain::time::{MINUTE, as_millis};
use rs1_domain::{DeviceId, RecordId, RequestId, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sql::PageRequest;

/// An operator's call of the admin API, as the audit log keeps it.
#[derive(Clone, Debug)]
pub struct AdminAccess<'a> {
    /// `aud-…`.
    pub id: RecordId,
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub actor: &'a str,
    /// The HTTP method.
    pub method: &'static str,
    /// The route's pattern.
    pub route: &'static str,
    /// What it was about.
    pub target: Option<&'a str>,
    /// The request.
    pub request_id: &'a RequestId,
    /// Anything more.
    pub detail: Option<Value>,
}

/// Writes one line of the audit log.
pub fn audit(access: &AdminAccess<'_>) -> Statement {
    Statement {
        name: "audit",
        sql: "/* audit */
            INSERT INTO audit_log (id, at, actor, action, method, route, target, request_id, detail)
            VALUES (?1, ?2, ?3, 'admin_api_access', ?4, ?5, ?6, ?7, ?8)
            ON CONFLICT (id) DO NOTHING",
        params: vec![
            access.id.as_str().into(),
            access.at.into(),
            access.actor.into(),
            access.method.into(),
            access.route.into(),
            access.target.into(),
            access.request_id.as_str().into(),
            access.detail.as_ref().map(Value::to_string).into(),
        ],
    }
}

/// Something that changed, and who changed it: `device_shared`, `device_claimed`, ….
#[derive(Clone, Debug)]
pub struct Act<'a> {
    /// `aud-…`.
    pub id: RecordId,
    /// When.
    pub at: UnixMillis,
    /// Who: a user id, or an operator.
    pub actor: &'a str,
    /// What they did.
    pub action: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The route's pattern.
    pub route: &'static str,
    /// The device.
    pub target: &'a DeviceId,
    /// The request.
    pub request_id: &'a RequestId,
    /// With whom, why.
    pub detail: Value,
}

/// Writes down an act, if the statement before this one in the same transaction changed something.
pub fn act(act: &Act<'_>) -> Statement {
    Statement {
        name: "audit_act",
        sql: "/* audit_act */
            INSERT INTO audit_log (id, at, actor, action, method, route, target, request_id, detail)
            SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE changes() > 0
            ON CONFLICT (id) DO NOTHING",
        params: act.params(),
    }
}

/// Writes down an act that no statement carries out: a command to a device.
pub fn note(act: &Act<'_>) -> Statement {
    Statement {
        name: "audit_note",
        sql: "/* audit_note */
            INSERT INTO audit_log (id, at, actor, action, method, route, target, request_id, detail)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING",
        params: act.params(),
    }
}

impl Act<'_> {
    fn params(&self) -> Vec<Param> {
        vec![
            self.id.as_str().into(),
            self.at.into(),
            self.actor.into(),
            self.action.into(),
            self.method.into(),
            self.route.into(),
            self.target.as_str().into(),
            self.request_id.as_str().into(),
            self.detail.to_string().into(),
        ]
    }
}

/// A row of the audit log.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Act"))]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditRow {
    /// `aud-…`.
    pub id: String,
    /// When.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub at: UnixMillis,
    /// Who.
    pub actor: String,
    /// What they did: `admin_api_access`, `device_shared`, ….
    pub action: String,
    /// The HTTP method.
    pub method: String,
    /// The route's pattern.
    pub route: String,
    /// The request.
    pub request_id: String,
    /// Anything more.
    #[serde(deserialize_with = "optional_json_text")]
    pub detail: Option<Value>,
}

pub(crate) fn optional_json_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| json::parse(&text)).transpose().map_err(serde::de::Error::custom)
}

/// A page of the [`AuditRow`]s about a device, newest first.
pub fn audit_of(device: &DeviceId, page: &PageRequest) -> Statement {
    Statement {
        name: "audit_of",
        sql: "/* audit_of */
            SELECT id, at, actor, action, method, route, request_id, detail
            FROM audit_log WHERE target = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
        params: vec![
            device.as_str().into(),
            page.after.as_deref().unwrap_or("aud-~").into(),
            page.rows().into(),
        ],
    }
}

/// How long a burst of the same event is one row, in milliseconds.
pub const WINDOW: i64 = 10 * MINUTE;

/// Writes events into the security log. Those of one kind and subject within a [`WINDOW`] become
/// one row that counts them.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn record(events: &[SecurityEvent]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "record_security",
        sql: "/* record_security */
            INSERT INTO security_log
              (id, kind, severity, subject, peerhost, detail, first_at, last_at, window_key)
            SELECT value->>'id', value->>'kind', value->>'severity', value->>'subject', value->>'peerhost',
              value->'detail', value->>'at', value->>'at',
              (value->>'kind') || ':' || (value->>'subject') || ':' || ((value->>'at') / CAST(?2 AS INTEGER))
            FROM json_each(?1) WHERE true
            ON CONFLICT (window_key) DO UPDATE SET
              count = count + 1,
              first_at = min(first_at, excluded.first_at),
              last_at = max(last_at, excluded.last_at)",
        params: vec![json::write(events)?.into(), WINDOW.into()],
    })
}

/// More failures than this from one address within [`WINDOW`] are reported.
pub const TOLERATED_FAILURES: i64 = 5;

/// Notes failures: each address keeps its latest six marks. Follow with [`report_repeated`] and
/// [`mark_reported`] in the same transaction.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn note_failures(failures: &[AuthFailure]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "note_failures",
        sql: "/* note_failures */
            INSERT INTO auth_failures (peerhost, recent, last_failed_at)
            SELECT host.peerhost,
              (SELECT json_group_array(mark) FROM (
                 SELECT mark FROM (
                   SELECT mark FROM (
                     SELECT value->>'mark' AS mark FROM json_each(?1) WHERE value->>'peerhost' = host.peerhost
                     UNION
                     SELECT old.value FROM auth_failures AS known, json_each(known.recent) AS old
                     WHERE known.peerhost = host.peerhost
                   ) ORDER BY mark DESC LIMIT CAST(?2 AS INTEGER) + 1
                 ) ORDER BY mark)),
              host.latest / 1000
            FROM (SELECT value->>'peerhost' AS peerhost, max(value->>'mark') AS latest
                  FROM json_each(?1) GROUP BY 1) AS host
            WHERE true
            ON CONFLICT (peerhost) DO UPDATE SET
              recent = excluded.recent,
              last_failed_at = max(last_failed_at, excluded.last_failed_at)",
        params: vec![json::write(failures)?.into(), TOLERATED_FAILURES.into()],
    })
}

/// Logs `auth_failure_repeated`, high, for each of those addresses that failed more than
/// [`TOLERATED_FAILURES`] times within [`WINDOW`] and was not reported within one.
/// `id` is an id for the first of them; further ones get a suffix.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn report_repeated(id: &RecordId, failures: &[AuthFailure]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "report_repeated",
        sql: "/* report_repeated */
            INSERT INTO security_log
              (id, kind, severity, subject, peerhost, detail, count, first_at, last_at, window_key)
            SELECT ?2 || CASE row_number() OVER () WHEN 1 THEN '' ELSE '-' || row_number() OVER () END,
              'auth_failure_repeated', 'high', peerhost, peerhost,
              json_object('failures', json_array_length(recent), 'window_sec', CAST(?3 AS INTEGER) / 1000),
              1, (recent->>0) / 1000, last_failed_at,
              'auth_failure_repeated:' || peerhost || ':' || last_failed_at
            FROM auth_failures
            WHERE peerhost IN (SELECT value->>'peerhost' FROM json_each(?1))
              AND json_array_length(recent) > CAST(?4 AS INTEGER)
              AND last_failed_at - (recent->>0) / 1000 < CAST(?3 AS INTEGER)
              AND last_failed_at - reported_at >= CAST(?3 AS INTEGER)
            ON CONFLICT (window_key) DO NOTHING",
        params: vec![
            json::write(failures)?.into(),
            id.as_str().into(),
            WINDOW.into(),
            TOLERATED_FAILURES.into(),
        ],
    })
}

/// Notes which addresses [`report_repeated`] just reported.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn mark_reported(failures: &[AuthFailure]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "mark_reported",
        sql: "/* mark_reported */
            UPDATE auth_failures SET reported_at = last_failed_at
            WHERE peerhost IN (SELECT value->>'peerhost' FROM json_each(?1))
              AND json_array_length(recent) > CAST(?3 AS INTEGER)
              AND last_failed_at - (recent->>0) / 1000 < CAST(?2 AS INTEGER)
              AND last_failed_at - reported_at >= CAST(?2 AS INTEGER)",
        params: vec![json::write(failures)?.into(), WINDOW.into(), TOLERATED_FAILURES.into()],
    })
}

/// A row of the security log.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "SecurityEvent"))]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecurityRow {
    /// `sec-…`.
    pub id: String,
    /// What happened.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// Whom it is about.
    pub subject: String,
    /// The IP address it came from.
    pub peerhost: Option<String>,
    /// How often it happened in this window.
    pub count: i64,
    /// The first time.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub first_at: UnixMillis,
    /// The last time.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub last_at: UnixMillis,
    /// Anything more, of the first time.
    #[serde(deserialize_with = "json_text")]
    pub detail: Value,
}

pub(crate) fn json_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let text = String::deserialize(deserializer)?;
    json::parse(&text).map_err(serde::de::Error::custom)
}

/// The greatest id there can be: lists begin there.
const LAST_ID: &str = "sec-~";

/// A page of [`SecurityRow`]s, newest first.
pub fn list(page: &PageRequest) -> Statement {
    Statement {
        name: "security_list",
        sql: "/* security_list */
            SELECT id, kind, severity, subject, peerhost, count, first_at, last_at, detail
            FROM security_log WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
        params: vec![page.after.as_deref().unwrap_or(LAST_ID).into(), page.rows().into()],
    }
}

/// A page of [`SecurityRow`]s of one kind, newest first.
pub fn list_kind(kind: &str, page: &PageRequest) -> Statement {
    Statement {
        name: "security_list_kind",
        sql: "/* security_list_kind */
            SELECT id, kind, severity, subject, peerhost, count, first_at, last_at, detail
            FROM security_log WHERE kind = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2",
        params: vec![page.after.as_deref().unwrap_or(LAST_ID).into(), page.rows().into(), kind.into()],
    }
}

/// Deletes up to `limit` rows of the security log that are older than `before`, an id of that time.
pub fn prune_security(before: &RecordId, limit: u32) -> Statement {
    Statement {
        name: "prune_security",
        sql: "/* prune_security */
            DELETE FROM security_log WHERE id IN
              (SELECT id FROM security_log WHERE id < ?1 ORDER BY id LIMIT ?2)",
        params: vec![before.as_str().into(), limit.into()],
    }
}

/// Deletes up to `limit` rows of the audit log that are older than `before`, an id of that time.
pub fn prune_audit(before: &RecordId, limit: u32) -> Statement {
    Statement {
        name: "prune_audit",
        sql: "/* prune_audit */
            DELETE FROM audit_log WHERE id IN
              (SELECT id FROM audit_log WHERE id < ?1 ORDER BY id LIMIT ?2)",
        params: vec![before.as_str().into(), limit.into()],
    }
}

/// Forgets addresses whose last failure lies before `before`.
pub fn prune_failures(before: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "prune_failures",
        sql:
            "/* prune_failures */
            DELETE FROM auth_failures WHERE peerhost IN
              (SELECT peerhost FROM auth_failures WHERE last_failed_at < ?1 ORDER BY last_failed_at LIMIT ?2)",
        params: vec![before.into(), limit.into()],
    }
}
