//! The `telemetry` payload (contract, section 3.2): metrics, and log lines if the owner consents.

use serde_json::Value;

use super::fields::{self, Fields, integer};
use crate::{DeviceId, Faults, FirmwareVersion, UnixMillis, limits};

/// One telemetry message of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// The device's clock when it measured.
    pub timestamp: UnixMillis,
    /// Metric name and value, in the order of their names.
    pub metrics: Vec<(String, f64)>,
    /// The version that runs.
    pub firmware_version: Option<FirmwareVersion>,
    /// Seconds since boot.
    pub uptime_sec: Option<i64>,
    /// Log lines.
    pub logs: Vec<LogLine>,
}

/// One line of a device's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Milliseconds since boot.
    pub ts: i64,
    /// `E`, `W`, `I`, `D` or `V`.
    pub level: char,
    /// The component, at most 16 characters.
    pub tag: String,
    /// The text, at most 128 characters.
    pub message: String,
}

const MAX_COUNT: i64 = 9_007_199_254_740_992;

impl Telemetry {
    /// Reads a payload from the topic of `device`.
    ///
    /// # Errors
    /// Every fault, with its pointer into the payload.
    pub fn read(payload: &[u8], device: &DeviceId) -> Result<Self, Faults> {
        let object = fields::object(payload).map_err(Faults::of_content)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let f = &mut faults;
        fields.required("device_id", "must be the device of the topic", f, |value| {
            (value.as_str() == Some(device.as_str())).then_some(())
        });
        let timestamp = fields.required("timestamp", fields::TIME, f, fields::time);
        let metrics = fields
            .required("metrics", "must be an object of metric names and numbers", f, Value::as_object)
            .map(|metrics| read_metrics(metrics, f))
            .unwrap_or_default();
        let firmware_version = fields.optional("firmware_version", FirmwareVersion::EXPECTED, f, |value| {
            FirmwareVersion::parse(value.as_str()?)
        });
        let uptime_sec = fields
            .optional("uptime_sec", "must be an integer from 0", f, |value| integer(value, 0..=MAX_COUNT));
        let logs = fields
            .optional("logs", "must be an array of log lines", f, Value::as_array)
            .map(|lines| read_logs(lines, f))
            .unwrap_or_default();
        match timestamp {
            Some(timestamp) if faults.is_empty() => {
                Ok(Self { timestamp, metrics, firmware_version, uptime_sec, logs })
            }
            _ => Err(faults),
        }
    }

    /// A metric's value.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

fn read_metrics(object: &serde_json::Map<String, Value>, faults: &mut Faults) -> Vec<(String, f64)> {
    faults.require(object.len() <= limits::TELEMETRY_METRICS, "/metrics", "must have at most 64 metrics");
    let fields = Fields::new(object, "/metrics");
    let mut metrics = Vec::with_capacity(object.len().min(limits::TELEMETRY_METRICS));
    for (name, value) in object {
        match value.as_f64().filter(|value| value.is_finite()) {
            _ if !is_metric_name(name) => {
                faults
                    .add(fields.pointer(name), "must be named like system.free_heap, at most 64 characters");
            }
            None => faults.add(fields.pointer(name), "must be a number"),
            Some(value) => metrics.push((name.clone(), value)),
        }
    }
    metrics
}

/// `^[a-z_]+\.[a-z_]+$`, at most 64 characters.
pub fn is_metric_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
    name.len() <= 64 && name.split_once('.').is_some_and(|(group, metric)| part(group) && part(metric))
}

fn read_logs(lines: &[Value], faults: &mut Faults) -> Vec<LogLine> {
    faults.require(lines.len() <= limits::TELEMETRY_LOG_LINES, "/logs", "must have at most 100 lines");
    lines
        .iter()
        .take(limits::TELEMETRY_LOG_LINES)
        .enumerate()
        .filter_map(|(index, line)| {
            let at = format!("/logs/{index}");
            let Some(object) = line.as_object() else {
                faults.add(at, "must be an object");
                return None;
            };
            let fields = Fields::new(object, at);
            let text = |value: &Value, most: usize| {
                value.as_str().filter(|text| text.chars().count() <= most).map(str::to_owned)
            };
            let ts = fields.required("ts", "must be milliseconds since boot, from 0", faults, |value| {
                integer(value, 0..=MAX_COUNT)
            });
            let level = fields.required("lvl", "must be E, W, I, D or V", faults, |value| {
                ['E', 'W', 'I', 'D', 'V']
                    .into_iter()
                    .find(|level| value.as_str().is_some_and(|text| text.chars().eq([*level])))
            });
            let tag = fields
                .required("tag", "must be text of at most 16 characters", faults, |value| text(value, 16));
            let message = fields
                .required("msg", "must be text of at most 128 characters", faults, |value| text(value, 128));
            Some(LogLine { ts: ts?, level: level?, tag: tag?, message: message? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn device() -> DeviceId {
        DeviceId::parse("3e32e97b9d6cf5e193d3a3a7e8fd9a97").unwrap()
    }

    fn read(payload: &Value) -> Result<Telemetry, Faults> {
        Telemetry::read(payload.to_string().as_bytes(), &device())
    }

    #[test]
    fn a_full_message_is_read() {
        let telemetry = read(&json!({
            "device_id": device(), "timestamp": "2026-01-20T10:00:00.123Z", "firmware_version": "1.2.0", "uptime_sec": 60,
            "metrics": {"system.free_heap": 152_344, "system.cpu_usage": 12.5},
            "logs": [{"ts": 10, "lvl": "I", "tag": "BOOT", "msg": "boot:power_on"}],
            "new": [1],
        }))
        .unwrap();
        assert_eq!(telemetry.metric("system.cpu_usage"), Some(12.5));
        assert_eq!(telemetry.metric("radar.frames_received"), None);
        assert_eq!(telemetry.logs[0].message, "boot:power_on");
    }

    #[test]
    fn every_fault_is_named_with_its_pointer() {
        let faults = read(&json!({
            "device_id": "someone else", "timestamp": 5, "firmware_version": "new", "uptime_sec": -1,
            "metrics": {"Bad": 1, "system.free_heap": "much", "a.b": 1},
            "logs": [{"ts": -1, "lvl": "X", "tag": "a tag that is too long", "msg": 5}, 7],
        }))
        .unwrap_err();
        let pointers: Vec<_> = faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/device_id",
                "/timestamp",
                "/metrics/Bad",
                "/metrics/system.free_heap",
                "/firmware_version",
                "/uptime_sec",
                "/logs/0/ts",
                "/logs/0/lvl",
                "/logs/0/tag",
                "/logs/0/msg",
                "/logs/1"
            ]
        );
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let message = |metrics: usize, logs: usize| {
            let letters =
                |n: usize| n.to_string().bytes().map(|d| char::from(d - b'0' + b'a')).collect::<String>();
            let metrics: serde_json::Map<_, _> =
                (0..metrics).map(|n| (format!("m.{}", letters(n)), json!(n))).collect();
            let logs =
                vec![json!({"ts": 0, "lvl": "I", "tag": "é".repeat(16), "msg": "é".repeat(128)}); logs];
            read(
                &json!({"device_id": device(), "timestamp": "2026-01-20T10:00:00Z", "metrics": metrics, "logs": logs}),
            )
        };
        assert!(message(64, 100).is_ok());
        assert!(message(65, 100).is_err());
        assert!(message(64, 101).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Telemetry::read(&bytes, &device());
        }
    }
}
