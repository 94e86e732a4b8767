//! Who may do what: device credentials, topic access, the webhook secret, operators' and users' tokens.
//!
//! - [`secret`]: values that must not be logged, and rings of them that rotate without downtime;
//! - [`credential`]: sealing a device's key at rest, and checking its hourly MQTT password;
//! - [`acl`]: which topics a device may publish and subscribe to;
//! - [`firmware`]: who signed an image;
//! - [`signed_url`]: the links under which devices download firmware;
//! - [`jwt`]: reading tokens that others issue, and when to fetch the keys that verify them; [`operator`] and [`oidc`]
//!   judge what operators' and users' say;
//! - [`access_token`], [`refresh_token`]: what users get from us for theirs; [`export_link`]: how they get at their export;
//! - [`webhook`]: the signatures of the webhooks that we send.
//!
//! Everything here is a pure function of its arguments: `now` and randomness are passed in, nothing
//! is fetched, nothing is stored. It must never know of HTTP, SQL or the Workers runtime.
//! Start reading at [`credential`].

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::string_slice,
        reason = "a test that overflows or slices wrongly fails, which is what it should do"
    )
)]

pub mod access_token;
pub mod acl;
pub mod credential;
pub mod export_link;
pub mod firmware;
pub mod jwt;
pub mod oidc;
pub mod operator;
pub mod refresh_token;
pub mod secret;
pub mod signed_url;
pub mod webhook;

pub use credential::{DeviceKey, Vault};
pub use secret::{KeyRing, Presented, Secret};
