//! The whole fleet in numbers: the only statements that read a whole table. Their answers are kept for a minute, so that the database
//! sees them once a minute at most, whoever looks.

use rs1_domain::UnixMillis;
use rs1_domain::port::Statement;
use serde::{Deserialize, Serialize};

/// The devices of one variant and version.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionCounts {
    /// The variant; null while it is not known.
    pub product_sku: Option<String>,
    /// The version; null while it is not known.
    pub firmware_version: Option<String>,
    /// Devices.
    pub devices: i64,
    /// Those that are connected.
    pub online: i64,
    /// Those that were heard of lately.
    pub active_24h: i64,
    /// Those that have reported for duty.
    pub provisioned: i64,
    /// Those that somebody owns.
    pub owned: i64,
}

/// The [`VersionCounts`] of the fleet; active is what was heard of since `since`.
pub fn versions(since: UnixMillis) -> Statement {
    Statement {
        name: "fleet_versions",
        sql: "/* fleet_versions */
            SELECT product_sku, firmware_version, count(*) AS devices, sum(online) AS online,
              sum(coalesce(last_seen_at, 0) >= ?1) AS active_24h, sum(provisioned_at IS NOT NULL) AS provisioned,
              sum(EXISTS (SELECT 1 FROM device_access AS a WHERE a.device_id = devices.device_id AND a.role = 'owner')) AS owned
            FROM devices GROUP BY firmware_version, product_sku",
        params: vec![since.into()],
    }
}

/// The people in numbers.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeopleCounts {
    /// Who ever signed in.
    pub total: i64,
    /// Whose app was in use lately.
    pub active_24h: i64,
}

/// The [`PeopleCounts`]; active is who signed in or refreshed since `since`.
pub fn people(since: UnixMillis) -> Statement {
    Statement {
        name: "fleet_people",
        sql: "/* fleet_people */
            SELECT (SELECT count(*) FROM users) AS total,
              (SELECT count(DISTINCT user_id) FROM sessions WHERE refreshed_at >= ?1) AS active_24h",
        params: vec![since.into()],
    }
}
