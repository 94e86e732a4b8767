//! Requests that come twice: `Idempotency-Key` (the IETF's draft of that header).

use rs1_auth::operator::Operator;
use rs1_domain::port::Database;
use rs1_domain::{Answer, Faults, Problem, Request, hex};
use rs1_store::idempotency::{self, Remembered};
use rs1_store::rollouts::Remember;
use rs1_store::sql::{first_row, run};
use sha2::{Digest, Sha256};

/// The header, in lower case.
pub const HEADER: &str = "idempotency-key";
/// Longest key.
const LENGTH: usize = 128;

/// A request's key, and what it may be used for: this request and no other.
pub struct Key {
    /// Whose it is: operators do not meet each other's keys.
    actor: String,
    /// As it was sent.
    pub name: String,
    /// SHA-256 of method, path, query and body.
    fingerprint: String,
}

impl Key {
    /// The key of a request, if it brought one.
    ///
    /// # Errors
    /// 422 for one that is none.
    pub fn read(operator: &Operator, request: &Request) -> Result<Option<Self>, Problem> {
        let Some(name) = request.header(HEADER) else { return Ok(None) };
        if !(1..=LENGTH).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            let mut faults = Faults::new();
            faults.add("Idempotency-Key", "must be 1 to 128 visible ASCII characters");
            return Err(faults.into());
        }
        let digest = Sha256::new()
            .chain_update(request.method.as_str())
            .chain_update("\n")
            .chain_update(&request.path)
            .chain_update("\n")
            .chain_update(&request.query)
            .chain_update("\n")
            .chain_update(&request.body)
            .finalize();
        Ok(Some(Self {
            actor: operator.name.clone(),
            name: name.to_owned(),
            fingerprint: hex::encode(&digest),
        }))
    }

    /// What is to be remembered of the answer.
    pub fn remember<'a>(
        &'a self,
        operator: &'a Operator,
        request: &'a Request,
        answer: &'a Answer,
    ) -> Remember<'a> {
        Remember {
            actor: &operator.name,
            key: &self.name,
            fingerprint: &self.fingerprint,
            request_id: request.request_id.as_str(),
            status: answer.status,
            body: &answer.body,
        }
    }
}

/// The answer that this request was given before, if it was.
///
/// # Errors
/// 422 if another request used the key, 503 when the database fails.
pub async fn find(db: &impl Database, key: Option<&Key>) -> Result<Option<Answer>, Problem> {
    let Some(key) = key else { return Ok(None) };
    let [found] = run(db, [idempotency::find(&key.actor, &key.name)]).await?;
    let Some(Remembered { fingerprint, status, body }) = first_row(&found)? else { return Ok(None) };
    if fingerprint != key.fingerprint {
        let mut faults = Faults::new();
        faults.add("Idempotency-Key", "was used for another request");
        return Err(faults.into());
    }
    Ok(Some(Answer::text(status, rs1_domain::http::JSON, body).with_log("answered as before")))
}
