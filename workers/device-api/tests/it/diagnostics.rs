//! Asking devices about themselves, on real SQL: the telemetry worker's part, taking the answer in, is proved there.

use pollster::block_on;
use rs1_domain::port::{Bucket, Encoding, NewObject};
use rs1_domain::time::SECOND;
use rs1_domain::{Answer, DeviceId, Method, UnixMillis};
use rs1_store::diagnostics::answered;
use rs1_store::native::Failure;
use rs1_store::sql::run;
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, body, cloud, token};

fn scene() -> (Cloud, DeviceId) {
    let cloud = cloud();
    let device = cloud.device(1);
    cloud.broker.subscribe(format!("opticworks/{device}/diag/request"));
    (cloud, device)
}

fn ask(cloud: &Cloud, device: &DeviceId, include: &Value) -> Answer {
    cloud.post(&format!("/api/admin/devices/{device}/diagnostics"), include)
}

/// The device answers, and the answer is taken in.
fn answer(cloud: &Cloud, device: &DeviceId, request_id: &str, at: UnixMillis) {
    let text = format!(
        r#"{{"request_id": "{request_id}", "timestamp": "2026-01-20T10:00:01Z", "diagnostics": {{"heap": {{"free": 1.50}}}}}}"#
    );
    let key = rs1_domain::diagnostics::key(device, request_id, NOW);
    let object = NewObject {
        key: &key,
        body: text.as_bytes(),
        content_type: "application/json",
        encoding: Encoding::Identity,
        label: None,
    };
    assert!(block_on(cloud.files.put_new(object)).unwrap());
    block_on(run(&cloud.db, [answered(device, request_id, 100, at)])).unwrap();
}

#[test]
fn a_device_is_asked_and_its_answer_is_fetched() {
    let (cloud, device) = scene();
    let asked = ask(&cloud, &device, &json!({"include": ["heap", "logs"]}));
    assert_eq!(asked.status, 202, "{}", asked.body);
    let id = body(&asked)["request_id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("dia-"));
    let path = format!("/api/admin/devices/{device}/diagnostics/{id}");
    assert!(asked.headers.contains(&("location", path.clone())));
    let sent = cloud.broker.take();
    assert_eq!(sent[0].topic, format!("opticworks/{device}/diag/request"));
    let payload: Value = serde_json::from_str(&sent[0].payload).unwrap();
    assert_eq!(payload, json!({"request_id": id, "include": ["heap", "logs"]}));

    let waiting = cloud.get(&path);
    assert_eq!((waiting.status, &body(&waiting)["status"]), (202, &json!("waiting")));
    assert!(waiting.headers.iter().any(|(name, _)| *name == "retry-after"));
    cloud.now.set(NOW.plus(120 * SECOND));
    assert_eq!(cloud.get(&path).status, 202, "it has two minutes");
    cloud.now.set(NOW.plus(121 * SECOND));
    assert_eq!(cloud.get(&path).status, 504);
    answer(&cloud, &device, &id, NOW.plus(122 * SECOND));
    let there = cloud.get(&path);
    assert_eq!((there.status, &body(&there)["status"]), (200, &json!("answered")), "late is not never");
    assert!(there.body.contains(r#""diagnostics":{"heap": {"free": 1.50}}"#), "as sent: {}", there.body);
    assert_eq!(body(&there)["requested_by"], "ada@optic.works");
}

#[test]
fn who_does_not_say_what_for_asks_for_the_usual() {
    let (cloud, device) = scene();
    let usual = json!(["heap", "tasks", "config", "logs"]);
    assert_eq!(body(&ask(&cloud, &device, &json!({})))["include"], usual);
    cloud.now.set(NOW.plus(11 * SECOND));
    let path = format!("/api/admin/devices/{device}/diagnostics");
    let bare = cloud.send(Method::Post, &path, Some(format!("Bearer {}", token("k1"))), Vec::new());
    assert_eq!((bare.status, &body(&bare)["include"]), (202, &usual));
}

#[test]
fn every_fault_is_named_and_nobody_is_asked() {
    let (cloud, device) = scene();
    let pointers = |answer: &Answer| -> Vec<String> {
        let errors = body(answer)["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    };
    let faulty = ask(&cloud, &device, &json!({"include": ["heap", "Heap", 5, "heap", ""], "all": true}));
    assert_eq!(
        (faulty.status, pointers(&faulty)),
        (422, ["/include/1", "/include/2", "/include/3", "/include/4", "/all"].map(str::to_owned).to_vec())
    );
    for include in [json!([]), json!("heap"), json!((0..17).map(|n| format!("s{n}")).collect::<Vec<_>>())] {
        assert_eq!(pointers(&ask(&cloud, &device, &json!({"include": include}))), ["/include"]);
    }
    let nobody = DeviceId::parse(&"0".repeat(32)).unwrap();
    assert_eq!(ask(&cloud, &nobody, &json!({})).status, 404);
    assert_eq!(cloud.broker.take(), []);
}

#[test]
fn a_device_is_asked_once_in_ten_seconds_and_only_if_it_is_connected() {
    let (cloud, device) = scene();
    assert_eq!(ask(&cloud, &device, &json!({})).status, 202);
    let again = ask(&cloud, &device, &json!({}));
    assert_eq!(again.status, 429);
    assert!(again.headers.contains(&("retry-after", "10".to_owned())));
    cloud.now.set(NOW.plus(10 * SECOND));
    cloud.broker.unsubscribe(&format!("opticworks/{device}/diag/request"));
    assert_eq!(ask(&cloud, &device, &json!({})).status, 409);
    cloud.now.set(NOW.plus(20 * SECOND));
    cloud.broker.fail(Some(Failure::BeforeCommit));
    assert_eq!(ask(&cloud, &device, &json!({})).status, 503);
}

#[test]
fn an_answer_is_found_under_its_own_device_alone_and_while_it_is_kept() {
    let (cloud, device) = scene();
    let id = body(&ask(&cloud, &device, &json!({})))["request_id"].as_str().unwrap().to_owned();
    let other = cloud.device(2);
    assert_eq!(cloud.get(&format!("/api/admin/devices/{other}/diagnostics/{id}")).status, 404);
    assert_eq!(cloud.get(&format!("/api/admin/devices/{device}/diagnostics/dia-none")).status, 404);
    block_on(run(&cloud.db, [answered(&device, &id, 100, NOW)])).unwrap();
    let gone = cloud.get(&format!("/api/admin/devices/{device}/diagnostics/{id}"));
    assert_eq!(gone.status, 404, "the bucket's lifecycle was here");
    cloud.db.fail_statement("diagnostics_of_device", Some(Failure::BeforeCommit));
    assert_eq!(cloud.get(&format!("/api/admin/devices/{device}/diagnostics/{id}")).status, 503);
}

#[test]
fn every_question_and_every_look_is_audited() {
    let (cloud, device) = scene();
    let id = body(&ask(&cloud, &device, &json!({})))["request_id"].as_str().unwrap().to_owned();
    cloud.get(&format!("/api/admin/devices/{device}/diagnostics/{id}"));
    let audited = cloud.sql(
        "SELECT method, route, actor FROM audit_log WHERE target = ?1 ORDER BY id",
        vec![device.as_str().into()],
    );
    assert_eq!(
        audited,
        [
            json!({"method": "POST", "route": "/api/admin/devices/{id}/diagnostics", "actor": "ada@optic.works"}),
            json!({"method": "GET", "route": "/api/admin/devices/{id}/diagnostics/{request}", "actor": "ada@optic.works"}),
        ]
    );
    cloud.db.fail_statement("audit", Some(Failure::BeforeCommit));
    cloud.now.set(NOW.plus(60 * SECOND));
    cloud.broker.take();
    assert_eq!(ask(&cloud, &device, &json!({})).status, 503);
    assert_eq!(cloud.broker.take(), [], "what cannot be recorded is not done");
}
