//! What is said of a client that is gone.

use serde_json::json;

use crate::backend::{ACL, OFFLINE, STATE, answer};
use crate::device::Profile;
use crate::stack::Stack;

const TOPIC: &str = "opticworks/dev-1/state";
const GONE: &str = "{\"online\":false}";

#[tokio::test]
async fn a_dropped_connection_publishes_the_will_and_tells_the_backend() {
    let stack = Stack::start().await;
    Profile::new(stack.broker.mqtt, "dev-1").will(TOPIC, GONE).connect().await.unwrap().vanish();
    let will = stack.backend.wait(STATE, 1).await.remove(0);
    assert_eq!(will.body["payload"], GONE);
    assert_eq!(will.body["flags"], json!({ "dup": false, "retain": true }));
    let told = stack.backend.wait(OFFLINE, 1).await.remove(0).body;
    assert_eq!(told["event"], "client.disconnected");
    assert_eq!(told["reason"], "tcp_closed");
    assert_eq!((&told["clientid"], &told["username"]), (&json!("dev-1"), &json!("dev-1")));
    assert_eq!(told["proto_ver"], 4);
    assert!(told["peername"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(told["connected_at"].as_i64().unwrap() <= told["disconnected_at"].as_i64().unwrap());
    assert_eq!(told["node"], "emqx@127.0.0.1");
    assert!(told.get("peerhost").is_none());

    // It was retained: whoever subscribes now is told.
    let mut watcher = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    assert!(watcher.subscribe(TOPIC).await);
    assert_eq!(watcher.message().await, (TOPIC.to_owned(), GONE.as_bytes().to_vec(), true));
}

#[tokio::test]
async fn a_client_that_says_goodbye_leaves_no_will() {
    let stack = Stack::start().await;
    Profile::new(stack.broker.mqtt, "dev-1").will(TOPIC, GONE).connect().await.unwrap().disconnect().await;
    let told = stack.backend.wait(OFFLINE, 1).await.remove(0);
    assert_eq!(told.body["reason"], "normal");
    assert!(stack.backend.received(STATE).is_empty());
}

#[tokio::test]
async fn a_silent_client_is_given_up_after_one_and_a_half_keepalives() {
    let stack = Stack::start().await;
    let mut sleepy = Profile::new(stack.broker.mqtt, "dev-1").will(TOPIC, GONE);
    // The engine gives keepalives below six seconds three seconds more.
    sleepy.keepalive = std::time::Duration::from_secs(1);
    let device = sleepy.connect().await.unwrap();
    // Kept, but never polled: no PINGREQ is sent.
    let told = stack.backend.wait(OFFLINE, 1).await.remove(0);
    assert_eq!(told.body["reason"], "keepalive_timeout");
    stack.backend.wait(STATE, 1).await;
    device.vanish();
}

#[tokio::test]
async fn a_will_that_its_client_may_not_publish_reaches_nobody() {
    let stack = Stack::start().await;
    stack.backend.always(ACL, answer(json!({ "result": "deny" })));
    Profile::new(stack.broker.mqtt, "dev-1").will(TOPIC, GONE).connect().await.unwrap().vanish();
    stack.backend.wait(OFFLINE, 1).await;
    assert!(stack.backend.received(STATE).is_empty());
    let asked = stack.backend.received(ACL);
    assert_eq!(asked.len(), 1, "the will is checked when it is to be published");
    assert_eq!(asked[0].body["retain"], "true");
    let (_, stats) = stack.call("GET", "/stats?aggregate=true", None).await;
    assert_eq!(stats["retained.count"], 0);
}

#[tokio::test]
async fn a_clean_start_discards_the_older_connection_and_a_resumption_takes_it_over() {
    for (persistent, reason) in [(false, "discarded"), (true, "takenover")] {
        let stack = Stack::start().await;
        let mut profile = Profile::new(stack.broker.mqtt, "dev-1").will(TOPIC, GONE);
        if persistent {
            profile = profile.persistent();
        }
        let older = profile.connect().await.unwrap();
        let newer = profile.connect().await.unwrap();
        older.closed().await;
        let told = stack.backend.wait(OFFLINE, 1).await.remove(0);
        assert_eq!(told.body["reason"], reason);
        let wills = stack.backend.wait(STATE, 1).await;
        assert_eq!(
            wills[0].body["payload"], GONE,
            "a will without delay is published at a takeover: {reason}"
        );
        newer.disconnect().await;
        let told = stack.backend.wait(OFFLINE, 2).await.remove(1);
        assert_eq!(told.body["reason"], "normal");
        assert_eq!(stack.backend.received(STATE).len(), 1, "and once: {reason}");
    }
}

#[tokio::test]
async fn a_persistent_session_keeps_what_comes_while_its_client_is_away() {
    let stack = Stack::start().await;
    let profile = Profile::new(stack.broker.mqtt, "dev-1").persistent();
    let mut device = profile.connect().await.unwrap();
    assert!(device.subscribe("opticworks/dev-1/ota/trigger").await);
    device.disconnect().await;
    let message = json!({ "topic": "opticworks/dev-1/ota/trigger", "payload": "{}", "qos": 1 });
    let (status, answer) = stack.call("POST", "/publish", Some(&message)).await;
    assert_eq!(status, 200, "{answer}");
    let mut device = profile.connect().await.unwrap();
    assert_eq!(device.message().await.0, "opticworks/dev-1/ota/trigger");
}
