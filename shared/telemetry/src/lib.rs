//! Telemetry between the queue and its two homes: the archive, which keeps every message, and the
//! hourly rollups, which answer questions.
//!
//! - [`queued`]: what travels over the telemetry queue; [`object`]: what comes collected, by the object;
//! - [`rollup`]: one device's hour: merging messages in, each id once;
//! - [`event`]: what happened to a device, out of its log lines;
//! - [`alert`]: what is wrong with a device, and since when: a state machine;
//! - [`archive`]: archive lines, keys, and lines read back; [`pack`]: an hour of them, device by device;
//! - [`batch`]: what a batch of messages means for both, decided without I/O; [`recount`]: the rollups made anew of the archive;
//! - [`series`]: what both have to show when somebody asks.
//!
//! The order of writing makes delivery exactly once in effect, though the queue delivers at least
//! once: *read* the rollups a batch is about, *archive* the messages whose ids they do not hold,
//! *write* the rollups, guarded. A message counts as done only when its id is in a rollup, and its
//! id gets there only after its line is in the archive. What comes when its hour is sealed, and so is not known by its id, goes to the
//! archive all the same, and the hour is made anew of that.
//!
//! Pure Rust: no clock, no I/O, no SQL. Start reading at [`batch`].

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::string_slice,
        reason = "a test that overflows or slices wrongly fails, which is what it should do"
    )
)]

pub mod alert;
pub mod archive;
pub mod batch;
pub mod event;
pub mod object;
pub mod pack;
pub mod queued;
pub mod recount;
pub mod rollup;
pub mod series;

pub use batch::{Plan, Slot};
pub use queued::{Message, Queued};
pub use rollup::Rollup;
