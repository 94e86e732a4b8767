//! The routes and the queue, natively: the whole worker on a real SQLite, with everything else that it binds in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, which is what it should do"
)]

mod artifacts;
mod common;
mod config;
mod downloads;
mod keys;
mod rollouts;
