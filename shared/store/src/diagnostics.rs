//! Diagnostics that operators asked devices for. The answers themselves are in R2.

use rs1_domain::port::Statement;
use rs1_domain::time::{SECOND, as_millis, as_optional_millis};
use rs1_domain::{DeviceId, RecordId, UnixMillis};
use serde::Deserialize;

/// A device is asked once in this time, in milliseconds (contract, section 2).
pub const EVERY: i64 = 10 * SECOND;

/// Notes a request, unless the device was asked a moment ago: one change, or none.
pub fn request(id: &RecordId, device: &DeviceId, include: &str, by: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "diagnostics_request",
        sql: "/* diagnostics_request */
            INSERT INTO diagnostics (request_id, device_id, requested_at, requested_by, include)
            SELECT ?1, device_id, ?3, ?4, ?5 FROM devices
            WHERE device_id = ?2 AND NOT EXISTS (
              SELECT 1 FROM diagnostics WHERE device_id = ?2 AND requested_at > CAST(?3 AS INTEGER) - CAST(?6 AS INTEGER))",
        params: vec![
            id.as_str().into(),
            device.as_str().into(),
            now.into(),
            by.into(),
            include.into(),
            EVERY.into(),
        ],
    }
}

/// What became of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct DiagnosticsRow {
    /// `dia-…`.
    pub request_id: String,
    /// Who was asked.
    pub device_id: DeviceId,
    /// When.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub requested_at: UnixMillis,
    /// By whom.
    pub requested_by: String,
    /// The sections, a JSON array.
    pub include: String,
    /// When the answer came.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub answered_at: Option<UnixMillis>,
}

/// A [`DiagnosticsRow`], if that device was asked that.
pub fn of_device(device: &DeviceId, request_id: &str) -> Statement {
    Statement {
        name: "diagnostics_of_device",
        sql: "/* diagnostics_of_device */
            SELECT request_id, device_id, requested_at, requested_by, include, answered_at FROM diagnostics
            WHERE request_id = ?2 AND device_id = ?1",
        params: vec![device.as_str().into(), request_id.into()],
    }
}

/// Notes that the answer is in R2; the first stays.
pub fn answered(device: &DeviceId, request_id: &str, size: i64, at: UnixMillis) -> Statement {
    Statement {
        name: "diagnostics_answered",
        sql: "/* diagnostics_answered */
            UPDATE diagnostics SET answered_at = ?3, size = ?4
            WHERE request_id = ?2 AND device_id = ?1 AND answered_at IS NULL",
        params: vec![device.as_str().into(), request_id.into(), at.into(), size.into()],
    }
}

/// Deletes requests older than that id, at most `limit`.
pub fn prune(before: &RecordId, limit: u32) -> Statement {
    Statement {
        name: "diagnostics_prune",
        sql: "/* diagnostics_prune */
            DELETE FROM diagnostics WHERE request_id IN (
              SELECT request_id FROM diagnostics WHERE request_id < ?1 ORDER BY request_id LIMIT ?2)",
        params: vec![before.as_str().into(), limit.into()],
    }
}
