//! The management API.

use serde_json::{Value as Json, json};

use crate::backend::{OFFLINE, STATE};
use crate::device::Profile;
use crate::stack::Stack;

const TRIGGER: &str = "opticworks/dev-1/ota/trigger";

#[tokio::test]
async fn a_message_reaches_its_subscriber_and_says_so() {
    let stack = Stack::start().await;
    let message = json!({ "topic": TRIGGER, "payload": "aGk=", "payload_encoding": "base64", "qos": 1 });
    assert_eq!(
        stack.call("POST", "/publish", Some(&message)).await,
        (202, json!({ "reason_code": 16, "message": "no_matching_subscribers" }))
    );
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    assert!(device.subscribe(TRIGGER).await);
    let (status, answer) = stack.call("POST", "/publish", Some(&message)).await;
    assert_eq!((status, answer["id"].as_str().unwrap().len()), (200, 32));
    assert_eq!(device.message().await, (TRIGGER.to_owned(), b"hi".to_vec(), false));
    assert_eq!(stack.metric("messages.dropped.no_subscribers").await, 1);
}

#[tokio::test]
async fn a_batch_is_published_whole_or_not_at_all() {
    let stack = Stack::start().await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    assert!(device.subscribe(TRIGGER).await);
    let good = json!({ "topic": TRIGGER, "payload": "1" });
    let nobody = json!({ "topic": "opticworks/dev-2/ota/trigger", "payload": "2" });

    let (status, answer) = stack.call("POST", "/publish/bulk", Some(&json!([good, good]))).await;
    assert_eq!((status, answer.as_array().unwrap().len()), (200, 2));
    device.message().await;
    device.message().await;

    let (status, answer) = stack.call("POST", "/publish/bulk", Some(&json!([nobody, good]))).await;
    assert_eq!(status, 202);
    assert_eq!(answer[0]["message"], "no_matching_subscribers");
    assert!(answer[1]["id"].is_string());
    device.message().await;

    let bad = json!([good, { "topic": "opticworks/+/x", "payload": "3" }]);
    let (status, answer) = stack.call("POST", "/publish/bulk", Some(&bad)).await;
    assert_eq!((status, answer), (400, json!({ "reason_code": 144, "message": "topic_name_invalid" })));
    assert_eq!(stack.call("POST", "/publish/bulk", Some(&json!([]))).await.0, 500);
    assert_eq!(stack.metric("messages.publish").await, 4, "nothing of the refused batch was published");
}

#[tokio::test]
async fn bad_messages_are_refused_with_emqx_s_codes() {
    let stack = Stack::start().await;
    let large = "x".repeat(128 * 1024);
    for (message, expected) in [
        (json!({ "payload": "x" }), json!("BAD_REQUEST")),
        (json!({ "topic": "a" }), json!("BAD_REQUEST")),
        (json!({ "topic": "a", "payload": {} }), json!("BAD_REQUEST")),
        (json!({ "topic": "a", "payload": "x", "qos": 3 }), json!("BAD_REQUEST")),
        (json!({ "topic": "a", "payload": "x", "retain": "yes" }), json!("BAD_REQUEST")),
        (json!({ "topic": "a", "payload": "x", "colour": 1 }), json!("BAD_REQUEST")),
        (
            json!({ "topic": "a", "payload": "x", "properties": { "user_properties": { "a": 1 } } }),
            json!("BAD_REQUEST"),
        ),
        (json!({ "topic": "a/#", "payload": "x" }), json!(144)),
        (json!({ "topic": "a", "payload": "%", "payload_encoding": "base64" }), json!(131)),
        (json!({ "topic": "a", "payload": large }), json!(151)),
    ] {
        let (status, answer) = stack.call("POST", "/publish", Some(&message)).await;
        let code = answer.get("code").or(answer.get("reason_code")).unwrap_or(&Json::Null);
        assert_eq!((status, code), (400, &expected), "{answer}");
    }
}

#[tokio::test]
async fn messages_of_the_api_fire_rules_as_http_api() {
    let stack = Stack::start().await;
    let message = json!({ "topic": "opticworks/dev-1/state", "payload": "{}", "qos": 1, "retain": true });
    assert_eq!(stack.call("POST", "/publish", Some(&message)).await.0, 202, "nobody subscribes");
    let told = stack.backend.wait(STATE, 1).await.remove(0).body;
    assert_eq!(told["clientid"], "http_api");
    assert_eq!((&told["username"], &told["peerhost"]), (&json!("undefined"), &json!("undefined")));
    assert_eq!(told["flags"], json!({ "retain": true }), "no dup");
    let (_, stats) = stack.call("GET", "/stats?aggregate=true", None).await;
    assert_eq!(stats["retained.count"], 1, "retained all the same");

    // An empty payload takes the retained message away.
    let none = json!({ "topic": "opticworks/dev-1/state", "payload": "", "retain": true });
    stack.call("POST", "/publish", Some(&none)).await;
    let (_, stats) = stack.call("GET", "/stats?aggregate=true", None).await;
    assert_eq!(stats["retained.count"], 0);
}

#[tokio::test]
async fn only_who_has_the_key_may_call() {
    let stack = Stack::start().await;
    let code = |(status, body): (u16, String)| {
        (status, serde_json::from_str::<Json>(&body).unwrap()["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(
        code(stack.raw("GET", "/api/v5/stats", "", "").await),
        (401, "AUTHORIZATION_HEADER_ERROR".to_owned())
    );
    assert_eq!(
        code(stack.raw("GET", "/api/v5/stats", "authorization: Basic a2V5Ondyb25n\r\n", "").await),
        (401, "BAD_API_KEY_OR_SECRET".to_owned())
    );
    let key = "authorization: Basic a2V5OnNlY3JldA==\r\n";
    assert_eq!(
        code(stack.raw("POST", "/api/v5/publish", key, "{}").await),
        (415, "UNSUPPORTED_MEDIA_TYPE".to_owned())
    );
    assert_eq!(code(stack.raw("GET", "/api/v5/nothing", key, "").await).0, 404);

    let (status, text) = stack.raw("GET", "/api/v5/status", "", "").await;
    assert_eq!((status, text.as_str()), (200, "Node emqx@127.0.0.1 is started\nemqx is running"));
    let (_, json) = stack.raw("GET", "/status?format=json", "", "").await;
    assert_eq!(serde_json::from_str::<Json>(&json).unwrap()["app_status"], "running");
}

#[tokio::test]
async fn a_client_can_be_looked_up_and_kicked() {
    let stack = Stack::start().await;
    assert_eq!(stack.call("GET", "/clients/dev-1", None).await.0, 404);
    assert_eq!(stack.call("DELETE", "/clients/dev-1", None).await.0, 404);

    let device = Profile::new(stack.broker.mqtt, "dev-1").connect_v5().await.unwrap();
    let (status, client) = stack.call("GET", "/clients/dev-1", None).await;
    assert_eq!((status, &client["connected"], &client["proto_ver"]), (200, &json!(true), &json!(5)));
    assert_eq!((&client["ip_address"], &client["username"]), (&json!("127.0.0.1"), &json!("dev-1")));

    assert_eq!(stack.call("DELETE", "/clients/dev-1", None).await.0, 204);
    device.closed().await;
    assert_eq!(stack.backend.wait(OFFLINE, 1).await[0].body["reason"], "kicked");

    let device = Profile::new(stack.broker.mqtt, "dev-2").connect().await.unwrap();
    assert_eq!(stack.call("POST", "/clients/kickout/bulk", Some(&json!(["dev-2", "nobody"]))).await.0, 204);
    device.closed().await;
}

#[tokio::test]
async fn sessions_and_live_connections_are_counted_apart() {
    let stack = Stack::start().await;
    let away = Profile::new(stack.broker.mqtt, "dev-1").persistent().connect().await.unwrap();
    let _here = Profile::new(stack.broker.mqtt, "dev-2").connect().await.unwrap();
    away.disconnect().await;
    stack.backend.wait(OFFLINE, 1).await;
    let (_, stats) = stack.call("GET", "/stats?aggregate=true", None).await;
    assert_eq!((&stats["connections.count"], &stats["live_connections.count"]), (&json!(2), &json!(1)));
    let (_, client) = stack.call("GET", "/clients/dev-1", None).await;
    assert_eq!(client["connected"], false);

    let (_, by_node) = stack.call("GET", "/stats", None).await;
    assert_eq!(by_node[0]["node"], "emqx@127.0.0.1");
    let (_, by_node) = stack.call("GET", "/metrics", None).await;
    assert_eq!(by_node[0]["client.connected"], 2);
}
