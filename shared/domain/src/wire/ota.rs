//! Updates on the wire: `ota/trigger`, which tells a device to begin, and `ota/status`, in which it says
//! how it goes (contract, sections 3.3 and 3.4).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{self, Fields, integer};
use crate::json;
use crate::{Faults, FirmwareVersion, UnixMillis, hex};

/// The signal strength below which a device puts an update off when a trigger names none, in dBm.
pub const DEFAULT_MIN_RSSI: i64 = -70;

/// Most characters of a device's error text that are kept.
const ERROR_LENGTH: usize = 256;

/// What is published on `ota/trigger`. Devices refuse a manifest with any other field, so this has exactly
/// the contract's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtaTrigger {
    /// The version that the image brings.
    pub version: FirmwareVersion,
    /// Where the image is, over https.
    pub url: String,
    /// SHA-256 of the whole file, 64 lower-case hex digits.
    pub sha256: String,
    /// The rollout, as the device is to name it in its reports: 1 to 64 of `[A-Za-z0-9-]`.
    pub rollout_id: String,
    /// When this manifest was made.
    pub issued_at: UnixMillis,
    /// Below this many dBm the device waits.
    pub min_rssi: i64,
    /// When the URL ceases to be good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMillis>,
    /// Whether the device is to take a version that is not newer than its own.
    pub force: bool,
}

const TRIGGER_FIELDS: [&str; 8] =
    ["version", "url", "sha256", "rollout_id", "issued_at", "min_rssi", "expires_at", "force"];

impl OtaTrigger {
    /// Reads a manifest as strictly as devices do: for simulated devices, and to prove what is sent.
    ///
    /// # Errors
    /// Every fault, an unknown field included.
    pub fn read(payload: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(payload).map_err(Faults::of_content)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let f = &mut faults;
        fields.refuse_unknown(&TRIGGER_FIELDS, f);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let version = fields.required("version", FirmwareVersion::EXPECTED, f, |value| {
            FirmwareVersion::parse(value.as_str()?)
        });
        let url = fields
            .required("url", "must be an https URL", f, |value| text(value).filter(|url| is_download(url)));
        let sha256 = fields.required("sha256", "must be 64 hex digits", f, |value| {
            text(value).filter(|digits| hex::is_lower_hex(digits, 64))
        });
        let rollout_id =
            fields.required("rollout_id", ROLLOUT_ID, f, |value| text(value).filter(|id| is_rollout_id(id)));
        let issued_at = fields.required("issued_at", fields::TIME, f, fields::time);
        let min_rssi = fields
            .optional("min_rssi", "must be an integer from -100 to 0", f, |value| integer(value, -100..=0))
            .unwrap_or(DEFAULT_MIN_RSSI);
        let expires_at = fields.optional("expires_at", fields::TIME, f, fields::time);
        let force = fields.optional("force", "must be true or false", f, Value::as_bool).unwrap_or(false);
        let (Some(version), Some(url), Some(sha256), Some(rollout_id), Some(issued_at), true) =
            (version, url, sha256, rollout_id, issued_at, faults.is_empty())
        else {
            return Err(faults);
        };
        Ok(Self { version, url, sha256, rollout_id, issued_at, min_rssi, expires_at, force })
    }

    /// The payload to publish.
    pub fn to_json(&self) -> String {
        // Strings, numbers and booleans always serialize.
        json::write(self).unwrap_or_default()
    }
}

/// `https://…`; on the local stack, which has no certificates, `http://` of this machine as well.
fn is_download(url: &str) -> bool {
    let local = || {
        let host = url.strip_prefix("http://").and_then(|rest| rest.split(['/', ':', '?']).next());
        host.is_some_and(|host| host == "127.0.0.1" || host == "localhost" || host.ends_with(".localhost"))
    };
    url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) || local()
}

const ROLLOUT_ID: &str = "must be 1 to 64 letters, digits and hyphens";

/// `[A-Za-z0-9-]{1,64}`: what devices take for the id of a rollout.
pub fn is_rollout_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// How far a device says an update has come.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtaPhase {
    /// It has the trigger.
    Pending,
    /// It waits, for a better signal or a better time.
    Deferred,
    /// It fetches the image.
    Downloading,
    /// It checks hash and signature.
    Verifying,
    /// It makes the image the one to boot next.
    Installing,
    /// The image is in place. Today's firmware says so *before* it reboots: installed, not running.
    Success,
    /// It gave up, or never began.
    Failed,
}

impl OtaPhase {
    /// Every phase.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Deferred,
        Self::Downloading,
        Self::Verifying,
        Self::Installing,
        Self::Success,
        Self::Failed,
    ];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
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

    /// Reads the wire name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// What a device says on `ota/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtaStatus {
    /// How far it has come.
    pub status: OtaPhase,
    /// The version that it is updating to.
    pub version: FirmwareVersion,
    /// Per cent of the phase, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub progress: Option<i64>,
    /// What went wrong, at most 256 characters of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// The rollout that the trigger named. `None` when the update came from somewhere else.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rollout_id: Option<String>,
    /// The device's clock, which may be wrong.
    pub timestamp: UnixMillis,
}

impl OtaStatus {
    /// Whether the device gave up because the image's hash or signature was not good. Devices say why in words; of those
    /// that are known `sha256_mismatch`, `bad_signature`, `bad_signature_block` and `unknown_key` are such.
    pub fn rejects_image(&self) -> bool {
        let error = self.error.as_deref().unwrap_or_default().to_ascii_lowercase();
        let words = ["sha256", "sha-256", "hash", "signature", "checksum", "unknown_key"];
        self.status == OtaPhase::Failed && words.iter().any(|word| error.contains(word))
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Every fault, with its pointer into the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(payload).map_err(Faults::of_content)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let f = &mut faults;
        let status = fields.required(
            "status",
            "must be pending, deferred, downloading, verifying, installing, success or failed",
            f,
            |value| OtaPhase::parse(value.as_str()?),
        );
        let version = fields.required("version", FirmwareVersion::EXPECTED, f, |value| {
            FirmwareVersion::parse(value.as_str()?)
        });
        let progress = fields.optional("progress", "must be a number from 0 to 100", f, percent);
        let error = fields
            .optional("error", "must be text or null", f, Value::as_str)
            .filter(|text| !text.is_empty())
            .map(|text| text.chars().take(ERROR_LENGTH).collect());
        // An update without a rollout is none of a rollout's business, and not a device's fault.
        let rollout_id = fields
            .optional("rollout_id", ROLLOUT_ID, f, |value| {
                value.as_str().filter(|id| id.is_empty() || is_rollout_id(id))
            })
            .filter(|id| !id.is_empty())
            .map(str::to_owned);
        let timestamp = fields.required("timestamp", fields::TIME, f, fields::time);
        let (Some(status), Some(version), Some(timestamp), true) =
            (status, version, timestamp, faults.is_empty())
        else {
            return Err(faults);
        };
        Ok(Self { status, version, progress, error, rollout_id, timestamp })
    }
}

/// A number from 0 to 100, its fraction cut off.
fn percent(value: &Value) -> Option<i64> {
    let number = value.as_f64().filter(|number| (0.0..=100.0).contains(number))?;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within 0 and 100 first")]
    Some(number as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn trigger() -> Value {
        json!({
            "version": "1.2.0", "url": "https://ota.optic.works/firmware/rs1_pro/1.2.0.bin?sig=x", "sha256": "ab".repeat(32),
            "rollout_id": "rol-01", "issued_at": "2026-01-20T10:00:00Z", "min_rssi": -75, "expires_at": "2026-01-20T10:15:00Z",
            "force": true,
        })
    }

    #[test]
    fn a_manifest_has_the_contracts_fields_and_no_other() {
        let manifest = OtaTrigger::read(trigger().to_string().as_bytes()).unwrap();
        let sent: Value = serde_json::from_str(&manifest.to_json()).unwrap();
        assert_eq!(sent, trigger());
        let least = OtaTrigger { expires_at: None, ..manifest };
        let sent: Value = serde_json::from_str(&least.to_json()).unwrap();
        assert_eq!(sent.as_object().unwrap().len(), 7, "what is absent is left out, not null: {sent}");
        assert_eq!(OtaTrigger::read(least.to_json().as_bytes()), Ok(least));
    }

    #[test]
    fn a_manifest_that_a_device_would_refuse_is_refused() {
        for (name, value) in [
            ("version", json!("new")),
            ("url", json!("http://ota.optic.works/x")),
            ("url", json!("https://")),
            ("url", json!("http://localhost.evil.example/x")),
            ("sha256", json!("AB".repeat(32))),
            ("rollout_id", json!("rol_01")),
            ("rollout_id", json!("")),
            ("rollout_id", json!("r".repeat(65))),
            ("issued_at", json!(5)),
            ("min_rssi", json!(1)),
            ("expires_at", json!("soon")),
            ("force", json!("yes")),
            ("extra", json!(1)),
        ] {
            let mut body = trigger();
            body[name] = value;
            let faults = OtaTrigger::read(body.to_string().as_bytes()).unwrap_err();
            assert_eq!(faults.as_slice()[0].pointer, format!("/{name}"), "{body}");
        }
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let mut body = trigger();
        for name in ["min_rssi", "expires_at", "force"] {
            body.as_object_mut().unwrap().remove(name);
        }
        body["url"] = json!("http://ota.localhost:8787/firmware/rs1_pro/1.2.0.bin");
        let manifest = OtaTrigger::read(body.to_string().as_bytes()).unwrap();
        assert_eq!((manifest.min_rssi, manifest.expires_at, manifest.force), (-70, None, false));
    }

    #[test]
    fn a_status_is_read_and_unknown_fields_are_ignored() {
        let status = OtaStatus::read(
            json!({
                "status": "downloading", "version": "1.2.0", "progress": 45.9, "error": null, "rollout_id": "rol-01",
                "timestamp": "1970-01-01T00:00:12Z", "slot": {"next": 1},
            })
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        assert_eq!(status.status, OtaPhase::Downloading);
        assert_eq!(status.progress, Some(45));
        assert_eq!(status.error, None);
        assert_eq!(status.rollout_id.as_deref(), Some("rol-01"));
        assert_eq!(status.timestamp, UnixMillis(12_000));
    }

    #[test]
    fn a_device_that_rejects_an_image_says_so_in_words() {
        let status = |status: &str, error: &str| {
            let body = json!({"status": status, "version": "1.2.0", "error": error, "timestamp": "2026-01-20T10:00:00Z"});
            OtaStatus::read(body.to_string().as_bytes()).unwrap()
        };
        for error in
            ["sha256_mismatch", "bad_signature", "bad_signature_block", "unknown_key", "Image hash differs"]
        {
            assert!(status("failed", error).rejects_image(), "{error}");
            assert!(!status("downloading", error).rejects_image(), "{error}, and goes on");
        }
        for error in ["", "download_failed", "no space left"] {
            assert!(!status("failed", error).rejects_image(), "{error}");
        }
    }

    #[test]
    fn an_update_that_came_from_elsewhere_names_no_rollout() {
        for rollout in [json!(null), json!("")] {
            let body = json!({"status": "failed", "version": "1.2.0", "rollout_id": rollout, "error": "é".repeat(300),
                "timestamp": "2026-01-20T10:00:00Z"});
            let status = OtaStatus::read(body.to_string().as_bytes()).unwrap();
            assert_eq!(status.rollout_id, None);
            assert_eq!(status.error.unwrap().chars().count(), 256);
        }
    }

    #[test]
    fn every_fault_of_a_status_is_named() {
        let body =
            json!({"status": "done", "progress": 101, "error": 5, "rollout_id": "rol 1", "timestamp": "now"});
        let faults = OtaStatus::read(body.to_string().as_bytes()).unwrap_err();
        let pointers: Vec<_> = faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/status", "/version", "/progress", "/error", "/rollout_id", "/timestamp"]);
    }

    #[test]
    fn every_phase_has_its_wire_name() {
        for phase in OtaPhase::ALL {
            assert_eq!(OtaPhase::parse(phase.as_str()), Some(phase));
            assert_eq!(json!(phase), json!(phase.as_str()));
        }
        assert_eq!(OtaPhase::parse("done"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes: Vec<u8>) {
            let _ = (OtaStatus::read(&bytes), OtaTrigger::read(&bytes));
        }
    }
}
