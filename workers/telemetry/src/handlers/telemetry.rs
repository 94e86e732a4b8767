//! `POST /webhook/telemetry`: a device measured. Checked, queued, acknowledged; no database.
//!
//! Answers to diagnostics come here as well, when they come below `telemetry/`; they are no telemetry and go their own
//! way.

use rs1_domain::port::Queue;
use rs1_domain::topic::Channel;
use rs1_domain::wire::Envelope;
use rs1_domain::{Answer, Problem, Request, limits};
use rs1_telemetry::Message;

use super::diagnostics;
use crate::world::{Ports, World};

/// 1. reads the message and checks its payload;
/// 2. queues it: from here on it is not lost.
///
/// # Errors
/// 422 naming every fault, 413 for what a queue cannot carry, 503 when the queue fails.
pub async fn accept(world: &World<impl Ports>, request: &Request) -> Result<Answer, Problem> {
    let envelope = Envelope::read(&request.body, request.now)?;
    if envelope.is_from_management() {
        return Ok(Answer::empty(204).with_log("ignored: not from a device"));
    }
    if envelope.channel == Channel::Diagnostics {
        return diagnostics::take(world, &envelope, request).await;
    }
    let queued = Message::check(envelope)?.to_queue();
    if queued.len() > limits::QUEUE_MESSAGE {
        return Err(Problem::too_large(limits::DEVICE_PAYLOAD));
    }
    world.queue.send(&queued).await?;
    Ok(Answer::empty(202))
}
