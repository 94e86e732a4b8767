//! What a device measured over time, to be shown: hours, days, or every message.

use std::collections::BTreeMap;

use rs1_domain::time::DAY;
use rs1_domain::{DeviceId, UnixMillis};

use crate::Message;
use crate::rollup::{Metric, mark};

/// An hour or a day of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its first instant.
    pub begins_at: UnixMillis,
    /// Messages counted.
    pub messages: i64,
    /// The latest message's own time.
    pub last_at: UnixMillis,
    /// Metrics by name.
    pub metrics: BTreeMap<String, Metric>,
}

/// The days (UTC) of these hours, in their order; the hours are in theirs.
pub fn days(hours: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let mut days: Vec<Span> = Vec::new();
    for hour in hours {
        let begins_at = UnixMillis(hour.begins_at.0.saturating_sub(hour.begins_at.0.rem_euclid(DAY)));
        match days.last_mut().filter(|day| day.begins_at == begins_at) {
            Some(day) => day.add(hour),
            None => days.push(Span { begins_at, ..hour }),
        }
    }
    days
}

impl Span {
    fn add(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.last_at = self.last_at.max(other.last_at);
        for (name, metric) in other.metrics {
            self.metrics.entry(name).and_modify(|known| known.add(&metric)).or_insert(metric);
        }
    }
}

/// Where a message stands among a device's: by the time that the broker received it, and within a millisecond by its id's mark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the broker received it.
    pub received_at: UnixMillis,
    /// The mark of its id; empty stands before every message of that time.
    pub mark: String,
}

impl Place {
    /// The place before everything from an instant on.
    pub fn before(received_at: UnixMillis) -> Self {
        Self { received_at, mark: String::new() }
    }

    /// Where a message stands.
    pub fn of(message: &Message) -> Self {
        Self { received_at: message.received_at, mark: mark(&message.id) }
    }

    /// The place as the cursor of a list: `1768903200000-5yTq0A1b`.
    pub fn to_cursor(&self) -> String {
        format!("{}-{}", self.received_at.0, self.mark)
    }

    /// Reads a cursor.
    pub fn parse(text: &str) -> Option<Self> {
        let (received_at, mark) = text.split_once('-')?;
        let digits = !received_at.is_empty() && received_at.bytes().all(|byte| byte.is_ascii_digit());
        let is_mark =
            |mark: &str| mark.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let place = Self { received_at: UnixMillis(received_at.parse().ok()?), mark: mark.to_owned() };
        (digits && is_mark(mark)).then_some(place)
    }
}

/// What every archive line of a device contains, and few others.
pub fn needle(device: &DeviceId) -> String {
    format!("\"device_id\":\"{device}\"")
}

/// A device's messages out of archive lines, after a place and received before `until`, in the order of their places, each once.
///
/// # Errors
/// The first line that is no message, by its number from 1, and why.
pub fn messages_after(
    lines: &str,
    device: &DeviceId,
    after: &Place,
    until: UnixMillis,
) -> Result<Vec<Message>, String> {
    let mut messages = crate::archive::read_object(lines.as_bytes())?;
    messages.retain(|message| {
        message.device == *device && message.received_at < until && Place::of(message) > *after
    });
    messages.sort_by_cached_key(|message| (Place::of(message), message.id.clone()));
    // A message whose archiving was reported to have failed may stand in two objects.
    messages.dedup_by(|one, other| one.id == other.id);
    Ok(messages)
}

/// A device's lines out of others, to the letter: of messages received from `from` on and before `until`, in the order in which the broker
/// received them, each once.
///
/// # Errors
/// The first line that is no message, by its number from 1, and why.
pub fn own_lines(
    lines: &str,
    device: &DeviceId,
    from: UnixMillis,
    until: UnixMillis,
) -> Result<Vec<String>, String> {
    let mut own = Vec::new();
    for (line, number) in lines.lines().zip(1_u64..) {
        let message = Message::from_json(line).map_err(|error| format!("line {number}: {error}"))?;
        if message.device == *device && message.received_at >= from && message.received_at < until {
            own.push((message.received_at, message.id, line));
        }
    }
    own.sort_unstable();
    own.dedup_by(|one, other| one.1 == other.1);
    Ok(own.into_iter().map(|(_, _, line)| line.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs1_domain::time::HOUR;
    use serde_json::json;

    use super::*;
    use crate::queued::tests::{ID, NOW, message_at};

    fn hour(number: i64, value: f64) -> Span {
        let begins_at = UnixMillis(number * HOUR);
        let last_at = begins_at.plus(HOUR - 1);
        let metrics = [("a.b".to_owned(), Metric::of(value, last_at))].into();
        Span { begins_at, messages: 60, last_at, metrics }
    }

    #[test]
    fn hours_add_up_to_days() {
        let days = days([hour(22, 1.0), hour(23, 5.0), hour(24, 2.0), hour(72, 3.0)]);
        let begins: Vec<_> = days.iter().map(|day| day.begins_at.0 / HOUR).collect();
        assert_eq!(begins, [0, 24, 72]);
        let first = &days[0];
        assert_eq!((first.messages, first.last_at), (120, UnixMillis(24 * HOUR - 1)));
        let metric = &first.metrics["a.b"];
        assert_eq!((metric.count, metric.sum, metric.min, metric.max, metric.last), (2, 6.0, 1.0, 5.0, 5.0));
        assert_eq!(super::days([]), []);
    }

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        for place in [Place::before(NOW), Place::of(&message_at("m1", NOW, NOW, &json!({})))] {
            assert_eq!(Place::parse(&place.to_cursor()), Some(place));
        }
        for text in ["", "-", "x-", "-1-a", "1", "1-a b", "1-é", "+1-a", "99999999999999999999-"] {
            assert_eq!(Place::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        /// However a device's messages lie in objects, some of them twice and others' between them: page after page shows each
        /// once and in order.
        #[test]
        fn pages_show_every_message_once(
            received in proptest::collection::vec(0_i64..40, 1..40),
            twice in proptest::collection::vec(0_usize..40, 0..10),
            page in 1_usize..7,
        ) {
            let device = DeviceId::parse(ID).unwrap();
            let messages: Vec<_> = received.iter().zip(0..).map(|(at, n)| message_at(&format!("m{n}"), NOW, NOW.plus(*at), &json!({}))).collect();
            let again = twice.iter().filter_map(|index| messages.get(*index));
            let mut lines: String = messages.iter().rev().chain(again).map(|message| message.to_line() + "\n").collect();
            lines.push_str(&messages[0].to_line().replace(ID, "00112233445566778899aabbccddeeff"));
            let until = NOW.plus(35);
            let mut shown = Vec::new();
            let mut after = Place::before(NOW.plus(3));
            loop {
                let mut found = messages_after(&lines, &device, &after, until).unwrap();
                found.truncate(page);
                let Some(last) = found.last() else { break };
                after = Place::of(last);
                shown.extend(found);
            }
            let mut expected: Vec<_> = messages.into_iter().filter(|message| (NOW.plus(3)..until).contains(&message.received_at)).collect();
            expected.sort_by_key(Place::of);
            prop_assert_eq!(shown, expected);
        }
    }

    #[test]
    fn own_lines_are_to_the_letter_in_order_and_once() {
        let line = |id: &str, at: i64| message_at(id, NOW, NOW.plus(at), &json!({"a.b": 1})).to_line();
        let device = DeviceId::parse(ID).unwrap();
        let foreign = line("m9", 1).replace(ID, &"f".repeat(32));
        let spaced = line("m1", 1).replacen('{', "{ ", 1);
        let text =
            [line("m3", 3), spaced.clone(), foreign, line("m1", 1), line("m4", 4), line("m0", 0)].join("\n");
        let own = own_lines(&text, &device, NOW.plus(1), NOW.plus(4)).unwrap();
        assert_eq!(own.len(), 2, "{own:?}");
        assert!([spaced, line("m1", 1)].contains(&own[0]) && own[1] == line("m3", 3));
        assert!(own_lines("{}", &device, NOW, NOW).unwrap_err().starts_with("line 1"));
    }
}
