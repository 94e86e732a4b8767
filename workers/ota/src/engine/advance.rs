//! One rollout a step further: load, plan, commit, send.

use rs1_domain::json;
use rs1_domain::port::{Database, PortError, Queue, Random};
use rs1_domain::{DeviceId, RecordId, UnixMillis};
use rs1_rollout::selector::Selector;
use rs1_rollout::{
    Action, Attempt, Cause, Device, Fact, Plan, Policy, Rollout, Snapshot, Stage, Status, Target, cohort,
    plan,
};
use rs1_store::firmware::{self, Artifact, Standing};
use rs1_store::rollouts::{
    self, AttemptEvent, AttemptRow, Decision, DecisionEvent, FailedAt, RolloutRow, SnapshotRow,
};
use rs1_store::sql::{first_row, rows, run};
use rs1_store::{Outcome, Statement};
use serde_json::json;

use super::fold::attempt_row;
use super::{json_fault, triggers};

/// How often a plan that came too late is made anew on what is there now.
const ROUNDS: usize = 3;
/// Devices read by one statement of a snapshot: some 400 bytes each, so a few megabytes at a time.
const PAGE: u32 = 5_000;
/// Attempts written by one statement: some 600 bytes each, where a parameter may have 2 MB.
const ROWS: usize = 1_000;

/// What became of a rollout in one step, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advanced {
    /// Actions that were committed.
    pub actions: usize,
    /// Triggers that were put on the queue.
    pub queued: usize,
}

/// Takes a rollout a step further: makes a plan of what is known, commits it, sends its triggers. A plan that came too
/// late, since another was committed after its rollout was read, is thrown away and made anew.
///
/// # Errors
/// When a port fails. Nothing of a plan is committed then, or all of it; triggers that did not get onto the queue are
/// put there by the next step.
pub async fn advance(
    db: &impl Database,
    queue: &impl Queue,
    random: &impl Random,
    policy: &Policy,
    rollout_id: &str,
    now: UnixMillis,
) -> Result<Advanced, PortError> {
    for _ in 0..ROUNDS {
        let Some(loaded) = load(db, policy, rollout_id, now).await? else { return Ok(Advanced::default()) };
        let now = loaded.not_before(now);
        let plan = plan(&loaded.rollout, policy, &loaded.snapshot, now);
        if !commit(db, random, &loaded, &plan, now).await? {
            continue;
        }
        let queued = match plan.rollout.status {
            Status::Staged => triggers::enqueue(db, queue, rollout_id, now).await?,
            _ => 0,
        };
        return Ok(Advanced { actions: plan.actions.len(), queued });
    }
    Err(PortError::new("advance", format!("{rollout_id}: others decided each time")))
}

/// A rollout and the fleet as they were read.
pub struct Loaded {
    /// As it is stored.
    pub row: RolloutRow,
    /// As the planner sees it.
    pub rollout: Rollout,
    /// The fleet.
    pub snapshot: Snapshot,
    /// The revision of each device's attempt, in the snapshot's order; 0 for those who have none.
    revisions: Vec<i64>,
}

impl Loaded {
    /// The time to plan for. Whoever comes here may have had other work first, or a slower clock, and must not decide
    /// things for a time before what was decided already: a device would be triggered before its stage began.
    fn not_before(&self, now: UnixMillis) -> UnixMillis {
        let RolloutRow { planned_at, stage_started_at, .. } = self.row;
        [planned_at, stage_started_at].into_iter().flatten().fold(now, UnixMillis::max)
    }
}

/// Reads a rollout and its fleet. The rollout is read first: whatever is decided after that makes a new generation, which
/// keeps a plan made of this from being committed.
///
/// # Errors
/// When the database fails.
pub async fn load(
    db: &impl Database,
    policy: &Policy,
    rollout_id: &str,
    now: UnixMillis,
) -> Result<Option<Loaded>, PortError> {
    let [found] = run(db, [rollouts::by_id(rollout_id)]).await?;
    let Some(row) = first_row::<RolloutRow>(&found)? else { return Ok(None) };
    let rollout = rollout_of(&row)?;
    let (snapshot, revisions) = load_fleet(db, policy, &rollout, now).await?;
    Ok(Some(Loaded { row, rollout, snapshot, revisions }))
}

/// Reads the fleet of a rollout, which need not be stored yet.
///
/// # Errors
/// When the database fails.
pub async fn load_fleet(
    db: &impl Database,
    policy: &Policy,
    rollout: &Rollout,
    now: UnixMillis,
) -> Result<(Snapshot, Vec<i64>), PortError> {
    let since = now.plus(policy.spike_window.saturating_neg());
    // One more than the rule allows is as much as it asks for; acknowledged ones may be among the latest, so some more.
    let most = policy.spike_failures.saturating_add(1).max(1_000);
    let [artifact, failures] =
        run(db, [firmware::artifact(rollout.sku, &rollout.version), rollouts::failures_since(since, most)])
            .await?;
    let standing = first_row::<Artifact>(&artifact)?.map(|artifact| artifact.standing());
    let failures = rows::<FailedAt>(&failures)?;
    let mut snapshot = Snapshot {
        devices: Vec::new(),
        recent_failures: failures.iter().map(|failure| failure.counted_at).collect(),
        withdrawn: match standing {
            Some(Standing::Usable) => None,
            Some(Standing::RevokedKey) => Some(Cause::KeyRevoked),
            Some(Standing::Yanked) | None => Some(Cause::ArtifactYanked),
        },
    };
    let mut revisions = Vec::new();
    let mut after = String::new();
    loop {
        let page = rollouts::snapshot(rollout.id.as_str(), rollout.sku, &after, PAGE);
        let [outcome] = run(db, [page]).await?;
        let page = rows::<SnapshotRow>(&outcome)?;
        let is_last = u32::try_from(page.len()).unwrap_or(u32::MAX) < PAGE;
        if let Some(last) = page.last() {
            after = last.device_id.to_string();
        }
        for row in page {
            revisions.push(row.revision.unwrap_or(0));
            snapshot.devices.push(device_of(row, rollout)?);
        }
        if is_last {
            return Ok((snapshot, revisions));
        }
    }
}

/// A stored rollout as the planner sees it.
///
/// # Errors
/// When what is stored cannot be read: it was written by something else than this.
pub fn rollout_of(row: &RolloutRow) -> Result<Rollout, PortError> {
    let strange = |what: &str| PortError::new("decode rollout", format!("{}: {what}", row.rollout_id));
    let stages: Vec<Stage> = json::read(&row.stages).map_err(|error| json_fault(&error))?;
    let selector: Selector = json::read(&row.selector).map_err(|error| json_fault(&error))?;
    Ok(Rollout {
        id: RecordId::parse("rol", &row.rollout_id).ok_or_else(|| strange("id"))?,
        sku: row.sku,
        version: row.version.clone(),
        fw_version: row.fw_version,
        elf_sha256: Some(row.elf_sha256.clone()),
        status: Status::parse(&row.status).ok_or_else(|| strange("status"))?,
        stages,
        stage: usize::try_from(row.stage).unwrap_or(usize::MAX),
        stage_started_at: row.stage_started_at,
        min_rssi: row.min_rssi,
        force: row.force,
        rate_per_minute: row.rate_per_minute,
        selector,
        schedule_at: row.schedule_at,
        acknowledged_at: row.acknowledged_at,
        generation: row.generation,
    })
}

fn device_of(row: SnapshotRow, rollout: &Rollout) -> Result<Device, PortError> {
    let attempt = row.facts.map(|facts| json::read::<Box<Attempt>>(&facts)).transpose();
    // Almost no device has tags, and the snapshot may be large.
    let tags = if row.tags == "[]" { Ok(Vec::new()) } else { json::read(&row.tags) };
    Ok(Device {
        cohort: cohort(&row.device_id),
        id: row.device_id,
        sku: Some(rollout.sku),
        online: row.online,
        presence_at: row.presence_at,
        version: row.firmware_version,
        wifi_rssi: row.wifi_rssi,
        boot_count: row.boot_count,
        uptime_sec: row.uptime_sec,
        state_at: row.state_at,
        confirmed_at: row.updated_at,
        fw_version: row.fw_version,
        tags: tags.map_err(|error| json_fault(&error))?,
        busy_elsewhere: row.busy_with.is_some(),
        attempt: attempt.map_err(|error| json_fault(&error))?,
    })
}

/// Commits a plan, all of it or nothing: `false` if it came too late.
async fn commit(
    db: &impl Database,
    random: &impl Random,
    loaded: &Loaded,
    plan: &Plan,
    now: UnixMillis,
) -> Result<bool, PortError> {
    let Loaded { row, rollout, .. } = loaded;
    let report = json::write(&plan.report).map_err(|error| json_fault(&error))?;
    if plan.actions.is_empty() {
        let note = rollouts::note_report(&row.rollout_id, row.generation, &report, now);
        run(db, [note, rollouts::settle(&row.rollout_id)]).await?;
        return Ok(true);
    }
    let id = RecordId::generate("dec", now, random.bytes());
    let events: Vec<_> = plan.actions.iter().filter_map(|action| event_of(action, plan)).collect();
    let mut statements = vec![
        rollouts::decide(&decision_of(row, rollout, &plan.rollout, cause_of(plan), &id, Some(&report), now)),
        rollouts::decided(&row.rollout_id, &id, &events, now).map_err(|error| json_fault(&error))?,
    ];
    statements.extend(attempts_of(loaded, plan, &id, now)?);
    statements.push(rollouts::settle(&row.rollout_id));
    let outcomes = db.batch(statements).await?;
    Ok(outcomes.first().is_some_and(|decided: &Outcome| decided.changes > 0))
}

/// The stored form of a decision that makes `next` of a rollout.
pub fn decision_of<'a>(
    row: &'a RolloutRow,
    rollout: &Rollout,
    next: &Rollout,
    cause: Option<&'a str>,
    id: &'a RecordId,
    report: Option<&'a str>,
    now: UnixMillis,
) -> Decision<'a> {
    let changed = next.status != rollout.status;
    Decision {
        rollout_id: &row.rollout_id,
        generation: row.generation,
        id,
        status: next.status.as_str(),
        cause: if changed { cause } else { row.cause.as_deref() },
        stage: u32::try_from(next.stage).unwrap_or(u32::MAX),
        stage_started_at: next.stage_started_at,
        started_at: row.started_at.or(next.stage_started_at),
        paused_at: match next.status {
            Status::Paused if changed => Some(now),
            Status::Paused => row.paused_at,
            _ => None,
        },
        finished_at: if next.status.is_final() { row.finished_at.or(Some(now)) } else { None },
        schedule_at: next.schedule_at,
        acknowledged_at: next.acknowledged_at,
        report,
        at: now,
    }
}

/// What brings a rollout where a plan leaves it.
fn cause_of(plan: &Plan) -> Option<&'static str> {
    plan.actions.iter().rev().find_map(|action| match action {
        Action::Pause(cause) | Action::Abort(cause) => Some(cause.as_str()),
        Action::Start => Some("schedule"),
        Action::Complete => Some("done"),
        Action::AdvanceStage { .. } | Action::Trigger { .. } | Action::Decide { .. } => None,
    })
}

/// What the history says of an action that is about the rollout as a whole; of a halt and of the end, what stands.
fn event_of(action: &Action, plan: &Plan) -> Option<DecisionEvent<'static>> {
    let total = &plan.report.total;
    let stands = json!({
        "confirmed": total.confirmed,
        "failures": total.failures,
        "in_flight": total.in_flight,
        "never_reached": plan.report.never_reached,
    });
    let halted = |status: Status, cause: &rs1_rollout::Cause| {
        let mut detail = json!(cause);
        if let Some(object) = detail.as_object_mut() {
            object.insert("status".to_owned(), status.as_str().into());
            object.insert("says".to_owned(), cause.to_string().into());
            object.insert("stands".to_owned(), stands.clone());
        }
        ("halted", Some(detail))
    };
    let (kind, detail) = match action {
        Action::Start => ("started", Some(json!({"cause": "schedule"}))),
        Action::AdvanceStage { from, to } => ("advanced", Some(json!({"from": from, "to": to}))),
        Action::Pause(cause) => halted(Status::Paused, cause),
        Action::Abort(cause) => halted(Status::Aborted, cause),
        Action::Complete => ("completed", Some(json!({"stands": stands}))),
        Action::Trigger { .. } | Action::Decide { .. } => return None,
    };
    Some(DecisionEvent { kind, actor: None, detail })
}

/// The statements that write a plan's attempts, and their events.
fn attempts_of(
    loaded: &Loaded,
    plan: &Plan,
    id: &RecordId,
    now: UnixMillis,
) -> Result<Vec<Statement>, PortError> {
    let Loaded { row, rollout, snapshot, revisions } = loaded;
    let target = Target { version: rollout.version.clone(), elf_sha256: rollout.elf_sha256.clone() };
    // The snapshot was read in the order of ids.
    let find = |id: &DeviceId| {
        let place = snapshot.devices.binary_search_by(|device| device.id.cmp(id)).ok()?;
        snapshot.devices.get(place).zip(revisions.get(place))
    };
    let mut written: Vec<AttemptRow> = Vec::new();
    let mut events = Vec::new();
    for action in &plan.actions {
        let (device_id, next, detail) = match action {
            Action::Trigger { device_id, trigger } => {
                let detail = json!({"stage": trigger.stage, "from_version": trigger.from_version});
                (device_id, Some(Attempt::begin(trigger, now)), detail)
            }
            Action::Decide { device_id, attempt, decision } => {
                let known = find(device_id).and_then(|(device, _)| device.attempt.as_ref());
                let fact = Fact::Decided { attempt: *attempt, decision: *decision, at: now };
                let applied = known.map(|known| known.apply(&target, &fact, now));
                (
                    device_id,
                    applied.and_then(|applied| applied.attempt().cloned()),
                    json!({"decided": decision}),
                )
            }
            _ => continue,
        };
        let (Some(next), Some((_, revision))) = (next, find(device_id)) else { continue };
        events.push(AttemptEvent {
            rollout_id: &row.rollout_id,
            device_id,
            state: next.state.as_str(),
            attempt: next.attempt,
            detail: Some(detail),
        });
        written.push(attempt_row(&row.rollout_id, device_id, &next, revision.saturating_add(1))?);
    }
    let mut statements = Vec::new();
    for (rows, events) in written.chunks(ROWS).zip(events.chunks(ROWS)) {
        statements.push(rollouts::write_attempts(rows, id, Some(id)).map_err(|error| json_fault(&error))?);
        statements.push(rollouts::attempt_events(events, id, now).map_err(|error| json_fault(&error))?);
    }
    Ok(statements)
}
