//! `POST /webhook/ota-status`: a device says how its update goes. Checked, queued, acknowledged; no database.

use rs1_domain::port::Queue;
use rs1_domain::security::SecurityKind;
use rs1_domain::topic::Channel;
use rs1_domain::wire::{Envelope, OtaStatus};
use rs1_domain::{Answer, Faults, Problem, Request};
use rs1_rollout::OtaEvent;
use serde_json::json;

use crate::notice;
use crate::world::{Ports, World};

/// 1. reads the message and the report in it;
/// 2. tells the security log if the device rejected the image: somebody may have changed it on its way;
/// 3. queues the report: from here on it is not lost.
///
/// Whether the report is about anything that is under way is for who takes it from the queue. A device may well repeat
/// itself, for the report is retained: that changes nothing there.
///
/// # Errors
/// 422 naming every fault, 503 when a queue fails.
pub async fn accept(world: &World<impl Ports>, request: &Request) -> Result<Answer, Problem> {
    let message = Envelope::read(&request.body, request.now)?;
    if message.channel != Channel::OtaStatus {
        let mut faults = Faults::new();
        faults.add("/topic", "must be an ota/status topic");
        return Err(faults.into());
    }
    if message.is_from_management() {
        return Ok(Answer::empty(204).with_log("ignored: not from a device"));
    }
    let status = OtaStatus::read(&message.payload)?;
    if status.rejects_image() {
        let OtaStatus { version, error, rollout_id, .. } = &status;
        let detail = json!({"version": version, "error": error, "rollout_id": rollout_id});
        let kind = SecurityKind::FirmwareRejected;
        let device = message.device.as_str();
        let event = notice::event(&world.random, kind, device, None, 1, detail, request);
        world.queue.send(&event).await?;
    }
    let event = OtaEvent::Status {
        status,
        id: message.id,
        device_id: message.device,
        received_at: message.received_at,
    };
    world.updates.send(&event.to_json()).await?;
    Ok(Answer::empty(202))
}
