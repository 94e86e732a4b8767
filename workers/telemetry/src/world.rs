//! What this worker's handlers may use of the world. Each handler takes only the ports it needs;
//! this is where the routes find them.

/// The ports of one invocation.
pub struct World<Db, Queue, Archives, Rng> {
    /// D1.
    pub db: Db,
    /// The producer's end of the telemetry queue.
    pub queue: Queue,
    /// The R2 bucket of archives.
    pub archives: Archives,
    /// Randomness.
    pub random: Rng,
}
