//! People and their devices, on real SQL: what each role may do, and that nobody learns of what is not theirs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, which is what it should do"
)]

mod common;

use common::{body, cloud};
use rs1_domain::{Method, Role};
use serde_json::{Value, json};

#[test]
fn a_person_sees_their_devices_and_no_others() {
    let cloud = cloud();
    let (ada, bob) = (cloud.user("ada@example.com"), cloud.user("bob@example.com"));
    let (mine, shared, other) = (cloud.device(1), cloud.device(2), cloud.device(3));
    cloud.grant(&ada, &mine, Role::Owner);
    cloud.grant(&bob, &shared, Role::Owner);
    cloud.grant(&ada, &shared, Role::Viewer);
    let list = body(&cloud.call(&ada, Method::Get, "/api/devices", &Value::Null));
    let mut seen: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| (device["device_id"].as_str().unwrap().to_owned(), device["role"].clone()))
        .collect();
    let mut expected = vec![(mine.to_string(), json!("owner")), (shared.to_string(), json!("viewer"))];
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(seen, expected);
    for (device, status) in [(mine.as_str(), 200), (shared.as_str(), 200), (other.as_str(), 404), ("x", 404)]
    {
        let answer = cloud.call(&ada, Method::Get, &format!("/api/devices/{device}"), &Value::Null);
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}
