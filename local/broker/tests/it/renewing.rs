//! What is read anew while devices are connected, and what waits meanwhile.

use std::time::Duration;

use rs1_broker::api::Credentials;

use crate::backend::{ACL, AUTH, STATE};
use crate::device::Profile;
use crate::stack::{SECRET, SECRET_LINE, Stack};

const STATE_TOPIC: &str = "opticworks/dev-1/state";

#[tokio::test]
async fn another_secret_is_taken_while_a_device_stays_connected() {
    let stack = Stack::start().await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    device.publish(STATE_TOPIC, "{}", false).await;
    assert_eq!(stack.backend.wait(STATE, 1).await[0].header("x-webhook-secret"), Some(SECRET));

    stack.files.lock().unwrap().0 = SECRET_LINE.replace(SECRET, "another");
    assert_eq!(stack.raw("POST", "/local/reload", "", "").await.0, 204);
    device.publish(STATE_TOPIC, "{}", false).await;
    assert_eq!(stack.backend.wait(STATE, 2).await[1].header("x-webhook-secret"), Some("another"));
    device.subscribe("opticworks/dev-1/config/update").await;
    let _other = Profile::new(stack.broker.mqtt, "dev-2").connect().await.unwrap();
    for path in [AUTH, ACL] {
        let asked = stack.backend.received(path).pop().unwrap();
        assert_eq!(asked.header("x-webhook-secret"), Some("another"), "{path}");
    }
}

#[tokio::test]
async fn what_cannot_be_played_changes_nothing() {
    let stack = Stack::start().await;
    stack.files.lock().unwrap().0 = "nonsense = 1".to_owned();
    let (status, said) = stack.raw("POST", "/local/reload", "", "").await;
    assert_eq!(status, 422);
    assert!(said.contains("is set nowhere"), "{said}");
    let _device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    assert_eq!(stack.backend.wait(AUTH, 1).await[0].header("x-webhook-secret"), Some(SECRET));
}

#[tokio::test]
async fn two_keys_are_good_until_one_of_them_is_taken_away() {
    let stack = Stack::start().await;
    let other = Credentials { key: "key".to_owned(), secret: "other".to_owned() };
    let other_calls =
        async || stack.raw("GET", "/api/v5/stats", "authorization: Basic a2V5Om90aGVy\r\n", "").await.0;
    assert_eq!((stack.call("GET", "/stats", None).await.0, other_calls().await), (200, 401));
    stack.files.lock().unwrap().1.push(other);
    assert_eq!(stack.raw("POST", "/local/reload", "", "").await.0, 204);
    assert_eq!((stack.call("GET", "/stats", None).await.0, other_calls().await), (200, 200));
    stack.files.lock().unwrap().1.remove(0);
    assert_eq!(stack.raw("POST", "/local/reload", "", "").await.0, 204);
    assert_eq!((stack.call("GET", "/stats", None).await.0, other_calls().await), (401, 200));
}

#[tokio::test]
async fn what_is_held_waits_and_is_neither_refused_nor_lost() {
    let stack = Stack::start().await;
    let mut device = Profile::new(stack.broker.mqtt, "dev-1").connect().await.unwrap();
    device.publish(STATE_TOPIC, "{}", false).await;
    stack.backend.wait(STATE, 1).await;
    assert_eq!(stack.raw("POST", "/local/hold", "", "").await.0, 204);
    device.publish(STATE_TOPIC, "{}", false).await;
    let address = stack.broker.mqtt;
    let connecting = tokio::spawn(async move { Profile::new(address, "dev-2").connect().await.err() });
    stack.until("the message to wait", async || stack.action("optic_state").await["matched"] == 2).await;
    // What is not held is there within milliseconds.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!connecting.is_finished());
    assert_eq!((stack.backend.received(STATE).len(), stack.backend.received(AUTH).len()), (1, 1));

    assert_eq!(stack.raw("DELETE", "/local/hold", "", "").await.0, 204);
    assert_eq!(connecting.await.unwrap(), None, "it is let in");
    stack.backend.wait(STATE, 2).await;
}
