//! The crons, natively: what is compacted, sealed, exported and erased, beside the history worker that shows it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, which is what it should do"
)]

mod common;
mod compact;
mod health;
mod own_data;
mod watch;
