//! One module a resource. Each handler is the same shape: parse (pure), load, decide (pure), commit,
//! respond.

pub mod devices;
pub mod diagnostics;
pub mod enroll;
pub mod fleet;
pub mod my_devices;
pub mod operators;
pub mod orders;
pub mod session;
pub mod shares;
pub mod tags;
pub mod telemetry;
pub mod transfers;
pub mod zones;
