//! What this worker's handlers may use of the world.

use std::cell::RefCell;
use std::rc::Rc;

use rs1_auth::jwt::KeyCache;
use rs1_domain::port::{Archive, Database, DocumentSource, KeyValue, Packs, Random, SignatureVerifier};

/// Which implementation stands behind each port: the runtime's, or a test's.
#[expect(missing_docs, reason = "`World` says what each is for")]
pub trait Ports {
    type Database: Database;
    type Archive: Archive + Packs;
    type KeyValue: KeyValue;
    type Random: Random;
    type Documents: DocumentSource;
    type Signatures: SignatureVerifier;
}

/// The ports of one invocation.
pub struct World<P: Ports> {
    /// D1.
    pub db: P::Database,
    /// The R2 bucket of archives.
    pub archives: P::Archive,
    /// The KV namespace of answers that are good for a minute.
    pub cache: P::KeyValue,
    /// Random bytes, for ids.
    pub random: P::Random,
    /// Fetches the operators' keys.
    pub documents: P::Documents,
    /// Verifies operators' tokens.
    pub signatures: P::Signatures,
    /// The operators' keys as fetched last: shared by every request of the isolate, and never borrowed across an await.
    pub keys: Rc<RefCell<KeyCache>>,
}
