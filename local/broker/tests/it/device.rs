//! Devices: MQTT clients of both versions that say what the broker answered.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS, v5};

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// An MQTT 3.1.1 client.
pub struct Device {
    pub client: AsyncClient,
    events: EventLoop,
}

/// What a client is like.
#[derive(Clone)]
pub struct Profile {
    pub address: SocketAddr,
    pub clientid: String,
    pub username: Option<String>,
    pub password: String,
    pub clean: bool,
    pub will: Option<(String, String)>,
    pub keepalive: Duration,
}

impl Profile {
    /// A device with the right password, its user name for a client id, and a clean session.
    pub fn new(address: SocketAddr, name: &str) -> Self {
        Self {
            address,
            clientid: name.to_owned(),
            username: Some(name.to_owned()),
            password: "right".to_owned(),
            clean: true,
            will: None,
            keepalive: Duration::from_secs(30),
        }
    }

    pub fn password(self, password: &str) -> Self {
        Self { password: password.to_owned(), ..self }
    }

    pub fn persistent(self) -> Self {
        Self { clean: false, ..self }
    }

    pub fn will(self, topic: &str, payload: &str) -> Self {
        Self { will: Some((topic.to_owned(), payload.to_owned())), ..self }
    }

    /// Connects with MQTT 3.1.1. `Err` has the CONNACK's code.
    pub async fn connect(&self) -> Result<Device, u8> {
        let mut options =
            MqttOptions::new(&self.clientid, self.address.ip().to_string(), self.address.port());
        if let Some(username) = &self.username {
            options.set_credentials(username, &self.password);
        }
        options.set_clean_session(self.clean).set_keep_alive(self.keepalive);
        if let Some((topic, payload)) = &self.will {
            options.set_last_will(LastWill::new(topic, payload.as_bytes(), QoS::AtLeastOnce, true));
        }
        let (client, mut events) = AsyncClient::new(options, 64);
        match tokio::time::timeout(PATIENCE, events.poll()).await.expect("a CONNACK") {
            Ok(Event::Incoming(Packet::ConnAck(_))) => Ok(Device { client, events }),
            Err(rumqttc::ConnectionError::ConnectionRefused(code)) => Err(match code {
                rumqttc::ConnectReturnCode::BadUserNamePassword => 4,
                rumqttc::ConnectReturnCode::NotAuthorized => 5,
                other => panic!("{other:?}"),
            }),
            other => panic!("{other:?}"),
        }
    }

    /// Connects with MQTT 5. `Err` has the CONNACK's code.
    pub async fn connect_v5(&self) -> Result<Device5, u8> {
        let (ip, port) = (self.address.ip().to_string(), self.address.port());
        let mut options = v5::MqttOptions::new(&self.clientid, ip, port);
        if let Some(username) = &self.username {
            options.set_credentials(username, &self.password);
        }
        options.set_clean_start(self.clean).set_keep_alive(self.keepalive);
        if !self.clean {
            options.set_session_expiry_interval(Some(3600));
        }
        if let Some((topic, payload)) = &self.will {
            let will = v5::mqttbytes::v5::LastWill::new(
                topic.as_str(),
                payload.as_str(),
                v5::mqttbytes::QoS::AtLeastOnce,
                true,
                None,
            );
            options.set_last_will(will);
        }
        let (client, mut events) = v5::AsyncClient::new(options, 64);
        match tokio::time::timeout(PATIENCE, events.poll()).await.expect("a CONNACK") {
            Ok(v5::Event::Incoming(v5::Incoming::ConnAck(_))) => Ok(Device5 { client, events }),
            Err(v5::ConnectionError::ConnectionRefused(code)) => Err(match code {
                v5::mqttbytes::v5::ConnectReturnCode::BadUserNamePassword => 0x86,
                v5::mqttbytes::v5::ConnectReturnCode::NotAuthorized => 0x87,
                other => panic!("{other:?}"),
            }),
            other => panic!("{other:?}"),
        }
    }
}

impl Device {
    /// Waits for an incoming packet that `wanted` makes something of.
    pub async fn until<T>(&mut self, what: &str, wanted: impl Fn(Packet) -> Option<T>) -> T {
        let polling = async {
            loop {
                if let Event::Incoming(packet) =
                    self.events.poll().await.unwrap_or_else(|e| panic!("{what}: {e}"))
                    && let Some(found) = wanted(packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("never: {what}"))
    }

    /// Publishes with `QoS` 1 and waits for the PUBACK.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
        self.until("a PUBACK", |packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    }

    /// Subscribes; returns whether the filter was accepted.
    pub async fn subscribe(&mut self, filter: &str) -> bool {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.until("a SUBACK", |packet| match packet {
            Packet::SubAck(ack) => Some(ack.return_codes != [rumqttc::SubscribeReasonCode::Failure]),
            _ => None,
        })
        .await
    }

    /// The next message: topic, payload, retain flag.
    pub async fn message(&mut self) -> (String, Vec<u8>, bool) {
        self.until("a message", |packet| match packet {
            Packet::Publish(publish) => Some((publish.topic, publish.payload.to_vec(), publish.retain)),
            _ => None,
        })
        .await
    }

    /// Waits until the broker closes the connection.
    pub async fn closed(mut self) {
        let polling = async { while self.events.poll().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, polling).await.expect("the connection to be closed");
    }

    /// Sends DISCONNECT and closes.
    pub async fn disconnect(mut self) {
        self.client.disconnect().await.unwrap();
        while self.events.poll().await.is_ok() {}
    }

    /// Closes the socket without a word.
    pub fn vanish(self) {
        drop(self);
    }
}

/// An MQTT 5 client.
pub struct Device5 {
    pub client: v5::AsyncClient,
    events: v5::EventLoop,
}

impl Device5 {
    async fn until<T>(&mut self, what: &str, wanted: impl Fn(v5::Incoming) -> Option<T>) -> T {
        let polling = async {
            loop {
                if let v5::Event::Incoming(packet) =
                    self.events.poll().await.unwrap_or_else(|e| panic!("{what}: {e}"))
                    && let Some(found) = wanted(packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("never: {what}"))
    }

    /// Publishes with `QoS` 1; returns the PUBACK's reason.
    pub async fn publish(&mut self, topic: &str, payload: &str) -> v5::mqttbytes::v5::PubAckReason {
        self.client
            .publish(topic, v5::mqttbytes::QoS::AtLeastOnce, false, payload.to_owned().into_bytes())
            .await
            .unwrap();
        self.until("a PUBACK", |packet| match packet {
            v5::Incoming::PubAck(ack) => Some(ack.reason),
            _ => None,
        })
        .await
    }

    /// Subscribes; returns the SUBACK's reason.
    pub async fn subscribe(&mut self, filter: &str) -> v5::mqttbytes::v5::SubscribeReasonCode {
        self.client.subscribe(filter, v5::mqttbytes::QoS::AtLeastOnce).await.unwrap();
        self.until("a SUBACK", |packet| match packet {
            v5::Incoming::SubAck(ack) => Some(ack.return_codes[0]),
            _ => None,
        })
        .await
    }

    /// Waits until the broker closes the connection.
    pub async fn closed(mut self) {
        let polling = async { while self.events.poll().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, polling).await.expect("the connection to be closed");
    }
}
