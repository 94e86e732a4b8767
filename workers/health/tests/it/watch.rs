//! What the clock watches: backups and their restore checks, firmware's bytes, the company's bucket; and the alarms.

use pollster::block_on;
use rs1_domain::UnixMillis;
use rs1_domain::port::Vault;
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_ops::hash::sha256;
use rs1_ops::plan::{check_key, object_key};
use rs1_store::native::Failure;
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, body};

const OFTEN: &str = "*/5 * * * *";
const DAILY: &str = "0 3 * * *";

/// Writes what a restore check found of a backup.
fn check(cloud: &Cloud, id: &str, ok: bool) {
    let faults = if ok { vec![] } else { vec!["devices: 1 rows"] };
    let text = json!({"ok": ok, "faults": faults, "rows": 5, "checked_at": cloud.now.get().to_rfc3339()})
        .to_string();
    block_on(cloud.vault.put(&check_key(id), &text, "application/json")).unwrap();
}

/// The company's backups as they should be.
fn stock(cloud: &Cloud) {
    cloud.company.clear("");
    for day in 0..30 {
        cloud.company.put(
            format!("postgres/{day}.gz"),
            &[0; 100],
            cloud.now.get().plus(-(day * DAY + 2 * HOUR)),
        );
    }
    for week in 0..4 {
        cloud.company.put(
            format!("snapshots/{week}"),
            &[0; 100],
            cloud.now.get().plus(-(week * 7 * DAY + 2 * HOUR)),
        );
    }
}

/// A system that is well: yesterday's backup is checked, today's is made.
fn well() -> Cloud {
    let cloud = Cloud::new();
    cloud.tick(DAILY).unwrap();
    check(&cloud, "2026-01-20", true);
    cloud.pass(MINUTE);
    stock(&cloud);
    assert_eq!(cloud.tick(OFTEN).unwrap(), "no backup to make; watched 5 things, 0 with faults");
    cloud
}

/// An hour later: what the watch says of a subject.
fn look(cloud: &Cloud, subject: &str) -> Value {
    cloud.pass(HOUR);
    cloud.tick(OFTEN).unwrap();
    said(cloud, subject)
}

fn said(cloud: &Cloud, subject: &str) -> Value {
    let all = body(&cloud.get("/admin/backups/watch"));
    let items = all["items"].as_array().unwrap();
    items
        .iter()
        .find(|item| item["subject"] == subject)
        .unwrap_or_else(|| panic!("{subject}: {items:?}"))
        .clone()
}

#[test]
fn what_is_well_is_shown_as_such_and_looked_at_once_an_hour() {
    let cloud = well();
    for subject in ["backup", "restore-check", "firmware", "postgres/", "snapshots/"] {
        let item = said(&cloud, subject);
        assert_eq!(
            (&item["faults"], &item["looked_at"]),
            (&json!([]), &json!("2026-01-20T03:01:00Z")),
            "{subject}"
        );
    }
    assert_eq!(said(&cloud, "postgres/")["facts"]["objects"], 30);
    assert_eq!(said(&cloud, "restore-check")["facts"]["latest_good"], "2026-01-20");
    assert!(cloud.logged("backup_alarm").is_empty());
    cloud.pass(5 * MINUTE);
    assert_eq!(cloud.tick(OFTEN).unwrap(), "no backup to make; watched before");
    let listed = body(&cloud.get("/admin/backups"));
    assert_eq!(listed["items"][0]["check_ok"], true);
    assert_eq!(listed["items"][0]["checked_at"], "2026-01-20T03:00:00Z");
}

#[test]
fn a_backup_that_does_not_restore_is_an_alarm_and_its_end_is_told() {
    let cloud = well();
    cloud.pass(DAY - 2 * MINUTE);
    cloud.tick(DAILY).unwrap();
    check(&cloud, "2026-01-21", false);
    stock(&cloud);
    assert_eq!(look(&cloud, "restore-check")["faults"], json!(["2026-01-21 does not restore"]));
    let alarms = cloud.logged("backup_alarm");
    assert_eq!(alarms.len(), 1);
    assert_eq!(
        (alarms[0].0.as_str(), &alarms[0].1["faults"]),
        ("restore-check", &json!(["2026-01-21 does not restore"]))
    );
    let row = body(&cloud.get("/admin/backups/2026-01-21"));
    assert_eq!((&row["check_ok"], &row["check_faults"]), (&json!(false), &json!(["devices: 1 rows"])));

    for _ in 0..5 {
        look(&cloud, "restore-check");
    }
    assert_eq!(cloud.logged("backup_alarm").len(), 1, "once, not with every look");
    check(&cloud, "2026-01-21", true);
    assert_eq!(look(&cloud, "restore-check")["faults"], json!([]));
    assert_eq!(cloud.logged("backup_recovered").len(), 1);
    look(&cloud, "restore-check");
    assert_eq!(cloud.logged("backup_recovered").len(), 1);
}

#[test]
fn what_stays_wrong_is_told_again_every_day_and_lost_answers_double_nothing() {
    let cloud = well();
    cloud.company.clear("postgres/");
    cloud.pass(HOUR);
    cloud.db.fail_once("watch_recovered", Failure::AfterCommit);
    assert!(cloud.tick(OFTEN).is_err(), "the answer was lost");
    for _ in 0..47 {
        cloud.pass(HOUR);
        cloud.tick(OFTEN).unwrap();
    }
    let alarms: Vec<_> =
        cloud.logged("backup_alarm").into_iter().filter(|(subject, _)| subject == "postgres/").collect();
    assert_eq!(alarms.len(), 2, "{alarms:?}");
    assert_eq!(alarms[0].1["faults"], json!(["there is no backup"]));
}

#[test]
fn a_look_that_fails_is_made_again_and_leaves_nothing_half() {
    let cloud = well();
    cloud.company.clear("postgres/");
    cloud.pass(HOUR);
    for name in ["watch_list", "backup_unproven", "backup_list", "watch_recovered"] {
        cloud.db.fail_statement(name, Some(Failure::BeforeCommit));
        // A run that has its lease is not repeated: the next one looks.
        cloud.pass(5 * MINUTE);
        assert!(cloud.tick(OFTEN).is_err(), "{name}");
        cloud.db.fail(None);
        if name == "backup_unproven" {
            // The rest was looked at.
            assert_eq!(cloud.logged("backup_alarm").len(), 1);
            cloud.pass(HOUR);
        }
    }
    cloud.pass(5 * MINUTE);
    cloud.tick(OFTEN).unwrap();
    assert_eq!(cloud.logged("backup_alarm").len(), 1);
}

#[test]
fn a_bucket_that_cannot_be_looked_at_is_a_fault_and_keeps_nothing_else_from_being_looked_at() {
    let cloud = well();
    cloud.company.fail(true);
    assert_eq!(look(&cloud, "postgres/")["faults"], json!(["it cannot be looked at: r2 list"]));
    assert_eq!(said(&cloud, "backup")["looked_at"], said(&cloud, "snapshots/")["looked_at"]);
    cloud.company.fail(false);
    assert_eq!(look(&cloud, "postgres/")["faults"], json!([]));
}

#[test]
fn a_bad_configuration_hides_nothing_that_needs_none() {
    let cloud = Cloud::new();
    cloud.pass(27 * HOUR);
    let bad = rs1_worker_health::config::Config::read(&|_| None);
    let clock = || cloud.now.get();
    let looked =
        block_on(rs1_worker_health::watch::look(&cloud.world(&clock), bad.as_ref(), cloud.now.get()));
    assert_eq!(looked.unwrap_err().operation, "configuration");
    assert_eq!(said(&cloud, "backup")["faults"], json!([]), "the watch has just begun");
}

#[test]
fn a_day_without_a_backup_is_an_alarm() {
    let cloud = well();
    cloud.pass(26 * HOUR);
    stock(&cloud);
    cloud.db.fail_statement("backup_begin", Some(Failure::BeforeCommit));
    assert!(cloud.tick(OFTEN).is_err(), "the day's cannot be begun");
    let faults = said(&cloud, "backup")["faults"].clone();
    assert_eq!(faults, json!(["no backup of the last 26 hours is whole: the latest is 2026-01-20"]));
}

#[test]
fn a_daily_trigger_that_is_lost_is_made_up_for_ten_minutes_later() {
    let cloud = well();
    cloud.now.set(UnixMillis(NOW.0 + DAY + 9 * MINUTE));
    let said = cloud.tick(OFTEN).unwrap();
    assert!(said.contains("no backup to make"), "{said}");
    cloud.pass(MINUTE);
    let said = cloud.tick(OFTEN).unwrap();
    assert!(said.contains("backup 2026-01-21 is whole"), "{said}");
    cloud.pass(5 * MINUTE);
    let said = cloud.tick(OFTEN).unwrap();
    assert!(said.contains("no backup to make"), "{said}");
    let listed = body(&cloud.get("/admin/backups"));
    assert_eq!(listed["items"][0]["backup_id"], "2026-01-21");
    assert_eq!(listed["items"][0]["requested_by"], Value::Null);
}

/// Artifacts of which R2 has the bytes; their keys.
fn images(cloud: &Cloud, count: usize) -> Vec<String> {
    cloud
        .db
        .execute("INSERT INTO firmware_keys (key_id, name, public_key, created_at, created_by) VALUES ('fwk-1', 'ci', printf('%0128d', 1), 1, 'ada')")
        .unwrap();
    let mut keys = Vec::new();
    for index in 0..count {
        let bytes = vec![u8::try_from(index).unwrap(); 1000];
        let hash = sha256(&bytes);
        cloud
            .db
            .execute(&format!(
                "INSERT INTO firmware_artifacts (sku, version, artifact_id, sha256, size, elf_sha256, fw_version, project_name, built_at, key_id, uploaded_at, uploaded_by)
                 VALUES ('rs1_pro', '1.0.{index}', 'fwa-{index:03}', '{hash}', 1000, '{hash}', 1, 'p', 1, 'fwk-1', {}, 'ada')",
                NOW.0
            ))
            .unwrap();
        let key = format!("rs1_pro/1.0.{index}/{hash}.bin");
        cloud.firmware.put(&key, &bytes, NOW);
        keys.push(key);
    }
    keys
}

fn daily(cloud: &Cloud) -> Result<String, String> {
    cloud.pass(DAY);
    cloud.tick(DAILY).map_err(|error| error.to_string())
}

#[test]
fn firmware_is_verified_a_slice_a_day_until_all_was_and_then_again() {
    let cloud = well();
    let keys = images(&cloud, 130);
    assert!(daily(&cloud).unwrap().contains("100 firmware images verified, 0 faulty"));
    assert_eq!(cloud.firmware.take_read(), keys[..100]);
    assert!(daily(&cloud).unwrap().contains("30 firmware images verified"));
    assert_eq!(cloud.firmware.take_read(), keys[100..]);
    assert!(daily(&cloud).unwrap().contains("0 firmware images verified"));
    cloud.pass(5 * DAY);
    assert!(daily(&cloud).unwrap().contains("100 firmware images verified"));
    assert_eq!(cloud.firmware.take_read(), keys[..100], "first those that wait longest");
}

#[test]
fn bytes_that_changed_are_an_alarm_until_they_are_mended() {
    let cloud = well();
    let keys = images(&cloud, 4);
    cloud.firmware.put(&keys[1], &[9; 1000], NOW);
    cloud.firmware.put(&keys[2], &[2; 999], NOW);
    cloud.firmware.clear(&keys[3]);
    assert!(daily(&cloud).unwrap().contains("4 firmware images verified, 3 faulty"));
    stock(&cloud);
    let other = sha256(&[9; 1000]);
    assert_eq!(
        look(&cloud, "firmware")["faults"],
        json!([
            format!("rs1_pro 1.0.1: its SHA-256 is {other}"),
            "rs1_pro 1.0.2: it is 999 bytes, and was 1000",
            "rs1_pro 1.0.3: it is not in the bucket"
        ])
    );
    let alarms = cloud.logged("backup_alarm");
    assert!(alarms.iter().any(|(subject, _)| subject == "firmware"), "{alarms:?}");
    for (index, key) in keys.iter().enumerate() {
        cloud.firmware.put(key, &[u8::try_from(index).unwrap(); 1000], NOW);
    }
    assert!(
        daily(&cloud).unwrap().contains("3 firmware images verified, 0 faulty"),
        "at once, and only those"
    );
    assert_eq!(look(&cloud, "firmware")["faults"], json!([]));
}

#[test]
fn a_verification_that_is_cut_off_goes_on_where_it_was() {
    let cloud = well();
    let keys = images(&cloud, 5);
    cloud.db.fail_once("firmware_note_check", Failure::AfterCommit);
    assert!(daily(&cloud).is_err());
    assert_eq!(cloud.firmware.take_read(), keys[..1], "it was cut off at the first, which was noted");
    cloud.db.fail_once("firmware_note_check", Failure::BeforeCommit);
    assert!(daily(&cloud).is_err());
    assert_eq!(cloud.firmware.take_read(), keys[1..2], "and at the second, which was not");
    cloud.firmware.fail(true);
    let failed = daily(&cloud).unwrap_err();
    assert!(failed.contains("r2 digest"), "{failed}");
    assert!(
        cloud.vault.object(&object_key(&cloud.now.get().date())).is_some(),
        "the backup was made all the same"
    );
    cloud.firmware.fail(false);
    assert!(daily(&cloud).unwrap().contains("4 firmware images verified"));
    assert_eq!(cloud.firmware.take_read(), keys[1..]);
}

#[test]
fn firmware_that_nobody_looks_at_is_a_fault_of_the_watch() {
    let cloud = well();
    images(&cloud, 1);
    cloud.now.set(UnixMillis(NOW.0 + 46 * DAY));
    assert_eq!(look(&cloud, "firmware")["faults"], json!(["some was not looked at since 2026-01-20"]));
}

#[test]
fn the_daily_trigger_makes_one_and_clears_up() {
    let cloud = Cloud::new();
    let day = |number: i64| {
        cloud.now.set(NOW.plus(number * DAY));
        let said = cloud.tick(DAILY).unwrap();
        let id = cloud.now.get().date();
        assert!(cloud.vault.object(&object_key(&id)).is_some(), "{said}");
        check(&cloud, &id, true);
        said
    };
    for number in 0..33 {
        day(number);
    }
    let said = day(33);
    assert!(said.ends_with("31 backups kept, deleted 2026-01-22"), "{said}");
    assert_eq!(cloud.vault.keys().iter().filter(|key| key.ends_with(".sql.gz")).count(), 31);
}
