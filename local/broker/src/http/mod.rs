//! HTTP as EMQX speaks it to a backend: one request at a time on each of a fixed number of
//! HTTP/1.1 connections (`ehttpc` over `gun`), without redirects, cookies or compression.

mod origin;
mod pool;

pub use origin::{Origins, Target, Url};
pub use pool::{Answer, Failure, Outgoing, Pool, Slot};
