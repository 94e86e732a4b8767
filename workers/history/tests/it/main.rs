//! The routes, natively: the whole worker on a real SQLite, with everything else that it binds in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, which is what it should do"
)]

mod alerts;
mod common;
mod events;
mod metrics;
mod security_log;
mod telemetry;
