//! How long the planner takes: `cargo run --release -p rs1-rollout --example rs1-rollout-bench`.
//!
//! Prints one JSON object: for fleets of 10,000 and 100,000 devices, the milliseconds of one plan (median and the slowest of
//! all runs) in the middle of a rollout, where there is the most to look at: a stage of half the fleet, of which a third is
//! confirmed, a third is under way and a third waits its turn; and the time to read such a fleet's attempts from the JSON
//! in which they are stored.

use std::time::Instant;

use rs1_domain::time::{HOUR, MINUTE};
use rs1_domain::wire::{OtaPhase, OtaStatus};
use rs1_domain::{DeviceId, FirmwareVersion, RecordId, Sku, UnixMillis};
use rs1_rollout::{
    Attempt, Device, Fact, Policy, Rollout, Selector, Sighting, Snapshot, Stage, Status, StatusReport,
    Target, Trigger, plan,
};

/// 2026-01-20T10:00:00Z.
const T0: UnixMillis = UnixMillis(1_768_903_200_000);
const RUNS: usize = 31;

fn main() {
    let sizes: Vec<String> = [10_000, 100_000].into_iter().map(measure).collect();
    println!("{{\"planner\":[{}]}}", sizes.join(","));
}

fn measure(devices: u32) -> String {
    let (rollout, policy) = (rollout(), Policy::default());
    let snapshot = Snapshot { devices: (0..devices).filter_map(device).collect(), ..Snapshot::default() };
    let now = T0.plus(HOUR);
    let mut decided = 0;
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let (millis, plan) = timed(|| plan(&rollout, &policy, &snapshot, now));
            decided = plan.actions.len();
            millis
        })
        .collect();
    assert_eq!(decided, 100, "a run in the middle of a rollout decides as many triggers as it may");
    times.sort_by(f64::total_cmp);

    let stored: Vec<String> = snapshot
        .devices
        .iter()
        .filter_map(|device| serde_json::to_string(device.attempt.as_deref()?).ok())
        .collect();
    let (reading, read) =
        timed(|| stored.iter().filter(|text| serde_json::from_str::<Attempt>(text).is_ok()).count());
    assert_eq!(read, stored.len(), "every attempt reads back");

    let [median, slowest] = [times.get(RUNS / 2), times.last()].map(|time| time.copied().unwrap_or_default());
    format!(
        "{{\"devices\":{devices},\"ms\":{median:.3},\"slowest_ms\":{slowest:.3},\"attempts\":{read},\"read_attempts_ms\":{reading:.3}}}"
    )
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let done = work();
    (begun.elapsed().as_secs_f64() * 1e3, done)
}

fn rollout() -> Rollout {
    Rollout {
        id: RecordId::generate("rol", T0, [1; 10]),
        sku: Sku::Pro,
        version: version("1.2.0"),
        fw_version: 12,
        elf_sha256: None,
        status: Status::Staged,
        stages: Stage::defaults(),
        stage: 2,
        stage_started_at: Some(T0),
        min_rssi: -70,
        force: false,
        rate_per_minute: 100,
        selector: Selector::default(),
        schedule_at: None,
        acknowledged_at: None,
        generation: 7,
    }
}

/// The `n`-th device. Ids are spread like real ones, which are hashes.
fn device(n: u32) -> Option<Device> {
    let spread = u128::from(n).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mut device = Device {
        sku: Some(Sku::Pro),
        online: true,
        presence_at: T0,
        version: Some(version("1.1.0")),
        wifi_rssi: Some(-55),
        boot_count: Some(5),
        uptime_sec: Some(86_400),
        state_at: T0,
        ..Device::new(DeviceId::parse(&format!("{spread:032x}"))?)
    };
    let steps = match (device.cohort < 50, n.checked_rem(3)) {
        (true, Some(0)) => 5,
        (true, Some(1)) => 3,
        _ => return Some(device),
    };
    let attempt = attempt(&device, steps);
    if steps == 5 {
        device.confirmed_at = attempt.closed_at;
        device.version = Some(version("1.2.0"));
    }
    device.attempt = Some(Box::new(attempt));
    Some(device)
}

/// An attempt that has come so far: sent, acknowledged, downloading, installed, confirmed.
fn attempt(device: &Device, steps: usize) -> Attempt {
    let trigger = Trigger {
        attempt: 1,
        stage: 2,
        offers: 0,
        first_triggered_at: T0,
        send_at: T0,
        from_version: device.version.clone(),
        boot: rs1_rollout::attempt::Boot { count: Some(5), at: Some(T0.plus(-24 * HOUR)) },
    };
    let target = Target { version: version("1.2.0"), elf_sha256: None };
    let report = |status, minute: i64| {
        let received_at = T0.plus(minute.saturating_mul(MINUTE));
        let status = OtaStatus {
            status,
            version: version("1.2.0"),
            progress: Some(40),
            error: None,
            rollout_id: None,
            timestamp: received_at,
        };
        Fact::Report(StatusReport { status, received_at })
    };
    let confirmation = Sighting {
        received_at: T0.plus(5 * MINUTE),
        online: true,
        version: version("1.2.0"),
        elf_sha256: None,
        boot_count: Some(6),
        uptime_sec: Some(9),
        new_connection: true,
    };
    let facts = [
        Fact::Sent { attempt: 1, at: T0 },
        report(OtaPhase::Pending, 1),
        report(OtaPhase::Downloading, 2),
        report(OtaPhase::Success, 4),
        Fact::State(confirmation),
    ];
    facts.iter().take(steps).fold(Attempt::begin(&trigger, T0), |attempt, fact| {
        attempt.apply(&target, fact, fact.known_at()).attempt().cloned().unwrap_or(attempt)
    })
}

fn version(text: &str) -> FirmwareVersion {
    #[expect(clippy::expect_used, reason = "a benchmark's own constants")]
    FirmwareVersion::parse(text).expect("a version")
}
