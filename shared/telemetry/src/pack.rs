//! An hour of the archive, packed: few objects in which a device's lines lie together, and an index that says where.
//!
//! The devices are divided into shards, by the beginnings of their ids. A shard has a pack, `…/packed-{digest}-{shard}of{n}.gz`,
//! in which each device's lines are a gzip member of their own, and an index, `…/index-{digest}-{shard}of{n}.ndjson.gz`, a line
//! a device. The digest is that of the keys of the objects that were packed, so packing the same again meets the same. A manifest,
//! `…/manifest-{digest}.json`, comes last: from then on the packs stand for those objects, which may go.
//!
//! Lines are kept to the letter. A message that stood in two objects stands in a pack once, and not at all if an earlier packing of
//! the hour has it.

use std::collections::BTreeSet;
use std::ops::Range;

use rs1_domain::json;
use rs1_domain::{DeviceId, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Message, archive};

/// What an object of an hour's folder is, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Lines as they came.
    Loose,
    /// A shard's lines, device by device.
    Packed(Part<'a>),
    /// Where they are.
    Index(Part<'a>),
    /// Says that the packs of that digest are whole.
    Manifest(&'a str),
    /// Something else.
    Foreign,
}

/// A shard of a packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Which packing.
    pub digest: &'a str,
    /// Which shard, from 0.
    pub shard: u32,
    /// Of how many.
    pub of: u32,
}

impl<'a> Kind<'a> {
    /// Reads a key.
    pub fn of(key: &'a str) -> Self {
        let name = key.rsplit('/').next().unwrap_or_default();
        if let Some(part) = name.strip_prefix("packed-").and_then(|rest| Part::parse(rest, ".gz")) {
            Self::Packed(part)
        } else if let Some(part) =
            name.strip_prefix("index-").and_then(|rest| Part::parse(rest, ".ndjson.gz"))
        {
            Self::Index(part)
        } else if let Some(digest) =
            name.strip_prefix("manifest-").and_then(|rest| rest.strip_suffix(".json"))
        {
            Self::Manifest(digest)
        } else if name.strip_suffix(".ndjson.gz").is_some_and(|name| !name.starts_with("index-")) {
            Self::Loose
        } else {
            Self::Foreign
        }
    }
}

impl<'a> Part<'a> {
    /// All devices; of no packing.
    pub const WHOLE: Part<'static> = Part { digest: "", shard: 0, of: 1 };

    fn parse(rest: &'a str, suffix: &str) -> Option<Self> {
        let (digest, place) = rest.strip_suffix(suffix)?.split_once('-')?;
        let (shard, of) = place.split_once("of")?;
        let part = Self { digest, shard: shard.parse().ok()?, of: of.parse().ok()? };
        (part.shard < part.of && SHARDS.contains(&part.of)).then_some(part)
    }

    /// The key of the pack, in that folder.
    pub fn packed(&self, folder: &str) -> String {
        format!("{folder}packed-{}-{:02}of{:02}.gz", self.digest, self.shard, self.of)
    }

    /// The key of the index.
    pub fn index(&self, folder: &str) -> String {
        format!("{folder}index-{}-{:02}of{:02}.ndjson.gz", self.digest, self.shard, self.of)
    }

    /// Whether both have some device.
    pub fn meets(&self, other: &Part<'_>) -> bool {
        let (own, others) = (self.bytes(), other.bytes());
        own.start < others.end && others.start < own.end
    }

    /// Whether a device is one of the shard's.
    pub fn has(&self, device: &DeviceId) -> bool {
        self.bytes().contains(&first_byte(device.as_str()))
    }

    /// The first bytes of the shard's device ids.
    pub fn bytes(&self) -> Range<u32> {
        let width = 256_u32.checked_div(self.of).unwrap_or(256);
        let begin = self.shard.saturating_mul(width);
        begin..begin.saturating_add(width)
    }

    /// What some of these are in every line of the shard's devices, and in few others.
    pub fn needles(&self) -> Vec<String> {
        let bytes = self.bytes();
        match self.of {
            1 => vec![ANY_DEVICE.to_owned()],
            of if of <= 16 => {
                (bytes.start >> 4..bytes.end >> 4).map(|digit| format!("\"device_id\":\"{digit:x}")).collect()
            }
            _ => bytes.map(|byte| format!("\"device_id\":\"{byte:02x}")).collect(),
        }
    }
}

/// The first byte of a device id, or of the beginning of one; 0 of less than a byte.
pub fn first_byte(device: &str) -> u32 {
    device.get(..2).and_then(hex::decode::<1>).map_or(0, |[byte]| u32::from(byte))
}

/// The key of a manifest.
pub fn manifest(folder: &str, digest: &str) -> String {
    format!("{folder}manifest-{digest}.json")
}

/// Into how many shards an hour may be divided.
const SHARDS: [u32; 4] = [1, 4, 16, 64];

/// Compressed bytes of a shard, about; lines have eight times as many, and lie in memory several times.
const SHARD_BYTES: u64 = 1_000_000;

/// Into how many shards objects of so many compressed bytes are divided.
pub fn shards_for(bytes: u64) -> u32 {
    let enough = |of: &u32| bytes <= SHARD_BYTES.saturating_mul(u64::from(*of));
    SHARDS.into_iter().find(enough).unwrap_or(64)
}

/// Compressed bytes of the shards whose lines are read in one go, about; they lie in memory until the last of these shards is packed.
const READ_BYTES: u64 = 2_000_000;

/// How many of so many shards of objects of so many compressed bytes are read in one go: all objects are opened for each.
pub fn at_once(bytes: u64, of: u32) -> usize {
    let shard = bytes.checked_div(u64::from(of)).unwrap_or(bytes).max(1);
    usize::try_from(READ_BYTES.checked_div(shard).unwrap_or(1)).unwrap_or(usize::MAX).max(1)
}

/// What a packing of these objects is known by.
pub fn digest_of(keys: &[&str]) -> String {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    hex::encode(Sha256::digest(sorted.join("\n")).get(..8).unwrap_or_default())
}

/// A manifest's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The keys that the packs stand for.
    pub sources: Vec<String>,
    /// How many shards there are.
    pub shards: u32,
    /// Lines in the packs when they were made. What is in them now the heads of their indexes say: an erasure takes lines out.
    pub lines: u64,
    /// Lines of the sources that stood there twice.
    pub duplicates: u64,
}

/// The first line of an index: what went into its pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Bytes of the lines that were read, line feeds included.
    pub read_bytes: u64,
    /// Lines in the pack.
    pub lines: u64,
    /// Lines that were read and stood there twice.
    pub duplicates: u64,
}

/// Another line of an index: where a device's lines are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The device.
    pub device_id: DeviceId,
    /// Where its member begins in the pack.
    pub offset: u64,
    /// The member's bytes.
    pub length: u32,
    /// Lines in it.
    pub lines: u32,
    /// The hours that they are about, by the messages' own time; older indexes do not say.
    #[serde(default)]
    pub hours: Option<Vec<i64>>,
}

impl Entry {
    /// Whether there may be lines about that hour.
    pub fn may_tell_of(&self, hour: i64) -> bool {
        self.hours.as_ref().is_none_or(|hours| hours.contains(&hour))
    }
}

/// A shard's lines, in their order: by device, then by when the broker received them, then by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pack {
    /// The lines, each with its line feed.
    pub text: String,
    /// For each device, where its lines end in the text.
    pub ends: Vec<usize>,
    /// The devices, and how many lines each has.
    pub devices: Vec<(DeviceId, u32)>,
    /// What went into it.
    pub head: Head,
    /// The messages, in the order of the lines.
    pub messages: Vec<Message>,
}

/// What is in every line.
const ANY_DEVICE: &str = "\"device_id\":\"";

/// A line and its message.
type Read<'a> = (&'a str, Message);

/// The lines of a part's devices, in the order in which they are packed.
fn read<'a>(lines: &'a str, part: &Part<'_>) -> Result<Vec<Read<'a>>, String> {
    let (needles, mut all) = (part.needles(), Vec::new());
    for (line, number) in lines.lines().zip(1_u64..) {
        // Others' lines need not be read for that; what is of no device is told of.
        if line.contains(ANY_DEVICE) && !needles.iter().any(|needle| line.contains(needle)) {
            continue;
        }
        let message = Message::from_json(line).map_err(|error| format!("line {number}: {error}"))?;
        if part.has(&message.device) {
            all.push((line, message));
        }
    }
    // Also by the line itself: of two that differ the same one is kept whatever the order they came in.
    all.sort_unstable_by(|(one_line, one), (other_line, other)| {
        (&one.device, one.received_at, &one.id, one_line).cmp(&(
            &other.device,
            other.received_at,
            &other.id,
            other_line,
        ))
    });
    Ok(all)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Pack {
    /// Whether it has this message.
    fn has(&self, message: &Message) -> bool {
        let begin = self.messages.partition_point(|other| other.device < message.device);
        let mut of_device =
            self.messages.iter().skip(begin).take_while(|other| other.device == message.device);
        of_device.any(|other| other.id == message.id)
    }
}

/// Packs the lines of a shard's devices; others are left out, and so are messages that stand in `earlier`.
///
/// # Errors
/// The first line that is no message, and why.
pub fn pack(lines: &str, part: &Part<'_>, earlier: &Pack) -> Result<Pack, String> {
    let mut pack = Pack::default();
    for (line, message) in read(lines, part)? {
        pack.head.read_bytes = pack.head.read_bytes.saturating_add(count(line.len())).saturating_add(1);
        let known = pack.devices.last().is_some_and(|(device, _)| *device == message.device);
        // A message's id is the same wherever it stands; its device's are few.
        let begin = pack.devices.last().map_or(0, |(_, lines)| usize::try_from(*lines).unwrap_or(0));
        let mut of_device = pack.messages.iter().rev().take(if known { begin } else { 0 });
        if earlier.has(&message) || of_device.any(|other| other.id == message.id) {
            pack.head.duplicates = pack.head.duplicates.saturating_add(1);
            continue;
        }
        if !known {
            pack.devices.push((message.device.clone(), 0));
            pack.ends.push(pack.text.len());
        }
        pack.text.push_str(line);
        pack.text.push('\n');
        if let (Some((_, lines)), Some(end)) = (pack.devices.last_mut(), pack.ends.last_mut()) {
            *lines = lines.saturating_add(1);
            *end = pack.text.len();
        }
        pack.head.lines = pack.head.lines.saturating_add(1);
        pack.messages.push(message);
    }
    Ok(pack)
}

/// The lines of an index, given the lengths of the members.
pub fn index(pack: &Pack, lengths: &[u32]) -> String {
    let mut text = json_line(&pack.head);
    let mut offset = 0_u64;
    let mut messages = pack.messages.iter();
    for ((device_id, lines), length) in pack.devices.iter().zip(lengths) {
        let (device_id, lines, length) = (device_id.clone(), *lines, *length);
        let mut hours = Vec::new();
        for message in messages.by_ref().take(usize::try_from(lines).unwrap_or(usize::MAX)) {
            let hour = message.event_time().hour();
            if !hours.contains(&hour) {
                hours.push(hour);
            }
        }
        text.push_str(&json_line(&Entry { device_id, offset, length, lines, hours: Some(hours) }));
        offset = offset.saturating_add(u64::from(length));
    }
    text
}

/// An index without a device: what is left of it, and where that device's lines were; `None` if it has none.
///
/// # Errors
/// When it is no index.
pub fn without(index: &str, device: &DeviceId) -> Result<Option<(String, Entry)>, String> {
    let (head, entries) = index.split_once('\n').ok_or("an index has a head")?;
    let mut head: Head = json::read(head).map_err(|error| error.to_string())?;
    let (mut found, mut rest) = (None, String::with_capacity(index.len()));
    for line in entries.lines() {
        // Only a line that has the id somewhere can be that device's.
        if line.contains(device.as_str()) {
            let entry: Entry = json::read(line).map_err(|error| error.to_string())?;
            if entry.device_id == *device {
                found = Some(entry);
                continue;
            }
        }
        rest.push_str(line);
        rest.push('\n');
    }
    let Some(entry) = found else { return Ok(None) };
    head.lines = head.lines.saturating_sub(u64::from(entry.lines));
    Ok(Some((json_line(&head) + &rest, entry)))
}

fn json_line(value: &impl Serialize) -> String {
    // Texts and numbers, which always have a JSON form.
    let mut line = json::write(value).unwrap_or_default();
    line.push('\n');
    line
}

/// One object of many: the same lines, each message once, for an hour of objects that are small.
///
/// # Errors
/// The first line that is no message, and why.
pub fn merged(folder: &str, lines: &str) -> Result<archive::ArchiveObject, String> {
    let mut all = read(lines, &Part::WHOLE)?;
    all.dedup_by(|(_, one), (_, other)| (&one.device, &one.id) == (&other.device, &other.id));
    let label = archive::label(all.iter().map(|(_, message)| &message.device));
    let mut digest = Sha256::new();
    let mut body = String::new();
    for (line, message) in &all {
        digest.update(message.device.as_str());
        digest.update(&message.id);
        digest.update([0]);
        body.push_str(line);
        body.push('\n');
    }
    let digest = hex::encode(digest.finalize().get(..10).unwrap_or_default());
    Ok(archive::ArchiveObject { key: format!("{folder}00-m{digest}.ndjson.gz"), body, label })
}

/// The packings of a folder that are whole, by their manifests.
pub fn whole<'a>(keys: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let digest = |key| if let Kind::Manifest(digest) = Kind::of(key) { Some(digest) } else { None };
    keys.into_iter().filter_map(digest).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::queued::tests::{ID, NOW, message_at};

    /// The line of a message of one of many devices.
    fn line(device: u8, number: i64) -> String {
        let id = format!("{device:02x}{}", "0".repeat(30));
        message_at(&format!("m{number}"), NOW, NOW.plus(number % 5), &json!({"a.b": number}))
            .to_line()
            .replace(ID, &id)
    }

    fn text(lines: &[String]) -> String {
        lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    #[test]
    fn keys_say_what_an_object_is() {
        let folder = "telemetry/2026-01-20/10/";
        let part = Part { digest: "0123456789abcdef", shard: 3, of: 16 };
        assert_eq!(Kind::of(&part.packed(folder)), Kind::Packed(part));
        assert_eq!(Kind::of(&part.index(folder)), Kind::Index(part));
        assert_eq!(Kind::of(&manifest(folder, "d")), Kind::Manifest("d"));
        assert_eq!(Kind::of("telemetry/2026-01-20/10/00-a1.ndjson.gz"), Kind::Loose);
        assert_eq!(Kind::of(&merged(folder, &text(&[line(1, 1)])).unwrap().key), Kind::Loose);
        for foreign in
            ["", "telemetry/2026-01-20/10/packed-d-3of3.gz", "packed-d-5of4.gz", "index-d-1of4.ndjson"]
        {
            assert_eq!(Kind::of(foreign), Kind::Foreign, "{foreign}");
        }
    }

    #[test]
    fn shards_divide_the_devices() {
        for of in SHARDS {
            for byte in 0..=255_u8 {
                let device = DeviceId::parse(&format!("{byte:02x}{}", "0".repeat(30))).unwrap();
                let parts: Vec<_> = (0..of)
                    .map(|shard| Part { digest: "d", shard, of })
                    .filter(|part| part.has(&device))
                    .collect();
                let [part] = parts.as_slice() else { panic!("{byte} is in {} of {of} shards", parts.len()) };
                let found = part.needles().iter().filter(|needle| line(byte, 1).contains(*needle)).count();
                assert_eq!(found, 1, "{:?}", part.needles());
            }
        }
        assert_eq!(
            [0, 1_000_000, 1_000_001, 16_000_000, 16_000_001, u64::MAX].map(shards_for),
            [1, 1, 4, 16, 64, 64]
        );
        let at_once = |bytes| at_once(bytes, shards_for(bytes));
        assert_eq!([2_000_000, 4_000_000, 33_000_000, 64_000_000, u64::MAX].map(at_once), [4, 2, 3, 2, 1]);
    }

    #[test]
    fn a_line_that_speaks_of_another_device_is_its_own_devices() {
        let mut foreign = line(1, 1);
        foreign.insert_str(foreign.len() - 2, r#", "x": {"device_id":"f0"}"#);
        let packed = |shard| {
            let part = Part { digest: "d", shard, of: 16 };
            pack(&text(std::slice::from_ref(&foreign)), &part, &Pack::default()).unwrap()
        };
        assert_eq!((packed(0).head.lines, packed(15).head.lines), (1, 0));
        assert_eq!(packed(0).text, text(&[foreign]));
    }

    #[test]
    fn shards_of_different_divisions_meet_where_they_share_devices() {
        let part = |shard, of| Part { digest: "d", shard, of };
        assert!(part(3, 16).meets(&part(0, 4)) && part(0, 4).meets(&part(3, 16)));
        assert!(!part(4, 16).meets(&part(0, 4)) && part(63, 64).meets(&part(0, 1)));
    }

    #[test]
    fn an_older_index_may_tell_of_any_hour() {
        let older = r#"{"device_id":"3e32e97b9d6cf5e193d3a3a7e8fd9a97","offset":0,"length":5,"lines":1}"#;
        assert!(serde_json::from_str::<Entry>(older).unwrap().may_tell_of(7));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let part = Part { digest: "d", shard: 0, of: 1 };
        assert!(pack("{}\n", &part, &Pack::default()).unwrap_err().starts_with("line 1"));
    }

    proptest! {
        /// Packing loses and invents nothing: all shards together hold every line to the letter, each message once, but for those
        /// that were packed earlier, and each device's lines where the index says.
        #[test]
        fn the_multiset_of_lines_is_the_same(
            sent in proptest::collection::vec((any::<u8>(), 0_i64..30), 0..60),
            earlier in proptest::collection::vec((any::<u8>(), 0_i64..30), 0..20),
            of in proptest::sample::select(SHARDS.to_vec()),
        ) {
            let earlier: Vec<_> = earlier.iter().map(|(device, number)| line(*device, *number)).collect();

            let lines: Vec<_> = sent.iter().map(|(device, number)| line(*device, *number)).collect();
            let mut held: BTreeMap<String, usize> = BTreeMap::new();
            let (mut bytes, mut kept, mut twice) = (0, 0, 0);
            for shard in 0..of {
                let part = Part { digest: "d", shard, of };
                let before = pack(&text(&earlier), &part, &Pack::default()).unwrap();
                let packed = pack(&text(&lines), &part, &before).unwrap();
                bytes += packed.head.read_bytes;
                kept += packed.head.lines;
                twice += packed.head.duplicates;
                for line in packed.text.lines() {
                    *held.entry(line.to_owned()).or_default() += 1;
                }
                let lengths: Vec<u32> = (1..).take(packed.devices.len()).collect();
                let index = index(&packed, &lengths);
                let mut rows = index.lines();
                prop_assert_eq!(serde_json::from_str::<Head>(rows.next().unwrap()).unwrap(), packed.head);
                let (mut begin, mut offset) = (0, 0);
                for ((row, end), length) in rows.zip(&packed.ends).zip(&lengths) {
                    let entry: Entry = serde_json::from_str(row).unwrap();
                    prop_assert_eq!((entry.offset, entry.length), (offset, *length));
                    let own = &packed.text[begin..*end];
                    prop_assert_eq!(own.lines().count(), entry.lines as usize);
                    prop_assert!(own.lines().all(|line| line.contains(entry.device_id.as_str())));
                    prop_assert!(entry.may_tell_of(NOW.hour()) && !entry.may_tell_of(NOW.hour() - 1));
                    (begin, offset) = (*end, offset + u64::from(*length));
                }
                prop_assert_eq!(begin, packed.text.len());
            }
            let new = lines.iter().filter(|line| !earlier.contains(line));
            let expected: BTreeMap<String, usize> = new.map(|line| (line.clone(), 1)).collect();
            prop_assert_eq!(held, expected);
            prop_assert_eq!(bytes, count(text(&lines).len()));
            prop_assert_eq!(kept + twice, count(lines.len()));
        }

        /// Of an index only that device's line goes, and what it says of the pack's lines is right again.
        #[test]
        fn an_index_without_a_device_is_the_same_but_for_it(
            sent in proptest::collection::vec((0_u8..6, 0_i64..30), 1..40),
            who in 0_u8..8,
        ) {
            let lines: Vec<_> = sent.iter().map(|(device, number)| line(*device, *number)).collect();
            let packed = pack(&text(&lines), &Part { digest: "d", shard: 0, of: 1 }, &Pack::default()).unwrap();
            let lengths: Vec<u32> = (1..).take(packed.devices.len()).collect();
            let whole = index(&packed, &lengths);
            let device = DeviceId::parse(&format!("{who:02x}{}", "0".repeat(30))).unwrap();
            let own = packed.devices.iter().find(|(known, _)| *known == device);
            match (without(&whole, &device).unwrap(), own) {
                (None, None) => {}
                (Some((rest, entry)), Some((_, lines))) => {
                    prop_assert_eq!((&entry.device_id, entry.lines), (&device, *lines));
                    prop_assert!(!rest.contains(device.as_str()));
                    let expected: Vec<_> = whole.lines().skip(1).filter(|line| !line.contains(device.as_str())).collect();
                    prop_assert_eq!(rest.lines().skip(1).collect::<Vec<_>>(), expected);
                    let head: Head = serde_json::from_str(rest.lines().next().unwrap()).unwrap();
                    prop_assert_eq!(head.lines + u64::from(*lines), packed.head.lines);
                    prop_assert_eq!(without(&rest, &device), Ok(None));
                }
                (found, own) => prop_assert!(false, "{found:?} {own:?}"),
            }
        }

        #[test]
        fn merging_keeps_every_message_once(sent in proptest::collection::vec((0_u8..4, 0_i64..30), 1..40)) {
            let lines: Vec<_> = sent.iter().map(|(device, number)| line(*device, *number)).collect();
            let mut reversed = lines.clone();
            reversed.reverse();
            let object = merged("f/", &text(&lines)).unwrap();
            prop_assert_eq!(&object, &merged("f/", &text(&reversed)).unwrap());
            let held: BTreeSet<_> = object.body.lines().collect();
            prop_assert_eq!(held.len(), object.body.lines().count());
            prop_assert_eq!(held, lines.iter().map(String::as_str).collect::<BTreeSet<_>>());
        }

        #[test]
        fn no_key_makes_the_reader_panic(key in ".{0,60}") {
            let _ = Kind::of(&key);
        }
    }
}
