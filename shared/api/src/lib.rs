//! What the workers that people call have in common: `device-api` and `ota`.
//!
//! - [`operator`]: who is asking, from the token that Cloudflare Access issued;
//! - [`if_match`]: which version a change was made from;
//! - [`keys`]: whether a token was signed by whom it names;
//! - [`audit`]: no admin access without a trace;
//! - [`if_match`]: which version a change was made from;
//! - [`query`]: query parameters, with every fault named.
//!
//! All of it is plain Rust over ports, as handlers are. It must never know a route, nor the Workers runtime.

pub mod audit;
pub mod if_match;
pub mod keys;
pub mod operator;
pub mod query;
