//! Rounds of checks: who is at one, what is known of each check, what each component was like on which day.
//!
//! One round is judged at a time. It takes the row of `check_rounds` with [`begin`], and what follows from it is written in one
//! transaction that ends with [`finish`]: if the round has lost its hold meanwhile, that statement fails and with it
//! the whole transaction, notices included.

use rs1_domain::UnixMillis;
use rs1_domain::json;
use rs1_domain::port::Statement;
use rs1_domain::time::{MINUTE, as_millis};
use rs1_ops::check::{Check, Severity};
use rs1_ops::incident::{Judged, Known, State, Tally, Track};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::sql::flag;

/// After how many milliseconds a round is taken for dead: more than one takes, less than the time to the next.
pub const HOLD_MS: i64 = 4 * MINUTE;

/// Takes the row, if no round is at it: one change, or none.
pub fn begin(holder: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "check_round_begin",
        sql: "/* check_round_begin */
            INSERT INTO check_rounds (round_id, generation, holder, held_at, judged_at, duration_ms, looked, failed)
            VALUES (1, 0, ?1, ?2, 0, 0, 0, 0)
            ON CONFLICT (round_id) DO UPDATE SET holder = excluded.holder, held_at = excluded.held_at
            WHERE holder IS NULL OR held_at < ?3",
        params: vec![holder.into(), now.into(), now.plus(HOLD_MS.saturating_neg()).into()],
    }
}

/// How rounds go.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "CheckRound"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundRow {
    /// To be named when it is finished.
    #[serde(skip_serializing)]
    pub generation: u32,
    /// Who is at it.
    #[serde(skip_serializing)]
    pub holder: Option<String>,
    /// When the latest was: before the first, 1970.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub judged_at: UnixMillis,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// Checks that were looked at.
    pub looked: u32,
    /// Those of them that found a fault.
    pub failed: u32,
}

impl RoundRow {
    /// The latest round that was judged, if there was one.
    pub fn last(&self) -> Option<UnixMillis> {
        (self.judged_at.0 > 0).then_some(self.judged_at)
    }
}

/// The [`RoundRow`].
pub fn round() -> Statement {
    Statement {
        name: "check_round",
        sql: "/* check_round */
            SELECT generation, holder, judged_at, duration_ms, looked, failed FROM check_rounds WHERE round_id = 1",
        params: Vec::new(),
    }
}

/// A write that changes nothing else, to see whether one can be made: one change while the holder has the row.
pub fn probe(holder: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "check_probe",
        sql: "/* check_probe */ UPDATE check_rounds SET held_at = ?2 WHERE round_id = 1 AND holder = ?1",
        params: vec![holder.into(), now.into()],
    }
}

/// Ends a round. It is the last of its transaction, and fails if the round has lost its hold or was written before.
pub fn finish(
    generation: u32,
    holder: &str,
    at: UnixMillis,
    duration_ms: i64,
    looked: u32,
    failed: u32,
) -> Statement {
    Statement {
        name: "check_round_finish",
        sql: "/* check_round_finish */
            UPDATE check_rounds SET generation = CASE WHEN generation = ?1 AND holder = ?2 THEN generation + 1 END,
              holder = NULL, judged_at = ?3, duration_ms = ?4, looked = ?5, failed = ?6
            WHERE round_id = 1",
        params: vec![
            generation.into(),
            holder.into(),
            at.into(),
            duration_ms.into(),
            looked.into(),
            failed.into(),
        ],
    }
}

/// Lets go of a round that comes to nothing.
pub fn let_go(holder: &str) -> Statement {
    Statement {
        name: "check_round_let_go",
        sql: "/* check_round_let_go */ UPDATE check_rounds SET holder = NULL WHERE round_id = 1 AND holder = ?1",
        params: vec![holder.into()],
    }
}

/// A check, as it is known.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "CheckSeen"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRow {
    /// Which.
    pub check_id: String,
    /// What it is a part of, to people.
    pub component: String,
    /// What it does.
    pub kind: String,
    /// How bad it is when it fails.
    pub severity: Severity,
    /// How it is, by its latest results.
    pub state: State,
    /// Since when.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub since: UnixMillis,
    /// When it was last looked at.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub checked_at: UnixMillis,
    /// How long that took, in milliseconds.
    pub latency_ms: i64,
    /// What that found wrong; null: nothing.
    pub fault: Option<String>,
    /// Whether a maintenance window names it.
    #[serde(deserialize_with = "flag")]
    pub silenced: bool,
    /// The check that it needs and whose fault it is.
    pub explained_by: Option<String>,
    /// Its latest results, and what the next one is compared with.
    #[serde(deserialize_with = "from_text")]
    pub track: Track,
}

impl From<CheckRow> for Known {
    fn from(row: CheckRow) -> Self {
        let CheckRow { check_id, state, since, fault, track, .. } = row;
        Self { check_id, state, since, fault, track }
    }
}

/// A value that is kept as JSON text.
pub(crate) fn from_text<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    json::read(&text).map_err(serde::de::Error::custom)
}

/// Every [`CheckRow`]: as many as are configured.
pub fn list() -> Statement {
    Statement {
        name: "check_list",
        sql: "/* check_list */
            SELECT check_id, component, kind, severity, state, since, checked_at, latency_ms, fault, silenced, explained_by, track
            FROM checks ORDER BY check_id LIMIT 500",
        params: Vec::new(),
    }
}

/// What is written of a check.
#[derive(Serialize)]
struct Written<'a> {
    id: &'a str,
    component: &'a str,
    kind: &'a str,
    severity: Severity,
    state: State,
    since: i64,
    ms: i64,
    fault: Option<&'a str>,
    silenced: bool,
    by: Option<&'a str>,
    track: &'a Track,
}

/// Writes what a round found of each check.
///
/// # Errors
/// When it cannot be written as JSON, which these types always can.
pub fn write<'a>(
    checks: &'a [Check],
    judged: &'a [Judged],
    at: UnixMillis,
) -> Result<Statement, json::Error> {
    let written = |(check, judged): (&'a Check, &'a Judged)| Written {
        id: &check.id,
        component: &check.component,
        kind: check.kind.as_str(),
        severity: check.severity,
        state: judged.known.state,
        since: judged.known.since.0,
        ms: judged.latency_ms,
        fault: judged.known.fault.as_deref(),
        silenced: judged.silenced,
        by: judged.explained_by.as_deref(),
        track: &judged.known.track,
    };
    let list: Vec<Written<'a>> = checks.iter().zip(judged).map(written).collect();
    Ok(Statement {
        name: "check_write",
        sql: "/* check_write */
            INSERT INTO checks (check_id, component, kind, severity, state, since, checked_at, latency_ms, fault, silenced,
              explained_by, track)
            SELECT value->>'id', value->>'component', value->>'kind', value->>'severity', value->>'state', value->>'since', ?2,
              value->>'ms', value->>'fault', value->>'silenced', value->>'by', value->'track'
            FROM json_each(?1) WHERE true
            ON CONFLICT (check_id) DO UPDATE SET component = excluded.component, kind = excluded.kind,
              severity = excluded.severity, state = excluded.state, since = excluded.since, checked_at = excluded.checked_at,
              latency_ms = excluded.latency_ms, fault = excluded.fault, silenced = excluded.silenced,
              explained_by = excluded.explained_by, track = excluded.track",
        params: vec![json::write(&list)?.into(), at.into()],
    })
}

/// Forgets checks that are not configured any more.
///
/// # Errors
/// As [`write`](fn@write).
pub fn keep(checks: &[Check]) -> Result<Statement, json::Error> {
    let ids: Vec<&str> = checks.iter().map(|check| check.id.as_str()).collect();
    Ok(Statement {
        name: "check_keep",
        sql: "/* check_keep */ DELETE FROM checks WHERE check_id NOT IN (SELECT value FROM json_each(?1))",
        params: vec![json::write(&ids)?.into()],
    })
}

/// Adds what a round found to the day of each component.
///
/// # Errors
/// As [`write`](fn@write).
pub fn add_day(tallies: &[Tally], at: UnixMillis) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "component_day_add",
        sql: "/* component_day_add */
            INSERT INTO component_days (component, day, rounds, rounds_ill, rounds_down, rounds_silent, runs, failures,
              latency_sum_ms, latency_max_ms, latency_100, latency_300, latency_1000, latency_3000)
            SELECT value->>'component', ?2, 1 - (value->>'silent'), value->>'ill', value->>'down', value->>'silent', value->>'runs',
              value->>'failures', value->>'latency_sum_ms', value->>'latency_max_ms', value->>'latency_100', value->>'latency_300',
              value->>'latency_1000', value->>'latency_3000'
            FROM json_each(?1) WHERE true
            ON CONFLICT (component, day) DO UPDATE SET rounds = rounds + excluded.rounds,
              rounds_ill = rounds_ill + excluded.rounds_ill, rounds_down = rounds_down + excluded.rounds_down,
              rounds_silent = rounds_silent + excluded.rounds_silent, runs = runs + excluded.runs,
              failures = failures + excluded.failures, latency_sum_ms = latency_sum_ms + excluded.latency_sum_ms,
              latency_max_ms = max(latency_max_ms, excluded.latency_max_ms), latency_100 = latency_100 + excluded.latency_100,
              latency_300 = latency_300 + excluded.latency_300, latency_1000 = latency_1000 + excluded.latency_1000,
              latency_3000 = latency_3000 + excluded.latency_3000",
        params: vec![json::write(tallies)?.into(), at.date().into()],
    })
}

/// What a component was like on a day (UTC).
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ComponentDay"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayRow {
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
    /// Results of its checks.
    pub runs: u32,
    /// Of those: with a fault.
    pub failures: u32,
    /// Milliseconds of the results without a fault, together.
    pub latency_sum_ms: i64,
    /// The longest of those.
    pub latency_max_ms: i64,
    /// Results without a fault within 100 ms.
    pub latency_100: u32,
    /// Within 300 ms, those before included.
    pub latency_300: u32,
    /// Within a second.
    pub latency_1000: u32,
    /// Within three seconds.
    pub latency_3000: u32,
}

/// The [`DayRow`]s since a day, `2026-01-20`: the oldest first, a day's in the order of their names.
pub fn days(since: &str) -> Statement {
    Statement {
        name: "component_days",
        sql: "/* component_days */
            SELECT component, day, rounds, rounds_ill, rounds_down, rounds_silent, runs, failures, latency_sum_ms, latency_max_ms,
              latency_100, latency_300, latency_1000, latency_3000
            FROM component_days WHERE day >= ?1 ORDER BY day, component LIMIT 5000",
        params: vec![since.into()],
    }
}

/// Deletes days before one, some at a time.
pub fn prune_days(before: &str, limit: u32) -> Statement {
    Statement {
        name: "component_days_prune",
        sql: "/* component_days_prune */
            DELETE FROM component_days WHERE (component, day) IN
              (SELECT component, day FROM component_days WHERE day < ?1 ORDER BY day LIMIT ?2)",
        params: vec![before.into(), limit.into()],
    }
}

/// What looks are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct FleetNow {
    /// Devices that are online.
    pub online: u64,
    /// Devices with an alert that they are offline which began since then.
    pub gone: u64,
}

/// The [`FleetNow`].
pub fn fleet(since: UnixMillis) -> Statement {
    Statement {
        name: "check_fleet",
        sql: "/* check_fleet */
            SELECT (SELECT count(*) FROM devices WHERE online = 1) AS online,
              (SELECT count(*) FROM alerts WHERE kind = 'device_offline' AND resolved_at IS NULL AND opened_at >= ?1) AS gone",
        params: vec![since.into()],
    }
}
