//! Why a rollout was halted.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What made the planner pause or abort a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// Too large a share of its devices failed.
    FailureShare {
        /// Failures that nobody had taken note of.
        failures: u32,
        /// Devices with an outcome.
        outcomes: u32,
    },
    /// Too large a share of its devices fell back to their old image.
    RolledBackShare {
        /// Devices that rolled back, of the failures that nobody had taken note of.
        rolled_back: u32,
        /// Devices with an outcome.
        outcomes: u32,
    },
    /// Too many devices failed in a short time, across all rollouts.
    FailureSpike {
        /// How many.
        failures: u32,
    },
    /// The artifact was withdrawn.
    ArtifactYanked,
    /// The key that signed the artifact was revoked.
    KeyRevoked,
}

impl Cause {
    /// The name in the database, in events and in alerts.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::FailureShare { .. } => "failure_share",
            Self::RolledBackShare { .. } => "rolled_back_share",
            Self::FailureSpike { .. } => "failure_spike",
            Self::ArtifactYanked => "artifact_yanked",
            Self::KeyRevoked => "key_revoked",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailureShare { failures, outcomes } => {
                write!(f, "{failures} of {outcomes} devices with an outcome failed")
            }
            Self::RolledBackShare { rolled_back, outcomes } => {
                write!(f, "{rolled_back} of {outcomes} devices with an outcome fell back to their old image")
            }
            Self::FailureSpike { failures } => {
                write!(f, "{failures} devices failed within an hour, across rollouts")
            }
            Self::ArtifactYanked => f.write_str("the artifact was withdrawn"),
            Self::KeyRevoked => f.write_str("the key that signed the artifact was revoked"),
        }
    }
}
