//! The statements on a real SQLite with the real schema.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    reason = "a test that panics fails, which is what it should do"
)]

mod capacity;
mod notices;
mod plans;
mod presence;
mod registry;
mod security;
mod tallies;
mod zones;
