//! The minute's watch: what no message tells, because it is that there is none, or that time has passed. Each minute an export and an erasure
//! come a step further, too.
//!
//! The registry's facts become signals, and those go through the same state machine as the messages' do. A run that comes twice,
//! or beside a consumer, finds the same alerts and writes the same; who read an older one writes nothing, and looks again in a
//! minute.

use std::collections::BTreeMap;

use rs1_domain::event::Tick;
use rs1_domain::json;
use rs1_domain::port::{Database, PortError};
use rs1_domain::time::DAY;
use rs1_domain::{DeviceId, RecordId, UnixMillis};
use rs1_store::alerts::{self, Fact, Horizon};
use rs1_store::hours::add_up;
use rs1_store::sql::{rows, run};
use rs1_store::{cron, erasures, exports};
use rs1_telemetry::alert::{Alert, Alerts, OTA_FAILURES, OTA_WINDOW, PROLONGED, RESET_NEWS, SILENCE, Signal};

use crate::compact::compact;
use crate::sweep::sweep;
use crate::world::{Ports, World};
use crate::{erase, export};

/// The watch's trigger.
pub const EVERY_MINUTE: &str = "* * * * *";
/// The compaction's trigger. An hour apart, because then the platform gives it a quarter of an hour of CPU.
pub const HOURLY: &str = "0 * * * *";
/// The sweep's trigger. It reads what the compaction writes, so they keep half an hour apart: neither may run for longer than a quarter.
pub const SWEEP: &str = "30 * * * *";

/// How long it is known that there was an export: until an erasure that cancelled it is over.
const EXPORT_DAYS: i64 = 8;
/// How long it is known that something was deleted.
const ERASURE_DAYS: i64 = 90;
/// How old the archive's objects are when the lifecycle has had a day to delete them.
const ARCHIVE_DAYS: i64 = 367;
/// Rows deleted by one statement.
const PRUNE: u32 = 1_000;

/// Runs a trigger, unless that run was taken before. What it did, for the log.
///
/// # Errors
/// What failed. The next run sees what this one should have.
pub async fn tick(tick: &Tick, world: &World<impl Ports>) -> Result<String, PortError> {
    cron::leased(&world.db, "archive", tick, async || match tick.cron.as_str() {
        HOURLY => {
            let added = add_up(tick.scheduled, &world.db).await;
            let tidied = tidy(tick.scheduled, world).await;
            let compacted = compact(tick.scheduled, world).await;
            Ok(format!("{}; {}; {}", compacted?, added?, tidied?))
        }
        SWEEP => sweep(tick.scheduled, world).await,
        _ => {
            let watched = watch(tick.scheduled, &world.db).await;
            let exported = export::step(tick.scheduled, world).await;
            let erased = erase::step(tick.scheduled, world).await;
            let notes = [Some(watched?), exported?, erased?].into_iter().flatten();
            Ok(notes.collect::<Vec<_>>().join("; "))
        }
    })
    .await
}

/// Forgets exports and erasures that are over, and what the bucket's lifecycle does not: an object that was rewritten is younger than what
/// it holds. Erasures that a restored database does not know begin again.
async fn tidy(now: UnixMillis, world: &World<impl Ports>) -> Result<String, PortError> {
    let before = |kind, days: i64| {
        RecordId::generate(kind, now.plus(DAY.saturating_mul(days.saturating_neg())), [0; 10])
    };
    let [exports, erasures] = run(
        &world.db,
        [
            exports::prune(&before("exp", EXPORT_DAYS), PRUNE),
            erasures::prune(&before("era", ERASURE_DAYS), PRUNE),
        ],
    )
    .await?;
    let again = erase::again(now, &before("era", ERASURE_DAYS), world).await?;
    let day = now.plus(DAY.saturating_mul(ARCHIVE_DAYS.saturating_neg())).date();
    let objects = erase::discard_all(&format!("telemetry/{day}/"), world).await?;
    Ok(format!(
        "{} exports, {} erasures and {objects} old objects forgotten, {again} erasures begun again",
        exports.changes, erasures.changes
    ))
}

async fn watch(now: UnixMillis, db: &impl Database) -> Result<String, PortError> {
    let before = |milliseconds: i64| now.plus(milliseconds.saturating_neg());
    let horizon = Horizon {
        now,
        prolonged: before(PROLONGED),
        reset: before(RESET_NEWS),
        ota: before(OTA_WINDOW),
        ota_failures: OTA_FAILURES,
    };
    let heard = before(SILENCE);
    let [silent, troubled, recovered, ..] = run(
        db,
        [
            alerts::silent(heard, now),
            alerts::troubled(&horizon),
            alerts::recovered(&horizon, heard),
            // What these did by the clock is done here now, and whoever watches triggers is not to wait for theirs.
            cron::forget("telemetry"),
            cron::forget("history"),
        ],
    )
    .await?;
    let mut signals: BTreeMap<DeviceId, Vec<Signal>> = BTreeMap::new();
    for outcome in [&silent, &troubled, &recovered] {
        for Fact { device_id, kind, at, detail } in rows(outcome)? {
            signals.entry(device_id).or_default().push(Signal { kind, at, seen: detail });
        }
    }
    if signals.is_empty() {
        return Ok("nothing new".to_owned());
    }
    let json = |error: json::Error| PortError::new("alerts", error.to_string());
    let devices: Vec<_> = signals.keys().collect();
    let [open] = run(db, [alerts::open(&devices).map_err(json)?]).await?;
    let mut open_of: BTreeMap<DeviceId, Vec<Alert>> = BTreeMap::new();
    for alert in rows::<Alert>(&open)? {
        open_of.entry(alert.device_id.clone()).or_default().push(alert);
    }
    let mut changed = Vec::new();
    for (device, signals) in signals {
        let open = open_of.remove(&device).unwrap_or_default();
        let mut alerts = Alerts::new(device, open);
        alerts.apply(signals);
        changed.extend(alerts.changed());
    }
    if !changed.is_empty() {
        run(db, [alerts::write(&changed).map_err(json)?]).await?;
    }
    let resolved = changed.iter().filter(|alert| alert.resolved_at.is_some()).count();
    Ok(format!("{} alerts changed, {resolved} of them over", changed.len()))
}
