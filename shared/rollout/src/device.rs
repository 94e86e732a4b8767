//! A device as the planner sees it.

use rs1_domain::{DeviceId, FirmwareVersion, Sku, UnixMillis};

use crate::attempt::{Attempt, Boot};
use crate::cause::Cause;
use crate::cohort::cohort;
use crate::fact::booted_at;

/// A device of the fleet, with its attempt in the rollout that is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Who it is.
    pub id: DeviceId,
    /// Its [`cohort`], 0 to 99.
    pub cohort: u8,
    /// Its variant, as far as that is known.
    pub sku: Option<Sku>,
    /// Whether it is connected, as far as is known.
    pub online: bool,
    /// The latest sign of life that decided `online`.
    pub presence_at: UnixMillis,
    /// The version that runs.
    pub version: Option<FirmwareVersion>,
    /// Signal strength in dBm.
    pub wifi_rssi: Option<i64>,
    /// Boots since manufacture.
    pub boot_count: Option<i64>,
    /// Seconds since boot, at `state_at`.
    pub uptime_sec: Option<i64>,
    /// When it last said what is above.
    pub state_at: UnixMillis,
    /// When it last confirmed an update, of any rollout.
    pub confirmed_at: Option<UnixMillis>,
    /// The highest anti-rollback counter of an image that it confirmed.
    pub fw_version: Option<u32>,
    /// Labels that operators gave it.
    pub tags: Vec<String>,
    /// Whether it has an open attempt in another rollout.
    pub busy_elsewhere: bool,
    /// Its attempt in this rollout, if it ever was triggered.
    pub attempt: Option<Box<Attempt>>,
}

impl Device {
    /// A device of which nothing is known but who it is.
    pub fn new(id: DeviceId) -> Self {
        Self {
            cohort: cohort(&id),
            id,
            sku: None,
            online: false,
            presence_at: UnixMillis(0),
            version: None,
            wifi_rssi: None,
            boot_count: None,
            uptime_sec: None,
            state_at: UnixMillis(0),
            confirmed_at: None,
            fw_version: None,
            tags: Vec::new(),
            busy_elsewhere: false,
            attempt: None,
        }
    }

    /// The version it ran when this rollout first chose it: choosing by version must not lose sight of a device because
    /// it was updated.
    pub fn version_when_chosen(&self) -> Option<&FirmwareVersion> {
        self.attempt.as_ref().and_then(|attempt| attempt.from_version.as_ref()).or(self.version.as_ref())
    }

    /// The boot that it is in, to tell later ones from.
    pub(crate) fn boot(&self) -> Boot {
        Boot { count: self.boot_count, at: self.uptime_sec.map(|uptime| booted_at(self.state_at, uptime)) }
    }
}

/// All that a plan is made from, besides the rollout itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The devices of the variant, in any order.
    pub devices: Vec<Device>,
    /// When devices failed lately, in any rollout: at least as far back as the policy's spike window, and at least as many
    /// of the latest as it takes to exceed the policy's number; in any order.
    pub recent_failures: Vec<UnixMillis>,
    /// Why the artifact may not be sent to anybody, if so: [`Cause::ArtifactYanked`] or [`Cause::KeyRevoked`].
    pub withdrawn: Option<Cause>,
}
