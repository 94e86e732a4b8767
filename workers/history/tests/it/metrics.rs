//! Metrics for Prometheus: who may see them, what they say, and what asking costs.

use std::collections::BTreeSet;

use pollster::block_on;
use rs1_auth::access_token::AccessTokens;
use rs1_domain::http::METRICS;
use rs1_domain::time::{HOUR, MINUTE};
use rs1_domain::{Answer, DeviceId, MacAddress, Method};
use rs1_store::native::Failure;
use rs1_store::tallies::{self, Compacted, Door, Tally};
use rs1_store::telemetry::{RollupRow, write_rollups};
use rs1_store::{alerts, cron, devices, hours, seals};
use rs1_telemetry::alert::{Alerts, Kind, Signal};
use rs1_telemetry::batch::Adds;

use crate::common::{Cloud, NOW, cloud, operator_token};

const PATH: &str = "/api/admin/metrics";

impl Cloud {
    fn scrape_with(&self, query: &str) -> Answer {
        self.request(PATH, query, vec![("authorization", format!("Bearer {}", operator_token()))])
    }

    #[track_caller]
    fn scrape(&self) -> String {
        let answer = self.scrape_with("");
        assert_eq!((answer.status, answer.content_type), (200, Some(METRICS)), "{}", answer.body);
        answer.body
    }

    /// Another device, which says that it runs this.
    fn enroll(&self, number: u8, version: Option<&str>) {
        let mac_address = MacAddress::from_bytes([2, 0, 0, 0, 0, number]);
        let device = DeviceId::of(&mac_address);
        let new = devices::NewDevice {
            device_id: device.clone(),
            mac_address,
            product_sku: None,
            sealed_key: "1.x".into(),
        };
        self.run(devices::enroll(&[new], NOW, "ada").unwrap());
        self.sql(
            "UPDATE devices SET firmware_version = ?2, online = 1, last_seen_at = ?3 WHERE device_id = ?1",
            vec![device.as_str().into(), version.into(), NOW.plus(-MINUTE).into()],
        );
    }

    fn tally(&self, door: Door, received: u64, tally: &Tally) {
        let row = RollupRow {
            device_id: self.device.clone(),
            hour: NOW.hour() - 1,
            messages: 1,
            last_at: NOW,
            last_received_at: NOW,
            metrics: "{}".into(),
            seen: Some("abcdefgh".into()),
            generation: 1,
            adds: Adds { messages: received, duplicates: 1, bytes: received * 250 },
        };
        self.run(write_rollups(&[row], 0, Some((door, tally))).unwrap());
    }
}

#[track_caller]
fn has(text: &str, sample: &str) {
    assert!(text.lines().any(|line| line == sample), "there is no {sample} in\n{text}");
}

#[test]
fn a_day_of_the_pipeline_is_told() {
    let cloud = cloud();
    let tally = Tally {
        duplicates: 2,
        late: 3,
        malformed: 4,
        not_enrolled: 5,
        damaged: 6,
        objects: 7,
        taken_at: Some(NOW),
        oldest_age: 1_250,
    };
    cloud.tally(Door::Webhook, 60, &tally);
    let mut of_device = Alerts::new(cloud.device.clone(), Vec::new());
    of_device.apply(vec![Signal { kind: Kind::CriticalMemory, at: NOW, seen: Some("19 KB".into()) }]);
    cloud.run(alerts::write(&of_device.changed()).unwrap());
    cloud.run(seals::note(1, seals::END, seals::Compared { checked: 9, more: 1, fewer: 1, other: 0 }, NOW));
    cloud.run(seals::note_repaired(1, 2, NOW));
    cloud.run(tallies::compacted(&Compacted {
        hours: 1,
        messages: 60,
        duplicates: 1,
        bytes: 15_000,
        objects: 3,
    }));
    cloud.run(cron::begin("telemetry", "30 * * * *", NOW.plus(-HOUR), NOW.plus(-HOUR)));
    cloud.run(cron::finish("telemetry", "30 * * * *", NOW.plus(-HOUR), NOW, false, "x"));
    block_on(hours::add_up(NOW, &cloud.world.db)).unwrap();

    let text = cloud.scrape();
    for sample in [
        r#"rs1_telemetry_messages_received_total{door="webhook"} 60"#,
        r#"rs1_telemetry_messages_received_total{door="objects"} 0"#,
        r#"rs1_telemetry_messages_received_total{door="archive"} 0"#,
        r#"rs1_telemetry_messages_duplicate_total{door="webhook"} 3"#,
        r#"rs1_telemetry_messages_late_total{door="webhook"} 3"#,
        r#"rs1_telemetry_messages_invalid_total{door="webhook",reason="malformed"} 4"#,
        r#"rs1_telemetry_messages_invalid_total{door="webhook",reason="not_enrolled"} 5"#,
        r#"rs1_telemetry_messages_invalid_total{door="webhook",reason="damaged"} 6"#,
        r#"rs1_telemetry_messages_invalid_total{door="objects",reason="damaged"} 0"#,
        r#"rs1_telemetry_archived_bytes_total{door="webhook"} 15000"#,
        r#"rs1_telemetry_archived_objects_total{door="webhook"} 7"#,
        r#"rs1_telemetry_queue_age_seconds{door="webhook"} 1.250"#,
        r#"rs1_telemetry_batch_timestamp_seconds{door="webhook"} 1768903200.000"#,
        "rs1_telemetry_compactions_total 1",
        "rs1_telemetry_compacted_messages_total 60",
        "rs1_telemetry_compacted_duplicates_total 1",
        "rs1_telemetry_compacted_bytes_total 15000",
        "rs1_telemetry_compacted_objects_total 3",
        "rs1_telemetry_seals_total 1",
        "rs1_telemetry_rollups_checked_total 9",
        "rs1_telemetry_rollups_differing_total 2",
        "rs1_telemetry_rollups_repaired_total 2",
        r#"rs1_alerts_opened_total{type="critical_memory",severity="critical"} 1"#,
        r#"rs1_alerts_opened_total{type="low_memory",severity="warning"} 0"#,
        "rs1_fleet_devices 1",
        "rs1_fleet_devices_online 1",
        "rs1_fleet_devices_active 1",
        "rs1_fleet_devices_owned 0",
        "rs1_fleet_devices_reporting 1",
        r#"rs1_fleet_version_devices{firmware_version="unknown"} 1"#,
        r#"rs1_fleet_alerts_open{type="critical_memory",severity="critical",acknowledged="false"} 1"#,
        r#"rs1_fleet_alerts_open{type="critical_memory",severity="critical",acknowledged="true"} 0"#,
        r#"rs1_fleet_alerts_open{type="device_offline",severity="warning",acknowledged="false"} 0"#,
        r#"rs1_cron_started_timestamp_seconds{worker="telemetry",cron="30 * * * *"} 1768899600.000"#,
        r#"rs1_cron_failed{worker="telemetry",cron="30 * * * *"} 1"#,
    ] {
        has(&text, sample);
    }
    assert!(!text.contains(cloud.device.as_str()), "no label is a device");
}

#[test]
fn a_cloud_to_which_nothing_came_yet_has_every_counter() {
    let text = cloud().scrape();
    has(&text, r#"rs1_telemetry_messages_received_total{door="webhook"} 0"#);
    has(&text, r#"rs1_alerts_opened_total{type="device_offline",severity="warning"} 0"#);
    assert!(!text.contains("\nrs1_telemetry_queue_age_seconds{"), "there was no batch:\n{text}");
    assert!(!text.contains("\nrs1_fleet_devices_reporting "), "no hour was added up:\n{text}");
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let counters: BTreeSet<_> = names
        .iter()
        .filter(|line| line.ends_with(" counter"))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert!(counters.iter().all(|name| name.ends_with("_total")), "{counters:?}");
    assert_eq!(names.iter().filter(|line| line.contains("_total ")).count(), counters.len());
}

#[test]
fn devices_cannot_make_up_labels_without_end() {
    let cloud = cloud();
    for number in 0..40 {
        cloud.enroll(number, Some(&format!("9.0.{number}-made.up")));
    }
    for number in 40..45 {
        cloud.enroll(number, Some("1.2.0"));
    }
    cloud.enroll(45, Some("1.\"\n"));
    cloud.enroll(46, Some("1.\"\n"));
    let text = cloud.scrape();
    let samples: Vec<_> =
        text.lines().filter(|line| line.starts_with("rs1_fleet_version_devices{")).collect();
    assert_eq!(samples.len(), 21, "{samples:?}");
    assert_eq!(samples[0], r#"rs1_fleet_version_devices{firmware_version="1.2.0"} 5"#);
    assert_eq!(samples[1], r#"rs1_fleet_version_devices{firmware_version="1.\"\n"} 2"#);
    assert_eq!(samples[20], r#"rs1_fleet_version_devices{firmware_version="other"} 23"#);
    has(&text, "rs1_fleet_devices 48");
    has(&text, "rs1_fleet_devices_online 47");
}

#[test]
fn only_operators_may_see_them() {
    let cloud = cloud();
    let owner = cloud.owner();
    let token = AccessTokens::new(&"j".repeat(32), None).issue(&owner, NOW);
    for headers in [
        Vec::new(),
        vec![("authorization", format!("Bearer {token}"))],
        vec![("authorization", "Bearer x".to_owned())],
    ] {
        assert_eq!(cloud.request(PATH, "", headers).status, 401);
    }
    assert_eq!(cloud.scrape_with("period=24h").status, 422);
    let assertion = vec![("cf-access-jwt-assertion", operator_token())];
    assert_eq!(cloud.request(PATH, "", assertion).status, 200, "as Access says it");
    assert_eq!(cloud.request_as(Method::Post, PATH, "", Vec::new()).status, 405);
}

#[test]
fn a_scrape_reads_the_registry_once_a_minute_at_most() {
    let cloud = cloud();
    let statements = || cloud.world.db.statements_run();
    let before = statements();
    cloud.scrape();
    assert_eq!(statements() - before, 7, "the fleet's two, and five");
    assert_eq!(cloud.world.cache.lifetime("fleet-health"), Some(60));
    let before = statements();
    cloud.enroll(1, None);
    let (enrolled, batches) = (statements() - before, cloud.world.db.batches_run());
    has(&cloud.scrape(), "rs1_fleet_devices 1");
    assert_eq!((statements() - before - enrolled, cloud.world.db.batches_run() - batches), (5, 1));
}

#[test]
fn while_kv_is_down_it_costs_more_and_while_the_database_is_it_fails() {
    let cloud = cloud();
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        cloud.world.cache.fail(Some(failure));
        has(&cloud.scrape(), "rs1_fleet_devices 1");
    }
    cloud.world.cache.fail(None);
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    let answer = cloud.scrape_with("");
    assert_eq!((answer.status, answer.content_type), (503, Some("application/problem+json")));
    cloud.world.db.fail(None);
    cloud.scrape();
    cloud.world.db.fail_statement("tallies", Some(Failure::BeforeCommit));
    assert_eq!(cloud.scrape_with("").status, 503, "though the fleet is known");
}

#[test]
fn an_hour_of_long_ago_says_nothing_of_who_reports_now() {
    let cloud = cloud();
    let hour = |hour: i64| {
        cloud.sql(
            "INSERT INTO fleet_hours (hour, devices, messages, metrics, errors, troubled, made_at) VALUES (?1, 7, 1, '[]', '[]', 0, 1)",
            vec![hour.into()],
        );
    };
    hour(NOW.hour() - 25);
    assert!(!cloud.scrape().contains("\nrs1_fleet_devices_reporting "));
    hour(NOW.hour() - 24);
    has(&cloud.scrape(), "rs1_fleet_devices_reporting 7");
}
