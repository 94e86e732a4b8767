//! Who may do what with which device.
//!
//! [`role_of`] is the question that every route about one device asks before anything else; a person without a
//! role is answered as if there were no such device.

use rs1_domain::port::Statement;
use rs1_domain::time::as_optional_millis;
use rs1_domain::{DeviceId, MacAddress, Role, Sku, UnixMillis, UserId};
use serde::{Deserialize, Serialize};

use crate::sql::{flag, optional_flag};

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

/// A device as the people see it who have a role with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MyDevice {
    /// The device.
    pub device_id: DeviceId,
    /// Its MAC address, which is printed on it.
    pub mac_address: MacAddress,
    /// Its variant, if known.
    pub product_sku: Option<Sku>,
    /// What it is called.
    pub name: Option<String>,
    /// Where it is.
    pub room: Option<String>,
    /// Counts changes of name and room: the `ETag`.
    pub version: i64,
    /// The asking person's role.
    pub role: Role,
    /// Whether it is connected, as far as is known.
    #[serde(deserialize_with = "flag")]
    pub online: bool,
    /// Why it is offline; null while it is online.
    pub offline_reason: Option<String>,
    /// The latest sign of life.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub last_seen_at: Option<UnixMillis>,
    /// The latest telemetry message.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub last_telemetry_at: Option<UnixMillis>,
    /// When it last reported the fields below.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub state_at: Option<UnixMillis>,
    /// The version that runs.
    pub firmware_version: Option<String>,
    /// Seconds since boot, at `state_at`.
    pub uptime_sec: Option<i64>,
    /// Signal strength in dBm, at `state_at`.
    pub wifi_rssi: Option<i64>,
    /// The zone configuration it applied.
    pub config_version: Option<i64>,
    /// Zones in it.
    pub zone_count: Option<i64>,
    /// Whether its radar answered, at `state_at`.
    #[serde(deserialize_with = "optional_flag")]
    pub radar_connected: Option<bool>,
}

/// Every [`MyDevice`] of a user after a device id, in the order of ids: 50 at most, by the limit that the database keeps.
pub fn my_devices(user: &UserId, after: Option<&str>) -> Statement {
    Statement {
        name: "my_devices",
        sql: "/* my_devices */
            SELECT d.device_id, d.mac_address, d.product_sku, d.name, d.room, d.profile_version AS version, a.role,
              d.online, d.offline_reason, d.last_seen_at, d.last_telemetry_at, nullif(d.state_at, 0) AS state_at,
              d.firmware_version, d.uptime_sec, d.wifi_rssi, d.config_version, d.zone_count, d.radar_connected
            FROM device_access AS a CROSS JOIN devices AS d ON d.device_id = a.device_id
            WHERE a.user_id = ?1 AND a.device_id > ?2 ORDER BY a.device_id",
        params: vec![user.as_str().into(), after.unwrap_or_default().into()],
    }
}

/// One [`MyDevice`]; no row for somebody without a role.
pub fn my_device(user: &UserId, device: &DeviceId) -> Statement {
    Statement {
        name: "my_device",
        sql: "/* my_device */
            SELECT d.device_id, d.mac_address, d.product_sku, d.name, d.room, d.profile_version AS version, a.role,
              d.online, d.offline_reason, d.last_seen_at, d.last_telemetry_at, nullif(d.state_at, 0) AS state_at,
              d.firmware_version, d.uptime_sec, d.wifi_rssi, d.config_version, d.zone_count, d.radar_connected
            FROM device_access AS a CROSS JOIN devices AS d ON d.device_id = a.device_id
            WHERE a.device_id = ?2 AND a.user_id = ?1",
        params: vec![user.as_str().into(), device.as_str().into()],
    }
}
