//! What the workers that people call have in common: `device-api`, `history`, `ota` and `health`.
//!
//! - [`operator`]: which operator is asking, from the token that Cloudflare Access issued;
//! - [`person`]: which user is asking, from the token that we issued ourselves; [`access`]: what they may do with a device;
//! - [`keys`]: whether a token was signed by whom it names;
//! - [`audit`]: no admin access without a trace;
//! - [`format`](mod@format): which form of a list is wanted;
//! - [`if_match`]: which version a change was made from;
//! - [`kept`]: answers that are good for a while;
//! - [`query`]: query parameters, with every fault named;
//! - [`reason`]: why an operator does something.
//!
//! All of it is plain Rust over ports, as handlers are. It must never know a route, nor the Workers runtime.

pub mod access;
pub mod audit;
pub mod format;
pub mod if_match;
pub mod kept;
pub mod keys;
pub mod operator;
pub mod person;
pub mod query;
pub mod reason;
