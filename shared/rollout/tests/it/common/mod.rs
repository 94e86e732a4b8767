//! A fleet small enough to reason about, and an executor that does what plans say and nothing else.

use rs1_domain::time::{DAY, HOUR, MINUTE, SECOND};
use rs1_domain::wire::{OtaPhase, OtaStatus};
use rs1_domain::{DeviceId, FirmwareVersion, RecordId, Sku, UnixMillis};
use rs1_rollout::{
    Action, Applied, Attempt, Decision, Device, DeviceState, Fact, HoldBack, Plan, Policy, Rollout, Selector,
    Share, Sighting, Snapshot, Stage, Standing, Status, StatusReport, Target, cohort, plan,
};

/// 2026-01-20T10:00:00Z.
pub const T0: UnixMillis = UnixMillis(1_768_903_200_000);

pub const OLD: &str = "1.1.0";
pub const NEW: &str = "1.2.0";

pub fn version(text: &str) -> FirmwareVersion {
    FirmwareVersion::parse(text).unwrap()
}

/// A stage that lasts so many minutes and allows no failure.
pub fn stage(percent: u8, minutes: i64) -> Stage {
    Stage {
        percent,
        duration_sec: Some(minutes * 60),
        max_failure_share: Some(Share::percent(1)),
        min_confirmed: None,
    }
}

pub fn last_stage() -> Stage {
    Stage { percent: 100, duration_sec: None, max_failure_share: None, min_confirmed: None }
}

/// A rollout to [`NEW`] that has just begun.
pub fn rollout(stages: Vec<Stage>) -> Rollout {
    Rollout {
        id: RecordId::generate("rol", T0, [1; 10]),
        sku: Sku::Pro,
        version: version(NEW),
        fw_version: 12,
        elf_sha256: None,
        status: Status::Staged,
        stages,
        stage: 0,
        stage_started_at: Some(T0),
        min_rssi: -70,
        force: false,
        rate_per_minute: 10_000,
        selector: Selector::default(),
        schedule_at: None,
        acknowledged_at: None,
        generation: 1,
    }
}

/// A policy that halts for nothing but what a test sets.
pub fn lenient() -> Policy {
    Policy {
        pause_share: Share::ALL,
        abort_share: Share::ALL,
        rollback_share: Share::ALL,
        spike_failures: u32::MAX,
        ..Policy::default()
    }
}

/// A connected device that runs [`OLD`] since an hour, in its fifth boot.
pub fn device(id: DeviceId) -> Device {
    Device {
        sku: Some(Sku::Pro),
        online: true,
        presence_at: T0,
        version: Some(version(OLD)),
        wifi_rssi: Some(-50),
        boot_count: Some(5),
        uptime_sec: Some(3_600),
        state_at: T0,
        ..Device::new(id)
    }
}

/// The `n`-th id of a cohort.
pub fn id_in_cohort(wanted: u8, n: usize) -> DeviceId {
    (0_u64..)
        .map(|n| DeviceId::parse(&format!("{n:032x}")).unwrap())
        .filter(|id| cohort(id) == wanted)
        .nth(n)
        .unwrap()
}

/// A fleet with so many devices in each of these cohorts.
pub fn fleet(cohorts: impl IntoIterator<Item = u8>, each: usize) -> Vec<Device> {
    let mut left = [0_usize; 100];
    for cohort in cohorts {
        left[usize::from(cohort)] = each;
    }
    let mut devices = Vec::new();
    let mut missing: usize = left.iter().sum();
    for n in 0_u64.. {
        if missing == 0 {
            break;
        }
        let id = DeviceId::parse(&format!("{n:032x}")).unwrap();
        let place = usize::from(cohort(&id));
        if left[place] > 0 {
            left[place] -= 1;
            missing -= 1;
            devices.push(device(id));
        }
    }
    devices
}

/// One rollout over one fleet, with the executor's part done by hand.
pub struct World {
    pub rollout: Rollout,
    pub policy: Policy,
    pub fleet: Snapshot,
    pub now: UnixMillis,
    /// Every fact that was told, for replays: whom, what, when.
    pub told: Vec<(usize, Fact, UnixMillis)>,
}

impl World {
    pub fn new(rollout: Rollout, devices: Vec<Device>) -> Self {
        let fleet = Snapshot { devices, ..Snapshot::default() };
        Self { rollout, policy: Policy::default(), fleet, now: T0, told: Vec::new() }
    }

    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    pub fn plan(&self) -> Plan {
        plan(&self.rollout, &self.policy, &self.fleet, self.now)
    }

    /// Plans, carries the plan out, and proves that this leaves nothing to decide.
    pub fn run(&mut self) -> Plan {
        let plan = self.plan();
        self.carry_out(&plan);
        let again = self.plan();
        assert_eq!(again.actions, [], "planned again at the same time, there is more to do");
        assert_eq!(again.rollout, self.rollout);
        plan
    }

    pub fn carry_out(&mut self, plan: &Plan) {
        self.rollout = plan.rollout.clone();
        for action in &plan.actions {
            match action {
                Action::Trigger { device_id, trigger } => {
                    let index = self.index(device_id);
                    let attempt = Attempt::begin(trigger, self.now);
                    self.fleet.devices[index].attempt = Some(Box::new(attempt));
                }
                Action::Decide { device_id, attempt, decision } => {
                    let index = self.index(device_id);
                    let fact = Fact::Decided { attempt: *attempt, decision: *decision, at: self.now };
                    assert!(
                        matches!(self.tell(index, fact), Applied::Changed(_)),
                        "{action:?} changed nothing"
                    );
                }
                _ => {}
            }
        }
    }

    pub fn later(&mut self, millis: i64) -> &mut Self {
        self.now = self.now.plus(millis);
        self
    }

    pub fn index(&self, id: &DeviceId) -> usize {
        self.fleet.devices.iter().position(|device| device.id == *id).unwrap()
    }

    pub fn target(&self) -> Target {
        Target { version: self.rollout.version.clone(), elf_sha256: self.rollout.elf_sha256.clone() }
    }

    /// Tells a fact about a device's attempt, now.
    pub fn tell(&mut self, index: usize, fact: Fact) -> Applied {
        let target = self.target();
        let device = &mut self.fleet.devices[index];
        let Some(attempt) = &device.attempt else { return Applied::Stray };
        let applied = attempt.apply(&target, &fact, self.now);
        if let Some(attempt) = applied.attempt() {
            if matches!(applied, Applied::Changed(_)) && attempt.state.is_failure() {
                self.fleet.recent_failures.push(self.now);
            }
            if matches!(applied, Applied::Changed(_)) && attempt.state == DeviceState::Confirmed {
                device.confirmed_at = attempt.closed_at;
                device.fw_version = Some(self.rollout.fw_version);
            }
            device.attempt = Some(Box::new(attempt.clone()));
        }
        self.told.push((index, fact, self.now));
        applied
    }

    /// The broker takes every trigger that waits.
    pub fn send_all(&mut self) -> Vec<usize> {
        let unsent: Vec<_> = (0..self.fleet.devices.len())
            .filter(|index| self.attempt(*index).is_some_and(Attempt::is_unsent))
            .collect();
        for index in &unsent {
            let attempt = self.attempt(*index).unwrap().attempt;
            self.tell(*index, Fact::Sent { attempt, at: self.now });
        }
        unsent
    }

    /// The device reports, with a right clock, at once.
    pub fn report(&mut self, index: usize, phase: OtaPhase) -> Applied {
        let report = report(phase, self.now, self.now);
        self.tell(index, report)
    }

    /// The device says what it is, in its boot number `boot`.
    pub fn sight(&mut self, index: usize, running: &str, boot: i64) -> Applied {
        let device = &mut self.fleet.devices[index];
        device.version = Some(version(running));
        device.boot_count = Some(boot);
        device.uptime_sec = Some(2);
        device.state_at = self.now;
        device.presence_at = self.now;
        let sighting = Sighting {
            boot_count: Some(boot),
            uptime_sec: Some(2),
            new_connection: true,
            ..sighting(running, self.now)
        };
        self.tell(index, Fact::State(sighting))
    }

    /// A device goes all the way, at this instant.
    pub fn confirm(&mut self, index: usize) {
        self.report(index, OtaPhase::Success);
        self.later(1);
        let boot = self.fleet.devices[index].boot_count.unwrap_or_default() + 1;
        self.sight(index, NEW, boot);
        assert_eq!(self.state(index), Some(DeviceState::Confirmed));
    }

    pub fn attempt(&self, index: usize) -> Option<&Attempt> {
        self.fleet.devices[index].attempt.as_deref()
    }

    pub fn state(&self, index: usize) -> Option<DeviceState> {
        self.attempt(index).map(|attempt| attempt.state)
    }

    pub fn count(&self, state: DeviceState) -> usize {
        (0..self.fleet.devices.len()).filter(|index| self.state(*index) == Some(state)).count()
    }

    /// Devices that take up a place of the stage's share.
    pub fn reached(&self) -> usize {
        let reached = |state: DeviceState| state.is_open() || state.is_outcome();
        (0..self.fleet.devices.len()).filter(|index| self.state(*index).is_some_and(reached)).count()
    }
}

/// A report by a device whose clock says `timestamp`, received at `received_at`.
pub fn report(phase: OtaPhase, timestamp: UnixMillis, received_at: UnixMillis) -> Fact {
    report_with(phase, timestamp, received_at, None)
}

pub fn report_with(
    phase: OtaPhase,
    timestamp: UnixMillis,
    received_at: UnixMillis,
    error: Option<&str>,
) -> Fact {
    Fact::Report(StatusReport {
        status: OtaStatus {
            status: phase,
            version: version(NEW),
            progress: None,
            error: error.map(str::to_owned),
            rollout_id: None,
            timestamp,
        },
        received_at,
    })
}

/// A state message that says the least.
pub fn sighting(running: &str, received_at: UnixMillis) -> Sighting {
    Sighting {
        received_at,
        online: true,
        version: version(running),
        elf_sha256: None,
        boot_count: None,
        uptime_sec: None,
        new_connection: false,
    }
}

/// An attempt that was triggered and sent at [`T0`].
pub fn attempt() -> Attempt {
    attempt_of(&device(id_in_cohort(0, 0)))
}

/// The same, with a certain device.
pub fn attempt_of(device: &Device) -> Attempt {
    let mut world = World::new(rollout(vec![last_stage()]), vec![device.clone()]);
    world.run();
    world.send_all();
    world.attempt(0).unwrap().clone()
}

pub fn target() -> Target {
    Target { version: version(NEW), elf_sha256: None }
}

/// Tells facts one after the other, each when it is known.
pub fn tell_all<'a>(attempt: Attempt, facts: impl IntoIterator<Item = &'a Fact>) -> Attempt {
    facts.into_iter().fold(attempt, |attempt, fact| {
        attempt.apply(&target(), fact, fact.known_at()).attempt().cloned().unwrap_or(attempt)
    })
}

/// Why a device is held back in a plan.
pub fn held_back(plan: &Plan, index: usize) -> Option<HoldBack> {
    match plan.standings[index] {
        Standing::HeldBack(reason) => Some(reason),
        Standing::Reached(_) => None,
    }
}

/// How many triggers a plan decides.
pub fn triggers(plan: &Plan) -> usize {
    plan.actions.iter().filter(|action| matches!(action, Action::Trigger { .. })).count()
}

/// The times that tests are written in.
pub const fn seconds(n: i64) -> i64 {
    n * SECOND
}
pub const fn minutes(n: i64) -> i64 {
    n * MINUTE
}
pub const fn hours(n: i64) -> i64 {
    n * HOUR
}
pub const fn days(n: i64) -> i64 {
    n * DAY
}

/// What was decided about a device in a plan.
pub fn decisions(plan: &Plan) -> Vec<Decision> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            Action::Decide { decision, .. } => Some(*decision),
            _ => None,
        })
        .collect()
}
