//! What a round of checks means: which of them are down, and which incidents begin, go on and end. A pure state machine: given
//! what was known and what a round saw, [`judge`] says what is to be known next, and what somebody is to be told.
//!
//! - **Hysteresis.** A check is down when `fails` of its latest `of` results found a fault, and up again after `recovers`
//!   results in a row that found none. One that changed back and forth within an hour needs [`DAMPED`] of them.
//! - **Groups.** Checks of a group share one incident, as bad as the worst of them; where all of them are down, as bad as
//!   the group says for that. It never gets less bad until it is over.
//! - **Dependencies.** A check that is down while one that it needs is down, or was until a moment ago, opens nothing: it is
//!   noted with the incident that explains it. While one that it needs is in doubt, it waits.
//! - **Maintenance.** What a window names opens nothing and raises no notice; what is down when the window ends does.
//! - **An incident is over when all checks of its group are up**, or are checked no more. Nobody can close it before: who wants
//!   silence declares maintenance.
//!
//! Each step of an incident happens once: it is written together with the notice of it, and follows from what is stored. A round
//! that is not later than the last one that was judged changes nothing.

use rs1_domain::UnixMillis;
use rs1_domain::time::{HOUR, MINUTE, as_millis, as_optional_millis};
use serde::{Deserialize, Serialize};

use crate::check::{Check, Memory, PERIOD, Severity};

/// Results that are kept of a check: an hour of them.
const KEPT: usize = 12;
/// Older results decide nothing: since then nobody looked.
const FRESH: i64 = 14 * PERIOD;
/// Changes between up and down within [`FLAPPING`] that make a check one that flaps …
const FLAPS: usize = 4;
/// … counted over this long.
const FLAPPING: i64 = HOUR;
/// Results in a row without a fault that one that flaps needs to be up again: half an hour of them.
pub const DAMPED: usize = 6;
/// What follows from something that was down may take so long to recover after it.
const AFTERMATH: i64 = 15 * MINUTE;
/// What was not looked at within this says nothing of the present.
const LATELY: i64 = 3 * PERIOD;

/// Whether a check is well, by its latest results.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "CheckState"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    Up,
    /// It is not.
    Down,
}

/// A result: when, in Unix milliseconds; whether it found no fault; how long it took, in milliseconds.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "CheckResult"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen(pub i64, pub bool, pub i64);

/// What is remembered of a check from round to round.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "CheckTrack"))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// The latest results, the newest last.
    pub recent: Vec<Seen>,
    /// When it changed between up and down lately, in Unix milliseconds.
    pub flips: Vec<i64>,
    /// What its next look is compared with.
    pub memory: Option<Memory>,
}

/// A check, as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub check_id: String,
    /// How it is.
    pub state: State,
    /// Since when.
    pub since: UnixMillis,
    /// What its latest result found wrong.
    pub fault: Option<String>,
    /// The rest.
    pub track: Track,
}

/// What a round saw of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What is wrong, if something is.
    pub fault: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: i64,
    /// What the next look is to be compared with.
    pub memory: Option<Memory>,
}

/// A check that failed within an incident.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "IncidentMember"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub check_id: String,
    /// What was wrong when it went down.
    pub fault: String,
    /// Whether it still is down.
    pub down: bool,
}

/// Something that is wrong, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// `inc-…`.
    pub incident_id: String,
    /// The group of checks that it is about.
    pub subject: String,
    /// The worst that it has been.
    pub severity: Severity,
    /// What it is, in a line.
    pub title: String,
    /// What is affected, to people.
    pub components: Vec<String>,
    /// The checks that failed.
    pub members: Vec<Member>,
    /// Checks that failed because of it.
    pub explains: Vec<String>,
    /// When it began.
    #[serde(with = "as_millis")]
    pub opened_at: UnixMillis,
    /// By when somebody is to have acknowledged it.
    #[serde(with = "as_millis")]
    pub respond_by: UnixMillis,
    /// When somebody was reminded of that.
    #[serde(with = "as_optional_millis")]
    pub reminded_at: Option<UnixMillis>,
    /// When somebody acknowledged it.
    #[serde(with = "as_optional_millis")]
    pub acknowledged_at: Option<UnixMillis>,
    /// When it was over.
    #[serde(with = "as_optional_millis")]
    pub resolved_at: Option<UnixMillis>,
}

/// A step of an incident.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "IncidentStep"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It began.
    Opened,
    /// One more check of its group went down.
    CheckFailed,
    /// A check of its group is up again.
    CheckRecovered,
    /// It got worse.
    Escalated,
    /// A check went down because of it.
    Explains,
    /// Nobody acknowledged it in time.
    Reminded,
    /// Somebody acknowledged it.
    Acknowledged,
    /// It is over.
    Resolved,
}

impl What {
    /// Whether people are told at once: a notice goes out.
    pub fn is_told(self) -> bool {
        matches!(self, Self::Opened | Self::Escalated | Self::Reminded | Self::Acknowledged | Self::Resolved)
    }
}

/// What happened in an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Which.
    pub incident_id: String,
    /// When, in Unix milliseconds.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
    /// Its place among those of that instant.
    pub step: usize,
    /// What.
    pub what: What,
    /// The check, or the operator.
    pub about: Option<String>,
    /// In words.
    pub detail: String,
}

/// A time in which what is named raises no incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Checks, groups, components; `*` is everything.
    pub subjects: Vec<String>,
    /// When it begins.
    pub from: UnixMillis,
    /// When it ends.
    pub until: UnixMillis,
}

impl Window {
    fn names(&self, check: &Check, at: UnixMillis) -> bool {
        let fits = |name: &String| {
            name == "*" || *name == check.id || *name == check.group || *name == check.component
        };
        self.from <= at && at < self.until && self.subjects.iter().any(fits)
    }
}

/// A round.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// When it was.
    pub at: UnixMillis,
    /// The latest that was judged before.
    pub last: Option<UnixMillis>,
    /// Every check that there is.
    pub checks: &'a [Check],
    /// What was seen, in their order.
    pub looks: &'a [Look],
    /// The windows that may matter.
    pub windows: &'a [Window],
}

/// A check after a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What is known of it now.
    pub known: Known,
    /// How long its latest result took, in milliseconds.
    pub latency_ms: i64,
    /// Whether a window names it.
    pub silenced: bool,
    /// The check that it needs and whose fault it is that this one is down.
    pub explained_by: Option<String>,
}

/// What a component was like in a round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Which.
    pub component: String,
    /// Whether maintenance silenced all of it: then nothing else counts.
    pub silent: u32,
    /// Whether some of it was down.
    pub ill: u32,
    /// Whether all of it was, or a check of SEV1.
    pub down: u32,
    /// Results.
    pub runs: u32,
    /// Results with a fault.
    pub failures: u32,
    /// Milliseconds of the others, together.
    pub latency_sum_ms: i64,
    /// The longest of them.
    pub latency_max_ms: i64,
    /// How many of them took no longer than 100 ms,
    pub latency_100: u32,
    /// 300 ms,
    pub latency_300: u32,
    /// a second,
    pub latency_1000: u32,
    /// three seconds.
    pub latency_3000: u32,
}

/// What follows from a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Every check, in their order.
    pub checks: Vec<Judged>,
    /// The incidents that are new or changed.
    pub incidents: Vec<Incident>,
    /// What happened in them, in order.
    pub events: Vec<Event>,
    /// What each component was like.
    pub components: Vec<Tally>,
}

/// Judges a round. `known` are the checks as they were before it, `open` the incidents that go on; `new_id` makes ids.
/// `None`: it is not later than the last one, and changes nothing.
pub fn judge(
    known: &[Known],
    open: Vec<Incident>,
    round: &Round<'_>,
    new_id: impl FnMut() -> String,
) -> Option<Outcome> {
    if round.last.is_some_and(|last| round.at <= last) {
        return None;
    }
    let checks = explain(follow(known, round), round);
    let components = tally(&checks, round);
    let mut desk = Desk { round, checks: &checks, open, changed: Vec::new(), events: Vec::new(), new_id };
    desk.work();
    let Desk { open, changed, events, .. } = desk;
    let incidents = open.into_iter().filter(|one| changed.contains(&one.incident_id)).collect();
    Some(Outcome { checks, incidents, events, components })
}

/// Takes the results in, and says which checks are up and down by them.
fn follow(known: &[Known], round: &Round<'_>) -> Vec<Judged> {
    let Round { at, .. } = *round;
    let follow = |(check, look): (&Check, &Look)| {
        let before = known.iter().find(|known| known.check_id == check.id);
        let mut known = before.cloned().unwrap_or_else(|| Known {
            check_id: check.id.clone(),
            state: State::Up,
            since: at,
            fault: None,
            track: Track::default(),
        });
        let Track { recent, flips, memory } = &mut known.track;
        recent.push(Seen(at.0, look.fault.is_none(), look.latency_ms));
        recent.drain(..recent.len().saturating_sub(KEPT));
        recent.retain(|Seen(seen, ..)| at.0.saturating_sub(*seen) < FRESH);
        // As of when it went down: who flaps does not become quiet by staying down.
        let border = if known.state == State::Down { known.since } else { at };
        flips.retain(|flip| border.0.saturating_sub(*flip) < FLAPPING);
        memory.clone_from(&look.memory);
        let newest = recent.iter().rev().map(|Seen(_, fine, _)| *fine);
        let next = match known.state {
            State::Up => {
                let failed = newest.take(check.of).filter(|fine| !fine).count();
                if failed >= check.fails { State::Down } else { State::Up }
            }
            State::Down => {
                let damped = if flips.len() >= FLAPS { DAMPED.max(check.recovers) } else { check.recovers };
                if newest.take_while(|fine| *fine).count() >= damped { State::Up } else { State::Down }
            }
        };
        if next != known.state {
            flips.push(at.0);
            (known.state, known.since) = (next, at);
        }
        known.fault.clone_from(&look.fault);
        let silenced = round.windows.iter().any(|window| window.names(check, at));
        Judged { known, latency_ms: look.latency_ms, silenced, explained_by: None }
    };
    round.checks.iter().zip(round.looks).map(follow).collect()
}

impl Known {
    fn is_down(&self) -> bool {
        self.state == State::Down
    }

    /// Whether it is down, or was until a moment ago: what needs it may not have recovered.
    fn overshadows(&self, at: UnixMillis) -> bool {
        let flipped = self.track.flips.last() == Some(&self.since.0);
        self.is_down() || (flipped && at.since(self.since) < AFTERMATH)
    }
}

impl Judged {
    fn is_down(&self) -> bool {
        self.known.is_down()
    }

    fn overshadows(&self, at: UnixMillis) -> bool {
        self.known.overshadows(at)
    }
}

/// Why what a check watches may be ill through no fault of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing that is known explains it.
    Unknown,
    /// It is being worked on; or what it needs failed just now, or was down until a moment ago. The next rounds will tell.
    Doubt,
    /// What it needs is down, of which people were told.
    Incident(Explanation),
}

/// An incident, as far as it explains something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `inc-…`.
    pub incident_id: String,
    /// What it is, in a line.
    pub title: String,
}

/// Says that of a check, as the rounds before `now` left things. What none of them saw lately explains nothing.
pub fn cause(
    check: &Check,
    list: &[Check],
    known: &[Known],
    open: &[Incident],
    windows: &[Window],
    now: UnixMillis,
) -> Cause {
    if windows.iter().any(|window| window.names(check, now)) {
        return Cause::Doubt;
    }
    // What it needs, and what that needs: the farther away, the later.
    let mut needs: Vec<&Check> = list.iter().filter(|other| check.needs.contains(&other.id)).collect();
    let mut at = 0_usize;
    while let Some(need) = needs.get(at).copied() {
        let is_new = |other: &&Check| need.needs.contains(&other.id) && !needs.contains(other);
        let further: Vec<&Check> = list.iter().filter(is_new).collect();
        needs.extend(further);
        at = at.saturating_add(1);
    }
    let seen_lately = |known: &&Known| {
        known.track.recent.last().is_some_and(|Seen(seen, ..)| now.0.saturating_sub(*seen) < LATELY)
    };
    let seen = |need: &Check| known.iter().find(|known| known.check_id == need.id).filter(seen_lately);
    let incident = |need: &&Check| {
        let has = |incident: &&Incident| {
            incident.members.iter().any(|member| member.down && member.check_id == need.id)
        };
        seen(need).and_then(|_| open.iter().find(has))
    };
    if let Some(Incident { incident_id, title, .. }) = needs.iter().rev().find_map(incident) {
        return Cause::Incident(Explanation { incident_id: incident_id.clone(), title: title.clone() });
    }
    let doubtful = |known: &Known| known.fault.is_some() || known.overshadows(now);
    if needs.iter().filter_map(|need| seen(need)).any(doubtful) { Cause::Doubt } else { Cause::Unknown }
}

/// Says of each check that is down which of those that it needs explains it: the one farthest away.
fn explain(mut checks: Vec<Judged>, round: &Round<'_>) -> Vec<Judged> {
    let explained: Vec<_> = round
        .checks
        .iter()
        .zip(&checks)
        .map(|(check, judged)| {
            let root = if judged.is_down() { root(check, &checks, round) } else { None };
            root.filter(|root| *root != check.id).map(str::to_owned)
        })
        .collect();
    for (judged, root) in checks.iter_mut().zip(explained) {
        judged.explained_by = root;
    }
    checks
}

/// The last of a chain of checks that need each other and overshadow.
fn root<'a>(check: &'a Check, checks: &[Judged], round: &Round<'a>) -> Option<&'a str> {
    let mut root = None;
    let mut at = check;
    // Who needs whom has no circles; a chain is no longer than the list all the same.
    for _ in round.checks {
        let shadow =
            needed(at, checks, round).find(|(_, judged)| judged.overshadows(round.at)).map(|(need, _)| need);
        let Some(need) = shadow else { break };
        root = Some(need.id.as_str());
        at = need;
    }
    root
}

/// The checks that one needs.
fn needed<'a, 'b>(
    check: &'b Check,
    checks: &'b [Judged],
    round: &Round<'a>,
) -> impl Iterator<Item = (&'a Check, &'b Judged)> {
    round.checks.iter().zip(checks).filter(|(other, _)| check.needs.contains(&other.id))
}

fn tally(checks: &[Judged], round: &Round<'_>) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = Vec::new();
    for check in round.checks {
        if tallies.iter().all(|tally| tally.component != check.component) {
            tallies.push(Tally { component: check.component.clone(), ..Tally::default() });
        }
    }
    for tally in &mut tallies {
        let of_it =
            || round.checks.iter().zip(checks).filter(|(check, _)| check.component == tally.component);
        if of_it().all(|(_, judged)| judged.silenced) {
            tally.silent = 1;
            continue;
        }
        let mut looked_at = of_it().filter(|(_, judged)| !judged.silenced);
        let down = || of_it().filter(|(_, judged)| !judged.silenced && judged.is_down());
        tally.ill = u32::from(down().next().is_some());
        let worst = down().any(|(check, _)| check.severity == Severity::Sev1);
        tally.down = u32::from(worst || looked_at.all(|(_, judged)| judged.is_down()));
        for (_, judged) in of_it().filter(|(_, judged)| !judged.silenced) {
            let ms = judged.latency_ms;
            tally.runs = tally.runs.saturating_add(1);
            if judged.known.fault.is_some() {
                tally.failures = tally.failures.saturating_add(1);
                continue;
            }
            tally.latency_sum_ms = tally.latency_sum_ms.saturating_add(ms);
            tally.latency_max_ms = tally.latency_max_ms.max(ms);
            tally.latency_100 = tally.latency_100.saturating_add(u32::from(ms <= 100));
            tally.latency_300 = tally.latency_300.saturating_add(u32::from(ms <= 300));
            tally.latency_1000 = tally.latency_1000.saturating_add(u32::from(ms <= 1_000));
            tally.latency_3000 = tally.latency_3000.saturating_add(u32::from(ms <= 3_000));
        }
    }
    tallies
}

/// Where a round's incidents are worked on.
struct Desk<'a, F> {
    round: &'a Round<'a>,
    checks: &'a [Judged],
    open: Vec<Incident>,
    changed: Vec<String>,
    events: Vec<Event>,
    new_id: F,
}

impl<F: FnMut() -> String> Desk<'_, F> {
    fn work(&mut self) {
        let mut groups: Vec<&str> = Vec::new();
        for check in self.round.checks {
            if !groups.contains(&check.group.as_str()) {
                groups.push(&check.group);
            }
        }
        for group in &groups {
            match self.open.iter().position(|incident| incident.subject == *group) {
                Some(at) => self.go_on(at, group),
                None => self.begin(group),
            }
        }
        self.note_explained();
        for at in 0..self.open.len() {
            let Some(incident) = self.open.get(at).filter(|one| one.resolved_at.is_none()) else { continue };
            if groups.contains(&incident.subject.as_str()) {
                self.remind(at);
            } else {
                self.resolve(at, "it is not checked any more");
            }
        }
    }

    /// The checks of a group, with what is known of them.
    fn members<'b>(&'b self, group: &'b str) -> impl Iterator<Item = (&'b Check, &'b Judged)> {
        self.round.checks.iter().zip(self.checks).filter(move |(check, _)| check.group == group)
    }

    /// Whether a check that is down is nobody else's fault, and nobody asked for silence.
    fn speaks(&self, check: &Check, judged: &Judged) -> bool {
        judged.is_down() && !judged.silenced && self.shadow(check, judged).is_none()
    }

    /// The check outside its own group that explains it.
    fn shadow<'b>(&'b self, check: &Check, judged: &'b Judged) -> Option<&'b Check> {
        let by = judged.explained_by.as_deref()?;
        self.round.checks.iter().find(|other| other.id == by && other.group != check.group)
    }

    /// Whether something that it needs is not known to be down, but failed just now.
    fn waits(&self, check: &Check) -> bool {
        needed(check, self.checks, self.round).any(|(need, judged)| {
            need.group != check.group && !judged.is_down() && judged.known.fault.is_some()
        })
    }

    /// How bad it is that these of a group are down.
    fn severity(&self, group: &str, down: &[Member]) -> Severity {
        let all = self.members(group).all(|(_, judged)| judged.is_down());
        let of = |member: &Member| {
            let check = self.round.checks.iter().find(|check| check.id == member.check_id)?;
            Some(if all { check.severity.min(check.together) } else { check.severity })
        };
        down.iter().filter_map(of).min().unwrap_or(Severity::Sev4)
    }

    fn begin(&mut self, group: &str) {
        let speaking = || self.members(group).filter(|(check, judged)| self.speaks(check, judged));
        if speaking().all(|(check, _)| self.waits(check)) {
            return;
        }
        let members: Vec<Member> = speaking().map(|(check, judged)| member(check, judged)).collect();
        let mut components: Vec<String> = Vec::new();
        for (check, _) in speaking() {
            if !components.contains(&check.component) {
                components.push(check.component.clone());
            }
        }
        let severity = self.severity(group, &members);
        let title = title(group, &members);
        let at = self.round.at;
        let incident = Incident {
            incident_id: (self.new_id)(),
            subject: group.to_owned(),
            severity,
            title: title.clone(),
            components,
            members,
            explains: Vec::new(),
            opened_at: at,
            respond_by: at.plus(severity.response_ms()),
            reminded_at: None,
            acknowledged_at: None,
            resolved_at: None,
        };
        let id = incident.incident_id.clone();
        self.open.push(incident);
        self.event(&id, What::Opened, None, title);
    }

    fn go_on(&mut self, at: usize, group: &str) {
        let Some(incident) = self.open.get(at) else { return };
        let id = incident.incident_id.clone();
        let (mut members, mut components) = (incident.members.clone(), incident.components.clone());
        let (mut news, mut speaking) = (Vec::new(), false);
        for (check, judged) in self.members(group) {
            let known = members.iter_mut().find(|member| member.check_id == check.id);
            match known {
                Some(member) if member.down && !judged.is_down() => {
                    member.down = false;
                    news.push((What::CheckRecovered, check.id.clone(), "it is up again".to_owned()));
                }
                Some(member) if !member.down && self.speaks(check, judged) => {
                    *member = self::member(check, judged);
                    news.push((What::CheckFailed, check.id.clone(), member.fault.clone()));
                }
                None if self.speaks(check, judged) => {
                    let member = self::member(check, judged);
                    news.push((What::CheckFailed, check.id.clone(), member.fault.clone()));
                    members.push(member);
                    if !components.contains(&check.component) {
                        components.push(check.component.clone());
                    }
                }
                _ => {}
            }
            speaking |= self.speaks(check, judged);
        }
        // What is checked no more cannot recover.
        for member in members.iter_mut().filter(|member| member.down) {
            member.down = self.members(group).any(|(check, _)| check.id == member.check_id);
        }
        let down: Vec<Member> = members.iter().filter(|member| member.down).cloned().collect();
        let worse = Some(self.severity(group, &down)).filter(|now| speaking && *now < incident.severity);
        let Some(incident) = self.open.get_mut(at) else { return };
        if incident.members != members {
            (incident.members, incident.components) = (members, components);
            self.changed.push(id.clone());
        }
        if let Some(severity) = worse {
            let said = format!("from {} to {}", incident.severity.as_str(), severity.as_str());
            incident.severity = severity;
            incident.respond_by = incident.respond_by.min(self.round.at.plus(severity.response_ms()));
            news.push((What::Escalated, String::new(), said));
        }
        if down.is_empty() {
            return self.resolve(at, "all of its checks are up");
        }
        for (what, about, detail) in news {
            self.event(&id, what, Some(about).filter(|about| !about.is_empty()), detail);
        }
    }

    /// Notes the checks that are down because of another with the incident of that one.
    fn note_explained(&mut self) {
        let mut found = Vec::new();
        for (check, judged) in self.round.checks.iter().zip(self.checks) {
            let by = self.shadow(check, judged).filter(|_| !judged.silenced).map(|by| by.group.clone());
            let Some(by) = by else { continue };
            let incident = self.open.iter_mut().find(|one| one.subject == by && one.resolved_at.is_none());
            let Some(incident) = incident.filter(|one| !one.explains.contains(&check.id)) else { continue };
            incident.explains.push(check.id.clone());
            let fault = judged.known.fault.clone().unwrap_or_default();
            found.push((incident.incident_id.clone(), check.id.clone(), fault));
        }
        for (id, check, fault) in found {
            self.event(&id, What::Explains, Some(check), fault);
        }
    }

    fn remind(&mut self, at: usize) {
        let now = self.round.at;
        let Some(incident) = self.open.get(at) else { return };
        let due = incident.acknowledged_at.is_none()
            && incident.reminded_at.is_none()
            && incident.respond_by <= now
            && self.members(&incident.subject).any(|(check, judged)| self.speaks(check, judged));
        if !due {
            return;
        }
        let detail = format!("nobody acknowledged it by {}", incident.respond_by);
        let id = incident.incident_id.clone();
        if let Some(incident) = self.open.get_mut(at) {
            incident.reminded_at = Some(now);
        }
        self.event(&id, What::Reminded, None, detail);
    }

    fn resolve(&mut self, at: usize, why: &str) {
        let Some(incident) = self.open.get_mut(at) else { return };
        incident.resolved_at = Some(self.round.at);
        for member in &mut incident.members {
            member.down = false;
        }
        let id = incident.incident_id.clone();
        self.event(&id, What::Resolved, None, why.to_owned());
    }

    fn event(&mut self, incident: &str, what: What, about: Option<String>, detail: String) {
        if !self.changed.iter().any(|known| known == incident) {
            self.changed.push(incident.to_owned());
        }
        self.events.push(Event {
            incident_id: incident.to_owned(),
            at: self.round.at,
            step: self.events.len(),
            what,
            about,
            detail,
        });
    }
}

fn member(check: &Check, judged: &Judged) -> Member {
    let fault = judged.known.fault.clone().unwrap_or_else(|| "it failed repeatedly".to_owned());
    Member { check_id: check.id.clone(), fault, down: true }
}

/// What an incident is, in a line.
fn title(group: &str, members: &[Member]) -> String {
    match members {
        [one] => format!("{}: {}", one.check_id, one.fault),
        all => {
            let names: Vec<&str> = all.iter().map(|member| member.check_id.as_str()).collect();
            format!("{group}: {} fail", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::check::read_list;

    const START: UnixMillis = UnixMillis(1_763_694_000_000);

    /// A system that is watched: its checks, what is stored of them, and everything that was ever told.
    struct Watch {
        checks: Vec<Check>,
        known: Vec<Known>,
        incidents: BTreeMap<String, Incident>,
        events: Vec<Event>,
        windows: Vec<Window>,
        last: Option<UnixMillis>,
        now: UnixMillis,
        ids: u32,
    }

    impl Watch {
        /// Checks that are `d1`, each with other members.
        fn of(checks: &[(&str, Value)]) -> Self {
            let list: Vec<Value> = checks
                .iter()
                .map(|(id, more)| {
                    let mut check = json!({"id": id, "component": "part", "kind": "d1"});
                    check.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                    check
                })
                .collect();
            let checks = read_list(&[("CHECKS", &Value::from(list).to_string())]).unwrap();
            Self {
                checks,
                known: Vec::new(),
                incidents: BTreeMap::new(),
                events: Vec::new(),
                windows: Vec::new(),
                last: None,
                now: START,
                ids: 0,
            }
        }

        fn plain() -> Self {
            Self::of(&[("it", json!({}))])
        }

        /// A round in which these checks fail; what happened.
        fn round(&mut self, failing: &[&str]) -> Vec<(What, String)> {
            self.now = self.now.plus(PERIOD);
            self.judge(self.now, failing)
        }

        fn judge(&mut self, at: UnixMillis, failing: &[&str]) -> Vec<(What, String)> {
            let look = |check: &Check| Look {
                fault: failing.contains(&check.id.as_str()).then(|| "it fails".to_owned()),
                latency_ms: 5,
                memory: None,
            };
            let looks: Vec<Look> = self.checks.iter().map(look).collect();
            let open = self.incidents.values().filter(|one| one.resolved_at.is_none()).cloned().collect();
            let round =
                Round { at, last: self.last, checks: &self.checks, looks: &looks, windows: &self.windows };
            let ids = &mut self.ids;
            let next = || {
                *ids += 1;
                format!("inc-{ids:04}")
            };
            let Some(outcome) = super::judge(&self.known, open, &round, next) else { return Vec::new() };
            self.last = Some(at);
            self.known = outcome.checks.iter().map(|judged| judged.known.clone()).collect();
            for incident in outcome.incidents {
                self.incidents.insert(incident.incident_id.clone(), incident);
            }
            let happened = outcome
                .events
                .iter()
                .map(|event| (event.what, event.about.clone().unwrap_or_else(|| event.incident_id.clone())));
            let happened = happened.collect();
            self.events.extend(outcome.events);
            happened
        }

        /// Several rounds, one a letter: `x` fails, `.` does not. What people are told in which of them.
        fn rounds(&mut self, id: &str, pattern: &str) -> Vec<(usize, What)> {
            let mut told = Vec::new();
            for (at, letter) in pattern.chars().enumerate() {
                let failing: &[&str] = if letter == 'x' { &[id] } else { &[] };
                told.extend(self.round(failing).into_iter().filter(|it| it.0.is_told()).map(|it| (at, it.0)));
            }
            told
        }

        fn open(&self) -> Vec<&Incident> {
            self.incidents.values().filter(|one| one.resolved_at.is_none()).collect()
        }

        fn maintain(&mut self, subject: &str, rounds: i64) {
            let until = self.now.plus(rounds * PERIOD + 1);
            self.windows.push(Window { subjects: vec![subject.into()], from: self.now, until });
        }
    }

    #[test]
    fn two_of_three_open_and_two_in_a_row_resolve() {
        assert_eq!(Watch::plain().rounds("it", "x.x.."), [(2, What::Opened), (4, What::Resolved)]);
        assert_eq!(Watch::plain().rounds("it", "xx.x.x.."), [(1, What::Opened), (7, What::Resolved)]);
        assert_eq!(Watch::plain().rounds("it", "x..x..x..x"), []);
        let mut once = Watch::of(&[("it", json!({"fails": "1 of 1", "recovers": 1}))]);
        assert_eq!(once.rounds("it", "x."), [(0, What::Opened), (1, What::Resolved)]);
        let mut slow = Watch::of(&[("it", json!({"fails": "3 of 4", "recovers": 3}))]);
        assert_eq!(slow.rounds("it", "xx..xx.x...x"), [(7, What::Opened), (10, What::Resolved)]);
    }

    #[test]
    fn a_check_that_flaps_stays_down_until_it_is_quiet() {
        let mut watch = Watch::plain();
        let told = watch.rounds("it", "xx..xx..xx..xx..xx..........");
        assert_eq!(told.iter().filter(|(_, what)| *what == What::Opened).count(), 3);
        assert_eq!(told.last(), Some(&(23, What::Resolved)), "six in a row after the last fault");
        assert!(watch.open().is_empty());
    }

    #[test]
    fn results_of_long_ago_decide_nothing() {
        let mut watch = Watch::plain();
        watch.round(&["it"]);
        watch.now = watch.now.plus(2 * HOUR);
        assert_eq!(watch.round(&["it"]), [], "one of an hour ago and one of now are not two of three");
        assert_eq!(watch.round(&["it"])[0].0, What::Opened);
    }

    #[test]
    fn a_round_that_is_not_later_changes_nothing() {
        let mut watch = Watch::plain();
        watch.rounds("it", ".x");
        let (known, now) = (watch.known.clone(), watch.now);
        for at in [now, now.plus(-PERIOD), UnixMillis(0)] {
            assert_eq!(watch.judge(at, &["it"]), []);
        }
        assert_eq!(watch.known, known);
        assert_eq!(watch.round(&["it"])[0].0, What::Opened);
    }

    fn broker() -> Watch {
        Watch::of(&[
            ("emqx", json!({"severity": "SEV1"})),
            ("emqx-stats", json!({"needs": ["emqx"]})),
            ("devices", json!({"needs": ["emqx-stats"]})),
            ("store", json!({})),
        ])
    }

    #[test]
    fn what_follows_from_something_else_is_noted_with_it() {
        let mut watch = broker();
        let all = ["emqx", "emqx-stats", "devices"];
        watch.round(&all);
        let told = watch.round(&all);
        assert_eq!(
            told,
            [
                (What::Opened, "inc-0001".to_owned()),
                (What::Explains, "emqx-stats".to_owned()),
                (What::Explains, "devices".to_owned())
            ]
        );
        assert_eq!(watch.open()[0].explains, ["emqx-stats", "devices"]);
        assert_eq!(watch.round(&all), [], "each once");
        // The broker is well again; the devices take a while to come back.
        assert_eq!(watch.round(&["devices"]), []);
        assert_eq!(watch.round(&["devices"]), [(What::Resolved, "inc-0001".to_owned())]);
        assert_eq!(watch.round(&["devices"]), []);
        assert_eq!(watch.round(&["devices"]), []);
        assert_eq!(
            watch.round(&["devices"]),
            [(What::Opened, "inc-0002".to_owned())],
            "now it is a matter of its own"
        );
    }

    #[test]
    fn while_what_it_needs_is_in_doubt_a_check_waits() {
        let mut watch = broker();
        watch.round(&["emqx-stats"]);
        assert_eq!(watch.round(&["emqx", "emqx-stats"]), [], "the broker failed once");
        let told = watch.round(&["emqx", "emqx-stats"]);
        assert_eq!(told[0], (What::Opened, "inc-0001".to_owned()));
        assert_eq!((watch.open().len(), watch.open()[0].subject.as_str()), (1, "emqx"));
        let mut watch = broker();
        watch.round(&["emqx-stats"]);
        watch.round(&["emqx", "emqx-stats"]);
        let told = watch.round(&["emqx-stats"]);
        assert_eq!(
            (told.len(), watch.open()[0].subject.as_str()),
            (1, "emqx-stats"),
            "the broker was well after all"
        );
    }

    #[test]
    fn either_of_a_pair_is_a_warning_and_both_are_critical() {
        let pair = json!({"group": "ingress", "severity": "SEV3", "together": "SEV1"});
        let mut watch = Watch::of(&[("cloud", pair.clone()), ("premises", pair)]);
        watch.round(&["cloud"]);
        assert_eq!(watch.round(&["cloud"]), [(What::Opened, "inc-0001".to_owned())]);
        assert_eq!(
            (watch.open()[0].severity, watch.open()[0].title.as_str()),
            (Severity::Sev3, "cloud: it fails")
        );
        watch.round(&["cloud", "premises"]);
        let told = watch.round(&["cloud", "premises"]);
        assert_eq!(
            told,
            [(What::CheckFailed, "premises".to_owned()), (What::Escalated, "inc-0001".to_owned())]
        );
        let incident = watch.open()[0].clone();
        assert_eq!((incident.severity, incident.respond_by), (Severity::Sev1, watch.now.plus(15 * MINUTE)));
        watch.round(&["premises"]);
        assert_eq!(watch.round(&["premises"]), [(What::CheckRecovered, "cloud".to_owned())]);
        assert_eq!(watch.open()[0].severity, Severity::Sev1, "it does not get better before it is over");
        watch.round(&[]);
        assert_eq!(watch.round(&[]).last().unwrap().0, What::Resolved);
        watch.round(&["cloud", "premises"]);
        watch.round(&["cloud", "premises"]);
        assert_eq!(watch.open()[0].severity, Severity::Sev1, "both at once");
        assert_eq!(watch.open()[0].title, "ingress: cloud, premises fail");
    }

    #[test]
    fn maintenance_is_quiet_and_what_is_down_when_it_ends_is_told() {
        let mut watch = broker();
        watch.maintain("emqx", 5);
        let all = ["emqx", "emqx-stats"];
        for _ in 0..5 {
            assert_eq!(watch.round(&all), [], "what follows from it is quiet as well");
        }
        assert_eq!(watch.round(&all)[0], (What::Opened, "inc-0001".to_owned()));
        let mut watch = Watch::plain();
        watch.maintain("part", 9);
        assert_eq!(watch.rounds("it", "xxxxxx..."), []);
        let mut watch = Watch::plain();
        watch.rounds("it", "xx");
        watch.maintain("*", 9);
        assert_eq!(
            watch.rounds("it", "xx.."),
            [(3, What::Resolved)],
            "what was told of before comes to its end"
        );
    }

    #[test]
    fn somebody_is_reminded_once_when_nobody_answers() {
        let mut watch = Watch::of(&[("it", json!({"severity": "SEV1"}))]);
        let told = watch.rounds("it", "xxxxxxxxxxxxxxxxxxxxx");
        assert_eq!(told, [(1, What::Opened), (4, What::Reminded)]);
        let mut watch = Watch::of(&[("it", json!({"severity": "SEV1"}))]);
        watch.rounds("it", "xx");
        watch.incidents.values_mut().next().unwrap().acknowledged_at = Some(watch.now);
        assert_eq!(watch.rounds("it", "xxxxxx"), []);
    }

    #[test]
    fn an_incident_of_checks_that_are_gone_is_over() {
        let mut watch = broker();
        watch.round(&["store"]);
        watch.round(&["store"]);
        watch.checks.retain(|check| check.id != "store");
        assert_eq!(watch.round(&[]), [(What::Resolved, "inc-0001".to_owned())]);
        let pair = json!({"group": "ingress"});
        let mut watch = Watch::of(&[("cloud", pair.clone()), ("premises", pair)]);
        watch.round(&["cloud"]);
        watch.round(&["cloud"]);
        watch.checks.retain(|check| check.id != "cloud");
        assert_eq!(watch.round(&[]), [(What::Resolved, "inc-0001".to_owned())]);
    }

    #[test]
    fn a_component_is_as_ill_as_its_checks() {
        let mut watch = Watch::of(&[
            ("a", json!({"fails": "1 of 1"})),
            ("b", json!({"fails": "1 of 1"})),
            ("c", json!({"fails": "1 of 1", "component": "other", "severity": "SEV1"})),
            ("d", json!({"component": "other"})),
        ]);
        let mut tallies = |failing: &[&str], windows: Vec<Window>| {
            let look = |check: &Check| Look {
                fault: failing.contains(&check.id.as_str()).then(|| "it fails".to_owned()),
                latency_ms: if check.id == "a" { 400 } else { 90 },
                memory: None,
            };
            let looks: Vec<Look> = watch.checks.iter().map(look).collect();
            let at = watch.now.plus(1);
            let round = Round { at, last: None, checks: &watch.checks, looks: &looks, windows: &windows };
            watch.ids += 1;
            super::judge(&[], Vec::new(), &round, || "inc-1".to_owned()).unwrap().components
        };
        let fine = tallies(&[], Vec::new());
        assert_eq!(
            (fine[0].component.as_str(), fine[0].runs, fine[0].ill, fine[0].failures),
            ("part", 2, 0, 0)
        );
        assert_eq!((fine[0].latency_sum_ms, fine[0].latency_max_ms), (490, 400));
        assert_eq!((fine[0].latency_100, fine[0].latency_300, fine[0].latency_1000), (1, 1, 2));
        let some = tallies(&["b", "c"], Vec::new());
        assert_eq!((some[0].ill, some[0].down, some[0].failures), (1, 0, 1));
        assert_eq!((some[1].ill, some[1].down), (1, 1), "a check of SEV1 is enough");
        assert_eq!(tallies(&["a", "b"], Vec::new())[0].down, 1);
        let window = |subject: &str| {
            vec![Window { subjects: vec![subject.into()], from: START, until: START.plus(9) }]
        };
        let silent = tallies(&["a", "b"], window("part"));
        assert_eq!((silent[0].silent, silent[0].runs, silent[0].down), (1, 0, 0));
        let half = tallies(&["a"], window("a"));
        assert_eq!((half[0].silent, half[0].runs, half[0].ill), (0, 1, 0));
    }

    /// Four checks that need each other or share a group.
    fn any_watch() -> Watch {
        Watch::of(&[
            ("a", json!({"severity": "SEV1"})),
            ("b", json!({"needs": ["a"], "group": "pair", "together": "SEV2"})),
            ("c", json!({"needs": ["b"]})),
            ("d", json!({"group": "pair", "together": "SEV2"})),
        ])
    }

    const IDS: [&str; 4] = ["a", "b", "c", "d"];

    fn failing(bits: u8) -> Vec<&'static str> {
        IDS.into_iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).map(|(_, id)| id).collect()
    }

    proptest! {
        /// However checks fail and whatever comes twice or late: an incident is opened once and first, resolved once and last,
        /// gets worse at most once to each degree, is reminded of at most once; a group has one at a time; and a quiet hour ends all.
        #[test]
        fn each_step_of_an_incident_is_told_once(rounds in prop::collection::vec((0_u8..16, 0_u8..8, -2_i64..1), 1..120)) {
            let mut watch = any_watch();
            for (bits, again, back) in rounds {
                watch.round(&failing(bits));
                let open = watch.open();
                for one in &open {
                    prop_assert_eq!(open.iter().filter(|other| other.subject == one.subject).count(), 1);
                }
                // Some rounds come again, with something else to say, or as of before.
                if again == 0 {
                    prop_assert_eq!(watch.judge(watch.now.plus(back * PERIOD), &IDS), vec![]);
                }
            }
            for _ in 0..=DAMPED {
                watch.round(&[]);
            }
            prop_assert!(watch.open().is_empty(), "{:?}", watch.open());
            for id in watch.incidents.keys() {
                let steps: Vec<What> = watch.events.iter().filter(|it| it.incident_id == *id).map(|it| it.what).collect();
                let count = |what: What| steps.iter().filter(|it| **it == what).count();
                prop_assert_eq!((steps[0], count(What::Opened)), (What::Opened, 1));
                prop_assert_eq!((*steps.last().unwrap(), count(What::Resolved)), (What::Resolved, 1));
                prop_assert!(count(What::Escalated) <= 3 && count(What::Reminded) <= 1);
                prop_assert_eq!(count(What::Acknowledged), 0, "only people do that");
            }
            let places: std::collections::BTreeSet<_> =
                watch.events.iter().map(|it| (it.incident_id.clone(), it.at.0, it.step)).collect();
            prop_assert_eq!(places.len(), watch.events.len(), "each has a place of its own");
        }

        /// No pattern of failures opens more than three incidents of a check within an hour.
        #[test]
        fn flapping_is_no_storm(pattern in prop::collection::vec(any::<bool>(), 1..200)) {
            let mut watch = Watch::plain();
            let mut opened = Vec::new();
            for fails in pattern {
                let failing: &[&str] = if fails { &["it"] } else { &[] };
                if watch.round(failing).iter().any(|it| it.0 == What::Opened) {
                    opened.push(watch.now.0);
                }
            }
            for at in &opened {
                let within = opened.iter().filter(|it| (*at..*at + HOUR).contains(it)).count();
                prop_assert!(within <= 3, "{opened:?}");
            }
        }

        /// What everything is silenced for is never told, and nothing that is stored grows.
        #[test]
        fn maintenance_never_opens(rounds in prop::collection::vec(0_u8..16, 1..60)) {
            let mut watch = any_watch();
            watch.maintain("*", 1_000);
            for bits in rounds {
                prop_assert_eq!(watch.round(&failing(bits)), vec![]);
                for known in &watch.known {
                    prop_assert!(known.track.recent.len() <= KEPT && known.track.flips.len() <= 12);
                }
            }
        }

        /// Three rounds of the same end every doubt: what fails alone has an incident, what is well has none.
        #[test]
        fn what_stays_is_told(before in prop::collection::vec(0_u8..16, 0..30), id in 0_usize..4) {
            let mut watch = any_watch();
            for bits in before {
                watch.round(&failing(bits));
            }
            for _ in 0..12 {
                watch.round(&[IDS[id]]);
            }
            let subject = &watch.checks[id].group;
            let open = watch.open();
            prop_assert_eq!(open.len(), 1, "{:?}", open);
            prop_assert_eq!(&open[0].subject, subject);
        }
    }
}
