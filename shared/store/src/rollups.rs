//! Rollups as [`rs1_telemetry`] thinks of them, read and written: what every one who takes messages in has to do.

use std::collections::BTreeSet;

use rs1_domain::port::{Database, PortError, Statement};
use rs1_domain::{DeviceId, json};
use rs1_telemetry::alert::Alert;
use rs1_telemetry::batch::{self, Key, Slot};
use rs1_telemetry::event::Event;

use crate::sql::{rows, run};
use crate::tallies::{Door, Tally};
use crate::telemetry::{self, EventRow, RollupRow, RollupSlot, Written};

/// Bytes of rollups that are written with one statement, about; a statement's text may have two million.
const WRITTEN: usize = 900_000;

/// The slots of rollups, and the open alerts of those of their devices that have some.
///
/// # Errors
/// When the database cannot be reached, or has what we do not write.
pub async fn load(db: &impl Database, keys: &[Key]) -> Result<(Vec<(Key, Slot)>, OpenAlerts), PortError> {
    let failed = |error: &dyn std::fmt::Display| PortError::new("rollups_for", error.to_string());
    let wanted: Vec<_> = keys.iter().map(|(device, hour)| (device, *hour)).collect();
    let [outcome] = run(db, [telemetry::rollups_for(&wanted).map_err(|error| failed(&error))?]).await?;
    let mut open = OpenAlerts::new();
    let mut slots = Vec::with_capacity(keys.len());
    for slot in rows::<RollupSlot>(&outcome)? {
        let key = (slot.device_id.clone(), slot.hour);
        if let Some(alerts) = &slot.alerts {
            let alerts = serde_json::from_str(alerts).map_err(|error| failed(&error))?;
            open.push((slot.device_id.clone(), alerts));
        }
        let erased = slot.erased;
        let slot = match slot.into_row() {
            _ if erased => Slot::Erased,
            None => Slot::Empty,
            Some(row) => {
                let seen = row.seen.as_deref();
                let (last_at, last_received_at) = (row.last_at, row.last_received_at);
                batch::slot_of(row.messages, last_at, last_received_at, &row.metrics, seen, row.generation)
                    .map_err(|error| failed(&error.0))?
            }
        };
        slots.push((key, slot));
    }
    Ok((slots, open))
}

/// Devices and their open alerts. A device may stand there for each of its hours.
pub type OpenAlerts = Vec<(DeviceId, Vec<Alert>)>;

/// A rollup as it is stored.
pub fn row_of(write: &batch::Write) -> RollupRow {
    let (device_id, hour) = write.key.clone();
    RollupRow {
        device_id,
        hour,
        messages: write.rollup.messages,
        last_at: write.rollup.last_at,
        last_received_at: write.rollup.last_received_at,
        metrics: write.rollup.metrics_column(),
        seen: Some(write.rollup.seen_column().to_owned()),
        generation: write.generation,
        adds: write.adds,
    }
}

/// An event as it is stored.
pub fn event_row(event: &Event) -> EventRow {
    EventRow {
        device_id: Some(event.device.clone()),
        at: event.at,
        mark: event.mark.clone(),
        kind: event.kind.as_str().to_owned(),
        detail: event.detail.clone(),
        count: event.count,
    }
}

/// Writes rollups, with as many at once as a statement holds, and answers which of them somebody else wrote in between, in order. `beside` and
/// the tally go with the first of them; the registry may be `patience` milliseconds behind.
///
/// # Errors
/// When the database cannot be reached. Some may be written.
pub async fn write(
    db: &impl Database,
    writes: Vec<batch::Write>,
    mut beside: Vec<Statement>,
    patience: i64,
    door: Door,
    mut tally: Tally,
) -> Result<Vec<Key>, PortError> {
    let unwritable = |error: json::Error| PortError::new("write_rollups", error.to_string());
    let mut lost = Vec::new();
    let mut writes = writes.into_iter().peekable();
    while writes.peek().is_some() || !beside.is_empty() || !tally.is_empty() {
        let (mut rows, mut bytes): (Vec<RollupRow>, usize) = (Vec::new(), 0);
        while let Some(write) = writes.next_if(|_| bytes < WRITTEN) {
            let row = row_of(&write);
            let seen = row.seen.as_ref().map_or(0, String::len);
            bytes = bytes.saturating_add(row.metrics.len()).saturating_add(seen).saturating_add(250);
            rows.push(row);
        }
        let counted = Some((door, &tally));
        let mut statements = vec![telemetry::write_rollups(&rows, patience, counted).map_err(unwritable)?];
        tally = Tally::default();
        statements.append(&mut beside);
        let outcomes = db.batch(statements).await?;
        let outcome = outcomes.first().ok_or_else(|| PortError::new("write_rollups", "no outcome"))?;
        let mut written = BTreeSet::new();
        for Written { device_id, hour } in crate::sql::rows(outcome)? {
            written.insert((device_id, hour));
        }
        lost.extend(
            rows.into_iter().map(|row| (row.device_id, row.hour)).filter(|key| !written.contains(key)),
        );
    }
    Ok(lost)
}
