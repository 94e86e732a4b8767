//! The page, the document, the feed and the metrics, over real SQL: what a round of checks wrote is what everybody reads.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, which is what it should do"
)]

use std::cell::Cell;

use pollster::block_on;
use rs1_domain::config::BadConfig;
use rs1_domain::port::Database;
use rs1_domain::time::{DAY, HOUR, MINUTE, SECOND};
use rs1_domain::{Answer, Method, Request, RequestId, UnixMillis};
use rs1_store::native::{Failure, NativeDatabase};
use rs1_store::{Param, Statement};
use rs1_worker_status::config::Config;
use rs1_worker_status::picture::Shelf;
use rs1_worker_status::routes;
use rs1_worker_status::world::{Ports, World};
use serde_json::{Value, json};

/// 2026-01-20T10:00:00Z.
const NOW: UnixMillis = UnixMillis(1_768_903_200_000);
const TOKEN: &str = "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm";

struct Memory<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Ports for Memory<'a> {
    type Database = &'a NativeDatabase;
}

struct Cloud {
    db: NativeDatabase,
    shelf: Shelf,
    config: Config,
    now: Cell<UnixMillis>,
}

fn setting(name: &str) -> Option<String> {
    let value = match name {
        "ENVIRONMENT" => "local",
        "STATUS_ORIGIN" => "https://status.example/",
        "HIDDEN_COMPONENTS" => "internal",
        "METRICS_TOKEN" => TOKEN,
        _ => return None,
    };
    Some(value.to_owned())
}

/// An incident whose title and steps say what nobody outside is to read.
const SECRET: &str = "intranet.optic.works <b>answered</b> ada@optic.works";

impl Cloud {
    fn new() -> Self {
        let config = Config::read(&setting).unwrap_or_else(|faults| panic!("{faults:?}"));
        Self { db: NativeDatabase::new(), shelf: Shelf::default(), config, now: Cell::new(NOW) }
    }

    /// One whose checks ran a minute ago.
    fn checked() -> Self {
        let cloud = Self::new();
        cloud.round(NOW.plus(-MINUTE));
        cloud
    }

    fn sql(&self, sql: &'static str, params: Vec<Param>) {
        block_on(self.db.batch(vec![Statement { name: "test", sql, params }])).unwrap();
    }

    fn round(&self, at: UnixMillis) {
        self.sql(
            "INSERT INTO check_rounds (round_id, generation, held_at, judged_at, duration_ms, looked, failed)
             VALUES (1, 1, ?1, ?1, 1234, 5, 2) ON CONFLICT DO UPDATE SET judged_at = ?1",
            vec![at.into()],
        );
        self.sql("UPDATE checks SET checked_at = ?1", vec![at.into()]);
    }

    fn check(&self, id: &str, component: &str, severity: &str, state: &str, silenced: i64) {
        self.sql(
            "INSERT INTO checks (check_id, component, kind, severity, state, since, checked_at, latency_ms, fault, silenced, track)
             VALUES (?1, ?2, 'http', ?3, ?4, ?5, ?5, 42, ?7, ?6, '{}')",
            vec![
                id.into(),
                component.into(),
                severity.into(),
                state.into(),
                NOW.plus(-MINUTE).into(),
                Param::Int(silenced),
                SECRET.into(),
            ],
        );
    }

    /// A day, so many days ago: rounds, of those ill and down, silent ones.
    fn day(&self, component: &str, ago: i64, [rounds, ill, down, silent]: [i64; 4]) {
        self.sql(
            "INSERT INTO component_days VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?3, 0, ?3 * 40, 90, ?3, ?3, ?3, ?3)",
            vec![
                component.into(),
                NOW.plus(-ago * DAY).date().into(),
                Param::Int(rounds),
                Param::Int(ill),
                Param::Int(down),
                Param::Int(silent),
            ],
        );
    }

    fn incident(&self, id: &str, components: &Value, opened_at: UnixMillis, resolved_at: Option<UnixMillis>) {
        self.sql(
            "INSERT INTO incidents (incident_id, subject, severity, title, components, members, explains, opened_at, respond_by,
               acknowledged_at, acknowledged_by, resolved_at)
             VALUES (?1, ?1, 'SEV2', ?2, ?3, '[]', '[]', ?4, ?4, ?5, 'ada@optic.works', ?6)",
            vec![
                id.into(),
                SECRET.into(),
                components.to_string().into(),
                opened_at.into(),
                opened_at.plus(2 * MINUTE).into(),
                resolved_at.map(|at| at.0).into(),
            ],
        );
    }

    fn step(&self, incident: &str, at: UnixMillis, step: i64, what: &str, about: &str) {
        self.sql(
            "INSERT INTO incident_events VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            vec![incident.into(), at.into(), Param::Int(step), what.into(), about.into(), SECRET.into()],
        );
    }

    fn send(&self, method: Method, path: &str, headers: Vec<(&'static str, String)>) -> Answer {
        let request = Request {
            method,
            path: path.into(),
            query: String::new(),
            headers,
            body: Vec::new(),
            now: self.now.get(),
            request_id: RequestId::from_header("request-1").unwrap(),
        };
        let world: World<'_, Memory<'_>> = World { db: &self.db, shelf: &self.shelf };
        let (route, answer) = block_on(routes::handle(request, Ok(&self.config), &world));
        assert_eq!(route, path);
        answer
    }

    #[track_caller]
    fn get(&self, path: &str) -> String {
        let answer = self.send(Method::Get, path, Vec::new());
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status.json")).unwrap()
    }

    fn pass(&self, millis: i64) {
        self.now.set(self.now.get().plus(millis));
    }
}

fn id(letter: char, at: UnixMillis) -> String {
    let random = [u8::try_from(letter).unwrap(); 10];
    rs1_domain::RecordId::generate("inc", at, random).to_string()
}

#[test]
fn before_anything_was_checked_nothing_is_known() {
    let cloud = Cloud::new();
    let status = cloud.status();
    assert_eq!((&status["status"], &status["checked_at"]), (&json!("unknown"), &Value::Null));
    assert_eq!(status["summary"], "Status unknown: nothing has been checked yet");
    assert_eq!((&status["components"], &status["incidents"]), (&json!([]), &json!([])));
    let page = cloud.get("/");
    assert!(page.contains("nothing has been checked yet") && page.ends_with("</html>\n"));
    assert!(cloud.get("/feed.atom").contains("<updated>2026-01-01T00:00:00Z</updated>"));
}

#[test]
fn a_part_is_as_well_as_its_checks() {
    let cloud = Cloud::checked();
    for (check, component, severity, state, silenced) in [
        ("a", "api", "SEV2", "up", 0),
        ("b1", "broker", "SEV2", "up", 0),
        ("b2", "broker", "SEV2", "down", 0),
        ("d1", "devices", "SEV3", "up", 1),
        ("d2", "devices", "SEV3", "down", 1),
        ("s1", "storage", "SEV1", "down", 0),
        ("s2", "storage", "SEV3", "up", 0),
        ("t", "telemetry", "SEV4", "down", 0),
        ("u1", "updates", "SEV3", "up", 0),
        ("u2", "updates", "SEV3", "down", 1),
        ("i", "internal", "SEV1", "down", 0),
    ] {
        cloud.check(check, component, severity, state, silenced);
    }
    let status = cloud.status();
    let levels: Vec<_> = status["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["status"].as_str().unwrap()))
        .collect();
    assert_eq!(
        levels,
        [
            ("API", "operational"),
            ("Broker", "degraded"),
            ("Devices", "maintenance"),
            ("Storage", "down"),
            ("Telemetry", "down"),
            ("Updates", "operational"),
        ],
        "and what is hidden is not there"
    );
    assert_eq!(status["status"], "down");
    let page = cloud.get("/");
    assert!(page.contains("<span class=\"level degraded\">Degraded</span>"), "{page}");
    assert!(!page.to_lowercase().contains("internal"));
}

#[test]
fn when_the_checks_have_not_run_for_a_quarter_of_an_hour_everything_is_unknown() {
    let cloud = Cloud::checked();
    cloud.check("a", "api", "SEV1", "up", 0);
    cloud.check("b", "broker", "SEV1", "down", 0);
    cloud.pass(14 * MINUTE);
    assert_eq!(cloud.status()["status"], "down");
    cloud.pass(SECOND);
    let status = cloud.status();
    assert_eq!(status["summary"], "Status unknown: nothing has been checked since 20 Jan 2026, 09:59 UTC");
    for component in status["components"].as_array().unwrap() {
        assert_eq!(component["status"], "unknown", "{component}");
    }
    assert!(cloud.get("/").contains("nothing has been checked since 20 Jan 2026, 09:59 UTC"));
    // One that was not among the checks lately, while others were.
    cloud.round(cloud.now.get());
    cloud.sql("UPDATE checks SET checked_at = ?1 WHERE check_id = 'b'", vec![NOW.into()]);
    cloud.pass(MINUTE);
    let status = cloud.status();
    assert_eq!(
        [&status["components"][0]["status"], &status["components"][1]["status"]],
        ["operational", "unknown"]
    );
}

#[test]
fn each_part_has_ninety_days() {
    let cloud = Cloud::checked();
    cloud.check("a", "api", "SEV2", "up", 0);
    cloud.check("b", "broker", "SEV2", "up", 0);
    cloud.day("api", 90, [288, 288, 288, 0]);
    cloud.day("api", 89, [288, 10, 0, 0]);
    cloud.day("api", 2, [288, 6, 6, 0]);
    cloud.day("api", 1, [0, 0, 0, 288]);
    cloud.day("api", 0, [120, 0, 0, 0]);
    let status = cloud.status();
    let (api, broker) = (&status["components"][0], &status["components"][1]);
    let days = api["days"].as_array().unwrap();
    assert_eq!(
        (days.len(), &days[0]["day"], &days[89]["day"]),
        (90, &json!("2025-10-23"), &json!("2026-01-20"))
    );
    let levels = [0, 1, 87, 88, 89].map(|index: usize| days[index]["status"].as_str().unwrap());
    assert_eq!(levels, ["degraded", "unknown", "down", "maintenance", "operational"]);
    assert_eq!(
        days[87],
        json!({"day": "2026-01-18", "status": "down", "uptime_ppm": 979_166, "latency_ms": 40})
    );
    assert_eq!(days[88]["uptime_ppm"], Value::Null);
    assert_eq!(api["uptime_ppm"], 991_379, "690 of 696 rounds, and the day before is not counted");
    assert_eq!((&broker["uptime_ppm"], &broker["latency_ms"]), (&Value::Null, &Value::Null));
    let page = cloud.get("/");
    assert!(page.contains("Uptime in 90 days: 99.13%; days with trouble: 2."));
    assert!(page.contains("Uptime in 90 days: unknown; days with trouble: 0."));
    assert!(page.contains("<td>Down</td><td>97.91%</td>"), "the bars as a table");
    assert_eq!(page.matches("class=\"line\"").count(), 1, "no latency, no line");
    assert_eq!(page.matches("<title>").count(), 1 + 1 + 2 * 90, "the page's, the line's, each day's");
    for title in [
        "23 Oct 2025: Degraded, 100% uptime, 40 ms",
        "17 Jan 2026: no data",
        "18 Jan 2026: Down, 97.91% uptime, 40 ms",
        "19 Jan 2026: Maintenance",
        "20 Jan 2026: Operational, 40 ms",
    ] {
        assert!(page.contains(&format!("<title>{title}</title>")), "{title}");
    }
}

#[test]
fn incidents_are_told_in_words_of_ours() {
    let cloud = Cloud::checked();
    cloud.check("a", "api", "SEV2", "up", 0);
    cloud.check("b", "broker", "SEV2", "down", 0);
    cloud.check("i", "internal", "SEV2", "down", 0);
    let (began, ended) = (NOW.plus(-3 * HOUR), NOW.plus(-HOUR));
    let (open, over, old, long, hidden) = (
        id('A', began),
        id('B', began),
        id('C', NOW.plus(-15 * DAY)),
        id('D', NOW.plus(-40 * DAY)),
        id('E', began),
    );
    cloud.incident(&open, &json!(["broker", "api", "internal"]), began, None);
    cloud.incident(&over, &json!(["store"]), began, Some(ended));
    cloud.incident(&old, &json!(["store"]), NOW.plus(-15 * DAY), Some(ended));
    cloud.incident(&long, &json!(["store"]), NOW.plus(-40 * DAY), None);
    cloud.incident(&hidden, &json!(["internal"]), began, None);
    for (minute, step, what, about) in [
        (0, 0, "opened", "b"),
        (5, 0, "check_failed", "a"),
        (5, 1, "check_failed", "a"),
        (5, 2, "check_failed", "i"),
        (5, 3, "check_failed", "gone"),
        (6, 0, "reminded", ""),
        (7, 0, "escalated", ""),
        (9, 0, "explains", "b"),
        (10, 0, "check_recovered", "a"),
    ] {
        cloud.step(&open, began.plus(minute * MINUTE), step, what, about);
    }
    let status = cloud.status();
    let incidents = status["incidents"].as_array().unwrap();
    let ids: Vec<_> = incidents.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&open, &long, &over], "what goes on first; what began long ago and is over is not told");
    assert_eq!(incidents[0]["title"], "Broker and API: partial outage");
    assert_eq!(incidents[0]["status"], "acknowledged");
    let updates: Vec<_> =
        incidents[0]["updates"].as_array().unwrap().iter().map(|it| it["text"].as_str().unwrap()).collect();
    assert_eq!(
        updates,
        [
            "We are investigating a fault: Broker and API.",
            "We are working on it.",
            "Also affected: API.",
            "Also affected: another part.",
            "The impact has grown.",
            "Affected as a consequence: Broker.",
            "Works again: API.",
        ]
    );
    assert_eq!(incidents[0]["updated_at"], began.plus(10 * MINUTE).to_rfc3339());
    assert_eq!(
        incidents[2]["updates"].as_array().unwrap().last().unwrap()["text"],
        "Resolved: everything works again."
    );
    // Neither what was found, nor who is at it, nor a check's name.
    for path in ["/", "/status.json", "/feed.atom"] {
        let text = cloud.get(path);
        for word in ["optic.works", "ada", "answered", "gone", "<b>"] {
            assert!(!text.contains(word), "{path} says {word}");
        }
    }
    let page = cloud.get("/");
    let (wrong, past) = (page.find("Ongoing incidents").unwrap(), page.find("Past incidents").unwrap());
    assert!(wrong < page.find(&open).unwrap() && page.find(&open).unwrap() < past);
    assert!(past < page.find(&over).unwrap());
}

#[test]
fn the_feed_is_atom_with_ids_that_stay_and_times_that_follow() {
    let cloud = Cloud::checked();
    let began = NOW.plus(-HOUR);
    let one = id('A', began);
    cloud.incident(&one, &json!(["broker"]), began, None);
    let entry = format!("<id>tag:status.example,2026:{one}</id>");
    let feed = cloud.get("/feed.atom");
    assert!(feed.contains(&entry) && feed.contains("<id>tag:status.example,2026:incidents</id>"), "{feed}");
    assert_eq!(
        feed.matches("<updated>2026-01-20T09:02:00Z</updated>").count(),
        2,
        "the feed's and the entry's: {feed}"
    );
    assert!(feed.contains(&format!("href=\"https://status.example/#{one}\"")));
    cloud.sql("UPDATE incidents SET resolved_at = ?1", vec![NOW.into()]);
    cloud.pass(MINUTE);
    let feed = cloud.get("/feed.atom");
    assert!(feed.contains(&entry), "{feed}");
    assert_eq!(feed.matches("<updated>2026-01-20T10:00:00Z</updated>").count(), 2, "{feed}");
    assert!(feed.contains("<published>2026-01-20T09:00:00Z</published>"));
}

#[test]
fn maintenance_is_announced_without_its_reason() {
    let cloud = Cloud::checked();
    cloud.check("b", "broker", "SEV2", "up", 1);
    for (window, subjects, from, until) in [
        ("mnt-1", json!(["broker", "b"]), NOW.plus(-HOUR), NOW.plus(HOUR)),
        ("mnt-2", json!(["*"]), NOW.plus(-HOUR), NOW.plus(MINUTE)),
        ("mnt-3", json!(["internal"]), NOW.plus(-HOUR), NOW.plus(HOUR)),
        ("mnt-4", json!(["broker"]), NOW.plus(HOUR), NOW.plus(2 * HOUR)),
    ] {
        cloud.sql(
            "INSERT INTO maintenance_windows (window_id, subjects, reason, from_at, until_at, created_by) VALUES (?1, ?2, ?3, ?4, ?5, 'ada')",
            vec![window.into(), subjects.to_string().into(), SECRET.into(), from.into(), until.into()],
        );
    }
    let status = cloud.status();
    assert_eq!(status["status"], "maintenance");
    let named: Vec<_> =
        status["maintenance"].as_array().unwrap().iter().map(|it| it["components"].clone()).collect();
    assert_eq!(named, [json!([]), json!(["Broker"])]);
    let page = cloud.get("/");
    assert!(
        page.contains("<h3>Broker</h3><span class=\"level maintenance\">In progress")
            && page.contains("<h3>Some parts</h3>")
    );
    assert!(!page.contains("optic.works"));
}

#[test]
fn names_cannot_break_out_of_the_page_or_the_feed() {
    let cloud = Cloud::checked();
    let evil = "x\"><script>alert('1')</script>&";
    cloud.check("a", evil, "SEV2", "down", 0);
    cloud.day(evil, 0, [10, 5, 5, 0]);
    cloud.incident(&id('A', NOW), &json!([evil]), NOW, None);
    for path in ["/", "/feed.atom"] {
        let text = cloud.get(path);
        assert!(text.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"), "{path}");
        assert!(!text.contains("<script"), "{path}");
    }
    assert!(cloud.get("/status.json").contains(r#"x\"><script>"#), "JSON is quoted as JSON is");
}

#[test]
fn answers_may_be_kept_for_half_a_minute_and_a_page_runs_no_script() {
    let cloud = Cloud::checked();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/status.json", "application/json"),
        ("/feed.atom", "application/atom+xml; charset=utf-8"),
    ] {
        let answer = cloud.send(Method::Get, path, Vec::new());
        assert_eq!(answer.content_type, Some(kind));
        assert!(answer.headers.contains(&("cache-control", "public, max-age=30".into())), "{path}");
        assert_eq!(cloud.send(Method::Post, path, Vec::new()).status, 405);
    }
    let page = cloud.send(Method::Get, "/", Vec::new());
    let policy = &page.headers.iter().find(|(name, _)| *name == "content-security-policy").unwrap().1;
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for word in ["<script", "=\"http", " src=", " style=", " onload"] {
        assert!(!page.body.contains(word), "{word}");
    }
}

#[test]
fn however_often_it_is_asked_for_the_database_is_read_twice_a_minute() {
    let cloud = Cloud::checked();
    cloud.check("a", "api", "SEV2", "up", 0);
    cloud.get("/");
    let before = cloud.db.batches_run();
    for _ in 0..29 {
        cloud.pass(SECOND);
        cloud.get("/");
        cloud.get("/status.json");
    }
    assert_eq!(cloud.db.batches_run(), before);
    cloud.pass(SECOND);
    cloud.sql("UPDATE checks SET state = 'down'", Vec::new());
    assert_eq!(cloud.status()["status"], "down");
    assert_eq!(cloud.db.batches_run(), before + 2, "the change, and one more look");
}

#[test]
fn without_a_database_the_page_shows_what_it_knew_until_it_is_old() {
    let cloud = Cloud::checked();
    cloud.check("a", "api", "SEV2", "up", 0);
    cloud.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(cloud.send(Method::Get, "/", Vec::new()).status, 503, "nothing was known yet");
    cloud.db.fail(None);
    assert_eq!(cloud.status()["status"], "operational");
    cloud.db.fail(Some(Failure::BeforeCommit));
    cloud.pass(5 * MINUTE);
    let answer = cloud.send(Method::Get, "/", Vec::new());
    assert!(answer.body.contains("All systems operational"));
    assert!(answer.log.unwrap().starts_with("shown as it was: "), "we are told");
    cloud.pass(10 * MINUTE);
    assert!(cloud.get("/").contains("Status unknown"));
    assert_eq!(cloud.send(Method::Get, "/page/health", Vec::new()).status, 503);
}

#[test]
fn metrics_are_for_whoever_has_the_token() {
    let cloud = Cloud::checked();
    cloud.check("a\"\\\n", "api", "SEV2", "up", 0);
    cloud.check("b", "broker", "SEV1", "down", 1);
    cloud.incident(&id('A', NOW), &json!(["broker"]), NOW, None);
    cloud.sql("UPDATE incidents SET acknowledged_at = NULL", Vec::new());
    for at in [NOW.plus(-MINUTE), NOW.plus(-90 * SECOND)] {
        cloud.sql(
            "INSERT INTO notice_deliveries (seq, channel, dedup_key, state, since, next_at) VALUES (?1, 'slack', 'k', 'waiting', ?1, ?1)",
            vec![at.into()],
        );
    }
    let ask = |token: &str| cloud.send(Method::Get, "/metrics", vec![("authorization", token.to_owned())]);
    for token in ["", TOKEN, "Bearer ", "Bearer x", &format!("Bearer {TOKEN}x")] {
        let answer = ask(token);
        assert_eq!(answer.status, 401, "{token}");
        assert!(answer.headers.contains(&("www-authenticate", "Bearer".into())));
    }
    assert_eq!(cloud.send(Method::Get, "/metrics", Vec::new()).status, 401);
    let answer = ask(&format!("Bearer {TOKEN}"));
    assert_eq!((answer.status, answer.content_type), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    for line in [
        "# TYPE rs1_check_up gauge",
        r#"rs1_check_up{check="a\"\\\n",component="api",severity="SEV2"} 1"#,
        r#"rs1_check_up{check="b",component="broker",severity="SEV1"} 0"#,
        r#"rs1_check_silenced{check="b",component="broker",severity="SEV1"} 1"#,
        r#"rs1_check_latency_seconds{check="b",component="broker",severity="SEV1"} 0.042"#,
        r#"rs1_incidents_open{severity="SEV2",acknowledged="false"} 1"#,
        r#"rs1_incidents_open{severity="SEV2",acknowledged="true"} 0"#,
        "rs1_round_age_seconds 60.000",
        "rs1_round_duration_seconds 1.234",
        "rs1_round_checks 5",
        "rs1_round_failures 2",
        r#"rs1_notices_waiting{channel="slack"} 2"#,
        r#"rs1_notices_oldest_age_seconds{channel="slack"} 90.000"#,
    ] {
        assert!(answer.body.lines().any(|it| it == line), "{line} is not in\n{}", answer.body);
    }
    assert!(!answer.headers.iter().any(|(name, _)| *name == "cache-control"), "not kept by anybody");
}

#[test]
fn without_a_token_configured_nobody_reads_metrics_and_a_weak_one_is_a_fault() {
    let with = |token: &'static str| {
        move |name: &str| if name == "METRICS_TOKEN" { Some(token.to_owned()) } else { setting(name) }
    };
    let mut cloud = Cloud::checked();
    cloud.config = Config::read(&with("")).unwrap_or_else(|faults| panic!("{faults:?}"));
    let headers = || vec![("authorization", format!("Bearer {TOKEN}"))];
    assert_eq!(cloud.send(Method::Get, "/metrics", headers()).status, 401);
    let Err(BadConfig(faults)) = Config::read(&with("short")) else { panic!("it was read") };
    assert_eq!(faults, ["METRICS_TOKEN must be at least 32 characters"]);
    let Err(BadConfig(faults)) = Config::read(&|_| None) else { panic!("it was read") };
    assert_eq!(faults.len(), 2, "{faults:?}");
}

#[test]
fn there_is_nothing_else() {
    let cloud = Cloud::new();
    let request = |path: &str| Request {
        method: Method::Get,
        path: path.into(),
        query: String::new(),
        headers: Vec::new(),
        body: Vec::new(),
        now: NOW,
        request_id: RequestId::from_header("request-1").unwrap(),
    };
    let world: World<'_, Memory<'_>> = World { db: &cloud.db, shelf: &cloud.shelf };
    for path in ["/page/", "/page/status.json", "/page/metrics", "/admin", "/health", ""] {
        let (route, answer) = block_on(routes::handle(request(path), Ok(&cloud.config), &world));
        assert_eq!((route, answer.status), ("unknown", 404), "{path}");
    }
    assert_eq!(cloud.send(Method::Get, "/page/health", Vec::new()).status, 200);
}
