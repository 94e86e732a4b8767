//! `/admin/rollouts`: operators make rollouts, look at them, and tell them what to do.

use litemap::LiteMap;
use rs1_api::query::Query;
use rs1_auth::operator::Operator;
use rs1_domain::json;
use rs1_domain::port::{Database, PortError, Random};
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Answer, DeviceId, Faults, Problem, RecordId, Request, UnixMillis};
use rs1_rollout::request::{read_reason, read_schedule};
use rs1_rollout::{
    Attempt, DeviceState, DryRun, Policy, Rollout, RolloutRequest, Share, Status, Verb, dry_run,
};
use rs1_store::Statement;
use rs1_store::firmware::{self, Artifact, Standing};
use rs1_store::rollouts::{self, AttemptRow, DecisionEvent, EventRow, NewRollout, RolloutRow, StateCount};
use rs1_store::security::{self, AdminAccess};
use rs1_store::sql::{Page, first_row, rows, run};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::replay::{self, Key};
use crate::engine::advance::{advance, decision_of, load_fleet, rollout_of};
use crate::world::{Ports, World};

/// The prefix of a rollout's id.
const PREFIX: &str = "rol";
/// Devices that a dry run names of each stage and of each reason; it counts them all.
const NAMED: usize = 100;
/// How often a verb that met another decision is tried again on what is there now.
const ROUNDS: usize = 3;

/// A rollout as operators see it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Rollout"))]
#[derive(Serialize)]
pub(crate) struct Shown<'a> {
    pub(crate) rollout_id: &'a str,
    pub(crate) sku: rs1_domain::Sku,
    pub(crate) version: &'a str,
    #[cfg_attr(feature = "schema", schemars(with = "rs1_rollout::Status"))]
    pub(crate) status: &'a str,
    pub(crate) cause: Option<&'a str>,
    pub(crate) stage: u32,
    pub(crate) stage_started_at: Option<UnixMillis>,
    pub(crate) stage_ends_at: Option<UnixMillis>,
    #[cfg_attr(feature = "schema", schemars(with = "Vec<rs1_rollout::rollout::Stage>"))]
    pub(crate) stages: Value,
    pub(crate) min_rssi: i64,
    pub(crate) force: bool,
    pub(crate) rate_per_minute: u32,
    #[cfg_attr(feature = "schema", schemars(with = "rs1_rollout::selector::Selector"))]
    pub(crate) selector: Value,
    pub(crate) reason: Option<&'a str>,
    pub(crate) schedule_at: Option<UnixMillis>,
    pub(crate) created_at: UnixMillis,
    pub(crate) created_by: &'a str,
    pub(crate) started_at: Option<UnixMillis>,
    pub(crate) paused_at: Option<UnixMillis>,
    pub(crate) finished_at: Option<UnixMillis>,
    pub(crate) acknowledged_at: Option<UnixMillis>,
}

impl<'a> Shown<'a> {
    fn of(row: &'a RolloutRow, rollout: &Rollout) -> Self {
        Self {
            rollout_id: &row.rollout_id,
            sku: row.sku,
            version: row.version.as_str(),
            status: &row.status,
            cause: row.cause.as_deref(),
            stage: row.stage,
            stage_started_at: row.stage_started_at,
            stage_ends_at: rollout.stage_ends_at(),
            // Both were written by us as JSON.
            stages: json::read(&row.stages).unwrap_or_default(),
            min_rssi: row.min_rssi,
            force: row.force,
            rate_per_minute: row.rate_per_minute,
            selector: json::read(&row.selector).unwrap_or_default(),
            reason: row.reason.as_deref(),
            schedule_at: row.schedule_at,
            created_at: row.created_at,
            created_by: &row.created_by,
            started_at: row.started_at,
            paused_at: row.paused_at,
            finished_at: row.finished_at,
            acknowledged_at: row.acknowledged_at,
        }
    }
}

/// Makes a rollout, which waits to be started; with `?dry_run=true` says whom it would reach, and makes none.
///
/// # Errors
/// 422 naming every fault, 409 for an artifact that devices may not be sent, 503 when a port fails.
pub async fn create(
    world: &World<'_, impl Ports>,
    policy: &Policy,
    operator: &Operator,
    request: &Request,
) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let is_dry = query.flag("dry_run").unwrap_or(false);
    query.finish()?;
    let asked = RolloutRequest::read(&request.body, policy, request.now)?;
    if asked.force && asked.reason.is_none() {
        let mut faults = Faults::new();
        faults.add("/reason", "is required with force, and goes into the audit log");
        return Err(faults.into());
    }
    let key = Key::read(operator, request)?;
    if let Some(answer) = replay::find(&world.db, key.as_ref()).await? {
        return Ok(answer);
    }
    let artifact = load_artifact(&world.db, &asked).await?;
    let row = new_row(&world.random, &asked, artifact, operator, request)?;
    let rollout = rollout_of(&row)?;
    if is_dry {
        let (fleet, _) = load_fleet(&world.db, policy, &rollout, request.now).await?;
        return Ok(Answer::json(
            200,
            &shown_dry_run(&rollout, &dry_run(&rollout, policy, &fleet, request.now)),
        ));
    }
    let answer = Answer::json(201, &Shown::of(&row, &rollout))
        .with_header("location", format!("/admin/rollouts/{}", row.rollout_id));
    let decision = RecordId::generate("dec", request.now, world.random.bytes());
    let mut statements: Vec<Statement> = rollouts::create(&NewRollout {
        id: &rollout.id,
        sku: row.sku,
        version: &row.version,
        stages: &row.stages,
        min_rssi: row.min_rssi,
        force: row.force,
        rate_per_minute: row.rate_per_minute,
        selector: &row.selector,
        schedule_at: row.schedule_at,
        reason: row.reason.as_deref(),
        at: row.created_at,
        by: &row.created_by,
        decision: &decision,
        idempotency_key: key.as_ref().map(|key| key.name.as_str()),
    })
    .into();
    let audited = RecordId::generate("aud", request.now, world.random.bytes());
    let detail = json!({"rollout": "create", "force": row.force, "reason": row.reason});
    statements.push(audit(&audited, operator, "/admin/rollouts", &row.rollout_id, detail, request));
    if let Some(key) = &key {
        statements.push(rollouts::remember(
            &row.rollout_id,
            &decision,
            &key.remember(operator, request, &answer),
            request.now,
        ));
    }
    let outcomes = world.db.batch(statements).await?;
    if outcomes.first().is_some_and(|created| created.changes > 0) {
        return Ok(answer);
    }
    // Somebody used the key at the same moment, or withdrew the artifact.
    match replay::find(&world.db, key.as_ref()).await? {
        Some(answer) => Ok(answer),
        None => Err(Problem::conflict("the artifact has just been withdrawn, or its key revoked")),
    }
}

async fn load_artifact(db: &impl Database, asked: &RolloutRequest) -> Result<Artifact, Problem> {
    let [found] = run(db, [firmware::artifact(asked.sku, &asked.version)]).await?;
    let Some(artifact) = first_row::<Artifact>(&found)? else {
        let mut faults = Faults::new();
        faults.add("/version", "must be the version of an artifact of that variant; there is none");
        return Err(faults.into());
    };
    usable(&artifact)?;
    Ok(artifact)
}

/// # Errors
/// 409 for an artifact that devices may not be sent.
fn usable(artifact: &Artifact) -> Result<(), Problem> {
    match artifact.standing() {
        Standing::Usable => Ok(()),
        Standing::Yanked => Err(Problem::conflict("the artifact was withdrawn")),
        Standing::RevokedKey => Err(Problem::conflict("the key that signed the artifact was revoked")),
    }
}

fn new_row(
    random: &impl Random,
    asked: &RolloutRequest,
    artifact: Artifact,
    operator: &Operator,
    request: &Request,
) -> Result<RolloutRow, Problem> {
    let text = |json: Result<String, json::Error>| json.map_err(|error| Problem::internal(error.to_string()));
    Ok(RolloutRow {
        rollout_id: RecordId::generate(PREFIX, request.now, random.bytes()).to_string(),
        sku: asked.sku,
        version: asked.version.clone(),
        sha256: artifact.sha256,
        elf_sha256: artifact.elf_sha256,
        fw_version: artifact.fw_version,
        stages: text(json::write(&asked.stages))?,
        min_rssi: asked.min_rssi,
        force: asked.force,
        rate_per_minute: asked.rate_per_minute,
        selector: text(json::write(&asked.selector))?,
        schedule_at: asked.schedule_at,
        reason: asked.reason.clone(),
        created_at: request.now,
        created_by: operator.name.clone(),
        status: Status::Pending.as_str().to_owned(),
        cause: None,
        stage: 0,
        stage_started_at: None,
        started_at: None,
        paused_at: None,
        finished_at: None,
        acknowledged_at: None,
        generation: 0,
        report: None,
        planned_at: None,
    })
}

/// Some devices: how many, and who the first of them are.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "DeviceSample"))]
#[derive(Default, Serialize)]
pub(crate) struct Devices<'a> {
    pub(crate) devices: usize,
    pub(crate) device_ids: Vec<&'a DeviceId>,
}

impl<'a> Devices<'a> {
    fn add(&mut self, device: &'a DeviceId) {
        self.devices = self.devices.saturating_add(1);
        if self.device_ids.len() < NAMED {
            self.device_ids.push(device);
        }
    }
}

fn shown_dry_run(rollout: &Rollout, run: &DryRun) -> Value {
    let stages: Vec<_> = rollout
        .stages
        .iter()
        .zip(&run.stages)
        .map(|(stage, reached)| {
            let mut devices = Devices::default();
            for device in reached {
                devices.add(device);
            }
            json!({"percent": stage.percent, "devices": devices.devices, "device_ids": devices.device_ids})
        })
        .collect();
    let mut held_back: LiteMap<&str, Devices<'_>> = LiteMap::new();
    for (device, reason) in &run.held_back {
        held_back.entry(reason.as_str()).or_default().add(device);
    }
    let mut shown = Map::new();
    for (reason, devices) in held_back {
        shown.insert(reason.to_owned(), json!(devices));
    }
    json!({"dry_run": true, "stages": stages, "held_back": shown})
}

/// A page of rollouts, newest first.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(|cursor| RecordId::parse(PREFIX, cursor).is_some());
    query.finish()?;
    let [outcome] = run(db, [rollouts::list(&page)]).await?;
    let Page { items, next_cursor } =
        Page::of(rows::<RolloutRow>(&outcome)?, &page, |row| row.rollout_id.clone());
    let shown = items
        .iter()
        .map(|row| Ok(serde_json::to_value(Shown::of(row, &rollout_of(row)?)).unwrap_or_default()))
        .collect::<Result<Vec<_>, PortError>>()?;
    Ok(Answer::json(200, &Page { items: shown, next_cursor }))
}

/// One rollout: where it stands, how many devices are in each state, the share that failed, when something may change
/// next, and what the planner last had to say.
///
/// # Errors
/// 404 if there is none, 422 for parameters, 503 when the database fails.
pub async fn one(db: &impl Database, id: &str, request: &Request) -> Result<Answer, Problem> {
    Query::of(request).finish()?;
    let [found, counted] = run(db, [rollouts::by_id(id), rollouts::counts(id)]).await?;
    let row = first_row::<RolloutRow>(&found)?.ok_or_else(no_such_rollout)?;
    let shown = Shown::of(&row, &rollout_of(&row)?);
    let mut body = serde_json::to_value(shown).unwrap_or_default();
    let report: Option<Value> = row.report.as_deref().and_then(|report| json::read(report).ok());
    if let Some(object) = body.as_object_mut() {
        let counts = Counts::of(&rows::<StateCount>(&counted)?);
        object.insert("counts".to_owned(), json!(counts.states));
        object.insert("failure_share".to_owned(), json!(counts.failure_share()));
        let next = report.as_ref().and_then(|report| report.get("next_judgement_at")).cloned();
        object.insert("next_judgement_at".to_owned(), next.unwrap_or_default());
        object.insert("planned_at".to_owned(), json!(row.planned_at));
        object.insert("report".to_owned(), report.unwrap_or_default());
    }
    Ok(Answer::json(200, &body))
}

/// How many devices are in each state.
struct Counts {
    states: Map<String, Value>,
    outcomes: u64,
    failures: u64,
    open: u64,
}

impl Counts {
    fn of(counted: &[StateCount]) -> Self {
        let mut counts = Self { states: Map::new(), outcomes: 0, failures: 0, open: 0 };
        for StateCount { state, devices } in counted {
            let Some(state) = DeviceState::parse(state) else { continue };
            counts.states.insert(state.as_str().to_owned(), (*devices).into());
            let add = |number: &mut u64, holds: bool| {
                *number = number.saturating_add(if holds { *devices } else { 0 });
            };
            add(&mut counts.outcomes, state.is_outcome());
            add(&mut counts.failures, state.is_failure());
            add(&mut counts.open, state.is_open());
        }
        counts
    }

    fn failure_share(&self) -> f64 {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Share::of(narrow(self.failures), narrow(self.outcomes))
    }
}

/// A device in a rollout, as operators see it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "RolloutDevice"))]
#[derive(Serialize)]
pub(crate) struct ShownAttempt {
    pub(crate) device_id: DeviceId,
    pub(crate) state: String,
    pub(crate) attempt: u32,
    pub(crate) stage: usize,
    pub(crate) from_version: Option<String>,
    pub(crate) triggered_at: UnixMillis,
    pub(crate) sent_at: Option<UnixMillis>,
    pub(crate) last_report_at: Option<UnixMillis>,
    #[cfg_attr(feature = "schema", schemars(with = "Option<rs1_domain::wire::ota::OtaPhase>"))]
    pub(crate) last_status: Option<&'static str>,
    pub(crate) progress: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) decision: Option<&'static str>,
    pub(crate) closed_at: Option<UnixMillis>,
}

/// A page of a rollout's devices, in the order of their ids; `?state=` for those in one state.
///
/// # Errors
/// 404 if there is no such rollout, 422 for bad parameters, 503 when the database fails.
pub async fn devices(db: &impl Database, id: &str, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(|cursor| DeviceId::parse(cursor).is_some());
    let state = query.parsed("state", "must be the state of a device in a rollout", DeviceState::parse);
    query.finish()?;
    let listed = match state {
        Some(state) => rollouts::devices_in_state(id, state.as_str(), &page),
        None => rollouts::devices(id, &page),
    };
    let [found, listed] = run(db, [rollouts::by_id(id), listed]).await?;
    first_row::<RolloutRow>(&found)?.ok_or_else(no_such_rollout)?;
    let Page { items, next_cursor } =
        Page::of(rows::<AttemptRow>(&listed)?, &page, |row| row.device_id.to_string());
    let shown = items.into_iter().map(show_attempt).collect::<Result<Vec<_>, _>>()?;
    Ok(Answer::json(200, &Page { items: shown, next_cursor }))
}

fn show_attempt(row: AttemptRow) -> Result<ShownAttempt, Problem> {
    let attempt: Attempt = json::read(&row.facts).map_err(|error| Problem::internal(error.to_string()))?;
    let newest = attempt.newest.as_ref();
    Ok(ShownAttempt {
        device_id: row.device_id,
        state: row.state,
        attempt: row.attempt,
        stage: attempt.stage,
        from_version: attempt.from_version.as_ref().map(ToString::to_string),
        triggered_at: row.triggered_at,
        sent_at: row.sent_at,
        last_report_at: attempt.last_report_at,
        last_status: newest.map(|newest| newest.status.as_str()),
        progress: newest.and_then(|newest| newest.progress),
        error: newest.and_then(|newest| newest.error.clone()),
        decision: attempt.decision().map(rs1_rollout::Decision::as_str),
        closed_at: row.closed_at,
    })
}

/// A line of a rollout's history, as operators see it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "RolloutEvent"))]
#[derive(Serialize)]
pub(crate) struct ShownEvent {
    pub(crate) event_id: i64,
    pub(crate) at: UnixMillis,
    pub(crate) kind: String,
    pub(crate) device_id: Option<DeviceId>,
    pub(crate) state: Option<String>,
    pub(crate) attempt: Option<u32>,
    pub(crate) actor: Option<String>,
    pub(crate) detail: Option<Value>,
}

/// A page of a rollout's history, oldest first.
///
/// # Errors
/// 404 if there is no such rollout, 422 for bad parameters, 503 when the database fails.
pub async fn events(db: &impl Database, id: &str, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(|cursor| cursor.parse::<i64>().is_ok_and(|number| number >= 0));
    query.finish()?;
    let after = page.after.as_deref().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let [found, listed] = run(db, [rollouts::by_id(id), rollouts::events(id, after, &page)]).await?;
    first_row::<RolloutRow>(&found)?.ok_or_else(no_such_rollout)?;
    let Page { items, next_cursor } =
        Page::of(rows::<EventRow>(&listed)?, &page, |row| row.event_id.to_string());
    let shown = items.into_iter().map(|row| ShownEvent {
        event_id: row.event_id,
        at: row.at,
        kind: row.kind,
        device_id: row.device_id,
        state: row.state,
        attempt: row.attempt,
        actor: row.actor,
        detail: row.detail.and_then(|detail| json::read(&detail).ok()),
    });
    Ok(Answer::json(200, &Page { items: shown.collect(), next_cursor }))
}

/// Tells a rollout what to do, for the reason in `{reason}`, and takes it a step further at once.
///
/// # Errors
/// 404 if there is none, 409 naming its status if that does not allow it, 422 naming every fault, 503 when the
/// database fails.
pub async fn command(
    world: &World<'_, impl Ports>,
    policy: &Policy,
    operator: &Operator,
    (id, verb): (&str, &str),
    request: &Request,
) -> Result<Answer, Problem> {
    let verb = Verb::parse(verb).ok_or_else(|| Problem::not_found("there is no such resource"))?;
    Query::of(request).finish()?;
    let order = Order::read(verb, request)?;
    let key = Key::read(operator, request)?;
    let audited = RecordId::generate("aud", request.now, world.random.bytes());
    for _ in 0..ROUNDS {
        if let Some(answer) = replay::find(&world.db, key.as_ref()).await? {
            return Ok(answer);
        }
        let Some(answer) =
            try_command(world, operator, id, verb, &order, key.as_ref(), &audited, request).await?
        else {
            continue;
        };
        let World { db, triggers, random, .. } = world;
        // It is committed; what follows from it is the clock's to do if it cannot be done now.
        return Ok(match advance(db, triggers, random, policy, id, request.now).await {
            Ok(_) => answer,
            Err(error) => answer.with_log(format!("the next step is left to the clock: {error}")),
        });
    }
    Err(Problem::unavailable(format!("{id}: others decided each time")))
}

/// What comes with a verb.
struct Order {
    reason: Option<String>,
    schedule_at: Option<UnixMillis>,
}

impl Order {
    fn read(verb: Verb, request: &Request) -> Result<Self, Problem> {
        // Whoever starts a rollout has given the reason when making it.
        if verb == Verb::Start && request.body.is_empty() {
            return Ok(Self { reason: None, schedule_at: None });
        }
        let object = fields::object(&request.body)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let known: &[&str] = if verb == Verb::Schedule { &["reason", "schedule_at"] } else { &["reason"] };
        fields.refuse_unknown(known, &mut faults);
        let reason = read_reason(&fields, &mut faults).filter(|reason| !reason.trim().is_empty());
        let is_needed = !matches!(verb, Verb::Start | Verb::Schedule);
        if is_needed && reason.is_none() && faults.is_empty() {
            faults.add("/reason", "is required: why, in at most 500 characters");
        }
        let schedule_at = match verb {
            Verb::Schedule => read_schedule(&fields, request.now, &mut faults),
            _ => None,
        };
        if verb == Verb::Schedule && fields.value("schedule_at").is_none() {
            faults.add("/schedule_at", "is required and must be an RFC 3339 time in the future");
        }
        Ok(faults.into_result(Self { reason, schedule_at })?)
    }
}

/// One try; `None` if another decision was committed in between.
#[expect(clippy::too_many_arguments, reason = "all of it is the one request")]
async fn try_command(
    world: &World<'_, impl Ports>,
    operator: &Operator,
    id: &str,
    verb: Verb,
    order: &Order,
    key: Option<&Key>,
    audited: &RecordId,
    request: &Request,
) -> Result<Option<Answer>, Problem> {
    let (db, now) = (&world.db, request.now);
    let [found, counted] = run(db, [rollouts::by_id(id), rollouts::counts(id)]).await?;
    let row = first_row::<RolloutRow>(&found)?.ok_or_else(no_such_rollout)?;
    let rollout = rollout_of(&row)?;
    let mut next = rollout.after(verb, now).map_err(|refusal| Problem::conflict(refusal.to_string()))?;
    if matches!(verb, Verb::Start | Verb::Resume | Verb::Advance | Verb::Schedule) {
        let [found] = run(db, [firmware::artifact(row.sku, &row.version)]).await?;
        usable(&first_row::<Artifact>(&found)?.ok_or_else(|| Problem::conflict("the artifact is gone"))?)?;
    }
    if verb == Verb::Schedule {
        next.schedule_at = order.schedule_at;
    }
    let decision = RecordId::generate("dec", now, world.random.bytes());
    let cause = "operator";
    let decided = decision_of(&row, &rollout, &next, Some(cause), &decision, None, now);
    let mut after = row.clone();
    decided.status.clone_into(&mut after.status);
    after.cause = decided.cause.map(str::to_owned);
    after.stage = decided.stage;
    after.stage_started_at = decided.stage_started_at;
    after.started_at = decided.started_at;
    after.paused_at = decided.paused_at;
    after.finished_at = decided.finished_at;
    after.schedule_at = decided.schedule_at;
    after.acknowledged_at = decided.acknowledged_at;
    let answer = Answer::json(200, &Shown::of(&after, &next));

    let counts = Counts::of(&rows::<StateCount>(&counted)?);
    let event = DecisionEvent {
        kind: event_kind(verb),
        actor: Some(&operator.name),
        detail: Some(event_detail(verb, &rollout, &next, order, &counts)),
    };
    let mut statements = vec![
        rollouts::decide(&decided),
        rollouts::decided(id, &decision, &[event], now)
            .map_err(|error| Problem::internal(error.to_string()))?,
        audit(
            audited,
            operator,
            "/admin/rollouts/{id}/{verb}",
            id,
            json!({"rollout": verb.as_str(), "reason": order.reason}),
            request,
        ),
    ];
    if let Some(key) = key {
        statements.push(rollouts::remember(id, &decision, &key.remember(operator, request, &answer), now));
    }
    let outcomes = db.batch(statements).await?;
    Ok(outcomes.first().is_some_and(|decided| decided.changes > 0).then_some(answer))
}

fn event_kind(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "started",
        Verb::Pause => "paused",
        Verb::Resume => "resumed",
        Verb::Abort => "aborted",
        Verb::Advance => "advanced",
        Verb::Schedule => "scheduled",
    }
}

/// What the history says of a verb: why; for an end, what stands; for a step, between which stages.
fn event_detail(verb: Verb, before: &Rollout, after: &Rollout, order: &Order, counts: &Counts) -> Value {
    let mut detail = json!({"reason": order.reason});
    let more = match verb {
        Verb::Advance => json!({"from": before.stage, "to": after.stage}),
        Verb::Schedule => json!({"schedule_at": after.schedule_at}),
        Verb::Abort | Verb::Pause => json!({"counts": counts.states, "in_flight": counts.open}),
        Verb::Resume => json!({"acknowledged_failures": counts.failures}),
        Verb::Start => json!({}),
    };
    if let (Some(detail), Value::Object(more)) = (detail.as_object_mut(), more) {
        detail.extend(more);
    }
    detail
}

/// The line of the audit log that says why; that it was asked for at all is in another one already.
fn audit(
    id: &RecordId,
    operator: &Operator,
    route: &'static str,
    rollout: &str,
    detail: Value,
    request: &Request,
) -> Statement {
    security::audit(&AdminAccess {
        id: id.clone(),
        at: request.now,
        actor: &operator.name,
        method: request.method.as_str(),
        route,
        target: Some(rollout),
        request_id: &request.request_id,
        detail: Some(detail),
    })
}

fn no_such_rollout() -> Problem {
    Problem::not_found("there is no such rollout")
}
