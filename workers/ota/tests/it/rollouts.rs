//! Rollouts from end to end: real SQL, the real planner, queues and a broker in memory, and every port failing.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use pollster::block_on;
use rs1_domain::DeviceId;
use rs1_domain::port::{Database, Outcome, PortError, Statement};
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_domain::wire::OtaPhase;
use rs1_rollout::{OtaEvent, Policy};
use rs1_store::native::Failure;
use rs1_worker_ota::engine::advance::advance;
use rs1_worker_ota::world::Engine;
use serde_json::{Value, json};

use crate::common::fleet::{NEW, OLD, folded, report};
use crate::common::{Cloud, body};

/// One stage for everybody.
fn at_once() -> Value {
    json!({"stages": [{"percent": 100}]})
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(state, number)| ((*state).to_owned(), *number)).collect()
}

fn kinds(history: &[Value]) -> Vec<&str> {
    history.iter().map(|event| event["kind"].as_str().unwrap()).filter(|kind| *kind != "device").collect()
}

#[test]
fn a_good_image_reaches_everybody_stage_by_stage() {
    let (cloud, devices) = Cloud::with_fleet(40);
    let rollout = cloud.rollout(&json!({"stages": [
        {"percent": 10, "duration_sec": 600, "min_confirmed": 1},
        {"percent": 50, "duration_sec": 600, "min_confirmed": 1},
        {"percent": 100},
    ]}));
    assert_eq!(cloud.show(&rollout)["status"], "PENDING");
    assert!(cloud.tick() && cloud.hand_over().is_empty(), "nobody is triggered before it is started");
    assert_eq!(cloud.tell(&rollout, "start").status, 200);
    let mut reached = Vec::new();
    for _ in 0..60 {
        for (device, trigger) in cloud.hand_over() {
            assert_eq!(trigger.rollout_id, rollout);
            assert!(trigger.url.starts_with("https://ota.optic.works/firmware/rs1_pro/1.2.0.bin?device="));
            reached.push((cloud.show(&rollout)["stage"].as_u64().unwrap(), device.clone()));
            cloud.update(&device, &rollout);
        }
        cloud.deliver_reports();
        assert!(cloud.tick());
    }
    let shown = cloud.show(&rollout);
    assert_eq!(shown["status"], "COMPLETED", "{shown}");
    assert_eq!(cloud.counts(&rollout), counts(&[("confirmed", 40)]));
    let order: Vec<_> = reached.iter().map(|(_, device)| device.clone()).collect();
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 40, "each once");
    assert!(reached.contains(&(0, devices[0].clone())), "the lowest cohort is first");
    let of_stage = |stage| reached.iter().filter(|(of, _)| *of == stage).count();
    assert!(of_stage(0) < 10 && of_stage(1) > 0 && of_stage(2) > 0, "{reached:?}");
    let history = cloud.history(&rollout);
    assert_eq!(kinds(&history), ["created", "started", "advanced", "advanced", "completed"]);
    assert_eq!(folded(&history), cloud.counts(&rollout), "the counts are what the history folds to");
}

#[test]
fn each_verb_says_why_it_cannot_be_carried_out_and_changes_nothing_then() {
    let (cloud, _) = Cloud::with_fleet(3);
    let rollout = cloud.rollout(&json!({}));
    let refused = |verb: &str, status: &str| {
        let answer = cloud.tell(&rollout, verb);
        assert_eq!(answer.status, 409, "{verb}: {}", answer.body);
        assert!(body(&answer)["detail"].as_str().unwrap().contains(status), "{verb}: {}", answer.body);
        assert_eq!(cloud.show(&rollout)["status"], status);
    };
    for verb in ["pause", "resume", "advance"] {
        refused(verb, "PENDING");
    }
    assert_eq!(body(&cloud.tell(&rollout, "start"))["status"], "STAGED");
    for verb in ["start", "resume"] {
        refused(verb, "STAGED");
    }
    assert_eq!(body(&cloud.tell(&rollout, "advance"))["stage"], 1);
    assert_eq!(body(&cloud.tell(&rollout, "pause"))["status"], "PAUSED");
    for verb in ["start", "pause", "advance"] {
        refused(verb, "PAUSED");
    }
    assert_eq!(body(&cloud.tell(&rollout, "resume"))["status"], "STAGED");
    assert_eq!(body(&cloud.tell(&rollout, "abort"))["status"], "ABORTED");
    for verb in ["start", "pause", "resume", "abort", "advance"] {
        refused(verb, "ABORTED");
    }
    let history = cloud.history(&rollout);
    assert_eq!(kinds(&history), ["created", "started", "advanced", "paused", "resumed", "aborted"]);
    assert!(
        history
            .iter()
            .filter(|event| event["kind"] != "device")
            .all(|event| event["actor"] == "ada@optic.works")
    );
    assert_eq!(cloud.tell("rol-01K00000000000000000000000", "start").status, 404);
    let why = cloud.post(&format!("/admin/rollouts/{rollout}/pause"), &json!({"raeson": "typo"}));
    assert_eq!(why.status, 422);
}

#[test]
fn a_request_that_comes_twice_is_answered_the_same_and_done_once() {
    let (cloud, _) = Cloud::with_fleet(2);
    let asked = json!({"sku": "rs1_pro", "version": NEW});
    let first = cloud.with_key("k1", "/admin/rollouts", &asked);
    let second = cloud.with_key("k1", "/admin/rollouts", &asked);
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(body(&first), body(&second));
    assert_eq!(body(&cloud.get("/admin/rollouts"))["items"].as_array().unwrap().len(), 1);
    let other =
        cloud.with_key("k1", "/admin/rollouts", &json!({"sku": "rs1_pro", "version": NEW, "force": false}));
    assert_eq!(other.status, 422, "{}", other.body);

    let rollout = body(&first)["rollout_id"].as_str().unwrap().to_owned();
    let start = format!("/admin/rollouts/{rollout}/start");
    let started = cloud.with_key("k2", &start, &json!({}));
    assert_eq!(started.status, 200, "{}", started.body);
    assert_eq!(cloud.tell(&rollout, "pause").status, 200);
    let again = cloud.with_key("k2", &start, &json!({}));
    assert_eq!((again.status, body(&again)), (200, body(&started)), "as it was answered then");
    assert_eq!(cloud.show(&rollout)["status"], "PAUSED");
    assert_eq!(cloud.with_key("k3", &start, &json!({})).status, 409);
    assert_eq!(cloud.with_key("a b", &start, &json!({})).status, 422);
    // A commit whose answer was lost is found again by the key.
    cloud.db.fail_statement("rollout_remember", Some(Failure::AfterCommit));
    let abort = format!("/admin/rollouts/{rollout}/abort");
    assert_eq!(cloud.with_key("k4", &abort, &json!({"reason": "x"})).status, 503);
    cloud.db.fail(None);
    assert_eq!(body(&cloud.with_key("k4", &abort, &json!({"reason": "x"})))["status"], "ABORTED");
}

#[test]
fn a_rollout_is_made_of_an_artifact_that_may_be_sent_and_force_says_why() {
    let (cloud, _) = Cloud::with_fleet(1);
    let ask = |body: Value| cloud.post("/admin/rollouts", &body);
    let unknown = ask(json!({"sku": "rs1_pro", "version": "9.9.9"}));
    assert_eq!((unknown.status, body(&unknown)["errors"][0]["pointer"].as_str()), (422, Some("/version")));
    let wrong = ask(json!({"sku": "rs1_max", "stages": [], "colour": 1}));
    assert_eq!((wrong.status, body(&wrong)["errors"].as_array().unwrap().len()), (422, 4));
    assert_eq!(ask(json!({"sku": "rs1_pro", "version": NEW, "force": true})).status, 422);
    let forced = ask(
        json!({"sku": "rs1_pro", "version": NEW, "force": true, "reason": "back from a bad radar build"}),
    );
    assert_eq!(forced.status, 201);
    let rollout = body(&forced)["rollout_id"].as_str().unwrap().to_owned();
    let audited = cloud.run_statement(Statement {
        name: "test",
        sql: "SELECT actor, detail FROM audit_log WHERE target = ?1",
        params: vec![rollout.as_str().into()],
    });
    assert!(audited.rows_json.contains("back from a bad radar build"), "{}", audited.rows_json);

    let yank = cloud.post(&format!("/admin/firmware/rs1_pro/{NEW}/yank"), &json!({"reason": "radar stalls"}));
    assert_eq!(yank.status, 200, "{}", yank.body);
    assert_eq!(ask(json!({"sku": "rs1_pro", "version": NEW})).status, 409);
    assert_eq!(cloud.tell(&rollout, "start").status, 409);
}

#[test]
fn a_dry_run_says_whom_each_stage_would_reach_and_who_is_held_back_and_makes_nothing() {
    let (cloud, devices) = Cloud::with_fleet(20);
    cloud.disconnect(&devices[3]);
    let asked = json!({"sku": "rs1_pro", "version": NEW, "stages": [{"percent": 1, "duration_sec": 60}, {"percent": 100}]});
    let answer = cloud.post("/admin/rollouts?dry_run=true", &asked);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown = body(&answer);
    assert_eq!(shown["stages"][0]["device_ids"], json!([devices[0]]), "one at least");
    assert_eq!(shown["stages"][1]["devices"], 18);
    assert_eq!(shown["held_back"]["offline"]["device_ids"], json!([devices[3]]));
    assert_eq!(body(&cloud.get("/admin/rollouts"))["items"], json!([]));
}

#[test]
fn tags_choose_whom_a_rollout_is_for() {
    let (cloud, devices) = Cloud::with_fleet(6);
    for device in &devices[..2] {
        cloud.run_statement(rs1_store::devices::set_tags(device, r#"["beta"]"#));
    }
    let rollout = cloud.rollout(&json!({"stages": [{"percent": 100}], "selector": {"tags": ["beta"]}}));
    cloud.tell(&rollout, "start");
    let told: BTreeSet<_> = cloud.hand_over().into_iter().map(|(device, _)| device).collect();
    assert_eq!(told, devices[..2].iter().cloned().collect());
}

#[test]
fn two_triggers_of_the_clock_at_once_do_everything_once() {
    let (cloud, _) = Cloud::with_fleet(30);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    assert_eq!(cloud.triggers.take().len(), 30);
    // The same minute again, and another minute while nothing has been handed over.
    assert!(cloud.tick_now() && cloud.tick_now() && cloud.tick());
    assert_eq!(cloud.triggers.take(), Vec::<String>::new());
    assert_eq!(cloud.counts(&rollout), counts(&[("triggered", 30)]));
}

/// A database in which somebody else gets through just before a decision is committed.
struct Overtaken<'a> {
    cloud: &'a Cloud,
    rollout: &'a str,
    is_done: Cell<bool>,
}

impl Database for Overtaken<'_> {
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, PortError> {
        let decides = statements.iter().any(|statement| statement.name == "rollout_decide");
        if decides && !self.is_done.replace(true) {
            let Cloud { db, triggers, random, config, now, .. } = self.cloud;
            let other = advance(db, triggers, random, &config.policy, self.rollout, now.get()).await?;
            assert_eq!((other.actions, other.queued), (30, 30));
        }
        self.cloud.db.batch(statements).await
    }
}

#[test]
fn a_plan_that_came_too_late_is_thrown_away() {
    let (cloud, _) = Cloud::with_fleet(30);
    let rollout = cloud.rollout(&at_once());
    // Started, and nothing more: the step that follows fails.
    cloud.db.fail_statement("rollout_snapshot", Some(Failure::BeforeCommit));
    assert_eq!(cloud.tell(&rollout, "start").status, 200);
    cloud.db.fail(None);
    let db = Overtaken { cloud: &cloud, rollout: &rollout, is_done: Cell::new(false) };
    let Cloud { triggers, random, config, now, .. } = &cloud;
    let late = block_on(advance(&db, triggers, random, &config.policy, &rollout, now.get())).unwrap();
    assert_eq!((late.actions, late.queued), (0, 0), "the other has done it all");
    assert_eq!(cloud.hand_over().len(), 30);
    let history = cloud.history(&rollout);
    assert_eq!(history.iter().filter(|event| event["state"] == "triggered").count(), 30, "noted once");
}

#[test]
fn a_decision_whose_answer_was_lost_is_found_and_not_made_again() {
    let (cloud, _) = Cloud::with_fleet(30);
    let rollout = cloud.rollout(&at_once());
    cloud.db.fail_statement("rollout_decide", Some(Failure::AfterCommit));
    assert_eq!(cloud.tell(&rollout, "start").status, 503);
    cloud.db.fail(None);
    assert_eq!(cloud.show(&rollout)["status"], "STAGED", "it was committed all the same");
    cloud.db.fail_statement("rollout_decide", Some(Failure::AfterCommit));
    assert!(!cloud.tick());
    cloud.db.fail(None);
    assert!(cloud.triggers.take().is_empty(), "decided, and on no queue");
    assert!(cloud.tick());
    assert_eq!(cloud.hand_over().len(), 30);
    assert_eq!(folded(&cloud.history(&rollout)), counts(&[("triggered", 30)]));
}

#[test]
fn triggers_that_a_broken_queue_did_not_take_are_queued_by_the_next_step() {
    let (cloud, _) = Cloud::with_fleet(8);
    let rollout = cloud.rollout(&at_once());
    cloud.triggers.fail(true);
    assert_eq!(cloud.tell(&rollout, "start").status, 200, "it is started; the rest is the clock's");
    assert!(!cloud.tick());
    cloud.triggers.fail(false);
    assert!(cloud.tick());
    let told = cloud.hand_over();
    assert_eq!(told.len(), 8);
    assert_eq!(told.iter().map(|(device, _)| device).collect::<BTreeSet<_>>().len(), 8);
}

#[test]
fn a_broker_that_is_down_for_an_hour_loses_nothing_and_nobody_is_told_twice() {
    let (cloud, devices) = Cloud::with_fleet(25);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    cloud.broker.fail(Some(Failure::BeforeCommit));
    let mut waiting = cloud.triggers.take();
    assert_eq!(waiting.len(), 25);
    for _ in 0..60 {
        waiting = cloud.deliver_triggers(&waiting);
        assert_eq!(waiting.len(), 25, "each comes again");
        assert!(cloud.tick());
        waiting.extend(cloud.triggers.take());
        assert_eq!(waiting.len(), 25, "and is on the queue once");
    }
    assert_eq!(cloud.counts(&rollout), counts(&[("triggered", 25)]), "no timer runs while nobody was told");
    cloud.broker.fail(None);
    // One of them is delivered twice, as queues may.
    waiting.push(waiting[0].clone());
    assert!(cloud.deliver_triggers(&waiting).is_empty());
    let told = cloud.received();
    assert_eq!(
        told.iter().map(|(device, _)| device.clone()).collect::<BTreeSet<_>>(),
        devices.into_iter().collect()
    );
    assert_eq!(told.len(), 25, "each once");
}

#[test]
fn a_trigger_that_is_in_two_hands_is_sent_by_one_of_them() {
    let (cloud, _) = Cloud::with_fleet(4);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    let messages = cloud.triggers.take();
    // The first consumer claims them and is cut off.
    cloud.db.fail_statement("rollout_claim", Some(Failure::AfterCommit));
    assert_eq!(cloud.deliver_triggers(&messages).len(), 4);
    cloud.db.fail(None);
    assert_eq!(cloud.deliver_triggers(&messages).len(), 4, "they are in other hands as far as anybody knows");
    assert!(cloud.received().is_empty());
    cloud.pass(MINUTE);
    assert!(cloud.deliver_triggers(&messages).is_empty());
    assert_eq!(cloud.received().len(), 4);
    cloud.pass(MINUTE);
    assert!(cloud.deliver_triggers(&messages).is_empty());
    assert!(cloud.received().is_empty(), "sent already");
}

#[test]
fn what_the_broker_answered_is_not_lost_with_the_database() {
    let (cloud, _) = Cloud::with_fleet(4);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    let messages = cloud.triggers.take();
    cloud.db.fail_statement("rollout_write_attempts", Some(Failure::BeforeCommit));
    assert!(cloud.deliver_triggers(&messages).is_empty(), "sent: it must not come again");
    assert_eq!(cloud.received().len(), 4);
    cloud.db.fail(None);
    assert!(cloud.deliver_reports().is_empty(), "the answers were put on the queue of reports");
    let sent = body(&cloud.get(&format!("/admin/rollouts/{rollout}/devices")));
    assert!(sent["items"].as_array().unwrap().iter().all(|device| device["sent_at"].is_string()), "{sent}");
}

#[test]
fn a_device_that_does_not_listen_is_told_when_it_is_next_online() {
    let (cloud, devices) = Cloud::with_fleet(1);
    let rollout = cloud.rollout(&at_once());
    cloud.broker.unsubscribe(&rs1_domain::topic::of_device(&devices[0], "ota/trigger"));
    cloud.tell(&rollout, "start");
    assert!(cloud.hand_over().is_empty());
    assert_eq!(cloud.counts(&rollout), counts(&[("eligible", 1)]), "not triggered yet");
    for _ in 0..5 {
        assert!(cloud.tick());
        assert!(cloud.hand_over().is_empty(), "the clock alone does not try again");
    }
    cloud.disconnect(&devices[0]);
    cloud.connect(&devices[0], OLD, 2);
    cloud.deliver_reports();
    assert_eq!(cloud.hand_over().len(), 1);
}

#[test]
fn a_pause_stops_what_is_on_its_way_and_a_resume_sends_it() {
    let (cloud, _) = Cloud::with_fleet(5);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    // The pause is committed, and the step that follows it fails: the triggers are still decided and on the queue.
    cloud.db.fail_statement("rollout_snapshot", Some(Failure::BeforeCommit));
    assert_eq!(cloud.tell(&rollout, "pause").status, 200);
    cloud.db.fail(None);
    assert!(cloud.hand_over().is_empty(), "nobody is told while it is paused");
    assert_eq!(cloud.tell(&rollout, "resume").status, 200);
    assert_eq!(cloud.hand_over().len(), 5);
    // The ordinary way.
    let (cloud, _) = Cloud::with_fleet(5);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    cloud.tell(&rollout, "pause");
    assert_eq!(cloud.counts(&rollout), counts(&[("eligible", 5)]), "taken back");
    assert!(cloud.hand_over().is_empty());
    cloud.tell(&rollout, "resume");
    assert_eq!(cloud.hand_over().len(), 5);
}

#[test]
fn an_abort_cancels_what_has_not_begun_and_lets_the_rest_finish() {
    let (cloud, devices) = Cloud::with_fleet(4);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    let messages = cloud.triggers.take();
    cloud.deliver_triggers(&messages[..1]);
    let (told, _) = cloud.received().remove(0);
    cloud.report(&told, &rollout, OtaPhase::Downloading);
    cloud.deliver_reports();
    assert_eq!(cloud.tell(&rollout, "abort").status, 200);
    assert_eq!(cloud.counts(&rollout), counts(&[("cancelled", 3), ("downloading", 1)]));
    assert!(cloud.deliver_triggers(&messages).is_empty() && cloud.received().is_empty());
    cloud.update(&told, &rollout);
    cloud.deliver_reports();
    assert_eq!(cloud.counts(&rollout), counts(&[("cancelled", 3), ("confirmed", 1)]));
    assert_eq!(cloud.show(&rollout)["status"], "ABORTED");
    assert!(devices.contains(&told));
    assert!(cloud.tick());
    let last = cloud.run_statement(rs1_store::rollouts::due(cloud.now.get()));
    assert_eq!(last.rows_json, "[]", "nothing of it can change any more, and nobody looks at it again");
}

#[test]
fn a_trigger_that_was_on_its_way_when_the_rollout_was_aborted_is_not_lost_sight_of() {
    let (cloud, devices) = Cloud::with_fleet(3);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    cloud.tell(&rollout, "abort");
    assert_eq!(cloud.counts(&rollout), counts(&[("cancelled", 3)]));
    let due = || cloud.run_statement(rs1_store::rollouts::due(cloud.now.get())).rows_json;
    assert_eq!(due(), "[]");

    // A consumer had them in hand, and only now says that the broker took them.
    for device in &devices {
        cloud.queue_report(&OtaEvent::Trigger {
            device_id: device.clone(),
            rollout_id: rollout.clone(),
            attempt: 1,
            at: cloud.now.get(),
            is_accepted: true,
        });
    }
    cloud.deliver_reports();
    assert_eq!(cloud.counts(&rollout), counts(&[("triggered", 3)]));
    assert_ne!(due(), "[]", "somebody has to look at it again");
    cloud.update(&devices[0], &rollout);
    cloud.deliver_reports();
    cloud.pass(HOUR);
    assert!(cloud.tick());
    assert_eq!(cloud.counts(&rollout), counts(&[("confirmed", 1), ("timed_out", 2)]));
    assert_eq!(cloud.show(&rollout)["status"], "ABORTED");
    assert_eq!(due(), "[]");
}

#[test]
fn an_aborted_rollouts_silent_device_is_free_again_when_its_time_is_over() {
    let (cloud, _) = Cloud::with_fleet(1);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    assert_eq!(cloud.hand_over().len(), 1);
    cloud.tell(&rollout, "abort");
    cloud.pass(HOUR);
    assert!(cloud.tick());
    assert_eq!(cloud.counts(&rollout), counts(&[("timed_out", 1)]));
    let next = cloud.rollout(&at_once());
    cloud.tell(&next, "start");
    assert_eq!(cloud.hand_over().len(), 1, "another rollout may have it");
}

#[test]
fn a_bad_image_stops_by_itself_and_a_resume_takes_note_of_the_failures() {
    let (cloud, _) = Cloud::with_fleet(60);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    let told = cloud.hand_over();
    assert_eq!(told.len(), 60);
    for (device, _) in &told[..38] {
        cloud.update(device, &rollout);
    }
    cloud.deliver_reports();
    for (device, _) in &told[38..39] {
        cloud.report(device, &rollout, OtaPhase::Failed);
    }
    cloud.deliver_reports();
    let shown = cloud.show(&rollout);
    assert_eq!(
        (shown["status"].as_str(), shown["cause"].as_str()),
        (Some("PAUSED"), Some("failure_share")),
        "1 of 39"
    );
    let halted = cloud.history(&rollout).into_iter().find(|event| event["kind"] == "halted").unwrap();
    assert_eq!(halted["detail"]["stands"]["confirmed"], 38, "{halted}");
    assert_eq!(cloud.tell(&rollout, "resume").status, 200);
    assert!(cloud.tick());
    assert_eq!(cloud.show(&rollout)["status"], "STAGED", "that one is taken note of");
    for (device, _) in &told[39..42] {
        cloud.report(device, &rollout, OtaPhase::Failed);
    }
    cloud.deliver_reports();
    assert_eq!(cloud.show(&rollout)["status"], "ABORTED", "3 more of 42 are above 5 %");
    assert_eq!(folded(&cloud.history(&rollout)), cloud.counts(&rollout));
}

#[test]
fn reports_twice_late_and_out_of_order_change_no_count() {
    let phases = [OtaPhase::Pending, OtaPhase::Downloading, OtaPhase::Verifying, OtaPhase::Success];
    let run = |order: &[usize]| {
        let (cloud, devices) = Cloud::with_fleet(1);
        let rollout = cloud.rollout(&at_once());
        cloud.tell(&rollout, "start");
        assert_eq!(cloud.hand_over().len(), 1);
        let start = cloud.now.get();
        cloud.pass(MINUTE);
        for index in order {
            let said_at = start.plus(1 + i64::try_from(*index).unwrap());
            let event = report(&devices[0], &rollout, phases[*index], said_at);
            cloud.queue_report(&event);
            cloud.deliver_reports();
        }
        let counted = cloud.counts(&rollout);
        assert_eq!(folded(&cloud.history(&rollout)), counted, "{order:?}");
        counted
    };
    let expected = counts(&[("installed", 1)]);
    for order in [
        vec![0, 1, 2, 3],
        vec![3, 2, 1, 0],
        vec![1, 0, 3, 2, 3, 0],
        vec![0, 0, 1, 1, 2, 2, 3, 3],
        vec![3, 3, 3],
        vec![2, 3, 2, 1, 0, 1, 2, 3],
    ] {
        assert_eq!(run(&order), expected, "{order:?}");
    }
}

#[test]
fn what_concerns_no_attempt_is_kept_once_and_changes_nothing() {
    let (cloud, devices) = Cloud::with_fleet(2);
    let rollout = cloud.rollout(&at_once());
    let before = cloud.counts(&rollout);
    let stray = report(&devices[0], &rollout, OtaPhase::Failed, cloud.now.get());
    for _ in 0..3 {
        cloud.queue_report(&stray);
        assert!(cloud.deliver_reports().is_empty());
    }
    cloud.report(&devices[1], "rol-unknown", OtaPhase::Failed);
    assert!(cloud.deliver_reports().is_empty(), "there is nothing to keep it with");
    assert_eq!(cloud.counts(&rollout), before);
    let history = cloud.history(&rollout);
    let strays: Vec<_> = history.iter().filter(|event| event["kind"] == "stray").collect();
    assert_eq!(strays.len(), 1);
    assert_eq!(strays[0]["detail"]["why"], "not_in_rollout");
}

#[test]
fn yanking_pauses_and_nobody_is_told_any_more() {
    let (cloud, _) = Cloud::with_fleet(3);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    let yank = cloud.post(&format!("/admin/firmware/rs1_pro/{NEW}/yank"), &json!({"reason": "radar stalls"}));
    assert_eq!(yank.status, 200);
    assert!(cloud.hand_over().is_empty());
    let shown = cloud.show(&rollout);
    assert_eq!(
        (shown["status"].as_str(), shown["cause"].as_str()),
        (Some("PAUSED"), Some("artifact_yanked"))
    );
    assert!(cloud.tick());
    assert_eq!(cloud.counts(&rollout), counts(&[("eligible", 3)]), "taken back");
    assert_eq!(cloud.tell(&rollout, "resume").status, 409);
}

#[test]
fn a_rollout_whose_signing_key_was_revoked_says_so_and_stays_paused() {
    let (cloud, _) = Cloud::with_fleet(3);
    let rollout = cloud.rollout(&at_once());
    let artifact = body(&cloud.get(&format!("/admin/firmware/rs1_pro/{NEW}")));
    let key = artifact["signer"]["key_id"].as_str().unwrap();
    assert_eq!(cloud.delete(&format!("/admin/firmware-keys/{key}")).status, 200);
    cloud.run_statement(Statement {
        name: "test",
        sql: "UPDATE rollouts SET status = 'STAGED', stage_started_at = ?1, generation = generation + 1",
        params: vec![cloud.now.get().into()],
    });
    assert!(cloud.tick());
    assert!(cloud.hand_over().is_empty());
    let shown = cloud.show(&rollout);
    assert_eq!((shown["status"].as_str(), shown["cause"].as_str()), (Some("PAUSED"), Some("key_revoked")));
    let history = cloud.history(&rollout);
    let halt = history.iter().find(|event| event["kind"] == "halted").unwrap();
    assert_eq!(halt["detail"]["says"], "the key that signed the artifact was revoked");
}

/// A consumer may have worked in facts for a while before it takes the step, and a clock may be slow.
#[test]
fn a_step_that_is_late_triggers_nobody_before_the_stage_began() {
    let (cloud, _) = Cloud::with_fleet(200);
    let stages = json!([{"percent": 1, "duration_sec": 60}, {"percent": 100}]);
    let rollout = cloud.rollout(&json!({"stages": stages}));
    cloud.tell(&rollout, "start");
    for (device, _) in cloud.hand_over() {
        cloud.update(&device, &rollout);
    }
    assert!(cloud.deliver_reports().is_empty());
    assert!(cloud.tick());
    let before = cloud.now.get().plus(-1);
    // This one looked at its clock before the stage began, and decides after that.
    let Engine { db, triggers, random, .. } = cloud.engine();
    let policy = Policy { triggers_per_run: 200, ..cloud.config.policy.clone() };
    let step = advance(&db, &triggers, &random, &policy, &rollout, before);
    assert!(block_on(step).unwrap().actions > 0);

    let history = cloud.history(&rollout);
    let stage = history.iter().position(|event| event["kind"] == "advanced").unwrap();
    let since = &history[stage]["at"];
    let later: Vec<_> = history[stage..].iter().filter(|event| event["state"] == "triggered").collect();
    assert!(later.len() > 1, "{}", later.len());
    assert!(later.iter().all(|event| event["at"].as_str() >= since.as_str()), "{history:?}");
}

#[test]
fn history_is_forgotten_after_90_days_some_of_it_each_minute_and_the_counts_stay() {
    let (cloud, _) = Cloud::with_fleet(200);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    for _ in 0..3 {
        for (device, _) in cloud.hand_over() {
            cloud.update(&device, &rollout);
        }
        cloud.deliver_reports();
        cloud.tick();
    }
    let counted = cloud.counts(&rollout);
    assert_eq!(counted, counts(&[("confirmed", 200)]));
    let events = cloud.history(&rollout).len();
    assert!(events > 1_000, "{events}");

    cloud.pass(89 * DAY);
    assert!(cloud.tick());
    assert_eq!(cloud.history(&rollout).len(), events);
    cloud.pass(2 * DAY);
    let young = cloud.rollout(&at_once());
    assert!(cloud.tick());
    assert_eq!(cloud.history(&rollout).len(), events - 500, "in bounded steps");
    for _ in 0..events / 500 {
        assert!(cloud.tick());
    }
    assert!(cloud.history(&rollout).is_empty());
    assert_eq!(cloud.history(&young).len(), 1);
    assert_eq!(cloud.counts(&rollout), counted);
}

#[test]
fn a_confirmed_device_is_left_alone_by_the_next_rollout_for_a_day() {
    let (cloud, _) = Cloud::with_fleet(1);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    for (device, _) in cloud.hand_over() {
        cloud.update(&device, &rollout);
    }
    cloud.deliver_reports();
    assert_eq!(cloud.counts(&rollout), counts(&[("confirmed", 1)]));
    cloud.add_artifact("1.3.0", 6);
    let lower = cloud.rollout(&json!({"version": "1.3.0", "stages": [{"percent": 100}]}));
    cloud.tell(&lower, "start");
    let held_back = |rollout: &str| cloud.show(rollout)["report"]["held_back"].clone();
    assert_eq!(held_back(&lower), json!({"anti_rollback": 1}), "7 was confirmed, and this has 6");
    let same = Cloud::with_fleet(1).0;
    let first = same.rollout(&at_once());
    same.tell(&first, "start");
    for (device, _) in same.hand_over() {
        same.update(&device, &first);
    }
    same.deliver_reports();
    same.add_artifact("1.4.0", 8);
    let next = same.rollout(&json!({"version": "1.4.0", "stages": [{"percent": 100}]}));
    same.tell(&next, "start");
    assert_eq!(same.show(&next)["report"]["held_back"], json!({"cooldown": 1}));
    same.pass(DAY);
    assert!(same.tick());
    assert_eq!(same.hand_over().len(), 1);
}

/// Whatever fails, before or after it was done, and however often: everybody is told once an attempt, everybody is
/// confirmed, and the counts are what the history folds to.
#[test]
fn no_failure_of_the_database_loses_or_doubles_anything() {
    let names = [
        "cron_begin",
        "cron_finish",
        "rollouts_due",
        "rollout_by_id",
        "firmware_artifact",
        "rollout_snapshot",
        "rollout_decide",
        "rollout_note_report",
        "rollout_unqueued",
        "rollout_mark_queued",
        "rollout_claim",
        "rollout_attempts",
        "rollout_write_attempts",
        "rollouts_under_way_for",
    ];
    for name in names {
        for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
            let (cloud, _) = Cloud::with_fleet(12);
            let rollout = cloud.rollout(&at_once());
            assert_eq!(cloud.tell(&rollout, "start").status, 200);
            let mut told: Vec<DeviceId> = Vec::new();
            let (mut triggers, mut reports) = (Vec::new(), Vec::new());
            for round in 0..12 {
                // It fails every other time at first, at each place that uses it, and then no more.
                cloud.db.fail_statement(name, (round < 6 && round % 2 == 0).then_some(failure));
                cloud.tick();
                triggers.extend(cloud.triggers.take());
                triggers = cloud.deliver_triggers(&triggers);
                let received = cloud.received();
                reports.extend(cloud.reports.take());
                reports =
                    reports.chunks(5).flat_map(|part| cloud.deliver("rs1-ota-status-local", part)).collect();
                cloud.db.fail(None);
                for (device, _) in received {
                    cloud.update(&device, &rollout);
                    told.push(device);
                }
            }
            let context = format!("{name} {failure:?}");
            assert_eq!(told.len(), 12, "{context}");
            assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), 12, "{context}: each once");
            assert_eq!(cloud.counts(&rollout), counts(&[("confirmed", 12)]), "{context}");
            assert_eq!(cloud.show(&rollout)["status"], "COMPLETED", "{context}");
            assert_eq!(folded(&cloud.history(&rollout)), cloud.counts(&rollout), "{context}");
            assert!(triggers.is_empty() && reports.is_empty(), "{context}");
        }
    }
}

#[test]
fn a_broker_whose_answer_is_lost_may_tell_a_device_twice_but_the_same() {
    let (cloud, _) = Cloud::with_fleet(3);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    let messages = cloud.triggers.take();
    cloud.broker.fail(Some(Failure::AfterCommit));
    assert_eq!(cloud.deliver_triggers(&messages).len(), 3);
    cloud.broker.fail(None);
    cloud.deliver_triggers(&messages);
    let mut told: BTreeMap<DeviceId, BTreeSet<(String, i64)>> = BTreeMap::new();
    for (device, trigger) in cloud.received() {
        told.entry(device).or_default().insert((trigger.rollout_id, trigger.issued_at.0));
    }
    assert_eq!(told.len(), 3);
    assert!(told.values().all(|same| same.len() == 1), "by which the device knows that it has it already");
}

#[test]
fn a_rollout_starts_when_its_time_has_come() {
    let (cloud, _) = Cloud::with_fleet(2);
    let at = cloud.now.get().plus(HOUR);
    let rollout = cloud.rollout(&json!({"stages": [{"percent": 100}], "schedule_at": at}));
    assert!(cloud.tick());
    assert_eq!(cloud.show(&rollout)["status"], "PENDING");
    cloud.pass(HOUR);
    assert!(cloud.tick());
    assert_eq!(cloud.show(&rollout)["status"], "STAGED");
    assert_eq!(cloud.hand_over().len(), 2);
    assert_eq!(cloud.history(&rollout)[1]["detail"]["cause"], "schedule");
}

#[test]
fn lists_page_and_refuse_what_they_do_not_know() {
    let (cloud, devices) = Cloud::with_fleet(5);
    let rollout = cloud.rollout(&at_once());
    cloud.tell(&rollout, "start");
    cloud.hand_over();
    let page = body(&cloud.get(&format!("/admin/rollouts/{rollout}/devices?limit=2")));
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = body(&cloud.get(&format!("/admin/rollouts/{rollout}/devices?limit=200&cursor={cursor}")));
    assert_eq!(rest["items"].as_array().unwrap().len(), devices.len() - 2);
    let triggered = body(&cloud.get(&format!("/admin/rollouts/{rollout}/devices?state=triggered")));
    assert_eq!(triggered["items"].as_array().unwrap().len(), 5);
    for target in ["?state=gone", "?cursor=x", "?colour=red"] {
        assert_eq!(cloud.get(&format!("/admin/rollouts/{rollout}/devices{target}")).status, 422, "{target}");
    }
    for path in ["", "/devices", "/events"] {
        assert_eq!(cloud.get(&format!("/admin/rollouts/rol-01K00000000000000000000000{path}")).status, 404);
    }
    cloud.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(cloud.get(&format!("/admin/rollouts/{rollout}")).status, 503);
}
