//! Answers to diagnostics, on real SQL: what was asked for is kept, what was not is noted.

use pollster::block_on;
use rs1_domain::time::DAY;
use rs1_domain::{Answer, RecordId};
use rs1_store::diagnostics::{self, DiagnosticsRow};
use rs1_store::native::Failure;
use rs1_store::sql::{first_row, run};
use serde_json::{Value, json};

use crate::common::{Cloud, device, published};

fn asked(cloud: &Cloud) -> RecordId {
    let id = RecordId::generate("dia", cloud.now, [7; 10]);
    let statement = diagnostics::request(&id, &device(), r#"["heap"]"#, "ada", cloud.now);
    block_on(run(&cloud.world.db, [statement])).unwrap();
    id
}

fn answer(id: &str) -> Value {
    json!({"request_id": id, "timestamp": "2026-01-20T10:00:01Z", "diagnostics": {"heap": {"free": 5}}})
}

fn row(cloud: &Cloud, id: &RecordId) -> Option<DiagnosticsRow> {
    let [found] = block_on(run(&cloud.world.db, [diagnostics::of_device(&device(), id.as_str())])).unwrap();
    first_row(&found).unwrap()
}

/// The device answers on either of its topics, which lead to different webhooks.
fn comes(cloud: &Cloud, rest: &str, payload: &Value) -> Answer {
    let webhook = if rest == "diag/response" { "/webhook/diagnostics" } else { "/webhook/telemetry" };
    cloud.post(webhook, &published(rest, "d", cloud.now, payload))
}

const TOPICS: [&str; 2] = ["diag/response", "telemetry/diagnostics"];

#[test]
fn an_answer_from_either_topic_is_kept_under_its_question() {
    for rest in TOPICS {
        let cloud = Cloud::new();
        let id = asked(&cloud);
        assert_eq!(comes(&cloud, rest, &answer(id.as_str())).status, 204, "{rest}");
        let kept = cloud.world.files.objects("");
        let key = format!("diagnostics/2026-01-20/{}/{id}.json", device());
        assert_eq!(kept, [(key, answer(id.as_str()).to_string())], "{rest}");
        assert_eq!(row(&cloud, &id).unwrap().answered_at, Some(cloud.now));
        assert!(cloud.world.queue.take().is_empty(), "no telemetry, and nothing to report");
        assert!(cloud.world.archives.objects("").is_empty());
    }
}

#[test]
fn the_first_answer_stays() {
    let mut cloud = Cloud::new();
    let id = asked(&cloud);
    let first = cloud.now;
    comes(&cloud, TOPICS[0], &answer(id.as_str()));
    cloud.now = cloud.now.plus(1);
    let mut second = answer(id.as_str());
    second["diagnostics"] = json!({});
    assert_eq!(comes(&cloud, TOPICS[1], &second).status, 204);
    assert_eq!(row(&cloud, &id).unwrap().answered_at, Some(first));
    assert!(cloud.world.files.objects("")[0].1.contains("heap"));
}

#[test]
fn what_nobody_asked_this_device_for_is_noted_and_not_kept() {
    let cloud = Cloud::new();
    let id = asked(&cloud);
    let other = format!("opticworks/{}/diag/response", "0".repeat(32));
    let mut from_another = published(TOPICS[0], "d", cloud.now, &answer(id.as_str()));
    from_another["topic"] = other.into();
    assert_eq!(cloud.post("/webhook/diagnostics", &from_another).status, 204);
    for rest in TOPICS {
        assert_eq!(comes(&cloud, rest, &answer("dia-made-up")).status, 204);
    }
    cloud.drain();
    let log = cloud.security_log();
    let mut seen: Vec<_> =
        log.iter().map(|row| (row.kind.as_str(), row.subject.clone(), row.count)).collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            ("unsolicited_diagnostics", "0".repeat(32), 1),
            ("unsolicited_diagnostics", device().to_string(), 2),
        ]
    );
    assert!(cloud.world.files.objects("").is_empty());
    assert_eq!(row(&cloud, &id).unwrap().answered_at, None);
}

#[test]
fn what_fails_in_between_is_made_up_for_when_emqx_tries_again() {
    let cloud = Cloud::new();
    let id = asked(&cloud);
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        cloud.world.files.fail(Some(failure));
        assert_eq!(comes(&cloud, TOPICS[0], &answer(id.as_str())).status, 503);
        assert_eq!(row(&cloud, &id).unwrap().answered_at, None, "not shown before it is there");
    }
    cloud.world.files.fail(None);
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        cloud.world.db.fail_statement("diagnostics_answered", Some(failure));
        assert_eq!(comes(&cloud, TOPICS[0], &answer(id.as_str())).status, 503);
    }
    cloud.world.db.fail(None);
    assert_eq!(comes(&cloud, TOPICS[0], &answer(id.as_str())).status, 204);
    assert_eq!(row(&cloud, &id).unwrap().answered_at, Some(cloud.now));
    cloud.world.queue.fail(true);
    assert_eq!(comes(&cloud, TOPICS[0], &answer("dia-made-up")).status, 503);
}

#[test]
fn what_is_no_answer_is_refused() {
    let cloud = Cloud::new();
    for rest in TOPICS {
        assert_eq!(comes(&cloud, rest, &json!({"request_id": 5})).status, 422);
        assert_eq!(comes(&cloud, rest, &json!([])).status, 422);
    }
    let state = published("state", "d", cloud.now, &answer("dia-1"));
    assert_eq!(cloud.post("/webhook/diagnostics", &state).status, 422);
    let mut own = published(TOPICS[0], "d", cloud.now, &answer("dia-1"));
    own["clientid"] = "http_api".into();
    assert_eq!(cloud.post("/webhook/diagnostics", &own).status, 204, "the cloud's own");
    assert!(cloud.world.queue.take().is_empty());
    let mut long = answer("dia-1");
    long["diagnostics"]["dump"] = "x".repeat(64 * 1024).into();
    assert_eq!(comes(&cloud, TOPICS[0], &long).status, 422, "more than 64 KiB");
}

#[test]
fn after_seven_days_the_question_is_forgotten() {
    let cloud = Cloud::new();
    let id = asked(&cloud);
    for (days, kept) in [(7, true), (8, false)] {
        let at = cloud.now.plus(days * DAY);
        cloud.sweep(at).unwrap();
        assert_eq!(row(&cloud, &id).is_some(), kept, "after {days} days");
    }
}
