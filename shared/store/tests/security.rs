//! Bursts become counted rows, and repeated failures are reported once a window.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, which is what it should do"
)]

use pollster::block_on;
use rs1_domain::security::{AuthFailure, SecurityEvent, Severity};
use rs1_domain::time::{MINUTE, SECOND};
use rs1_domain::{RecordId, RequestId, UnixMillis};
use rs1_store::native::NativeDatabase;
use rs1_store::security::{self, SecurityRow};
use rs1_store::sql::{PageRequest, rows, run};

const START: UnixMillis = UnixMillis(1_763_690_400_000);

fn log(db: &NativeDatabase) -> Vec<SecurityRow> {
    let [outcome] = block_on(run(db, [security::list(&PageRequest::default())])).unwrap();
    rows(&outcome).unwrap()
}

fn event(number: u8, at: UnixMillis) -> SecurityEvent {
    SecurityEvent {
        id: RecordId::generate("sec", at, [number; 10]).to_string(),
        kind: "acl_violation".into(),
        severity: Severity::Warning,
        subject: "device".into(),
        peerhost: Some("203.0.113.7".into()),
        detail: serde_json::json!({"number": number}),
        at,
    }
}

#[test]
fn a_burst_is_one_row_that_counts() {
    let db = NativeDatabase::new();
    let burst: Vec<_> = (0..100).map(|number| event(number, START.plus(i64::from(number)))).collect();
    block_on(run(&db, [security::record(&burst).unwrap()])).unwrap();
    block_on(run(&db, [security::record(&[event(200, START.plus(security::WINDOW))]).unwrap()])).unwrap();
    let log = log(&db);
    assert_eq!(log.iter().map(|row| row.count).collect::<Vec<_>>(), [1, 100]);
    assert_eq!(log[1].detail, serde_json::json!({"number": 0}), "the first occurrence's detail stays");
    assert_eq!((log[1].first_at, log[1].last_at), (START, START.plus(99)));
}

fn fail(db: &NativeDatabase, peerhost: &str, times: &[i64]) {
    let failures: Vec<_> = times
        .iter()
        .map(|at| {
            AuthFailure::new(peerhost, START.plus(*at), &RequestId::from_header(&format!("r{at}")).unwrap())
        })
        .collect();
    let id =
        RecordId::generate("sec", START.plus(*times.last().unwrap()), [times.len().to_le_bytes()[0]; 10]);
    block_on(run(
        db,
        [
            security::note_failures(&failures).unwrap(),
            security::report_repeated(&id, &failures).unwrap(),
            security::mark_reported(&failures).unwrap(),
        ],
    ))
    .unwrap();
}

#[test]
fn five_failures_in_ten_minutes_are_tolerated_and_six_are_reported_once_a_window() {
    let db = NativeDatabase::new();
    for second in 0..5 {
        fail(&db, "203.0.113.7", &[second * SECOND]);
    }
    assert!(log(&db).is_empty());
    fail(&db, "203.0.113.7", &[5 * SECOND]);
    let first = log(&db);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].kind.as_str(), first[0].severity), ("auth_failure_repeated", Severity::High));
    assert_eq!(first[0].subject, "203.0.113.7");
    for second in 6..60 {
        fail(&db, "203.0.113.7", &[second * SECOND]);
    }
    assert_eq!(log(&db).len(), 1, "once a window");
    for second in 0..6 {
        fail(&db, "203.0.113.7", &[10 * MINUTE + 5 * SECOND + second * SECOND]);
    }
    assert_eq!(log(&db).len(), 2, "the next window");
}

#[test]
fn the_ten_minutes_slide() {
    let db = NativeDatabase::new();
    for step in 0..20 {
        fail(&db, "203.0.113.7", &[step * 121 * SECOND]);
    }
    assert!(log(&db).is_empty(), "never six within ten minutes");
    fail(&db, "198.51.100.1", &[0, 119 * SECOND, 238 * SECOND, 357 * SECOND, 476 * SECOND, 595 * SECOND]);
    assert_eq!(log(&db).len(), 1, "six across the border of any fixed window");
}

#[test]
fn a_failure_that_is_delivered_twice_counts_once() {
    let db = NativeDatabase::new();
    for _ in 0..3 {
        fail(&db, "203.0.113.7", &[0, SECOND, 2 * SECOND]);
    }
    assert!(log(&db).is_empty());
}

#[test]
fn addresses_do_not_mix() {
    let db = NativeDatabase::new();
    for host in 0..10 {
        fail(&db, &format!("203.0.113.{host}"), &[0, 1, 2, 3, 4]);
    }
    assert!(log(&db).is_empty());
}

#[test]
fn old_rows_are_pruned() {
    let db = NativeDatabase::new();
    let events = [event(1, START), event(2, START.plus(security::WINDOW * 2))];
    block_on(run(&db, [security::record(&events).unwrap()])).unwrap();
    let border = RecordId::generate("sec", START.plus(1), [0; 10]);
    block_on(run(&db, [security::prune_security(&border, 100)])).unwrap();
    assert_eq!(log(&db).len(), 1);
    fail(&db, "203.0.113.7", &[0]);
    let [outcome] = block_on(run(&db, [security::prune_failures(START.plus(1), 100)])).unwrap();
    assert_eq!(outcome.changes, 1);
}
