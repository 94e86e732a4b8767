//! A worker of an action: a bounded buffer, a window of requests under way, and what it does when the
//! backend fails.
//!
//! A message that fails three times in a row blocks the worker: nothing new is sent until, every
//! `resume_interval`, what failed has been sent one by one. Messages that grow older than
//! `request_ttl` meanwhile are given up (`emqx_resource_buffer_worker.erl`, states `running` and
//! `blocked`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::counters::Counters;
use super::delivery::Delivery;
use crate::http::Slot;

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct Item {
    /// The body of the request.
    pub body: Bytes,
    /// Which connection it takes.
    pub slot: Slot,
    /// When it is no longer worth sending.
    pub deadline: Instant,
}

/// What waits for a worker.
#[derive(Debug)]
pub struct Buffer {
    action: String,
    max_bytes: u64,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: u64,
}

impl Buffer {
    /// An empty buffer that holds up to `max_bytes` of bodies.
    pub fn new(action: &str, max_bytes: u64, counters: Arc<Counters>) -> Self {
        let waiting = Mutex::new(Waiting::default());
        Self { action: action.to_owned(), max_bytes, waiting, arrived: Notify::new(), counters }
    }

    /// Adds a message; the oldest give way if there is no room.
    pub fn push(&self, item: Item) {
        Counters::count(&self.counters.matched);
        let dropped = self.waiting.lock().push(item, self.max_bytes);
        for _ in 0..dropped {
            Counters::count(&self.counters.dropped);
            log::warn!("action {}: data_bridge_buffer_overflow, the oldest message was dropped", self.action);
        }
        self.arrived.notify_one();
    }

    /// Takes the oldest message.
    pub fn pop(&self) -> Option<Item> {
        self.waiting.lock().pop()
    }

    /// Waits until a message has come since the last wait.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

impl Waiting {
    /// Returns how many messages gave way.
    fn push(&mut self, item: Item, max_bytes: u64) -> usize {
        self.bytes = self.bytes.saturating_add(size(&item));
        self.items.push_back(item);
        let mut dropped: usize = 0;
        while self.bytes > max_bytes && self.pop().is_some() {
            dropped = dropped.saturating_add(1);
        }
        dropped
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size(&item));
        Some(item)
    }
}

fn size(item: &Item) -> u64 {
    u64::try_from(item.body.len()).unwrap_or(u64::MAX)
}

/// Sends what comes into `buffer`, up to `window` at a time, until it is dropped.
pub async fn run(buffer: Arc<Buffer>, delivery: Arc<Delivery>, window: usize, resume_interval: Duration) {
    // Polled by this task alone, and in the order they were begun: with pool_type = hash the messages of
    // one client queue for their connection in the order they came, as they do in EMQX.
    let mut under_way = FuturesUnordered::new();
    let mut failed: VecDeque<Item> = VecDeque::new();
    // An instant of its own, so that messages that arrive meanwhile do not put it off.
    let mut resume_at: Option<Instant> = None;
    loop {
        while failed.is_empty() && under_way.len() < window {
            let Some(item) = buffer.pop() else { break };
            under_way.push(delivery.send(item));
        }
        if failed.is_empty() {
            resume_at = None;
        } else if resume_at.is_none() {
            resume_at = Instant::now().checked_add(resume_interval);
        }
        tokio::select! {
            Some(ended) = under_way.next() => {
                if let Some(item) = ended {
                    Counters::count(&buffer.counters.waiting);
                    failed.push_back(item);
                }
            }
            () = tokio::time::sleep_until(resume_at.unwrap_or_else(Instant::now)), if resume_at.is_some() => {
                resume(&mut failed, &delivery, &buffer.counters).await;
                resume_at = None;
            }
            () = buffer.arrived() => {}
        }
    }
}

/// Sends again what failed, in order, until something fails again.
async fn resume(failed: &mut VecDeque<Item>, delivery: &Delivery, counters: &Counters) {
    while let Some(item) = failed.front() {
        if !delivery.send_again(item).await {
            return;
        }
        failed.pop_front();
        counters.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(body: &'static str) -> Item {
        Item { body: Bytes::from_static(body.as_bytes()), slot: Slot::Any, deadline: Instant::now() }
    }

    #[tokio::test]
    async fn the_oldest_messages_give_way_when_a_buffer_is_full() {
        let counters = Arc::new(Counters::default());
        let buffer = Buffer::new("test", 10, counters.clone());
        for body in ["1111", "2222", "3333"] {
            buffer.push(item(body));
        }
        let left: Vec<Bytes> = std::iter::from_fn(|| buffer.pop()).map(|item| item.body).collect();
        assert_eq!(left, ["2222", "3333"]);
        assert_eq!(counters.read()["dropped"], 1);
        assert_eq!(counters.read()["matched"], 3);
    }
}
