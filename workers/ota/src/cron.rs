//! This worker's triggers. Each run takes its lease and notes its end, by which anybody can see that
//! the clock ticks.

use rs1_domain::event::Tick;
use rs1_domain::port::{Database, PortError};
use rs1_store::cron;

/// Runs a trigger, unless that run was taken before. What it did, for the log.
///
/// # Errors
/// What failed.
pub async fn tick(tick: &Tick, db: &impl Database) -> Result<String, PortError> {
    cron::leased(db, "ota", tick, async || Ok("ticked".to_owned())).await
}
