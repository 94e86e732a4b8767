//! The security log: who may see it, and what is asked of it.

use rs1_auth::access_token::AccessTokens;
use rs1_domain::port::Random;
use rs1_domain::security::{SecurityEvent, SecurityKind, WINDOW};
use rs1_domain::{Answer, Method};
use rs1_store::native::Failure;
use rs1_store::security;
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, body, cloud, header, operator_token};

const PATH: &str = "/api/admin/security-log";

impl Cloud {
    fn ask(&self, query: &str, accept: &str) -> Answer {
        let authorization = format!("Bearer {}", operator_token());
        self.request(PATH, query, vec![("authorization", authorization), ("accept", accept.to_owned())])
    }

    /// That many events, each in a window of its own, of two kinds in turn.
    fn happened(&self, count: u32) {
        let events: Vec<_> = (0..count)
            .map(|number| {
                let kind =
                    if number % 2 == 0 { SecurityKind::AclViolation } else { SecurityKind::TokenReuse };
                let at = NOW.plus(i64::from(number) * WINDOW);
                SecurityEvent::new(kind, "x", at, self.random.bytes(), json!({"number": number}))
                    .from_address(Some("203.0.113.7"))
            })
            .collect();
        self.run(security::record(&events).unwrap());
    }
}

fn numbers(page: &Value) -> Vec<u64> {
    page["items"].as_array().unwrap().iter().map(|item| item["detail"]["number"].as_u64().unwrap()).collect()
}

#[test]
fn an_operator_sees_it_newest_first_and_what_it_is_filtered_for() {
    let cloud = cloud();
    cloud.happened(6);
    let page = body(&cloud.ask("", "application/json"));
    assert_eq!(numbers(&page), [5, 4, 3, 2, 1, 0]);
    let item = &page["items"][5];
    assert_eq!(
        (&item["kind"], &item["severity"], &item["subject"], &item["peerhost"], &item["count"]),
        (&json!("acl_violation"), &json!("warning"), &json!("x"), &json!("203.0.113.7"), &json!(1))
    );
    for (query, expected) in [
        ("kind=token_reuse", vec![5, 3, 1]),
        ("severity=warning", vec![4, 2, 0]),
        ("severity=info", vec![]),
        ("kind=token_reuse&severity=warning", vec![]),
        ("subject=x&kind=acl_violation", vec![4, 2, 0]),
        ("subject=y", vec![]),
        ("peerhost=203.0.113.7&limit=2", vec![5, 4]),
        ("from=2026-01-20T10:20:00Z&to=2026-01-20T10:40:00Z", vec![3, 2]),
    ] {
        assert_eq!(numbers(&body(&cloud.ask(query, "application/json"))), expected, "{query}");
    }
    let first = body(&cloud.ask("limit=4", "application/json"));
    let next = first["next_cursor"].as_str().unwrap();
    let last = body(&cloud.ask(&format!("limit=4&cursor={next}"), "application/json"));
    assert_eq!((numbers(&last), &last["next_cursor"]), (vec![1, 0], &Value::Null));
}

#[test]
fn lines_are_exported_a_thousand_at_a_time_until_there_are_no_more() {
    let cloud = cloud();
    cloud.happened(2_500);
    let (mut query, mut sizes, mut seen) = (String::new(), Vec::new(), Vec::new());
    loop {
        let answer = cloud.ask(&query, "application/x-ndjson");
        assert_eq!((answer.status, answer.content_type), (200, Some("application/x-ndjson")));
        let lines: Vec<Value> = answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        sizes.push(lines.len());
        seen.extend(lines.iter().map(|line| line["detail"]["number"].as_u64().unwrap()));
        let Some(link) = header(&answer, "link") else { break };
        let (_, rest) = link.split_once('?').unwrap();
        query = rest.split_once('>').unwrap().0.to_owned();
    }
    assert_eq!(sizes, [1_000, 1_000, 500]);
    assert_eq!(seen, (0..2_500).rev().collect::<Vec<_>>());
}

#[test]
fn every_fault_of_a_question_is_named() {
    let cloud = cloud();
    let long = "x".repeat(257);
    let query = format!(
        "kind=nothing&severity=low&subject={long}&peerhost={long}&from=now&to=5&limit=0&cursor=aud-1&kinds=x"
    );
    let answer = cloud.ask(&query, "application/json");
    let faults: Value = serde_json::from_str(&answer.body).unwrap();
    let mut pointers: Vec<_> =
        faults["errors"].as_array().unwrap().iter().map(|fault| fault["pointer"].as_str().unwrap()).collect();
    pointers.sort_unstable();
    let expected =
        ["?cursor", "?from", "?kind", "?kinds", "?limit", "?peerhost", "?severity", "?subject", "?to"];
    assert_eq!((answer.status, pointers.as_slice()), (422, &expected[..]));
    assert_eq!(cloud.ask("limit=201", "application/json").status, 422);
    assert_eq!(cloud.ask("limit=201", "application/x-ndjson").status, 200);
    assert_eq!(cloud.ask("limit=1001", "application/x-ndjson").status, 422);
}

#[test]
fn nobody_but_an_operator_sees_it_whoever_passed_the_request_on() {
    let cloud = cloud();
    let user = AccessTokens::new(&"j".repeat(32), None).issue(&cloud.owner(), NOW);
    for token in ["", "Bearer x", &format!("Bearer {user}")] {
        let answer = cloud.request(PATH, "", vec![("authorization", token.to_owned())]);
        assert_eq!(answer.status, 401, "{token}: {}", answer.body);
    }
    let as_access_sends_it = vec![("cf-access-jwt-assertion", operator_token())];
    assert_eq!(cloud.request(PATH, "", as_access_sends_it).status, 200);
    let authorization = vec![("authorization", format!("Bearer {}", operator_token()))];
    assert_eq!(cloud.request_as(Method::Post, PATH, "", authorization).status, 405);
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(cloud.ask("", "application/json").status, 503);
}
