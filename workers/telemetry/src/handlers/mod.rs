//! One module a route. Each is the same shape: parse (pure), load, decide (pure), commit, respond.

pub mod acl;
pub mod auth;
pub mod config_status;
pub mod diagnostics;
pub mod gone;
pub mod ota_status;
pub mod provision;
pub mod state;
pub mod telemetry;
