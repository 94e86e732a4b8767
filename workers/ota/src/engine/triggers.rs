//! Triggers on their way: from the decision onto the queue, from the queue to the broker.
//!
//! A trigger is decided once and may be on the queue twice; what keeps it from being sent twice is its claim. What is on
//! the queue names an attempt and nothing else, so that a manifest is made when it is sent, with a fresh link, of what is
//! true then; one whose attempt is over, or whose rollout does not go on, is dropped.

use rs1_auth::signed_url::{UrlKeys, VALID};
use rs1_domain::event::{Batch, Delivery, Retry, Settlement};
use rs1_domain::json;
use rs1_domain::limits::{BROKER_BATCH, QUEUE_SENDS};
use rs1_domain::port::{Broker, Database, PortError, Publication, Published, Qos, Queue, Random, Sending};
use rs1_domain::time::{MINUTE, SECOND};
use rs1_domain::topic;
use rs1_domain::wire::OtaTrigger;
use rs1_domain::{DeviceId, UnixMillis};
use rs1_rollout::{Attempt, OtaEvent};
use rs1_store::rollouts::{self, Claimed, Trigger, TriggerKey, Unqueued};
use rs1_store::sql::{rows, run};
use serde::{Deserialize, Serialize};

use super::fold::{Told, fold};
use super::{Map, Set, json_fault, set_of};

/// How long a consumer has a trigger in hand: longer than the broker is waited for, so that whoever claims it next knows
/// that the first one has given up.
const CLAIM: i64 = MINUTE;
/// Most triggers of a rollout that one step puts on the queue.
const MOST: u32 = 1_000;
/// The queue's longest delay, in seconds.
const LONGEST_DELAY: i64 = 43_200;

/// One message of the trigger queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Queued {
    /// Of which rollout.
    pub rollout_id: String,
    /// For which device.
    pub device_id: DeviceId,
    /// Of which attempt.
    pub attempt: u32,
}

impl Queued {
    fn key(&self) -> TriggerKey<'_> {
        TriggerKey { rollout_id: &self.rollout_id, device_id: &self.device_id, attempt: self.attempt }
    }
}

/// Puts a rollout's triggers on the queue that are on none: those just decided, and those that a step before could not put
/// there. Each is delivered when its place in the minute comes.
///
/// # Errors
/// When a port fails. Triggers may be on the queue without our knowing, and will be put there again: their claims keep
/// them from being sent twice.
pub async fn enqueue(
    db: &impl Database,
    queue: &impl Queue,
    rollout_id: &str,
    now: UnixMillis,
) -> Result<usize, PortError> {
    let [found] = run(db, [rollouts::unqueued(rollout_id, MOST)]).await?;
    let waiting = rows::<Unqueued>(&found)?;
    for part in waiting.chunks(QUEUE_SENDS) {
        let mut sendings = Vec::with_capacity(part.len());
        for trigger in part {
            let attempt: Attempt = json::read(&trigger.facts).map_err(|error| json_fault(&error))?;
            let queued = Queued {
                rollout_id: trigger.rollout_id.clone(),
                device_id: trigger.device_id.clone(),
                attempt: trigger.attempt,
            };
            sendings.push(Sending {
                message: json::write(&queued).map_err(|error| json_fault(&error))?,
                delay_seconds: delay(attempt.send_at, now),
            });
        }
        queue.send_all(&sendings).await?;
        let keys: Vec<_> = part
            .iter()
            .map(|one| TriggerKey {
                rollout_id: &one.rollout_id,
                device_id: &one.device_id,
                attempt: one.attempt,
            })
            .collect();
        run(db, [rollouts::mark_queued(&keys, now).map_err(|error| json_fault(&error))?]).await?;
    }
    Ok(waiting.len())
}

/// Whole seconds until then, rounded up: not before its place.
fn delay(send_at: UnixMillis, now: UnixMillis) -> u32 {
    let wait = send_at.since(now).saturating_add(SECOND - 1).div_euclid(SECOND);
    u32::try_from(wait.clamp(0, LONGEST_DELAY)).unwrap_or(0)
}

/// What a manifest is made with.
#[derive(Clone, Copy)]
pub struct Links<'a> {
    /// Where devices find this worker, without a slash at the end.
    pub origin: &'a str,
    /// Signs links.
    pub keys: &'a UrlKeys,
}

/// Hands a batch of triggers to the broker:
///
/// 1. claims them, all in one statement, and reads what their manifests need;
/// 2. publishes those that were claimed, in bulk, and reads what became of each;
/// 3. works that into the attempts.
///
/// One that somebody else has in hand, or that the broker could not take, comes again; one that is not to be sent any
/// more is dropped.
pub async fn hand_over(
    batch: &Batch,
    db: &impl Database,
    broker: &impl Broker,
    reports: &impl Queue,
    random: &impl Random,
    links: Links<'_>,
) -> Settlement {
    let Batch { deliveries, now, .. } = batch;
    let now = *now;
    let mut notes = Vec::new();
    let mut again = Vec::new();
    let mut places: Map<Queued, Vec<usize>> = Map::new_vec();
    for (place, delivery) in deliveries.iter().enumerate() {
        match json::read::<Queued>(&delivery.body) {
            Ok(queued) => places.entry(queued).or_default().push(place),
            // None of ours: whoever looks into the dead-letter queue is to find it there.
            Err(error) => {
                notes.push(format!("{} is no trigger: {error}", delivery.id));
                again.push(place);
            }
        }
    }
    let wanted: Vec<_> = places.keys().cloned().collect();
    for part in wanted.chunks(BROKER_BATCH) {
        match hand_over_part(part, db, broker, reports, random, links, now).await {
            Ok(handed) => {
                notes.push(handed.to_string());
                again.extend(handed.again.iter().filter_map(|queued| places.get(queued)).flatten());
            }
            Err(error) => {
                notes.push(format!("{} triggers to be handed over again: {error}", part.len()));
                again.extend(part.iter().filter_map(|queued| places.get(queued)).flatten());
            }
        }
    }
    let attempts = |place: usize| deliveries.get(place).map_or(1, |delivery: &Delivery| delivery.attempts);
    let retries = again.into_iter().map(|place| Retry::after(place, attempts(place))).collect();
    Settlement { retries, log: (!notes.is_empty()).then(|| notes.join("; ")) }
}

/// What became of some triggers.
#[derive(Debug, Default)]
struct Handed {
    accepted: usize,
    absent: usize,
    dropped: usize,
    refused: Vec<String>,
    again: Vec<Queued>,
}

impl std::fmt::Display for Handed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { accepted, absent, dropped, refused, again } = self;
        write!(f, "{accepted} sent, {absent} without subscriber, {dropped} dropped, {} again", again.len())?;
        if refused.is_empty() { Ok(()) } else { write!(f, "; the broker refused {}", refused.join(", ")) }
    }
}

async fn hand_over_part(
    wanted: &[Queued],
    db: &impl Database,
    broker: &impl Broker,
    reports: &impl Queue,
    random: &impl Random,
    links: Links<'_>,
    now: UnixMillis,
) -> Result<Handed, PortError> {
    let keys: Vec<_> = wanted.iter().map(Queued::key).collect();
    let claim = rollouts::claim(&keys, now, now.plus(CLAIM)).map_err(|error| json_fault(&error))?;
    let look = rollouts::triggers(&keys).map_err(|error| json_fault(&error))?;
    let [claimed, found] = run(db, [claim, look]).await?;
    let claimed = set_of(
        rows::<Claimed>(&claimed)?.into_iter().map(|Claimed { rollout_id, device_id, attempt }| Queued {
            rollout_id,
            device_id,
            attempt,
        }),
    );
    let triggers = rows::<Trigger>(&found)?;
    let mut handed = sort_unclaimed(wanted, &claimed, &triggers);
    // Those whose rollout does not go on now are forgotten by the queue, and put there again if it goes on later.
    let held: Vec<_> = triggers.iter().filter(|one| is_waiting(one) && one.status != "STAGED").collect();
    let held: Vec<_> = wanted
        .iter()
        .filter(|queued| held.iter().any(|one| is_about(queued, one)))
        .map(Queued::key)
        .collect();
    if !held.is_empty() {
        run(db, [rollouts::mark_unqueued(&held).map_err(|error| json_fault(&error))?]).await?;
    }
    let mine: Vec<_> = triggers
        .iter()
        .filter_map(|one| Some((claimed.keys().find(|queued| is_about(queued, one))?, one)))
        .collect();
    if mine.is_empty() {
        return Ok(handed);
    }
    let publications: Vec<_> = mine.iter().map(|(_, trigger)| publication(trigger, links, now)).collect();
    let answers = match broker.publish(&publications).await {
        Ok(answers) => answers,
        Err(error) => {
            // If this fails as well the claims run out.
            let keys: Vec<_> = mine.iter().map(|(queued, _)| queued.key()).collect();
            let release = rollouts::release(&keys).map_err(|error| json_fault(&error))?;
            let released = run(db, [release]).await;
            return Err(released.err().map_or(error.clone(), |other| {
                PortError::new(error.operation.clone(), format!("{}; {other}", error.cause))
            }));
        }
    };
    let mut told = Vec::new();
    let mut release = Vec::new();
    for ((queued, _), answer) in mine.iter().zip(answers) {
        match answer {
            Published::Accepted => {
                handed.accepted = handed.accepted.saturating_add(1);
                told.push((*queued, true));
            }
            Published::NoSubscriber => {
                handed.absent = handed.absent.saturating_add(1);
                told.push((*queued, false));
            }
            Published::Failed => {
                handed.again.push((*queued).clone());
                release.push(queued.key());
            }
            Published::Refused(why) => handed.refused.push(format!("{}: {why}", queued.device_id)),
        }
    }
    if !release.is_empty() {
        run(db, [rollouts::release(&release).map_err(|error| json_fault(&error))?]).await?;
    }
    record(&told, db, reports, random, now).await?;
    Ok(handed)
}

/// Works the broker's answers into the attempts. If the database cannot take them now they go onto the queue of
/// reports instead, since a trigger that came again would be sent again.
async fn record(
    told: &[(&Queued, bool)],
    db: &impl Database,
    reports: &impl Queue,
    random: &impl Random,
    now: UnixMillis,
) -> Result<(), PortError> {
    let events: Vec<_> = told
        .iter()
        .map(|(queued, is_accepted)| OtaEvent::Trigger {
            device_id: queued.device_id.clone(),
            rollout_id: queued.rollout_id.clone(),
            attempt: queued.attempt,
            at: now,
            is_accepted: *is_accepted,
        })
        .collect();
    let facts: Vec<_> = events
        .iter()
        .map(|event| Told {
            device_id: event.device_id().clone(),
            rollout_id: event.rollout_id().map(str::to_owned),
            fact: event.fact(),
            source: None,
        })
        .collect();
    if fold(db, random, facts, now).await.is_ok() {
        return Ok(());
    }
    let sendings: Vec<_> =
        events.iter().map(|event| Sending { message: event.to_json(), delay_seconds: 0 }).collect();
    reports.send_all(&sendings).await
}

fn is_about(queued: &Queued, trigger: &Trigger) -> bool {
    queued.rollout_id == trigger.rollout_id && queued.device_id == trigger.device_id
}

/// Whether a trigger has not reached the broker yet.
fn is_waiting(trigger: &Trigger) -> bool {
    trigger.state == "triggered" && trigger.sent_at.is_none()
}

/// Which of the triggers that are not ours come again: those that somebody else has in hand.
fn sort_unclaimed(wanted: &[Queued], claimed: &Set<Queued>, triggers: &[Trigger]) -> Handed {
    let mut handed = Handed::default();
    for queued in wanted.iter().filter(|queued| !claimed.contains_key(*queued)) {
        let is_in_other_hands = triggers.iter().any(|one| {
            is_about(queued, one)
                && one.attempt == queued.attempt
                && is_waiting(one)
                && one.status == "STAGED"
        });
        if is_in_other_hands {
            handed.again.push(queued.clone());
        } else {
            handed.dropped = handed.dropped.saturating_add(1);
        }
    }
    handed
}

/// The manifest for a device (contract, section 3.3), good as long as its link.
fn publication(trigger: &Trigger, links: Links<'_>, now: UnixMillis) -> Publication {
    let path = format!("/firmware/{}/{}.bin", trigger.sku.as_str(), trigger.version.as_str());
    let manifest = OtaTrigger {
        version: trigger.version.clone(),
        url: links.keys.link(links.origin, &path, &trigger.device_id, &trigger.rollout_id, now),
        sha256: trigger.sha256.clone(),
        rollout_id: trigger.rollout_id.clone(),
        // The same of each copy of an attempt's trigger, by which a device can tell it has it already.
        issued_at: trigger.triggered_at,
        min_rssi: trigger.min_rssi,
        expires_at: Some(now.plus(VALID)),
        force: trigger.force,
    };
    Publication {
        topic: topic::of_device(&trigger.device_id, "ota/trigger"),
        payload: manifest.to_json(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expires_after: u32::try_from(VALID.div_euclid(SECOND)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_waits_for_its_place_in_whole_seconds_and_never_leaves_before_it() {
        let now = UnixMillis(1_000_000);
        for (after, seconds) in [(-5_000, 0), (0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (59_400, 60)]
        {
            assert_eq!(delay(now.plus(after), now), seconds, "{after}");
        }
        assert_eq!(delay(now.plus(i64::MAX), now), 43_200);
    }
}
