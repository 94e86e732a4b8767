//! The manifest of an update, read as strictly as the firmware reads it (contract, section 3.3): a field
//! that it does not know, and it refuses the whole.
//!
//! Written from the contract, not from the cloud's types, so that the two check each other.

use rs1_domain::{FirmwareVersion, UnixMillis, hex};
use serde::Deserialize;

/// The signal that an update wants unless its manifest says otherwise, in dBm.
const MIN_RSSI: i64 = -70;
/// The longest rollout id.
const ROLLOUT_ID: usize = 64;

/// An update that the cloud asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The version of the image.
    pub version: FirmwareVersion,
    /// Where the image is.
    pub url: String,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
    /// On whose behalf; reports name it.
    pub rollout_id: String,
    /// The weakest signal with which to begin, in dBm.
    pub min_rssi: i64,
    /// From when on it is void.
    pub expires_at: Option<UnixMillis>,
    /// Whether an older version may follow.
    pub force: bool,
}

/// A manifest that the firmware does not follow. What of it could be read is in the report about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The version, if that could be read.
    pub version: Option<FirmwareVersion>,
    /// The rollout, if that could be read.
    pub rollout_id: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    version: String,
    url: String,
    sha256: String,
    rollout_id: String,
    issued_at: String,
    min_rssi: Option<i64>,
    expires_at: Option<String>,
    force: Option<bool>,
}

impl Manifest {
    /// Reads the payload of an `ota/trigger`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(payload: &[u8]) -> Result<Self, Unreadable> {
        let fields = serde_json::from_slice::<Fields>(payload).map_err(|error| error.to_string());
        fields.and_then(Self::check).map_err(|why| {
            let known: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
            let text = |name| known.get(name).and_then(serde_json::Value::as_str);
            Unreadable {
                version: text("version").and_then(FirmwareVersion::parse),
                rollout_id: text("rollout_id").filter(|id| is_rollout_id(id)).map(str::to_owned),
                why,
            }
        })
    }

    fn check(fields: Fields) -> Result<Self, String> {
        let time = |name: &str, text: &str| {
            UnixMillis::parse_rfc3339(text).ok_or_else(|| format!("{name} is no time: {text}"))
        };
        // The firmware has no use for it but insists that it is there and is one.
        time("issued_at", &fields.issued_at)?;
        if !is_rollout_id(&fields.rollout_id) {
            return Err("rollout_id is none".to_owned());
        }
        if !fields.url.starts_with("https://") {
            return Err("url is not https".to_owned());
        }
        let version = FirmwareVersion::parse(&fields.version).ok_or("version is none")?;
        let sha256 = hex::decode(&fields.sha256).ok_or("sha256 is not 64 hex digits")?;
        let expires_at = fields.expires_at.map(|text| time("expires_at", &text)).transpose()?;
        Ok(Self {
            version,
            url: fields.url,
            sha256,
            rollout_id: fields.rollout_id,
            min_rssi: fields.min_rssi.unwrap_or(MIN_RSSI),
            expires_at,
            force: fields.force.unwrap_or(false),
        })
    }
}

fn is_rollout_id(text: &str) -> bool {
    let fits = (1..=ROLLOUT_ID).contains(&text.len());
    fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn trigger() -> Value {
        json!({
            "version": "1.3.0",
            "url": "https://ota.optic.works/firmware/rs1_pro/1.3.0.bin?sig=x",
            "sha256": "ab".repeat(32),
            "rollout_id": "rol-01",
            "issued_at": "2026-01-20T10:00:00Z",
        })
    }

    fn with(name: &str, value: Value) -> Vec<u8> {
        let mut trigger = trigger();
        trigger[name] = value;
        trigger.to_string().into_bytes()
    }

    #[test]
    fn what_a_manifest_leaves_out_has_the_contracts_defaults() {
        let manifest = Manifest::read(trigger().to_string().as_bytes()).unwrap();
        assert_eq!((manifest.min_rssi, manifest.force, manifest.expires_at), (-70, false, None));
        assert_eq!(manifest.sha256, [0xab; 32]);
        let strict = Manifest::read(&with("min_rssi", json!(-60))).unwrap();
        assert_eq!(strict.min_rssi, -60);
        let forced = Manifest::read(&with("force", json!(true))).unwrap();
        assert!(forced.force);
    }

    #[test]
    fn a_field_that_it_does_not_know_is_refused_and_the_report_can_say_for_whom() {
        let refused = Manifest::read(&with("size", json!(1_000))).unwrap_err();
        assert!(refused.why.contains("size"), "{}", refused.why);
        assert_eq!(refused.rollout_id.as_deref(), Some("rol-01"));
        assert_eq!(refused.version, FirmwareVersion::parse("1.3.0"));
    }

    #[test]
    fn each_field_must_be_what_the_contract_says() {
        for (name, value) in [
            ("version", json!("1.3")),
            ("url", json!("http://ota.optic.works/x.bin")),
            ("sha256", json!("ab")),
            ("rollout_id", json!("rol_01")),
            ("rollout_id", json!("")),
            ("rollout_id", json!("r".repeat(65))),
            ("issued_at", json!("yesterday")),
            ("min_rssi", json!("-70")),
            ("expires_at", json!(1_700_000_000)),
            ("force", json!("yes")),
        ] {
            assert!(Manifest::read(&with(name, value.clone())).is_err(), "{name}: {value}");
        }
        for name in ["version", "url", "sha256", "rollout_id", "issued_at"] {
            let mut trigger = trigger();
            trigger.as_object_mut().unwrap().remove(name);
            assert!(Manifest::read(trigger.to_string().as_bytes()).is_err(), "without {name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(payload: Vec<u8>) {
            let _ = Manifest::read(&payload);
        }
    }
}
