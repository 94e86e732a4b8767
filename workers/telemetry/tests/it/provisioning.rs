//! Devices report for duty: what they are answered, what becomes of it, and ports that fail.

use rs1_domain::{Answer, DeviceId};
use rs1_store::native::Failure;
use serde_json::{Value, json};

use crate::common::{Cloud, device, published, topic};

const PATH: &str = "/webhook/provision";

fn report(change: &[(&str, Value)]) -> Value {
    let mut payload = json!({
        "device_id": device(), "mac_address": "AA:BB:CC:DD:EE:01", "firmware_version": "1.0.0",
        "timestamp": "2026-01-20T10:00:00Z",
    });
    for (name, value) in change {
        payload[*name] = value.clone();
    }
    payload
}

fn send(cloud: &Cloud, payload: &Value) -> Answer {
    cloud.post(PATH, &published("provision", "M1", cloud.now, payload))
}

/// What the device heard.
fn heard(cloud: &Cloud) -> Vec<Value> {
    let messages = cloud.world.broker.take();
    for message in &messages {
        assert_eq!(message.topic, topic("provision/response"));
        assert!(!message.retain);
    }
    messages.iter().map(|message| serde_json::from_str(&message.payload).unwrap()).collect()
}

fn listening() -> Cloud {
    let cloud = Cloud::new();
    cloud.world.broker.subscribe(topic("provision/response"));
    cloud
}

#[test]
fn a_device_that_nobody_bought_is_registered_all_the_same_and_may_say_so_again() {
    let cloud = listening();
    for _ in 0..2 {
        assert_eq!(send(&cloud, &report(&[("new_field", json!(1))])).status, 204);
    }
    let expected =
        json!({"status": "registered", "device_id": device(), "owner": null, "timestamp": cloud.now});
    assert_eq!(heard(&cloud), [expected.clone(), expected]);
    assert_eq!(cloud.device().provisioned_at, Some(cloud.now));
}

#[test]
fn whoever_is_not_whom_they_say_is_told_no_and_logged_and_changes_nothing() {
    let cloud = listening();
    for change in [
        [("device_id", json!("0".repeat(32)))],
        [("device_id", json!("somebody"))],
        [("mac_address", json!("AA:BB:CC:DD:EE:02"))],
    ] {
        assert_eq!(send(&cloud, &report(&change)).status, 204);
        let expected = json!({
            "status": "rejected", "device_id": device(), "error": "device_id_mismatch", "timestamp": cloud.now,
        });
        assert_eq!(heard(&cloud), [expected]);
    }
    assert_eq!(cloud.device().provisioned_at, None);
    cloud.drain();
    let log = cloud.security_log();
    assert_eq!((log.len(), log[0].kind.as_str(), log[0].count), (1, "provision_mismatch", 3));
}

#[test]
fn what_cannot_be_understood_is_refused_and_what_is_unknown_is_not_found() {
    let cloud = listening();
    let answer = send(&cloud, &report(&[("mac_address", json!(1)), ("timestamp", Value::Null)]));
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert_eq!(cloud.post(PATH, &published("state", "M1", cloud.now, &report(&[]))).status, 422);
    let other = DeviceId::of(&rs1_domain::MacAddress::parse("AA:BB:CC:DD:EE:02").unwrap());
    let payload = report(&[("device_id", json!(other)), ("mac_address", json!("AA:BB:CC:DD:EE:02"))]);
    let mut stranger = published("provision", "M1", cloud.now, &payload);
    stranger["topic"] = format!("opticworks/{other}/provision").into();
    assert_eq!(cloud.post(PATH, &stranger).status, 404, "it is not enrolled");
    let mut own = published("provision", "M1", cloud.now, &report(&[]));
    own["clientid"] = "http_api".into();
    assert_eq!(cloud.post(PATH, &own).status, 204, "what the cloud itself published says nothing");
    assert!(heard(&cloud).is_empty());
    assert_eq!(cloud.device().provisioned_at, None);
}

#[test]
fn whatever_fails_has_the_message_come_again_and_then_all_is_well() {
    let cloud = listening();
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(send(&cloud, &report(&[])).status, 503);
    cloud.world.db.fail(Some(Failure::AfterCommit));
    assert_eq!(send(&cloud, &report(&[])).status, 503);
    cloud.world.db.fail(None);
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        cloud.world.broker.fail(Some(failure));
        assert_eq!(send(&cloud, &report(&[])).status, 503);
    }
    cloud.world.broker.fail(None);
    let _ = heard(&cloud);
    assert_eq!(send(&cloud, &report(&[])).status, 204);
    assert_eq!(heard(&cloud).len(), 1);

    cloud.world.queue.fail(true);
    assert_eq!(send(&cloud, &report(&[("device_id", json!("x"))])).status, 503, "no refusal without a trace");
    cloud.world.queue.fail(false);
    cloud.world.broker.unsubscribe(&topic("provision/response"));
    let answer = send(&cloud, &report(&[]));
    assert_eq!((answer.status, answer.log.as_deref()), (204, Some("nobody heard the answer")));
}
