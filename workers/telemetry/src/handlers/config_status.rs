//! `POST /webhook/config-status`: a device says what it made of a zone configuration.

use rs1_domain::port::Database;
use rs1_domain::topic::Channel;
use rs1_domain::wire::config_status::ConfigOutcome;
use rs1_domain::wire::{ConfigStatus, Envelope};
use rs1_domain::{Answer, Faults, Problem, Request};
use rs1_store::zones;

use super::state::commit;

/// 1. reads the message and the report in it;
/// 2. commits it, unless something newer is known: by version, and by when the broker received it.
///
/// # Errors
/// 422 naming every fault, 404 for a device that is not enrolled, 503 when the database fails.
pub async fn report(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let message = Envelope::read(&request.body, request.now)?;
    if message.channel != Channel::ConfigStatus {
        let mut faults = Faults::new();
        faults.add("/topic", "must be a config/status topic");
        return Err(faults.into());
    }
    if message.is_from_management() {
        return Ok(Answer::empty(204).with_log("ignored: not from a device"));
    }
    let status = ConfigStatus::read(&message.payload)?;
    let mut statements = vec![zones::report(&message.device, &status, message.received_at)];
    if status.outcome == ConfigOutcome::Applied {
        statements.push(zones::applied(&message.device, status.version, message.received_at));
    }
    commit(db, &message.device, statements).await
}
