//! The `provision` payload (contract, section 3.7): a device reports for duty, and hears whose it is.

use serde::Serialize;
use serde_json::Value;

use super::fields::{self, Fields};
use crate::json;
use crate::{DeviceId, Faults, FirmwareVersion, MacAddress, UnixMillis, UserId};

/// A device reports for duty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provision {
    /// Who it says it is, to the letter; whether it may is [`Provision::is_of`].
    pub device_id: String,
    /// Its MAC address.
    pub mac_address: MacAddress,
    /// The version that runs.
    pub firmware_version: FirmwareVersion,
    /// The device's clock.
    pub timestamp: UnixMillis,
}

impl Provision {
    /// Reads a payload.
    ///
    /// # Errors
    /// Every fault.
    pub fn read(json: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(json).map_err(Faults::of_content)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let device_id = fields.required("device_id", "must be text", &mut faults, Value::as_str);
        let mac_address =
            fields.required("mac_address", "must be like AA:BB:CC:DD:EE:FF", &mut faults, |value| {
                MacAddress::parse(value.as_str()?)
            });
        let firmware_version =
            fields.required("firmware_version", "must be a semantic version", &mut faults, |value| {
                FirmwareVersion::parse(value.as_str()?)
            });
        let timestamp = fields.required("timestamp", fields::TIME, &mut faults, fields::time);
        match (device_id, mac_address, firmware_version, timestamp) {
            (Some(device_id), Some(mac_address), Some(firmware_version), Some(timestamp)) => {
                Ok(Self { device_id: device_id.to_owned(), mac_address, firmware_version, timestamp })
            }
            _ => Err(faults),
        }
    }

    /// Whether the message is what `topic_device`, on whose topic it came, may say: its own id, derived from its own MAC address.
    pub fn is_of(&self, topic_device: &DeviceId) -> bool {
        self.device_id == topic_device.as_str() && DeviceId::of(&self.mac_address) == *topic_device
    }
}

/// What a device is answered on `provision/response`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum ProvisionAnswer<'a> {
    /// It is known.
    Registered {
        /// The device.
        device_id: &'a DeviceId,
        /// Whose it is; null while it is nobody's.
        owner: Option<&'a UserId>,
        /// When.
        timestamp: UnixMillis,
    },
    /// It is not whom it says it is.
    Rejected {
        /// The device on whose topic it said so.
        device_id: &'a DeviceId,
        /// Why: `device_id_mismatch`.
        error: &'static str,
        /// When.
        timestamp: UnixMillis,
    },
}

impl ProvisionAnswer<'_> {
    /// The payload.
    pub fn to_json(&self) -> String {
        // Text keys and text: this cannot fail.
        json::write(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";
    const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

    fn read(change: &[(&str, Value)]) -> Result<Provision, Faults> {
        let mut payload = json!({
            "device_id": ID, "mac_address": "AA:BB:CC:DD:EE:01", "firmware_version": "1.0.0", "timestamp": "2026-01-20T10:00:00Z",
        });
        for (name, value) in change {
            payload[*name] = value.clone();
        }
        Provision::read(payload.to_string().as_bytes())
    }

    #[test]
    fn a_device_speaks_for_itself_only() {
        let device = DeviceId::parse(ID).unwrap();
        let provision = read(&[("battery", json!(3))]).unwrap();
        assert!(provision.is_of(&device));
        assert!(!provision.is_of(&DeviceId::parse(&"0".repeat(32)).unwrap()));
        assert!(!read(&[("device_id", json!("0".repeat(32)))]).unwrap().is_of(&device));
        assert!(!read(&[("mac_address", json!("AA:BB:CC:DD:EE:02"))]).unwrap().is_of(&device));
    }

    #[test]
    fn every_fault_is_named() {
        let faults = read(&[
            ("device_id", json!(1)),
            ("mac_address", json!("AA")),
            ("firmware_version", json!("one")),
            ("timestamp", Value::Null),
        ]);
        let pointers: Vec<_> =
            faults.unwrap_err().as_slice().iter().map(|fault| fault.pointer.clone()).collect();
        assert_eq!(pointers, ["/device_id", "/mac_address", "/firmware_version", "/timestamp"]);
        assert!(Provision::read(b"[]").is_err());
    }

    #[test]
    fn answers_are_as_the_contract_says() {
        let device = DeviceId::parse(ID).unwrap();
        let answer = ProvisionAnswer::Registered { device_id: &device, owner: None, timestamp: NOW };
        let expected = json!({"status": "registered", "device_id": ID, "owner": null, "timestamp": NOW});
        assert_eq!(serde_json::from_str::<Value>(&answer.to_json()).unwrap(), expected);
        let answer =
            ProvisionAnswer::Rejected { device_id: &device, error: "device_id_mismatch", timestamp: NOW };
        let expected =
            json!({"status": "rejected", "device_id": ID, "error": "device_id_mismatch", "timestamp": NOW});
        assert_eq!(serde_json::from_str::<Value>(&answer.to_json()).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Provision::read(&bytes);
        }
    }
}
