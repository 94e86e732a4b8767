//! What an action has done, under the names of EMQX's action metrics where it has one.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};

/// The counters of one action.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages handed to the action.
    pub matched: AtomicU64,
    /// Delivered.
    pub success: AtomicU64,
    /// Given up on because of the answer.
    pub failed: AtomicU64,
    /// Attempts after the first.
    pub retried: AtomicU64,
    /// Dropped because a buffer was full.
    pub dropped: AtomicU64,
    /// Given up on because they grew too old.
    pub expired: AtomicU64,
    /// Failed three times in a row, and still to be sent again.
    pub waiting: AtomicU64,
}

impl Counters {
    /// Adds one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them. `queued` is what has not come to one of the four ends yet, so that whoever waits
    /// for everything to be delivered can wait for it to be 0.
    pub fn read(&self) -> Json {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Read the ends before the beginning: a message that ends in between counts as queued.
        let (success, failed) = (read(&self.success), read(&self.failed));
        let (dropped, expired) = (read(&self.dropped), read(&self.expired));
        let matched = read(&self.matched);
        let ended = success.saturating_add(failed).saturating_add(dropped).saturating_add(expired);
        json!({
            "matched": matched,
            "success": success,
            "failed": failed,
            "retried": read(&self.retried),
            "dropped": dropped,
            "expired": expired,
            "waiting": read(&self.waiting),
            "queued": matched.saturating_sub(ended),
        })
    }
}
