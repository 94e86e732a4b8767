//! `POST /webhook/telemetry`: a device measured, or, from a bridge that collects, many did. Checked, queued, acknowledged; no
//! database.
//!
//! A batch is a JSON array of messages, or `application/x-ndjson` with a message a line. Answers to diagnostics come here as
//! well, when they come below `telemetry/`; they are no telemetry and go their own way.

use rs1_domain::http::NDJSON;
use rs1_domain::port::{PortError, Queue, Sending};
use rs1_domain::problem::Fault;
use rs1_domain::topic::Channel;
use rs1_domain::wire::Envelope;
use rs1_domain::{Answer, Faults, Problem, Request, limits};
use rs1_telemetry::Message;
use serde::Serialize;
use serde_json::value::RawValue;

use super::diagnostics;
use crate::world::{Ports, World};

/// 1. reads the message and checks its payload;
/// 2. queues it: from here on it is not lost.
///
/// # Errors
/// 422 naming every fault, 413 for what a queue cannot carry, 503 when the queue fails.
pub async fn accept(world: &World<impl Ports>, request: &Request) -> Result<Answer, Problem> {
    if let Some(messages) = batch(request)? {
        return accept_batch(world, &messages, request).await;
    }
    if request.body.len() > limits::WEBHOOK_BODY {
        return Err(Problem::too_large(limits::WEBHOOK_BODY));
    }
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

/// What became of a batch.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "TelemetryBatch"))]
#[derive(Serialize)]
pub(crate) struct Taken {
    /// Messages that are queued: from here on they are not lost.
    pub(crate) accepted: usize,
    /// Messages that are not from a device.
    pub(crate) ignored: usize,
    /// What is wrong with the others; the pointers begin with the place of the message, from 0. Sent again they will be as wrong.
    pub(crate) errors: Vec<Fault>,
}

/// The messages of a batch, each as it stands there; `None` for a message by itself. Empty lines have a place, and no message.
fn batch(request: &Request) -> Result<Option<Vec<&[u8]>>, Problem> {
    let media = request.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let messages: Vec<&[u8]> = if media.trim().eq_ignore_ascii_case(NDJSON) {
        request.body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect()
    } else if request.body.trim_ascii_start().starts_with(b"[") {
        let text = std::str::from_utf8(&request.body).map_err(|error| unreadable(&error))?;
        let values: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        values.into_iter().map(|value| value.get().as_bytes()).collect()
    } else {
        return Ok(None);
    };
    if messages.len() > limits::BATCH_MESSAGES {
        let detail = format!("must have at most {} messages", limits::BATCH_MESSAGES);
        return Err(one_fault(&detail));
    }
    if messages.iter().all(|message| message.is_empty()) {
        return Err(one_fault("must have at least one message"));
    }
    Ok(Some(messages))
}

fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    Faults::unreadable(format!("must be JSON: {error}")).into()
}

fn one_fault(detail: &str) -> Problem {
    let mut faults = Faults::new();
    faults.add("", detail);
    faults.into()
}

/// 1. reads every message; what is wrong with one harms no other;
/// 2. queues those that are good. If that fails the bridge sends all again, and what was queued by then is known when it comes
///    twice.
///
/// # Errors
/// 422 naming every fault if no message is good, 503 when the queue, or what diagnostics need, fails.
async fn accept_batch(
    world: &World<impl Ports>,
    messages: &[&[u8]],
    request: &Request,
) -> Result<Answer, Problem> {
    let mut good = Vec::new();
    let mut faults = Faults::new();
    let mut taken = Taken { accepted: 0, ignored: 0, errors: Vec::new() };
    for (place, message) in messages.iter().enumerate().filter(|(_, message)| !message.is_empty()) {
        match read(message, request) {
            Ok(Read::Telemetry(queued)) => good.push(queued),
            Ok(Read::Foreign) => taken.ignored = taken.ignored.saturating_add(1),
            Ok(Read::Diagnostics(envelope)) => match diagnostics::take(world, &envelope, request).await {
                Ok(_) => taken.accepted = taken.accepted.saturating_add(1),
                Err(problem) if problem.kind.status() < 500 => faults.nest(place, problem.faults),
                Err(problem) => return Err(problem),
            },
            Err(found) => faults.nest(place, found.as_slice().iter().cloned()),
        }
    }
    taken.accepted = taken.accepted.saturating_add(good.len());
    if taken.accepted == 0 && taken.ignored == 0 {
        return Err(faults.into());
    }
    send(&world.queue, good).await?;
    taken.errors = faults.as_slice().to_vec();
    let note =
        format!("{} accepted, {} ignored, {} faults", taken.accepted, taken.ignored, taken.errors.len());
    Ok(Answer::json(200, &taken).with_log(note))
}

/// What a message of a batch is.
enum Read {
    /// To be queued like this.
    Telemetry(String),
    Diagnostics(Envelope),
    /// The cloud's own.
    Foreign,
}

fn read(message: &[u8], request: &Request) -> Result<Read, Faults> {
    let envelope = Envelope::read(message, request.now).map_err(Faults::of_content)?;
    if envelope.is_from_management() {
        return Ok(Read::Foreign);
    }
    if envelope.channel == Channel::Diagnostics {
        return Ok(Read::Diagnostics(envelope));
    }
    let queued = Message::check(envelope)?.to_queue();
    if queued.len() > limits::QUEUE_MESSAGE {
        let mut faults = Faults::new();
        faults.add("/payload", "is more than the queue can carry");
        return Err(faults);
    }
    Ok(Read::Telemetry(queued))
}

/// Sends messages in as few calls as the queue's limits allow.
async fn send(queue: &impl Queue, messages: Vec<String>) -> Result<(), PortError> {
    let (mut call, mut bytes) = (Vec::new(), 0_usize);
    for message in messages {
        if call.len() == limits::QUEUE_SENDS || bytes.saturating_add(message.len()) > limits::QUEUE_BATCH {
            queue.send_all(&std::mem::take(&mut call)).await?;
            bytes = 0;
        }
        bytes = bytes.saturating_add(message.len());
        call.push(Sending { message, delay_seconds: 0 });
    }
    queue.send_all(&call).await
}
