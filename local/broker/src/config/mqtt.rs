//! `mqtt`: limits of the protocol (`emqx_schema:mqtt_general/0`, `mqtt_session/0`).

use std::time::Duration;

use super::reader::{Findings, Section};

/// What a client may ask of the broker. Defaults are EMQX's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttLimits {
    /// The largest packet, in bytes.
    pub max_packet_size: u32,
    /// The longest client id, in bytes.
    pub max_clientid_len: usize,
    /// The most levels of a topic.
    pub max_topic_levels: usize,
    /// The most `QoS` 1 and 2 messages on their way to a client.
    pub max_inflight: u16,
    /// The most messages that wait for a client.
    pub max_mqueue_len: usize,
    /// How long a 3.1.1 session with `clean_session = false` outlives its connection.
    pub session_expiry_interval: Duration,
}

/// Reads `mqtt`.
pub fn read(root: &mut Section<'_>, findings: &mut Findings) -> MqttLimits {
    let mut limits = MqttLimits {
        max_packet_size: 1 << 20,
        max_clientid_len: 65_535,
        max_topic_levels: 128,
        max_inflight: 32,
        max_mqueue_len: 1000,
        session_expiry_interval: Duration::from_hours(2),
    };
    let Some(mut mqtt) = root.section("mqtt", findings) else { return limits };
    let at = mqtt.at().clone();
    let packet = mqtt.bytes("max_packet_size", u64::from(limits.max_packet_size), findings);
    // 268435455 is the largest length that MQTT can write (MQTT 5.0, 1.5.5).
    match u32::try_from(packet).ok().filter(|size| (1..=268_435_455).contains(size)) {
        Some(size) => limits.max_packet_size = size,
        None => findings.fault(&at, "mqtt.max_packet_size is not between 1 and 268435455"),
    }
    let inflight = mqtt.number("max_inflight", u32::from(limits.max_inflight), 1, findings);
    match u16::try_from(inflight) {
        Ok(inflight) => limits.max_inflight = inflight,
        Err(_) => findings.fault(&at, "mqtt.max_inflight is not between 1 and 65535"),
    }
    let mut count = |name, default: usize, least| {
        let default = u32::try_from(default).unwrap_or(u32::MAX);
        usize::try_from(mqtt.number(name, default, least, findings)).unwrap_or(usize::MAX)
    };
    limits.max_clientid_len = count("max_clientid_len", limits.max_clientid_len, 23);
    limits.max_topic_levels = count("max_topic_levels", limits.max_topic_levels, 1);
    limits.max_mqueue_len = count("max_mqueue_len", limits.max_mqueue_len, 1);
    limits.session_expiry_interval =
        mqtt.duration("session_expiry_interval", limits.session_expiry_interval, findings);
    mqtt.finish(findings);
    limits
}
