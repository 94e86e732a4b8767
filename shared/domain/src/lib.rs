//! The vocabulary of RS-1 Cloud: what every other crate and every device agrees on.
//!
//! - identity: [`DeviceId`], [`MacAddress`], [`Sku`], [`FirmwareVersion`], [`RecordId`], [`UserId`], [`EmailAddress`];
//! - who may do what with a device: [`role`];
//! - time: [`UnixMillis`], always an argument, never read here;
//! - what goes over the wire: [`wire`] (device payloads, EMQX envelopes), [`topic`] (MQTT topics and filters);
//! - what devices run: [`firmware`] (images and their signature blocks);
//! - what the security log is told: [`security`];
//! - what a route takes and gives: [`http`] (a request and an answer as plain values), [`problem`] (RFC 9457 errors);
//! - which part of a file a request selects: [`range`];
//! - what else wakes a worker: [`event`] (a batch from a queue, a tick of the clock);
//! - what operators ask devices: [`diagnostics`];
//! - how what is stored becomes a type again: [`json`];
//! - what every worker has: [`config`] (settings, all faults named), [`health`];
//! - how metrics are told: [`exposition`];
//! - what a route may ask of the world: [`port`] (database, buckets, queues, keys), implemented for
//!   the Workers runtime by `rs1-platform` and natively by test doubles.
//!
//! This crate does no I/O, reads no clock, and must never know of `worker`, `js_sys` or SQL.
//! Start reading at [`id`] and [`wire`].

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::string_slice,
        reason = "a test that overflows or slices wrongly fails, which is what it should do"
    )
)]

pub mod apart;
pub mod config;
pub mod diagnostics;
pub mod event;
pub mod exposition;
pub mod firmware;
pub mod health;
pub mod hex;
pub mod http;
pub mod id;
pub mod json;
pub mod limits;
pub mod port;
pub mod problem;
pub mod range;
pub mod role;
#[cfg(feature = "schema")]
pub mod schema;
pub mod security;
pub mod time;
pub mod together;
pub mod topic;
pub mod version;
pub mod wire;

pub use apart::apart;
pub use http::{Answer, Method, Request};
pub use id::{ClientId, DeviceId, EmailAddress, MacAddress, RecordId, RequestId, SessionId, Sku, UserId};
pub use problem::{Fault, Faults, Problem};
pub use role::{Role, Verb};
pub use time::UnixMillis;
pub use version::FirmwareVersion;
