//! What this worker's handlers may use of the world. Each handler takes only the ports it needs;
//! this is where the routes find them.

use std::cell::RefCell;

use rs1_auth::operator::KeyCache;

/// The ports of one invocation.
pub struct World<'a, Db, Documents, Signatures, Rng> {
    /// D1.
    pub db: Db,
    /// Fetches the operators' keys.
    pub documents: Documents,
    /// Verifies signatures.
    pub signatures: Signatures,
    /// Randomness.
    pub random: Rng,
    /// The operators' keys as fetched last; lives as long as the isolate.
    pub keys: &'a RefCell<KeyCache>,
}
