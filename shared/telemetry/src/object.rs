//! Objects of collected messages: what EMQX's S3 action, or another bridge, writes below [`INCOMING`], a message a line, each
//! as a rule's webhook would bring it.

use std::borrow::Cow;

use rs1_domain::topic::Channel;
use rs1_domain::wire::Envelope;
use rs1_domain::{Faults, UnixMillis, hex};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::Message;

/// What the keys of these objects begin with.
pub const INCOMING: &str = "telemetry/incoming/";

/// Most of a refused line that is kept, in bytes.
const KEPT: usize = 4_096;

/// What R2 tells of an object (R2 documentation, "Event notifications: message format").
#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    object: Named<'a>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}

/// What a notification of R2's says to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// An object of that key came.
    Arrived(String),
    /// Nothing that we wait for.
    Nothing,
}

/// Reads a notification; `None` for a text that is none.
pub fn news(text: &str) -> Option<News> {
    let Notification { action, object } = serde_json::from_str(text).ok()?;
    let came = matches!(&*action, "PutObject" | "CopyObject" | "CompleteMultipartUpload");
    Some(if came && object.key.starts_with(INCOMING) {
        News::Arrived(object.key.into_owned())
    } else {
        News::Nothing
    })
}

/// A line that cannot be taken, ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place among the lines that it was read with, from 0.
    pub place: usize,
    /// Why.
    pub reason: String,
}

/// Lines, read.
#[derive(Clone, Debug, Default)]
pub struct ReadLines {
    /// The messages in them, and each one's line.
    pub messages: Vec<Message>,
    /// See [`messages`](Self::messages).
    pub places: Vec<usize>,
    /// Lines that are none.
    pub refused: Vec<Refused>,
    /// Messages that are not from a device.
    pub foreign: usize,
}

/// Reads lines. A message that does not say when the broker received it is taken for one of `uploaded`, so that it is the same one
/// whenever it is read. Empty lines are left out.
pub fn read_lines(lines: &[u8], uploaded: UnixMillis) -> ReadLines {
    let mut read = ReadLines::default();
    for (place, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match read_line(line, uploaded) {
            Ok(Some(message)) => {
                read.messages.push(message);
                read.places.push(place);
            }
            Ok(None) => read.foreign = read.foreign.saturating_add(1),
            Err(faults) => read.refused.push(Refused { place, reason: faults.summary() }),
        }
    }
    read
}

fn read_line(line: &[u8], uploaded: UnixMillis) -> Result<Option<Message>, Faults> {
    let envelope = Envelope::read(line, uploaded)?;
    if envelope.is_from_management() {
        return Ok(None);
    }
    if envelope.channel != Channel::Telemetry {
        let mut faults = Faults::new();
        faults.add("/topic", "must be a telemetry topic; other messages do not come by the object");
        return Err(faults);
    }
    Message::check(envelope).map(Some)
}

impl ReadLines {
    /// What is refused, with the messages at these places of theirs, in order, whose devices are not enrolled; in the order of the
    /// lines.
    pub fn refused_with(self, unknown: &[usize]) -> Vec<Refused> {
        let mut all = Vec::with_capacity(self.refused.len().saturating_add(unknown.len()));
        let mut refused = self.refused.into_iter().peekable();
        for index in unknown {
            let (Some(message), Some(place)) = (self.messages.get(*index), self.places.get(*index)) else {
                continue;
            };
            while let Some(before) = refused.next_if(|one| one.place < *place) {
                all.push(before);
            }
            all.push(Refused { place: *place, reason: format!("device {}: not enrolled", message.device) });
        }
        all.extend(refused);
        all
    }
}

/// What is kept of refused lines, and under which key: `quarantine/telemetry/{date}/{digest}-{position}.json`. The same lines of the
/// same object have the same key.
pub fn quarantine(
    object: &str,
    etag: &str,
    uploaded: UnixMillis,
    position: u64,
    lines: &[u8],
    refused: &[Refused],
) -> (String, String) {
    let name = hex::encode(Sha256::digest(format!("{object} {etag}")).get(..8).unwrap_or_default());
    let key = format!("quarantine/telemetry/{}/{name}-{position}.json", uploaded.date());
    let mut wanted = refused.iter().peekable();
    let mut kept = Vec::with_capacity(refused.len());
    for (place, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        while let Some(one) = wanted.next_if(|one| one.place <= place) {
            let text = String::from_utf8_lossy(line.get(..KEPT).unwrap_or(line));
            kept.push(json!({"line": place, "reason": one.reason, "text": text}));
        }
    }
    let document = json!({"object": object, "etag": etag, "position": position, "lines": kept});
    (key, document.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::queued::tests::{ID, NOW};

    fn line(id: &str, payload: &serde_json::Value) -> String {
        json!({
            "id": id, "clientid": ID, "topic": format!("opticworks/{ID}/telemetry"), "payload": payload.to_string(),
            "publish_received_at": NOW.0, "node": "emqx@10.0.0.5",
        })
        .to_string()
    }

    fn measured(n: i64) -> serde_json::Value {
        json!({"device_id": ID, "timestamp": NOW, "metrics": {"a.b": n}})
    }

    #[test]
    fn a_notification_of_r2_says_which_object_came() {
        let told = |action: &str, key: &str| {
            json!({
                "account": "3f4b7e3dcab231cbfdaa90a6a28bd548", "action": action, "bucket": "rs1-telemetry-archives",
                "object": {"key": key, "size": 65_536, "eTag": "c846ff7a18f28c2e262116d6e8719ef0"},
                "eventTime": "2026-01-20T10:00:00.000Z",
            })
            .to_string()
        };
        let key = "telemetry/incoming/emqx/1.jsonl";
        for action in ["PutObject", "CopyObject", "CompleteMultipartUpload"] {
            assert_eq!(news(&told(action, key)), Some(News::Arrived(key.into())));
        }
        assert_eq!(news(&told("LifecycleDeletion", key)), Some(News::Nothing));
        assert_eq!(news(&told("PutObject", "telemetry/2026-01-20/10/00-a.ndjson.gz")), Some(News::Nothing));
        assert_eq!(news(r#"{"kind":"telemetry"}"#), None);
        assert_eq!(news("x"), None);
    }

    #[test]
    fn good_lines_are_messages_and_bad_ones_say_why() {
        let mut own = serde_json::from_str::<serde_json::Value>(&line("o", &measured(1))).unwrap();
        own["clientid"] = json!("http_api");
        let diagnostics = line("d", &measured(1)).replace("/telemetry\"", "/telemetry/diagnostics\"");
        let lines = [
            line("a", &measured(1)),
            String::new(),
            "{\"cut".into(),
            own.to_string(),
            line("b", &json!({"device_id": ID, "metrics": {}})),
            diagnostics,
            format!("{}\r", line("c", &measured(2))),
        ]
        .join("\n");
        let read = read_lines(lines.as_bytes(), NOW);
        assert_eq!(read.messages.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!((read.places, read.foreign), (vec![0, 6], 1));
        let places: Vec<_> = read.refused.iter().map(|refused| refused.place).collect();
        assert_eq!(places, [2, 4, 5]);
        assert!(read.refused[1].reason.starts_with("/timestamp"), "{:?}", read.refused);
        let (key, kept) = quarantine("telemetry/incoming/x", "e", NOW, 7, lines.as_bytes(), &read.refused);
        assert!(key.starts_with("quarantine/telemetry/2025-11-21/") && key.ends_with("-7.json"), "{key}");
        let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept["lines"][0]["text"], "{\"cut");
        assert_eq!(kept["lines"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_message_without_a_time_is_of_the_objects() {
        let text = json!({"topic": format!("opticworks/{ID}/telemetry"), "payload": measured(1).to_string()});
        let read = || read_lines(text.to_string().as_bytes(), NOW).messages;
        assert_eq!(read()[0].received_at, NOW);
        assert_eq!(read()[0].id, read()[0].id);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let read = read_lines(&bytes, NOW);
            let _ = quarantine("k", "e", NOW, 0, &bytes, &read.refused);
            let _ = news(&String::from_utf8_lossy(&bytes));
        }
    }
}
