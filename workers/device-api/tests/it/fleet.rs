//! The whole fleet, for operators: what is added up is what a plain sum gives, whenever it is done, and reading it costs the same
//! whatever the fleet's size.

use pollster::block_on;
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_domain::{Answer, DeviceId, MacAddress, Method, UnixMillis};
use rs1_store::devices::{self, NewDevice};
use rs1_store::hours::add_up;
use rs1_store::native::Failure;
use rs1_store::seals;
use rs1_store::sql::run;
use rs1_store::telemetry::{EventRow, RollupRow, record_events, write_rollups};
use rs1_store::{Database, Statement};
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, cloud};

impl Cloud {
    fn ask(&self, what: &str, query: &str) -> Answer {
        self.get(&format!("/api/admin/telemetry/{what}?{query}"))
    }

    fn run(&self, statement: Statement) {
        block_on(self.db.batch(vec![statement])).unwrap();
    }

    fn add_up(&self, now: UnixMillis) -> String {
        block_on(add_up(now, &self.db)).unwrap()
    }

    /// So many devices more, in the order of their ids.
    fn devices(&self, count: u16) -> Vec<DeviceId> {
        let new = |number: u16| {
            let [high, low] = number.to_be_bytes();
            let mac_address = MacAddress::from_bytes([2, 0, 0, 0, high, low]);
            let device_id = DeviceId::of(&mac_address);
            NewDevice { device_id, mac_address, product_sku: None, sealed_key: "1.x".into() }
        };
        let new: Vec<_> = (1..=count).map(new).collect();
        self.run(devices::enroll(&new, NOW, "ada").unwrap());
        let mut ids: Vec<_> = new.into_iter().map(|device| device.device_id).collect();
        ids.sort();
        ids
    }

    /// What devices measured in the hour that began at `at`: each one message, with these values of a metric.
    fn measured(&self, devices: &[DeviceId], at: UnixMillis, generation: i64, value: impl Fn(usize) -> i64) {
        let row = |(index, device): (usize, &DeviceId)| {
            let value = value(index);
            RollupRow {
                device_id: device.clone(),
                hour: at.hour(),
                messages: 1,
                last_at: at,
                last_received_at: at,
                metrics: json!({"b": [1, value, value, value, value], "x.own": [1, 1, 1, 1, 1]}).to_string(),
                seen: None,
                generation,
                adds: rs1_telemetry::batch::Adds::default(),
            }
        };
        let rows: Vec<_> = devices.iter().enumerate().map(row).collect();
        self.run(write_rollups(&rows, 0, None).unwrap());
    }

    fn said(&self, device: &DeviceId, at: UnixMillis, kind: &str, count: i64) {
        let (device_id, mark, kind) = (Some(device.clone()), format!("m-{kind}"), kind.to_owned());
        self.run(
            record_events(&[EventRow { device_id, at, mark, kind, detail: String::new(), count }]).unwrap(),
        );
    }

    fn alert(&self, device: &DeviceId, kind: &'static str, at: UnixMillis, acknowledged: bool) {
        let id = rs1_domain::RecordId::generate("alr", at, rs1_domain::port::Random::bytes(&self.random));
        self.sql(
            "INSERT INTO alerts (alert_id, device_id, kind, severity, opened_at, last_at, occurrences, detail, acknowledged_at, generation)
             VALUES (?1, ?2, ?3, 'warning', ?4, ?4, 1, '', ?5, 1)",
            vec![id.as_str().into(), device.as_str().into(), kind.into(), at.into(), acknowledged.then_some(at).into()],
        );
    }
}

const LAST_HOUR: UnixMillis = UnixMillis(NOW.0 - HOUR);

#[track_caller]
fn body(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[test]
fn health_counts_devices_versions_and_open_alerts_and_is_kept_for_a_minute() {
    let cloud = cloud();
    let devices = cloud.devices(3);
    for (device, version) in devices.iter().zip(["1.0.0", "1.0.0", "2.0.0"]) {
        cloud.sql(
            "UPDATE devices SET firmware_version = ?2, online = ?3, last_seen_at = ?4 WHERE device_id = ?1",
            vec![device.as_str().into(), version.into(), (version == "2.0.0").into(), NOW.into()],
        );
    }
    cloud.alert(&devices[0], "low_memory", LAST_HOUR, false);
    cloud.alert(&devices[1], "low_memory", LAST_HOUR, true);
    cloud.alert(&devices[2], "device_offline", LAST_HOUR, false);
    cloud.sql("UPDATE alerts SET resolved_at = 5 WHERE device_id = ?1", vec![devices[2].as_str().into()]);
    let health = body(&cloud.ask("health", ""));
    assert_eq!(
        health["devices"],
        json!({"total": 3, "online": 1, "active_24h": 3, "provisioned": 0, "owned": 0})
    );
    let low = json!({"type": "low_memory", "severity": "warning", "open": 1, "acknowledged": 1});
    assert_eq!(health["alerts"], json!([low]));
    let versions: Vec<_> = health["versions"].as_array().unwrap().iter().collect();
    let of = |version: &str| {
        let one = versions.iter().find(|one| one["firmware_version"] == version).unwrap();
        one["devices"].as_i64().unwrap()
    };
    assert_eq!((of("1.0.0"), of("2.0.0"), versions.len()), (2, 1, 2));

    cloud.alert(&devices[0], "radar_disconnected", LAST_HOUR, false);
    let audited = cloud.db.statements_run() + 2;
    assert_eq!(body(&cloud.ask("health", "")), health);
    assert_eq!((cloud.db.statements_run(), cloud.cache.lifetime("fleet-health")), (audited, Some(60)));
    cloud.cache.expire();
    assert_eq!(body(&cloud.ask("health", ""))["alerts"].as_array().unwrap().len(), 2);
    cloud.cache.fail(Some(Failure::BeforeCommit));
    assert_eq!(cloud.ask("health", "").status, 200, "without KV it is counted");
}

#[test]
fn a_series_is_the_sum_over_all_devices() {
    let cloud = cloud();
    let devices = cloud.devices(2_100);
    let value = |index: usize| i64::try_from(index).unwrap() - 7;
    cloud.measured(&devices, LAST_HOUR, 1, value);
    cloud.measured(&devices[..5], LAST_HOUR.plus(-HOUR), 1, |_| 3);
    cloud.add_up(NOW);
    let series = body(&cloud.ask("metrics", ""));
    assert_eq!((&series["resolution"], &series["to"]), (&json!("hour"), &json!("2026-01-20T10:00:00Z")));
    let items = series["items"].as_array().unwrap();
    let last = items.last().unwrap();
    assert_eq!(
        (&last["time"], &last["devices"], &last["messages"]),
        (&json!("2026-01-20T09:00:00Z"), &json!(2_100), &json!(2_100))
    );
    let sum: i64 = (0..2_100).map(value).sum();
    assert_eq!(
        last["metrics"],
        json!({"system.free_heap": {"count": 2_100, "sum": sum as f64, "mean": sum as f64 / 2_100.0, "min": -7.0, "max": 2_092.0}}),
        "and no metric that is a device's own invention"
    );
    let days = body(&cloud.ask("metrics", "period=7d&resolution=day"));
    let today = days["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&today["time"], &today["devices"], &today["messages"], &today["metrics"]["system.free_heap"]["sum"]),
        (&json!("2026-01-20T00:00:00Z"), &json!(2_100), &json!(2_105), &json!((sum + 15) as f64))
    );
}

/// Late messages, runs that were lost, a database that fails: in the end every hour is what its rollups say.
#[test]
fn what_came_late_and_what_was_missed_is_added_up_later() {
    let cloud = cloud();
    let devices = cloud.devices(3);
    let messages = |cloud: &Cloud| -> Vec<i64> {
        let series = body(&cloud.ask("metrics", ""));
        let items = series["items"].as_array().unwrap();
        items.iter().map(|item| item["messages"].as_i64().unwrap()).filter(|count| *count > 0).collect()
    };
    cloud.measured(&devices[..1], LAST_HOUR, 1, |_| 1);
    cloud.add_up(NOW);
    assert_eq!(messages(&cloud), [1]);
    cloud.measured(&devices[1..2], LAST_HOUR, 1, |_| 1);
    cloud.add_up(NOW.plus(HOUR));
    assert_eq!(messages(&cloud), [2], "an hour later");
    cloud.measured(&devices[2..], LAST_HOUR, 1, |_| 1);
    cloud.add_up(NOW.plus(2 * HOUR));
    assert_eq!(messages(&cloud), [2], "not at every run");
    cloud.add_up(NOW.plus(25 * HOUR));
    cloud.sql("DELETE FROM fleet_hours WHERE hour > ?1", vec![LAST_HOUR.hour().into()]);
    assert_eq!(messages(&cloud), [3], "a day later");

    // Sealed, and not what the archive holds.
    cloud.sql(
        "UPDATE telemetry_rollups SET messages = 5 WHERE device_id = ?1",
        vec![devices[0].as_str().into()],
    );
    for run in 26..=122 {
        cloud.add_up(NOW.plus(run * HOUR));
    }
    let sealed = NOW.plus(122 * HOUR + 30 * MINUTE);
    for statement in [
        seals::note(LAST_HOUR.hour(), seals::END, seals::Compared::default(), sealed),
        seals::note_repaired(LAST_HOUR.hour(), 1, sealed),
    ] {
        block_on(run(&cloud.db, [statement])).unwrap();
    }
    cloud.add_up(NOW.plus(123 * HOUR));
    cloud.sql("DELETE FROM fleet_hours WHERE hour > ?1", vec![LAST_HOUR.hour().into()]);
    assert_eq!(messages(&cloud), [7], "when it was put right");

    // Nobody came for a while.
    cloud.sql("DELETE FROM fleet_hours", vec![]);
    cloud.db.fail_once("fleet_write_hour", Failure::BeforeCommit);
    let before = |hours: i64| NOW.plus(hours * HOUR);
    assert!(block_on(add_up(before(3), &cloud.db)).is_err());
    assert_eq!(messages(&cloud), [0_i64; 0]);
    cloud.add_up(before(4));
    assert_eq!(messages(&cloud), [7], "the latest that were missed come first");
    // A month of them, so many a run.
    for run in 5..190 {
        cloud.add_up(before(run));
    }
    let month = body(&cloud.ask("metrics", "period=30d&resolution=hour"));
    assert_eq!(month["items"].as_array().unwrap().len(), 720);
}

#[test]
fn errors_are_counted_by_kind_and_the_worst_devices_named() {
    let cloud = cloud();
    let devices = cloud.devices(130);
    for (device, count) in devices.iter().zip(1..) {
        cloud.said(device, LAST_HOUR.plus(MINUTE), "error", count);
    }
    cloud.said(&devices[3], LAST_HOUR.plus(2 * MINUTE), "wifi_disconnect", 500);
    cloud.said(&devices[4], LAST_HOUR.plus(2 * MINUTE), "boot", 900);
    cloud.said(&devices[5], NOW, "error", 900);
    cloud.alert(&devices[3], "low_memory", LAST_HOUR, false);
    cloud.alert(&devices[9], "low_memory", LAST_HOUR.plus(HOUR - 1), false);
    cloud.alert(&devices[9], "radar_disconnected", LAST_HOUR.plus(-3 * HOUR), false);
    cloud.add_up(NOW);
    let errors = body(&cloud.ask("errors", ""));
    let error =
        |source: &str, kind: &str, count: i64| json!({"source": source, "kind": kind, "count": count});
    assert_eq!(
        errors["errors"],
        json!([
            error("event", "error", 130 * 131 / 2),
            error("event", "wifi_disconnect", 500),
            error("alert", "low_memory", 2),
            error("alert", "radar_disconnected", 1),
        ])
    );
    let worst = errors["devices"].as_array().unwrap();
    assert_eq!(worst.len(), 20);
    assert_eq!(worst[0], json!({"device_id": devices[3], "events": 504, "alerts": 1}));
    let events: Vec<_> = worst[1..].iter().map(|device| device["events"].as_i64().unwrap()).collect();
    assert_eq!(events, (112..=130).rev().collect::<Vec<_>>());
    assert_eq!(errors["exact"], json!(false), "130 devices were affected in one hour");

    cloud.sql("DELETE FROM telemetry_events WHERE kind = 'error'", vec![]);
    cloud.add_up(NOW.plus(HOUR));
    let errors = body(&cloud.ask("errors", ""));
    assert_eq!(
        (&errors["exact"], errors["devices"].as_array().unwrap().len()),
        (&json!(true), 2),
        "made anew: {errors}"
    );
}

#[test]
fn hours_are_kept_for_thirty_days() {
    let cloud = cloud();
    let devices = cloud.devices(1);
    cloud.said(&devices[0], LAST_HOUR, "error", 1);
    cloud.add_up(NOW);
    cloud.add_up(NOW.plus(30 * DAY - HOUR));
    let rows = |cloud: &Cloud| {
        let sql = "SELECT (SELECT count(*) FROM fleet_hours WHERE hour = ?1) + (SELECT count(*) FROM fleet_troubled) AS rows";
        cloud.sql(sql, vec![LAST_HOUR.hour().into()])[0]["rows"].as_i64().unwrap()
    };
    assert_eq!(rows(&cloud), 2);
    cloud.add_up(NOW.plus(30 * DAY));
    assert_eq!(rows(&cloud), 0);
}

/// What a run and a question cost: a run two statements a thousand devices and hour, a question one trip, whatever there is.
#[test]
fn a_question_costs_the_same_however_many_devices_there_are() {
    let costs = |count: u16| {
        let cloud = cloud();
        let devices = cloud.devices(count);
        for hour in 1..=3 {
            cloud.measured(&devices, NOW.plus(-hour * HOUR), 1, |_| 1);
        }
        let db = &cloud.db;
        let before = db.batches_run();
        cloud.add_up(NOW);
        let run = db.batches_run() - before;
        let before = db.statements_run();
        body(&cloud.ask("metrics", "period=30d"));
        body(&cloud.ask("errors", "period=30d"));
        (run, db.statements_run() - before)
    };
    // The known hours, the writing, the end of the registry, and two trips a thousand devices.
    // The questions, one and two statements, and two each that note who asked.
    assert_eq!(costs(10), (5, 7));
    assert_eq!(costs(3_500), (11, 7));
}

#[test]
fn only_operators_ask_and_every_fault_is_named() {
    let cloud = cloud();
    for what in ["health", "metrics", "errors"] {
        let path = format!("/api/admin/telemetry/{what}");
        assert_eq!(cloud.send(Method::Get, &path, None, Vec::new()).status, 401, "{what}");
        let refused = cloud.ask(what, "period=1h&metric=a.b");
        assert_eq!(refused.status, 422, "{what}");
        assert!(refused.body.contains("?metric"), "{}", refused.body);
        cloud.db.fail(Some(Failure::BeforeCommit));
        assert_eq!(cloud.ask(what, "").status, 503, "{what}");
        cloud.db.fail(None);
    }
    for (what, query, fault) in [
        ("metrics", "period=1h", "must be 24h, 7d or 30d"),
        ("metrics", "resolution=week", "must be hour or day"),
        ("errors", "period=", "must be 24h, 7d or 30d"),
    ] {
        let refused = cloud.ask(what, query);
        assert!(refused.status == 422 && refused.body.contains(fault), "{query}: {}", refused.body);
    }
}
