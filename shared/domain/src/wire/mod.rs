//! What devices and the broker send, read and checked.
//!
//! - [`envelope`]: the body of an EMQX rule webhook, with a device's payload inside;
//! - [`admission`]: what EMQX asks when a client connects, publishes or subscribes, and our answers;
//! - [`event`]: EMQX's own events (a client disconnected);
//! - [`ota`]: the trigger of an update, and what a device reports of it;
//! - [`state`], [`telemetry`], [`config_status`], [`diagnostics`], [`provision`]: the payloads of the contract, section 3.
//!
//! Readers name every fault at once ([`Faults`](crate::Faults)) and ignore fields they do not know:
//! devices of tomorrow may send more.

pub mod admission;
pub mod config_status;
pub mod diagnostics;
pub mod envelope;
pub mod event;
pub mod fields;
pub mod ota;
pub mod provision;
pub mod state;
pub mod telemetry;

pub use config_status::ConfigStatus;
pub use diagnostics::DiagnosticsReport;
pub use envelope::Envelope;
pub use ota::{OtaPhase, OtaStatus, OtaTrigger};
pub use state::State;
pub use telemetry::Telemetry;
