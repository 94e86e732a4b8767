//! Every route of the worker, good and bad input, and ports that fail.

use pollster::block_on;
use rs1_domain::config::BadConfig;
use rs1_domain::time::{HOUR, SECOND};
use rs1_domain::{Answer, Method};
use rs1_rollout::OtaEvent;
use rs1_store::Statement;
use rs1_store::native::Failure;
use rs1_store::sql::run;
use rs1_worker_telemetry::config::Config;
use serde_json::{Value, json};

use crate::common::{Cloud, KEK, PASSWORD, SECRET, device, published, telemetry_payload, ten_o_clock, topic};

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or(Value::Null)
}

fn connect(password: &str) -> Value {
    json!({"clientid": device(), "username": device(), "password": password, "peerhost": "203.0.113.7", "cert_common_name": ""})
}

#[test]
fn nothing_is_answered_without_the_secret() {
    let cloud = Cloud::new();
    for path in [
        "/webhook/mqtt-auth",
        "/webhook/mqtt-acl",
        "/webhook/device-state",
        "/webhook/telemetry",
        "/webhook/device-offline",
        "/webhook/ota-status",
    ] {
        for secret in [None, Some(""), Some("wrong"), SECRET.strip_prefix("the ")] {
            let answer = cloud.request(Method::Post, path, secret, b"{}".to_vec());
            assert_eq!(answer.status, 401, "{path} with {secret:?}");
            assert_eq!(answer.content_type, Some("application/problem+json"));
        }
        assert_eq!(cloud.request(Method::Get, path, Some(SECRET), Vec::new()).status, 405, "{path}");
    }
    assert_eq!(cloud.request(Method::Post, "/webhook/nothing", Some(SECRET), Vec::new()).status, 404);
    assert_eq!(cloud.world.db.statements_run(), 1, "only the test's own enrolment");
}

#[test]
fn health_needs_no_secret_and_says_what_is_wrong() {
    let cloud = Cloud::new();
    let answer = cloud.request(Method::Get, "/webhook/health", None, Vec::new());
    assert_eq!((answer.status, body(&answer)["status"].as_str()), (200, Some("ok")));
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    let answer = cloud.request(Method::Get, "/webhook/health", None, Vec::new());
    assert_eq!((answer.status, body(&answer)["checks"]["database"]["status"].as_str()), (503, Some("fail")));
}

#[test]
fn a_bad_configuration_names_every_setting() {
    let settings = |name: &str| (name == "WEBHOOK_SECRET").then(|| "short".to_owned());
    let Err(BadConfig(faults)) = Config::read(&settings) else { panic!("too short a secret was taken") };
    assert_eq!(
        faults,
        [
            "ENVIRONMENT is missing; it must be local, staging or production",
            "WEBHOOK_SECRET must have at least 32 characters",
            "DEVICE_KEK is missing; it must be 64 hex digits, and so must …_PREVIOUS",
            "EMQX_API_URL is missing; it must be an http or https URL",
            "EMQX_API_KEY is missing; it must be an API key and its secret, key:secret"
        ]
    );
}

#[test]
fn a_device_with_its_password_is_admitted_with_its_topics_for_one_read() {
    let cloud = Cloud::new();
    let before = cloud.world.db.statements_run();
    let answer = cloud.post("/webhook/mqtt-auth", &connect(PASSWORD));
    let body = body(&answer);
    assert_eq!(
        (answer.status, body["result"].as_str(), body["is_superuser"].as_bool()),
        (200, Some("allow"), Some(false))
    );
    assert_eq!(body["acl"][0]["topics"][1], topic("telemetry/#"));
    assert_eq!(cloud.world.db.statements_run() - before, 1);
    assert!(cloud.world.queue.take().is_empty());
}

#[test]
fn everyone_else_is_refused_with_a_200_that_says_deny() {
    let mut cloud = Cloud::new();
    for (name, value) in [
        ("password", "0".repeat(64)),
        ("password", String::new()),
        ("password", "päss\"\\wörd".into()),
        ("clientid", "00112233445566778899aabbccddeeff".into()),
        ("clientid", String::new()),
        ("username", "00112233445566778899aabbccddeeff".into()),
        ("username", "undefined".into()),
    ] {
        let mut question = connect(PASSWORD);
        question[name] = value.clone().into();
        let answer = cloud.post("/webhook/mqtt-auth", &question);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, r#"{"result":"deny","is_superuser":false}"#),
            "{name} {value}"
        );
    }
    cloud.now = ten_o_clock().plus(2 * HOUR);
    assert_eq!(
        body(&cloud.post("/webhook/mqtt-auth", &connect(PASSWORD)))["result"],
        "deny",
        "a stale password"
    );
}

#[test]
fn a_fault_of_ours_is_a_503_in_admission() {
    let cloud = Cloud::new();
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(cloud.post("/webhook/mqtt-auth", &connect(PASSWORD)).status, 503);
    let answer = cloud.request(Method::Post, "/webhook/mqtt-auth", Some(SECRET), b"[]".to_vec());
    assert_eq!(answer.status, 400);
}

#[test]
fn six_failures_from_one_address_are_reported_once_and_a_broken_queue_still_refuses() {
    let mut cloud = Cloud::new();
    for _ in 0..9 {
        cloud.now = cloud.now.plus(SECOND);
        assert_eq!(body(&cloud.post("/webhook/mqtt-auth", &connect("wrong")))["result"], "deny");
    }
    cloud.drain();
    let log = cloud.security_log();
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].kind.as_str(), log[0].subject.as_str()), ("auth_failure_repeated", "203.0.113.7"));
    assert_eq!(log[0].count, 9);

    cloud.world.queue.fail(true);
    let answer = cloud.post("/webhook/mqtt-auth", &connect("wrong"));
    assert_eq!(body(&answer)["result"], "deny");
    assert!(answer.log.unwrap().contains("not counted"));
}

#[test]
fn topics_are_decided_without_the_database_and_refusals_are_logged() {
    let cloud = Cloud::new();
    let before = cloud.world.db.statements_run();
    let ask = |action: &str, topic: &str| {
        let question = json!({"clientid": device(), "username": device(), "peerhost": "203.0.113.7", "action": action, "topic": topic, "qos": "0", "retain": "false"});
        body(&cloud.post("/webhook/mqtt-acl", &question))["result"].as_str().map(str::to_owned)
    };
    assert_eq!(ask("publish", &topic("telemetry/temp")).as_deref(), Some("allow"));
    assert_eq!(ask("subscribe", &topic("ota/trigger")).as_deref(), Some("allow"));
    assert!(cloud.world.queue.take().is_empty());
    assert_eq!(ask("subscribe", "#").as_deref(), Some("deny"));
    assert_eq!(ask("publish", "opticworks/00112233445566778899aabbccddeeff/state").as_deref(), Some("deny"));
    assert_eq!(cloud.world.db.statements_run(), before);
    cloud.drain();
    let log = cloud.security_log();
    assert_eq!(log.len(), 1, "one burst, one row");
    assert_eq!((log[0].kind.as_str(), log[0].count), ("acl_violation", 2));
    assert_eq!(log[0].subject, "203.0.113.7");
    assert_eq!((&log[0].detail["topic"], &log[0].detail["username"]), (&json!("#"), &json!(device())));
}

#[test]
fn a_call_without_the_secret_is_refused_and_its_address_logged() {
    let cloud = Cloud::new();
    let call = |secret: Option<&str>, address: Option<&str>| {
        let headers = [("x-webhook-secret", secret), ("cf-connecting-ip", address)];
        let headers: Vec<_> = headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        cloud.send(Method::Post, "/webhook/telemetry", &headers, b"{}".to_vec())
    };
    for (secret, address) in [
        (Some("wrong"), Some("203.0.113.7")),
        (None, Some("203.0.113.7")),
        (Some(""), Some("2001:db8::1")),
        (None, Some("2001:db8::2")),
        (None, None),
    ] {
        assert_eq!(call(secret, address).status, 401);
    }
    assert_eq!(
        call(Some(SECRET), Some("203.0.113.7")).status,
        422,
        "with the secret it is the body that is wrong"
    );
    cloud.drain();
    let log = cloud.security_log();
    let mut seen: Vec<_> = log
        .iter()
        .map(|row| (row.kind.as_str(), row.subject.as_str(), row.peerhost.as_deref(), row.count))
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            ("bad_webhook_secret", "2001:db8:0:0::/64", Some("2001:db8::1"), 2),
            ("bad_webhook_secret", "203.0.113.7", Some("203.0.113.7"), 2),
            ("bad_webhook_secret", "unknown", None, 1),
        ]
    );
    let first = log.iter().find(|row| row.subject == "203.0.113.7").unwrap();
    assert_eq!(first.detail, json!({"route": "/webhook/telemetry", "secret": "wrong"}));
    cloud.world.queue.fail(true);
    let answer = call(None, Some("198.51.100.1"));
    assert_eq!(answer.status, 401, "{}", answer.body);
    assert!(answer.log.unwrap().contains("not recorded"));
}

#[test]
fn while_the_secret_is_replaced_who_has_the_old_one_is_served_and_known() {
    let old = "the secret from before, long enough too";
    let cloud = Cloud::with(&[("WEBHOOK_SECRET_PREVIOUS", old)]);
    let question = connect(PASSWORD).to_string().into_bytes();
    let say = |secret| {
        let headers = [("x-webhook-secret", secret), ("cf-connecting-ip", "192.0.2.10")];
        cloud.send(Method::Post, "/webhook/mqtt-auth", &headers, question.clone()).status
    };
    assert_eq!((say(SECRET), say(old), say("neither")), (200, 200, 401));
    cloud.world.queue.fail(true);
    assert_eq!(say(old), 200, "a log that cannot be told refuses nobody");
    cloud.world.queue.fail(false);
    assert_eq!(say(old), 200);
    cloud.drain();
    let log = cloud.security_log();
    let outdated: Vec<_> = log.iter().filter(|row| row.kind == "outdated_secret").collect();
    assert_eq!(outdated.len(), 1);
    assert_eq!((outdated[0].subject.as_str(), outdated[0].count), ("192.0.2.10", 3));
    assert_eq!(outdated[0].detail, json!({"route": "/webhook/mqtt-auth", "secret": "previous"}));
    assert_eq!(log.iter().filter(|row| row.kind == "bad_webhook_secret").count(), 1);
}

#[test]
fn keys_that_were_sealed_before_the_key_encryption_key_was_replaced_open() {
    let cloud = Cloud::new();
    let new = "0".repeat(64);
    let settings = |name: &str| match name {
        "ENVIRONMENT" => Some("local".to_owned()),
        "WEBHOOK_SECRET" => Some(SECRET.to_owned()),
        "DEVICE_KEK" => Some(new.clone()),
        "DEVICE_KEK_PREVIOUS" => Some(KEK.to_owned()),
        "EMQX_API_URL" => Some("http://127.0.0.1:18083/api/v5".to_owned()),
        "EMQX_API_KEY" => Some("key:secret".to_owned()),
        _ => None,
    };
    let admit = |cloud: &Cloud| cloud.post("/webhook/mqtt-auth", &connect(PASSWORD));
    let cloud = Cloud { config: Config::read(&settings).unwrap(), ..cloud };
    assert_eq!(admit(&cloud).status, 200);
    let dropped = |name: &str| if name == "DEVICE_KEK_PREVIOUS" { None } else { settings(name) };
    let cloud = Cloud { config: Config::read(&dropped).unwrap(), ..cloud };
    assert_eq!(admit(&cloud).status, 503, "it does not open, which is no fault of the device's");
}

#[test]
fn a_flood_of_any_kind_is_few_messages_and_few_rows() {
    let mut cloud = Cloud::new();
    let (mut messages, mut deliveries) = (0, Vec::new());
    for number in 0..3_000_i64 {
        cloud.now = ten_o_clock().plus(number * 20);
        let peerhost = format!("198.51.100.{}", number % 50);
        let name = format!("forged-{number}");
        match number / 50 % 3 {
            0 => cloud.post("/webhook/mqtt-auth", &json!({"clientid": name, "username": name, "password": "x", "peerhost": peerhost, "cert_common_name": ""})),
            1 => cloud.post("/webhook/mqtt-acl", &json!({"clientid": name, "username": name, "peerhost": peerhost, "action": "publish",
                "topic": name, "qos": "0", "retain": "false"})),
            _ => {
                let headers = [("x-webhook-secret", name.as_str()), ("cf-connecting-ip", peerhost.as_str())];
                cloud.send(Method::Post, "/webhook/device-state", &headers, Vec::new())
            }
        };
        deliveries.extend(cloud.world.queue.take());
        messages = deliveries.len();
    }
    assert!(messages < 250, "{messages} messages");
    for batch in deliveries.chunks(100) {
        assert!(cloud.deliver(batch).retries.is_empty());
    }
    let log = cloud.security_log();
    for kind in ["auth_failure_repeated", "acl_violation", "bad_webhook_secret"] {
        let rows: Vec<_> = log.iter().filter(|row| row.kind == kind).collect();
        assert_eq!(rows.len(), 50, "{kind}: one an address");
        assert!(rows.iter().all(|row| Some(row.subject.as_str()) == row.peerhost.as_deref()), "{kind}");
    }
}

#[test]
fn a_device_that_rejects_an_image_is_logged_and_its_report_taken_all_the_same() {
    let cloud = Cloud::new();
    let mut status = ota_status("failed");
    status["error"] = "bad_signature".into();
    let message = published("ota/status", "m1", cloud.now, &status);
    assert_eq!(cloud.post("/webhook/ota-status", &message).status, 202);
    assert_eq!(cloud.world.updates.take().len(), 1);
    status["error"] = "download_failed".into();
    let other = published("ota/status", "m2", cloud.now, &status);
    assert_eq!(cloud.post("/webhook/ota-status", &other).status, 202);
    cloud.drain();
    let log = cloud.security_log();
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].kind.as_str(), log[0].subject.as_str()), ("firmware_rejected", device().as_str()));
    assert_eq!(log[0].detail, json!({"version": "1.2.0", "error": "bad_signature", "rollout_id": "rol-01"}));
    cloud.world.queue.fail(true);
    assert_eq!(cloud.post("/webhook/ota-status", &message).status, 503, "EMQX brings it again");
}

fn state(online: bool) -> Value {
    json!({"online": online, "firmware_version": "1.2.0", "last_seen": "2026-01-20T10:00:00Z", "wifi_rssi": -61})
}

#[test]
fn a_state_is_taken_in_with_one_statement_whatever_is_repeated_or_late() {
    let cloud = Cloud::new();
    let at = cloud.now;
    let before = cloud.world.db.statements_run();
    assert_eq!(cloud.post("/webhook/device-state", &published("state", "m1", at, &state(true))).status, 204);
    assert_eq!(cloud.world.db.statements_run() - before, 1);
    assert!(cloud.device().online);
    assert_eq!(cloud.device().wifi_rssi, Some(-61));
    assert_eq!(
        cloud.post("/webhook/device-state", &published("state", "m1", at, &state(true))).status,
        204,
        "repeated"
    );
    assert_eq!(
        cloud.post("/webhook/device-state", &published("state", "m2", at.plus(SECOND), &state(false))).status,
        204,
        "last will"
    );
    assert!(!cloud.device().online);
    assert_eq!(cloud.device().offline_reason.as_deref(), Some("will"));
    assert_eq!(
        cloud.post("/webhook/device-state", &published("state", "m1", at, &state(true))).status,
        204,
        "late"
    );
    assert!(!cloud.device().online);
}

#[test]
fn a_state_that_is_wrong_names_its_faults_and_changes_nothing() {
    let cloud = Cloud::new();
    let wrong = json!({"online": 1, "firmware_version": "x"});
    let answer = cloud.post("/webhook/device-state", &published("state", "m1", cloud.now, &wrong));
    assert_eq!(answer.status, 422);
    assert_eq!(body(&answer)["errors"].as_array().unwrap().len(), 3);
    assert_eq!(
        cloud.post("/webhook/device-state", &published("telemetry", "m1", cloud.now, &state(true))).status,
        422
    );
    let mut foreign = published("state", "m1", cloud.now, &state(true));
    foreign["topic"] = "opticworks/00112233445566778899aabbccddeeff/state".into();
    assert_eq!(cloud.post("/webhook/device-state", &foreign).status, 404);
    let mut own = published("state", "m1", cloud.now, &state(true));
    own["clientid"] = "http_api".into();
    assert_eq!(cloud.post("/webhook/device-state", &own).status, 204, "ignored: the cloud's own");
    assert!(!cloud.device().online);
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(
        cloud.post("/webhook/device-state", &published("state", "m1", cloud.now, &state(true))).status,
        503
    );
}

#[test]
fn a_session_that_was_taken_over_does_not_take_the_device_for_offline() {
    let cloud = Cloud::new();
    let at = cloud.now;
    cloud.post("/webhook/device-state", &published("state", "m1", at, &state(true)));
    let ended = |reason: &str, ended_at: i64| {
        json!({"event": "client.disconnected", "reason": reason, "clientid": device(), "username": device(),
            "peername": "203.0.113.7:50412", "connected_at": at.0 - HOUR, "disconnected_at": ended_at})
    };
    for reason in ["takenover", "discarded"] {
        assert_eq!(cloud.post("/webhook/device-offline", &ended(reason, at.0 + 50)).status, 204);
        assert!(cloud.device().online, "{reason}");
    }
    assert_eq!(
        cloud.post("/webhook/device-offline", &ended("keepalive_timeout", at.0 - 1)).status,
        204,
        "before the state"
    );
    assert!(cloud.device().online);
    assert_eq!(cloud.post("/webhook/device-offline", &ended("keepalive_timeout", at.0 + 1)).status, 204);
    assert!(!cloud.device().online);
    assert_eq!(cloud.device().offline_reason.as_deref(), Some("keepalive_timeout"));
    let mut tool = ended("normal", at.0 + 2);
    tool["clientid"] = "dashboard-1".into();
    assert_eq!(cloud.post("/webhook/device-offline", &tool).status, 204, "not a device");
    assert_eq!(cloud.post("/webhook/device-offline", &json!({"event": "client.connected"})).status, 422);
}

#[test]
fn telemetry_is_queued_without_the_database() {
    let cloud = Cloud::new();
    let before = cloud.world.db.statements_run();
    let message = published("telemetry", "m1", cloud.now, &telemetry_payload(cloud.now, 5));
    assert_eq!(cloud.post("/webhook/telemetry", &message).status, 202);
    assert_eq!(cloud.world.db.statements_run(), before);
    assert_eq!(cloud.world.queue.take().len(), 1);

    for (payload, pointer) in [
        (json!({"t": 21.5, "seq": 7}), "/device_id"),
        (json!([]), ""),
        (json!({"device_id": "other", "timestamp": cloud.now, "metrics": {}}), "/device_id"),
    ] {
        let answer = cloud.post("/webhook/telemetry", &published("telemetry", "m1", cloud.now, &payload));
        assert_eq!(
            (answer.status, body(&answer)["errors"][0]["pointer"].as_str()),
            (422, Some(pointer)),
            "{payload}"
        );
    }
    let binary = json!({"topic": topic("telemetry/bin"), "payload_b64": "/wH+"});
    assert_eq!(cloud.post("/webhook/telemetry", &binary).status, 422);

    cloud.world.queue.fail(true);
    assert_eq!(cloud.post("/webhook/telemetry", &message).status, 503, "EMQX tries again");
}

fn ota_status(status: &str) -> Value {
    json!({"status": status, "version": "1.2.0", "progress": 40, "error": null, "rollout_id": "rol-01",
        "timestamp": "2026-01-20T10:00:00Z"})
}

#[test]
fn a_report_of_an_update_is_queued_without_the_database() {
    let cloud = Cloud::new();
    let before = cloud.world.db.statements_run();
    let message = published("ota/status", "m1", cloud.now, &ota_status("downloading"));
    assert_eq!(cloud.post("/webhook/ota-status", &message).status, 202);
    assert_eq!(cloud.world.db.statements_run(), before);
    let queued = cloud.world.updates.take();
    assert_eq!(queued.len(), 1);
    let OtaEvent::Status { id, device_id, received_at, status } = OtaEvent::from_json(&queued[0]).unwrap()
    else {
        panic!("{}", queued[0])
    };
    assert_eq!((id.as_str(), device_id, received_at), ("m1", device(), cloud.now));
    assert_eq!((status.rollout_id.as_deref(), status.progress), (Some("rol-01"), Some(40)));

    let wrong = json!({"status": "exploding", "progress": 400});
    let answer = cloud.post("/webhook/ota-status", &published("ota/status", "m1", cloud.now, &wrong));
    assert_eq!(answer.status, 422);
    assert!(body(&answer)["errors"].as_array().unwrap().len() >= 3, "{}", answer.body);
    let elsewhere = published("telemetry", "m1", cloud.now, &ota_status("pending"));
    assert_eq!(cloud.post("/webhook/ota-status", &elsewhere).status, 422);
    let mut own = message.clone();
    own["clientid"] = "http_api".into();
    assert_eq!(cloud.post("/webhook/ota-status", &own).status, 204, "ignored: the cloud's own");
    assert!(cloud.world.updates.take().is_empty());
    cloud.world.updates.fail(true);
    assert_eq!(cloud.post("/webhook/ota-status", &message).status, 503, "EMQX tries again");
}

/// Puts a rollout under way by hand, with or without an open attempt of the device.
fn under_way(cloud: &Cloud, with_attempt: bool) {
    let run_sql = |sql: &'static str| {
        block_on(run(
            &cloud.world.db,
            [Statement { name: "test", sql, params: vec![device().as_str().into()] }],
        ))
        .unwrap();
    };
    run_sql("UPDATE devices SET product_sku = 'rs1_pro' WHERE device_id = ?1");
    run_sql(
        "INSERT INTO rollouts (rollout_id, sku, version, sha256, elf_sha256, fw_version, stages, min_rssi, force,
           rate_per_minute, selector, created_at, created_by, status)
         SELECT 'rol-01', 'rs1_pro', '1.2.0', hex(zeroblob(32)), hex(zeroblob(32)), 1, '[]', -70, 0, 60, '{}', 0, 'ada', 'STAGED'
         WHERE ?1 IS NOT NULL",
    );
    if with_attempt {
        run_sql(
            "INSERT INTO rollout_devices (rollout_id, device_id, state, attempt, facts, triggered_at, revision, written_by)
             VALUES ('rol-01', ?1, 'downloading', 1, '{}', 0, 1, '')",
        );
    }
}

#[test]
fn a_state_that_matters_to_an_update_is_handed_on_with_one_statement_until_the_queue_has_it() {
    let say = |cloud: &Cloud, id: &str, at| {
        cloud.post("/webhook/device-state", &published("state", id, at, &state(true)))
    };
    // No rollout: nobody is told.
    let cloud = Cloud::new();
    assert_eq!(say(&cloud, "m1", cloud.now).status, 204);
    assert!(cloud.world.updates.take().is_empty());

    // A rollout of its variant: told when it comes online, and no more while it stays.
    let cloud = Cloud::new();
    under_way(&cloud, false);
    cloud.world.updates.fail(true);
    assert_eq!(say(&cloud, "m1", cloud.now).status, 503, "EMQX tries again");
    cloud.world.updates.fail(false);
    let before = cloud.world.db.statements_run();
    assert_eq!(say(&cloud, "m1", cloud.now).status, 204);
    assert_eq!(cloud.world.db.statements_run() - before, 1);
    let queued = cloud.world.updates.take();
    let OtaEvent::State { device_id, sighting } = OtaEvent::from_json(&queued[0]).unwrap() else {
        panic!("{queued:?}")
    };
    assert_eq!((device_id, sighting.new_connection, sighting.online), (device(), true, true));
    assert_eq!(say(&cloud, "m2", cloud.now.plus(SECOND)).status, 204);
    assert!(cloud.world.updates.take().is_empty());

    // An open attempt: told each time, but not of a last will, which was written before.
    let cloud = Cloud::new();
    under_way(&cloud, true);
    for second in 0..3 {
        assert_eq!(say(&cloud, "m1", cloud.now.plus(second * SECOND)).status, 204);
    }
    assert_eq!(cloud.world.updates.take().len(), 3);
    let will = published("state", "m9", cloud.now.plus(9 * SECOND), &state(false));
    assert_eq!(cloud.post("/webhook/device-state", &will).status, 204);
    assert_eq!(say(&cloud, "m1", cloud.now).status, 204, "late: older than what is known");
    assert!(cloud.world.updates.take().is_empty());
}

/// So many messages of a batch, a minute between them.
fn batch_of(cloud: &Cloud, count: i64) -> Vec<Value> {
    let message = |n: i64| {
        let at = cloud.now.plus(n * 60 * SECOND);
        published("telemetry", &format!("b{n}"), at, &telemetry_payload(at, 90_000 + n))
    };
    (0..count).map(message).collect()
}

fn lines(messages: &[Value]) -> Vec<String> {
    messages.iter().map(Value::to_string).collect()
}

#[test]
fn a_batch_is_queued_message_by_message_whatever_its_form() {
    let cloud = Cloud::new();
    let messages = batch_of(&cloud, 250);
    let one_by_one: Vec<_> = messages
        .iter()
        .flat_map(|message| {
            cloud.post("/webhook/telemetry", message);
            cloud.world.queue.take()
        })
        .collect();
    let answer = cloud.post("/webhook/telemetry", &Value::from(messages.clone()));
    assert_eq!((answer.status, body(&answer)), (200, json!({"accepted": 250, "ignored": 0, "errors": []})));
    assert_eq!(cloud.world.queue.take(), one_by_one);
    let mut lined = lines(&messages);
    lined.insert(7, " \r".into());
    lined.push(String::new());
    assert_eq!(body(&cloud.post_lines(&lined))["accepted"], 250);
    assert_eq!(cloud.world.queue.take(), one_by_one);
    assert_eq!(body(&cloud.post_lines(&lined[..1]))["accepted"], 1, "one line is a batch of one");
}

#[test]
fn what_is_wrong_with_one_message_of_a_batch_is_named_and_harms_no_other() {
    let cloud = Cloud::new();
    let mut messages = batch_of(&cloud, 3);
    let mut wrong = telemetry_payload(cloud.now, 1);
    wrong["metrics"] = json!({"Bad": 1});
    wrong["timestamp"] = json!(5);
    messages.insert(1, published("telemetry", "w", cloud.now, &wrong));
    messages.insert(3, json!({"topic": "opticworks/+/telemetry"}));
    messages.push(published("state", "s", cloud.now, &json!({})));
    let mut own = batch_of(&cloud, 1).remove(0);
    own["clientid"] = json!("http_api");
    messages.push(own);
    let mut lined = lines(&messages);
    lined.push("{\"cut".into());
    let answer = cloud.post_lines(&lined);
    assert_eq!(answer.status, 200);
    let taken = body(&answer);
    assert_eq!((&taken["accepted"], &taken["ignored"]), (&json!(3), &json!(1)));
    let errors = taken["errors"].as_array().unwrap();
    let pointers: Vec<_> = errors.iter().map(|fault| fault["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/1/timestamp", "/1/metrics/Bad", "/3/topic", "/3/payload", "/5/topic", "/7"]);
    assert_eq!(cloud.world.queue.take().len(), 3);
}

#[test]
fn a_batch_of_nothing_good_changes_nothing() {
    let cloud = Cloud::new();
    let refused = |answer: Answer| (answer.status, body(&answer)["errors"][0]["pointer"].clone());
    let post = |body: &str| {
        cloud.request(Method::Post, "/webhook/telemetry", Some(SECRET), body.as_bytes().to_vec())
    };
    assert_eq!(refused(post("[]")), (422, json!("")));
    assert_eq!(refused(post("[1, {}]")), (422, json!("/0")));
    assert_eq!(refused(cloud.post_lines(&["not json".into()])), (422, json!("/0")));
    assert_eq!(refused(cloud.post_lines(&[String::new()])), (422, json!("")));
    assert_eq!(post("[{]").status, 400);
    assert_eq!(post("[\u{1}").status, 400);
    let many = vec!["{}".to_owned(); 5_001];
    assert_eq!(refused(cloud.post_lines(&many)), (422, json!("")));
    let long = format!("{{\"topic\": \"{}\"}}", "x".repeat(300_000));
    assert_eq!(post(&long).status, 413, "a message by itself is no longer than before");
    assert!(cloud.world.queue.take().is_empty());
}

#[test]
fn a_batch_that_the_queue_does_not_take_is_to_come_again() {
    let cloud = Cloud::new();
    let messages = lines(&batch_of(&cloud, 120));
    cloud.world.queue.fail(true);
    assert_eq!(cloud.post_lines(&messages).status, 503);
    cloud.world.queue.fail(false);
    assert_eq!(cloud.post_lines(&messages).status, 200);
    let first = cloud.world.queue.take();
    cloud.deliver(&first[..60]);
    assert_eq!(cloud.post_lines(&messages).status, 200);
    cloud.deliver(&first[60..]);
    cloud.drain();
    assert_eq!(cloud.hours().iter().map(|hour| hour.messages).sum::<i64>(), 120);
    assert_eq!(cloud.archived_lines().len(), 120);
}

#[test]
fn long_messages_of_a_batch_go_in_calls_that_a_queue_takes() {
    let cloud = Cloud::new();
    let at = |n: i64| cloud.now.plus(n * SECOND);
    let message = |n: i64| {
        let mut payload = telemetry_payload(at(n), 90_000);
        payload["extra"] = json!("x".repeat(50_000));
        published("telemetry", &format!("l{n}"), at(n), &payload)
    };
    let messages: Vec<_> = (0..15).map(message).collect();
    assert_eq!(body(&cloud.post_lines(&lines(&messages)))["accepted"], 15);
    assert_eq!(cloud.world.queue.take().len(), 15);
}

#[test]
fn an_answer_to_diagnostics_in_a_batch_goes_its_own_way() {
    let cloud = Cloud::new();
    let report = json!({"request_id": "dia-1", "timestamp": cloud.now, "diagnostics": {}});
    let mut messages = batch_of(&cloud, 1);
    messages.push(published("telemetry/diagnostics", "d", cloud.now, &report));
    messages.push(published("telemetry/diagnostics", "e", cloud.now, &json!({"request_id": 5})));
    let taken = body(&cloud.post_lines(&lines(&messages)));
    assert_eq!(taken["accepted"], 2);
    assert_eq!(taken["errors"][0]["pointer"], "/2/request_id");
    assert_eq!(cloud.world.queue.take().len(), 2, "telemetry, and for the security log that nobody asked");
}
