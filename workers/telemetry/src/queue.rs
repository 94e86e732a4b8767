//! The consumer of the telemetry queue.
//!
//! A batch mixes devices' messages, objects of collected ones ([`crate::objects`]), security events and failed authentications.
//! Whatever can be settled is; a message that can never be processed goes to quarantine with the reason and does not
//! hold up the others; what could not be done for a reason that may pass is delivered again.
//!
//! Messages cost two statements a batch, whatever its size: one that reads the rollups they are
//! about, one that writes them (and, by trigger, the registry and the tally of what came); others go along only if they tell of events or change alerts. Between the two, what is new goes to
//! the archive. See [`rs1_telemetry`] for why that order loses nothing and counts nothing twice.

use std::collections::BTreeMap;

use rs1_domain::event::{Batch, Delivery, Retry, Settlement};
use rs1_domain::json;
use rs1_domain::port::{Bucket, Database, Encoding, NewObject, PortError, Queue, Random, Sending, Statement};
use rs1_domain::security::{AuthFailure, SecurityEvent};
use rs1_domain::{DeviceId, RecordId, UnixMillis};
use rs1_store::alerts;
use rs1_store::{seals, security};

use rs1_store::rollups::{OpenAlerts, event_row, load, row_of};
use rs1_store::tallies::{Door, Tally};
use rs1_store::telemetry::{self, Written};
use rs1_telemetry::alert::{Alert, Register, Signal};
use rs1_telemetry::archive::{self, ArchiveObject};
use rs1_telemetry::batch::{self, Key, Plan, Taken};
use rs1_telemetry::object::{self, News};
use rs1_telemetry::{Message, Queued};
use serde_json::json;

use crate::objects;
use crate::world::{Ports, World};

/// How often rollups that somebody else changed in between are read and merged again before the
/// rest is left to a later delivery.
pub(crate) const ATTEMPTS: usize = 4;

/// How far the registry may be behind what comes message by message.
const AT_ONCE: i64 = 0;

/// A batch, sorted by what is to be done.
#[derive(Default)]
struct Sorted {
    messages: Vec<Message>,
    message_places: Vec<usize>,
    archived: Vec<(usize, String)>,
    collected: Vec<(usize, String)>,
    events: Vec<SecurityEvent>,
    failures: Vec<AuthFailure>,
    security_places: Vec<usize>,
    poison: Vec<(usize, String)>,
}

/// Settles a batch.
pub async fn consume(batch: &Batch, world: &World<impl Ports>) -> Settlement {
    let Batch { deliveries, now, .. } = batch;
    let now = *now;
    let sorted = sort(deliveries);
    let mut again = Vec::new();
    let mut notes = Vec::new();

    let mut damaged = Vec::new();
    for (place, key) in &sorted.archived {
        match recount(key, world).await {
            Ok(()) => notes.push(format!("counted {key}")),
            Err(Recount::Later(error)) => {
                notes.push(format!("{key} to be counted later: {error}"));
                again.push(*place);
            }
            Err(Recount::Never(reason)) => damaged.push((*place, reason)),
        }
    }
    let prepared = prepare(&sorted.messages, world, now).await;
    // Before the messages are counted, so that it is counted with them.
    let mut aside = Aside { deliveries, archives: &world.archives, now, notes, again };
    let mut tally = Tally {
        malformed: aside.put(&sorted.poison).await,
        damaged: aside.put(&damaged).await,
        ..Tally::default()
    };
    if let Ok(Prepared { plan, .. }) = &prepared {
        let places = plan.taken.unknown.iter().filter_map(|index| sorted.message_places.get(*index));
        let unknown: Vec<_> = places.map(|place| (*place, "device: not enrolled".to_owned())).collect();
        tally.not_enrolled = aside.put(&unknown).await;
    }
    let Aside { mut notes, mut again, .. } = aside;
    match ingest(&sorted.messages, prepared, tally, world).await {
        Ok(Ingested { taken, left }) => {
            if !sorted.messages.is_empty() {
                notes.push(format!(
                    "{} counted, {} repeated, {} late, {} unknown",
                    taken.counted,
                    taken.repeated,
                    taken.late,
                    taken.unknown.len()
                ));
            }
            if taken.erased > 0 {
                notes.push(format!("{} of erased hours", taken.erased));
            }
            if let Some(left) = left {
                notes.push(left);
            }
        }
        Err(error) => {
            notes.push(format!("{} messages to be delivered again: {error}", sorted.messages.len()));
            again.extend(&sorted.message_places);
        }
    }
    let mut lines = objects::LINES;
    for (place, key) in &sorted.collected {
        match objects::take_in(key, &mut lines, world, now).await {
            Ok(note) => notes.push(format!("{key}: {note}")),
            Err(error) => {
                notes.push(format!("{key} to be gone on with later: {error}"));
                again.push(*place);
            }
        }
    }
    if !sorted.security_places.is_empty() {
        match log_security(&sorted, world, now).await {
            Ok(()) => notes.push(format!("{} for the security log", sorted.security_places.len())),
            Err(error) => {
                notes.push(format!("security log: {error}"));
                again.extend(&sorted.security_places);
            }
        }
    }

    let attempts = |place: &usize| deliveries.get(*place).map_or(1, |delivery| delivery.attempts);
    let mut retries: Vec<_> = again.iter().map(|place| Retry::after(*place, attempts(place))).collect();
    retries.sort_by_key(|retry| retry.index);
    retries.dedup_by_key(|retry| retry.index);
    Settlement { retries, log: (!notes.is_empty()).then(|| notes.join("; ")) }
}

fn sort(deliveries: &[Delivery]) -> Sorted {
    let mut sorted = Sorted::default();
    for (place, delivery) in deliveries.iter().enumerate() {
        match Queued::from_json(&delivery.body) {
            Ok(Queued::Message(message)) => {
                sorted.messages.push(*message);
                sorted.message_places.push(place);
            }
            Ok(Queued::Archived(key)) => sorted.archived.push((place, key)),
            Ok(Queued::Collected(key)) => sorted.collected.push((place, key)),
            Ok(Queued::Security(event)) => {
                sorted.events.push(event);
                sorted.security_places.push(place);
            }
            Ok(Queued::AuthFailure(failure)) => {
                sorted.failures.push(failure);
                sorted.security_places.push(place);
            }
            Err(reason) => match object::news(&delivery.body) {
                Some(News::Arrived(key)) => sorted.collected.push((place, key)),
                Some(News::Nothing) => {}
                None => sorted.poison.push((place, reason)),
            },
        }
    }
    sorted
}

/// Messages that are archived, and what is to be written.
struct Prepared {
    plan: Plan,
    alerts: OpenAlerts,
    tally: Tally,
}

/// What became of a batch's messages.
struct Ingested {
    taken: Taken,
    /// If the rollups could not be written now: how that is made up for.
    left: Option<String>,
}

/// Reads the rollups, and archives what is new.
///
/// # Errors
/// When nothing is done yet that a second delivery would do twice: the messages are to be delivered
/// again.
async fn prepare(
    messages: &[Message],
    world: &World<impl Ports>,
    now: UnixMillis,
) -> Result<Prepared, PortError> {
    let Some(oldest) = messages.iter().map(|message| message.received_at).min() else {
        return Ok(Prepared { plan: Plan::default(), alerts: OpenAlerts::new(), tally: Tally::default() });
    };
    let (slots, alerts) = load(&world.db, &batch::keys(messages)).await?;
    let plan = batch::plan(messages, slots);
    let mut tally = Tally { taken_at: Some(now), oldest_age: now.since(oldest).max(0), ..Tally::of(&plan) };
    for object in &plan.taken.archive {
        let stored = store(&world.archives, object).await?;
        tally.objects = tally.objects.saturating_add(u64::from(stored));
    }
    Ok(Prepared { plan, alerts, tally })
}

/// Writes the rollups of messages that are archived, and counts what else came.
///
/// # Errors
/// As [`prepare`], which may have failed already.
async fn ingest(
    messages: &[Message],
    prepared: Result<Prepared, PortError>,
    aside: Tally,
    world: &World<impl Ports>,
) -> Result<Ingested, PortError> {
    let Prepared { plan, alerts, tally } = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            // What is in quarantine does not come again. If it cannot be counted either, it is not.
            let _ = count(&world.db, &[], &Plan::default(), OpenAlerts::new(), Some(aside)).await;
            return Err(error);
        }
    };
    let Tally { malformed, not_enrolled, damaged, .. } = aside;
    let tally = Tally { malformed, not_enrolled, damaged, ..tally };
    let Err(error) = count(&world.db, messages, &plan, alerts, Some(tally)).await else {
        return Ok(Ingested { taken: plan.taken, left: None });
    };
    // The messages are in the archive. If they were delivered again they might come in other
    // company, so under another key, and be archived twice; so the objects are named instead.
    let keys: Vec<_> = plan.taken.archive.iter().map(|object| object.key.clone()).collect();
    let left = Some(format!("{} to be counted later: {error}", keys.join(", ")));
    let named =
        keys.into_iter().map(|key| Sending { message: Queued::Archived(key).to_json(), delay_seconds: 0 });
    world.queue.send_all(&named.collect::<Vec<_>>()).await?;
    Ok(Ingested { taken: plan.taken, left })
}

/// What the messages change about their devices' alerts.
fn changed_alerts(signals: &BTreeMap<DeviceId, Vec<Signal>>, open: OpenAlerts) -> Vec<Alert> {
    let mut register = Register::default();
    for (device, open) in open {
        register.load(device, open);
    }
    for (device, signals) in signals {
        register.apply(device, signals.clone());
    }
    register.changed()
}

/// Archives an object. Whether it was not there yet.
pub(crate) async fn store(archives: &impl Bucket, object: &ArchiveObject) -> Result<bool, PortError> {
    let object = NewObject {
        key: &object.key,
        body: object.body.as_bytes(),
        content_type: rs1_domain::http::NDJSON,
        encoding: Encoding::Gzip,
        label: object.label.as_deref(),
    };
    // That it exists already means that this very batch was archived by an earlier delivery.
    archives.put_new(object).await
}

/// Writes rollups, and with them events and alerts; rollups that somebody else changed in between are read and merged again. Events
/// and alerts are not: who else wrote the same ones wrote the same, and an alert that went on meanwhile has newer news. Without a tally,
/// because another delivery has counted what it found, only what is new is counted.
async fn count(
    db: &impl Database,
    messages: &[Message],
    plan: &Plan,
    open: OpenAlerts,
    tally: Option<Tally>,
) -> Result<(), PortError> {
    let unwritable = |error: json::Error| PortError::new("write_rollups", error.to_string());
    let (mut writes, events) = (plan.writes.clone(), &plan.taken.events);
    let first = tally.is_some();
    let mut tally = tally.unwrap_or_default();
    let mut beside = Vec::new();
    mark_late(&plan.late, &mut beside)?;
    let changed = changed_alerts(&plan.taken.signals, open);
    if !changed.is_empty() {
        beside.push(alerts::write(&changed).map_err(unwritable)?);
    }
    if !events.is_empty() {
        beside.push(
            telemetry::record_events(&events.iter().map(event_row).collect::<Vec<_>>())
                .map_err(unwritable)?,
        );
    }
    for _ in 0..ATTEMPTS {
        if writes.is_empty() && beside.is_empty() && tally.is_empty() {
            return Ok(());
        }
        if !first {
            for write in &mut writes {
                write.adds.duplicates = 0;
            }
        }
        let rows: Vec<_> = writes.iter().map(row_of).collect();
        let counted = Some((Door::Webhook, &tally));
        let mut statements = vec![telemetry::write_rollups(&rows, AT_ONCE, counted).map_err(unwritable)?];
        statements.append(&mut beside);
        let outcomes = db.batch(statements).await?;
        let outcome = outcomes.first().ok_or_else(|| PortError::new("write_rollups", "no outcome"))?;
        let written: Vec<Written> = rs1_store::sql::rows(outcome)?;
        writes.retain(|write| {
            !written.iter().any(|done| done.device_id == write.key.0 && done.hour == write.key.1)
        });
        let lost: Vec<_> = messages
            .iter()
            .filter(|message| writes.iter().any(|write| write.key == batch::key_of(message)))
            .cloned()
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let again = batch::plan(&lost, load(db, &batch::keys(&lost)).await?.0);
        mark_late(&again.late, &mut beside)?;
        tally = if first { Tally::of(&again) } else { Tally::default() };
        writes = again.writes;
    }
    if writes.is_empty() && beside.is_empty() {
        Ok(())
    } else {
        Err(PortError::new("write_rollups", "others keep writing the same rollups"))
    }
}

/// Has sealed hours for which messages came made anew of the archive.
pub(crate) fn mark_late(late: &[Key], beside: &mut Vec<Statement>) -> Result<(), PortError> {
    if !late.is_empty() {
        let late: Vec<_> = late.iter().map(|(device, hour)| (device, *hour)).collect();
        let mark = seals::mark(&late).map_err(|error| PortError::new("mark_late", error.to_string()))?;
        beside.push(mark);
    }
    Ok(())
}

/// Why an archived object could not be counted.
enum Recount {
    /// It may go well another time.
    Later(PortError),
    /// It never will.
    Never(String),
}

/// Counts the messages of an object that is archived already.
async fn recount(key: &str, world: &World<impl Ports>) -> Result<(), Recount> {
    let body = world.archives.get(key).await.map_err(Recount::Later)?;
    let body = body.ok_or_else(|| Recount::Never(format!("{key}: no such object")))?;
    let messages = archive::read_object(&body).map_err(Recount::Never)?;
    let (slots, alerts) = load(&world.db, &batch::keys(&messages)).await.map_err(Recount::Later)?;
    let plan = batch::plan(&messages, slots);
    count(&world.db, &messages, &plan, alerts, None).await.map_err(Recount::Later)
}

/// Writes security events and counts failed authentications, in one transaction.
async fn log_security(sorted: &Sorted, world: &World<impl Ports>, now: UnixMillis) -> Result<(), PortError> {
    let json = |error: json::Error| PortError::new("security", error.to_string());
    let mut statements = Vec::new();
    if !sorted.events.is_empty() {
        statements.push(security::record(&sorted.events).map_err(json)?);
    }
    if !sorted.failures.is_empty() {
        let id = RecordId::generate("sec", now, world.random.bytes());
        statements.extend(security::count_failures(&id, &sorted.failures).map_err(json)?);
    }
    world.db.batch(statements).await.map(|_| ())
}

/// Puts messages into quarantine.
struct Aside<'a, B: Bucket> {
    deliveries: &'a [Delivery],
    archives: &'a B,
    now: UnixMillis,
    notes: Vec<String>,
    again: Vec<usize>,
}

impl<B: Bucket> Aside<'_, B> {
    /// Keeps what can never be processed, each at its place with the reason, for a person to look at. How many were not there yet: what an
    /// earlier delivery put there it has counted.
    async fn put(&mut self, poison: &[(usize, String)]) -> u64 {
        let mut put = 0_u64;
        for (place, reason) in poison {
            let Some(delivery) = self.deliveries.get(*place) else { continue };
            match quarantine(delivery, reason, self.archives, self.now).await {
                Ok(new) => {
                    self.notes.push(format!("{} quarantined: {reason}", delivery.id));
                    put = put.saturating_add(u64::from(new));
                }
                Err(error) => {
                    self.notes.push(format!("quarantine: {error}"));
                    self.again.push(*place);
                }
            }
        }
        put
    }
}

/// Keeps a message, unless it is kept already.
async fn quarantine(
    delivery: &Delivery,
    reason: &str,
    archives: &impl Bucket,
    now: UnixMillis,
) -> Result<bool, PortError> {
    let key = archive::quarantine_key(&delivery.id, now);
    let document = json!({
        "queue_message_id": delivery.id,
        "attempts": delivery.attempts,
        "quarantined_at": now,
        "reason": reason,
        "body": delivery.body,
    })
    .to_string();
    let object = NewObject {
        key: &key,
        body: document.as_bytes(),
        content_type: rs1_domain::http::JSON,
        encoding: Encoding::Identity,
        label: None,
    };
    archives.put_new(object).await
}
