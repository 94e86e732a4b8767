//! The `config/status` payload (contract, section 3.5): what a device made of a zone configuration.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{self, Fields, integer};
use crate::{Faults, UnixMillis};

/// What became of a configuration on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigOutcome {
    /// It is in use.
    Applied,
    /// It is not, and will not be.
    Rejected,
    /// It has arrived and is not in use yet.
    Pending,
}

impl ConfigOutcome {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Pending => "pending",
        }
    }
}

/// One report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigStatus {
    /// The configuration's version.
    pub version: i64,
    /// What became of it.
    pub outcome: ConfigOutcome,
    /// Zones in use, 0 to 16.
    pub zone_count: Option<i64>,
    /// Why it was rejected, in the device's words, at most 256 characters of them.
    pub error: Option<String>,
    /// The device's clock.
    pub timestamp: UnixMillis,
}

/// What a version is at most: devices count in 32 bits with a sign.
pub const LAST_VERSION: i64 = 2_147_483_647;

/// Longest error that is kept.
const ERROR_CHARACTERS: usize = 256;

impl ConfigStatus {
    /// Reads a payload.
    ///
    /// # Errors
    /// Every fault, with its pointer into the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(payload).map_err(Faults::of_content)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let f = &mut faults;
        let version = fields
            .required("version", "must be an integer from 1", f, |value| integer(value, 1..=LAST_VERSION));
        let outcome =
            fields.required("status", "must be applied, rejected or pending", f, |value| {
                match value.as_str()? {
                    "applied" => Some(ConfigOutcome::Applied),
                    "rejected" => Some(ConfigOutcome::Rejected),
                    "pending" => Some(ConfigOutcome::Pending),
                    _ => None,
                }
            });
        let zone_count = fields
            .optional("zone_count", "must be an integer from 0 to 16", f, |value| integer(value, 0..=16));
        let error = fields
            .optional("error", "must be text", f, Value::as_str)
            .map(|text| text.chars().take(ERROR_CHARACTERS).collect());
        let timestamp = fields.required("timestamp", fields::TIME, f, fields::time);
        match (version, outcome, timestamp) {
            (Some(version), Some(outcome), Some(timestamp)) if faults.is_empty() => {
                Ok(Self { version, outcome, zone_count, error, timestamp })
            }
            _ => Err(faults),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_read() {
        let payload = json!({
            "version": 3, "status": "rejected", "zone_count": 2, "error": "x".repeat(300),
            "timestamp": "2026-01-20T10:00:00Z", "heap": 5,
        });
        let status = ConfigStatus::read(payload.to_string().as_bytes()).unwrap();
        assert_eq!((status.version, status.outcome), (3, ConfigOutcome::Rejected));
        assert_eq!(status.error, Some("x".repeat(256)));
        let least =
            br#"{"version": 1, "status": "applied", "error": null, "timestamp": "2026-01-20T10:00:00Z"}"#;
        assert_eq!(ConfigStatus::read(least).unwrap().error, None);
    }

    #[test]
    fn every_fault_is_named() {
        let payload = json!({"version": 0, "status": "fine", "zone_count": 17, "error": 5});
        let faults = ConfigStatus::read(payload.to_string().as_bytes()).unwrap_err();
        let pointers: Vec<_> = faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/version", "/status", "/zone_count", "/error", "/timestamp"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = ConfigStatus::read(&bytes);
        }
    }
}
