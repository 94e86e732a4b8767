//! One MQTT connection, from CONNECT to its end, whichever version of the protocol it speaks.
//!
//! The client library reconnects by itself and would send again what the last connection left over.
//! A simulated device must not: each connection here is a client of its own, polled by a task of its
//! own, and dropping the [`Link`] closes the socket without a word, as a power cut does.

mod v4;
mod v5;

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rs1_domain::DeviceId;
use rs1_domain::topic;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::device::Message;

/// Requests that may wait for the socket before the device has to.
const QUEUE: usize = 64;
/// `QoS` 1 publishes that may wait for their PUBACK.
const INFLIGHT: u16 = 64;
/// How long a broker may take to accept the connection, and to take a packet.
const PATIENCE: Duration = Duration::from_secs(15);
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// The largest packet either side may send.
const PACKET: u32 = 256 * 1024;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1.
    V4,
    /// 5.0.
    V5,
}

impl Version {
    /// The version as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Broker {
    /// Reads `HOST:PORT`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("wants HOST:PORT, like 127.0.0.1:1883")?;
        let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        Ok(Self { host: crate::http::resolvable(host), port })
    }
}

/// Everything a CONNECT packet says.
pub struct Opening<'a> {
    /// Where to.
    pub broker: &'a Broker,
    /// Which protocol.
    pub version: Version,
    /// Who: user name and client id are the device id.
    pub device: &'a DeviceId,
    /// This hour's password.
    pub password: String,
    /// The last will.
    pub will: Message,
}

/// What happens on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The broker accepted the connection.
    Connected {
        /// Whether it remembered an earlier session.
        session_present: bool,
    },
    /// A publish is on its way: written and flushed. `QoS` 1 has a packet id.
    Sent {
        /// The packet id, for `QoS` 1.
        packet: Option<u16>,
    },
    /// The broker took responsibility for a publish, or says that it did not.
    Acknowledged {
        /// The packet id.
        packet: u16,
        /// Why it was refused (5.0 only: 3.1.1 has no way to say so).
        refused: Option<String>,
    },
    /// The broker answered the subscription.
    Subscribed {
        /// For each filter, in order, whether it was granted.
        granted: Vec<bool>,
    },
    /// A message from the cloud.
    Received {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Bytes,
    },
    /// A DISCONNECT is on its way.
    Leaving,
    /// Nothing more will come.
    Ended(End),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The broker did not let the device in.
    Refused(String),
    /// There was no connection, or it broke, or the broker closed it.
    Broken(String),
}

enum Client {
    V4(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

/// A connection.
pub struct Link {
    client: Client,
    events: mpsc::UnboundedReceiver<Event>,
    task: AbortHandle,
}

impl Link {
    /// Begins to connect. What comes of it is told by [`next`](Self::next).
    pub fn open(opening: Opening<'_>) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let (client, task) = match opening.version {
            Version::V4 => v4::open(opening, sender),
            Version::V5 => v5::open(opening, sender),
        };
        Self { client, events, task }
    }

    /// What happened next.
    pub async fn next(&mut self) -> Event {
        let gone = || Event::Ended(End::Broken("closed".to_owned()));
        self.events.recv().await.unwrap_or_else(gone)
    }

    /// What has happened already, without waiting.
    pub fn already(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Hands a message to the connection; [`Event::Sent`] tells when it is on its way.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn publish(&self, device: &DeviceId, message: &Message) -> anyhow::Result<()> {
        let topic = topic::of_device(device, message.topic);
        let payload = Bytes::copy_from_slice(&message.payload);
        let retained = message.retained;
        match &self.client {
            Client::V4(client) => {
                let qos = v4::qos(message);
                client.publish_bytes(topic, qos, retained, payload).await.context("the connection has ended")
            }
            Client::V5(client) => {
                let qos = v5::qos(message);
                client.publish(topic, qos, retained, payload).await.context("the connection has ended")
            }
        }
    }

    /// Subscribes to filters at `QoS` 1, all in one packet.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn subscribe(&self, filters: Vec<String>) -> anyhow::Result<()> {
        match &self.client {
            Client::V4(client) => {
                let filters = filters
                    .into_iter()
                    .map(|filter| rumqttc::SubscribeFilter::new(filter, rumqttc::QoS::AtLeastOnce));
                client.subscribe_many(filters).await.context("the connection has ended")
            }
            Client::V5(client) => {
                let filters = filters.into_iter().map(v5::filter);
                client.subscribe_many(filters).await.context("the connection has ended")
            }
        }
    }

    /// Says goodbye. The broker then closes the connection, and no last will is published.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn disconnect(&self) -> anyhow::Result<()> {
        match &self.client {
            Client::V4(client) => client.disconnect().await.context("the connection has ended"),
            Client::V5(client) => client.disconnect().await.context("the connection has ended"),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_address_is_read() {
        let broker = |text| Broker::parse(text).map(|broker| (broker.host, broker.port));
        assert_eq!(broker("127.0.0.1:1883"), Ok(("127.0.0.1".to_owned(), 1883)));
        assert_eq!(broker("mqtt.localhost:1883"), Ok(("127.0.0.1".to_owned(), 1883)));
        for wrong in ["", "127.0.0.1", "host:", "host:99999", "host:x"] {
            assert!(broker(wrong).is_err(), "{wrong}");
        }
    }
}
