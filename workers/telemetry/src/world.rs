//! What this worker's handlers may use of the world. Each handler takes only the ports it needs;
//! this is where the routes find them.

use std::cell::RefCell;
use std::rc::Rc;

use rs1_domain::port::{Broker, Bucket, Database, Inbox, Queue, Random};
use rs1_domain::security::Bursts;

/// Which implementation stands behind each port: the runtime's, or a test's.
#[expect(missing_docs, reason = "`World` says what each is for")]
pub trait Ports {
    type Database: Database;
    type Queue: Queue;
    type Bucket: Bucket + Inbox;
    type Random: Random;
    type Broker: Broker;
}

/// The ports of one invocation.
pub struct World<P: Ports> {
    /// D1.
    pub db: P::Database,
    /// The producer's end of the telemetry queue.
    pub queue: P::Queue,
    /// The producer's end of the queue of updates.
    pub updates: P::Queue,
    /// The R2 bucket of archives.
    pub archives: P::Bucket,
    /// The R2 bucket of what is kept for a while: answers to diagnostics.
    pub files: P::Bucket,
    /// Randomness.
    pub random: P::Random,
    /// Tells devices.
    pub broker: P::Broker,
    /// What this isolate remembers of those who do what is not allowed: borrowed for a moment at a time and never across an
    /// await, since other requests share it.
    pub bursts: Rc<RefCell<Bursts>>,
}
