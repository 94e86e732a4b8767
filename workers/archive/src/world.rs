//! What this worker may use of the world.

use rs1_domain::port::{Archive, Bucket, Database, Packs, Queue, Shelf};

/// Which implementation stands behind each port: the runtime's, or a test's.
#[expect(missing_docs, reason = "`World` says what each is for")]
pub trait Ports {
    type Database: Database;
    type Queue: Queue;
    type Archive: Archive + Bucket + Packs + Shelf;
}

/// The ports of one invocation.
pub struct World<P: Ports> {
    /// D1.
    pub db: P::Database,
    /// The producer's end of the telemetry queue.
    pub queue: P::Queue,
    /// The R2 bucket of archives.
    pub archives: P::Archive,
}
