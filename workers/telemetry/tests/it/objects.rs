//! Telemetry that comes by the object: nothing lost, nothing twice, at the cost that it is for.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use pollster::block_on;
use proptest::prelude::*;
use rs1_auth::{DeviceKey, Vault};
use rs1_domain::event::{Batch, Delivery, Settlement};
use rs1_domain::time::{HOUR, MINUTE, SECOND};
use rs1_domain::{DeviceId, MacAddress, RequestId, UnixMillis};
use rs1_store::devices::{self, NewDevice};
use rs1_store::doubles::{Counting, MemoryBroker, MemoryBucket, MemoryQueue};
use rs1_store::native::{Failure, NativeDatabase};
use rs1_store::sql::{rows, run};
use rs1_store::telemetry::{self, HourRow};
use rs1_store::{Database, Outcome, Param, PortError, Statement};
use rs1_worker_telemetry::queue::consume;
use rs1_worker_telemetry::world::{Ports, World};
use serde_json::{Value, json};

use crate::common::{Cloud, HASH, KEK, device, published, telemetry_payload, ten_o_clock};

const KEY: &str = "telemetry/incoming/emqx/2026-01-20T10:00:00Z-0.jsonl";
const HEAP: i64 = 150_000;

/// What R2 tells the queue.
fn notification(key: &str) -> String {
    json!({
        "account": "3f4b7e3dcab231cbfdaa90a6a28bd548", "action": "PutObject", "bucket": "rs1-telemetry-archives",
        "object": {"key": key, "size": 65_536, "eTag": "c846ff7a18f28c2e262116d6e8719ef0"},
        "eventTime": "2026-01-20T10:30:00.000Z",
    })
    .to_string()
}

fn message(cloud: &Cloud, number: i64) -> Value {
    let at = cloud.now.plus(number * MINUTE);
    published("telemetry", &format!("m{number}"), at, &telemetry_payload(at, HEAP + number))
}

fn messages(cloud: &Cloud, numbers: impl IntoIterator<Item = i64>) -> Vec<Value> {
    numbers.into_iter().map(|number| message(cloud, number)).collect()
}

fn lines(messages: &[Value]) -> String {
    messages.iter().flat_map(|message| [message.to_string(), "\n".to_owned()]).collect()
}

fn arrive(cloud: &Cloud, key: &str, messages: &[Value]) {
    cloud.world.archives.arrives(key, lines(messages).as_bytes(), cloud.now.plus(30 * MINUTE));
}

fn tell(cloud: &Cloud, key: &str) -> Settlement {
    cloud.deliver(&[notification(key)])
}

/// Delivers again as the queue would, after a pause, until it is settled.
fn tell_until_settled(cloud: &mut Cloud, key: &str) {
    for _ in 0..20 {
        if tell(cloud, key).retries.is_empty() {
            return;
        }
        cloud.now = cloud.now.plus(17 * MINUTE);
    }
    panic!("{key} is never settled");
}

fn counted(cloud: &Cloud) -> i64 {
    cloud.hours().iter().map(|hour| hour.messages).sum()
}

fn archived(cloud: &Cloud) -> Vec<String> {
    let objects = cloud.world.archives.objects("telemetry/2");
    let lines = objects.iter().flat_map(|(_, body)| body.lines());
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    let mut ids: Vec<_> = lines.map(id).collect();
    ids.sort();
    ids
}

fn is_there(cloud: &Cloud, key: &str) -> bool {
    !cloud.world.archives.objects(key).is_empty()
}

fn query(cloud: &Cloud, sql: &'static str) -> Value {
    let statement = Statement { name: "test", sql, params: vec![Param::Null] };
    let [outcome] = block_on(run(&cloud.world.db, [statement])).unwrap();
    serde_json::from_str(&outcome.rows_json).unwrap()
}

fn state_of_object(cloud: &Cloud) -> Value {
    query(cloud, "SELECT state, position, counted, repeated, refused FROM telemetry_objects WHERE ?1 IS NULL")
        [0]
    .clone()
}

#[test]
fn an_object_is_archived_counted_and_deleted_with_few_statements() {
    let cloud = Cloud::new();
    arrive(&cloud, KEY, &messages(&cloud, 0..90));
    let before = cloud.world.db.statements_run();
    let settled = tell(&cloud, KEY);
    assert_eq!(settled.retries, [], "{:?}", settled.log);
    assert_eq!(cloud.world.db.statements_run() - before, 5, "take, read, write, note, note that it is gone");
    assert_eq!(cloud.hours().iter().map(|hour| hour.messages).collect::<Vec<_>>(), [60, 30]);
    assert_eq!(archived(&cloud).len(), 90);
    assert!(!is_there(&cloud, KEY));
    let seen = cloud.device().last_telemetry_at.unwrap();
    assert!(
        cloud.now.plus(89 * MINUTE).since(seen) <= rs1_store::objects::PATIENCE,
        "the registry may be behind"
    );
    let row = state_of_object(&cloud);
    assert_eq!((&row["state"], &row["counted"], &row["refused"]), (&json!("done"), &json!(90), &json!(0)));
}

#[test]
fn both_doors_end_in_the_same() {
    let (one, other) = (Cloud::new(), Cloud::new());
    let all = messages(&one, 0..70);
    for message in &all {
        assert_eq!(one.post("/webhook/telemetry", message).status, 202);
    }
    one.drain();
    arrive(&other, KEY, &all);
    tell(&other, KEY);
    let shown = |cloud: &Cloud| {
        cloud.hours().into_iter().map(|hour| (hour.hour, hour.messages, hour.metrics)).collect::<Vec<_>>()
    };
    assert_eq!(shown(&one), shown(&other));
    assert_eq!(archived(&one), archived(&other));
}

#[test]
fn what_comes_by_both_doors_is_counted_once() {
    let cloud = Cloud::new();
    let all = messages(&cloud, 0..20);
    for message in &all[..10] {
        cloud.post("/webhook/telemetry", message);
    }
    cloud.drain();
    arrive(&cloud, KEY, &all);
    tell(&cloud, KEY);
    for message in &all[5..] {
        cloud.post("/webhook/telemetry", message);
    }
    cloud.drain();
    assert_eq!((counted(&cloud), archived(&cloud).len()), (20, 20));
    assert_eq!(state_of_object(&cloud)["repeated"], 10);
}

#[test]
fn a_notification_that_comes_twice_or_for_nothing_changes_nothing() {
    let cloud = Cloud::new();
    arrive(&cloud, KEY, &messages(&cloud, 0..5));
    let both = cloud.deliver(&[notification(KEY), notification(KEY)]);
    assert_eq!(both.retries, [], "{:?}", both.log);
    assert_eq!(tell(&cloud, KEY).retries, []);
    assert_eq!((counted(&cloud), archived(&cloud).len()), (5, 5));
    let missing = tell(&cloud, "telemetry/incoming/none.jsonl");
    assert_eq!(missing.retries, []);
    assert!(missing.log.unwrap().contains("no such object"));
    let elsewhere = notification("telemetry/2026-01-20/10/00-a.ndjson.gz");
    assert_eq!(
        cloud.deliver(&[elsewhere, notification(KEY).replace("PutObject", "LifecycleDeletion")]).retries,
        []
    );
    assert!(cloud.world.archives.objects("quarantine/").is_empty());
}

#[test]
fn the_same_object_again_and_another_of_its_name_count_what_is_new() {
    let cloud = Cloud::new();
    arrive(&cloud, KEY, &messages(&cloud, 0..5));
    tell(&cloud, KEY);
    arrive(&cloud, KEY, &messages(&cloud, 0..5));
    assert_eq!(tell(&cloud, KEY).retries, []);
    assert!(!is_there(&cloud, KEY), "it was taken in before");
    assert_eq!(counted(&cloud), 5);
    arrive(&cloud, KEY, &messages(&cloud, 3..9));
    assert_eq!(tell(&cloud, KEY).retries, []);
    assert_eq!((counted(&cloud), archived(&cloud).len()), (9, 9));
}

#[test]
fn bad_lines_go_to_quarantine_and_harm_no_others() {
    let cloud = Cloud::new();
    let mut all = messages(&cloud, 0..3);
    let unknown =
        message(&cloud, 7).to_string().replace(device().as_str(), "00112233445566778899aabbccddeeff");
    all.insert(1, serde_json::from_str(&unknown).unwrap());
    all.insert(2, json!("no message"));
    let text = lines(&all) + message(&cloud, 8).to_string().split_at(40).0;
    cloud.world.archives.arrives(KEY, text.as_bytes(), cloud.now);
    assert_eq!(tell(&cloud, KEY).retries, []);
    assert_eq!((counted(&cloud), archived(&cloud).len()), (3, 3));
    let [(_, kept)] = cloud.world.archives.objects("quarantine/").try_into().unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let reasons: Vec<_> = kept["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["line"].clone(), line["reason"].clone()))
        .collect();
    assert_eq!(
        reasons.iter().map(|(line, _)| line.clone()).collect::<Vec<_>>(),
        [json!(1), json!(2), json!(5)]
    );
    assert!(reasons[0].1.as_str().unwrap().contains("not enrolled"), "{reasons:?}");
    assert_eq!(kept["object"], KEY);
    assert!(!is_there(&cloud, KEY), "what is wrong with it is kept");
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_compressed_object_is_read_as_any_and_a_damaged_one_as_far_as_it_goes() {
    let cloud = Cloud::new();
    let key = format!("{KEY}.gz");
    cloud.world.archives.arrives(&key, &gzipped(&lines(&messages(&cloud, 0..30))), cloud.now);
    assert_eq!(tell(&cloud, &key).retries, []);
    assert_eq!(counted(&cloud), 30);
    assert!(!is_there(&cloud, &key));
    let whole = gzipped(&lines(&messages(&cloud, 30..60)));
    cloud.world.archives.arrives(&key, &whole[..whole.len() / 2], cloud.now);
    assert_eq!(tell(&cloud, &key).retries, []);
    let some = counted(&cloud);
    assert!((31..60).contains(&some), "{some}");
    assert!(is_there(&cloud, &key), "a person may want to look at it");
    assert_eq!(
        cloud.world.archives.objects("quarantine/").len(),
        2,
        "a line that was cut, and why there is no more"
    );
    assert_eq!(tell(&cloud, &key).retries, []);
    assert_eq!(counted(&cloud), some);
}

fn tick(cloud: &Cloud, hours: i64) -> String {
    let now = cloud.now.plus(hours * HOUR);
    cloud.sweep(now).unwrap()
}

#[test]
fn objects_of_which_nobody_was_told_are_found_by_the_clock() {
    let cloud = Cloud::new();
    let key = |n: i64| format!("telemetry/incoming/n{n}.jsonl");
    for n in 0..8 {
        arrive(&cloud, &key(n), &messages(&cloud, [n]));
    }
    cloud.world.archives.arrives("telemetry/incoming/young", b"", cloud.now.plus(50 * MINUTE));
    assert!(tick(&cloud, 1).contains("; 8 objects found"));
    cloud.drain();
    assert_eq!(counted(&cloud), 8);
    assert!(tick(&cloud, 2).contains("; 1 objects found"), "the young one is old enough now");
    cloud.drain();
    assert!(tick(&cloud, 3).contains("; 0 objects found"));
    assert!(cloud.world.archives.objects("telemetry/incoming/").is_empty());
    tick(&cloud, 24 * 9);
    assert_eq!(
        query(&cloud, "SELECT count(*) AS n FROM telemetry_objects WHERE ?1 IS NULL")[0]["n"],
        0,
        "old ones are forgotten"
    );
}

#[test]
fn who_comes_while_somebody_is_at_it_waits() {
    let cloud = Cloud::new();
    arrive(&cloud, KEY, &messages(&cloud, 0..5));
    block_on(run(&cloud.world.db, [rs1_store::objects::take(KEY, cloud.now)])).unwrap();
    assert_eq!(tell(&cloud, KEY).retries.len(), 1);
    assert!(tick(&cloud, 0).contains("; 0 objects found"));
    let mut cloud = cloud;
    cloud.now = cloud.now.plus(17 * MINUTE);
    assert_eq!(tell(&cloud, KEY).retries, [], "who had it is dead");
    assert_eq!(counted(&cloud), 5);
}

/// Whatever fails, and before or after it was done: in the end each message is archived and counted once, its events are told
/// once, and the object is gone.
#[test]
fn whatever_fails_nothing_is_lost_and_nothing_is_twice() {
    let statements =
        ["object_take", "rollups_for", "write_rollups", "record_events", "write_alerts", "object_save", ""];
    for name in statements {
        for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
            let mut cloud = Cloud::new();
            let mut all = messages(&cloud, 0..70);
            let at = cloud.now.plus(71 * MINUTE);
            let payload = json!({
                "device_id": device(), "timestamp": at, "metrics": {"system.free_heap": 10_000},
                "logs": [{"ts": 1, "lvl": "I", "tag": "OTA", "msg": "ota_start"}],
            });
            all.push(published("telemetry", "m71", at, &payload));
            arrive(&cloud, KEY, &all);
            cloud.world.db.fail_once(name, failure);
            let first = tell(&cloud, KEY);
            assert_eq!(first.retries.len(), 1, "{name} {failure:?}: {:?}", first.log);
            tell_until_settled(&mut cloud, KEY);
            assert_eq!(counted(&cloud), 71, "{name} {failure:?}");
            assert_eq!(archived(&cloud).len(), 71, "{name} {failure:?}");
            assert!(!is_there(&cloud, KEY), "{name} {failure:?}");
            let events = query(&cloud, "SELECT kind, count FROM telemetry_events WHERE ?1 IS NULL");
            assert_eq!(events, json!([{"kind": "ota_start", "count": 1}]), "{name} {failure:?}");
            let alerts = query(&cloud, "SELECT kind, occurrences FROM alerts WHERE ?1 IS NULL ORDER BY kind");
            let expected = json!([{"kind": "critical_memory", "occurrences": 1}, {"kind": "low_memory", "occurrences": 1}]);
            assert_eq!(alerts, expected, "{name} {failure:?}");
        }
    }
}

#[test]
fn whatever_the_bucket_does_nothing_is_lost_and_nothing_is_twice() {
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        let mut cloud = Cloud::new();
        arrive(&cloud, KEY, &messages(&cloud, 0..70));
        cloud.world.archives.fail(Some(failure));
        assert_eq!(tell(&cloud, KEY).retries.len(), 1);
        assert_eq!(counted(&cloud), 0, "nothing is counted before it is archived: {failure:?}");
        cloud.world.archives.fail(None);
        cloud.world.archives.fail_reads(true);
        assert_eq!(tell(&cloud, KEY).retries.len(), 1);
        cloud.world.archives.fail_reads(false);
        tell_until_settled(&mut cloud, KEY);
        assert_eq!((counted(&cloud), archived(&cloud).len()), (70, 70), "{failure:?}");
        assert!(!is_there(&cloud, KEY));
    }
}

/// A fleet: so many devices, enrolled; each one's id.
fn fleet(cloud: &Cloud, count: u32) -> Vec<DeviceId> {
    let vault = Vault::new(KEK, None).unwrap();
    let key = DeviceKey::parse(HASH).unwrap();
    let new: Vec<_> = (0..count)
        .map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            let mac_address = MacAddress::parse(&format!("02:00:00:{a:02X}:{b:02X}:{c:02X}")).unwrap();
            let device_id = DeviceId::of(&mac_address);
            let sealed_key = vault.seal(&key, &device_id, [9; 12]).unwrap();
            NewDevice { device_id, mac_address, product_sku: None, sealed_key }
        })
        .collect();
    for some in new.chunks(500) {
        block_on(run(&cloud.world.db, [devices::enroll(some, cloud.now, "ada").unwrap()])).unwrap();
    }
    new.into_iter().map(|new| new.device_id).collect()
}

/// What a device measures in an ordinary minute: every metric of the contract.
fn of_device(device: &DeviceId, number: i64, at: UnixMillis) -> String {
    let payload = json!({
        "device_id": device, "timestamp": at, "firmware_version": "1.2.0", "uptime_sec": 60 * number,
        "metrics": {
            "system.uptime_sec": 60 * number, "system.free_heap": HEAP + number, "system.wifi_rssi": -60, "system.cpu_usage": 12.5,
            "radar.frames_received": 600, "radar.frames_invalid": 1, "tracking.active_tracks": 2, "zone.occupancy_changes": 3,
            "api.connections": 1,
        },
    });
    json!({
        "id": format!("{}-{number}", device.as_str().split_at(8).0), "clientid": device, "topic": format!("opticworks/{device}/telemetry"),
        "payload": payload.to_string(), "publish_received_at": at.0, "node": "emqx@10.0.0.5",
    })
    .to_string()
}

/// Devices that send once a minute, each at its own second, between two minutes.
fn sent(devices: &[DeviceId], now: UnixMillis, minutes: std::ops::Range<i64>) -> String {
    let mut text = String::new();
    for minute in minutes {
        for (device, second) in devices.iter().zip((0..60).cycle()) {
            text.push_str(&of_device(device, minute, now.plus(minute * MINUTE + second * SECOND)));
            text.push('\n');
        }
    }
    text
}

fn hours_of(cloud: &Cloud, device: &DeviceId) -> Vec<HourRow> {
    let [outcome] = block_on(run(&cloud.world.db, [telemetry::hours(device, 0)])).unwrap();
    rows(&outcome).unwrap()
}

/// An object of several pieces, broken off after each of them.
#[test]
fn a_consumer_that_dies_between_pieces_loses_nothing_and_does_nothing_twice() {
    let mut cloud = Cloud::new();
    let devices = fleet(&cloud, 150);
    let text = sent(&devices, cloud.now, 0..60);
    assert!(text.len() > 2 * 2_097_152, "several pieces: {}", text.len());
    cloud.world.archives.arrives(KEY, text.as_bytes(), cloud.now);
    for pieces in 0..3 {
        cloud.world.archives.break_off(pieces);
        assert_eq!(tell(&cloud, KEY).retries.len(), 1);
    }
    tell_until_settled(&mut cloud, KEY);
    assert!(
        devices
            .iter()
            .all(|device| hours_of(&cloud, device).iter().map(|hour| hour.messages).sum::<i64>() == 60)
    );
    let ids = archived(&cloud);
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (9_000, 9_000));
}

/// A database in which somebody else writes every rollup just before ours are written, so many times.
struct Meddled {
    db: NativeDatabase,
    times: Cell<u32>,
}

impl Database for Meddled {
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, PortError> {
        if self.times.get() > 0 && statements.iter().any(|statement| statement.name == "write_rollups") {
            self.times.set(self.times.get() - 1);
            self.db.execute("UPDATE telemetry_rollups SET generation = generation + 1")?;
        }
        self.db.batch(statements).await
    }
}

struct WithOthers;

impl Ports for WithOthers {
    type Database = Meddled;
    type Queue = MemoryQueue;
    type Bucket = MemoryBucket;
    type Random = Counting;
    type Broker = MemoryBroker;
}

#[test]
fn rollups_that_somebody_else_wrote_in_between_are_read_again() {
    for (times, settled) in [(1, true), (4, true), (5, false)] {
        let cloud = Cloud::new();
        for message in messages(&cloud, [0, 65]) {
            cloud.post("/webhook/telemetry", &message);
        }
        cloud.drain();
        arrive(&cloud, KEY, &messages(&cloud, 0..70));
        let Cloud { world, config, now } = cloud;
        let World { db, queue, updates, archives, files, random, broker, bursts } = world;
        let db = Meddled { db, times: Cell::new(times) };
        let world = World::<WithOthers> { db, queue, updates, archives, files, random, broker, bursts };
        let delivery = Delivery { id: "q1".into(), attempts: 1, sent_at: now, body: notification(KEY) };
        let request_id = RequestId::from_header("batch").unwrap();
        let batch = Batch { queue: "rs1-telemetry".into(), deliveries: vec![delivery], now, request_id };
        let settlement = block_on(consume(&batch, &world));
        assert_eq!(settlement.retries.is_empty(), settled, "{times}: {:?}", settlement.log);
        let World { db: Meddled { db, .. }, queue, updates, archives, files, random, broker, bursts } = world;
        let world = World { db, queue, updates, archives, files, random, broker, bursts };
        let cloud = Cloud { world, config, now };
        tell(&cloud, KEY);
        assert_eq!(counted(&cloud), 70, "{times}");
        assert_eq!(archived(&cloud).into_iter().collect::<BTreeSet<_>>().len(), 70, "{times}");
        assert!(!is_there(&cloud, KEY));
    }
}

/// Six hours of a small fleet, an object of half an hour each, which begin at no full hour.
#[test]
fn a_device_hour_costs_at_most_four_rows() {
    let cloud = Cloud::new();
    let devices = fleet(&cloud, 40);
    let total = || query(&cloud, "SELECT total_changes() AS n WHERE ?1 IS NULL")[0]["n"].as_i64().unwrap();
    let mut object = 0;
    let mut take = |from: i64, until: i64| {
        object += 1;
        let key = format!("telemetry/incoming/{object}.jsonl");
        let text = sent(&devices, cloud.now.plus(17 * MINUTE), from..until);
        cloud.world.archives.arrives(&key, text.as_bytes(), cloud.now.plus(until * MINUTE));
        assert_eq!(tell(&cloud, &key).retries, []);
    };
    take(0, 30);
    let before = total();
    for n in 1..13 {
        take(n * 30, (n + 1) * 30);
    }
    // Three of the hour's row (two objects, one of which lies across the hour), and one of the registry's; an object has three
    // of its own, whatever is in it.
    let (rows, of_objects) = (total() - before, 12 * 3);
    assert!(rows - of_objects <= 4 * 40 * 6, "{rows} rows");
}

#[derive(Clone, Debug)]
enum Door {
    Webhook(Vec<i64>),
    Object(Vec<i64>),
    Late(Vec<i64>),
}

fn doors() -> impl Strategy<Value = Vec<Door>> {
    let numbers = || proptest::collection::vec(-90_i64..90, 1..25);
    let door = prop_oneof![
        numbers().prop_map(Door::Webhook),
        numbers().prop_map(Door::Object),
        numbers().prop_map(Door::Late),
    ];
    proptest::collection::vec(door, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any messages, in any order, repeated, late, through any of the doors: the same rollups, events and archive as if each had come
    /// once and in its order.
    #[test]
    fn any_interleaving_duplication_and_delay_ends_in_the_same(doors in doors(), again in 0_usize..3) {
        let mut cloud = Cloud::new();
        let of = |number: i64| {
            let at = ten_o_clock().plus(number * MINUTE);
            let mut payload = telemetry_payload(at, HEAP + number);
            if number % 7 == 0 {
                payload["logs"] = json!([{"ts": 1, "lvl": "E", "tag": "NVS", "msg": format!("error:{number}:x")}]);
            }
            published("telemetry", &format!("p{number}"), at, &payload)
        };
        let mut all = BTreeSet::new();
        let mut left: Vec<String> = Vec::new();
        for (index, door) in doors.iter().cycle().take(doors.len() * (again + 1)).enumerate() {
            match door {
                Door::Webhook(numbers) | Door::Late(numbers) => {
                    all.extend(numbers.iter().copied());
                    for number in numbers {
                        cloud.post("/webhook/telemetry", &of(*number));
                    }
                    let sent = cloud.world.queue.take();
                    if matches!(door, Door::Late(_)) { left.extend(sent) } else { cloud.deliver(&sent); }
                }
                Door::Object(numbers) => {
                    all.extend(numbers.iter().copied());
                    let key = format!("telemetry/incoming/{}.jsonl", index % doors.len());
                    let messages: Vec<_> = numbers.iter().map(|number| of(*number)).collect();
                    arrive(&cloud, &key, &messages);
                    tell_until_settled(&mut cloud, &key);
                }
            }
        }
        cloud.deliver(&left);
        let straight = Cloud::new();
        for number in &all {
            straight.post("/webhook/telemetry", &of(*number));
        }
        straight.drain();
        let shown = |cloud: &Cloud| -> BTreeMap<i64, (i64, String)> {
            cloud.hours().into_iter().map(|hour| (hour.hour, (hour.messages, hour.metrics))).collect()
        };
        prop_assert_eq!(shown(&cloud), shown(&straight));
        prop_assert_eq!(archived(&cloud), archived(&straight));
        let events = "SELECT at, mark, kind, detail, count FROM telemetry_events WHERE ?1 IS NULL ORDER BY at, mark";
        prop_assert_eq!(query(&cloud, events), query(&straight, events));
    }
}
