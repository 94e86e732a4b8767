//! The state machines of a rollout, of a device in it, and of its stages; what halts it, and what goes on then.

use rs1_domain::UnixMillis;
use rs1_domain::wire::OtaPhase::{Deferred, Downloading, Failed, Installing, Pending, Success, Verifying};
use rs1_rollout::report::Awaited;
use rs1_rollout::{
    Action, Applied, Attempt, Cause, Decision, Device, DeviceState, Fact, HoldBack, OtaEvent, Policy,
    Refusal, Selector, Share, Sighting, Stage, Status, Verb, dry_run,
};

use crate::common::*;

// Rollout.

#[test]
fn rollout_every_verb_in_every_status() {
    use Status::{Aborted, Completed, Paused, Pending as NotBegun, Staged};
    let expected = |verb, status| match (verb, status) {
        (Verb::Start, NotBegun) | (Verb::Resume, Paused) | (Verb::Advance, Staged) => Some(Staged),
        (Verb::Schedule, NotBegun) => Some(NotBegun),
        (Verb::Pause, Staged) => Some(Paused),
        (Verb::Abort, NotBegun | Staged | Paused) => Some(Aborted),
        _ => None,
    };
    let mut allowed = 0;
    for verb in Verb::ALL {
        for status in Status::ALL {
            let mut before = rollout(vec![stage(1, 60), last_stage()]);
            before.status = status;
            match (before.after(verb, T0), expected(verb, status)) {
                (Ok(after), Some(becomes)) => {
                    assert_eq!(after.status, becomes, "{verb:?} of {status:?}");
                    assert_eq!(after.generation, before.generation + 1, "a decision like any other");
                    allowed += 1;
                }
                (Err(refusal), None) => {
                    assert!(refusal.to_string().contains(status.as_str()), "names the state: {refusal}");
                }
                (other, expected) => panic!("{verb:?} of {status:?}: {other:?}, not {expected:?}"),
            }
        }
        assert_eq!(Verb::parse(verb.as_str()), Some(verb));
    }
    assert_eq!(allowed, 8);
    assert!(Status::ALL.iter().all(|status| Status::parse(status.as_str()) == Some(*status)));
    let [completed, aborted] = [Completed, Aborted].map(Status::is_final);
    assert!(completed && aborted);
}

#[test]
fn rollout_there_is_nothing_after_the_last_stage() {
    let refusal = rollout(vec![last_stage()]).after(Verb::Advance, T0).unwrap_err();
    assert_eq!(refusal, Refusal::LastStage);
    assert!(refusal.to_string().contains("STAGED"), "{refusal}");
}

#[test]
fn rollout_a_scheduled_one_starts_by_itself_when_its_time_comes() {
    let mut asked = rollout(vec![last_stage()]);
    (asked.status, asked.stage_started_at) = (Status::Pending, None);
    asked.schedule_at = Some(T0.plus(minutes(5)));
    let mut world = World::new(asked, fleet([0], 1));
    let plan = world.run();
    assert_eq!(plan.actions, []);
    assert_eq!(held_back(&plan, 0), Some(HoldBack::NotStarted));
    assert_eq!(plan.report.awaits, [Awaited::Start]);
    assert_eq!(plan.report.next_judgement_at, Some(T0.plus(minutes(5))));
    world.later(minutes(5));
    let plan = world.run();
    assert_eq!(plan.actions.first(), Some(&Action::Start));
    assert_eq!(triggers(&plan), 1);
    assert_eq!(world.rollout.stage_started_at, Some(world.now));
}

#[test]
fn rollout_a_pending_one_waits_and_triggers_nobody() {
    let mut asked = rollout(vec![last_stage()]);
    (asked.status, asked.stage_started_at) = (Status::Pending, None);
    let mut world = World::new(asked, fleet([0], 2));
    assert_eq!(world.run().actions, []);
    assert_eq!(world.rollout.generation, 1, "nothing was decided");
    world.rollout = world.rollout.after(Verb::Start, world.now).unwrap();
    assert_eq!(triggers(&world.run()), 2);
}

// Device in a rollout.

#[test]
fn device_goes_through_its_states_in_order() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    assert_eq!(world.state(0), None, "eligible: it has no row yet");
    world.run();
    let mut states = vec![world.state(0).unwrap()];
    world.send_all();
    for phase in [Pending, Deferred, Downloading, Verifying, Installing, Success] {
        world.later(seconds(10)).report(0, phase);
        states.push(world.state(0).unwrap());
    }
    world.later(seconds(10)).sight(0, NEW, 6);
    states.push(world.state(0).unwrap());
    let expected = [
        DeviceState::Triggered,
        DeviceState::Triggered,
        DeviceState::Deferred,
        DeviceState::Downloading,
        DeviceState::Verifying,
        DeviceState::Verifying,
        DeviceState::Installed,
        DeviceState::Confirmed,
    ];
    assert_eq!(states, expected);
}

#[test]
fn device_states_have_their_names_and_kinds() {
    for (place, state) in DeviceState::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(state), place);
        assert_eq!(DeviceState::parse(state.as_str()), Some(state));
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        assert!(!(state.is_open() && state.is_closed()), "{state:?}");
    }
    let of = |kind: fn(DeviceState) -> bool| {
        DeviceState::ALL.iter().filter(|state| kind(**state)).map(|state| state.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        of(DeviceState::is_open),
        ["triggered", "deferred", "downloading", "verifying", "installed"],
        "these are in the database's unique index"
    );
    assert_eq!(of(DeviceState::is_failure), ["failed", "rolled_back", "timed_out"]);
    assert_eq!(of(DeviceState::is_outcome), ["confirmed", "failed", "rolled_back", "timed_out"]);
}

#[test]
fn device_refused_is_not_retried_and_counted_apart_from_failed() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 20));
    world.run();
    world.send_all();
    let error = Some("insufficient_memory: 12 KB free");
    for index in 0..20 {
        world.tell(index, report_with(Failed, world.now, world.now, error));
    }
    assert_eq!(world.count(DeviceState::Refused), 20);
    world.later(minutes(1));
    let plan = world.run();
    assert_eq!(triggers(&plan), 0);
    assert_eq!((plan.report.total.failures, plan.report.total.outcomes), (0, 0));
    assert_eq!(world.rollout.status, Status::Completed, "there is nobody left to ask");
}

#[test]
fn device_turned_away_while_paused_is_no_failure_and_is_asked_again_after_the_resume() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 20));
    world.run();
    world.send_all();
    world.report(0, Downloading);
    world.rollout = world.rollout.after(Verb::Pause, world.now).unwrap();
    world.later(seconds(1));
    let error = Some("http_403_not-in-rollout");
    for index in 1..20 {
        // In whatever order they come.
        world.tell(index, report_with(Failed, world.now, world.now, error));
        world.tell(index, report_with(Pending, UnixMillis(world.now.0 - 100), world.now, None));
    }
    assert_eq!((world.count(DeviceState::Eligible), world.count(DeviceState::Downloading)), (19, 1));
    let plan = world.run();
    assert_eq!(plan.actions, []);
    assert_eq!((plan.report.total.failures, plan.report.total.outcomes), (0, 0));

    world.rollout = world.rollout.after(Verb::Resume, world.now).unwrap();
    world.later(minutes(1));
    assert_eq!(triggers(&world.run()), 19);
    world.send_all();
    (0..20).for_each(|index| world.confirm(index));
    world.run();
    assert_eq!(world.rollout.status, Status::Completed);
}

#[test]
fn device_turned_away_after_an_abort_is_cancelled_and_does_not_look_like_a_spike() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 20));
    world.run();
    world.send_all();
    world.report(0, Downloading);
    world.rollout = world.rollout.after(Verb::Abort, world.now).unwrap();
    world.later(seconds(1));
    for index in 0..20 {
        world.tell(index, report_with(Failed, world.now, world.now, Some("http_403_not-in-rollout")));
    }
    assert!(world.fleet.recent_failures.is_empty());
    assert_eq!(decisions(&world.run()), [Decision::Cancelled; 20]);
    assert_eq!(world.count(DeviceState::Cancelled), 20);
    world.later(minutes(1));
    assert_eq!(world.run().actions, [], "there is nothing left to decide");
}

#[test]
fn device_reports_arrive_late_a_state_only_moves_forward() {
    for (so_far, late) in [
        (vec![Downloading], Pending),
        (vec![Downloading], Deferred),
        (vec![Downloading, Verifying], Downloading),
        (vec![Success], Verifying),
    ] {
        let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
        world.run();
        world.send_all();
        for phase in &so_far {
            world.later(seconds(10)).report(0, *phase);
        }
        let state = world.state(0);
        world.tell(0, report(late, T0, world.now.plus(1)));
        assert_eq!(world.state(0), state, "{late:?} after {so_far:?}");
    }
}

#[test]
fn device_reports_arrive_twice_and_change_nothing() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.send_all();
    for phase in [Pending, Downloading, Downloading, Success] {
        world.later(seconds(10));
        let fact = report(phase, world.now, world.now);
        world.tell(0, fact.clone());
        assert_eq!(world.tell(0, fact), Applied::Repeated, "{phase:?}");
    }
    world.later(seconds(10)).sight(0, NEW, 6);
    for (_, fact, _) in world.told.clone() {
        assert_eq!(world.tell(0, fact), Applied::Repeated, "all of it once more");
    }
}

#[test]
fn device_the_newest_timestamp_wins_among_reports_of_one_attempt() {
    // Received in the wrong order: what the device said last decides.
    let late = [report(Success, T0.plus(10), T0.plus(20)), report(Failed, T0.plus(5), T0.plus(21))];
    assert_eq!(tell_all(attempt(), &late).state, DeviceState::Installed);
    let newer = [report(Success, T0.plus(10), T0.plus(20)), report(Failed, T0.plus(15), T0.plus(21))];
    assert_eq!(tell_all(attempt(), &newer).state, DeviceState::Failed);
    // And what people are shown is what it said last.
    let shown = [report(Verifying, T0.plus(10), T0.plus(20)), report(Downloading, T0.plus(5), T0.plus(21))];
    assert_eq!(tell_all(attempt(), &shown).newest.unwrap().status, Verifying);
}

#[test]
fn device_a_clock_that_was_never_set_does_not_hide_what_it_says() {
    // It installed with the right time, booted without any, and found that the image does not work.
    let facts = [report(Success, T0.plus(10), T0.plus(10)), report(Failed, UnixMillis(4_000), T0.plus(30))];
    assert_eq!(tell_all(attempt(), &facts).state, DeviceState::Failed);
}

#[test]
fn device_a_skewed_clock_changes_no_timer_and_no_order_between_reports_and_states() {
    for skew in [days(-400), hours(-3), 0, hours(3), days(4_000)] {
        let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1)).with_policy(lenient());
        world.run();
        world.send_all();
        for phase in [Pending, Downloading, Success] {
            world.later(seconds(10));
            world.tell(0, report(phase, world.now.plus(skew), world.now));
            assert_eq!(world.run().actions, [], "skewed by {skew} ms");
        }
        let still = Sighting { boot_count: Some(5), ..sighting(OLD, world.now.plus(1)) };
        world.tell(0, Fact::State(still));
        assert_eq!(world.state(0), Some(DeviceState::Installed));
        world.later(seconds(10)).sight(0, NEW, 6);
        assert_eq!(world.state(0), Some(DeviceState::Confirmed));
        assert_eq!(world.attempt(0).unwrap().closed_at, Some(world.now), "by the broker's clock");
    }
}

#[test]
fn device_a_report_for_a_closed_attempt_is_kept_and_changes_nothing() {
    for end in [Fact::State(sighting(NEW, T0.plus(50))), report(Failed, T0.plus(50), T0.plus(50))] {
        let closed = tell_all(attempt(), [&end]);
        assert!(closed.state.is_closed());
        for late in [Pending, Downloading, Success, Failed] {
            let applied = closed.apply(&target(), &report(late, T0.plus(60), T0.plus(60)), T0.plus(60));
            let Applied::Late(kept) = &applied else { panic!("{late:?} after the end: {applied:?}") };
            assert_eq!((kept.state, kept.closed_at), (closed.state, closed.closed_at));
        }
    }
}

#[test]
fn device_a_late_fact_corrects_an_outcome_only_if_the_broker_had_it_before() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1)).with_policy(lenient());
    world.run();
    world.send_all();
    world.later(seconds(10)).report(0, Downloading);
    let seen = Fact::State(Sighting { boot_count: Some(6), ..sighting(NEW, world.now.plus(minutes(119))) });
    world.later(hours(2));
    world.run();
    assert_eq!(world.state(0), Some(DeviceState::TimedOut));
    world.later(minutes(1));
    world.tell(0, seen);
    assert_eq!(world.state(0), Some(DeviceState::Confirmed), "it was in time; only we were late");

    let after = Fact::State(sighting(NEW, T0.plus(60)));
    let failed = tell_all(attempt(), [&report(Failed, T0.plus(50), T0.plus(50))]);
    assert!(matches!(failed.apply(&target(), &after, T0.plus(60)), Applied::Late(_)));
}

#[test]
fn device_a_report_for_another_version_is_stray() {
    let mut other = report(Success, T0.plus(5), T0.plus(5));
    if let Fact::Report(report) = &mut other {
        report.status.version = version("1.1.5");
    }
    assert_eq!(attempt().apply(&target(), &other, T0.plus(5)), Applied::Stray);
    assert_eq!(Applied::Stray.attempt(), None);
}

#[test]
fn device_one_open_attempt_across_all_rollouts() {
    let busy = Device { busy_elsewhere: true, ..device(id_in_cohort(0, 0)) };
    let plan = World::new(rollout(vec![last_stage()]), vec![busy]).plan();
    assert_eq!(held_back(&plan, 0), Some(HoldBack::AnotherRollout));
}

#[test]
fn device_no_subscriber_is_not_triggered_yet_and_is_retried_when_next_seen() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.later(seconds(1));
    world.tell(0, Fact::NoSubscriber { attempt: 1, at: world.now });
    assert_eq!(world.state(0), Some(DeviceState::Eligible));
    world.later(minutes(5));
    let plan = world.run();
    assert_eq!(held_back(&plan, 0), Some(HoldBack::Offline), "nothing was heard of it since");
    assert_eq!(plan.report.total.reached, 0);
    world.fleet.devices[0].presence_at = world.now;
    assert_eq!(triggers(&world.run()), 1);
    assert_eq!(world.attempt(0).unwrap().attempt, 2);
    assert_eq!(world.attempt(0).unwrap().offers, 0, "it was never offered the image");
}

#[test]
fn device_a_trigger_that_was_never_sent_is_taken_back_and_no_failure() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    world.later(world.policy.send_timeout);
    let plan = world.run();
    assert_eq!(decisions(&plan), [Decision::Withdrawn]);
    assert_eq!(triggers(&plan), 1, "and decided anew");
    assert_eq!(plan.report.total.failures, 0);
}

#[test]
fn device_a_trigger_that_was_taken_back_too_late_counts_as_sent() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 1));
    world.run();
    let withdrawn = Fact::Decided { attempt: 1, decision: Decision::Withdrawn, at: world.now };
    world.tell(0, withdrawn);
    assert_eq!(world.state(0), Some(DeviceState::Eligible));
    world.later(seconds(1));
    world.tell(0, Fact::Sent { attempt: 1, at: world.now });
    assert_eq!(world.state(0), Some(DeviceState::Triggered));
}

#[test]
fn device_an_attempt_survives_its_storage() {
    let facts = [
        report(Downloading, T0.plus(5), T0.plus(5)),
        report_with(Failed, UnixMillis(7), T0.plus(9), Some("hash_mismatch")),
        Fact::State(Sighting { boot_count: Some(7), uptime_sec: Some(1), ..sighting(OLD, T0.plus(20)) }),
        Fact::State(Sighting { uptime_sec: Some(1), ..sighting(OLD, T0.plus(21)) }),
        Fact::State(Sighting { new_connection: true, ..sighting(OLD, T0.plus(22)) }),
        Fact::State(sighting(NEW, T0.plus(23))),
        Fact::NoSubscriber { attempt: 1, at: T0.plus(24) },
        Fact::Decided { attempt: 1, decision: Decision::NotFinished, at: T0.plus(25) },
    ];
    let attempt = tell_all(attempt(), &facts);
    let text = serde_json::to_string(&attempt).unwrap();
    assert_eq!(serde_json::from_str::<Attempt>(&text).unwrap(), attempt, "{text}");
    let fresh = serde_json::to_string(&crate::common::attempt()).unwrap();
    assert!(fresh.len() < 400, "a row of which little is known is short: {fresh}");
}

#[test]
fn device_a_boot_loop_is_rolled_back_once_and_takes_little_room() {
    // It falls back, and then tries the image again and again.
    let mut loops = tell_all(attempt(), [&report(Success, T0.plus(5), T0.plus(5))]);
    for boot in 7..200 {
        let running = if boot % 2 == 1 { OLD } else { NEW };
        let at = T0.plus(seconds(boot));
        let state = Sighting { boot_count: Some(boot), uptime_sec: Some(1), ..sighting(running, at) };
        loops = tell_all(loops, [&Fact::State(state)]);
        assert_eq!((loops.state, loops.closed_at), (DeviceState::RolledBack, Some(T0.plus(seconds(7)))));
    }
    assert!(serde_json::to_string(&loops).unwrap().len() < 3_000);
}

#[test]
fn device_an_event_from_the_queue_is_the_fact_it_carries() {
    let device_id = id_in_cohort(0, 0);
    let event = OtaEvent::State { device_id, sighting: sighting(NEW, T0.plus(5)) };
    let fact = OtaEvent::from_json(&event.to_json()).unwrap().fact();
    assert_eq!(tell_all(attempt(), [&fact]).state, DeviceState::Confirmed);
}

// Stages.

#[test]
fn stages_the_defaults_are_1_10_50_and_100_percent() {
    let defaults = Stage::defaults();
    let facts: Vec<_> = defaults
        .iter()
        .map(|stage| (stage.percent, stage.duration_sec, stage.max_failure_share.map(Share::fraction)))
        .collect();
    assert_eq!(
        facts,
        [
            (1, Some(3_600), Some(0.01)),
            (10, Some(4 * 3_600), Some(0.01)),
            (50, Some(24 * 3_600), Some(0.02)),
            (100, None, None)
        ]
    );
}

#[test]
fn stages_a_stage_of_p_percent_covers_cohorts_0_to_p_minus_1() {
    let mut world = World::new(rollout(vec![stage(10, 60), last_stage()]), fleet([0, 9, 10, 99], 2));
    let plan = world.run();
    for index in 0..8 {
        let inside = world.fleet.devices[index].cohort < 10;
        assert_eq!(world.state(index).is_some(), inside);
        assert_eq!(held_back(&plan, index), (!inside).then_some(HoldBack::Cohort));
    }
    assert_eq!(plan.report.stage.capacity, 4);
}

#[test]
fn stages_a_stage_never_covers_fewer_than_one_eligible_device() {
    let mut world = World::new(rollout(vec![stage(1, 60), last_stage()]), fleet([40, 70], 2));
    let plan = world.run();
    assert_eq!(triggers(&plan), 1);
    let reached = (0..4).find(|index| world.state(*index).is_some()).unwrap();
    assert_eq!(world.fleet.devices[reached].cohort, 40, "the first in turn");

    // A device of the stage's own cohort that comes later waits: one is the stage's share.
    world.fleet.devices.push(device(id_in_cohort(0, 0)));
    assert_eq!(triggers(&world.run()), 0);
}

#[test]
fn stages_advance_when_time_has_passed_and_enough_are_confirmed() {
    let mut world = World::new(rollout(vec![stage(1, 60), last_stage()]), fleet([0, 50], 12));
    world.run();
    world.send_all();
    let inside: Vec<_> = (0..24).filter(|index| world.state(*index).is_some()).collect();
    for index in &inside {
        world.report(*index, Pending);
    }
    for index in &inside[..9] {
        world.confirm(*index);
    }
    world.now = T0.plus(minutes(60));
    let plan = world.run();
    assert_eq!(plan.actions, [], "nine of twelve are confirmed; ten are needed");
    assert_eq!(plan.report.awaits, [Awaited::Confirmed]);
    assert_eq!(plan.report.stage.min_confirmed, 10);
    world.confirm(inside[9]);
    assert!(world.run().actions.contains(&Action::AdvanceStage { from: 0, to: 1 }));

    let mut early = World::new(rollout(vec![stage(1, 60), last_stage()]), fleet([0, 50], 2));
    early.run();
    early.send_all();
    for index in (0..4).filter(|index| early.state(*index).is_some()).collect::<Vec<_>>() {
        early.confirm(index);
    }
    early.now = T0.plus(minutes(60) - 1);
    let plan = early.run();
    assert_eq!(plan.actions, []);
    assert_eq!(plan.report.awaits, [Awaited::Time]);
    assert_eq!(plan.report.next_judgement_at, Some(T0.plus(minutes(60))));
    early.later(1);
    assert!(early.run().actions.contains(&Action::AdvanceStage { from: 0, to: 1 }), "all reachable are two");
}

#[test]
fn stages_a_rollout_may_set_its_own_number_of_confirmed_devices() {
    let mut first = stage(1, 60);
    first.min_confirmed = Some(0);
    let mut world = World::new(rollout(vec![first, last_stage()]), fleet([0], 3));
    world.run();
    world.later(minutes(60));
    assert!(world.run().actions.contains(&Action::AdvanceStage { from: 0, to: 1 }), "none are needed");

    let mut first = stage(1, 60);
    first.min_confirmed = Some(5);
    let mut world = World::new(rollout(vec![first, last_stage()]), fleet([0], 3));
    world.run();
    world.send_all();
    (0..3).for_each(|index| world.confirm(index));
    world.later(minutes(60));
    assert_eq!(world.run().report.awaits, [Awaited::Confirmed], "who asks for five waits for five");
}

#[test]
fn stages_success_is_measured_on_the_stages_own_devices() {
    let mut second = stage(50, 60);
    second.max_failure_share = Some(Share::percent(10));
    let stages = vec![stage(1, 60), second, last_stage()];
    let mut world = World::new(rollout(stages), fleet([0, 20], 10)).with_policy(lenient());
    world.run();
    world.send_all();
    for index in (0..20).filter(|index| world.state(*index).is_some()).collect::<Vec<_>>() {
        world.confirm(index);
    }
    world.now = T0.plus(minutes(60));
    world.run();
    world.send_all();
    let own: Vec<_> = (0..20).filter(|index| world.state(*index) == Some(DeviceState::Triggered)).collect();
    world.report(own[0], Failed);
    own[1..].iter().for_each(|index| world.confirm(*index));
    world.now = T0.plus(minutes(130));
    let plan = world.run();
    assert_eq!(plan.report.stage.own.new_failures, 1);
    assert_eq!(plan.report.stage.own.outcomes, 10, "one of ten, not of twenty");
    assert_eq!(plan.report.awaits, [Awaited::Confirmed, Awaited::FailureShare]);
}

#[test]
fn stages_a_finished_but_failed_stage_does_not_advance() {
    let mut world =
        World::new(rollout(vec![stage(1, 60), last_stage()]), fleet([0, 50], 30)).with_policy(lenient());
    world.run();
    world.send_all();
    let inside: Vec<_> = (0..60).filter(|index| world.state(*index).is_some()).collect();
    world.report(inside[0], Failed);
    inside[1..].iter().for_each(|index| world.confirm(*index));
    for wait in [hours(1), days(1), days(30)] {
        world.later(wait);
        let plan = world.run();
        assert_eq!(plan.actions, [], "one of thirty failed; under 1 % may");
        assert_eq!(plan.report.awaits, [Awaited::FailureShare]);
    }
    // An operator may decide otherwise, in either of two ways.
    let advanced = world.rollout.after(Verb::Advance, world.now).unwrap();
    assert_eq!((advanced.stage, advanced.stage_started_at), (1, Some(world.now)));
    world.rollout = world.rollout.after(Verb::Pause, world.now).unwrap();
    world.rollout = world.rollout.after(Verb::Resume, world.now).unwrap();
    assert!(
        world.run().actions.contains(&Action::AdvanceStage { from: 0, to: 1 }),
        "the failure is acknowledged"
    );
}

#[test]
fn stages_an_empty_stage_waits_for_its_time_then_advances() {
    let mut devices = fleet([50], 2);
    for device in &mut devices {
        device.online = false;
    }
    let mut world = World::new(rollout(vec![stage(1, 60), stage(10, 30), last_stage()]), devices);
    let plan = world.run();
    assert_eq!((plan.actions.len(), plan.report.awaits), (0, vec![Awaited::Time]));
    world.later(minutes(60));
    assert_eq!(
        world.run().actions,
        [Action::AdvanceStage { from: 0, to: 1 }],
        "the next has a time of its own"
    );
    world.later(minutes(30));
    assert_eq!(world.run().actions, [Action::AdvanceStage { from: 1, to: 2 }]);
    assert_eq!(world.run().report.awaits, [Awaited::Devices]);
}

#[test]
fn stages_the_last_lasts_until_all_are_done() {
    let mut devices = fleet([50], 2);
    devices[1].online = false;
    let mut world = World::new(rollout(vec![last_stage()]), devices);
    world.run();
    world.send_all();
    world.later(minutes(1));
    assert_eq!(world.run().report.awaits, [Awaited::UnderWay, Awaited::Devices]);
    world.confirm(0);
    world.later(days(60));
    let plan = world.run();
    assert_eq!(plan.actions, [], "one was never reached");
    assert_eq!(plan.report.awaits, [Awaited::Devices]);
    (world.fleet.devices[1].online, world.fleet.devices[1].presence_at) = (true, world.now);
    world.run();
    world.send_all();
    world.confirm(1);
    assert_eq!(world.run().actions, [Action::Complete]);
    assert_eq!(world.rollout.status, Status::Completed);
}

#[test]
fn stages_a_good_image_reaches_all_through_all_four() {
    let mut world = World::new(rollout(Stage::defaults()), fleet(0..100, 20));
    world.policy.triggers_per_run = 1_000;
    let mut widest = vec![0; 4];
    while world.rollout.status == Status::Staged && world.now < T0.plus(days(3)) {
        world.run();
        for index in world.send_all() {
            world.confirm(index);
        }
        widest[world.rollout.stage] = world.reached();
        world.later(minutes(30));
    }
    assert_eq!(widest, [20, 200, 1_000, 2_000]);
    assert_eq!(world.rollout.status, Status::Completed);
    assert_eq!(world.count(DeviceState::Confirmed), 2_000);
    let last_begun = world.rollout.stage_started_at.unwrap().since(T0.plus(hours(1 + 4 + 24)));
    assert!((0..minutes(1)).contains(&last_begun), "no stage took longer than it must: {last_begun} ms");
}

#[test]
fn stages_the_last_may_have_an_end_after_which_the_unreachable_are_not_waited_for() {
    let mut devices = fleet([50], 2);
    devices[1].online = false;
    let mut asked = rollout(vec![last_stage()]);
    asked.stages[0].duration_sec = Some(86_400);
    let mut world = World::new(asked, devices);
    world.run();
    world.send_all();
    world.confirm(0);
    world.now = T0.plus(days(1));
    let plan = world.run();
    assert_eq!(plan.actions, [Action::Complete]);
    assert_eq!(plan.report.never_reached, 1);
    assert_eq!(held_back(&plan, 1), Some(HoldBack::Ended));
}

// Halting.

/// A world in its last stage, in which so many devices confirm and so many fail, all of which is learnt at once.
fn outcomes(confirmed: usize, failed: usize, policy: &Policy) -> World {
    let devices: Vec<_> = fleet(0..100, 5).into_iter().take(confirmed + failed).collect();
    let mut world = World::new(rollout(vec![last_stage()]), devices);
    world.policy = Policy { spike_failures: u32::MAX, triggers_per_run: 1_000, ..policy.clone() };
    world.run();
    world.send_all();
    (0..confirmed).for_each(|index| world.confirm(index));
    for index in confirmed..confirmed + failed {
        world.report(index, Failed);
    }
    world
}

#[test]
fn halting_the_failure_share_is_failed_rolled_back_and_timed_out_of_all_with_an_outcome() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 6)).with_policy(lenient());
    world.run();
    world.send_all();
    world.later(seconds(10));
    world.report(0, Failed);
    world.report(1, Success);
    world.tell(2, report_with(Failed, world.now, world.now, Some("refused")));
    world.confirm(3);
    world.report(5, Downloading);
    world.later(seconds(1)).sight(1, OLD, 6);
    world.later(world.policy.acknowledge_timeout);
    let total = world.run().report.total;
    assert_eq!((total.failures, total.confirmed, total.outcomes, total.in_flight), (3, 1, 4, 1));
    assert_eq!(
        Share::from_fraction(total.failure_share),
        Some(Share::percent(75)),
        "the one that refused and the one under way are no outcomes"
    );
}

#[test]
fn halting_above_2_percent_pauses_compared_strictly() {
    let mut world = outcomes(98, 2, &Policy::default());
    assert_eq!(world.run().actions, [Action::Complete], "2 of 100 is not above 2 %");
    let mut world = outcomes(97, 2, &Policy::default());
    let cause = Cause::FailureShare { failures: 2, outcomes: 99 };
    assert_eq!(world.run().actions, [Action::Pause(cause)]);
    assert_eq!(world.rollout.status, Status::Paused);
}

#[test]
fn halting_above_5_percent_aborts_compared_strictly() {
    let mut world = outcomes(95, 5, &Policy::default());
    let cause = Cause::FailureShare { failures: 5, outcomes: 100 };
    assert_eq!(world.run().actions, [Action::Pause(cause)], "5 of 100 is not above 5 %");
    let mut world = outcomes(94, 5, &Policy::default());
    let cause = Cause::FailureShare { failures: 5, outcomes: 99 };
    assert_eq!(world.run().actions, [Action::Abort(cause)]);
    assert_eq!(cause.to_string(), "5 of 99 devices with an outcome failed");
}

#[test]
fn halting_a_paused_rollout_is_judged_too() {
    let mut world = outcomes(20, 0, &Policy::default());
    world.fleet.devices.extend(fleet([99], 2).into_iter().map(|device| Device { online: false, ..device }));
    world.rollout = world.rollout.after(Verb::Pause, world.now).unwrap();
    assert_eq!(world.run().actions, []);
    for index in 0..2 {
        world.fleet.devices[index].attempt.as_mut().unwrap().state = DeviceState::Failed;
    }
    assert!(matches!(world.run().actions[..], [Action::Abort(_)]));
}

#[test]
fn halting_rolled_back_above_1_percent_pauses() {
    let policy = Policy { pause_share: Share::percent(4), ..Policy::default() };
    for (confirmed, halts) in [(99, false), (98, true)] {
        let mut world = outcomes(confirmed, 0, &policy);
        world.fleet.devices.push(device(id_in_cohort(99, 30)));
        world.later(1).run();
        world.send_all();
        world.report(confirmed, Success);
        world.later(seconds(30)).sight(confirmed, OLD, 6);
        assert_eq!(world.state(confirmed), Some(DeviceState::RolledBack));
        let cause = Cause::RolledBackShare { rolled_back: 1, outcomes: 99 };
        assert_eq!(world.run().actions.contains(&Action::Pause(cause)), halts, "1 of {}", confirmed + 1);
    }
}

#[test]
fn halting_is_judged_from_10_outcomes_on() {
    let devices = fleet([0], 30);
    let mut world = World::new(rollout(vec![last_stage()]), devices);
    world.run();
    world.send_all();
    (0..8).for_each(|index| world.confirm(index));
    world.report(8, Failed);
    let plan = world.run();
    assert_eq!((plan.actions.len(), plan.report.is_judged, plan.report.judged_from), (0, false, 10));
    world.confirm(9);
    assert!(matches!(world.run().actions[..], [Action::Abort(_)]), "one of ten");
}

#[test]
fn halting_is_judged_from_the_whole_stage_on_if_that_is_smaller() {
    let mut world = World::new(rollout(vec![stage(1, 60), last_stage()]), fleet([0, 50], 3));
    world.run();
    world.send_all();
    let inside: Vec<_> = (0..6).filter(|index| world.state(*index).is_some()).collect();
    world.report(inside[0], Failed);
    world.confirm(inside[1]);
    let plan = world.run();
    assert_eq!((plan.actions.len(), plan.report.judged_from), (0, 3), "the third is out yet");
    world.confirm(inside[2]);
    assert!(matches!(world.run().actions[..], [Action::Abort(_)]));
}

#[test]
fn halting_a_failure_spike_across_rollouts_pauses_too() {
    for (failures, halts) in [(5, false), (6, true)] {
        let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 3));
        world.later(hours(2));
        let within = (0..failures).map(|n| world.now.plus(-hours(1) + 1 + n));
        let before = (0..50).map(|n| world.now.plus(-hours(1) - n));
        world.fleet.recent_failures = within.chain(before).collect();
        let plan = world.run();
        assert_eq!(plan.actions.contains(&Action::Pause(Cause::FailureSpike { failures: 6 })), halts);
        assert_eq!(triggers(&plan), if halts { 0 } else { 3 });
    }
}

#[test]
fn halting_the_timeouts_of_a_plan_count_in_the_same_plan() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 20));
    world.policy = Policy { spike_failures: u32::MAX, ..Policy::default() };
    world.run();
    world.send_all();
    (0..10).for_each(|index| world.confirm(index));
    world.fleet.devices.extend(fleet([1], 5));
    world.later(world.policy.acknowledge_timeout);
    let plan = world.run();
    assert_eq!(decisions(&plan).len(), 10);
    assert_eq!(world.rollout.status, Status::Aborted);
    assert_eq!(triggers(&plan), 0);
}

#[test]
fn halting_a_pause_stops_new_triggers_at_once_and_devices_already_downloading_finish() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 5));
    world.policy = Policy { triggers_per_run: 3, ..lenient() };
    world.run();
    let first = (0..5).find(|index| world.state(*index).is_some()).unwrap();
    world.tell(first, Fact::Sent { attempt: 1, at: world.now });
    world.report(first, Downloading);
    world.later(minutes(1));
    world.rollout = world.rollout.after(Verb::Pause, world.now).unwrap();
    let plan = world.run();
    assert_eq!(decisions(&plan), [Decision::Withdrawn; 2], "what has not left yet does not leave");
    assert_eq!(plan.report.held_back.get(&HoldBack::Paused), Some(&4));
    assert_eq!(plan.report.awaits, [Awaited::Resume]);
    world.later(minutes(1));
    world.confirm(first);
    assert_eq!(world.run().report.total.confirmed, 1);
    world.rollout = world.rollout.after(Verb::Resume, world.now).unwrap();
    assert_eq!(triggers(&world.run()), 3, "and all the others get their turn");
}

#[test]
fn halting_a_withdrawn_artifact_pauses_and_a_resume_changes_nothing_about_that() {
    for cause in [Cause::ArtifactYanked, Cause::KeyRevoked] {
        let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 2));
        world.fleet.withdrawn = Some(cause);
        let plan = world.run();
        assert_eq!(plan.actions, [Action::Pause(cause)]);
        assert_eq!(held_back(&plan, 0), Some(HoldBack::ArtifactYanked));
        world.rollout = world.rollout.after(Verb::Resume, world.now).unwrap();
        assert_eq!(world.run().actions, [Action::Pause(cause)]);
    }

    let mut scheduled = rollout(vec![last_stage()]);
    (scheduled.status, scheduled.schedule_at) = (Status::Pending, Some(T0));
    let mut world = World::new(scheduled, fleet([0], 2));
    world.fleet.withdrawn = Some(Cause::ArtifactYanked);
    assert_eq!(world.run().actions, []);
}

#[test]
fn overshoot_a_bad_image_reaches_at_most_the_stage_and_one_batch() {
    // Every device fails half a minute after its trigger left, and the planner sees each failure at once.
    let mut asked = rollout(vec![last_stage()]);
    asked.rate_per_minute = 20;
    let mut world = World::new(asked, fleet(0..100, 5));
    world.policy = Policy { spike_failures: u32::MAX, ..Policy::default() };
    let mut sent: Vec<(usize, UnixMillis)> = Vec::new();
    let mut at_halt = None;
    for _ in 0..600 {
        world.later(seconds(1));
        world.run();
        for index in 0..world.fleet.devices.len() {
            let due = world.attempt(index).is_some_and(|one| one.is_unsent() && one.send_at <= world.now);
            if due && world.rollout.status == Status::Staged {
                world.tell(index, Fact::Sent { attempt: 1, at: world.now });
                sent.push((index, world.now));
            }
        }
        for (index, at) in sent.clone() {
            if world.now.since(at) == seconds(30) {
                world.report(index, Failed);
                world.run();
            }
        }
        if world.rollout.status == Status::Aborted && at_halt.is_none() {
            at_halt = Some((sent.len(), world.count(DeviceState::Failed)));
        }
    }
    let (reached, failed) = at_halt.expect("it halts");
    assert_eq!(failed, 10, "it is judged at the tenth outcome");
    assert!(
        reached <= failed + 10,
        "half a minute of the rate is under way at most, not {}",
        reached - failed
    );
    assert_eq!(sent.len(), reached, "nobody is triggered after the halt");
}

// Resume.

#[test]
fn resume_acknowledges_the_failures_seen_so_far_and_only_new_ones_count() {
    let mut world = outcomes(96, 3, &Policy::default());
    let later_ones = world.fleet.devices.len()..world.fleet.devices.len() + 10;
    world.fleet.devices.extend((0..10).map(|n| device(id_in_cohort(99, 50 + n))));
    assert!(matches!(world.run().actions[..], [Action::Pause(_)]), "3 of 99");

    world.later(minutes(10));
    world.rollout = world.rollout.after(Verb::Resume, world.now).unwrap();
    assert_eq!(world.rollout.acknowledged_at, Some(world.now));
    world.later(1);
    let plan = world.run();
    assert_eq!(triggers(&plan), 10, "it goes on");
    assert_eq!((plan.report.total.failures, plan.report.total.new_failures), (3, 0));

    world.send_all();
    world.later(seconds(30));
    let mut later_ones = later_ones;
    for _ in 0..2 {
        world.report(later_ones.next().unwrap(), Failed);
        assert_eq!(world.run().actions, [], "two new ones of {} are not above 2 %", 101);
    }
    world.report(later_ones.next().unwrap(), Failed);
    let cause = Cause::FailureShare { failures: 3, outcomes: 102 };
    assert_eq!(
        world.run().actions,
        [Action::Pause(cause)],
        "the old three would have made it six, and an abort"
    );
}

#[test]
fn resume_acknowledges_the_spike_too() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 3));
    world.fleet.recent_failures = vec![world.now; 6];
    assert!(matches!(world.run().actions[..], [Action::Pause(Cause::FailureSpike { failures: 6 })]));
    world.later(minutes(1));
    world.rollout = world.rollout.after(Verb::Resume, world.now).unwrap();
    assert_eq!(triggers(&world.run()), 3);
    assert_eq!(world.run().report.recent_failures, 0);
}

// Abort.

#[test]
fn abort_cancels_what_is_not_yet_started_and_says_what_stands() {
    let mut devices = fleet([0], 10);
    devices[9].online = false;
    let mut world = World::new(rollout(vec![last_stage()]), devices).with_policy(lenient());
    world.run();
    for index in 0..5 {
        world.tell(index, Fact::Sent { attempt: 1, at: world.now });
    }
    world.later(seconds(10));
    (0..3).for_each(|index| world.confirm(index));
    world.report(3, Downloading);
    world.tell(5, Fact::NoSubscriber { attempt: 1, at: world.now });

    world.rollout = world.rollout.after(Verb::Abort, world.now).unwrap();
    let plan = world.run();
    assert_eq!(decisions(&plan), [Decision::Cancelled; 4], "three unsent, and one that found nobody");
    let report = plan.report;
    assert_eq!((report.total.confirmed, report.total.in_flight, report.never_reached), (3, 2, 5));
    assert_eq!(report.devices, 10);
    assert_eq!(report.held_back.get(&HoldBack::Ended), Some(&1));
    assert!(report.awaits.is_empty());
}

#[test]
fn abort_lets_what_is_under_way_come_to_its_end_and_frees_the_device() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 2)).with_policy(lenient());
    world.run();
    world.send_all();
    world.report(0, Downloading);
    world.rollout = world.rollout.after(Verb::Abort, world.now).unwrap();
    assert_eq!(world.run().actions, []);
    world.later(seconds(30));
    world.confirm(0);
    world.later(world.policy.acknowledge_timeout);
    assert_eq!(decisions(&world.run()), [Decision::NotAcknowledged]);
    assert_eq!(world.count(DeviceState::TimedOut), 1);
    assert_eq!(world.rollout.status, Status::Aborted);
}

#[test]
fn abort_of_a_trigger_that_was_on_its_way_already_cancels_nothing() {
    let mut world = World::new(rollout(vec![last_stage()]), fleet([0], 3)).with_policy(lenient());
    world.run();
    world.later(seconds(1));
    world.rollout = world.rollout.after(Verb::Abort, world.now).unwrap();
    assert_eq!(decisions(&world.run()), [Decision::Cancelled; 3]);
    world.later(seconds(1));

    // The consumer had this one in hand, and learns after the abort that the broker took it.
    world.tell(0, Fact::Sent { attempt: 1, at: world.now });
    assert_eq!(world.state(0), Some(DeviceState::Triggered));
    world.confirm(0);
    assert_eq!(world.state(0), Some(DeviceState::Confirmed));
    // Of this one the device itself is the first to tell, and then it falls silent.
    world.report(1, Downloading);
    assert_eq!(world.state(1), Some(DeviceState::Downloading));
    world.later(world.policy.finish_timeout);
    assert_eq!(decisions(&world.run()), [Decision::NotFinished]);
    assert_eq!(world.state(1), Some(DeviceState::TimedOut));
    // This one was never sent.
    assert_eq!(world.state(2), Some(DeviceState::Cancelled));
    assert_eq!(world.run().report.never_reached, 1);
}

// The planner: who is eligible, and why others are not.

#[test]
fn planner_says_for_every_device_held_back_why() {
    let mut asked = rollout(vec![stage(50, 60), last_stage()]);
    asked.selector = Selector { tags: vec!["beta".to_owned()], ..Selector::default() };
    let ready = || Device { tags: vec!["beta".to_owned()], ..device(id_in_cohort(0, 0)) };
    let cases: Vec<(Device, Option<HoldBack>)> = vec![
        (ready(), None),
        (Device { sku: Some(rs1_domain::Sku::Lite), ..ready() }, Some(HoldBack::Sku)),
        (Device { sku: None, ..ready() }, Some(HoldBack::Sku)),
        (Device { tags: vec!["attic".to_owned()], ..ready() }, Some(HoldBack::Selector)),
        (Device { version: None, ..ready() }, Some(HoldBack::VersionUnknown)),
        (Device { version: Some(version(NEW)), ..ready() }, Some(HoldBack::UpToDate)),
        (Device { version: Some(version("1.3.0")), ..ready() }, Some(HoldBack::Version)),
        (Device { fw_version: Some(13), ..ready() }, Some(HoldBack::AntiRollback)),
        (Device { cohort: 50, ..ready() }, Some(HoldBack::Cohort)),
        (Device { busy_elsewhere: true, ..ready() }, Some(HoldBack::AnotherRollout)),
        (Device { confirmed_at: Some(T0.plus(-hours(24) + 1)), ..ready() }, Some(HoldBack::Cooldown)),
        (Device { confirmed_at: Some(T0.plus(-hours(24))), ..ready() }, None),
        (Device { online: false, ..ready() }, Some(HoldBack::Offline)),
        (Device { wifi_rssi: Some(-71), ..ready() }, Some(HoldBack::Rssi)),
        (Device { wifi_rssi: Some(-70), ..ready() }, None),
        (Device { wifi_rssi: None, ..ready() }, None),
    ];
    for (device, expected) in cases {
        let about = format!("{device:?}");
        // Another one of the stage's cohorts, so that nobody needs to stand in.
        let filler = Device { id: id_in_cohort(0, 1), ..ready() };
        let plan = World::new(asked.clone(), vec![device, filler]).plan();
        assert_eq!(held_back(&plan, 0), expected, "{about}");
        assert_eq!(plan.report.held_back.values().sum::<u32>(), u32::from(expected.is_some()));
    }
}

#[test]
fn planner_lasting_reasons_come_before_those_that_pass() {
    let never = Device { online: false, version: Some(version(NEW)), ..device(id_in_cohort(99, 0)) };
    let later = Device { online: false, ..device(id_in_cohort(99, 1)) };
    let plan = World::new(rollout(vec![stage(1, 60), last_stage()]), vec![never, later]).plan();
    assert_eq!(held_back(&plan, 0), Some(HoldBack::UpToDate));
    assert_eq!(held_back(&plan, 1), Some(HoldBack::Cohort));
}

#[test]
fn planner_a_selector_takes_any_of_each_list_and_all_of_the_lists() {
    let chosen = Device { tags: vec!["attic".to_owned(), "beta".to_owned()], ..device(id_in_cohort(0, 0)) };
    let matches = |selector: Selector| selector.normalized().matches(&chosen);
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
    assert!(matches(Selector::default()));
    assert!(matches(Selector { tags: tags(&["beta", "gamma"]), ..Selector::default() }));
    assert!(!matches(Selector { tags: tags(&["gamma"]), ..Selector::default() }));
    assert!(matches(Selector { versions: vec![version("1.0.0"), version(OLD)], ..Selector::default() }));
    assert!(matches(Selector {
        device_ids: vec![id_in_cohort(1, 0), id_in_cohort(0, 0)],
        tags: tags(&["attic"]),
        ..Selector::default()
    }));
    assert!(!matches(Selector {
        device_ids: vec![id_in_cohort(0, 0)],
        versions: vec![version("1.0.0")],
        ..Selector::default()
    }));
}

#[test]
fn planner_a_device_chosen_by_its_version_stays_chosen_when_it_is_updated() {
    let mut asked = rollout(vec![last_stage()]);
    asked.selector = Selector { versions: vec![version(OLD)], ..Selector::default() };
    let mut world = World::new(asked, fleet([0], 1));
    world.run();
    world.send_all();
    world.confirm(0);
    let report = world.run().report;
    assert_eq!((report.devices, report.total.confirmed), (1, 1));
}

#[test]
fn planner_the_order_of_the_snapshot_does_not_matter() {
    let devices = fleet(0..100, 3);
    let decided = |devices: Vec<Device>| {
        let mut world = World::new(rollout(vec![stage(50, 60), last_stage()]), devices);
        world.policy.triggers_per_run = 40;
        let plan = world.plan();
        (plan.actions, plan.report)
    };
    let mut reversed = devices.clone();
    reversed.reverse();
    assert_eq!(decided(devices), decided(reversed));
}

#[test]
fn planner_a_dry_run_says_who_would_be_reached_in_each_stage_and_who_is_held_back() {
    let mut devices = fleet([0, 5, 30, 99], 2);
    devices.push(Device { online: false, ..device(id_in_cohort(2, 0)) });
    devices.push(Device { version: Some(version(NEW)), ..device(id_in_cohort(2, 1)) });
    let mut asked = rollout(Stage::defaults());
    (asked.status, asked.stage_started_at) = (Status::Pending, None);
    let world = World::new(asked, devices);
    let run = dry_run(&world.rollout, &world.policy, &world.fleet, world.now);
    let cohorts: Vec<Vec<u8>> =
        run.stages.iter().map(|stage| stage.iter().map(rs1_rollout::cohort).collect()).collect();
    assert_eq!(cohorts, [vec![0, 0], vec![5, 5], vec![30, 30], vec![99, 99]]);
    let held: Vec<_> = run.held_back.iter().map(|(id, reason)| (rs1_rollout::cohort(id), *reason)).collect();
    assert_eq!(held.len(), 2);
    assert!(held.contains(&(2, HoldBack::Offline)) && held.contains(&(2, HoldBack::UpToDate)), "{held:?}");

    let lonely =
        World::new(world.rollout.clone(), vec![device(id_in_cohort(70, 0)), device(id_in_cohort(80, 0))]);
    let run = dry_run(&lonely.rollout, &lonely.policy, &lonely.fleet, lonely.now);
    let sizes: Vec<_> = run.stages.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 0, 0, 1], "the first stage has one at least");
}

#[test]
fn planner_a_report_survives_its_storage() {
    let report = outcomes(97, 2, &Policy::default()).run().report;
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<rs1_rollout::Report>(&text).unwrap(), report);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["counts"], serde_json::json!({"confirmed": 97, "failed": 2}), "{text}");
    assert_eq!(json["stage"]["confirmed"], 97, "{text}");
    for (place, reason) in HoldBack::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(reason), place);
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
}
