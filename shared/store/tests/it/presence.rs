//! A device's state and presence are right in whatever order its messages arrive.

use pollster::block_on;
use proptest::prelude::*;
use rs1_domain::wire::State;
use rs1_domain::{DeviceId, MacAddress, UnixMillis};
use rs1_store::devices::{self, Device, Reported};
use rs1_store::native::NativeDatabase;
use rs1_store::sql::{first_row, run};
use rs1_store::telemetry::{RollupRow, write_rollups};
use rs1_store::{Database, Statement};

fn device() -> DeviceId {
    DeviceId::of(&MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap())
}

fn registry() -> NativeDatabase {
    let db = NativeDatabase::new();
    let mac_address = MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap();
    let new =
        devices::NewDevice { device_id: device(), mac_address, product_sku: None, sealed_key: "1.x".into() };
    apply(&db, devices::enroll(&[new], UnixMillis(1), "ada").unwrap());
    db
}

fn apply(db: &NativeDatabase, statement: Statement) -> u64 {
    block_on(db.batch(vec![statement])).unwrap()[0].changes
}

fn shown(db: &NativeDatabase) -> Device {
    let [outcome] = block_on(run(db, [devices::by_id(&device())])).unwrap();
    first_row(&outcome).unwrap().unwrap()
}

fn state(version: &str, uptime: i64) -> State {
    let text = format!(
        r#"{{"online": true, "firmware_version": "{version}", "last_seen": "2020-01-01T00:00:00Z", "uptime_sec": {uptime}}}"#
    );
    State::read(text.as_bytes()).unwrap()
}

fn online(at: i64, uptime: i64) -> Statement {
    devices::report_state(&device(), &state("1.0.0", uptime), Some("c1"), UnixMillis(at))
}

fn gone(at: i64, reason: &str) -> Statement {
    devices::report_gone(&device(), reason, Some("c1"), UnixMillis(at))
}

fn telemetry(received_at: i64, generation: i64) -> Statement {
    patient_telemetry(received_at, generation, 0)
}

/// Telemetry that the registry may be behind by so much.
fn patient_telemetry(received_at: i64, generation: i64, patience: i64) -> Statement {
    let row = RollupRow {
        device_id: device(),
        hour: 0,
        messages: generation,
        last_at: UnixMillis(received_at),
        last_received_at: UnixMillis(received_at),
        metrics: "{}".into(),
        seen: Some(String::new()),
        generation,
        adds: rs1_telemetry::batch::Adds::default(),
    };
    write_rollups(&[row], patience, None).unwrap()
}

#[test]
fn telemetry_that_is_in_no_hurry_is_told_to_the_registry_now_and_then() {
    let db = registry();
    let seen = |db: &NativeDatabase| shown(db).last_telemetry_at;
    assert_eq!(apply(&db, patient_telemetry(1_000, 1, 500)), 2, "the device comes online");
    assert_eq!((seen(&db), shown(&db).online), (Some(UnixMillis(1_000)), true));
    assert_eq!(apply(&db, patient_telemetry(1_500, 2, 500)), 1);
    assert_eq!(seen(&db), Some(UnixMillis(1_000)));
    assert_eq!(apply(&db, patient_telemetry(1_501, 3, 500)), 2);
    assert_eq!(seen(&db), Some(UnixMillis(1_501)));
    apply(&db, gone(1_600, "keepalive_timeout"));
    assert_eq!(apply(&db, patient_telemetry(1_590, 4, 500)), 1);
    assert!(!shown(&db).online, "it was sent before the device went");
    apply(&db, patient_telemetry(1_700, 5, 500));
    assert_eq!(
        (seen(&db), shown(&db).online),
        (Some(UnixMillis(1_700)), true),
        "who comes back is told at once"
    );
}

#[test]
fn a_state_is_shown_and_an_older_one_changes_nothing() {
    let db = registry();
    assert!(!shown(&db).online);
    assert_eq!(apply(&db, online(2_000, 20)), 1);
    assert_eq!(apply(&db, online(1_000, 10)), 0, "older");
    assert_eq!(apply(&db, online(2_000, 20)), 1, "repeated: the same again");
    let device = shown(&db);
    assert!(device.online);
    assert_eq!(device.uptime_sec, Some(20));
    assert_eq!(device.last_seen_at, Some(UnixMillis(2_000)));
}

#[test]
fn a_disconnect_that_arrives_after_the_reconnect_does_not_take_the_device_for_offline() {
    let db = registry();
    apply(&db, online(1_000, 10));
    apply(&db, online(3_000, 1));
    assert_eq!(apply(&db, gone(2_000, "keepalive_timeout")), 0);
    assert!(shown(&db).online);
}

#[test]
fn a_state_from_before_the_disconnect_does_not_bring_the_device_back() {
    let db = registry();
    apply(&db, online(1_000, 10));
    apply(&db, gone(3_000, "tcp_closed"));
    apply(&db, online(2_000, 20));
    let device = shown(&db);
    assert!(!device.online);
    assert_eq!(device.offline_reason.as_deref(), Some("tcp_closed"));
    assert_eq!(device.uptime_sec, Some(20), "it is still newer than what was known");
}

#[test]
fn another_clients_disconnect_does_not_take_the_device_for_offline() {
    let db = registry();
    apply(&db, online(1_000, 10));
    assert_eq!(apply(&db, devices::report_gone(&device(), "tcp_closed", Some("c2"), UnixMillis(2_000))), 0);
    assert!(shown(&db).online);
}

#[test]
fn telemetry_is_a_sign_of_life_if_it_is_newer() {
    let db = registry();
    apply(&db, gone(2_000, "tcp_closed"));
    apply(&db, telemetry(1_500, 1));
    assert!(!shown(&db).online, "sent before the connection was lost");
    apply(&db, telemetry(2_500, 2));
    let device = shown(&db);
    assert!(device.online);
    assert_eq!(device.offline_reason, None);
    assert_eq!(device.last_telemetry_at, Some(UnixMillis(2_500)));
}

#[test]
fn a_rollup_that_somebody_else_wrote_meanwhile_is_left_alone() {
    let db = registry();
    let answered = |statement| block_on(run(&db, [statement])).unwrap()[0].rows_json.clone();
    assert_ne!(answered(telemetry(1_000, 1)), "[]");
    assert_eq!(answered(telemetry(1_100, 1)), "[]", "generation 1 is taken");
    assert_eq!(answered(telemetry(1_100, 3)), "[]", "generation 2 was not read");
    assert_ne!(answered(telemetry(1_100, 2)), "[]");
}

fn reported(db: &NativeDatabase, statement: Statement) -> Option<Reported> {
    let [outcome] = block_on(run(db, [statement])).unwrap();
    first_row(&outcome).unwrap()
}

#[test]
fn a_state_that_brings_a_device_back_says_so_each_time_it_is_delivered_and_no_other_does() {
    let db = registry();
    let came_online = |statement| reported(&db, statement).map(|reported| reported.came_online);
    assert_eq!(came_online(online(1_000, 1)), Some(true), "it was never seen before");
    assert_eq!(came_online(online(1_000, 1)), Some(true), "the same message again");
    assert_eq!(came_online(online(2_000, 2)), Some(false), "it was here already");
    apply(&db, gone(3_000, "tcp_closed"));
    assert_eq!(came_online(online(4_000, 1)), Some(true));
    apply(&db, gone(6_000, "tcp_closed"));
    assert_eq!(came_online(online(5_000, 2)), Some(false), "it has gone since");
    assert_eq!(came_online(online(4_500, 2)), None, "late");
}

#[derive(Clone, Debug)]
enum Message {
    Online(i64),
    Gone(i64),
}

proptest! {
    /// Whatever the order of arrival and whatever is repeated, the newest event decides.
    #[test]
    fn the_newest_event_decides(
        times in proptest::collection::btree_set(1_i64..1_000, 1..8),
        kinds in proptest::collection::vec(any::<bool>(), 8),
        order in proptest::collection::vec(0_usize..8, 8..24),
    ) {
        let messages: Vec<_> = times.iter().zip(&kinds)
            .map(|(at, online)| if *online { Message::Online(*at) } else { Message::Gone(*at) }).collect();
        let db = registry();
        let everything = (0..messages.len()).chain(order.into_iter().filter(|index| *index < messages.len()));
        // Arrival: some order with repetitions in which each message occurs at least once.
        let mut arrivals: Vec<_> = everything.collect();
        arrivals.reverse();
        for index in arrivals {
            match messages[index] {
                Message::Online(at) => apply(&db, online(at, at)),
                Message::Gone(at) => apply(&db, gone(at, "tcp_closed")),
            };
        }
        let newest_is_online = matches!(messages.last(), Some(Message::Online(_)));
        let newest_state = messages.iter().rev().find_map(|message| match message { Message::Online(at) => Some(*at), Message::Gone(_) => None });
        let device = shown(&db);
        prop_assert_eq!(device.online, newest_is_online);
        prop_assert_eq!(device.uptime_sec, newest_state);
    }
}
