//! A round of checks, every five minutes.
//!
//! 1. **Take** the row of rounds, and load what is known: one transaction. Another round that is at it goes first.
//! 2. **Look** at everything, side by side within the connections that an invocation has; each look has its own time, so one that
//!    hangs harms no other.
//! 3. **Decide** (pure, [`incident::judge`]) which checks are down, and what becomes of incidents.
//! 4. **Commit** all of it, with the notices that follow, in one transaction; it fails whole if another round took over.
//! 5. Tell the **heartbeat**, somebody outside who raises the alarm when he is told nothing: that the round is stored. Without the
//!    database there is no round, so he hears of none.

use rs1_domain::config::BrokerApi;
use rs1_domain::port::{self, Database, PortError, Probes, Question, Random, Statement};
use rs1_domain::time::{DAY, MINUTE};
use rs1_domain::together::{at_most, within};
use rs1_domain::{RecordId, UnixMillis, json};
use rs1_ops::check::{self, Check, Facts, Kind, Observed, Run};
use rs1_ops::incident::{self, Incident, Known, Look, Outcome, Round, Window};
use rs1_ops::notice::Notice;
use rs1_store::checks::{self, CheckRow, FleetNow, RoundRow};
use rs1_store::cron::{self, WorkerRun};
use rs1_store::incidents::{self, IncidentRow, WindowRow};
use rs1_store::notices::{self, If};
use rs1_store::rotations;
use rs1_store::sql::{first_row, rows, run};

use crate::announce;
use crate::config::Config;
use crate::world::{Ports, World};

/// An invocation may wait for six answers at a time.
const CONNECTIONS: usize = 6;
/// What has not begun by then is not looked at in this round; the longest look that has is over before the hold is.
const ROUND_MS: i64 = 2 * MINUTE;
/// Devices that went offline for so long are part of one wave.
const WAVE_MS: i64 = 15 * MINUTE;
/// A connection is given up so much later than the look that waits for it, so that what is told of it is always the same.
const GRACE_MS: u32 = 250;
/// How long the heartbeat may take.
const HEARTBEAT_MS: u32 = 5_000;
/// What probes are called, in buckets and namespaces.
const PROBE: &str = "health-probe";
/// How long incidents and windows are kept, and the days of components.
const KEPT: i64 = 365 * DAY;
const DAYS_KEPT: i64 = 90 * DAY;
/// Rows that are deleted at a time.
const PRUNE: u32 = 500;

/// What is loaded for a round.
struct Loaded {
    round: RoundRow,
    known: Vec<Known>,
    open: Vec<Incident>,
    windows: Vec<Window>,
    facts: Facts,
}

/// Carries a round out. What it did, for the log.
///
/// # Errors
/// When the database fails, or another round took over: then nothing of this one is stored.
pub async fn round<P: Ports>(
    world: &World<'_, P>,
    config: &Config,
    now: UnixMillis,
) -> Result<String, PortError> {
    let World { db, random, clock, .. } = world;
    if config.checks.is_empty() {
        return Ok(String::new());
    }
    let begun = clock();
    let holder = RecordId::generate("rnd", now, random.bytes()).to_string();
    let Some(loaded) = load(db, &holder, now).await? else {
        return Ok("another round of checks goes on".to_owned());
    };
    let Loaded { round, known, open, windows, facts } = loaded;
    let looker = Looker { world, broker: config.broker.as_ref(), holder: &holder, begun };
    let jobs = config.checks.iter().map(|check| {
        let before = known.iter().find(|known| known.check_id == check.id);
        looker.look(check, before, &facts, now)
    });
    let looks = at_most(CONNECTIONS, jobs).await;
    let seen =
        Round { at: now, last: round.last(), checks: &config.checks, looks: &looks, windows: &windows };
    let new_id = || RecordId::generate("inc", now, random.bytes()).to_string();
    let Some(outcome) = incident::judge(&known, open, &seen, new_id) else {
        run(db, [checks::let_go(&holder)]).await?;
        return Ok("a later round of checks was judged before".to_owned());
    };
    let failed = looks.iter().filter(|look| look.fault.is_some()).count();
    let told = announce::of_events(&outcome.incidents, &outcome.events, || {
        RecordId::generate("ntc", now, random.bytes()).to_string()
    });
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut commit = changes(&config.checks, &outcome, &told, now)
        .map_err(|error| PortError::new("check round", error.to_string()))?;
    let took = clock().since(begun);
    commit.push(checks::finish(round.generation, &holder, now, took, count(looks.len()), count(failed)));
    db.batch(commit).await?;
    let said = format!("checked {} things, {failed} with faults; {} notices", looks.len(), told.len());
    Ok(match heartbeat(&world.probes, config.heartbeat.as_deref()).await {
        Ok(()) => said,
        Err(why) => format!("{said}; the heartbeat was not taken: {why}"),
    })
}

/// What is written of a round: of the checks, and of incidents if anything became of them.
fn changes(
    list: &[Check],
    outcome: &Outcome,
    told: &[Notice],
    now: UnixMillis,
) -> Result<Vec<Statement>, json::Error> {
    let Outcome { checks: judged, incidents, events, components } = outcome;
    let mut changes =
        vec![checks::write(list, judged, now)?, checks::keep(list)?, checks::add_day(components, now)?];
    if !incidents.is_empty() {
        changes.extend([
            incidents::write(incidents)?,
            incidents::record(events)?,
            notices::tell(told, If::Always, now)?,
        ]);
    }
    Ok(changes)
}

/// Takes the row of rounds, and loads; `None` while another round has it.
async fn load(db: &impl Database, holder: &str, now: UnixMillis) -> Result<Option<Loaded>, PortError> {
    let [_, round, known, open, windows, fleet, runs, rotations] = run(
        db,
        [
            checks::begin(holder, now),
            checks::round(),
            checks::list(),
            incidents::open(),
            incidents::windows_at(now),
            checks::fleet(now.plus(WAVE_MS.saturating_neg())),
            cron::all_runs(),
            rotations::list(),
        ],
    )
    .await?;
    let round = first_row::<RoundRow>(&round)?.filter(|round| round.holder.as_deref() == Some(holder));
    let Some(round) = round else { return Ok(None) };
    let fleet = first_row::<FleetNow>(&fleet)?;
    let run_of = |run: WorkerRun| Run {
        worker: run.worker,
        cron: run.cron,
        started_at: run.started_at,
        ok: run.outcome.map(|outcome| outcome == "ok"),
    };
    let facts = Facts {
        online: fleet.map_or(0, |fleet| fleet.online),
        gone: fleet.map_or(0, |fleet| fleet.gone),
        runs: rows::<WorkerRun>(&runs)?.into_iter().map(run_of).collect(),
        last_round: round.last(),
        rotations: rows(&rotations)?,
    };
    Ok(Some(Loaded {
        known: typed::<CheckRow, _>(&known)?,
        open: typed::<IncidentRow, _>(&open)?,
        windows: typed::<WindowRow, _>(&windows)?,
        round,
        facts,
    }))
}

/// Rows as what they are about.
///
/// # Errors
/// When one cannot be read.
pub fn typed<Row: serde::de::DeserializeOwned, T: From<Row>>(
    outcome: &port::Outcome,
) -> Result<Vec<T>, PortError> {
    Ok(rows::<Row>(outcome)?.into_iter().map(T::from).collect())
}

/// Looks at things, for one round.
struct Looker<'a, 'w, P: Ports> {
    world: &'a World<'w, P>,
    broker: Option<&'a BrokerApi>,
    holder: &'a str,
    begun: UnixMillis,
}

impl<P: Ports> Looker<'_, '_, P> {
    /// What a look at one thing comes to, within its time.
    async fn look(&self, check: &Check, before: Option<&Known>, facts: &Facts, now: UnixMillis) -> Look {
        let World { probes, clock, .. } = self.world;
        let began = clock();
        let observed = if began.since(self.begun) > ROUND_MS {
            Err("the round was over before it was looked at".to_owned())
        } else {
            let limit = probes.pause(check.timeout_ms);
            within(self.observe(check), limit)
                .await
                .unwrap_or_else(|| Err(format!("no answer within {} ms", check.timeout_ms)))
        };
        let latency_ms = clock().since(began).max(0);
        let mut memory = before.and_then(|known| known.track.memory.clone());
        let observed = observed.as_ref().map_err(String::as_str);
        let fault = check::judge(check, observed, latency_ms, facts, &mut memory, now);
        Look { fault, latency_ms, memory }
    }

    async fn observe(&self, check: &Check) -> Result<Observed, String> {
        let probes = &self.world.probes;
        let ask = async |binding, url: &str, authorization| {
            let milliseconds = check.timeout_ms.saturating_add(GRACE_MS);
            probes.ask(Question { binding, url, authorization, milliseconds }).await.map(Observed::Answer)
        };
        let observed = match &check.kind {
            Kind::D1 => self.write_and_read().await,
            Kind::R2 { binding } => {
                let key = format!("{PROBE}/{}", self.holder);
                probes.bucket(binding, &key, self.holder).await.map(|()| Observed::Done)
            }
            Kind::Kv { binding } => {
                probes.namespace(binding, PROBE, self.holder).await.map(|()| Observed::Done)
            }
            Kind::Queue { binding, dead, .. } => self.backlog(binding, dead).await,
            Kind::Worker { binding, path } => ask(Some(binding), path, None).await,
            Kind::EmqxStatus | Kind::EmqxStats { .. } | Kind::EmqxMetrics => {
                let Some(api) = self.broker else {
                    return Err("the broker's API is not configured".to_owned());
                };
                let path = match check.kind {
                    Kind::EmqxStatus => "/status",
                    Kind::EmqxStats { .. } => "/stats?aggregate=true",
                    _ => "/metrics?aggregate=true",
                };
                let authorization =
                    Some(api.authorization.as_str()).filter(|_| check.kind != Kind::EmqxStatus);
                ask(None, &format!("{}{path}", api.url), authorization).await
            }
            Kind::Http { url, .. } => ask(None, url, None).await,
            Kind::Triggers | Kind::Devices { .. } | Kind::Rounds | Kind::Secrets => Ok(Observed::Done),
        };
        observed.map_err(|error| error.cause)
    }

    async fn write_and_read(&self) -> Result<Observed, PortError> {
        let at = (self.world.clock)();
        let [wrote, read] = run(&self.world.db, [checks::probe(self.holder, at), checks::round()]).await?;
        let holder = first_row::<RoundRow>(&read)?.and_then(|round| round.holder);
        if wrote.changes == 1 && holder.as_deref() == Some(self.holder) {
            return Ok(Observed::Done);
        }
        Err(PortError::new("check_probe", "what was written is not there"))
    }

    async fn backlog(&self, binding: &str, dead: &str) -> Result<Observed, PortError> {
        let backlog = self.world.probes.backlog(binding).await?;
        let dead = self.world.probes.backlog(dead).await?;
        Ok(Observed::Backlog(backlog, dead.waiting))
    }
}

async fn heartbeat(probes: &impl Probes, url: Option<&str>) -> Result<(), String> {
    let Some(url) = url else { return Ok(()) };
    let question = Question {
        binding: None,
        url,
        authorization: None,
        milliseconds: HEARTBEAT_MS.saturating_add(GRACE_MS),
    };
    let answer = within(probes.ask(question), probes.pause(HEARTBEAT_MS)).await;
    match answer {
        None => Err(format!("no answer within {HEARTBEAT_MS} ms")),
        // The error's operation names the URL, and who has it can beat for us.
        Some(Err(error)) => Err(error.cause),
        Some(Ok(answer)) if (200..300).contains(&answer.status) => Ok(()),
        Some(Ok(answer)) => Err(format!("status {}", answer.status)),
    }
}

/// Deletes what is past its time, some at a time. What it did, for the log.
///
/// # Errors
/// When the database fails; the next day does what this one left.
pub async fn prune(db: &impl Database, now: UnixMillis) -> Result<String, PortError> {
    let before = now.plus(KEPT.saturating_neg());
    let border = RecordId::generate("inc", before, [0; 10]);
    let day = now.plus(DAYS_KEPT.saturating_neg()).date();
    let [_, incidents, windows, days] = run(
        db,
        [
            incidents::prune_events(&border, PRUNE),
            incidents::prune(&border, PRUNE),
            incidents::prune_windows(before, PRUNE),
            checks::prune_days(&day, PRUNE),
        ],
    )
    .await?;
    let (incidents, windows, days) = (incidents.changes, windows.changes, days.changes);
    Ok(format!("{incidents} incidents, {windows} maintenance windows, {days} component days deleted"))
}
