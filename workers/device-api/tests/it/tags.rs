//! What operators label devices with, on real SQL.

use rs1_domain::Method;
use rs1_store::native::Failure;
use serde_json::{Value, json};

use crate::common::{body, cloud, token};

#[test]
fn a_devices_tags_are_replaced_whole_sorted_and_each_once() {
    let cloud = cloud();
    let device = cloud.device(1);
    let path = format!("/api/admin/devices/{device}/tags");
    let operator = || Some(format!("Bearer {}", token("k1")));
    let put_at =
        |path: &str, body: &Value| cloud.send(Method::Put, path, operator(), body.to_string().into_bytes());
    let put = |body: &Value| put_at(&path, body);
    let get = || body(&cloud.get(&path))["tags"].clone();
    assert_eq!(get(), json!([]));
    let answer = put(&json!({"tags": ["lab", "beta", "lab"]}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(body(&answer), json!({"device_id": device, "tags": ["beta", "lab"]}));
    assert_eq!(get(), json!(["beta", "lab"]));
    for (wrong, pointer) in [
        (json!({"tags": ["ok", "No"]}), "/tags/1"),
        (json!({"tags": "beta"}), "/tags"),
        (json!({}), "/tags"),
        (json!({"tags": [], "more": 1}), "/more"),
        (json!({"tags": vec!["x"; 33]}), "/tags"),
    ] {
        let answer = put(&wrong);
        assert_eq!(
            (answer.status, body(&answer)["errors"][0]["pointer"].as_str()),
            (422, Some(pointer)),
            "{wrong}"
        );
    }
    assert_eq!(get(), json!(["beta", "lab"]), "a fault changes nothing");
    assert_eq!(put(&json!({"tags": []})).status, 200);
    assert_eq!(get(), json!([]));
    let nobody = "/api/admin/devices/00112233445566778899aabbccddeeff/tags";
    assert_eq!(put_at(nobody, &json!({"tags": []})).status, 404);
    assert_eq!(cloud.get(nobody).status, 404);
    cloud.db.fail_statement("device_set_tags", Some(Failure::BeforeCommit));
    assert_eq!(put(&json!({"tags": []})).status, 503);
}
