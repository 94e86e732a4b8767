//! The archive: objects of gzip NDJSON in R2, a line a message, every message once.
//!
//! A key is made from what the object holds, so writing the same messages again meets the object
//! that is there and changes nothing: `telemetry/{yyyy-mm-dd}/{hh}/{shard}-{digest}.ndjson.gz`, date and
//! hour (UTC) in which the broker received the messages. The shard is `00` as long as there is one database.
//!
//! Beside an object stands its [`label`], the devices that it is about: who looks for one device's messages lists the hour's
//! objects, and reads only those that [`may_hold`] some.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rs1_domain::time::HOUR;
use rs1_domain::{DeviceId, UnixMillis, hex};
use sha2::{Digest, Sha256};

use crate::Message;

/// An object to be archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveObject {
    /// Where it goes.
    pub key: String,
    /// NDJSON, before compression; each line ends with a line feed.
    pub body: String,
    /// The devices that it is about; `None` if they are too many to be told.
    pub label: Option<String>,
}

/// A message as it is archived.
pub struct Line<'a> {
    message: &'a Message,
    text: String,
}

impl<'a> Line<'a> {
    /// The message's line, with the line feed.
    pub fn of(message: &'a Message) -> Self {
        let mut text = message.to_line();
        text.push('\n');
        Self { message, text }
    }

    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.text.len()).unwrap_or(u64::MAX)
    }
}

/// The objects of these messages, one for each hour in which the broker received some.
///
/// The same messages in another order give the same objects.
pub fn objects_of<'a>(lines: impl IntoIterator<Item = Line<'a>>) -> Vec<ArchiveObject> {
    let mut hours: BTreeMap<i64, Vec<Line<'a>>> = BTreeMap::new();
    for line in lines {
        hours.entry(line.message.received_at.hour()).or_default().push(line);
    }
    hours.into_iter().map(|(hour, lines)| object_of(hour, lines)).collect()
}

fn object_of(hour: i64, mut lines: Vec<Line<'_>>) -> ArchiveObject {
    lines.sort_by(|Line { message: a, .. }, Line { message: b, .. }| {
        (a.received_at, &a.device, &a.id).cmp(&(b.received_at, &b.device, &b.id))
    });
    let label = label(lines.iter().map(|line| &line.message.device));
    let mut digest = Sha256::new();
    let mut body = String::new();
    for Line { message, text } in lines {
        digest.update(message.device.as_str());
        digest.update(&message.id);
        digest.update([0]);
        body.push_str(&text);
    }
    let digest = hex::encode(digest.finalize().get(..10).unwrap_or_default());
    ArchiveObject { key: format!("{}00-{digest}.ndjson.gz", folder(hour)), body, label }
}

/// What the keys of all hours' objects begin with. They sort as the hours do; what else begins so comes after them.
pub const FOLDERS: &str = "telemetry/";

/// What the keys of an hour's objects begin with: `telemetry/2026-01-20/10/`. The hour is Unix ms / 3,600,000, of the
/// broker's clock.
pub fn folder(hour: i64) -> String {
    let at = UnixMillis(hour.saturating_mul(HOUR));
    let text = at.to_rfc3339();
    format!("{FOLDERS}{}/{}/", at.date(), text.get(11..13).unwrap_or_default())
}

/// Characters of a device's mark in a label: 24 bits in Base64.
const MARK: usize = 3 * 4 / 3;

/// Most devices that a label tells. R2 keeps 8,192 bytes beside an object, its local stand-in 2,048, and what is archived with
/// more devices than this has nearly always thousands.
const MOST_LABELLED: usize = 480;

/// The devices that an object is about, four characters each, in no telling order. Two devices may share a mark.
pub fn label<'a>(devices: impl IntoIterator<Item = &'a DeviceId>) -> Option<String> {
    let mut all = BTreeSet::new();
    for device in devices {
        all.insert(device);
    }
    (all.len() <= MOST_LABELLED).then(|| all.into_iter().map(mark).collect())
}

/// Whether an object of that label may hold messages of the device. Wrong once in 170,000 times for an object of a hundred
/// devices, and never when it says no.
pub fn may_hold(label: Option<&str>, device: &DeviceId) -> bool {
    let mark = mark(device);
    label.is_none_or(|label| label.as_bytes().chunks(MARK).any(|known| known == mark.as_bytes()))
}

/// A device id is a hash, so its beginning is as good as any.
fn mark(device: &DeviceId) -> String {
    let begin = device.as_str().get(..6).and_then(hex::decode::<3>).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(begin)
}

/// Reads an object's lines back.
///
/// # Errors
/// The first line that is no message, by its number from 1, and why.
pub fn read_object(body: &[u8]) -> Result<Vec<Message>, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    text.lines()
        .zip(1_u64..)
        .map(|(line, number)| Message::from_json(line).map_err(|error| format!("line {number}: {error}")))
        .collect()
}

/// Where a message goes that can never be processed: `quarantine/telemetry/{date}/{id}.json`.
/// `id` is the queue's id of the message, reduced to what a key may hold.
pub fn quarantine_key(id: &str, at: UnixMillis) -> String {
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(80).collect();
    format!("quarantine/telemetry/{}/{id}.json", at.date())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs1_domain::time::MINUTE;
    use serde_json::json;

    use super::*;
    use crate::queued::tests::{NOW, message_at};

    fn only(messages: &[Message]) -> ArchiveObject {
        let [object] = objects_of(messages.iter().map(Line::of)).try_into().unwrap();
        object
    }

    fn messages(count: i64) -> Vec<Message> {
        (0..count).map(|n| message_at(&format!("m{n}"), NOW, NOW.plus(n), &json!({"a.b": n}))).collect()
    }

    #[test]
    fn the_key_says_when_and_what() {
        let object = only(&messages(3));
        assert!(object.key.starts_with("telemetry/2025-11-21/02/00-"), "{}", object.key);
        assert!(object.key.ends_with(".ndjson.gz"));
        assert_eq!(object.body.lines().count(), 3);
        assert_eq!(objects_of([]), []);
        assert_ne!(only(&messages(2)).key, object.key);
    }

    #[test]
    fn an_object_holds_what_was_received_in_its_hour() {
        let at = |minutes: i64| NOW.plus(minutes * MINUTE);
        let received = [at(0), at(-3), at(59), at(1), at(120)];
        let messages: Vec<_> = received
            .iter()
            .zip(0..)
            .map(|(at, n)| message_at(&format!("m{n}"), NOW, *at, &json!({})))
            .collect();
        let objects = objects_of(messages.iter().map(Line::of));
        let folders: Vec<_> = objects.iter().map(|object| object.key.get(10..24).unwrap()).collect();
        assert_eq!(folders, ["2025-11-21/01/", "2025-11-21/02/", "2025-11-21/03/", "2025-11-21/04/"]);
        assert_eq!(
            objects.iter().map(|object| object.body.lines().count()).collect::<Vec<_>>(),
            [1, 2, 1, 1]
        );
        assert!(objects[0].key.starts_with(&folder(NOW.hour() - 1)));
    }

    #[test]
    fn a_label_tells_whose_messages_an_object_holds() {
        let device = |n: u32| DeviceId::parse(&format!("{:06x}{}", n * 4_099, "0".repeat(26))).unwrap();
        let devices: Vec<_> = (0..100).map(device).collect();
        let label = label(&devices).unwrap();
        assert_eq!(label.len(), 100 * MARK);
        assert!(devices.iter().all(|device| may_hold(Some(&label), device)));
        assert!((100..1_000).all(|n| !may_hold(Some(&label), &device(n))));
        assert!(may_hold(None, &device(7)), "nobody can say");
        let crowd: Vec<_> = (0..2_000).map(device).collect();
        assert_eq!(super::label(&crowd), None);
        assert_eq!(only(&messages(3)).label.map(|label| label.len()), Some(MARK), "one device");
    }

    #[test]
    fn a_broken_line_is_named() {
        let body = only(&messages(2)).body + "{}\n";
        assert!(read_object(body.as_bytes()).unwrap_err().starts_with("line 3:"));
        assert!(read_object(&[0xff]).is_err());
    }

    #[test]
    fn a_quarantine_key_holds_nothing_foreign() {
        assert_eq!(quarantine_key("../a b/é-1", NOW), "quarantine/telemetry/2025-11-21/ab-1.json");
    }

    proptest! {
        #[test]
        fn the_same_messages_give_the_same_object_and_read_back(count in 1_i64..20, seed: u64) {
            let sorted = messages(count);
            let mut shuffled = sorted.clone();
            let length = shuffled.len();
            for index in 0..length {
                shuffled.swap(index, (usize::try_from(seed % 97).unwrap() + index * 7) % length);
            }
            let object = only(&shuffled);
            prop_assert_eq!(&object, &only(&sorted));
            prop_assert_eq!(read_object(object.body.as_bytes()), Ok(sorted));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = read_object(&bytes);
        }
    }
}
