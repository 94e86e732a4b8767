//! The handlers, one module a resource.

pub mod events;
pub mod telemetry;
