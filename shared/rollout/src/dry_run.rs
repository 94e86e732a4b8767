//! A dry run: who would be reached in each stage, and who is held back and why, as the fleet is now.

use rs1_domain::{DeviceId, UnixMillis};

use crate::device::Snapshot;
use crate::plan::Planner;
use crate::policy::Policy;
use crate::report::HoldBack;
use crate::rollout::Rollout;

/// What a rollout would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRun {
    /// The devices that each stage would reach, in the order of their turn.
    pub stages: Vec<Vec<DeviceId>>,
    /// Everybody else, in the order of the snapshot.
    pub held_back: Vec<(DeviceId, HoldBack)>,
}

/// Asks the planner stage by stage, as if each reached all that it covers. Rate and time are left out: they say when, not
/// who.
pub fn dry_run(rollout: &Rollout, policy: &Policy, snapshot: &Snapshot, now: UnixMillis) -> DryRun {
    let mut planner = Planner::survey(rollout, policy, snapshot, now);
    let id = |index: &usize| snapshot.devices.get(*index).map(|device| device.id.clone());
    let mut stages = Vec::with_capacity(rollout.stages.len());
    for stage in &rollout.stages {
        let reached = planner.reach_all(stage);
        stages.push(reached.iter().filter_map(id).collect());
    }
    DryRun { stages, held_back: planner.left_over() }
}
