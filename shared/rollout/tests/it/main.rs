//! The planner against models of itself, and what operators may wish of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, which is what it should do"
)]

mod common;
mod machines;
mod properties;
mod wishes;
