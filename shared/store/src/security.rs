//! The audit log, the security log and the failed authentications behind it.

use rs1_domain::json;
use rs1_domain::port::{Param, Statement};
use rs1_domain::security::{
    AuthFailure, MOST_SUBJECTS, OTHERS, SecurityEvent, SecurityKind, Severity, TOLERATED_FAILURES, WINDOW,
};
use rs1_domain::time::as_millis;
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

/// A statement that writes into the security log. There is no other way in: whatever `select` selects has every column, and
/// what falls into a row that is there is counted by that row.
///
/// The columns are id, kind, severity, subject, peerhost, detail, count, `first_at`, `last_at` and `window_key`, which is
/// `kind:window:subject`.
macro_rules! into_security_log {
    ($name:literal, $select:literal) => {
        concat!(
            "/* ",
            $name,
            " */
            INSERT INTO security_log
              (id, kind, severity, subject, peerhost, detail, count, first_at, last_at, window_key) ",
            $select,
            "
            ON CONFLICT (window_key) DO UPDATE SET
              count = count + excluded.count,
              first_at = min(first_at, excluded.first_at),
              last_at = max(last_at, excluded.last_at)"
        )
    };
}
pub(crate) use into_security_log;

/// Events of one kind, subject and window.
#[derive(Serialize)]
struct Burst<'a> {
    id: &'a str,
    kind: &'static str,
    severity: &'static str,
    subject: &'a str,
    peerhost: Option<&'a str>,
    detail: &'a Value,
    count: u32,
    first: i64,
    last: i64,
    /// `kind:window`.
    window: String,
    /// Which subject of the window it is, in this list.
    place: u32,
}

/// Writes events into the security log. Those of one kind and subject within a [`SecurityKind::window`] become one row that
/// counts them. A window takes up to [`MOST_SUBJECTS`] subjects of a kind; what more there are share the row of [`OTHERS`].
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn record(events: &[SecurityEvent]) -> Result<Statement, json::Error> {
    let mut bursts: Vec<Burst<'_>> = Vec::new();
    for event in events {
        let SecurityEvent { id, kind, subject, peerhost, detail, count, at } = event;
        let (count, at) = (*count, at.0);
        let window =
            format!("{}:{}", kind.as_str(), at.checked_div_euclid(kind.window()).unwrap_or_default());
        if let Some(known) =
            bursts.iter_mut().find(|known| known.window == window && known.subject == subject)
        {
            known.count = known.count.saturating_add(count);
            known.first = known.first.min(at);
            known.last = known.last.max(at);
            continue;
        }
        let (kind, severity) = (kind.as_str(), kind.severity().as_str());
        let peerhost = peerhost.as_deref();
        let place = bursts.iter().filter(|known| known.window == window).count().saturating_add(1);
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        bursts.push(Burst {
            id,
            kind,
            severity,
            subject,
            peerhost,
            detail,
            count,
            first: at,
            last: at,
            window,
            place,
        });
    }
    Ok(Statement {
        name: "record_security",
        sql: into_security_log!(
            "record_security",
            "SELECT id, kind, severity, iif(fits, subject, ?3), iif(fits, peerhost, NULL), detail, count, first_at, last_at,
              window || ':' || iif(fits, subject, ?3)
            FROM (
              SELECT value->>'id' AS id, value->>'kind' AS kind, value->>'severity' AS severity, value->>'subject' AS subject,
                value->>'peerhost' AS peerhost, value->'detail' AS detail, value->>'count' AS count,
                value->>'first' AS first_at, value->>'last' AS last_at, value->>'window' AS window,
                EXISTS (
                  SELECT 1 FROM security_log AS known
                  WHERE known.window_key = (value->>'window') || ':' || (value->>'subject'))
                OR (value->>'place') + (
                  SELECT count(*) FROM (
                    SELECT 1 FROM security_log AS taken
                    WHERE taken.window_key > (value->>'window') || ':' AND taken.window_key < (value->>'window') || ';'
                    LIMIT ?2)) <= CAST(?2 AS INTEGER) AS fits
              FROM json_each(?1)) WHERE true"
        ),
        params: vec![json::write(&bursts)?.into(), MOST_SUBJECTS.into(), OTHERS.into()],
    })
}

/// Failures of one source.
#[derive(Serialize)]
struct Failed<'a> {
    peerhost: &'a str,
    count: u32,
    /// The latest, at most one more than are tolerated of each message.
    marks: Vec<i64>,
    last: i64,
}

/// Counts failed authentications, and reports who failed more than [`TOLERATED_FAILURES`] times within a [`WINDOW`]: one row of
/// `auth_failure_repeated` for each source and window, which counts the failures. The statements belong into one transaction, in
/// this order. `id` is an id for the first of the rows; further ones get a suffix.
///
/// 1. The row of a source that is reported already counts on; nothing else is written about it for the rest of its window.
/// 2. Each other source keeps its latest marks, and notes if it is to be reported.
/// 3. Those that are get their row. A window takes up to [`MOST_SUBJECTS`] of them, as in [`record`].
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn count_failures(id: &RecordId, failures: &[AuthFailure]) -> Result<[Statement; 3], json::Error> {
    let mut sources: Vec<Failed<'_>> = Vec::new();
    for failure in failures {
        if let Some(known) = sources.iter_mut().find(|known| known.peerhost == failure.peerhost) {
            known.count = known.count.saturating_add(failure.count);
            known.last = known.last.max(failure.mark);
            known.marks.extend(failure.marks());
        } else {
            let AuthFailure { peerhost, mark, count } = failure;
            sources.push(Failed { peerhost, count: *count, marks: failure.marks().collect(), last: *mark });
        }
    }
    let list = json::write(&sources)?;
    let kind = SecurityKind::AuthFailureRepeated;
    let params: Vec<Param> = vec![
        list.as_str().into(),
        id.as_str().into(),
        WINDOW.into(),
        kind.as_str().into(),
        kind.severity().as_str().into(),
        MOST_SUBJECTS.into(),
        OTHERS.into(),
    ];
    Ok([
        Statement {
            name: "count_reported",
            sql: into_security_log!(
                "count_reported",
                "SELECT window_key, ?4, ?5, peerhost, peerhost, '{}', given, last / 1000, last / 1000, window_key
                FROM (
                  SELECT peerhost, value->>'count' AS given, value->>'last' AS last,
                    ?4 || ':' || (reported_at / CAST(?3 AS INTEGER)) || ':' || peerhost AS window_key
                  FROM json_each(?1) CROSS JOIN auth_failures ON peerhost = value->>'peerhost'
                  WHERE (value->>'last') / 1000 - reported_at < CAST(?3 AS INTEGER)) AS more
                WHERE EXISTS (SELECT 1 FROM security_log AS known WHERE known.window_key = more.window_key)"
            ),
            params: params.iter().take(5).cloned().collect(),
        },
        Statement {
            name: "note_failures",
            sql: "/* note_failures */
                INSERT INTO auth_failures (peerhost, recent, last_failed_at, reported_at)
                SELECT peerhost, recent, (recent->>'$[#-1]') / 1000,
                  iif(
                    json_array_length(recent) > CAST(?2 AS INTEGER)
                      AND (recent->>'$[#-1]') / 1000 - (recent->>0) / 1000 < CAST(?3 AS INTEGER),
                    (recent->>'$[#-1]') / 1000, 0)
                FROM (
                  SELECT host.value->>'peerhost' AS peerhost,
                    (SELECT json_group_array(mark) FROM (
                       SELECT mark FROM (
                         SELECT mark FROM (
                           SELECT new.value AS mark FROM json_each(host.value, '$.marks') AS new
                           UNION
                           SELECT old.value FROM auth_failures AS known, json_each(known.recent) AS old
                           WHERE known.peerhost = host.value->>'peerhost'
                         ) ORDER BY mark DESC LIMIT CAST(?2 AS INTEGER) + 1
                       ) ORDER BY mark)) AS recent
                  FROM json_each(?1) AS host)
                WHERE true
                ON CONFLICT (peerhost) DO UPDATE SET
                  recent = excluded.recent,
                  last_failed_at = excluded.last_failed_at,
                  reported_at = max(reported_at, excluded.reported_at)
                WHERE excluded.last_failed_at - reported_at >= CAST(?3 AS INTEGER)",
            params: vec![list.into(), TOLERATED_FAILURES.into(), WINDOW.into()],
        },
        Statement {
            name: "report_repeated",
            sql: into_security_log!(
                "report_repeated",
                "SELECT ?2 || CASE row_number() OVER () WHEN 1 THEN '' ELSE '-' || row_number() OVER () END,
                  ?4, ?5, iif(fits, peerhost, ?7), iif(fits, peerhost, NULL),
                  json_object('failures', json_array_length(recent), 'window_sec', CAST(?3 AS INTEGER) / 1000),
                  iif(fits, max(json_array_length(recent), given), given), (recent->>0) / 1000, last_failed_at,
                  window || ':' || iif(fits, peerhost, ?7)
                FROM (
                  SELECT peerhost, recent, given, last_failed_at, window,
                    row_number() OVER () + (
                      SELECT count(*) FROM (
                        SELECT 1 FROM security_log AS taken
                        WHERE taken.window_key > window || ':' AND taken.window_key < window || ';'
                        LIMIT ?6)) <= CAST(?6 AS INTEGER) AS fits
                  FROM (
                    SELECT peerhost, recent, last_failed_at, value->>'count' AS given,
                      ?4 || ':' || (reported_at / CAST(?3 AS INTEGER)) AS window
                    FROM json_each(?1) CROSS JOIN auth_failures ON peerhost = value->>'peerhost'
                    WHERE reported_at = last_failed_at) AS due
                  WHERE NOT EXISTS (
                    SELECT 1 FROM security_log AS known WHERE known.window_key = due.window || ':' || due.peerhost))
                WHERE true"
            ),
            params,
        },
    ])
}

/// A row of the security log.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "SecurityEvent"))]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecurityRow {
    /// `sec-…`.
    pub id: String,
    /// What happened.
    pub kind: String,
    /// How much it matters: people are told of what is `high`.
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

/// What is wanted of the security log; nothing named is everything.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only these kinds.
    pub kinds: Option<Vec<SecurityKind>>,
    /// Only about this one.
    pub subject: Option<String>,
    /// Only from this address.
    pub peerhost: Option<String>,
    /// Only what began at or after this.
    pub from: Option<UnixMillis>,
    /// Only what began before this.
    pub to: Option<UnixMillis>,
    /// The id of the last one seen: the page begins after it.
    pub after: Option<String>,
    /// At most this many.
    pub rows: u32,
}

/// A list of the security log, newest first. `$within` selects those rows, or a few more, by an index.
macro_rules! security_list {
    ($name:literal, $within:literal) => {
        concat!(
            "/* ",
            $name,
            " */
            SELECT id, kind, severity, subject, peerhost, count, first_at, last_at, detail
            FROM security_log WHERE ",
            $within,
            " AND id >= ?1 AND id < ?2
              AND (?4 IS NULL OR kind IN (SELECT value FROM json_each(?4)))
              AND (?5 IS NULL OR subject = ?5) AND (?6 IS NULL OR peerhost = ?6)
            ORDER BY id DESC LIMIT ?3"
        )
    };
}

/// [`SecurityRow`]s, newest first.
///
/// # Errors
/// When the kinds cannot be written as JSON, which they always can.
pub fn list(wanted: &Wanted) -> Result<Statement, json::Error> {
    let Wanted { kinds, subject, peerhost, from, to, after, rows } = wanted;
    let border = |time: UnixMillis| RecordId::generate("sec", time, [0; 10]).to_string();
    let until = to.map_or_else(|| "sec-~".to_owned(), border);
    let until = after.clone().filter(|after| *after < until).unwrap_or(until);
    let by_kinds = kinds.is_some();
    let kinds = kinds.as_ref().map(json::write).transpose()?;
    let from = from.map_or_else(String::new, border);
    let params = vec![
        from.into(),
        until.into(),
        (*rows).into(),
        kinds.into(),
        subject.clone().into(),
        peerhost.clone().into(),
    ];
    Ok(if subject.is_some() {
        Statement {
            name: "security_list_subject",
            sql: security_list!("security_list_subject", "subject = ?5"),
            params,
        }
    } else if peerhost.is_some() {
        // Where it is the subject it is found as such; the other rows have an index of their own.
        Statement {
            name: "security_list_peerhost",
            sql: security_list!(
                "security_list_peerhost",
                "id IN (
                  SELECT id FROM (SELECT id FROM security_log WHERE peerhost = ?6 AND peerhost IS NOT subject
                    AND id >= ?1 AND id < ?2 AND (?4 IS NULL OR kind IN (SELECT value FROM json_each(?4)))
                    ORDER BY id DESC LIMIT ?3)
                  UNION ALL
                  SELECT id FROM (SELECT id FROM security_log WHERE subject = ?6 AND peerhost = ?6
                    AND id >= ?1 AND id < ?2 AND (?4 IS NULL OR kind IN (SELECT value FROM json_each(?4)))
                    ORDER BY id DESC LIMIT ?3))"
            ),
            params,
        }
    } else if by_kinds {
        Statement {
            name: "security_list_kinds",
            sql: security_list!(
                "security_list_kinds",
                "id IN (
                  SELECT found.id FROM json_each(?4) AS wanted CROSS JOIN security_log AS found ON found.id IN (
                    SELECT id FROM security_log WHERE kind = wanted.value AND id >= ?1 AND id < ?2
                    ORDER BY id DESC LIMIT ?3))"
            ),
            params,
        }
    } else {
        Statement { name: "security_list", sql: security_list!("security_list", "true"), params }
    })
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

/// Forgets sources whose last failure lies before `before`. It looks at all of them: there are those of the last two hours, and
/// an index would be written for each failure to spare that.
pub fn prune_failures(before: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "prune_failures",
        sql: "/* prune_failures */
            DELETE FROM auth_failures WHERE peerhost IN
              (SELECT peerhost FROM auth_failures WHERE last_failed_at < ?1 LIMIT ?2)",
        params: vec![before.into(), limit.into()],
    }
}
