//! What rules send to the backend, and what becomes of it when the backend fails.

use serde_json::{Value as Json, json};

use crate::backend::{Received, STATE, TELEMETRY, status};
use crate::device::Profile;
use crate::stack::{SECRET, Stack};

#[tokio::test]
async fn a_message_reaches_the_backend_with_the_columns_of_its_rule() {
    let stack = Stack::start().await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    device.publish("opticworks/dev-1/telemetry", "{\"t\":21.5}", false).await;
    let told = stack.backend.wait(TELEMETRY, 1).await.remove(0);
    for (name, value) in [
        ("host", "api.localhost"),
        ("content-type", "application/json"),
        ("user-agent", "emqx-rs1/1"),
        ("x-webhook-secret", SECRET),
    ] {
        assert_eq!(told.header(name), Some(value), "{name}");
    }
    let mut body = told.body;
    let id = body["id"].take();
    let id = id.as_str().unwrap();
    assert!(id.len() == 32 && id.chars().all(|c| c.is_ascii_digit() || ('A'..='F').contains(&c)), "{id}");
    let (received, sent) = (body["publish_received_at"].take(), body["timestamp"].take());
    assert!(received.as_i64().unwrap() > 1_700_000_000_000 && sent.as_i64() >= received.as_i64());
    assert_eq!(
        body,
        json!({
            "id": null, "event": "message.publish", "clientid": "dev-1", "username": "dev-1",
            "peerhost": "127.0.0.1", "topic": "opticworks/dev-1/telemetry", "qos": 1,
            "flags": { "dup": false, "retain": false }, "payload": "{\"t\":21.5}",
            "payload_b64": "eyJ0IjoyMS41fQ==", "publish_received_at": null, "timestamp": null,
            "node": "emqx@127.0.0.1",
        })
    );
}

#[tokio::test]
async fn bytes_that_are_not_text_survive_in_base64_only() {
    let stack = Stack::start().await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    device.publish("opticworks/dev-1/telemetry/bin", vec![0xFF, 0x01, 0xFE], false).await;
    let told = stack.backend.wait(TELEMETRY, 1).await.remove(0).body;
    assert_eq!(told["payload_b64"], "/wH+");
    assert_eq!(told["payload"], "\u{fffd}\u{1}\u{fffd}");
}

#[tokio::test]
async fn select_star_has_every_column_and_templates_are_filled_in_raw() {
    let stack = Stack::with(
        r#"
        actions.http {
          raw { connector = optic, parameters { path = "/raw", body = "${clientid}:${payload.t}:${missing}" } }
          star { connector = optic, parameters { path = "/star" } }
        }
        rule_engine.rules.star {
          sql = "SELECT * FROM \"opticworks/+/raw\", \"$events/client_connected\""
          actions = ["http:star", "http:raw"]
        }
        "#,
    )
    .await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    let connected = stack.backend.wait("/star", 1).await.remove(0).body;
    assert_eq!(
        keys(&connected),
        "clean_start client_attrs clientid conn_props connected_at event expiry_interval is_bridge keepalive \
         metadata mountpoint node peername proto_name proto_ver receive_maximum sockname timestamp username"
    );
    assert_eq!(connected["event"], "client.connected");
    assert_eq!(connected["mountpoint"], "undefined");
    assert_eq!((&connected["keepalive"], &connected["expiry_interval"]), (&json!(30), &json!(0)));

    device.publish("opticworks/dev-1/raw", "{\"t\":7}", false).await;
    let published = stack.backend.wait("/star", 2).await.remove(1).body;
    assert_eq!(
        keys(&published),
        "client_attrs clientid event flags id metadata node payload peerhost peername pub_props \
         publish_received_at qos timestamp topic username"
    );
    assert_eq!(published["metadata"], json!({ "rule_id": "star" }));
    assert_eq!(published["pub_props"], json!({ "User-Property": {} }));
    let (_, counters) = stack.raw("GET", "/local/actions", "", "").await;
    let counters: Json = serde_json::from_str(&counters).unwrap();
    assert_eq!(counters["rules"]["star"]["passed"], 2);
    // Not JSON, so the backend of the test keeps null; that it came is what counts.
    stack.backend.wait("/raw", 2).await;
}

#[tokio::test]
async fn a_503_is_tried_again_and_a_500_is_final() {
    let stack = Stack::start().await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    stack.backend.next(TELEMETRY, [status(503), status(429), status(204), status(500), status(204)]);
    for payload in ["first", "second", "third"] {
        device.publish("opticworks/dev-1/telemetry", payload, false).await;
        let sent = |told: &Received| told.body["payload"] == payload;
        stack.backend.wait_for(TELEMETRY, 1, sent).await;
        settled(&stack, "optic_telemetry").await;
    }
    let payloads: Vec<Json> =
        stack.backend.received(TELEMETRY).iter().map(|told| told.body["payload"].clone()).collect();
    assert_eq!(payloads, ["first", "first", "first", "second", "third"]);
    let ids: Vec<Json> =
        stack.backend.received(TELEMETRY).iter().map(|told| told.body["id"].clone()).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "a message keeps its id");
    let counters = stack.action("optic_telemetry").await;
    assert_eq!(
        (&counters["success"], &counters["failed"], &counters["retried"]),
        (&json!(2), &json!(1), &json!(2))
    );
}

#[tokio::test]
async fn the_messages_of_one_device_keep_their_order() {
    let stack = Stack::start().await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for number in &numbers {
        device.publish("opticworks/dev-1/telemetry", number.as_str(), false).await;
    }
    let told = stack.backend.wait(TELEMETRY, numbers.len()).await;
    let payloads: Vec<&str> = told.iter().filter_map(|told| told.body["payload"].as_str()).collect();
    assert_eq!(payloads, numbers);
}

#[tokio::test]
async fn after_three_failures_a_message_waits_and_those_behind_it_too() {
    let stack = Stack::with("actions.http.optic_state.resource_opts.resume_interval = 200ms").await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    stack.backend.next(STATE, std::iter::repeat_n(status(503), 4));
    device.publish("opticworks/dev-1/state", "1", false).await;
    stack.until("blocked", || async { stack.action("optic_state").await["waiting"] == 1 }).await;
    device.publish("opticworks/dev-1/state", "2", false).await;
    let told = stack.backend.wait(STATE, 6).await;
    let payloads: Vec<&Json> = told.iter().map(|told| &told.body["payload"]).collect();
    assert_eq!(payloads, ["1", "1", "1", "1", "1", "2"]);
}

#[tokio::test]
async fn a_message_that_grows_too_old_is_given_up() {
    let stack = Stack::with(
        "actions.http.optic_state.resource_opts { request_ttl = 300ms, resume_interval = 100ms }",
    )
    .await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    stack.backend.always(STATE, status(503));
    device.publish("opticworks/dev-1/state", "1", false).await;
    settled(&stack, "optic_state").await;
    let counters = stack.action("optic_state").await;
    assert_eq!((&counters["expired"], &counters["success"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn json_decode_hands_on_objects_and_fails_the_rule_otherwise() {
    let stack = Stack::with(
        r#"
        actions.http.decoded { connector = optic, parameters.path = "/decoded" }
        rule_engine.rules.decoded {
          sql = "SELECT json_decode(payload) as payload, payload.a.b as b FROM \"opticworks/+/decoded\" WHERE b != 2"
          actions = ["http:decoded"]
        }
        "#,
    )
    .await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    for payload in ["no json", "{\"a\":{\"b\":2}}", "{\"a\":{\"b\":1}}"] {
        device.publish("opticworks/dev-1/decoded", payload, false).await;
    }
    let told = stack.backend.wait("/decoded", 1).await.remove(0).body;
    assert_eq!(told, json!({ "payload": { "a": { "b": 1 } }, "b": 1 }));
    let (_, counters) = stack.raw("GET", "/local/actions", "", "").await;
    let counters: Json = serde_json::from_str(&counters).unwrap();
    assert_eq!(
        counters["rules"]["decoded"],
        json!({ "matched": 3, "passed": 1, "failed.no_result": 1, "failed.exception": 1 })
    );
}

/// Waits until every message of an action has come to its end.
async fn settled(stack: &Stack, action: &str) {
    stack.until("settled", || async { stack.action(action).await["queued"] == 0 }).await;
}

fn keys(body: &Json) -> String {
    body.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}
