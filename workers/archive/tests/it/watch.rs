//! What the minute's watch finds.

use pollster::block_on;
use rs1_domain::UnixMillis;
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_store::alerts::{OutboxEntry, outbox};
use rs1_store::cron::{CronRun, begin, runs};
use rs1_store::native::Failure;
use rs1_store::objects::QUIET;
use rs1_store::sql::{rows, run};
use rs1_worker_archive::cron::EVERY_MINUTE;

use crate::common::{Cloud, NOW, alert, cloud};

impl Cloud {
    /// The minute's run.
    fn minute(&self, at: UnixMillis) -> Result<String, String> {
        self.tick(EVERY_MINUTE, at)
    }

    fn set(&self, sql: &'static str, at: UnixMillis) {
        self.sql(sql, vec![at.into()]);
    }
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

#[test]
fn nobody_waits_for_the_triggers_of_workers_that_have_none_any_more() {
    let cloud = cloud();
    for worker in ["telemetry", "history", "ota"] {
        cloud.run(begin(worker, EVERY_MINUTE, NOW, NOW));
    }
    cloud.minute(NOW.plus(MINUTE)).unwrap();
    let left = |worker| {
        let [outcome] = block_on(run(&cloud.world.db, [runs(worker)])).unwrap();
        rows::<CronRun>(&outcome).unwrap().len()
    };
    assert_eq!(["telemetry", "history", "ota", "archive"].map(left), [0, 0, 1, 1]);
}
