//! What authorization said to one client lately (`emqx_authz_cache.erl`): the final decisions, those
//! that came of a timeout included.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::acl::Operation;
use crate::config::CacheLimits;

/// A client's cached decisions, the oldest first.
#[derive(Debug, Default)]
pub struct Decisions {
    entries: VecDeque<(Operation, bool, Instant)>,
    /// The [`super::Authorizer`]'s generation when the entries were made; a later one means that the
    /// caches have been cleared.
    generation: u64,
}

impl Decisions {
    /// The decision on `operation`, if it is fresh.
    pub fn get(&mut self, operation: &Operation, limits: CacheLimits, generation: u64) -> Option<bool> {
        self.catch_up(generation);
        let index = self.entries.iter().position(|(known, ..)| known == operation)?;
        let (_, allowed, made) = self.entries.get(index)?;
        if made.elapsed() <= limits.ttl {
            return Some(*allowed);
        }
        self.entries.remove(index);
        None
    }

    /// Keeps a decision; the oldest gives way if there are too many.
    pub fn put(&mut self, operation: Operation, allowed: bool, limits: CacheLimits, generation: u64) {
        self.catch_up(generation);
        self.entries.retain(|(known, ..)| *known != operation);
        while self.entries.len() >= limits.max_size {
            self.entries.pop_front();
        }
        self.entries.push_back((operation, allowed, Instant::now()));
    }

    fn catch_up(&mut self, generation: u64) {
        if self.generation != generation {
            self.entries.clear();
            self.generation = generation;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: CacheLimits = CacheLimits { max_size: 2, ttl: Duration::from_mins(1) };

    fn publish(topic: &str, qos: u8) -> Operation {
        Operation::Publish { topic: topic.to_owned(), qos, retain: false }
    }

    #[tokio::test(start_paused = true)]
    async fn a_decision_is_kept_for_its_time() {
        let mut decisions = Decisions::default();
        decisions.put(publish("a", 1), true, LIMITS, 0);
        assert_eq!(decisions.get(&publish("a", 1), LIMITS, 0), Some(true));
        assert_eq!(decisions.get(&publish("a", 0), LIMITS, 0), None, "the QoS is part of the key");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(decisions.get(&publish("a", 1), LIMITS, 0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_way_and_clearing_forgets_all() {
        let mut decisions = Decisions::default();
        for topic in ["a", "b", "c"] {
            decisions.put(publish(topic, 0), false, LIMITS, 0);
        }
        assert_eq!(decisions.get(&publish("a", 0), LIMITS, 0), None);
        assert_eq!(decisions.get(&publish("c", 0), LIMITS, 0), Some(false));
        assert_eq!(decisions.get(&publish("c", 0), LIMITS, 1), None);
    }
}
