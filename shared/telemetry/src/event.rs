//! What happened to a device, out of the log lines of its messages (contract, section 3.2).

use rs1_domain::time::{DAY, SECOND};
use rs1_domain::wire::telemetry::LogLine;
use rs1_domain::{DeviceId, UnixMillis};

use crate::Message;
use crate::rollup::mark;

/// Most events of one message; a device that repeats itself is not told of more often.
const MOST: usize = 16;

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It started; the detail is why.
    Boot,
    /// It began an update.
    OtaStart,
    /// It has installed one.
    OtaComplete,
    /// It gave one up; the detail is why.
    OtaFailed,
    /// Its radar does not answer.
    RadarDisconnect,
    /// It does again.
    RadarReconnect,
    /// It lost the wireless network.
    WifiDisconnect,
    /// It is back on it.
    WifiReconnect,
    /// It has another zone configuration; the detail is the version.
    ConfigChange,
    /// A task did not come to an end; the detail is its name.
    WatchdogReset,
    /// Something failed; the detail is `{code}:{message}`.
    Error,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 11] = [
        Self::Boot,
        Self::OtaStart,
        Self::OtaComplete,
        Self::OtaFailed,
        Self::RadarDisconnect,
        Self::RadarReconnect,
        Self::WifiDisconnect,
        Self::WifiReconnect,
        Self::ConfigChange,
        Self::WatchdogReset,
        Self::Error,
    ];

    /// Those that tell of something that went wrong.
    pub const TROUBLE: [Self; 5] =
        [Self::OtaFailed, Self::RadarDisconnect, Self::WifiDisconnect, Self::WatchdogReset, Self::Error];

    /// The word in log lines, in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::OtaStart => "ota_start",
            Self::OtaComplete => "ota_complete",
            Self::OtaFailed => "ota_failed",
            Self::RadarDisconnect => "radar_disconnect",
            Self::RadarReconnect => "radar_reconnect",
            Self::WifiDisconnect => "wifi_disconnect",
            Self::WifiReconnect => "wifi_reconnect",
            Self::ConfigChange => "config_change",
            Self::WatchdogReset => "watchdog_reset",
            Self::Error => "error",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether a line of that tag and level may tell of it.
    fn may_stand_in(self, line: &LogLine) -> bool {
        match self {
            Self::Boot => line.tag == "BOOT",
            Self::OtaStart | Self::OtaComplete | Self::OtaFailed => line.tag == "OTA",
            Self::RadarDisconnect | Self::RadarReconnect => line.tag == "RADAR",
            Self::WifiDisconnect | Self::WifiReconnect => line.tag == "WIFI",
            Self::ConfigChange => line.tag == "CONFIG",
            Self::WatchdogReset => line.tag == "MAIN",
            Self::Error => line.level == 'E',
        }
    }
}

/// Something that happened to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The device.
    pub device: DeviceId,
    /// When.
    pub at: UnixMillis,
    /// Which line of which message told it, so that it is known when it comes again.
    pub mark: String,
    /// What.
    pub kind: Kind,
    /// What stood behind the kind; may be empty.
    pub detail: String,
    /// How often the message says the same.
    pub count: i64,
}

/// The events that a message tells of, in the order of its lines; what it says several times is one.
pub fn events_of(message: &Message) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for (line, number) in message.telemetry.logs.iter().zip(0_u32..) {
        let Some((kind, detail)) = read(line) else { continue };
        if let Some(event) = events.iter_mut().find(|event| event.kind == kind && event.detail == detail) {
            event.count = event.count.saturating_add(1);
        } else if events.len() < MOST {
            events.push(Event {
                device: message.device.clone(),
                at: time_of(line, message),
                mark: format!("{}-{number}", mark(&message.id)),
                kind,
                detail: detail.to_owned(),
                count: 1,
            });
        }
    }
    events
}

fn read(line: &LogLine) -> Option<(Kind, &str)> {
    let (word, detail) = line.message.split_once(':').unwrap_or((&line.message, ""));
    let kind = Kind::parse(word).filter(|kind| kind.may_stand_in(line))?;
    Some((kind, detail))
}

/// A line tells its time since boot. With the device's uptime that is so long before the message; without one, or with one that
/// cannot be right, the line is as old as the message.
fn time_of(line: &LogLine, message: &Message) -> UnixMillis {
    let sent = message.event_time();
    let Some(uptime) = message.telemetry.uptime_sec else { return sent };
    let age = uptime.saturating_mul(SECOND).saturating_sub(line.ts);
    if (0..=DAY).contains(&age) { sent.plus(age.saturating_neg()) } else { sent }
}

#[cfg(test)]
mod tests {
    use rs1_domain::topic::Channel;
    use rs1_domain::wire::Envelope;
    use serde_json::{Value, json};

    use super::*;
    use crate::queued::tests::{ID, NOW};

    fn message(uptime: Option<i64>, logs: &Value) -> Message {
        let payload =
            json!({"device_id": ID, "timestamp": NOW, "metrics": {}, "uptime_sec": uptime, "logs": logs});
        Message::check(Envelope {
            id: "m1".into(),
            device: DeviceId::parse(ID).unwrap(),
            channel: Channel::Telemetry,
            topic: format!("opticworks/{ID}/telemetry"),
            client_id: None,
            payload: payload.to_string().into_bytes(),
            received_at: NOW,
        })
        .unwrap()
    }

    fn line(tag: &str, level: &str, text: &str) -> Value {
        json!({"ts": 60_000, "lvl": level, "tag": tag, "msg": text})
    }

    #[test]
    fn every_event_of_the_contract_is_known_and_nothing_else() {
        for (tag, level, text, event) in [
            ("BOOT", "I", "boot:power_on", Some((Kind::Boot, "power_on"))),
            ("OTA", "I", "ota_start", Some((Kind::OtaStart, ""))),
            ("OTA", "I", "ota_complete:1.2.0", Some((Kind::OtaComplete, "1.2.0"))),
            ("OTA", "W", "ota_failed:sha256:mismatch", Some((Kind::OtaFailed, "sha256:mismatch"))),
            ("RADAR", "W", "radar_disconnect", Some((Kind::RadarDisconnect, ""))),
            ("RADAR", "I", "radar_reconnect:uart", Some((Kind::RadarReconnect, "uart"))),
            ("WIFI", "W", "wifi_disconnect:201", Some((Kind::WifiDisconnect, "201"))),
            ("WIFI", "I", "wifi_reconnect:", Some((Kind::WifiReconnect, ""))),
            ("CONFIG", "I", "config_change:7", Some((Kind::ConfigChange, "7"))),
            ("MAIN", "E", "watchdog_reset:radar_task", Some((Kind::WatchdogReset, "radar_task"))),
            ("NVS", "E", "error:4:no space", Some((Kind::Error, "4:no space"))),
            ("NVS", "W", "error:4:no space", None),
            ("MAIN", "I", "boot:power_on", None),
            ("OTA", "I", "ota_started", None),
            ("OTA", "I", " ota_start", None),
            ("WIFI", "I", "connected", None),
            ("WIFI", "I", "", None),
        ] {
            let found = events_of(&message(None, &json!([line(tag, level, text)])));
            let found = found.first().map(|event| (event.kind, event.detail.as_str()));
            assert_eq!(found, event, "{tag} {level} {text}");
        }
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn an_events_time_is_reckoned_from_the_uptime() {
        let logs = json!([line("OTA", "I", "ota_start")]);
        for (uptime, ago) in [(Some(90), 30_000), (Some(60), 0), (Some(50), 0), (None, 0), (Some(90_000), 0)]
        {
            let [event] = events_of(&message(uptime, &logs)).try_into().unwrap();
            assert_eq!(event.at, NOW.plus(-ago), "{uptime:?}");
        }
    }

    #[test]
    fn a_device_that_repeats_itself_tells_of_one_event() {
        let same: Vec<_> = (0..90).map(|_| line("NVS", "E", "error:4:no space")).collect();
        let [event] = events_of(&message(None, &json!(same))).try_into().unwrap();
        assert_eq!((event.count, event.mark.ends_with("-0")), (90, true));
        let others: Vec<_> = (0..90).map(|n| line("NVS", "E", &format!("error:{n}:"))).collect();
        assert_eq!(events_of(&message(None, &json!(others))).len(), MOST);
    }
}
