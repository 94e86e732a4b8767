//! The handlers, one module a resource.

pub mod alerts;
pub mod events;
pub mod metrics;
pub mod own_data;
pub mod security_log;
pub mod telemetry;
