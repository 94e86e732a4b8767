//! Which devices of a variant a rollout is for.

use rs1_domain::{DeviceId, FirmwareVersion};
use serde::{Deserialize, Serialize};

use crate::device::Device;

/// A choice of devices: all that match every list that is not empty; a list is matched by any of its
/// entries. Lists are kept sorted, without repetitions.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selector {
    /// Devices with any of these tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Devices that run any of these versions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<FirmwareVersion>,
    /// These devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_ids: Vec<DeviceId>,
}

impl Selector {
    /// Most tags of a selector.
    pub const MAX_TAGS: usize = 32;
    /// Most versions.
    pub const MAX_VERSIONS: usize = 32;
    /// Most devices: 1,000 ids are about 35 KB of a request's 64.
    pub const MAX_DEVICES: usize = 1_000;

    /// Sorts the lists and drops repetitions.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.tags = normalized(self.tags);
        self.versions = normalized(self.versions);
        self.device_ids = normalized(self.device_ids);
        self
    }

    /// Whether a device is chosen.
    pub fn matches(&self, device: &Device) -> bool {
        let tagged = || self.tags.iter().any(|tag| device.tags.contains(tag));
        let runs = || device.version_when_chosen().is_some_and(|version| self.versions.contains(version));
        (self.device_ids.is_empty() || self.device_ids.binary_search(&device.id).is_ok())
            && (self.tags.is_empty() || tagged())
            && (self.versions.is_empty() || runs())
    }
}

/// Sorted, each once. Put in one by one: `sort` would be 5 KB of code for each of three types, for lists this short.
fn normalized<T: Ord>(list: Vec<T>) -> Vec<T> {
    let mut sorted = Vec::with_capacity(list.len());
    for item in list {
        if let Err(place) = sorted.binary_search(&item) {
            sorted.insert(place, item);
        }
    }
    sorted
}

/// Whether a text may be a tag: 1 to 32 of `[a-z0-9_-]`, as operators give them to devices.
pub fn is_tag(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}
