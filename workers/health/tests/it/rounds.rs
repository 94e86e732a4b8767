//! Rounds of checks by a fake clock: what is looked at, how long, what follows from it, and what operators see and do.

use pollster::block_on;
use rs1_domain::port::{Database, Param, Statement};
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_domain::{Answer, Method, RecordId};
use rs1_ops::check::{Kind, read_list};
use rs1_ops::collect;
use rs1_store::native::Failure;
use rs1_store::rotations::{self, Act};
use rs1_worker_health::config::{Config, OWN_CHECKS};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::common::{Cloud, Manner, NOW, body, token};

const OFTEN: &str = "*/5 * * * *";
const DAILY: &str = "0 3 * * *";
const STORE: &str = "https://api.optic.works/health";
const HEARTBEAT: &str = "https://heartbeat.example/abc";
const STATUS: &str = "http://emqx/api/v5/status";
const STATS: &str = "http://emqx/api/v5/stats?aggregate=true";

fn checks() -> Value {
    json!([
        {"id": "database", "component": "database", "kind": "d1", "severity": "SEV1"},
        {"id": "bucket", "component": "storage", "kind": "r2", "binding": "FIRMWARE"},
        {"id": "sessions", "component": "storage", "kind": "kv", "binding": "SESSIONS"},
        {"id": "queue", "component": "queues", "kind": "queue", "binding": "Q", "dead": "DLQ", "oldest_s": 60},
        {"id": "ota", "component": "updates", "kind": "worker", "binding": "OTA", "path": "/health", "needs": ["database"]},
        {"id": "emqx", "component": "broker", "kind": "emqx_status", "severity": "SEV1"},
        {"id": "emqx-connections", "component": "broker", "kind": "emqx_stats", "severity": "SEV2", "needs": ["emqx"]},
        {"id": "triggers", "component": "watch", "kind": "triggers"},
        {"id": "rounds", "component": "watch", "kind": "rounds", "fails": "1 of 1"},
    ])
}

fn targets() -> Value {
    let ingress = |id: &str| {
        let url = format!("https://{id}.optic.works/");
        json!({"id": id, "component": "ingress", "kind": "http", "url": url, "group": "ingress", "severity": "SEV3", "together": "SEV1"})
    };
    json!([
        {"id": "store-api", "component": "store", "kind": "http", "url": STORE, "severity": "SEV2",
         "json": {"status": "ok", "database": "connected", "redis": "connected"}},
        {"id": "grafana", "component": "intranet", "kind": "http", "url": "https://grafana.optic.works/", "login": "https://opticworks.cloudflareaccess.com/"},
        ingress("cloud"),
        ingress("premises"),
    ])
}

fn store(redis: &str) -> Manner {
    let body = json!({"status": "ok", "database": "connected", "redis": redis});
    Manner::Answers(200, body.to_string(), 40)
}

/// A system that is watched, and well.
fn well() -> Cloud {
    watched(&checks(), &targets())
}

fn watched(checks: &Value, targets: &Value) -> Cloud {
    let cloud = Cloud::with(&[
        ("CHECKS", &checks.to_string()),
        ("TARGETS", &targets.to_string()),
        ("EMQX_API_URL", "http://emqx/api/v5"),
        ("EMQX_API_KEY", "key:secret"),
        ("HEARTBEAT_URL", HEARTBEAT),
    ]);
    cloud
        .outside
        .set(STATUS, Manner::Answers(200, "Node emqx@10.0.0.5 is started\nemqx is running".into(), 3));
    cloud.outside.set(STATS, Manner::Answers(200, json!({"live_connections.count": 2}).to_string(), 3));
    cloud.outside.set(STORE, store("connected"));
    cloud.outside.set(
        "https://grafana.optic.works/",
        Manner::Redirects("https://opticworks.cloudflareaccess.com/cdn-cgi/access/login/x".into()),
    );
    cloud
}

/// What a tick said of its round: the last of what it did.
fn of_round(said: &str) -> String {
    let begins = ["checked ", "another round"].iter().find_map(|words| said.find(words));
    said[begins.unwrap_or_else(|| panic!("{said}"))..].to_owned()
}

/// The next round; what it says of itself.
fn round(cloud: &Cloud) -> String {
    // Looks take time, and the next tick comes when it is due.
    let due = cloud.now.get().0.div_euclid(5 * MINUTE) * 5 * MINUTE + 5 * MINUTE;
    cloud.pass(due - cloud.now.get().0);
    of_round(&cloud.tick(OFTEN).unwrap())
}

fn rounds(cloud: &Cloud, count: usize) {
    for _ in 0..count {
        round(cloud);
    }
}

/// What is said of a check.
fn check(cloud: &Cloud, id: &str) -> Value {
    let all = body(&cloud.get("/admin/checks"));
    let items = all["items"].as_array().unwrap();
    items.iter().find(|item| item["check_id"] == id).unwrap_or_else(|| panic!("{id}: {items:?}")).clone()
}

fn incidents(cloud: &Cloud) -> Vec<Value> {
    body(&cloud.get("/admin/incidents"))["items"].as_array().unwrap().clone()
}

#[derive(Debug, Deserialize)]
struct Told {
    said: String,
    dedup_key: String,
    what: String,
    severity: String,
    summary: String,
}

/// What people were told, in order.
fn told(cloud: &Cloud) -> Vec<Told> {
    let sql =
        "SELECT said, dedup_key, what, severity, summary FROM notices WHERE source = 'incident' ORDER BY seq";
    cloud.rows(Statement { name: "told", sql, params: Vec::new() })
}

/// The actions and summaries of what people were told.
fn words(cloud: &Cloud) -> Vec<(String, String)> {
    told(cloud).into_iter().map(|told| (told.what, told.summary)).collect()
}

fn change(cloud: &Cloud, sql: &'static str, params: Vec<Param>) {
    block_on(cloud.db.batch(vec![Statement { name: "test", sql, params }])).unwrap();
}

fn count(cloud: &Cloud, sql: &'static str) -> i64 {
    #[derive(Deserialize)]
    struct Count {
        n: i64,
    }
    cloud.rows::<Count>(Statement { name: "test", sql, params: Vec::new() })[0].n
}

#[test]
fn what_is_well_is_shown_as_such_and_the_heartbeat_is_told() {
    let cloud = well();
    assert_eq!(round(&cloud), "checked 13 things, 0 with faults; 0 notices");
    let all = body(&cloud.get("/admin/checks"));
    assert_eq!((&all["round"]["looked"], &all["round"]["failed"]), (&json!(13), &json!(0)));
    for item in all["items"].as_array().unwrap() {
        assert_eq!(
            (&item["state"], &item["fault"], &item["silenced"]),
            (&json!("up"), &json!(null), &json!(false)),
            "{item}"
        );
    }
    assert_eq!(all["items"].as_array().unwrap().len(), 13);
    assert!(check(&cloud, "store-api")["latency_ms"].as_i64().unwrap() >= 40);
    for once in [HEARTBEAT, "OTA/health", "FIRMWARE", "SESSIONS", "DLQ", STATUS, STATS] {
        assert_eq!(cloud.outside.times(once), 1, "{once}");
    }
    assert_eq!(
        cloud.outside.asked.borrow().last().map(String::as_str),
        Some(HEARTBEAT),
        "when all else is stored"
    );
    assert!(incidents(&cloud).is_empty() && told(&cloud).is_empty());
}

#[test]
fn a_fault_that_stays_is_an_incident_and_each_step_of_it_is_told_once() {
    let cloud = well();
    cloud.outside.set(STORE, store("gone"));
    round(&cloud);
    assert_eq!(check(&cloud, "store-api")["fault"], "redis is \"gone\", not \"connected\"");
    assert!(incidents(&cloud).is_empty(), "once is nothing yet");
    rounds(&cloud, 3);
    let one = incidents(&cloud)[0].clone();
    assert_eq!(
        (&one["status"], &one["severity"], &one["subject"]),
        (&json!("open"), &json!("SEV2"), &json!("store-api"))
    );
    assert_eq!(
        (&one["components"], &one["opened_at"], &one["respond_by"]),
        (&json!(["store"]), &json!("2026-01-20T03:10:00Z"), &json!("2026-01-20T04:10:00Z"))
    );
    let first = &told(&cloud)[0];
    let id = one["incident_id"].as_str().unwrap();
    assert_eq!(
        (first.dedup_key.clone(), first.said.clone()),
        (format!("incident-{id}"), format!("incident:{id}:opened"))
    );
    assert_eq!(first.severity, "error");
    cloud.outside.set(STORE, store("connected"));
    rounds(&cloud, 4);
    let title = "store-api: redis is \"gone\", not \"connected\"";
    assert_eq!(
        words(&cloud),
        [
            ("trigger".to_owned(), format!("SEV2: {title}")),
            ("resolve".to_owned(), format!("SEV2 over after 20 min: {title}"))
        ]
    );
    let full = body(&cloud.get(&format!("/admin/incidents/{id}")));
    assert_eq!((&full["status"], &full["resolved_at"]), (&json!("resolved"), &json!("2026-01-20T03:30:00Z")));
    let steps: Vec<&str> =
        full["timeline"].as_array().unwrap().iter().map(|step| step["what"].as_str().unwrap()).collect();
    assert_eq!(steps, ["opened", "resolved"]);
}

#[test]
fn nobody_answers_and_is_reminded_once_and_whoever_acknowledges_is_left_alone() {
    let cloud = well();
    cloud.outside.set(STATUS, Manner::Answers(503, "Node emqx@10.0.0.5 is stopping".into(), 3));
    rounds(&cloud, 10);
    let said: Vec<String> =
        told(&cloud).into_iter().map(|told| told.said.rsplit(':').next().unwrap().to_owned()).collect();
    assert_eq!(said, ["opened", "reminded"]);
    let cloud = well();
    cloud.outside.set(STATUS, Manner::Fails("Network connection lost.".into(), 3));
    rounds(&cloud, 2);
    let id = incidents(&cloud)[0]["incident_id"].as_str().unwrap().to_owned();
    let acknowledged = cloud.post(&format!("/admin/incidents/{id}/ack"), &json!({"note": " I am on it "}));
    assert_eq!(acknowledged.status, 200, "{}", acknowledged.body);
    rounds(&cloud, 8);
    let said: Vec<String> = told(&cloud).into_iter().map(|told| told.what).collect();
    assert_eq!(said, ["trigger", "acknowledge"]);
    assert_eq!(incidents(&cloud)[0]["status"], "acknowledged");
}

#[test]
fn what_hangs_harms_no_other_and_six_are_asked_at_a_time() {
    let hanging = |number: usize| number.is_multiple_of(4);
    let list: Vec<Value> = (0..40)
        .map(|number| json!({"id": format!("site-{number}"), "component": "sites", "kind": "http", "url": format!("https://site-{number}.example/"), "timeout_ms": 2000}))
        .collect();
    let cloud = watched(&json!([{"id": "database", "component": "database", "kind": "d1"}]), &json!(list));
    for number in (0..40).filter(|number| hanging(*number)) {
        cloud.outside.set(&format!("https://site-{number}.example/"), Manner::Hangs);
    }
    let before = cloud.now.get();
    assert!(round(&cloud).starts_with("checked 41 things, 10 with faults"));
    assert!(
        cloud.now.get().since(before) < 5 * MINUTE + 20_000,
        "ten times two seconds, two or more at a time"
    );
    for number in 0..40 {
        let fault = if hanging(number) { json!("no answer within 2000 ms") } else { json!(null) };
        assert_eq!(check(&cloud, &format!("site-{number}"))["fault"], fault, "{number}");
    }
    assert_eq!(check(&cloud, "database")["fault"], json!(null));
    assert!(cloud.outside.at_once.get() <= 6, "{}", cloud.outside.at_once.get());
    assert_eq!(cloud.outside.times(HEARTBEAT), 1);
}

#[test]
fn a_round_has_an_end_even_if_everything_hangs() {
    let list: Vec<Value> = (0..60)
        .map(|number| json!({"id": format!("site-{number}"), "component": "sites", "kind": "http", "url": "https://down.example/", "timeout_ms": 30_000}))
        .collect();
    let cloud = watched(&json!([]), &json!(list));
    cloud.outside.set("https://down.example/", Manner::Hangs);
    let before = cloud.now.get();
    assert!(round(&cloud).starts_with("checked 60 things, 60 with faults"));
    assert!(cloud.now.get().since(before) < 5 * MINUTE + 160_000);
    assert_eq!(check(&cloud, "site-59")["fault"], "the round was over before it was looked at");
}

#[test]
fn a_broker_that_is_down_explains_what_needs_it() {
    let cloud = well();
    cloud.outside.set(STATUS, Manner::Fails("connect ECONNREFUSED".into(), 1));
    cloud.outside.set(STATS, Manner::Fails("connect ECONNREFUSED".into(), 1));
    rounds(&cloud, 3);
    let open = incidents(&cloud);
    assert_eq!(
        (open.len(), &open[0]["subject"], &open[0]["explains"]),
        (1, &json!("emqx"), &json!(["emqx-connections"]))
    );
    assert_eq!(check(&cloud, "emqx-connections")["explained_by"], "emqx");
    assert_eq!(words(&cloud).len(), 1);
    assert_eq!(told(&cloud)[0].severity, "critical");
}

#[test]
fn one_ingress_is_a_warning_and_both_are_critical() {
    let cloud = well();
    cloud.outside.set("https://cloud.optic.works/", Manner::Answers(502, String::new(), 1));
    rounds(&cloud, 2);
    cloud.outside.set("https://premises.optic.works/", Manner::Fails("connection reset".into(), 1));
    rounds(&cloud, 3);
    let severities: Vec<(String, String)> =
        told(&cloud).into_iter().map(|told| (told.severity, told.summary)).collect();
    assert_eq!(
        severities,
        [
            ("warning".to_owned(), "SEV3: cloud: status 502".to_owned()),
            ("critical".to_owned(), "SEV1 now: cloud: status 502".to_owned())
        ]
    );
    assert_eq!(incidents(&cloud)[0]["severity"], "SEV1");
}

#[test]
fn queues_triggers_and_connections_are_compared_with_what_is_known() {
    let cloud = well();
    // A second is the slack of a clock that goes on while it is looked.
    cloud.outside.set("Q", Manner::Waits(7, 91));
    cloud.outside.set("DLQ", Manner::Waits(2, 5));
    let insert = "INSERT INTO cron_runs (worker, cron, scheduled_at, started_at, finished_at, outcome) VALUES ('ota', '* * * * *', ?1, ?1, ?1, 'ok')";
    change(&cloud, insert, vec![NOW.plus(-HOUR).into()]);
    let insert = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
        INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by, online)
        SELECT printf('%032x', i), i, 'x', 1, 'ada', 1 FROM n";
    change(&cloud, insert, Vec::new());
    round(&cloud);
    assert_eq!(
        check(&cloud, "queue")["fault"],
        "the oldest of 7 messages waits for 90 s; 2 messages were given up"
    );
    assert_eq!(check(&cloud, "triggers")["fault"], "ota \"* * * * *\" last ran at 2026-01-20T02:00:00Z");
    assert_eq!(
        check(&cloud, "emqx-connections")["fault"],
        "2 clients are connected, and 50 devices are said to be online"
    );
}

#[test]
fn a_secret_that_is_due_is_told_once_until_it_is_replaced_and_the_one_before_it_dropped() {
    let list = json!([{"id": "secrets", "component": "watch", "kind": "secrets", "severity": "SEV4",
        "fails": "1 of 1", "recovers": 1}]);
    let cloud = watched(&list, &json!([]));
    let note = |act| {
        let now = cloud.now.get();
        let id = RecordId::generate("sec", now, [7; 10]);
        block_on(cloud.db.batch(rotations::note(&id, "WEBHOOK_SECRET", act, now).into())).unwrap();
    };
    change(&cloud, "UPDATE secret_rotations SET rotated_at = ?1, dropped_at = ?1", vec![NOW.into()]);
    cloud.pass(91 * DAY - 10 * MINUTE);
    assert_eq!(
        round(&cloud),
        "checked 1 things, 0 with faults; 0 notices",
        "the last round before it is due"
    );
    rounds(&cloud, 3);
    let due = "secrets: WEBHOOK_SECRET is due to be replaced since 2026-04-21";
    let begun = ("trigger".to_owned(), format!("SEV4: {due}"));
    assert_eq!(words(&cloud), std::slice::from_ref(&begun));
    assert_eq!(told(&cloud)[0].severity, "info", "nobody is woken");

    note(Act::Replaced);
    rounds(&cloud, 3);
    assert_eq!(words(&cloud)[1..], [("resolve".to_owned(), format!("SEV4 over after 15 min: {due}"))]);

    cloud.pass(7 * DAY);
    rounds(&cloud, 2);
    let half = "secrets: WEBHOOK_SECRET: the one before it should have been dropped on 2026-04-28";
    assert_eq!(words(&cloud)[2..], [("trigger".to_owned(), format!("SEV4: {half}"))]);
    note(Act::Dropped);
    rounds(&cloud, 2);
    assert_eq!(words(&cloud)[3..], [("resolve".to_owned(), format!("SEV4 over after 10 min: {half}"))]);
}

#[test]
fn maintenance_is_declared_listed_and_ended_and_keeps_what_it_names_quiet() {
    let cloud = well();
    let until = NOW.plus(HOUR).to_rfc3339();
    let declared = cloud
        .post("/admin/maintenance", &json!({"subjects": ["store"], "reason": "a migration", "until": until}));
    assert_eq!(declared.status, 201, "{}", declared.body);
    let window = body(&declared);
    assert_eq!(
        (&window["from_at"], &window["created_by"]),
        (&json!("2026-01-20T03:00:00Z"), &json!("ada@optic.works"))
    );
    cloud.outside.set(STORE, store("gone"));
    rounds(&cloud, 4);
    assert!(incidents(&cloud).is_empty());
    assert_eq!(
        (&check(&cloud, "store-api")["state"], &check(&cloud, "store-api")["silenced"]),
        (&json!("down"), &json!(true))
    );
    assert_eq!(count(&cloud, "SELECT rounds_silent AS n FROM component_days WHERE component = 'store'"), 4);
    assert_eq!(count(&cloud, "SELECT failures AS n FROM component_days WHERE component = 'store'"), 0);
    let id = window["window_id"].as_str().unwrap();
    let ended = cloud.operator(Method::Delete, &format!("/admin/maintenance/{id}"), Vec::new());
    assert_eq!((ended.status, &body(&ended)["ended_by"]), (200, &json!("ada@optic.works")));
    let again = cloud.operator(Method::Delete, &format!("/admin/maintenance/{id}"), Vec::new());
    assert_eq!(again.body, ended.body, "it is over as it was");
    assert_eq!(body(&cloud.get("/admin/maintenance"))["items"], json!([body(&ended)]));
    round(&cloud);
    assert_eq!(incidents(&cloud).len(), 1, "what is down when it ends is told");
}

#[test]
fn a_round_that_did_not_come_is_noticed_by_the_next() {
    let cloud = well();
    rounds(&cloud, 2);
    cloud.pass(2 * HOUR);
    round(&cloud);
    let open = incidents(&cloud);
    assert_eq!((open.len(), &open[0]["subject"]), (1, &json!("rounds")));
    assert!(
        open[0]["title"]
            .as_str()
            .unwrap()
            .starts_with("rounds: nothing was checked from 2026-01-20T03:10:00Z")
    );
    rounds(&cloud, 2);
    assert_eq!(incidents(&cloud)[0]["status"], "resolved");
}

#[test]
fn without_the_database_the_heartbeat_hears_nothing() {
    let cloud = well();
    round(&cloud);
    cloud.db.fail(Some(Failure::BeforeCommit));
    cloud.pass(5 * MINUTE);
    assert!(cloud.tick(OFTEN).is_err());
    cloud.db.fail(None);
    assert_eq!(cloud.outside.times(HEARTBEAT), 1, "that of before");
    round(&cloud);
    assert_eq!(cloud.outside.times(HEARTBEAT), 2);
}

#[test]
fn a_round_is_stored_whole_or_not_at_all_and_the_next_goes_on_from_there() {
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        let cloud = well();
        cloud.outside.set(STORE, store("gone"));
        round(&cloud);
        cloud.db.fail_once("check_write", failure);
        cloud.pass(5 * MINUTE);
        assert!(cloud.tick(OFTEN).is_err(), "{failure:?}");
        assert_eq!(cloud.outside.times(HEARTBEAT), 1, "{failure:?}: nobody knows whether it is stored");
        let stored = usize::from(failure == Failure::AfterCommit);
        assert_eq!((incidents(&cloud).len(), told(&cloud).len()), (stored, stored), "{failure:?}");
        rounds(&cloud, 3);
        assert_eq!((incidents(&cloud).len(), told(&cloud).len()), (1, 1), "{failure:?}");
    }
}

#[test]
fn a_database_that_does_not_keep_what_is_written_is_found_out() {
    let cloud = well();
    cloud.db.fail_once("check_probe", Failure::BeforeCommit);
    assert!(round(&cloud).starts_with("checked 13 things, 1 with faults"));
    assert!(check(&cloud, "database")["fault"].is_string());
}

#[test]
fn one_round_goes_on_at_a_time_and_one_that_lost_its_hold_changes_nothing() {
    use rs1_store::checks;
    let cloud = well();
    let run = |statements: Vec<Statement>| block_on(cloud.db.batch(statements));
    run(vec![checks::begin("another", NOW)]).unwrap();
    cloud.pass(MINUTE);
    assert_eq!(of_round(&cloud.tick(OFTEN).unwrap()), "another round of checks goes on");
    assert_eq!((cloud.outside.times(HEARTBEAT), cloud.outside.times("FIRMWARE")), (0, 0));
    cloud.pass(5 * MINUTE);
    assert!(round(&cloud).starts_with("checked 13"), "the other is taken for dead");
    // It was not: what it comes with now is refused whole.
    let late = vec![checks::keep(&[]).unwrap(), checks::finish(0, "another", cloud.now.get(), 1, 1, 1)];
    assert!(run(late).is_err());
    assert_eq!(count(&cloud, "SELECT count(*) AS n FROM checks"), 13);
    // And so is the same round twice.
    run(vec![checks::begin("mine", cloud.now.get())]).unwrap();
    let finish = || vec![checks::finish(1, "mine", cloud.now.get(), 1, 1, 1)];
    run(finish()).unwrap();
    assert!(run(finish()).is_err());
}

#[test]
fn a_heartbeat_that_is_not_taken_is_said_and_harms_nothing() {
    for (manner, said) in [
        (Manner::Hangs, "no answer within 5000 ms"),
        (Manner::Answers(500, String::new(), 1), "status 500"),
        (Manner::Fails("refused".into(), 1), "refused"),
    ] {
        let cloud = well();
        cloud.outside.set(HEARTBEAT, manner);
        let line = round(&cloud);
        assert!(line.contains(&format!("the heartbeat was not taken: {said}")), "{line}");
        assert!(!line.contains("heartbeat.example"), "who knows the address can beat for us");
        assert!(check(&cloud, "store-api")["state"] == "up");
    }
}

#[test]
fn what_is_stored_does_not_grow_with_the_rounds() {
    let cloud = well();
    rounds(&cloud, 3);
    let rows = "SELECT (SELECT count(*) FROM checks) + (SELECT count(*) FROM component_days) + (SELECT count(*) FROM check_rounds) AS n";
    let before = count(&cloud, rows);
    rounds(&cloud, 30);
    assert_eq!(count(&cloud, rows), before);
    assert!(count(&cloud, "SELECT max(length(track)) AS n FROM checks") < 600);
    assert_eq!(check(&cloud, "store-api")["track"]["recent"].as_array().unwrap().len(), 12);
    assert_eq!(count(&cloud, "SELECT rounds AS n FROM component_days WHERE component = 'broker'"), 33);
    assert_eq!(count(&cloud, "SELECT runs AS n FROM component_days WHERE component = 'broker'"), 66);
    assert_eq!(count(&cloud, "SELECT latency_100 AS n FROM component_days WHERE component = 'broker'"), 66);
}

#[test]
fn what_is_past_its_time_goes() {
    let cloud = well();
    cloud.outside.set(STORE, store("gone"));
    rounds(&cloud, 2);
    cloud.outside.set(STORE, store("connected"));
    rounds(&cloud, 2);
    cloud.outside.set("OTA/health", Manner::Answers(500, String::new(), 1));
    rounds(&cloud, 2);
    let until = cloud.now.get().plus(HOUR).to_rfc3339();
    cloud.post("/admin/maintenance", &json!({"subjects": ["*"], "reason": "drill", "until": until}));
    cloud.pass(91 * DAY);
    cloud.tick(DAILY).unwrap();
    assert_eq!(count(&cloud, "SELECT count(*) AS n FROM component_days"), 0);
    assert_eq!(incidents(&cloud).len(), 2);
    cloud.pass(280 * DAY);
    cloud.tick(DAILY).unwrap();
    assert_eq!(incidents(&cloud).len(), 1, "one that goes on stays");
    assert_eq!(count(&cloud, "SELECT count(DISTINCT incident_id) AS n FROM incident_events"), 1);
    assert_eq!(count(&cloud, "SELECT count(*) AS n FROM maintenance_windows"), 0);
}

#[test]
fn incidents_are_listed_by_status_in_pages_and_acknowledged_by_one() {
    let cloud = well();
    for url in [STORE, "https://cloud.optic.works/", "OTA/health"] {
        cloud.outside.set(url, Manner::Answers(500, String::new(), 1));
    }
    rounds(&cloud, 2);
    let first = body(&cloud.get("/admin/incidents?limit=2"));
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = body(&cloud.get(&format!("/admin/incidents?cursor={cursor}")));
    assert_eq!((first["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (2, 1));
    let id = rest["items"][0]["incident_id"].as_str().unwrap().to_owned();
    let target = format!("/admin/incidents/{id}/ack");
    cloud.db.fail_once("incident_acknowledge", Failure::AfterCommit);
    assert_eq!(cloud.operator(Method::Post, &target, Vec::new()).status, 503, "the answer was lost");
    let again = cloud.operator(Method::Post, &target, Vec::new());
    assert_eq!((again.status, &body(&again)["acknowledged_by"]), (200, &json!("ada@optic.works")));
    let mut other = cloud.request(Method::Post, &target, Vec::new());
    other.headers = vec![("authorization", format!("Bearer {}", token("eve@optic.works")))];
    assert_eq!(body(&cloud.send(other))["acknowledged_by"], "ada@optic.works", "who said so first is kept");
    let steps = body(&again)["timeline"].as_array().unwrap().clone();
    assert_eq!(
        (steps.len(), &steps[1]["what"], &steps[1]["about"]),
        (2, &json!("acknowledged"), &json!("ada@optic.works"))
    );
    assert_eq!(told(&cloud).iter().filter(|told| told.what == "acknowledge").count(), 1);
    for (status, expected) in [("open", 2), ("acknowledged", 1), ("resolved", 0)] {
        let listed = body(&cloud.get(&format!("/admin/incidents?status={status}")));
        assert_eq!(listed["items"].as_array().unwrap().len(), expected, "{status}");
    }
    for url in [STORE, "https://cloud.optic.works/", "OTA/health"] {
        cloud.outside.mend(url);
    }
    cloud.outside.set(STORE, store("connected"));
    rounds(&cloud, 2);
    let over = &body(&cloud.get("/admin/incidents?status=resolved"))["items"][0]["incident_id"];
    let late = cloud.post(&format!("/admin/incidents/{}/ack", over.as_str().unwrap()), &json!({}));
    assert_eq!(late.status, 409);
}

fn pointers(answer: &Answer) -> Vec<String> {
    let errors = body(answer)["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_wrong_with_a_request_is_said_and_nothing_is_changed() {
    let cloud = well();
    let missing = "01KF4XGDD0EXAMPXE000000000";
    let post = |target: &str, wish: Value| cloud.post(target, &wish);
    assert_eq!(pointers(&post("/admin/maintenance", json!({}))), ["/subjects", "/reason", "/until"]);
    let bad = json!({"subjects": ["store", "nobody"], "reason": "", "from": "soon", "until": "2020-01-01T00:00:00Z", "by": "me"});
    assert_eq!(
        pointers(&post("/admin/maintenance", bad)),
        ["/subjects/1", "/reason", "/from", "/until", "/by"]
    );
    let long = json!({"subjects": ["*"], "reason": "x", "until": NOW.plus(8 * DAY).to_rfc3339()});
    assert_eq!(pointers(&post("/admin/maintenance", long)), ["/until"]);
    let far = json!({"subjects": ["*"], "reason": "x", "from": NOW.plus(91 * DAY).to_rfc3339(), "until": NOW.plus(92 * DAY).to_rfc3339()});
    assert_eq!(pointers(&post("/admin/maintenance", far)), ["/from"]);
    assert_eq!(post("/admin/maintenance", json!([])).status, 422);
    assert_eq!(body(&cloud.get("/admin/maintenance"))["items"], json!([]));
    for (target, status) in [
        ("/admin/incidents?status=new".to_owned(), 422),
        ("/admin/incidents?cursor=x".to_owned(), 422),
        ("/admin/incidents?colour=red".to_owned(), 422),
        ("/admin/incidents/inc-1".to_owned(), 404),
        (format!("/admin/incidents/inc-{missing}"), 404),
        ("/admin/checks?colour=red".to_owned(), 422),
        ("/admin/maintenance?cursor=inc-1".to_owned(), 422),
    ] {
        assert_eq!(cloud.get(&target).status, status, "{target}");
    }
    let ack = format!("/admin/incidents/inc-{missing}/ack");
    assert_eq!(post(&ack, json!({})).status, 404);
    assert_eq!(pointers(&post(&ack, json!({"note": 7, "by": "me"}))), ["/note", "/by"]);
    assert_eq!(cloud.operator(Method::Post, &ack, b"{".to_vec()).status, 400);
    for id in ["mnt-1".to_owned(), format!("mnt-{missing}")] {
        assert_eq!(
            cloud.operator(Method::Delete, &format!("/admin/maintenance/{id}"), Vec::new()).status,
            404
        );
    }
    for target in ["/admin/checks", "/admin/incidents", "/admin/maintenance"] {
        assert_eq!(cloud.send(cloud.request(Method::Get, target, Vec::new())).status, 401, "{target}");
        assert_eq!(cloud.operator(Method::Put, target, Vec::new()).status, 405, "{target}");
    }
}

#[test]
fn a_database_that_fails_is_a_503() {
    let cloud = well();
    cloud.outside.set(STORE, store("gone"));
    rounds(&cloud, 2);
    let id = incidents(&cloud)[0]["incident_id"].as_str().unwrap().to_owned();
    let wish = json!({"subjects": ["*"], "reason": "x", "until": cloud.now.get().plus(HOUR).to_rfc3339()});
    for (statement, method, target, body) in [
        ("check_list", Method::Get, "/admin/checks".to_owned(), Value::Null),
        ("incident_list", Method::Get, "/admin/incidents".to_owned(), Value::Null),
        ("incident_timeline", Method::Get, format!("/admin/incidents/{id}"), Value::Null),
        ("incident_by_id", Method::Post, format!("/admin/incidents/{id}/ack"), json!({})),
        ("notices_tell", Method::Post, format!("/admin/incidents/{id}/ack"), json!({})),
        ("maintenance_list", Method::Get, "/admin/maintenance".to_owned(), Value::Null),
        ("maintenance_declare", Method::Post, "/admin/maintenance".to_owned(), wish),
        (
            "maintenance_end",
            Method::Delete,
            "/admin/maintenance/mnt-01KF4XGDD0EXAMPXE000000000".to_owned(),
            Value::Null,
        ),
    ] {
        cloud.db.fail_statement(statement, Some(Failure::BeforeCommit));
        let sent = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        assert_eq!(cloud.operator(method, &target, sent).status, 503, "{statement} {target}");
        cloud.db.fail(None);
    }
    assert_eq!(incidents(&cloud)[0]["status"], "open");
    assert_eq!(body(&cloud.get("/admin/maintenance"))["items"], json!([]));
}

#[test]
fn every_fault_of_the_configuration_is_named() {
    let read = |settings: &[(&str, &str)]| {
        let look_up = |name: &str| {
            let own = settings.iter().find(|(own, _)| *own == name);
            own.map_or_else(|| crate::common::setting(name), |(_, value)| Some((*value).to_owned()))
        };
        Config::read(&look_up).err().map(|faults| faults.0).unwrap_or_default()
    };
    assert_eq!(
        read(&[("CHECKS", r#"[{"id":"a"}]"#), ("TARGETS", "7"), ("HEARTBEAT_URL", "nowhere")]),
        [
            "CHECKS[0] a: /component is required and must be 1 to 40 small letters, digits and hyphens",
            "CHECKS[0] a: /kind must be d1, r2, kv, queue, worker, emqx_status, emqx_stats, emqx_metrics, triggers, devices, rounds, secrets or http",
            "TARGETS must be a JSON array of checks",
            "HEARTBEAT_URL must be an http or https URL"
        ]
    );
    let faults = read(&[("CHECKS", r#"[{"id":"emqx","component":"broker","kind":"emqx_status"}]"#)]);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].starts_with("EMQX_API_URL is missing") && faults[1].starts_with("EMQX_API_KEY is missing")
    );
    let cloud = well();
    let now = cloud.now.get();
    let tick = rs1_domain::event::Tick {
        cron: OFTEN.into(),
        scheduled: now,
        now,
        request_id: rs1_domain::RequestId::from_header("tick").unwrap(),
    };
    let bad = Config::read(&|_| None);
    let clock = || cloud.now.get();
    let ticked = block_on(rs1_worker_health::cron::tick(&tick, bad.as_ref(), &cloud.world(&clock)));
    assert!(ticked.unwrap_err().cause.contains("ENVIRONMENT is missing"));
    assert_eq!(cloud.outside.times(HEARTBEAT), 0);
}

/// What is checked of our own is bound in every environment, and what is bound and can be checked is checked.
#[test]
fn our_own_checks_fit_the_bindings() {
    let checks = read_list(&[("CHECKS", OWN_CHECKS)]).unwrap();
    let file =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wrangler/health.jsonc")).unwrap();
    let bound = |binding: &str| file.matches(&format!("\"binding\": \"{binding}\"")).count();
    let mut looked_at = Vec::new();
    for check in &checks {
        let bindings = match &check.kind {
            Kind::R2 { binding } | Kind::Kv { binding } | Kind::Worker { binding, .. } => {
                vec![binding.as_str()]
            }
            Kind::Queue { binding, dead, .. } => vec![binding.as_str(), dead.as_str()],
            _ => Vec::new(),
        };
        for binding in &bindings {
            assert_eq!(bound(binding), 3, "{}: {binding} is not bound in each environment", check.id);
        }
        looked_at.extend(bindings.iter().map(|binding| (*binding).to_owned()));
    }
    for part in file.split("\"binding\": \"").skip(1) {
        let binding = part.split('"').next().unwrap();
        // The database is checked by its own kind; the company's bucket is others' to write, the data set and the version are no stores.
        let other = ["DB", "COMPANY_BACKUPS", "ANALYTICS", "VERSION"].contains(&binding);
        assert!(other || looked_at.iter().any(|known| known == binding), "{binding} is not checked");
    }
    assert!(checks.iter().any(|check| check.kind == Kind::D1 && check.id == "database"));
}

/// So many devices fell silent just now.
fn silent(cloud: &Cloud, devices: i64) {
    change(
        cloud,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by) SELECT printf('%032x', i), i, '1.x', 1, 'ada' FROM n",
        vec![Param::Int(devices)],
    );
    change(
        cloud,
        "INSERT INTO alerts (alert_id, device_id, kind, severity, opened_at, last_at, occurrences, detail, generation)
         SELECT ?1 || substr(device_id, 17), device_id, 'device_offline', 'warning', ?2, ?2, 1, 'it says nothing', 1 FROM devices",
        vec![collect::border(cloud.now.get()).as_str()[..14].into(), cloud.now.get().into()],
    );
}

/// What people were told of silent devices since they were asked last.
fn of_silence(cloud: &Cloud, minutes: usize) -> Vec<(String, String, String)> {
    let from = count(cloud, "SELECT coalesce(max(seq), 0) AS n FROM notices");
    for _ in 0..minutes {
        cloud.pass(MINUTE);
        cloud.tick("* * * * *").unwrap();
    }
    let sql = "SELECT said, dedup_key, what, severity, summary FROM notices WHERE source = 'alert' AND seq > ?1 ORDER BY seq";
    let told: Vec<Told> = cloud.rows(Statement { name: "told", sql, params: vec![Param::Int(from)] });
    told.into_iter().map(|told| (told.what, told.dedup_key, told.summary)).collect()
}

#[test]
fn an_emqx_that_is_down_explains_a_wave_of_silent_devices() {
    let list = json!([
        {"id": "emqx", "component": "broker", "kind": "emqx_status", "severity": "SEV1"},
        {"id": "devices", "component": "devices", "kind": "devices", "needs": ["emqx"]},
    ]);
    let cloud = watched(&list, &json!([]));
    rounds(&cloud, 2);
    cloud.outside.set(STATUS, Manner::Answers(503, "emqx is not_running".into(), 3));
    round(&cloud);
    silent(&cloud, 30);
    assert_eq!(of_silence(&cloud, 3), [], "one look failed: the next will tell");
    round(&cloud);
    let [incident] = <[Value; 1]>::try_from(incidents(&cloud)).unwrap();
    let subject = format!("incident-{}", incident["incident_id"].as_str().unwrap());
    let summary = format!("30 devices: device_offline (because of {})", incident["title"].as_str().unwrap());
    assert_eq!(of_silence(&cloud, 3), [("info".to_owned(), subject, summary)], "with the incident, and once");
    let sql = "SELECT count(*) AS n FROM notice_deliveries JOIN notices USING (seq) WHERE channel = 'pagerduty' AND what = 'trigger'
       AND source IN ('incident', 'alert')";
    let pages = count(&cloud, sql);
    assert_eq!(pages, 1, "of the incident");

    cloud
        .outside
        .set(STATUS, Manner::Answers(200, "Node emqx@10.0.0.5 is started\nemqx is running".into(), 3));
    rounds(&cloud, 2);
    assert_eq!(body(&cloud.get("/admin/incidents?status=open"))["items"], json!([]));
    assert_eq!(of_silence(&cloud, 4), [], "they may be on their way back");
    rounds(&cloud, 3);
    let own = of_silence(&cloud, 2);
    assert_eq!(own.len(), 1, "{own:?}");
    assert_eq!((own[0].0.as_str(), own[0].2.as_str()), ("trigger", "30 devices: device_offline"));
    change(&cloud, "UPDATE alerts SET resolved_at = ?1", vec![cloud.now.get().into()]);
    let end = of_silence(&cloud, 2);
    assert_eq!((end.len(), end[0].0.as_str(), &end[0].1), (1, "resolve", &own[0].1));
}

#[test]
fn maintenance_of_the_broker_and_a_watch_that_stands_still_are_told_apart() {
    let list = json!([
        {"id": "emqx", "component": "broker", "kind": "emqx_status", "severity": "SEV1"},
        {"id": "devices", "component": "devices", "kind": "devices", "needs": ["emqx"]},
    ]);
    let cloud = watched(&list, &json!([]));
    rounds(&cloud, 1);
    let until = cloud.now.get().plus(HOUR).to_rfc3339();
    let window = json!({"subjects": ["emqx"], "reason": "a new version", "until": until});
    assert_eq!(cloud.post("/admin/maintenance", &window).status, 201);
    cloud.outside.set(STATUS, Manner::Answers(503, "emqx is not_running".into(), 3));
    rounds(&cloud, 2);
    silent(&cloud, 30);
    assert_eq!(of_silence(&cloud, 4), [], "nobody is woken by what was announced");
    // No round for a quarter of an hour: what was known then explains nothing.
    let told = of_silence(&cloud, 20);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "trigger");
}
