//! What this worker's handlers may use of the world.

use rs1_domain::port::{Archive, Database};

/// Which implementation stands behind each port: the runtime's, or a test's.
#[expect(missing_docs, reason = "`World` says what each is for")]
pub trait Ports {
    type Database: Database;
    type Archive: Archive;
}

/// The ports of one invocation.
pub struct World<P: Ports> {
    /// D1.
    pub db: P::Database,
    /// The R2 bucket of archives.
    pub archives: P::Archive,
}
