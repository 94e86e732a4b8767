//! What this worker answers EMQX, for the OpenAPI document.

use rs1_auth::acl;
use rs1_domain::limits;
use rs1_domain::problem::{Fault, Kind};
use rs1_domain::wire::Envelope;
use rs1_domain::wire::admission::{
    Authentication, AuthenticationAnswer, Authorization, AuthorizationAnswer, Verdict,
};
use rs1_domain::wire::event::Disconnected;
use rs1_openapi::{Caller, Operation, Tag, sample};
use serde_json::{Value, json};

use crate::handlers::telemetry::Taken;

/// Every operation.
pub fn operations() -> Vec<Operation> {
    let health = sample::health(Operation::get("/webhook/health", "telemetryHealth", "How this worker is"));
    [vec![health], admission(), messages()].into_iter().flatten().collect()
}

fn hook(path: &'static str, name: &'static str, summary: &'static str) -> Operation {
    Operation::post(path, name, summary).of(Tag::Webhooks, Caller::Broker)
}

fn admission() -> Vec<Operation> {
    let device = sample::device_id();
    let admitted =
        AuthenticationAnswer { result: Verdict::Allow, is_superuser: false, acl: acl::rules(&device) };
    let connects = json!({
        "clientid": device, "username": device, "password": "1f".repeat(32), "peerhost": "203.0.113.7",
    });
    let publishes = json!({
        "clientid": device, "username": device, "peerhost": "203.0.113.7", "action": "publish",
        "topic": format!("opticworks/{device}/state"),
    });
    vec![
        hook("/webhook/mqtt-auth", "mqttAuth", "May a client connect?")
            .about("A refusal is a 200 that says `deny`: EMQX reads an opinion from nothing else.")
            .takes::<Authentication<'_>>(vec![("a device", connects)])
            .of_at_most(limits::ADMISSION_BODY)
            .answers(200, "Yes, with the topics that it may use; or no", &admitted),
        hook("/webhook/mqtt-acl", "mqttAcl", "May a client publish or subscribe?")
            .takes::<Authorization<'_>>(vec![("its own state", publishes)])
            .of_at_most(limits::ADMISSION_BODY)
            .answers(200, "Yes or no", &AuthorizationAnswer { result: Verdict::Allow }),
    ]
}

/// A message on one of a device's topics.
fn message(below: &str, payload: &Value) -> Value {
    let device = sample::device_id();
    json!({
        "id": "0006532A9C1F7B9DF445000013F90000", "clientid": device,
        "topic": format!("opticworks/{device}/{below}"), "payload": payload.to_string(),
        "publish_received_at": sample::NOW.0,
    })
}

/// A route for messages, with an example of one.
fn takes_message(operation: Operation, below: &str, payload: &Value) -> Operation {
    operation
        .takes::<Envelope>(vec![("a message", message(below, payload))])
        .of_at_most(limits::WEBHOOK_BODY)
        .refuses_faults(&[("/topic", "must be a topic of a device, opticworks/{device_id}/…")])
}

fn of_enrolled(operation: Operation) -> Operation {
    operation.refuses(Kind::NotFound, "no such device is enrolled")
}

fn messages() -> Vec<Operation> {
    let device = sample::device_id();
    let state = json!({"online": true, "firmware_version": "1.2.0", "last_seen": sample::NOW});
    let telemetry =
        json!({"device_id": device, "timestamp": sample::NOW, "metrics": {"system.free_heap": 150_000}});
    let ota = json!({
        "status": "downloading", "rollout_id": sample::record_id("rol"), "version": "1.2.0",
        "timestamp": sample::NOW, "progress": 40,
    });
    let config = json!({"version": 3, "status": "applied", "timestamp": sample::NOW});
    let diagnostics = json!({
        "request_id": sample::record_id("dia"), "timestamp": sample::NOW, "diagnostics": {"heap": {"free": 81_920}},
    });
    let provision = json!({
        "device_id": device, "mac_address": sample::mac_address(), "firmware_version": "1.2.0",
        "timestamp": sample::NOW,
    });
    let gone = json!({
        "event": "client.disconnected", "clientid": device, "reason": "keepalive_timeout",
        "disconnected_at": sample::NOW.0,
    });
    let fault = Fault {
        pointer: "/2/topic".to_owned(),
        detail: "must be a topic of a device, opticworks/{device_id}/…".to_owned(),
    };
    let batch = Taken { accepted: 2, ignored: 0, errors: vec![fault] };
    let taken = "It is taken in, or was no news";
    let queued = "It is queued: from here on it is not lost";
    let ignored = "It is ignored: it is not from a device";
    vec![
        of_enrolled(takes_message(
            hook(
                "/webhook/device-state",
                "deviceState",
                "A device says what it is, or its last will that it is gone",
            ),
            "state",
            &state,
        ))
        .answers_empty(204, taken),
        of_enrolled(
            hook("/webhook/device-offline", "deviceOffline", "A session ended")
                .takes::<Disconnected>(vec![("a lost connection", gone)])
                .of_at_most(limits::WEBHOOK_BODY)
                .refuses_faults(&[("/clientid", "is required")]),
        )
        .answers_empty(204, taken),
        takes_message(
            hook("/webhook/telemetry", "telemetryMessage", "A device measured"),
            "telemetry",
            &telemetry,
        )
        .of_at_most(limits::BATCH_BODY)
        .about(
            "A bridge that collects may send an array of messages, or `application/x-ndjson` with a message a line; then the \
             answer is a 200, and what is wrong with one message harms no other. Answers to diagnostics come here too, when \
             they come below `telemetry/`.",
        )
        .answers(200, "Of a batch: what is queued, and what is wrong with the rest", &batch)
        .answers_empty(202, queued)
        .answers_empty(204, ignored),
        takes_message(
            hook("/webhook/ota-status", "otaStatus", "A device says how its update goes"),
            "ota/status",
            &ota,
        )
        .answers_empty(202, queued)
        .answers_empty(204, ignored),
        of_enrolled(takes_message(
            hook("/webhook/config-status", "configStatus", "A device made something of a zone configuration"),
            "config/status",
            &config,
        ))
        .answers_empty(204, taken),
        takes_message(
            hook("/webhook/diagnostics", "diagnosticsAnswer", "A device answers an operator's question"),
            "diag/response",
            &diagnostics,
        )
        .answers_empty(204, "It is kept, or nobody asked"),
        of_enrolled(takes_message(
            hook("/webhook/provision", "provision", "A device reports for duty, and hears whose it is"),
            "provision",
            &provision,
        ))
        .about("The answer goes to `provision/response`.")
        .answers_empty(204, "It was answered"),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::routes::{Route, body_limit};

    use super::*;

    #[test]
    fn what_is_described_is_what_the_routes_answer() {
        let described: BTreeSet<_> =
            operations().iter().map(|operation| (operation.path, operation.method.as_str())).collect();
        let answered: BTreeSet<_> = Route::ALL
            .into_iter()
            .flat_map(|route| route.methods().iter().map(move |method| (route.path(), method.as_str())))
            // Answered as `GET` is.
            .filter(|(_, method)| *method != "HEAD")
            .collect();
        assert_eq!(described, answered);
    }

    #[test]
    fn bodies_are_as_long_as_they_may_be() {
        for operation in operations() {
            assert_eq!(
                operation.body_limit(),
                body_limit(operation.method, operation.path),
                "{}",
                operation.path
            );
        }
    }
}
