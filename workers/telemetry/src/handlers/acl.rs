//! `POST /webhook/mqtt-acl`: may a client publish or subscribe?
//!
//! Decided from the request alone. What the rules of the authentication answer allow, EMQX does not
//! ask; so most of what comes here is refused, and every refusal is told to the security log.

use rs1_auth::acl::{self, Violation};
use rs1_domain::security::{SecurityKind, Told};
use rs1_domain::wire::admission::{Authorization, AuthorizationAnswer, Verdict};
use rs1_domain::{Answer, Problem, Request, apart};
use serde_json::json;

use crate::notice;
use crate::world::{Ports, World};

/// Longest name or topic that is kept of a violation; MQTT allows 64 KiB.
const KEPT: usize = 256;

/// Answers by the contract's table of topics.
///
/// # Errors
/// 400 for a body that is not EMQX's.
pub async fn authorize(world: &World<impl Ports>, request: &Request) -> Result<Answer, Problem> {
    let question =
        Authorization::read(&request.body).map_err(|faults| Problem::malformed(faults.summary()))?;
    match acl::decide(&question) {
        Ok(_) => Ok(Answer::json(200, &AuthorizationAnswer { result: Verdict::Allow })),
        Err(violation) => Ok(apart(refuse(world, violation, &question, request)).await),
    }
}

/// Refuses, and hands the violation on to the security log. A queue that does not take it changes
/// nothing for the client; the log line says so.
async fn refuse(
    world: &World<impl Ports>,
    violation: Violation,
    question: &Authorization<'_>,
    request: &Request,
) -> Answer {
    let note = format!("refused: {}", violation.as_str());
    let refused = Answer::json(200, &AuthorizationAnswer { result: Verdict::Deny });
    let (kind, peerhost) = (SecurityKind::AclViolation, &*question.peerhost);
    let Some(told) = notice::due(world, kind, peerhost, request) else { return refused.with_log(note) };
    let keep = |text: &str| text.chars().take(KEPT).collect::<String>();
    let detail = json!({
        "reason": violation.as_str(),
        "action": keep(&question.action),
        "topic": keep(&question.topic),
        "client_id": keep(&question.clientid),
        "username": keep(&question.username),
    });
    let Told { source, count } = &told;
    let event = notice::event(&world.random, kind, source, Some(peerhost), *count, detail, request);
    match notice::tell(world, kind, &told, event).await {
        Ok(()) => refused.with_log(note),
        Err(error) => refused.with_log(format!("{note}; not recorded: {error}")),
    }
}
