//! The routes, natively: the whole worker on a real SQLite, with everything else that it binds in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "a test that panics fails, which is what it should do"
)]

mod admin;
mod common;
mod diagnostics;
mod every_route;
mod fleet;
mod people;
mod sessions;
mod tags;
mod zones;
