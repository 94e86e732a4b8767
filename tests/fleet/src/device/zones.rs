//! What a device does with a zone configuration: it takes one that it understands whole and that is not
//! older than what it has, and says so.

use rs1_domain::wire::config_status::{ConfigOutcome, LAST_VERSION};
use rs1_domain::wire::fields::integer;
use rs1_domain::{Sku, UnixMillis};
use rs1_zones::Configuration;
use serde_json::{Value, json};

use super::answers::answer;
use super::{Hardware, Message};

/// Longest error that a device sends.
const ERROR_CHARACTERS: usize = 128;

impl Hardware {
    /// The report on a configuration; `None` for something without a version, of which there is nothing to say.
    pub(super) fn configure(&mut self, payload: &[u8], now: UnixMillis) -> Option<Message> {
        let document: Value = serde_json::from_slice(payload).ok()?;
        let version = integer(document.get("version")?, 1..=LAST_VERSION)?;
        let error = match judge(payload, self.sku(), self.config_version) {
            Ok(configuration) => {
                self.take(&configuration, now);
                None
            }
            Err(why) => Some(why.chars().take(ERROR_CHARACTERS).collect::<String>()),
        };
        let outcome = if error.is_none() { ConfigOutcome::Applied } else { ConfigOutcome::Rejected };
        let status = json!({
            "version": version,
            "status": outcome,
            "zone_count": self.zone_count,
            "error": error,
            "timestamp": self.stamp(now),
        });
        Some(answer("config/status", true, &status))
    }

    fn take(&mut self, configuration: &Configuration, now: UnixMillis) {
        if configuration.version == self.config_version {
            return;
        }
        (self.config_version, self.zone_count) = (configuration.version, configuration.zones.len());
        self.note_change();
        self.log(now, 'I', "CONFIG", &format!("config_change:{}", configuration.version));
    }
}

/// The configuration, or why a device of that variant that has version `has` will not take it.
fn judge(payload: &[u8], sku: Sku, has: i64) -> Result<Configuration, String> {
    let configuration = Configuration::read(payload, sku).map_err(|faults| faults.summary())?;
    if configuration.version < has {
        return Err(format!("version {has} is in use"));
    }
    Ok(configuration)
}

#[cfg(test)]
mod tests {
    use rs1_domain::wire::{ConfigStatus, State};
    use rs1_domain::{DeviceId, FirmwareVersion};

    use super::*;

    fn hardware(sku: Sku) -> Hardware {
        let id = DeviceId::parse("3e32e97b9d6cf5e193d3a3a7e8fd9a97").unwrap();
        let firmware = FirmwareVersion::parse("1.2.0").unwrap();
        Hardware::new(id, sku, firmware, fastrand::Rng::with_seed(1), 0, false, UnixMillis(0))
    }

    fn zone(id: &str) -> Value {
        json!({"id": id, "name": "Sofa", "type": "include", "vertices": [[0, 0], [900, 0], [0, 900]], "sensitivity": 50})
    }

    fn update(hardware: &mut Hardware, version: i64, zones: &Value) -> ConfigStatus {
        let document = json!({"version": version, "updated_at": "2026-01-20T10:00:00Z", "zones": zones});
        let report = hardware.configure(document.to_string().as_bytes(), UnixMillis(5)).unwrap();
        assert!((report.topic, report.retained, report.acknowledged) == ("config/status", true, true));
        ConfigStatus::read(&report.payload).unwrap()
    }

    #[test]
    fn a_pro_takes_what_is_newer_and_says_so_in_its_state() {
        let mut pro = hardware(Sku::Pro);
        let status = update(&mut pro, 3, &json!([zone("a"), zone("b")]));
        assert_eq!((status.outcome, status.version, status.zone_count), (ConfigOutcome::Applied, 3, Some(2)));
        assert!(pro.has_news());
        let state = State::read(&pro.state(UnixMillis(9), true).payload).unwrap();
        assert_eq!((state.config_version, state.zone_count), (Some(3), Some(2)));
        assert_eq!(update(&mut pro, 3, &json!([])).outcome, ConfigOutcome::Applied, "the same again");
        assert!(!pro.has_news(), "and nothing changes");
        let older = update(&mut pro, 2, &json!([]));
        assert_eq!((older.outcome, older.version), (ConfigOutcome::Rejected, 2));
        assert_eq!(older.error.as_deref(), Some("version 3 is in use"));
    }

    #[test]
    fn what_a_device_does_not_understand_whole_it_refuses() {
        let mut pro = hardware(Sku::Pro);
        let mut bow_tie = zone("a");
        bow_tie["vertices"] = json!([[0, 0], [9, 9], [9, 0], [0, 9]]);
        let status = update(&mut pro, 1, &json!([bow_tie]));
        assert_eq!(status.outcome, ConfigOutcome::Rejected);
        assert!(status.error.unwrap().starts_with("/zones/0/vertices/2: "));
        let lite = update(&mut hardware(Sku::Lite), 1, &json!([zone("a")]));
        assert_eq!(lite.outcome, ConfigOutcome::Rejected);
        assert!(!pro.has_news());
        for nothing in ["not json", "{}", r#"{"version": 0}"#] {
            assert_eq!(pro.configure(nothing.as_bytes(), UnixMillis(5)), None, "{nothing}");
        }
    }
}
