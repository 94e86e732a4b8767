//! How many bytes a device's day takes in the database, as a fleet fills it: ten thousand devices for thirty days must fit D1's
//! 10 GB.
//!
//! The clock runs through five weeks hour by hour, with the workers' own statements: hours grow as messages come, are sealed after
//! five days and deleted after thirty. What is measured are whole pages (`dbstat`), with what B-trees leave free in them: more than half,
//! because a page is full while its hours still remember their message ids, and those are longer than the measurements.

use std::collections::BTreeMap;

use rs1_domain::port::{Database, Reader};
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_domain::topic::Channel;
use rs1_domain::wire::Envelope;
use rs1_domain::{DeviceId, MacAddress, Sku, UnixMillis};
use rs1_store::native::NativeDatabase;
use rs1_store::rollups::row_of;
use rs1_store::sql::{rows, run};
use rs1_store::telemetry::{self, EventRow, RollupRow};
use rs1_store::{alerts, devices, seals};
use rs1_telemetry::Message;
use rs1_telemetry::alert::{Alerts, Kind, Signal};
use rs1_telemetry::batch::{self, Intake, Slot};
use serde::Deserialize;
use serde_json::json;

/// Any hour will do.
const BEGIN: UnixMillis = UnixMillis(1_763_690_400_000);
/// Enough that pages are full and split as they are in a large table: a device's hours lie together, and are 720.
const DEVICES: u8 = 12;
/// The clock runs for so long: until every day that is deleted makes room for one that comes.
const DAYS: i64 = 36;
const ROLLUP_DAYS: i64 = 30;
const OPEN_DAYS: i64 = 5;
/// Of a device: it restarts, loses its network and finds it again, complains.
const EVENTS_A_DAY: i64 = 4;
const EVENT_DAYS: i64 = 90;
/// Days between two alerts of a device.
const ALERT_EVERY: i64 = 10;

/// What a device's day may take so that ten thousand of them, for thirty days, leave 30 % of the 10 GB that D1 allows to
/// everything else.
const MOST_BYTES: f64 = 0.7 * 1e10 / (10_000.0 * 30.0);

fn device(number: u8) -> (MacAddress, DeviceId) {
    let mac = MacAddress::parse(&format!("AA:BB:CC:DD:EE:{number:02X}")).unwrap();
    let id = DeviceId::of(&mac);
    (mac, id)
}

/// A message as the firmware sends it: every metric of the contract, with values that wander.
fn message(device: &DeviceId, hour: i64, minute: i64) -> Message {
    let n = hour * 60 + minute;
    let at = UnixMillis(hour * HOUR + minute * MINUTE + 17_123 + n % 977);
    let payload = json!({
        "device_id": device,
        "timestamp": at,
        "firmware_version": "1.2.0",
        "uptime_sec": n * 60,
        "metrics": {
            "system.uptime_sec": n * 60,
            "system.free_heap": 142_000 + (n * 7_919) % 23_456,
            "system.wifi_rssi": -48 - (n * 31) % 17,
            "system.cpu_usage": ((n * 271) % 640) as f64 / 10.0,
            "radar.frames_received": 590 + (n * 13) % 20,
            "radar.frames_invalid": (n * 7) % 3,
            "tracking.active_tracks": (n / 7) % 4,
            "zone.occupancy_changes": (n * 5) % 6,
            "api.connections": n % 2,
        },
    });
    let envelope = Envelope {
        id: format!("0006{n:028X}"),
        device: device.clone(),
        channel: Channel::Telemetry,
        topic: format!("opticworks/{device}/telemetry"),
        client_id: None,
        payload: payload.to_string().into_bytes(),
        received_at: at.plus(180 + n % 91),
    };
    Message::check(envelope).unwrap()
}

/// An hour as it stands after each of the three objects that bring it: 22, 52 and 60 messages.
fn hour_in_three(device: &DeviceId, hour: i64) -> [RollupRow; 3] {
    let mut intake = Intake::default();
    intake.load(&[], vec![((device.clone(), hour), Slot::Empty)]);
    let mut generation = 0;
    [0..22, 22..52, 52..60].map(|minutes| {
        let messages: Vec<_> = minutes.map(|minute| message(device, hour, minute)).collect();
        intake.take(&messages);
        generation += 1;
        let [write] = intake.clone().writes().try_into().unwrap();
        row_of(&batch::Write { generation, ..write })
    })
}

#[derive(Debug, Deserialize)]
struct Size {
    name: String,
    bytes: f64,
}

/// The pages of each table and index.
async fn sizes(db: &NativeDatabase) -> BTreeMap<String, f64> {
    let sql = "SELECT name, sum(pgsize) AS bytes FROM dbstat GROUP BY name";
    let sizes: Vec<Size> = rows(&db.read(sql, &[]).await.unwrap()).unwrap();
    sizes.into_iter().map(|size| (size.name, size.bytes)).collect()
}

/// The bytes that the bench's cost table counts with.
fn priced() -> f64 {
    let prices = include_str!("../../../../tests/bench/lib/prices.mjs");
    let (_, bytes) = prices.split_once("DATABASE_BYTES = 30 * ").unwrap();
    bytes.split_once(';').unwrap().0.replace('_', "").parse().unwrap()
}

#[test]
fn ten_thousand_devices_fit_for_thirty_days_with_room() {
    pollster::block_on(async {
        let db = NativeDatabase::new();
        let empty = sizes(&db).await;
        let fleet: Vec<_> = (0..DEVICES).map(device).collect();
        let enrolled: Vec<_> = fleet
            .iter()
            .map(|(mac_address, device_id)| devices::NewDevice {
                device_id: device_id.clone(),
                mac_address: *mac_address,
                product_sku: Some(Sku::Pro),
                sealed_key: format!("1.{}", "x".repeat(124)),
            })
            .collect();
        db.batch(vec![devices::enroll(&enrolled, BEGIN, "operator@optic.works").unwrap()]).await.unwrap();

        // The hours of a day differ; a day is like the one before.
        let first = BEGIN.hour();
        let day: Vec<Vec<[RollupRow; 3]>> = (0..24)
            .map(|hour| fleet.iter().map(|(_, device)| hour_in_three(device, first + hour)).collect())
            .collect();
        let last_device = fleet.iter().map(|(_, device)| device).max().unwrap();
        for hour in 0..DAYS * 24 {
            let now = first + hour;
            let shifted = (hour - hour % 24) * HOUR;
            let of_day = &day[usize::try_from(hour % 24).unwrap()];
            for part in 0..3 {
                let written: Vec<_> = of_day
                    .iter()
                    .map(|parts| {
                        let row = parts[part].clone();
                        let (last_at, last_received_at) =
                            (row.last_at.plus(shifted), row.last_received_at.plus(shifted));
                        RollupRow { hour: now, last_at, last_received_at, ..row }
                    })
                    .collect();
                run(&db, [telemetry::write_rollups(&written, 3_000_000, None).unwrap()]).await.unwrap();
            }
            let seal = seals::seal(now - OPEN_DAYS * 24 - 1, "", last_device.as_str());
            let delete = telemetry::delete_hours("", last_device, now - ROLLUP_DAYS * 24);
            run(&db, [seal, delete]).await.unwrap();
        }
        let end = UnixMillis((first + DAYS * 24) * HOUR);
        for turn in 0..EVENT_DAYS * EVENTS_A_DAY {
            let at = end.plus(turn * DAY / EVENTS_A_DAY - EVENT_DAYS * DAY);
            let kinds = [
                ("wifi_disconnect", "4way_handshake_timeout"),
                ("wifi_reconnect", ""),
                ("boot", "power_on"),
                ("error", "E1042"),
            ];
            let (kind, detail) = kinds[usize::try_from(turn % 4).unwrap()];
            let events: Vec<_> = fleet
                .iter()
                .map(|(_, device)| EventRow {
                    device_id: Some(device.clone()),
                    at: at.plus(turn % 997),
                    mark: format!("{turn:08x}-0"),
                    kind: kind.into(),
                    detail: detail.into(),
                    count: 1,
                })
                .collect();
            run(&db, [telemetry::record_events(&events).unwrap()]).await.unwrap();
        }
        for turn in 0..EVENT_DAYS / ALERT_EVERY {
            let at = end.plus((turn * ALERT_EVERY - EVENT_DAYS) * DAY);
            for (_, device) in &fleet {
                let mut alerts = Alerts::new(device.clone(), Vec::new());
                let kind = Kind::DeviceOffline;
                let seen = Some("nothing heard for 180 s".to_owned());
                let over = Signal { kind, at: at.plus(HOUR), seen: None };
                alerts.apply(vec![Signal { kind, at, seen }, over]);
                run(&db, [alerts::write(&alerts.changed()).unwrap()]).await.unwrap();
            }
        }

        let days = f64::from(DEVICES) * ROLLUP_DAYS as f64;
        let grown: Vec<_> = sizes(&db)
            .await
            .into_iter()
            .map(|(name, bytes)| {
                let before = empty.get(&name).copied().unwrap_or_default();
                (name, (bytes - before) / days)
            })
            .filter(|(_, bytes)| *bytes > 0.0)
            .collect();
        let total: f64 = grown.iter().map(|(_, bytes)| bytes).sum();
        let gigabytes = total * 10_000.0 * 30.0 / 1e9;
        println!(
            "{total:.0} bytes a device-day, {gigabytes:.2} GB for ten thousand devices and thirty days: {grown:.0?}"
        );
        assert!((priced() / total - 1.0).abs() < 0.01, "the cost table counts with {} bytes", priced());
        assert!(total > 5_000.0, "the database is not as a fleet fills it: {grown:.0?}");
        assert!(
            total < MOST_BYTES,
            "{total:.0} bytes a device-day, and {MOST_BYTES:.0} are allowed: {grown:.0?}"
        );
    });
}
