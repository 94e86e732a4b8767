//! One module a resource. Each handler is the same shape: parse (pure), load, decide (pure), commit,
//! respond.

pub mod download;
pub mod firmware;
pub mod keys;
pub mod replay;
pub mod rollouts;
pub mod upload;
