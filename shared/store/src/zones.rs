//! Zone configurations: the present one of each device, its last ten versions, and how far the device is with it.
//!
//! Versions and history are kept by triggers of the schema, so that [`write`] is one statement. What is due to be
//! sent stands in `send_at`; triggers clear it while a device is away and set it when it comes, so that what is due
//! is found without a look at the registry.

use rs1_domain::json;
use rs1_domain::port::Statement;
use rs1_domain::time::{HOUR, MINUTE, as_millis, as_optional_millis};
use rs1_domain::wire::ConfigStatus;
use rs1_domain::wire::config_status::ConfigOutcome;
use rs1_domain::{DeviceId, Sku, UnixMillis, UserId};
use serde::{Deserialize, Serialize};

use crate::sql::flag;

/// How long after it was sent a version is sent again to a device that says nothing; doubled each time.
pub const FIRST_RESEND: i64 = MINUTE;
/// The same for a device that refused it.
pub const FIRST_RESEND_REFUSED: i64 = HOUR;
/// The longest time in between.
pub const LAST_RESEND: i64 = 24 * HOUR;

/// What is wanted of a device and what is known of it. `version` 0: nothing was ever wanted.
#[derive(Clone, Debug, Deserialize)]
pub struct Current {
    /// Its variant, if known.
    pub product_sku: Option<Sku>,
    /// Whether it is here, as far as is known.
    #[serde(deserialize_with = "flag")]
    pub online: bool,
    /// The version that is wanted.
    pub version: i64,
    /// When that was made.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub updated_at: Option<UnixMillis>,
    /// By whom.
    pub updated_by: Option<String>,
    /// Its zones, a JSON array.
    pub zones: String,
    /// The version that the device has, as far as is known.
    pub applied_version: i64,
    /// When it said so; null if it never did.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub applied_at: Option<UnixMillis>,
    /// The newest version that it reported on; 0 if it never did.
    pub report_version: i64,
    /// Its last word about that one.
    pub report_outcome: Option<ConfigOutcome>,
    /// Why it refused it.
    pub report_error: Option<String>,
    /// When that was.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub report_at: Option<UnixMillis>,
}

/// The [`Current`] of a device; no row for a device that is not enrolled.
pub fn current(device: &DeviceId) -> Statement {
    Statement {
        name: "zones_current",
        sql: "/* zones_current */
            SELECT d.product_sku, d.online, coalesce(z.version, 0) AS version, z.updated_at, z.updated_by,
              coalesce(z.zones, '[]') AS zones,
              coalesce(d.config_version, 0) AS applied_version, nullif(d.config_at, 0) AS applied_at,
              coalesce(z.report_version, 0) AS report_version, z.report_outcome, z.report_error,
              nullif(z.report_at, 0) AS report_at
            FROM devices d LEFT JOIN zone_configurations z ON z.device_id = d.device_id
            WHERE d.device_id = ?1",
        params: vec![device.as_str().into()],
    }
}

/// Makes `zones` (a JSON array) what is wanted of a device, if what is wanted until now is `expected` and the user may
/// change the device. One row of [`Written`] if so, none if not.
///
/// The new version is the next one; where the device says that it has a later one (the database was restored from
/// a backup), the one after that: a device takes only what is newer than what it has. A version that no number of
/// edits can reach is a device's error, and nothing to follow.
pub fn write(device: &DeviceId, expected: i64, zones: &str, by: &UserId, now: UnixMillis) -> Statement {
    Statement {
        name: "zones_write",
        sql: "/* zones_write */
            INSERT INTO zone_configurations (device_id, version, updated_at, updated_by, zones, send_at)
            SELECT d.device_id,
              max(coalesce(z.version, 0), CASE WHEN d.config_version < 1073741824 THEN d.config_version ELSE 0 END) + 1,
              ?4, ?5, ?3, CASE WHEN d.online THEN ?6 END
            FROM devices d LEFT JOIN zone_configurations z ON z.device_id = d.device_id
            WHERE d.device_id = ?1 AND coalesce(z.version, 0) = ?2 AND EXISTS
              (SELECT 1 FROM device_access WHERE device_id = ?1 AND user_id = ?5 AND role IN ('owner', 'admin'))
            ON CONFLICT (device_id) DO UPDATE SET
              version = excluded.version, updated_at = excluded.updated_at, updated_by = excluded.updated_by,
              zones = excluded.zones, attempts = 0, send_at = excluded.send_at
            RETURNING version",
        params: vec![
            device.as_str().into(),
            expected.into(),
            zones.into(),
            now.into(),
            by.as_str().into(),
            now.plus(FIRST_RESEND).into(),
        ],
    }
}

/// What [`write`] made.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Written {
    /// The new version.
    pub version: i64,
}

/// Takes the zones of a device away that nobody owns any more: what is wanted of it is no zones, and what was
/// drawn before is forgotten. Two statements for the transaction in which its owner gives it up.
pub fn forget(device: &DeviceId, now: UnixMillis) -> [Statement; 2] {
    [
        Statement {
            name: "zones_clear",
            sql: "/* zones_clear */
                UPDATE zone_configurations SET
                  version = 1 + max(version, (SELECT CASE WHEN config_version < 1073741824 THEN config_version ELSE 0 END
                    FROM devices WHERE device_id = ?1)),
                  updated_at = ?2, updated_by = 'system', zones = '[]', attempts = 0,
                  send_at = CASE WHEN (SELECT online FROM devices WHERE device_id = ?1) THEN CAST(?2 AS INTEGER) END
                WHERE device_id = ?1
                  AND NOT EXISTS (SELECT 1 FROM device_access WHERE device_id = ?1 AND role = 'owner')",
            params: vec![device.as_str().into(), now.into()],
        },
        Statement {
            name: "zones_forget",
            sql: "/* zones_forget */
                DELETE FROM zone_versions
                WHERE device_id = ?1 AND version < (SELECT version FROM zone_configurations WHERE device_id = ?1)
                  AND NOT EXISTS (SELECT 1 FROM device_access WHERE device_id = ?1 AND role = 'owner')",
            params: vec![device.as_str().into()],
        },
    ]
}

/// One version in a device's history.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ZoneVersionSummary"))]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionRow {
    /// The version.
    pub version: i64,
    /// When it was made.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub updated_at: UnixMillis,
    /// By whom: a user id, or `system`.
    pub updated_by: String,
    /// How many zones it has.
    pub zone_count: i64,
}

/// The [`VersionRow`]s that are kept of a device, newest first: at most ten.
pub fn history(device: &DeviceId) -> Statement {
    Statement {
        name: "zones_history",
        sql: "/* zones_history */
            SELECT version, updated_at, updated_by, json_array_length(zones) AS zone_count FROM zone_versions
            WHERE device_id = ?1 ORDER BY version DESC",
        params: vec![device.as_str().into()],
    }
}

/// A version with its content.
#[derive(Clone, Debug, Deserialize)]
pub struct Version {
    /// The version.
    pub version: i64,
    /// When it was made.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub updated_at: UnixMillis,
    /// By whom: a user id, or `system`.
    pub updated_by: String,
    /// Its zones, a JSON array.
    pub zones: String,
}

/// One [`Version`] of a device; no row for one that is not kept any more, or never was.
pub fn version(device: &DeviceId, version: i64) -> Statement {
    Statement {
        name: "zones_version",
        sql: "/* zones_version */
            SELECT version, updated_at, updated_by, zones FROM zone_versions WHERE device_id = ?1 AND version = ?2",
        params: vec![device.as_str().into(), version.into()],
    }
}

/// What is to be sent to a device.
#[derive(Clone, Debug, Deserialize)]
pub struct Due {
    /// The device.
    pub device_id: DeviceId,
    /// The version.
    pub version: i64,
    /// When it was made.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub updated_at: UnixMillis,
    /// Its zones, a JSON array.
    pub zones: String,
}

/// Takes what is [`Due`] at `now`, longest due first and at most `limit`, and sets when each is due again. Whoever
/// takes it sends it; what cannot be sent is [put back](put_back).
pub fn take_due(now: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "zones_take_due",
        sql: "/* zones_take_due */
            UPDATE zone_configurations SET
              attempts = attempts + 1,
              send_at = CAST(?1 AS INTEGER) + min(CAST(?5 AS INTEGER),
                CASE WHEN report_outcome = 'rejected' AND report_version = version
                  THEN CAST(?4 AS INTEGER) ELSE CAST(?3 AS INTEGER) END << min(attempts, 12))
            WHERE device_id IN (
              SELECT device_id FROM zone_configurations WHERE send_at <= ?1 ORDER BY send_at LIMIT ?2)
            RETURNING device_id, version, updated_at, zones",
        params: vec![
            now.into(),
            limit.into(),
            FIRST_RESEND.into(),
            FIRST_RESEND_REFUSED.into(),
            LAST_RESEND.into(),
        ],
    }
}

/// As [`take_due`], for one device that has just said that it is here.
pub fn take(device: &DeviceId, now: UnixMillis) -> Statement {
    Statement {
        name: "zones_take",
        sql: "/* zones_take */
            UPDATE zone_configurations SET
              attempts = attempts + 1,
              send_at = CAST(?2 AS INTEGER) + min(CAST(?5 AS INTEGER),
                CASE WHEN report_outcome = 'rejected' AND report_version = version
                  THEN CAST(?4 AS INTEGER) ELSE CAST(?3 AS INTEGER) END << min(attempts, 12))
            WHERE device_id = ?1 AND send_at <= ?2
            RETURNING device_id, version, updated_at, zones",
        params: vec![
            device.as_str().into(),
            now.into(),
            FIRST_RESEND.into(),
            FIRST_RESEND_REFUSED.into(),
            LAST_RESEND.into(),
        ],
    }
}

/// Makes what was taken for these devices due at `at`, as if it had not been taken: the broker could not be asked.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn put_back(devices: &[&DeviceId], at: UnixMillis) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "zones_put_back",
        sql: "/* zones_put_back */
            UPDATE zone_configurations SET attempts = max(attempts - 1, 0), send_at = ?2
            WHERE device_id IN (SELECT value FROM json_each(?1)) AND send_at IS NOT NULL",
        params: vec![json::write(devices)?.into(), at.into()],
    })
}

/// Takes in a device's report, received at `at`, unless it said something newer about that version or anything
/// about a later one.
pub fn report(device: &DeviceId, status: &ConfigStatus, at: UnixMillis) -> Statement {
    Statement {
        name: "zones_report",
        sql: "/* zones_report */
            UPDATE zone_configurations SET
              report_version = ?2, report_outcome = ?3, report_error = ?4, report_at = ?5,
              send_at = CASE WHEN ?3 = 'rejected' AND version = ?2 AND send_at IS NOT NULL
                THEN max(send_at, CAST(?5 AS INTEGER) + CAST(?6 AS INTEGER)) ELSE send_at END
            WHERE device_id = ?1
              AND (report_version < ?2 OR (report_version = ?2 AND report_at <= ?5))",
        params: vec![
            device.as_str().into(),
            status.version.into(),
            status.outcome.as_str().into(),
            status.error.as_deref().filter(|_| status.outcome == ConfigOutcome::Rejected).into(),
            at.into(),
            FIRST_RESEND_REFUSED.into(),
        ],
    }
}

/// Takes in that a device has a version, said at `at`, unless it said something newer about that, here or in its
/// state. What is due follows by trigger.
pub fn applied(device: &DeviceId, version: i64, at: UnixMillis) -> Statement {
    Statement {
        name: "zones_applied",
        sql: "/* zones_applied */
            UPDATE devices SET config_version = ?2, config_at = ?3 WHERE device_id = ?1 AND config_at <= ?3",
        params: vec![device.as_str().into(), version.into(), at.into()],
    }
}
