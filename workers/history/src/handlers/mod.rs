//! The handlers, one module a resource.

pub mod alerts;
pub mod events;
pub mod telemetry;
