//! Who may do what with which device.
//!
//! [`role_of`] is the question that every route about one device asks before anything else; a person without a
//! role is answered as if there were no such device.

use rs1_domain::port::Statement;
use rs1_domain::{DeviceId, Role, UserId};
use serde::Deserialize;

/// A person's role, alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RoleRow {
    /// The role.
    pub role: Role,
}

/// The [`RoleRow`] of a user with a device; no row for somebody without a role, and for a device that there is not.
pub fn role_of(user: &UserId, device: &DeviceId) -> Statement {
    Statement {
        name: "role_of",
        sql: "/* role_of */ SELECT role FROM device_access WHERE device_id = ?1 AND user_id = ?2",
        params: vec![device.as_str().into(), user.as_str().into()],
    }
}
