//! Publishing on somebody's behalf, and telling rules of what is published.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmqtt::codec::v5::PublishProperties;
use rmqtt::context::ServerContext;
use rmqtt::types::{ClientId, From, Id, Publish, Retain};

use crate::broker::Broker;
use crate::clock;
use crate::rules::{Message, Properties, Term};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// At least one session has it, connected or not.
    Delivered,
    /// Nobody subscribes to its topic.
    NoSubscribers,
    /// Somebody subscribes, and it could be handed to none of them.
    Failed,
}

/// Retains the message if it asks for that, and hands it to its subscribers.
pub async fn dispatch(
    scx: &ServerContext,
    from: From,
    publish: Publish,
    expiry: Option<Duration>,
) -> Dispatch {
    if publish.retain {
        let retain = Retain { msg_id: None, from: from.clone(), publish: publish.clone() };
        if let Err(error) = scx.extends.retain().await.set(&publish.topic, retain, expiry).await {
            log::error!("{} could not be retained: {error}", publish.topic);
        }
    }
    let (subscribers, failures) = match scx.extends.shared().await.forwards(None, from.clone(), publish).await
    {
        Ok(subscribers) => (subscribers, Vec::new()),
        Err((subscribers, failures)) => (subscribers, failures),
    };
    if subscribers == 0 && failures.is_empty() {
        scx.extends.hook_mgr().message_nonsubscribed(from).await;
        return Dispatch::NoSubscribers;
    }
    for (to, from, publish, reason) in failures {
        scx.extends.hook_mgr().message_dropped(Some(to), from, publish, reason).await;
    }
    if subscribers == 0 { Dispatch::Failed } else { Dispatch::Delivered }
}

/// The sender of messages that come over the management API (`emqx_mgmt_api_publish`).
pub fn from_management_api(scx: &ServerContext) -> From {
    From::from_admin(Id::new(scx.node.id(), 0, None, None, ClientId::from_static("http_api"), None))
}

/// What rules see of a message that the client `id` publishes.
pub fn message(
    id: &Id,
    publish: &Publish,
    client_attrs: BTreeMap<String, String>,
    broker: &Broker,
) -> Message {
    Message {
        id: broker.message_id(),
        clientid: id.client_id.to_string(),
        username: id.username.as_ref().map(ToString::to_string),
        peer: id.remote_addr,
        topic: publish.topic.to_string(),
        payload: publish.payload.clone(),
        qos: publish.qos.value(),
        dup: Some(publish.dup),
        retain: publish.retain,
        properties: publish.properties.as_ref().map_or_else(no_properties, client_properties),
        received_at: publish.create_time.unwrap_or_else(clock::unix_millis),
        client_attrs,
    }
}

/// What a client's message without properties has: an empty map of user properties.
fn no_properties() -> Properties {
    Properties::from([("User-Property".to_owned(), Term::Map(BTreeMap::new()))])
}

fn client_properties(properties: &PublishProperties) -> Properties {
    let mut named = no_properties();
    named.extend(self::properties(properties));
    named
}

/// Properties by their EMQX names, those that are set (`emqx_mqtt_props`).
pub fn properties(properties: &PublishProperties) -> Properties {
    let mut named = Properties::new();
    let mut put = |name: &str, value: Option<Term>| {
        if let Some(value) = value {
            named.insert(name.to_owned(), value);
        }
    };
    put("Payload-Format-Indicator", properties.is_utf8_payload.then_some(Term::Integer(1)));
    let expiry = properties.message_expiry_interval.map(|seconds| Term::Integer(i64::from(seconds.get())));
    put("Message-Expiry-Interval", expiry);
    put("Content-Type", properties.content_type.as_deref().map(Term::text));
    put("Response-Topic", properties.response_topic.as_deref().map(Term::text));
    put("Correlation-Data", properties.correlation_data.as_ref().map(|data| binary(data)));
    if !properties.user_properties.is_empty() {
        let pairs = properties.user_properties.iter();
        let (mut map, mut list) = (BTreeMap::new(), Vec::new());
        for (name, value) in pairs {
            map.insert(name.to_string(), Term::text(&**value));
            list.push(Term::Map(BTreeMap::from([
                ("key".to_owned(), Term::text(&**name)),
                ("value".to_owned(), Term::text(&**value)),
            ])));
        }
        put("User-Property", Some(Term::Map(map)));
        put("User-Property-Pairs", Some(Term::List(list)));
    }
    named
}

/// Bytes of a property: text if they are, else base64, so that nothing is lost in a webhook.
fn binary(data: &[u8]) -> Term {
    str::from_utf8(data).map_or_else(|_| Term::text(STANDARD.encode(data)), Term::text)
}
