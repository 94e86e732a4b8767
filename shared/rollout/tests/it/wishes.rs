//! What users of other systems ask for and do not get: a test, or several, for each.

use rs1_domain::wire::OtaPhase::{Deferred, Downloading, Failed, Pending, Success, Verifying};
use rs1_rollout::{Action, Applied, Decision, Device, DeviceState, Fact, HoldBack, Policy, Share, Sighting};

use crate::common::*;

// Count only a booted, confirmed image; notice an A/B fall-back.

#[test]
fn count_only_a_booted_confirmed_image_success_is_installed_and_no_outcome() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.send_all();
    world.later(seconds(30)).report(0, Success);
    assert_eq!(world.state(0), Some(DeviceState::Installed));
    let report = world.run().report;
    assert_eq!((report.total.in_flight, report.total.outcomes), (1, 0));

    world.later(seconds(20)).sight(0, NEW, 6);
    assert_eq!(world.state(0), Some(DeviceState::Confirmed));
    let report = world.run().report;
    assert_eq!((report.total.confirmed, report.total.outcomes), (1, 1));
}

#[test]
fn count_only_a_booted_confirmed_image_a_state_between_success_and_the_reboot_proves_nothing() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.send_all();
    world.later(seconds(30)).report(0, Success);
    for state in [
        // By the counter; by the uptime; by neither, on the same connection.
        Sighting { boot_count: Some(5), uptime_sec: Some(3_632), ..sighting(OLD, world.now.plus(2_000)) },
        Sighting { uptime_sec: Some(3_632), ..sighting(OLD, world.now.plus(2_000)) },
        sighting(OLD, world.now.plus(2_000)),
        // A last will, which was written when the connection began: shortly after a boot, long ago.
        Sighting {
            online: false,
            uptime_sec: Some(2),
            new_connection: true,
            ..sighting(OLD, world.now.plus(3_000))
        },
    ] {
        world.tell(0, Fact::State(state.clone()));
        assert_eq!(world.state(0), Some(DeviceState::Installed), "{state:?}");
    }
}

#[test]
fn notice_an_a_b_fall_back_by_the_boot_counter() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.send_all();
    world.later(seconds(30)).report(0, Success);
    world.later(seconds(40)).sight(0, OLD, 7);
    assert_eq!(world.state(0), Some(DeviceState::RolledBack));
}

#[test]
fn notice_an_a_b_fall_back_the_boot_that_counts_is_the_one_that_installed() {
    // The power fails once before the image is installed, so the boot of the trigger is not the last one before it.
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.send_all();
    world.later(seconds(10)).report(0, Downloading);
    world.later(seconds(10)).sight(0, OLD, 6);
    world.later(seconds(10)).report(0, Success);
    let again = Sighting { boot_count: Some(6), ..sighting(OLD, world.now.plus(1_000)) };
    world.tell(0, Fact::State(again));
    assert_eq!(world.state(0), Some(DeviceState::Installed), "boot 6 installed it");
    world.later(seconds(30)).sight(0, OLD, 8);
    assert_eq!(world.state(0), Some(DeviceState::RolledBack));
}

#[test]
fn notice_an_a_b_fall_back_by_the_uptime_where_there_is_no_counter() {
    let device = Device { boot_count: None, ..device(id_in_cohort(0, 0)) };
    let attempt = attempt_of(&device);
    let installed_at = T0.plus(seconds(30));
    let success = report(Success, installed_at, installed_at);
    let state = |uptime_sec, after: i64| {
        let known = Sighting { uptime_sec: Some(uptime_sec), ..sighting(OLD, installed_at.plus(after)) };
        tell_all(attempt.clone(), [&success, &Fact::State(known)]).state
    };
    assert_eq!(state(3_660, seconds(30)), DeviceState::Installed, "still the boot of before");
    assert_eq!(
        state(29, seconds(30)),
        DeviceState::Installed,
        "it may have booted just before: 29 may be 29.999"
    );
    assert_eq!(state(28, seconds(30)), DeviceState::RolledBack);
    assert_eq!(state(3, seconds(30)), DeviceState::RolledBack);
}

#[test]
fn notice_an_a_b_fall_back_by_a_new_connection_where_there_is_neither() {
    let device = Device { boot_count: None, uptime_sec: None, ..device(id_in_cohort(0, 0)) };
    let success = report(Success, T0.plus(5), T0.plus(5));
    let state = |new_connection| {
        let known = Sighting { new_connection, ..sighting(OLD, T0.plus(seconds(40))) };
        tell_all(attempt_of(&device), [&success, &Fact::State(known)]).state
    };
    assert_eq!(state(false), DeviceState::Installed);
    assert_eq!(state(true), DeviceState::RolledBack);
}

#[test]
fn a_counter_that_was_reset_leaves_the_uptime_to_judge() {
    let success = report(Success, T0.plus(5), T0.plus(5));
    let state = |uptime_sec| {
        let known = Sighting {
            boot_count: Some(1),
            uptime_sec: Some(uptime_sec),
            ..sighting(OLD, T0.plus(minutes(2)))
        };
        tell_all(attempt(), [&success, &Fact::State(known)]).state
    };
    assert_eq!(state(10), DeviceState::RolledBack);
    assert_eq!(state(9_000), DeviceState::Installed, "an old message of an earlier boot");
}

#[test]
fn a_build_that_only_shares_the_version_does_not_confirm() {
    let mut asked = rollout(vec![last_stage()]);
    asked.elf_sha256 = Some("ab".repeat(32));
    let mut world = World::new(asked, fleet([0], 1));
    world.run();
    world.send_all();
    let state = |elf: Option<&str>, at| {
        Fact::State(Sighting { elf_sha256: elf.map(str::to_owned), boot_count: Some(6), ..sighting(NEW, at) })
    };
    world.report(0, Success);
    world.later(minutes(1));
    world.tell(0, state(Some(&"cd".repeat(32)), world.now));
    assert_eq!(world.state(0), Some(DeviceState::Installed));
    world.tell(0, state(Some("ababababa"), world.now));
    assert_eq!(world.state(0), Some(DeviceState::Confirmed), "firmware may give the hash cut short");
}

#[test]
fn a_device_that_runs_the_image_is_confirmed_even_if_its_success_was_lost() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.send_all();
    world.later(seconds(30)).report(0, Downloading);
    world.later(seconds(30)).sight(0, NEW, 6);
    assert_eq!(world.state(0), Some(DeviceState::Confirmed));
    world.later(seconds(1));
    let late = world.report(0, Success);
    assert!(matches!(late, Applied::Late(_)), "{late:?}");
    assert_eq!(world.state(0), Some(DeviceState::Confirmed));
}

// Time out devices that never report.

#[test]
fn time_out_devices_that_never_report_by_the_acknowledge_timer() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1)).with_policy(lenient());
    world.run();
    world.later(minutes(50));
    assert_eq!(world.run().actions, [], "the timer does not run before the trigger is sent");
    world.send_all();
    let deadline = world.now.plus(world.policy.acknowledge_timeout);
    world.later(world.policy.acknowledge_timeout - 1);
    assert_eq!(world.run().report.next_judgement_at, Some(deadline));
    assert_eq!(world.state(0), Some(DeviceState::Triggered));
    world.later(1);
    assert_eq!(decisions(&world.run()), [Decision::NotAcknowledged]);
    assert_eq!(world.state(0), Some(DeviceState::TimedOut));
    assert_eq!(world.run().report.total.failures, 1, "the silent count");
}

#[test]
fn time_out_devices_that_never_report_by_the_finish_timer() {
    for last_word in [Pending, Deferred, Downloading, Verifying, Success] {
        let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1)).with_policy(lenient());
        world.run();
        world.send_all();
        world.later(minutes(1)).report(0, Pending);
        let begun = world.now;
        world.later(minutes(5)).report(0, last_word);
        world.now = begun.plus(world.policy.finish_timeout - 1);
        assert_eq!(world.run().actions, [], "{last_word:?}");
        world.later(1);
        assert_eq!(decisions(&world.run()), [Decision::NotFinished], "{last_word:?}");
        assert_eq!(world.state(0), Some(DeviceState::TimedOut));
    }
}

// Late joiners obey the stage.

#[test]
fn late_joiners_obey_the_stage() {
    let mut devices = fleet([0, 5], 3);
    for device in &mut devices {
        device.online = false;
    }
    let inside = devices.iter().position(|device| device.cohort == 0).unwrap();
    let outside = devices.iter().position(|device| device.cohort == 5).unwrap();
    let mut world = World::new(rollout(vec![stage(1, 60), last_stage()]), devices);
    let plan = world.run();
    assert_eq!(held_back(&plan, inside), Some(HoldBack::Offline));
    assert_eq!(held_back(&plan, outside), Some(HoldBack::Cohort));

    world.later(minutes(1));
    for index in [inside, outside] {
        world.fleet.devices[index].online = true;
        world.fleet.devices[index].presence_at = world.now;
    }
    let plan = world.run();
    assert_eq!(triggers(&plan), 1);
    assert_eq!(world.state(inside), Some(DeviceState::Triggered));
    assert_eq!(held_back(&plan, outside), Some(HoldBack::Cohort), "coming online does not bypass the stage");
}

#[test]
fn late_joiners_obey_the_rate() {
    let mut devices = fleet(0..100, 1);
    for device in devices.iter_mut().skip(6) {
        device.online = false;
    }
    let mut asked = rollout(vec![last_stage()]);
    asked.rate_per_minute = 6;
    let mut world = World::new(asked, devices);
    assert_eq!(triggers(&world.run()), 6);
    world.later(seconds(1));
    for device in &mut world.fleet.devices {
        device.online = true;
    }
    let plan = world.run();
    let places: Vec<_> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Trigger { trigger, .. } => Some(trigger.send_at.since(T0)),
            _ => None,
        })
        .collect();
    assert_eq!(
        places,
        [minutes(1)],
        "this minute is taken, and of the next only its first second is near enough"
    );
    assert_eq!(plan.report.held_back.get(&HoldBack::Rate), Some(&93));
    assert_eq!(plan.report.next_judgement_at, Some(T0.plus(seconds(10) + 1)));
}

// Prevent downgrades.

#[test]
fn prevent_downgrades_by_version_unless_forced() {
    for (running, force, expected) in [
        ("1.2.0", false, Some(HoldBack::UpToDate)),
        ("1.2.0", true, Some(HoldBack::UpToDate)),
        ("1.3.0", false, Some(HoldBack::Version)),
        ("1.2.1-rc.1", false, Some(HoldBack::Version)),
        ("1.2.0-rc.1", false, None),
        ("1.3.0", true, None),
    ] {
        let device = Device { version: Some(version(running)), ..device(id_in_cohort(0, 0)) };
        let mut asked = rollout(vec![last_stage()]);
        asked.force = force;
        let plan = World::new(asked, vec![device]).plan();
        assert_eq!(held_back(&plan, 0), expected, "{running}, force {force}");
    }
}

#[test]
fn prevent_downgrades_by_the_anti_rollback_counter_even_if_forced() {
    for (confirmed, expected) in [(None, None), (Some(12), None), (Some(13), Some(HoldBack::AntiRollback))] {
        let device = Device { fw_version: confirmed, ..device(id_in_cohort(0, 0)) };
        let mut asked = rollout(vec![last_stage()]);
        asked.force = true;
        assert_eq!(held_back(&World::new(asked, vec![device]).plan(), 0), expected, "{confirmed:?}");
    }
}

// Re-offer after a power cut.

#[test]
fn re_offer_after_a_power_cut_up_to_a_limit() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1)).with_policy(lenient());
    world.run();
    for (offer, boot) in [(1, 6), (2, 7), (3, 8)] {
        world.later(seconds(1));
        world.send_all();
        world.later(seconds(10)).report(0, Downloading);
        assert_eq!(world.attempt(0).unwrap().attempt, offer);
        world.later(seconds(10)).sight(0, OLD, boot);
        let plan = world.run();
        assert_eq!(triggers(&plan), usize::from(offer < 3), "offer {offer}");
        assert_eq!(plan.report.total.in_flight, 1, "it is the same device, under way as before");
    }
    assert_eq!(world.attempt(0).unwrap().stage, 0);
    world.later(world.policy.finish_timeout);
    assert_eq!(decisions(&world.run()), [Decision::NotFinished], "then it is given up");
}

#[test]
fn re_offer_after_a_power_cut_not_to_a_device_that_resumed_by_itself() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.send_all();
    world.later(seconds(10)).report(0, Downloading);
    world.later(seconds(10)).sight(0, OLD, 6);
    world.later(seconds(1)).report(0, Downloading);
    assert_eq!(world.run().actions, []);
}

#[test]
fn re_offer_after_a_power_cut_not_after_a_terminal_status() {
    for (end, state) in [(Failed, DeviceState::Failed), (Success, DeviceState::RolledBack)] {
        let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1)).with_policy(lenient());
        world.run();
        world.send_all();
        world.later(seconds(10)).report(0, end);
        world.later(seconds(10)).sight(0, OLD, 6);
        assert_eq!(world.state(0), Some(state));
        assert_eq!(triggers(&world.run()), 0, "{end:?}");
    }
}

#[test]
fn what_was_said_of_an_earlier_offer_says_nothing_of_the_next() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.send_all();
    world.later(seconds(10)).report(0, Downloading);
    let before = world.now;
    world.later(seconds(10)).sight(0, OLD, 6);
    world.run();
    world.send_all();
    let late = world.tell(0, report(Failed, before, before.plus(1)));
    assert_eq!(late, Applied::Outdated);
    assert_eq!(world.state(0), Some(DeviceState::Triggered));
    assert_eq!(world.tell(0, Fact::Sent { attempt: 1, at: world.now }), Applied::Outdated);
}

// Do not start the whole fleet at once.

#[test]
fn do_not_start_the_whole_fleet_at_once_triggers_are_spread_over_the_minute() {
    let mut asked = rollout(vec![last_stage()]);
    asked.rate_per_minute = 6;
    let mut world = World::new(asked, fleet(0..100, 1)).with_policy(lenient());
    let mut places = Vec::new();
    for _ in 0..200 {
        for action in world.run().actions {
            if let Action::Trigger { trigger, .. } = action {
                places.push(trigger.send_at.since(T0));
            }
        }
        world.later(seconds(7));
        world.send_all();
    }
    let expected: Vec<_> = (0..100).map(|n| n * seconds(10)).collect();
    assert_eq!(places, expected, "one in ten seconds, whenever and however often the planner runs");
}

#[test]
fn do_not_start_the_whole_fleet_at_once_a_run_is_bounded() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet(0..100, 3));
    let plan = world.run();
    assert_eq!(triggers(&plan), 100);
    assert_eq!(plan.report.held_back.get(&HoldBack::Batch), Some(&200));
    world.later(minutes(1));
    assert_eq!(triggers(&world.run()), 100, "what is left is the next run's");
    assert_eq!(triggers(&world.run()), 0, "not this one's");
}

// Resume a download.

#[test]
fn resume_a_download_without_a_new_attempt_or_a_step_back() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.send_all();
    // It checked what it had, found it cut off, waited, and went on.
    for phase in [Pending, Downloading, Verifying, Deferred, Downloading] {
        world.later(minutes(1)).report(0, phase);
        assert_eq!(world.run().actions, []);
    }
    assert_eq!(world.state(0), Some(DeviceState::Verifying), "a state only moves forward");
    let attempt = world.attempt(0).unwrap();
    assert_eq!(attempt.attempt, 1);
    assert_eq!(
        attempt.newest.as_ref().unwrap().status,
        Downloading,
        "what it last said is known all the same"
    );
}

// Stop a device that downloads in a loop.

#[test]
fn stop_a_device_that_downloads_in_a_loop() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1)).with_policy(lenient());
    world.run();
    world.send_all();
    world.report(0, Downloading);
    let refused = Fact::Decided { attempt: 1, decision: Decision::TooManyDownloads, at: world.now.plus(5) };
    world.tell(0, refused.clone());
    assert_eq!(world.state(0), Some(DeviceState::Failed));
    assert_eq!(world.attempt(0).unwrap().decision(), Some(Decision::TooManyDownloads));
    assert_eq!(world.tell(0, refused), Applied::Repeated);
    world.later(minutes(1)).sight(0, OLD, 6);
    assert_eq!(triggers(&world.run()), 0, "it is not offered again");
}

#[test]
fn the_policy_of_production_is_the_one_that_is_written_down() {
    let policy = Policy::default();
    assert_eq!(policy.cooldown, hours(24));
    assert_eq!(policy.triggers_per_run, 100);
    assert_eq!(policy.min_outcomes, 10);
    assert_eq!((policy.spike_failures, policy.spike_window), (5, hours(1)));
    let shares = [policy.pause_share, policy.abort_share, policy.rollback_share];
    assert_eq!(shares, [2, 5, 1].map(Share::percent));
    assert_eq!(policy.min_confirmed, 10);
}
