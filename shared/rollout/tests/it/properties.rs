//! What holds whatever devices, networks and operators do: fleets of adversaries, driven through simulated time by an
//! executor that does what plans say.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rs1_domain::UnixMillis;
use rs1_domain::wire::OtaPhase;
use rs1_rollout::{
    Action, Applied, Attempt, Decision, Device, DeviceState, Fact, Policy, Rollout, Sighting, Snapshot,
    Stage, Status, Target, Verb, dry_run, plan,
};

use crate::common::*;

// One device: facts in any order.

fn any_phase() -> impl Strategy<Value = OtaPhase> {
    proptest::sample::select(OtaPhase::ALL.to_vec())
}

/// A fact within the first minute after the trigger, in tenths of seconds so that some coincide; from a clock that may be
/// anything.
fn any_fact() -> impl Strategy<Value = Fact> {
    let at = || (1_i64..600).prop_map(|tenths| T0.plus(tenths * 100));
    let skew = prop_oneof![Just(0), -minutes(5)..minutes(5), Just(-T0.0), Just(days(4_000))];
    let error = proptest::option::of(prop_oneof![
        Just("hash_mismatch"),
        Just("no_memory: 3 KB"),
        Just("http_403_not-in-rollout")
    ]);
    let reports = (any_phase(), at(), skew, error).prop_map(|(phase, received_at, skew, error)| {
        report_with(phase, UnixMillis((received_at.0 + skew).max(0)), received_at, error)
    });
    let states = (
        at(),
        any::<bool>(),
        proptest::bool::weighted(0.2),
        proptest::option::of(4_i64..9),
        proptest::option::of(0_i64..90),
        any::<bool>(),
    )
        .prop_map(|(received_at, online, runs_it, boot_count, uptime_sec, new_connection)| {
            let state = sighting(if runs_it { NEW } else { OLD }, received_at);
            Fact::State(Sighting { online, boot_count, uptime_sec, new_connection, ..state })
        });
    let decisions = (
        proptest::sample::select(vec![
            Decision::Withdrawn,
            Decision::NotAcknowledged,
            Decision::NotFinished,
            Decision::TooManyDownloads,
            Decision::Cancelled,
        ]),
        at(),
    )
        .prop_map(|(decision, at)| Fact::Decided { attempt: 1, decision, at });
    prop_oneof![
        6 => reports,
        4 => states,
        1 => decisions,
        1 => at().prop_map(|at| Fact::Sent { attempt: 1, at }),
        1 => at().prop_map(|at| Fact::NoSubscriber { attempt: 1, at }),
    ]
}

/// An attempt without the one field that says when *we* learnt something.
fn known(attempt: &Attempt) -> Attempt {
    let mut attempt = attempt.clone();
    attempt.counted_at = None;
    attempt
}

fn unsent() -> Attempt {
    let mut world = World::new(rollout(vec![last_stage()]), vec![device(id_in_cohort(0, 0))]);
    world.run();
    world.attempt(0).unwrap().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn counts_equal_the_fold_of_events_in_any_order_and_with_any_duplication(
        facts in proptest::collection::vec(any_fact(), 0..14),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..30),
    ) {
        let in_order = {
            let mut sorted = facts.clone();
            sorted.sort_by_key(Fact::known_at);
            tell_all(unsent(), &sorted)
        };
        // Some twice and out of order first; then each once more, so that none is missing.
        let shuffled = order.iter().filter(|_| !facts.is_empty()).map(|index| index.get(&facts)).chain(facts.iter().rev());
        let told = tell_all(unsent(), shuffled);
        prop_assert_eq!(known(&told), known(&in_order));
    }

    #[test]
    fn what_was_told_before_changes_nothing(facts in proptest::collection::vec(any_fact(), 1..14)) {
        let told = tell_all(unsent(), &facts);
        for fact in &facts {
            prop_assert_eq!(told.apply(&target(), fact, T0.plus(minutes(9))), Applied::Repeated);
        }
    }

    #[test]
    fn whatever_the_broker_received_after_the_end_changes_no_state(
        facts in proptest::collection::vec(any_fact(), 1..14),
        later in proptest::collection::vec(any_fact(), 1..6),
    ) {
        let told = tell_all(unsent(), &facts);
        let Some(closed_at) = told.closed_at else { return Ok(()) };
        // A cancellation ends nothing for a device that turns out to have its trigger.
        let undoes = |fact: &Fact| {
            told.state == DeviceState::Cancelled && matches!(fact, Fact::Sent { .. } | Fact::Report(_))
        };
        let after: Vec<_> =
            later.into_iter().filter(|fact| fact.known_at() > closed_at && !undoes(fact)).collect();
        let end = tell_all(told.clone(), &after);
        prop_assert_eq!((end.state, end.closed_at), (told.state, told.closed_at));
    }

    #[test]
    fn an_attempt_survives_its_storage(facts in proptest::collection::vec(any_fact(), 0..14)) {
        let told = tell_all(unsent(), &facts);
        let text = serde_json::to_string(&told).unwrap();
        prop_assert_eq!(serde_json::from_str::<Attempt>(&text).unwrap(), told);
    }

    #[test]
    fn only_a_proof_closes_with_success(facts in proptest::collection::vec(any_fact(), 0..14)) {
        let told = tell_all(unsent(), &facts);
        let runs_it = |fact: &Fact| matches!(fact, Fact::State(state) if state.online && state.version == version(NEW));
        let installed = |fact: &Fact| matches!(fact, Fact::Report(report) if report.status.status == OtaPhase::Success);
        let other = |fact: &Fact| matches!(fact, Fact::State(state) if state.online && state.version == version(OLD));
        match told.state {
            DeviceState::Confirmed => prop_assert!(facts.iter().any(runs_it)),
            DeviceState::RolledBack => prop_assert!(facts.iter().any(installed) && facts.iter().any(other)),
            DeviceState::Installed => prop_assert!(facts.iter().any(installed)),
            _ => {}
        }
    }
}

// A fleet through time.

/// How a simulated device takes a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Updates,
    Fails,
    Refuses,
    RollsBack,
    Silent,
    Stalls,
    /// Loses power in the middle, as often as this, then updates.
    PowerCuts(u8),
    /// The broker has no subscriber at first.
    Asleep,
}

#[derive(Clone, Debug)]
struct Simulated {
    behaviour: Behaviour,
    /// What its clock adds to the time.
    skew: i64,
    /// Minutes from the start at which it comes online; 0 is at once.
    joins: u8,
    /// How long its messages take from the broker to us, in seconds: the first, the second, … in turn.
    delays: [u8; 3],
    /// Whether everything it says arrives twice.
    twice: bool,
}

fn any_behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        8 => Just(Behaviour::Updates),
        1 => Just(Behaviour::Fails),
        1 => Just(Behaviour::Refuses),
        1 => Just(Behaviour::RollsBack),
        1 => Just(Behaviour::Silent),
        1 => Just(Behaviour::Stalls),
        2 => (1_u8..5).prop_map(Behaviour::PowerCuts),
        1 => Just(Behaviour::Asleep),
    ]
}

fn any_device() -> impl Strategy<Value = Simulated> {
    let skew = prop_oneof![4 => Just(0), 1 => -hours(9)..hours(9), 1 => Just(-T0.0), 1 => Just(days(3_000))];
    let joins = prop_oneof![3 => Just(0_u8), 1 => 0_u8..120];
    let delays = prop_oneof![2 => Just([0_u8; 3]), 1 => any::<[u8; 3]>()];
    (any_behaviour(), skew, joins, delays, any::<bool>()).prop_map(
        |(behaviour, skew, joins, delays, twice)| Simulated { behaviour, skew, joins, delays, twice },
    )
}

fn any_stages() -> impl Strategy<Value = Vec<Stage>> {
    let middle = proptest::collection::btree_map(1_u8..100, 1_i64..40, 0..4);
    middle.prop_map(|middle| {
        let mut stages: Vec<_> =
            middle.into_iter().map(|(percent, minutes)| stage(percent, minutes)).collect();
        stages.push(last_stage());
        stages
    })
}

#[derive(Clone, Debug)]
struct Case {
    devices: Vec<Simulated>,
    /// Two rollouts of other versions over the same fleet.
    stages: [Vec<Stage>; 2],
    rate: u32,
    per_run: u32,
    halts: bool,
    /// Minute and verb; to the first rollout.
    verbs: BTreeMap<u8, Verb>,
}

fn any_case() -> impl Strategy<Value = Case> {
    let verb =
        proptest::sample::select(vec![Verb::Pause, Verb::Resume, Verb::Resume, Verb::Advance, Verb::Abort]);
    (
        proptest::collection::vec(any_device(), 1..36),
        [any_stages(), any_stages()],
        1_u32..60,
        1_u32..20,
        any::<bool>(),
        proptest::collection::btree_map(0_u8..120, verb, 0..6),
    )
        .prop_map(|(devices, stages, rate, per_run, halts, verbs)| Case {
            devices,
            stages,
            rate,
            per_run,
            halts,
            verbs,
        })
}

/// A rollout with its own attempts.
struct Running {
    rollout: Rollout,
    attempts: Vec<Option<Attempt>>,
    told: Vec<(usize, Fact)>,
    /// How many were sent to each device, and when each was.
    offers: Vec<u32>,
    sent: Vec<UnixMillis>,
    widest: u8,
}

/// Something that is on its way to us.
struct Message {
    arrives_at: UnixMillis,
    rollout: usize,
    device: usize,
    fact: Fact,
}

struct Fleet {
    case: Case,
    devices: Vec<Device>,
    cuts: Vec<u8>,
    policy: Policy,
    running: Vec<Running>,
    failures: Vec<UnixMillis>,
    under_way: Vec<Message>,
    now: UnixMillis,
}

impl Fleet {
    fn new(case: Case) -> Self {
        let devices: Vec<Device> = (0..case.devices.len())
            .map(|n| {
                let id = rs1_domain::DeviceId::parse(&format!("{n:032x}")).unwrap();
                Device { online: case.devices[n].joins == 0, ..device(id) }
            })
            .collect();
        let policy = if case.halts { Policy::default() } else { lenient() };
        let policy = Policy { triggers_per_run: case.per_run, ..policy };
        let running = [NEW, "1.3.0"]
            .iter()
            .zip(&case.stages)
            .map(|(target, stages)| {
                let mut rollout = rollout(stages.clone());
                rollout.version = version(target);
                rollout.rate_per_minute = case.rate;
                Running {
                    rollout,
                    attempts: vec![None; devices.len()],
                    told: Vec::new(),
                    offers: vec![0; devices.len()],
                    sent: Vec::new(),
                    widest: 0,
                }
            })
            .collect();
        let cuts = vec![0; devices.len()];
        Self { cuts, devices, policy, running, failures: Vec::new(), under_way: Vec::new(), now: T0, case }
    }

    fn is_open(&self, rollout: usize, device: usize) -> bool {
        self.running[rollout].attempts[device].as_ref().is_some_and(|attempt| attempt.state.is_open())
    }

    fn snapshot(&self, rollout: usize) -> Snapshot {
        let devices = self.devices.iter().enumerate().map(|(n, device)| Device {
            attempt: self.running[rollout].attempts[n].clone().map(Box::new),
            busy_elsewhere: (0..self.running.len()).any(|other| other != rollout && self.is_open(other, n)),
            ..device.clone()
        });
        Snapshot { devices: devices.collect(), recent_failures: self.failures.clone(), withdrawn: None }
    }

    /// One run of the executor, with everything that must hold about a plan.
    fn run(&mut self, which: usize) {
        let snapshot = self.snapshot(which);
        let before = self.running[which].rollout.clone();
        let plan = plan(&before, &self.policy, &snapshot, self.now);
        assert_eq!(
            plan,
            rs1_rollout::plan(&before, &self.policy, &snapshot, self.now),
            "the same input, another plan"
        );
        let triggers = triggers(&plan);
        assert!(triggers <= self.case.per_run as usize);
        if plan.rollout.status != Status::Staged {
            let completes = plan.actions.contains(&Action::Complete);
            assert!(triggers == 0 || completes, "{:?} and yet {triggers} triggers", plan.rollout.status);
        }
        if before.status.is_final() {
            assert_eq!(plan.rollout.status, before.status, "{:?} is final", before.status);
            let decides = |action: &Action| matches!(action, Action::Decide { .. });
            assert!(plan.actions.iter().all(decides), "{:?}", plan.actions);
        }
        assert!(plan.rollout.stage >= before.stage, "stages only go forward");
        assert_eq!(plan.rollout.generation - before.generation, i64::from(!plan.actions.is_empty()));

        self.running[which].rollout = plan.rollout.clone();
        for action in &plan.actions {
            match action {
                Action::Trigger { device_id, trigger } => {
                    let n = self.devices.iter().position(|device| device.id == *device_id).unwrap();
                    for other in (0..self.running.len()).filter(|other| *other != which) {
                        assert!(!self.is_open(other, n), "{device_id} has two open attempts");
                    }
                    self.running[which].attempts[n] = Some(Attempt::begin(trigger, self.now));
                }
                Action::Decide { device_id, attempt, decision } => {
                    let n = self.devices.iter().position(|device| device.id == *device_id).unwrap();
                    let fact = Fact::Decided { attempt: *attempt, decision: *decision, at: self.now };
                    self.tell(which, n, fact);
                }
                _ => {}
            }
        }
        let again =
            rs1_rollout::plan(&self.running[which].rollout, &self.policy, &self.snapshot(which), self.now);
        assert_eq!(again.actions, [], "carried out and planned again at the same time");

        // The report counts what there is.
        let mut counts = BTreeMap::new();
        for attempt in self.running[which].attempts.iter().flatten() {
            *counts.entry(attempt.state).or_insert(0) += 1;
        }
        let reported: BTreeMap<_, _> =
            plan.report.counts.iter().map(|(state, count)| (*state, *count)).collect();
        assert_eq!(reported, counts);
        let held: u32 = plan.report.held_back.values().sum();
        let untouched = counts.get(&DeviceState::Eligible).copied().unwrap_or_default();
        let rows: u32 = counts.values().sum();
        assert_eq!((held + rows - untouched) as usize, self.devices.len(), "everybody is accounted for");
        self.check_share(which);
    }

    /// Never more than the stage's share, one device at least.
    fn check_share(&mut self, which: usize) {
        let running = &mut self.running[which];
        let percent = running.rollout.current_stage().unwrap().percent;
        running.widest = running.widest.max(percent);
        let share = self.devices.iter().filter(|device| device.cohort < running.widest).count().max(1);
        let reached = running
            .attempts
            .iter()
            .flatten()
            .filter(|attempt| attempt.state.is_open() || attempt.state.is_outcome())
            .count();
        assert!(reached <= share, "{reached} devices are reached, the stage's share is {share}");
    }

    fn tell(&mut self, which: usize, n: usize, fact: Fact) {
        let running = &mut self.running[which];
        let target = Target { version: running.rollout.version.clone(), elf_sha256: None };
        let Some(attempt) = &running.attempts[n] else { return };
        let applied = attempt.apply(&target, &fact, self.now);
        running.told.push((n, fact));
        let Some(next) = applied.attempt().cloned() else { return };
        // But for a trigger that was on its way already when it was cancelled.
        let reopens =
            attempt.state.is_closed() && attempt.state != DeviceState::Cancelled && next.state.is_open();
        assert!(!reopens, "{:?} came back as {:?}", attempt.state, next.state);
        if matches!(applied, Applied::Changed(_)) {
            if next.state.is_failure() {
                self.failures.push(self.now);
            }
            if next.state == DeviceState::Confirmed {
                self.devices[n].confirmed_at = next.closed_at;
            }
        }
        self.running[which].attempts[n] = Some(next);
    }

    /// The device says something that the broker receives at `at`; it reaches us whenever it does.
    fn say(&mut self, rollout: usize, device: usize, fact: Fact, nth: usize) {
        let simulated = &self.case.devices[device];
        let at = fact.known_at();
        let delay = seconds(i64::from(simulated.delays[nth % 3]));
        self.under_way.push(Message { arrives_at: at.plus(delay), rollout, device, fact: fact.clone() });
        if simulated.twice {
            self.under_way.push(Message { arrives_at: at.plus(delay + seconds(40)), rollout, device, fact });
        }
    }

    /// The broker takes a trigger, and the device does what it does.
    fn send(&mut self, which: usize, n: usize) {
        let attempt = self.running[which].attempts[n].as_ref().unwrap().attempt;
        let simulated = self.case.devices[n].clone();
        let behaviour = simulated.behaviour;
        if !self.devices[n].online || (behaviour == Behaviour::Asleep && attempt == 1) {
            self.tell(which, n, Fact::NoSubscriber { attempt, at: self.now });
            return;
        }
        self.tell(which, n, Fact::Sent { attempt, at: self.now });
        self.running[which].offers[n] += 1;
        assert!(self.running[which].offers[n] <= self.policy.max_offers, "offered too often");
        let now = self.now;
        let target = self.running[which].rollout.version.clone();
        self.running[which].sent.push(now);
        let says = |phase, after: i64, error: Option<&str>| {
            let at = now.plus(seconds(after));
            let mut fact = report_with(phase, UnixMillis((at.0 + simulated.skew).max(0)), at, error);
            if let Fact::Report(report) = &mut fact {
                report.status.version = target.clone();
            }
            fact
        };
        let boot = self.devices[n].boot_count.unwrap();
        let mut facts = vec![says(OtaPhase::Pending, 1, None), says(OtaPhase::Downloading, 10, None)];
        let mut reboots: Option<(i64, &str)> = None;
        let target_text = target.as_str().to_owned();
        match behaviour {
            Behaviour::Silent => facts.clear(),
            Behaviour::Stalls => {}
            Behaviour::Fails => facts.push(says(OtaPhase::Failed, 30, Some("hash_mismatch"))),
            Behaviour::Refuses => {
                facts.truncate(1);
                facts.push(says(OtaPhase::Failed, 2, Some("no_partition")));
            }
            Behaviour::PowerCuts(times) if self.cuts[n] < times => {
                self.cuts[n] += 1;
                reboots = Some((20, OLD));
            }
            Behaviour::RollsBack => {
                facts.push(says(OtaPhase::Success, 40, None));
                reboots = Some((80, OLD));
            }
            Behaviour::Updates | Behaviour::PowerCuts(_) | Behaviour::Asleep => {
                facts.push(says(OtaPhase::Verifying, 35, None));
                facts.push(says(OtaPhase::Success, 40, None));
                reboots = Some((60, &target_text));
            }
        }
        for (nth, fact) in facts.into_iter().enumerate() {
            self.say(which, n, fact, nth);
        }
        if let Some((after, running)) = reboots {
            let running =
                if running == OLD { self.devices[n].version.clone().unwrap() } else { version(running) };
            let at = now.plus(seconds(after));
            let state = Sighting {
                boot_count: Some(boot + 1),
                uptime_sec: Some(3),
                new_connection: true,
                ..sighting(running.as_str(), at)
            };
            self.devices[n].boot_count = Some(boot + 1);
            self.devices[n].version = Some(running);
            (self.devices[n].uptime_sec, self.devices[n].state_at) = (Some(3), at);
            self.say(which, n, Fact::State(state), 2);
        }
    }

    fn tick(&mut self, second: i64) {
        self.now = T0.plus(seconds(second));
        if second % 60 == 0 {
            let minute = second / 60;
            for n in 0..self.devices.len() {
                if i64::from(self.case.devices[n].joins) == minute {
                    self.devices[n].online = true;
                }
                if self.devices[n].online {
                    self.devices[n].presence_at = self.now;
                }
            }
            let verb = u8::try_from(minute).ok().and_then(|minute| self.case.verbs.get(&minute).copied());
            if let Some(next) = verb.and_then(|verb| self.running[0].rollout.after(verb, self.now).ok()) {
                self.running[0].rollout = next;
            }
        }
        let now = self.now;
        let (arrived, under_way) =
            std::mem::take(&mut self.under_way).into_iter().partition(|message| message.arrives_at <= now);
        self.under_way = under_way;
        let arrived: Vec<Message> = arrived;
        let mut woken = [second % 60 == 0; 2];
        for message in arrived {
            woken[message.rollout] = true;
            self.tell(message.rollout, message.device, message.fact);
        }
        for (which, woken) in woken.into_iter().enumerate() {
            if woken {
                self.run(which);
            }
            for n in 0..self.devices.len() {
                let is_due = self.running[which].attempts[n]
                    .as_ref()
                    .is_some_and(|attempt| attempt.is_unsent() && attempt.send_at <= self.now);
                if is_due && self.running[which].rollout.status == Status::Staged {
                    self.send(which, n);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_fleet_of_adversaries_through_four_hours(case in any_case()) {
        let rate = case.rate;
        let mut fleet = Fleet::new(case);
        for second in 0..4 * 3_600 {
            // Between the minutes nothing happens but what is under way.
            fleet.tick(second);
        }
        for running in &fleet.running {
            // The rate holds in every minute, wherever it begins.
            for (first, begin) in running.sent.iter().enumerate() {
                let within = running.sent[first..].iter().filter(|at| at.since(*begin) < minutes(1)).count();
                prop_assert!(within <= rate as usize, "{within} triggers in a minute, {rate} are allowed");
            }
            // Counts are the fold of what was told, told once more in any order: here, backwards and twice.
            let target = Target { version: running.rollout.version.clone(), elf_sha256: None };
            for (n, attempt) in running.attempts.iter().enumerate() {
                let Some(attempt) = attempt else { continue };
                let facts: Vec<_> = running.told.iter().filter(|(device, _)| *device == n).map(|(_, fact)| fact).collect();
                let again = facts.iter().rev().chain(&facts).fold(attempt.clone(), |attempt, fact| {
                    attempt.apply(&target, fact, fleet.now).attempt().cloned().unwrap_or(attempt)
                });
                prop_assert_eq!(&again, attempt, "a replay changed something");
            }
        }
    }

    #[test]
    fn a_dry_run_foretells_who_is_reached(cohorts in proptest::collection::btree_set(0_u8..100, 1..30), stages in any_stages()) {
        let mut world = World::new(rollout(stages), fleet(cohorts, 1));
        world.policy.triggers_per_run = 1_000;
        let foretold = dry_run(&world.rollout, &world.policy, &world.fleet, world.now);
        let mut reached: Vec<Vec<_>> = vec![Vec::new(); world.rollout.stages.len()];
        while world.rollout.status == Status::Staged {
            for action in world.run().actions {
                if let Action::Trigger { device_id, trigger } = action {
                    reached[trigger.stage].push(device_id);
                }
            }
            for index in world.send_all() {
                world.confirm(index);
            }
            world.later(minutes(41));
        }
        prop_assert_eq!(reached, foretold.stages);
    }
}
