//! A rollout: what was asked for, where it stands, and what an operator may do with it.

use std::fmt;

use rs1_domain::{FirmwareVersion, RecordId, Sku, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::selector::Selector;
use crate::share::Share;

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It waits to be started, by an operator or by its schedule.
    Pending,
    /// It is under way, stage by stage.
    Staged,
    /// It triggers nobody new; what is under way goes on.
    Paused,
    /// All it could reach is done. Final.
    Completed,
    /// It was given up. Final.
    Aborted,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Staged, Self::Paused, Self::Completed, Self::Aborted];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Staged => "STAGED",
            Self::Paused => "PAUSED",
            Self::Completed => "COMPLETED",
            Self::Aborted => "ABORTED",
        }
    }

    /// Reads the wire name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether it never changes again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Aborted)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Status {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RolloutStatus".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "enum": Self::ALL.map(Self::as_str),
            "description": "Where a rollout stands; the last two are final.",
        })
    }
}

/// What an operator may ask of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Begin at the first stage, now.
    Start,
    /// Trigger nobody new.
    Pause,
    /// Go on; the failures so far are taken note of.
    Resume,
    /// Give up, for good.
    Abort,
    /// Begin the next stage without waiting for this one.
    Advance,
    /// Begin at a certain time.
    Schedule,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Pause, Self::Resume, Self::Abort, Self::Advance, Self::Schedule];

    /// The name in routes: `start`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Advance => "advance",
            Self::Schedule => "schedule",
        }
    }

    /// Reads the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }

    /// The past participle, for sentences.
    fn done(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Abort => "aborted",
            Self::Advance => "advanced",
            Self::Schedule => "scheduled",
        }
    }
}

/// Why a verb cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The rollout's status does not allow it.
    Status {
        /// What was asked.
        verb: Verb,
        /// What the rollout is.
        status: Status,
    },
    /// There is no stage after the last.
    LastStage,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { verb, status } => {
                write!(f, "the rollout is {} and cannot be {}", status.as_str(), verb.done())
            }
            Self::LastStage => f.write_str("the rollout is STAGED at its last stage and cannot be advanced"),
        }
    }
}

/// One stage: a share of the fleet, and what it must show before the next.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// How much of the fleet it covers, 1 to 100: cohorts 0 to `percent` − 1, and at least one device.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub percent: u8,
    /// How long it lasts at least, in seconds. Of the last stage: after which time devices that cannot be
    /// reached are no longer waited for; `None` waits for all of them.
    #[serde(default)]
    pub duration_sec: Option<i64>,
    /// It advances only while failures are under this share of its outcomes. `None`: whatever they are.
    #[serde(default)]
    pub max_failure_share: Option<Share>,
    /// It advances only with so many confirmed devices. `None`: as many as it can reach, up to the policy's number.
    #[serde(default)]
    pub min_confirmed: Option<u32>,
}

impl Stage {
    /// The stages of a rollout that names none: 1 % for an hour, 10 % for four, 50 % for a day, then all.
    pub fn defaults() -> Vec<Self> {
        let stage = |percent, hours: i64, share| Self {
            percent,
            duration_sec: Some(hours.saturating_mul(3_600)),
            max_failure_share: Some(Share::percent(share)),
            min_confirmed: None,
        };
        let last = Self { percent: 100, duration_sec: None, max_failure_share: None, min_confirmed: None };
        vec![stage(1, 1, 1), stage(10, 4, 1), stage(50, 24, 2), last]
    }

    /// How long it lasts, in milliseconds.
    pub fn duration(&self) -> Option<i64> {
        self.duration_sec.map(|seconds| seconds.saturating_mul(1_000))
    }
}

/// A rollout as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// `rol-…`.
    pub id: RecordId,
    /// Whom the artifact is for.
    pub sku: Sku,
    /// The version it brings.
    pub version: FirmwareVersion,
    /// The artifact's anti-rollback counter.
    pub fw_version: u32,
    /// SHA-256 of its build, 64 lower-case hex digits.
    pub elf_sha256: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// Its stages, rising to 100 %; never empty.
    pub stages: Vec<Stage>,
    /// Index of the present stage.
    pub stage: usize,
    /// When that began.
    pub stage_started_at: Option<UnixMillis>,
    /// Below this many dBm, −100 to 0, a device is left for later.
    pub min_rssi: i64,
    /// Whether devices of a higher version get it, too.
    pub force: bool,
    /// Most triggers in any minute; at least 1.
    pub rate_per_minute: u32,
    /// Which devices of the variant.
    pub selector: Selector,
    /// When it starts by itself, while it is pending.
    pub schedule_at: Option<UnixMillis>,
    /// Failures that were counted up to here have been taken note of by whoever resumed it.
    pub acknowledged_at: Option<UnixMillis>,
    /// Counts decisions.
    pub generation: i64,
}

impl Rollout {
    /// The present stage.
    pub fn current_stage(&self) -> Option<&Stage> {
        self.stages.get(self.stage)
    }

    /// Whether the present stage is the last.
    pub fn is_at_last_stage(&self) -> bool {
        self.stage.saturating_add(1) >= self.stages.len()
    }

    /// When the present stage has lasted as long as it must.
    pub fn stage_ends_at(&self) -> Option<UnixMillis> {
        Some(self.stage_started_at?.plus(self.current_stage()?.duration()?))
    }

    /// What an operator's verb makes of it at `now`, as the next generation. [`Verb::Schedule`] keeps the
    /// `schedule_at` it has; the caller sets that.
    ///
    /// # Errors
    /// When the verb cannot be carried out; the text names the status.
    pub fn after(&self, verb: Verb, now: UnixMillis) -> Result<Self, Refusal> {
        use Status::{Aborted, Paused, Pending, Staged};
        let mut next = self.clone();
        match (verb, self.status) {
            (Verb::Start, Pending) => next.begin(now),
            (Verb::Schedule, Pending) => {}
            (Verb::Pause, Staged) => next.status = Paused,
            (Verb::Resume, Paused) => {
                next.status = Staged;
                next.acknowledged_at = Some(now);
            }
            (Verb::Abort, Pending | Staged | Paused) => next.status = Aborted,
            (Verb::Advance, Staged) if self.is_at_last_stage() => return Err(Refusal::LastStage),
            (Verb::Advance, Staged) => next.begin_stage(self.stage.saturating_add(1), now),
            (verb, status) => return Err(Refusal::Status { verb, status }),
        }
        next.generation = self.generation.saturating_add(1);
        Ok(next)
    }

    /// Begins the first stage.
    pub(crate) fn begin(&mut self, now: UnixMillis) {
        self.status = Status::Staged;
        self.schedule_at = None;
        self.begin_stage(0, now);
    }

    pub(crate) fn begin_stage(&mut self, stage: usize, now: UnixMillis) {
        self.stage = stage;
        self.stage_started_at = Some(now);
    }
}
