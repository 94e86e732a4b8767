//! The archive: objects of gzip NDJSON in R2, a line a message, every message once.
//!
//! A key is made from what the object holds, so writing the same messages again meets the object
//! that is there and changes nothing: `telemetry/{yyyy-mm-dd}/{hh}/{shard}-{digest}.ndjson.gz`, date and
//! hour (UTC) of the earliest time that the broker received one of them. The shard is `00`
//! as long as there is one database.

use rs1_domain::{UnixMillis, hex};
use sha2::{Digest, Sha256};

use crate::Message;

/// An object to be archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveObject {
    /// Where it goes.
    pub key: String,
    /// NDJSON, before compression; each line ends with a line feed.
    pub body: String,
}

/// The object of these messages; `None` if there are none.
///
/// The same messages in another order give the same object.
pub fn object_of<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Option<ArchiveObject> {
    let mut messages: Vec<_> = messages.into_iter().collect();
    messages.sort_by(|a, b| (a.received_at, &a.device, &a.id).cmp(&(b.received_at, &b.device, &b.id)));
    let begin = messages.first()?.received_at;
    let mut digest = Sha256::new();
    let mut body = String::new();
    for message in messages {
        digest.update(message.device.as_str());
        digest.update(&message.id);
        digest.update([0]);
        body.push_str(&message.to_line());
        body.push('\n');
    }
    let digest = hex::encode(digest.finalize().get(..10).unwrap_or_default());
    Some(ArchiveObject { key: format!("telemetry/{}/00-{digest}.ndjson.gz", folder(begin)), body })
}

/// `2026-01-20/10`.
fn folder(at: UnixMillis) -> String {
    let hour = at.to_rfc3339().get(11..13).unwrap_or_default().to_owned();
    format!("{}/{hour}", at.date())
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
    use serde_json::json;

    use super::*;
    use crate::queued::tests::{NOW, message_at};

    fn messages(count: i64) -> Vec<Message> {
        (0..count).map(|n| message_at(&format!("m{n}"), NOW, NOW.plus(n), &json!({"a.b": n}))).collect()
    }

    #[test]
    fn the_key_says_when_and_what() {
        let object = object_of(&messages(3)).unwrap();
        assert!(object.key.starts_with("telemetry/2025-11-21/02/00-"), "{}", object.key);
        assert!(object.key.ends_with(".ndjson.gz"));
        assert_eq!(object.body.lines().count(), 3);
        assert_eq!(object_of(&[]), None);
        assert_ne!(object_of(&messages(2)).unwrap().key, object.key);
    }

    #[test]
    fn a_broken_line_is_named() {
        let body = object_of(&messages(2)).unwrap().body + "{}\n";
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
            let object = object_of(&shuffled).unwrap();
            prop_assert_eq!(&object, &object_of(&sorted).unwrap());
            prop_assert_eq!(read_object(object.body.as_bytes()), Ok(sorted));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = read_object(&bytes);
        }
    }
}
