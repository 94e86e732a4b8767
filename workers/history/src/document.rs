//! What this worker answers, for the OpenAPI document.

use std::collections::BTreeMap;

use rs1_domain::http::{CSV, METRICS};
use rs1_domain::limits::{PAGE_DEFAULT, PAGE_MAX};
use rs1_domain::problem::Kind as ProblemKind;
use rs1_domain::security::{SecurityKind, Severity};
use rs1_domain::{DeviceId, UnixMillis};
use rs1_openapi::{Caller, Operation, Tag, sample};
use rs1_store::alerts::Status;
use rs1_store::exports::KEPT;
use rs1_store::fleet::{DeviceStats, FleetHealth};
use rs1_store::security::SecurityRow;
use rs1_store::sql::Page;
use rs1_store::tallies::Upkeep;
use rs1_telemetry::alert::Kind as AlertKind;
use rs1_telemetry::event::Kind;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::format::Document;
use crate::handlers::metrics::{Measured, render};
use crate::handlers::telemetry::{Head, ITEMS, MOST_ITEMS, Resolution, ShownMessage, ShownMetric, ShownSpan};
use crate::handlers::{alerts, events, own_data};

/// A page of hours or days, or of messages.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
#[schemars(rename = "HistoryPage")]
enum Shown<'a> {
    /// Of `hour` and `day`.
    Spans(Document<'a, Head<'a>, ShownSpan>),
    /// Of `raw`.
    #[expect(dead_code, reason = "the example is of spans")]
    Messages(Document<'a, Head<'a>, ShownMessage>),
}

/// An item, alone on its line.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
#[schemars(rename = "HistoryItem")]
enum Line {
    /// Of `hour` and `day`.
    Span(ShownSpan),
    /// Of `raw`.
    Message(ShownMessage),
}

/// Every operation.
pub fn operations() -> Vec<Operation> {
    let health = Operation::get("/api/history/health", "historyHealth", "How this worker is");
    vec![
        sample::health(health),
        telemetry(),
        events(),
        alerts(),
        acknowledge(),
        security_log(),
        metrics(),
        ask_export(),
        export(),
        download(),
        erase(),
        erasure(),
    ]
}

fn events() -> Operation {
    let device = sample::device_id();
    let head = events::Head { device_id: &device, from: sample::NOW, to: sample::NOW.plus(3_600_000) };
    let event = || events::Shown {
        time: sample::NOW,
        kind: Kind::OtaFailed.as_str().to_owned(),
        detail: "sha256".to_owned(),
        count: 1,
    };
    let about = "What happened, newest first";
    let items = [event()];
    Operation::get("/api/devices/{id}/events", "deviceEvents", "What happened to a device")
        .of(Tag::Devices, Caller::Person)
        .about(
            "Out of its log lines, which it sends only with its owner's consent; kept 90 days. `Accept` chooses JSON, NDJSON or CSV; \
             the latter two have the way to the next page in `Link`.",
        )
        .path::<DeviceId>("id", "The device.", device.as_str())
        .query_of("kind", "Only these.", json!({"type": "string", "enum": Kind::ALL.map(Kind::as_str)}))
        .query::<UnixMillis>("from", "Where it begins; a week before `to` when left out.")
        .query::<UnixMillis>("to", "Where it ends, at most 90 days later; now when left out.")
        .query_of(
            "limit",
            "Most items of the page.",
            json!({"type": "integer", "minimum": 1, "maximum": events::MOST_ITEMS, "default": events::ITEMS}),
        )
        .query_of("cursor", "The `next_cursor` of the page before.", json!({"type": "string", "minLength": 1}))
        .answers(200, about, &Document { head: &head, items: &items, next_cursor: None })
        .answers_lines(200, about, &vec![event()])
        .answers_text(
            200,
            about,
            CSV,
            "time,kind,detail,count\r\n2026-01-20T10:00:00Z,ota_failed,sha256,1\r\n",
        )
        .with(200, "link", "The next page, of NDJSON and CSV.")
        .refuses(ProblemKind::NotFound, "you have no such device")
        .refuses_faults(&[("?kind", "must be one of boot, ota_start, …")])
}

fn alert(status: Status) -> alerts::Shown {
    let over = status == Status::Resolved;
    let user = sample::user_id();
    alerts::Shown {
        id: sample::record_id("alr").to_string(),
        kind: AlertKind::LowMemory.as_str().to_owned(),
        severity: AlertKind::LowMemory.severity().as_str().to_owned(),
        status: status.as_str().to_owned(),
        opened_at: sample::NOW,
        last_at: sample::NOW.plus(60_000),
        occurrences: 2,
        detail: "41200 bytes free".to_owned(),
        acknowledged_at: (status == Status::Acknowledged).then(|| sample::NOW.plus(120_000)),
        acknowledged_by: (status == Status::Acknowledged).then(|| user.to_string()),
        resolved_at: over.then(|| sample::NOW.plus(600_000)),
    }
}

fn alerts() -> Operation {
    let device = sample::device_id();
    let words = |words: &[&str]| json!({"type": "string", "enum": words});
    let shown = alert(Status::Resolved);
    let statuses = [Status::Open, Status::Acknowledged, Status::Resolved].map(Status::as_str);
    Operation::get("/api/devices/{id}/alerts", "deviceAlerts", "What is wrong with a device")
        .of(Tag::Devices, Caller::Person)
        .about(
            "Newest first, kept 90 days. An alert opens when a condition shows, counts how often it does, and is resolved by itself when \
             the condition is over; a device has one open alert of a type.",
        )
        .path::<DeviceId>("id", "The device.", device.as_str())
        .query_of("status", "Only these.", words(&statuses))
        .query_of("type", "Only these.", words(&AlertKind::ALL.map(AlertKind::as_str)))
        .paged(&sample::record_pattern("alr"))
        .answers(200, "The alerts", &Page { items: vec![shown], next_cursor: None })
        .refuses(ProblemKind::NotFound, "you have no such device")
        .refuses_faults(&[("?status", "must be open, acknowledged or resolved")])
}

fn acknowledge() -> Operation {
    let device = sample::device_id();
    let shown = alert(Status::Acknowledged);
    Operation::post("/api/devices/{id}/alerts/{alert}/ack", "acknowledgeAlert", "Say that somebody knows")
        .of(Tag::Devices, Caller::Person)
        .about("Saying so again is answered the same; the first one who said so stays.")
        .path::<DeviceId>("id", "The device.", device.as_str())
        .path_of(
            "alert",
            "The alert.",
            json!({"type": "string", "pattern": sample::record_pattern("alr")}),
            &shown.id,
        )
        .answers(200, "The alert", &shown)
        .refuses(ProblemKind::Forbidden, "the role viewer may not change the device")
        .refuses(ProblemKind::NotFound, "the device has no such alert")
        .refuses(ProblemKind::Conflict, "the alert is over")
}

fn telemetry() -> Operation {
    let device = sample::device_id();
    let head = Head {
        device_id: &device,
        resolution: Resolution::Hour,
        from: sample::NOW,
        to: sample::NOW.plus(3_600_000),
    };
    let metric = ShownMetric { count: 60, sum: 1_290.0, min: 21.0, max: 22.0, last: 21.5, value: 21.5 };
    let span = || ShownSpan {
        time: sample::NOW,
        messages: 60,
        last_at: sample::NOW.plus(3_540_000),
        metrics: BTreeMap::from([("environment.temperature".to_owned(), ShownMetric { ..metric })]),
    };
    let message = ShownMessage {
        id: "0006532A9C1F7B9DF445000013F90000".to_owned(),
        time: sample::NOW,
        received_at: sample::NOW,
        metrics: BTreeMap::from([("environment.temperature".to_owned(), 21.5)]),
    };
    let spans = [span()];
    let page = Shown::Spans(Document { head: &head, items: &spans, next_cursor: None });
    let about = "What it measured, oldest first";
    Operation::get("/api/devices/{id}/telemetry", "deviceHistory", "What a device measured")
        .of(Tag::Devices, Caller::Person)
        .about(
            "By the hour or the day, by the device's own time; or `raw`, message by message, by when the broker received them. \
             `Accept` chooses JSON, NDJSON or CSV; the latter two have the way to the next page in `Link`.",
        )
        .path::<DeviceId>("id", "The device.", device.as_str())
        .query::<Resolution>("resolution", "How fine; hours when left out.")
        .query::<UnixMillis>("from", "Where it begins; an hour, a day or a week before `to` when left out.")
        .query::<UnixMillis>("to", "Where it ends, at most 31 days later, of `raw` one day; now when left out.")
        .query_of(
            "metric",
            "Only these: up to 16 names with commas between.",
            json!({"type": "string", "minLength": 1}),
        )
        .query_of(
            "limit",
            "Most items of the page.",
            json!({"type": "integer", "minimum": 1, "maximum": MOST_ITEMS, "default": ITEMS}),
        )
        .query_of("cursor", "The `next_cursor` of the page before.", json!({"type": "string", "minLength": 1}))
        .answers(200, about, &page)
        .answers_lines(200, about, &vec![Line::Span(span()), Line::Message(message)])
        .answers_text(
            200,
            about,
            CSV,
            "time,metric,count,sum,min,max,last,value\r\n2026-01-20T10:00:00Z,environment.temperature,60,1290,21,22,21.5,21.5\r\n",
        )
        .with(200, "link", "The next page, of NDJSON and CSV.")
        .refuses(ProblemKind::NotFound, "you have no such device")
        .refuses_faults(&[("?resolution", "must be raw, hour or day")])
}

fn security_log() -> Operation {
    let event = || SecurityRow {
        id: sample::record_id("sec").to_string(),
        kind: SecurityKind::AclViolation.as_str().to_owned(),
        severity: SecurityKind::AclViolation.severity(),
        subject: "203.0.113.7".to_owned(),
        peerhost: Some("203.0.113.7".to_owned()),
        count: 3,
        first_at: sample::NOW,
        last_at: sample::NOW.plus(60_000),
        detail: json!({"reason": "topic", "action": "publish", "topic": "opticworks/other/state"}),
    };
    let page = || Page { items: vec![event()], next_cursor: None };
    Operation::get("/api/admin/security-log", "securityLog", "What somebody tried")
        .of(Tag::Operations, Caller::Operator)
        .about(
            "Newest first, kept 90 days. A burst is one row that counts: what one subject does of a kind within ten minutes. Where strangers \
             decide what is said, the subject is their address. `Accept: application/x-ndjson` makes it an export, a line an event and up to \
             1,000 a page, with the way to the next page in `Link`: whoever follows that has all there is of the time they asked for.",
        )
        .query::<SecurityKind>("kind", "Events of this kind.")
        .query::<Severity>("severity", "Events that matter so much.")
        .query_of("subject", "Events about this one.", json!({"type": "string", "maxLength": 256}))
        .query_of("peerhost", "Events from this address.", json!({"type": "string", "maxLength": 256}))
        .query::<UnixMillis>("from", "Events that were noticed at this time or later.")
        .query::<UnixMillis>("to", "Events that were noticed before this time.")
        .query_of(
            "limit",
            "Most items of the page; of NDJSON up to 1,000, which it is when left out.",
            json!({"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT}),
        )
        .query_of("cursor", "The `next_cursor` of the page before.", json!({"type": "string", "pattern": "^sec-"}))
        .answers(200, "A page", &page())
        .answers_lines(200, "A page", &vec![event()])
        .with(200, "link", "The next page, of NDJSON.")
        .refuses_faults(&[("?severity", "must be info, warning or high")])
}

fn metrics() -> Operation {
    let health = FleetHealth {
        counted_at: sample::NOW,
        devices: DeviceStats { total: 2, online: 1, active_24h: 1, provisioned: 2, owned: 1 },
        alerts: Vec::new(),
        versions: Vec::new(),
    };
    let measured = Measured {
        fleet: health,
        came: Vec::new(),
        opened: Vec::new(),
        upkeep: Upkeep::default(),
        hour: None,
        crons: Vec::new(),
    };
    Operation::get("/api/admin/metrics", "adminMetrics", "Metrics for Prometheus")
        .of(Tag::Operations, Caller::Operator)
        .about(
            "Text format 0.0.4: the fleet, and what comes of its telemetry. Each metric says what it counts, and when that is not exact. Prometheus              presents a service token of Access, and is audited as anybody; once a minute is often enough.",
        )
        .answers_text(200, "The metrics", METRICS, &render(&measured))
        .refuses_faults(&[("?period", "is not known; known are ")])
}

fn shown_export(ready: bool) -> own_data::ShownExport {
    let id = sample::record_id("exp").to_string();
    own_data::ShownExport {
        state: if ready { "ready" } else { "running" }.to_owned(),
        from: sample::NOW.plus(-20 * 3_600_000),
        until: sample::NOW,
        hours: own_data::Hours { done: if ready { 20 } else { 0 }, of: 20 },
        expires_at: sample::NOW.plus(KEPT),
        bytes: ready.then_some(52_348),
        download: ready.then(|| {
            format!(
                "/api/history/exports/{id}?expires=1768904100&sig=HNoZlX15JUbI8t20QQHGoYZIlQvEXAEeUof5U-gmBvQ"
            )
        }),
        id,
    }
}

/// A route about what there is of a device, for its owner.
fn of_owner(operation: Operation) -> Operation {
    operation
        .of(Tag::Devices, Caller::Person)
        .path::<DeviceId>("id", "The device.", sample::device_id().as_str())
        .refuses(ProblemKind::Forbidden, "the role viewer may not have all of its data, or have it deleted")
        .refuses(ProblemKind::NotFound, "you have no such device")
}

fn ask_export() -> Operation {
    let operation =
        Operation::post("/api/devices/{id}/export", "askExport", "Have all of a device's data put together");
    of_owner(operation)
        .about(
            "One archive with all that there is of the device since it is its owner's: the device, its people, its zones, alerts, events, hours, who \
             did what with it, and every message. It takes minutes, of a year an hour, and can be had for six days. One that runs, or was asked \
             for within a day, is answered as it is.",
        )
        .answers(202, "The export", &shown_export(false))
        .refuses(ProblemKind::Conflict, "an export for somebody else is being made; try again later")
}

fn export() -> Operation {
    of_owner(Operation::get("/api/devices/{id}/export", "deviceExport", "How far a device's export is"))
        .about("When it is ready, with a link to the archive (`.tar.gz`) that needs no token and is good for a quarter of an hour.")
        .answers(200, "The export", &shown_export(true))
}

fn download() -> Operation {
    let integer = json!({"type": "integer"});
    Operation::get("/api/history/exports/{export}", "downloadExport", "Download an export")
        .of(Tag::Devices, Caller::Link)
        .about("By a link out of the export, as long as the device is that person's.")
        .path_of(
            "export",
            "The export.",
            json!({"type": "string", "pattern": sample::record_pattern("exp")}),
            sample::record_id("exp").as_str(),
        )
        .required_query("expires", "Unix seconds until which the link is good.", integer, "1768904100")
        .required_query(
            "sig",
            "The signature.",
            json!({"type": "string"}),
            "HNoZlX15JUbI8t20QQHGoYZIlQvEXAEeUof5U-gmBvQ",
        )
        .answers_bytes(200, "The archive", "application/gzip")
        .with(200, "content-disposition", "Under which name to keep it.")
        .refuses(ProblemKind::Forbidden, "the link is not good, or not any more: ask for another")
        .refuses(ProblemKind::NotFound, "there is no such export any more")
}

fn shown_erasure(done: bool) -> own_data::ShownErasure {
    own_data::ShownErasure {
        id: sample::record_id("era").to_string(),
        state: if done { "done" } else { "running" }.to_owned(),
        requested_at: sample::NOW,
        before: sample::NOW.plus(3_600_000),
        hours: own_data::Hours { done: if done { 20 } else { 0 }, of: 20 },
        messages: if done { 1_140 } else { 0 },
        due_at: sample::NOW.plus(148 * 3_600_000),
        done_at: done.then(|| sample::NOW.plus(124 * 3_600_000)),
    }
}

fn erase() -> Operation {
    let device = sample::device_id();
    of_owner(Operation::delete("/api/devices/{id}/data", "deleteData", "Have a device's data deleted"))
        .about(
            "What it said until the end of the present hour. Nobody is shown it from now on. When the hour is over, the hours, events and alerts \
             go, and its lines in the archive: what is older than five days within hours, the rest when those hours take no more messages, \
             within a week at the latest. What comes late of that time is kept nowhere. What was added up over all devices stays, as it names \
             none. Backups of the database have it until they expire, after 30 days; one that is restored has it deleted again within the \
             hour. The device stays its owner's, with its name and zones.",
        )
        .required_query(
            "confirm",
            "The device's id once more: what is deleted cannot be had again.",
            json!({"type": "string"}),
            device.as_str(),
        )
        .answers(202, "The deletion", &shown_erasure(false))
        .refuses_faults(&[("?confirm", "must be the device's id: what is deleted cannot be had again")])
}

fn erasure() -> Operation {
    of_owner(Operation::get(
        "/api/devices/{id}/data",
        "dataDeletion",
        "How far the deletion of a device's data is",
    ))
    .answers(200, "The deletion", &shown_erasure(true))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rs1_domain::Method;

    use crate::routes::Route;

    use super::*;

    #[test]
    fn what_is_described_is_what_the_routes_answer() {
        let device = sample::device_id();
        let device = device.as_str();
        let answered = [
            Route::Health,
            Route::Telemetry(device),
            Route::Events(device),
            Route::Alerts(device),
            Route::Acknowledge(device, "alr-1"),
            Route::SecurityLog,
            Route::Metrics,
            Route::Export(device),
            Route::Download("exp-1"),
            Route::Data(device),
        ];
        let answered = answered.into_iter().flat_map(|route| {
            let methods = route.methods().iter().filter(|method| **method != Method::Head);
            methods.map(move |method| (route.pattern(), method.as_str()))
        });
        let answered: BTreeSet<_> = answered.collect();
        let described: BTreeSet<_> = operations()
            .iter()
            .map(|operation| {
                let path = operation.example_path();
                assert_eq!(Route::of(&path).map(Route::pattern), Some(operation.path));
                (operation.path, operation.method.as_str())
            })
            .collect();
        assert_eq!(described, answered);
    }
}
