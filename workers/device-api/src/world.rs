//! What this worker's handlers may use of the world. Each handler takes only the ports it needs;
//! this is where the routes find them.

use std::cell::RefCell;

use rs1_auth::jwt::{KeyCache, KeyCaches};
use rs1_domain::port::{
    Broker, Bucket, Database, DocumentSource, KeyValue, Peer, Random, RateLimiter, SignatureVerifier,
};

use crate::limit::Reported;

/// Which implementation stands behind each port: the runtime's, or a test's.
#[expect(missing_docs, reason = "`World` says what each is for")]
pub trait Ports {
    type Database: Database;
    type Documents: DocumentSource;
    type Signatures: SignatureVerifier;
    type Random: Random;
    type RateLimiter: RateLimiter;
    type Broker: Broker;
    type KeyValue: KeyValue;
    type Bucket: Bucket;
    type Peer: Peer;
}

/// The ports of one invocation.
pub struct World<'a, P: Ports> {
    /// D1.
    pub db: P::Database,
    /// Fetches issuers' keys.
    pub documents: P::Documents,
    /// Verifies signatures.
    pub signatures: P::Signatures,
    /// Randomness.
    pub random: P::Random,
    /// Limits people, and strangers by their address.
    pub people_limit: P::RateLimiter,
    /// Limits operators.
    pub operators_limit: P::RateLimiter,
    /// Tells devices.
    pub broker: P::Broker,
    /// What refresh tokens stand for.
    pub sessions: P::KeyValue,
    /// Answers that may be minutes old.
    pub cache: P::KeyValue,
    /// What is kept for a while: answers to diagnostics.
    pub files: P::Bucket,
    /// The worker that tells what devices said.
    pub history: P::Peer,
    /// What this isolate remembers.
    pub memory: &'a Memory,
}

/// What lives as long as the isolate: plain data, borrowed for a moment at a time and never across an await, since other
/// requests share it.
#[derive(Debug, Default)]
pub struct Memory {
    /// The operators' keys as fetched last.
    pub operator_keys: RefCell<KeyCache>,
    /// The users' identity providers' keys as fetched last.
    pub user_keys: KeyCaches,
    /// Whose excess was written down lately.
    pub reported: RefCell<Reported>,
}
