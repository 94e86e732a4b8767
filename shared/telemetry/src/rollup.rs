//! One device's hour: how many messages, and for each metric count, sum, minimum, maximum and last.
//!
//! A rollup remembers the ids it has counted, so a message that is delivered again changes nothing.
//! Counters (frames, occupancy changes) count since the last message, so their sum over the hour is
//! the hour's count; gauges are averaged as sum / count.
//!
//! The order in which messages come makes no difference: sums are taken in ten-thousandths, which add exactly, and of two
//! values of one instant the greater one is the last.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rs1_domain::UnixMillis;
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use crate::Message;

/// Characters of a message's mark: 48 bits in Base64. Among the sixty messages of a device's hour,
/// two different ids share a mark with a probability of 10⁻¹¹.
const MARK: usize = 6 * 4 / 3;

/// Most ids that an hour remembers. Devices send one message a minute; one that floods keeps its
/// latest 512 and costs no more than 4 KB of a row.
const MOST_MARKS: usize = 512;

/// The metrics in use (contract, section 3.2), each with the letter that stands for it where it is stored: rollups are stored by the
/// million, and the names were a third of one. Devices may have others. New ones are added; what has a letter keeps it.
pub const METRICS: [(&str, &str); 9] = [
    ("a", "system.uptime_sec"),
    ("b", "system.free_heap"),
    ("c", "system.wifi_rssi"),
    ("d", "system.cpu_usage"),
    ("e", "radar.frames_received"),
    ("f", "radar.frames_invalid"),
    ("g", "tracking.active_tracks"),
    ("h", "zone.occupancy_changes"),
    ("i", "api.connections"),
];

/// What a metric is stored as: its letter, or its name, which has a dot.
fn stored_as(name: &str) -> &str {
    METRICS.iter().find(|(_, known)| *known == name).map_or(name, |(letter, _)| letter)
}

/// The name of a metric that is stored like this.
pub fn name_of(stored: &str) -> &str {
    METRICS.iter().find(|(letter, _)| *letter == stored).map_or(stored, |(_, name)| name)
}

/// What is known of one metric in one hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Messages that carried it.
    pub count: i64,
    /// Sum of its values.
    pub sum: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Value of the latest message that carried it.
    pub last: f64,
    /// When that was, by the device's clock.
    pub last_at: UnixMillis,
}

/// One device's hour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollup {
    /// Messages counted.
    pub messages: i64,
    /// The latest message's own time.
    pub last_at: UnixMillis,
    /// When the broker received the message it received last.
    pub last_received_at: UnixMillis,
    /// Metrics by name.
    pub metrics: BTreeMap<String, Metric>,
    /// Marks of the ids counted, one after the other, oldest first.
    seen: String,
}

/// What a metric's values mean over a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// They count since the message before: they are added up.
    Counter,
    /// They are the state of something: they are averaged.
    Gauge,
}

impl Nature {
    /// The nature of a metric. "Radar and zone counters count since the last message" (contract, section 3.2).
    pub fn of(name: &str) -> Self {
        if name.starts_with("radar.") || name.starts_with("zone.") { Self::Counter } else { Self::Gauge }
    }
}

/// Why a message was or was not taken into a rollup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It was new, and is counted now.
    Counted,
    /// Its id had been counted before.
    Repeated,
}

/// A stored rollup that cannot be read: the schema and the code disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl Rollup {
    /// Reads the columns `metrics` and `seen`.
    ///
    /// # Errors
    /// When `metrics` is not what [`Rollup::metrics_column`] writes.
    pub fn from_columns(
        messages: i64,
        last_at: UnixMillis,
        last_received_at: UnixMillis,
        metrics: &str,
        seen: &str,
    ) -> Result<Self, Unreadable> {
        let metrics = read_metrics(metrics, last_at)?;
        Ok(Self { messages, last_at, last_received_at, metrics, seen: seen.to_owned() })
    }

    /// Takes a message in, unless its id is known.
    pub fn merge(&mut self, message: &Message) -> Merge {
        let mark = mark(&message.id);
        if self.has_seen(&mark) {
            return Merge::Repeated;
        }
        self.seen.push_str(&mark);
        if let Some(too_many) = (self.seen.len() / MARK).checked_sub(MOST_MARKS) {
            self.seen.drain(..too_many.saturating_mul(MARK));
        }
        let at = message.event_time();
        self.last_at = self.last_at.max(at);
        self.last_received_at = self.last_received_at.max(message.received_at);
        self.messages = self.messages.saturating_add(1);
        for (name, value) in &message.telemetry.metrics {
            let one = Metric::of(*value, at);
            self.metrics.entry(name.clone()).and_modify(|metric| metric.add(&one)).or_insert(one);
        }
        Merge::Counted
    }

    /// Whether a message of that id was counted.
    pub fn knows(&self, id: &str) -> bool {
        self.has_seen(&mark(id))
    }

    /// Whether it remembers every message that it counted; one that is flooded does not.
    pub fn remembers_all(&self) -> bool {
        i64::try_from(self.seen.len() / MARK) == Ok(self.messages)
    }

    fn has_seen(&self, mark: &str) -> bool {
        self.seen.as_bytes().chunks_exact(MARK).any(|seen| seen == mark.as_bytes())
    }

    /// The column `metrics`: `{"b":[count,sum,min,max,last]}`, with a sixth element, the Unix milliseconds of `last`, where that is
    /// not the row's `last_at`. Metrics in use have a letter ([`METRICS`]), others their name.
    pub fn metrics_column(&self) -> String {
        let metrics = self.metrics.iter().map(|(name, metric)| {
            let mut fields = vec![metric.count.into()];
            fields.extend([metric.sum, metric.min, metric.max, metric.last].map(number));
            if metric.last_at != self.last_at {
                fields.push(metric.last_at.0.into());
            }
            (stored_as(name).to_owned(), Value::Array(fields))
        });
        Value::Object(metrics.collect()).to_string()
    }

    /// The column `seen`.
    pub fn seen_column(&self) -> &str {
        &self.seen
    }
}

impl Metric {
    /// One value.
    pub fn of(value: f64, at: UnixMillis) -> Self {
        Self { count: 1, sum: add(0.0, value), min: value, max: value, last: value, last_at: at }
    }

    /// Takes in what is known of the same metric from other messages.
    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum = add(self.sum, other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if (other.last_at, Rank(other.last)) > (self.last_at, Rank(self.last)) {
            self.last = other.last;
            self.last_at = other.last_at;
        }
    }

    /// The one number that stands for the whole time: a counter's sum, a gauge's mean.
    pub fn value(&self, nature: Nature) -> f64 {
        match nature {
            Nature::Counter => self.sum,
            Nature::Gauge => self.sum / self.count.max(1) as f64,
        }
    }
}

/// A number with a place among all others.
#[derive(PartialEq)]
struct Rank(f64);

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.0.total_cmp(&other.0))
    }
}

/// The finest difference that sums keep: 1 / this.
const UNITS: f64 = 10_000.0;

/// A sum in ten-thousandths, which is exact up to 9 × 10¹¹ (an hour of free heap in bytes is 2 × 10⁷), so that the order of
/// adding makes no difference; beyond that as floating-point numbers add.
fn add(one: f64, other: f64) -> f64 {
    let units = (one * UNITS).round() + (other * UNITS).round();
    if units.abs() < 9_007_199_254_740_992.0 { units / UNITS } else { one + other }
}

/// Reads the column `metrics` of a row whose latest message is of `last_at`.
///
/// # Errors
/// When it is not what [`Rollup::metrics_column`] writes.
pub fn read_metrics(column: &str, last_at: UnixMillis) -> Result<BTreeMap<String, Metric>, Unreadable> {
    let unreadable = |reason: String| Unreadable(format!("metrics: {reason}"));
    let stored: BTreeMap<String, Vec<f64>> =
        serde_json::from_str(column).map_err(|error| unreadable(error.to_string()))?;
    let mut metrics = BTreeMap::new();
    // Not collected into the map: that would sort with code of its own.
    for (name, fields) in stored {
        let (fields, own_time) = match *fields {
            [count, sum, min, max, last] => ([count, sum, min, max, last], None),
            [count, sum, min, max, last, at] => ([count, sum, min, max, last], Some(at)),
            _ => return Err(unreadable(format!("{name} has {} fields", fields.len()))),
        };
        let [count, sum, min, max, last] = fields;
        let last_at = own_time.map_or(last_at, |at| UnixMillis(integral(at)));
        metrics.insert(
            name_of(&name).to_owned(),
            Metric { count: integral(count), sum, min, max, last, last_at },
        );
    }
    Ok(metrics)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "counts and times are integers below 2^53, and casts saturate"
)]
fn integral(value: f64) -> i64 {
    value as i64
}

/// A JSON number, without a decimal point where it is integral: rollups are stored by the million.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        return integral(value).into();
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// The mark of a message id.
pub(crate) fn mark(id: &str) -> String {
    let digest = Sha256::digest(id);
    URL_SAFE_NO_PAD.encode(digest.get(..6).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::queued::tests::{NOW, message_at};

    fn message(number: i64, heap: Option<i64>) -> Message {
        let metrics = heap.map_or(json!({}), |heap| json!({"system.free_heap": heap}));
        message_at(&format!("m{number}"), NOW.plus(number), NOW.plus(number + 5), &metrics)
    }

    fn stored(rollup: &Rollup) -> Rollup {
        Rollup::from_columns(
            rollup.messages,
            rollup.last_at,
            rollup.last_received_at,
            &rollup.metrics_column(),
            rollup.seen_column(),
        )
        .unwrap()
    }

    #[test]
    fn metrics_are_counted_summed_bounded_and_the_latest_is_last() {
        let mut rollup = Rollup::default();
        for (number, heap) in [(3, Some(30)), (1, Some(50)), (2, Some(10)), (4, None)] {
            assert_eq!(rollup.merge(&message(number, heap)), Merge::Counted);
        }
        assert_eq!(rollup.messages, 4);
        assert_eq!((rollup.last_at, rollup.last_received_at), (NOW.plus(4), NOW.plus(9)));
        let heap = &rollup.metrics["system.free_heap"];
        assert_eq!((heap.count, heap.sum, heap.min, heap.max, heap.last), (3, 90.0, 10.0, 50.0, 30.0));
        assert_eq!(rollup.metrics_column(), format!("{{\"b\":[3,90,10,50,30,{}]}}", NOW.plus(3).0));
    }

    #[test]
    fn what_a_metric_is_stored_as_stands_for_it_alone() {
        let names = METRICS.map(|(_, name)| name).into_iter().chain(["zone.dwell_sec"]);
        let stored: Vec<_> = names.clone().map(stored_as).collect();
        assert_eq!(stored, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "zone.dwell_sec"]);
        assert!(stored.iter().copied().map(name_of).eq(names));
    }

    #[test]
    fn a_repeated_message_changes_nothing() {
        let mut rollup = Rollup::default();
        rollup.merge(&message(1, Some(50)));
        let before = rollup.clone();
        assert_eq!(rollup.merge(&message(1, Some(50))), Merge::Repeated);
        assert_eq!(rollup, before);
        assert!(rollup.knows("m1") && rollup.remembers_all());
        assert!(!rollup.knows("m2"));
    }

    #[test]
    fn a_flood_does_not_grow_the_row() {
        let mut rollup = Rollup::default();
        for number in 0..2_000 {
            rollup.merge(&message(number, Some(1)));
        }
        assert_eq!(rollup.messages, 2_000);
        assert_eq!(rollup.seen_column().len(), MOST_MARKS * MARK);
        assert!(!rollup.remembers_all());
        assert!(rollup.knows("m1999") && rollup.knows("m1488") && !rollup.knows("m1487"));
    }

    #[test]
    fn a_column_that_is_not_ours_is_an_error() {
        for column in ["", "[]", "{\"a.b\": [1, 2]}", "{\"a.b\": 1}", "{\"a.b\": [1,2,3,4,\"x\"]}"] {
            assert!(read_metrics(column, NOW).is_err(), "{column}");
        }
    }

    #[test]
    fn of_two_values_of_one_instant_the_greater_is_the_last_and_fractions_add_exactly() {
        let values = [0.1, 0.2, 0.3, 1e9, -7.25];
        let message =
            |n: usize| message_at(&format!("m{n}"), NOW, NOW, &json!({"system.cpu_usage": values[n]}));
        let merged = |order: [usize; 5]| {
            let mut rollup = Rollup::default();
            for n in order {
                rollup.merge(&message(n));
                rollup = stored(&rollup);
            }
            rollup.metrics
        };
        let straight = merged([0, 1, 2, 3, 4]);
        let metric = &straight["system.cpu_usage"];
        assert_eq!((metric.sum, metric.last), (999_999_993.35, 1e9));
        for order in [[4, 3, 2, 1, 0], [3, 0, 4, 2, 1], [2, 4, 0, 1, 3]] {
            assert_eq!(merged(order), straight, "{order:?}");
        }
    }

    #[test]
    fn counters_are_summed_and_gauges_averaged() {
        for (name, value) in [
            ("radar.frames_received", 30.0),
            ("zone.occupancy_changes", 30.0),
            ("system.free_heap", 15.0),
            ("tracking.active_tracks", 15.0),
        ] {
            let mut metric = Metric::of(10.0, NOW);
            metric.add(&Metric::of(20.0, NOW.plus(1)));
            assert_eq!((name, metric.value(Nature::of(name))), (name, value));
        }
    }

    proptest! {
        /// In any order, with any repetition, stored and read back at any point, the outcome is one.
        #[test]
        fn order_repetition_and_storage_do_not_matter(
            heaps in proptest::collection::vec(proptest::option::of(-1_000_i64..1_000), 1..20),
            order in proptest::collection::vec(0_usize..20, 0..60),
        ) {
            let messages: Vec<_> = heaps.iter().zip(0..).map(|(heap, number)| message(number, *heap)).collect();
            let mut straight = Rollup::default();
            for message in &messages {
                straight.merge(message);
            }
            let mut shuffled = Rollup::default();
            for index in order.iter().copied().filter(|index| *index < messages.len()).chain((0..messages.len()).rev()) {
                shuffled.merge(&messages[index]);
                shuffled = stored(&shuffled);
            }
            // The marks stand in the order of arrival; the rest is the same.
            shuffled.seen.clone_from(&straight.seen);
            prop_assert_eq!(shuffled, straight);
        }

        #[test]
        fn the_totals_are_those_of_a_plain_sum(heaps in proptest::collection::vec(-1_000_i64..1_000, 1..50)) {
            let mut rollup = Rollup::default();
            for (heap, number) in heaps.iter().zip(0..) {
                rollup.merge(&message(number, Some(*heap)));
            }
            let metric = &stored(&rollup).metrics["system.free_heap"];
            prop_assert_eq!(metric.count, i64::try_from(heaps.len()).unwrap());
            prop_assert_eq!(integral(metric.sum), heaps.iter().sum::<i64>());
            prop_assert_eq!(integral(metric.min), *heaps.iter().min().unwrap());
            prop_assert_eq!(integral(metric.max), *heaps.iter().max().unwrap());
            prop_assert_eq!(integral(metric.last), *heaps.last().unwrap());
        }
    }
}
