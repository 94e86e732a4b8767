//! What there is to know about a device's attempt: what the device said, what the broker said, and what we
//! decided.
//!
//! Two clocks appear. `timestamp` is the device's own, and may be hours or decades off; `received_at` and
//! `at` are the broker's and ours, which agree to within seconds. Only the latter decide what came before what,
//! except among the reports of one attempt, which the device's clock orders as long as it was set.

use rs1_domain::time::SECOND;
use rs1_domain::wire::{OtaPhase, OtaStatus, State};
use rs1_domain::{FirmwareVersion, UnixMillis};
use serde::{Deserialize, Serialize};

/// Clocks that say less than this, 2025-01-01, were never set: a device without the time counts from 1970.
const CLOCK_UNSET_BEFORE: UnixMillis = UnixMillis(1_735_689_600_000);

/// Something about a device's attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The device reported on `ota/status`.
    Report(Report),
    /// The device said what it is.
    State(Sighting),
    /// The broker took the trigger of that attempt for a subscriber.
    Sent {
        /// Of which attempt.
        attempt: u32,
        /// When.
        at: UnixMillis,
    },
    /// The broker had no subscriber for the trigger of that attempt.
    NoSubscriber {
        /// Of which attempt.
        attempt: u32,
        /// When.
        at: UnixMillis,
    },
    /// We decided something about that attempt.
    Decided {
        /// About which attempt.
        attempt: u32,
        /// What.
        decision: Decision,
        /// When.
        at: UnixMillis,
    },
}

impl Fact {
    /// When the broker or we came to know it.
    pub fn known_at(&self) -> UnixMillis {
        match self {
            Self::Report(report) => report.received_at,
            Self::State(sighting) => sighting.received_at,
            Self::Sent { at, .. } | Self::NoSubscriber { at, .. } | Self::Decided { at, .. } => *at,
        }
    }
}

/// What may be decided about an attempt, by the planner or by a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It never was sent, and is taken back: the device is to be triggered anew some other time.
    Withdrawn,
    /// The device never acknowledged its trigger.
    NotAcknowledged,
    /// The device began and did not finish.
    NotFinished,
    /// The device fetched the image so often that it is refused.
    TooManyDownloads,
    /// The rollout was given up before the trigger was sent.
    Cancelled,
}

impl Decision {
    /// The name, as it stands in events and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Withdrawn => "withdrawn",
            Self::NotAcknowledged => "not_acknowledged",
            Self::NotFinished => "not_finished",
            Self::TooManyDownloads => "too_many_downloads",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A device's report, and when the broker received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it says.
    pub status: OtaStatus,
    /// By the broker's clock.
    pub received_at: UnixMillis,
}

impl Report {
    /// When the device said it, as well as can be told: by its own clock, or the broker's if that was not set.
    pub(crate) fn said_at(&self) -> UnixMillis {
        if self.status.timestamp < CLOCK_UNSET_BEFORE { self.received_at } else { self.status.timestamp }
    }

    /// Whether the device says that it will never take this image.
    pub fn is_refusal(&self) -> bool {
        self.status.status == OtaPhase::Failed && self.status.error.as_deref().is_some_and(is_refusal)
    }
}

/// Codes with which a device's error text begins when it will never take an image: its version, its memory or its
/// partitions do not allow it, and trying again would change nothing.
const REFUSALS: [&str; 14] = [
    "refused",
    "version",
    "version_not_newer",
    "version_rejected",
    "downgrade",
    "rollback",
    "anti_rollback",
    "memory",
    "no_memory",
    "insufficient_memory",
    "partition",
    "no_partition",
    "insufficient_space",
    "image_too_large",
];

/// Whether an error text is a refusal: what stands before its first colon is one of the codes, in any case, with spaces,
/// hyphens or underscores.
pub fn is_refusal(error: &str) -> bool {
    let code = error.split(':').next().unwrap_or_default().trim();
    let code: String = code
        .chars()
        .map(|sign| if matches!(sign, ' ' | '-') { '_' } else { sign.to_ascii_lowercase() })
        .collect();
    REFUSALS.contains(&code.as_str())
}

/// Problem types (RFC 9457) of downloads that we refuse for the rollout's sake: it is paused or over, its artifact is
/// withdrawn, or the link was not used in time.
const TURNED_AWAY: [&str; 3] = ["not-in-rollout", "url-expired", "yanked"];

/// Whether an error text names a problem with which we turned the device away, anywhere, with hyphens or underscores:
/// `http_403_not-in-rollout`. That the device then gives up says nothing about the image.
pub fn is_turned_away(error: &str) -> bool {
    let error = error.replace('_', "-").to_ascii_lowercase();
    TURNED_AWAY.iter().any(|problem| error.contains(problem))
}

/// What a device said of itself that matters to its update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// By the broker's clock.
    pub received_at: UnixMillis,
    /// False in the last will and in a goodbye, which were written before and prove nothing.
    pub online: bool,
    /// The version that runs.
    pub version: FirmwareVersion,
    /// SHA-256 of the build that runs, or the beginning of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub elf_sha256: Option<String>,
    /// Boots since manufacture.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boot_count: Option<i64>,
    /// Seconds since boot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uptime_sec: Option<i64>,
    /// Whether the device was not connected before this.
    #[serde(default)]
    pub new_connection: bool,
}

impl Sighting {
    /// What a state message says.
    pub fn of(state: &State, received_at: UnixMillis, new_connection: bool) -> Self {
        Self {
            received_at,
            online: state.online,
            version: state.firmware_version.clone(),
            elf_sha256: state.elf_sha256.clone(),
            boot_count: state.boot_count,
            uptime_sec: state.uptime_sec,
            new_connection,
        }
    }

    /// The latest instant at which the device can have booted: uptimes are whole seconds, rounded down, and a message
    /// takes time to arrive.
    pub(crate) fn booted_at(&self) -> Option<UnixMillis> {
        Some(booted_at(self.received_at, self.uptime_sec?))
    }
}

/// See [`Sighting::booted_at`].
pub(crate) fn booted_at(received_at: UnixMillis, uptime_sec: i64) -> UnixMillis {
    received_at.plus(uptime_sec.saturating_mul(SECOND).saturating_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_failures_by_their_code() {
        for text in [
            "version_not_newer: 1.2.0 runs already",
            "Insufficient memory",
            "no-partition",
            "refused",
            "DOWNGRADE: 1.1.0 < 1.2.0",
        ] {
            assert!(is_refusal(text), "{text}");
        }
        for text in ["http_403_not-in-rollout", "download: 403 URL_EXPIRED", "yanked"] {
            assert!(is_turned_away(text) && !is_refusal(text), "{text}");
        }
        for text in ["", "http_403_bad-signature", "http_429_too-many-attempts", "hash_mismatch"] {
            assert!(!is_turned_away(text), "{text}");
        }
        for text in
            ["", "hash_mismatch", "download failed: no memory of it", "partition write error", "timeout"]
        {
            assert!(!is_refusal(text), "{text}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_not_believed() {
        let report = |timestamp| Report {
            status: OtaStatus {
                status: OtaPhase::Pending,
                version: FirmwareVersion::parse("1.2.0").unwrap(),
                progress: None,
                error: None,
                rollout_id: None,
                timestamp,
            },
            received_at: UnixMillis(1_768_903_200_000),
        };
        assert_eq!(report(UnixMillis(12_000)).said_at(), UnixMillis(1_768_903_200_000));
        assert_eq!(report(UnixMillis(1_900_000_000_000)).said_at(), UnixMillis(1_900_000_000_000));
    }
}
