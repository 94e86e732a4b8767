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

use rs1_domain::json;
use rs1_domain::json::Document;
use rs1_domain::port::Statement;
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_domain::{DeviceId, FirmwareVersion, RecordId, Sku, UnixMillis};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::sql::{PageRequest, flag};

/// A rollout to be created. Its artifact's columns come from the artifact.
#[derive(Clone, Debug)]
pub struct NewRollout<'a> {
    /// `rol-…`.
    pub id: &'a RecordId,
    /// For which variant.
    pub sku: Sku,
    /// The version that it brings.
    pub version: &'a FirmwareVersion,
    /// JSON of the stages.
    pub stages: &'a str,
    /// Below this many dBm a device puts the update off.
    pub min_rssi: i64,
    /// Whether a device may get a version that is not newer than its own.
    pub force: bool,
    /// Most triggers in any minute.
    pub rate_per_minute: u32,
    /// JSON of the selector.
    pub selector: &'a str,
    /// When it starts by itself.
    pub schedule_at: Option<UnixMillis>,
    /// Why it is.
    pub reason: Option<&'a str>,
    /// When it is created.
    pub at: UnixMillis,
    /// By whom.
    pub by: &'a str,
    /// Any fresh id: what belongs to the creation names it.
    pub decision: &'a RecordId,
    /// The key of the request, if it brought one: nothing is created if it was used before.
    pub idempotency_key: Option<&'a str>,
}

/// Creates a rollout, if its artifact exists and may be sent to devices; and notes it.
pub fn create(new: &NewRollout<'_>) -> [Statement; 2] {
    [
        Statement {
            name: "rollout_create",
            sql: "/* rollout_create */
                INSERT INTO rollouts (rollout_id, sku, version, sha256, elf_sha256, fw_version, stages, min_rssi, force,
                  rate_per_minute, selector, schedule_at, reason, created_at, created_by, status, decided_by)
                SELECT ?1, sku, version, sha256, elf_sha256, fw_version, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'PENDING', ?13
                FROM firmware_artifacts JOIN firmware_keys USING (key_id)
                WHERE sku = ?2 AND version = ?3 AND yanked_at IS NULL AND revoked_at IS NULL
                  AND NOT EXISTS (SELECT 1 FROM idempotency_keys WHERE actor = ?12 AND key = ?14)",
            params: vec![
                new.id.as_str().into(),
                new.sku.as_str().into(),
                new.version.as_str().into(),
                new.stages.into(),
                new.min_rssi.into(),
                new.force.into(),
                new.rate_per_minute.into(),
                new.selector.into(),
                new.schedule_at.into(),
                new.reason.into(),
                new.at.into(),
                new.by.into(),
                new.decision.as_str().into(),
                new.idempotency_key.into(),
            ],
        },
        Statement {
            name: "rollout_created",
            sql: "/* rollout_created */
                INSERT INTO rollout_events (rollout_id, at, kind, actor, detail)
                SELECT rollout_id, created_at, 'created', created_by,
                  CASE WHEN reason IS NULL THEN NULL ELSE json_object('reason', reason) END
                FROM rollouts WHERE rollout_id = ?1",
            params: vec![new.id.as_str().into()],
        },
    ]
}

/// A rollout as it is stored.
#[derive(Clone, Debug, Deserialize)]
pub struct RolloutRow {
    /// `rol-…`.
    pub rollout_id: String,
    /// For which variant.
    pub sku: Sku,
    /// The version that it brings.
    pub version: FirmwareVersion,
    /// SHA-256 of the artifact's file.
    pub sha256: String,
    /// SHA-256 of the artifact's build.
    pub elf_sha256: String,
    /// The artifact's anti-rollback counter.
    pub fw_version: u32,
    /// JSON of the stages.
    pub stages: String,
    /// Below this many dBm a device puts the update off.
    pub min_rssi: i64,
    /// Whether a device may get a version that is not newer than its own.
    #[serde(deserialize_with = "flag")]
    pub force: bool,
    /// Most triggers in any minute.
    pub rate_per_minute: u32,
    /// JSON of the selector.
    pub selector: String,
    /// When it starts by itself.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub schedule_at: Option<UnixMillis>,
    /// Why it is.
    pub reason: Option<String>,
    /// When it was created.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub created_at: UnixMillis,
    /// By whom.
    pub created_by: String,
    /// The status on the wire: `STAGED`.
    pub status: String,
    /// What brought it there.
    pub cause: Option<String>,
    /// Index into the stages.
    pub stage: u32,
    /// When that stage began.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub stage_started_at: Option<UnixMillis>,
    /// When it started.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub started_at: Option<UnixMillis>,
    /// Since when it is paused.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub paused_at: Option<UnixMillis>,
    /// When it was completed or aborted.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub finished_at: Option<UnixMillis>,
    /// Failures learnt by then are acknowledged by whoever resumed it.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub acknowledged_at: Option<UnixMillis>,
    /// Counts decisions.
    pub generation: i64,
    /// JSON of the planner's last report.
    pub report: Option<String>,
    /// When that was.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub planned_at: Option<UnixMillis>,
}

/// The [`RolloutRow`] of an id.
pub fn by_id(rollout: &str) -> Statement {
    Statement {
        name: "rollout_by_id",
        sql: "/* rollout_by_id */
            SELECT rollout_id, sku, version, sha256, elf_sha256, fw_version, stages, min_rssi, force, rate_per_minute,
              selector, schedule_at, reason, created_at, created_by, status, cause, stage, stage_started_at, started_at,
              paused_at, finished_at, acknowledged_at, generation, report, planned_at
            FROM rollouts WHERE rollout_id = ?1",
        params: vec![rollout.into()],
    }
}

/// A page of [`RolloutRow`]s, newest first.
pub fn list(page: &PageRequest) -> Statement {
    Statement {
        name: "rollout_list",
        sql: "/* rollout_list */
            SELECT rollout_id, sku, version, sha256, elf_sha256, fw_version, stages, min_rssi, force, rate_per_minute,
              selector, schedule_at, reason, created_at, created_by, status, cause, stage, stage_started_at, started_at,
              paused_at, finished_at, acknowledged_at, generation, report, planned_at
            FROM rollouts WHERE rollout_id < ?1 ORDER BY rollout_id DESC LIMIT ?2",
        // `~` sorts after every id.
        params: vec![page.after.as_deref().unwrap_or("~").into(), page.rows().into()],
    }
}

/// The ids of the rollouts that the planner is to look at: whatever may change without an operator. That is, too, what
/// is paused or aborted while devices are still at it: their time may run out.
pub fn due(now: UnixMillis) -> Statement {
    Statement {
        name: "rollouts_due",
        sql: "/* rollouts_due */
            SELECT rollout_id FROM rollouts
            WHERE settled = 0 AND sku IN ('rs1_lite', 'rs1_pro') AND (status <> 'PENDING' OR schedule_at <= ?1)",
        params: vec![now.into()],
    }
}

/// The ids of the rollouts of some devices' variants that are under way.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn under_way_for(devices: &[&DeviceId]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollouts_under_way_for",
        sql: "/* rollouts_under_way_for */
            SELECT DISTINCT rollouts.rollout_id FROM json_each(?1) AS wanted
            CROSS JOIN devices ON devices.device_id = wanted.value
            CROSS JOIN rollouts ON settled = 0 AND rollouts.sku = devices.product_sku AND rollouts.status = 'STAGED'",
        params: vec![json::write(devices)?.into()],
    })
}

/// One id, of a list of them.
#[derive(Clone, Debug, Deserialize)]
pub struct RolloutId {
    /// `rol-…`.
    pub rollout_id: String,
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

/// A decision about a rollout: what is to be true of it from the next generation on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Of which rollout.
    pub rollout_id: &'a str,
    /// The generation that it was made on.
    pub generation: i64,
    /// Any fresh id: what belongs to the decision names it.
    pub id: &'a RecordId,
    /// The status on the wire.
    pub status: &'a str,
    /// What brought it there.
    pub cause: Option<&'a str>,
    /// Index into the stages.
    pub stage: u32,
    /// When that stage began.
    pub stage_started_at: Option<UnixMillis>,
    /// When it started.
    pub started_at: Option<UnixMillis>,
    /// Since when it is paused.
    pub paused_at: Option<UnixMillis>,
    /// When it was completed or aborted.
    pub finished_at: Option<UnixMillis>,
    /// When it starts by itself.
    pub schedule_at: Option<UnixMillis>,
    /// Failures learnt by then are acknowledged by whoever resumed it.
    pub acknowledged_at: Option<UnixMillis>,
    /// JSON of what the planner has to say about it; `None` keeps what it said last.
    pub report: Option<&'a str>,
    /// When it is made.
    pub at: UnixMillis,
}

/// Commits a decision unless another was made since: one change or none.
pub fn decide(decision: &Decision<'_>) -> Statement {
    Statement {
        name: "rollout_decide",
        sql: "/* rollout_decide */
            UPDATE rollouts SET status = ?4, cause = ?5, stage = ?6, stage_started_at = ?7, started_at = ?8,
              paused_at = ?9, finished_at = ?10, acknowledged_at = ?11, schedule_at = ?12,
              report = coalesce(?13, report), planned_at = CASE WHEN ?13 IS NULL THEN planned_at ELSE ?14 END,
              generation = generation + 1, decided_by = ?3
            WHERE rollout_id = ?1 AND generation = ?2",
        params: vec![
            decision.rollout_id.into(),
            decision.generation.into(),
            decision.id.as_str().into(),
            decision.status.into(),
            decision.cause.into(),
            decision.stage.into(),
            decision.stage_started_at.into(),
            decision.started_at.into(),
            decision.paused_at.into(),
            decision.finished_at.into(),
            decision.acknowledged_at.into(),
            decision.schedule_at.into(),
            decision.report.into(),
            decision.at.into(),
        ],
    }
}

/// Something that was decided about a rollout as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecisionEvent<'a> {
    /// `started`, `halted`, …
    pub kind: &'a str,
    /// Who decided it; `None` for the engine.
    pub actor: Option<&'a str>,
    /// What else is to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
}

/// Notes what a decision came to. For the decision's own batch: if it was not committed, nothing is noted.
///
/// # Errors
/// When the events cannot be written as JSON, which these types always can.
pub fn decided(
    rollout: &str,
    decision: &RecordId,
    events: &[DecisionEvent<'_>],
    at: UnixMillis,
) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_decided",
        sql: "/* rollout_decided */
            INSERT INTO rollout_events (rollout_id, at, kind, actor, detail)
            SELECT ?1, ?4, event.value->>'kind', event.value->>'actor', event.value->'detail'
            FROM json_each(?3) AS event
            WHERE EXISTS (SELECT 1 FROM rollouts WHERE rollout_id = ?1 AND decided_by = ?2)",
        params: vec![rollout.into(), decision.as_str().into(), json::write(events)?.into(), at.into()],
    })
}

/// An answer to be remembered.
#[derive(Clone, Copy, Debug)]
pub struct Remember<'a> {
    /// Who asked.
    pub actor: &'a str,
    /// With which key.
    pub key: &'a str,
    /// For what: SHA-256 of what makes the request that request.
    pub fingerprint: &'a str,
    /// In which request.
    pub request_id: &'a str,
    /// The answer's status.
    pub status: u16,
    /// The answer's body.
    pub body: &'a str,
}

/// Remembers the answer to the request that a decision was made for, if it was committed. For the decision's own batch.
pub fn remember(rollout: &str, decision: &RecordId, answer: &Remember<'_>, at: UnixMillis) -> Statement {
    Statement {
        name: "rollout_remember",
        sql: "/* rollout_remember */
            INSERT INTO idempotency_keys (actor, key, fingerprint, request_id, status, body, created_at)
            SELECT ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM rollouts WHERE rollout_id = ?1 AND decided_by = ?2
            ON CONFLICT (actor, key) DO NOTHING",
        params: vec![
            rollout.into(),
            decision.as_str().into(),
            answer.actor.into(),
            answer.key.into(),
            answer.fingerprint.into(),
            answer.request_id.into(),
            u32::from(answer.status).into(),
            answer.body.into(),
            at.into(),
        ],
    }
}

/// Keeps what the planner last had to say, if it was said of this generation.
pub fn note_report(rollout: &str, generation: i64, report: &str, at: UnixMillis) -> Statement {
    Statement {
        name: "rollout_note_report",
        sql: "/* rollout_note_report */
            UPDATE rollouts SET report = ?3, planned_at = ?4 WHERE rollout_id = ?1 AND generation = ?2",
        params: vec![rollout.into(), generation.into(), report.into(), at.into()],
    }
}

/// Takes note that nothing of a finished rollout can change any more, once that is so.
pub fn settle(rollout: &str) -> Statement {
    Statement {
        name: "rollout_settle",
        sql: "/* rollout_settle */
            UPDATE rollouts SET settled = 1
            WHERE rollout_id = ?1 AND settled = 0 AND status IN ('COMPLETED', 'ABORTED')
              AND NOT EXISTS (SELECT 1 FROM rollout_devices WHERE rollout_id = ?1
                AND state IN ('triggered', 'deferred', 'downloading', 'verifying', 'installed'))",
        params: vec![rollout.into()],
    }
}

/// A device's attempt in a rollout; also the form in which it is written back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// In which rollout.
    pub rollout_id: String,
    /// The device.
    pub device_id: DeviceId,
    /// Its state on the wire: `downloading`.
    pub state: String,
    /// Counts triggers.
    pub attempt: u32,
    /// JSON of what the state machine knows of it.
    pub facts: String,
    /// When this attempt was decided.
    #[serde(with = "as_millis")]
    pub triggered_at: UnixMillis,
    /// When the broker took its trigger for a subscriber.
    #[serde(with = "as_optional_millis")]
    pub sent_at: Option<UnixMillis>,
    /// When what ended it was received.
    #[serde(with = "as_optional_millis")]
    pub closed_at: Option<UnixMillis>,
    /// When we learnt of that.
    #[serde(with = "as_optional_millis")]
    pub counted_at: Option<UnixMillis>,
    /// Counts writes, from 1: to be written, it must be one more than what is stored (0 if nothing is).
    pub revision: i64,
}

/// An [`AttemptRow`] with what its rollout brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutAttempt {
    /// The attempt.
    pub row: AttemptRow,
    /// The version that the rollout brings.
    pub version: FirmwareVersion,
    /// SHA-256 of its build.
    pub elf_sha256: String,
}

// By hand, because `flatten` brings another reader of everything (10 KB).
impl<'de> Deserialize<'de> for RolloutAttempt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Brought {
            version: FirmwareVersion,
            elf_sha256: String,
        }
        let columns = Document::deserialize(deserializer)?;
        let row = columns.read().map_err(D::Error::custom)?;
        let Brought { version, elf_sha256 } = columns.read().map_err(D::Error::custom)?;
        Ok(Self { row, version, elf_sha256 })
    }
}

/// The [`RolloutAttempt`]s of devices in certain rollouts.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn attempts(of: &[(&str, &DeviceId)]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_attempts",
        sql: "/* rollout_attempts */
            SELECT attempt.rollout_id, attempt.device_id, state, attempt, facts, triggered_at, sent_at, closed_at, counted_at, revision,
              rollouts.version, rollouts.elf_sha256
            FROM json_each(?1) AS wanted
            CROSS JOIN rollout_devices AS attempt
              ON attempt.rollout_id = wanted.value->>0 AND attempt.device_id = wanted.value->>1
            CROSS JOIN rollouts ON rollouts.rollout_id = attempt.rollout_id",
        params: vec![json::write(of)?.into()],
    })
}

/// The latest [`RolloutAttempt`] of each device, in whatever rollout: the open one, if it has one.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn latest_attempts(devices: &[&DeviceId]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_latest_attempts",
        sql: "/* rollout_latest_attempts */
            SELECT attempt.rollout_id, attempt.device_id, state, attempt, facts, triggered_at, sent_at, closed_at, counted_at,
              revision, rollouts.version, rollouts.elf_sha256
            FROM json_each(?1) AS wanted
            CROSS JOIN rollout_devices AS attempt ON attempt.device_id = wanted.value
              AND attempt.rollout_id = (SELECT rollout_id FROM rollout_devices AS own
                WHERE own.device_id = wanted.value ORDER BY own.triggered_at DESC LIMIT 1)
            CROSS JOIN rollouts ON rollouts.rollout_id = attempt.rollout_id",
        params: vec![json::write(devices)?.into()],
    })
}

/// One attempt that was written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WrittenAttempt {
    /// In which rollout.
    pub rollout_id: String,
    /// The device.
    pub device_id: DeviceId,
    /// The attempt that is now its latest.
    pub attempt: u32,
}

/// Writes attempts, and answers those [`WrittenAttempt`]s that were: not one that somebody else wrote since it was read,
/// not an open one of a device that has another open elsewhere, and, if they belong to a `decision`, none at all unless
/// that was committed. `write` is any fresh id, which [`attempt_events`] asks for.
///
/// # Errors
/// When the rows cannot be written as JSON, which these types always can.
pub fn write_attempts(
    rows: &[AttemptRow],
    write: &RecordId,
    decision: Option<&RecordId>,
) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_write_attempts",
        sql: "/* rollout_write_attempts */
            INSERT INTO rollout_devices
              (rollout_id, device_id, state, attempt, facts, triggered_at, sent_at, closed_at, counted_at, revision,
               written_by)
            SELECT row.value->>'rollout_id', row.value->>'device_id', row.value->>'state', row.value->>'attempt',
              row.value->>'facts', row.value->>'triggered_at', row.value->>'sent_at', row.value->>'closed_at',
              row.value->>'counted_at', row.value->>'revision', ?2
            FROM json_each(?1) AS row
            WHERE (?3 IS NULL OR EXISTS (SELECT 1 FROM rollouts
                WHERE rollouts.rollout_id = row.value->>'rollout_id' AND rollouts.decided_by = ?3))
              AND NOT EXISTS (SELECT 1 FROM rollout_devices AS other
                WHERE row.value->>'state' IN ('triggered', 'deferred', 'downloading', 'verifying', 'installed')
                  AND other.device_id = row.value->>'device_id' AND other.rollout_id <> row.value->>'rollout_id'
                  AND other.state IN ('triggered', 'deferred', 'downloading', 'verifying', 'installed'))
            ON CONFLICT (rollout_id, device_id) DO UPDATE SET
              state = excluded.state, attempt = excluded.attempt, facts = excluded.facts,
              triggered_at = excluded.triggered_at, sent_at = excluded.sent_at, closed_at = excluded.closed_at,
              counted_at = excluded.counted_at,
              -- A trigger that was not handed on is nobody's any more once the attempt is another.
              queued_at = CASE WHEN rollout_devices.attempt = excluded.attempt THEN queued_at END,
              claimed_until = CASE WHEN rollout_devices.attempt = excluded.attempt THEN claimed_until END,
              revision = excluded.revision, written_by = excluded.written_by
            WHERE rollout_devices.revision = excluded.revision - 1
            RETURNING rollout_id, device_id, attempt",
        params: vec![
            json::write(rows)?.into(),
            write.as_str().into(),
            decision.map(RecordId::as_str).into(),
        ],
    })
}

/// Something that became of a device's attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptEvent<'a> {
    /// In which rollout.
    pub rollout_id: &'a str,
    /// The device.
    pub device_id: &'a DeviceId,
    /// The state that it came to.
    pub state: &'a str,
    /// In which attempt.
    pub attempt: u32,
    /// What else is to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
}

/// Notes what became of attempts, as far as the write of that id was carried out. For that write's own batch.
///
/// # Errors
/// When the events cannot be written as JSON, which these types always can.
pub fn attempt_events(
    events: &[AttemptEvent<'_>],
    write: &RecordId,
    at: UnixMillis,
) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_attempt_events",
        sql: "/* rollout_attempt_events */
            INSERT INTO rollout_events (rollout_id, at, kind, device_id, state, attempt, detail)
            SELECT written.rollout_id, ?3, 'device', written.device_id, event.value->>'state', event.value->>'attempt',
              event.value->'detail'
            FROM json_each(?1) AS event
            CROSS JOIN rollout_devices AS written
              ON written.rollout_id = event.value->>'rollout_id' AND written.device_id = event.value->>'device_id'
            WHERE written.written_by = ?2",
        params: vec![json::write(events)?.into(), write.as_str().into(), at.into()],
    })
}

/// A report that changed nothing: of another version, of an attempt that is closed, of a rollout that the device is not
/// in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stray<'a> {
    /// The rollout that it names.
    pub rollout_id: &'a str,
    /// Who reported.
    pub device_id: &'a DeviceId,
    /// The id of its message.
    pub source: &'a str,
    /// What it says, and why it changed nothing.
    pub detail: serde_json::Value,
}

/// Keeps strays, each once, of rollouts that there are.
///
/// # Errors
/// When they cannot be written as JSON, which these types always can.
pub fn note_strays(strays: &[Stray<'_>], at: UnixMillis) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_note_strays",
        sql: "/* rollout_note_strays */
            INSERT INTO rollout_events (rollout_id, at, kind, device_id, detail, source)
            SELECT rollouts.rollout_id, ?2, 'stray', stray.value->>'device_id', stray.value->'detail', stray.value->>'source'
            FROM json_each(?1) AS stray
            CROSS JOIN rollouts ON rollouts.rollout_id = stray.value->>'rollout_id'
            WHERE true
            ON CONFLICT (source) DO NOTHING",
        params: vec![json::write(strays)?.into(), at.into()],
    })
}

/// A trigger that waits to be put on the queue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Unqueued {
    /// Of which rollout.
    pub rollout_id: String,
    /// For which device.
    pub device_id: DeviceId,
    /// Of which attempt.
    pub attempt: u32,
    /// JSON of what is known of the attempt.
    pub facts: String,
}

/// The [`Unqueued`] triggers of a rollout: those just decided, and those that a run before could not put on the queue.
pub fn unqueued(rollout: &str, limit: u32) -> Statement {
    Statement {
        name: "rollout_unqueued",
        sql: "/* rollout_unqueued */
            SELECT rollout_id, device_id, attempt, facts FROM rollout_devices INDEXED BY rollout_devices_unqueued
            WHERE rollout_id = ?1 AND state = 'triggered' AND sent_at IS NULL AND queued_at IS NULL
            ORDER BY device_id LIMIT ?2",
        params: vec![rollout.into(), limit.into()],
    }
}

/// What names one trigger.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TriggerKey<'a> {
    /// Of which rollout.
    pub rollout_id: &'a str,
    /// For which device.
    pub device_id: &'a DeviceId,
    /// Of which attempt.
    pub attempt: u32,
}

/// Takes note that triggers are on the queue.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn mark_queued(triggers: &[TriggerKey<'_>], at: UnixMillis) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_mark_queued",
        sql: "/* rollout_mark_queued */
            UPDATE rollout_devices SET queued_at = ?2
            FROM json_each(?1) AS sent
            WHERE rollout_devices.rollout_id = sent.value->>'rollout_id'
              AND rollout_devices.device_id = sent.value->>'device_id'
              AND rollout_devices.attempt = sent.value->>'attempt'",
        params: vec![json::write(triggers)?.into(), at.into()],
    })
}

/// A trigger in the hands of one consumer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Claimed {
    /// Of which rollout.
    pub rollout_id: String,
    /// For which device.
    pub device_id: DeviceId,
    /// Of which attempt.
    pub attempt: u32,
}

/// Claims triggers until `until`, so that only one consumer hands each to the broker; answers those [`Claimed`]. Not
/// claimed are those of a rollout that is not under way, of an attempt that went on or ended, that another has in hand,
/// or that the broker has taken already.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn claim(
    triggers: &[TriggerKey<'_>],
    now: UnixMillis,
    until: UnixMillis,
) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_claim",
        sql: "/* rollout_claim */
            UPDATE rollout_devices SET claimed_until = ?3
            FROM json_each(?1) AS wanted
            WHERE rollout_devices.rollout_id = wanted.value->>'rollout_id'
              AND rollout_devices.device_id = wanted.value->>'device_id'
              AND rollout_devices.attempt = wanted.value->>'attempt'
              AND rollout_devices.state = 'triggered' AND rollout_devices.sent_at IS NULL
              AND coalesce(rollout_devices.claimed_until, 0) <= ?2
              AND EXISTS (SELECT 1 FROM rollouts
                WHERE rollouts.rollout_id = rollout_devices.rollout_id AND rollouts.status = 'STAGED')
            RETURNING rollout_id, device_id, attempt",
        params: vec![json::write(triggers)?.into(), now.into(), until.into()],
    })
}

/// Gives claims up: the triggers may be claimed again at once.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn release(triggers: &[TriggerKey<'_>]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_release",
        sql: "/* rollout_release */
            UPDATE rollout_devices SET claimed_until = NULL
            FROM json_each(?1) AS held
            WHERE rollout_devices.rollout_id = held.value->>'rollout_id'
              AND rollout_devices.device_id = held.value->>'device_id'
              AND rollout_devices.attempt = held.value->>'attempt'",
        params: vec![json::write(triggers)?.into()],
    })
}

/// Takes note that triggers are on no queue any more, so that they are put on it again if their rollout goes on.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn mark_unqueued(triggers: &[TriggerKey<'_>]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_mark_unqueued",
        sql: "/* rollout_mark_unqueued */
            UPDATE rollout_devices SET queued_at = NULL
            FROM json_each(?1) AS dropped
            WHERE rollout_devices.rollout_id = dropped.value->>'rollout_id'
              AND rollout_devices.device_id = dropped.value->>'device_id'
              AND rollout_devices.attempt = dropped.value->>'attempt'",
        params: vec![json::write(triggers)?.into()],
    })
}

/// How a trigger stands, with what its manifest needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Trigger {
    /// Of which rollout.
    pub rollout_id: String,
    /// For which device.
    pub device_id: DeviceId,
    /// The device's latest attempt.
    pub attempt: u32,
    /// Its state.
    pub state: String,
    /// When it was decided.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub triggered_at: UnixMillis,
    /// When the broker took its trigger.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub sent_at: Option<UnixMillis>,
    /// The rollout's status.
    pub status: String,
    /// For which variant the rollout is.
    pub sku: Sku,
    /// The version that it brings.
    pub version: FirmwareVersion,
    /// SHA-256 of the artifact's file.
    pub sha256: String,
    /// Below this many dBm a device puts the update off.
    pub min_rssi: i64,
    /// Whether a device may get a version that is not newer than its own.
    #[serde(deserialize_with = "flag")]
    pub force: bool,
}

/// The [`Trigger`]s of devices in certain rollouts.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn triggers(of: &[TriggerKey<'_>]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "rollout_triggers",
        sql: "/* rollout_triggers */
            SELECT attempt.rollout_id, attempt.device_id, attempt, state, triggered_at, sent_at, rollouts.status,
              rollouts.sku, rollouts.version, rollouts.sha256, rollouts.min_rssi, rollouts.force
            FROM json_each(?1) AS wanted
            CROSS JOIN rollout_devices AS attempt
              ON attempt.rollout_id = wanted.value->>'rollout_id' AND attempt.device_id = wanted.value->>'device_id'
            CROSS JOIN rollouts ON rollouts.rollout_id = attempt.rollout_id",
        params: vec![json::write(of)?.into()],
    })
}

/// How many devices are in a state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StateCount {
    /// The state: `confirmed`.
    pub state: String,
    /// How many devices of the rollout are in it.
    pub devices: u64,
}

/// The [`StateCount`]s of a rollout.
pub fn counts(rollout: &str) -> Statement {
    Statement {
        name: "rollout_counts",
        sql: "/* rollout_counts */
            SELECT state, count(*) AS devices FROM rollout_devices WHERE rollout_id = ?1 GROUP BY state",
        params: vec![rollout.into()],
    }
}

/// A page of a rollout's [`AttemptRow`]s, in the order of device ids.
pub fn devices(rollout: &str, page: &PageRequest) -> Statement {
    Statement {
        name: "rollout_devices",
        sql: "/* rollout_devices */
            SELECT rollout_id, device_id, state, attempt, facts, triggered_at, sent_at, closed_at, counted_at, revision
            FROM rollout_devices WHERE rollout_id = ?1 AND device_id > ?2 ORDER BY device_id LIMIT ?3",
        params: vec![rollout.into(), page.after.as_deref().unwrap_or_default().into(), page.rows().into()],
    }
}

/// As [`devices`], of those in one state.
pub fn devices_in_state(rollout: &str, state: &str, page: &PageRequest) -> Statement {
    Statement {
        name: "rollout_devices_in_state",
        sql: "/* rollout_devices_in_state */
            SELECT rollout_id, device_id, state, attempt, facts, triggered_at, sent_at, closed_at, counted_at, revision
            FROM rollout_devices WHERE rollout_id = ?1 AND state = ?4 AND device_id > ?2 ORDER BY device_id LIMIT ?3",
        params: vec![
            rollout.into(),
            page.after.as_deref().unwrap_or_default().into(),
            page.rows().into(),
            state.into(),
        ],
    }
}

/// One line of a rollout's history.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EventRow {
    /// Rises.
    pub event_id: i64,
    /// When it was taken in.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub at: UnixMillis,
    /// `started`, `halted`, …; `device` or `stray` of a device.
    pub kind: String,
    /// Whom it is about.
    pub device_id: Option<DeviceId>,
    /// The state that the device came to.
    pub state: Option<String>,
    /// In which attempt.
    pub attempt: Option<u32>,
    /// The operator; `None` for the engine.
    pub actor: Option<String>,
    /// JSON of what else is to be known.
    pub detail: Option<String>,
}

/// A page of a rollout's [`EventRow`]s, oldest first.
pub fn events(rollout: &str, after: i64, page: &PageRequest) -> Statement {
    Statement {
        name: "rollout_events",
        sql: "/* rollout_events */
            SELECT event_id, at, kind, device_id, state, attempt, actor, detail
            FROM rollout_events WHERE rollout_id = ?1 AND event_id > ?2 ORDER BY event_id LIMIT ?3",
        params: vec![rollout.into(), after.into(), page.rows().into()],
    }
}

/// Forgets events from before `before`: those of the `limit` oldest that are. Ids rise with the time, so that no more than
/// those need be looked at.
pub fn prune_events(before: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "rollout_events_prune",
        sql: "/* rollout_events_prune */
            DELETE FROM rollout_events
            WHERE event_id < (SELECT min(event_id) FROM rollout_events) + ?2 AND at < ?1",
        params: vec![before.into(), limit.into()],
    }
}

/// A device of a rollout's variant, with its attempt in that rollout, as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SnapshotRow {
    /// The device.
    pub device_id: DeviceId,
    /// Whether it is connected, as far as is known.
    #[serde(deserialize_with = "flag")]
    pub online: bool,
    /// When that was decided.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub presence_at: UnixMillis,
    /// The version that runs.
    pub firmware_version: Option<FirmwareVersion>,
    /// Signal strength in dBm.
    pub wifi_rssi: Option<i64>,
    /// Boots since manufacture.
    pub boot_count: Option<i64>,
    /// Seconds since boot, at `state_at`.
    pub uptime_sec: Option<i64>,
    /// When it last reported what is above; 0 if never.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub state_at: UnixMillis,
    /// JSON array of its tags.
    pub tags: String,
    /// When it last confirmed an update.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub updated_at: Option<UnixMillis>,
    /// The highest anti-rollback counter of an image that it confirmed.
    pub fw_version: Option<u32>,
    /// Another rollout in which it has an open attempt.
    pub busy_with: Option<String>,
    /// JSON of what is known of its attempt in this rollout.
    pub facts: Option<String>,
    /// That attempt's revision.
    pub revision: Option<i64>,
}

/// Some [`SnapshotRow`]s of a rollout, in the order of device ids, after `after`.
pub fn snapshot(rollout: &str, sku: Sku, after: &str, limit: u32) -> Statement {
    Statement {
        name: "rollout_snapshot",
        sql: "/* rollout_snapshot */
            SELECT devices.device_id, online, presence_at, firmware_version, wifi_rssi, boot_count, uptime_sec, state_at,
              tags, updated_at, fw_version, other.rollout_id AS busy_with, own.facts, own.revision
            FROM devices
            LEFT JOIN rollout_devices AS own ON own.rollout_id = ?1 AND own.device_id = devices.device_id
            LEFT JOIN rollout_devices AS other ON other.device_id = devices.device_id AND other.rollout_id <> ?1
              AND other.state IN ('triggered', 'deferred', 'downloading', 'verifying', 'installed')
            WHERE product_sku = ?2 AND devices.device_id > ?3 ORDER BY devices.device_id LIMIT ?4",
        params: vec![rollout.into(), sku.as_str().into(), after.into(), limit.into()],
    }
}

/// When a device failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct FailedAt {
    /// When we learnt of it.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub counted_at: UnixMillis,
}

/// The latest failures across rollouts since a time, at most `limit`.
pub fn failures_since(since: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "rollout_failures_since",
        sql: "/* rollout_failures_since */
            SELECT counted_at FROM rollout_devices
            WHERE state IN ('failed', 'rolled_back', 'timed_out') AND counted_at > ?1
            ORDER BY counted_at DESC LIMIT ?2",
        params: vec![since.into(), limit.into()],
    }
}
