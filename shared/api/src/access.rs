//! May this person do that with this device?

use rs1_domain::{DeviceId, Problem, Role, Verb};
use rs1_store::access::{RoleRow, Sight};

/// The device that a path names.
///
/// # Errors
/// 404: what is no device id is no device either.
pub fn device_id(text: &str) -> Result<DeviceId, Problem> {
    DeviceId::parse(text).ok_or_else(unknown_device)
}

/// The role, if it allows `verb`.
///
/// # Errors
/// 404 for somebody without a role: they may not even know whether there is such a device. 403 for somebody whose role is too small.
pub fn require(role: Option<RoleRow>, verb: Verb) -> Result<Role, Problem> {
    let RoleRow { role } = role.ok_or_else(unknown_device)?;
    if role.may(verb) {
        return Ok(role);
    }
    let what = match verb {
        Verb::View => "see the device",
        Verb::Edit => "change the device",
        Verb::Share => "say who may use the device",
        Verb::Delete => "give the device up or reset it",
        Verb::Own => "have all of its data, or have it deleted",
    };
    Err(Problem::forbidden(format!("the role {role} may not {what}")))
}

/// The [`Sight`] of somebody who may see a device and what it says.
///
/// # Errors
/// As [`require`].
pub fn may_view(sight: Option<Sight>) -> Result<Sight, Problem> {
    let sight = sight.ok_or_else(unknown_device)?;
    require(Some(RoleRow { role: sight.role }), Verb::View)?;
    Ok(sight)
}

/// 404 for a device that is not there, or not there for this person.
pub fn unknown_device() -> Problem {
    Problem::not_found("you have no such device")
}
