//! This worker's triggers. Each run takes its lease and notes its end, by which anybody can see that
//! the clock ticks.

use rs1_domain::config::BadConfig;
use rs1_domain::event::Tick;
use rs1_domain::port::PortError;
use rs1_store::cron;

use crate::backup::{self, Budget};
use crate::config::Config;
use crate::world::{Ports, World};
use crate::{firmware, notices, watch};

/// The trigger that begins a backup.
const DAILY: &str = "0 3 * * *";

/// Runs a trigger, unless that run was taken before. What it did, for the log.
///
/// # Errors
/// What failed first; it keeps the other duties from nothing.
pub async fn tick<P: Ports>(
    tick: &Tick,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, P>,
) -> Result<String, PortError> {
    if tick.cron == notices::CRON {
        return notices::tick(tick, config, world).await;
    }
    let World { db, vault, gzip, clock, .. } = world;
    let ports = backup::Ports { db, vault, gzip, clock: *clock };
    cron::leased(db, "health", tick, async || {
        if tick.cron != DAILY {
            let made = backup::advance(&ports, Budget::OFTEN).await;
            return all([made, watch::look(world, config, tick.now).await]);
        }
        backup::begin(db, &tick.scheduled.date(), None, tick.now).await?;
        let made = backup::advance(&ports, Budget::DAILY).await;
        let verified = firmware::verify(db, &world.firmware, tick.now).await;
        all([made, verified, backup::clear_up(db, vault, tick.now).await])
    })
    .await
}

/// What all of them did, or what failed first.
fn all<const N: usize>(duties: [Result<String, PortError>; N]) -> Result<String, PortError> {
    let done: Vec<String> = duties.into_iter().collect::<Result<_, _>>()?;
    Ok(done.join("; "))
}
