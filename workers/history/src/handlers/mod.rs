//! The handlers, one module a resource.

pub mod telemetry;
