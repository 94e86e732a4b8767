//! `POST /webhook/diagnostics`: a device answers an operator's question about itself. Its answer may come on either
//! of two topics; the one below `telemetry/` arrives at `/webhook/telemetry`, which hands it on to here.

use rs1_domain::diagnostics::key;
use rs1_domain::port::{Bucket, Encoding, NewObject, Queue, Random};
use rs1_domain::security::SecurityKind;
use rs1_domain::topic::Channel;
use rs1_domain::wire::{DiagnosticsReport, Envelope};
use rs1_domain::{Answer, Faults, Problem, Request};
use rs1_store::diagnostics::{self, DiagnosticsRow};
use rs1_store::sql::{first_row, run};
use serde_json::json;

use crate::notice;
use crate::world::{Ports, World};

/// Reads the message, and [takes](take) it in.
///
/// # Errors
/// 422 naming every fault, 503 when something fails.
pub async fn report(world: &World<impl Ports>, request: &Request) -> Result<Answer, Problem> {
    let message = Envelope::read(&request.body, request.now)?;
    if message.channel != Channel::Diagnostics {
        let mut faults = Faults::new();
        faults.add("/topic", "must be a diagnostics topic");
        return Err(faults.into());
    }
    if message.is_from_management() {
        return Ok(Answer::empty(204).with_log("ignored: not from a device"));
    }
    take(world, &message, request).await
}

/// 1. finds the question that this answers: nobody asked, or somebody asked another device, is for the security log;
/// 2. keeps the answer in R2 under a key that follows from the question, so that a second delivery finds it there;
/// 3. notes that it is there: from then on it is shown. Of two answers to a question the first stays.
///
/// # Errors
/// 422 naming every fault, 503 when the database, the bucket or the queue fails.
pub async fn take(
    world: &World<impl Ports>,
    message: &Envelope,
    request: &Request,
) -> Result<Answer, Problem> {
    let report = DiagnosticsReport::read(&message.payload)?;
    let [found] = run(&world.db, [diagnostics::of_device(&message.device, &report.request_id)]).await?;
    let Some(question) = first_row::<DiagnosticsRow>(&found)? else {
        return unsolicited(&world.queue, &world.random, message, &report, request).await;
    };
    if question.answered_at.is_some() {
        return Ok(Answer::empty(204).with_log("repeated: it is answered"));
    }
    let key = key(&message.device, &question.request_id, question.requested_at);
    let object = NewObject {
        key: &key,
        body: &message.payload,
        content_type: rs1_domain::http::JSON,
        encoding: Encoding::Identity,
        label: None,
    };
    world.files.put_new(object).await?;
    let size = i64::try_from(message.payload.len()).unwrap_or(i64::MAX);
    let noted = diagnostics::answered(&message.device, &question.request_id, size, message.received_at);
    run(&world.db, [noted]).await?;
    Ok(Answer::empty(204))
}

/// What nobody asked for is not kept: a device cannot fill the bucket.
async fn unsolicited(
    queue: &impl Queue,
    random: &impl Random,
    message: &Envelope,
    report: &DiagnosticsReport,
    request: &Request,
) -> Result<Answer, Problem> {
    let detail =
        json!({"request_id": report.request_id, "topic": message.topic, "bytes": message.payload.len()});
    let kind = SecurityKind::UnsolicitedDiagnostics;
    let event = notice::event(random, kind, message.device.as_str(), None, 1, detail, request);
    queue.send(&event).await?;
    Ok(Answer::empty(204).with_log("ignored: nobody asked for it"))
}
