//! This worker's triggers. Each run takes its lease and notes its end, by which anybody can see that
//! the clock ticks.

use rs1_domain::config::BadConfig;
use rs1_domain::event::Tick;
use rs1_domain::port::{Database, PortError};
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_store::cron;

use crate::backup::{self, Budget};
use crate::config::Config;
use crate::world::{Ports, World};
use crate::{firmware, notices, round, watch};

/// The trigger that begins a backup.
const DAILY: &str = "0 3 * * *";

/// How many milliseconds after midnight the day's backup has been begun, if its trigger came: ten minutes after that.
const BEGUN_BY: i64 = 3 * HOUR + 10 * MINUTE;

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
            // First, so that nothing keeps it: a backup may take minutes.
            let checked = match config {
                Ok(config) => round::round(world, config, tick.now).await,
                Err(faults) => Err(PortError::new("configuration", faults.0.join("; "))),
            };
            let begun = make_up(db, tick).await;
            let made = backup::advance(&ports, Budget::OFTEN).await;
            return all([begun, made, watch::look(world, config, tick.now).await, checked]);
        }
        backup::begin(db, &tick.scheduled.date(), None, tick.now).await?;
        let made = backup::advance(&ports, Budget::DAILY).await;
        let verified = firmware::verify(db, &world.firmware, tick.now).await;
        let pruned = round::prune(db, tick.now).await;
        all([made, verified, pruned, backup::clear_up(db, vault, tick.now).await])
    })
    .await
}

/// Begins the day's backup if its trigger was lost, or the database failed just then; otherwise this changes nothing.
async fn make_up(db: &impl Database, tick: &Tick) -> Result<String, PortError> {
    let late = tick.scheduled.0.rem_euclid(DAY) >= BEGUN_BY;
    let begun = late && backup::begin(db, &tick.scheduled.date(), None, tick.now).await?;
    Ok(if begun { "the daily trigger did not come".to_owned() } else { String::new() })
}

/// What all of them did, or what failed first.
fn all<const N: usize>(duties: [Result<String, PortError>; N]) -> Result<String, PortError> {
    let done: Vec<String> = duties.into_iter().collect::<Result<_, _>>()?;
    Ok(done.into_iter().filter(|done| !done.is_empty()).collect::<Vec<_>>().join("; "))
}
