//! `POST /webhook/device-state`: a device says what it is, or its last will says that it is gone.

use rs1_domain::port::Database;
use rs1_domain::topic::Channel;
use rs1_domain::wire::{Envelope, State};
use rs1_domain::{Answer, DeviceId, Faults, Problem, Request};
use rs1_store::Statement;
use rs1_store::devices;
use rs1_store::sql::run;

/// 1. reads the message and the state in it;
/// 2. commits it, unless something newer is known: one guarded statement.
///
/// # Errors
/// 422 naming every fault, 404 for a device that is not enrolled, 503 when the database fails.
pub async fn report(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let message = Envelope::read(&request.body, request.now)?;
    if message.channel != Channel::State {
        let mut faults = Faults::new();
        faults.add("/topic", "must be a state topic");
        return Err(faults.into());
    }
    if message.is_from_management() {
        return Ok(Answer::empty(204).with_log("ignored: not from a device"));
    }
    let state = State::read(&message.payload)?;
    let client_id = message.client_id.as_deref();
    let statement = if state.online {
        devices::report_state(&message.device, &state, client_id, message.received_at)
    } else {
        devices::report_gone(&message.device, "will", client_id, message.received_at)
    };
    commit(db, &message.device, statement).await
}

/// Runs a guarded statement about a device. That it changed nothing means that something newer is
/// known, which is fine, or that there is no such device, which is asked only then.
///
/// # Errors
/// 404 for a device that is not enrolled, 503 when the database fails.
pub async fn commit(db: &impl Database, device: &DeviceId, statement: Statement) -> Result<Answer, Problem> {
    let [done] = run(db, [statement]).await?;
    if done.changes > 0 {
        return Ok(Answer::empty(204));
    }
    let [found] = run(db, [devices::exists(device)]).await?;
    if found.rows_json == "[]" {
        return Err(Problem::not_found("no such device is enrolled"));
    }
    Ok(Answer::empty(204).with_log("stale: something newer is known"))
}
