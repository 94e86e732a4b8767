//! Every SQL statement of RS-1 Cloud, by name, with the types of its rows.
//!
//! A function here builds a [`Statement`]; a worker hands a list of them to a
//! [`Database`](rs1_domain::port::Database) as one transaction. Writes are guarded inside the
//! statement (`… WHERE generation = …`), because nothing may happen between a read and a write: D1
//! has no interactive transactions.
//!
//! - [`access`]: who may do what with which device;
//! - [`devices`]: enrolment, admission, state, presence, lists;
//! - [`users`]: who people are, and their sessions; [`orders`]: what they bought;
//! - [`fleet`]: the whole in numbers, and by the [`hours`];
//! - [`telemetry`]: hourly rollups, read and written by [`rollups`]; [`seals`]: hours that are closed, and rollups that are to be made
//!   anew; [`objects`]: how far collected telemetry is taken in; [`tallies`]: what came, since ever;
//! - [`security`]: the audit log, the security log, failed authentications;
//! - [`rollouts`]: who gets which firmware, and how far each has come;
//! - [`firmware`]: signing keys, artifacts, downloads;
//! - [`zones`]: zone configurations, their history and their delivery; [`diagnostics`]: what operators asked devices;
//! - [`backups`]: how far each backup has come, and the schema that a backup reads;
//! - [`notices`]: what people are told, and the outbox that sees to it;
//! - [`exports`]: all that there is of a device, for its owner; [`erasures`]: that it goes; [`lines`]: what the archive has of it;
//! - [`cron`]: leases of cron triggers;
//! - [`checks`]: rounds of checks and what they found; [`incidents`]: what followed from it, and maintenance windows; [`status`]: what the page shows
//!   of both;
//! - [`health`]: what every worker's health route checks;
//! - [`rotations`]: when secrets were replaced;
//! - [`sql`]: decoding rows, paging;
//! - [`native`] (feature `native`): SQLite with D1's manners, for tests; [`doubles`] stands in
//!   for the other ports.
//!
//! The schema is in `migrations/`. Every statement begins with a comment that names it, and is
//! proved by a query-plan test to use an index on each table that grows (`tests/it/plans.rs`).
//! This crate knows nothing of HTTP or of the Workers runtime.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::string_slice,
        reason = "a test that overflows or slices wrongly fails, which is what it should do"
    )
)]

pub mod access;
pub mod alerts;
pub mod backups;
pub mod checks;
pub mod cron;
pub mod devices;
pub mod diagnostics;
#[cfg(feature = "native")]
pub mod doubles;
pub mod erasures;
pub mod exports;
pub mod firmware;
pub mod fleet;
pub mod health;
pub mod hours;
pub mod idempotency;
pub mod incidents;
pub mod lines;
#[cfg(feature = "native")]
pub mod native;
pub mod notices;
pub mod objects;
pub mod orders;
pub mod rollouts;
pub mod rollups;
pub mod rotations;
pub mod seals;
pub mod security;
pub mod sql;
pub mod status;
pub mod tallies;
pub mod telemetry;
pub mod users;
pub mod watch;
pub mod zones;

pub use rs1_domain::port::{Database, Outcome, Param, PortError, Statement};
