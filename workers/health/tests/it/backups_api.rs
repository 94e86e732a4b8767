//! `/admin/backups`: asked for, made by the clock, listed and told of.

use rs1_domain::Method;
use rs1_domain::time::{DAY, MINUTE};
use rs1_ops::plan::object_key;
use rs1_store::native::Failure;
use serde_json::json;

use crate::common::{Cloud, body, token};

const OFTEN: &str = "*/5 * * * *";
const DAILY: &str = "0 3 * * *";

#[test]
fn a_backup_is_asked_for_and_the_next_tick_makes_it() {
    let cloud = Cloud::new();
    let asked = cloud.post("/admin/backups", &json!({"reason": " before the migration "}));
    assert_eq!(asked.status, 202, "{}", asked.body);
    let begun = body(&asked);
    assert_eq!(
        (&begun["backup_id"], &begun["state"], &begun["requested_by"], &begun["reason"]),
        (
            &json!("2026-01-20T0300"),
            &json!("running"),
            &json!("ada@optic.works"),
            &json!("before the migration")
        )
    );
    let one = body(&cloud.get("/admin/backups/2026-01-20T0300"));
    assert_eq!((&one["progress"], &one["manifest"]), (&json!(null), &json!(null)), "nothing was done yet");
    cloud.pass(MINUTE);
    assert!(cloud.tick(OFTEN).unwrap().starts_with("backup 2026-01-20T0300 is whole: "));
    assert!(cloud.vault.object(&object_key("2026-01-20T0300")).is_some());
    let one = body(&cloud.get("/admin/backups/2026-01-20T0300"));
    assert_eq!((&one["state"], &one["duration_ms"]), (&json!("complete"), &json!(MINUTE)));
    assert_eq!(one["manifest"]["sha256"], one["sha256"]);
    assert_eq!(one["manifest"]["tables"]["backups"]["rows"], 1);
    assert_eq!(one["schema_version"], one["manifest"]["schema_version"]);
    assert!(one.get("progress").is_some_and(serde_json::Value::is_null));
}

#[test]
fn asking_twice_is_asking_once_and_one_is_made_at_a_time() {
    let cloud = Cloud::new();
    let wish = json!({"reason": "drill"});
    cloud.db.fail_once("backup_begin", Failure::AfterCommit);
    assert_eq!(cloud.post("/admin/backups", &wish).status, 503, "the answer was lost");
    let again = cloud.post("/admin/backups", &wish);
    assert_eq!((again.status, &body(&again)["backup_id"]), (202, &json!("2026-01-20T0300")));
    let other = cloud.post("/admin/backups", &json!({"reason": "another"}));
    assert_eq!(other.status, 409, "somebody else's of this minute");
    let mut stranger = cloud.request(Method::Post, "/admin/backups", wish.to_string().into_bytes());
    stranger.headers = vec![("authorization", format!("Bearer {}", token("eve@optic.works")))];
    assert_eq!(cloud.send(stranger).status, 409);
    cloud.pass(2 * MINUTE);
    let meanwhile = cloud.post("/admin/backups", &wish);
    assert_eq!(meanwhile.status, 409);
    assert_eq!(body(&meanwhile)["detail"], "another backup is being made, 2026-01-20T0300");
    cloud.tick(OFTEN).unwrap();
    assert_eq!(cloud.post("/admin/backups", &wish).status, 202, "the first is whole");
    assert_eq!(body(&cloud.get("/admin/backups"))["items"].as_array().unwrap().len(), 2);
}

#[test]
fn backups_are_listed_newest_first_in_pages() {
    let cloud = Cloud::new();
    for _ in 0..3 {
        cloud.tick(DAILY).unwrap();
        cloud.pass(DAY);
    }
    let first = body(&cloud.get("/admin/backups?limit=2"));
    let ids = |page: &serde_json::Value| -> Vec<String> {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["backup_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&first), ["2026-01-22", "2026-01-21"]);
    let rest = body(&cloud.get(&format!("/admin/backups?cursor={}", first["next_cursor"].as_str().unwrap())));
    assert_eq!((ids(&rest), &rest["next_cursor"]), (vec!["2026-01-20".to_owned()], &json!(null)));
    let item = &first["items"][0];
    assert_eq!(
        (&item["state"], &item["requested_by"], &item["check_ok"]),
        (&json!("complete"), &json!(null), &json!(null))
    );
    assert!(item["row_count"].as_u64().unwrap() > 0 && item["bytes"].as_u64().unwrap() > 0);
    assert!(item.get("progress").is_none());
}

#[test]
fn what_is_wrong_with_a_request_is_said_and_nothing_is_begun() {
    let cloud = Cloud::new();
    let pointers = |answer: &rs1_domain::Answer| body(answer)["errors"].clone();
    let bad = cloud.post("/admin/backups", &json!({"reason": "", "now": true}));
    assert_eq!(bad.status, 422);
    assert_eq!(
        (&pointers(&bad)[0]["pointer"], &pointers(&bad)[1]["pointer"]),
        (&json!("/reason"), &json!("/now"))
    );
    assert_eq!(cloud.operator(Method::Post, "/admin/backups", b"{".to_vec()).status, 400);
    assert_eq!(cloud.get("/admin/backups?cursor=../x").status, 422);
    assert_eq!(cloud.get("/admin/backups/2026-01-20").status, 404);
    assert_eq!(cloud.get("/admin/backups/..%2fx").status, 404);
    assert_eq!(cloud.operator(Method::Delete, "/admin/backups", Vec::new()).status, 405);
    assert_eq!(cloud.send(cloud.request(Method::Get, "/admin/backups", Vec::new())).status, 401);
    assert_eq!(body(&cloud.get("/admin/backups"))["items"], json!([]));
}

#[test]
fn nothing_is_done_that_cannot_be_audited_and_what_is_done_is() {
    let cloud = Cloud::new();
    cloud.db.fail_statement("audit", Some(Failure::BeforeCommit));
    assert_eq!(cloud.post("/admin/backups", &json!({"reason": "drill"})).status, 503);
    cloud.db.fail(None);
    assert_eq!(body(&cloud.get("/admin/backups"))["items"], json!([]));
    cloud.post("/admin/backups", &json!({"reason": "drill"}));
    let logged = cloud.logged("admin_api_access");
    assert!(logged.iter().any(|(who, _)| who == "ada@optic.works"), "{logged:?}");
}

#[test]
fn a_port_that_fails_is_a_503() {
    let cloud = Cloud::new();
    cloud.tick(DAILY).unwrap();
    for target in ["/admin/backups", "/admin/backups/2026-01-20", "/admin/backups/watch"] {
        for name in ["backup_list", "backup_by_id", "watch_list"] {
            cloud.db.fail_statement(name, Some(Failure::BeforeCommit));
            let statement = match target {
                "/admin/backups" => "backup_list",
                "/admin/backups/watch" => "watch_list",
                _ => "backup_by_id",
            };
            assert_eq!(
                cloud.get(target).status,
                if name == statement { 503 } else { 200 },
                "{target} {name}"
            );
        }
    }
    cloud.db.fail(None);
    cloud.vault.fail_after(0, Failure::BeforeCommit);
    assert_eq!(cloud.get("/admin/backups/2026-01-20").status, 503, "the manifest cannot be read");
}

#[test]
fn health_says_what_is_wrong_and_nothing_else_is_here() {
    let cloud = Cloud::new();
    let ask = |method, path: &str| cloud.send(cloud.request(method, path, Vec::new()));
    assert_eq!(ask(Method::Get, "/health").status, 200);
    assert_eq!(ask(Method::Post, "/health").status, 405);
    assert_eq!(ask(Method::Get, "/admin").status, 404);
    cloud.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(ask(Method::Get, "/health").status, 503);
    cloud.db.fail(None);
    let bad = rs1_worker_health::config::Config::read(&|name| {
        (name == "WATCHED_BACKUPS").then(|| "postgres".to_owned())
    });
    let clock = || cloud.now.get();
    let request = cloud.request(Method::Get, "/health", Vec::new());
    let answer =
        pollster::block_on(rs1_worker_health::routes::handle(request, bad.as_ref(), &cloud.world(&clock))).1;
    assert!(
        answer.body.contains("ENVIRONMENT is missing")
            && answer.body.contains("WATCHED_BACKUPS must be a list")
    );
}
