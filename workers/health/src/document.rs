//! What this worker answers, for the OpenAPI document.

use std::collections::BTreeMap;

use rs1_domain::problem::Kind;
use rs1_openapi::{Caller, Host, Operation, Reason, Tag, sample};
use rs1_ops::check::Severity as Sev;
use rs1_ops::incident::{Member, Seen, State, Track, What as Step};
use rs1_ops::notice::{Channel, Severity, Source, What};
use rs1_ops::plan::{Manifest, ManifestPart};
use rs1_store::backups::BackupRow;
use rs1_store::checks::{CheckRow, RoundRow};
use rs1_store::incidents::{EventRow, IncidentRow, Status, WindowRow};
use rs1_store::notices::{DeliveryShown, DeliveryState, NoticeShown};
use rs1_store::sql::Page;
use rs1_store::watch::WatchRow;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::handlers::checks::Found;
use crate::handlers::maintenance::Wish;

/// One backup.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "BackupInFull")]
struct InFull {
    #[serde(flatten)]
    backup: BackupRow,
    /// How far it is, while it is made.
    progress: Option<Progress>,
    /// Once it is whole.
    manifest: Option<Manifest>,
}

/// How far a backup is.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "BackupProgress")]
struct Progress {
    rows: u64,
    bytes: u64,
    parts: usize,
    tables_begun: usize,
    tables: usize,
}

/// All that is watched.
#[derive(JsonSchema, Serialize)]
struct Watch {
    items: Vec<WatchRow>,
}

/// Every operation.
pub fn operations() -> Vec<Operation> {
    let health = Operation::get("/health", "health", "How this worker is").on(Host::Status);
    [vec![sample::health(health)], backups(), notices(), checks(), maintenance()]
        .into_iter()
        .flatten()
        .collect()
}

fn of_operator(operation: Operation) -> Operation {
    operation.on(Host::Status).of(Tag::Backups, Caller::Operator)
}

fn backup() -> BackupRow {
    BackupRow {
        backup_id: "2026-01-20".to_owned(),
        state: "complete".to_owned(),
        requested_by: None,
        reason: None,
        started_at: sample::NOW,
        finished_at: Some(sample::NOW.plus(9_000)),
        duration_ms: Some(9_000),
        row_count: Some(1_234),
        bytes: Some(56_789),
        sha256: Some("5f".repeat(32)),
        schema_version: Some("0010_backup_watch.sql".to_owned()),
        check_ok: Some(true),
        checked_at: Some(sample::NOW.plus(600_000)),
        check_faults: None,
        detail: None,
        progress: None,
    }
}

fn backups() -> Vec<Operation> {
    let manifest = Manifest {
        format: 1,
        backup_id: backup().backup_id,
        object: "backups/d1/2026-01-20.sql.gz".to_owned(),
        bytes: 56_789,
        sha256: "5f".repeat(32),
        parts: vec![ManifestPart { bytes: 56_789, sha256: "5f".repeat(32) }],
        tables: BTreeMap::new(),
        schema_version: backup().schema_version,
        bookmark: "00000001-00000000-00004e2e-5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f".to_owned(),
        end_bookmark: "00000001-00000000-00004e2e-5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f".to_owned(),
        started_at: sample::NOW.to_rfc3339(),
        finished_at: sample::NOW.plus(9_000).to_rfc3339(),
        duration_ms: 9_000,
        oversized_rows: 0,
    };
    let asked = BackupRow {
        backup_id: "2026-01-20T1000".to_owned(),
        state: "running".to_owned(),
        requested_by: Some("operator@optic.works".to_owned()),
        reason: Some("before the migration".to_owned()),
        ..backup()
    };
    let watched = WatchRow {
        subject: "database".to_owned(),
        faults: json!([]),
        facts: json!({"backup_id": "2026-01-20"}),
        first_at: sample::NOW,
        since: sample::NOW,
        looked_at: sample::NOW,
    };
    let no_parameter = [("?colour", "is not known; known are ")];
    vec![
        of_operator(Operation::get("/admin/backups", "listBackups", "The backups of the database"))
            .paged("^[0-9T-]{10,15}$")
            .answers(200, "A page, newest first", &Page { items: vec![backup()], next_cursor: None })
            .refuses_faults(&[("?limit", "must be a whole number from 1 to 200")]),
        of_operator(Operation::post("/admin/backups", "makeBackup", "Begin a backup"))
            .about("The clock carries it on. The same again within the minute is the same backup.")
            .takes::<Reason>(vec![("a reason", json!({"reason": "before the migration"}))])
            .answers(202, "It is begun", &asked)
            .refuses(Kind::Conflict, "another backup is being made, 2026-01-20")
            .refuses_faults(&[("/reason", "is required and must be 1 to 500 characters of text")]),
        of_operator(Operation::get(
            "/admin/backups/watch",
            "watchedBackups",
            "What the watch over backups says",
        ))
        .answers(200, "This system's and the company's", &Watch { items: vec![watched] })
        .refuses_faults(&no_parameter),
        of_operator(Operation::get("/admin/backups/{id}", "backup", "One backup"))
            .path_of(
                "id",
                "Its day, or its minute where somebody asked for it.",
                json!({"type": "string", "pattern": "^[0-9T-]{10,15}$"}),
                "2026-01-20",
            )
            .answers(
                200,
                "With its manifest once it is whole, and how far it is before",
                &InFull { backup: backup(), progress: None, manifest: Some(manifest) },
            )
            .refuses(Kind::NotFound, "there is no such backup")
            .refuses_faults(&no_parameter),
    ]
}

/// A test of the channels that was begun.
#[derive(JsonSchema, Serialize)]
struct NoticeTest {
    /// The notices: that it began, and that it is over.
    notice_ids: Vec<String>,
    /// The channels that are configured.
    channels: Vec<Channel>,
}

fn notices() -> Vec<Operation> {
    let of_notices = |operation: Operation| operation.on(Host::Status).of(Tag::Notices, Caller::Operator);
    let id = || sample::record_id("ntc").to_string();
    let sent = DeliveryShown {
        channel: Channel::PagerDuty,
        state: DeliveryState::Sent,
        attempts: 2,
        next_at: None,
        status: Some(202),
        error: None,
        settled_at: Some(sample::NOW.plus(61_000)),
    };
    let waiting = DeliveryShown {
        channel: Channel::Slack,
        state: DeliveryState::Waiting,
        attempts: 1,
        next_at: Some(sample::NOW.plus(90_000)),
        status: Some(500),
        error: Some("status 500: rollup_error".to_owned()),
        settled_at: None,
    };
    let notice = NoticeShown {
        notice_id: id(),
        source: Source::Rollout,
        dedup_key: format!("rollout:{}", sample::record_id("rol").as_str()),
        action: What::Trigger,
        severity: Severity::Critical,
        component: "updates".to_owned(),
        summary: "Rollout was halted: 6 of 20 devices with an outcome failed".to_owned(),
        at: sample::NOW,
        created_at: sample::NOW.plus(30_000),
        detail: json!({"event": 7}),
        deliveries: vec![sent, waiting],
    };
    let test = NoticeTest { notice_ids: vec![id(), id()], channels: Channel::ALL.to_vec() };
    let words = |words: &[&str]| json!({"type": "string", "enum": words});
    let no_parameter = [("?colour", "is not known; known are ")];
    vec![
        of_notices(Operation::get("/admin/notices", "listNotices", "What people were told"))
            .about("With how far each notice is in each channel that it goes to. Kept for 90 days.")
            .query_of("state", "Only those with a delivery like this.", words(&["waiting", "sent", "failed"]))
            .query_of("source", "Only these.", words(&Source::ALL.map(Source::as_str)))
            .paged("^[0-9]{1,15}$")
            .answers(200, "A page, latest first", &Page { items: vec![notice.clone()], next_cursor: None })
            .refuses_faults(&[("?state", "must be waiting, sent or failed")]),
        of_notices(Operation::post("/admin/notices/test", "testNotices", "Try the channels"))
            .about("Each channel that is configured is told that this is a test, and `PagerDuty` that it is over.")
            .answers(202, "The clock sends it within a minute", &test)
            .refuses(Kind::Conflict, "no channel is configured")
            .refuses_faults(&no_parameter),
        of_notices(Operation::post("/admin/notices/{id}/retry", "retryNotice", "Send a notice again"))
            .about(
                "Where it waits or was given up, and nothing later about the same has arrived. \
                 The same again is the same.",
            )
            .path_of(
                "id",
                "The notice.",
                json!({"type": "string", "pattern": sample::record_pattern("ntc")}),
                sample::record_id("ntc").as_str(),
            )
            .answers(202, "The clock sends it within a minute", &notice)
            .refuses(Kind::NotFound, "there is no such notice")
            .refuses(Kind::Conflict, "nothing of it is to be sent again: it arrived, is being sent, or was overtaken")
            .refuses_faults(&no_parameter),
    ]
}

fn of_watch(operation: Operation) -> Operation {
    operation.on(Host::Status).of(Tag::Watch, Caller::Operator)
}

const INCIDENT: &str = "inc-01KF4XGDD0EXAMPLE000000000";
const WINDOW: &str = "mnt-01KF4XGDD0EXAMPLE000000000";

fn incident() -> IncidentRow {
    IncidentRow {
        incident_id: INCIDENT.to_owned(),
        status: Status::Open,
        subject: "store-api".to_owned(),
        severity: Sev::Sev2,
        title: "store-api: redis is \"gone\", not \"connected\"".to_owned(),
        components: vec!["store".to_owned()],
        members: vec![Member {
            check_id: "store-api".to_owned(),
            fault: "redis is \"gone\", not \"connected\"".to_owned(),
            down: true,
        }],
        explains: Vec::new(),
        opened_at: sample::NOW,
        respond_by: sample::NOW.plus(3_600_000),
        reminded_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
        resolved_at: None,
        timeline: Vec::new(),
    }
}

fn id_of(kind: &str) -> serde_json::Value {
    json!({"type": "string", "pattern": format!("^{kind}-[0-9A-HJKMNP-TV-Z]{{26}}$")})
}

fn checks() -> Vec<Operation> {
    let check = CheckRow {
        check_id: "store-api".to_owned(),
        component: "store".to_owned(),
        kind: "http".to_owned(),
        severity: Sev::Sev2,
        state: State::Down,
        since: sample::NOW,
        checked_at: sample::NOW.plus(300_000),
        latency_ms: 83,
        fault: Some("redis is \"gone\", not \"connected\"".to_owned()),
        silenced: false,
        explained_by: None,
        track: Track {
            recent: vec![Seen(sample::NOW.0, false, 81), Seen(sample::NOW.plus(300_000).0, false, 83)],
            flips: vec![sample::NOW.0],
            memory: None,
        },
    };
    let round = RoundRow {
        generation: 1,
        holder: None,
        judged_at: sample::NOW.plus(300_000),
        duration_ms: 412,
        looked: 32,
        failed: 1,
    };
    let opened = EventRow { at: sample::NOW, what: Step::Opened, about: None, detail: incident().title };
    let known = EventRow {
        at: sample::NOW.plus(60_000),
        what: Step::Acknowledged,
        about: Some("operator@optic.works".to_owned()),
        detail: "the cache is being restarted".to_owned(),
    };
    let acknowledged = IncidentRow {
        status: Status::Acknowledged,
        acknowledged_at: Some(sample::NOW.plus(60_000)),
        acknowledged_by: Some("operator@optic.works".to_owned()),
        ..incident()
    };
    let no_parameter = [("?colour", "is not known; known are ")];
    vec![
        of_watch(Operation::get("/admin/checks", "checks", "What is checked, and what was found"))
            .answers(
                200,
                "Each check, with its latest results",
                &Found { round: Some(round), items: vec![check] },
            )
            .refuses_faults(&no_parameter),
        of_watch(Operation::get("/admin/incidents", "listIncidents", "The incidents"))
            .paged("^inc-[0-9A-HJKMNP-TV-Z]{26}$")
            .query_of(
                "status",
                "Those that go on, that somebody knows of, that are over.",
                json!({"type": "string", "enum": ["open", "acknowledged", "resolved"]}),
            )
            .answers(200, "A page, newest first", &Page { items: vec![incident()], next_cursor: None })
            .refuses_faults(&[("?limit", "must be a whole number from 1 to 200")]),
        of_watch(Operation::get("/admin/incidents/{id}", "incident", "One incident"))
            .path_of("id", "Which.", id_of("inc"), INCIDENT)
            .answers(
                200,
                "With what became of it",
                &IncidentRow { timeline: vec![opened.clone()], ..incident() },
            )
            .refuses(Kind::NotFound, "there is no such incident")
            .refuses_faults(&no_parameter),
        of_watch(Operation::post(
            "/admin/incidents/{id}/ack",
            "acknowledgeIncident",
            "Acknowledge an incident",
        ))
        .about("Nobody is reminded of it any more. Who said so first is kept; the same again is the same.")
        .path_of("id", "Which.", id_of("inc"), INCIDENT)
        .takes::<Note>(vec![("a note", json!({"note": "the cache is being restarted"}))])
        .or_nothing()
        .answers(200, "Somebody knows of it", &IncidentRow { timeline: vec![opened, known], ..acknowledged })
        .refuses(Kind::NotFound, "there is no such incident")
        .refuses(Kind::Conflict, "it is over, and nobody had acknowledged it")
        .refuses_faults(&[("/note", "must be at most 500 characters of text")]),
    ]
}

/// What there is to say of an incident.
#[derive(JsonSchema, serde::Deserialize)]
#[schemars(rename = "IncidentNote", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct Note {
    /// In words.
    #[schemars(length(max = 500))]
    note: Option<String>,
}

fn maintenance() -> Vec<Operation> {
    let window = WindowRow {
        window_id: WINDOW.to_owned(),
        subjects: vec!["broker".to_owned()],
        reason: "the broker is upgraded".to_owned(),
        from_at: sample::NOW,
        until_at: sample::NOW.plus(3_600_000),
        created_by: "operator@optic.works".to_owned(),
        ended_by: None,
    };
    let ended = WindowRow {
        until_at: sample::NOW.plus(600_000),
        ended_by: Some("operator@optic.works".to_owned()),
        ..window.clone()
    };
    vec![
        of_watch(Operation::get("/admin/maintenance", "listMaintenance", "The maintenance windows"))
            .paged("^mnt-[0-9A-HJKMNP-TV-Z]{26}$")
            .answers(200, "A page, newest first", &Page { items: vec![window.clone()], next_cursor: None })
            .refuses_faults(&[("?limit", "must be a whole number from 1 to 200")]),
        of_watch(Operation::post("/admin/maintenance", "declareMaintenance", "Declare maintenance"))
            .about("What is named raises no incident meanwhile; what is down when it ends does.")
            .takes::<Wish>(vec![(
                "an hour",
                json!({
                    "subjects": ["broker"],
                    "reason": "the broker is upgraded",
                    "until": sample::NOW.plus(3_600_000).to_rfc3339(),
                }),
            )])
            .answers(201, "It is declared", &window)
            .refuses_faults(&[(
                "/subjects/0",
                "must be a check, a group or a component that there is, or *",
            )]),
        of_watch(Operation::delete("/admin/maintenance/{id}", "endMaintenance", "End a maintenance window"))
            .about("Now, or before it begins. One that is over stays as it is.")
            .path_of("id", "Which.", id_of("mnt"), WINDOW)
            .answers(200, "It is over", &ended)
            .refuses(Kind::NotFound, "there is no such maintenance window")
            .refuses_faults(&[("?colour", "is not known; known are ")]),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rs1_domain::Method;

    use crate::routes::{Route, body_limit};

    use super::*;

    /// One route of each kind; that none is missing is the compiler's to say, by [`place`].
    const ONE_EACH: [Route<'static>; 14] = [
        Route::Health,
        Route::Backups,
        Route::Watch,
        Route::Backup("2026-01-20"),
        Route::Notices,
        Route::NoticeTest,
        Route::NoticeRetry("ntc-1"),
        Route::Checks,
        Route::Incidents,
        Route::Incident(INCIDENT),
        Route::Acknowledgement(INCIDENT),
        Route::Maintenance,
        Route::Window(WINDOW),
        Route::Passed("/"),
    ];

    fn place(route: &Route<'_>) -> usize {
        match route {
            Route::Health => 0,
            Route::Backups => 1,
            Route::Watch => 2,
            Route::Backup(_) => 3,
            Route::Notices => 4,
            Route::NoticeTest => 5,
            Route::NoticeRetry(_) => 6,
            Route::Checks => 7,
            Route::Incidents => 8,
            Route::Incident(_) => 9,
            Route::Acknowledgement(_) => 10,
            Route::Maintenance => 11,
            Route::Window(_) => 12,
            Route::Passed(_) => 13,
        }
    }

    #[test]
    fn what_is_described_is_what_the_routes_answer() {
        for (index, route) in ONE_EACH.iter().enumerate() {
            assert_eq!(place(route), index);
        }
        let described: BTreeSet<_> = operations()
            .iter()
            .map(|operation| {
                let path = operation.example_path();
                assert_eq!(Route::of(&path).map(|route| route.pattern()), Some(operation.path), "{path}");
                assert_eq!(operation.body_limit(), body_limit(operation.method, &path), "{path}");
                (operation.path, operation.method.as_str())
            })
            .collect();
        let answered: BTreeSet<_> = ONE_EACH
            .iter()
            // What is passed on is described by who answers it.
            .filter(|route| !matches!(route, Route::Passed(_)))
            .flat_map(|route| route.methods().iter().map(move |method| (route.pattern(), *method)))
            // Answered as `GET` is.
            .filter(|(_, method)| *method != Method::Head)
            .map(|(pattern, method)| (pattern, method.as_str()))
            .collect();
        assert_eq!(described, answered);
    }
}
