//! Enrolment, lists, leases, and the sweep over every device's hours.

use pollster::block_on;
use rs1_domain::{DeviceId, MacAddress, Sku, UnixMillis};
use rs1_store::devices::{self, Device, Enrollment, NewDevice};
use rs1_store::native::{Failure, NativeDatabase};
use rs1_store::sql::{Page, PageRequest, first_row, rows, run};
use rs1_store::telemetry::{self, HourRow, RollupRow, RollupSlot, Step};
use rs1_store::{Database, cron};

fn mac(number: u8) -> MacAddress {
    MacAddress::from_bytes([0, 0, 0, 0, 0, number])
}

fn new(number: u8, sealed_key: &str) -> NewDevice {
    let mac_address = mac(number);
    NewDevice {
        device_id: DeviceId::of(&mac_address),
        mac_address,
        product_sku: Some(Sku::Pro),
        sealed_key: sealed_key.into(),
    }
}

#[test]
fn enrolling_again_leaves_what_is_there() {
    let db = NativeDatabase::new();
    let ids = [DeviceId::of(&mac(1)), DeviceId::of(&mac(2))];
    let stored = |first: &NewDevice, second: &NewDevice, at| {
        let both = [first.clone(), second.clone()];
        let [_, outcome] = block_on(run(
            &db,
            [
                devices::enroll(&both, UnixMillis(at), "ada").unwrap(),
                devices::enrollments(&[&ids[0], &ids[1]]).unwrap(),
            ],
        ))
        .unwrap();
        let mut rows: Vec<Enrollment> = rows(&outcome).unwrap();
        rows.sort_by_key(|row| row.enrolled_at);
        rows
    };
    block_on(run(&db, [devices::enroll(&[new(1, "a")], UnixMillis(5), "ada").unwrap()])).unwrap();
    let stored = stored(&new(1, "b"), &new(2, "c"), 6);
    assert_eq!((stored[0].sealed_key.as_str(), stored[0].enrolled_at), ("a", UnixMillis(5)));
    assert_eq!((stored[1].sealed_key.as_str(), stored[1].enrolled_at), ("c", UnixMillis(6)));
}

#[test]
fn a_list_pages_through_everything_once() {
    let db = NativeDatabase::new();
    let all: Vec<_> = (0..25).map(|number| new(number, "k")).collect();
    block_on(run(&db, [devices::enroll(&all, UnixMillis(5), "ada").unwrap()])).unwrap();
    let mut request = PageRequest { limit: 10, after: None };
    let mut seen = Vec::new();
    loop {
        let [outcome] = block_on(run(&db, [devices::list(&devices::Wanted::default(), &request)])).unwrap();
        let page =
            Page::of(rows::<Device>(&outcome).unwrap(), &request, |device| device.device_id.to_string());
        seen.extend(page.items.into_iter().map(|device| device.device_id));
        match page.next_cursor {
            Some(cursor) => request.after = Some(cursor),
            None => break,
        }
    }
    let mut expected: Vec<_> = all.into_iter().map(|device| device.device_id).collect();
    expected.sort();
    assert_eq!(seen, expected);
}

fn rollup(number: u8, hour: i64) -> RollupRow {
    RollupRow {
        device_id: DeviceId::of(&mac(number)),
        hour,
        messages: 1,
        last_at: UnixMillis(1),
        last_received_at: UnixMillis(1),
        metrics: "{\"b\":[1,2,2,2,2]}".into(),
        seen: Some("abcdefgh".into()),
        generation: 1,
        adds: rs1_telemetry::batch::Adds::default(),
    }
}

#[test]
fn rollups_of_unknown_devices_are_neither_read_nor_written() {
    let db = NativeDatabase::new();
    block_on(run(&db, [devices::enroll(&[new(1, "k")], UnixMillis(5), "ada").unwrap()])).unwrap();
    let (known, unknown) = (DeviceId::of(&mac(1)), DeviceId::of(&mac(2)));
    block_on(run(&db, [telemetry::write_rollups(&[rollup(1, 7), rollup(2, 7)], 0, None).unwrap()])).unwrap();
    let [outcome] =
        block_on(run(&db, [telemetry::rollups_for(&[(&known, 7), (&known, 8), (&unknown, 7)]).unwrap()]))
            .unwrap();
    let slots: Vec<RollupSlot> = rows(&outcome).unwrap();
    assert_eq!(slots.len(), 2);
    assert_eq!(slots[0].clone().into_row(), Some(rollup(1, 7)));
    assert_eq!(slots[1].clone().into_row(), None);
}

#[test]
fn the_sweep_deletes_by_hour() {
    let db = NativeDatabase::new();
    let all: Vec<_> = (0..5).map(|number| new(number, "k")).collect();
    block_on(run(&db, [devices::enroll(&all, UnixMillis(5), "ada").unwrap()])).unwrap();
    let rollups: Vec<_> =
        (0..5).flat_map(|number| (95..=105).map(move |hour| rollup(number, hour))).collect();
    block_on(run(&db, [telemetry::write_rollups(&rollups, 0, None).unwrap()])).unwrap();
    let (mut after, mut deleted) = (String::new(), 0);
    loop {
        let [outcome] = block_on(run(&db, [telemetry::next_devices(&after, 2)])).unwrap();
        let Some(last) = first_row::<Step>(&outcome).unwrap().unwrap().last else { break };
        let [delete] = block_on(run(&db, [telemetry::delete_hours(&after, &last, 97)])).unwrap();
        deleted += delete.changes;
        after = last.to_string();
    }
    assert_eq!(deleted, 10);
    let [outcome] = block_on(run(&db, [telemetry::hours(&DeviceId::of(&mac(3)), 100)])).unwrap();
    let hours: Vec<_> = rows::<HourRow>(&outcome).unwrap().iter().map(|row| row.hour).collect();
    assert_eq!(hours, (100..=105).collect::<Vec<_>>());
}

#[test]
fn a_trigger_that_is_delivered_twice_runs_once() {
    let db = NativeDatabase::new();
    let begin = |due| {
        block_on(run(&db, [cron::begin("ota", "* * * * *", UnixMillis(due), UnixMillis(due + 5))])).unwrap()
            [0]
        .changes
    };
    assert_eq!(begin(60_000), 1);
    assert_eq!(begin(60_000), 0);
    assert_eq!(begin(0), 0);
    assert_eq!(begin(120_000), 1);
}

#[test]
fn a_batch_is_all_or_nothing_and_can_fail_after_it_was_done() {
    let db = NativeDatabase::new();
    let count = || {
        let [outcome] =
            block_on(run(&db, [devices::list(&devices::Wanted::default(), &PageRequest::default())]))
                .unwrap();
        rows::<Device>(&outcome).unwrap().len()
    };
    let enroll = |number| devices::enroll(&[new(number, "k")], UnixMillis(5), "ada").unwrap();
    let broken =
        telemetry::write_rollups(&[RollupRow { metrics: "not json".into(), ..rollup(1, 1) }], 0, None)
            .unwrap();
    assert!(block_on(db.batch(vec![enroll(1), broken])).is_err());
    assert_eq!(count(), 0);
    db.fail(Some(Failure::BeforeCommit));
    assert!(block_on(db.batch(vec![enroll(1)])).is_err());
    db.fail(Some(Failure::AfterCommit));
    assert!(block_on(db.batch(vec![enroll(2)])).is_err());
    db.fail(None);
    assert_eq!(count(), 1);
}
