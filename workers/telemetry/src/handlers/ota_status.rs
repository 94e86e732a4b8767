//! `POST /webhook/ota-status`: a device says how its update goes. Checked, queued, acknowledged; no database.

use rs1_domain::port::Queue;
use rs1_domain::topic::Channel;
use rs1_domain::wire::{Envelope, OtaStatus};
use rs1_domain::{Answer, Faults, Problem, Request};
use rs1_rollout::OtaEvent;

/// 1. reads the message and the report in it;
/// 2. queues it: from here on it is not lost.
///
/// Whether the report is about anything that is under way is for who takes it from the queue. A device may well repeat
/// itself, for the report is retained: that changes nothing there.
///
/// # Errors
/// 422 naming every fault, 503 when the queue fails.
pub async fn accept(queue: &impl Queue, request: &Request) -> Result<Answer, Problem> {
    let message = Envelope::read(&request.body, request.now)?;
    if message.channel != Channel::OtaStatus {
        let mut faults = Faults::new();
        faults.add("/topic", "must be an ota/status topic");
        return Err(faults.into());
    }
    if message.is_from_management() {
        return Ok(Answer::empty(204).with_log("ignored: not from a device"));
    }
    let event = OtaEvent::Status {
        status: OtaStatus::read(&message.payload)?,
        id: message.id,
        device_id: message.device,
        received_at: message.received_at,
    };
    queue.send(&event.to_json()).await?;
    Ok(Answer::empty(202))
}
