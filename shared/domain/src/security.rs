//! What the security log is told.
//!
//! These travel over a queue from the routes that notice something to the consumer that writes it
//! down, so that noticing needs no database and a flood of refusals costs one statement a batch.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::as_millis;
use crate::{RequestId, UnixMillis};

/// How much a security event matters.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody tried something that is not allowed.
    Warning,
    /// It looks like an attack.
    High,
}

/// Something that happened, for the security log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecurityEvent {
    /// `sec-…`.
    pub id: String,
    /// `acl_violation`, `admin_api_access`, ….
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// Whom it is about.
    pub subject: String,
    /// The IP address it came from.
    pub peerhost: Option<String>,
    /// Anything more; kept of a window's first occurrence.
    pub detail: Value,
    /// When.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
}

/// A failed MQTT authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthFailure {
    /// The IP address it came from.
    pub peerhost: String,
    /// When, and which: Unix ms × 1000 plus three digits out of the request id. Two failures of one
    /// millisecond stay two; one failure that is delivered twice stays one.
    pub mark: i64,
}

impl AuthFailure {
    /// The failure of a request.
    pub fn new(peerhost: &str, at: UnixMillis, request_id: &RequestId) -> Self {
        let digest = request_id
            .as_str()
            .bytes()
            .fold(0_i64, |digest, byte| digest.wrapping_mul(31).wrapping_add(i64::from(byte)) & 0xffff_ffff);
        Self {
            peerhost: peerhost.to_owned(),
            mark: at.0.saturating_mul(1_000).saturating_add(digest % 1_000),
        }
    }
}
