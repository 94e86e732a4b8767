//! The S3 API as EMQX calls it (`emqx_s3_client` over `erlcloud_s3`): path-style addresses, requests signed with version 4, one
//! attempt each.

mod client;
mod sign;
mod xml;

pub use client::{Client, Error, Part};
pub use sign::Credentials;
