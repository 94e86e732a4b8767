//! What a picture means, in words for everybody: the document of `/status.json`, which the page and the feed show as well.
//!
//! Nothing in it but what is composed here from the names of components: what checks found quotes hosts and answers, and who
//! is at an incident is nobody else's business.

use rs1_domain::UnixMillis;
use rs1_domain::time::{DAY, MINUTE};
use rs1_ops::check::Severity;
use rs1_ops::incident::{State, What};
use rs1_store::checks::RoundRow;
use rs1_store::incidents::Status;
use rs1_store::status::{CheckNow, DayNow, IncidentNow};
use serde::Serialize;

use crate::picture::{DAYS, Picture};
use crate::text::{list, minute, name_of};

/// Rounds of checks come every five minutes. After so many milliseconds without one, nothing is known.
pub const SILENT: i64 = 15 * MINUTE;
/// Of the latest days so many tell how quick a component usually is.
const USUAL_DAYS: usize = 7;

/// How something is. The worst is the greatest.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "StatusLevel"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All of it works.
    Operational,
    /// It is being worked on, and is not watched meanwhile.
    Maintenance,
    /// Some of it does not work.
    Degraded,
    /// It does not work.
    Down,
    /// Nobody has looked lately.
    Unknown,
}

impl Level {
    /// The word on the wire, and of the page's classes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Maintenance => "maintenance",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }

    /// The word for people.
    pub fn said(self) -> &'static str {
        match self {
            Self::Operational => "Operational",
            Self::Maintenance => "Maintenance",
            Self::Degraded => "Degraded",
            Self::Down => "Down",
            Self::Unknown => "Unknown",
        }
    }
}

/// How the system is.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "StatusReport"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The whole: as bad as the worst of it.
    pub status: Level,
    /// That, in a sentence.
    pub summary: String,
    /// The time of this document.
    pub generated_at: UnixMillis,
    /// The latest round of checks; null before the first.
    pub checked_at: Option<UnixMillis>,
    /// By name.
    pub components: Vec<Component>,
    /// Maintenance that goes on.
    pub maintenance: Vec<Maintenance>,
    /// Those that go on, then those of the last 14 days, the latest first.
    pub incidents: Vec<Incident>,
}

/// A part of the system, as people know it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "StatusComponent"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Component {
    /// Its name.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// How it is now.
    pub status: Level,
    /// Of the rounds of checks of 90 days those in which it was not down, in millionths, rounded down. Rounds in which maintenance silenced
    /// it do not count. Null: there were none.
    pub uptime_ppm: Option<u32>,
    /// How long its checks take on average, of the last seven days, in milliseconds; null: none went well.
    pub latency_ms: Option<i64>,
    /// 90 days (UTC), today last.
    pub days: Vec<Day>,
}

/// What a component was like on a day.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "StatusDay"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    /// `2026-01-20`.
    pub day: String,
    /// The worst that it was; `unknown` where nobody looked.
    pub status: Level,
    /// Of the rounds of checks those in which it was not down, in millionths, rounded down; null: there were none.
    pub uptime_ppm: Option<u32>,
    /// How long its checks took on average, in milliseconds; null: none went well.
    pub latency_ms: Option<i64>,
}

/// A time in which something is worked on.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "StatusMaintenance"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Maintenance {
    /// The components; none: parts of some, or all of them.
    pub components: Vec<String>,
    /// When it began.
    pub from: UnixMillis,
    /// When it ends.
    pub until: UnixMillis,
}

/// Something that was wrong, from its beginning to its end.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "StatusIncident"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// `inc-…`.
    pub id: String,
    /// What it is, in a line.
    pub title: String,
    /// The worst that it has been.
    pub severity: Severity,
    /// Whether it goes on, and whether somebody is at it.
    pub status: Status,
    /// What is or was affected: names for people.
    pub components: Vec<String>,
    /// When it began.
    pub opened_at: UnixMillis,
    /// When it was over.
    pub resolved_at: Option<UnixMillis>,
    /// The latest of its updates.
    pub updated_at: UnixMillis,
    /// What became of it, in order.
    pub updates: Vec<Update>,
}

/// A step of an incident.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "StatusUpdate"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Update {
    /// When.
    pub at: UnixMillis,
    /// What, in a sentence.
    pub text: String,
}

/// What the picture means now, without the components that are hidden.
pub fn report(picture: &Picture, hidden: &[String], now: UnixMillis) -> Report {
    let checked_at = picture.round.as_ref().and_then(RoundRow::last);
    let is_silent = checked_at.is_none_or(|at| now.since(at) > SILENT);
    let is_shown = |component: &String| !hidden.contains(component);
    let components = components(picture, &is_shown, is_silent, now);
    let worst = components.iter().map(|component| component.status).max().unwrap_or(Level::Unknown);
    let status = if is_silent { Level::Unknown } else { worst };
    Report {
        status,
        summary: summary(status, checked_at),
        generated_at: now,
        checked_at,
        components,
        maintenance: maintenance(picture, &is_shown, now),
        incidents: incidents(picture, &is_shown),
    }
}

fn summary(status: Level, checked_at: Option<UnixMillis>) -> String {
    match (status, checked_at) {
        (Level::Operational, _) => "All systems operational".to_owned(),
        (Level::Maintenance, _) => "Maintenance in progress".to_owned(),
        (Level::Degraded, _) => "Some systems are degraded".to_owned(),
        (Level::Down, _) => "Some systems are down".to_owned(),
        (Level::Unknown, None) => "Status unknown: nothing has been checked yet".to_owned(),
        (Level::Unknown, Some(at)) => {
            format!("Status unknown: nothing has been checked since {}", minute(at))
        }
    }
}

fn components(
    picture: &Picture,
    is_shown: &impl Fn(&String) -> bool,
    is_silent: bool,
    now: UnixMillis,
) -> Vec<Component> {
    let mut ids: Vec<_> =
        picture.checks.iter().map(|check| &check.component).filter(|id| is_shown(id)).collect();
    ids.sort();
    ids.dedup();
    let dates: Vec<_> = (0..DAYS).rev().map(|back| now.plus(back.saturating_mul(-DAY)).date()).collect();
    ids.into_iter()
        .map(|id| {
            let of_it: Vec<_> = picture.checks.iter().filter(|check| check.component == *id).collect();
            let rows: Vec<_> = picture.days.iter().filter(|row| row.component == *id).collect();
            let usual: Vec<_> = rows.iter().rev().take(USUAL_DAYS).copied().collect();
            Component {
                id: id.clone(),
                name: name_of(id),
                status: if is_silent { Level::Unknown } else { level(&of_it, now) },
                uptime_ppm: uptime(&rows),
                latency_ms: latency(&usual),
                days: days(&dates, &rows),
            }
        })
        .collect()
}

/// How a component is by its checks: as a round of checks counts it.
fn level(checks: &[&CheckNow], now: UnixMillis) -> Level {
    let fresh = || checks.iter().filter(|check| now.since(check.checked_at) <= SILENT);
    let watched: Vec<_> = fresh().filter(|check| !check.silenced).collect();
    let down: Vec<_> = watched.iter().filter(|check| check.state == State::Down).collect();
    if fresh().next().is_none() {
        Level::Unknown
    } else if watched.is_empty() {
        Level::Maintenance
    } else if down.is_empty() {
        Level::Operational
    } else if down.len() == watched.len() || down.iter().any(|check| check.severity == Severity::Sev1) {
        Level::Down
    } else {
        Level::Degraded
    }
}

fn uptime(rows: &[&DayNow]) -> Option<u32> {
    let rounds: u64 = rows.iter().map(|row| u64::from(row.rounds)).sum();
    let down: u64 = rows.iter().map(|row| u64::from(row.rounds_down)).sum();
    let up = rounds.saturating_sub(down).saturating_mul(1_000_000);
    up.checked_div(rounds).and_then(|ppm| u32::try_from(ppm).ok())
}

fn latency(rows: &[&DayNow]) -> Option<i64> {
    let sum: i64 = rows.iter().map(|row| row.latency_sum_ms).sum();
    sum.checked_div(rows.iter().map(|row| i64::from(row.fine)).sum())
}

/// One a date, in their order; the rows are in that order too.
fn days(dates: &[String], rows: &[&DayNow]) -> Vec<Day> {
    let mut rows = rows.iter().peekable();
    let mut row_of = |date: &String| {
        while rows.next_if(|row| row.day < *date).is_some() {}
        rows.next_if(|row| row.day == *date)
    };
    let day = |date: &String| {
        let row = row_of(date);
        let status = match row {
            Some(row) if row.rounds_down > 0 => Level::Down,
            Some(row) if row.rounds_ill > 0 => Level::Degraded,
            Some(row) if row.rounds > 0 => Level::Operational,
            Some(row) if row.rounds_silent > 0 => Level::Maintenance,
            _ => Level::Unknown,
        };
        let of_it: Vec<_> = row.into_iter().copied().collect();
        Day { day: date.clone(), status, uptime_ppm: uptime(&of_it), latency_ms: latency(&of_it) }
    };
    dates.iter().map(day).collect()
}

fn maintenance(picture: &Picture, is_shown: &impl Fn(&String) -> bool, now: UnixMillis) -> Vec<Maintenance> {
    let is_component = |subject: &String| picture.checks.iter().any(|check| check.component == *subject);
    picture
        .windows
        .iter()
        .filter(|window| window.from_at <= now && now < window.until_at)
        // What is about nothing but what is hidden is hidden.
        .filter(|window| window.subjects.iter().any(is_shown))
        .map(|window| {
            let named = window.subjects.iter().filter(|subject| is_component(subject) && is_shown(subject));
            let components = named.map(|subject| name_of(subject)).collect();
            Maintenance { components, from: window.from_at, until: window.until_at }
        })
        .collect()
}

fn incidents(picture: &Picture, is_shown: &impl Fn(&String) -> bool) -> Vec<Incident> {
    let mut all: Vec<_> =
        picture.incidents.iter().filter_map(|row| incident(picture, row, is_shown)).collect();
    all.sort_by(|one, other| {
        let key = |incident: &Incident| {
            (incident.status == Status::Resolved, std::cmp::Reverse(incident.opened_at))
        };
        key(one).cmp(&key(other)).then_with(|| other.id.cmp(&one.id))
    });
    all
}

/// `None`: it is about nothing but what is hidden.
fn incident(picture: &Picture, row: &IncidentNow, is_shown: &impl Fn(&String) -> bool) -> Option<Incident> {
    let components: Vec<_> = row.components.iter().filter(|id| is_shown(id)).map(|id| name_of(id)).collect();
    if components.is_empty() {
        return None;
    }
    let named = list(&components);
    let kind = match row.severity {
        Severity::Sev1 => "major outage",
        Severity::Sev2 => "partial outage",
        Severity::Sev3 => "degraded",
        Severity::Sev4 => "minor fault",
    };
    let status = match (row.resolved_at, row.acknowledged_at) {
        (Some(_), _) => Status::Resolved,
        (None, Some(_)) => Status::Acknowledged,
        (None, None) => Status::Open,
    };
    let mut updates =
        vec![Update { at: row.opened_at, text: format!("We are investigating a fault: {named}.") }];
    for step in picture.steps.iter().rev().filter(|step| step.incident_id == row.incident_id) {
        let check =
            step.about.as_ref().and_then(|id| picture.checks.iter().find(|check| check.check_id == *id));
        let component = check.map(|check| &check.component);
        // What went on in a hidden part is not told; of a check that is not configured any more it cannot be said.
        if component.is_some_and(|id| !is_shown(id)) {
            continue;
        }
        let part = component.map_or_else(|| "another part".to_owned(), |id| name_of(id));
        let text = match step.what {
            What::Escalated => "The impact has grown.".to_owned(),
            What::CheckFailed => format!("Also affected: {part}."),
            What::CheckRecovered => format!("Works again: {part}."),
            What::Explains => format!("Affected as a consequence: {part}."),
            What::Opened | What::Reminded | What::Acknowledged | What::Resolved => continue,
        };
        // Checks of one part that fail together are one step to whoever reads.
        let update = Update { at: step.at, text };
        if updates.last() != Some(&update) {
            updates.push(update);
        }
    }
    updates.extend(row.acknowledged_at.map(|at| Update { at, text: "We are working on it.".to_owned() }));
    updates.sort_by_key(|update| update.at);
    updates.extend(
        row.resolved_at.map(|at| Update { at, text: "Resolved: everything works again.".to_owned() }),
    );
    let updated_at = updates.iter().map(|update| update.at).max().unwrap_or(row.opened_at);
    Some(Incident {
        id: row.incident_id.clone(),
        title: format!("{named}: {kind}"),
        severity: row.severity,
        status,
        components,
        opened_at: row.opened_at,
        resolved_at: row.resolved_at,
        updated_at,
        updates,
    })
}
