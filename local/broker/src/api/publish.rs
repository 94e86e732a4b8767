//! `POST /publish` and `POST /publish/bulk` (`emqx_mgmt_api_publish.erl`).
//!
//! Everything is checked before anything is published. What is published passes no authorization and
//! fires rules, as the client `http_api`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmqtt::codec::types::Publish as Packet;
use rmqtt::codec::v5::PublishProperties;
use rmqtt::types::{Publish, QoS};
use serde_json::{Map, Value as Json, json};

use super::Api;
use super::reply::Reply;
use crate::clock;
use crate::mqtt::{self, Dispatch};
use crate::rules::Message;
use crate::topic;

/// What surrounds topic and payload in a PUBLISH packet at most, without properties: the fixed header
/// (5), the topic's length (2), the packet id (2) and the properties' length (4).
const PACKET_OVERHEAD: usize = 13;

/// `POST /publish`.
pub async fn one(State(api): State<Arc<Api>>, body: Bytes) -> Result<Reply, Reply> {
    let publish = read(&parse(&body)?, &api)?;
    let (dispatch, answer) = send(&api, publish).await;
    Ok(Reply::json(status(dispatch), answer))
}

/// `POST /publish/bulk`.
pub async fn bulk(State(api): State<Arc<Api>>, body: Bytes) -> Result<Reply, Reply> {
    let Json::Array(items) = parse(&body)? else {
        return Err(bad_request("the body is not an array"));
    };
    if items.is_empty() {
        // EMQX falls into a case_clause here. Whoever sends an empty batch is to notice it at home.
        return Err(Reply::error(500, "INTERNAL_ERROR", "case_clause: an empty batch"));
    }
    let messages = items.iter().map(|item| read(item, &api)).collect::<Result<Vec<_>, _>>()?;
    let mut worst = 200;
    let mut answers = Vec::with_capacity(messages.len());
    for message in messages {
        let (dispatch, answer) = send(&api, message).await;
        worst = worst.max(status(dispatch));
        answers.push(answer);
    }
    Ok(Reply::json(worst, Json::Array(answers)))
}

fn status(dispatch: Dispatch) -> u16 {
    match dispatch {
        Dispatch::Delivered => 200,
        Dispatch::NoSubscribers => 202,
        Dispatch::Failed => 503,
    }
}

fn parse(body: &[u8]) -> Result<Json, Reply> {
    serde_json::from_slice(body).map_err(|error| bad_request(format!("the body is not JSON: {error}")))
}

/// Publishes, and says what became of it.
async fn send(api: &Arc<Api>, mut publish: Publish) -> (Dispatch, Json) {
    let delay = topic::delayed(&publish.topic).map(|(seconds, real)| (seconds, real.to_owned()));
    let id = api.broker.message_id();
    let Some((seconds, real)) = delay else {
        let dispatch = publish_now(api, &id, publish).await;
        let answer = match dispatch {
            Dispatch::Delivered => json!({ "id": id }),
            Dispatch::NoSubscribers => reason(16, "no_matching_subscribers"),
            Dispatch::Failed => reason(131, "failed_to_dispatch"),
        };
        return (dispatch, answer);
    };
    publish.topic = real.into();
    let (api, later) = (api.clone(), id.clone());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
        publish_now(&api, &later, publish).await;
    });
    (Dispatch::Delivered, json!({ "id": id }))
}

async fn publish_now(api: &Api, id: &str, publish: Publish) -> Dispatch {
    let from = mqtt::from_management_api(&api.scx);
    let seen = mqtt::message(&from.id, &publish, std::collections::BTreeMap::new(), &api.broker);
    let properties = publish.properties.as_ref().map(mqtt::properties).unwrap_or_default();
    // Unlike a client's message, this one has no DUP flag and only the properties that were given.
    api.broker.published(Message { id: id.to_owned(), dup: None, properties, ..seen });
    let expiry = publish.properties.as_ref().and_then(|properties| properties.message_expiry_interval);
    let expiry = expiry.map(|seconds| Duration::from_secs(u64::from(seconds.get())));
    mqtt::dispatch(&api.scx, from, publish, expiry).await
}

/// Reads and checks one message.
fn read(item: &Json, api: &Api) -> Result<Publish, Reply> {
    let Json::Object(fields) = item else { return Err(bad_request("a message is not an object")) };
    let mut fields = fields.clone();
    let topic = text(&mut fields, "topic")?.ok_or_else(|| bad_request("topic is missing"))?;
    let payload = text(&mut fields, "payload")?.ok_or_else(|| bad_request("payload is missing"))?;
    let encoding = match text(&mut fields, "payload_encoding")? {
        Some(encoding) => Some(encoding),
        None => text(&mut fields, "encoding")?,
    };
    let qos = match fields.remove("qos") {
        None => QoS::AtMostOnce,
        Some(value) => value
            .as_u64()
            .and_then(|level| u8::try_from(level).ok())
            .and_then(|level| QoS::try_from(level).ok())
            .ok_or_else(|| bad_request("qos is not 0, 1 or 2"))?,
    };
    let retain = match fields.remove("retain") {
        None => false,
        Some(value) => value.as_bool().ok_or_else(|| bad_request("retain is not a boolean"))?,
    };
    let properties = fields.remove("properties").map(|value| properties(&value)).transpose()?;
    // Deprecated: the sender is http_api whatever it says.
    fields.remove("clientid");
    if let Some(unknown) = fields.keys().next() {
        return Err(bad_request(format!("unknown field {unknown}")));
    }

    let payload = match encoding.as_deref() {
        None | Some("plain") => payload.into_bytes(),
        Some("base64") => STANDARD
            .decode(payload)
            .map_err(|_| Reply::json(400, reason(131, "decode_base64_payload_failed")))?,
        Some(other) => return Err(bad_request(format!("payload_encoding is {other}, not plain or base64"))),
    };
    let name = topic::delayed(&topic).map_or(topic.as_str(), |(_, real)| real);
    if !topic::is_name(name) {
        return Err(Reply::json(400, reason(144, "topic_name_invalid")));
    }
    let size = payload.len().saturating_add(topic.len()).saturating_add(PACKET_OVERHEAD);
    if u32::try_from(size).map_or(true, |size| size > api.broker.max_packet_size) {
        return Err(Reply::json(400, reason(151, "packet_too_large")));
    }
    let packet = Packet {
        dup: false,
        retain,
        qos,
        topic: topic.into(),
        packet_id: None,
        payload: payload.into(),
        properties,
    };
    Ok(Publish::from(packet).create_time(clock::unix_millis()))
}

fn properties(value: &Json) -> Result<PublishProperties, Reply> {
    let Json::Object(fields) = value else { return Err(bad_request("properties is not an object")) };
    let mut fields = fields.clone();
    let mut properties = PublishProperties::default();
    if let Some(indicator) = fields.remove("payload_format_indicator") {
        properties.is_utf8_payload = match indicator.as_u64() {
            Some(0) => false,
            Some(1) => true,
            _ => return Err(bad_request("payload_format_indicator is not 0 or 1")),
        };
    }
    if let Some(interval) = fields.remove("message_expiry_interval") {
        let seconds = interval.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
        let seconds =
            seconds.ok_or_else(|| bad_request("message_expiry_interval is not a number of seconds"))?;
        properties.message_expiry_interval = NonZeroU32::new(seconds);
    }
    properties.response_topic = text(&mut fields, "response_topic")?.map(Into::into);
    properties.correlation_data = text(&mut fields, "correlation_data")?.map(|data| data.into_bytes().into());
    properties.content_type = text(&mut fields, "content_type")?.map(Into::into);
    if let Some(user) = fields.remove("user_properties") {
        let Json::Object(user) = user else { return Err(bad_request("user_properties is not an object")) };
        for (name, value) in user {
            let value = value.as_str().ok_or_else(|| bad_request("a user property is not a string"))?;
            properties.user_properties.push((name.into(), value.into()));
        }
    }
    match fields.keys().next() {
        Some(unknown) => Err(bad_request(format!("unknown property {unknown}"))),
        None => Ok(properties),
    }
}

/// Takes a string out of `fields`; anything else of that name is an error.
fn text(fields: &mut Map<String, Json>, name: &str) -> Result<Option<String>, Reply> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(bad_request(format!("{name} is not a string"))),
    }
}

fn reason(code: u8, message: &str) -> Json {
    json!({ "reason_code": code, "message": message })
}

fn bad_request(message: impl Into<String>) -> Reply {
    Reply::error(400, "BAD_REQUEST", message)
}
