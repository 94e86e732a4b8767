//! What is counted is what is written: by the same statement, whoever else writes.

use pollster::block_on;
use rs1_domain::{DeviceId, MacAddress, UnixMillis};
use rs1_store::native::{Failure, NativeDatabase};
use rs1_store::seals::{self, Compared, END};
use rs1_store::sql::{first_row, rows, run};
use rs1_store::tallies::{self, Came, Compacted, Door, Opened, Tally, Upkeep};
use rs1_store::telemetry::{RollupRow, Written, write_rollups};
use rs1_store::{Statement, alerts, devices};
use rs1_telemetry::alert::{Alerts, Kind, Signal};
use rs1_telemetry::batch::Adds;

const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

fn device(number: u8) -> DeviceId {
    DeviceId::of(&MacAddress::from_bytes([2, 0, 0, 0, 0, number]))
}

/// A database with the devices 1 to 3.
fn database() -> NativeDatabase {
    let db = NativeDatabase::new();
    let new = |number| devices::NewDevice {
        device_id: device(number),
        mac_address: MacAddress::from_bytes([2, 0, 0, 0, 0, number]),
        product_sku: None,
        sealed_key: "1.x".into(),
    };
    block_on(run(&db, [devices::enroll(&[new(1), new(2), new(3)], NOW, "ada").unwrap()])).unwrap();
    db
}

/// A device's hour 7 of that generation, to which so many messages came new.
fn row(number: u8, generation: i64, messages: u64) -> RollupRow {
    RollupRow {
        device_id: device(number),
        hour: 7,
        messages: 60,
        last_at: NOW,
        last_received_at: NOW,
        metrics: "{}".into(),
        seen: Some("abcdefgh".into()),
        generation,
        adds: Adds { messages, duplicates: messages * 10, bytes: messages * 100 },
    }
}

/// How many of the rows are written.
fn write(db: &NativeDatabase, rows_: &[RollupRow], door: Door, tally: &Tally) -> usize {
    let [outcome] = block_on(run(db, [write_rollups(rows_, 0, Some((door, tally))).unwrap()])).unwrap();
    rows::<Written>(&outcome).unwrap().len()
}

fn came(db: &NativeDatabase, door: Door) -> Came {
    let [outcome] = block_on(run(db, [tallies::came()])).unwrap();
    rows::<Came>(&outcome).unwrap().into_iter().find(|came| came.door == door).unwrap()
}

fn counts(db: &NativeDatabase, door: Door) -> (u64, u64, u64) {
    let Came { received, duplicates, archived_bytes, .. } = came(db, door);
    (received, duplicates, archived_bytes)
}

#[test]
fn what_is_written_is_counted_for_its_door() {
    let db = database();
    assert_eq!(write(&db, &[row(1, 1, 2), row(2, 1, 3)], Door::Webhook, &Tally::default()), 2);
    assert_eq!(counts(&db, Door::Webhook), (5, 50, 500));
    assert_eq!(write(&db, &[row(1, 2, 1)], Door::Objects, &Tally::default()), 1);
    assert_eq!((counts(&db, Door::Webhook), counts(&db, Door::Objects)), ((5, 50, 500), (1, 10, 100)));
    assert_eq!(counts(&db, Door::Archive), (0, 0, 0));
}

#[test]
fn what_somebody_else_wrote_in_between_is_not_counted() {
    let db = database();
    write(&db, &[row(1, 1, 2)], Door::Webhook, &Tally::default());
    // Both read nothing; of the second's two hours one is taken.
    assert_eq!(write(&db, &[row(1, 1, 7), row(2, 1, 1)], Door::Webhook, &Tally::default()), 1);
    assert_eq!(counts(&db, Door::Webhook), (3, 30, 300));
    // The very same write again.
    assert_eq!(write(&db, &[row(1, 1, 2)], Door::Webhook, &Tally::default()), 0);
    // One that is two ahead.
    assert_eq!(write(&db, &[row(1, 3, 2)], Door::Webhook, &Tally::default()), 0);
    assert_eq!(counts(&db, Door::Webhook), (3, 30, 300));
}

#[test]
fn devices_that_are_not_enrolled_count_for_nothing() {
    let db = database();
    assert_eq!(write(&db, &[row(9, 1, 5), row(1, 1, 1)], Door::Webhook, &Tally::default()), 1);
    assert_eq!(counts(&db, Door::Webhook), (1, 10, 100));
}

#[test]
fn what_goes_along_is_counted_with_or_without_rollups() {
    let db = database();
    let tally = Tally {
        duplicates: 1,
        late: 2,
        malformed: 3,
        not_enrolled: 4,
        damaged: 5,
        objects: 6,
        taken_at: Some(NOW),
        oldest_age: 1_500,
    };
    write(&db, &[], Door::Webhook, &tally);
    write(&db, &[row(1, 1, 1)], Door::Webhook, &Tally { taken_at: None, ..tally.clone() });
    let expected = Came {
        door: Door::Webhook,
        received: 1,
        archived_bytes: 100,
        duplicates: 12,
        late: 4,
        malformed: 6,
        not_enrolled: 8,
        damaged: 10,
        objects: 12,
        taken_at: Some(NOW),
        oldest_age: Some(1_500),
    };
    assert_eq!(came(&db, Door::Webhook), expected);
    let untouched = came(&db, Door::Objects);
    assert_eq!((untouched.late, untouched.taken_at, untouched.oldest_age), (0, None, None));
}

#[test]
fn the_tally_is_no_rollup_and_is_undone_with_the_rest() {
    let db = database();
    let [outcome] = block_on(run(
        &db,
        [write_rollups(&[row(1, 1, 1)], 0, Some((Door::Webhook, &Tally::default()))).unwrap()],
    ))
    .unwrap();
    assert_eq!(rows::<Written>(&outcome).unwrap(), [Written { device_id: device(1), hour: 7 }]);
    let all = Statement {
        name: "test",
        sql: "SELECT count(*) AS opened, 'low_memory' AS kind FROM telemetry_rollups",
        params: vec![],
    };
    let [outcome] = block_on(run(&db, [all])).unwrap();
    assert_eq!(first_row::<Opened>(&outcome).unwrap().unwrap().opened, 1);

    let bad = RollupRow { metrics: "not json".into(), ..row(2, 1, 1) };
    let statement = write_rollups(&[row(3, 1, 1), bad], 0, Some((Door::Webhook, &Tally::default()))).unwrap();
    assert!(block_on(run(&db, [statement])).is_err());
    db.fail(Some(Failure::BeforeCommit));
    let statement = write_rollups(&[row(3, 1, 1)], 0, Some((Door::Webhook, &Tally::default()))).unwrap();
    assert!(block_on(run(&db, [statement])).is_err());
    db.fail(None);
    assert_eq!(counts(&db, Door::Webhook), (1, 10, 100));
}

/// The plan of a statement does not show what its triggers do.
#[test]
fn a_tally_looks_up_the_rollups_it_is_about_and_no_others() {
    let db = NativeDatabase::new();
    let trigger: &'static str = include_str!("../../../../migrations/0026_tallies.sql");
    let inner = trigger.split_once("FROM (\n").unwrap().1.split_once(") AS own").unwrap().0;
    let sql: &'static str = inner.replace("NEW.metrics", "?1").leak();
    let steps = db.plan(&Statement { name: "own", sql, params: vec!["[]".into()] }).unwrap();
    let scanned: Vec<_> = steps.iter().filter(|step| step.starts_with("SCAN")).collect();
    assert!(scanned.len() == 1 && scanned[0].starts_with("SCAN w VIRTUAL TABLE"), "{steps:?}");
    assert!(
        steps.iter().any(|step| step.contains("SEARCH r USING PRIMARY KEY (device_id=? AND hour=?)")),
        "{steps:?}"
    );
}

fn upkeep(db: &NativeDatabase) -> Upkeep {
    let [outcome] = block_on(run(db, [tallies::upkeep()])).unwrap();
    first_row(&outcome).unwrap().unwrap()
}

#[test]
fn what_is_sealed_and_repaired_stays_counted_when_it_is_forgotten() {
    let db = database();
    let compared = Compared { checked: 10, more: 1, fewer: 2, other: 3 };
    let half = seals::note(7, "80", compared, NOW);
    let whole = seals::note(7, END, compared, NOW);
    let next = seals::note(8, END, compared, NOW);
    let again = seals::note(8, END, Compared::default(), NOW);
    block_on(run(&db, [half, whole, next, again, seals::note_repaired(7, 4, NOW)])).unwrap();
    let expected = Upkeep {
        hours_sealed: 2,
        rollups_checked: 30,
        rollups_differing: 18,
        rollups_repaired: 4,
        ..Upkeep::default()
    };
    assert_eq!(upkeep(&db), expected);
    block_on(run(&db, seals::prune(100))).unwrap();
    assert_eq!(upkeep(&db), expected);
    let done = Compacted { hours: 1, messages: 2, duplicates: 3, bytes: 4, objects: 5 };
    block_on(run(&db, [tallies::compacted(&done), tallies::compacted(&done)])).unwrap();
    let packed = Upkeep {
        hours_compacted: 2,
        compacted_messages: 4,
        compacted_duplicates: 6,
        compacted_bytes: 8,
        compacted_objects: 10,
        ..expected
    };
    assert_eq!(upkeep(&db), packed);
}

#[test]
fn an_alert_is_counted_when_it_opens_and_not_again() {
    let db = database();
    let mut of_one = Alerts::new(device(1), Vec::new());
    let signal = |at, seen: Option<&str>| Signal { kind: Kind::LowMemory, at, seen: seen.map(str::to_owned) };
    of_one.apply(vec![signal(NOW, Some("40 KB"))]);
    let opened = of_one.changed();
    let write = || alerts::write(&opened).unwrap();
    block_on(run(&db, [write(), write()])).unwrap();
    let mut of_one = Alerts::new(device(1), opened.clone());
    of_one.apply(vec![signal(NOW.plus(1), Some("30 KB"))]);
    let mut of_other = Alerts::new(device(2), Vec::new());
    of_other.apply(vec![signal(NOW, Some("20 KB"))]);
    block_on(run(
        &db,
        [alerts::write(&of_one.changed()).unwrap(), alerts::write(&of_other.changed()).unwrap()],
    ))
    .unwrap();
    let [outcome] = block_on(run(&db, [tallies::opened()])).unwrap();
    assert_eq!(rows::<Opened>(&outcome).unwrap(), [Opened { kind: Kind::LowMemory, opened: 2 }]);
}
