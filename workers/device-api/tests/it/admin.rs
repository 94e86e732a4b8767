//! The admin routes on real SQL: who is let in, what is enrolled, and that nothing goes unrecorded.
//! Signatures are played by a port; the release bundle's own are proved by the integration specs.

use pollster::block_on;
use rs1_domain::time::SECOND;
use rs1_domain::{DeviceId, MacAddress, Method};
use rs1_store::native::Failure;
use rs1_store::security::{self, SecurityRow, Wanted};
use rs1_store::sql::{rows, run};
use serde_json::{Value, json};

use crate::common::{NOW, base64url, body, cloud, device, mac, token};

#[test]
fn a_device_is_enrolled_once_and_asking_again_says_the_same() {
    let cloud = cloud();
    let first = cloud.enroll(&device(1, 1));
    assert_eq!(first.status, 201, "{}", first.body);
    cloud.now.set(NOW.plus(5 * SECOND));
    let again = cloud.enroll(&device(1, 1));
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(cloud.enroll(&device(1, 2)).status, 409, "another secret");
    let mut lite = device(1, 1);
    lite["product_sku"] = "rs1_lite".into();
    assert_eq!(cloud.enroll(&lite).status, 409, "another variant");
    lite.as_object_mut().unwrap().remove("product_sku");
    assert_eq!(cloud.enroll(&lite).status, 200, "no variant contradicts none");
}

#[test]
fn every_fault_of_an_enrolment_is_named_and_nothing_is_stored() {
    let cloud = cloud();
    let answer =
        cloud.enroll(&json!({"mac_address": "AA", "device_secret_hash": "FF", "product_sku": "x", "mac": 1}));
    let pointers: Vec<_> =
        body(&answer)["errors"].as_array().unwrap().iter().map(|fault| fault["pointer"].clone()).collect();
    assert_eq!(answer.status, 422);
    assert_eq!(pointers, ["/mac_address", "/device_secret_hash", "/product_sku", "/mac"]);
    assert_eq!(body(&cloud.get("/api/admin/devices"))["items"], json!([]));
}

#[test]
fn a_bad_line_harms_no_other() {
    let cloud = cloud();
    cloud.enroll(&device(1, 1));
    let lines = [
        device(1, 1).to_string(),
        "not json".into(),
        String::new(),
        device(2, 2).to_string(),
        device(1, 9).to_string(),
        device(2, 2).to_string(),
        device(2, 3).to_string(),
    ];
    let answer = cloud.bulk(&lines.join("\n"));
    assert_eq!(answer.status, 200);
    let answers: Vec<Value> = answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<_> = answers
        .iter()
        .map(|line| (line["line"].as_u64().unwrap(), line["status"].as_u64().unwrap()))
        .collect();
    // Lines 4 and 6 are the same device twice: both say 201 or 200; the secret of line 7 is another.
    assert_eq!(outcomes[..4], [(1, 200), (2, 422), (4, 201), (5, 409)]);
    assert_eq!(outcomes[4..], [(6, 200), (7, 409)]);
    assert_eq!(cloud.bulk("").status, 422);
    assert_eq!(cloud.bulk(&format!("{}\n", device(3, 3)).repeat(1_001)).status, 422);
}

#[test]
fn nobody_gets_in_without_a_good_token() {
    let cloud = cloud();
    let good = token("k1");
    let forged = format!("{}.{}", good.rsplit_once('.').unwrap().0, base64url(b"k2"));
    for authorization in [
        None,
        Some("Basic eA==".into()),
        Some("Bearer".into()),
        Some("Bearer x.y.z".into()),
        Some(format!("Bearer {forged}")),
    ] {
        let answer = cloud.send(Method::Get, "/api/admin/devices", authorization.clone(), Vec::new());
        assert_eq!(answer.status, 401, "{authorization:?}");
        assert_eq!(answer.headers, [("www-authenticate", "Bearer".to_owned())]);
    }
    cloud.now.set(NOW.plus(3_700 * SECOND));
    assert_eq!(cloud.get("/api/admin/devices").status, 401, "expired");
    assert_eq!(cloud.db.statements_run(), 0, "strangers cost no database");
}

#[test]
fn keys_are_fetched_once_and_again_for_a_new_one_but_not_at_a_strangers_pace() {
    let cloud = cloud();
    for _ in 0..5 {
        assert_eq!(cloud.get("/api/admin/devices").status, 200);
    }
    assert_eq!(cloud.issuer.fetches.get(), 1);
    let with = |key: &str| {
        cloud
            .send(Method::Get, "/api/admin/devices", Some(format!("Bearer {}", token(key))), Vec::new())
            .status
    };
    for _ in 0..5 {
        assert_eq!(with("k9"), 401);
    }
    assert_eq!(cloud.issuer.fetches.get(), 1, "a moment after the last fetch");
    cloud.issuer.keys.borrow_mut().push("k2");
    cloud.now.set(NOW.plus(31 * SECOND));
    assert_eq!(with("k2"), 200, "the issuer's keys were rotated");
    assert_eq!(cloud.issuer.fetches.get(), 2);
}

#[test]
fn an_issuer_that_is_down_is_our_fault_until_it_was_reached_once() {
    let cloud = cloud();
    cloud.issuer.down.set(true);
    assert_eq!(cloud.get("/api/admin/devices").status, 503);
    cloud.issuer.down.set(false);
    cloud.now.set(NOW.plus(31 * SECOND));
    assert_eq!(cloud.get("/api/admin/devices").status, 200);
    cloud.issuer.down.set(true);
    cloud.now.set(NOW.plus(3_500 * SECOND));
    assert_eq!(cloud.get("/api/admin/devices").status, 200, "its keys are known");
}

#[test]
fn every_access_is_recorded_and_an_access_that_cannot_be_is_refused() {
    let cloud = cloud();
    let id = DeviceId::of(&MacAddress::parse(&mac(1)).unwrap());
    cloud.enroll(&json!({}));
    cloud.get(&format!("/api/admin/devices/{id}"));
    cloud.get("/api/admin/security-log");
    let [outcome] =
        block_on(run(&cloud.db, [security::list(&Wanted { rows: 10, ..Wanted::default() }).unwrap()]))
            .unwrap();
    let log: Vec<SecurityRow> = rows(&outcome).unwrap();
    assert_eq!(log.len(), 1, "one operator, one window");
    assert_eq!(
        (log[0].kind.as_str(), log[0].subject.as_str(), log[0].count),
        ("admin_api_access", "ada@optic.works", 3)
    );
    cloud.db.fail_statement("audit", Some(Failure::BeforeCommit));
    assert_eq!(cloud.get("/api/admin/devices").status, 503);
}

#[test]
fn an_enrolment_whose_answer_was_lost_is_the_same_when_asked_again() {
    let cloud = cloud();
    cloud.db.fail_statement("enroll", Some(Failure::AfterCommit));
    assert_eq!(cloud.enroll(&device(1, 1)).status, 503);
    cloud.db.fail(None);
    assert_eq!(cloud.enroll(&device(1, 1)).status, 200);
}

#[test]
fn lists_page_and_refuse_what_they_do_not_know() {
    let cloud = cloud();
    let lines: Vec<_> = (0..7).map(|number| device(number, 1).to_string()).collect();
    cloud.bulk(&lines.join("\n"));
    let page = body(&cloud.get("/api/admin/devices?limit=5"));
    assert_eq!(page["items"].as_array().unwrap().len(), 5);
    let rest = body(
        &cloud.get(&format!("/api/admin/devices?limit=5&cursor={}", page["next_cursor"].as_str().unwrap())),
    );
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (2, &Value::Null));
    assert!(!rest.to_string().contains("sealed"), "credentials are nobody's business");
    for query in ["limit=0", "limit=201", "limit=x", "cursor=x", "colour=red"] {
        assert_eq!(cloud.get(&format!("/api/admin/devices?{query}")).status, 422, "{query}");
    }
    assert_eq!(cloud.get("/api/admin/devices/unknown").status, 404);
    assert_eq!(cloud.get(&format!("/api/admin/devices/{}/telemetry", "0".repeat(32))).status, 404);
    let id = DeviceId::of(&MacAddress::parse(&mac(1)).unwrap());
    assert_eq!(body(&cloud.get(&format!("/api/admin/devices/{id}/telemetry?hours=720")))["items"], json!([]));
    assert_eq!(cloud.get(&format!("/api/admin/devices/{id}/telemetry?hours=721")).status, 422);
    assert_eq!(cloud.send(Method::Delete, "/api/admin/devices", None, Vec::new()).status, 405);
}
