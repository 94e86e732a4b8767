//! Rollouts, the devices in them, and what was decided.
//!
//! Two guards keep everything done once, however many executors run at a time:
//!
//! - a **decision** about a rollout names the `generation` that it was made on, and makes the next one. What belongs
//!   to the decision (its triggers, its events) is in the same batch and asks for the decision's id, so a decision
//!   that came too late writes nothing at all;
//! - a **write** of a device's attempt names the `revision` that it read, in the same way.
//!
//! That a device has one open attempt across all rollouts is kept by a partial unique index.

use rs1_domain::port::Statement;
use rs1_domain::{DeviceId, RecordId, Sku, UnixMillis};
use serde::Deserialize;

/// How a device stands to a rollout, for who wants to download.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Membership {
    /// The rollout's variant.
    pub sku: Sku,
    /// The version that it brings.
    pub version: String,
    /// The rollout's status on the wire: `STAGED`.
    pub status: String,
    /// The device's state in it: `downloading`.
    pub state: String,
    /// The attempt that is under way, or was the last.
    pub attempt: i64,
}

/// The [`Membership`] of a device; no row if it never was triggered in that rollout.
pub fn membership(rollout: &str, device: &DeviceId) -> Statement {
    Statement {
        name: "rollout_membership",
        sql: "/* rollout_membership */
            SELECT rollouts.sku, rollouts.version, rollouts.status, rollout_devices.state, rollout_devices.attempt
            FROM rollout_devices JOIN rollouts USING (rollout_id)
            WHERE rollout_devices.rollout_id = ?1 AND rollout_devices.device_id = ?2",
        params: vec![rollout.into(), device.as_str().into()],
    }
}

/// Pauses the rollouts of an artifact that are under way, since it was yanked. For the batch that yanks it; `decision`
/// is any fresh id.
pub fn pause_for_artifact(
    sku: Sku,
    version: &str,
    actor: &str,
    decision: &RecordId,
    at: UnixMillis,
) -> [Statement; 2] {
    [
        Statement {
            name: "rollout_pause_for_artifact",
            sql: "/* rollout_pause_for_artifact */
                UPDATE rollouts SET status = 'PAUSED', cause = 'artifact_yanked', paused_at = ?4,
                  generation = generation + 1, decided_by = ?3
                WHERE sku = ?1 AND version = ?2 AND status = 'STAGED'",
            params: vec![sku.as_str().into(), version.into(), decision.as_str().into(), at.into()],
        },
        Statement {
            name: "rollout_paused_for_artifact",
            sql: "/* rollout_paused_for_artifact */
                INSERT INTO rollout_events (rollout_id, at, kind, actor, detail)
                SELECT rollout_id, ?4, 'paused', ?5, json_object('cause', 'artifact_yanked')
                FROM rollouts WHERE sku = ?1 AND version = ?2 AND decided_by = ?3",
            params: vec![
                sku.as_str().into(),
                version.into(),
                decision.as_str().into(),
                at.into(),
                actor.into(),
            ],
        },
    ]
}

/// Pauses the rollouts under way of whatever a key signed, since it was revoked. For the batch that revokes it;
/// `decision` is any fresh id.
pub fn pause_for_key(key_id: &str, actor: &str, decision: &RecordId, at: UnixMillis) -> [Statement; 2] {
    [
        Statement {
            name: "rollout_pause_for_key",
            sql: "/* rollout_pause_for_key */
                UPDATE rollouts SET status = 'PAUSED', cause = 'key_revoked', paused_at = ?3,
                  generation = generation + 1, decided_by = ?2
                WHERE status = 'STAGED'
                  AND (sku, version) IN (SELECT sku, version FROM firmware_artifacts WHERE key_id = ?1)",
            params: vec![key_id.into(), decision.as_str().into(), at.into()],
        },
        Statement {
            name: "rollout_paused_for_key",
            sql: "/* rollout_paused_for_key */
                INSERT INTO rollout_events (rollout_id, at, kind, actor, detail)
                SELECT rollout_id, ?3, 'paused', ?4, json_object('cause', 'key_revoked')
                FROM rollouts
                WHERE (sku, version) IN (SELECT sku, version FROM firmware_artifacts WHERE key_id = ?1)
                  AND decided_by = ?2",
            params: vec![key_id.into(), decision.as_str().into(), at.into(), actor.into()],
        },
    ]
}
