//! Every statement uses an index on every table that grows. A scan that is quick in a test is an
//! outage at ten thousand devices.

use rs1_domain::security::{AuthFailure, SecurityEvent, SecurityKind};
use rs1_domain::wire::{ConfigStatus, State};
use rs1_domain::{
    DeviceId, EmailAddress, FirmwareVersion, MacAddress, Method, RecordId, RequestId, Role, SessionId, Sku,
    UnixMillis, UserId,
};
use rs1_ops::notice::{Channel, Source};
use rs1_store::firmware::NewArtifact;
use rs1_store::native::NativeDatabase;
use rs1_store::security::{AdminAccess, Wanted};
use rs1_store::sql::PageRequest;
use rs1_store::telemetry::RollupRow;
use rs1_store::{
    Statement, access, alerts, backups, checks, cron, devices, diagnostics, erasures, exports, firmware,
    fleet, idempotency, incidents, notices, objects, orders, rollouts, rotations, seals, security, status,
    tallies, telemetry, users, watch, zones,
};
use rs1_telemetry::alert::{Alerts, Kind, Signal};

const NOW: UnixMillis = UnixMillis(1_763_690_475_123);

/// One of each statement there is.
fn every_statement() -> Vec<Statement> {
    let mac_address = MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap();
    let device = DeviceId::of(&mac_address);
    let new = devices::NewDevice {
        device_id: device.clone(),
        mac_address,
        product_sku: Some(Sku::Pro),
        sealed_key: "1.x".into(),
    };
    let state =
        State::read(br#"{"online": true, "firmware_version": "1.0.0", "last_seen": "2026-01-20T10:00:00Z"}"#)
            .unwrap();
    let page = PageRequest { limit: 10, after: None };
    let row = RollupRow {
        device_id: device.clone(),
        hour: 1,
        messages: 1,
        last_at: NOW,
        last_received_at: NOW,
        metrics: "{}".into(),
        seen: None,
        generation: 1,
        adds: rs1_telemetry::batch::Adds::default(),
    };
    let mut statements = vec![
        devices::enroll(&[new], NOW, "ada").unwrap(),
        devices::enrollments(&[&device]).unwrap(),
        devices::sealed_key(&device),
        devices::report_state(&device, &state, None, NOW),
        devices::report_gone(&device, "will", None, NOW),
        devices::exists(&device),
        devices::by_id(&device),
        devices::list(&devices::Wanted::default(), &page),
        devices::list(
            &devices::Wanted { version: Some("1.0.0".into()), ..devices::Wanted::default() },
            &page,
        ),
        devices::list(&devices::Wanted { online: Some(true), ..devices::Wanted::default() }, &page),
        devices::list(&devices::Wanted { sku: Some(Sku::Pro), ..devices::Wanted::default() }, &page),
        telemetry::rollups_for(&[(&device, 1)]).unwrap(),
        telemetry::write_rollups(&[row], 0, None).unwrap(),
        telemetry::hours(&device, 0),
        telemetry::hours_between(&device, 0, 1, 100),
        telemetry::record_events(&[telemetry::EventRow {
            device_id: Some(device.clone()),
            at: NOW,
            mark: "m-0".into(),
            kind: "boot".into(),
            detail: String::new(),
            count: 1,
        }])
        .unwrap(),
        telemetry::events(
            &device,
            &telemetry::WantedEvents { from: NOW, until: NOW, kind: None, before: None, limit: 10 },
        ),
        telemetry::delete_events("", &device, NOW),
        telemetry::next_devices("", 100),
        telemetry::delete_hours("", &device, 100),
    ];
    statements.extend(cron_statements());
    statements.extend(security_statements(&device));
    statements.extend(people_statements(&device));
    statements.extend(firmware_statements());
    statements.extend(rollout_statements(&device));
    statements.extend(zone_statements(&device));
    statements.extend(backup_statements());
    statements.extend(alert_statements(&device));
    statements.extend(notice_statements());
    statements.extend([check_statements(), object_statements(), seal_statements(&device)].concat());
    statements.extend([fleet_statements(&device), own_data_statements(&device)].concat());
    statements
}

fn check_statements() -> Vec<Statement> {
    let page = PageRequest { limit: 10, after: None };
    let border = RecordId::generate("inc", NOW, [0; 10]);
    let window = incidents::WindowRow {
        window_id: "mnt-1".into(),
        subjects: vec!["*".into()],
        reason: "drill".into(),
        from_at: NOW,
        until_at: NOW,
        created_by: "ada".into(),
        ended_by: None,
    };
    vec![
        checks::begin("tick-1", NOW),
        checks::round(),
        checks::probe("tick-1", NOW),
        checks::finish(1, "tick-1", NOW, 1, 1, 1),
        checks::let_go("tick-1"),
        checks::list(),
        checks::write(&[], &[], NOW).unwrap(),
        checks::keep(&[]).unwrap(),
        checks::add_day(&[], NOW).unwrap(),
        checks::days("2026-01-20"),
        checks::prune_days("2026-01-20", 10),
        checks::fleet(NOW),
        incidents::open(),
        incidents::write(&[]).unwrap(),
        incidents::record(&[]).unwrap(),
        incidents::list(Some(incidents::Status::Open), &page),
        incidents::by_id("inc-1"),
        incidents::timeline("inc-1", 10),
        incidents::acknowledge("inc-1", "ada", NOW),
        incidents::record_acknowledged("inc-1", "ada", "", NOW),
        incidents::prune_events(&border, 10),
        incidents::prune(&border, 10),
        incidents::windows_at(NOW),
        incidents::windows(&page),
        incidents::window("mnt-1"),
        incidents::declare(&window).unwrap(),
        incidents::end_window("mnt-1", "ada", NOW),
        incidents::prune_windows(NOW, 10),
        status::checks(),
        status::days("2026-01-20"),
        status::incidents(&border),
        status::steps(&border),
        status::backlog(),
    ]
}

fn fleet_statements(device: &DeviceId) -> Vec<Statement> {
    let hour = fleet::FleetHour {
        hour: 1,
        devices: 1,
        messages: 1,
        metrics: Vec::new(),
        errors: Vec::new(),
        troubled: 0,
        worst: Vec::new(),
    };
    let mut statements = vec![
        fleet::versions(NOW),
        fleet::people(NOW),
        fleet::alerts(),
        fleet::metrics_of_hour("", device, 1, &[]).unwrap(),
        fleet::trouble_of_hour("", device, 1, &[]).unwrap(),
        fleet::hours(1),
        fleet::known_hours(1),
        fleet::troubled(1, 10),
        tallies::came(),
        tallies::opened(),
        tallies::upkeep(),
        tallies::compacted(&tallies::Compacted::default()),
        tallies::latest_hour(1),
    ];
    statements.extend(fleet::write_hour(&hour, NOW).unwrap());
    statements.extend(fleet::prune(1));
    statements
}

fn own_data_statements(device: &DeviceId) -> Vec<Statement> {
    let (user, id) = (UserId::generate(NOW, [0; 10]), RecordId::generate("exp", NOW, [0; 10]));
    let export = exports::ExportRow {
        export_id: "exp-1".into(),
        device_id: device.clone(),
        user_id: user.clone(),
        state: "running".into(),
        bytes: 0,
        created_at: NOW,
        from_at: NOW,
        until_at: NOW,
        progress: "{}".into(),
        generation: 1,
    };
    let erasure = erasures::ErasureRow {
        erasure_id: "era-1".into(),
        device_id: device.clone(),
        user_id: user.clone(),
        state: "running".into(),
        requested_at: NOW,
        from_hour: 1,
        until_hour: 2,
        next_hour: 1,
        lines: 0,
        generation: 1,
        done_at: None,
    };
    let kept = erasures::Kept {
        erasure_id: "era-1".into(),
        device_id: device.clone(),
        user_id: user.clone(),
        requested_at: NOW,
        from_hour: 1,
        until_hour: 2,
    };
    let saved = erasures::Saved { state: "running", next_hour: 1, lines: 0, due_at: NOW, held_until: NOW };
    let mut statements = vec![
        exports::begin(&id, &user, device, "{}", NOW, NOW),
        exports::latest(&user, device, NOW),
        exports::ready("exp-1", NOW),
        exports::take(NOW),
        exports::save(&export, "{}", None, NOW),
        exports::let_go(&export, NOW),
        exports::prune(&id, 10),
        erasures::begin(&id, &user, device, 1, NOW),
        erasures::hide(device),
        erasures::close(device, 1),
        erasures::unknown(&["era-1"]).unwrap(),
        erasures::again(&kept, NOW),
        erasures::cancel_exports(device),
        erasures::latest(&user, device),
        erasures::take(NOW),
        erasures::save(&erasure, &saved, NOW),
        erasures::let_go(&erasure, NOW),
        erasures::delete_events(device, 1, 10),
        erasures::doomed_exports(device),
        erasures::prune(&id, 10),
    ];
    let after = exports::After::default();
    statements.extend(exports::FILES.map(|(_, page)| page(device, NOW, NOW, &after, 10)));
    statements.extend(erasures::delete_rows(device, 1, NOW));
    statements
}

fn security_statements(device: &DeviceId) -> Vec<Statement> {
    let request_id = RequestId::from_header("r").unwrap();
    let id = RecordId::generate("sec", NOW, [0; 10]);
    let failures = [AuthFailure::new("203.0.113.7", NOW, &request_id)];
    let event = SecurityEvent {
        id: id.to_string(),
        kind: SecurityKind::AclViolation,
        subject: device.to_string(),
        peerhost: None,
        detail: serde_json::json!({}),
        count: 1,
        at: NOW,
    };
    let mut statements = vec![
        security::audit(&AdminAccess {
            id: id.clone(),
            at: NOW,
            actor: "ada",
            method: Method::Get.as_str(),
            route: "/",
            target: None,
            request_id: &request_id,
            detail: None,
        }),
        security::record(&[event]).unwrap(),
        security::list(&Wanted::default()).unwrap(),
        security::list(&Wanted { kinds: Some(vec![SecurityKind::AclViolation]), ..Wanted::default() })
            .unwrap(),
        security::list(&Wanted { subject: Some("x".into()), ..Wanted::default() }).unwrap(),
        security::list(&Wanted { peerhost: Some("x".into()), ..Wanted::default() }).unwrap(),
        security::prune_security(&id, 100),
        security::prune_audit(&id, 100),
        security::prune_failures(NOW, 100),
    ];
    statements.extend(security::count_failures(&id, &failures).unwrap());
    statements.push(rotations::list());
    statements.extend(rotations::note(&id, "JWT_SECRET", rotations::Act::Replaced, NOW));
    statements.extend(rotations::walks(NOW));
    statements
}

fn alert_statements(device: &DeviceId) -> Vec<Statement> {
    let user = UserId::generate(NOW, [0; 10]);
    let page = PageRequest { limit: 10, after: None };
    let mut alerts = Alerts::new(device.clone(), Vec::new());
    alerts.apply(vec![Signal { kind: Kind::LowMemory, at: NOW, seen: Some(String::new()) }]);
    let horizon = alerts::Horizon { now: NOW, prolonged: NOW, reset: NOW, ota: NOW, ota_failures: 2 };
    vec![
        alerts::open(&[device]).unwrap(),
        alerts::write(&alerts.changed()).unwrap(),
        alerts::silent(NOW, NOW),
        alerts::troubled(&horizon),
        alerts::recovered(&horizon, NOW),
        alerts::of_device(device, None, None, &page),
        alerts::one(device, "alr-1"),
        alerts::acknowledge(&user, device, "alr-1", NOW),
        alerts::delete("", device, &RecordId::generate("alr", NOW, [0; 10])),
        alerts::outbox(10),
        alerts::taken(&[1], 0, NOW).unwrap(),
        alerts::prune_outbox(NOW, 10),
    ]
}

fn cron_statements() -> [Statement; 5] {
    [
        cron::begin("ota", "* * * * *", NOW, NOW),
        cron::finish("ota", "* * * * *", NOW, NOW, true, ""),
        cron::forget("telemetry"),
        cron::runs("ota"),
        cron::all_runs(),
    ]
}

fn notice_statements() -> Vec<Statement> {
    let page = PageRequest { limit: 10, after: None };
    let settled = notices::Settled {
        seq: 1,
        channel: Channel::Slack,
        claim: "c",
        state: "sent",
        next_at: None,
        status: Some(200),
        error: None,
        quiet_until: None,
    };
    let mut statements = vec![
        notices::tell(&[], notices::If::Always, NOW).unwrap(),
        notices::collector(),
        notices::collected("{}", 0),
        notices::inbox(10),
        notices::empty_inbox(&[1], 0).unwrap(),
        notices::open(&["k".to_owned()]).unwrap(),
        notices::unplanned(10),
        notices::claim(Channel::Slack, "c", NOW, NOW),
        notices::claimed(Channel::Slack, "c", NOW),
        notices::list(None, None, &page),
        notices::list(None, Some(Source::Rollout), &page),
        notices::list(Some(notices::DeliveryState::Failed), Some(Source::Rollout), &page),
        notices::by_id("ntc-1"),
        notices::digest(&RecordId::generate("sec", NOW, [0; 10]), NOW),
        notices::silent_devices(&RecordId::generate("alr", NOW, [0; 10]), 10),
        notices::retry("ntc-1", NOW),
    ];
    statements.extend(notices::plan(&[], &[], NOW).unwrap());
    statements.extend(notices::settle(&settled, NOW));
    statements.extend(notices::prune(NOW, 10));
    statements
}

fn seal_statements(device: &DeviceId) -> Vec<Statement> {
    let mark = seals::Mark { hour: 1, device_id: device.clone(), marks: 1 };
    let mut statements = vec![
        seals::latest(1),
        seals::slots(1, "", "10", 500),
        seals::seal(1, "", device.as_str()),
        seals::note(1, seals::END, seals::Compared::default(), NOW),
        seals::note_repaired(1, 1, NOW),
        seals::mark(&[(device, 1)]).unwrap(),
        seals::marks(1, 50),
        seals::settle(&mark),
        seals::delete(device, 1, 1),
    ];
    statements.extend(seals::prune(1));
    statements
}

fn object_statements() -> Vec<Statement> {
    let row = objects::ObjectRow {
        etag: None,
        state: "open".into(),
        position: 0,
        counted: 0,
        repeated: 0,
        refused: 0,
        generation: 1,
    };
    vec![
        objects::take("telemetry/incoming/a", NOW),
        objects::save("telemetry/incoming/a", &row, true, NOW),
        objects::let_go("telemetry/incoming/a", &row, NOW),
        objects::waiting(&["telemetry/incoming/a"], NOW).unwrap(),
        objects::prune(NOW, 10),
    ]
}

fn backup_statements() -> Vec<Statement> {
    let row = backups::RunningRow {
        backup_id: "2026-11-21".into(),
        started_at: NOW,
        generation: 1,
        progress: None,
    };
    let check = backups::Check { ok: true, faults: Vec::new(), checked_at: None };
    let mut statements = vec![
        backups::begin("2026-11-21", None, NOW),
        backups::running(),
        backups::take_statement(NOW),
        backups::save(&row, "{}", true, NOW),
        backups::let_go(&row),
        backups::complete(
            &row,
            &backups::Whole { rows: 1, bytes: 1, sha256: "00", schema_version: None },
            NOW,
        ),
        backups::fail(&row, "", NOW),
        backups::list(&PageRequest { limit: 10, after: None }),
        backups::forget(&["2026-11-21".to_owned()]).unwrap(),
        backups::by_id("2026-11-21"),
        backups::unproven(10),
        backups::note_check("2026-11-21", &check, NOW).unwrap(),
        watch::list(),
    ];
    statements.extend(watch::note(&[], NOW).unwrap());
    statements
}

/// A backup reads tables one after the other while others write; it can be restored because a row's parent never goes
/// (rs1-ops, "Why a dump that takes minutes can be restored"). Whoever needs a statement that this refuses has to
/// teach the backup about it first.
#[test]
fn no_statement_deletes_from_a_table_that_another_refers_to() {
    let schema = pollster::block_on(backups::schema(&NativeDatabase::new())).unwrap();
    let referred: Vec<&str> =
        schema.tables.iter().flat_map(|table| &table.refers_to).map(String::as_str).collect();
    assert!(referred.contains(&"devices"), "{referred:?}");
    let triggers = schema.rest.iter().map(String::as_str);
    let statements = every_statement();
    for sql in statements.iter().map(|statement| statement.sql).chain(triggers) {
        let words: Vec<&str> = sql.split_whitespace().collect();
        for window in words.windows(3) {
            if window[0].eq_ignore_ascii_case("delete") && window[1].eq_ignore_ascii_case("from") {
                assert!(!referred.contains(&window[2]), "{sql}");
            }
            assert!(
                !window[0].eq_ignore_ascii_case("replace") || !window[1].eq_ignore_ascii_case("into"),
                "{sql}"
            );
        }
    }
}

fn rollout_creation() -> [Statement; 2] {
    let id = RecordId::generate("rol", NOW, [0; 10]);
    let version = FirmwareVersion::parse("1.2.0").unwrap();
    rollouts::create(&rollouts::NewRollout {
        id: &id,
        sku: Sku::Pro,
        version: &version,
        stages: "[]",
        min_rssi: -70,
        force: false,
        rate_per_minute: 60,
        selector: "{}",
        schedule_at: None,
        reason: None,
        at: NOW,
        by: "ada",
        decision: &id,
        idempotency_key: None,
    })
}

fn zone_statements(device: &DeviceId) -> Vec<Statement> {
    let id = RecordId::generate("dia", NOW, [0; 10]);
    let status =
        ConfigStatus::read(br#"{"version": 1, "status": "applied", "timestamp": "2026-01-20T10:00:00Z"}"#)
            .unwrap();
    let mut statements = vec![
        zones::current(device),
        zones::write(device, 0, "[]", &UserId::generate(NOW, [0; 10]), NOW),
        zones::history(device),
        zones::version(device, 1),
        zones::take_due(NOW, 100),
        zones::take(device, NOW),
        zones::put_back(&[device], NOW).unwrap(),
        zones::report(device, &status, NOW),
        zones::applied(device, 1, NOW),
        diagnostics::request(&id, device, "[]", "ada", NOW),
        diagnostics::of_device(device, "dia-1"),
        diagnostics::answered(device, "dia-1", 1, NOW),
        diagnostics::prune(&id, 100),
    ];
    statements.extend(zones::forget(device, NOW));
    statements
}

fn rollout_statements(device: &DeviceId) -> Vec<Statement> {
    let id = RecordId::generate("rol", NOW, [0; 10]);
    let page = PageRequest { limit: 10, after: None };
    let row = rollouts::AttemptRow {
        rollout_id: id.to_string(),
        device_id: device.clone(),
        state: "triggered".into(),
        attempt: 1,
        facts: "{}".into(),
        triggered_at: NOW,
        sent_at: None,
        closed_at: None,
        counted_at: None,
        revision: 1,
    };
    let event = rollouts::AttemptEvent {
        rollout_id: id.as_str(),
        device_id: device,
        state: "triggered",
        attempt: 1,
        detail: None,
    };
    let stray = rollouts::Stray {
        rollout_id: id.as_str(),
        device_id: device,
        source: "m1",
        detail: serde_json::json!({}),
    };
    let key = [rollouts::TriggerKey { rollout_id: id.as_str(), device_id: device, attempt: 1 }];
    let mut statements = vec![
        rollouts::by_id("rol-1"),
        rollouts::list(&page),
        rollouts::due(NOW),
        rollouts::under_way_for(&[device]).unwrap(),
        rollouts::decide(&rollouts::Decision {
            rollout_id: id.as_str(),
            generation: 1,
            id: &id,
            status: "STAGED",
            cause: None,
            stage: 0,
            stage_started_at: None,
            started_at: None,
            paused_at: None,
            finished_at: None,
            schedule_at: None,
            acknowledged_at: None,
            report: None,
            at: NOW,
        }),
        rollouts::decided("rol-1", &id, &[], NOW).unwrap(),
        rollouts::remember(
            "rol-1",
            &id,
            &rollouts::Remember {
                actor: "ada",
                key: "k",
                fingerprint: "f",
                request_id: "r",
                status: 200,
                body: "{}",
            },
            NOW,
        ),
        rollouts::note_report("rol-1", 1, "{}", NOW),
        rollouts::settle("rol-1"),
        rollouts::attempts(&[("rol-1", device)]).unwrap(),
        rollouts::latest_attempts(&[device]).unwrap(),
        rollouts::write_attempts(&[row], &id, None).unwrap(),
        rollouts::attempt_events(&[event], &id, NOW).unwrap(),
        rollouts::note_strays(&[stray], NOW).unwrap(),
        rollouts::unqueued("rol-1", 100),
        rollouts::mark_unqueued(&key).unwrap(),
        rollouts::mark_queued(&key, NOW).unwrap(),
        rollouts::claim(&key, NOW, NOW).unwrap(),
        rollouts::release(&key).unwrap(),
        rollouts::triggers(&key).unwrap(),
        rollouts::counts("rol-1"),
        rollouts::devices("rol-1", &page),
        rollouts::devices_in_state("rol-1", "failed", &page),
        rollouts::events("rol-1", 0, &page),
        rollouts::prune_events(NOW, 10),
        rollouts::snapshot("rol-1", Sku::Pro, "", 1_000),
        rollouts::failures_since(NOW, 10),
        idempotency::find("ada", "k"),
        idempotency::prune(NOW, 10),
        devices::tags(device),
        devices::set_tags(device, "[]"),
        devices::learn_sku(device, Sku::Pro),
    ];
    statements.extend(rollout_creation());
    statements.extend(rollouts::pause_for_artifact(Sku::Pro, "1.2.0", "ada", &id, NOW));
    statements.extend(rollouts::pause_for_key("fwk-1", "ada", &id, NOW));
    statements
}

fn people_statements(device: &DeviceId) -> Vec<Statement> {
    let user = UserId::generate(NOW, [0; 10]);
    let session = SessionId::generate(NOW, [0; 10]);
    let email = EmailAddress::parse("ada@example.com").unwrap();
    let who = users::SignIn { issuer: "i", subject: "s", email: &email, name: None, at: NOW };
    let page = PageRequest { limit: 10, after: None };
    let id = RecordId::generate("inv", NOW, [0; 10]);
    let request_id = RequestId::from_header("r").unwrap();
    let share = access::NewShare { device, owner: &user, email: &email, role: Role::Admin, at: NOW };
    let act = security::Act {
        id: id.clone(),
        at: NOW,
        actor: "ada",
        action: "device_shared",
        method: "POST",
        route: "/",
        target: device,
        request_id: &request_id,
        detail: serde_json::json!({}),
    };
    let order = orders::NewOrder {
        device_id: device.clone(),
        order_id: "1".into(),
        mac_address: MacAddress::from_bytes([0; 6]),
        email: email.clone(),
        shipped_at: None,
    };
    let mut statements = vec![
        access::sight_of(&user, device),
        access::role_of(&user, device),
        access::my_devices(&user, None),
        access::my_device(&user, device),
        access::edit_profile(&user, device, None, None, 0),
        access::shares(device),
        access::share_with_user(&share),
        access::invite(&id, &share),
        access::share_of(device, &email),
        access::unshare(device, &user, &user),
        access::uninvite(device, &user, &id),
        access::ownership(&user, device),
        access::give_up(&user, device),
        access::forget_offers(device),
        access::forget_profile(device),
        access::offer(&id, &user, device, &email, NOW, NOW),
        access::transfer(&user, device, NOW),
        access::offers_to(&user, &page, NOW),
        access::withdraw(&user, device),
        access::claim(device, &user, "ada", NOW),
        access::owner(device),
        security::act(&act),
        security::note(&act),
        security::audit_of(device, &page),
        devices::provision(device, NOW),
        users::of_email(&email),
        users::list(&page),
        users::list_of_email(&email),
        users::upsert(&user, &who),
        users::take_up_invitations(&who),
        users::clear_invitations(&who),
        users::start_session(&session, &who, "hash", NOW),
        users::signed_in(&who),
        users::by_id(&user),
        users::rotate(&session, "hash", "fresh", NOW, NOW),
        users::session(&session),
        users::end_session(&session, &user, users::Ending::SignOut, NOW),
        users::prune_sessions(NOW, 100),
        orders::import(std::slice::from_ref(&order), NOW).unwrap(),
        orders::stored(&[order]).unwrap(),
        orders::link_device(device, NOW),
        orders::link_orders(&[device], NOW).unwrap(),
        orders::link_user(&who),
        orders::mark_linked(&[device], NOW).unwrap(),
        orders::mark_linked_user(&who),
    ];
    statements.extend(access::forget_people(device));
    statements.extend(access::accept(&user, "trf-1", device, NOW));
    statements
}

fn firmware_statements() -> Vec<Statement> {
    let device = DeviceId::of(&MacAddress::from_bytes([2, 0, 0, 0, 0, 1]));
    let page = PageRequest { limit: 10, after: None };
    let id = RecordId::generate("fwa", NOW, [0; 10]);
    let version = FirmwareVersion::parse("1.2.0").unwrap();
    vec![
        firmware::add_key(&id, "ci", &"0".repeat(128), NOW, "ada"),
        firmware::key_by_public_key("0"),
        firmware::key_by_id("fwk-1"),
        firmware::keys(&page),
        firmware::revoke_key("fwk-1", NOW, "ada"),
        firmware::signed_with("fwk-1"),
        firmware::add_artifact(&NewArtifact {
            id,
            sku: Sku::Pro,
            version: &version,
            sha256: "0",
            size: 1,
            elf_sha256: "0",
            fw_version: 1,
            project_name: "rs1",
            built_at: NOW,
            key_id: "fwk-1",
            at: NOW,
            by: "ada",
        }),
        firmware::artifact(Sku::Pro, &version),
        firmware::artifacts(&page),
        firmware::artifacts_of(Sku::Pro, &page),
        firmware::yank(Sku::Pro, &version, "bad", NOW, "ada"),
        firmware::permit(Sku::Pro, &version, "rol-1", &device),
        firmware::begin_download(&device, Sku::Pro, &version, "rol-1", 10, NOW),
        firmware::note_refusal(&device, Sku::Pro, &version, NOW),
        firmware::never_checked(10),
        firmware::checked_before(NOW, 10),
        firmware::faulty(10),
        firmware::note_check("fwa-1", None, NOW),
        firmware::check_state(),
        firmware::faults(10),
    ]
}

/// What may be scanned, besides a list that came as a parameter (`json_each`, under whatever alias, is the only virtual
/// table there is): a table with a row a cron trigger, a check, a door or a thing that is watched, and what a query derived from such (by its alias).
const SMALL: [&str; 13] = [
    "CONSTANT ROW",
    "holder",
    "wanted",
    "json_each",
    "cron_runs",
    "backup_watch",
    "secret_rotations",
    "checks",
    "telemetry_tallies",
    "alert_tallies",
    "(subquery",
    "host",
    "old",
];

/// The statements that look at rows that go within two hours, most of them for the last time.
const PASSING: [&str; 1] = ["prune_failures"];

/// The statements that count the whole fleet; their answers are kept, so that each runs once a minute at most, or once a day.
const COUNTS: [&str; 4] = ["fleet_versions", "fleet_people", "fleet_alerts", "notices_digest"];

#[test]
fn every_statement_searches_tables_that_grow_by_an_index() {
    let db = NativeDatabase::new();
    for statement in every_statement() {
        for step in db.plan(&statement).unwrap() {
            let Some(scanned) = step.strip_prefix("SCAN ") else { continue };
            // Reading in the order of an index until LIMIT is a search for the first row.
            let ordered = statement.sql.contains("LIMIT") && step.contains("USING");
            let small =
                SMALL.iter().any(|name| scanned.starts_with(name)) || scanned.contains("VIRTUAL TABLE");
            let counts = COUNTS.contains(&statement.name) || PASSING.contains(&statement.name);
            assert!(small || ordered || counts, "{}: {step}", statement.name);
        }
    }
}

/// Whatever is told the security log falls into the row that counts it.
#[test]
fn there_is_one_way_into_the_security_log() {
    let words = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let into = "INSERT INTO security_log (id, kind, severity, subject, peerhost, detail, count, first_at, last_at, window_key)";
    let counting = "ON CONFLICT (window_key) DO UPDATE SET count = count + excluded.count, \
        first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)";
    let writing: Vec<_> = every_statement()
        .into_iter()
        .filter(|statement| {
            let changes = ["INTO security_log", "UPDATE security_log"];
            changes.iter().any(|change| statement.sql.contains(change))
        })
        .collect();
    assert!(writing.len() >= 6, "{}", writing.len());
    for statement in writing {
        let sql = words(statement.sql);
        assert!(sql.contains(into) && sql.ends_with(counting), "{}: {sql}", statement.name);
    }
}

/// The pages of a backup are asked for with queries that are made at run time.
#[test]
fn a_backup_reads_every_table_in_the_order_of_its_key() {
    let db = NativeDatabase::new();
    let schema = pollster::block_on(backups::schema(&db)).unwrap();
    assert!(schema.tables.len() > 10, "{}", schema.tables.len());
    for table in &schema.tables {
        for after_key in [false, true] {
            let sql: &'static str = rs1_ops::dump::page_query(table, after_key).leak();
            let values = if after_key { table.key.len() } else { 0 };
            let params = vec![rs1_domain::port::Param::Int(1); values + 1];
            let steps = db.plan(&Statement { name: "backup_page", sql, params }).unwrap();
            let wanted = if after_key { "SEARCH " } else { "SCAN " };
            assert!(steps.len() == 1 && steps[0].starts_with(wanted), "{}: {steps:?}", table.name);
        }
    }
}

#[test]
fn no_statement_sorts_what_an_index_could_order() {
    let db = NativeDatabase::new();
    for statement in every_statement() {
        // The exceptions sort at most six marks of an address, and the most affected devices by what it has just added up.
        if ["note_failures", "fleet_troubled"].contains(&statement.name) {
            continue;
        }
        for step in db.plan(&statement).unwrap() {
            assert!(!step.starts_with("USE TEMP B-TREE FOR ORDER BY"), "{}: {step}", statement.name);
        }
    }
}

#[test]
fn every_statement_in_the_crate_is_examined_and_names_itself() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut written = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        written.extend(
            source.split("name: \"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned),
        );
    }
    let mut examined: Vec<_> = every_statement().iter().map(|statement| statement.name.to_owned()).collect();
    for statement in every_statement() {
        let comment = format!("/* {} */", statement.name);
        assert!(statement.sql.starts_with(&comment), "{} does not begin with {comment}", statement.name);
    }
    written.sort();
    examined.sort();
    assert_eq!(written, examined, "every_statement() is not complete");
}
