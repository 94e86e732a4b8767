//! `POST /webhook/mqtt-auth`: may a client connect?
//!
//! EMQX reads an opinion from a 200 with JSON only, so a refusal is a 200 that says `deny`. A fault
//! of ours is a 503, which EMQX takes for "no opinion", and `no opinion` ends in a refusal too.

use rs1_auth::acl;
use rs1_auth::credential::{Attempt, CannotUnseal, Refusal};
use rs1_domain::security::SecurityKind;
use rs1_domain::wire::admission::{Authentication, AuthenticationAnswer, Verdict};
use rs1_domain::{Answer, Problem, Request, apart};
use rs1_store::devices::{self, SealedKey};
use rs1_store::sql::{first_row, run};

use crate::config::Config;
use crate::notice;
use crate::world::{Ports, World};

/// 1. reads the client's names and password;
/// 2. loads the device's sealed key: the one read, whether or not there is such a device;
/// 3. judges the password;
/// 4. answers with the topics that the device may use, or notes the failure and refuses.
///
/// # Errors
/// 400 for a body that is not EMQX's, 503 when the database or a stored key fails.
pub async fn authenticate(
    world: &World<impl Ports>,
    config: &Config,
    request: &Request,
) -> Result<Answer, Problem> {
    let question =
        Authentication::read(&request.body).map_err(|faults| Problem::malformed(faults.summary()))?;
    let attempt = match Attempt::read(&question) {
        Ok(attempt) => attempt,
        Err(refusal) => return Ok(apart(refuse(world, refusal, &question, request)).await),
    };
    let [found] = run(&world.db, [devices::sealed_key(&attempt.device)]).await?;
    let sealed = first_row::<SealedKey>(&found)?.map(|row| row.sealed_key);
    let refusal = attempt.judge(&config.vault, sealed.as_deref(), request.now).map_err(|CannotUnseal| {
        Problem::unavailable(format!("the key of {} does not open", attempt.device))
    })?;
    match refusal {
        Some(refusal) => Ok(apart(refuse(world, refusal, &question, request)).await),
        None => Ok(answer(Verdict::Allow, acl::rules(&attempt.device))),
    }
}

/// Refuses, and hands the failure on to be counted. A queue that does not take it changes nothing
/// for the client; the log line says so.
async fn refuse(
    world: &World<impl Ports>,
    refusal: Refusal,
    question: &Authentication<'_>,
    request: &Request,
) -> Answer {
    let note = format!("refused: {}", refusal.as_str());
    let refused = answer(Verdict::Deny, Vec::new());
    let kind = SecurityKind::AuthFailureRepeated;
    let Some(told) = notice::due(world, kind, &question.peerhost, request) else {
        return refused.with_log(note);
    };
    match notice::tell(world, kind, &told, notice::failure(&told, request)).await {
        Ok(()) => refused.with_log(note),
        Err(error) => refused.with_log(format!("{note}; not counted: {error}")),
    }
}

fn answer(result: Verdict, acl: Vec<rs1_domain::wire::admission::AclRule>) -> Answer {
    Answer::json(200, &AuthenticationAnswer { result, is_superuser: false, acl })
}
