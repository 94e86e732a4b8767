//! What a simulated RS-1 is: who it is ([`identity`]), what it measures and says ([`hardware`]), and
//! how it answers the cloud ([`answers`], [`zones`]). Nothing here does I/O or reads a clock.

pub mod answers;
pub mod hardware;
pub mod identity;
pub mod zones;

pub use hardware::Hardware;
pub use identity::Identity;

/// What a message is, for the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The retained state.
    State,
    /// Telemetry, at most once.
    Telemetry,
    /// An answer to something the cloud asked.
    Answer,
    /// How an update goes.
    OtaStatus,
}

/// Something the device publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The topic below `opticworks/{device_id}/`.
    pub topic: &'static str,
    /// `QoS` 1 when true, else `QoS` 0.
    pub acknowledged: bool,
    /// Whether the broker keeps it for later subscribers.
    pub retained: bool,
    /// The JSON.
    pub payload: Vec<u8>,
}
