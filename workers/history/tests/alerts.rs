//! What the minute's watch finds, and what people are told of alerts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, which is what it should do"
)]

mod common;

use common::{Cloud, NOW, body, cloud};
use pollster::block_on;
use rs1_auth::access_token::Person;
use rs1_domain::event::Tick;
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_domain::{Answer, Method, RequestId, UnixMillis};
use rs1_store::alerts::{OutboxEntry, outbox};
use rs1_store::native::Failure;
use rs1_store::objects::QUIET;
use rs1_store::sql::{rows, run};
use rs1_worker_history::cron::{EVERY_MINUTE, tick};
use serde_json::{Value, json};

impl Cloud {
    /// The minute's run.
    fn minute(&self, at: UnixMillis) -> Result<String, String> {
        let request_id = RequestId::from_header("tick").unwrap();
        let due = Tick { cron: EVERY_MINUTE.into(), scheduled: at, now: at, request_id };
        block_on(tick(&due, &self.world)).map_err(|error| error.to_string())
    }

    /// Type, status and occurrences of every alert, the oldest first.
    fn alerts(&self, person: &Person) -> Vec<(String, String, i64)> {
        let (items, _) = self.pages_of(person, "alerts", "limit=200");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let row = |item: &Value| {
            (text(&item["type"]), text(&item["status"]), item["occurrences"].as_i64().unwrap())
        };
        items.iter().rev().map(row).collect()
    }

    fn ack(&self, person: &Person, alert: &str) -> Answer {
        self.send(person, Method::Post, &format!("alerts/{alert}/ack"), "", "*/*")
    }

    fn set(&self, sql: &'static str, at: UnixMillis) {
        self.sql(sql, vec![at.into()]);
    }
}

fn alert(kind: &str, status: &str, occurrences: i64) -> (String, String, i64) {
    (kind.to_owned(), status.to_owned(), occurrences)
}

#[test]
fn a_device_that_falls_silent_is_offline_until_it_is_heard_of() {
    let cloud = cloud();
    let ada = cloud.owner();
    let seen = "UPDATE devices SET online = 1, offline_reason = NULL, presence_at = ?1, last_seen_at = ?1";
    cloud.set(seen, NOW);
    cloud.minute(NOW.plus(3 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [], "180 seconds are not more than 180 seconds");
    cloud.minute(NOW.plus(4 * MINUTE)).unwrap();
    cloud.minute(NOW.plus(5 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("device_offline", "open", 1)], "once");
    cloud.set(seen, NOW.plus(6 * MINUTE));
    cloud.minute(NOW.plus(7 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("device_offline", "resolved", 1)]);
    // Its last will came, and nothing since.
    cloud.set(
        "UPDATE devices SET online = 0, offline_reason = 'will', presence_at = ?1, last_seen_at = ?1",
        NOW.plus(8 * MINUTE),
    );
    cloud.minute(NOW.plus(10 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada).len(), 1, "it may be back any moment");
    cloud.minute(NOW.plus(12 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada)[1..], [alert("device_offline", "open", 1)]);
    cloud.set("UPDATE devices SET offline_reason = 'goodbye', presence_at = ?1", NOW.plus(13 * MINUTE));
    cloud.minute(NOW.plus(14 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada)[1..], [alert("device_offline", "resolved", 1)]);
    cloud.minute(NOW.plus(9 * DAY)).unwrap();
    assert_eq!(cloud.alerts(&ada).len(), 2, "who took their leave is not missed");
}

#[test]
fn a_device_that_was_never_heard_of_is_not_missed() {
    let cloud = cloud();
    let ada = cloud.owner();
    cloud.minute(NOW.plus(DAY)).unwrap();
    assert_eq!(cloud.alerts(&ada), []);
}

#[test]
fn a_radar_that_is_gone_is_an_alert_and_after_an_hour_a_critical_one() {
    let cloud = cloud();
    let ada = cloud.owner();
    cloud.set("UPDATE devices SET radar_connected = 0, state_at = ?1", NOW);
    cloud.minute(NOW.plus(MINUTE)).unwrap();
    cloud.minute(NOW.plus(59 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("radar_disconnected", "open", 1)]);
    cloud.minute(NOW.plus(61 * MINUTE)).unwrap();
    let both = [alert("radar_disconnected", "open", 1), alert("radar_prolonged", "open", 1)];
    assert_eq!(cloud.alerts(&ada), both);
    cloud.set("UPDATE devices SET radar_connected = 1, state_at = ?1", NOW.plus(70 * MINUTE));
    cloud.minute(NOW.plus(71 * MINUTE)).unwrap();
    cloud.minute(NOW.plus(72 * MINUTE)).unwrap();
    let over = [alert("radar_disconnected", "resolved", 1), alert("radar_prolonged", "resolved", 1)];
    assert_eq!(cloud.alerts(&ada), over);
    let [told] = block_on(run(&cloud.world.db, [outbox(10)])).unwrap();
    let told: Vec<_> = rows::<OutboxEntry>(&told).unwrap();
    let told: Vec<_> = told.iter().map(|entry| (entry.kind.as_str(), entry.what.as_str())).collect();
    assert_eq!(told, [("radar_prolonged", "opened"), ("radar_prolonged", "resolved")]);
}

#[test]
fn a_watchdogs_reset_is_news_for_an_hour() {
    let cloud = cloud();
    let ada = cloud.owner();
    let booted = "UPDATE devices SET reset_reason = 'watchdog', uptime_sec = 60, state_at = ?1";
    cloud.set(booted, NOW.plus(MINUTE));
    cloud.minute(NOW.plus(2 * MINUTE)).unwrap();
    cloud.minute(NOW.plus(3 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("watchdog_reset", "open", 1)]);
    cloud.set(booted, NOW.plus(31 * MINUTE));
    cloud.minute(NOW.plus(32 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("watchdog_reset", "open", 2)], "it did it again");
    cloud.minute(NOW.plus(89 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("watchdog_reset", "open", 2)]);
    cloud.minute(NOW.plus(91 * MINUTE)).unwrap();
    cloud.minute(NOW.plus(92 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("watchdog_reset", "resolved", 2)], "and has not since");
}

#[test]
fn two_failed_updates_within_a_day_are_a_spike() {
    let cloud = cloud();
    let ada = cloud.owner();
    let failed = |rollout: &'static str, attempt: i64, at: UnixMillis| {
        cloud.sql(
            "INSERT INTO rollouts (rollout_id, sku, version, sha256, elf_sha256, fw_version, stages, min_rssi, force,
               rate_per_minute, selector, created_at, created_by, status)
             VALUES (?1, 'rs1_pro', '1.2.0', ?2, ?2, 1, '[]', -70, 0, 60, '{}', 0, 'ada', 'STAGED')",
            vec![rollout.into(), "0".repeat(64).into()],
        );
        cloud.sql(
            "INSERT INTO rollout_devices (rollout_id, device_id, state, attempt, facts, triggered_at, counted_at, revision, written_by)
             VALUES (?1, ?2, 'failed', ?3, '{}', 0, ?4, 1, 'test')",
            vec![rollout.into(), cloud.device.as_str().into(), attempt.into(), at.into()],
        );
    };
    failed("rol-1", 1, NOW);
    cloud.minute(NOW.plus(MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [], "one failure is none");
    failed("rol-2", 1, NOW.plus(10 * HOUR));
    cloud.minute(NOW.plus(10 * HOUR + MINUTE)).unwrap();
    cloud.minute(NOW.plus(10 * HOUR + 2 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("ota_failure_spike", "open", 2)]);
    cloud.minute(NOW.plus(34 * HOUR + MINUTE)).unwrap();
    cloud.minute(NOW.plus(34 * HOUR + 2 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("ota_failure_spike", "resolved", 2)], "a day without one");
}

#[test]
fn a_run_that_fails_says_so_and_the_next_one_finds_the_same() {
    for (name, failure) in [
        ("silent_devices", Failure::BeforeCommit),
        ("open_alerts", Failure::BeforeCommit),
        ("write_alerts", Failure::BeforeCommit),
        ("write_alerts", Failure::AfterCommit),
    ] {
        let cloud = cloud();
        let ada = cloud.owner();
        cloud.set("UPDATE devices SET online = 1, presence_at = ?1, last_seen_at = ?1", NOW);
        cloud.world.db.fail_statement(name, Some(failure));
        assert!(cloud.minute(NOW.plus(10 * MINUTE)).is_err(), "{name}");
        cloud.world.db.fail(None);
        cloud.minute(NOW.plus(11 * MINUTE)).unwrap();
        assert_eq!(cloud.alerts(&ada), [alert("device_offline", "open", 1)], "{name} {failure:?}");
    }
}

#[test]
fn alerts_are_told_by_status_and_type_and_only_of_ones_own_time() {
    let cloud = cloud();
    let (ada, bob) = (cloud.owner(), cloud.user("bob@example.com"));
    cloud.set("UPDATE devices SET radar_connected = 0, state_at = ?1", NOW);
    cloud.minute(NOW.plus(2 * HOUR)).unwrap();
    cloud.minute(NOW.plus(2 * HOUR + MINUTE)).unwrap();
    let count = |query: &str| cloud.pages_of(&ada, "alerts", query).0.len();
    assert_eq!((count("limit=1"), count("status=open"), count("status=resolved")), (2, 2, 0));
    assert_eq!((count("type=radar_prolonged"), count("type=low_memory")), (1, 0));
    let answer = cloud.look(&ada, "alerts", "status=old&type=x&cursor=1&limit=0&x=1", "*/*");
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    assert_eq!((answer.status, pointers), (422, vec!["?status", "?type", "?limit", "?cursor", "?x"]));
    assert_eq!(cloud.look(&bob, "alerts", "", "*/*").status, 404);
    cloud.run(rs1_store::access::give_up(&ada.user, &cloud.device));
    cloud.grant(&bob, "owner", NOW.plus(MINUTE));
    let left = cloud.alerts(&bob);
    assert_eq!(left, [alert("radar_prolonged", "open", 1)], "what was wrong before is not theirs to know");
}

#[test]
fn who_may_change_a_device_says_that_they_know_and_the_first_word_stays() {
    let cloud = cloud();
    let ada = cloud.owner();
    let (bob, vic, eve) =
        (cloud.user("bob@example.com"), cloud.user("vic@example.com"), cloud.user("eve@example.com"));
    cloud.grant(&bob, "admin", NOW);
    cloud.grant(&vic, "viewer", NOW);
    cloud.set("UPDATE devices SET online = 1, presence_at = ?1, last_seen_at = ?1", NOW);
    cloud.minute(NOW.plus(10 * MINUTE)).unwrap();
    let items = cloud.pages_of(&ada, "alerts", "").0;
    let id = items[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(items[0]["severity"], "warning");
    for (person, status) in [(&eve, 404), (&vic, 403)] {
        assert_eq!(cloud.ack(person, &id).status, status);
        assert_eq!(cloud.alerts(&ada), [alert("device_offline", "open", 1)]);
    }
    assert_eq!(cloud.ack(&ada, "alr-none").status, 404);
    let first = body(&cloud.ack(&bob, &id));
    assert_eq!(
        (&first["status"], &first["acknowledged_by"]),
        (&json!("acknowledged"), &json!(bob.user.to_string()))
    );
    assert_eq!(body(&cloud.ack(&ada, &id)), first, "said already");
    assert_eq!(cloud.pages_of(&ada, "alerts", "status=acknowledged").0, [first]);
    assert_eq!(cloud.look(&ada, &format!("alerts/{id}/ack"), "", "*/*").status, 405);
    // It goes on being watched.
    cloud.set("UPDATE devices SET last_seen_at = ?1", NOW.plus(20 * MINUTE));
    cloud.minute(NOW.plus(21 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("device_offline", "resolved", 1)]);
    cloud.set(
        "UPDATE alerts SET acknowledged_at = NULL, acknowledged_by = NULL WHERE opened_at < ?1",
        NOW.plus(DAY),
    );
    assert_eq!(cloud.ack(&ada, &id).status, 409, "it is over");
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(cloud.ack(&ada, &id).status, 503);
}

#[test]
fn while_telemetry_comes_by_the_object_a_device_that_is_connected_may_be_heard_of_late() {
    let cloud = cloud();
    let ada = cloud.owner();
    cloud.set(
        "UPDATE devices SET online = 1, offline_reason = NULL, presence_at = ?1, last_seen_at = ?1",
        NOW,
    );
    let object = |minutes: i64| {
        cloud.run(rs1_store::objects::take(
            &format!("telemetry/incoming/{minutes}"),
            NOW.plus(minutes * MINUTE),
        ));
    };
    object(0);
    cloud.minute(NOW.plus(4 * MINUTE)).unwrap();
    object(60);
    cloud.minute(NOW.plus(QUIET)).unwrap();
    assert_eq!(cloud.alerts(&ada), []);
    cloud.minute(NOW.plus(QUIET + 4 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("device_offline", "open", 1)], "that is too long");
    cloud.set("UPDATE devices SET last_seen_at = ?1", NOW.plus(30 * MINUTE));
    cloud.minute(NOW.plus(QUIET + 5 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada), [alert("device_offline", "resolved", 1)]);
    // Who lost its connection is not waited for.
    cloud.set(
        "UPDATE devices SET online = 0, offline_reason = 'keepalive_timeout', presence_at = ?1",
        NOW.plus(QUIET + 6 * MINUTE),
    );
    cloud.minute(NOW.plus(QUIET + 10 * MINUTE)).unwrap();
    cloud.minute(NOW.plus(QUIET + 11 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada).last(), Some(&alert("device_offline", "open", 1)), "and it stays so");
    // Two hours after the last object it comes message by message again.
    cloud.set("UPDATE devices SET online = 1, last_seen_at = ?1, presence_at = ?1", NOW.plus(181 * MINUTE));
    cloud.minute(NOW.plus(182 * MINUTE)).unwrap();
    cloud.minute(NOW.plus(185 * MINUTE)).unwrap();
    assert_eq!(cloud.alerts(&ada).len(), 3);
}
