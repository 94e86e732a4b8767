//! The body of an EMQX rule webhook: who published what, where and when.
//!
//! The form is EMQX's default body, the SELECT's columns as one JSON object (EMQX 5.10,
//! `emqx_rule_events:eventmsg_publish/1`). The payload comes in up to three forms: `payload_b64`
//! (exact bytes), `payload` as a string (bytes that are not UTF-8 arrive as U+FFFD), or `payload`
//! as an object, when a rule decoded it. The exact form wins.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::fields;
use crate::topic::{Channel, DeviceTopic};
use crate::{DeviceId, Faults, UnixMillis, hex, limits};

/// The client id that EMQX gives to messages published over its management API.
const MANAGEMENT_CLIENT: &str = "http_api";

/// A message from a device, out of a rule webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// EMQX's message id, 32 hex digits, the same each time one message is delivered again; made
    /// from the content when a rule does not select it.
    pub id: String,
    /// The device in the topic: the truth about who sent this, since the broker lets a device
    /// publish on its own topics only.
    pub device: DeviceId,
    /// What the topic is for.
    pub channel: Channel,
    /// The topic as it was published to.
    pub topic: String,
    /// The MQTT client id, if the rule selects it.
    pub client_id: Option<String>,
    /// The payload's bytes as the device sent them.
    pub payload: Vec<u8>,
    /// When the broker received the message; the order of a device's messages. The time of the
    /// webhook when the rule does not select it.
    pub received_at: UnixMillis,
}

/// A message from a device, as a rule of EMQX delivers it: the columns that the rule selects. Others are ignored.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Message", extend("required" = ["topic"])))]
#[derive(Deserialize)]
struct Body<'a> {
    /// EMQX's message id, the same each time one message is delivered again.
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    /// The MQTT client id.
    #[serde(borrow, default)]
    clientid: Option<Cow<'a, str>>,
    /// The topic that the device published to.
    #[serde(borrow, default)]
    #[cfg_attr(feature = "schema", schemars(with = "String", regex(pattern = "^opticworks/[0-9a-f]{32}/")))]
    topic: Option<Cow<'a, str>>,
    /// The payload as text, or as what a rule decoded of it.
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    /// The payload's bytes, which win over the text.
    #[serde(borrow, default)]
    payload_b64: Option<Cow<'a, str>>,
    /// When the broker received the message, in Unix milliseconds.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 253_402_300_799_999_i64)))]
    publish_received_at: Option<i64>,
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Envelope {
    fn schema_name() -> Cow<'static, str> {
        Body::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Body::json_schema(generator)
    }
}

impl Envelope {
    /// Reads a webhook's body, received at `now`.
    ///
    /// # Errors
    /// Every fault: no JSON object, no topic of a device, no payload, a payload that is too long.
    pub fn read(body: &[u8], now: UnixMillis) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let body: Body<'_> = fields::record(body)?;
        let topic = body.topic.as_deref().unwrap_or_default();
        let parsed = DeviceTopic::parse(topic);
        faults.require(parsed.is_some(), "/topic", "must be a topic of a device, opticworks/{device_id}/…");
        let received_at = body.publish_received_at.map_or(Some(now), UnixMillis::from_outside);
        faults.require(received_at.is_some(), "/publish_received_at", fields::UNIX_MILLIS);
        let payload = read_payload(&body, &mut faults);
        let (Some(DeviceTopic { device, channel }), Some(payload), true) =
            (parsed, payload, faults.is_empty())
        else {
            return Err(faults);
        };
        let received_at = received_at.unwrap_or(now);
        let id = match body.id {
            Some(id) if (1..=64).contains(&id.len()) => id.into_owned(),
            _ => content_id(topic, &payload, body.publish_received_at),
        };
        let client_id = body.clientid.map(Cow::into_owned).filter(|id| !id.is_empty() && id != "undefined");
        Ok(Self { id, device, channel, topic: topic.to_owned(), client_id, payload, received_at })
    }

    /// Whether the message was published over the broker's management API, so by the cloud itself
    /// or by an operator: nothing that a device said, and a loop if it were acted on.
    pub fn is_from_management(&self) -> bool {
        self.client_id.as_deref() == Some(MANAGEMENT_CLIENT)
    }
}

fn read_payload(body: &Body<'_>, faults: &mut Faults) -> Option<Vec<u8>> {
    let (pointer, payload) = match (body.payload_b64.as_deref(), body.payload) {
        (Some(text), _) => {
            let decoded = STANDARD.decode(text).ok();
            faults.require(decoded.is_some(), "/payload_b64", "must be padded standard Base64");
            ("/payload_b64", decoded?)
        }
        (None, Some(raw)) if raw.get().starts_with('"') => {
            ("/payload", serde_json::from_str::<String>(raw.get()).ok()?.into_bytes())
        }
        (None, Some(raw)) => ("/payload", raw.get().as_bytes().to_vec()),
        (None, None) => {
            faults.add("/payload", "is required (or payload_b64)");
            return None;
        }
    };
    let fits = payload.len() <= limits::DEVICE_PAYLOAD;
    faults.require(fits, pointer, "must hold at most 65536 bytes");
    fits.then_some(payload)
}

/// An id from the content, for rules that do not select EMQX's: the same message delivered again
/// gets the same one. A device's payload carries its own time, so two messages do not share it.
fn content_id(topic: &str, payload: &[u8], received_at: Option<i64>) -> String {
    let digest = Sha256::new()
        .chain_update(topic)
        .chain_update([0])
        .chain_update(received_at.unwrap_or_default().to_be_bytes())
        .chain_update(payload)
        .finalize();
    hex::encode(digest.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";
    const NOW: UnixMillis = UnixMillis(1_763_690_480_000);

    fn read(body: &serde_json::Value) -> Result<Envelope, Faults> {
        Envelope::read(body.to_string().as_bytes(), NOW)
    }

    fn topic() -> String {
        format!("opticworks/{ID}/telemetry")
    }

    #[test]
    fn emqxs_default_body_is_read() {
        let envelope = read(&json!({
            "id": "0006532A9C1F7B9DF445000013F90000", "event": "message.publish", "clientid": ID, "username": ID,
            "payload": "{\"a\": 1}", "peerhost": "203.0.113.7", "topic": topic(), "qos": 1,
            "flags": {"dup": false, "retain": false}, "publish_received_at": 1_763_690_475_123_i64,
            "timestamp": 1_763_690_475_124_i64, "node": "emqx@10.0.0.5", "metadata": {"rule_id": "ow_telemetry"},
        }))
        .unwrap();
        assert_eq!(envelope.id, "0006532A9C1F7B9DF445000013F90000");
        assert_eq!(envelope.device.as_str(), ID);
        assert_eq!(envelope.channel, Channel::Telemetry);
        assert_eq!(envelope.payload, b"{\"a\": 1}");
        assert_eq!(envelope.received_at, UnixMillis(1_763_690_475_123));
        assert!(!envelope.is_from_management());
    }

    #[test]
    fn the_exact_bytes_win_over_the_text() {
        let envelope =
            read(&json!({"topic": topic(), "payload": "\u{fffd}\u{1}", "payload_b64": "/wE="})).unwrap();
        assert_eq!(envelope.payload, [0xff, 0x01]);
        assert_eq!(envelope.received_at, NOW);
    }

    #[test]
    fn a_payload_that_a_rule_decoded_is_taken_as_its_json_text() {
        let body = format!(r#"{{"topic": "{}", "payload": {{"t":21.50, "seq": 7}}}}"#, topic());
        let envelope = Envelope::read(body.as_bytes(), NOW).unwrap();
        assert_eq!(envelope.payload, br#"{"t":21.50, "seq": 7}"#);
    }

    #[test]
    fn without_an_id_the_same_content_gets_the_same_one() {
        let body = json!({"topic": topic(), "payload": "{}", "publish_received_at": 5});
        let other = json!({"topic": topic(), "payload": "{ }", "publish_received_at": 5});
        assert_eq!(read(&body).unwrap().id, read(&body).unwrap().id);
        assert_ne!(read(&body).unwrap().id, read(&other).unwrap().id);
    }

    #[test]
    fn every_fault_is_named() {
        let faults = read(&json!({"topic": "opticworks/+/telemetry", "payload_b64": "?"})).unwrap_err();
        let pointers: Vec<_> = faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/topic", "/payload_b64"]);
        assert_eq!(read(&json!({"topic": topic()})).unwrap_err().as_slice()[0].pointer, "/payload");
        assert_eq!(read(&json!([])).unwrap_err().as_slice()[0].pointer, "");
        let long = "x".repeat(limits::DEVICE_PAYLOAD + 1);
        assert!(read(&json!({"topic": topic(), "payload": long})).is_err());
    }

    #[test]
    fn a_time_that_cannot_be_written_down_is_refused() {
        for millis in [-1_i64, 253_402_300_800_000, 17_636_903_690_475_123] {
            let faults =
                read(&json!({"topic": topic(), "payload": "{}", "publish_received_at": millis})).unwrap_err();
            assert_eq!(faults.as_slice()[0].pointer, "/publish_received_at", "{millis}");
        }
    }

    #[test]
    fn what_the_cloud_published_itself_is_told_apart() {
        let envelope = read(
            &json!({"topic": topic(), "payload": "{}", "clientid": "http_api", "username": "undefined"}),
        );
        assert!(envelope.unwrap().is_from_management());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Envelope::read(&bytes, NOW);
        }

        #[test]
        fn any_payload_arrives_unchanged_as_base64(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let envelope = read(&json!({"topic": topic(), "payload_b64": STANDARD.encode(&payload)})).unwrap();
            prop_assert_eq!(envelope.payload, payload);
        }
    }
}
