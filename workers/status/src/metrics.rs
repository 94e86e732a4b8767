//! Metrics in Prometheus' text format (version 0.0.4), for an operators' Prometheus: they name checks, which the page does not.

use rs1_domain::UnixMillis;
use rs1_domain::exposition::{Exposition, seconds};
use rs1_domain::port::{Database, PortError};
use rs1_ops::check::Severity;
use rs1_ops::incident::State;
use rs1_store::checks::{self, RoundRow};
use rs1_store::incidents::{self, IncidentRow, Status};
use rs1_store::sql::{first_row, rows, run};
use rs1_store::status::{self, BacklogNow, CheckNow};

/// What is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// How rounds of checks go.
    pub round: Option<RoundRow>,
    /// Every check.
    pub checks: Vec<CheckNow>,
    /// The severity of each open incident, and whether somebody is at it.
    pub open: Vec<(Severity, bool)>,
    /// What waits for the channels.
    pub backlog: Vec<BacklogNow>,
}

/// Reads them, anew for each scrape.
///
/// # Errors
/// When the database does not answer.
pub async fn measure(db: &impl Database) -> Result<Measured, PortError> {
    let statements = [checks::round(), status::checks(), incidents::open(), status::backlog()];
    let [round, checks, open, backlog] = run(db, statements).await?;
    let open = rows::<IncidentRow>(&open)?;
    Ok(Measured {
        round: first_row(&round)?,
        checks: rows(&checks)?,
        open: open.iter().map(|row| (row.severity, row.status == Status::Acknowledged)).collect(),
        backlog: rows(&backlog)?,
    })
}

/// All of it as text.
pub fn render(measured: &Measured, now: UnixMillis) -> String {
    let mut text = Exposition::default();
    let of = |text: &mut Exposition, name, help, value: &dyn Fn(&CheckNow) -> String| {
        let mut gauge = text.gauge(name, help);
        for check in &measured.checks {
            let CheckNow { check_id, component, severity, .. } = check;
            let labels =
                [("check", check_id.as_str()), ("component", component), ("severity", severity.as_str())];
            gauge.sample(&labels, value(check));
        }
    };
    let flag = |is: bool| u8::from(is).to_string();
    of(&mut text, "rs1_check_up", "Whether a check is up, by its latest results.", &|check| {
        flag(check.state == State::Up)
    });
    of(&mut text, "rs1_check_silenced", "Whether maintenance silences a check.", &|check| {
        flag(check.silenced)
    });
    of(&mut text, "rs1_check_latency_seconds", "How long the latest look of a check took.", &|check| {
        seconds(check.latency_ms)
    });

    let mut open = text.gauge("rs1_incidents_open", "Incidents that go on.");
    for severity in [Severity::Sev1, Severity::Sev2, Severity::Sev3, Severity::Sev4] {
        for (acknowledged, word) in [(false, "false"), (true, "true")] {
            let count = measured.open.iter().filter(|one| **one == (severity, acknowledged)).count();
            open.sample(&[("severity", severity.as_str()), ("acknowledged", word)], count);
        }
    }

    let round = measured.round.as_ref();
    let last = round.and_then(RoundRow::last);
    // Seconds since 1970 before the first round: an age that no alert takes for a good one.
    let age = now.since(last.unwrap_or(UnixMillis(0)));
    let numbers: [(_, _, String); 4] = [
        ("rs1_round_age_seconds", "How long ago the latest round of checks was judged.", seconds(age)),
        (
            "rs1_round_duration_seconds",
            "How long the latest round took.",
            seconds(round.map_or(0, |round| round.duration_ms)),
        ),
        (
            "rs1_round_checks",
            "Checks of the latest round.",
            round.map_or(0, |round| round.looked).to_string(),
        ),
        (
            "rs1_round_failures",
            "Checks of the latest round that found a fault.",
            round.map_or(0, |round| round.failed).to_string(),
        ),
    ];
    for (name, help, value) in numbers {
        text.gauge(name, help).value(value);
    }

    let mut waiting = text.gauge("rs1_notices_waiting", "Notices that wait for a channel.");
    for BacklogNow { channel, waiting: count, .. } in &measured.backlog {
        waiting.sample(&[("channel", channel)], count);
    }
    let mut oldest = text.gauge(
        "rs1_notices_oldest_age_seconds",
        "How long the oldest notice has been waiting for a channel.",
    );
    for BacklogNow { channel, since, .. } in &measured.backlog {
        oldest.sample(&[("channel", channel)], seconds(now.since(*since)));
    }
    text.into_text()
}
