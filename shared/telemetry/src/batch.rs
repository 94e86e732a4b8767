//! What messages mean: which are new, what is archived, what the rollups become.
//!
//! [`keys`] says which rollups to read; [`plan`] decides, given those. The caller reads, archives and
//! writes, and plans again for the rollups that somebody else changed in between. Where there are more messages than memory
//! holds, an [`Intake`] takes them in piece by piece, and its rollups are written at the end.

use std::collections::{BTreeMap, BTreeSet};

use rs1_domain::DeviceId;
use serde::Serialize;

use crate::alert::{self, Signal};
use crate::archive::Line;
use crate::event::{self, Event};
use crate::rollup::{Merge, Rollup, Unreadable};
use crate::{Message, archive};

/// A device and an hour (Unix ms / 3,600,000, rounded down, of the messages' own time).
pub type Key = (DeviceId, i64);

/// Which rollup a message belongs to.
pub fn key_of(message: &Message) -> Key {
    (message.device.clone(), message.event_time().hour())
}

/// Every rollup that these messages are about.
pub fn keys(messages: &[Message]) -> Vec<Key> {
    Intake::default().missing(messages)
}

/// What is stored under a [`Key`] whose device is enrolled.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    /// Nothing yet.
    Empty,
    /// A rollup, and how often it was written.
    Open(Rollup, i64),
    /// What there was is deleted, at the wish of the device's owner: what comes of it now is not taken in.
    Erased,
    /// A rollup whose ids are forgotten: it takes no more messages, but is made anew of the archive when some come.
    Sealed,
}

/// A rollup to be written where the stored generation is one less.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Where.
    pub key: Key,
    /// What.
    pub rollup: Rollup,
    /// The generation that it will be.
    pub generation: i64,
    /// What that adds to what was counted before.
    pub adds: Adds,
}

/// What a rollup was given, for whoever counts what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Adds {
    /// Messages that are new.
    pub messages: u64,
    /// Messages that had been counted before.
    pub duplicates: u64,
    /// Bytes of the new ones' lines in the archive, before compression.
    pub bytes: u64,
}

impl Adds {
    /// Takes a message's line in, which is new.
    pub fn count(&mut self, line: &Line<'_>) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(line.bytes());
    }
}

/// What to do with a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to write once the rest is done.
    pub writes: Vec<Write>,
    /// Hours that are sealed and that some of the messages are of: to be marked once the rest is done.
    pub late: Vec<Key>,
    /// The rest.
    pub taken: Taken,
}

/// What messages mean besides their rollups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// What to archive before anything else; nothing if there is nothing new.
    pub archive: Vec<archive::ArchiveObject>,
    /// What happened, as the new messages tell it; written with the first of the writes.
    pub events: Vec<Event>,
    /// What the new messages say of how their devices are.
    pub signals: BTreeMap<DeviceId, Vec<Signal>>,
    /// Places of messages that nobody may have sent: their device is not enrolled.
    pub unknown: Vec<usize>,
    /// How many messages had been counted before, or stand twice there.
    pub repeated: usize,
    /// How many messages came after their hour was sealed: archived, and counted when it is made anew of the archive.
    pub late: usize,
    /// How many messages are of hours that were erased: they are kept nowhere.
    pub erased: usize,
    /// How many messages are new.
    pub counted: usize,
}

/// Decides what a batch means, given the slots of [`keys`]; a key without a slot is of a device
/// that is not enrolled.
pub fn plan(messages: &[Message], slots: Vec<(Key, Slot)>) -> Plan {
    let mut intake = Intake::default();
    intake.load(&keys(messages), slots);
    let taken = intake.take(messages);
    Plan { late: intake.late(), writes: intake.writes(), taken }
}

/// Rollups that take messages in.
#[derive(Clone, Debug, Default)]
pub struct Intake {
    held: BTreeMap<Key, Held>,
}

/// What is held of a device's hour.
#[derive(Clone, Debug)]
enum Held {
    /// The device is not enrolled.
    Unknown,
    /// It was erased.
    Erased,
    /// It takes no more messages; ids of those that came.
    Sealed(Vec<String>),
    /// As it is now; the generation that is stored; what it was given since.
    Open(Rollup, i64, Adds),
}

impl Intake {
    /// Which of the messages' rollups it does not have yet, in order.
    pub fn missing(&self, messages: &[Message]) -> Vec<Key> {
        // Not collected into the set: that would sort, and each kind of sorting is code.
        let mut missing = BTreeSet::new();
        for key in messages.iter().map(key_of).filter(|key| !self.held.contains_key(key)) {
            missing.insert(key);
        }
        missing.into_iter().collect()
    }

    /// How many rollups it has.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes what is stored under the keys; one without a slot is of a device that is not enrolled.
    pub fn load(&mut self, wanted: &[Key], slots: Vec<(Key, Slot)>) {
        for (key, slot) in slots {
            let held = match slot {
                Slot::Erased => Held::Erased,
                Slot::Sealed => Held::Sealed(Vec::new()),
                Slot::Empty => Held::Open(Rollup::default(), 0, Adds::default()),
                Slot::Open(rollup, generation) => Held::Open(rollup, generation, Adds::default()),
            };
            self.held.insert(key, held);
        }
        for key in wanted {
            if !self.held.contains_key(key) {
                self.held.insert(key.clone(), Held::Unknown);
            }
        }
    }

    /// Takes messages in. None of their rollups may be [`missing`](Self::missing).
    pub fn take(&mut self, messages: &[Message]) -> Taken {
        let mut taken = Taken::default();
        let mut fresh = Vec::new();
        let mut lines = Vec::new();
        let mut current = Vec::new();
        for (place, message) in messages.iter().enumerate() {
            let (new, count) = match self.held.get_mut(&key_of(message)) {
                None | Some(Held::Unknown) => {
                    taken.unknown.push(place);
                    continue;
                }
                Some(Held::Erased) => {
                    taken.erased = taken.erased.saturating_add(1);
                    continue;
                }
                Some(Held::Sealed(ids)) => {
                    let new = !ids.contains(&message.id);
                    if new {
                        ids.push(message.id.clone());
                        lines.push(Line::of(message));
                    }
                    (new, &mut taken.late)
                }
                Some(Held::Open(rollup, _, adds)) => {
                    let new = rollup.merge(message) == Merge::Counted;
                    if new {
                        let line = Line::of(message);
                        adds.count(&line);
                        lines.push(line);
                        current.push(message);
                    } else {
                        adds.duplicates = adds.duplicates.saturating_add(1);
                    }
                    (new, &mut taken.counted)
                }
            };
            let count = if new { count } else { &mut taken.repeated };
            *count = count.saturating_add(1);
            if new {
                fresh.push(message);
            }
        }
        // Of a late one nobody knows whether it is new, and it says nothing of how the device is by now.
        for message in current {
            let signals = alert::signals_of(message);
            if !signals.is_empty() {
                taken.signals.entry(message.device.clone()).or_default().extend(signals);
            }
        }
        taken.events = fresh.iter().flat_map(|message| event::events_of(message)).collect();
        taken.archive = archive::objects_of(lines);
        taken
    }

    /// The sealed hours that messages came for, in order.
    pub fn late(&self) -> Vec<Key> {
        let came = |held: &Held| matches!(held, Held::Sealed(ids) if !ids.is_empty());
        self.held.iter().filter(|(_, held)| came(held)).map(|(key, _)| key.clone()).collect()
    }

    /// What is to be written: the rollups that are not as they are stored.
    pub fn writes(self) -> Vec<Write> {
        let changed = |(key, held)| match held {
            Held::Open(rollup, generation, adds) if adds.messages > 0 => {
                Some(Write { key, rollup, generation: generation.saturating_add(1), adds })
            }
            _ => None,
        };
        self.held.into_iter().filter_map(changed).collect()
    }
}

/// A slot out of its stored columns.
///
/// # Errors
/// When they are not what a rollup writes.
pub fn slot_of(
    messages: i64,
    last_at: rs1_domain::UnixMillis,
    last_received_at: rs1_domain::UnixMillis,
    metrics: &str,
    seen: Option<&str>,
    generation: i64,
) -> Result<Slot, Unreadable> {
    let Some(seen) = seen else { return Ok(Slot::Sealed) };
    Rollup::from_columns(messages, last_at, last_received_at, metrics, seen)
        .map(|rollup| Slot::Open(rollup, generation))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs1_domain::time::HOUR;
    use serde_json::json;

    use super::*;
    use crate::queued::tests::{NOW, message_at};

    fn message(number: i64) -> Message {
        message_at(&format!("m{number}"), NOW.plus(number), NOW.plus(number), &json!({"a.b": number}))
    }

    /// What the world holds after plans were carried out: a stand-in for D1 and R2.
    #[derive(Default)]
    struct World {
        slots: BTreeMap<Key, Slot>,
        archive: BTreeMap<String, String>,
    }

    impl World {
        fn read(&self, messages: &[Message]) -> Vec<(Key, Slot)> {
            keys(messages)
                .into_iter()
                .map(|key| (key.clone(), self.slots.get(&key).cloned().unwrap_or(Slot::Empty)))
                .collect()
        }

        fn archive(&mut self, plan: &Plan) {
            for object in &plan.taken.archive {
                self.archive.entry(object.key.clone()).or_insert_with(|| object.body.clone());
            }
        }

        fn write(&mut self, plan: &Plan) {
            for write in &plan.writes {
                let current = match self.slots.get(&write.key) {
                    Some(Slot::Open(_, generation)) => *generation,
                    _ => 0,
                };
                if current == write.generation - 1 {
                    self.slots.insert(write.key.clone(), Slot::Open(write.rollup.clone(), write.generation));
                }
            }
        }

        fn counted(&self) -> i64 {
            self.slots
                .values()
                .map(|slot| if let Slot::Open(rollup, _) = slot { rollup.messages } else { 0 })
                .sum()
        }

        fn lines(&self) -> usize {
            self.archive.values().map(|body| body.lines().count()).sum()
        }
    }

    #[test]
    fn new_messages_are_archived_and_counted() {
        let messages = [message(1), message(2), message_at("late", NOW.plus(-HOUR), NOW, &json!({}))];
        let plan = plan(&messages, World::default().read(&messages));
        assert_eq!((plan.taken.counted, plan.taken.repeated, plan.taken.late), (3, 0, 0));
        assert_eq!(plan.taken.archive[0].body.lines().count(), 3);
        assert_eq!(plan.writes.len(), 2, "two hours");
        assert!(plan.writes.iter().all(|write| write.generation == 1));
    }

    #[test]
    fn messages_of_devices_that_are_not_enrolled_are_set_aside() {
        let messages = [message(1), message(2)];
        let plan = plan(&messages, Vec::new());
        assert_eq!(plan.taken.unknown, [0, 1]);
        assert_eq!((plan.taken.archive, plan.writes), (vec![], vec![]));
    }

    #[test]
    fn a_batch_of_nothing_new_writes_nothing() {
        let messages = [message(1), message(1)];
        let mut world = World::default();
        let first = plan(&messages, world.read(&messages));
        assert_eq!((first.taken.counted, first.taken.repeated), (1, 1));
        world.archive(&first);
        world.write(&first);
        let second = plan(&messages, world.read(&messages));
        assert_eq!((second.taken.counted, second.taken.repeated), (0, 2));
        assert_eq!((second.taken.archive, second.writes), (vec![], vec![]));
    }

    #[test]
    fn a_message_after_its_hour_was_sealed_is_archived_and_its_hour_is_named() {
        let messages = [message(1), message(1), message(2)];
        let slots = keys(&messages).into_iter().map(|key| (key, Slot::Sealed)).collect();
        let plan = plan(&messages, slots);
        assert_eq!((plan.taken.late, plan.taken.repeated, plan.taken.counted), (2, 1, 0));
        assert!(plan.writes.is_empty());
        assert_eq!(plan.late, keys(&messages));
        assert_eq!(plan.taken.archive[0].body.lines().count(), 2);
    }

    proptest! {
        /// However a stream of messages is cut into batches and repeated, each is archived once and
        /// counted once, as long as each batch is carried out whole.
        #[test]
        fn each_message_is_archived_once_and_counted_once(batches in proptest::collection::vec(proptest::collection::vec(0_i64..30, 1..10), 1..12)) {
            let mut world = World::default();
            let mut all = BTreeSet::new();
            for batch in &batches {
                let messages: Vec<_> = batch.iter().map(|number| message(*number)).collect();
                all.extend(batch.iter().copied());
                let plan = plan(&messages, world.read(&messages));
                world.archive(&plan);
                world.write(&plan);
            }
            prop_assert_eq!(world.counted(), i64::try_from(all.len()).unwrap());
            prop_assert_eq!(world.lines(), all.len());
        }

        /// A batch that is cut off between archive and rollups and delivered again as it was leaves
        /// one line and one count a message.
        #[test]
        fn a_batch_that_was_cut_off_and_comes_again_is_whole(numbers in proptest::collection::btree_set(0_i64..30, 1..10), repeat in 1_usize..4) {
            let messages: Vec<_> = numbers.iter().map(|number| message(*number)).collect();
            let mut world = World::default();
            for _ in 0..repeat {
                world.archive(&plan(&messages, world.read(&messages)));
            }
            let last = plan(&messages, world.read(&messages));
            world.archive(&last);
            world.write(&last);
            prop_assert_eq!(world.lines(), messages.len());
            prop_assert_eq!(world.counted(), i64::try_from(messages.len()).unwrap());
        }

        /// Two consumers that read the same rollups and write one after the other count each message
        /// once: the second finds its generation taken and decides again.
        #[test]
        fn two_consumers_at_once_count_each_message_once(first in proptest::collection::vec(0_i64..10, 1..6), second in proptest::collection::vec(0_i64..10, 1..6)) {
            let first: Vec<_> = first.into_iter().map(message).collect();
            let second: Vec<_> = second.into_iter().map(message).collect();
            let mut world = World::default();
            let (plan_one, plan_two) = (plan(&first, world.read(&first)), plan(&second, world.read(&second)));
            world.write(&plan_one);
            world.write(&plan_two);
            world.write(&plan(&second, world.read(&second)));
            let ids: BTreeSet<_> = first.iter().chain(&second).map(|message| message.id.clone()).collect();
            prop_assert_eq!(world.counted(), i64::try_from(ids.len()).unwrap());
        }
    }
}
