//! What becomes of one device in one rollout: a state machine that no order of its input can confuse.
//!
//! Messages are delivered late, twice and out of order; device clocks are wrong. So the state is not moved along by
//! whatever comes next. An [`Attempt`] keeps what it was told, in a form in which merging is commutative, associative and
//! idempotent (earliest, latest, furthest, bounded sets), and the state is *derived* from all of it: as if every fact had
//! come in the order in which the broker received it, once. The first fact in that order which closes the attempt decides
//! its outcome, and whatever the broker received later changes nothing.
//!
//! A fact that arrives late may thus still correct an outcome, but only if the broker received it before the fact that
//! decided.

use rs1_domain::time::{SECOND, as_millis, as_optional_millis};
use rs1_domain::wire::OtaPhase;
use rs1_domain::{FirmwareVersion, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::fact::{Decision, Fact, Report, Sighting, is_turned_away};
use crate::policy::Policy;

/// Where a device stands in a rollout.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// To be triggered (again): its trigger found no subscriber, or was taken back; or we turned the device away when it
    /// came to download.
    Eligible,
    /// Its trigger is decided, and perhaps delivered and acknowledged.
    Triggered,
    /// It waits, for a better signal or a better time.
    Deferred,
    /// It fetches the image.
    Downloading,
    /// It checks the image and puts it in place.
    Verifying,
    /// It said `success`: the image is in place, which is not to say that it runs.
    Installed,
    /// It was seen running the image.
    Confirmed,
    /// It gave up.
    Failed,
    /// It will never take this image.
    Refused,
    /// It booted again and runs something else than the image.
    RolledBack,
    /// It did not acknowledge, or did not finish.
    TimedOut,
    /// The rollout was given up before the device was asked.
    Cancelled,
}

impl From<DeviceState> for usize {
    /// Its place in [`DeviceState::ALL`].
    fn from(value: DeviceState) -> Self {
        value as Self
    }
}

impl DeviceState {
    /// Every state, in the order of an update.
    pub const ALL: [Self; 12] = [
        Self::Eligible,
        Self::Triggered,
        Self::Deferred,
        Self::Downloading,
        Self::Verifying,
        Self::Installed,
        Self::Confirmed,
        Self::Failed,
        Self::Refused,
        Self::RolledBack,
        Self::TimedOut,
        Self::Cancelled,
    ];

    /// The name in the database and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eligible => "eligible",
            Self::Triggered => "triggered",
            Self::Deferred => "deferred",
            Self::Downloading => "downloading",
            Self::Verifying => "verifying",
            Self::Installed => "installed",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Under way: the device has one of these at most, across all rollouts.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Self::Triggered | Self::Deferred | Self::Downloading | Self::Verifying | Self::Installed
        )
    }

    /// Over, for good.
    pub fn is_closed(self) -> bool {
        !self.is_open() && self != Self::Eligible
    }

    /// Counts as a failure.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::RolledBack | Self::TimedOut)
    }

    /// Counts as an outcome, of which failures are a share. A refusal is none: the image was not tried.
    pub fn is_outcome(self) -> bool {
        self == Self::Confirmed || self.is_failure()
    }
}

/// One boot of a device, as it can be told from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Boots since manufacture.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<i64>,
    /// When it was, by the broker's clock and the device's uptime.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    pub at: Option<UnixMillis>,
}

/// What an image is recognised by once it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its version.
    pub version: FirmwareVersion,
    /// SHA-256 of its build, 64 lower-case hex digits.
    pub elf_sha256: Option<String>,
}

/// Fewest digits of a build's hash that say anything: firmware is built to print 9 of them by default.
const ELF_DIGITS: usize = 8;

impl Target {
    /// Whether a device that says this runs the image: the version, and the build when both sides know it. Firmware may
    /// give the hash cut short.
    fn is_running(&self, sighting: &Sighting) -> bool {
        let same_build = match (&self.elf_sha256, &sighting.elf_sha256) {
            (Some(target), Some(running)) if running.len() >= ELF_DIGITS => {
                target.starts_with(running.as_str())
            }
            _ => true,
        };
        self.version == sighting.version && same_build
    }
}

/// A trigger that the planner decided: all that the attempt begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Counts the device's triggers in this rollout, from 1.
    pub attempt: u32,
    /// Index of the stage in which the device was first triggered.
    pub stage: usize,
    /// How often it was offered the image before.
    pub offers: u32,
    /// When it was first triggered in this rollout.
    pub first_triggered_at: UnixMillis,
    /// When this trigger is to leave: not before.
    pub send_at: UnixMillis,
    /// The version that it runs.
    pub from_version: Option<FirmwareVersion>,
    /// The boot that it is in.
    pub boot: Boot,
}

/// What is known of a device's attempt, and what follows from it. Stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What follows from the rest.
    pub state: DeviceState,
    /// Counts the device's triggers in this rollout, from 1.
    pub attempt: u32,
    /// Index of the stage in which the device was first triggered; it counts for that stage.
    pub stage: usize,
    /// How often it was offered the image before this attempt.
    #[serde(default)]
    pub offers: u32,
    /// The version it ran before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from_version: Option<FirmwareVersion>,
    /// When it was first triggered in this rollout.
    #[serde(with = "as_millis")]
    pub first_triggered_at: UnixMillis,
    /// When this attempt was decided.
    #[serde(with = "as_millis")]
    pub triggered_at: UnixMillis,
    /// When its trigger is to leave: not before. Each takes its own place in the minute, as the rate allows.
    #[serde(with = "as_millis")]
    pub send_at: UnixMillis,
    /// When the broker took the trigger for a subscriber.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    pub sent_at: Option<UnixMillis>,
    /// When the broker first had no subscriber for it.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    pub unreachable_at: Option<UnixMillis>,
    /// The broker received its first report of this attempt.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    pub first_report_at: Option<UnixMillis>,
    /// And the latest.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    pub last_report_at: Option<UnixMillis>,
    /// The newest report, by the device's clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub newest: Option<Newest>,
    /// When the fact was received, or the decision made, that closed it.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    pub closed_at: Option<UnixMillis>,
    /// When we learnt the outcome that it now has. Failures learnt by the time of a resume are acknowledged by it.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    pub counted_at: Option<UnixMillis>,
    /// The furthest phase reported before the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    furthest: Option<Phase>,
    /// Reports of an end, the earliest received first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    ends: Vec<End>,
    /// When it was first received that the image runs.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    running_at: Option<UnixMillis>,
    /// The boot in which it was triggered.
    #[serde(default)]
    boot: Boot,
    /// Boots since the trigger in which something else than the image ran.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    others: Vec<OtherBoot>,
    /// What we decided, and when.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    decided: Option<Decided>,
    /// When its trigger was first withdrawn.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    withdrawn_at: Option<UnixMillis>,
    /// When the rollout was given up while the trigger was not sent, as far as was known then.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    cancelled_at: Option<UnixMillis>,
}

/// The newest report of an attempt, for people to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Newest {
    /// By the device's clock, or the broker's if that was not set.
    #[serde(with = "as_millis")]
    said_at: UnixMillis,
    /// By the broker's clock.
    #[serde(with = "as_millis")]
    pub received_at: UnixMillis,
    /// What it said.
    pub status: OtaPhase,
    /// Per cent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub progress: Option<i64>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// Phases before the end, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Pending,
    Deferred,
    Downloading,
    Verifying,
}

/// A report of an end. The order is that of the fields: by the broker's clock first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct End {
    #[serde(with = "as_millis")]
    received_at: UnixMillis,
    #[serde(with = "as_millis")]
    said_at: UnixMillis,
    kind: EndKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EndKind {
    Success,
    Refused,
    Failed,
}

/// A boot in which something else than the image ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OtherBoot {
    /// What tells this boot from others.
    boot: BootKey,
    /// The earliest that was received of it.
    #[serde(with = "as_millis")]
    received_at: UnixMillis,
    /// The earliest that was received of it with an uptime.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    timed: Option<Timed>,
    /// The earliest that was received of it and began a connection.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "as_optional_millis")]
    connected_at: Option<UnixMillis>,
}

/// When a boot was, by one message. The order is that of the fields: by the broker's clock first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Timed {
    #[serde(with = "as_millis")]
    received_at: UnixMillis,
    #[serde(with = "as_millis")]
    booted_at: UnixMillis,
}

/// What tells boots apart: the counter; else the time of the boot, in tens of seconds, which absorbs the jitter of the
/// network; else the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BootKey {
    Count(i64),
    Time(i64),
    Message(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Decided {
    #[serde(with = "as_millis")]
    at: UnixMillis,
    what: Decision,
}

/// Ends kept of an attempt, the earliest: firmware sends one.
const MOST_ENDS: usize = 8;
/// Boots kept of an attempt, the earliest: the first after `success` is the proof, and a device that boots more often before
/// it is in a loop, of which the timers make an end.
const MOST_BOOTS: usize = 16;

/// What a fact did to an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The state is another: a count changes.
    Changed(Attempt),
    /// The state is the same, but more is known: to be written down, no count changes.
    Noted(Attempt),
    /// It came after the end and changes nothing. To be written down all the same, for should the end turn out to have been
    /// another, this may be the next.
    Late(Attempt),
    /// Known already.
    Repeated,
    /// It is about an earlier attempt: for the history only.
    Outdated,
    /// It is not about this image at all: for the history only.
    Stray,
}

impl Applied {
    /// The attempt as it now is, if it is to be written down.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Changed(attempt) | Self::Noted(attempt) | Self::Late(attempt) => Some(attempt),
            Self::Repeated | Self::Outdated | Self::Stray => None,
        }
    }

    /// The word for it, in events and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::Noted(_) => "noted",
            Self::Late(_) => "late",
            Self::Repeated => "repeated",
            Self::Outdated => "outdated",
            Self::Stray => "stray",
        }
    }
}

impl Attempt {
    /// The attempt that begins with a trigger, decided at `now`.
    pub fn begin(trigger: &Trigger, now: UnixMillis) -> Self {
        Self {
            state: DeviceState::Triggered,
            attempt: trigger.attempt,
            stage: trigger.stage,
            offers: trigger.offers,
            from_version: trigger.from_version.clone(),
            first_triggered_at: trigger.first_triggered_at,
            triggered_at: now,
            send_at: trigger.send_at,
            sent_at: None,
            unreachable_at: None,
            first_report_at: None,
            last_report_at: None,
            newest: None,
            closed_at: None,
            counted_at: None,
            furthest: None,
            ends: Vec::new(),
            running_at: None,
            boot: trigger.boot,
            others: Vec::new(),
            decided: None,
            withdrawn_at: None,
            cancelled_at: None,
        }
    }

    /// What a fact, told at `now`, makes of this attempt at the image `target`.
    ///
    /// An attempt that is over comes back into the open only if a fact that arrived late shows that what ended it did not
    /// mean that. The database may refuse that, if the device has another attempt by then; nothing is lost if it does.
    pub fn apply(&self, target: &Target, fact: &Fact, now: UnixMillis) -> Applied {
        let about = match fact {
            Fact::Sent { attempt, .. }
            | Fact::NoSubscriber { attempt, .. }
            | Fact::Decided { attempt, .. } => *attempt == self.attempt,
            // What the broker received before this attempt began was said of an earlier one. Of the first there is none.
            Fact::Report(report) => self.attempt == 1 || report.received_at >= self.triggered_at,
            Fact::State(sighting) => sighting.received_at >= self.first_triggered_at,
        };
        if matches!(fact, Fact::Report(report) if report.status.version != target.version) {
            return Applied::Stray;
        }
        if !about {
            return Applied::Outdated;
        }
        let mut next = self.clone();
        match fact {
            Fact::Report(report) => next.merge_report(report),
            Fact::State(sighting) => next.merge_sighting(target, sighting),
            Fact::Sent { at, .. } => earliest(&mut next.sent_at, *at),
            Fact::NoSubscriber { at, .. } => earliest(&mut next.unreachable_at, *at),
            Fact::Decided { decision, at, .. } => next.merge_decision(*decision, *at),
        }
        next.settle(now);
        if next == *self {
            return Applied::Repeated;
        }
        if next.state != self.state {
            return Applied::Changed(next);
        }
        if self.closed_at.is_some_and(|closed_at| fact.known_at() > closed_at) {
            Applied::Late(next)
        } else {
            Applied::Noted(next)
        }
    }

    /// Whether its trigger has not reached the broker yet, as far as is known.
    pub fn is_unsent(&self) -> bool {
        self.state == DeviceState::Triggered && !self.was_sent()
    }

    /// Whether the device was in fact offered the image: the broker took the trigger, or the device spoke of it.
    pub fn was_sent(&self) -> bool {
        self.told_at().is_some()
    }

    /// When it is over unless something happens, and what is to be decided then.
    pub fn deadline(&self, policy: &Policy) -> Option<(UnixMillis, Decision)> {
        if !self.state.is_open() {
            return None;
        }
        Some(match (self.first_report_at, self.sent_at) {
            (Some(first), _) => (first.plus(policy.finish_timeout), Decision::NotFinished),
            (None, Some(sent)) => (sent.plus(policy.acknowledge_timeout), Decision::NotAcknowledged),
            (None, None) => (self.send_at.plus(policy.send_timeout), Decision::Withdrawn),
        })
    }

    /// Whether the device has forgotten about the update: it booted again since it last spoke of it, runs something else
    /// than the image, and never said how the update ended.
    pub fn is_forgotten(&self) -> bool {
        if !self.was_sent() || !self.state.is_open() || self.state == DeviceState::Installed {
            return false;
        }
        let sent = self.sent_at.unwrap_or(self.triggered_at);
        let spoke = self.last_report_at.map_or(sent, |last| last.max(sent));
        self.others
            .iter()
            .filter_map(|other| other.proven_later(self.boot.count, sent))
            .any(|proven_at| proven_at > spoke)
    }

    /// The decision that ended it, if one did; also [`Decision::Withdrawn`].
    pub fn decision(&self) -> Option<Decision> {
        let decided = self.decided.map(|decided| decided.what);
        if self.state == DeviceState::Cancelled { Some(Decision::Cancelled) } else { decided }
    }

    fn merge_report(&mut self, report: &Report) {
        let (received_at, said_at) = (report.received_at, report.said_at());
        let status = &report.status;
        earliest(&mut self.first_report_at, received_at);
        latest(&mut self.last_report_at, received_at);
        let newest = Newest {
            said_at,
            received_at,
            status: status.status,
            progress: status.progress,
            error: status.error.clone(),
        };
        self.newest = self.newest.take().max(Some(newest));
        let end = |kind| End { received_at, said_at, kind };
        let (phase, end) = match status.status {
            OtaPhase::Pending => (Some(Phase::Pending), None),
            OtaPhase::Deferred => (Some(Phase::Deferred), None),
            OtaPhase::Downloading => (Some(Phase::Downloading), None),
            OtaPhase::Verifying | OtaPhase::Installing => (Some(Phase::Verifying), None),
            OtaPhase::Success => (None, Some(end(EndKind::Success))),
            OtaPhase::Failed if report.is_refusal() => (None, Some(end(EndKind::Refused))),
            // What it comes to follows from the newest report.
            OtaPhase::Failed if status.error.as_deref().is_some_and(is_turned_away) => (None, None),
            OtaPhase::Failed => (None, Some(end(EndKind::Failed))),
        };
        self.furthest = self.furthest.max(phase);
        if let Some(end) = end
            && let Err(place) = self.ends.binary_search(&end)
        {
            self.ends.insert(place, end);
            self.ends.truncate(MOST_ENDS);
        }
    }

    fn merge_sighting(&mut self, target: &Target, sighting: &Sighting) {
        // A last will was written when the connection began, and is received when it has ended.
        if !sighting.online {
            return;
        }
        if target.is_running(sighting) {
            earliest(&mut self.running_at, sighting.received_at);
        } else if sighting.version != target.version && sighting.received_at > self.triggered_at {
            self.merge_other(sighting);
        }
    }

    fn merge_other(&mut self, sighting: &Sighting) {
        let (received_at, booted_at) = (sighting.received_at, sighting.booted_at());
        let timed = booted_at.map(|booted_at| Timed { received_at, booted_at });
        let connected_at = sighting.new_connection.then_some(received_at);
        let boot = match (sighting.boot_count, booted_at) {
            (Some(count), _) => BootKey::Count(count),
            (None, Some(at)) => BootKey::Time(at.0.div_euclid(10 * SECOND)),
            (None, None) if sighting.new_connection => BootKey::Message(received_at.0),
            // It says nothing about boots.
            (None, None) => return,
        };
        match self.others.binary_search_by(|other| other.boot.cmp(&boot)) {
            Ok(place) => {
                if let Some(other) = self.others.get_mut(place) {
                    other.received_at = other.received_at.min(received_at);
                    other.timed = [other.timed, timed].into_iter().flatten().min();
                    other.connected_at = [other.connected_at, connected_at].into_iter().flatten().min();
                }
            }
            Err(place) => {
                self.others.insert(place, OtherBoot { boot, received_at, timed, connected_at });
                self.others.truncate(MOST_BOOTS);
            }
        }
    }

    fn merge_decision(&mut self, what: Decision, at: UnixMillis) {
        if what == Decision::Cancelled {
            earliest(&mut self.cancelled_at, at);
            return;
        }
        if what == Decision::Withdrawn {
            earliest(&mut self.withdrawn_at, at);
        }
        let new = Decided { at, what };
        // What is taken back may turn out to be under way after all, so that is not final; the rest is, the first of it.
        let weight = |decided: &Decided| (decided.what == Decision::Withdrawn, *decided);
        self.decided =
            Some(self.decided.map_or(new, |known| if weight(&new) < weight(&known) { new } else { known }));
    }

    /// Draws the conclusions from what is known.
    fn settle(&mut self, now: UnixMillis) {
        let outcome = self.outcome();
        let state = outcome.map_or_else(|| self.open_state(), |(_, state)| state);
        self.closed_at = outcome.map(|(at, _)| at);
        if state != self.state {
            self.counted_at = state.is_closed().then_some(now);
            self.state = state;
        }
    }

    /// The first fact, by the broker's clock, that closes the attempt. Of two at the same millisecond, the better proof.
    fn outcome(&self) -> Option<(UnixMillis, DeviceState)> {
        let decided = self.decided.and_then(|Decided { at, what }| match what {
            Decision::Withdrawn | Decision::Cancelled => None,
            Decision::NotAcknowledged | Decision::NotFinished => Some((at, DeviceState::TimedOut)),
            Decision::TooManyDownloads => Some((at, DeviceState::Failed)),
        });
        // A trigger that was on its way already reaches the device all the same, and what comes of it counts.
        // Until we turn the device away: what closed the attempt before that stays what it was.
        let cancelled_at = self.cancelled_at.and_then(|at| match self.turned_away_at() {
            Some(turned_away_at) => Some(at.max(turned_away_at)),
            None if self.was_sent() => None,
            None => Some(at),
        });
        let cancelled = cancelled_at.map(|at| (at, DeviceState::Cancelled));
        // Whoever was not asked, and runs the image later all the same, does not do it for us; unless it turns out that it
        // was asked, from when on it counts.
        let running_at = self.running_at.and_then(|at| match self.taken_back_at() {
            Some(taken_back_at) if at > taken_back_at => self.told_at().map(|told_at| at.max(told_at)),
            _ => Some(at),
        });
        [
            running_at.map(|at| (at, DeviceState::Confirmed)),
            self.failure(),
            self.rolled_back_at().map(|at| (at, DeviceState::RolledBack)),
            decided,
            cancelled,
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// The first report of a failure that a success received before it does not make old news: the newest by the device's
    /// clock counts.
    fn failure(&self) -> Option<(UnixMillis, DeviceState)> {
        let is_old_news = |failure: &End| {
            self.ends
                .iter()
                .take_while(|end| end.received_at < failure.received_at)
                .any(|end| end.kind == EndKind::Success && end.said_at > failure.said_at)
        };
        self.ends.iter().filter(|end| !is_old_news(end)).find_map(|end| match end.kind {
            EndKind::Success => None,
            EndKind::Refused => Some((end.received_at, DeviceState::Refused)),
            EndKind::Failed => Some((end.received_at, DeviceState::Failed)),
        })
    }

    fn installed_at(&self) -> Option<UnixMillis> {
        self.ends.iter().find(|end| end.kind == EndKind::Success).map(|end| end.received_at)
    }

    /// When it was first received that the device booted after `success` and runs something else than the image. What is sent
    /// between `success` and the reboot comes from the boot in which it was installed, and proves nothing.
    fn rolled_back_at(&self) -> Option<UnixMillis> {
        let installed_at = self.installed_at()?;
        let is_before = |other: &&OtherBoot| other.received_at <= installed_at;
        let counts_before = self.others.iter().filter(is_before).filter_map(|other| other.boot.count());
        let installed_in = counts_before.max().max(self.boot.count);
        self.others
            .iter()
            .filter(|other| !is_before(other))
            .filter_map(|other| other.proven_later(installed_in, installed_at))
            .min()
    }

    fn open_state(&self) -> DeviceState {
        if self.installed_at().is_some() {
            return DeviceState::Installed;
        }
        if self.turned_away_at().is_some() {
            return DeviceState::Eligible;
        }
        match self.furthest {
            Some(Phase::Verifying) => DeviceState::Verifying,
            Some(Phase::Downloading) => DeviceState::Downloading,
            Some(Phase::Deferred) => DeviceState::Deferred,
            None if !self.was_sent() && self.taken_back_at().is_some() => DeviceState::Eligible,
            Some(Phase::Pending) | None => DeviceState::Triggered,
        }
    }

    /// When the device said that it gave up because we turned it away, if that is the last that it said.
    fn turned_away_at(&self) -> Option<UnixMillis> {
        let newest = self.newest.as_ref()?;
        let turned_away =
            newest.status == OtaPhase::Failed && newest.error.as_deref().is_some_and(is_turned_away);
        turned_away.then_some(newest.received_at)
    }

    /// When it was first known that the device was in fact offered the image.
    fn told_at(&self) -> Option<UnixMillis> {
        [self.sent_at, self.first_report_at].into_iter().flatten().min()
    }

    /// When its trigger first found nobody, or was taken back.
    fn taken_back_at(&self) -> Option<UnixMillis> {
        [self.unreachable_at, self.withdrawn_at, self.cancelled_at].into_iter().flatten().min()
    }
}

impl BootKey {
    fn count(self) -> Option<i64> {
        if let Self::Count(count) = self { Some(count) } else { None }
    }
}

impl OtherBoot {
    /// When it was received that this boot is later than boot number `count`, and than the instant `after`, at which that boot
    /// still ran: by the boot counter; else by the uptime, which must have begun anew; else because the device connected anew.
    /// A counter that went down was reset, which says nothing. What is received of the boot after that changes nothing.
    fn proven_later(&self, count: Option<i64>, after: UnixMillis) -> Option<UnixMillis> {
        match (self.boot.count(), count) {
            (Some(this), Some(that)) if this >= that => (this > that).then_some(self.received_at),
            _ => match (self.timed, self.connected_at) {
                // An uptime that was known by then says more than the connection.
                (Some(timed), connected_at) if connected_at.is_none_or(|at| timed.received_at <= at) => {
                    // Uptimes are rounded down to the second, so the boot may have been a second earlier.
                    (timed.booted_at.since(after) > SECOND).then_some(timed.received_at)
                }
                (_, connected_at) => connected_at,
            },
        }
    }
}

fn earliest(known: &mut Option<UnixMillis>, at: UnixMillis) {
    *known = Some(known.map_or(at, |known| known.min(at)));
}

fn latest(known: &mut Option<UnixMillis>, at: UnixMillis) {
    *known = (*known).max(Some(at));
}
