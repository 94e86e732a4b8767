//! What is wrong with a device, and since when: alerts that open when a condition shows, count how often it does, and end by
//! themselves when it is over.
//!
//! Facts become [`Signal`]s: messages' by [`signals_of`], the registry's by the minute's watch. [`Alerts::apply`] is the state
//! machine; a device has one open alert of a kind. What it changes is read off with [`Alerts::changed`].
//!
//! A condition shows beyond one threshold and is over beyond another, and between the two nothing changes; a measurement is
//! believed to be well again only when it has not been bad for [`Kind::hold`]. Signals of a time before the alert's last are old
//! news and change nothing, so a message that comes again, or late, does not count twice.

use rs1_domain::time::{HOUR, MINUTE, as_millis, as_optional_millis};
use rs1_domain::{DeviceId, RecordId, UnixMillis};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Message;
use crate::event::{self, Event};

/// Free heap in bytes below which memory is low, and from which it is not any more.
const LOW_MEMORY: (f64, f64) = (50_000.0, 60_000.0);
/// The same for memory that is about to end.
const CRITICAL_MEMORY: (f64, f64) = (20_000.0, 25_000.0);
/// Share of invalid radar frames above which there are too many, and up to which there are not any more.
const ERROR_RATE: (f64, f64) = (0.01, 0.005);
/// Frames of a message below which their share says nothing.
const FEWEST_FRAMES: f64 = 100.0;

/// How long a device may be silent.
pub const SILENCE: i64 = 180 * 1_000;
/// How long a radar may be gone before that is critical.
pub const PROLONGED: i64 = HOUR;
/// How long a watchdog's reset is news.
pub const RESET_NEWS: i64 = HOUR;
/// Within that time, in which [`OTA_FAILURES`] updates of a device fail, they are a spike.
pub const OTA_WINDOW: i64 = 24 * HOUR;
/// See [`OTA_WINDOW`].
pub const OTA_FAILURES: u32 = 2;

/// The kinds of alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Less than 50 KB of memory are free.
    LowMemory,
    /// Less than 20 KB are.
    CriticalMemory,
    /// The radar does not answer the device.
    RadarDisconnected,
    /// It has not for an hour.
    RadarProlonged,
    /// More than 1 % of the radar's frames are invalid.
    HighErrorRate,
    /// A task hung, and the device restarted.
    WatchdogReset,
    /// Several updates failed in a day.
    OtaFailureSpike,
    /// The device is silent and did not take its leave.
    DeviceOffline,
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look at it.
    Warning,
    /// Somebody is told.
    Critical,
}

impl Severity {
    /// The word in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 8] = [
        Self::LowMemory,
        Self::CriticalMemory,
        Self::RadarDisconnected,
        Self::RadarProlonged,
        Self::HighErrorRate,
        Self::WatchdogReset,
        Self::OtaFailureSpike,
        Self::DeviceOffline,
    ];

    /// The word in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LowMemory => "low_memory",
            Self::CriticalMemory => "critical_memory",
            Self::RadarDisconnected => "radar_disconnected",
            Self::RadarProlonged => "radar_prolonged",
            Self::HighErrorRate => "high_error_rate",
            Self::WatchdogReset => "watchdog_reset",
            Self::OtaFailureSpike => "ota_failure_spike",
            Self::DeviceOffline => "device_offline",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// How urgent alerts of this kind are.
    pub fn severity(self) -> Severity {
        match self {
            Self::CriticalMemory | Self::RadarProlonged | Self::OtaFailureSpike => Severity::Critical,
            _ => Severity::Warning,
        }
    }

    /// How long after the condition last showed it may be over, in milliseconds: one good measurement among bad ones ends nothing.
    pub fn hold(self) -> i64 {
        match self {
            Self::LowMemory | Self::CriticalMemory | Self::HighErrorRate => 5 * MINUTE,
            _ => 0,
        }
    }
}

/// Something that says how a condition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The condition.
    pub kind: Kind,
    /// As of when, by our clocks.
    pub at: UnixMillis,
    /// It shows, and what is seen of it; or it is over.
    pub seen: Option<String>,
}

/// What a message says of its device. The times are the broker's.
pub fn signals_of(message: &Message) -> Vec<Signal> {
    let mut signals = Vec::new();
    let at = message.received_at;
    let metric = |name| message.telemetry.metric(name);
    if let Some(heap) = metric("system.free_heap") {
        for (kind, (low, well)) in [(Kind::LowMemory, LOW_MEMORY), (Kind::CriticalMemory, CRITICAL_MEMORY)] {
            if heap < low {
                signals.push(Signal { kind, at, seen: Some(format!("{heap} bytes free")) });
            } else if heap >= well {
                signals.push(Signal { kind, at, seen: None });
            }
        }
    }
    if let (Some(frames), Some(invalid)) = (metric("radar.frames_received"), metric("radar.frames_invalid"))
        && frames >= FEWEST_FRAMES
    {
        let kind = Kind::HighErrorRate;
        let (high, well) = ERROR_RATE;
        if invalid > frames * high {
            signals.push(Signal { kind, at, seen: Some(format!("{invalid} of {frames} frames invalid")) });
        } else if invalid <= frames * well {
            signals.push(Signal { kind, at, seen: None });
        }
    }
    for Event { kind, detail, .. } in event::events_of(message) {
        let (kind, seen) = match kind {
            event::Kind::RadarDisconnect => (Kind::RadarDisconnected, Some(detail)),
            event::Kind::RadarReconnect => (Kind::RadarDisconnected, None),
            event::Kind::WatchdogReset => (Kind::WatchdogReset, Some(detail)),
            _ => continue,
        };
        signals.push(Signal { kind, at, seen });
    }
    signals
}

/// An alert, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// `alr-…`; made of what it is about and of when it began, so that whoever finds it finds the same.
    pub alert_id: String,
    /// The device.
    pub device_id: DeviceId,
    /// What is wrong.
    pub kind: Kind,
    /// How urgent it is.
    pub severity: Severity,
    /// When it was first seen.
    #[serde(with = "as_millis")]
    pub opened_at: UnixMillis,
    /// When it was last seen.
    #[serde(with = "as_millis")]
    pub last_at: UnixMillis,
    /// How often it was seen.
    pub occurrences: i64,
    /// What was last seen of it.
    pub detail: String,
    /// When it was over.
    #[serde(with = "as_optional_millis")]
    pub resolved_at: Option<UnixMillis>,
    /// Counts writes, from 1; 0 for one that was never written.
    pub generation: i64,
}

impl Alert {
    fn open(device: &DeviceId, kind: Kind, at: UnixMillis, detail: String) -> Self {
        let digest = Sha256::digest(format!("{device} {}", kind.as_str()));
        let mut bytes = [0; 10];
        for (byte, of_digest) in bytes.iter_mut().zip(digest) {
            *byte = of_digest;
        }
        Self {
            alert_id: RecordId::generate("alr", at, bytes).to_string(),
            device_id: device.clone(),
            kind,
            severity: kind.severity(),
            opened_at: at,
            last_at: at,
            occurrences: 1,
            detail,
            resolved_at: None,
            generation: 0,
        }
    }
}

/// A device's alerts, as far as they are open, and what becomes of them.
#[derive(Clone, Debug)]
pub struct Alerts {
    device: DeviceId,
    /// Those that were loaded, as they are now, and those that were opened since.
    alerts: Vec<(Alert, bool)>,
}

impl Alerts {
    /// The open alerts of a device.
    pub fn new(device: DeviceId, open: Vec<Alert>) -> Self {
        Self { device, alerts: open.into_iter().map(|alert| (alert, false)).collect() }
    }

    /// Takes signals in, in the order of their times.
    pub fn apply(&mut self, mut signals: Vec<Signal>) {
        signals.sort_by_key(|signal| signal.at);
        for signal in signals {
            self.take(signal);
        }
    }

    fn take(&mut self, Signal { kind, at, seen }: Signal) {
        match (seen, self.open(kind)) {
            (Some(detail), Some((alert, changed))) => {
                if at > alert.last_at {
                    alert.last_at = at;
                    alert.occurrences = alert.occurrences.saturating_add(1);
                    alert.detail = detail;
                    *changed = true;
                }
            }
            (Some(detail), None) => self.alerts.push((Alert::open(&self.device, kind, at, detail), true)),
            (None, Some((alert, changed))) => {
                if at.since(alert.last_at) >= kind.hold().max(1) {
                    alert.resolved_at = Some(at);
                    *changed = true;
                    // A radar that answers again has not been gone for long any more.
                    if kind == Kind::RadarDisconnected {
                        self.take(Signal { kind: Kind::RadarProlonged, at, seen: None });
                    }
                }
            }
            (None, None) => {}
        }
    }

    fn open(&mut self, kind: Kind) -> Option<&mut (Alert, bool)> {
        self.alerts.iter_mut().find(|(alert, _)| alert.kind == kind && alert.resolved_at.is_none())
    }

    /// The alerts that are not as they were loaded, to be written where nobody wrote meanwhile: each with the generation that it
    /// becomes. Those that ended come before those that opened in their place.
    pub fn changed(self) -> Vec<Alert> {
        let changed = self.alerts.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(alert, _)| Alert { generation: alert.generation.saturating_add(1), ..alert }).collect()
    }
}

/// The alerts of many devices: of those that have some.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// In the order of the devices. Few have alerts.
    alerts: Vec<Alerts>,
}

impl Register {
    fn place(&self, device: &DeviceId) -> Result<usize, usize> {
        self.alerts.binary_search_by(|alerts| alerts.device.cmp(device))
    }

    /// Takes what is stored of a device's open alerts, unless that was known.
    pub fn load(&mut self, device: DeviceId, open: Vec<Alert>) {
        if let Err(place) = self.place(&device) {
            self.alerts.insert(place, Alerts::new(device, open));
        }
    }

    /// Takes in what a device's messages say, in the order of their times. Good news of a device without an alert is no news.
    pub fn apply(&mut self, device: &DeviceId, signals: Vec<Signal>) {
        if signals.iter().any(|signal| signal.seen.is_some()) {
            self.load(device.clone(), Vec::new());
        }
        if let Some(alerts) = self.place(device).ok().and_then(|place| self.alerts.get_mut(place)) {
            alerts.apply(signals);
        }
    }

    /// See [`Alerts::changed`].
    pub fn changed(self) -> Vec<Alert> {
        self.alerts.into_iter().flat_map(Alerts::changed).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs1_domain::topic::Channel;
    use rs1_domain::wire::Envelope;
    use serde_json::{Value, json};

    use super::*;
    use crate::queued::tests::{ID, NOW, message_at};

    fn device() -> DeviceId {
        DeviceId::parse(ID).unwrap()
    }

    /// What a message that arrives so many minutes after [`NOW`] says.
    fn measured(minutes: i64, metrics: &Value) -> Vec<Signal> {
        let at = NOW.plus(minutes * MINUTE);
        signals_of(&message_at("m", at, at, metrics))
    }

    fn heap(minutes: i64, bytes: i64) -> Vec<Signal> {
        measured(minutes, &json!({"system.free_heap": bytes}))
    }

    fn seen(kind: Kind, minutes: i64) -> Signal {
        Signal { kind, at: NOW.plus(minutes * MINUTE), seen: Some("x".to_owned()) }
    }

    fn over(kind: Kind, minutes: i64) -> Signal {
        Signal { seen: None, ..seen(kind, minutes) }
    }

    /// Loads, applies and stores, one list of signals after the other; every alert there ever was. As in the database, who writes an
    /// alert that has gone on meanwhile writes nothing.
    fn after(steps: Vec<Vec<Signal>>) -> Vec<Alert> {
        let mut stored: Vec<Alert> = Vec::new();
        for signals in steps {
            let open = stored.iter().filter(|alert| alert.resolved_at.is_none()).cloned().collect();
            let mut alerts = Alerts::new(device(), open);
            alerts.apply(signals);
            for alert in alerts.changed() {
                match stored.iter_mut().find(|known| known.alert_id == alert.alert_id) {
                    Some(known) if known.generation + 1 == alert.generation => *known = alert,
                    Some(_) => {}
                    None => stored.push(alert),
                }
            }
        }
        stored
    }

    fn summary(alerts: &[Alert]) -> Vec<(&'static str, i64, i64, Option<i64>)> {
        let minutes = |at: UnixMillis| at.since(NOW) / MINUTE;
        let row = |alert: &Alert| {
            (alert.kind.as_str(), minutes(alert.opened_at), alert.occurrences, alert.resolved_at.map(minutes))
        };
        alerts.iter().map(row).collect()
    }

    #[test]
    fn low_memory_opens_counts_and_ends_beyond_the_other_threshold_after_a_while() {
        let steps = vec![heap(0, 50_000), heap(1, 49_999), heap(2, 40_000), heap(3, 55_000), heap(4, 61_000)];
        assert_eq!(summary(&after(steps.clone())), [("low_memory", 1, 2, None)], "well for a moment only");
        let ended = [steps, vec![heap(5, 59_999), heap(7, 60_000)]].concat();
        assert_eq!(summary(&after(ended.clone())), [("low_memory", 1, 2, Some(7))]);
        let again = [ended, vec![heap(8, 10)]].concat();
        let alerts = after(again);
        let expected =
            [("low_memory", 1, 2, Some(7)), ("low_memory", 8, 1, None), ("critical_memory", 8, 1, None)];
        assert_eq!(summary(&alerts), expected);
        assert_eq!(alerts[2].detail, "10 bytes free");
    }

    #[test]
    fn invalid_frames_are_an_alert_by_their_share_of_enough() {
        let frames = |minutes, received: i64, invalid: i64| {
            measured(minutes, &json!({"radar.frames_received": received, "radar.frames_invalid": invalid}))
        };
        assert_eq!(after(vec![frames(0, 1_000, 10), frames(1, 99, 99), frames(2, 600, 0)]), []);
        let steps = vec![frames(0, 1_000, 11), frames(6, 1_000, 6), frames(7, 1_000, 5)];
        assert_eq!(summary(&after(steps)), [("high_error_rate", 0, 1, Some(7))]);
        assert_eq!(measured(0, &json!({"radar.frames_received": 600})), [], "who does not say is not asked");
    }

    #[test]
    fn log_lines_tell_of_the_radar_and_the_watchdog() {
        let told = |minutes: i64, tag: &str, text: &str| {
            let at = NOW.plus(minutes * MINUTE);
            let logs = json!([{"ts": 1, "lvl": "W", "tag": tag, "msg": text}]);
            let payload = json!({"device_id": ID, "timestamp": at, "metrics": {}, "logs": logs});
            let envelope = Envelope {
                id: "m".into(),
                device: device(),
                channel: Channel::Telemetry,
                topic: format!("opticworks/{ID}/telemetry"),
                client_id: None,
                payload: payload.to_string().into_bytes(),
                received_at: at,
            };
            signals_of(&Message::check(envelope).unwrap())
        };
        let steps = vec![
            told(0, "RADAR", "radar_disconnect:uart"),
            vec![seen(Kind::RadarProlonged, 61)],
            told(70, "MAIN", "watchdog_reset:radar_task"),
            told(80, "RADAR", "radar_reconnect"),
        ];
        let alerts = after(steps);
        let expected = [
            ("radar_disconnected", 0, 1, Some(80)),
            ("radar_prolonged", 61, 1, Some(80)),
            ("watchdog_reset", 70, 1, None),
        ];
        assert_eq!(summary(&alerts), expected);
        assert_eq!(alerts[2].detail, "radar_task");
        assert_eq!(told(1, "BOOT", "boot:power_on"), []);
    }

    #[test]
    fn old_news_changes_nothing() {
        let steps = vec![
            vec![seen(Kind::DeviceOffline, 5)],
            vec![seen(Kind::DeviceOffline, 5)],
            vec![seen(Kind::DeviceOffline, 3)],
            vec![over(Kind::DeviceOffline, 5)],
            vec![over(Kind::DeviceOffline, 4)],
        ];
        assert_eq!(summary(&after(steps)), [("device_offline", 5, 1, None)]);
    }

    #[test]
    fn every_kind_has_a_word_and_its_urgency() {
        let critical: Vec<_> = Kind::ALL
            .into_iter()
            .inspect(|kind| assert_eq!(Kind::parse(kind.as_str()), Some(*kind)))
            .filter(|kind| kind.severity() == Severity::Critical)
            .map(Kind::as_str)
            .collect();
        assert_eq!(critical, ["critical_memory", "radar_prolonged", "ota_failure_spike"]);
    }

    fn any_signal() -> impl Strategy<Value = Signal> {
        (0_usize..8, 0_i64..60, any::<bool>()).prop_map(|(kind, minutes, shows)| {
            let kind = Kind::ALL[kind];
            if shows { seen(kind, minutes) } else { over(kind, minutes) }
        })
    }

    proptest! {
        /// Whatever comes, in whatever order: one open alert of a kind at most, none ends before it was last seen, and each has its
        /// own id.
        #[test]
        fn there_is_one_open_alert_of_a_kind(steps in proptest::collection::vec(proptest::collection::vec(any_signal(), 0..5), 0..30)) {
            let alerts = after(steps);
            for kind in Kind::ALL {
                let of_kind: Vec<_> = alerts.iter().filter(|alert| alert.kind == kind).collect();
                prop_assert!(of_kind.iter().filter(|alert| alert.resolved_at.is_none()).count() <= 1);
                for alert in &of_kind {
                    prop_assert!(alert.opened_at <= alert.last_at && alert.occurrences >= 1);
                    prop_assert!(alert.resolved_at.is_none_or(|at| kind == Kind::RadarProlonged || at > alert.last_at));
                }
            }
            let mut ids: Vec<_> = alerts.iter().map(|alert| alert.alert_id.clone()).collect();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), alerts.len());
        }

        /// Signals in the order of their times mean the same however they are cut into batches.
        #[test]
        fn how_signals_are_cut_into_batches_does_not_matter(
            signals in proptest::collection::vec(any_signal(), 0..40),
            cuts in proptest::collection::vec(1_usize..6, 40),
        ) {
            let mut signals = signals;
            signals.sort_by_key(|signal| (signal.at, signal.kind));
            signals.dedup_by_key(|signal| (signal.at, signal.kind));
            let whole = after(vec![signals.clone()]);
            let mut batches = Vec::new();
            let mut rest = &signals[..];
            for cut in cuts {
                let (batch, others) = rest.split_at(cut.min(rest.len()));
                batches.push(batch.to_vec());
                rest = others;
            }
            batches.push(rest.to_vec());
            let bare = |alerts: Vec<Alert>| alerts.into_iter().map(|alert| Alert { generation: 0, ..alert }).collect::<Vec<_>>();
            prop_assert_eq!(bare(after(batches)), bare(whole));
        }
    }
}
