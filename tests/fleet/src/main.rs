//! Simulated RS-1 devices for the local stack, for tests and for load: a program, `rs1-fleet`.
//!
//! - [`device`]: who a device is, what it measures, how it answers; pure;
//! - [`schedule`], [`faults`]: when it talks and what goes wrong; pure, dice and times are arguments;
//! - [`link`]: one MQTT connection; [`life`]: a device's life over its connections;
//! - [`ota`]: its updates, and all that can go wrong with them;
//! - [`enrol`], [`http`]: making devices known to the cloud;
//! - [`fleet`], [`single`]: the commands; [`tally`], [`roster`], [`report`]: what they count and show.
//!
//! Start reading at [`life`].

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::string_slice,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::float_cmp,
        reason = "a test that overflows or slices wrongly fails, which is what it should do"
    )
)]

mod cli;
mod clock;
mod device;
mod enrol;
mod faults;
mod fleet;
mod http;
mod interrupt;
mod life;
mod link;
mod ota;
mod report;
mod roster;
mod schedule;
mod single;
mod tally;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(options) => fleet::run(options).await,
        Command::Device(options) => single::run(options).await,
        Command::Enrol(options) => fleet::enrol(options).await,
        Command::List(options) => fleet::list(&options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("rs1-fleet: {error:#}");
        ExitCode::FAILURE
    })
}
