//! What this worker answers, for the OpenAPI document.

use rs1_domain::http::{ATOM, HTML, METRICS};
use rs1_domain::problem::Kind;
use rs1_openapi::{Caller, Host, Operation, Tag, sample};
use rs1_ops::check::Severity;
use rs1_store::incidents::Status;

use crate::metrics::{Measured, render};
use crate::report::{Component, Day, Incident, Level, Report, Update};
use crate::routes::Route;

fn get(route: Route, name: &'static str, summary: &'static str) -> Operation {
    Operation::get(route.path(), name, summary).on(Host::Status).of(Tag::Service, Caller::Anybody)
}

fn report() -> Report {
    let day = Day {
        day: "2026-01-20".to_owned(),
        status: Level::Down,
        uptime_ppm: Some(979_166),
        latency_ms: Some(41),
    };
    let began = sample::NOW.plus(-600_000);
    Report {
        status: Level::Down,
        summary: "Some systems are down".to_owned(),
        generated_at: sample::NOW,
        checked_at: Some(sample::NOW.plus(-60_000)),
        components: vec![Component {
            id: "broker".to_owned(),
            name: "Broker".to_owned(),
            status: Level::Down,
            uptime_ppm: Some(999_768),
            latency_ms: Some(38),
            days: vec![day],
        }],
        maintenance: Vec::new(),
        incidents: vec![Incident {
            id: sample::record_id("inc").to_string(),
            title: "Broker: major outage".to_owned(),
            severity: Severity::Sev1,
            status: Status::Open,
            components: vec!["Broker".to_owned()],
            opened_at: began,
            resolved_at: None,
            updated_at: began,
            updates: vec![Update { at: began, text: "We are investigating a fault: Broker.".to_owned() }],
        }],
    }
}

/// Every operation.
pub fn operations() -> Vec<Operation> {
    let cached = "`public, max-age=30`: it is read anew twice a minute.";
    let report = report();
    let shown = |operation: Operation| {
        operation.with(200, "cache-control", cached).refuses(Kind::Unavailable, "please try again")
    };
    let health = Operation::get(Route::Health.path(), "pageHealth", "How this worker is").on(Host::Status);
    let page = get(Route::Page, "statusPage", "How the system is, as a page")
        .about("Without scripts and without anything from elsewhere.")
        .answers_text(200, "The page", HTML, "<!DOCTYPE html>…")
        .with(200, "content-security-policy", "What a browser may do with it: show it.");
    let json = get(Route::Json, "status", "How the system is")
        .about(
            "Parts by the names that people know; 90 days of each; the incidents that go on and those of 14 days. After a quarter of an \
             hour without checks everything is `unknown`.",
        )
        .answers(200, "As it is now", &report);
    let feed = get(Route::Feed, "incidentFeed", "Incidents as an Atom feed")
        .about("RFC 4287. An entry keeps its id; `updated` is the time of its latest step.")
        .answers_text(200, "The feed", ATOM, &crate::feed::feed(&report, "https://status.optic.works"));
    let metrics = get(Route::Metrics, "metrics", "Metrics for Prometheus")
        .of(Tag::Service, Caller::Scraper)
        .about(
            "Text format 0.0.4. For whoever has `METRICS_TOKEN` (`Authorization: Bearer`), because they name checks, and so hosts; \
             where none is configured, for nobody.",
        )
        .answers_text(200, "The metrics", METRICS, &render(&Measured::default(), sample::NOW));
    vec![sample::health(health), shown(page), shown(json), shown(feed), metrics]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_described_is_what_the_routes_answer() {
        let described: BTreeSet<_> =
            operations().iter().map(|operation| (operation.path, operation.method.as_str())).collect();
        assert_eq!(described, Route::ALL.iter().map(|route| (route.path(), "GET")).collect());
    }
}
