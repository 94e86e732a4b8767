//! What a plan has to say about itself: where the rollout stands, and what holds back what did not happen.

use litemap::LiteMap;
use rs1_domain::{UnixMillis, json};
use serde::{Deserialize, Serialize};

use crate::attempt::DeviceState;

/// Why a device is not triggered. In the order in which the reasons are asked for: the first one that holds is given.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldBack {
    /// It is another variant, or has not said which.
    Sku,
    /// The rollout's selector does not choose it.
    Selector,
    /// It has not said which version it runs.
    VersionUnknown,
    /// It runs the version already.
    UpToDate,
    /// It runs a higher version, and the rollout is not forced.
    Version,
    /// It once confirmed an image with a higher anti-rollback counter.
    AntiRollback,
    /// Its cohort is not in the stage, or the stage's share is used up.
    Cohort,
    /// It is under way in another rollout.
    AnotherRollout,
    /// It was updated too short a time ago.
    Cooldown,
    /// It is not connected, or has not been seen since its last trigger found nobody.
    Offline,
    /// Its signal is weaker than the rollout asks for.
    Rssi,
    /// It was offered the image as often as allowed.
    Offers,
    /// The artifact was withdrawn.
    ArtifactYanked,
    /// The rollout has not begun.
    NotStarted,
    /// The rollout is paused.
    Paused,
    /// The rollout is over.
    Ended,
    /// This run has decided as many triggers as one may.
    Batch,
    /// The rate's places in the coming minute are taken.
    Rate,
}

impl From<HoldBack> for usize {
    /// Its place in [`HoldBack::ALL`].
    fn from(value: HoldBack) -> Self {
        value as Self
    }
}

impl HoldBack {
    /// Every reason, in the order in which they are asked for.
    pub const ALL: [Self; 18] = [
        Self::Sku,
        Self::Selector,
        Self::VersionUnknown,
        Self::UpToDate,
        Self::Version,
        Self::AntiRollback,
        Self::Cohort,
        Self::AnotherRollout,
        Self::Cooldown,
        Self::Offline,
        Self::Rssi,
        Self::Offers,
        Self::ArtifactYanked,
        Self::NotStarted,
        Self::Paused,
        Self::Ended,
        Self::Batch,
        Self::Rate,
    ];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sku => "sku",
            Self::Selector => "selector",
            Self::VersionUnknown => "version_unknown",
            Self::UpToDate => "up_to_date",
            Self::Version => "version",
            Self::AntiRollback => "anti_rollback",
            Self::Cohort => "cohort",
            Self::AnotherRollout => "another_rollout",
            Self::Cooldown => "cooldown",
            Self::Offline => "offline",
            Self::Rssi => "rssi",
            Self::Offers => "offers",
            Self::ArtifactYanked => "artifact_yanked",
            Self::NotStarted => "not_started",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Batch => "batch",
            Self::Rate => "rate",
        }
    }

    /// Whether it says that the rollout is not for this device at all, as things are.
    pub fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::Sku
                | Self::Selector
                | Self::VersionUnknown
                | Self::UpToDate
                | Self::Version
                | Self::AntiRollback
        )
    }
}

/// What is to come before the next stage (or, in the last, before the end).
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// Somebody starts it, or its time comes.
    Start,
    /// Somebody resumes it.
    Resume,
    /// The stage's time passes.
    Time,
    /// More devices confirm.
    Confirmed,
    /// The stage's failure share is not under its limit: somebody advances, or resumes after a pause.
    FailureShare,
    /// Devices that are under way come to an end.
    UnderWay,
    /// Devices that are waiting get their turn, or can be reached.
    Devices,
}

/// How a set of devices has fared.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Devices that were triggered, and neither refused nor got away.
    pub reached: u32,
    /// Of them, under way.
    pub in_flight: u32,
    /// Of them, with an outcome: confirmed, failed, rolled back or timed out.
    pub outcomes: u32,
    /// Of these, confirmed.
    pub confirmed: u32,
    /// Of these, failed, rolled back or timed out.
    pub failures: u32,
    /// Of the failures, those that nobody has taken note of by resuming.
    pub new_failures: u32,
    /// Of the new failures, those that rolled back.
    pub new_rolled_back: u32,
    /// `new_failures` of `outcomes`; 0 if there are none.
    pub failure_share: f64,
}

/// How the present stage stands.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// Index of the stage.
    pub index: usize,
    /// How many stages there are.
    pub of: usize,
    /// How much of the fleet it covers.
    pub percent: u8,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<UnixMillis>,
    /// When its time has passed; `None` if it has no end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ends_at: Option<UnixMillis>,
    /// The devices that were first triggered in it.
    #[serde(flatten)]
    pub own: Tally,
    /// Devices that it may reach in all, earlier stages' included: its share of the fleet, one at least.
    pub capacity: u32,
    /// Confirmed devices that it needs to advance.
    pub min_confirmed: u32,
    /// The share of failures that it must stay under.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_failure_share: Option<f64>,
}

/// Where a rollout stands, by the plan.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "RolloutReport"))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When the plan was made.
    pub at: UnixMillis,
    /// The status after the plan.
    pub status: String,
    /// Devices of the rollout: all that it is for, and all that it ever triggered.
    pub devices: u32,
    /// How many devices are in each state; those never triggered are in none.
    #[serde(serialize_with = "json::as_object")]
    #[cfg_attr(feature = "schema", schemars(with = "std::collections::BTreeMap<DeviceState, u32>"))]
    pub counts: LiteMap<DeviceState, u32>,
    /// How many devices are held back, by the reason.
    #[serde(serialize_with = "json::as_object")]
    #[cfg_attr(feature = "schema", schemars(with = "std::collections::BTreeMap<HoldBack, u32>"))]
    pub held_back: LiteMap<HoldBack, u32>,
    /// All devices together. Halts are judged by these.
    pub total: Tally,
    /// Outcomes from which on halts are judged.
    pub judged_from: u32,
    /// Whether there are as many.
    pub is_judged: bool,
    /// Failures of the last hour that count towards the spike rule, of all rollouts.
    pub recent_failures: u32,
    /// The present stage.
    pub stage: StageReport,
    /// What the next step waits for; empty when the rollout is over.
    pub awaits: Vec<Awaited>,
    /// Devices that the rollout is for, or was, and that never were reached.
    pub never_reached: u32,
    /// The next instant at which something may change only because time has passed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_judgement_at: Option<UnixMillis>,
}
