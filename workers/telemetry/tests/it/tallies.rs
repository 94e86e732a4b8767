//! What came is counted as exactly as it is counted in rollups: whatever fails, is delivered again or comes by both doors.

use std::collections::{BTreeMap, BTreeSet};

use pollster::block_on;
use proptest::prelude::*;
use rs1_domain::time::{DAY, HOUR, MINUTE, SECOND};
use rs1_store::native::Failure;
use rs1_store::sql::{first_row, rows, run};
use rs1_store::tallies::{self, Came, Door, Upkeep};
use serde_json::{Value, json};

use crate::common::{Cloud, device, published, telemetry_payload};

const HEAP: i64 = 150_000;

fn message(cloud: &Cloud, number: i64) -> Value {
    let at = cloud.now.plus(number * MINUTE);
    published("telemetry", &format!("m{number}"), at, &telemetry_payload(at, HEAP + number))
}

/// A message as the queue has it.
fn send(cloud: &Cloud, number: i64) -> String {
    assert_eq!(cloud.post("/webhook/telemetry", &message(cloud, number)).status, 202);
    cloud.world.queue.take().remove(0)
}

fn send_all(cloud: &Cloud, numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    numbers.into_iter().map(|number| send(cloud, number)).collect()
}

fn lines(cloud: &Cloud, numbers: impl IntoIterator<Item = i64>) -> String {
    numbers.into_iter().flat_map(|number| [message(cloud, number).to_string(), "\n".to_owned()]).collect()
}

fn notification(key: &str) -> String {
    json!({
        "account": "a", "action": "PutObject", "bucket": "rs1-telemetry-archives", "eventTime": "2026-01-20T10:30:00.000Z",
        "object": {"key": key, "size": 1, "eTag": "e"},
    })
    .to_string()
}

fn came(cloud: &Cloud, door: Door) -> Came {
    let [outcome] = block_on(run(&cloud.world.db, [tallies::came()])).unwrap();
    rows::<Came>(&outcome).unwrap().into_iter().find(|came| came.door == door).unwrap()
}

fn upkeep(cloud: &Cloud) -> Upkeep {
    let [outcome] = block_on(run(&cloud.world.db, [tallies::upkeep()])).unwrap();
    first_row(&outcome).unwrap().unwrap()
}

/// Received, duplicate, late.
fn of_messages(cloud: &Cloud, door: Door) -> (u64, u64, u64) {
    let Came { received, duplicates, late, .. } = came(cloud, door);
    (received, duplicates, late)
}

/// Malformed, not enrolled, damaged.
fn invalid(cloud: &Cloud, door: Door) -> (u64, u64, u64) {
    let Came { malformed, not_enrolled, damaged, .. } = came(cloud, door);
    (malformed, not_enrolled, damaged)
}

fn counted(cloud: &Cloud) -> u64 {
    cloud.hours().iter().map(|hour| u64::try_from(hour.messages).unwrap()).sum()
}

/// The lines of the archive, by the ids of their messages.
fn archived(cloud: &Cloud) -> BTreeMap<String, usize> {
    let objects = cloud.world.archives.objects("telemetry/2");
    let lines = objects.iter().flat_map(|(_, body)| body.lines());
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    lines.map(|line| (id(line), line.len() + 1)).collect()
}

/// What is counted is what the rollups and the archive have.
#[track_caller]
fn it_adds_up(cloud: &Cloud, messages: u64) {
    let doors = [Door::Webhook, Door::Objects, Door::Archive].map(|door| came(cloud, door));
    let received: u64 = doors.iter().map(|came| came.received).sum();
    let bytes: u64 = doors.iter().map(|came| came.archived_bytes).sum();
    assert_eq!((counted(cloud), received), (messages, messages));
    assert_eq!(bytes, archived(cloud).values().map(|bytes| u64::try_from(*bytes).unwrap()).sum::<u64>());
}

#[test]
fn a_batch_of_all_kinds_is_counted_with_two_statements() {
    let mut cloud = Cloud::new();
    let good = send_all(&cloud, 0..3);
    let unknown = good[0].replace(device().as_str(), "00112233445566778899aabbccddeeff");
    cloud.now = cloud.now.plus(2 * MINUTE + 7 * SECOND);
    let before = cloud.world.db.statements_run();
    let twice = good[1].clone();
    let batch = [&good[..], &[twice, unknown, "not json".into(), r#"{"kind":"dance"}"#.into()]].concat();
    assert_eq!(cloud.deliver(&batch).retries, []);
    assert_eq!(cloud.world.db.statements_run() - before, 2);
    it_adds_up(&cloud, 3);
    assert_eq!(of_messages(&cloud, Door::Webhook), (3, 1, 0));
    assert_eq!(invalid(&cloud, Door::Webhook), (2, 1, 0));
    let came = came(&cloud, Door::Webhook);
    assert_eq!((came.objects, came.taken_at), (1, Some(cloud.now)));
    assert_eq!(came.oldest_age, Some(2 * MINUTE + 7 * SECOND), "since the broker received the first");
}

#[test]
fn what_comes_again_is_counted_as_that() {
    let cloud = Cloud::new();
    let batch = send_all(&cloud, 0..5);
    cloud.deliver(&batch);
    let before = cloud.world.db.statements_run();
    cloud.deliver(&batch);
    assert_eq!(cloud.world.db.statements_run() - before, 2, "nothing new costs no more");
    cloud.deliver(&[batch[3..].to_vec(), send_all(&cloud, 5..7)].concat());
    it_adds_up(&cloud, 7);
    assert_eq!(of_messages(&cloud, Door::Webhook), (7, 7, 0));
    assert_eq!(came(&cloud, Door::Webhook).objects, 2);
}

#[test]
fn a_batch_without_messages_costs_what_it_has_to_count() {
    let cloud = Cloud::new();
    let before = cloud.world.db.statements_run();
    cloud.deliver(&["not json".to_owned()]);
    assert_eq!(cloud.world.db.statements_run() - before, 1);
    assert_eq!(invalid(&cloud, Door::Webhook), (1, 0, 0));
    cloud.deliver(&["not json".to_owned()]);
    assert_eq!(invalid(&cloud, Door::Webhook), (1, 0, 0), "it was in quarantine");
    assert_eq!(came(&cloud, Door::Webhook).taken_at, None, "there was no message");
    cloud.deliver(&[json!({"kind": "archived", "key": "telemetry/none"}).to_string()]);
    assert_eq!(invalid(&cloud, Door::Webhook), (1, 0, 0), "q1 again");
    cloud.deliver(&[send(&cloud, 1), json!({"kind": "archived", "key": "telemetry/none"}).to_string()]);
    assert_eq!(invalid(&cloud, Door::Webhook), (1, 0, 1));
}

#[test]
fn whatever_fails_each_message_is_counted_once() {
    for (name, failure) in [
        ("", Failure::BeforeCommit),
        ("", Failure::AfterCommit),
        ("rollups_for", Failure::BeforeCommit),
        ("write_rollups", Failure::BeforeCommit),
        ("write_rollups", Failure::AfterCommit),
    ] {
        let cloud = Cloud::new();
        cloud.deliver(&send_all(&cloud, 0..2));
        let batch = send_all(&cloud, 1..6);
        cloud.world.db.fail_statement(name, Some(failure));
        let settled = cloud.deliver(&batch);
        cloud.world.db.fail(None);
        cloud.drain();
        let again: Vec<_> = settled.retries.iter().map(|retry| batch[retry.index].clone()).collect();
        cloud.deliver(&again);
        it_adds_up(&cloud, 6);
        let (_, duplicates, _) = of_messages(&cloud, Door::Webhook);
        let is_lost = name == "write_rollups" && failure == Failure::BeforeCommit;
        assert_eq!(duplicates, u64::from(!is_lost), "{name} {failure:?}");
    }
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        let cloud = Cloud::new();
        let batch = [send_all(&cloud, 0..4), vec!["not json".to_owned()]].concat();
        cloud.world.archives.fail(Some(failure));
        assert_eq!(cloud.deliver(&batch).retries.len(), 5);
        cloud.world.archives.fail(None);
        cloud.deliver(&batch);
        it_adds_up(&cloud, 4);
        let is_known = failure == Failure::AfterCommit;
        assert_eq!(invalid(&cloud, Door::Webhook).0, u64::from(!is_known), "in quarantine, and nobody knew");
    }
}

#[test]
fn an_object_counts_for_its_own_door() {
    let mut cloud = Cloud::new();
    let key = "telemetry/incoming/emqx/a.jsonl";
    cloud.deliver(&send_all(&cloud, 0..4));
    let unknown =
        message(&cloud, 7).to_string().replace(device().as_str(), "00112233445566778899aabbccddeeff");
    let text = format!("{}{unknown}\nno message\n", lines(&cloud, 2..8));
    cloud.world.archives.arrives(key, text.as_bytes(), cloud.now);
    cloud.now = cloud.now.plus(30 * MINUTE);
    let before = cloud.world.db.statements_run();
    assert_eq!(cloud.deliver(&[notification(key)]).retries, []);
    assert_eq!(cloud.world.db.statements_run() - before, 5, "take, read, write, note, note that it is gone");
    it_adds_up(&cloud, 8);
    assert_eq!(of_messages(&cloud, Door::Webhook), (4, 0, 0));
    assert_eq!(of_messages(&cloud, Door::Objects), (4, 2, 0));
    assert_eq!(invalid(&cloud, Door::Objects), (1, 1, 0));
    let came = came(&cloud, Door::Objects);
    assert_eq!((came.objects, came.taken_at, came.oldest_age), (1, Some(cloud.now), Some(30 * MINUTE)));
    // Its messages once more, and nothing else.
    cloud.world.archives.arrives(
        "telemetry/incoming/emqx/b.jsonl",
        lines(&cloud, 2..8).as_bytes(),
        cloud.now,
    );
    cloud.deliver(&[notification("telemetry/incoming/emqx/b.jsonl")]);
    it_adds_up(&cloud, 8);
    assert_eq!(of_messages(&cloud, Door::Objects), (4, 8, 0));
}

#[test]
fn late_messages_are_counted_as_that_and_their_hour_as_repaired() {
    let mut cloud = Cloud::new();
    cloud.deliver(&send_all(&cloud, [1]));
    let straggler = send(&cloud, 2);
    cloud.now = cloud.now.plus(6 * DAY);
    cloud.sweep(cloud.now).unwrap();
    assert_eq!((upkeep(&cloud).hours_sealed > 0, upkeep(&cloud).rollups_checked), (true, 1));
    cloud.deliver(&[straggler]);
    assert_eq!(of_messages(&cloud, Door::Webhook), (1, 0, 1));
    cloud.sweep(cloud.now.plus(HOUR)).unwrap();
    assert_eq!((counted(&cloud), upkeep(&cloud).rollups_repaired), (2, 1));
    assert_eq!(of_messages(&cloud, Door::Webhook), (1, 0, 1), "what is made anew came long ago");
    let before = upkeep(&cloud);
    cloud.sweep(cloud.now.plus(40 * DAY)).unwrap();
    assert!(upkeep(&cloud).rollups_checked >= before.rollups_checked && upkeep(&cloud).rollups_repaired == 1);
}

/// The queue has lost what should have had an object counted: compaction finds it.
#[test]
fn what_compaction_finds_is_counted_once_and_what_it_packs_too() {
    let cloud = Cloud::new();
    cloud.deliver(&send_all(&cloud, 0..3));
    cloud.world.db.fail_statement("write_rollups", Some(Failure::BeforeCommit));
    cloud.deliver(&send_all(&cloud, 3..8));
    cloud.world.db.fail(None);
    assert_eq!(cloud.world.queue.take().len(), 1, "lost");
    assert_eq!(counted(&cloud), 3);
    let bytes: usize = archived(&cloud).values().sum();
    for hours in 2..5 {
        cloud.tick("0 * * * *", cloud.now.plus(hours * HOUR)).unwrap();
    }
    assert_eq!(counted(&cloud), 8);
    let doors = [Door::Webhook, Door::Archive].map(|door| of_messages(&cloud, door).0);
    assert_eq!(doors, [3, 5]);
    let packed = upkeep(&cloud);
    assert_eq!((packed.hours_compacted, packed.compacted_messages, packed.compacted_objects), (1, 8, 2));
    assert_eq!(packed.compacted_bytes, u64::try_from(bytes).unwrap());
}

/// Something that happens to a pipeline.
#[derive(Clone, Debug)]
struct Step {
    /// By the object, or by the message.
    collected: bool,
    numbers: Vec<i64>,
    /// What fails meanwhile: a statement and how, or the bucket.
    failure: Option<(usize, Failure)>,
    /// How many of those that wait for another delivery get it first.
    again: usize,
}

const STATEMENTS: [&str; 5] = ["", "rollups_for", "write_rollups", "object_save", "object_take"];

fn step() -> impl Strategy<Value = Step> {
    let failure = prop_oneof![Just(Failure::BeforeCommit), Just(Failure::AfterCommit)];
    let failure = proptest::option::of((0..=STATEMENTS.len(), failure));
    (any::<bool>(), proptest::collection::vec(0_i64..150, 1..12), failure, 0_usize..4)
        .prop_map(|(collected, numbers, failure, again)| Step { collected, numbers, failure, again })
}

fn fail(cloud: &Cloud, failure: Option<(usize, Failure)>) {
    cloud.world.db.fail(None);
    cloud.world.archives.fail(None);
    match failure {
        Some((which, failure)) if which < STATEMENTS.len() => {
            cloud.world.db.fail_statement(STATEMENTS[which], Some(failure));
        }
        Some((_, failure)) => cloud.world.archives.fail(Some(failure)),
        None => {}
    }
}

/// Delivers, and answers what is to come again.
fn deliver(cloud: &Cloud, bodies: &[String]) -> Vec<String> {
    let settled = cloud.deliver(bodies);
    let again = settled.retries.iter().map(|retry| bodies[retry.index].clone());
    again.chain(cloud.world.queue.take()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever comes by whichever door, in whichever company, and whatever fails meanwhile: nothing counted ever goes down, and in
    /// the end each message was received once and each line of the archive counted once.
    #[test]
    fn each_message_is_received_once(steps in proptest::collection::vec(step(), 1..10)) {
        let mut cloud = Cloud::new();
        let mut waiting: Vec<String> = Vec::new();
        let mut all = BTreeSet::new();
        let mut before = [Door::Webhook, Door::Objects].map(|door| came(&cloud, door));
        for (turn, Step { collected, numbers, failure, again }) in steps.into_iter().enumerate() {
            all.extend(numbers.iter().copied());
            let mut bodies: Vec<String> = waiting.split_off(waiting.len().saturating_sub(again));
            if collected {
                let key = format!("telemetry/incoming/emqx/{turn}.jsonl");
                cloud.world.archives.arrives(&key, lines(&cloud, numbers).as_bytes(), cloud.now);
                bodies.push(notification(&key));
            } else {
                bodies.extend(send_all(&cloud, numbers));
            }
            fail(&cloud, failure);
            let later = deliver(&cloud, &bodies);
            fail(&cloud, None);
            waiting.extend(later);
            let after = [Door::Webhook, Door::Objects].map(|door| came(&cloud, door));
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(
                    before.received <= after.received && before.duplicates <= after.duplicates && before.late <= after.late
                        && before.archived_bytes <= after.archived_bytes && before.objects <= after.objects
                );
            }
            let received: u64 = after.iter().map(|came| came.received).sum();
            prop_assert_eq!(received, counted(&cloud), "at any time what is received is what is counted");
            before = after;
        }
        for _ in 0..20 {
            if waiting.is_empty() {
                break;
            }
            // Longer than somebody may be at an object without a step.
            cloud.now = cloud.now.plus(17 * MINUTE);
            waiting = deliver(&cloud, &waiting);
        }
        prop_assert!(waiting.is_empty());
        it_adds_up(&cloud, u64::try_from(all.len()).unwrap());
    }
}
