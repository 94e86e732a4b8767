//! What people are told of an incident.

use rs1_domain::UnixMillis;
use rs1_domain::time::MINUTE;
use rs1_ops::incident::{Event, Incident, What};
use rs1_ops::notice::{Notice, Severity, Source, What as Action};
use serde_json::json;

/// The notices of what happened, in order; what needs none has none. `new_id` makes their ids.
pub fn of_events(
    incidents: &[Incident],
    events: &[Event],
    mut new_id: impl FnMut() -> String,
) -> Vec<Notice> {
    let told = events.iter().filter(|event| event.what.is_told());
    let notice = |event: &Event| {
        let incident = incidents.iter().find(|incident| incident.incident_id == event.incident_id)?;
        Some(of_event(incident, event, new_id()))
    };
    told.filter_map(notice).collect()
}

fn of_event(incident: &Incident, event: &Event, notice_id: String) -> Notice {
    let Incident { incident_id, severity, title, .. } = incident;
    let sev = severity.as_str();
    // It gets worse more than once, but to each degree once.
    let (action, step, summary) = match event.what {
        What::Escalated => (Action::Trigger, sev, format!("{sev} now: {title}")),
        What::Reminded => (Action::Trigger, "reminded", format!("{sev}, nobody answers: {title}")),
        What::Resolved => {
            let minutes = event.at.since(incident.opened_at).div_euclid(MINUTE);
            (Action::Resolve, "resolved", format!("{sev} over after {minutes} min: {title}"))
        }
        _ => (Action::Trigger, "opened", format!("{sev}: {title}")),
    };
    Notice {
        notice_id,
        said: format!("incident:{incident_id}:{step}"),
        source: Source::Incident,
        dedup_key: format!("incident-{incident_id}"),
        what: action,
        severity: Severity::of_sev(severity.number()),
        component: incident.components.join(", "),
        summary,
        at: event.at,
        detail: detail(incident),
    }
}

/// The notice that an operator knows of an incident.
pub fn acknowledged(incident: &Incident, by: &str, at: UnixMillis, notice_id: String) -> Notice {
    let Incident { incident_id, severity, title, .. } = incident;
    Notice {
        notice_id,
        said: format!("incident:{incident_id}:acknowledged"),
        source: Source::Incident,
        dedup_key: format!("incident-{incident_id}"),
        what: Action::Acknowledge,
        severity: Severity::of_sev(severity.number()),
        component: incident.components.join(", "),
        summary: format!("{} acknowledged by {by}: {title}", severity.as_str()),
        at,
        detail: detail(incident),
    }
}

fn detail(incident: &Incident) -> serde_json::Value {
    let failing = incident.members.iter().filter(|member| member.down);
    let mut lines: Vec<String> =
        failing.map(|member| format!("{}: {}", member.check_id, member.fault)).collect();
    if !incident.explains.is_empty() {
        lines.push(format!("because of it: {}", incident.explains.join(", ")));
    }
    json!({
        "incident_id": incident.incident_id,
        "severity": incident.severity,
        "respond_by": incident.respond_by.to_rfc3339(),
        "lines": lines,
    })
}
