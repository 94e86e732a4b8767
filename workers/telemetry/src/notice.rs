//! How this worker tells the security log of something: over the queue, and of a flood no more than must be said.
//!
//! Strangers are counted for where they are, whatever they say of themselves. They have had their answer decided already; a
//! queue that does not take it changes nothing for them, and the next one tells of both. A device has shown who it is: if the
//! queue fails, its message is to be delivered again.

use rs1_domain::Request;
use rs1_domain::port::{PortError, Queue, Random};
use rs1_domain::security::{AuthFailure, SecurityEvent, SecurityKind, Told, source_of};
use rs1_telemetry::Queued;
use serde_json::Value;

use crate::world::{Ports, World};

/// Counts what somebody at that address did, and says what is to be told of it now, if anything.
pub fn due(world: &World<impl Ports>, kind: SecurityKind, peerhost: &str, request: &Request) -> Option<Told> {
    world.bursts.borrow_mut().take(kind, &source_of(peerhost), request.now)
}

/// What a device did, or what is due of a stranger, as it goes over the queue.
pub fn event(
    random: &impl Random,
    kind: SecurityKind,
    subject: &str,
    peerhost: Option<&str>,
    count: u32,
    detail: Value,
    request: &Request,
) -> String {
    let peerhost = peerhost.filter(|peerhost| !peerhost.is_empty() && peerhost.len() <= 64);
    let event = SecurityEvent::new(kind, subject, request.now, random.bytes(), detail).from_address(peerhost);
    Queued::Security(SecurityEvent { count, ..event }).to_json()
}

/// Failed authentications, as they go over the queue.
pub fn failure(told: &Told, request: &Request) -> String {
    let failure = AuthFailure::new(&told.source, request.now, &request.request_id);
    Queued::AuthFailure(AuthFailure { count: told.count, ..failure }).to_json()
}

/// Tells what is due of a stranger.
///
/// # Errors
/// When the queue fails.
pub async fn tell(
    world: &World<impl Ports>,
    kind: SecurityKind,
    told: &Told,
    message: String,
) -> Result<(), PortError> {
    let sent = world.queue.send(&message).await;
    sent.inspect_err(|_| world.bursts.borrow_mut().put_back(kind, told))
}
