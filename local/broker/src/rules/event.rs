//! What rules listen to, column by column (`emqx_rule_events.erl`, `eventmsg_publish/1`,
//! `eventmsg_connected/1`, `eventmsg_disconnected/2`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use super::term::Term;

/// Columns of a published message.
pub const MESSAGE_COLUMNS: &[&str] = &[
    "id",
    "event",
    "clientid",
    "username",
    "payload",
    "peerhost",
    "peername",
    "topic",
    "qos",
    "flags",
    "pub_props",
    "publish_received_at",
    "timestamp",
    "client_attrs",
    "node",
    "metadata",
];

/// Columns of a client that connected.
pub const CONNECTED_COLUMNS: &[&str] = &[
    "event",
    "clientid",
    "username",
    "mountpoint",
    "peername",
    "sockname",
    "proto_name",
    "proto_ver",
    "keepalive",
    "clean_start",
    "receive_maximum",
    "expiry_interval",
    "is_bridge",
    "conn_props",
    "connected_at",
    "client_attrs",
    "timestamp",
    "node",
    "metadata",
];

/// Columns of a client that disconnected. There is no `peerhost` among them.
pub const DISCONNECTED_COLUMNS: &[&str] = &[
    "event",
    "reason",
    "clientid",
    "username",
    "peername",
    "sockname",
    "proto_name",
    "proto_ver",
    "disconn_props",
    "disconnected_at",
    "connected_at",
    "client_attrs",
    "timestamp",
    "node",
    "metadata",
];

/// MQTT properties by their EMQX names, `User-Property` and the rest.
pub type Properties = BTreeMap<String, Term>;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// `node.name`.
    pub node: String,
    /// When the event was made, in Unix milliseconds.
    pub timestamp: i64,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `message.publish`.
    Message(Message),
    /// `client.connected`.
    Connected(ClientEvent, Connected),
    /// `client.disconnected`.
    Disconnected(ClientEvent, Disconnected),
}

/// A message that may be published.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id, see [`super::Guids`].
    pub id: String,
    /// Who published it; `http_api` for the management API.
    pub clientid: String,
    /// Their user name.
    pub username: Option<String>,
    /// Their address; none for the management API.
    pub peer: Option<SocketAddr>,
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// 0, 1 or 2.
    pub qos: u8,
    /// The DUP flag; a message of the management API has none.
    pub dup: Option<bool>,
    /// The RETAIN flag.
    pub retain: bool,
    /// Properties.
    pub properties: Properties,
    /// When it came in, in Unix milliseconds.
    pub received_at: i64,
    /// The publisher's attributes from authentication.
    pub client_attrs: BTreeMap<String, String>,
}

/// Who connected or disconnected.
#[derive(Debug, Clone)]
pub struct ClientEvent {
    /// Client id.
    pub clientid: String,
    /// User name.
    pub username: Option<String>,
    /// The client's end of the connection.
    pub peer: Option<SocketAddr>,
    /// The broker's end of the connection.
    pub local: Option<SocketAddr>,
    /// 3, 4 or 5.
    pub proto_ver: u8,
    /// Attributes from authentication.
    pub client_attrs: BTreeMap<String, String>,
    /// When it connected, in Unix milliseconds.
    pub connected_at: i64,
}

/// How it connected.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Seconds.
    pub keepalive: u16,
    /// Clean start, or clean session before MQTT 5.
    pub clean_start: bool,
    /// The most `QoS` 1 and 2 messages that the client takes at a time.
    pub receive_maximum: u16,
    /// How long the session outlives the connection, in seconds.
    pub expiry_interval: u64,
    /// Properties of the CONNECT.
    pub properties: Properties,
}

/// How it disconnected.
#[derive(Debug, Clone)]
pub struct Disconnected {
    /// EMQX's name for why.
    pub reason: String,
    /// Properties of the DISCONNECT.
    pub properties: Properties,
    /// When, in Unix milliseconds.
    pub at: i64,
}

impl Event {
    /// The client that this is about: what keeps one client's data on one worker.
    pub fn clientid(&self) -> &str {
        match &self.kind {
            Kind::Message(message) => &message.clientid,
            Kind::Connected(client, _) | Kind::Disconnected(client, _) => &client.clientid,
        }
    }

    /// Names of the columns.
    pub fn columns(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Message(_) => MESSAGE_COLUMNS,
            Kind::Connected(..) => CONNECTED_COLUMNS,
            Kind::Disconnected(..) => DISCONNECTED_COLUMNS,
        }
    }

    /// A column's value; `undefined` if there is no such column. `rule` is the id of the rule that
    /// asks, which is the metadata.
    pub fn column(&self, name: &str, rule: &str) -> Term {
        match name {
            "node" => return Term::text(&self.node),
            "timestamp" => return Term::Integer(self.timestamp),
            "metadata" => {
                return Term::Map(BTreeMap::from([("rule_id".to_owned(), Term::text(rule))]));
            }
            _ => {}
        }
        match &self.kind {
            Kind::Message(message) => message.column(name),
            Kind::Connected(client, connected) => {
                connected.column(name).unwrap_or_else(|| client.column(name))
            }
            Kind::Disconnected(client, disconnected) => {
                disconnected.column(name).unwrap_or_else(|| client.column(name))
            }
        }
    }
}

impl Message {
    fn column(&self, name: &str) -> Term {
        match name {
            "event" => Term::text("message.publish"),
            "id" => Term::text(&self.id),
            "clientid" => Term::text(&self.clientid),
            "username" => Term::optional(self.username.as_deref()),
            "payload" => Term::Binary(self.payload.clone()),
            "peerhost" => Term::optional(self.peer.map(|peer| peer.ip().to_string())),
            "peername" => Term::optional(self.peer.map(|peer| peer.to_string())),
            "topic" => Term::text(&self.topic),
            "qos" => Term::Integer(i64::from(self.qos)),
            "flags" => Term::Map(
                self.dup
                    .map(|dup| ("dup".to_owned(), Term::Bool(dup)))
                    .into_iter()
                    .chain([("retain".to_owned(), Term::Bool(self.retain))])
                    .collect(),
            ),
            "pub_props" => Term::Map(self.properties.clone()),
            "publish_received_at" => Term::Integer(self.received_at),
            "client_attrs" => Term::texts(&self.client_attrs),
            _ => Term::Undefined,
        }
    }
}

impl ClientEvent {
    fn column(&self, name: &str) -> Term {
        match name {
            "clientid" => Term::text(&self.clientid),
            "username" => Term::optional(self.username.as_deref()),
            "peername" => Term::optional(self.peer.map(|peer| peer.to_string())),
            "sockname" => Term::optional(self.local.map(|local| local.to_string())),
            "proto_name" => Term::text(if self.proto_ver == 3 { "MQIsdp" } else { "MQTT" }),
            "proto_ver" => Term::Integer(i64::from(self.proto_ver)),
            "client_attrs" => Term::texts(&self.client_attrs),
            "connected_at" => Term::Integer(self.connected_at),
            _ => Term::Undefined,
        }
    }
}

impl Connected {
    fn column(&self, name: &str) -> Option<Term> {
        Some(match name {
            "event" => Term::text("client.connected"),
            "keepalive" => Term::Integer(i64::from(self.keepalive)),
            "clean_start" => Term::Bool(self.clean_start),
            "receive_maximum" => Term::Integer(i64::from(self.receive_maximum)),
            "expiry_interval" => Term::Integer(i64::try_from(self.expiry_interval).unwrap_or(i64::MAX)),
            "is_bridge" => Term::Bool(false),
            "conn_props" => Term::Map(self.properties.clone()),
            _ => return None,
        })
    }
}

impl Disconnected {
    fn column(&self, name: &str) -> Option<Term> {
        Some(match name {
            "event" => Term::text("client.disconnected"),
            "reason" => Term::text(&self.reason),
            "disconn_props" => Term::Map(self.properties.clone()),
            "disconnected_at" => Term::Integer(self.at),
            _ => return None,
        })
    }
}
