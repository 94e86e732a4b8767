//! Queues, both ends.
//!
//! Messages are sent with content type `text`: the consumer gets the very text back, and neither end parses
//! it on the way.

use js_sys::Promise;
use rs1_domain::limits::{QUEUE_BATCH, QUEUE_MESSAGE, QUEUE_SENDS};
use rs1_domain::port::{PortError, Queue, Sending};
use rs1_domain::{RequestId, UnixMillis};
use serde::Deserialize;
use wasm_bindgen::prelude::*;

use crate::event::{Batch, Delivery, Settlement};
use crate::log::{JobLine, Level};
use crate::{Env, clock, random, task};

#[wasm_bindgen(module = "/src/js/queue.js")]
extern "C" {
    /// A promise that the queue has taken `message`.
    fn send(env: &Env, binding: &str, message: &str) -> Promise;
    /// A promise that the queue has taken `messages`, each to be delivered after its delay in seconds.
    fn send_all(env: &Env, binding: &str, messages: Vec<String>, delays: &[u32]) -> Promise;
    /// The batch as JSON: `[queue, [[id, attempts, milliseconds, body], …]]`.
    fn read(batch: &RawBatch) -> String;
    /// Retries the messages of `retries` (`index delay` pairs, flat), acknowledges the rest.
    fn settle(batch: &RawBatch, retries: &[u32]);
    /// Retries every message.
    #[wasm_bindgen(js_name = retry_all)]
    fn retry_all(batch: &RawBatch);

    /// The runtime's batch of messages.
    #[derive(Debug)]
    pub type RawBatch;
}

/// A producer's end.
#[derive(Clone, Copy, Debug)]
pub struct Producer<'a> {
    env: &'a Env,
    binding: &'static str,
}

impl<'a> Producer<'a> {
    /// The queue bound under that name. It is looked up when something is sent.
    pub fn new(env: &'a Env, binding: &'static str) -> Self {
        Self { env, binding }
    }
}

impl Queue for Producer<'_> {
    async fn send(&self, message: &str) -> Result<(), PortError> {
        let failed = |cause| PortError { operation: format!("queue {} send", self.binding), cause };
        // The local queue answers a message that is too long with an error that says nothing.
        if message.len() > QUEUE_MESSAGE {
            return Err(failed(format!("{} bytes are more than {QUEUE_MESSAGE}", message.len())));
        }
        task::wait(&send(self.env, self.binding, message)).await.map(drop).map_err(failed)
    }

    async fn send_all(&self, messages: &[Sending]) -> Result<(), PortError> {
        let failed = |cause| PortError { operation: format!("queue {} send", self.binding), cause };
        if messages.is_empty() {
            return Ok(());
        }
        let bytes = messages.iter().map(|sending| sending.message.len()).fold(0_usize, usize::saturating_add);
        if messages.len() > QUEUE_SENDS || bytes > QUEUE_BATCH {
            let count = messages.len();
            return Err(failed(format!("{count} messages of {bytes} bytes are too much for one call")));
        }
        let delays: Vec<_> = messages.iter().map(|sending| sending.delay_seconds).collect();
        let texts = messages.iter().map(|sending| sending.message.clone()).collect();
        task::wait(&send_all(self.env, self.binding, texts, &delays)).await.map(drop).map_err(failed)
    }
}

/// Handles a queue event: reads the batch, lets `handler` work on it, settles each message, logs one line.
///
/// If the handler panics nothing is settled and the platform delivers the whole batch again.
pub async fn consume<F>(worker: &'static str, raw: RawBatch, handler: F)
where
    F: AsyncFnOnce(Batch) -> Settlement,
{
    let started = clock::now();
    let request_id = RequestId::generate(started, random::bytes());
    let Some((queue, deliveries)) = unpack(&read(&raw)) else {
        // `read` writes nothing else, so this is a fault of ours: better to be given the batch again
        // than to lose it.
        retry_all(&raw);
        JobLine {
            ts: started,
            level: Level::Error,
            worker,
            request_id: request_id.as_str(),
            event: "queue",
            outcome: "the batch could not be read; all to be retried",
            duration_ms: 0,
            log: None,
        }
        .write();
        return;
    };
    let event = format!("queue {queue}");
    let count = deliveries.len();
    let settlement = handler(Batch { queue, deliveries, now: started, request_id: request_id.clone() }).await;
    let retries = flat(&settlement, count);
    settle(&raw, &retries);
    JobLine {
        ts: started,
        level: if retries.is_empty() { Level::Info } else { Level::Warn },
        worker,
        request_id: request_id.as_str(),
        event: &event,
        outcome: &format!("{count} delivered, {} to be retried", retries.len() / 2),
        duration_ms: clock::now().since(started),
        log: settlement.log.as_deref(),
    }
    .write();
}

/// Index and delay of each retry that names a message of the batch.
fn flat(settlement: &Settlement, count: usize) -> Vec<u32> {
    /// The platform's longest delay: a day.
    const LONGEST: u32 = 86_400;
    let known = settlement.retries.iter().filter(|retry| retry.index < count);
    known
        .filter_map(|retry| Some([u32::try_from(retry.index).ok()?, retry.delay_seconds.min(LONGEST)]))
        .flatten()
        .collect()
}

fn unpack(json: &str) -> Option<(String, Vec<Delivery>)> {
    #[derive(Deserialize)]
    struct Packed(String, Vec<(String, u32, i64, String)>);
    let Packed(queue, messages) = serde_json::from_str(json).ok()?;
    let deliveries = messages.into_iter().map(|(id, attempts, sent_at, body)| Delivery {
        id,
        attempts,
        sent_at: UnixMillis(sent_at),
        body,
    });
    Some((queue, deliveries.collect()))
}
