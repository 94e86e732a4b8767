//! Who is let in, and what the backend is asked for that.

use std::time::{Duration, SystemTime};

use rumqttc::v5::mqttbytes::v5::{PubAckReason, SubscribeReasonCode};
use serde_json::json;

use crate::backend::{ACL, AUTH, OFFLINE, answer, status};
use crate::device::Profile;
use crate::stack::{SECRET, Stack};

#[tokio::test]
async fn the_backend_is_asked_as_emqx_would_ask_it() {
    let stack = Stack::start().await;
    let _device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    let asked = stack.backend.wait(AUTH, 1).await.remove(0);
    assert_eq!(
        asked.body,
        json!({ "clientid": "dev-1", "username": "dev-1", "password": "right", "peerhost": "127.0.0.1" })
    );
    for (name, value) in [
        ("host", "api.localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("user-agent", "emqx-rs1/1"),
        ("x-webhook-secret", SECRET),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    assert_eq!(asked.header("transfer-encoding"), None, "the body is sent whole");
    assert_eq!(asked.header("accept-encoding"), None);
}

#[tokio::test]
async fn what_a_client_does_not_give_is_the_empty_string() {
    let stack = Stack::start().await;
    let mut nameless = Profile::new(stack.broker.mqtt, "dev-1");
    nameless.username = None;
    assert_eq!(nameless.connect().await.err(), Some(5));
    let asked = stack.backend.wait(AUTH, 1).await.remove(0);
    assert_eq!(
        asked.body,
        json!({ "clientid": "dev-1", "username": "", "password": "", "peerhost": "127.0.0.1" })
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_in_the_words_of_each_version() {
    let stack = Stack::start().await;
    let wrong = Profile::new(stack.broker.mqtt, "dev-1").password("wrong");
    assert_eq!(wrong.connect().await.err(), Some(5));
    assert_eq!(wrong.connect_v5().await.err(), Some(0x87));
    assert_eq!(stack.metric("authentication.failure").await, 2);
    assert_eq!(stack.metric("packets.connack.auth_error").await, 2);
    assert!(stack.backend.received(OFFLINE).is_empty(), "who was never in cannot leave");
}

#[tokio::test]
async fn an_answer_that_decides_nothing_keeps_the_client_out() {
    let stack = Stack::start().await;
    let device = Profile::new(stack.broker.mqtt, "dev-1");
    for undecided in [
        status(500),
        status(403),
        status(201),
        status(200),
        answer(json!({ "result": "ignore" })),
        answer(json!({ "ok": true })),
    ] {
        stack.backend.next(AUTH, [undecided]);
        assert_eq!(device.connect_v5().await.err(), Some(0x87));
    }
    assert_eq!(stack.backend.received(AUTH).len(), 6, "a status is never a reason to ask again");
    stack.backend.next(AUTH, [status(204)]);
    assert!(device.connect_v5().await.is_ok());
}

#[tokio::test]
async fn a_broken_grant_is_bad_credentials() {
    let stack = Stack::start().await;
    let device = Profile::new(stack.broker.mqtt, "dev-1");
    for (field, value) in [
        ("expire_at", json!(1)),
        ("expire_at", json!(1_893_456_000_000_i64)),
        ("expire_at", json!("1893456000")),
        ("acl", json!([{ "permission": "nope" }])),
    ] {
        stack.backend.always(AUTH, answer(json!({ "result": "allow", field: value })));
        assert_eq!(device.connect_v5().await.err(), Some(0x86), "{field} {value}");
        assert_eq!(device.connect().await.err(), Some(4), "{field} {value}");
    }
}

#[tokio::test]
async fn a_client_is_disconnected_when_its_grant_expires() {
    let stack = Stack::start().await;
    #[expect(clippy::disallowed_methods, reason = "an expiry is in real seconds")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    stack.backend.next(AUTH, [answer(json!({ "result": "allow", "expire_at": now + 2 }))]);
    let device = Profile::new(stack.broker.mqtt, "dev-1").connect_v5().await.unwrap();
    device.closed().await;
    let told = stack.backend.wait(OFFLINE, 1).await.remove(0);
    assert_eq!(told.body["reason"], "not_authorized");
}

#[tokio::test]
async fn the_rules_of_a_grant_decide_before_the_backend_is_asked() {
    let stack = Stack::start().await;
    stack.backend.next(
        AUTH,
        [answer(json!({
            "result": "allow",
            "acl": [
                { "permission": "allow", "action": "publish", "topics": ["opticworks/${username}/state"], "qos": [1] },
                { "permission": "deny", "action": "all", "topics": ["#"] },
            ],
        }))],
    );
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect_v5().await.unwrap();
    assert_eq!(device.publish("opticworks/dev-1/state", "{}").await, PubAckReason::Success);
    assert_eq!(device.publish("opticworks/dev-1/telemetry", "{}").await, PubAckReason::NotAuthorized);
    assert_eq!(device.subscribe("opticworks/dev-1/ota/trigger").await, SubscribeReasonCode::NotAuthorized);
    assert!(stack.backend.received(ACL).is_empty());
}

#[tokio::test]
async fn a_superuser_is_never_asked_about() {
    let stack = Stack::start().await;
    stack.backend.next(AUTH, [answer(json!({ "result": "allow", "is_superuser": true }))]);
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    assert!(device.subscribe("#").await);
    device.publish("opticworks/other/state", "{}", false).await;
    stack.backend.wait(crate::backend::STATE, 1).await;
    assert!(stack.backend.received(ACL).is_empty());
}

#[tokio::test]
async fn a_slow_answer_is_no_answer() {
    let stack = Stack::with("authentication = [{ mechanism = password_based, backend = http, method = post, url = \"https://api.optic.works/webhook/mqtt-auth\", request_timeout = 50ms, enable_pipelining = 1 }]").await;
    stack.backend.next(AUTH, [status(204).after(Duration::from_secs(5))]);
    assert_eq!(Profile::new(stack.broker.mqtt, "dev-1").connect_v5().await.err(), Some(0x87));
}
