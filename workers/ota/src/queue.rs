//! The consumers of this worker's two queues, told apart by their names.

use rs1_domain::UnixMillis;
use rs1_domain::event::{Batch, Delivery, Retry, Settlement};
use rs1_domain::port::{Database, PortError, Queue, Random};
use rs1_rollout::{Fact, OtaEvent, Policy};
use rs1_store::rollouts::{self, RolloutId};
use rs1_store::sql::{rows, run};

use crate::config::Config;
use crate::engine::advance::advance;
use crate::engine::fold::{Told, fold};
use crate::engine::triggers::{self, Links};
use crate::engine::{Set, set_of};
use crate::world::{Engine, Ports};

/// What the trigger queue's name begins with, in every environment.
const TRIGGERS: &str = "rs1-ota-triggers";

/// Settles a batch of either queue. While the configuration is bad everything waits.
pub async fn consume(batch: &Batch, config: Option<&Config>, engine: &Engine<impl Ports>) -> Settlement {
    let Some(config) = config else {
        return Settlement {
            retries: (0..batch.deliveries.len()).map(|place| retry(place, &batch.deliveries)).collect(),
            log: Some("the configuration is bad".to_owned()),
        };
    };
    let Engine { db, triggers, reports, broker, random } = engine;
    if batch.queue.starts_with(TRIGGERS) {
        let links = Links { origin: &config.origin, keys: &config.links };
        return triggers::hand_over(batch, db, broker, reports, random, links).await;
    }
    take_in(batch, &config.policy, db, triggers, random).await
}

fn retry(place: usize, deliveries: &[Delivery]) -> Retry {
    Retry::after(place, deliveries.get(place).map_or(1, |delivery| delivery.attempts))
}

/// Takes in what was learnt of devices: works it into their attempts, and takes the rollouts a step further that this may
/// have moved. Facts that are known already change nothing, so a batch that comes again does no harm.
async fn take_in(
    batch: &Batch,
    policy: &Policy,
    db: &impl Database,
    queue: &impl Queue,
    random: &impl Random,
) -> Settlement {
    let Batch { deliveries, now, .. } = batch;
    let now = *now;
    let mut notes = Vec::new();
    let mut again = Vec::new();
    let mut events = Vec::with_capacity(deliveries.len());
    for (place, delivery) in deliveries.iter().enumerate() {
        match OtaEvent::from_json(&delivery.body) {
            Ok(event) => events.push((place, event)),
            // None of ours: whoever looks into the dead-letter queue is to find it there.
            Err(error) => {
                notes.push(format!("{} is no event: {error}", delivery.id));
                again.push(place);
            }
        }
    }
    let told = events.iter().map(|(_, event)| tell(event)).collect();
    let touched = match fold(db, random, told, now).await {
        Ok(folded) => {
            notes.push(format!(
                "{} changed, {} noted, {} repeated, {} strays",
                folded.changed, folded.noted, folded.repeated, folded.strays
            ));
            if folded.refused > 0 {
                notes.push(format!("{} not opened again", folded.refused));
            }
            folded.touched
        }
        Err(error) => {
            notes.push(format!("{} events to be delivered again: {error}", events.len()));
            again.extend(events.iter().map(|(place, _)| *place));
            return settle(again, deliveries, &notes);
        }
    };
    match step(&events, touched, policy, db, queue, random, now).await {
        Ok(Some(note)) => notes.push(note),
        Ok(None) => {}
        // What devices said is safe, and the clock takes the step within a minute.
        Err(error) => notes.push(format!("the next step is left to the clock: {error}")),
    }
    settle(again, deliveries, &notes)
}

fn settle(again: Vec<usize>, deliveries: &[Delivery], notes: &[String]) -> Settlement {
    Settlement {
        retries: again.into_iter().map(|place| retry(place, deliveries)).collect(),
        log: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

fn tell(event: &OtaEvent) -> Told {
    Told {
        device_id: event.device_id().clone(),
        rollout_id: event.rollout_id().map(str::to_owned),
        fact: event.fact(),
        source: match event {
            OtaEvent::Status { id, .. } => Some(id.clone()),
            _ => None,
        },
    }
}

/// Takes a step with every rollout that was touched, and with those under way for the variants of devices that came
/// online.
async fn step(
    events: &[(usize, OtaEvent)],
    mut touched: Set<String>,
    policy: &Policy,
    db: &impl Database,
    queue: &impl Queue,
    random: &impl Random,
    now: UnixMillis,
) -> Result<Option<String>, PortError> {
    let arrived = set_of(
        events
            .iter()
            .filter(|(_, event)| matches!(event.fact(), Fact::State(sighting) if sighting.new_connection))
            .map(|(_, event)| event.device_id()),
    );
    if !arrived.is_empty() {
        let arrived: Vec<_> = arrived.keys().copied().collect();
        let under_way = rollouts::under_way_for(&arrived)
            .map_err(|error| PortError::new("rollouts_under_way_for", error.to_string()))?;
        let [found] = run(db, [under_way]).await?;
        for one in rows::<RolloutId>(&found)? {
            touched.insert(one.rollout_id, ());
        }
    }
    if touched.is_empty() {
        return Ok(None);
    }
    let (mut actions, mut queued) = (0_usize, 0_usize);
    for rollout in touched.keys() {
        let advanced = advance(db, queue, random, policy, rollout, now).await?;
        actions = actions.saturating_add(advanced.actions);
        queued = queued.saturating_add(advanced.queued);
    }
    Ok(Some(format!("{} rollouts: {actions} actions, {queued} triggers queued", touched.len())))
}
