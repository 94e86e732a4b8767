//! Notices: collected from those who left word, planned into channels, delivered once and in order whatever fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pollster::block_on;
use proptest::prelude::*;
use rs1_auth::webhook::WebhookKeys;
use rs1_domain::Method;
use rs1_domain::port::{Database, PortError};
use rs1_domain::security::{SecurityEvent, SecurityKind};
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_ops::notice::{Notice, Severity, Source, What};
use rs1_store::doubles::Letter;
use rs1_store::native::Failure;
use rs1_store::{notices, security};
use rs1_worker_health::config::Config;
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, body, setting};

const EVERY_MINUTE: &str = "* * * * *";
const CHANNELS: [&str; 3] = ["pagerduty", "slack", "receiver"];

/// A minute later.
fn minute(cloud: &Cloud) -> Result<String, PortError> {
    cloud.pass(MINUTE);
    cloud.tick(EVERY_MINUTE)
}

fn minutes(cloud: &Cloud, number: u32) {
    for _ in 0..number {
        let _ = minute(cloud);
    }
}

fn tell(cloud: &Cloud, said: &str, key: &str, what: What) {
    let notice = Notice {
        notice_id: format!("ntc-{said}"),
        said: said.to_owned(),
        source: Source::Incident,
        dedup_key: key.to_owned(),
        what,
        severity: Severity::Critical,
        component: "broker".to_owned(),
        summary: format!("{said} of {key}"),
        at: cloud.now.get(),
        detail: json!({"check": "emqx"}),
    };
    let tell = notices::tell(&[notice], notices::If::Always, cloud.now.get()).unwrap();
    block_on(cloud.db.batch(vec![tell])).unwrap();
}

fn attack(cloud: &Cloud, address: &str) {
    let event = SecurityEvent {
        id: format!("sec-{address}"),
        kind: SecurityKind::BadWebhookSecret,
        subject: address.into(),
        peerhost: None,
        detail: json!({}),
        count: 1,
        at: cloud.now.get(),
    };
    block_on(cloud.db.batch(vec![security::record(&[event]).unwrap()])).unwrap();
}

fn rollout(cloud: &Cloud) {
    cloud
        .db
        .execute(
            "INSERT INTO rollouts (rollout_id, sku, version, sha256, elf_sha256, fw_version, stages, min_rssi, force,
               rate_per_minute, selector, created_at, created_by, status)
             VALUES ('rol-1', 'rs1_pro', '1.1.0', printf('%064d', 1), printf('%064d', 1), 1, '[]', -70, 0, 60, '{}', 1, 'ada', 'PAUSED')",
        )
        .unwrap();
}

fn happens(cloud: &Cloud, kind: &str, detail: &Value) {
    let at = cloud.now.get().0;
    let sql = format!(
        "INSERT INTO rollout_events (rollout_id, at, kind, actor, detail) VALUES ('rol-1', {at}, '{kind}', 'ada', '{detail}')"
    );
    cloud.db.execute(&sql).unwrap();
}

fn critical(cloud: &Cloud, alerts: std::ops::Range<u32>) {
    let (from, until, at) = (alerts.start, alerts.end, cloud.now.get().0);
    let numbers = format!(
        "WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {until})"
    );
    cloud
        .db
        .execute(&format!(
            "{numbers} INSERT OR IGNORE INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by)
               SELECT printf('%032x', i), i, '1.x', 1, 'ada' FROM n;
             {numbers} INSERT INTO alerts (alert_id, device_id, kind, severity, opened_at, last_at, occurrences, detail, generation)
               SELECT printf('alr-%026d', i), printf('%032x', i), 'critical_memory', 'critical', {at}, {at}, 1, '19000 bytes free', 1 FROM n"
        ))
        .unwrap();
}

/// By channel.
fn of<'a>(letters: &'a [Letter], channel: &str) -> Vec<&'a Letter> {
    letters.iter().filter(|letter| letter.url.starts_with(&format!("https://{channel}."))).collect()
}

fn read(letter: &Letter) -> Value {
    serde_json::from_str(&letter.body).unwrap()
}

/// What the webhook was told.
fn told(letters: &[Letter]) -> Vec<(String, String)> {
    let word = |body: &Value, name: &str| body[name].as_str().unwrap().to_owned();
    of(letters, "receiver")
        .into_iter()
        .map(read)
        .map(|it| (word(&it, "action"), word(&it, "summary")))
        .collect()
}

/// What each channel got, by the notices' ids.
fn arrived(letters: &[Letter]) -> BTreeMap<&'static str, Vec<String>> {
    let id = |channel: &str, letter: &Letter| {
        let body = read(letter);
        match channel {
            "pagerduty" => {
                format!("{}:{}", body["dedup_key"].as_str().unwrap(), body["event_action"].as_str().unwrap())
            }
            "slack" => {
                let text = body["text"].as_str().unwrap();
                text.rsplit("ntc-").next().unwrap().trim_end_matches('_').to_owned()
            }
            _ => body["id"].as_str().unwrap().trim_start_matches("ntc-").to_owned(),
        }
    };
    CHANNELS
        .map(|channel| (channel, of(letters, channel).into_iter().map(|it| id(channel, it)).collect()))
        .into()
}

fn deliveries(cloud: &Cloud, state: &str) -> usize {
    let all = body(&cloud.get(&format!("/admin/notices?state={state}&limit=200")));
    let items = all["items"].as_array().unwrap();
    let is = |delivery: &&Value| delivery["state"] == state;
    items.iter().map(|item| item["deliveries"].as_array().unwrap().iter().filter(is).count()).sum()
}

#[test]
fn a_notice_goes_through_each_channel_once() {
    let cloud = Cloud::new();
    tell(&cloud, "a", "incident:1", What::Trigger);
    assert_eq!(
        minute(&cloud).unwrap(),
        "0 told; 1 to pagerduty, 1 to slack, 1 to webhook; nothing forgotten"
    );
    let letters = cloud.messenger.take();
    let event = read(of(&letters, "pagerduty")[0]);
    assert_eq!(of(&letters, "pagerduty")[0].url, "https://pagerduty.example/v2/enqueue");
    assert_eq!(
        (&event["routing_key"], &event["event_action"], &event["dedup_key"], &event["payload"]["severity"]),
        (
            &json!("0123456789abcdef0123456789abcdef"),
            &json!("trigger"),
            &json!("incident:1"),
            &json!("critical")
        )
    );
    let slack = of(&letters, "slack")[0];
    assert_eq!(slack.url, "https://slack.example/services/T/B/x");
    assert!(read(slack)["text"].as_str().unwrap().contains("a of incident:1"));
    let webhook = of(&letters, "receiver")[0];
    let header = |name: &str| {
        webhook.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()).unwrap()
    };
    assert_eq!(header("x-rs1-notice-id"), "ntc-a");
    let keys = WebhookKeys::new("a secret that is at least so long", None);
    assert!(keys.accepts(header("x-rs1-signature"), &webhook.body, cloud.now.get()));
    for _ in 0..5 {
        minute(&cloud).unwrap();
    }
    assert!(cloud.messenger.take().is_empty());
    assert_eq!((deliveries(&cloud, "sent"), deliveries(&cloud, "waiting")), (3, 0));
}

#[test]
fn a_trigger_delivered_twice_runs_once() {
    let cloud = Cloud::new();
    tell(&cloud, "a", "k", What::Trigger);
    cloud.tick(EVERY_MINUTE).unwrap();
    assert_eq!(cloud.tick(EVERY_MINUTE).unwrap(), "run before");
    assert_eq!(cloud.messenger.take().len(), 3);
}

#[test]
fn every_source_is_told_and_each_of_its_words_once() {
    let cloud = Cloud::new();
    rollout(&cloud);
    attack(&cloud, "203.0.113.7");
    attack(&cloud, "203.0.113.7");
    happens(&cloud, "halted", &json!({"says": "6 of 20 devices failed", "status": "PAUSED"}));
    critical(&cloud, 1..3);
    minute(&cloud).unwrap();
    let device = format!("{:032x}", 1);
    assert_eq!(
        told(&cloud.messenger.take()),
        [
            ("trigger".to_owned(), format!("Device {device}: critical_memory")),
            ("trigger".to_owned(), format!("Device {:032x}: critical_memory", 2)),
            ("trigger".to_owned(), "Security: bad_webhook_secret by 203.0.113.7".to_owned()),
            ("trigger".to_owned(), "Rollout rol-1 was halted: 6 of 20 devices failed".to_owned()),
        ]
    );
    happens(&cloud, "resumed", &json!({}));
    cloud.db.execute("UPDATE alerts SET resolved_at = 1 WHERE alert_id LIKE '%1'").unwrap();
    minute(&cloud).unwrap();
    assert_eq!(
        told(&cloud.messenger.take()),
        [
            ("resolve".to_owned(), format!("Device {device}: critical_memory is over")),
            ("resolve".to_owned(), "Rollout rol-1 was resumed by ada".to_owned()),
        ]
    );
    minutes(&cloud, 3);
    assert!(cloud.messenger.take().is_empty());
}

#[test]
fn alarms_of_the_watch_over_backups_are_told_with_their_end() {
    let cloud = Cloud::new();
    cloud.tick("*/5 * * * *").unwrap();
    minute(&cloud).unwrap();
    let letters = cloud.messenger.take();
    let alarms = told(&letters);
    assert!(
        alarms.contains(&("trigger".to_owned(), "Backups: something is wrong with postgres/".to_owned())),
        "{alarms:?}"
    );
    assert_eq!(of(&letters, "pagerduty").len(), alarms.len());
    for day in 0..30 {
        cloud.company.put(
            format!("postgres/{day}.gz"),
            &[0; 100],
            cloud.now.get().plus(-(day * DAY + 2 * HOUR)),
        );
    }
    cloud.pass(HOUR);
    cloud.tick("*/5 * * * *").unwrap();
    minute(&cloud).unwrap();
    let well = ("resolve".to_owned(), "Backups: postgres/ is well again".to_owned());
    assert!(told(&cloud.messenger.take()).contains(&well));
}

#[test]
fn ten_thousand_devices_page_once() {
    let cloud = Cloud::new();
    critical(&cloud, 0..10_000);
    minutes(&cloud, 10);
    let letters = cloud.messenger.take();
    let paged = of(&letters, "pagerduty").len();
    assert!((6..=12).contains(&paged), "{paged}");
    cloud.db.execute("UPDATE alerts SET resolved_at = 1").unwrap();
    minutes(&cloud, 10);
    let ends = told(&cloud.messenger.take());
    assert_eq!(ends.len(), 6, "{ends:?}");
    assert!(ends[5].1.ends_with("devices: critical_memory, and all are well again"), "{ends:?}");
}

#[test]
fn a_channel_that_is_down_harms_no_other_and_gets_everything_in_order_in_the_end() {
    let cloud = Cloud::new();
    for broken in
        [Err(Failure::BeforeCommit), Ok((500, None)), Ok((503, None)), Ok((401, None)), Ok((302, None))]
    {
        cloud
            .messenger
            .receive(move |letter| if letter.url.contains("pagerduty") { broken } else { Ok((200, None)) });
        tell(&cloud, &format!("begin{broken:?}"), "k", What::Trigger);
        let failed = minute(&cloud).unwrap_err();
        assert_eq!(failed.operation, "notices to pagerduty", "{broken:?}");
        tell(&cloud, &format!("end{broken:?}"), "k", What::Resolve);
        minutes(&cloud, 9);
        let letters = cloud.messenger.take();
        let counts = CHANNELS.map(|channel| of(&letters, channel).len());
        assert_eq!(counts, [0, 2, 2], "{broken:?}");
        cloud.messenger.receive(|_| Ok((202, None)));
        minutes(&cloud, 31);
        assert_eq!(arrived(&cloud.messenger.take())["pagerduty"], ["k:trigger", "k:resolve"], "{broken:?}");
    }
}

#[test]
fn a_channel_that_is_down_is_tried_less_and_less() {
    let cloud = Cloud::new();
    cloud.messenger.receive(|_| Ok((500, None)));
    tell(&cloud, "a", "k", What::Trigger);
    let mut tries = Vec::new();
    for _ in 0..100 {
        let before = cloud.messenger.tried();
        minutes(&cloud, 1);
        tries.push(cloud.messenger.tried() - before);
    }
    let sum = |range: std::ops::Range<usize>| tries[range].iter().sum::<u32>();
    assert!(sum(0..10) >= 9 && sum(50..100) <= 12, "{tries:?}");
    let shown = body(&cloud.get("/admin/notices"));
    let delivery = &shown["items"][0]["deliveries"][0];
    assert_eq!((&delivery["status"], &delivery["error"]), (&json!(500), &json!("status 500: said")));
    assert!(delivery["next_at"].is_string() && delivery["attempts"].as_u64().unwrap() > 5);
    // After three days it is given up, which is to be seen; an operator has it sent again.
    cloud.pass(3 * DAY);
    minutes(&cloud, 1);
    let shown = body(&cloud.get("/admin/notices?source=incident"));
    let states: Vec<_> =
        shown["items"][0]["deliveries"].as_array().unwrap().iter().map(|it| &it["state"]).collect();
    assert_eq!(states, ["failed"; 3]);
    cloud.messenger.receive(|_| Ok((200, None)));
}

#[test]
fn what_a_receiver_asks_for_is_granted() {
    let cloud = Cloud::new();
    cloud.messenger.receive(|letter| {
        if letter.url.contains("slack") { Ok((429, Some("300"))) } else { Ok((200, None)) }
    });
    tell(&cloud, "a", "k", What::Trigger);
    tell(&cloud, "b", "other", What::Trigger);
    minutes(&cloud, 1);
    assert_eq!(cloud.messenger.tried(), 5, "Slack once, the others twice");
    minutes(&cloud, 4);
    assert_eq!(cloud.messenger.tried(), 5);
    cloud.messenger.receive(|_| Ok((200, None)));
    minutes(&cloud, 2);
    let letters = cloud.messenger.take();
    assert_eq!(CHANNELS.map(|channel| of(&letters, channel).len()), [2, 2, 2]);
}

#[test]
fn what_will_never_be_taken_is_given_up_and_holds_nothing_up() {
    let cloud = Cloud::new();
    cloud.messenger.receive(|letter| {
        let bad = letter.url.contains("pagerduty") && letter.body.contains("\"bad\"");
        if bad { Ok((400, None)) } else { Ok((202, None)) }
    });
    tell(&cloud, "a", "bad", What::Trigger);
    tell(&cloud, "b", "good", What::Trigger);
    let failed = minute(&cloud).unwrap_err();
    assert_eq!(failed.operation, "notices that pagerduty will not take");
    assert_eq!(failed.cause, "ntc-a: status 400: said");
    assert_eq!(arrived(&cloud.messenger.take())["pagerduty"], ["good:trigger"]);
    assert_eq!(deliveries(&cloud, "failed"), 1);
    assert_eq!(
        minute(&cloud).unwrap(),
        "0 told; 0 to pagerduty, 0 to slack, 0 to webhook; nothing forgotten"
    );
}

#[test]
fn a_lost_answer_is_repeated_under_the_same_id() {
    let cloud = Cloud::new();
    let lost = Rc::new(RefCell::new(3));
    cloud.messenger.receive(move |_| {
        let mut left = lost.borrow_mut();
        *left -= 1;
        if *left >= 0 { Err(Failure::AfterCommit) } else { Ok((200, None)) }
    });
    tell(&cloud, "a", "k", What::Trigger);
    minutes(&cloud, 5);
    let letters = cloud.messenger.take();
    for (channel, ids) in arrived(&letters) {
        assert_eq!((ids.len(), &ids[0]), (2, &ids[1]), "{channel}");
    }
    let shown = body(&cloud.get("/admin/notices?state=sent"));
    assert_eq!(shown["items"][0]["deliveries"][1]["attempts"], 2);
}

/// Each statement of a run fails once, before or after it was committed: in the end everything was told, in order, and twice only
/// where it was sent and could not be noted.
#[test]
fn whatever_statement_fails_nothing_is_lost() {
    let names = [
        "cron_begin",
        "notice_collector",
        "alert_outbox",
        "notice_inbox",
        "notices_open",
        "notices_silent_devices",
        "notices_tell",
        "alert_outbox_taken",
        "notice_inbox_taken",
        "notice_collected",
        "notices_unplanned",
        "notices_plan",
        "notices_planned",
        "notice_claim",
        "notice_claimed",
        "notice_settle",
        "notice_hush",
        "cron_finish",
    ];
    for name in names {
        for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
            let cloud = Cloud::new();
            minute(&cloud).unwrap();
            rollout(&cloud);
            happens(&cloud, "halted", &json!({"says": "no"}));
            happens(&cloud, "resumed", &json!({}));
            attack(&cloud, "203.0.113.7");
            critical(&cloud, 1..2);
            cloud.db.fail_once(name, failure);
            let outcome = minute(&cloud);
            minutes(&cloud, 6);
            let letters = cloud.messenger.take();
            let mut expected = vec![
                ("trigger".to_owned(), format!("Device {:032x}: critical_memory", 1)),
                ("trigger".to_owned(), "Rollout rol-1 was halted: no".to_owned()),
                ("resolve".to_owned(), "Rollout rol-1 was resumed by ada".to_owned()),
                ("trigger".to_owned(), "Security: bad_webhook_secret by 203.0.113.7".to_owned()),
            ];
            let mut once = told(&letters);
            let all = once.len();
            once.dedup();
            assert_eq!(once, expected, "{name} {failure:?} {outcome:?}");
            let (slack, pagerduty) = (of(&letters, "slack").len(), of(&letters, "pagerduty").len());
            let unnoted = ["notice_claim", "notice_claimed", "notice_settle", "notice_hush"].contains(&name);
            let most = if unnoted { 5 } else { 4 };
            for (channel, number) in [("webhook", all), ("slack", slack), ("pagerduty", pagerduty)] {
                assert!((4..=most).contains(&number), "{name} {failure:?}: {number} to {channel}");
            }
            expected.clear();
            assert_eq!(deliveries(&cloud, "waiting"), 0, "{name} {failure:?}");
        }
    }
}

#[test]
fn when_the_database_is_away_pagerduty_is_told_straight_and_hears_of_its_return() {
    let cloud = Cloud::new();
    minute(&cloud).unwrap();
    tell(&cloud, "a", "k", What::Trigger);
    cloud.db.fail(Some(Failure::BeforeCommit));
    for _ in 0..5 {
        let failed = minute(&cloud).unwrap_err();
        assert!(failed.operation.ends_with("; PagerDuty was told"), "{failed}");
    }
    assert_eq!(cloud.messenger.paused(), 5 * 10_000, "asked three times in ten seconds, each time");
    let letters = cloud.messenger.take();
    assert_eq!(letters.len(), 5);
    for letter in &letters {
        let event = read(letter);
        assert_eq!(
            (&event["event_action"], &event["dedup_key"]),
            (&json!("trigger"), &json!("database:unreachable"))
        );
        assert_eq!(event["payload"]["severity"], "critical");
    }
    cloud.messenger.receive(|_| Ok((500, None)));
    assert!(minute(&cloud).unwrap_err().operation.ends_with("; PagerDuty answered 500"));
    cloud.messenger.receive(|_| Err(Failure::BeforeCommit));
    assert!(minute(&cloud).unwrap_err().operation.ends_with("; PagerDuty did not answer"));
    cloud.messenger.receive(|_| Ok((202, None)));
    cloud.db.fail(None);
    minutes(&cloud, 3);
    let letters = cloud.messenger.take();
    assert_eq!(arrived(&letters)["pagerduty"], ["k:trigger", "database:unreachable:resolve"]);
    assert!(
        told(&letters)[1].1.starts_with("The database answers; nothing was told from 2026-01-20T03:01:00Z")
    );
    // A short absence is nobody's business.
    cloud.db.fail_once("cron_begin", Failure::BeforeCommit);
    minute(&cloud).unwrap();
    assert!(cloud.messenger.take().is_empty());
}

#[test]
fn the_day_is_told_once_to_those_who_look_once_a_day() {
    let cloud = Cloud::new();
    rollout(&cloud);
    critical(&cloud, 1..4);
    cloud.tick("0 3 * * *").unwrap();
    minutes(&cloud, 1);
    let _ = cloud.messenger.take();
    cloud.now.set(NOW.plus(5 * HOUR));
    cloud.db.fail_once("notices_digest", Failure::BeforeCommit);
    minutes(&cloud, 1);
    assert!(
        told(&cloud.messenger.take()).iter().all(|(_, says)| !says.starts_with("The day")),
        "it could not be read"
    );
    minutes(&cloud, 3);
    let letters = cloud.messenger.take();
    let digests: Vec<_> =
        of(&letters, "receiver").into_iter().map(read).filter(|it| it["source"] == "digest").collect();
    assert_eq!(digests.len(), 1);
    assert_eq!(
        digests[0]["detail"]["lines"],
        json!([
            "Open incidents: none",
            "Open alerts of devices: 3 critical_memory",
            "Rollouts in progress: rol-1 1.1.0 PAUSED",
            "Latest backup: 2026-01-20 complete, not checked yet",
            "Backups with faults: none",
            "Security log of the last day: none",
            "Devices: 0 of 3 online, 0 heard of in the last day"
        ])
    );
    assert!(of(&letters, "pagerduty").iter().all(|letter| !letter.body.contains("digest")));
    let slack = of(&letters, "slack");
    assert!(slack.iter().any(|letter| letter.body.contains("Devices: 0 of 3 online")), "{slack:?}");
    cloud.now.set(NOW.plus(DAY + 5 * HOUR));
    minutes(&cloud, 1);
    assert!(told(&cloud.messenger.take()).iter().any(|(_, says)| says == "The day before 2026-01-21"));
}

#[test]
fn what_is_not_configured_gets_nothing_and_health_says_what_is() {
    let without = |missing: &'static [&'static str]| {
        let mut cloud = Cloud::new();
        let look_up = |name: &str| if missing.contains(&name) { None } else { setting(name) };
        cloud.config = Config::read(&look_up).unwrap_or_else(|faults| panic!("{faults:?}"));
        cloud
    };
    let says = |cloud: &Cloud| body(&cloud.get("/health"))["checks"]["notices"]["detail"].clone();
    let all = Cloud::new();
    assert_eq!(says(&all), "pagerduty, slack, webhook");
    let slack = without(&["PAGERDUTY_ROUTING_KEY", "NOTICE_WEBHOOK_URL", "DIGEST_AT"]);
    assert_eq!(says(&slack), "slack");
    tell(&slack, "a", "k", What::Trigger);
    minute(&slack).unwrap();
    assert_eq!((slack.messenger.take().len(), deliveries(&slack, "waiting")), (1, 0));
    let none = without(&["PAGERDUTY_ROUTING_KEY", "NOTICE_WEBHOOK_URL", "SLACK_WEBHOOK_URL"]);
    assert_eq!(says(&none), "no channel is configured");
    tell(&none, "a", "k", What::Trigger);
    assert_eq!(minute(&none).unwrap(), "0 told; no channel is configured; nothing forgotten");
    assert_eq!(body(&none.get("/admin/notices"))["items"][0]["deliveries"], json!([]));
    assert_eq!(none.operator(Method::Post, "/admin/notices/test", Vec::new()).status, 409);
    none.db.fail(Some(Failure::BeforeCommit));
    assert!(minute(&none).unwrap_err().operation.ends_with("; PagerDuty is not configured"));
}

#[test]
fn a_bad_configuration_loses_nothing() {
    let cloud = Cloud::new();
    tell(&cloud, "a", "k", What::Trigger);
    let bad = Config::read(&|_| None);
    let clock = || cloud.now.get();
    let request_id = rs1_domain::RequestId::from_header("tick").unwrap();
    let tick = rs1_domain::event::Tick {
        cron: EVERY_MINUTE.into(),
        scheduled: cloud.now.get(),
        now: cloud.now.get(),
        request_id,
    };
    let failed = block_on(rs1_worker_health::cron::tick(&tick, bad.as_ref(), &cloud.world(&clock)));
    assert_eq!(failed.unwrap_err().operation, "configuration");
    minute(&cloud).unwrap();
    assert_eq!(cloud.messenger.take().len(), 3);
}

#[test]
fn operators_see_what_was_told_and_have_it_sent_again() {
    let cloud = Cloud::new();
    cloud
        .messenger
        .receive(|letter| if letter.url.contains("slack") { Ok((400, None)) } else { Ok((202, None)) });
    let test = cloud.operator(Method::Post, "/admin/notices/test", Vec::new());
    assert_eq!(test.status, 202, "{}", test.body);
    assert_eq!(body(&test)["channels"], json!(["pagerduty", "slack", "webhook"]));
    minutes(&cloud, 1);
    let letters = cloud.messenger.take();
    let opened = arrived(&letters)["pagerduty"].clone();
    assert!(opened[0].starts_with("test:ntc-") && opened[0].ends_with(":trigger"), "{opened:?}");
    assert_eq!(opened[1], opened[0].replace(":trigger", ":resolve"));
    assert_eq!(
        told(&letters),
        [("trigger".to_owned(), "ada@optic.works: a test of the channels".to_owned())]
    );

    let failed = body(&cloud.get("/admin/notices?state=failed&source=test"));
    let id = failed["items"][0]["notice_id"].as_str().unwrap().to_owned();
    assert!(failed["items"][0].get("seq").is_none());
    assert_eq!(body(&cloud.get("/admin/notices?source=rollout"))["items"], json!([]));
    cloud.messenger.receive(|_| Ok((200, None)));
    let retry = || cloud.operator(Method::Post, &format!("/admin/notices/{id}/retry"), Vec::new());
    cloud.db.fail_once("notice_retry", Failure::AfterCommit);
    assert_eq!(retry().status, 503, "the answer was lost");
    let again = retry();
    assert_eq!((again.status, &body(&again)["deliveries"][1]["state"]), (202, &json!("waiting")));
    minutes(&cloud, 1);
    assert_eq!(arrived(&cloud.messenger.take())["slack"].len(), 1);
    let late = retry();
    assert_eq!(late.status, 409, "{}", late.body);

    let first = body(&cloud.get("/admin/notices?limit=1"));
    let rest = body(&cloud.get(&format!("/admin/notices?cursor={}", first["next_cursor"].as_str().unwrap())));
    assert_eq!(
        (first["items"][0]["action"].clone(), rest["items"][0]["action"].clone()),
        (json!("resolve"), json!("trigger"))
    );
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let cloud = Cloud::new();
    let post = |target: &str| cloud.operator(Method::Post, target, Vec::new()).status;
    assert_eq!(cloud.get("/admin/notices?state=lost&source=moon&cursor=x&colour=red").status, 422);
    assert_eq!(
        body(&cloud.get("/admin/notices?state=lost&source=moon&cursor=x&colour=red"))["errors"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    assert_eq!(cloud.get("/admin/notices?cursor=").status, 422);
    assert_eq!(post("/admin/notices/ntc-1/retry"), 404);
    assert_eq!(post("/admin/notices/ntc-01KAK3MZ4K0000000000000000/retry"), 404);
    assert_eq!(post("/admin/notices/test?now=1"), 422);
    assert_eq!(post("/admin/notices"), 405);
    assert_eq!(cloud.get("/admin/notices/test").status, 405);
    let stranger = |method, target| cloud.send(cloud.request(method, target, Vec::new())).status;
    assert_eq!(stranger(Method::Get, "/admin/notices"), 401);
    assert_eq!(stranger(Method::Post, "/admin/notices/test"), 401);
    cloud.db.fail_statement("audit", Some(Failure::BeforeCommit));
    assert_eq!(post("/admin/notices/test"), 503, "nothing without a trace");
    cloud.db.fail_statement("notices_tell", Some(Failure::BeforeCommit));
    assert_eq!(post("/admin/notices/test"), 503);
    cloud.db.fail(None);
    assert_eq!(body(&cloud.get("/admin/notices"))["items"], json!([]));
}

#[test]
fn old_notices_are_forgotten_once_an_hour() {
    let cloud = Cloud::new();
    tell(&cloud, "a", "k", What::Trigger);
    tell(&cloud, "b", "k", What::Resolve);
    tell(&cloud, "c", "open", What::Trigger);
    minutes(&cloud, 1);
    cloud.now.set(NOW.plus(90 * DAY + 46 * MINUTE));
    let said = minute(&cloud).unwrap();
    assert!(said.ends_with("; 2 forgotten"), "{said}");
    let left = body(&cloud.get("/admin/notices?source=incident"));
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

/// What a receiver may do with a letter.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Well,
    Down,
    Refusing(u16),
    Busy,
}

fn moods() -> impl Strategy<Value = Mood> {
    prop_oneof![
        3 => Just(Mood::Well),
        1 => Just(Mood::Down),
        1 => prop::sample::select(vec![500_u16, 502, 503, 404, 401, 301]).prop_map(Mood::Refusing),
        1 => Just(Mood::Busy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever receivers do minute by minute, and whichever statement fails before it is done: in the end each notice arrived once
    /// in each channel, and in order.
    #[test]
    fn each_notice_arrives_once_and_in_order(
        course in prop::collection::vec((moods(), moods(), moods(), 0_u8..6, prop::option::of(0_usize..4)), 1..15),
    ) {
        let cloud = Cloud::new();
        let mood = Rc::new(RefCell::new([Mood::Well; 3]));
        let seen = Rc::clone(&mood);
        cloud.messenger.receive(move |letter| {
            let place = CHANNELS.iter().position(|name| letter.url.contains(&format!("//{name}."))).unwrap();
            match seen.borrow()[place] {
                Mood::Well => Ok((200, None)),
                Mood::Down => Err(Failure::BeforeCommit),
                Mood::Refusing(status) => Ok((status, None)),
                Mood::Busy => Ok((429, Some("90"))),
            }
        });
        let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (turn, (pagerduty, slack, webhook, subject, fails)) in course.into_iter().enumerate() {
            *mood.borrow_mut() = [pagerduty, slack, webhook];
            let key = format!("k{subject}");
            let list = said.entry(key.clone()).or_default();
            let what = if list.len().is_multiple_of(2) { What::Trigger } else { What::Resolve };
            tell(&cloud, &format!("{turn}"), &key, what);
            list.push(turn.to_string());
            // Statements that come before anything is sent.
            if let Some(place) = fails {
                let name = ["notice_collector", "notices_unplanned", "notices_plan", "cron_begin"][place];
                cloud.db.fail_once(name, Failure::BeforeCommit);
            }
            minutes(&cloud, 1);
            cloud.db.fail(None);
        }
        *mood.borrow_mut() = [Mood::Well; 3];
        minutes(&cloud, 120);
        let letters = cloud.messenger.take();
        let arrived = arrived(&letters);
        for channel in ["slack", "receiver"] {
            let got: Vec<_> = arrived[channel].iter().filter(|id| id.len() < 4).collect();
            prop_assert_eq!(got.len(), said.values().map(Vec::len).sum::<usize>(), "{}", channel);
            for list in said.values() {
                let order: Vec<_> = got.iter().filter(|id| list.contains(id)).map(|id| (*id).clone()).collect();
                prop_assert_eq!(&order, list, "{}", channel);
            }
        }
        for (key, list) in &said {
            let got: Vec<_> = arrived["pagerduty"].iter().filter(|event| event.starts_with(&format!("{key}:"))).collect();
            let order: Vec<_> = (0..list.len()).map(|place| format!("{key}:{}", if place % 2 == 0 { "trigger" } else { "resolve" })).collect();
            prop_assert_eq!(got, order.iter().collect::<Vec<_>>());
        }
        prop_assert_eq!((deliveries(&cloud, "waiting"), deliveries(&cloud, "failed")), (0, 0));
    }
}
