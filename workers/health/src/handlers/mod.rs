//! One module a resource. Each handler is the same shape: parse (pure), load, decide (pure), commit,
//! respond.

pub mod backups;
pub mod checks;
pub mod incidents;
pub mod maintenance;
pub mod notices;
