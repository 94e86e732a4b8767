//! This worker's triggers. Each run takes its lease and notes its end, by which anybody can see that
//! the clock ticks.

use rs1_domain::event::Tick;
use rs1_domain::port::PortError;
use rs1_domain::time::DAY;
use rs1_rollout::Policy;
use rs1_store::rollouts::{self, RolloutId};
use rs1_store::sql::{rows, run};
use rs1_store::{cron, idempotency};

use crate::engine::advance::advance;
use crate::world::{Engine, Ports};

/// Answers to requests with a key, and events, that are forgotten by one run.
const PRUNE: u32 = 500;
/// How long a rollout's history is kept.
const HISTORY: i64 = 90 * DAY;

/// Runs a trigger, unless that run was taken before: takes every rollout a step further that may move without an
/// operator. What it did, for the log.
///
/// # Errors
/// What failed. Other rollouts were taken further all the same, and the next run does what this one left.
pub async fn tick(tick: &Tick, policy: &Policy, engine: &Engine<impl Ports>) -> Result<String, PortError> {
    let Engine { db, triggers, random, .. } = engine;
    cron::leased(db, "ota", tick, async || {
        let answers = idempotency::prune(tick.now.plus(-DAY), PRUNE);
        let history = rollouts::prune_events(tick.now.plus(-HISTORY), PRUNE);
        let [due, _, _] = run(db, [rollouts::due(tick.now), answers, history]).await?;
        let due = rows::<RolloutId>(&due)?;
        let (mut actions, mut queued, mut failed) = (0_usize, 0_usize, None);
        for RolloutId { rollout_id } in &due {
            match advance(db, triggers, random, policy, rollout_id, tick.now).await {
                Ok(advanced) => {
                    actions = actions.saturating_add(advanced.actions);
                    queued = queued.saturating_add(advanced.queued);
                }
                Err(error) => failed = Some(error),
            }
        }
        let done = format!("{} rollouts: {actions} actions, {queued} triggers queued", due.len());
        failed.map_or(Ok(done), Err)
    })
    .await
}
