//! From the consumer to the sealed hour: however messages are mixed, repeated and late, and whatever fails on the way, in the end the
//! rollups, the events and the archive are those of the messages, each once.

use std::collections::BTreeSet;

use pollster::block_on;
use proptest::prelude::*;
use rs1_domain::UnixMillis;
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_store::Param;
use rs1_store::native::Failure;
use rs1_store::sql::{first_row, rows, run};
use rs1_telemetry::archive::FOLDERS;
use rs1_worker_archive::cron::{HOURLY, SWEEP};
use serde_json::{Value, json};

use crate::common::{Cloud, device, published, telemetry_payload, ten_o_clock};

/// Messages that the longest test has.
const MESSAGES: i64 = 24;

/// A message by its number: some stay behind with the device for hours, some tell of something that happened.
fn message(number: i64) -> Value {
    let at = ten_o_clock().plus(number * 7 * MINUTE);
    let kept_for = if number % 5 == 0 { 20 * HOUR } else { 300 };
    let mut payload = telemetry_payload(at, 150_000 + number);
    payload["metrics"]["radar.frames_received"] = json!(number);
    if number % 4 == 0 {
        payload["logs"] = json!([{"ts": 1, "lvl": "I", "tag": "OTA", "msg": "ota_start"}]);
    }
    published("telemetry", &format!("m{number}"), at.plus(kept_for), &payload)
}

fn queued(cloud: &Cloud, number: i64) -> String {
    assert_eq!(cloud.post("/webhook/telemetry", &message(number)).status, 202);
    cloud.world.queue.take().remove(0)
}

/// Delivers some; what is to be delivered again, is.
fn deliver(cloud: &Cloud, numbers: impl IntoIterator<Item = i64>) {
    cloud.settle(numbers.into_iter().map(|number| queued(cloud, number)).collect());
}

/// What people can see of it, and what it comes from.
fn told(cloud: &Cloud) -> (Vec<(i64, i64, UnixMillis, String)>, Value) {
    let hours = cloud.hours().into_iter().map(|hour| (hour.hour, hour.messages, hour.last_at, hour.metrics));
    let events =
        "SELECT device_id, at, kind, detail, count FROM telemetry_events WHERE ?1 IS NULL ORDER BY at";
    (hours.collect(), cloud.query(events, vec![Param::Null]).into())
}

fn ids(numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    let mut ids: Vec<_> = numbers.into_iter().map(|number| format!("m{number}")).collect();
    ids.sort();
    ids
}

/// Both hourly runs, so many hours after ten o'clock.
fn clock(cloud: &Cloud, hours: i64) -> Result<String, String> {
    let now = ten_o_clock().plus(hours * HOUR);
    let compacted = cloud.tick(HOURLY, now);
    let swept = cloud.tick(SWEEP, now.plus(30 * MINUTE));
    Ok(format!("{}; {}", compacted?, swept?))
}

/// The runs of a day: those that pack what came late, of every hour that has some.
fn day(cloud: &Cloud, number: i64) {
    for hour in 0..24 {
        clock(cloud, number * 24 + hour).unwrap();
    }
}

fn seals(cloud: &Cloud) -> Value {
    let sql = "SELECT sum(checked) AS checked, sum(more) AS more, sum(fewer) AS fewer, sum(other) AS other, sum(repaired) AS repaired \
        FROM telemetry_seals WHERE ?1 IS NULL";
    cloud.query(sql, vec![Param::Null])[0].clone()
}

fn marks(cloud: &Cloud) -> Value {
    cloud.query("SELECT count(*) AS n FROM telemetry_late WHERE ?1 IS NULL", vec![Param::Null])[0]["n"]
        .clone()
}

#[test]
fn a_message_that_comes_when_its_hour_is_sealed_is_counted_in_it_once() {
    let straight = Cloud::new();
    deliver(&straight, 0..MESSAGES);
    let cloud = Cloud::new();
    deliver(&cloud, (0..MESSAGES).filter(|number| number % 3 != 0));
    clock(&cloud, 3).unwrap();
    let done = clock(&cloud, 6 * 24).unwrap();
    assert!(done.contains("3 rollups checked, 0 not as archived, 0 made anew"), "{done}");
    deliver(&cloud, 0..MESSAGES);
    assert_ne!(told(&cloud).0, told(&straight).0, "they are not counted at once");
    let done = clock(&cloud, 6 * 24 + 1).unwrap();
    assert!(done.contains("3 made anew"), "{done}");
    assert_eq!(told(&cloud), told(&straight));
    let before = told(&cloud);
    deliver(&cloud, 0..MESSAGES);
    let done = clock(&cloud, 6 * 24 + 2).unwrap();
    assert!(done.contains("0 made anew"), "what comes again changes nothing: {done}");
    assert_eq!((told(&cloud), marks(&cloud)), (before, json!(0)));
    day(&cloud, 8);
    assert_eq!(cloud.archived_ids(), ids(0..MESSAGES), "and stands in the archive once");
}

#[test]
fn a_late_message_says_nothing_of_how_the_device_is() {
    let cloud = Cloud::new();
    deliver(&cloud, [1]);
    clock(&cloud, 6 * 24).unwrap();
    let at = ten_o_clock().plus(8 * MINUTE);
    let low = published("telemetry", "low", at, &telemetry_payload(at, 10_000));
    cloud.post("/webhook/telemetry", &low);
    cloud.drain();
    let alerts = cloud.query("SELECT count(*) AS n FROM alerts WHERE ?1 IS NULL", vec![Param::Null]);
    assert_eq!(alerts[0]["n"], 0);
}

/// A way in which a rollup is not what the archive holds, and what that is counted as.
const WRONG: [(&str, &str); 6] = [
    ("UPDATE telemetry_rollups SET messages = messages + 1 WHERE ?1 IS NULL", "more"),
    ("UPDATE telemetry_rollups SET messages = messages - 1 WHERE ?1 IS NULL", "fewer"),
    ("UPDATE telemetry_rollups SET metrics = '{}' WHERE ?1 IS NULL", "other"),
    ("UPDATE telemetry_rollups SET last_at = last_at - 1 WHERE ?1 IS NULL", "other"),
    ("DELETE FROM telemetry_rollups WHERE ?1 IS NULL", "fewer"),
    (
        "INSERT INTO telemetry_rollups (device_id, hour, messages, last_at, last_received_at, metrics, seen, generation)
         SELECT device_id, hour + 1, 1, 0, 0, '{}', '', 1 FROM telemetry_rollups WHERE ?1 IS NULL",
        "more",
    ),
];

#[test]
fn a_rollup_that_is_not_what_the_archive_holds_is_found_and_made_anew() {
    for packed in [false, true] {
        for (wrong, how) in WRONG {
            let cloud = Cloud::new();
            deliver(&cloud, [1, 2, 3, 5]);
            let before = told(&cloud);
            if packed {
                clock(&cloud, 22).unwrap();
            }
            cloud.sql(wrong, vec![Param::Null]);
            assert_ne!(told(&cloud), before, "{wrong}");
            let done = cloud.sweep(ten_o_clock().plus(6 * DAY)).unwrap();
            assert!(done.contains("1 not as archived, 1 made anew"), "{wrong} {packed}: {done}");
            assert!(done.contains(device().as_str()), "it is told by name: {done}");
            assert_eq!(told(&cloud), before, "{wrong} {packed}");
            let mut expected = json!({"checked": 1, "more": 0, "fewer": 0, "other": 0, "repaired": 1});
            expected[how] = json!(1);
            if how == "more" && wrong.starts_with("INSERT") {
                expected["checked"] = json!(2);
            }
            assert_eq!(seals(&cloud), expected, "{wrong} {packed}");
            let again = cloud.sweep(ten_o_clock().plus(6 * DAY + HOUR)).unwrap();
            assert!(again.contains("0 not as archived, 0 made anew"), "{again}");
            assert_eq!(marks(&cloud), 0);
        }
    }
}

#[test]
fn of_a_new_database_no_past_is_read() {
    let cloud = Cloud::new();
    let swept = cloud.sweep(ten_o_clock()).unwrap();
    assert!(swept.contains("0 hours sealed"), "{swept}");
    deliver(&cloud, 0..MESSAGES);
    let swept = cloud.sweep(ten_o_clock().plus(6 * DAY)).unwrap();
    assert!(
        swept.contains("48 hours sealed"),
        "the archive begins at ten, and may tell of the day before: {swept}"
    );
    let first =
        cloud.query("SELECT min(hour) AS hour FROM telemetry_seals WHERE ?1 IS NULL", vec![Param::Null]);
    assert_eq!(first[0]["hour"], ten_o_clock().hour() - 24);
}

#[test]
fn a_run_lists_each_folder_once() {
    let cloud = Cloud::new();
    deliver(&cloud, 0..MESSAGES);
    for number in 0..2 {
        day(&cloud, number);
    }
    cloud.world.archives.take_listed();
    let swept = cloud.sweep(ten_o_clock().plus(6 * DAY)).unwrap();
    assert!(swept.contains("48 hours sealed, 3 rollups checked, 0 not as archived"), "{swept}");
    let listed = cloud.world.archives.take_listed();
    let folders: BTreeSet<&String> = listed.iter().filter(|prefix| prefix.len() > FOLDERS.len()).collect();
    // Each of those hours may be told of in the folder before its own, and up to the 25th after it.
    assert_eq!(folders.len(), 48 + 26, "{folders:?}");
    let again: Vec<&&String> =
        folders.iter().filter(|folder| listed.iter().filter(|each| each == *folder).count() > 1).collect();
    assert_eq!(again, Vec::<&&String>::new());
}

#[test]
fn a_flood_that_was_counted_twice_is_put_right() {
    let cloud = Cloud::new();
    let flood: Vec<String> = (0..600)
        .map(|number| {
            let at = ten_o_clock().plus(number * 1_000);
            let message = published("telemetry", &format!("f{number}"), at, &telemetry_payload(at, number));
            cloud.post("/webhook/telemetry", &message);
            cloud.world.queue.take().remove(0)
        })
        .collect();
    for some in flood.chunks(100).chain([&flood[..50]]) {
        cloud.deliver(some);
    }
    assert_eq!(cloud.hours()[0].messages, 650, "it remembers the latest 512");
    clock(&cloud, 3).unwrap();
    clock(&cloud, 6 * 24).unwrap();
    assert_eq!(cloud.hours()[0].messages, 600);
    assert_eq!(cloud.archived_ids().len(), 600);
}

/// Whatever statement of the sweep fails, before or after it was done: the next run ends as if nothing had been.
#[test]
fn wherever_the_sweep_is_cut_off_the_next_goes_on() {
    let straight = Cloud::new();
    deliver(&straight, 0..MESSAGES);
    let statements = [
        "seal_latest",
        "seal_slots",
        "mark_late",
        "seal_hour",
        "seal_note",
        "late_marks",
        "rollups_for",
        "write_rollups",
        "settle_late",
        "seal_repaired",
        "delete_rollup",
    ];
    for name in statements {
        for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
            let cloud = Cloud::new();
            deliver(&cloud, (0..MESSAGES).filter(|number| number % 3 != 0));
            clock(&cloud, 6 * 24).unwrap();
            deliver(&cloud, 0..MESSAGES);
            for wrong in [
                "UPDATE telemetry_rollups SET messages = 99 WHERE hour % 2 = 0 AND ?1 IS NULL",
                "INSERT INTO telemetry_rollups (device_id, hour, messages, last_at, last_received_at, metrics, generation)
                 SELECT device_id, hour - 5, 1, 0, 0, '{}', 1 FROM telemetry_rollups WHERE ?1 IS NULL",
                "DELETE FROM telemetry_seals WHERE ?1 IS NULL",
            ] {
                cloud.sql(wrong, vec![Param::Null]);
            }
            cloud.world.db.fail_once(name, failure);
            let failed = clock(&cloud, 6 * 24 + 1);
            assert!(failed.is_err(), "{name} {failure:?}: {failed:?}");
            cloud.world.db.fail(None);
            clock(&cloud, 6 * 24 + 2).unwrap();
            assert_eq!((told(&cloud), marks(&cloud)), (told(&straight), json!(0)), "{name} {failure:?}");
        }
    }
}

#[test]
fn what_cannot_be_read_repairs_nothing() {
    let cloud = Cloud::new();
    deliver(&cloud, [1, 2, 3]);
    let before = told(&cloud);
    cloud.world.archives.fail_reads(true);
    assert!(cloud.sweep(ten_o_clock().plus(6 * DAY)).is_err());
    assert_eq!((told(&cloud), marks(&cloud)), (before.clone(), json!(0)));
    cloud.world.archives.fail_reads(false);
    cloud.sweep(ten_o_clock().plus(6 * DAY + HOUR)).unwrap();
    assert_eq!(told(&cloud), before);
}

/// Somebody archives a late message and marks its hour between any two steps of those who make it anew.
#[test]
fn a_mark_that_is_added_meanwhile_is_not_settled() {
    let cloud = Cloud::new();
    let device = device();
    let key = [(&device, ten_o_clock().hour())];
    let mark = || cloud.commit(rs1_store::seals::mark(&key).unwrap());
    mark();
    let [listed] = block_on(run(&cloud.world.db, [rs1_store::seals::marks(0, 10)])).unwrap();
    let listed: Vec<rs1_store::seals::Mark> = rows(&listed).unwrap();
    mark();
    cloud.commit(rs1_store::seals::settle(&listed[0]));
    assert_eq!(marks(&cloud), 1);
    let [listed] = block_on(run(&cloud.world.db, [rs1_store::seals::marks(0, 10)])).unwrap();
    let now: rs1_store::seals::Mark = first_row(&listed).unwrap().unwrap();
    assert_eq!(now.marks, 2);
    cloud.commit(rs1_store::seals::settle(&now));
    assert_eq!(marks(&cloud), 0);
}

/// An isolate that dies between archive and rollups, whose messages come again in other company, and two consumers at once: both
/// leave a line twice, and the compaction once.
#[test]
fn a_line_that_was_archived_twice_is_packed_once() {
    let cloud = Cloud::new();
    let (one, two, three) = (queued(&cloud, 1), queued(&cloud, 2), queued(&cloud, 3));
    cloud.world.db.fail_statement("write_rollups", Some(Failure::BeforeCommit));
    cloud.world.queue.fail(true);
    assert_eq!(cloud.deliver(&[one.clone(), two.clone()]).retries.len(), 2, "it died");
    cloud.world.db.fail(None);
    cloud.world.queue.fail(false);
    cloud.deliver(&[two, three]);
    cloud.deliver(&[one]);
    assert_eq!(cloud.archived_ids(), ids([1, 1, 2, 2, 3]));
    clock(&cloud, 3).unwrap();
    assert_eq!(cloud.archived_ids(), ids([1, 2, 3]));
    assert_eq!(cloud.hours()[0].messages, 3);
}

/// What can happen on the way.
#[derive(Clone, Debug)]
enum Step {
    /// Messages are delivered, and something fails meanwhile.
    Come(Vec<i64>, Option<(&'static str, Failure)>),
    /// A write to the archive fails, then messages are delivered.
    Lost(Vec<i64>, usize, Failure),
    /// So many hours go by, and a run is cut off by such a failure.
    Pass(i64, Option<(&'static str, Failure)>),
}

fn step() -> impl Strategy<Value = Step> {
    let numbers = || proptest::collection::vec(0..MESSAGES, 1..8);
    let failure = || prop_oneof![Just(Failure::BeforeCommit), Just(Failure::AfterCommit)];
    let statement = prop_oneof![
        Just("write_rollups"),
        Just("rollups_for"),
        Just("record_events"),
        Just("mark_late"),
        Just("seal_note"),
        Just("settle_late"),
        Just("seal_slots"),
    ];
    let fault = proptest::option::of((statement, failure()));
    prop_oneof![
        4 => (numbers(), fault.clone()).prop_map(|(numbers, fault)| Step::Come(numbers, fault)),
        1 => (numbers(), 0_usize..3, failure()).prop_map(|(numbers, after, failure)| Step::Lost(numbers, after, failure)),
        2 => (prop_oneof![Just(1_i64), Just(3), Just(27), Just(100), Just(140)], fault).prop_map(|(hours, fault)| Step::Pass(hours, fault)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any interleaving, repetition and delay of the same messages, beyond sealing too, and any failure on the way: in the end there
    /// are the same rollups, the same events, and each message in the archive once.
    #[test]
    fn in_the_end_each_message_counts_once(steps in proptest::collection::vec(step(), 1..9)) {
        let straight = Cloud::new();
        deliver(&straight, 0..MESSAGES);
        let cloud = Cloud::new();
        let mut hours = 2;
        for step in &steps {
            match step {
                Step::Come(numbers, fault) => {
                    if let Some((name, failure)) = fault {
                        cloud.world.db.fail_once(name, *failure);
                    }
                    deliver(&cloud, numbers.iter().copied());
                }
                Step::Lost(numbers, after, failure) => {
                    cloud.world.archives.fail_write(*after, *failure);
                    deliver(&cloud, numbers.iter().copied());
                }
                Step::Pass(more, fault) => {
                    hours = (hours + more).min(8 * 24 - 2);
                    if let Some((name, failure)) = fault {
                        cloud.world.db.fail_once(name, *failure);
                    }
                    // A run that fails is noted, and leaves the rest to the next.
                    let _ = clock(&cloud, hours);
                }
            }
            cloud.world.db.fail(None);
        }
        deliver(&cloud, (0..MESSAGES).rev());
        day(&cloud, 8);
        prop_assert_eq!(told(&cloud), told(&straight));
        prop_assert_eq!(cloud.archived_ids(), ids(0..MESSAGES));
        prop_assert_eq!(marks(&cloud), json!(0));
    }
}
