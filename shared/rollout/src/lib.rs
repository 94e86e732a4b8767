//! Rollouts of firmware: who gets the new image next, when to stop, and what became of each device.
//!
//! - [`request`]: what an operator asks for; [`rollout`]: what becomes of it, verb by verb;
//! - [`plan`]: the planner, which decides everything else; [`report`]: what it says about it; [`dry_run`]: what it would do;
//! - [`attempt`]: what becomes of one device, derived from [`fact`]s in whatever order they come;
//! - [`queued`]: how facts travel;
//! - [`policy`]: timers and limits; [`cohort`](mod@cohort), [`selector`], [`share`]: who belongs to a stage, and how shares compare.
//!
//! Pure Rust: no clock, no I/O, no SQL. It must never know how a plan is carried out; who carries it out (`workers/ota`) makes
//! no choices. Start reading at [`plan`].

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::string_slice,
        reason = "a test that overflows or slices wrongly fails, which is what it should do"
    )
)]

pub mod attempt;
pub mod cause;
pub mod cohort;
pub mod device;
pub mod dry_run;
pub mod fact;
pub mod plan;
pub mod policy;
pub mod queued;
pub mod report;
pub mod request;
pub mod rollout;
pub mod selector;
pub mod share;

pub use attempt::{Applied, Attempt, DeviceState, Target, Trigger};
pub use cause::Cause;
pub use cohort::cohort;
pub use device::{Device, Snapshot};
pub use dry_run::{DryRun, dry_run};
pub use fact::{Decision, Fact, Report as StatusReport, Sighting};
pub use plan::{Action, Plan, Standing, plan};
pub use policy::Policy;
pub use queued::OtaEvent;
pub use report::{Awaited, HoldBack, Report};
pub use request::RolloutRequest;
pub use rollout::{Refusal, Rollout, Stage, Status, Verb};
pub use selector::Selector;
pub use share::Share;
