//! One module a resource. Each handler is the same shape: parse (pure), load, decide (pure), commit,
//! respond.

pub mod devices;
pub mod diagnostics;
pub mod enroll;
pub mod my_devices;
pub mod security_log;
pub mod session;
pub mod telemetry;
pub mod zones;
