//! The outbox on real SQL: what is said once is there once, and goes out once and in order.

use pollster::block_on;
use rs1_domain::UnixMillis;
use rs1_domain::security::{SecurityEvent, SecurityKind};
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_ops::collect::Word;
use rs1_ops::notice::{Channel, Notice, Severity, Source, Unplanned, What};
use rs1_store::native::NativeDatabase;
use rs1_store::notices::{self, Claimed, DeliveryState, If, Settled, Shown};
use rs1_store::sql::{PageRequest, first_row, rows};
use rs1_store::{Database, Statement, alerts, security};
use serde_json::{Value, json};

const NOW: UnixMillis = UnixMillis(1_763_690_475_123);
const LEASE: i64 = 2 * MINUTE;

fn notice(said: &str, key: &str, what: What) -> Notice {
    Notice {
        notice_id: format!("ntc-{said}"),
        said: said.to_owned(),
        source: Source::Incident,
        dedup_key: key.to_owned(),
        what,
        severity: Severity::Critical,
        component: "broker".to_owned(),
        summary: format!("{said} of {key}"),
        at: NOW,
        detail: json!({"it's": [1, null]}),
    }
}

struct Outbox(NativeDatabase);

impl Outbox {
    fn new() -> Self {
        Self(NativeDatabase::new())
    }

    fn run(&self, statements: Vec<Statement>) -> Vec<u64> {
        block_on(self.0.batch(statements)).unwrap().iter().map(|outcome| outcome.changes).collect()
    }

    fn rows<T: serde::de::DeserializeOwned>(&self, statement: Statement) -> Vec<T> {
        rows(&block_on(self.0.batch(vec![statement])).unwrap()[0]).unwrap()
    }

    fn tell(&self, list: &[Notice]) -> u64 {
        self.run(vec![notices::tell(list, If::Always, NOW).unwrap()])[0]
    }

    fn plan(&self) {
        let unplanned: Vec<Unplanned> = self.rows(notices::unplanned(100));
        let planned = rs1_ops::notice::plan(&unplanned, &Channel::ALL);
        self.run(notices::plan(&unplanned, &planned, NOW).unwrap().into());
    }

    /// What the next one in a channel is.
    fn claim(&self, channel: Channel, name: &str, now: UnixMillis) -> Option<Claimed> {
        let until = now.plus(LEASE);
        let statements =
            vec![notices::claim(channel, name, now, until), notices::claimed(channel, name, until)];
        first_row(&block_on(self.0.batch(statements)).unwrap()[1]).unwrap()
    }

    fn settle(&self, channel: Channel, claim: &str, seq: i64, state: &'static str) -> u64 {
        let again = (state == "waiting").then_some(NOW.plus(HOUR));
        let settled = Settled {
            seq,
            channel,
            claim,
            state,
            next_at: again,
            status: Some(500),
            error: None,
            quiet_until: None,
        };
        self.run(notices::settle(&settled, NOW).into())[0]
    }

    fn list(&self, state: Option<DeliveryState>) -> Vec<Value> {
        shown(self.rows(notices::list(state, None, &PageRequest::default())))
    }
}

fn shown(rows: Vec<Shown>) -> Vec<Value> {
    rows.into_iter().map(|row| serde_json::from_str(&row.body).unwrap()).collect()
}

#[test]
fn the_same_is_said_once_and_in_the_order_in_which_it_was_said() {
    let outbox = Outbox::new();
    let both = [notice("a", "k", What::Trigger), notice("b", "k", What::Resolve)];
    assert_eq!(outbox.tell(&both), 2);
    assert_eq!(outbox.tell(&both), 0);
    let again = Notice { notice_id: "ntc-other".into(), ..notice("a", "k", What::Trigger) };
    assert_eq!(outbox.tell(&[again, notice("c", "k", What::Trigger)]), 1);
    let said: Vec<_> = outbox.list(None).into_iter().rev().map(|row| row["notice_id"].clone()).collect();
    assert_eq!(said, ["ntc-a", "ntc-b", "ntc-c"]);
    assert_eq!(outbox.list(None)[0]["detail"], json!({"it's": [1, null]}));
}

#[test]
fn what_depends_on_a_change_is_told_only_with_it() {
    let outbox = Outbox::new();
    let begin = |scheduled: i64| rs1_store::cron::begin("health", "x", UnixMillis(scheduled), NOW);
    let with = |said: &str, scheduled| {
        let tell = notices::tell(&[notice(said, "k", What::Trigger)], If::Changed, NOW).unwrap();
        outbox.run(vec![begin(scheduled), tell])[1]
    };
    assert_eq!((with("a", 5), with("b", 5), with("c", 6)), (1, 0, 1));
}

#[test]
fn two_who_collect_at_once_tell_and_take_once() {
    let outbox = Outbox::new();
    outbox.run(vec![
        record("203.0.113.7", SecurityKind::BadWebhookSecret),
        record("203.0.113.8", SecurityKind::BadWebhookSecret),
    ]);
    let entries: Vec<Word> = outbox.rows(notices::inbox(10));
    let collect = |said: &str, taken: &[i64], generation| {
        outbox.run(vec![
            notices::tell(&[notice(said, "k", What::Trigger)], If::Uncollected(generation), NOW).unwrap(),
            notices::empty_inbox(taken, generation).unwrap(),
            alerts::taken(&[1], generation, NOW).unwrap(),
            notices::collected("{}", generation),
        ])
    };
    // Both read the generation 0, and the second saw more.
    assert_eq!(collect("first", &[entries[0].entry_id], 0), [1, 1, 0, 1]);
    assert_eq!(collect("second", &[entries[0].entry_id, entries[1].entry_id], 0), [0, 0, 0, 0]);
    assert_eq!(collect("second", &[entries[1].entry_id], 1), [1, 1, 0, 1]);
    assert!(outbox.rows::<Word>(notices::inbox(10)).is_empty());
}

#[test]
fn each_channel_gets_what_is_about_one_thing_in_order_and_nobody_sends_what_another_has_in_hand() {
    let outbox = Outbox::new();
    outbox.tell(&[
        notice("a", "k", What::Trigger),
        notice("b", "other", What::Trigger),
        notice("c", "k", What::Resolve),
    ]);
    outbox.plan();
    let a = outbox.claim(Channel::Slack, "1", NOW).unwrap();
    let b = outbox.claim(Channel::Slack, "2", NOW).unwrap();
    assert_eq!((a.notice_id.as_str(), b.notice_id.as_str(), a.attempts), ("ntc-a", "ntc-b", 1));
    assert_eq!(outbox.claim(Channel::Slack, "3", NOW), None, "the end waits for the beginning");
    assert_eq!(
        outbox.claim(Channel::Webhook, "4", NOW).unwrap().notice_id,
        "ntc-a",
        "another channel does not"
    );
    // It is to be sent again: the end waits on.
    assert_eq!(outbox.settle(Channel::Slack, "1", a.seq, "waiting"), 1);
    assert_eq!(outbox.claim(Channel::Slack, "5", NOW), None);
    let again = outbox.claim(Channel::Slack, "6", NOW.plus(HOUR)).unwrap();
    // Meanwhile the one who sent b was not heard of again.
    assert_eq!((again.notice_id.as_str(), again.attempts), ("ntc-b", 2));
    assert_eq!(outbox.settle(Channel::Slack, "2", b.seq, "sent"), 0, "it is in another's hand");
    assert_eq!(outbox.settle(Channel::Slack, "6", b.seq, "sent"), 1);
    assert_eq!(outbox.settle(Channel::Slack, "6", b.seq, "sent"), 0);
    let a = outbox.claim(Channel::Slack, "7", NOW.plus(HOUR)).unwrap();
    assert_eq!(a.notice_id, "ntc-a");
    outbox.settle(Channel::Slack, "7", a.seq, "failed");
    assert_eq!(
        outbox.claim(Channel::Slack, "8", NOW.plus(HOUR)).unwrap().notice_id,
        "ntc-c",
        "it was given up"
    );
}

#[test]
fn a_channel_that_asks_for_quiet_is_left_alone_and_the_others_are_not() {
    let outbox = Outbox::new();
    outbox.tell(&[notice("a", "k", What::Trigger), notice("b", "other", What::Trigger)]);
    outbox.plan();
    let a = outbox.claim(Channel::Slack, "1", NOW).unwrap();
    let settled = Settled {
        seq: a.seq,
        channel: Channel::Slack,
        claim: "1",
        state: "waiting",
        next_at: Some(NOW.plus(MINUTE)),
        status: Some(429),
        error: Some("status 429"),
        quiet_until: Some(NOW.plus(HOUR)),
    };
    outbox.run(notices::settle(&settled, NOW).into());
    assert_eq!(outbox.claim(Channel::Slack, "2", NOW.plus(HOUR - 1)), None);
    assert!(outbox.claim(Channel::Webhook, "3", NOW).is_some());
    assert_eq!(outbox.claim(Channel::Slack, "4", NOW.plus(HOUR)).unwrap().notice_id, "ntc-b");
    let shown = outbox.list(Some(DeliveryState::Waiting));
    let a = shown.iter().find(|row| row["notice_id"] == "ntc-a").unwrap();
    let slack =
        a["deliveries"].as_array().unwrap().iter().find(|delivery| delivery["channel"] == "slack").unwrap();
    assert_eq!(
        slack,
        &json!({"channel": "slack", "state": "waiting", "attempts": 1, "next_at": "2025-11-21T02:02:15.123Z",
            "status": 429, "error": "status 429", "settled_at": null})
    );
    let webhook =
        a["deliveries"].as_array().unwrap().iter().find(|delivery| delivery["channel"] == "webhook").unwrap();
    assert_eq!((&a["at"], &webhook["settled_at"]), (&json!("2025-11-21T02:01:15.123Z"), &json!(null)));
}

#[test]
fn what_was_given_up_is_sent_again_if_nothing_later_has_arrived() {
    let outbox = Outbox::new();
    outbox.tell(&[notice("a", "k", What::Trigger), notice("b", "k", What::Resolve)]);
    outbox.plan();
    let through = |channel, state| {
        let claimed = outbox.claim(channel, "x", NOW).unwrap();
        outbox.settle(channel, "x", claimed.seq, state);
    };
    for channel in Channel::ALL {
        through(channel, "failed");
    }
    through(Channel::Slack, "sent");
    assert_eq!(outbox.list(Some(DeliveryState::Failed)).len(), 1);
    assert_eq!(outbox.run(vec![notices::retry("ntc-a", NOW)]), [2], "not where its end has arrived");
    assert_eq!(outbox.claim(Channel::Slack, "y", NOW), None);
    assert_eq!(outbox.claim(Channel::PagerDuty, "y", NOW).unwrap().notice_id, "ntc-a");
    assert_eq!(outbox.run(vec![notices::retry("ntc-a", NOW)]), [1], "not what is in somebody's hand");
    assert_eq!(outbox.run(vec![notices::retry("ntc-none", NOW)]), [0]);
}

#[test]
fn lists_are_paged_and_filtered() {
    let outbox = Outbox::new();
    for number in 0..5 {
        let source = if number % 2 == 0 { Source::Incident } else { Source::Rollout };
        outbox.tell(&[Notice { source, ..notice(&number.to_string(), "k", What::Trigger) }]);
    }
    outbox.plan();
    let ids = |state, source, after: Option<&str>| -> Vec<String> {
        let page = PageRequest { limit: 2, after: after.map(str::to_owned) };
        outbox
            .rows::<Shown>(notices::list(state, source, &page))
            .into_iter()
            .map(|row| {
                serde_json::from_str::<Value>(&row.body).unwrap()["notice_id"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    assert_eq!(ids(None, None, None), ["ntc-4", "ntc-3", "ntc-2"]);
    assert_eq!(ids(None, None, Some("3")), ["ntc-1", "ntc-0"]);
    assert_eq!(ids(None, Some(Source::Rollout), None), ["ntc-3", "ntc-1"]);
    assert_eq!(ids(Some(DeliveryState::Waiting), None, Some("4")), ["ntc-2", "ntc-1", "ntc-0"], "each once");
    assert_eq!(ids(Some(DeliveryState::Waiting), Some(Source::Rollout), None), ["ntc-3", "ntc-1"]);
    assert!(ids(Some(DeliveryState::Sent), None, None).is_empty());
}

fn record(subject: &str, kind: SecurityKind) -> Statement {
    let event = SecurityEvent {
        id: format!("sec-{subject}"),
        kind,
        subject: subject.into(),
        peerhost: Some(subject.into()),
        detail: json!({"topic": "x"}),
        count: 1,
        at: NOW,
    };
    security::record(&[event]).unwrap()
}

#[test]
fn the_security_log_leaves_word_of_what_is_high_once_a_window() {
    let outbox = Outbox::new();
    let high = || record("203.0.113.7", SecurityKind::BadWebhookSecret);
    outbox.run(vec![high(), high()]);
    outbox.run(vec![record("203.0.113.8", SecurityKind::AclViolation)]);
    let entries: Vec<Word> = outbox.rows(notices::inbox(10));
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (entries[0].kind.as_str(), entries[0].subject.as_str()),
        ("bad_webhook_secret", "203.0.113.7")
    );
    assert_eq!(
        entries[0].detail,
        json!({"id": "sec-203.0.113.7", "peerhost": "203.0.113.7", "detail": {"topic": "x"}})
    );
    outbox.0.execute("UPDATE security_log SET severity = 'high'").unwrap();
    assert_eq!(outbox.rows::<Word>(notices::inbox(10)).len(), 2, "it was raised");
}

#[test]
fn rollouts_leave_word_of_halts_and_of_their_ends() {
    let outbox = Outbox::new();
    outbox
        .0
        .execute(
            "INSERT INTO rollouts (rollout_id, sku, version, sha256, elf_sha256, fw_version, stages, min_rssi, force,
               rate_per_minute, selector, created_at, created_by, status)
             VALUES ('rol-1', 'rs1_pro', '1.1.0', printf('%064d', 1), printf('%064d', 1), 1, '[]', -70, 0, 60, '{}', 1, 'ada', 'STAGED');
             INSERT INTO rollout_events (rollout_id, at, kind, detail) VALUES
               ('rol-1', 1, 'started', NULL), ('rol-1', 2, 'device', NULL), ('rol-1', 3, 'halted', '{\"says\":\"no\"}'),
               ('rol-1', 4, 'resumed', NULL), ('rol-1', 5, 'paused', '{\"cause\":\"operator\"}'),
               ('rol-1', 6, 'paused', '{\"cause\":\"key_revoked\"}'), ('rol-1', 7, 'aborted', NULL), ('rol-1', 8, 'paused', NULL)",
        )
        .unwrap();
    let entries: Vec<Word> = outbox.rows(notices::inbox(10));
    let told: Vec<_> = entries.iter().map(|entry| (entry.kind.as_str(), entry.at.0)).collect();
    assert_eq!(told, [("halted", 3), ("resumed", 4), ("paused", 6), ("aborted", 7)]);
    assert_eq!(entries[0].detail, json!({"event": 3, "actor": null, "detail": {"says": "no"}}));
}

#[test]
fn what_is_over_is_forgotten_with_its_deliveries_and_what_goes_on_is_not() {
    let outbox = Outbox::new();
    outbox.tell(&[
        notice("a", "over", What::Trigger),
        notice("b", "over", What::Resolve),
        notice("c", "open", What::Trigger),
        Notice { source: Source::Security, ..notice("d", "attack", What::Trigger) },
    ]);
    outbox.plan();
    let later = NOW.plus(90 * DAY);
    assert_eq!(outbox.run(notices::prune(NOW, 10).into()), [0, 0]);
    assert_eq!(outbox.run(notices::prune(later, 2).into()), [6, 2], "as many as it may");
    assert_eq!(outbox.run(notices::prune(later, 10).into()), [3, 1]);
    let left = outbox.list(None);
    assert_eq!((left.len(), &left[0]["notice_id"]), (1, &json!("ntc-c")));
    assert_eq!(left[0]["deliveries"].as_array().unwrap().len(), 3);
}
