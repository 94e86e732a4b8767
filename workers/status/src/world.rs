//! What this worker's handlers may use of the world.

use rs1_domain::port::Database;

use crate::picture::Shelf;

/// Which implementation stands behind each port: the runtime's, or a test's.
#[expect(missing_docs, reason = "`World` says what each is for")]
pub trait Ports {
    type Database: Database;
}

/// The ports of one invocation.
pub struct World<'a, P: Ports> {
    /// D1.
    pub db: P::Database,
    /// What was read last; lives as long as the isolate.
    pub shelf: &'a Shelf,
}
