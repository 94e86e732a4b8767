//! The webhooks and the consumer, natively: the whole worker on a real SQLite, with everything else that it binds in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, which is what it should do"
)]

mod common;
mod consumer;
mod diagnostics;
mod erase;
mod objects;
mod provisioning;
mod seal;
mod tallies;
mod webhooks;
mod zones;
