//! Requests that people may send twice. Who sends an `Idempotency-Key` is given the first request's answer again, and
//! what was asked for is done once.
//!
//! The answer is remembered in the batch that does it, by a statement that asks whether it was done (as
//! [`rollouts::remember`](crate::rollouts::remember) does): of two requests that race, the one that came too late finds
//! the other's answer here.

use rs1_domain::UnixMillis;
use rs1_domain::port::Statement;
use serde::Deserialize;

/// What was answered to the request that brought a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Remembered {
    /// Of that request: SHA-256 of what makes it that request.
    pub fingerprint: String,
    /// The answer's status.
    pub status: u16,
    /// The answer's body.
    pub body: String,
}

/// What is [`Remembered`] under somebody's key.
pub fn find(actor: &str, key: &str) -> Statement {
    Statement {
        name: "idempotency_find",
        sql: "/* idempotency_find */
            SELECT fingerprint, status, body FROM idempotency_keys WHERE actor = ?1 AND key = ?2",
        params: vec![actor.into(), key.into()],
    }
}

/// Forgets up to `limit` answers from before `before`.
pub fn prune(before: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "idempotency_prune",
        sql: "/* idempotency_prune */
            DELETE FROM idempotency_keys WHERE (actor, key) IN
              (SELECT actor, key FROM idempotency_keys WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)",
        params: vec![before.into(), limit.into()],
    }
}
