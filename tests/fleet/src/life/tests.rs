//! A device's life against a broker of a few lines, which notes what it is told and does as the test says.

use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use rs1_domain::wire::{State, Telemetry};
use rs1_domain::{FirmwareVersion, Sku, UnixMillis, hex};
use rumqttc::mqttbytes;
use rumqttc::{ConnAck, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use sha2::{Digest as _, Sha256};

use super::*;
use crate::http::Origin;
use crate::ota::image::example::Recipe;
use crate::ota::shelf::Shelf;
use crate::ota::{Fate, Settings, Trust};
use crate::tally::Tally;

/// How the broker behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Polite,
    /// Lets nobody in.
    Refuses,
    /// Closes the first connection at that many publishes, without a word.
    ClosesAfter(usize),
    /// Sends a zone configuration to whoever subscribes.
    Configures,
    /// Sends a trigger for this image to whoever subscribes.
    Triggers([u8; 32]),
}

#[derive(Default)]
struct Seen(Mutex<Vec<Packet>>);

impl Seen {
    fn note(&self, packet: Packet) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(packet);
    }

    fn packets(&self) -> Vec<Packet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publishes(&self, topic: &str) -> Vec<Publish> {
        let publishes = self.packets().into_iter().filter_map(|packet| match packet {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        });
        publishes.filter(|publish| publish.topic.ends_with(topic)).collect()
    }

    fn states(&self) -> Vec<State> {
        let states = self.publishes("/state");
        assert!(states.iter().all(|state| state.retain && state.qos == QoS::AtLeastOnce));
        states.iter().map(|state| State::read(&state.payload).unwrap()).collect()
    }

    fn count(&self, kind: fn(&Packet) -> bool) -> usize {
        self.packets().iter().filter(|packet| kind(packet)).count()
    }
}

async fn serve(listener: TcpListener, manner: Manner, seen: Arc<Seen>) {
    let mut connections = 0;
    while let Ok((stream, _)) = listener.accept().await {
        connections += 1;
        let manner =
            if connections > 1 && matches!(manner, Manner::ClosesAfter(_)) { Manner::Polite } else { manner };
        tokio::spawn(converse(stream, manner, Arc::clone(&seen)));
    }
}

async fn converse(mut stream: TcpStream, manner: Manner, seen: Arc<Seen>) {
    let (mut unread, mut publishes) = (BytesMut::new(), 0);
    loop {
        let packet = match Packet::read(&mut unread, 1 << 20) {
            Ok(packet) => packet,
            Err(mqttbytes::Error::InsufficientBytes(_)) => {
                if matches!(stream.read_buf(&mut unread).await, Ok(0) | Err(_)) {
                    return;
                }
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        seen.note(packet.clone());
        let mut answer = BytesMut::new();
        match packet {
            Packet::Connect(_) => {
                let code = if manner == Manner::Refuses {
                    ConnectReturnCode::NotAuthorized
                } else {
                    ConnectReturnCode::Success
                };
                ConnAck::new(code, false).write(&mut answer).unwrap();
            }
            Packet::Subscribe(subscribe) => {
                let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
                SubAck::new(subscribe.pkid, codes).write(&mut answer).unwrap();
                if let Manner::Triggers(sha256) = manner {
                    let filter = subscribe.filters.iter().find(|filter| filter.path.ends_with("ota/trigger"));
                    let trigger = serde_json::json!({
                        "version": "1.3.0", "url": "https://ota.localhost/firmware/rs1_pro/1.3.0.bin?sig=x",
                        "sha256": hex::encode(&sha256), "rollout_id": "rol-01", "issued_at": "2026-01-20T10:00:00Z",
                        "min_rssi": -100,
                    });
                    let trigger = trigger.to_string();
                    Publish::new(&filter.unwrap().path, QoS::AtMostOnce, trigger).write(&mut answer).unwrap();
                }
                if manner == Manner::Configures {
                    let filter =
                        subscribe.filters.iter().find(|filter| filter.path.ends_with("config/update"));
                    let zones = r#"{"version":4,"updated_at":"2026-01-20T10:00:00Z","zones":[{"id":"a","name":"Sofa",
                        "type":"include","vertices":[[0,0],[900,0],[0,900]],"sensitivity":50}]}"#;
                    Publish::new(&filter.unwrap().path, QoS::AtMostOnce, zones).write(&mut answer).unwrap();
                }
            }
            Packet::Publish(publish) => {
                publishes += 1;
                if matches!(manner, Manner::ClosesAfter(most) if publishes >= most) {
                    return;
                }
                if publish.qos == QoS::AtLeastOnce {
                    PubAck::new(publish.pkid).write(&mut answer).unwrap();
                }
            }
            Packet::Disconnect => return,
            _ => {}
        }
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

struct World {
    seen: Arc<Seen>,
    tally: Arc<Tally>,
    orders: watch::Sender<Orders>,
    life: Life,
}

/// A device that sends a telemetry message every ten milliseconds to a broker of that manner.
async fn world(manner: Manner) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, tally) = (Arc::new(Seen::default()), Arc::new(Tally::default()));
    tokio::spawn(serve(listener, manner, Arc::clone(&seen)));
    let (orders, listening) = watch::channel(Orders::default());
    let identity = Identity::of_fleet(1, 0, None).unwrap();
    let random = fastrand::Rng::with_seed(1);
    let life = Life {
        hardware: Hardware::new(
            identity.id.clone(),
            Sku::Pro,
            FirmwareVersion::parse("1.2.0").unwrap(),
            random.clone(),
            0,
            false,
            UnixMillis(0),
        ),
        identity,
        broker: Broker { host: "127.0.0.1".to_owned(), port },
        version: Version::V4,
        starts_at: Instant::now(),
        cadence: Cadence::every(Duration::from_millis(10)),
        begins: Begins::Connected,
        leaves_when_done: false,
        faults: Faults::default(),
        updater: updater("http://127.0.0.1:1", &tally),
        random,
        orders: listening,
        witness: Arc::clone(&tally) as Arc<dyn Witness>,
    };
    World { seen, tally, orders, life }
}

/// A device that behaves; its images are at `local`.
fn updater(local: &str, tally: &Arc<Tally>) -> Updater {
    let local = Origin::parse(local).unwrap();
    let settings = Settings { local, trust: Trust::Anyone, speed: 60_000.0, request: None };
    let witness = Arc::clone(tally) as Arc<dyn Witness>;
    Updater::new(Arc::new(settings), Fate::default(), fastrand::Rng::with_seed(1), witness)
}

async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if look() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited ten seconds for {what}");
}

#[tokio::test]
async fn a_device_introduces_itself_measures_and_says_goodbye() {
    let mut world = world(Manner::Polite).await;
    world.life.cadence = world.life.cadence.at_most(3);
    world.life.leaves_when_done = true;
    let id = world.life.identity.id.clone();
    world.life.live().await;

    let packets = world.seen.packets();
    let Packet::Connect(connect) = &packets[0] else { panic!("{packets:?}") };
    assert_eq!(connect.client_id, id.as_str());
    assert_eq!(connect.login.as_ref().unwrap().username, id.as_str());
    assert_eq!(connect.login.as_ref().unwrap().password.len(), 64);
    let will = connect.last_will.as_ref().unwrap();
    assert!(will.retain && will.qos == QoS::AtLeastOnce && will.topic == format!("opticworks/{id}/state"));
    assert!(!State::read(&will.message).unwrap().online);

    let Packet::Subscribe(subscribe) = &packets[1] else { panic!("{packets:?}") };
    let filters: Vec<_> = subscribe.filters.iter().map(|filter| filter.path.clone()).collect();
    let expected =
        ["ota/trigger", "config/update", "diag/request", "provision/response", "command/factory-reset"];
    assert_eq!(filters, expected.map(|rest| format!("opticworks/{id}/{rest}")));

    assert_eq!(world.seen.states().iter().map(|state| state.online).collect::<Vec<_>>(), [true, false]);
    assert_eq!(packets.last(), Some(&Packet::Disconnect));
    let totals = world.tally.totals();
    assert_eq!((totals.telemetry, totals.confirmed, totals.in_doubt), (3, 3, 0));
    assert_eq!((totals.left, totals.connected, totals.acknowledged), (1, 0, 2));
    assert_eq!(world.seen.publishes("/telemetry").len(), 3);
}

#[tokio::test]
async fn told_to_stop_it_leaves_nothing_in_doubt() {
    let world = world(Manner::Polite).await;
    let living = tokio::spawn(world.life.live());
    eventually("telemetry", || world.tally.totals().telemetry > 5).await;
    world.orders.send_modify(|orders| orders.stop = true);
    living.await.unwrap();
    let totals = world.tally.totals();
    assert_eq!((totals.confirmed, totals.in_doubt), (totals.telemetry, 0));
    assert_eq!(world.seen.publishes("/telemetry").len() as u64, totals.telemetry);
}

#[tokio::test]
async fn what_a_broken_connection_may_have_swallowed_is_in_doubt() {
    let world = world(Manner::ClosesAfter(4)).await;
    let living = tokio::spawn(world.life.live());
    eventually("another connection", || world.tally.totals().reconnects == 1).await;
    world.orders.send_modify(|orders| orders.stop = true);
    living.await.unwrap();
    let totals = world.tally.totals();
    assert_eq!(totals.lost, 1);
    let arrived = world.seen.publishes("/telemetry").len() as u64;
    assert!(totals.in_doubt >= 3, "{totals:?}");
    assert!(totals.confirmed <= arrived && arrived <= totals.confirmed + totals.in_doubt, "{totals:?}");
}

#[tokio::test]
async fn a_device_that_is_not_let_in_tries_again_until_it_is_stopped() {
    let world = world(Manner::Refuses).await;
    let living = tokio::spawn(world.life.live());
    eventually("two refusals", || world.tally.totals().refused >= 2).await;
    world.orders.send_modify(|orders| orders.stop = true);
    living.await.unwrap();
    let totals = world.tally.totals();
    assert_eq!((totals.ever_connected, totals.left, totals.state), (0, 0, 0));
}

#[tokio::test]
async fn a_cut_connection_ends_without_a_word() {
    let mut world = world(Manner::Polite).await;
    world.life.faults.drop = 1.0;
    let living = tokio::spawn(world.life.live());
    eventually("two connections", || world.tally.totals().reconnects >= 1).await;
    world.orders.send_modify(|orders| orders.stop = true);
    living.await.unwrap();
    assert!(world.tally.totals().faults >= 1);
    assert_eq!(world.tally.totals().telemetry, 0);
    let goodbyes = world.seen.count(|packet| *packet == Packet::Disconnect);
    assert!(world.seen.count(|packet| matches!(packet, Packet::Connect(_))) > goodbyes);
}

#[tokio::test]
async fn a_storm_makes_it_connect_again() {
    let world = world(Manner::Polite).await;
    let living = tokio::spawn(world.life.live());
    eventually("a connection", || world.tally.totals().state == 1).await;
    world.orders.send_modify(|orders| orders.storms += 1);
    eventually("another connection", || world.tally.totals().reconnects == 1).await;
    world.orders.send_modify(|orders| orders.stop = true);
    living.await.unwrap();
    assert_eq!(world.tally.totals().left, 1);
}

#[tokio::test]
async fn copies_and_late_messages_are_sent_and_counted_as_what_they_are() {
    let mut world = world(Manner::Polite).await;
    world.life.faults = Faults { duplicate: 0.4, reorder: 0.4, ..Faults::default() };
    world.life.cadence = world.life.cadence.at_most(40);
    world.life.leaves_when_done = true;
    world.life.live().await;
    let totals = world.tally.totals();
    assert!(totals.copies > 0);
    assert_eq!(totals.telemetry, 40 + totals.copies, "nothing that was held back is forgotten");
    let id = Identity::of_fleet(1, 0, None).unwrap().id;
    let published = world.seen.publishes("/telemetry");
    let times: Vec<_> =
        published.iter().map(|publish| Telemetry::read(&publish.payload, &id).unwrap().timestamp).collect();
    assert_eq!(times.len() as u64, totals.telemetry);
    assert!(!times.is_sorted(), "some came after the one that followed them");
}

#[tokio::test]
async fn it_does_what_the_cloud_asks_and_says_so() {
    let world = world(Manner::Configures).await;
    let living = tokio::spawn(world.life.live());
    eventually("the new state", || world.tally.totals().state == 2).await;
    world.orders.send_modify(|orders| orders.stop = true);
    living.await.unwrap();
    assert_eq!(world.tally.totals().commands, 1);
    assert_eq!(world.seen.publishes("/config/status").len(), 1);
    assert_eq!(world.seen.states()[1].config_version, Some(4));
}

#[tokio::test]
async fn triggered_it_updates_restarts_without_a_goodbye_and_comes_back_as_another_version() {
    let image = Recipe::default().bake();
    let mut world = world(Manner::Triggers(Sha256::digest(&image).into())).await;
    let shelf = Shelf::serve(image, &[]).await;
    world.life.updater = updater(&shelf.address(), &world.tally);
    world.life.cadence = world.life.cadence.at_most(0);
    let living = tokio::spawn(world.life.live());
    eventually("the state after the restart", || world.tally.totals().state >= 2).await;
    assert_eq!(world.seen.count(|packet| *packet == Packet::Disconnect), 0, "the broker was told nothing");
    world.orders.send_modify(|orders| orders.stop = true);
    living.await.unwrap();

    let reports = world.seen.publishes("/ota/status");
    assert!(reports.iter().all(|report| report.retain && report.qos == QoS::AtLeastOnce));
    let statuses: Vec<String> = reports
        .iter()
        .map(|report| {
            serde_json::from_slice::<serde_json::Value>(&report.payload).unwrap()["status"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!((statuses[0].as_str(), statuses[7].as_str()), ("pending", "success"));

    let states = world.seen.states();
    let versions: Vec<_> = states.iter().map(|state| state.firmware_version.as_str()).collect();
    assert_eq!(versions[..2], ["1.2.0", "1.3.0"]);
    assert_eq!(states[1].boot_count, states[0].boot_count.map(|count| count + 1));
    // The trigger that came again after the restart is answered, not followed.
    let totals = world.tally.totals();
    assert_eq!((totals.ota.begun, totals.reconnects), (1, 1));
    // The will of the first session was written before the update, that of the second after it.
    let wills = world.seen.packets().into_iter().filter_map(|packet| match packet {
        Packet::Connect(connect) => {
            Some(State::read(&connect.last_will.unwrap().message).unwrap().firmware_version)
        }
        _ => None,
    });
    assert_eq!(wills.map(|version| version.to_string()).collect::<Vec<_>>(), ["1.2.0", "1.3.0"]);
}
