//! Bursts become counted rows, and repeated failures are reported once a window.

use pollster::block_on;
use rs1_domain::security::{
    AuthFailure, MOST_SUBJECTS, OTHERS, SecurityEvent, SecurityKind, Severity, WINDOW,
};
use rs1_domain::time::{MINUTE, SECOND};
use rs1_domain::{RecordId, RequestId, UnixMillis};
use rs1_ops::rotation::Rotation;
use rs1_store::native::NativeDatabase;
use rs1_store::rotations::{self, Act};
use rs1_store::security::{self, SecurityRow, Wanted};
use rs1_store::sql::{rows, run};

const START: UnixMillis = UnixMillis(1_763_690_400_000);

fn log(db: &NativeDatabase) -> Vec<SecurityRow> {
    look(db, Wanted::default())
}

/// All rows that are wanted, newest first.
fn look(db: &NativeDatabase, wanted: Wanted) -> Vec<SecurityRow> {
    let [outcome] = block_on(run(db, [security::list(&Wanted { rows: 1_000, ..wanted }).unwrap()])).unwrap();
    rows(&outcome).unwrap()
}

fn event(number: u8, at: UnixMillis) -> SecurityEvent {
    SecurityEvent {
        id: RecordId::generate("sec", at, [number; 10]).to_string(),
        kind: SecurityKind::AclViolation,
        subject: "device".into(),
        peerhost: Some("203.0.113.7".into()),
        detail: serde_json::json!({"number": number}),
        count: 1,
        at,
    }
}

#[test]
fn a_burst_is_one_row_that_counts() {
    let db = NativeDatabase::new();
    let burst: Vec<_> = (0..100).map(|number| event(number, START.plus(i64::from(number)))).collect();
    block_on(run(&db, [security::record(&burst).unwrap()])).unwrap();
    block_on(run(&db, [security::record(&[event(200, START.plus(WINDOW))]).unwrap()])).unwrap();
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
    block_on(run(db, security::count_failures(&id, &failures).unwrap())).unwrap();
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
    let burst = log(&db);
    assert_eq!(burst.len(), 1, "once a window");
    assert_eq!(burst[0].count, 60, "and it counts on");
    assert_eq!(burst[0].last_at, START.plus(59 * SECOND));
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
    let events = [event(1, START), event(2, START.plus(WINDOW * 2))];
    block_on(run(&db, [security::record(&events).unwrap()])).unwrap();
    let border = RecordId::generate("sec", START.plus(1), [0; 10]);
    block_on(run(&db, [security::prune_security(&border, 100)])).unwrap();
    assert_eq!(log(&db).len(), 1);
    fail(&db, "203.0.113.7", &[0]);
    let [outcome] = block_on(run(&db, [security::prune_failures(START.plus(1), 100)])).unwrap();
    assert_eq!(outcome.changes, 1);
}

#[test]
fn what_was_held_back_counts_and_one_message_of_many_is_reported_at_once() {
    let db = NativeDatabase::new();
    let id = |number: u8| RecordId::generate("sec", START, [number; 10]);
    let failure = |count: u32, at: i64| AuthFailure {
        count,
        ..AuthFailure::new("203.0.113.7", START.plus(at), &RequestId::from_header("r").unwrap())
    };
    block_on(run(&db, security::count_failures(&id(1), &[failure(5, 0)]).unwrap())).unwrap();
    assert!(log(&db).is_empty());
    block_on(run(&db, security::count_failures(&id(2), &[failure(200, MINUTE)]).unwrap())).unwrap();
    block_on(run(&db, security::count_failures(&id(3), &[failure(90, 2 * MINUTE)]).unwrap())).unwrap();
    let log = log(&db);
    assert_eq!((log.len(), log[0].count), (1, 290));
    let events =
        [SecurityEvent { count: 7, ..event(1, START) }, SecurityEvent { count: 4, ..event(2, START) }];
    block_on(run(&db, [security::record(&events).unwrap()])).unwrap();
    let burst = look(&db, Wanted { kinds: Some(vec![SecurityKind::AclViolation]), ..Wanted::default() });
    assert_eq!((burst.len(), burst[0].count), (1, 11));
}

#[test]
fn a_window_has_a_hundred_subjects_of_a_kind_and_one_row_for_all_others() {
    let db = NativeDatabase::new();
    let many = usize::try_from(MOST_SUBJECTS).unwrap() + 1;
    for batch in 0..6_u32 {
        let events: Vec<_> = (0..50_u32)
            .map(|number| SecurityEvent {
                id: format!("sec-{batch:02}{number:02}"),
                subject: format!("198.51.{batch}.{number}"),
                ..event(0, START)
            })
            .collect();
        block_on(run(&db, [security::record(&events).unwrap()])).unwrap();
        let failures: Vec<_> = (0..50_u32)
            .map(|number| AuthFailure {
                count: 6,
                ..AuthFailure::new(
                    &format!("198.51.{batch}.{number}"),
                    START,
                    &RequestId::from_header("r").unwrap(),
                )
            })
            .collect();
        let id = RecordId::generate("sec", START, [u8::try_from(batch).unwrap(); 10]);
        block_on(run(&db, security::count_failures(&id, &failures).unwrap())).unwrap();
    }
    for (kind, count) in [(SecurityKind::AclViolation, 200), (SecurityKind::AuthFailureRepeated, 1_200)] {
        let rows = look(&db, Wanted { kinds: Some(vec![kind]), ..Wanted::default() });
        assert_eq!(rows.len(), many, "{kind:?}");
        let others: Vec<_> = rows.iter().filter(|row| row.subject == OTHERS).collect();
        assert_eq!(others.len(), 1);
        assert_eq!((others[0].count, others[0].peerhost.as_deref()), (count, None), "{kind:?}");
        assert_eq!(others[0].severity, kind.severity());
    }
    block_on(run(
        &db,
        [security::record(&[SecurityEvent { subject: "198.51.0.7".into(), ..event(1, START.plus(1)) }])
            .unwrap()],
    ))
    .unwrap();
    let known = look(&db, Wanted { subject: Some("198.51.0.7".into()), ..Wanted::default() });
    assert!(known.iter().any(|row| row.count == 2), "who has a row keeps it: {known:?}");
    let next = SecurityEvent { id: "sec-1".into(), subject: "new".into(), ..event(1, START.plus(WINDOW)) };
    block_on(run(&db, [security::record(&[next]).unwrap()])).unwrap();
    assert_eq!(log(&db).len(), 2 * many + 1, "and the next window has room");
}

#[test]
fn an_act_of_a_person_has_a_row_each_time() {
    let db = NativeDatabase::new();
    for number in 0..3 {
        let at = START.plus(i64::from(number));
        let rotated = SecurityEvent { kind: SecurityKind::SecretRotated, ..event(number, at) };
        block_on(run(&db, [security::record(&[rotated]).unwrap()])).unwrap();
    }
    assert_eq!(log(&db).len(), 3);
}

#[test]
fn every_filter_and_every_two_of_them_find_what_they_say_page_by_page() {
    let db = NativeDatabase::new();
    let kinds = [SecurityKind::AclViolation, SecurityKind::AdminApiAccess, SecurityKind::TokenReuse];
    let mut all = Vec::new();
    for number in 0..60_i64 {
        let at = START.plus(number * WINDOW);
        let address = format!("203.0.113.{}", number % 4);
        let kind = kinds[usize::try_from(number % 3).unwrap()];
        let subject = if number % 2 == 0 { address.clone() } else { format!("usr-{}", number % 5) };
        let event = SecurityEvent {
            id: RecordId::generate("sec", at, [0; 10]).to_string(),
            kind,
            subject,
            peerhost: (number % 7 != 0).then_some(address),
            detail: serde_json::json!({}),
            count: 1,
            at,
        };
        all.push(event);
    }
    block_on(run(&db, [security::record(&all).unwrap()])).unwrap();
    let filters = [
        Wanted::default(),
        Wanted { kinds: Some(vec![kinds[0]]), ..Wanted::default() },
        Wanted { kinds: Some(vec![kinds[1], kinds[2]]), ..Wanted::default() },
        Wanted { kinds: Some(Vec::new()), ..Wanted::default() },
        Wanted { subject: Some("usr-3".into()), ..Wanted::default() },
        Wanted { subject: Some("203.0.113.2".into()), ..Wanted::default() },
        Wanted { peerhost: Some("203.0.113.2".into()), ..Wanted::default() },
        Wanted { peerhost: Some("203.0.113.1".into()), ..Wanted::default() },
        Wanted { from: Some(START.plus(10 * WINDOW)), ..Wanted::default() },
        Wanted { to: Some(START.plus(50 * WINDOW)), ..Wanted::default() },
    ];
    for one in &filters {
        for other in &filters {
            let wanted = Wanted {
                kinds: one.kinds.clone().or_else(|| other.kinds.clone()),
                subject: one.subject.clone().or_else(|| other.subject.clone()),
                peerhost: one.peerhost.clone().or_else(|| other.peerhost.clone()),
                from: one.from.or(other.from),
                to: one.to.or(other.to),
                after: None,
                rows: 7,
            };
            let expected: Vec<_> = all
                .iter()
                .rev()
                .filter(|event| wanted.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind)))
                .filter(|event| wanted.subject.as_ref().is_none_or(|subject| *subject == event.subject))
                .filter(|event| wanted.peerhost.is_none() || wanted.peerhost == event.peerhost)
                .filter(|event| wanted.from.is_none_or(|from| event.at >= from))
                .filter(|event| wanted.to.is_none_or(|to| event.at < to))
                .map(|event| event.id.clone())
                .collect();
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = Wanted { after: after.clone(), ..wanted.clone() };
                let [outcome] = block_on(run(&db, [security::list(&page).unwrap()])).unwrap();
                let rows: Vec<SecurityRow> = rows(&outcome).unwrap();
                found.extend(rows.iter().map(|row| row.id.clone()));
                match rows.last() {
                    Some(last) => after = Some(last.id.clone()),
                    None => break,
                }
            }
            assert_eq!(found, expected, "{wanted:?}");
        }
    }
}

#[test]
fn a_rotation_is_noted_and_logged_by_its_name_and_never_by_a_value() {
    let db = NativeDatabase::new();
    let rotation = |name: &str| -> Rotation {
        let [outcome] = block_on(run(&db, [rotations::list()])).unwrap();
        let all: Vec<Rotation> = rows(&outcome).unwrap();
        all.into_iter().find(|rotation| rotation.name == name).unwrap()
    };
    let quarterly = rotation("WEBHOOK_SECRET");
    assert_eq!((quarterly.every_days, quarterly.dropped_at), (91, Some(quarterly.rotated_at)));
    assert_eq!(rotation("SIGNING_KEY").every_days, 365);
    let id = |number: u8| RecordId::generate("sec", START, [number; 10]);
    let (replaced, dropped) = (START, START.plus(WINDOW));
    block_on(run(&db, rotations::note(&id(1), "WEBHOOK_SECRET", Act::Replaced, replaced))).unwrap();
    let begun = rotation("WEBHOOK_SECRET");
    assert_eq!((begun.rotated_at, begun.dropped_at), (replaced, None));
    block_on(run(&db, rotations::note(&id(2), "WEBHOOK_SECRET", Act::Dropped, dropped))).unwrap();
    let done = rotation("WEBHOOK_SECRET");
    assert_eq!((done.rotated_at, done.dropped_at), (replaced, Some(dropped)));
    let log: Vec<_> =
        log(&db).into_iter().map(|row| (row.kind, row.subject, row.detail, row.first_at)).collect();
    let row = |act: &str, at| {
        ("secret_rotated".to_owned(), "WEBHOOK_SECRET".to_owned(), serde_json::json!({"act": act}), at)
    };
    assert_eq!(log[1], row("replaced", replaced));
    assert_eq!(log[0], row("dropped", dropped));
    assert_eq!(rotation("SIGNING_KEY").rotated_at, quarterly.rotated_at, "the others are as they were");
}
