//! What a device said is deleted while it goes on talking: whenever that is asked for, whatever comes late or again, and wherever a
//! step is cut off, in the end there is of the time before nothing that the device said, of the time after everything, and of every
//! other device what there would have been. Nobody takes for lost what was deleted.

use std::collections::BTreeMap;

use pollster::block_on;
use rs1_domain::time::{HOUR, MINUTE};
use rs1_domain::{DeviceId, MacAddress, RecordId, UserId};
use rs1_store::devices::{self, NewDevice};
use rs1_store::native::Failure;
use rs1_store::sql::{rows, run};
use rs1_store::telemetry::{EventRow, RollupRow, Written};
use rs1_store::{Database, Param, alerts, erasures, fleet, telemetry};
use rs1_telemetry::alert::{Alerts, Kind, Signal};
use rs1_telemetry::batch::Adds;
use rs1_worker_archive::cron::{EVERY_MINUTE, HOURLY, SWEEP};
use serde_json::{Value, json};

use crate::common::{Cloud, device, published, telemetry_payload, ten_o_clock};

/// Messages of a device: one every seven minutes from ten o'clock on.
const MESSAGES: i64 = 40;
/// Every fifth stays behind with its device for so long.
const KEPT_FOR: i64 = 20;

/// Hours until all hours that there are messages of are sealed, and the erasure is done.
const SHORT: i64 = 149;
/// Hours until what came after that is packed, too.
const LONG: i64 = 220;

/// Somebody else's device, whose lines lie with ours.
fn other() -> DeviceId {
    DeviceId::of(&MacAddress::from_bytes([2, 0, 0, 0, 0, 1]))
}

fn owner() -> UserId {
    UserId::generate(ten_o_clock(), [7; 10])
}

fn cloud() -> Cloud {
    let cloud = Cloud::new();
    let mac_address = MacAddress::from_bytes([2, 0, 0, 0, 0, 1]);
    let new = NewDevice { device_id: other(), mac_address, product_sku: None, sealed_key: "1.x".into() };
    cloud.commit(devices::enroll(&[new], cloud.now, "ada").unwrap());
    cloud.sql("UPDATE devices SET enrolled_at = ?1", vec![ten_o_clock().plus(-48 * HOUR).into()]);
    cloud.sql("INSERT INTO users (user_id, issuer, subject, email, email_verified_at, created_at) VALUES (?1, 'test', ?1, 'ada@example.com', 1, 1)",
        vec![owner().as_str().into()],
    );
    cloud.sql("INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by) VALUES (?1, ?2, 'owner', 1, 'test')",
        vec![device().as_str().into(), owner().as_str().into()],
    );
    cloud
}

/// Which hour, from ten o'clock on, a message is of, and in which it comes.
fn hours_of(number: i64) -> (i64, i64) {
    let hour = number * 7 / 60;
    (hour, if number % 5 == 0 { hour + KEPT_FOR } else { hour })
}

/// A message of each of the two as it is queued.
fn queued(cloud: &Cloud, number: i64) -> [String; 2] {
    let at = ten_o_clock().plus(number * 7 * MINUTE);
    let (hour, comes) = hours_of(number);
    let mut payload = telemetry_payload(at, if number % 6 == 1 { 10_000 } else { 150_000 + number });
    if number % 4 == 0 {
        payload["logs"] = json!([{"ts": 1, "lvl": "E", "tag": "OTA", "msg": "ota_failed"}]);
    }
    let received = at.plus((comes - hour) * HOUR + 300);
    let message = published("telemetry", &format!("m{number:02}"), received, &payload);
    assert_eq!(cloud.post("/webhook/telemetry", &message).status, 202);
    let own = cloud.world.queue.take().remove(0);
    [
        own.replace(device().as_str(), other().as_str())
            .replace(&format!("\"m{number:02}\""), &format!("\"o{number:02}\"")),
        own,
    ]
}

/// Delivers until nothing is to be delivered again.
fn deliver(cloud: &Cloud, numbers: impl IntoIterator<Item = i64>) {
    cloud.settle(numbers.into_iter().flat_map(|number| queued(cloud, number)).collect());
}

/// The owner asks for it, in that hour.
fn ask(cloud: &Cloud, hour: i64) {
    let now = ten_o_clock().plus(hour * HOUR + 20 * MINUTE);
    let id = RecordId::generate("era", now, [u8::try_from(hour % 200).unwrap(); 10]);
    let device = device();
    let statements = vec![
        erasures::begin(&id, &owner(), &device, now.hour() + 1, now),
        erasures::hide(&device),
        erasures::cancel_exports(&device),
    ];
    block_on(cloud.world.db.batch(statements)).unwrap();
}

/// The triggers of an hour, as far as one of them has something to do. A run that fails leaves the rest to the next.
fn clock(cloud: &Cloud, hour: i64) {
    let at = ten_o_clock().plus(hour * HOUR);
    let _ = cloud.tick(HOURLY, at);
    let busy = hour < 36 || (60..72).contains(&hour) || (120..200).contains(&hour);
    for minute in (1..4).take(if busy { 3 } else { 0 }) {
        let _ = cloud.tick(EVERY_MINUTE, at.plus(minute * MINUTE));
    }
    if hour % 12 == 0 {
        let _ = cloud.tick(SWEEP, at.plus(30 * MINUTE));
    }
}

/// What happens in so many hours: messages come in their hours and again later, and the hours at which somebody asks for the deletion.
fn pass(cloud: &Cloud, hours: i64, asked: &[i64], fault: &dyn Fn(&Cloud)) {
    for hour in 0..hours {
        clock(cloud, hour);
        deliver(cloud, (0..MESSAGES).filter(|number| hours_of(*number).1 == hour));
        // Once more what came already: before its hour is sealed, and after that.
        if [5, 24, 60, 150].contains(&hour) {
            deliver(cloud, (0..MESSAGES).filter(|number| hours_of(*number).1 < hour));
        }
        if asked.contains(&hour) {
            ask(cloud, hour);
            fault(cloud);
        }
    }
    cloud.world.db.fail(None);
}

/// What the database has of a device from an hour on, but for its ids and generations, which count what happened on the way.
fn known(cloud: &Cloud, device: &DeviceId, from: i64) -> BTreeMap<&'static str, Vec<Value>> {
    [
        ("rollups", "SELECT hour, messages, last_at, last_received_at, metrics, seen FROM telemetry_rollups WHERE device_id = ?1 AND hour >= ?2 ORDER BY hour"),
        ("events", "SELECT at, kind, detail, count FROM telemetry_events WHERE device_id = ?1 AND at >= ?2 * 3600000 ORDER BY at"),
        ("troubled", "SELECT hour, events FROM fleet_troubled WHERE device_id = ?1 AND hour >= ?2 AND events > 0 ORDER BY hour"),
        ("late", "SELECT hour FROM telemetry_late WHERE device_id = ?1 AND hour >= ?2"),
    ]
    .into_iter()
    .map(|(table, sql)| (table, cloud.query(sql, vec![device.as_str().into(), from.into()])))
    .collect()
}

/// Of the time before that hour there is nothing of the device; all else is as it is where nobody asked.
fn holds(cloud: &Cloud, straight: &Cloud, until: i64, what: &str) {
    let border = ten_o_clock().hour() + until;
    let kept =
        (0..MESSAGES).filter(|number| hours_of(*number).0 >= until).map(|number| format!("m{number:02}"));
    let expected: Vec<_> = kept.chain((0..MESSAGES).map(|number| format!("o{number:02}"))).collect();
    assert_eq!(cloud.archived_ids(), expected, "{what}");
    assert_eq!(known(cloud, &device(), border), known(straight, &device(), border), "{what}");
    assert_eq!(known(cloud, &other(), 0), known(straight, &other(), 0), "{what}");
    let all = known(cloud, &device(), 0);
    assert_eq!(all, known(cloud, &device(), border), "{what}");
    let before = cloud.query(
        "SELECT alert_id FROM alerts WHERE device_id = ?1 AND opened_at < ?2 * 3600000",
        vec![device().as_str().into(), border.into()],
    );
    assert_eq!(before, Vec::<Value>::new(), "{what}");
    assert_eq!(cloud.world.archives.objects("quarantine/"), [], "{what}");
    let found = cloud.query("SELECT sum(more + fewer + other) AS differ, sum(repaired) AS repaired FROM telemetry_seals WHERE ?1 IS NULL",
        vec![Param::Null],
    );
    assert_eq!(found, [json!({"differ": 0, "repaired": 0})], "{what}: nothing is missed");
    let state =
        cloud.query("SELECT state FROM erasures WHERE device_id = ?1", vec![device().as_str().into()]);
    assert!(state.iter().all(|row| row["state"] == "done"), "{what}: {state:?}");
}

/// While the hour is open, while the one before is packed, a day later, when hours are sealed, and more than once.
#[test]
fn whenever_it_is_asked_for_nothing_comes_back() {
    let straight = cloud();
    pass(&straight, LONG, &[], &|_| ());
    assert_eq!(straight.archived_ids().len(), 2 * usize::try_from(MESSAGES).unwrap());
    assert_eq!(known(&straight, &device(), 0)["rollups"].len(), 5);
    for asked in [&[1][..], &[3], &[21], &[30], &[1, 3], &[2, 60]] {
        let cloud = cloud();
        pass(&cloud, LONG, asked, &|_| ());
        holds(&cloud, &straight, asked[asked.len() - 1] + 1, &format!("{asked:?}"));
    }
}

/// Whatever statement fails once, before or after it was done.
#[test]
fn whatever_statement_fails_nothing_comes_back() {
    let straight = cloud();
    pass(&straight, SHORT, &[], &|_| ());
    let statements = [
        "erasure_take",
        "erasure_close",
        "erasure_save",
        "erase_hours",
        "erase_events",
        "write_rollups",
        "rollups_for",
    ];
    for name in statements {
        for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
            let cloud = cloud();
            pass(&cloud, SHORT, &[2], &|cloud| cloud.world.db.fail_once(name, failure));
            holds(&cloud, &straight, 3, &format!("{name} {failure:?}"));
        }
    }
}

/// Whatever write to the archive does.
#[test]
fn whatever_write_fails_nothing_comes_back() {
    let straight = cloud();
    pass(&straight, SHORT, &[], &|_| ());
    for write in 0..4 {
        for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
            let cloud = cloud();
            pass(&cloud, SHORT, &[2], &|cloud| cloud.world.archives.fail_write(write, failure));
            holds(&cloud, &straight, 3, &format!("write {write} {failure:?}"));
        }
    }
}

/// The erasure comes between what a writer reads and what it writes.
#[test]
fn who_read_before_the_erasure_writes_nothing_after_it() {
    let cloud = cloud();
    let (device, hour) = (device(), ten_o_clock().hour());
    cloud.commit(erasures::close(&device, hour + 1));
    for (hour, written) in [(hour, 0), (hour + 1, 1)] {
        let at = ten_o_clock().plus((hour - ten_o_clock().hour()) * HOUR);
        let row = RollupRow {
            device_id: device.clone(),
            hour,
            messages: 1,
            last_at: at,
            last_received_at: at,
            metrics: "{}".into(),
            seen: Some(String::new()),
            generation: 1,
            adds: Adds::default(),
        };
        let [done] =
            block_on(run(&cloud.world.db, [telemetry::write_rollups(&[row], 0, None).unwrap()])).unwrap();
        assert_eq!(rows::<Written>(&done).unwrap().len(), written);
        let event = EventRow {
            device_id: Some(device.clone()),
            at: at.plus(HOUR - 1),
            mark: "m".into(),
            kind: "error".into(),
            detail: String::new(),
            count: 1,
        };
        cloud.commit(telemetry::record_events(&[event]).unwrap());
        let mut found = Alerts::new(device.clone(), Vec::new());
        found.apply(vec![Signal { kind: Kind::LowMemory, at: at.plus(HOUR - 1), seen: Some(String::new()) }]);
        cloud.commit(alerts::write(&found.changed()).unwrap());
        let worst = vec![fleet::TroubledDevice { device_id: device.clone(), events: 1, alerts: 0 }];
        let sums = fleet::FleetHour {
            hour,
            devices: 1,
            messages: 1,
            metrics: Vec::new(),
            errors: Vec::new(),
            troubled: 1,
            worst,
        };
        block_on(cloud.world.db.batch(fleet::write_hour(&sums, at).unwrap().into())).unwrap();
        let mut all = known(&cloud, &device, 0);
        assert_eq!(all.remove("late"), Some(Vec::new()));
        assert!(all.values().all(|rows| rows.len() == written), "{all:?}");
        let alerts =
            cloud.query("SELECT opened_at FROM alerts WHERE device_id = ?1", vec![device.as_str().into()]);
        assert_eq!(alerts.len(), written);
    }
}

/// What the registry knows of the time before is no news either, and what it learns after is.
#[test]
fn what_was_wrong_before_opens_no_alert_and_what_is_wrong_now_does() {
    let cloud = cloud();
    let found = |minutes: i64| {
        cloud.tick(EVERY_MINUTE, ten_o_clock().plus(HOUR + minutes * MINUTE)).unwrap();
        cloud.query(
            "SELECT kind FROM alerts WHERE device_id = ?1 ORDER BY kind",
            vec![device().as_str().into()],
        )
    };
    let state = "UPDATE devices SET radar_connected = 0, reset_reason = 'watchdog', uptime_sec = 1, state_at = ?2 WHERE device_id = ?1";
    let says = |minutes: i64| {
        let at = ten_o_clock().plus(HOUR + minutes * MINUTE);
        cloud.sql(state, vec![device().as_str().into(), at.into()]);
    };
    says(-1);
    ask(&cloud, 0);
    found(1);
    assert_eq!(found(2), Vec::<Value>::new());
    says(3);
    assert_eq!(found(4), [json!({"kind": "radar_disconnected"}), json!({"kind": "watchdog_reset"})]);
}
