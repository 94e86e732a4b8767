//! `POST /webhook/device-offline`: EMQX says that a session ended.

use rs1_domain::port::Database;
use rs1_domain::wire::event::{Disconnected, Ending};
use rs1_domain::{Answer, Problem, Request};
use rs1_store::devices;

use super::state::commit;

/// 1. reads the event;
/// 2. leaves alone what says nothing about a device's presence: clients that are no devices, and
///    sessions that another connection of the same client replaced;
/// 3. commits the rest, unless something newer is known.
///
/// # Errors
/// 422 naming every fault, 404 for a device that is not enrolled, 503 when the database fails.
pub async fn report(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let event = Disconnected::read(&request.body)?;
    let Some(client) = event.client else {
        return Ok(Answer::empty(204).with_log("ignored: not a device's client"));
    };
    if event.ending == Ending::Replaced {
        return Ok(Answer::empty(204).with_log(format!("ignored: {}", event.reason)));
    }
    let statement =
        devices::report_gone(client.device(), &event.reason, Some(client.as_str()), event.disconnected_at);
    commit(db, client.device(), vec![statement]).await
}
