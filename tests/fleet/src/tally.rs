//! The fleet's accounts: what all devices together did, counted as it happens.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

use crate::device::Kind;
use crate::life::{Happening, Witness};
use crate::ota::tally::{OtaTally, OtaTotals};

/// Counters and spans, shared by all devices.
#[derive(Debug, Default)]
pub struct Tally {
    connected: AtomicU64,
    ever_connected: AtomicU64,
    reconnects: AtomicU64,
    refused: AtomicU64,
    unreachable: AtomicU64,
    lost: AtomicU64,
    left: AtomicU64,
    state: AtomicU64,
    telemetry: AtomicU64,
    copies: AtomicU64,
    answers: AtomicU64,
    confirmed: AtomicU64,
    in_doubt: AtomicU64,
    missed: AtomicU64,
    acknowledged: AtomicU64,
    publish_refused: AtomicU64,
    subscribe_refused: AtomicU64,
    commands: AtomicU64,
    faults: AtomicU64,
    ota: OtaTally,
    connect_times: Spans,
    acknowledge_times: Spans,
}

/// The accounts at one moment, as they stand in the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Devices connected now.
    pub connected: u64,
    /// Devices that were connected at least once.
    pub ever_connected: u64,
    /// Connections after a device's first.
    pub reconnects: u64,
    /// Connections that the broker refused.
    pub refused: u64,
    /// Attempts that found no broker.
    pub unreachable: u64,
    /// Connections that ended without a goodbye.
    pub lost: u64,
    /// Devices that said goodbye.
    pub left: u64,
    /// States sent.
    pub state: u64,
    /// Telemetry messages sent, copies included.
    pub telemetry: u64,
    /// Second copies among them, made by the fault `duplicate`.
    pub copies: u64,
    /// Telemetry messages that the broker is known to have received.
    pub confirmed: u64,
    /// Telemetry messages that it may or may not have received.
    pub in_doubt: u64,
    /// Telemetry messages that were due while the device had no connection, and were not measured.
    pub missed: u64,
    /// Answers to the cloud, reports of updates included.
    pub answers: u64,
    /// `QoS` 1 publishes acknowledged.
    pub acknowledged: u64,
    /// `QoS` 1 publishes that the broker refused.
    pub publish_refused: u64,
    /// Filters that the broker refused.
    pub subscribe_refused: u64,
    /// Messages from the cloud.
    pub commands: u64,
    /// Faults that struck.
    pub faults: u64,
    /// From CONNECT to CONNACK, TCP included.
    pub connect_ms: Percentiles,
    /// From PUBLISH to PUBACK.
    pub acknowledge_ms: Percentiles,
    /// Updates.
    pub ota: OtaTotals,
}

impl Tally {
    /// Devices that are connected now.
    pub fn connected_now(&self) -> u64 {
        self.connected.load(Relaxed)
    }

    /// The accounts as they are now.
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Totals {
            connected: read(&self.connected),
            ever_connected: read(&self.ever_connected),
            reconnects: read(&self.reconnects),
            refused: read(&self.refused),
            unreachable: read(&self.unreachable),
            lost: read(&self.lost),
            left: read(&self.left),
            state: read(&self.state),
            telemetry: read(&self.telemetry),
            copies: read(&self.copies),
            confirmed: read(&self.confirmed),
            in_doubt: read(&self.in_doubt),
            missed: read(&self.missed),
            answers: read(&self.answers),
            acknowledged: read(&self.acknowledged),
            publish_refused: read(&self.publish_refused),
            subscribe_refused: read(&self.subscribe_refused),
            commands: read(&self.commands),
            faults: read(&self.faults),
            connect_ms: self.connect_times.percentiles(),
            acknowledge_ms: self.acknowledge_times.percentiles(),
            ota: self.ota.totals(),
        }
    }
}

impl Witness for Tally {
    fn saw(&self, happening: &Happening<'_>) {
        let add = |counter: &AtomicU64, more: u64| {
            counter.fetch_add(more, Relaxed);
        };
        let one = |counter: &AtomicU64| add(counter, 1);
        match happening {
            Happening::Connected { first, took, .. } => {
                one(&self.connected);
                one(if *first { &self.ever_connected } else { &self.reconnects });
                self.connect_times.add(*took);
            }
            Happening::Disconnected => {
                self.connected.fetch_sub(1, Relaxed);
            }
            Happening::Refused { .. } => one(&self.refused),
            Happening::Lost { was_connected, .. } => {
                one(if *was_connected { &self.lost } else { &self.unreachable });
            }
            Happening::Left => one(&self.left),
            Happening::Subscribed { refused, .. } => {
                add(&self.subscribe_refused, u64::try_from(refused.len()).unwrap_or(u64::MAX));
            }
            Happening::Sent { message, copy } => {
                one(match message.kind {
                    Kind::State => &self.state,
                    Kind::Telemetry => &self.telemetry,
                    Kind::Answer | Kind::OtaStatus => &self.answers,
                });
                if *copy {
                    one(&self.copies);
                }
            }
            Happening::Acknowledged { took, refused } => {
                one(&self.acknowledged);
                if refused.is_some() {
                    one(&self.publish_refused);
                }
                self.acknowledge_times.add(*took);
            }
            Happening::Confirmed(messages) => add(&self.confirmed, *messages),
            Happening::InDoubt(messages) => add(&self.in_doubt, *messages),
            Happening::Missed(messages) => add(&self.missed, *messages),
            Happening::Received { .. } => one(&self.commands),
            Happening::Fault(_) => one(&self.faults),
            Happening::Update(update) => self.ota.note(update),
            Happening::Connecting | Happening::Waiting(_) => {}
        }
    }
}

/// Buckets for spans: each is 5 % wider than the one before, the first ends at 10 µs, the last at more
/// than an hour.
const BUCKETS: usize = 420;
const FIRST: f64 = 10.0;
const GROWTH: f64 = 1.05;

/// Spans of time, sorted into buckets: any number of them in a few kilobytes, percentiles within 5 %.
#[derive(Debug)]
pub struct Spans {
    buckets: Vec<AtomicU64>,
    longest_us: AtomicU64,
}

impl Default for Spans {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), longest_us: AtomicU64::new(0) }
    }
}

/// Percentiles of spans, in milliseconds with two places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many there were.
    pub count: u64,
    /// Half took no longer.
    pub p50: Millis,
    /// 99 of 100 took no longer.
    pub p99: Millis,
    /// None took longer.
    pub max: Millis,
}

/// Microseconds, shown as milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(u64);

impl Serialize for Millis {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_f64())
    }
}

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ms", self.as_f64())
    }
}

impl Millis {
    fn as_f64(self) -> f64 {
        (self.0 as f64 / 10.0).round() / 100.0
    }
}

impl Spans {
    /// Takes a span.
    pub fn add(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.longest_us.fetch_max(micros, Relaxed);
        let bucket = self.buckets.get(bucket_of(micros)).or(self.buckets.last());
        if let Some(bucket) = bucket {
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// The percentiles of all that was taken.
    pub fn percentiles(&self) -> Percentiles {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let count = counts.iter().fold(0_u64, |sum, more| sum.saturating_add(*more));
        let longest = self.longest_us.load(Relaxed);
        let at = |share: f64| {
            let wanted = share * count as f64;
            let mut below = 0_u64;
            for (bucket, here) in counts.iter().enumerate() {
                below = below.saturating_add(*here);
                if below as f64 >= wanted && below > 0 {
                    return Millis(end_of(bucket).min(longest));
                }
            }
            Millis(longest)
        };
        Percentiles { count, p50: at(0.5), p99: at(0.99), max: Millis(longest) }
    }
}

fn bucket_of(micros: u64) -> usize {
    let place = ((micros as f64 / FIRST).ln() / GROWTH.ln()).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the buckets")]
    let place = place.clamp(0.0, (BUCKETS - 1) as f64) as usize;
    place
}

/// The longest span of a bucket, in microseconds.
fn end_of(bucket: usize) -> u64 {
    let power = i32::try_from(bucket).unwrap_or(i32::MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most an hour or so")]
    let end = (FIRST * GROWTH.powi(power)).round() as u64;
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(Spans::default().percentiles(), Percentiles::default());
    }

    proptest! {
        #[test]
        fn percentiles_are_right_within_five_percent(mut spans in prop::collection::vec(20_u64..3_600_000_000, 1..300)) {
            let kept = Spans::default();
            for micros in &spans {
                kept.add(Duration::from_micros(*micros));
            }
            spans.sort_unstable();
            let found = kept.percentiles();
            prop_assert_eq!(found.count, spans.len() as u64);
            prop_assert_eq!(found.max.0, *spans.last().unwrap());
            for (share, found) in [(0.5, found.p50), (0.99, found.p99)] {
                let place = (share * spans.len() as f64).ceil() as usize;
                let right = spans[place.max(1) - 1] as f64;
                let found = found.0 as f64;
                prop_assert!(found >= right * 0.999 && found <= right * 1.051 + 1.0, "{found} for {right}");
            }
        }

        #[test]
        fn every_span_lies_in_its_bucket(micros in 0_u64..3_600_000_000) {
            let bucket = bucket_of(micros);
            prop_assert!(end_of(bucket) as f64 >= micros as f64 * 0.999);
            prop_assert!(bucket == 0 || end_of(bucket - 1) <= micros);
        }
    }
}
