//! `POST /webhook/telemetry`: a device measured. Checked, queued, acknowledged; no database.

use rs1_domain::port::Queue;
use rs1_domain::wire::Envelope;
use rs1_domain::{Answer, Problem, Request, limits};
use rs1_telemetry::Message;

/// 1. reads the message and checks its payload;
/// 2. queues it: from here on it is not lost.
///
/// # Errors
/// 422 naming every fault, 413 for what a queue cannot carry, 503 when the queue fails.
pub async fn accept(queue: &impl Queue, request: &Request) -> Result<Answer, Problem> {
    let envelope = Envelope::read(&request.body, request.now)?;
    if envelope.is_from_management() {
        return Ok(Answer::empty(204).with_log("ignored: not from a device"));
    }
    let queued = Message::check(envelope)?.to_queue();
    if queued.len() > limits::QUEUE_MESSAGE {
        return Err(Problem::too_large(limits::DEVICE_PAYLOAD));
    }
    queue.send(&queued).await?;
    Ok(Answer::empty(202))
}
