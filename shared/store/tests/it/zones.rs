//! Zone configurations: versions, history, what is known of the device, and what is due to be sent.

use pollster::block_on;
use proptest::prelude::*;
use rs1_domain::time::{HOUR, MINUTE};
use rs1_domain::wire::config_status::ConfigOutcome;
use rs1_domain::wire::{ConfigStatus, State};
use rs1_domain::{DeviceId, MacAddress, RecordId, UnixMillis, UserId};
use rs1_store::native::NativeDatabase;
use rs1_store::sql::{first_row, rows, run};
use rs1_store::zones::{self, Current, Due, VersionRow, Written};
use rs1_store::{Database, Outcome, Param, Statement, devices, diagnostics};

const DAY: i64 = 24 * HOUR;
const NONE: [i64; 0] = [];

fn device() -> DeviceId {
    DeviceId::of(&MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap())
}

fn owner() -> UserId {
    UserId::generate(UnixMillis(0), [1; 10])
}

/// Gives a user a role with the device.
fn grant(db: &NativeDatabase, user: &UserId, role: &str) {
    let sql = |sql, params: Vec<Param>| Statement { name: "test", sql, params };
    all(
        db,
        [
            sql(
                "INSERT INTO users (user_id, issuer, subject, email, email_verified_at, created_at) VALUES (?1, 'test', ?1, 'a', 1, 1)",
                vec![user.as_str().into()],
            ),
            sql(
                "INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by) VALUES (?1, ?2, ?3, 1, 'test')",
                vec![device().as_str().into(), user.as_str().into(), role.into()],
            ),
        ],
    );
}

fn registry() -> NativeDatabase {
    let db = NativeDatabase::new();
    let mac_address = MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap();
    let new =
        devices::NewDevice { device_id: device(), mac_address, product_sku: None, sealed_key: "1.x".into() };
    all(&db, [devices::enroll(&[new], UnixMillis(1), "ada").unwrap()]);
    grant(&db, &owner(), "owner");
    db
}

fn all<const N: usize>(db: &NativeDatabase, statements: [Statement; N]) -> Vec<Outcome> {
    block_on(db.batch(statements.into())).unwrap()
}

fn write(db: &NativeDatabase, expected: i64, zones: &str, at: i64) -> Option<i64> {
    let [outcome] =
        block_on(run(db, [zones::write(&device(), expected, zones, &owner(), UnixMillis(at))])).unwrap();
    first_row::<Written>(&outcome).unwrap().map(|written| written.version)
}

fn current(db: &NativeDatabase) -> Current {
    let [outcome] = block_on(run(db, [zones::current(&device())])).unwrap();
    first_row(&outcome).unwrap().unwrap()
}

fn kept(db: &NativeDatabase) -> Vec<i64> {
    let [outcome] = block_on(run(db, [zones::history(&device())])).unwrap();
    rows::<VersionRow>(&outcome).unwrap().iter().map(|row| row.version).collect()
}

fn state_says(db: &NativeDatabase, config_version: Option<i64>, at: i64) {
    let version = config_version.map_or("null".to_owned(), |version| version.to_string());
    let text = format!(
        r#"{{"online": true, "firmware_version": "1.0.0", "last_seen": "2020-01-01T00:00:00Z", "config_version": {version}}}"#
    );
    let state = State::read(text.as_bytes()).unwrap();
    all(db, [devices::report_state(&device(), &state, None, UnixMillis(at))]);
}

fn goes(db: &NativeDatabase, at: i64) {
    all(db, [devices::report_gone(&device(), "will", None, UnixMillis(at))]);
}

fn reports(db: &NativeDatabase, version: i64, outcome: ConfigOutcome, at: i64) {
    let (zone_count, error) = (None, Some("no".to_owned()));
    let status = ConfigStatus { version, outcome, zone_count, error, timestamp: UnixMillis(0) };
    let at = UnixMillis(at);
    if outcome == ConfigOutcome::Applied {
        all(db, [zones::report(&device(), &status, at), zones::applied(&device(), version, at)]);
    } else {
        all(db, [zones::report(&device(), &status, at)]);
    }
}

fn due(db: &NativeDatabase, at: i64) -> Vec<i64> {
    let [outcome] = block_on(run(db, [zones::take_due(UnixMillis(at), 10)])).unwrap();
    rows::<Due>(&outcome).unwrap().iter().map(|due| due.version).collect()
}

/// When, from `from` on, the configuration is sent again, by a clock that looks every minute.
fn sendings(db: &NativeDatabase, from: i64, until: i64) -> Vec<i64> {
    (0..=(until - from) / MINUTE).filter(|minute| !due(db, from + minute * MINUTE).is_empty()).collect()
}

#[test]
fn a_write_on_what_was_seen_is_the_next_version_and_any_other_changes_nothing() {
    let db = registry();
    assert_eq!(current(&db).version, 0);
    assert_eq!(write(&db, 1, "[1]", 10), None, "nothing is there yet");
    assert_eq!(write(&db, 0, "[1]", 10), Some(1));
    assert_eq!(write(&db, 0, "[2]", 20), None, "somebody was faster");
    assert_eq!(write(&db, 1, "[2]", 20), Some(2));
    assert_eq!(write(&db, 3, "[3]", 30), None, "from the future");
    let now = current(&db);
    assert_eq!((now.version, now.zones.as_str(), now.updated_at), (2, "[2]", Some(UnixMillis(20))));
    assert_eq!(now.updated_by.as_deref(), Some(owner().as_str()));
    let other = DeviceId::of(&MacAddress::parse("AA:BB:CC:DD:EE:02").unwrap());
    let [outcome] = block_on(run(&db, [zones::write(&other, 0, "[]", &owner(), UnixMillis(1))])).unwrap();
    assert!(first_row::<Written>(&outcome).unwrap().is_none(), "no such device");
}

#[test]
fn only_whoever_may_change_the_device_writes() {
    let db = registry();
    for (number, role, expected) in [(2, "admin", Some(1)), (3, "viewer", None), (4, "", None)] {
        let user = UserId::generate(UnixMillis(0), [number; 10]);
        if !role.is_empty() {
            grant(&db, &user, role);
        }
        let expected_version = i64::from(number != 2);
        let statement = zones::write(&device(), expected_version, "[]", &user, UnixMillis(1));
        let [outcome] = block_on(run(&db, [statement])).unwrap();
        assert_eq!(
            first_row::<Written>(&outcome).unwrap().map(|written| written.version),
            expected,
            "{role}"
        );
    }
}

#[test]
fn the_last_ten_versions_stay() {
    let db = registry();
    for version in 0..13 {
        assert_eq!(write(&db, version, &format!("[{version}]"), version), Some(version + 1));
        assert_eq!(kept(&db).len(), usize::try_from((version + 1).min(10)).unwrap());
    }
    assert_eq!(kept(&db), [13, 12, 11, 10, 9, 8, 7, 6, 5, 4]);
    let [outcome, gone] =
        block_on(run(&db, [zones::version(&device(), 4), zones::version(&device(), 3)])).unwrap();
    assert_eq!(first_row::<zones::Version>(&outcome).unwrap().unwrap().zones, "[3]");
    assert!(first_row::<zones::Version>(&gone).unwrap().is_none());
}

#[test]
fn a_device_that_is_ahead_is_sent_something_newer_than_what_it_has() {
    let db = registry();
    state_says(&db, Some(7), 5);
    assert_eq!(current(&db).applied_version, 7);
    assert_eq!(write(&db, 0, "[]", 10), Some(8), "it was configured before the database was new");
    reports(&db, 20, ConfigOutcome::Applied, 20);
    assert_eq!(write(&db, 8, "[]", 30), Some(21), "the database was restored");
    state_says(&db, Some(9_007_199_254_740_992), 40);
    assert_eq!(write(&db, 21, "[]", 50), Some(22), "nobody edits that often");
}

#[test]
fn what_is_not_applied_is_sent_again_ever_more_seldom_until_it_is() {
    let db = registry();
    state_says(&db, None, 1);
    write(&db, 0, "[]", 0);
    assert_eq!(sendings(&db, 0, 40 * MINUTE), [1, 2, 4, 8, 16, 32]);
    reports(&db, 1, ConfigOutcome::Applied, 41 * MINUTE);
    assert_eq!(due(&db, 10 * DAY), NONE);
    write(&db, 1, "[]", 10 * DAY);
    assert_eq!(sendings(&db, 10 * DAY, 10 * DAY + 9 * MINUTE), [1, 2, 4, 8], "a new version starts anew");
}

#[test]
fn a_device_that_refuses_is_asked_again_after_hours() {
    let db = registry();
    state_says(&db, None, 1);
    write(&db, 0, "[]", 0);
    reports(&db, 1, ConfigOutcome::Rejected, 30_000);
    let hours: Vec<_> = sendings(&db, 0, 17 * HOUR).iter().map(|minute| minute / 60).collect();
    assert_eq!(hours, [1, 2, 4, 8, 16]);
    let sent = [31, 33, 55, 58, 80, 83].map(|hour| !due(&db, hour * HOUR).is_empty());
    assert_eq!(sent, [false, true, false, true, false, true], "once a day in the end");
    reports(&db, 1, ConfigOutcome::Pending, 4 * DAY + 1);
    reports(&db, 1, ConfigOutcome::Applied, 4 * DAY + 2);
    assert_eq!(due(&db, 14 * DAY), NONE);
}

#[test]
fn a_device_that_is_away_is_sent_nothing_and_is_due_when_it_comes() {
    let db = registry();
    write(&db, 0, "[]", 0);
    assert_eq!(due(&db, DAY), NONE, "it is not here");
    state_says(&db, Some(0), DAY);
    assert_eq!(due(&db, DAY), [1], "it comes");
    goes(&db, DAY + 1);
    assert_eq!(due(&db, 2 * DAY), NONE);
    state_says(&db, Some(1), 2 * DAY);
    assert_eq!(due(&db, 3 * DAY), NONE, "it has it");
    goes(&db, 3 * DAY);
    state_says(&db, Some(0), 3 * DAY + 1);
    assert_eq!(due(&db, 3 * DAY + 1), [1], "it was reset");
}

#[test]
fn telemetry_as_a_sign_of_life_wakes_it_as_well() {
    let db = registry();
    write(&db, 0, "[]", 0);
    let row = rs1_store::telemetry::RollupRow {
        device_id: device(),
        hour: 0,
        messages: 1,
        last_at: UnixMillis(5),
        last_received_at: UnixMillis(5),
        metrics: "{}".into(),
        seen: Some(String::new()),
        generation: 1,
        adds: rs1_telemetry::batch::Adds::default(),
    };
    all(&db, [rs1_store::telemetry::write_rollups(&[row], 0, None).unwrap()]);
    assert_eq!(due(&db, 5), [1]);
}

#[test]
fn what_could_not_be_sent_is_due_as_if_it_had_not_been_taken() {
    let db = registry();
    state_says(&db, None, 1);
    write(&db, 0, "[]", 0);
    for minute in 1..=20 {
        assert_eq!(due(&db, minute * MINUTE), [1]);
        all(&db, [zones::put_back(&[&device()], UnixMillis((minute + 1) * MINUTE)).unwrap()]);
    }
    assert_eq!(sendings(&db, 21 * MINUTE, 30 * MINUTE), [0, 1, 3, 7], "the broker is back");
}

#[test]
fn one_device_is_taken_by_one_of_two_who_would_send() {
    let db = registry();
    write(&db, 0, "[7]", 0);
    state_says(&db, None, 10);
    let take = || {
        let [outcome] = block_on(run(&db, [zones::take(&device(), UnixMillis(10))])).unwrap();
        first_row::<Due>(&outcome).unwrap()
    };
    assert_eq!(take().unwrap().zones, "[7]");
    assert!(take().is_none());
    assert_eq!(due(&db, 10), NONE);
}

#[test]
fn a_device_that_is_given_up_is_emptied_and_its_history_forgotten() {
    let db = registry();
    all(&db, zones::forget(&device(), UnixMillis(1)));
    assert_eq!(current(&db).version, 0, "nothing to forget");
    write(&db, 0, "[1]", 10);
    write(&db, 1, "[2]", 20);
    state_says(&db, Some(2), 30);
    all(&db, zones::forget(&device(), UnixMillis(40)));
    assert_eq!(current(&db).version, 2, "while it is somebody's");
    let given_up = Statement { name: "test", sql: "DELETE FROM device_access", params: Vec::new() };
    all(&db, [given_up]);
    all(&db, zones::forget(&device(), UnixMillis(40)));
    let now = current(&db);
    assert_eq!((now.version, now.zones.as_str(), now.updated_by.as_deref()), (3, "[]", Some("system")));
    assert_eq!(kept(&db), [3]);
    assert_eq!(due(&db, 40), [3], "the device is to forget them as well");
}

/// Something that a device says.
#[derive(Clone, Copy, Debug)]
enum Says {
    State(i64),
    Report(i64, ConfigOutcome),
}

fn says() -> impl Strategy<Value = Says> {
    let outcome = prop_oneof![
        2 => Just(ConfigOutcome::Applied),
        1 => Just(ConfigOutcome::Rejected),
        1 => Just(ConfigOutcome::Pending)
    ];
    prop_oneof![
        // A device's states tell its version always, or never.
        2 => (0_i64..4).prop_map(Says::State),
        3 => (1_i64..4, outcome).prop_map(|(version, outcome)| Says::Report(version, outcome)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn in_whatever_order_messages_come_and_however_often_the_outcome_is_the_same(
        messages in prop::collection::vec(says(), 1..7), order in prop::collection::vec(0_usize..7, 0..12),
        states_tell: bool,
    ) {
        let tell = |db: &NativeDatabase, place: usize| {
            let at = 100 + i64::try_from(place).unwrap();
            match messages[place] {
                Says::State(version) => state_says(db, states_tell.then_some(version), at),
                Says::Report(version, outcome) => reports(db, version, outcome, at),
            }
        };
        let (in_order, crossing) = (registry(), registry());
        for db in [&in_order, &crossing] {
            write(db, 0, "[]", 1);
            write(db, 1, "[]", 2);
            write(db, 2, "[]", 3);
        }
        for place in 0..messages.len() {
            tell(&in_order, place);
        }
        for place in order.iter().map(|place| place % messages.len()).chain((0..messages.len()).rev()) {
            tell(&crossing, place);
        }
        let shown = |db: &NativeDatabase| {
            let now = current(db);
            (now.applied_version, now.applied_at, now.report_version, now.report_outcome, now.report_at)
        };
        prop_assert_eq!(shown(&in_order), shown(&crossing));

        // The last word on what the device has, whichever way it was said.
        let has = messages.iter().rev().find_map(|said| match *said {
            Says::State(version) => states_tell.then_some(version),
            Says::Report(version, ConfigOutcome::Applied) => Some(version),
            Says::Report(..) => None,
        });
        prop_assert_eq!(current(&crossing).applied_version, has.unwrap_or(0));
        // Due exactly if the device is here and has not got it.
        let here = messages.iter().any(|said| matches!(said, Says::State(_)));
        let expected = here && has.unwrap_or(0) < 3;
        prop_assert_eq!(!due(&crossing, 100 + DAY).is_empty(), expected);
    }
}

#[test]
fn diagnostics_are_asked_for_once_in_ten_seconds_and_answered_once() {
    let db = registry();
    let id = |n: u8| RecordId::generate("dia", UnixMillis(0), [n; 10]);
    let ask = |n: u8, at: i64| {
        all(&db, [diagnostics::request(&id(n), &device(), r#"["heap"]"#, "ada", UnixMillis(at))])[0].changes
    };
    assert_eq!((ask(1, 20_000), ask(2, 29_999), ask(3, 30_000)), (1, 0, 1));
    let answer = |n: u8| {
        all(&db, [diagnostics::answered(&device(), id(n).as_str(), 5, UnixMillis(31_000))])[0].changes
    };
    assert_eq!((answer(1), answer(1), answer(2)), (1, 0, 0));
    let other = DeviceId::of(&MacAddress::parse("AA:BB:CC:DD:EE:02").unwrap());
    let outcomes = all(
        &db,
        [
            diagnostics::of_device(&other, id(1).as_str()),
            diagnostics::of_device(&device(), id(1).as_str()),
            diagnostics::request(&id(9), &other, "[]", "ada", UnixMillis(1)),
        ],
    );
    assert_eq!(outcomes[0].rows_json, "[]", "another device was not asked");
    let row: diagnostics::DiagnosticsRow = first_row(&outcomes[1]).unwrap().unwrap();
    assert_eq!((row.include.as_str(), row.answered_at), (r#"["heap"]"#, Some(UnixMillis(31_000))));
    assert_eq!(outcomes[2].changes, 0, "no such device");
    let border = RecordId::generate("dia", UnixMillis(1), [0; 10]);
    assert_eq!(all(&db, [diagnostics::prune(&border, 10)])[0].changes, 2);
}
