//! The minute's work: zone configurations that devices are here for and have not taken are sent again.

use rs1_domain::DeviceId;
use rs1_domain::event::Tick;
use rs1_domain::limits::BROKER_BATCH;
use rs1_domain::port::{Broker, Database, PortError, Published};
use rs1_domain::time::MINUTE;
use rs1_store::sql::{rows, run};
use rs1_store::zones::Due;
use rs1_store::{cron, zones};
use rs1_zones::delivery::publication;

/// This worker's trigger.
pub const EVERY_MINUTE: &str = "* * * * *";

/// Batches of one run: what is due beyond that waits a minute.
const ROUNDS: usize = 10;
/// Devices of one batch: as many as one call to the broker carries.
const BATCH: u32 = 100;
const _: () = assert!(BATCH as usize == BROKER_BATCH);

/// Runs a trigger, unless that run was taken before. What it did, for the log.
///
/// # Errors
/// What failed. What was due then is due at the next run.
pub async fn tick(tick: &Tick, db: &impl Database, broker: &impl Broker) -> Result<String, PortError> {
    cron::leased(db, "device-api", tick, async || send_due(tick, db, broker).await).await
}

async fn send_due(tick: &Tick, db: &impl Database, broker: &impl Broker) -> Result<String, PortError> {
    let (mut sent, mut absent, mut failed) = (0_usize, 0_usize, 0_usize);
    for _ in 0..ROUNDS {
        let [taken] = run(db, [zones::take_due(tick.now, BATCH)]).await?;
        let due: Vec<Due> = rows(&taken)?;
        let outcomes = match send(&due, broker).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                put_back(db, &due.iter().map(|due| &due.device_id).collect::<Vec<_>>(), tick).await?;
                return Err(error);
            }
        };
        let again: Vec<_> = due
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, Published::Failed))
            .map(|(due, _)| &due.device_id)
            .collect();
        if !again.is_empty() {
            put_back(db, &again, tick).await?;
        }
        let count =
            |wanted: fn(&Published) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
        sent = sent.saturating_add(count(|outcome| matches!(outcome, Published::Accepted)));
        absent = absent.saturating_add(count(|outcome| matches!(outcome, Published::NoSubscriber)));
        failed = failed
            .saturating_add(count(|outcome| matches!(outcome, Published::Failed | Published::Refused(_))));
        if due.len() < BROKER_BATCH {
            break;
        }
    }
    Ok(format!("{sent} configurations sent, {absent} devices absent, {failed} failed"))
}

async fn send(due: &[Due], broker: &impl Broker) -> Result<Vec<Published>, PortError> {
    let messages = due
        .iter()
        .map(|due| publication(&due.device_id, due.version, due.updated_at, &due.zones))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| PortError::new("zones", error.to_string()))?;
    broker.publish(&messages).await
}

/// Due again at the next run, and as if they had not been tried.
async fn put_back(db: &impl Database, devices: &[&DeviceId], tick: &Tick) -> Result<(), PortError> {
    let statement = zones::put_back(devices, tick.now.plus(MINUTE))
        .map_err(|error| PortError::new("zones_put_back", error.to_string()))?;
    run(db, [statement]).await.map(|_| ())
}
