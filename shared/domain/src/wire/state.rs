//! The `state` payload (contract, section 3.1): what a device is. It is also the last will, with
//! `online: false`.

use serde_json::Value;

use super::fields::{self, Fields, integer};
use crate::{Faults, FirmwareVersion, Sku, UnixMillis};

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// False in the last will and in a goodbye.
    pub online: bool,
    /// The version that runs.
    pub firmware_version: FirmwareVersion,
    /// The device's own clock when it wrote this. Not used to order messages: the clock may be
    /// wrong, and a last will is written when the session begins.
    pub last_seen: UnixMillis,
    /// `1.0` so far.
    pub protocol_version: Option<String>,
    /// The product variant.
    pub product_sku: Option<Sku>,
    /// Seconds since boot.
    pub uptime_sec: Option<i64>,
    /// Signal strength in dBm, −100 to 0.
    pub wifi_rssi: Option<i64>,
    /// The zone configuration that the device applied.
    pub config_version: Option<i64>,
    /// Zones in it.
    pub zone_count: Option<i64>,
    /// Whether the radar answers.
    pub radar_connected: Option<bool>,
    /// Boots since manufacture.
    pub boot_count: Option<i64>,
    /// Why it booted last: `power_on`, `software`, `watchdog`, `brownout`, `panic` or `unknown`.
    pub reset_reason: Option<&'static str>,
    /// SHA-256 of the build that runs (`app_elf_sha256`), 64 lower-case hex digits. The contract does not know this
    /// field yet, so whatever else stands in it is ignored like any unknown field.
    pub elf_sha256: Option<String>,
}

const RESET_REASONS: [&str; 6] = ["power_on", "software", "watchdog", "brownout", "panic", "unknown"];

/// The largest integer that JavaScript and D1 hold exactly.
const MAX_COUNT: i64 = 9_007_199_254_740_992;

impl State {
    /// Reads a payload.
    ///
    /// # Errors
    /// Every fault, with its pointer into the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(payload).map_err(Faults::of_content)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let f = &mut faults;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let online = fields.required("online", "must be true or false", f, Value::as_bool);
        let firmware_version = fields.required("firmware_version", FirmwareVersion::EXPECTED, f, |value| {
            FirmwareVersion::parse(value.as_str()?)
        });
        let last_seen = fields.required("last_seen", fields::TIME, f, fields::time);
        let protocol_version =
            fields.optional("protocol_version", "must be a version like 1.0", f, |value| {
                text(value).filter(|text| is_protocol_version(text))
            });
        let product_sku =
            fields.optional("product_sku", Sku::EXPECTED, f, |value| Sku::parse(value.as_str()?));
        let counter = "must be an integer from 0";
        let uptime_sec = fields.optional("uptime_sec", counter, f, |value| integer(value, 0..=MAX_COUNT));
        let wifi_rssi = fields
            .optional("wifi_rssi", "must be an integer from -100 to 0", f, |value| integer(value, -100..=0));
        let config_version =
            fields.optional("config_version", counter, f, |value| integer(value, 0..=MAX_COUNT));
        let zone_count = fields
            .optional("zone_count", "must be an integer from 0 to 16", f, |value| integer(value, 0..=16));
        let radar_connected = fields.optional("radar_connected", "must be true or false", f, Value::as_bool);
        let boot_count = fields.optional("boot_count", counter, f, |value| integer(value, 0..=MAX_COUNT));
        let reset_reason = fields.optional(
            "reset_reason",
            "must be power_on, software, watchdog, brownout, panic or unknown",
            f,
            |value| RESET_REASONS.into_iter().find(|reason| value.as_str() == Some(reason)),
        );
        let elf_sha256 =
            fields.value("elf_sha256").and_then(text).filter(|text| crate::hex::is_lower_hex(text, 64));
        let (Some(online), Some(firmware_version), Some(last_seen), true) =
            (online, firmware_version, last_seen, faults.is_empty())
        else {
            return Err(faults);
        };
        Ok(Self {
            online,
            firmware_version,
            last_seen,
            protocol_version,
            product_sku,
            uptime_sec,
            wifi_rssi,
            config_version,
            zone_count,
            radar_connected,
            boot_count,
            reset_reason,
            elf_sha256,
        })
    }
}

/// `\d+\.\d+`, at most 16 characters.
fn is_protocol_version(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 16 && text.split_once('.').is_some_and(|(major, minor)| digits(major) && digits(minor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_full_state_is_read() {
        let payload = json!({
            "online": true, "firmware_version": "1.2.0", "last_seen": "2026-01-20T10:00:00+01:00",
            "protocol_version": "1.0", "product_sku": "rs1_pro", "uptime_sec": 86_400, "wifi_rssi": -61,
            "config_version": 3, "zone_count": 16, "radar_connected": true, "boot_count": 12,
            "reset_reason": "watchdog", "something_new": {"from": "tomorrow"}, "elf_sha256": "ab".repeat(32),
        });
        let state = State::read(payload.to_string().as_bytes()).unwrap();
        assert!(state.online);
        assert_eq!(state.firmware_version.as_str(), "1.2.0");
        assert_eq!(state.last_seen.to_rfc3339(), "2026-01-20T09:00:00Z");
        assert_eq!(state.product_sku, Some(Sku::Pro));
        assert_eq!(state.wifi_rssi, Some(-61));
        assert_eq!(state.reset_reason, Some("watchdog"));
    }

    #[test]
    fn the_least_that_a_state_may_say() {
        let payload = br#"{"online": false, "firmware_version": "1.2.0-rc.1", "last_seen": "2026-01-20T10:00:00Z", "uptime_sec": null}"#;
        let state = State::read(payload).unwrap();
        assert!(!state.online);
        assert_eq!(state.uptime_sec, None);
    }

    #[test]
    fn every_fault_is_named_with_its_pointer() {
        let payload = json!({
            "online": "yes", "last_seen": "yesterday", "protocol_version": "one", "product_sku": "rs2", "uptime_sec": -1,
            "wifi_rssi": 3, "config_version": 1.5, "zone_count": 17, "radar_connected": 1, "boot_count": "2",
            "reset_reason": "boredom",
        });
        let faults = State::read(payload.to_string().as_bytes()).unwrap_err();
        let pointers: Vec<_> = faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/online",
                "/firmware_version",
                "/last_seen",
                "/protocol_version",
                "/product_sku",
                "/uptime_sec",
                "/wifi_rssi",
                "/config_version",
                "/zone_count",
                "/radar_connected",
                "/boot_count",
                "/reset_reason"
            ]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = State::read(&bytes);
        }

        #[test]
        fn no_object_makes_the_reader_panic(text in r#"\{"(online|wifi_rssi|uptime_sec)":(-?[0-9]{1,30}|[0-9]e[0-9]{1,4}|"x"|true)\}"#) {
            let _ = State::read(text.as_bytes());
        }
    }
}
