//! How far a device is with its configuration, out of what it said about it.
//!
//! Three things are known of a device: the version it is wanted to have (*desired*), the version it
//! said last that it has (*applied*), and its last word about the newest version that it said
//! anything about (*report*). Everything else follows.

use rs1_domain::wire::config_status::ConfigOutcome;
use serde::Serialize;

/// What a device made of the desired version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Nothing was ever desired.
    None,
    /// It was sent, or is to be, and the device has not said yes or no.
    Pending,
    /// The device has it.
    Applied,
    /// The device will not have it.
    Rejected,
}

impl Standing {
    /// The standing of `desired` at a device that has `applied` and whose last word was `report`, of
    /// that version.
    ///
    /// What a device *has* counts for more than what it said: a device that rejected a version and has
    /// it nonetheless (its user reset it, or a later firmware took it) has it.
    pub fn of(desired: i64, applied: i64, report: Option<(i64, ConfigOutcome)>) -> Self {
        if desired == 0 {
            return Self::None;
        }
        if applied == desired {
            return Self::Applied;
        }
        match report {
            Some((version, ConfigOutcome::Rejected)) if version == desired => Self::Rejected,
            _ => Self::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_follows_from_what_is_known() {
        use ConfigOutcome::{Applied, Pending, Rejected};
        for (desired, applied, report, expected) in [
            (0, 0, None, Standing::None),
            (0, 7, None, Standing::None),
            (1, 0, None, Standing::Pending),
            (2, 1, Some((1, Applied)), Standing::Pending),
            (2, 2, Some((2, Applied)), Standing::Applied),
            (2, 2, None, Standing::Applied),
            (2, 1, Some((2, Rejected)), Standing::Rejected),
            (3, 1, Some((2, Rejected)), Standing::Pending),
            (2, 1, Some((2, Pending)), Standing::Pending),
            (2, 2, Some((2, Rejected)), Standing::Applied),
            // The device was reset after it had applied.
            (2, 0, Some((2, Applied)), Standing::Pending),
            // The cloud was restored from a backup: the device is ahead.
            (2, 5, Some((5, Applied)), Standing::Pending),
        ] {
            assert_eq!(Standing::of(desired, applied, report), expected, "{desired} {applied} {report:?}");
        }
    }
}
