//! `POST /webhook/provision`: a device reports for duty, mostly once in its life, and hears whose it is.

use rs1_domain::json;
use rs1_domain::port::{Broker, Database, Publication, Published, Qos, Queue, Random};
use rs1_domain::security::SecurityKind;
use rs1_domain::topic::{Channel, of_device};
use rs1_domain::wire::Envelope;
use rs1_domain::wire::provision::{Provision, ProvisionAnswer};
use rs1_domain::{Answer, Faults, Problem, Request};
use rs1_store::access::{self, OwnerRow};
use rs1_store::sql::{first_row, run};
use rs1_store::{devices, orders};
use serde_json::json;

use crate::notice;

/// 1. reads the message and what the device says of itself;
/// 2. refuses one that is not whom it says it is, and hands that on to the security log;
/// 3. commits: it has reported, and if an order waited for that, its buyer is the owner: one transaction;
/// 4. answers on `provision/response`. A broker that fails has EMQX bring the message again, and all of this is the same again.
///
/// # Errors
/// 422 naming every fault, 404 for a device that is not enrolled, 503 when the database, the queue or the broker fails.
pub async fn provision(
    db: &impl Database,
    queue: &impl Queue,
    random: &impl Random,
    broker: &impl Broker,
    request: &Request,
) -> Result<Answer, Problem> {
    let message = Envelope::read(&request.body, request.now)?;
    if message.channel != Channel::Provision {
        let mut faults = Faults::new();
        faults.add("/topic", "must be a provision topic");
        return Err(faults.into());
    }
    if message.is_from_management() {
        return Ok(Answer::empty(204).with_log("ignored: not from a device"));
    }
    let said = Provision::read(&message.payload)?;
    let device = &message.device;
    if !said.is_of(device) {
        let detail = json!({
            "device_id": said.device_id.chars().take(64).collect::<String>(),
            "mac_address": said.mac_address,
        });
        let kind = SecurityKind::ProvisionMismatch;
        let event = notice::event(random, kind, device.as_str(), None, 1, detail, request);
        queue.send(&event).await?;
        let answer = ProvisionAnswer::Rejected {
            device_id: device,
            error: "device_id_mismatch",
            timestamp: request.now,
        };
        return publish(broker, of_device(device, "provision/response"), answer.to_json()).await;
    }
    let internal = |error: json::Error| Problem::internal(error.to_string());
    let [_, _, _, found] = run(
        db,
        [
            devices::provision(device, request.now),
            orders::link_device(device, request.now),
            orders::mark_linked(&[device], request.now).map_err(internal)?,
            access::owner(device),
        ],
    )
    .await?;
    let OwnerRow { owner } =
        first_row(&found)?.ok_or_else(|| Problem::not_found("no such device is enrolled"))?;
    let answer =
        ProvisionAnswer::Registered { device_id: device, owner: owner.as_ref(), timestamp: request.now };
    publish(broker, of_device(device, "provision/response"), answer.to_json()).await
}

async fn publish(broker: &impl Broker, topic: String, payload: String) -> Result<Answer, Problem> {
    let message = Publication { topic, payload, qos: Qos::AtLeastOnce, retain: false, expires_after: None };
    match broker.publish(std::slice::from_ref(&message)).await?.first() {
        Some(Published::Accepted) => Ok(Answer::empty(204)),
        // It has gone again, or does not listen: it will ask again.
        Some(Published::NoSubscriber) => Ok(Answer::empty(204).with_log("nobody heard the answer")),
        Some(Published::Refused(why)) => Err(Problem::internal(format!("the broker refused: {why}"))),
        Some(Published::Failed) | None => Err(Problem::unavailable("the broker failed to publish")),
    }
}
