//! What a person reads: a line while the fleet runs, a table at the end. And JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::ota::tally::OtaTotals;
use crate::roster::{Entry, distribution};
use crate::tally::Totals;

/// One run of a fleet.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Devices in the fleet.
    pub devices: u64,
    /// What it was made from.
    pub seed: u64,
    /// From the first device's CONNECT to the last one's goodbye, in seconds.
    pub seconds: f64,
    /// From the first telemetry on, in seconds; what the rate is measured over.
    pub talking_seconds: f64,
    /// Telemetry messages a second.
    pub rate: f64,
    /// Devices that were never connected.
    pub never_connected: u64,
    /// Everything that was counted.
    #[serde(flatten)]
    pub totals: Totals,
    /// How many devices run which version.
    pub versions: BTreeMap<String, u64>,
    /// How many devices reported which status last; `none` is those that reported none.
    pub statuses: BTreeMap<String, u64>,
    /// What became of each device.
    pub roster: Vec<Entry>,
}

impl Report {
    /// The report on a run.
    pub fn new(
        devices: u32,
        seed: u64,
        lived: Duration,
        talked: Duration,
        totals: Totals,
        roster: Vec<Entry>,
    ) -> Self {
        let rate = totals.telemetry as f64 / talked.as_secs_f64().max(0.001);
        Self {
            devices: devices.into(),
            seed,
            seconds: tenths(lived.as_secs_f64()),
            talking_seconds: tenths(talked.as_secs_f64()),
            rate: tenths(rate),
            never_connected: u64::from(devices).saturating_sub(totals.ever_connected),
            totals,
            versions: distribution(&roster, |entry| entry.firmware_version.to_string()),
            statuses: distribution(&roster, |entry| entry.status.unwrap_or("none").to_owned()),
            roster,
        }
    }

    /// The table.
    pub fn table(&self) -> String {
        let totals = &self.totals;
        let mut table = Table::default();
        table.row("devices", &grouped(self.devices), &format!("seed {}", self.seed));
        table.row(
            "connected at least once",
            &grouped(totals.ever_connected),
            &span(&totals.connect_ms, "CONNACK"),
        );
        table.optional("never connected", self.never_connected);
        table.optional("connected again", totals.reconnects);
        table.optional("connections lost", totals.lost);
        table.optional("connections refused", totals.refused);
        table.optional("broker not reached", totals.unreachable);
        table.row("said goodbye", &grouped(totals.left), "");
        let rate = format!("{}/s over {:.1} s", self.rate, self.talking_seconds);
        table.row("telemetry sent", &grouped(totals.telemetry), &rate);
        table.optional("  of them second copies", totals.copies);
        table.row("  known to have arrived", &grouped(totals.confirmed), "");
        table.optional("  in doubt", totals.in_doubt);
        table.optional("telemetry missed offline", totals.missed);
        table.row("state sent", &grouped(totals.state), "");
        table.optional("answers sent", totals.answers);
        table.row("acknowledged", &grouped(totals.acknowledged), &span(&totals.acknowledge_ms, "PUBACK"));
        table.optional("publishes refused", totals.publish_refused);
        table.optional("filters refused", totals.subscribe_refused);
        table.row("commands received", &grouped(totals.commands), "");
        table.optional("faults", totals.faults);
        if totals.ota != OtaTotals::default() {
            self.updates(&mut table);
        }
        table.text
    }

    fn updates(&self, table: &mut Table) {
        let ota = &self.totals.ota;
        table.row("triggers heard", &grouped(ota.triggers), "");
        table.optional("  nothing came of", ota.ignored);
        table.each("  refused", &ota.refused);
        table.optional("  put off", ota.deferred);
        table.row("updates begun", &grouped(ota.begun), "");
        table.row(
            "images downloaded",
            &grouped(ota.downloaded),
            &span(&ota.download_ms, "from HEAD to the end"),
        );
        table.row("  bytes fetched", &grouped(ota.fetched_bytes), "");
        table.optional("  cut off", ota.cuts);
        if ota.cuts > 0 {
            let most = format!("at most {} after one cut", grouped(ota.resent_most_bytes));
            table.row("  bytes sent again", &grouped(ota.resent_bytes), &most);
        }
        table.optional("  begun again at a 200", ota.restarts);
        table.each("  not as promised", &ota.breaches);
        table.row("images installed", &grouped(ota.installed), "");
        table.each("  failed", &ota.failed);
        table.row("booted the new image", &grouped(ota.booted), "");
        table.optional("booted the old one", ota.booted_back);
        table.row("update reports sent", &grouped(ota.reports), "");
        table.optional("  copies and strays", ota.report_copies);
        table.each("last report", &self.statuses);
        table.each("devices that run", &self.versions);
    }
}

/// The line of one moment. `rate` is in telemetry messages a second, over the last while.
pub fn line(devices: u32, totals: &Totals, rate: f64) -> String {
    let mut line = format!(
        "{}/{} connected  state {}  telemetry {} ({rate:.0}/s)  acked {}  commands {}",
        grouped(totals.connected),
        grouped(devices.into()),
        grouped(totals.state),
        grouped(totals.telemetry),
        grouped(totals.acknowledged),
        grouped(totals.commands),
    );
    let refused = [totals.refused, totals.publish_refused, totals.subscribe_refused];
    let refused = refused.into_iter().fold(0_u64, u64::saturating_add);
    for (what, count) in
        [("refused", refused), ("unreachable", totals.unreachable), ("reconnects", totals.reconnects)]
    {
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(line, "  {what} {}", grouped(count));
        }
    }
    line
}

#[derive(Default)]
struct Table {
    text: String,
}

impl Table {
    fn row(&mut self, name: &str, value: &str, note: &str) {
        let line = format!("  {name:<26}{value:>12}   {note}");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A row for each kind of something.
    fn each(&mut self, name: &str, counts: &BTreeMap<String, u64>) {
        for (kind, count) in counts {
            self.row(name, &grouped(*count), kind);
        }
    }

    /// A row that is worth a line only if it is not zero.
    fn optional(&mut self, name: &str, value: u64) {
        if value > 0 {
            self.row(name, &grouped(value), "");
        }
    }
}

fn span(spans: &crate::tally::Percentiles, what: &str) -> String {
    if spans.count == 0 {
        return String::new();
    }
    format!("{what} p50 {}, p99 {}, max {}", spans.p50, spans.p99, spans.max)
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(place);
        if place > 0 && left.is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_calm_run_has_a_short_table() {
        let totals = Totals { ever_connected: 3, telemetry: 30, confirmed: 30, ..Totals::default() };
        let report = Report::new(3, 1, Duration::from_secs(12), Duration::from_secs(10), totals, Vec::new());
        assert_eq!((report.rate, report.never_connected), (3.0, 0));
        let table = report.table();
        assert!(table.contains("telemetry sent") && table.contains("3/s over 10.0 s"), "{table}");
        assert!(!table.contains("never connected") && !table.contains("in doubt"), "{table}");
    }

    #[test]
    fn what_went_wrong_is_in_the_table_and_the_line() {
        let totals = Totals { ever_connected: 1, in_doubt: 2, refused: 5, ..Totals::default() };
        let report =
            Report::new(3, 1, Duration::from_secs(1), Duration::from_secs(1), totals.clone(), Vec::new());
        assert_eq!(report.never_connected, 2);
        let table = report.table();
        assert!(table.contains("never connected") && table.contains("in doubt"), "{table}");
        assert!(line(3, &totals, 0.0).ends_with("refused 5"));
    }

    #[test]
    fn programs_find_everything_at_the_top_level() {
        let report = Report::new(1, 1, Duration::ZERO, Duration::ZERO, Totals::default(), Vec::new());
        let json = serde_json::to_value(&report).unwrap();
        for name in [
            "devices",
            "never_connected",
            "telemetry",
            "confirmed",
            "in_doubt",
            "connect_ms",
            "ota",
            "roster",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
    }
}
