//! The telemetry decoder: whatever a webhook or the queue brings, what is taken survives the queue,
//! the archive and the rollup, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs1_domain::UnixMillis;
use rs1_domain::wire::event::Disconnected;
use rs1_domain::wire::{Envelope, State};
use rs1_telemetry::rollup::Merge;
use rs1_telemetry::{Message, Queued, Rollup, archive};

const NOW: UnixMillis = UnixMillis(1_763_690_475_123);

fuzz_target!(|bytes: &[u8]| {
    let _ = (State::read(bytes), Disconnected::read(bytes), archive::read_object(bytes));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Queued::from_json(text);
    }
    let Ok(envelope) = Envelope::read(bytes, NOW) else { return };
    let Ok(message) = Message::check(envelope) else { return };

    let queued = Queued::from_json(&message.to_queue()).expect("what is queued reads back");
    assert_eq!(queued, Queued::Message(Box::new(message.clone())));
    let objects = archive::objects_of([&message]);
    let [object] = objects.as_slice() else { panic!("one message, one object") };
    assert_eq!(object.body.matches('\n').count(), 1, "one message is one line");
    assert_eq!(archive::read_object(object.body.as_bytes()), Ok(vec![message.clone()]));

    let mut rollup = Rollup::default();
    assert_eq!(rollup.merge(&message), Merge::Counted);
    assert_eq!(rollup.merge(&message), Merge::Repeated);
    let stored = Rollup::from_columns(
        rollup.messages,
        rollup.last_at,
        rollup.last_received_at,
        &rollup.metrics_column(),
        rollup.seen_column(),
    );
    assert_eq!(stored.as_ref(), Ok(&rollup), "what is stored reads back");
});
