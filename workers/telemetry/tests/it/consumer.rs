//! The queue's consumer: nothing lost, nothing twice, whatever fails and whatever is delivered again.

use std::collections::BTreeSet;

use pollster::block_on;
use rs1_domain::UnixMillis;
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_store::alerts::{self, OutboxEntry, ShownAlert};
use rs1_store::native::Failure;
use rs1_store::sql::{PageRequest, rows, run};
use rs1_store::telemetry::{self, EventRow, WantedEvents};
use serde_json::json;

use crate::common::{Cloud, device, published, telemetry_payload};

/// Free memory of a device that is well.
const HEAP: i64 = 150_000;

fn send(cloud: &Cloud, number: i64) -> String {
    let at = cloud.now.plus(number * MINUTE);
    let message = published("telemetry", &format!("m{number}"), at, &telemetry_payload(at, HEAP + number));
    assert_eq!(cloud.post("/webhook/telemetry", &message).status, 202);
    cloud.world.queue.take().remove(0)
}

fn counted(cloud: &Cloud) -> i64 {
    cloud.hours().iter().map(|hour| hour.messages).sum()
}

fn archived_ids(cloud: &Cloud) -> Vec<String> {
    cloud.archived_lines().iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_batch_is_archived_counted_and_shown_with_two_statements() {
    let cloud = Cloud::new();
    let batch: Vec<_> = (0..100).map(|number| send(&cloud, number)).collect();
    let before = cloud.world.db.statements_run();
    let settled = cloud.deliver(&batch);
    assert_eq!(settled.retries, []);
    assert_eq!(cloud.world.db.statements_run() - before, 2, "{:?}", settled.log);
    assert_eq!(cloud.hours().iter().map(|hour| hour.messages).collect::<Vec<_>>(), [60, 40]);
    let objects = cloud.world.archives.objects("telemetry/");
    assert_eq!(objects.len(), 2, "one for each hour in which some were received");
    assert!(objects[0].0.starts_with("telemetry/2026-01-20/10/00-"));
    assert!(objects[1].0.starts_with("telemetry/2026-01-20/11/00-"));
    assert_eq!(cloud.archived_lines().len(), 100);
    assert_eq!(cloud.archived_lines()[0]["payload"]["metrics"]["system.free_heap"], HEAP);
    assert_eq!(cloud.device().last_telemetry_at, Some(cloud.now.plus(99 * MINUTE)));
    assert!(cloud.device().online, "telemetry is a sign of life");
}

#[test]
fn a_message_that_comes_again_changes_nothing() {
    let cloud = Cloud::new();
    let (one, two) = (send(&cloud, 1), send(&cloud, 2));
    cloud.deliver(&[one.clone(), one.clone()]);
    cloud.deliver(&[one.clone(), two.clone()]);
    cloud.deliver(&[two, one]);
    assert_eq!(counted(&cloud), 2);
    assert_eq!(archived_ids(&cloud).len(), 2);
}

#[test]
fn poison_goes_to_quarantine_and_holds_up_nothing() {
    let cloud = Cloud::new();
    let good = send(&cloud, 1);
    let unknown = good.replace(device().as_str(), "00112233445566778899aabbccddeeff");
    let settled = cloud.deliver(&["not json".into(), good, r#"{"kind":"dance"}"#.into(), unknown]);
    assert_eq!(settled.retries, []);
    assert_eq!(counted(&cloud), 1);
    let quarantined = cloud.world.archives.objects("quarantine/");
    let reasons: Vec<_> = quarantined
        .iter()
        .map(|(_, body)| {
            serde_json::from_str::<serde_json::Value>(body).unwrap()["reason"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(reasons.len(), 3);
    assert!(reasons.iter().any(|reason| reason == "device: not enrolled"), "{reasons:?}");
}

#[test]
fn while_the_database_is_down_everything_waits_and_then_nothing_is_lost_or_twice() {
    let cloud = Cloud::new();
    let batch: Vec<_> = (0..10).map(|number| send(&cloud, number)).collect();
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    let settled = cloud.deliver(&batch);
    assert_eq!(settled.retries.len(), 10);
    assert!(settled.retries.iter().all(|retry| retry.delay_seconds == 2));
    assert!(cloud.archived_lines().is_empty(), "nothing is archived before duplicates can be told");
    cloud.world.db.fail(None);
    // Delivered again in other company.
    cloud.deliver(&batch[3..]);
    cloud.deliver(&batch[..5]);
    assert_eq!(counted(&cloud), 10);
    assert_eq!(archived_ids(&cloud).len(), 10);
}

/// The rollups cannot be written, after the messages were archived: the object is named on the queue
/// and counted later, whether or not the write had been done after all.
#[test]
fn a_write_that_fails_is_made_up_for_from_the_archive() {
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        let cloud = Cloud::new();
        let batch: Vec<_> = (0..5).map(|number| send(&cloud, number)).collect();
        cloud.world.db.fail_statement("write_rollups", Some(failure));
        let settled = cloud.deliver(&batch);
        assert_eq!(settled.retries, [], "{failure:?}");
        assert_eq!(archived_ids(&cloud).len(), 5);
        cloud.world.db.fail(None);
        cloud.drain();
        assert_eq!(counted(&cloud), 5, "{failure:?}");
        cloud.deliver(&batch[1..]);
        assert_eq!((counted(&cloud), archived_ids(&cloud).len()), (5, 5), "{failure:?}");
    }
}

#[test]
fn a_batch_whose_every_answer_is_lost_is_delivered_again_whole() {
    let cloud = Cloud::new();
    let batch: Vec<_> = (0..5).map(|number| send(&cloud, number)).collect();
    cloud.world.db.fail(Some(Failure::AfterCommit));
    assert_eq!(cloud.deliver(&batch).retries.len(), 5);
    cloud.world.db.fail(None);
    cloud.deliver(&batch);
    cloud.deliver(&batch);
    assert_eq!(counted(&cloud), 5);
    assert_eq!(archived_ids(&cloud).len(), 5);
}

#[test]
fn an_archived_object_is_counted_when_its_turn_comes_and_once_only() {
    let cloud = Cloud::new();
    let batch: Vec<_> = (0..5).map(|number| send(&cloud, number)).collect();
    cloud.deliver(&batch);
    let key = cloud.world.archives.objects("telemetry/")[0].0.clone();
    let pointer = json!({"kind": "archived", "key": key}).to_string();
    cloud.deliver(std::slice::from_ref(&pointer));
    assert_eq!(counted(&cloud), 5);
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(cloud.deliver(&[pointer]).retries.len(), 1);
    cloud.world.db.fail(None);
    let missing = json!({"kind": "archived", "key": "telemetry/none"}).to_string();
    assert_eq!(cloud.deliver(&[missing]).retries, []);
    assert_eq!(cloud.world.archives.objects("quarantine/").len(), 1);
}

#[test]
fn while_the_bucket_is_down_nothing_is_counted() {
    let cloud = Cloud::new();
    let batch: Vec<_> = (0..5).map(|number| send(&cloud, number)).collect();
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        cloud.world.archives.fail(Some(failure));
        assert_eq!(cloud.deliver(&batch).retries.len(), 5);
        assert_eq!(counted(&cloud), 0, "{failure:?}");
    }
    cloud.world.archives.fail(None);
    assert_eq!(cloud.deliver(&batch).retries, []);
    assert_eq!(counted(&cloud), 5);
    assert_eq!(archived_ids(&cloud).into_iter().collect::<BTreeSet<_>>().len(), 5);
    assert_eq!(archived_ids(&cloud).len(), 5, "the same batch meets the same object");
}

#[test]
fn a_late_message_lands_in_its_own_hour_sealed_or_not() {
    let mut cloud = Cloud::new();
    let late = send(&cloud, -90);
    cloud.deliver(&[late]);
    assert_eq!(cloud.hours()[0].hour, cloud.now.hour() - 2);
    let done = cloud.sweep(cloud.now).unwrap();
    assert!(done.contains(" 0 rollups checked"), "{done}");
    assert_eq!(cloud.sweep(cloud.now).unwrap(), "run before");

    let straggler = send(&cloud, -91);
    cloud.now = cloud.now.plus(6 * DAY);
    let done = cloud.sweep(cloud.now).unwrap();
    assert!(done.contains(" 1 rollups checked"), "{done}");
    cloud.deliver(&[straggler]);
    assert_eq!(counted(&cloud), 1, "its hour is sealed");
    assert_eq!(archived_ids(&cloud).len(), 2, "but it is kept");
    cloud.sweep(cloud.now.plus(HOUR)).unwrap();
    assert_eq!(counted(&cloud), 2, "and counted from there");

    cloud.now = cloud.now.plus(30 * DAY + HOUR);
    let done = cloud.sweep(cloud.now).unwrap();
    assert!(done.starts_with("1 hours deleted"), "{done}");
    assert!(cloud.hours().is_empty());
}

#[test]
fn a_trigger_that_fails_says_so_and_may_run_again_next_hour() {
    let cloud = Cloud::new();
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    assert!(cloud.sweep(cloud.now).is_err());
    cloud.world.db.fail(None);
    assert!(cloud.sweep(cloud.now).is_ok());
}

/// A message with a log, as the queue has it.
fn tell(cloud: &Cloud, number: i64, lines: &[&str]) -> String {
    let at = cloud.now.plus(number * MINUTE);
    let logs: Vec<_> = lines
        .iter()
        .map(|line| {
            let (tag, msg) = line.split_once(' ').unwrap();
            json!({"ts": 1, "lvl": "E", "tag": tag, "msg": msg})
        })
        .collect();
    let payload = json!({"device_id": device(), "timestamp": at, "metrics": {}, "logs": logs});
    let message = published("telemetry", &format!("t{number}"), at, &payload);
    assert_eq!(cloud.post("/webhook/telemetry", &message).status, 202);
    cloud.world.queue.take().remove(0)
}

fn told(cloud: &Cloud) -> Vec<(i64, String, String, i64)> {
    let wanted = WantedEvents {
        from: UnixMillis(0),
        until: cloud.now.plus(DAY),
        kind: None,
        before: None,
        limit: 1_000,
    };
    let [outcome] = block_on(run(&cloud.world.db, [telemetry::events(&device(), &wanted)])).unwrap();
    let minutes = |at: UnixMillis| at.since(cloud.now) / MINUTE;
    let events = rows::<EventRow>(&outcome).unwrap().into_iter().rev();
    events.map(|event| (minutes(event.at), event.kind, event.detail, event.count)).collect()
}

#[test]
fn what_happened_is_kept_once_and_costs_a_statement_only_when_something_did() {
    let cloud = Cloud::new();
    let batch = [
        tell(&cloud, 1, &["BOOT boot:power_on", "NVS error:4:full", "NVS error:4:full", "WIFI connected"]),
        tell(&cloud, 2, &["WIFI wifi_disconnect:201"]),
        tell(&cloud, 3, &["MAIN nothing"]),
    ];
    let before = cloud.world.db.statements_run();
    cloud.deliver(&batch);
    assert_eq!(cloud.world.db.statements_run() - before, 3);
    let expected = [
        (1, "boot".to_owned(), "power_on".to_owned(), 1),
        (1, "error".to_owned(), "4:full".to_owned(), 2),
        (2, "wifi_disconnect".to_owned(), "201".to_owned(), 1),
    ];
    assert_eq!(told(&cloud), expected);
    cloud.deliver(&batch);
    cloud.deliver(&batch[1..2]);
    assert_eq!(told(&cloud), expected);
}

#[test]
fn whatever_fails_an_event_is_kept_once() {
    for (name, failure) in [
        ("write_rollups", Failure::BeforeCommit),
        ("write_rollups", Failure::AfterCommit),
        ("record_events", Failure::BeforeCommit),
        ("rollups_for", Failure::BeforeCommit),
    ] {
        let cloud = Cloud::new();
        let batch = [tell(&cloud, 1, &["OTA ota_failed:sha256"]), tell(&cloud, 2, &["OTA ota_start"])];
        cloud.world.db.fail_statement(name, Some(failure));
        let settled = cloud.deliver(&batch);
        cloud.world.db.fail(None);
        cloud.drain();
        for retry in settled.retries {
            cloud.deliver(&batch[retry.index..=retry.index]);
        }
        let kinds: Vec<_> = told(&cloud).into_iter().map(|(_, kind, ..)| kind).collect();
        assert_eq!(kinds, ["ota_failed", "ota_start"], "{name} {failure:?}");
    }
}

#[test]
fn an_event_of_an_hour_that_is_sealed_is_kept_all_the_same() {
    let cloud = Cloud::new();
    cloud.deliver(&[send(&cloud, 1)]);
    cloud.sweep(cloud.now.plus(6 * DAY)).unwrap();
    cloud.deliver(&[tell(&cloud, 2, &["CONFIG config_change:7"])]);
    assert_eq!(told(&cloud), [(2, "config_change".to_owned(), "7".to_owned(), 1)]);
}

#[test]
fn a_device_that_cannot_stop_telling_does_not_fill_the_database_and_the_old_goes() {
    let cloud = Cloud::new();
    for number in 0..60 {
        let lines: Vec<_> = (0..10).map(|line| format!("NVS error:{number}:{line}")).collect();
        cloud.deliver(&[tell(&cloud, number, &lines.iter().map(String::as_str).collect::<Vec<_>>())]);
    }
    assert_eq!(told(&cloud).len(), 100, "an hour's worth");
    cloud.sweep(cloud.now.plus(90 * DAY)).unwrap();
    assert_eq!(told(&cloud).len(), 100, "90 days");
    cloud.sweep(cloud.now.plus(90 * DAY + HOUR)).unwrap();
    assert_eq!(told(&cloud).len(), 0);
}

fn alerts_of(cloud: &Cloud) -> Vec<(String, &'static str, i64)> {
    let page = PageRequest { limit: 200, after: None };
    let [outcome] =
        block_on(run(&cloud.world.db, [alerts::of_device(&device(), None, None, &page)])).unwrap();
    let alerts = rows::<ShownAlert>(&outcome).unwrap().into_iter().rev();
    alerts.map(|alert| (alert.kind.as_str().to_owned(), alert.status().as_str(), alert.occurrences)).collect()
}

/// A message of a device that has so much memory free, so many minutes from now.
fn heap(cloud: &Cloud, number: i64, bytes: i64) -> String {
    let at = cloud.now.plus(number * MINUTE);
    let message = published("telemetry", &format!("h{number}"), at, &telemetry_payload(at, bytes));
    assert_eq!(cloud.post("/webhook/telemetry", &message).status, 202);
    cloud.world.queue.take().remove(0)
}

#[test]
fn an_alert_opens_counts_and_ends_with_what_the_messages_say() {
    let cloud = Cloud::new();
    let before = cloud.world.db.statements_run();
    cloud.deliver(&[heap(&cloud, 0, 90_000)]);
    assert_eq!(cloud.world.db.statements_run() - before, 2, "a device that is well costs nothing more");
    let low = [heap(&cloud, 1, 40_000), heap(&cloud, 2, 30_000)];
    cloud.deliver(&low);
    cloud.deliver(&low);
    cloud.deliver(&low[1..]);
    assert_eq!(alerts_of(&cloud), [("low_memory".to_owned(), "open", 2)], "each message once");
    cloud.deliver(&[heap(&cloud, 3, 10_000)]);
    let both = [("low_memory".to_owned(), "open", 3), ("critical_memory".to_owned(), "open", 1)];
    assert_eq!(alerts_of(&cloud), both);
    cloud.deliver(&[heap(&cloud, 10, 90_000)]);
    let over = both.map(|(kind, _, count)| (kind, "resolved", count));
    assert_eq!(alerts_of(&cloud), over);
    let [outbox] = block_on(run(&cloud.world.db, [alerts::outbox(10)])).unwrap();
    let told: Vec<_> = rows::<OutboxEntry>(&outbox).unwrap();
    let told: Vec<_> = told.iter().map(|entry| (entry.kind.as_str(), entry.what.as_str())).collect();
    assert_eq!(
        told,
        [("critical_memory", "opened"), ("critical_memory", "resolved")],
        "of critical ones somebody is told"
    );
}

#[test]
fn whatever_fails_an_alert_opens_and_counts_once() {
    for (name, failure) in [
        ("write_rollups", Failure::BeforeCommit),
        ("write_rollups", Failure::AfterCommit),
        ("write_alerts", Failure::BeforeCommit),
        ("write_alerts", Failure::AfterCommit),
        ("rollups_for", Failure::BeforeCommit),
    ] {
        let cloud = Cloud::new();
        let batch = [heap(&cloud, 1, 10_000), heap(&cloud, 2, 10_000)];
        cloud.world.db.fail_statement(name, Some(failure));
        let settled = cloud.deliver(&batch);
        cloud.world.db.fail(None);
        cloud.drain();
        for retry in settled.retries {
            cloud.deliver(&batch[retry.index..=retry.index]);
        }
        cloud.deliver(&batch);
        let expected = [("low_memory".to_owned(), "open", 2), ("critical_memory".to_owned(), "open", 2)];
        assert_eq!(alerts_of(&cloud), expected, "{name} {failure:?}");
        let [outbox] = block_on(run(&cloud.world.db, [alerts::outbox(10)])).unwrap();
        assert_eq!(rows::<OutboxEntry>(&outbox).unwrap().len(), 1, "{name} {failure:?}");
    }
}

#[test]
fn alerts_that_are_over_go_after_their_time_and_open_ones_stay() {
    let cloud = Cloud::new();
    cloud.deliver(&[heap(&cloud, 1, 10_000)]);
    cloud.deliver(&[heap(&cloud, 10, 22_000)]);
    cloud.deliver(&[heap(&cloud, 20, 26_000)]);
    assert_eq!(alerts_of(&cloud).iter().map(|alert| alert.1).collect::<Vec<_>>(), ["open", "resolved"]);
    let late = cloud.now.plus(91 * DAY);
    cloud.sweep(late).unwrap();
    assert_eq!(alerts_of(&cloud), [("low_memory".to_owned(), "open", 3)]);
    let waiting = || {
        let [outbox] = block_on(run(&cloud.world.db, [alerts::outbox(10)])).unwrap();
        rows::<OutboxEntry>(&outbox).unwrap()
    };
    let entries: Vec<_> = waiting().iter().map(|entry| entry.entry_id).collect();
    assert_eq!(entries.len(), 2, "nobody was told yet, so it waits");
    block_on(run(&cloud.world.db, [alerts::taken(&entries[..1], 0, late).unwrap()])).unwrap();
    assert_eq!(waiting().len(), 1);
    cloud.sweep(late.plus(HOUR)).unwrap();
    assert_eq!(waiting().len(), 1, "what was told goes, the rest stays");
}
