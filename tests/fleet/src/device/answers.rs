//! What a device does when the cloud asks something of it. Zones are in [`zones`](super::zones); updates take
//! longer than an answer: see [`ota`](crate::ota).

use rs1_domain::UnixMillis;
use rs1_domain::topic::{Channel, DeviceTopic};
use serde_json::{Map, Value, json};

use super::hardware::bytes;
use super::{Hardware, Kind, Message};

impl Hardware {
    /// The answers to a message of the cloud, if it is one that gets an answer.
    pub fn answer(&mut self, topic: &str, payload: &[u8], now: UnixMillis) -> Option<Message> {
        let channel = DeviceTopic::parse(topic)?.channel;
        match channel {
            Channel::ConfigUpdate => self.configure(payload, now),
            Channel::DiagnosticsRequest => Some(self.diagnose(&serde_json::from_slice(payload).ok()?, now)),
            Channel::FactoryReset => {
                (self.config_version, self.zone_count) = (0, 0);
                self.note_change();
                None
            }
            _ => None,
        }
    }

    fn diagnose(&mut self, request: &Value, now: UnixMillis) -> Message {
        let wanted = request.get("include").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut sections = Map::new();
        for name in wanted.iter().filter_map(Value::as_str) {
            let section = match name {
                "heap" => json!({"free": self.free_heap()}),
                "tasks" => {
                    json!([{"name": "radar", "stack_free": 2_048}, {"name": "mqtt", "stack_free": 3_072}])
                }
                "config" => json!({"version": self.config_version, "zone_count": self.zone_count}),
                "logs" => json!([]),
                _ => continue,
            };
            sections.insert(name.to_owned(), section);
        }
        sections.insert("uptime_sec".to_owned(), json!(self.uptime_sec(now)));
        let diagnostics = json!({
            "request_id": request.get("request_id"),
            "timestamp": self.stamp(now),
            "diagnostics": sections,
        });
        answer("diag/response", false, &diagnostics)
    }
}

pub(super) fn answer(topic: &'static str, retained: bool, json: &Value) -> Message {
    Message { kind: Kind::Answer, topic, acknowledged: true, retained, payload: bytes(json) }
}

#[cfg(test)]
mod tests {
    use rs1_domain::{DeviceId, FirmwareVersion, Sku};

    use super::*;

    const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";

    fn hardware(sku: Sku) -> Hardware {
        let random = fastrand::Rng::with_seed(1);
        let firmware = FirmwareVersion::parse("1.2.0").unwrap();
        Hardware::new(DeviceId::parse(ID).unwrap(), sku, firmware, random, 0, false, UnixMillis(0))
    }

    fn ask(hardware: &mut Hardware, rest: &str, request: &Value) -> Option<(&'static str, Value)> {
        let payload = request.to_string();
        let message =
            hardware.answer(&format!("opticworks/{ID}/{rest}"), payload.as_bytes(), UnixMillis(5))?;
        Some((message.topic, serde_json::from_slice(&message.payload).unwrap()))
    }

    #[test]
    fn diagnostics_hold_what_was_asked_for() {
        let request = json!({"request_id": "req-1", "include": ["heap", "config", "secrets"]});
        let (topic, answer) = ask(&mut hardware(Sku::Pro), "diag/request", &request).unwrap();
        assert_eq!((topic, &answer["request_id"]), ("diag/response", &json!("req-1")));
        let sections: Vec<_> = answer["diagnostics"].as_object().unwrap().keys().collect();
        assert_eq!(sections, ["config", "heap", "uptime_sec"]);
    }

    #[test]
    fn what_has_no_answer_gets_none() {
        let mut pro = hardware(Sku::Pro);
        assert_eq!(ask(&mut pro, "ota/trigger", &json!({"version": "2.0.0"})), None);
        assert_eq!(ask(&mut pro, "provision/response", &json!({})), None);
        assert_eq!(pro.answer("elsewhere", b"{}", UnixMillis(0)), None);
        assert_eq!(pro.answer(&format!("opticworks/{ID}/config/update"), b"not json", UnixMillis(0)), None);
    }
}
