//! The simulated hardware: a radar that counts frames, a heap that breathes, a radio that fades, and
//! the two payloads that tell of them (contract, sections 3.1 and 3.2).

use rs1_domain::time::SECOND;
use rs1_domain::{DeviceId, FirmwareVersion, Sku, UnixMillis};
use serde_json::{Value, json};

use super::{Kind, Message};
use crate::ota::{Boot, Report};

/// Frames that both radars deliver in a second.
const FRAMES_PER_SECOND: f64 = 10.0;
/// One telemetry message in this many finds that the radar has gone, or is back.
const RADAR_TROUBLE: u32 = 2_000;
/// Log lines kept for the next message; the contract allows 100.
const LOG_LINES: usize = 20;

/// One device's hardware and what it remembers.
#[derive(Debug)]
pub struct Hardware {
    id: DeviceId,
    sku: Sku,
    /// The version that runs.
    firmware: FirmwareVersion,
    random: fastrand::Rng,
    /// How far its clock is off, in milliseconds.
    skew: i64,
    /// Whether the owner consents to log lines.
    logging: bool,
    booted_at: UnixMillis,
    boot_count: u32,
    reset_reason: &'static str,
    /// The last stamp given out; the next is later, whatever the clock does.
    last_stamp: UnixMillis,
    /// When counters were last reported, by the true clock.
    counted_from: UnixMillis,
    free_heap: f64,
    rssi: f64,
    radar_connected: bool,
    /// Version of the zone configuration it applied; 0 is none.
    pub(super) config_version: i64,
    /// Zones in it.
    pub(super) zone_count: usize,
    log: Vec<Value>,
    changed: bool,
}

impl Hardware {
    /// A device that has just been switched on. `skew` is how far its clock is off, in milliseconds.
    pub fn new(
        id: DeviceId,
        sku: Sku,
        firmware: FirmwareVersion,
        random: fastrand::Rng,
        skew: i64,
        logging: bool,
        now: UnixMillis,
    ) -> Self {
        let mut random = random;
        let mut hardware = Self {
            id,
            sku,
            firmware,
            skew,
            logging,
            booted_at: now,
            boot_count: random.u32(1..40),
            reset_reason: "power_on",
            last_stamp: UnixMillis(0),
            counted_from: now,
            free_heap: 150_000.0 + 20_000.0 * random.f64(),
            rssi: -45.0 - 25.0 * random.f64(),
            radar_connected: true,
            config_version: 0,
            zone_count: 0,
            log: Vec::new(),
            changed: false,
            random,
        };
        hardware.log(now, 'I', "BOOT", "boot:power_on");
        hardware
    }

    /// The state, as it is now or, for a last will and a goodbye, with `online` false.
    pub fn state(&mut self, now: UnixMillis, online: bool) -> Message {
        self.changed = false;
        let state = json!({
            "online": online,
            "firmware_version": self.firmware,
            "last_seen": self.stamp(now),
            "protocol_version": "1.0",
            "product_sku": self.sku,
            "uptime_sec": self.uptime_sec(now),
            "wifi_rssi": self.wifi_rssi(),
            "config_version": self.config_version,
            "zone_count": self.zone_count,
            "radar_connected": self.radar_connected,
            "boot_count": self.boot_count,
            "reset_reason": self.reset_reason,
        });
        Message {
            kind: Kind::State,
            topic: "state",
            acknowledged: true,
            retained: true,
            payload: bytes(&state),
        }
    }

    /// Measures and tells. Counters count since the last call.
    pub fn telemetry(&mut self, now: UnixMillis) -> Message {
        self.live_on(now);
        let elapsed = as_float(now.since(self.counted_from).max(0)) / as_float(SECOND);
        self.counted_from = now;
        let frames = if self.radar_connected { elapsed * FRAMES_PER_SECOND } else { 0.0 };
        let (most_tracks, occupancy) = match self.sku {
            Sku::Lite => (1, 0.02),
            Sku::Pro => (3, 0.05),
        };
        let mut telemetry = json!({
            "device_id": self.id,
            "timestamp": self.stamp(now),
            "firmware_version": self.firmware,
            "uptime_sec": self.uptime_sec(now),
            "metrics": {
                "system.uptime_sec": self.uptime_sec(now),
                "system.free_heap": self.free_heap(),
                "system.wifi_rssi": self.wifi_rssi(),
                "system.cpu_usage": tenths(8.0 + 20.0 * self.random.f64()),
                "radar.frames_received": whole(frames),
                "radar.frames_invalid": whole(frames * 0.002 * self.random.f64()),
                "tracking.active_tracks": if self.radar_connected { self.random.u32(0..=most_tracks) } else { 0 },
                "zone.occupancy_changes": whole(elapsed * occupancy * self.random.f64()),
                "api.connections": self.random.u32(0..=2),
            },
        });
        let logs = std::mem::take(&mut self.log);
        if let (false, Some(object)) = (logs.is_empty(), telemetry.as_object_mut()) {
            object.insert("logs".to_owned(), Value::Array(logs));
        }
        Message {
            kind: Kind::Telemetry,
            topic: "telemetry",
            acknowledged: false,
            retained: false,
            payload: bytes(&telemetry),
        }
    }

    /// Says how an update goes.
    pub fn ota_status(&mut self, report: &Report, now: UnixMillis) -> Message {
        let status = json!({
            "status": report.status.name(),
            "version": report.version,
            "progress": report.progress,
            "error": report.error,
            "rollout_id": report.rollout_id,
            "timestamp": self.stamp(now),
        });
        Message {
            kind: Kind::OtaStatus,
            topic: "ota/status",
            acknowledged: true,
            retained: true,
            payload: bytes(&status),
        }
    }

    /// Restarts: memory and uptime begin anew.
    pub fn boot(&mut self, boot: &Boot, now: UnixMillis) {
        if let Some((firmware, _)) = &boot.image {
            self.firmware = firmware.clone();
        }
        self.boot_count = self.boot_count.saturating_add(boot.boots);
        self.reset_reason = boot.reason;
        (self.booted_at, self.counted_from) = (now, now);
        self.log.clear();
        self.log(now, 'I', "BOOT", &format!("boot:{}", boot.reason));
    }

    /// The version that runs.
    pub fn firmware(&self) -> &FirmwareVersion {
        &self.firmware
    }

    /// The time by the device's clock.
    pub fn clock(&self, now: UnixMillis) -> UnixMillis {
        now.plus(self.skew)
    }

    /// The strength of its signal in dBm.
    pub fn wifi_rssi(&self) -> i64 {
        whole(self.rssi)
    }

    /// Whether the state says something that was not published yet.
    pub fn has_news(&self) -> bool {
        self.changed
    }

    /// A stamp by the device's clock, later than every stamp before it.
    pub(super) fn stamp(&mut self, now: UnixMillis) -> UnixMillis {
        self.last_stamp = self.clock(now).max(self.last_stamp.plus(1));
        self.last_stamp
    }

    /// Notes a log line for the next telemetry message, if the owner consents.
    pub(super) fn log(&mut self, now: UnixMillis, level: char, tag: &str, text: &str) {
        if self.logging && self.log.len() < LOG_LINES {
            let ts = now.since(self.booted_at).max(0);
            self.log.push(json!({"ts": ts, "lvl": level, "tag": tag, "msg": text}));
        }
    }

    /// Something that the state tells of is other than it was.
    pub fn note_change(&mut self) {
        self.changed = true;
    }

    pub(super) fn sku(&self) -> Sku {
        self.sku
    }

    pub(super) fn uptime_sec(&self, now: UnixMillis) -> i64 {
        now.since(self.booted_at).max(0).checked_div(SECOND).unwrap_or(0)
    }

    pub(super) fn free_heap(&self) -> i64 {
        whole(self.free_heap)
    }

    fn live_on(&mut self, now: UnixMillis) {
        self.free_heap = (self.free_heap + 4_000.0 * (self.random.f64() - 0.5)).clamp(80_000.0, 200_000.0);
        self.rssi = (self.rssi + 4.0 * (self.random.f64() - 0.5)).clamp(-88.0, -35.0);
        if self.random.u32(0..RADAR_TROUBLE) == 0 {
            self.radar_connected = !self.radar_connected;
            self.changed = true;
            let (level, text) = if self.radar_connected {
                ('I', "radar_reconnect:frames again")
            } else {
                ('W', "radar_disconnect:no frames")
            };
            self.log(now, level, "RADAR", text);
        }
    }
}

pub(super) fn bytes(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

#[expect(clippy::cast_possible_truncation, reason = "counts and sizes, far below 2^53")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn as_float(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs1_domain::wire::{State, Telemetry};

    use super::*;

    fn noon() -> UnixMillis {
        UnixMillis::parse_rfc3339("2026-01-20T12:00:00Z").unwrap()
    }

    fn id() -> DeviceId {
        DeviceId::parse("3e32e97b9d6cf5e193d3a3a7e8fd9a97").unwrap()
    }

    fn hardware(sku: Sku, seed: u64, skew: i64) -> Hardware {
        Hardware::new(id(), sku, firmware("1.2.0"), fastrand::Rng::with_seed(seed), skew, true, noon())
    }

    fn firmware(version: &str) -> FirmwareVersion {
        FirmwareVersion::parse(version).unwrap()
    }

    #[test]
    fn counters_count_since_the_last_message() {
        let mut hardware = hardware(Sku::Pro, 8, 0);
        let mut frames = |seconds: i64| {
            let message = hardware.telemetry(noon().plus(seconds * SECOND));
            Telemetry::read(&message.payload, &id()).unwrap().metric("radar.frames_received").unwrap()
        };
        assert_eq!([frames(60), frames(90), frames(90)], [600.0, 300.0, 0.0]);
    }

    #[test]
    fn the_boot_is_told_once_and_only_with_consent() {
        let logs = |message: &Message| Telemetry::read(&message.payload, &id()).unwrap().logs;
        let mut open = hardware(Sku::Pro, 8, 0);
        assert_eq!(logs(&open.telemetry(noon()))[0].message, "boot:power_on");
        assert_eq!(logs(&open.telemetry(noon())), []);
        let random = fastrand::Rng::with_seed(8);
        let mut shy = Hardware::new(id(), Sku::Pro, firmware("1.2.0"), random, 0, false, noon());
        assert_eq!(logs(&shy.telemetry(noon())), []);
    }

    #[test]
    fn after_a_boot_the_state_is_that_of_another_life() {
        let mut hardware = hardware(Sku::Pro, 8, 0);
        let before = State::read(&hardware.state(noon().plus(60 * SECOND), true).payload).unwrap();
        let boot = Boot { image: Some((firmware("1.3.0"), 1)), boots: 1, reason: "software" };
        hardware.boot(&boot, noon().plus(70 * SECOND));
        let after = State::read(&hardware.state(noon().plus(75 * SECOND), true).payload).unwrap();
        assert_eq!(after.firmware_version, firmware("1.3.0"));
        assert_eq!((before.uptime_sec, after.uptime_sec), (Some(60), Some(5)));
        assert_eq!(after.boot_count, before.boot_count.map(|count| count + 1));
        assert_eq!(after.reset_reason, Some("software"));
        hardware.boot(&Boot { image: None, boots: 2, reason: "watchdog" }, noon().plus(80 * SECOND));
        let again = State::read(&hardware.state(noon().plus(81 * SECOND), true).payload).unwrap();
        assert_eq!(
            (again.firmware_version, again.boot_count),
            (firmware("1.3.0"), after.boot_count.map(|c| c + 2))
        );
    }

    #[test]
    fn radars_seldom_fail() {
        let changes = (0..500).map(|seed| {
            let mut hardware = hardware(Sku::Pro, seed, 0);
            let changes = |_: &u32| {
                let before = hardware.radar_connected;
                hardware.live_on(noon());
                hardware.radar_connected != before
            };
            (0..40).filter(changes).count()
        });
        // 20,000 messages, so ten are to be expected.
        assert!((2..30).contains(&changes.sum::<usize>()));
    }

    proptest! {
        #[test]
        fn the_cloud_understands_all_it_says_and_no_two_messages_share_a_time(
            seed: u64, pro: bool, skew in -600_000_i64..600_000, steps in prop::collection::vec(-5_000_i64..120_000, 1..50),
        ) {
            let sku = if pro { Sku::Pro } else { Sku::Lite };
            let mut hardware = hardware(sku, seed, skew);
            let (mut now, mut last) = (noon(), UnixMillis(0));
            for step in steps {
                now = now.plus(step);
                let telemetry = Telemetry::read(&hardware.telemetry(now).payload, &id()).unwrap();
                prop_assert_eq!(telemetry.metrics.len(), 9);
                prop_assert!(telemetry.timestamp > last);
                let state = State::read(&hardware.state(now, true).payload).unwrap();
                prop_assert!(state.last_seen > telemetry.timestamp);
                prop_assert_eq!(state.product_sku, Some(sku));
                last = state.last_seen;
            }
        }

        #[test]
        fn a_skewed_clock_shows_in_the_stamps_alone(seed: u64, skew in -600_000_i64..600_000) {
            let stamp = |skew| Telemetry::read(&hardware(Sku::Pro, seed, skew).telemetry(noon()).payload, &id()).unwrap();
            let (right, wrong) = (stamp(0), stamp(skew));
            prop_assert_eq!(wrong.timestamp.since(right.timestamp), skew);
            prop_assert_eq!(wrong.metrics, right.metrics);
        }
    }
}
