//! This worker's triggers. Each run takes its lease and notes its end, by which anybody can see that
//! the clock ticks.

use rs1_domain::event::Tick;
use rs1_domain::port::{Database, Gzip, PortError, Reader, Vault};
use rs1_store::cron;

use crate::backup::{self, Budget, Ports};

/// The trigger that begins a backup.
const DAILY: &str = "0 3 * * *";

/// Runs a trigger, unless that run was taken before. What it did, for the log.
///
/// # Errors
/// What failed.
pub async fn tick<D: Database + Reader, V: Vault, G: Gzip>(
    tick: &Tick,
    ports: &Ports<'_, D, V, G>,
) -> Result<String, PortError> {
    cron::leased(ports.db, "health", tick, async || {
        if tick.cron != DAILY {
            return backup::advance(ports, Budget::OFTEN).await;
        }
        backup::begin(ports.db, &tick.scheduled.date(), None, tick.now).await?;
        let made = backup::advance(ports, Budget::DAILY).await?;
        let cleared = backup::clear_up(ports.db, ports.vault, tick.now).await?;
        Ok(format!("{made}; {cleared}"))
    })
    .await
}
