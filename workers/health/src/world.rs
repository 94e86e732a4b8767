//! What this worker may use of the world. Each handler and duty takes only the ports it needs; this is where the routes and
//! the clock find them.

use std::cell::RefCell;

use rs1_auth::jwt::KeyCache;
use rs1_domain::UnixMillis;
use rs1_domain::port::{
    Database, DocumentSource, Gzip, Messenger, Peer, Probes, Random, Reader, Shelf, SignatureVerifier, Vault,
};

/// The kinds of ports: the runtime's in the worker, doubles in native tests.
pub trait Ports {
    /// D1.
    type Db: Database + Reader;
    /// Where backups are kept.
    type Vault: Vault;
    /// Compression.
    type Gzip: Gzip;
    /// Buckets that others write.
    type Shelf: Shelf;
    /// Fetches the operators' keys.
    type Documents: DocumentSource;
    /// Looks at what is checked.
    type Probes: Probes;
    /// Verifies operators' tokens.
    type Signatures: SignatureVerifier;
    /// Sends what people are told.
    type Messenger: Messenger;
    /// Other workers.
    type Peer: Peer;
    /// Randomness.
    type Random: Random;
}

/// The ports of one event.
pub struct World<'a, P: Ports> {
    /// D1.
    pub db: P::Db,
    /// Where backups are kept.
    pub vault: P::Vault,
    /// Compression.
    pub gzip: P::Gzip,
    /// The artifacts' bytes.
    pub firmware: P::Shelf,
    /// Where the rest of the company keeps its backups.
    pub company: P::Shelf,
    /// Fetches the operators' keys.
    pub documents: P::Documents,
    /// Looks at what is checked.
    pub probes: P::Probes,
    /// Verifies operators' tokens.
    pub signatures: P::Signatures,
    /// Sends what people are told.
    pub messenger: P::Messenger,
    /// The worker that answers the page.
    pub status: P::Peer,
    /// Randomness.
    pub random: P::Random,
    /// The operators' keys as fetched last; lives as long as the isolate.
    pub keys: &'a RefCell<KeyCache>,
    /// The time now: a run of the clock takes minutes.
    pub clock: &'a dyn Fn() -> UnixMillis,
}
