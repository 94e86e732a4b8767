//! MQTT 3.1.1.

use rumqttc::{
    AsyncClient, ConnectionError, Event as Raw, EventLoop, Incoming, LastWill, MqttOptions, NetworkOptions,
    Outgoing, QoS, StateError, SubscribeReasonCode,
};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use super::{Client, End, Event, INFLIGHT, KEEP_ALIVE, Opening, PACKET, PATIENCE, QUEUE};
use crate::device::Message;

pub(super) fn open(opening: Opening<'_>, events: UnboundedSender<Event>) -> (Client, AbortHandle) {
    let Opening { broker, device, password, will, .. } = opening;
    let packet = usize::try_from(PACKET).unwrap_or(usize::MAX);
    let topic = rs1_domain::topic::of_device(device, will.topic);
    let mut options = MqttOptions::new(device.as_str(), &broker.host, broker.port);
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_session(true)
        .set_credentials(device.as_str(), password)
        .set_inflight(INFLIGHT)
        .set_max_packet_size(packet, packet)
        .set_last_will(LastWill::new(topic, will.payload.as_slice(), qos(&will), will.retained));
    let (client, mut connection) = AsyncClient::new(options, QUEUE);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(PATIENCE.as_secs());
    connection.set_network_options(network);
    (Client::V4(client), tokio::spawn(run(connection, events)).abort_handle())
}

pub(super) fn qos(message: &Message) -> QoS {
    if message.acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce }
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
        Raw::Incoming(Incoming::PubAck(ack)) => Event::Acknowledged { packet: ack.pkid, refused: None },
        Raw::Incoming(Incoming::SubAck(ack)) => Event::Subscribed {
            granted: ack
                .return_codes
                .iter()
                .map(|code| matches!(code, SubscribeReasonCode::Success(_)))
                .collect(),
        },
        Raw::Incoming(Incoming::Publish(publish)) => {
            Event::Received { topic: publish.topic, payload: publish.payload }
        }
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
        other => End::Broken(other.to_string()),
    }
}
