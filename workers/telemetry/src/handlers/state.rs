//! `POST /webhook/device-state`: a device says what it is, or its last will says that it is gone.

use rs1_domain::port::{Broker, Database, PortError, Published, Queue};
use rs1_domain::time::MINUTE;
use rs1_domain::topic::Channel;
use rs1_domain::wire::{Envelope, State};
use rs1_domain::{Answer, DeviceId, Faults, Problem, Request, UnixMillis};
use rs1_rollout::{OtaEvent, Sighting};
use rs1_store::Statement;
use rs1_store::devices::{self, Reported};
use rs1_store::sql::{first_row, run};
use rs1_store::zones::{self, Due};
use rs1_zones::delivery::publication;

/// 1. reads the message and the state in it;
/// 2. commits it, unless something newer is known: one guarded statement, which says what follows;
/// 3. sees to what follows: what matters to updates is handed on; a zone configuration that the device has not got is
///    sent to it.
///
/// # Errors
/// 422 naming every fault, 404 for a device that is not enrolled, 503 when the database or the queue fails.
pub async fn report(
    db: &impl Database,
    updates: &impl Queue,
    broker: &impl Broker,
    request: &Request,
) -> Result<Answer, Problem> {
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
    if !state.online {
        let gone = devices::report_gone(&message.device, "will", client_id, message.received_at);
        return commit(db, &message.device, vec![gone]).await;
    }
    let statement = devices::report_state(&message.device, &state, client_id, message.received_at);
    let [done] = run(db, [statement]).await?;
    let Some(reported) = first_row::<Reported>(&done)? else { return unchanged(db, &message.device).await };
    if let (true, Some(sku)) = (reported.sku_unknown, state.product_sku) {
        run(db, [devices::learn_sku(&message.device, sku)]).await?;
    }
    if reported.matters_to_updates {
        // If this fails EMQX sends the message again, and by then it still means the same.
        let sighting = Sighting::of(&state, message.received_at, reported.came_online);
        let event = OtaEvent::State { device_id: message.device.clone(), sighting };
        updates.send(&event.to_json()).await?;
    }
    let answer = Answer::empty(204);
    if !reported.zones_due {
        return Ok(answer);
    }
    // Due by whichever of the two clocks is ahead: the broker's, which says when the device came, or ours.
    match send_zones(db, broker, &message.device, request.now.max(message.received_at)).await? {
        Some(note) => Ok(answer.with_log(note)),
        None => Ok(answer),
    }
}

/// Sends a device the zone configuration that it has not got, unless somebody else does at this moment. What cannot
/// be sent is left to the minute's cron: the state itself is taken in, and EMQX need not send it again.
async fn send_zones(
    db: &impl Database,
    broker: &impl Broker,
    device: &DeviceId,
    now: UnixMillis,
) -> Result<Option<String>, PortError> {
    let [taken] = run(db, [zones::take(device, now)]).await?;
    let Some(Due { version, updated_at, zones, .. }) = first_row(&taken)? else { return Ok(None) };
    let message = publication(device, version, updated_at, &zones)
        .map_err(|error| PortError::new("zones", error.to_string()))?;
    let why = match broker.publish(&[message]).await.as_deref() {
        Ok([Published::Accepted]) => return Ok(Some(format!("zones: version {version} sent"))),
        Ok([outcome]) => format!("{outcome:?}"),
        Ok(outcomes) => format!("{} outcomes", outcomes.len()),
        Err(error) => error.to_string(),
    };
    let again = zones::put_back(&[device], now.plus(MINUTE))
        .map_err(|error| PortError::new("zones_put_back", error.to_string()))?;
    run(db, [again]).await?;
    Ok(Some(format!("zones: version {version} not sent: {why}")))
}

/// Runs guarded statements about a device. That they changed nothing means that something newer is
/// known, which is fine, or that there is no such device, which is asked only then.
///
/// # Errors
/// 404 for a device that is not enrolled, 503 when the database fails.
pub async fn commit(
    db: &impl Database,
    device: &DeviceId,
    statements: Vec<Statement>,
) -> Result<Answer, Problem> {
    let done = db.batch(statements).await?;
    if done.iter().any(|outcome| outcome.changes > 0) {
        return Ok(Answer::empty(204));
    }
    unchanged(db, device).await
}

async fn unchanged(db: &impl Database, device: &DeviceId) -> Result<Answer, Problem> {
    let [found] = run(db, [devices::exists(device)]).await?;
    if found.rows_json == "[]" {
        return Err(Problem::not_found("no such device is enrolled"));
    }
    Ok(Answer::empty(204).with_log("stale: something newer is known"))
}
