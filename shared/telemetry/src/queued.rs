//! What travels over the telemetry queue: one JSON object a queue message, told apart by `kind`.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use rs1_domain::json;
use rs1_domain::security::{AuthFailure, SecurityEvent};
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_domain::topic::{Channel, DeviceTopic};
use rs1_domain::wire::{Envelope, Telemetry};
use rs1_domain::{DeviceId, Faults, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message from a device, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The message's id, the same each time it is delivered.
    pub id: String,
    /// Who sent it.
    pub device: DeviceId,
    /// The topic it was published to.
    pub topic: String,
    /// When the broker received it.
    pub received_at: UnixMillis,
    /// The payload, JSON without line breaks.
    pub payload: String,
    /// The payload, read.
    pub telemetry: Telemetry,
}

/// One queue message.
#[derive(Clone, Debug, PartialEq)]
pub enum Queued {
    /// A device's message.
    Message(Box<Message>),
    /// The key of an archive object whose messages are still to be counted.
    Archived(String),
    /// The key of an object of collected messages.
    Collected(String),
    /// Something for the security log.
    Security(SecurityEvent),
    /// A failed authentication, to be counted.
    AuthFailure(AuthFailure),
}

/// The JSON of a message, on the queue and (without `kind`) in the archive.
#[derive(Serialize, Deserialize)]
struct Form<'a> {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    kind: Option<&'a str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    device_id: DeviceId,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    /// The device's own time; for people who read the archive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    time: Option<UnixMillis>,
    received_at: UnixMillis,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Message {
    /// Checks what a webhook brought.
    ///
    /// # Errors
    /// Every fault of the payload.
    pub fn check(envelope: Envelope) -> Result<Self, Faults> {
        let Envelope { id, device, channel, topic, payload, received_at, .. } = envelope;
        let mut faults = Faults::new();
        if channel != Channel::Telemetry {
            faults.add("/topic", "must be a telemetry topic");
            return Err(faults);
        }
        let telemetry = Telemetry::read(&payload, &device)?;
        let Ok(payload) = String::from_utf8(payload) else {
            faults.add("", "must be UTF-8");
            return Err(faults);
        };
        Ok(Self { id, device, topic, received_at, payload: one_line(payload), telemetry })
    }

    fn to_json(&self, kind: Option<&str>) -> String {
        // The payload was read as JSON when the message was checked.
        let payload = RawValue::from_string(self.payload.clone()).unwrap_or_default();
        let form = Form {
            kind,
            id: self.id.as_str().into(),
            device_id: self.device.clone(),
            topic: self.topic.as_str().into(),
            time: Some(self.telemetry.timestamp),
            received_at: self.received_at,
            payload: &payload,
        };
        json::write(&form).unwrap_or_default()
    }

    /// The message as a line of the archive, without the line break.
    pub fn to_line(&self) -> String {
        self.to_json(None)
    }

    /// The message as it goes over the queue.
    pub fn to_queue(&self) -> String {
        self.to_json(Some("telemetry"))
    }

    /// Reads [`Message::to_line`] or [`Message::to_queue`] back.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let form: Form<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let topic = DeviceTopic::parse(&form.topic).ok_or("topic: no topic of a device")?;
        if topic.device != form.device_id {
            return Err("device_id: not the topic's".to_owned());
        }
        Self::check(Envelope {
            id: form.id.into_owned(),
            device: form.device_id,
            channel: topic.channel,
            topic: form.topic.into_owned(),
            client_id: None,
            payload: form.payload.get().as_bytes().to_vec(),
            received_at: form.received_at,
        })
        .map_err(|faults| faults.summary())
    }

    /// The time that the message is about: the device's, unless its clock cannot be right (more
    /// than a day behind the broker's, or more than five minutes ahead); then the broker's.
    pub fn event_time(&self) -> UnixMillis {
        let ahead = self.telemetry.timestamp.since(self.received_at);
        if (-MOST_BEHIND..=MOST_AHEAD).contains(&ahead) { self.telemetry.timestamp } else { self.received_at }
    }
}

/// How far a device's clock is believed behind the broker's; a device may also have kept the message for so long.
const MOST_BEHIND: i64 = DAY;
/// How far it is believed ahead.
const MOST_AHEAD: i64 = 5 * MINUTE;

/// The hours in which the broker received the messages that are about an hour.
pub fn received_hours(hour: i64) -> RangeInclusive<i64> {
    hour.saturating_sub(1)..=hour.saturating_add(MOST_BEHIND / HOUR)
}

const _: () = assert!(MOST_AHEAD <= HOUR && MOST_BEHIND % HOUR == 0);

/// JSON without line breaks, so that it can be a line. Raw line breaks stand only between a JSON
/// text's tokens (RFC 8259, section 7), so nothing that was said changes.
fn one_line(json: String) -> String {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ") } else { json }
}

impl Queued {
    /// The queue message's text.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        enum Other<'a> {
            Archived { key: &'a str },
            Collected { key: &'a str },
            Security { event: &'a SecurityEvent },
            AuthFailure { failure: &'a AuthFailure },
        }
        let other = match self {
            Self::Message(message) => return message.to_queue(),
            Self::Archived(key) => Other::Archived { key },
            Self::Collected(key) => Other::Collected { key },
            Self::Security(event) => Other::Security { event },
            Self::AuthFailure(failure) => Other::AuthFailure { failure },
        };
        json::write(&other).unwrap_or_default()
    }

    /// Reads a queue message.
    ///
    /// # Errors
    /// Why it cannot be one: it never will, so it belongs into quarantine.
    pub fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow)]
            kind: Cow<'a, str>,
        }
        #[derive(Deserialize)]
        struct Keyed {
            key: String,
        }
        #[derive(Deserialize)]
        struct Security {
            event: SecurityEvent,
        }
        #[derive(Deserialize)]
        struct Failure {
            failure: AuthFailure,
        }
        let reason = |error: serde_json::Error| error.to_string();
        let Kind { kind } = serde_json::from_str(text).map_err(reason)?;
        match &*kind {
            "telemetry" => Message::from_json(text).map(|message| Self::Message(Box::new(message))),
            "archived" => serde_json::from_str(text).map(|Keyed { key }| Self::Archived(key)).map_err(reason),
            "collected" => {
                serde_json::from_str(text).map(|Keyed { key }| Self::Collected(key)).map_err(reason)
            }
            "security" => {
                serde_json::from_str(text).map(|Security { event }| Self::Security(event)).map_err(reason)
            }
            "auth_failure" => serde_json::from_str(text)
                .map(|Failure { failure }| Self::AuthFailure(failure))
                .map_err(reason),
            other => Err(format!("kind: {other:?} is not known")),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use rs1_domain::RequestId;
    use rs1_domain::security::SecurityKind;
    use serde_json::json;

    use super::*;

    pub const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";
    pub const NOW: UnixMillis = UnixMillis(1_763_690_475_123);

    pub fn message_at(
        id: &str,
        timestamp: UnixMillis,
        received_at: UnixMillis,
        metrics: &serde_json::Value,
    ) -> Message {
        let payload = json!({"device_id": ID, "timestamp": timestamp, "metrics": metrics}).to_string();
        let device = DeviceId::parse(ID).unwrap();
        let topic = format!("opticworks/{ID}/telemetry");
        Message::check(Envelope {
            id: id.into(),
            device,
            channel: Channel::Telemetry,
            topic,
            client_id: None,
            payload: payload.into_bytes(),
            received_at,
        })
        .unwrap()
    }

    #[test]
    fn everything_that_is_queued_reads_back() {
        let event = SecurityEvent {
            id: "sec-1".into(),
            kind: SecurityKind::AclViolation,
            subject: ID.into(),
            peerhost: Some("203.0.113.7".into()),
            detail: json!({"topic": "#"}),
            count: 3,
            at: NOW,
        };
        for queued in [
            Queued::Message(Box::new(message_at("m1", NOW, NOW, &json!({"system.free_heap": 5})))),
            Queued::Archived("telemetry/2026-01-20/10/00-abc.ndjson.gz".into()),
            Queued::Collected("telemetry/incoming/emqx/1.jsonl".into()),
            Queued::Security(event),
            Queued::AuthFailure(AuthFailure::new("203.0.113.7", NOW, &RequestId::from_header("r").unwrap())),
        ] {
            assert_eq!(Queued::from_json(&queued.to_json()), Ok(queued));
        }
    }

    #[test]
    fn a_line_is_one_line_that_carries_the_payload_as_sent() {
        let mut message = message_at("m1", NOW, NOW, &json!({"system.free_heap": 5}));
        let sent = format!(
            "{{\n  \"device_id\": \"{ID}\",\r\n  \"timestamp\": \"2025-11-21T02:01:15.5000Z\", \"metrics\": {{}}, \"new\": 1.50 }}"
        );
        message = Message::check(Envelope {
            id: message.id,
            device: message.device,
            channel: Channel::Telemetry,
            topic: message.topic,
            client_id: None,
            payload: sent.into_bytes(),
            received_at: NOW,
        })
        .unwrap();
        let line = message.to_line();
        assert!(!line.contains('\n'));
        assert!(line.contains("\"new\": 1.50"), "{line}");
        assert!(line.contains("\"time\":\"2025-11-21T02:01:15.500Z\""), "{line}");
        assert_eq!(Message::from_json(&line), Ok(message));
    }

    #[test]
    fn what_is_not_a_queue_message_says_why() {
        for (text, reason) in [
            ("", "EOF"),
            ("{}", "kind"),
            (r#"{"kind":"dance"}"#, "not known"),
            (r#"{"kind":"telemetry"}"#, "id"),
            (r#"{"kind":"archived"}"#, "key"),
            (r#"{"kind":"security","event":{}}"#, "id"),
        ] {
            let error = Queued::from_json(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let other = message_at("m1", NOW, NOW, &json!({})).to_queue().replacen(
            ID,
            "00112233445566778899aabbccddeeff",
            1,
        );
        assert!(Queued::from_json(&other).is_err(), "the topic's device is the truth");
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_not_believed() {
        for (ahead, believed) in [
            (0, true),
            (-DAY, true),
            (-DAY - 1, false),
            (5 * MINUTE, true),
            (5 * MINUTE + 1, false),
            (-20 * 365 * DAY, false),
            (HOUR, false),
        ] {
            let message = message_at("m", NOW.plus(ahead), NOW, &json!({}));
            let expected = if believed { NOW.plus(ahead) } else { NOW };
            assert_eq!(message.event_time(), expected, "{ahead} ms ahead");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = Queued::from_json(&text);
        }

        #[test]
        fn any_payload_that_is_taken_survives_queue_and_archive(
            id in "[A-Za-z0-9\"\\\\é]{1,32}",
            value in -1e9..1e9_f64,
            space in "[ \n\t\r]{0,4}",
        ) {
            let payload = format!("{{{space}\"device_id\":{space}\"{ID}\",\"timestamp\":\"2025-11-21T02:00:00Z\",{space}\"metrics\":{{\"a.b\":{value}}}{space}}}");
            let message = Message::check(Envelope {
                id, device: DeviceId::parse(ID).unwrap(), channel: Channel::Telemetry, topic: format!("opticworks/{ID}/telemetry"),
                client_id: None, payload: payload.into_bytes(), received_at: NOW,
            }).unwrap();
            prop_assert_eq!(Message::from_json(&message.to_line()), Ok(message.clone()));
            prop_assert_eq!(Queued::from_json(&message.to_queue()), Ok(Queued::Message(Box::new(message))));
        }
    }
}
