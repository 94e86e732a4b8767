//! The routes and the round of checks, natively: the whole worker on a real SQLite, with everything else that it binds in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "a test that panics fails, which is what it should do"
)]

mod backup;
mod backups_api;
mod common;
mod notices;
mod page;
mod rounds;
mod watch;
