//! Metrics in Prometheus' text format, version 0.0.4 (`http::METRICS`).
//!
//! Names follow Prometheus' own advice: base units, `_seconds`, `_bytes`, and `_total` for what never goes down. A label takes few
//! values, none of which somebody outside can make up: no device, no address.

use std::fmt::{Display, Write as _};

use crate::UnixMillis;
use crate::time::SECOND;

/// Metrics, written one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposition(String);

impl Exposition {
    /// A metric that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> Metric<'_> {
        self.metric(name, help, "gauge")
    }

    /// A metric that never goes down. Its name ends with `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> Metric<'_> {
        self.metric(name, help, "counter")
    }

    fn metric(&mut self, name: &'static str, help: &'static str, kind: &str) -> Metric<'_> {
        let text = &mut self.0;
        // Writing to a text cannot fail, here and below.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Metric { text, name }
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// A metric that is being written.
pub struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Metric<'_> {
    /// A sample, with labels and their values.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        let mut before = '{';
        for (name, value) in labels {
            let _ = write!(self.text, "{before}{name}=\"{}\"", escape(value));
            before = ',';
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// The only sample.
    pub fn value(&mut self, value: impl Display) {
        self.sample(&[], value);
    }
}

/// A label's value as the format quotes it.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// A duration in milliseconds as seconds; what is less than nothing is nothing.
pub fn seconds(millis: i64) -> String {
    let millis = millis.max(0);
    format!("{}.{:03}", millis / SECOND, millis % SECOND)
}

/// An instant as seconds since 1970.
pub fn timestamp(at: UnixMillis) -> String {
    seconds(at.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_with_help_type_and_samples() {
        let mut text = Exposition::default();
        let mut gauge = text.gauge("rs1_up", "Whether it is up.");
        gauge.sample(&[("check", "emqx"), ("component", "Broker")], 1);
        gauge.sample(&[("check", "d1"), ("component", "Database")], 0);
        text.counter("rs1_seen_total", "What was seen.").value(7_u64);
        text.gauge("rs1_nothing", "Of which there is none.");
        let expected = "# HELP rs1_up Whether it is up.\n\
                        # TYPE rs1_up gauge\n\
                        rs1_up{check=\"emqx\",component=\"Broker\"} 1\n\
                        rs1_up{check=\"d1\",component=\"Database\"} 0\n\
                        # HELP rs1_seen_total What was seen.\n\
                        # TYPE rs1_seen_total counter\n\
                        rs1_seen_total 7\n\
                        # HELP rs1_nothing Of which there is none.\n\
                        # TYPE rs1_nothing gauge\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn whatever_a_label_says_it_stays_one_line() {
        let mut text = Exposition::default();
        text.gauge("rs1_up", "x").sample(&[("check", "a\"b\\c\nd")], 1);
        assert!(text.into_text().ends_with("\nrs1_up{check=\"a\\\"b\\\\c\\nd\"} 1\n"));
    }

    #[test]
    fn milliseconds_are_seconds_and_never_less_than_none() {
        assert_eq!(seconds(90_005), "90.005");
        assert_eq!(seconds(0), "0.000");
        assert_eq!(seconds(-1), "0.000");
        assert_eq!(timestamp(UnixMillis(1_768_903_200_123)), "1768903200.123");
    }
}
