//! Updates, as the firmware carries them out (contract, sections 3.3, 3.4 and 5), and as it fails to.
//!
//! - [`manifest`]: what the cloud asks for; [`image`]: what makes an image one to start; [`flash`]: where it is
//!   written; [`faults`]: which devices misbehave; all pure;
//! - [`download`]: the HTTP client; [`job`]: one update from its first report to the reboot;
//! - [`updater`]: what of all that outlives a connection to the broker; [`tally`]: the accounts.
//!
//! Start reading at [`updater`].

pub mod download;
pub mod faults;
pub mod flash;
pub mod image;
pub mod job;
pub mod manifest;
#[cfg(test)]
pub mod shelf;
pub mod tally;
pub mod updater;

use std::time::Duration;

use rs1_domain::FirmwareVersion;

pub use self::faults::{Fate, OtaFaults};
pub use self::image::Trust;
pub use self::manifest::Manifest;
pub use self::updater::{Turn, Updater};
use crate::http::Origin;

/// What all devices of a fleet have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the virtual hosts of this machine are.
    pub local: Origin,
    /// Whom devices believe.
    pub trust: Trust,
    /// How many times faster than in the field waits pass.
    pub speed: f64,
    /// The largest range that is asked for; `None` asks for all the rest.
    pub request: Option<u64>,
}

impl Settings {
    /// A wait of the firmware, as long as it is here.
    pub fn pace(&self, wait: Duration) -> Duration {
        wait.div_f64(self.speed.max(f64::MIN_POSITIVE))
    }
}

/// What a report says of an update (contract, section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It was asked for.
    Pending,
    /// The signal is too weak for now.
    Deferred,
    /// The image is on its way.
    Downloading,
    /// It is being checked.
    Verifying,
    /// It is being made the one to boot from.
    Installing,
    /// It is installed; the reboot is next.
    Success,
    /// It will not be installed.
    Failed,
}

impl Status {
    /// The status as it stands in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Deferred => "deferred",
            Self::Downloading => "downloading",
            Self::Verifying => "verifying",
            Self::Installing => "installing",
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }
}

/// Something that a device has to say of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it goes.
    pub status: Status,
    /// How much of the image is there, in percent.
    pub progress: u8,
    /// What went wrong.
    pub error: Option<String>,
    /// The version that is meant.
    pub version: FirmwareVersion,
    /// On whose behalf.
    pub rollout_id: String,
}

/// A restart, and what runs after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The image that runs from then on, and its anti-rollback counter; `None` is the one that ran before.
    pub image: Option<(FirmwareVersion, u32)>,
    /// How many times it boots: twice when the new image does not come up.
    pub boots: u32,
    /// Why, as the state says.
    pub reason: &'static str,
}

/// What happens to an update, for those who watch.
#[derive(Debug)]
pub enum Update<'a> {
    /// A trigger came.
    Heard,
    /// A trigger is followed.
    Begins(&'a Manifest),
    /// Nothing comes of a trigger.
    Ignored(&'a str),
    /// A trigger is turned down for good.
    Refused(&'a str),
    /// A trigger is put off: the signal is too weak.
    Deferred,
    /// A download begins, or goes on from that byte.
    Downloading(u64),
    /// So many bytes of the image came.
    Came(u64),
    /// The download broke off, or was cut; so many of the bytes that had come will come again.
    Cut {
        /// Why.
        why: &'a str,
        /// How far it had come.
        at: u64,
        /// The bytes that will come again.
        again: u64,
    },
    /// The server answered 200 to a range, and the download began again.
    Restarted,
    /// An answer was not as the contract says.
    Breach(&'a str),
    /// The next attempt is after that.
    Waits(Duration),
    /// The image is complete.
    Downloaded(Duration),
    /// It is checked, and the one to boot from.
    Installed,
    /// It will not be installed.
    Failed(&'a str),
    /// The device restarts.
    Booted(&'a Boot),
    /// A report is handed to the broker.
    Reported {
        /// What it says.
        status: Status,
        /// Whether a fault made it.
        copy: bool,
    },
}
