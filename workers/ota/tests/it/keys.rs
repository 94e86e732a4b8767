//! The keys that sign firmware, on real SQL.

use rs1_domain::Method;
use rs1_domain::time::SECOND;
use rs1_store::native::Failure;
use serde_json::json;

use crate::common::{Cloud, NOW, body};

/// Points of the curve: the base point, and twice it.
const ONE: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                   4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
const TWO: &str = "7cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978\
                   07775510db8ed040293d9ac69f7430dbba7dade63ce982299e04b79d227873d1";

#[test]
fn a_key_is_registered_once_and_asking_again_says_the_same() {
    let cloud = Cloud::new();
    let first = cloud.post("/admin/firmware-keys", &json!({"name": "ci", "public_key": ONE}));
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(body(&first)["created_by"], "ada@optic.works");
    cloud.now.set(NOW.plus(5 * SECOND));
    let again =
        cloud.post("/admin/firmware-keys", &json!({"name": " ci ", "public_key": ONE.to_uppercase()}));
    assert_eq!((again.status, &again.body), (200, &first.body));
    let other = cloud.post("/admin/firmware-keys", &json!({"name": "release", "public_key": ONE}));
    assert_eq!(other.status, 409, "one key, one name");
    assert_eq!(
        cloud.post("/admin/firmware-keys", &json!({"name": "ci", "public_key": TWO})).status,
        201,
        "names may repeat: a key is replaced by another of its name"
    );
    let listed = body(&cloud.get("/admin/firmware-keys?limit=1"));
    assert_eq!(listed["items"][0]["public_key"], TWO, "newest first");
    let cursor = listed["next_cursor"].as_str().unwrap().to_owned();
    let rest = body(&cloud.get(&format!("/admin/firmware-keys?cursor={cursor}")));
    assert_eq!((&rest["items"][0]["public_key"], &rest["next_cursor"]), (&json!(ONE), &json!(null)));
}

#[test]
fn every_fault_of_a_key_is_named() {
    let cloud = Cloud::new();
    let answer = cloud
        .post("/admin/firmware-keys", &json!({"name": " ", "public_key": "0".repeat(128), "curve": "P-256"}));
    let faults: Vec<_> =
        body(&answer)["errors"].as_array().unwrap().iter().map(|fault| fault["pointer"].clone()).collect();
    assert_eq!((answer.status, faults), (422, vec![json!("/name"), json!("/public_key"), json!("/curve")]));
    assert_eq!(cloud.operator(Method::Post, "/admin/firmware-keys", b"{".to_vec()).status, 400);
    assert_eq!(body(&cloud.get("/admin/firmware-keys"))["items"], json!([]));
}

#[test]
fn a_revoked_key_stays_revoked() {
    let cloud = Cloud::new();
    let key = body(&cloud.post("/admin/firmware-keys", &json!({"name": "ci", "public_key": ONE})));
    let path = format!("/admin/firmware-keys/{}", key["key_id"].as_str().unwrap());
    cloud.db.fail_statement("firmware_key_revoke", Some(Failure::AfterCommit));
    assert_eq!(cloud.delete(&path).status, 503, "the answer was lost");
    cloud.db.fail(None);
    cloud.now.set(NOW.plus(5 * SECOND));
    let answer = body(&cloud.delete(&path));
    assert_eq!(
        (&answer["revoked_at"], &answer["artifacts"]),
        (&json!("2026-01-20T10:00:00Z"), &json!([])),
        "the first time counts"
    );
    assert_eq!(cloud.post("/admin/firmware-keys", &json!({"name": "ci", "public_key": ONE})).status, 409);
    for unknown in ["fwk-01K000000000000000000000AB", "x"] {
        assert_eq!(cloud.delete(&format!("/admin/firmware-keys/{unknown}")).status, 404, "{unknown}");
    }
}

#[test]
fn operators_only_and_not_without_a_trace() {
    let cloud = Cloud::new();
    for (method, path) in [
        (Method::Get, "/admin/firmware-keys"),
        (Method::Post, "/admin/firmware-keys"),
        (Method::Delete, "/admin/firmware-keys/fwk-1"),
        (Method::Get, "/admin/firmware"),
        (Method::Get, "/admin/firmware/rs1_pro/1.2.0"),
        (Method::Post, "/admin/firmware/rs1_pro/1.2.0/yank"),
    ] {
        assert_eq!(cloud.send(cloud.request(method, path, Vec::new())).status, 401, "{path}");
        cloud.db.fail_statement("audit", Some(Failure::BeforeCommit));
        assert_eq!(cloud.operator(method, path, Vec::new()).status, 503, "{path}");
        cloud.db.fail(None);
    }
    assert_eq!(cloud.operator(Method::Put, "/admin/firmware-keys", Vec::new()).status, 405);
    assert_eq!(cloud.get("/admin/nothing").status, 404);
}

#[test]
fn health_says_what_is_wrong() {
    let cloud = Cloud::new();
    let health = |cloud: &Cloud| cloud.send(cloud.request(Method::Get, "/health", Vec::new()));
    assert_eq!(health(&cloud).status, 200);
    cloud.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(health(&cloud).status, 503);
}
