//! What happened to a device, as people are told.

use rs1_domain::time::{DAY, MINUTE};
use rs1_store::native::Failure;
use rs1_store::telemetry::{EventRow, record_events};
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, body, cloud, header};

/// Events, one a minute before now, the latest first.
fn happened(cloud: &Cloud, kinds: &[&str]) {
    let rows: Vec<_> = kinds
        .iter()
        .zip(1_i64..)
        .map(|(kind, minutes)| EventRow {
            device_id: Some(cloud.device.clone()),
            at: NOW.plus(-minutes * MINUTE),
            mark: format!("mark{minutes}-0"),
            kind: (*kind).to_owned(),
            detail: format!("d{minutes}"),
            count: minutes,
        })
        .collect();
    cloud.run(record_events(&rows).unwrap());
}

#[test]
fn events_come_newest_first_page_by_page_and_by_kind() {
    let cloud = cloud();
    let ada = cloud.owner();
    happened(&cloud, &["boot", "error", "boot", "wifi_disconnect", "error"]);
    let (items, pages) = cloud.pages_of(&ada, "events", "limit=2");
    let kinds: Vec<_> = items.iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds, pages), (vec!["boot", "error", "boot", "wifi_disconnect", "error"], 3));
    assert_eq!(
        items[1],
        json!({"time": "2026-01-20T09:58:00Z", "kind": "error", "detail": "d2", "count": 2})
    );
    let (errors, _) = cloud.pages_of(&ada, "events", "kind=error&limit=1");
    assert_eq!(errors.len(), 2);
    let (between, _) = cloud.pages_of(&ada, "events", "from=2026-01-20T09:57:00Z&to=2026-01-20T09:59:00Z");
    assert_eq!(between.len(), 2, "from the first instant until before the last");
    let csv = cloud.look(&ada, "events", "limit=1", "text/csv");
    assert_eq!(csv.body, "time,kind,detail,count\r\n2026-01-20T09:59:00Z,boot,d1,1\r\n");
    assert!(header(&csv, "link").unwrap().contains("/events?limit=1&cursor="));
}

#[test]
fn only_people_with_a_role_are_told_and_only_of_their_own_time() {
    let cloud = cloud();
    let ada = cloud.owner();
    happened(&cloud, &["boot", "error", "boot"]);
    let (vic, eve, bob) =
        (cloud.user("vic@example.com"), cloud.user("eve@example.com"), cloud.user("bob@example.com"));
    cloud.grant(&vic, "viewer", NOW);
    assert_eq!(cloud.pages_of(&vic, "events", "").0.len(), 3);
    assert_eq!(cloud.look(&eve, "events", "", "*/*").status, 404);
    cloud.run(rs1_store::access::give_up(&ada.user, &cloud.device));
    cloud.grant(&bob, "owner", NOW.plus(-2 * MINUTE));
    assert_eq!(cloud.pages_of(&bob, "events", "").0.len(), 2);
}

#[test]
fn every_bad_parameter_is_named_and_what_fails_may_be_tried_again() {
    let cloud = cloud();
    let ada = cloud.owner();
    for (query, pointers) in [
        ("kind=dance&limit=0&cursor=x&x=1", &["?kind", "?limit", "?cursor", "?x"][..]),
        ("from=2026-01-20T10:00:00Z", &["?from"]),
        ("from=2025-01-20T10:00:00Z", &["?from"]),
        ("cursor=1.a b", &["?cursor"]),
    ] {
        let answer = cloud.look(&ada, "events", query, "*/*");
        assert_eq!(answer.status, 422, "{query}: {}", answer.body);
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        let found: Vec<_> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(found, pointers, "{query}");
    }
    assert_eq!(body(&cloud.look(&ada, "events", "", "*/*"))["from"], json!(NOW.plus(-7 * DAY)));
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(cloud.look(&ada, "events", "", "*/*").status, 503);
}
