//! A configuration on its way to a device, and how far the device is with it.
//!
//! Three things are known of a device: the version it is wanted to have (*desired*), the version it
//! said last that it has (*applied*), and its last word about the newest version that it said
//! anything about (*report*). Everything else follows.

use rs1_domain::json;
use rs1_domain::port::{Publication, Qos};
use rs1_domain::topic::{self, Channel};
use rs1_domain::wire::config_status::ConfigOutcome;
use rs1_domain::{DeviceId, UnixMillis};
use serde::Serialize;
use serde_json::value::RawValue;

/// A version as it goes to its device: [`Configuration`](crate::Configuration) to the letter, from zones that are
/// stored as their JSON text.
///
/// Not retained: a broker that keeps a configuration would send an old one to a device that has been given a new one
/// by other means. Whoever is not here is sent the present one when it comes.
///
/// # Errors
/// When `zones` is no JSON.
pub fn publication(
    device: &DeviceId,
    version: i64,
    updated_at: UnixMillis,
    zones: &str,
) -> Result<Publication, json::Error> {
    #[derive(Serialize)]
    struct Sent<'a> {
        version: i64,
        updated_at: UnixMillis,
        zones: &'a RawValue,
    }
    let zones = serde_json::from_str(zones)?;
    let rest = Channel::ConfigUpdate.filters().first().copied().unwrap_or_default();
    Ok(Publication {
        topic: topic::of_device(device, rest),
        payload: json::write(&Sent { version, updated_at, zones })?,
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_after: None,
    })
}

/// What a device made of the desired version.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ZonesStatus"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Nothing was ever desired.
    None,
    /// It was sent, or is to be, and the device has not said yes or no.
    Pending,
    /// The device has it.
    Applied,
    /// The device will not have it.
    Rejected,
}

impl Standing {
    /// The standing of `desired` at a device that has `applied` and whose last word was `report`, of
    /// that version.
    ///
    /// What a device *has* counts for more than what it said: a device that rejected a version and has
    /// it nonetheless (its user reset it, or a later firmware took it) has it.
    pub fn of(desired: i64, applied: i64, report: Option<(i64, ConfigOutcome)>) -> Self {
        if desired == 0 {
            return Self::None;
        }
        if applied == desired {
            return Self::Applied;
        }
        match report {
            Some((version, ConfigOutcome::Rejected)) if version == desired => Self::Rejected,
            _ => Self::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_the_configuration_to_the_letter() {
        let device = DeviceId::parse("3e32e97b9d6cf5e193d3a3a7e8fd9a97").unwrap();
        let vertices = [(0, 0), (900, 0), (0, 900)].map(|(x, y)| crate::Point::new(x, y).unwrap()).to_vec();
        let (id, name) = ("sofa".to_owned(), "Sofa \u{1f6cb}".to_owned());
        let zone = crate::Zone { id, name, kind: crate::ZoneType::Include, vertices, sensitivity: 50 };
        let configuration =
            crate::Configuration { version: 3, updated_at: UnixMillis(1_768_903_200_000), zones: vec![zone] };
        let zones = json::write(&configuration.zones).unwrap();
        let sent = publication(&device, 3, configuration.updated_at, &zones).unwrap();
        assert_eq!(sent.topic, "opticworks/3e32e97b9d6cf5e193d3a3a7e8fd9a97/config/update");
        assert_eq!(sent.payload, json::write(&configuration).unwrap());
        assert!(!sent.retain && sent.qos == Qos::AtLeastOnce);
        assert!(publication(&device, 3, configuration.updated_at, "[").is_err());
    }

    #[test]
    fn a_standing_follows_from_what_is_known() {
        use ConfigOutcome::{Applied, Pending, Rejected};
        for (desired, applied, report, expected) in [
            (0, 0, None, Standing::None),
            (0, 7, None, Standing::None),
            (1, 0, None, Standing::Pending),
            (2, 1, Some((1, Applied)), Standing::Pending),
            (2, 2, Some((2, Applied)), Standing::Applied),
            (2, 2, None, Standing::Applied),
            (2, 1, Some((2, Rejected)), Standing::Rejected),
            (3, 1, Some((2, Rejected)), Standing::Pending),
            (2, 1, Some((2, Pending)), Standing::Pending),
            (2, 2, Some((2, Rejected)), Standing::Applied),
            // The device was reset after it had applied.
            (2, 0, Some((2, Applied)), Standing::Pending),
            // The cloud was restored from a backup: the device is ahead.
            (2, 5, Some((5, Applied)), Standing::Pending),
        ] {
            assert_eq!(Standing::of(desired, applied, report), expected, "{desired} {applied} {report:?}");
        }
    }
}
