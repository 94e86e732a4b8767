//! MQTT 5.0.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, LastWill, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as Raw, EventLoop, Incoming, MqttOptions, StateError};
use rumqttc::{NetworkOptions, Outgoing};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use super::{Client, End, Event, INFLIGHT, KEEP_ALIVE, Opening, PACKET, PATIENCE, QUEUE};
use crate::device::Message;

pub(super) fn open(opening: Opening<'_>, events: UnboundedSender<Event>) -> (Client, AbortHandle) {
    let Opening { broker, device, password, will, .. } = opening;
    let topic = rs1_domain::topic::of_device(device, will.topic);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    let mut options = MqttOptions::new(device.as_str(), &broker.host, broker.port);
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_start(true)
        .set_credentials(device.as_str(), password)
        // Left to itself the library reserves room for 65,535 publishes, ten megabytes a connection.
        .set_outgoing_inflight_upper_limit(INFLIGHT)
        .set_connection_timeout(PATIENCE.as_secs())
        .set_network_options(network)
        .set_max_packet_size(Some(PACKET))
        .set_last_will(LastWill::new(topic, will.payload.as_slice(), qos(&will), will.retained, None));
    let (client, connection) = AsyncClient::new(options, QUEUE);
    (Client::V5(client), tokio::spawn(run(connection, events)).abort_handle())
}

pub(super) fn qos(message: &Message) -> QoS {
    if message.acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce }
}

pub(super) fn filter(path: String) -> Filter {
    Filter::new(path, QoS::AtLeastOnce)
}

async fn run(mut connection: EventLoop, events: UnboundedSender<Event>) {
    loop {
        let event = match connection.poll().await {
            Ok(raw) => translate(raw),
            Err(error) => Some(Event::Ended(end(&error))),
        };
        let Some(event) = event else { continue };
        let is_last = matches!(event, Event::Ended(_));
        if events.send(event).is_err() || is_last {
            return;
        }
    }
}

fn translate(raw: Raw) -> Option<Event> {
    Some(match raw {
        Raw::Incoming(Incoming::ConnAck(ack)) => Event::Connected { session_present: ack.session_present },
        Raw::Incoming(Incoming::PubAck(ack)) => {
            // "No matching subscribers" is a success: rules need no subscription.
            let taken = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
            Event::Acknowledged { packet: ack.pkid, refused: (!taken).then(|| format!("{:?}", ack.reason)) }
        }
        Raw::Incoming(Incoming::SubAck(ack)) => Event::Subscribed {
            granted: ack
                .return_codes
                .iter()
                .map(|code| matches!(code, SubscribeReasonCode::Success(_)))
                .collect(),
        },
        Raw::Incoming(Incoming::Publish(publish)) => Event::Received {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload,
        },
        Raw::Outgoing(Outgoing::Publish(packet)) => Event::Sent { packet: (packet != 0).then_some(packet) },
        Raw::Outgoing(Outgoing::Disconnect) => Event::Leaving,
        _ => return None,
    })
}

fn end(error: &ConnectionError) -> End {
    match error {
        ConnectionError::ConnectionRefused(code) => End::Refused(format!("{code:?}")),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            End::Broken("the broker closed the connection".to_owned())
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            End::Broken(format!("the broker says {reason_code:?}"))
        }
        other => End::Broken(other.to_string()),
    }
}
