//! Zone configurations on real SQL: who may change them, what is refused, who wins, and how they get to the device.

use std::collections::BTreeSet;

use pollster::block_on;
use rs1_domain::event::Tick;
use rs1_domain::port::Publication;
use rs1_domain::time::{HOUR, MINUTE};
use rs1_domain::wire::config_status::ConfigOutcome;
use rs1_domain::wire::{ConfigStatus, State};
use rs1_domain::{Answer, DeviceId, Method, RequestId, Role, UnixMillis};
use rs1_store::native::Failure;
use rs1_store::sql::run;
use rs1_store::{devices, zones};
use rs1_worker_device_api::cron;
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, User, body, cloud};

/// A device and its owner, in a cloud with a broker.
struct Scene {
    cloud: Cloud,
    owner: User,
    device: DeviceId,
}

fn scene() -> Scene {
    let cloud = cloud();
    let owner = cloud.user("ada@example.com");
    let device = cloud.device(1);
    cloud.grant(&owner, &device, Role::Owner);
    Scene { cloud, owner, device }
}

fn zone(id: &str) -> Value {
    json!({
        "id": id, "name": "Sofa", "type": "include", "sensitivity": 50,
        "vertices": [[-1000, 500], [1000, 500], [1000, 2500], [-1000, 2500]],
    })
}

fn edit(ids: &[&str]) -> Value {
    json!({"zones": ids.iter().map(|id| zone(id)).collect::<Vec<_>>()})
}

impl Scene {
    fn path(&self, rest: &str) -> String {
        format!("/api/devices/{}/zones{rest}", self.device)
    }

    fn get(&self, rest: &str) -> Answer {
        self.cloud.call(&self.owner, Method::Get, &self.path(rest), &Value::Null)
    }

    fn put(&self, if_match: &str, body: &Value) -> Answer {
        self.put_as(&self.owner, if_match, body)
    }

    fn put_as(&self, user: &User, if_match: &str, body: &Value) -> Answer {
        self.cloud.call_with(user, Method::Put, &self.path(""), &[("if-match", if_match)], body)
    }

    fn restore(&self, version: &str, if_match: Option<&str>) -> Answer {
        let headers: Vec<_> = if_match.map(|value| ("if-match", value)).into_iter().collect();
        let path = self.path(&format!("/restore/{version}"));
        self.cloud.call_with(&self.owner, Method::Post, &path, &headers, &Value::Null)
    }

    /// The device connects and says which version it has.
    fn comes(&self, config_version: i64, at: UnixMillis) {
        self.cloud.broker.subscribe(format!("opticworks/{}/config/update", self.device));
        let state = json!({
            "online": true, "firmware_version": "1.0.0", "last_seen": "2026-01-20T10:00:00Z",
            "config_version": config_version,
        });
        let state = State::read(state.to_string().as_bytes()).unwrap();
        block_on(run(&self.cloud.db, [devices::report_state(&self.device, &state, None, at)])).unwrap();
    }

    fn goes(&self, at: UnixMillis) {
        self.cloud.broker.unsubscribe(&format!("opticworks/{}/config/update", self.device));
        block_on(run(&self.cloud.db, [devices::report_gone(&self.device, "will", None, at)])).unwrap();
    }

    /// The device reports on a version.
    fn reports(&self, version: i64, outcome: ConfigOutcome, at: UnixMillis) {
        let error = Some("too many corners".to_owned());
        let status = ConfigStatus { version, outcome, zone_count: None, error, timestamp: at };
        block_on(run(&self.cloud.db, [zones::report(&self.device, &status, at)])).unwrap();
        if outcome == ConfigOutcome::Applied {
            block_on(run(&self.cloud.db, [zones::applied(&self.device, version, at)])).unwrap();
        }
    }

    fn tick(&self, at: UnixMillis) -> Result<String, String> {
        let request_id = RequestId::from_header("tick").unwrap();
        let tick = Tick { cron: cron::EVERY_MINUTE.into(), scheduled: at, now: at, request_id };
        block_on(cron::tick(&tick, &self.cloud.db, &self.cloud.broker)).map_err(|error| error.to_string())
    }
}

fn etag(answer: &Answer) -> Option<&str> {
    answer.headers.iter().find(|(name, _)| *name == "etag").map(|(_, value)| value.as_str())
}

fn pointers(answer: &Answer) -> Vec<String> {
    let document = body(answer);
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
}

fn versions(messages: &[Publication]) -> Vec<i64> {
    let payload = |message: &Publication| serde_json::from_str::<Value>(&message.payload).unwrap();
    messages.iter().map(|message| payload(message)["version"].as_i64().unwrap()).collect()
}

#[test]
fn before_the_first_edit_there_are_no_zones() {
    let scene = scene();
    let answer = scene.get("");
    assert_eq!((answer.status, etag(&answer)), (200, Some("\"0\"")));
    let shown = body(&answer);
    assert_eq!(
        (&shown["version"], &shown["zones"], &shown["status"]),
        (&json!(0), &json!([]), &json!("none"))
    );
    assert_eq!(shown["in_sync"], true);
    assert_eq!(body(&scene.get("/history")), json!({"items": [], "next_cursor": null}));
}

#[test]
fn an_edit_becomes_the_next_version_and_goes_to_the_device_to_the_letter() {
    let scene = scene();
    scene.comes(0, NOW);
    let answer = scene.put("\"0\"", &edit(&["sofa", "door"]));
    assert_eq!((answer.status, etag(&answer)), (200, Some("\"1\"")), "{}", answer.body);
    let shown = body(&answer);
    assert_eq!(
        (&shown["desired"], &shown["applied"], &shown["in_sync"]),
        (&json!(1), &json!(0), &json!(false))
    );
    assert_eq!((&shown["status"], &shown["delivery"]), (&json!("pending"), &json!("sent")));
    let sent = scene.cloud.broker.take();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].topic, format!("opticworks/{}/config/update", scene.device));
    let payload: Value = serde_json::from_str(&sent[0].payload).unwrap();
    assert_eq!(payload, json!({"version": 1, "updated_at": NOW, "zones": edit(&["sofa", "door"])["zones"]}));
    let stored = body(&scene.get(""));
    assert_eq!(stored["zones"], shown["zones"]);
    assert_eq!(stored["updated_by"], scene.owner.person.user.as_str());
    assert_eq!(stored.get("delivery"), None, "of a change only");
}

#[test]
fn what_the_device_says_of_it_is_shown() {
    let scene = scene();
    scene.comes(0, NOW);
    scene.put("\"0\"", &edit(&["a"]));
    let status = || {
        let shown = body(&scene.get(""));
        (shown["status"].clone(), shown["applied"].clone(), shown["in_sync"].clone(), shown["error"].clone())
    };
    scene.reports(1, ConfigOutcome::Pending, NOW.plus(1));
    assert_eq!(status(), (json!("pending"), json!(0), json!(false), Value::Null));
    scene.reports(1, ConfigOutcome::Rejected, NOW.plus(2));
    assert_eq!(status(), (json!("rejected"), json!(0), json!(false), json!("too many corners")));
    scene.put("\"1\"", &edit(&[]));
    assert_eq!(status(), (json!("pending"), json!(0), json!(false), Value::Null), "that was another version");
    scene.reports(2, ConfigOutcome::Applied, NOW.plus(4));
    assert_eq!(status(), (json!("applied"), json!(2), json!(true), Value::Null));
    scene.reports(1, ConfigOutcome::Applied, NOW.plus(3));
    assert_eq!(status(), (json!("applied"), json!(2), json!(true), Value::Null), "late");
}

#[test]
fn a_change_must_name_what_it_was_made_from() {
    let scene = scene();
    let put =
        |headers| scene.cloud.call_with(&scene.owner, Method::Put, &scene.path(""), headers, &edit(&["a"]));
    assert_eq!(put(&[]).status, 428);
    assert_eq!(put(&[("if-match", "")]).status, 400);
    assert_eq!(put(&[("if-match", "\"1\"")]).status, 412);
    assert_eq!(put(&[("if-match", "W/\"0\"")]).status, 412, "a weak tag matches nothing");
    assert_eq!(put(&[("if-match", "\"7\", \"0\"")]).status, 200);
    assert_eq!(put(&[("if-match", "*")]).status, 200);
    assert_eq!(body(&scene.get(""))["version"], 2);
}

#[test]
fn whoever_is_too_late_is_shown_what_is_there() {
    let scene = scene();
    scene.put("\"0\"", &edit(&["a"]));
    let answer = scene.put("\"0\"", &edit(&["b"]));
    assert_eq!((answer.status, etag(&answer)), (412, Some("\"1\"")));
    let current = &body(&answer)["current"];
    assert_eq!((&current["version"], &current["zones"]), (&json!(1), &edit(&["a"])["zones"]));
    // The loser saw version 1, and somebody else is faster between its look and its write.
    let somebody = &scene.owner.person.user;
    let [written] =
        block_on(run(&scene.cloud.db, [zones::write(&scene.device, 1, "[]", somebody, NOW)])).unwrap();
    assert!(written.rows_json.contains('2'));
    assert_eq!(scene.put("\"1\"", &edit(&["b"])).status, 412);
}

#[test]
fn every_fault_is_named_and_changes_nothing() {
    let scene = scene();
    let mut bow_tie = zone("b");
    bow_tie["vertices"] = json!([[0, 0], [900, 900], [900, 0], [0, 900]]);
    let answer = scene.put("\"0\"", &json!({"zones": [zone("A"), bow_tie, zone("b")], "note": 1}));
    assert_eq!(answer.status, 422);
    assert_eq!(pointers(&answer), ["/zones/0/id", "/zones/1/vertices/2", "/zones/2/id", "/note"]);
    assert_eq!(scene.put("*", &json!([])).status, 422);
    let raw = scene.path("");
    let token = format!("Bearer {}", scene.cloud.config.access_tokens.issue(&scene.owner.person, NOW));
    let headers = [("authorization", token.as_str()), ("if-match", "*")];
    assert_eq!(scene.cloud.request(Method::Put, &raw, &headers, b"{").status, 400);
}

#[test]
fn a_document_that_names_a_version_names_what_it_was_made_from_or_what_it_becomes() {
    let scene = scene();
    scene.put("\"0\"", &edit(&["a"]));
    scene.put("\"1\"", &edit(&["b"]));
    let put = |version: i64| {
        let current = etag(&scene.get("")).unwrap().to_owned();
        let document = json!({"version": version, "updated_at": "2026-01-20T10:00:00Z", "zones": []});
        scene.put(&current, &document)
    };
    for wrong in [1, 4, 99] {
        let answer = put(wrong);
        assert_eq!((answer.status, pointers(&answer)), (422, vec!["/version".to_owned()]), "{wrong} on 2");
    }
    assert_eq!(put(2).status, 200);
    assert_eq!(put(4).status, 200);
    assert_eq!(body(&scene.get(""))["version"], 4);
}

#[test]
fn an_rs1_lite_takes_no_zones() {
    let scene = scene();
    scene.cloud.sql("UPDATE devices SET product_sku = 'rs1_lite'", vec![]);
    let answer = scene.put("\"0\"", &edit(&["a"]));
    assert_eq!((answer.status, pointers(&answer)), (422, vec!["/zones".to_owned()]));
    assert_eq!(scene.put("\"0\"", &edit(&[])).status, 200);
}

#[test]
fn history_keeps_ten_and_each_can_be_had_again() {
    let scene = scene();
    for version in 0..12 {
        let id = format!("z{version}");
        assert_eq!(scene.put(&format!("\"{version}\""), &edit(&[&id])).status, 200);
    }
    let kept = body(&scene.get("/history"));
    let versions: Vec<_> =
        kept["items"].as_array().unwrap().iter().map(|row| row["version"].as_i64().unwrap()).collect();
    assert_eq!(versions, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    assert_eq!(kept["items"][0]["zone_count"], 1);
    assert_eq!(body(&scene.get("/history/3"))["zones"][0]["id"], "z2");
    for gone in ["2", "0", "13", "x", "-1", "03"] {
        assert_eq!(scene.get(&format!("/history/{gone}")).status, 404, "{gone}");
        assert_eq!(scene.restore(gone, None).status, 404, "{gone}");
    }
    scene.comes(0, NOW);
    assert_eq!(scene.restore("5", Some("\"11\"")).status, 412);
    let answer = scene.restore("5", Some("\"12\""));
    assert_eq!((answer.status, etag(&answer)), (200, Some("\"13\"")));
    assert_eq!(body(&scene.get(""))["zones"][0]["id"], "z4");
    assert_eq!(self::versions(&scene.cloud.broker.take()), [13]);
    assert_eq!(scene.restore("12", None).status, 200, "whatever is there now");
    scene.cloud.sql("UPDATE devices SET product_sku = 'rs1_lite'", vec![]);
    assert_eq!(scene.restore("13", None).status, 409);
}

#[test]
fn each_role_may_do_what_the_table_says_and_a_stranger_sees_nothing() {
    let scene = scene();
    scene.put("\"0\"", &edit(&["a"]));
    let (admin, viewer) = (scene.cloud.user("b@example.com"), scene.cloud.user("c@example.com"));
    let stranger = scene.cloud.user("d@example.com");
    scene.cloud.grant(&admin, &scene.device, Role::Admin);
    scene.cloud.grant(&viewer, &scene.device, Role::Viewer);
    // The stranger has a device, but another.
    scene.cloud.grant(&stranger, &scene.cloud.device(2), Role::Owner);
    let calls = [
        (Method::Get, "", [200, 200, 200, 404]),
        (Method::Put, "", [200, 200, 403, 404]),
        (Method::Get, "/history", [200, 200, 200, 404]),
        (Method::Get, "/history/1", [200, 200, 200, 404]),
        (Method::Post, "/restore/1", [200, 200, 403, 404]),
    ];
    for (method, rest, expected) in calls {
        for (user, status) in [&scene.owner, &admin, &viewer, &stranger].into_iter().zip(expected) {
            let payload = if method == Method::Put { edit(&["x"]) } else { Value::Null };
            let answer =
                scene.cloud.call_with(user, method, &scene.path(rest), &[("if-match", "*")], &payload);
            assert_eq!(
                answer.status,
                status,
                "{} {rest} as {}: {}",
                method.as_str(),
                user.email,
                answer.body
            );
        }
    }
    let nobody = scene.cloud.request(Method::Get, &scene.path(""), &[], b"");
    assert_eq!(nobody.status, 401);
    for device in ["0".repeat(32), "x".to_owned()] {
        let path = format!("/api/devices/{device}/zones");
        assert_eq!(scene.cloud.call(&scene.owner, Method::Get, &path, &Value::Null).status, 404);
    }
}

#[test]
fn a_broker_that_is_down_holds_up_nobody_and_is_made_up_for() {
    let scene = scene();
    scene.comes(0, NOW);
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        scene.cloud.broker.fail(Some(failure));
        let answer = scene.put("*", &edit(&["a"]));
        assert_eq!((answer.status, &body(&answer)["delivery"]), (200, &json!("pending")));
    }
    scene.cloud.broker.take();
    assert_eq!(body(&scene.get(""))["version"], 2, "the changes stand");
    scene.cloud.broker.fail(Some(Failure::BeforeCommit));
    for minute in 1..=10 {
        assert!(scene.tick(NOW.plus(minute * MINUTE)).is_err(), "still down");
    }
    scene.cloud.broker.fail(None);
    assert_eq!(
        scene.tick(NOW.plus(11 * MINUTE)).unwrap(),
        "1 configurations sent, 0 devices absent, 0 failed"
    );
    assert_eq!(versions(&scene.cloud.broker.take()), [2], "the latest alone");
    scene.reports(2, ConfigOutcome::Applied, NOW.plus(12 * MINUTE));
    for minute in 12..=60 {
        scene.tick(NOW.plus(minute * MINUTE)).unwrap();
    }
    assert_eq!(scene.cloud.broker.take(), []);
}

#[test]
fn a_device_that_is_not_here_costs_the_clock_nothing_and_is_sent_it_when_it_is() {
    let scene = scene();
    let answer = scene.put("\"0\"", &edit(&["a"]));
    assert_eq!((answer.status, &body(&answer)["delivery"]), (200, &json!("pending")));
    let before = scene.cloud.db.statements_run();
    assert_eq!(scene.tick(NOW.plus(MINUTE)).unwrap(), "0 configurations sent, 0 devices absent, 0 failed");
    assert_eq!(scene.cloud.db.statements_run() - before, 3, "the lease and one look");
    scene.comes(0, NOW.plus(HOUR));
    scene.tick(NOW.plus(HOUR + MINUTE)).unwrap();
    assert_eq!(versions(&scene.cloud.broker.take()), [1]);
    scene.goes(NOW.plus(HOUR + 2 * MINUTE));
    scene.tick(NOW.plus(2 * HOUR)).unwrap();
    assert_eq!(scene.cloud.broker.take(), []);
}

#[test]
fn a_device_that_refuses_is_not_pestered() {
    let scene = scene();
    scene.comes(0, NOW);
    scene.put("\"0\"", &edit(&["a"]));
    scene.cloud.broker.take();
    scene.reports(1, ConfigOutcome::Rejected, NOW.plus(1));
    for minute in 1..=(24 * 60) {
        scene.tick(NOW.plus(minute * MINUTE)).unwrap();
    }
    assert_eq!(versions(&scene.cloud.broker.take()).len(), 5, "after 1, 2, 4, 8 and 16 hours");
}

#[test]
fn a_run_that_is_triggered_twice_sends_once() {
    let scene = scene();
    scene.put("\"0\"", &edit(&["a"]));
    scene.comes(0, NOW);
    scene.tick(NOW.plus(MINUTE)).unwrap();
    assert_eq!(scene.tick(NOW.plus(MINUTE)).unwrap(), "run before");
    assert_eq!(versions(&scene.cloud.broker.take()), [1]);
}

#[test]
fn many_devices_are_sent_in_batches_and_a_run_is_bounded() {
    let scene = scene();
    for number in 0..1_050_i64 {
        scene.cloud.sql(
            "INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by, online)
             VALUES (printf('%032x', ?1), 'x', 'x', 1, 'test', 1)",
            vec![number.into()],
        );
        scene.cloud.broker.subscribe(format!("opticworks/{number:032x}/config/update"));
    }
    scene.cloud.sql(
        "INSERT INTO zone_configurations (device_id, version, updated_at, updated_by, zones, send_at)
         SELECT device_id, 1, 1, 'x', '[]', 5 FROM devices WHERE mac_address = 'x'",
        vec![],
    );
    assert!(scene.tick(NOW).unwrap().starts_with("1000 configurations sent"));
    let sent = scene.cloud.broker.take();
    for message in &sent {
        let device = message.topic.split('/').nth(1).and_then(DeviceId::parse).unwrap();
        block_on(run(&scene.cloud.db, [zones::applied(&device, 1, NOW.plus(1))])).unwrap();
    }
    assert!(scene.tick(NOW.plus(MINUTE)).unwrap().starts_with("50 configurations sent"));
    let topics: BTreeSet<_> =
        sent.into_iter().chain(scene.cloud.broker.take()).map(|message| message.topic).collect();
    assert_eq!(topics.len(), 1_050, "each its own");
}

#[test]
fn a_database_that_fails_is_our_fault_and_a_write_whose_answer_was_lost_is_seen_again() {
    let scene = scene();
    scene.cloud.db.fail_statement("role_of", Some(Failure::BeforeCommit));
    assert_eq!(scene.get("").status, 503);
    scene.cloud.db.fail_statement("zones_write", Some(Failure::AfterCommit));
    assert_eq!(scene.put("\"0\"", &edit(&["a"])).status, 503);
    scene.cloud.db.fail(None);
    let again = scene.put("\"0\"", &edit(&["a"]));
    assert_eq!(again.status, 412, "it was written after all");
    assert_eq!(body(&again)["current"]["zones"], edit(&["a"])["zones"]);
}

#[test]
fn a_write_costs_two_reads_and_one_write() {
    let scene = scene();
    let before = scene.cloud.db.statements_run();
    scene.put("\"0\"", &edit(&["a"]));
    assert_eq!(scene.cloud.db.statements_run() - before, 3);
}
