//! Cron triggers.
//!
//! The platform takes a returned error for success and runs nothing twice, so a job's outcome is
//! only known from its log line (and from what the job itself writes down).

use rs1_domain::RequestId;
use wasm_bindgen::prelude::*;

use crate::event::{JobResult, Tick};
use crate::log::{JobLine, Level};
use crate::{clock, random};

#[wasm_bindgen]
extern "C" {
    /// The runtime's scheduled event.
    #[derive(Debug)]
    pub type RawEvent;
    #[wasm_bindgen(method, getter)]
    fn cron(this: &RawEvent) -> String;
    #[wasm_bindgen(method, getter, js_name = scheduledTime)]
    fn scheduled_time(this: &RawEvent) -> f64;
}

/// Handles a scheduled event: runs `job`, logs one line with its outcome.
pub async fn run<F>(worker: &'static str, event: RawEvent, job: F)
where
    F: AsyncFnOnce(Tick) -> JobResult,
{
    let started = clock::now();
    let request_id = RequestId::generate(started, random::bytes());
    let tick = Tick {
        cron: event.cron(),
        scheduled: clock::from_js(event.scheduled_time()),
        now: started,
        request_id: request_id.clone(),
    };
    let name = format!("cron {}", tick.cron);
    let result = job(tick).await;
    let (level, outcome, log) = match &result {
        Ok(note) => (Level::Info, "ok", note),
        Err(cause) => (Level::Error, "failed", cause),
    };
    JobLine {
        ts: started,
        level,
        worker,
        request_id: request_id.as_str(),
        event: &name,
        outcome,
        duration_ms: clock::now().since(started),
        log: (!log.is_empty()).then_some(log),
    }
    .write();
}
