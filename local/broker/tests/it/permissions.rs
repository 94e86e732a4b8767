//! What a client may publish and subscribe, and what it notices when it may not.

use rumqttc::v5::mqttbytes::v5::{PubAckReason, SubscribeReasonCode};
use serde_json::json;

use crate::backend::{ACL, STATE, answer, status};
use crate::device::Profile;
use crate::stack::{SECRET, Stack};

#[tokio::test]
async fn a_publish_is_asked_about_once_and_the_answer_is_remembered() {
    let stack = Stack::start().await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    for _ in 0..3 {
        device.publish("opticworks/dev-1/state", "{}", false).await;
    }
    let asked = stack.backend.received(ACL);
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].body,
        json!({
            "clientid": "dev-1", "username": "dev-1", "peerhost": "127.0.0.1", "action": "publish",
            "topic": "opticworks/dev-1/state", "qos": "1", "retain": "false",
        })
    );
    assert_eq!(asked[0].header("x-webhook-secret"), Some(SECRET));
    assert_eq!(stack.metric("authorization.cache_hit").await, 2);
    assert_eq!(stack.metric("authorization.allow").await, 3);

    // The retain flag is part of the question.
    device.publish("opticworks/dev-1/state", "{}", true).await;
    assert_eq!(stack.backend.received(ACL).len(), 2);

    assert_eq!(stack.call("DELETE", "/authorization/cache", None).await.0, 204);
    device.publish("opticworks/dev-1/state", "{}", false).await;
    assert_eq!(stack.backend.received(ACL).len(), 3);
}

#[tokio::test]
async fn a_refused_publish_says_so_in_mqtt_5_and_keeps_quiet_in_3_1_1() {
    let stack = Stack::start().await;
    let mut newer = Profile::new(stack.broker.mqtt, "dev-5").connect_v5().await.unwrap();
    assert_eq!(newer.publish("opticworks/other/state", "{}").await, PubAckReason::NotAuthorized);
    assert_eq!(newer.publish("opticworks/dev-5/state", "{}").await, PubAckReason::Success);

    let mut older = Profile::new(stack.broker.mqtt, "dev-4").connect().await.unwrap();
    older.publish("opticworks/other/state", "{}", true).await;
    older.publish("opticworks/dev-4/state", "{}", false).await;

    let told = stack.backend.wait(STATE, 2).await;
    assert!(
        told.iter().all(|told| told.body["topic"] != "opticworks/other/state"),
        "a refused message fires no rule"
    );
    assert_eq!(stack.metric("packets.publish.auth_error").await, 2);
    let (_, stats) = stack.call("GET", "/stats?aggregate=true", None).await;
    assert_eq!(stats["retained.count"], 0, "and is not retained");
}

#[tokio::test]
async fn a_refused_filter_is_refused_alone() {
    let stack = Stack::start().await;
    let mut newer = Profile::new(stack.broker.mqtt, "dev-5").connect_v5().await.unwrap();
    assert_eq!(newer.subscribe("#").await, SubscribeReasonCode::NotAuthorized);
    let own = newer.subscribe("opticworks/dev-5/ota/trigger").await;
    assert!(matches!(own, SubscribeReasonCode::Success(_)), "{own:?}");

    let mut older = Profile::new(stack.broker.mqtt, "dev-4").connect().await.unwrap();
    assert!(!older.subscribe("opticworks/+/state").await);
    assert!(older.subscribe("opticworks/dev-4/ota/trigger").await);
}

#[tokio::test]
async fn prefixes_that_steer_delivery_are_not_asked_about() {
    let stack = Stack::start().await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    assert!(device.subscribe("$share/g1/opticworks/dev-1/cmd/#").await);
    assert!(device.subscribe("$queue/opticworks/dev-1/cmd/+").await);
    device.publish("$delayed/0/opticworks/dev-1/state", "{}", false).await;
    let topics: Vec<_> =
        stack.backend.received(ACL).iter().map(|asked| asked.body["topic"].clone()).collect();
    assert_eq!(topics, ["opticworks/dev-1/cmd/#", "opticworks/dev-1/cmd/+", "opticworks/dev-1/state"]);
    let subscribing = &stack.backend.received(ACL)[0].body;
    assert_eq!((&subscribing["action"], &subscribing["retain"]), (&json!("subscribe"), &json!("false")));
    assert_eq!(stack.backend.wait(STATE, 1).await[0].body["topic"], "opticworks/dev-1/state");
}

#[tokio::test]
async fn an_answer_that_decides_nothing_is_a_no() {
    let stack = Stack::start().await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect_v5().await.unwrap();
    for (number, undecided) in
        [status(403), status(500), status(201), answer(json!({})), answer(json!({ "result": "ignore" }))]
            .into_iter()
            .enumerate()
    {
        stack.backend.next(ACL, [undecided]);
        let topic = format!("opticworks/dev-1/telemetry/{number}");
        assert_eq!(device.publish(&topic, "{}").await, PubAckReason::NotAuthorized, "{topic}");
    }
    assert_eq!(stack.metric("authorization.nomatch").await, 5);
}

#[tokio::test]
async fn deny_action_disconnect_ends_the_connection() {
    let stack = Stack::with("authorization.deny_action = disconnect").await;
    let device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    device.client.publish("opticworks/other/state", rumqttc::QoS::AtMostOnce, false, "{}").await.unwrap();
    device.closed().await;
    let told = stack.backend.wait(crate::backend::OFFLINE, 1).await.remove(0);
    assert_eq!(told.body["reason"], "not_authorized");
}
