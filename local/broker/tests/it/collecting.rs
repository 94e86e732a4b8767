//! Telemetry that is collected on disk and uploaded as objects: the second configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use serde_json::{Value as Json, json};

use crate::backend::TELEMETRY;
use crate::device::{Device, Profile};
use crate::stack::{Beside, Stack};
use crate::store::{BUCKET, Object, Store};

/// A second, the least there is, and checks that nobody waits for.
const QUICK: &str = "
    connectors.s3.optic.resource_opts.health_check_interval = 50ms
    actions.s3.optic_collected.resource_opts.health_check_interval = 50ms
    actions.s3.optic_collected.parameters.aggregation.time_interval = 1s
";
const ACTION: &str = "s3:optic_collected";
const ALL: &[Method] = &[Method::GET, Method::PUT, Method::POST, Method::DELETE];

/// The directory of a broker, gone after its test.
struct Data(PathBuf);

impl Data {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("rs1-collecting-{}-{number}", std::process::id())))
    }

    /// The buffers that are on disk.
    fn buffers(&self) -> Vec<String> {
        let directory = self.0.join("bridge/s3/optic_collected");
        let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn access(key: &str) -> String {
    format!(
        "connectors.s3.optic.host = \"r2.example\"\n\
         connectors.s3.optic.access_key_id = \"{key}\"\n\
         connectors.s3.optic.secret_access_key = \"secret\"\n\
         actions.s3.optic_collected.parameters.bucket = \"{BUCKET}\"\n{QUICK}"
    )
}

/// A broker with the second configuration, and whatever else is in the account's part.
async fn start(store: &Store, data: &Data, more: &str) -> Stack {
    let collected = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../emqx/options/collected.hocon");
    let collected = std::fs::read_to_string(collected).unwrap();
    let beside = Beside {
        files: vec![("collected.hocon", collected), ("r2-access.hocon", format!("{}{more}", access("good")))],
        origins: vec![format!("https://r2.example=http://{}", store.address)],
        data: Some(data.0.clone()),
    };
    Stack::beside("", beside).await
}

async fn connected(stack: &Stack) {
    stack
        .until("the action to be connected", async || status(stack, "actions", ACTION).await == "connected")
        .await;
}

async fn status(stack: &Stack, what: &str, id: &str) -> Json {
    stack.call("GET", &format!("/{what}/{id}"), None).await.1["status"].clone()
}

async fn device(stack: &Stack, name: &str) -> Device {
    Profile::new(stack.broker.mqtt, name).connect().await.unwrap()
}

/// Publishes, and waits until it is on disk.
async fn publish(stack: &Stack, device: &mut Device, name: &str, payload: &str) {
    device.publish(&format!("opticworks/{name}/telemetry"), payload, false).await;
    settled(stack).await;
}

async fn settled(stack: &Stack) {
    stack.until("it to be on disk", async || stack.action(ACTION).await["queued"] == 0).await;
}

async fn payloads(stack: &Stack, store: &Store, count: usize) -> Vec<String> {
    let payloads = || -> Vec<String> {
        let lines = store.objects().iter().flat_map(Object::lines).collect::<Vec<_>>();
        lines.iter().map(|line| line["payload"].as_str().unwrap().to_owned()).collect()
    };
    stack.until("all to be uploaded", async || payloads().len() >= count).await;
    payloads()
}

#[tokio::test]
async fn records_are_collected_and_uploaded_as_emqx_does_it() {
    let (store, data) = (Store::start().await, Data::new());
    let stack = start(&store, &data, "").await;
    connected(&stack).await;
    assert_eq!(status(&stack, "connectors", "s3:optic").await, "connected");
    let (mut first, mut second) = (device(&stack, "dev-1").await, device(&stack, "dev-2").await);
    publish(&stack, &mut first, "dev-1", "{\"t\":\"\u{e9}\"}").await;
    publish(&stack, &mut second, "dev-2", "{}").await;
    // What stands below has its webhook, and the rest has none any more.
    first.publish("opticworks/dev-1/telemetry/response", "{}", false).await;
    stack.backend.wait(TELEMETRY, 1).await;

    let mut sent = payloads(&stack, &store, 2).await;
    sent.sort();
    assert_eq!(sent, ["{\"t\":\"\u{e9}\"}", "{}"]);
    let object = store.objects().remove(0);
    assert_eq!(object.content_type, "application/jsonl");
    let name = object.key.strip_prefix("telemetry/incoming/optic_collected/emqx@127.0.0.1/").unwrap();
    assert!(name.ends_with("Z_0.jsonl") && name.len() == "2026-01-20T10_00_00Z_0.jsonl".len(), "{name}");
    let line = object.lines().remove(0);
    let fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["clientid", "id", "node", "payload", "publish_received_at", "topic"]);
    stack.until("the buffers to go", async || data.buffers().is_empty()).await;
    assert_eq!(stack.backend.received(TELEMETRY).len(), 1);
    assert_eq!(stack.call("GET", "/actions/http:optic_state", None).await.0, 404);
}

#[tokio::test]
async fn nothing_is_lost_while_the_store_is_away_and_the_broker_is_started_again() {
    let (store, data) = (Store::start().await, Data::new());
    let stack = start(&store, &data, "").await;
    connected(&stack).await;
    store.refuse(&[Method::PUT], "ServiceUnavailable");
    let mut one = device(&stack, "dev-1").await;
    publish(&stack, &mut one, "dev-1", "1").await;
    store.refuse(ALL, "ServiceUnavailable");
    stack.until("it to show", async || status(&stack, "actions", ACTION).await == "disconnected").await;
    drop(stack);
    assert_eq!(data.buffers().len(), 1);

    let stack = start(&store, &data, "").await;
    stack.until("a look", async || status(&stack, "connectors", "s3:optic").await == "disconnected").await;
    let mut one = device(&stack, "dev-1").await;
    one.publish("opticworks/dev-1/telemetry", "2", false).await;
    stack.until("it to wait", async || stack.action(ACTION).await["waiting"] == 1).await;
    assert_eq!(store.objects().len(), 0);
    store.refuse(&[], "");
    let mut sent = payloads(&stack, &store, 2).await;
    sent.sort();
    assert_eq!(sent, ["1", "2"]);
}

#[tokio::test]
async fn an_upload_that_is_refused_is_tried_again_when_the_action_is_opened_again() {
    let (store, data) = (Store::start().await, Data::new());
    let stack = start(&store, &data, "").await;
    connected(&stack).await;
    store.refuse(&[Method::PUT], "AccessDenied");
    let mut one = device(&stack, "dev-1").await;
    publish(&stack, &mut one, "dev-1", "1").await;
    let reason =
        async || stack.call("GET", &format!("/actions/{ACTION}"), None).await.1["status_reason"].clone();
    stack.until("the reason", async || reason().await == "AWS error: AccessDenied: no").await;
    assert_eq!(status(&stack, "connectors", "s3:optic").await, "connected");
    store.refuse(&[], "");
    assert_eq!(payloads(&stack, &store, 1).await, ["1"]);
    let counters = stack.action(ACTION).await;
    assert!(counters["objects"]["failed"].as_u64() >= Some(1), "{counters}");
    assert_eq!((&counters["success"], &counters["failed"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn more_than_max_records_are_the_next_object_of_the_interval() {
    let (store, data) = (Store::start().await, Data::new());
    let more = "actions.s3.optic_collected.parameters.aggregation { max_records = 2, time_interval = 1h }";
    let stack = start(&store, &data, more).await;
    connected(&stack).await;
    let mut one = device(&stack, "dev-1").await;
    for payload in ["1", "2", "3", "4", "5"] {
        publish(&stack, &mut one, "dev-1", payload).await;
    }
    assert_eq!(payloads(&stack, &store, 4).await.into_iter().collect::<BTreeSet<_>>().len(), 4);
    let ends: BTreeSet<String> =
        store.objects().iter().map(|object| object.key.rsplit_once('_').unwrap().1.to_owned()).collect();
    assert_eq!(ends.iter().collect::<Vec<_>>(), ["0.jsonl", "1.jsonl"]);
    // The fifth waits for the end of its hour.
    assert_eq!(data.buffers().len(), 1);
}

#[tokio::test]
async fn what_is_larger_than_a_part_goes_in_parts_that_end_where_a_record_does() {
    let (store, data) = (Store::start().await, Data::new());
    let more = "actions.s3.optic_collected.parameters {
        min_part_size = 5MB
        aggregation { max_records = 95, time_interval = 1h }
    }";
    let stack = start(&store, &data, more).await;
    connected(&stack).await;
    let message = json!({ "topic": "opticworks/dev-1/telemetry", "payload": "x".repeat(120_000) });
    for _ in 0..95 {
        assert_eq!(stack.call("POST", "/publish", Some(&message)).await.0, 202);
    }
    assert_eq!(payloads(&stack, &store, 95).await.len(), 95);
    let object = store.objects().remove(0);
    let sizes: Vec<usize> = object.parts.iter().map(bytes::Bytes::len).collect();
    assert!(sizes.len() == 3 && sizes[..2].iter().all(|size| *size >= 5 << 20), "{sizes:?}");
    assert!(object.parts.iter().all(|part| part.ends_with(b"\n")), "{sizes:?}");
    assert_eq!(store.open_uploads(), 0);
}

#[tokio::test]
async fn a_wrong_key_is_told_and_the_right_one_is_taken_without_a_restart() {
    let (store, data) = (Store::start().await, Data::new());
    let wrong = "connectors.s3.optic.access_key_id = ${connectors.http.optic.headers.x-webhook-secret}";
    let stack = start(&store, &data, wrong).await;
    let connector = async || stack.call("GET", "/connectors/s3:optic", None).await.1;
    stack.until("a look", async || connector().await["status"] == "disconnected").await;
    let told = connector().await;
    assert_eq!(told["status_reason"], "AWS error: InvalidAccessKeyId: no");
    assert_eq!(told["node_status"][0]["node"], "emqx@127.0.0.1");
    stack.until("it to show", async || status(&stack, "actions", ACTION).await == "disconnected").await;
    {
        let mut files = stack.files.lock().unwrap();
        files.0 = files.0.replace(crate::stack::SECRET, "good");
    }
    assert_eq!(stack.raw("POST", "/local/reload", "", "").await.0, 204);
    connected(&stack).await;
}
