//! What this worker's handlers may use of the world. Each handler takes only the ports it needs;
//! this is where the routes find them.

use std::cell::RefCell;

use rs1_auth::jwt::KeyCache;
use rs1_domain::port::{Broker, Database, DocumentSource, Queue, Random, SignatureVerifier};

use crate::permits::Permits;

/// The kinds of ports: the runtime's in the worker, doubles in native tests.
pub trait Ports {
    /// D1.
    type Db: Database;
    /// Fetches the operators' keys.
    type Documents: DocumentSource;
    /// Verifies operators' tokens.
    type Signatures: SignatureVerifier;
    /// The producer's end of a queue.
    type Queue: Queue;
    /// Tells devices.
    type Broker: Broker;
    /// Randomness.
    type Random: Random;
}

/// The ports of one request.
pub struct World<'a, P: Ports> {
    /// D1.
    pub db: P::Db,
    /// Fetches the operators' keys.
    pub documents: P::Documents,
    /// Verifies operators' tokens.
    pub signatures: P::Signatures,
    /// Triggers that are to be handed to the broker.
    pub triggers: P::Queue,
    /// What was learnt of devices' updates.
    pub reports: P::Queue,
    /// Randomness.
    pub random: P::Random,
    /// The operators' keys as fetched last; lives as long as the isolate.
    pub keys: &'a RefCell<KeyCache>,
    /// Permits to download that were read a moment ago; as long as the isolate.
    pub permits: &'a RefCell<Permits>,
}

/// The ports of what queues and the clock wake.
pub struct Engine<P: Ports> {
    /// D1.
    pub db: P::Db,
    /// Triggers that are to be handed to the broker.
    pub triggers: P::Queue,
    /// What was learnt of devices' updates.
    pub reports: P::Queue,
    /// Tells devices.
    pub broker: P::Broker,
    /// Randomness.
    pub random: P::Random,
}
