//! What devices say of updates, from bytes to the state machine: nothing panics, what is read survives the queue, and no
//! order or repetition of the same facts makes another state of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs1_domain::wire::{OtaPhase, OtaStatus, OtaTrigger, State};
use rs1_domain::{DeviceId, FirmwareVersion, UnixMillis};
use rs1_rollout::attempt::Boot;
use rs1_rollout::{Attempt, Fact, OtaEvent, Policy, RolloutRequest, Sighting, Target, Trigger};

const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";
const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = RolloutRequest::read(bytes, &Policy::default(), NOW) {
        assert_eq!(request.stages.last().map(|stage| stage.percent), Some(100));
        assert!(request.stages.is_sorted_by(|a, b| a.percent < b.percent));
    }
    if let Ok(trigger) = OtaTrigger::read(bytes) {
        assert_eq!(OtaTrigger::read(trigger.to_json().as_bytes()), Ok(trigger), "what is sent reads back");
    }
    if let Ok(status) = OtaStatus::read(bytes) {
        let payload = serde_json::to_vec(&status).expect("a status has a JSON form");
        assert_eq!(OtaStatus::read(&payload).as_ref(), Ok(&status), "a status reads back");
    }

    // One message a line, received a second apart: a queue message as it is, or a device's payload.
    let facts: Vec<Fact> = bytes
        .split(|byte| *byte == b'\n')
        .take(12)
        .enumerate()
        .filter_map(|(second, line)| fact(line, NOW.plus(second as i64 * 1_000)))
        .collect();
    let Some(target) = facts.iter().find_map(target_of) else { return };
    let fold = |facts: &mut dyn Iterator<Item = &Fact>| {
        facts.fold(begun(), |attempt, fact| {
            attempt.apply(&target, fact, NOW).attempt().cloned().unwrap_or(attempt)
        })
    };
    let told = fold(&mut facts.iter());
    assert_eq!(fold(&mut facts.iter().rev().chain(&facts)), told, "backwards, and then again");
    let stored = serde_json::to_string(&told).expect("an attempt has a JSON form");
    assert_eq!(serde_json::from_str::<Attempt>(&stored).ok(), Some(told), "what is stored reads back");
});

fn fact(line: &[u8], received_at: UnixMillis) -> Option<Fact> {
    let event = match (OtaStatus::read(line), State::read(line)) {
        (Ok(status), _) => {
            assert!(
                status.status != OtaPhase::Failed
                    || status.error.as_ref().is_none_or(|text| !text.is_empty())
            );
            OtaEvent::Status { id: "m".to_owned(), device_id: device(), received_at, status }
        }
        (_, Ok(state)) => OtaEvent::State {
            device_id: device(),
            sighting: Sighting::of(&state, received_at, received_at.0 % 2 == 0),
        },
        _ => OtaEvent::from_json(std::str::from_utf8(line).ok()?).ok()?,
    };
    assert_eq!(OtaEvent::from_json(&event.to_json()).as_ref(), Ok(&event), "what is queued reads back");
    Some(event.fact())
}

/// The version that the first message is about, so that not everything is stray.
fn target_of(fact: &Fact) -> Option<Target> {
    let version: FirmwareVersion = match fact {
        Fact::Report(report) => report.status.version.clone(),
        Fact::State(sighting) => sighting.version.clone(),
        _ => return None,
    };
    Some(Target { version, elf_sha256: Some("ab".repeat(32)) })
}

fn begun() -> Attempt {
    let trigger = Trigger {
        attempt: 1,
        stage: 0,
        offers: 0,
        first_triggered_at: NOW,
        send_at: NOW,
        from_version: None,
        boot: Boot { count: Some(5), at: Some(NOW.plus(-60_000)) },
    };
    Attempt::begin(&trigger, NOW)
}

fn device() -> DeviceId {
    DeviceId::parse(ID).expect("a device id")
}
