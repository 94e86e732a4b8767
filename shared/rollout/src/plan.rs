//! The planner: what is to happen next in a rollout, and why nothing else is.
//!
//! [`plan`] is a function. The same input gives the same output; what it decides, once carried out, leaves nothing to decide
//! at the same instant; and whoever carries it out makes no choices of its own. It goes through the same steps whatever
//! woke it (the clock, a report, a device that came online):
//!
//! 1. *timers*: attempts that are overdue end; triggers that were never sent are taken back;
//! 2. *halts*: failures pause or abort the rollout;
//! 3. *stages*: the next one begins if this one has shown what it must;
//! 4. *triggers*: as many as stage, rate and run allow;
//! 5. *completion*.

use std::cmp::Ordering;

use litemap::LiteMap;
use rs1_domain::time::MINUTE;
use rs1_domain::{DeviceId, FirmwareVersion, UnixMillis};

use crate::attempt::{Attempt, DeviceState, Trigger};
use crate::cause::Cause;
use crate::cohort::COHORTS;
use crate::device::{Device, Snapshot};
use crate::fact::Decision;
use crate::policy::Policy;
use crate::report::{Awaited, HoldBack, Report, StageReport, Tally};
use crate::rollout::{Rollout, Stage, Status};
use crate::share::Share;

/// One thing to do. Actions are in the order in which they were decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin the first stage: the schedule says so.
    Start,
    /// Begin the next stage.
    AdvanceStage {
        /// Index of the stage that is over.
        from: usize,
        /// Index of the one that begins.
        to: usize,
    },
    /// Trigger nobody new, and tell the operators.
    Pause(Cause),
    /// Give up, and tell the operators.
    Abort(Cause),
    /// All is done.
    Complete,
    /// Begin an attempt with a device.
    Trigger {
        /// With which.
        device_id: DeviceId,
        /// The attempt; [`Attempt::begin`] makes it.
        trigger: Trigger,
    },
    /// End an attempt, or take its trigger back: [`Fact::Decided`](crate::Fact::Decided).
    Decide {
        /// Of which device.
        device_id: DeviceId,
        /// Which attempt.
        attempt: u32,
        /// What is decided.
        decision: Decision,
    },
}

/// How a device came out of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is or was under way: its state after the plan.
    Reached(DeviceState),
    /// It is held back.
    HeldBack(HoldBack),
}

impl Standing {
    /// What holds it back, if it is.
    pub fn reason(self) -> Option<HoldBack> {
        match self {
            Self::HeldBack(reason) => Some(reason),
            Self::Reached(_) => None,
        }
    }
}

/// What is to be done, and what is to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// The rollout once it is done: the next generation if there is anything to do, the same otherwise.
    pub rollout: Rollout,
    /// Where the rollout then stands.
    pub report: Report,
    /// How each device of the snapshot came out, in the snapshot's order.
    pub standings: Vec<Standing>,
}

/// How one device stands while a plan is made. A fleet is gone through many times, so this is small.
struct Candidate {
    cohort: u8,
    /// The stage that it counts for, if it ever was triggered.
    stage: usize,
    /// Its state in the rollout, after the plan's decisions so far; `None` if it never was triggered.
    state: Option<DeviceState>,
    /// What holds it back for its own sake, whatever the stage.
    bar: Option<HoldBack>,
    /// Whether its outcome is a failure that somebody has taken note of by resuming.
    acknowledged: bool,
    /// Whether its trigger has not left yet.
    unsent: bool,
    /// Whether it was triggered before and must be again: it forgot.
    again: bool,
    /// When its timer runs out, if it still has one.
    deadline: Option<UnixMillis>,
}

impl Candidate {
    /// Whether it takes up a place of the stage's share.
    fn is_reached(&self) -> bool {
        self.state.is_some_and(|state| state.is_open() || state.is_outcome())
    }

    /// Whether it has not been triggered, or its trigger was taken back.
    fn is_untouched(&self) -> bool {
        matches!(self.state, None | Some(DeviceState::Eligible))
    }

    /// Whether it could be triggered now.
    fn is_ready(&self) -> bool {
        self.bar.is_none() && self.is_untouched()
    }

    /// Whether it has not been reached, but may be.
    fn is_waiting(&self) -> bool {
        self.is_untouched() && self.bar.is_none_or(|bar| !bar.is_permanent() && bar != HoldBack::Offers)
    }

    /// Whether the rollout is for it: it may be reached some time, or was.
    fn is_meant(&self) -> bool {
        !self.is_untouched() || self.bar.is_none_or(|bar| !bar.is_permanent())
    }

    /// Takes over what was decided.
    fn enter(&mut self, state: DeviceState) {
        self.state = Some(state);
        self.again = false;
        self.unsent = false;
        self.deadline = None;
    }
}

/// Plans the next steps of a rollout.
pub fn plan(rollout: &Rollout, policy: &Policy, snapshot: &Snapshot, now: UnixMillis) -> Plan {
    let mut planner = Planner::survey(rollout, policy, snapshot, now);
    planner.start_if_due();
    planner.halt_if_failing();
    planner.advance_if_shown();
    planner.take_back_unsent();
    let triggers = planner.trigger();
    planner.complete_if_done();
    planner.conclude(&triggers)
}

pub(crate) struct Planner<'a> {
    policy: &'a Policy,
    snapshot: &'a Snapshot,
    now: UnixMillis,
    rollout: Rollout,
    candidates: Vec<Candidate>,
    actions: Vec<Action>,
    /// Failures that this plan itself decides.
    timed_out: u32,
    /// The latest place in the rate that is taken.
    last_place: Option<UnixMillis>,
    /// How many triggers were decided at this very instant.
    in_this_run: usize,
    /// Versions that were compared with the rollout's.
    versions: Vec<(&'a FirmwareVersion, Option<HoldBack>)>,
}

/// Versions whose comparison is remembered; looking through more would take as long as comparing.
const MOST_VERSIONS: usize = 16;

/// The triggers of a plan, and what held back those who might have been.
struct Triggers {
    /// How many there are.
    triggered: usize,
    /// When the first place in the rate is free for those that are left over; `None` if none are.
    next_at: Option<UnixMillis>,
    /// What holds back the ready devices of the stage that are left over.
    held: Option<HoldBack>,
}

/// Who is within a stage: cohorts, and how many of them.
struct Coverage {
    percent: u8,
    /// How many devices it may have in all.
    capacity: u32,
    /// Those who have been reached, wherever their cohort.
    reached: u32,
    /// The one device of a stage whose cohorts offer nobody.
    stand_in: Option<usize>,
}

impl Coverage {
    fn covers(&self, index: usize, candidate: &Candidate) -> bool {
        candidate.cohort < self.percent || self.stand_in == Some(index)
    }

    /// How many more it may reach.
    fn room(&self) -> usize {
        usize::try_from(self.capacity.saturating_sub(self.reached)).unwrap_or(usize::MAX)
    }
}

impl<'a> Planner<'a> {
    /// Looks at every device once. Timers run out here, whatever becomes of the rollout: an open attempt blocks its device.
    pub(crate) fn survey(
        rollout: &Rollout,
        policy: &'a Policy,
        snapshot: &'a Snapshot,
        now: UnixMillis,
    ) -> Self {
        let mut planner = Self {
            policy,
            snapshot,
            now,
            rollout: rollout.clone(),
            candidates: Vec::with_capacity(snapshot.devices.len()),
            actions: Vec::new(),
            timed_out: 0,
            last_place: None,
            in_this_run: 0,
            versions: Vec::new(),
        };
        for device in &snapshot.devices {
            let candidate = planner.look_at(device);
            planner.candidates.push(candidate);
        }
        planner
    }

    fn look_at(&mut self, device: &'a Device) -> Candidate {
        let mut candidate = Candidate {
            cohort: device.cohort,
            stage: 0,
            state: None,
            bar: self.bar(device),
            acknowledged: false,
            unsent: false,
            again: false,
            deadline: None,
        };
        let Some(attempt) = &device.attempt else { return candidate };
        candidate.stage = attempt.stage;
        candidate.state = Some(attempt.state);
        candidate.unsent = attempt.is_unsent();
        candidate.again = attempt.is_forgotten();
        candidate.acknowledged = attempt
            .counted_at
            .zip(self.rollout.acknowledged_at)
            .is_some_and(|(counted, acknowledged)| counted <= acknowledged);
        self.last_place = self.last_place.max(Some(attempt.send_at));
        self.in_this_run = self.in_this_run.saturating_add(usize::from(attempt.triggered_at == self.now));
        if let Some((at, decision)) = attempt.deadline(self.policy) {
            candidate.deadline = Some(at);
            if at <= self.now {
                self.decide(&mut candidate, device, attempt.attempt, decision);
            }
        }
        candidate
    }

    /// Decides about an attempt.
    fn decide(&mut self, candidate: &mut Candidate, device: &Device, attempt: u32, decision: Decision) {
        self.actions.push(Action::Decide { device_id: device.id.clone(), attempt, decision });
        candidate.enter(match decision {
            Decision::Withdrawn => DeviceState::Eligible,
            Decision::NotAcknowledged | Decision::NotFinished => {
                self.timed_out = self.timed_out.saturating_add(1);
                DeviceState::TimedOut
            }
            Decision::TooManyDownloads => DeviceState::Failed,
            Decision::Cancelled => DeviceState::Cancelled,
        });
    }

    /// What holds a device back whatever the stage, the rate and the rollout's status.
    fn bar(&mut self, device: &'a Device) -> Option<HoldBack> {
        if device.sku != Some(self.rollout.sku) {
            return Some(HoldBack::Sku);
        }
        if !self.rollout.selector.matches(device) {
            return Some(HoldBack::Selector);
        }
        let Some(version) = &device.version else { return Some(HoldBack::VersionUnknown) };
        if let Some(reason) = self.bar_of_version(version) {
            return Some(reason);
        }
        if device.fw_version.is_some_and(|confirmed| confirmed > self.rollout.fw_version) {
            return Some(HoldBack::AntiRollback);
        }
        if device.busy_elsewhere {
            return Some(HoldBack::AnotherRollout);
        }
        let cooled = |at: UnixMillis| at.plus(self.policy.cooldown) <= self.now;
        if device.confirmed_at.is_some_and(|at| !cooled(at)) {
            return Some(HoldBack::Cooldown);
        }
        let attempt = device.attempt.as_ref();
        let missed = attempt.and_then(|attempt| attempt.unreachable_at);
        if !device.online || missed.is_some_and(|missed| device.presence_at <= missed) {
            return Some(HoldBack::Offline);
        }
        if device.wifi_rssi.is_some_and(|rssi| rssi < self.rollout.min_rssi) {
            return Some(HoldBack::Rssi);
        }
        attempt.is_some_and(|attempt| offers(attempt) >= self.policy.max_offers).then_some(HoldBack::Offers)
    }

    /// Whether a version is held back. A fleet runs few of them, and comparing two takes a while.
    fn bar_of_version(&mut self, version: &'a FirmwareVersion) -> Option<HoldBack> {
        if let Some((_, reason)) = self.versions.iter().find(|(known, _)| *known == version) {
            return *reason;
        }
        let reason = match version.cmp(&self.rollout.version) {
            Ordering::Equal => Some(HoldBack::UpToDate),
            Ordering::Greater if !self.rollout.force => Some(HoldBack::Version),
            Ordering::Greater | Ordering::Less => None,
        };
        if self.versions.len() < MOST_VERSIONS {
            self.versions.push((version, reason));
        }
        reason
    }

    /// Whom a stage covers, as things stand.
    fn coverage(&self, stage: &Stage) -> Coverage {
        let mut coverage = Coverage { percent: stage.percent, capacity: 0, reached: 0, stand_in: None };
        let mut is_anyone_ready = false;
        let add = |number: &mut u32, one: bool| *number = number.saturating_add(u32::from(one));
        for candidate in &self.candidates {
            let within = candidate.cohort < stage.percent;
            let reached = candidate.is_reached();
            add(&mut coverage.reached, reached);
            add(&mut coverage.capacity, within && (reached || candidate.is_waiting()));
            is_anyone_ready |= within && candidate.is_ready();
        }
        coverage.capacity = coverage.capacity.max(1);
        if !is_anyone_ready && coverage.reached == 0 {
            let mut ready = self.indices(Candidate::is_ready);
            self.keep_first(&mut ready, 1);
            coverage.stand_in = ready.first().copied();
        }
        coverage
    }

    /// The ready devices that a stage has room for, those whose turn is first.
    fn ready(&self, coverage: &Coverage) -> Vec<usize> {
        let mut ready: Vec<usize> = self
            .candidates
            .iter()
            .enumerate()
            .filter(|(index, candidate)| candidate.is_ready() && coverage.covers(*index, candidate))
            .map(|(index, _)| index)
            .collect();
        self.keep_first(&mut ready, coverage.room());
        ready
    }

    /// How many devices that is.
    fn count_ready(&self, coverage: &Coverage) -> u32 {
        let covered = |(index, candidate): &(usize, &Candidate)| {
            candidate.is_ready() && coverage.covers(*index, candidate)
        };
        let covered = self.candidates.iter().enumerate().filter(covered).count();
        u32::try_from(covered.min(coverage.room())).unwrap_or(u32::MAX)
    }

    fn indices(&self, of: impl Fn(&Candidate) -> bool) -> Vec<usize> {
        self.candidates.iter().enumerate().filter(|(_, one)| of(one)).map(|(index, _)| index).collect()
    }

    /// Keeps the `most` devices whose turn is first. Only the cohort in which the line is drawn is sorted: sorting a fleet to
    /// find a hundred would take longer than the rest.
    fn keep_first(&self, indices: &mut Vec<usize>, most: usize) {
        if indices.len() <= most {
            return;
        }
        let cohort =
            |index: &usize| self.candidates.get(*index).map_or(COHORTS, |candidate| candidate.cohort);
        let mut sizes = [0_usize; COHORTS as usize + 1];
        for index in indices.iter() {
            if let Some(size) = sizes.get_mut(usize::from(cohort(index))) {
                *size = size.saturating_add(1);
            }
        }
        let (mut drawn_at, mut left) = (0, most);
        for (of, size) in (0..).zip(sizes) {
            drawn_at = of;
            if size > left {
                break;
            }
            left = left.saturating_sub(size);
        }
        let mut last: Vec<_> = indices.iter().copied().filter(|index| cohort(index) == drawn_at).collect();
        self.sort_by_turn(&mut last);
        last.truncate(left);
        indices.retain(|index| cohort(index) < drawn_at);
        indices.append(&mut last);
    }

    // Once, and not where it is called: sorting is 5 KB of code.
    #[inline(never)]
    fn sort_by_turn(&self, indices: &mut [usize]) {
        indices.sort_unstable_by(|a, b| self.compare_turns(*a, *b));
    }

    /// Whose turn it is first: the lower cohort, then the lower id, so that the order is the same whoever asks.
    fn compare_turns(&self, a: usize, b: usize) -> Ordering {
        let cohort = |index: usize| self.candidates.get(index).map(|candidate| candidate.cohort);
        let id = |index: usize| self.snapshot.devices.get(index).map(|device| &device.id);
        cohort(a).cmp(&cohort(b)).then_with(|| id(a).cmp(&id(b)))
    }

    /// For a dry run: reaches everybody that a stage covers, and answers them in the order of their turn.
    pub(crate) fn reach_all(&mut self, stage: &Stage) -> Vec<usize> {
        let mut reached = self.ready(&self.coverage(stage));
        self.sort_by_turn(&mut reached);
        for index in &reached {
            if let Some(candidate) = self.candidates.get_mut(*index) {
                candidate.enter(DeviceState::Triggered);
            }
        }
        reached
    }

    /// For a dry run: everybody who was not reached, and why.
    pub(crate) fn left_over(&self) -> Vec<(DeviceId, HoldBack)> {
        self.candidates
            .iter()
            .zip(&self.snapshot.devices)
            .filter(|(candidate, _)| candidate.is_untouched())
            .map(|(candidate, device)| (device.id.clone(), candidate.bar.unwrap_or(HoldBack::Cohort)))
            .collect()
    }

    /// How the devices fare; with a stage, those that count for it.
    fn tally(&self, of_stage: Option<usize>) -> Tally {
        let mut tally = Tally::default();
        let add = |number: &mut u32, one: bool| *number = number.saturating_add(u32::from(one));
        for candidate in &self.candidates {
            let Some(state) = candidate.state else { continue };
            if of_stage.is_some_and(|stage| stage != candidate.stage) {
                continue;
            }
            let is_new_failure = state.is_failure() && !candidate.acknowledged;
            add(&mut tally.reached, candidate.is_reached());
            add(&mut tally.in_flight, state.is_open());
            add(&mut tally.outcomes, state.is_outcome());
            add(&mut tally.confirmed, state == DeviceState::Confirmed);
            add(&mut tally.failures, state.is_failure());
            add(&mut tally.new_failures, is_new_failure);
            add(&mut tally.new_rolled_back, is_new_failure && state == DeviceState::RolledBack);
        }
        tally.failure_share = Share::of(tally.new_failures, tally.outcomes);
        tally
    }

    fn start_if_due(&mut self) {
        let is_due = self.rollout.schedule_at.is_some_and(|at| at <= self.now);
        if self.rollout.status == Status::Pending && is_due && self.snapshot.withdrawn.is_none() {
            self.rollout.begin(self.now);
            self.actions.push(Action::Start);
        }
    }

    /// Outcomes from which on failures are judged: the policy's number, or all that the stage has and can have now.
    fn judged_from(&self, coverage: &Coverage, total: &Tally) -> u32 {
        let whole = total.reached.saturating_add(self.count_ready(coverage));
        self.policy.min_outcomes.min(whole).max(1)
    }

    fn recent_failures(&self) -> u32 {
        let since = self.now.plus(self.policy.spike_window.saturating_neg());
        let since = self.rollout.acknowledged_at.map_or(since, |at| at.max(since));
        let recent = self.snapshot.recent_failures.iter().filter(|at| **at > since).count();
        u32::try_from(recent).unwrap_or(u32::MAX).saturating_add(self.timed_out)
    }

    /// A paused rollout is judged, too: what was under way goes on, and may show that there is nothing to resume.
    fn halt_if_failing(&mut self) {
        if !matches!(self.rollout.status, Status::Staged | Status::Paused) {
            return;
        }
        if let Some(cause) = self.cause_to_abort() {
            self.rollout.status = Status::Aborted;
            self.actions.push(Action::Abort(cause));
        } else if self.rollout.status == Status::Staged
            && let Some(cause) = self.cause_to_pause()
        {
            self.rollout.status = Status::Paused;
            self.actions.push(Action::Pause(cause));
        }
    }

    /// The failures so far, if there are outcomes enough to judge.
    fn judged(&self) -> Option<Tally> {
        let total = self.tally(None);
        let coverage = self.coverage(self.rollout.current_stage()?);
        (total.outcomes >= self.judged_from(&coverage, &total)).then_some(total)
    }

    fn cause_to_abort(&self) -> Option<Cause> {
        let Tally { new_failures: failures, outcomes, .. } = self.judged()?;
        self.policy
            .abort_share
            .is_exceeded_by(failures, outcomes)
            .then_some(Cause::FailureShare { failures, outcomes })
    }

    fn cause_to_pause(&self) -> Option<Cause> {
        if self.snapshot.withdrawn.is_some() {
            return self.snapshot.withdrawn;
        }
        if let Some(Tally { new_failures: failures, new_rolled_back: rolled_back, outcomes, .. }) =
            self.judged()
        {
            if self.policy.pause_share.is_exceeded_by(failures, outcomes) {
                return Some(Cause::FailureShare { failures, outcomes });
            }
            if self.policy.rollback_share.is_exceeded_by(rolled_back, outcomes) {
                return Some(Cause::RolledBackShare { rolled_back, outcomes });
            }
        }
        let failures = self.recent_failures();
        (failures > self.policy.spike_failures).then_some(Cause::FailureSpike { failures })
    }

    /// How the present stage's own devices stand, and how many of them must be confirmed.
    fn stage_standing(&self, stage: &Stage) -> (Tally, u32) {
        let index = self.rollout.stage;
        let own = self.tally(Some(index));
        let ready = self.count_ready(&self.coverage(stage));
        // Failures that somebody has taken note of are not waited for to become successes.
        let acknowledged = own.failures.saturating_sub(own.new_failures);
        let reachable = ready.saturating_add(own.reached.saturating_sub(acknowledged));
        let default =
            if self.rollout.is_at_last_stage() { 0 } else { self.policy.min_confirmed.min(reachable) };
        (own, stage.min_confirmed.unwrap_or(default))
    }

    /// What the present stage has yet to show.
    fn awaited_of_stage(&self) -> Vec<Awaited> {
        let Some(stage) = self.rollout.current_stage() else { return Vec::new() };
        let (own, min_confirmed) = self.stage_standing(stage);
        let is_kept =
            stage.max_failure_share.is_none_or(|share| share.is_kept_by(own.new_failures, own.outcomes));
        let is_time_over = self.rollout.stage_ends_at().is_some_and(|at| at <= self.now);
        let mut awaited = Vec::new();
        let mut wait = |holds: bool, what: Awaited| {
            if holds {
                awaited.push(what);
            }
        };
        if self.rollout.is_at_last_stage() {
            let is_waiting = self.candidates.iter().any(Candidate::is_waiting);
            let is_anyone_ready = self.candidates.iter().any(Candidate::is_ready);
            wait(
                self.candidates.iter().any(|one| one.state.is_some_and(DeviceState::is_open)),
                Awaited::UnderWay,
            );
            // Once its time is over, the last stage waits no longer for those who cannot be reached.
            wait(is_anyone_ready || (is_waiting && !is_time_over), Awaited::Devices);
        } else {
            wait(!is_time_over, Awaited::Time);
        }
        wait(own.confirmed < min_confirmed, Awaited::Confirmed);
        wait(!is_kept, Awaited::FailureShare);
        awaited
    }

    fn advance_if_shown(&mut self) {
        while self.rollout.status == Status::Staged
            && !self.rollout.is_at_last_stage()
            && self.awaited_of_stage().is_empty()
        {
            let from = self.rollout.stage;
            let to = from.saturating_add(1);
            self.rollout.begin_stage(to, self.now);
            self.actions.push(Action::AdvanceStage { from, to });
        }
    }

    /// Takes back what is not yet sent: of a paused rollout until it is resumed, of an aborted one for good. (A rollout
    /// completes only when nothing is under way.)
    fn take_back_unsent(&mut self) {
        let decision = match self.rollout.status {
            Status::Paused => Decision::Withdrawn,
            Status::Aborted => Decision::Cancelled,
            Status::Pending | Status::Staged | Status::Completed => return,
        };
        let snapshot = self.snapshot;
        let mut candidates = std::mem::take(&mut self.candidates);
        for (candidate, device) in candidates.iter_mut().zip(&snapshot.devices) {
            let is_waiting =
                candidate.state == Some(DeviceState::Eligible) && decision == Decision::Cancelled;
            if let Some(attempt) = &device.attempt
                && (candidate.unsent || is_waiting)
            {
                self.decide(candidate, device, attempt.attempt, decision);
            }
        }
        self.candidates = candidates;
    }

    /// Decides the triggers: those who forgot first, since they have a place already; then whoever's turn it is.
    fn trigger(&mut self) -> Triggers {
        let none = |held| Triggers { triggered: 0, next_at: None, held };
        match self.rollout.status {
            Status::Pending => return none(Some(HoldBack::NotStarted)),
            Status::Paused if self.snapshot.withdrawn.is_some() => {
                return none(Some(HoldBack::ArtifactYanked));
            }
            Status::Paused => return none(Some(HoldBack::Paused)),
            Status::Completed | Status::Aborted => return none(Some(HoldBack::Ended)),
            Status::Staged => {}
        }
        let Some(stage) = self.rollout.current_stage() else { return none(None) };
        let coverage = self.coverage(stage);
        let again = self.indices(|candidate| candidate.again && candidate.bar.is_none());
        let ready = self.ready(&coverage);

        // Each trigger takes the next free place of the rate, so that they are spread over the coming minute, and no minute has
        // more than the rate allows, whoever decides them when.
        let step = MINUTE.saturating_add(i64::from(self.rollout.rate_per_minute).saturating_sub(1));
        let step = step.checked_div(i64::from(self.rollout.rate_per_minute)).unwrap_or(MINUTE);
        let window_end = self.now.plus(MINUTE);
        let mut place = self.last_place.map_or(self.now, |last| last.plus(step).max(self.now));
        // What was decided at this very instant belongs to the same run.
        let most = usize::try_from(self.policy.triggers_per_run).unwrap_or(usize::MAX);
        let left_in_run = most.saturating_sub(self.in_this_run);

        let wanted = again.len().saturating_add(ready.len());
        let mut turn = Vec::with_capacity(wanted.min(left_in_run));
        for mut group in [again, ready] {
            self.keep_first(&mut group, left_in_run.saturating_sub(turn.len()));
            self.sort_by_turn(&mut group);
            turn.append(&mut group);
        }
        let mut triggers = Triggers { triggered: 0, next_at: None, held: None };
        for index in turn {
            if place >= window_end {
                break;
            }
            self.trigger_one(index, place);
            triggers.triggered = triggers.triggered.saturating_add(1);
            place = place.plus(step);
        }
        if triggers.triggered < wanted {
            let is_rate = place >= window_end;
            triggers.held = Some(if is_rate { HoldBack::Rate } else { HoldBack::Batch });
            triggers.next_at = Some(if is_rate {
                place.plus(MINUTE.saturating_neg()).plus(1).max(self.now.plus(1))
            } else {
                self.now.plus(1)
            });
        }
        triggers
    }

    fn trigger_one(&mut self, index: usize, send_at: UnixMillis) {
        let Some(device) = self.snapshot.devices.get(index) else { return };
        let before = device.attempt.as_deref();
        // Whoever was under way counts for the stage that began it; whoever was not reached counts for this one.
        let stage = before.filter(|before| before.state.is_open());
        let stage = stage.map_or(self.rollout.stage, |before| before.stage);
        let trigger = Trigger {
            attempt: before.map_or(1, |before| before.attempt.saturating_add(1)),
            stage,
            offers: before.map_or(0, offers),
            first_triggered_at: before.map_or(self.now, |before| before.first_triggered_at),
            send_at,
            from_version: device.version.clone(),
            boot: device.boot(),
        };
        self.actions.push(Action::Trigger { device_id: device.id.clone(), trigger });
        if let Some(candidate) = self.candidates.get_mut(index) {
            candidate.stage = stage;
            candidate.enter(DeviceState::Triggered);
        }
    }

    fn complete_if_done(&mut self) {
        if self.rollout.status == Status::Staged
            && self.rollout.is_at_last_stage()
            && self.awaited_of_stage().is_empty()
        {
            self.rollout.status = Status::Completed;
            self.actions.push(Action::Complete);
        }
    }

    fn conclude(mut self, triggers: &Triggers) -> Plan {
        if !self.actions.is_empty() {
            self.rollout.generation = self.rollout.generation.saturating_add(1);
        }
        let held =
            if self.rollout.status == Status::Completed { Some(HoldBack::Ended) } else { triggers.held };
        let standings = self.standings(held);
        let report = self.report(&standings, triggers.next_at);
        Plan { actions: self.actions, rollout: self.rollout, report, standings }
    }

    fn standings(&self, held: Option<HoldBack>) -> Vec<Standing> {
        let coverage = self.rollout.current_stage().map(|stage| self.coverage(stage));
        let is_begun = self.rollout.stage_started_at.is_some();
        let standing = |(index, candidate): (usize, &Candidate)| match (candidate.state, candidate.bar) {
            (Some(state), _) if state != DeviceState::Eligible => Standing::Reached(state),
            (_, Some(bar)) if bar.is_permanent() => Standing::HeldBack(bar),
            (_, bar) => {
                let covered = coverage.as_ref().is_none_or(|coverage| coverage.covers(index, candidate));
                let over = self.rollout.status.is_final().then_some(HoldBack::Ended);
                let outside = (is_begun && !covered).then_some(HoldBack::Cohort);
                let reason = over.or(outside).or(bar).or(held).unwrap_or(HoldBack::Cohort);
                Standing::HeldBack(reason)
            }
        };
        self.candidates.iter().enumerate().map(standing).collect()
    }

    fn report(&self, standings: &[Standing], next_trigger_at: Option<UnixMillis>) -> Report {
        let total = self.tally(None);
        let mut report = Report {
            at: self.now,
            status: self.rollout.status.as_str().to_owned(),
            total,
            recent_failures: self.recent_failures(),
            ..Report::default()
        };
        let add = |number: &mut u32, one: bool| *number = number.saturating_add(u32::from(one));
        for candidate in &self.candidates {
            let is_asked = candidate.is_reached() || candidate.state == Some(DeviceState::Refused);
            add(&mut report.devices, candidate.is_meant());
            add(&mut report.never_reached, candidate.is_meant() && !is_asked);
        }
        report.counts = count(&DeviceState::ALL, self.candidates.iter().map(|candidate| candidate.state));
        report.held_back = count(&HoldBack::ALL, standings.iter().map(|standing| standing.reason()));
        if let Some(stage) = self.rollout.current_stage() {
            let coverage = self.coverage(stage);
            let (own, min_confirmed) = self.stage_standing(stage);
            report.judged_from = self.judged_from(&coverage, &total);
            report.is_judged = total.outcomes >= report.judged_from;
            report.stage = StageReport {
                index: self.rollout.stage,
                of: self.rollout.stages.len(),
                percent: stage.percent,
                started_at: self.rollout.stage_started_at,
                ends_at: self.rollout.stage_ends_at(),
                own,
                capacity: coverage.capacity,
                min_confirmed,
                max_failure_share: stage.max_failure_share.map(Share::fraction),
            };
        }
        report.awaits = match self.rollout.status {
            Status::Pending => vec![Awaited::Start],
            Status::Paused => vec![Awaited::Resume],
            Status::Staged => self.awaited_of_stage(),
            Status::Completed | Status::Aborted => Vec::new(),
        };
        report.next_judgement_at = self.next_judgement_at(next_trigger_at);
        report
    }

    /// The next instant at which time alone changes something.
    fn next_judgement_at(&self, next_trigger_at: Option<UnixMillis>) -> Option<UnixMillis> {
        // What was decided just now has timers of its own; the next plan sees them.
        let deadlines = self.candidates.iter().filter_map(|candidate| candidate.deadline);
        let (schedule, stage) = match self.rollout.status {
            Status::Pending => (self.rollout.schedule_at, None),
            Status::Staged => (None, self.rollout.stage_ends_at()),
            Status::Paused | Status::Completed | Status::Aborted => (None, None),
        };
        deadlines.chain(schedule).chain(stage).chain(next_trigger_at).filter(|at| *at > self.now).min()
    }
}

/// How often a device has been offered the image, once this attempt is counted.
fn offers(attempt: &Attempt) -> u32 {
    attempt.offers.saturating_add(u32::from(attempt.was_sent()))
}

/// How often each of `all`, which are in the order of their discriminants, occurs.
fn count<T: Copy + Ord + Into<usize>>(all: &[T], values: impl Iterator<Item = Option<T>>) -> LiteMap<T, u32> {
    let mut counts = vec![0_u32; all.len()];
    for value in values.flatten() {
        if let Some(count) = counts.get_mut(value.into()) {
            *count = count.saturating_add(1);
        }
    }
    let mut found = LiteMap::new_vec();
    for (one, count) in all.iter().zip(counts).filter(|(_, count)| *count > 0) {
        found.insert(*one, count);
    }
    found
}
