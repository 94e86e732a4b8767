//! What travels over the queue of updates: one JSON object a queue message, told apart by `kind`.

use rs1_domain::json;
use rs1_domain::wire::OtaStatus;
use rs1_domain::{DeviceId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::fact::{Decision, Fact, Report, Sighting};

/// One queue message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OtaEvent {
    /// A device reported on `ota/status`.
    Status {
        /// The message's id, the same each time it is delivered.
        id: String,
        /// Who reported: the device of the topic.
        device_id: DeviceId,
        /// When the broker received it.
        received_at: UnixMillis,
        /// What it says.
        status: OtaStatus,
    },
    /// A device said what it is, and that matters: it has an open attempt, or it came online.
    State {
        /// Who said it.
        device_id: DeviceId,
        /// What it said.
        sighting: Sighting,
    },
    /// The broker answered for a trigger, and that could not be written down at once.
    Trigger {
        /// Whose.
        device_id: DeviceId,
        /// Of which rollout.
        rollout_id: String,
        /// Of which attempt.
        attempt: u32,
        /// When.
        at: UnixMillis,
        /// Whether the broker took it for a subscriber; else it had none.
        is_accepted: bool,
    },
    /// A device fetched the image too often, and was refused.
    DownloadRefused {
        /// Who.
        device_id: DeviceId,
        /// In which rollout.
        rollout_id: String,
        /// In which attempt.
        attempt: u32,
        /// When.
        at: UnixMillis,
    },
}

impl OtaEvent {
    /// The queue message's text.
    pub fn to_json(&self) -> String {
        // Text, numbers and booleans always serialize.
        json::write(self).unwrap_or_default()
    }

    /// Reads a queue message.
    ///
    /// # Errors
    /// Why it cannot be one: it never will.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let form: Form = json::read(text).map_err(|error| error.to_string())?;
        form.event().ok_or_else(|| "it lacks what its kind has, or is of no known kind".to_owned())
    }

    /// Whom it is about.
    pub fn device_id(&self) -> &DeviceId {
        match self {
            Self::Status { device_id, .. }
            | Self::State { device_id, .. }
            | Self::Trigger { device_id, .. }
            | Self::DownloadRefused { device_id, .. } => device_id,
        }
    }

    /// In which rollout; `None` if it names none: the one in which the device has an open attempt.
    pub fn rollout_id(&self) -> Option<&str> {
        match self {
            Self::Status { status, .. } => status.rollout_id.as_deref(),
            Self::State { .. } => None,
            Self::Trigger { rollout_id, .. } | Self::DownloadRefused { rollout_id, .. } => Some(rollout_id),
        }
    }

    /// What it says about the device's attempt.
    pub fn fact(&self) -> Fact {
        match self {
            Self::Status { received_at, status, .. } => {
                Fact::Report(Report { status: status.clone(), received_at: *received_at })
            }
            Self::State { sighting, .. } => Fact::State(sighting.clone()),
            Self::Trigger { attempt, at, is_accepted: true, .. } => Fact::Sent { attempt: *attempt, at: *at },
            Self::Trigger { attempt, at, is_accepted: false, .. } => {
                Fact::NoSubscriber { attempt: *attempt, at: *at }
            }
            Self::DownloadRefused { attempt, at, .. } => {
                Fact::Decided { attempt: *attempt, decision: Decision::TooManyDownloads, at: *at }
            }
        }
    }
}

/// Every field of every kind: serde's own reader of such an enum is 25 KB of code.
#[derive(Deserialize)]
struct Form {
    kind: String,
    device_id: DeviceId,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    received_at: Option<UnixMillis>,
    #[serde(default)]
    status: Option<OtaStatus>,
    #[serde(default)]
    sighting: Option<Sighting>,
    #[serde(default)]
    rollout_id: Option<String>,
    #[serde(default)]
    attempt: Option<u32>,
    #[serde(default)]
    at: Option<UnixMillis>,
    #[serde(default)]
    is_accepted: Option<bool>,
}

impl Form {
    fn event(self) -> Option<OtaEvent> {
        let device_id = self.device_id;
        Some(match self.kind.as_str() {
            "status" => OtaEvent::Status {
                id: self.id?,
                device_id,
                received_at: self.received_at?,
                status: self.status?,
            },
            "state" => OtaEvent::State { device_id, sighting: self.sighting? },
            "trigger" => OtaEvent::Trigger {
                device_id,
                rollout_id: self.rollout_id?,
                attempt: self.attempt?,
                at: self.at?,
                is_accepted: self.is_accepted?,
            },
            "download_refused" => OtaEvent::DownloadRefused {
                device_id,
                rollout_id: self.rollout_id?,
                attempt: self.attempt?,
                at: self.at?,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use rs1_domain::FirmwareVersion;
    use rs1_domain::wire::OtaPhase;

    use super::*;

    fn examples() -> [OtaEvent; 5] {
        let device_id = DeviceId::parse("3e32e97b9d6cf5e193d3a3a7e8fd9a97").unwrap();
        let version = FirmwareVersion::parse("1.2.0").unwrap();
        let at = UnixMillis(1_768_903_200_123);
        [
            OtaEvent::Status {
                id: "0006532A9C1F7B9DF445000013F90000".to_owned(),
                device_id: device_id.clone(),
                received_at: at,
                status: OtaStatus {
                    status: OtaPhase::Failed,
                    version: version.clone(),
                    progress: Some(40),
                    error: Some("hash_mismatch".to_owned()),
                    rollout_id: Some("rol-01".to_owned()),
                    timestamp: UnixMillis(12_000),
                },
            },
            OtaEvent::State {
                device_id: device_id.clone(),
                sighting: Sighting {
                    received_at: at,
                    online: true,
                    version,
                    elf_sha256: None,
                    boot_count: Some(7),
                    uptime_sec: Some(3),
                    new_connection: true,
                },
            },
            trigger(&device_id, at, true),
            trigger(&device_id, at, false),
            OtaEvent::DownloadRefused { device_id, rollout_id: "rol-01".to_owned(), attempt: 2, at },
        ]
    }

    fn trigger(device_id: &DeviceId, at: UnixMillis, is_accepted: bool) -> OtaEvent {
        let (device_id, rollout_id) = (device_id.clone(), "rol-01".to_owned());
        OtaEvent::Trigger { device_id, rollout_id, attempt: 2, at, is_accepted }
    }

    #[test]
    fn what_is_queued_reads_back() {
        for event in examples() {
            assert_eq!(OtaEvent::from_json(&event.to_json()), Ok(event));
        }
    }

    #[test]
    fn what_is_no_event_says_why() {
        for text in ["", "[]", "{}", r#"{"kind": "other"}"#, r#"{"kind": "state", "device_id": "x"}"#] {
            assert!(OtaEvent::from_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_says_whom_and_which_rollout_it_is_about() {
        let rollouts: Vec<_> = examples().iter().map(|event| event.rollout_id().map(str::to_owned)).collect();
        let named = Some("rol-01".to_owned());
        assert_eq!(rollouts, [named.clone(), None, named.clone(), named.clone(), named]);
        for event in examples() {
            assert_eq!(event.device_id().as_str(), "3e32e97b9d6cf5e193d3a3a7e8fd9a97");
            assert_eq!(event.fact().known_at(), UnixMillis(1_768_903_200_123));
        }
    }
}
