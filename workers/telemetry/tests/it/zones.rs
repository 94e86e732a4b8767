//! What devices say about zone configurations, on real SQL, and what they are sent when they come.

use pollster::block_on;
use rs1_domain::time::{HOUR, MINUTE, SECOND};
use rs1_domain::wire::config_status::ConfigOutcome;
use rs1_domain::{UnixMillis, UserId};
use rs1_store::native::Failure;
use rs1_store::sql::{first_row, run};
use rs1_store::zones::{self, Current, Written};
use rs1_store::{Param, Statement};
use serde_json::{Value, json};

use crate::common::{Cloud, device, published, ten_o_clock, topic};

const NONE: [i64; 0] = [];
const ZONES: &str = r#"[{"id":"sofa"}]"#;

/// A cloud that wants the device to have version 1.
fn scene() -> Cloud {
    let cloud = Cloud::new();
    want(&cloud, 0);
    cloud.world.broker.subscribe(topic("config/update"));
    cloud
}

fn want(cloud: &Cloud, expected: i64) {
    let owner = UserId::generate(ten_o_clock(), [1; 10]);
    let sql = |sql, params: Vec<Param>| Statement { name: "test", sql, params };
    let user = sql(
        "INSERT INTO users (user_id, issuer, subject, email, email_verified_at, created_at)
         VALUES (?1, 'test', ?1, 'a', 1, 1) ON CONFLICT DO NOTHING",
        vec![owner.as_str().into()],
    );
    let access = sql(
        "INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by)
         VALUES (?1, ?2, 'owner', 1, 'test') ON CONFLICT DO NOTHING",
        vec![device().as_str().into(), owner.as_str().into()],
    );
    let statement = zones::write(&device(), expected, ZONES, &owner, cloud.now);
    let [_, _, written] = block_on(run(&cloud.world.db, [user, access, statement])).unwrap();
    assert!(first_row::<Written>(&written).unwrap().is_some());
}

fn current(cloud: &Cloud) -> Current {
    let [found] = block_on(run(&cloud.world.db, [zones::current(&device())])).unwrap();
    first_row(&found).unwrap().unwrap()
}

fn state(config_version: Option<i64>) -> Value {
    let mut state = json!({
        "online": true, "firmware_version": "1.0.0", "last_seen": "2026-01-20T10:00:00Z", "product_sku": "rs1_pro",
    });
    state["config_version"] = config_version.into();
    state
}

fn says(cloud: &Cloud, config_version: Option<i64>, at: UnixMillis) {
    let answer = cloud.post("/webhook/device-state", &published("state", "s", at, &state(config_version)));
    assert_eq!(answer.status, 204, "{}", answer.body);
}

fn goes(cloud: &Cloud, at: UnixMillis) {
    let mut will = state(None);
    will["online"] = false.into();
    assert_eq!(cloud.post("/webhook/device-state", &published("state", "w", at, &will)).status, 204);
}

fn report(version: i64, status: &str) -> Value {
    json!({"version": version, "status": status, "zone_count": 1, "error": "no", "timestamp": "2020-01-01T00:00:00Z"})
}

fn reports(cloud: &Cloud, version: i64, status: &str, at: UnixMillis) {
    let message = published("config/status", "c", at, &report(version, status));
    assert_eq!(cloud.post("/webhook/config-status", &message).status, 204);
}

/// Versions that the device was sent since the last time.
fn sent(cloud: &Cloud) -> Vec<i64> {
    let version =
        |payload: String| serde_json::from_str::<Value>(&payload).unwrap()["version"].as_i64().unwrap();
    cloud.world.broker.take().into_iter().map(|message| version(message.payload)).collect()
}

#[test]
fn a_device_that_comes_with_an_older_version_is_sent_the_present_one() {
    let cloud = scene();
    says(&cloud, Some(0), cloud.now);
    let messages = cloud.world.broker.take();
    assert_eq!(messages.len(), 1);
    assert_eq!(
        messages[0].payload,
        format!(r#"{{"version":1,"updated_at":"2026-01-20T10:00:00Z","zones":{ZONES}}}"#)
    );
    says(&cloud, Some(0), cloud.now.plus(1));
    assert_eq!(sent(&cloud), NONE, "a moment ago");
    goes(&cloud, cloud.now.plus(2));
    says(&cloud, Some(0), cloud.now.plus(3));
    assert_eq!(sent(&cloud), [1], "it comes anew");
    says(&cloud, Some(1), cloud.now.plus(4));
    goes(&cloud, cloud.now.plus(5));
    says(&cloud, Some(1), cloud.now.plus(6));
    assert_eq!(sent(&cloud), NONE, "it has it");
    goes(&cloud, cloud.now.plus(7));
    says(&cloud, None, cloud.now.plus(8));
    assert_eq!(sent(&cloud), NONE, "it had it, and does not say otherwise");
}

#[test]
fn a_state_costs_one_statement_unless_something_follows() {
    let mut cloud = scene();
    let statements = |work: &dyn Fn()| {
        let before = cloud.world.db.statements_run();
        work();
        cloud.world.db.statements_run() - before
    };
    assert_eq!(statements(&|| says(&cloud, Some(0), cloud.now)), 3, "its variant, its zones");
    assert_eq!(statements(&|| says(&cloud, Some(0), cloud.now.plus(1))), 1);
    assert_eq!(statements(&|| says(&cloud, Some(1), cloud.now.plus(2))), 1);
    cloud.now = cloud.now.plus(HOUR);
    assert_eq!(statements(&|| says(&cloud, Some(1), cloud.now)), 1);
}

#[test]
fn a_device_whose_clock_or_broker_is_ahead_is_sent_it_nonetheless() {
    let cloud = scene();
    says(&cloud, Some(0), cloud.now.plus(5 * SECOND));
    assert_eq!(sent(&cloud), [1]);
}

#[test]
fn while_the_broker_is_down_states_are_taken_in_and_the_zones_wait() {
    let mut cloud = scene();
    cloud.world.broker.fail(Some(Failure::BeforeCommit));
    says(&cloud, Some(0), cloud.now);
    assert!(cloud.device().online);
    cloud.world.broker.fail(None);
    says(&cloud, Some(0), cloud.now.plus(1));
    assert_eq!(sent(&cloud), NONE, "in a minute");
    cloud.now = cloud.now.plus(MINUTE);
    says(&cloud, Some(0), cloud.now);
    assert_eq!(sent(&cloud), [1]);
}

#[test]
fn a_state_whose_zones_could_not_be_looked_for_comes_again() {
    let cloud = scene();
    cloud.world.db.fail_statement("zones_take", Some(Failure::BeforeCommit));
    let message = published("state", "s", cloud.now, &state(Some(0)));
    assert_eq!(cloud.post("/webhook/device-state", &message).status, 503);
    cloud.world.db.fail(None);
    assert_eq!(cloud.post("/webhook/device-state", &message).status, 204);
    assert_eq!(sent(&cloud), [1]);
}

#[test]
fn a_report_is_recorded_by_version_and_by_the_brokers_clock() {
    let cloud = scene();
    want(&cloud, 1);
    let at = |seconds: i64| cloud.now.plus(seconds * SECOND);
    let seen = || {
        let now = current(&cloud);
        (now.applied_version, now.report_version, now.report_outcome)
    };
    reports(&cloud, 1, "applied", at(1));
    assert_eq!(seen(), (1, 1, Some(ConfigOutcome::Applied)));
    reports(&cloud, 2, "rejected", at(3));
    assert_eq!(seen(), (1, 2, Some(ConfigOutcome::Rejected)));
    assert_eq!(current(&cloud).report_error.as_deref(), Some("no"));
    reports(&cloud, 2, "pending", at(2));
    reports(&cloud, 1, "applied", at(1));
    assert_eq!(seen(), (1, 2, Some(ConfigOutcome::Rejected)), "late and repeated");
    reports(&cloud, 2, "applied", at(4));
    assert_eq!(seen(), (2, 2, Some(ConfigOutcome::Applied)));
    assert_eq!(current(&cloud).report_error, None);
    assert_eq!(cloud.device().config_version, Some(2), "the registry knows as well");
    says(&cloud, Some(1), at(3));
    assert_eq!((seen().0, cloud.device().config_version), (2, Some(2)), "a state that crossed it");
    says(&cloud, Some(0), at(5));
    assert_eq!(seen().0, 0, "it was reset");
}

#[test]
fn a_report_that_says_nothing_usable_changes_nothing() {
    let cloud = scene();
    let post = |topic: &str, payload: &Value| {
        cloud.post("/webhook/config-status", &published(topic, "c", cloud.now, payload))
    };
    let answer = post("config/status", &json!({"version": 0, "status": "fine"}));
    let document: Value = serde_json::from_str(&answer.body).unwrap();
    let pointers: Vec<_> = document["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    assert_eq!((answer.status, pointers), (422, vec!["/version", "/status", "/timestamp"]));
    assert_eq!(post("state", &report(1, "applied")).status, 422);
    let mut own = published("config/status", "c", cloud.now, &report(1, "applied"));
    own["clientid"] = "http_api".into();
    assert_eq!(cloud.post("/webhook/config-status", &own).status, 204, "the cloud's own");
    assert_eq!(current(&cloud).report_version, 0);
    let mut other = published("config/status", "c", cloud.now, &report(1, "applied"));
    other["topic"] = format!("opticworks/{}/config/status", "0".repeat(32)).into();
    assert_eq!(cloud.post("/webhook/config-status", &other).status, 404);
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(post("config/status", &report(1, "applied")).status, 503, "EMQX tries again");
}

#[test]
fn a_device_without_a_configuration_may_report_one() {
    let cloud = Cloud::new();
    reports(&cloud, 4, "rejected", cloud.now);
    reports(&cloud, 4, "applied", cloud.now);
    assert_eq!(cloud.device().config_version, Some(4));
}
