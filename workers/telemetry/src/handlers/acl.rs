//! `POST /webhook/mqtt-acl`: may a client publish or subscribe?
//!
//! Decided from the request alone. What the rules of the authentication answer allow, EMQX does not
//! ask; so most of what comes here is refused, and every refusal is told to the security log.

use rs1_auth::acl::{self, Violation};
use rs1_domain::port::{Queue, Random};
use rs1_domain::security::{SecurityEvent, Severity};
use rs1_domain::wire::admission::{Authorization, AuthorizationAnswer, Verdict};
use rs1_domain::{Answer, Problem, RecordId, Request};
use rs1_telemetry::Queued;
use serde_json::json;

/// Longest name or topic that is kept of a violation; MQTT allows 64 KiB.
const KEPT: usize = 256;

/// Answers by the contract's table of topics.
///
/// # Errors
/// 400 for a body that is not EMQX's.
pub async fn authorize(
    queue: &impl Queue,
    random: &impl Random,
    request: &Request,
) -> Result<Answer, Problem> {
    let question =
        Authorization::read(&request.body).map_err(|faults| Problem::malformed(faults.summary()))?;
    match acl::decide(&question) {
        Ok(_) => Ok(Answer::json(200, &AuthorizationAnswer { result: Verdict::Allow })),
        Err(violation) => Ok(refuse(queue, random, violation, &question, request).await),
    }
}

/// Refuses, and hands the violation on to the security log. A queue that does not take it changes
/// nothing for the client; the log line says so.
async fn refuse(
    queue: &impl Queue,
    random: &impl Random,
    violation: Violation,
    question: &Authorization<'_>,
    request: &Request,
) -> Answer {
    let refused = Answer::json(200, &AuthorizationAnswer { result: Verdict::Deny });
    let keep = |text: &str| text.chars().take(KEPT).collect::<String>();
    let event = SecurityEvent {
        id: RecordId::generate("sec", request.now, random.bytes()).to_string(),
        kind: "acl_violation".to_owned(),
        severity: Severity::Warning,
        subject: keep(if question.username.is_empty() { "anonymous" } else { &question.username }),
        peerhost: (!question.peerhost.is_empty()).then(|| keep(&question.peerhost)),
        detail: json!({
            "reason": violation.as_str(),
            "action": keep(&question.action),
            "topic": keep(&question.topic),
            "client_id": keep(&question.clientid),
        }),
        at: request.now,
    };
    let note = format!("refused: {}", violation.as_str());
    match queue.send(&Queued::Security(event).to_json()).await {
        Ok(()) => refused.with_log(note),
        Err(error) => refused.with_log(format!("{note}; not recorded: {error}")),
    }
}
