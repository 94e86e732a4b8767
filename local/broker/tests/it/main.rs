//! The broker as its neighbours see it: real MQTT clients in front, a real HTTP backend behind, and
//! the production configuration between.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test fails it by panicking, as the test itself does"
)]

mod backend;
mod collecting;
mod connecting;
mod delivering;
mod device;
mod managing;
mod permissions;
mod process;
mod renewing;
mod stack;
mod store;
mod wills;
