//! The hourly sweep: what is past its retention goes, objects of collected telemetry of which nobody was told are found, and hours
//! that take no more messages are [`seal`](mod@crate::seal)ed.

use rs1_domain::diagnostics::KEPT_DAYS;
use rs1_domain::limits::QUEUE_SENDS;
use rs1_domain::port::{Database, PortError, Queue, Sending, Shelf};
use rs1_domain::security::WINDOW;
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_domain::{RecordId, UnixMillis};
use rs1_store::objects::{self, Waiting};
use rs1_store::sql::{first_row, rows, run};
use rs1_store::telemetry::Step;
use rs1_store::{diagnostics, seals, security, telemetry, users};
use rs1_telemetry::Queued;
use rs1_telemetry::object::INCOMING;

use crate::seal::seal;
use crate::world::{Ports, World};

/// Devices handled by one statement of the sweep.
const STEP: u32 = 500;
/// Log rows deleted by one statement.
const PRUNE: u32 = 5_000;
/// How often such statements run in one sweep; an hour in which more falls due leaves the rest to the next.
const PRUNE_ROUNDS: u32 = 10;
/// Hourly rollups are kept this long.
pub(crate) const ROLLUP_HOURS: i64 = 30 * 24;
/// Events, and alerts that are over, are kept this long.
const EVENT_DAYS: i64 = 90;
/// How far an object was taken in is known a day longer than the object itself may lie there.
const OBJECT_DAYS: i64 = 8;
/// How old an object is of which the queue should have told; far more than a notification takes.
const UNHEARD: i64 = 20 * MINUTE;
/// Pages of the listing of objects that one run looks through.
const PAGES: usize = 10;
/// The security log and the audit log are kept this long.
const LOG_DAYS: i64 = 90;

/// Sweeps. What was done, for the log.
///
/// # Errors
/// What failed. The next run does what this one left.
pub async fn sweep(now: UnixMillis, world: &World<impl Ports>) -> Result<String, PortError> {
    let World { db, archives, queue, .. } = world;
    let kept = retain(now, db).await;
    let found = find(now, db, archives, queue).await;
    // Last, because it may take the longest.
    let sealed = seal(now, world).await;
    Ok(format!("{}; {} objects found; {}", kept?, found?, sealed?))
}

/// Tells the queue of objects that have waited for so long that nobody will; the first of them, if they are many.
async fn find(
    now: UnixMillis,
    db: &impl Database,
    archives: &impl Shelf,
    queue: &impl Queue,
) -> Result<usize, PortError> {
    let (mut cursor, mut found) = (None::<String>, 0_usize);
    for _ in 0..PAGES {
        let page = archives.inventory(INCOMING, cursor.as_deref()).await?;
        let old = page.objects.iter().filter(|object| now.since(object.uploaded) >= UNHEARD);
        let keys: Vec<_> = old.map(|object| object.key.as_str()).collect();
        for keys in keys.chunks(QUEUE_SENDS) {
            let waiting = objects::waiting(keys, now)
                .map_err(|error| PortError::new("objects_waiting", error.to_string()))?;
            let [waiting] = run(db, [waiting]).await?;
            let messages: Vec<_> = rows::<Waiting>(&waiting)?
                .into_iter()
                .map(|object| Sending {
                    message: Queued::Collected(object.object_key).to_json(),
                    delay_seconds: 0,
                })
                .collect();
            queue.send_all(&messages).await?;
            found = found.saturating_add(messages.len());
        }
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(found)
}

async fn retain(now: UnixMillis, db: &impl Database) -> Result<String, PortError> {
    let delete_before = now.hour().saturating_sub(ROLLUP_HOURS);
    let events_before = now.plus(EVENT_DAYS.saturating_mul(-DAY));
    let alerts_border = RecordId::generate("alr", events_before, [0; 10]);
    let (mut after, mut deleted) = (String::new(), 0_u64);
    let (mut events, mut alerts) = (0_u64, 0_u64);
    loop {
        let [step] = run(db, [telemetry::next_devices(&after, STEP)]).await?;
        let Some(last) = first_row::<Step>(&step)?.and_then(|step| step.last) else { break };
        let [delete, old_events, old_alerts] = run(
            db,
            [
                telemetry::delete_hours(&after, &last, delete_before),
                telemetry::delete_events(&after, &last, events_before),
                rs1_store::alerts::delete(&after, &last, &alerts_border),
            ],
        )
        .await?;
        deleted = deleted.saturating_add(delete.changes);
        events = events.saturating_add(old_events.changes);
        alerts = alerts.saturating_add(old_alerts.changes);
        after = last.to_string();
    }
    let border = |kind| RecordId::generate(kind, now.plus(LOG_DAYS.saturating_mul(-DAY)), [0; 10]);
    let questions = RecordId::generate("dia", now.plus(KEPT_DAYS.saturating_mul(-DAY)), [0; 10]);
    let mut pruned = [0_u64; 7];
    for _ in 0..PRUNE_ROUNDS {
        let outcomes = run(
            db,
            [
                security::prune_security(&border("sec"), PRUNE),
                security::prune_audit(&border("aud"), PRUNE),
                security::prune_failures(now.plus(-HOUR), PRUNE),
                diagnostics::prune(&questions, PRUNE),
                users::prune_sessions(now.plus(-DAY), PRUNE),
                rs1_store::alerts::prune_outbox(events_before, PRUNE),
                objects::prune(now.plus(OBJECT_DAYS.saturating_mul(-DAY)), PRUNE),
            ],
        )
        .await?;
        for (sum, outcome) in pruned.iter_mut().zip(&outcomes) {
            *sum = sum.saturating_add(outcome.changes);
        }
        if outcomes.iter().all(|outcome| outcome.changes < u64::from(PRUNE)) {
            break;
        }
    }
    run(db, seals::prune(delete_before)).await?;
    let [security, audit, failures, questions, sessions, ..] = pruned;
    Ok(format!(
        "{deleted} hours deleted; {events} events, {alerts} alerts deleted; {security} security, {audit} audit, {failures} failure, \
         {questions} diagnostics, {sessions} session rows deleted"
    ))
}

// An address is forgotten only after its failures have left the window that they are counted in.
const _: () = assert!(HOUR > WINDOW && WINDOW >= MINUTE);
