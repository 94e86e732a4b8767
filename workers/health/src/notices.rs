//! The minute's duty: what people are to be told is *collected* from those who left word of it, *planned* into channels, and
//! *delivered*.
//!
//! Each step stands for itself: what cannot be collected now keeps nothing from being sent that was said before, and a channel
//! that is down harms no other. Nothing is lost whatever fails: a notice is in the outbox before what it was made of is taken
//! from where it was, and a delivery waits there until the receiver has taken it.
//!
//! A channel is left for this minute at its first failure; whatever else waits for it comes with later ones. A send whose end
//! was not noted, because the database or this run went away meanwhile, is made again when the claim on it is over.
//!
//! All this needs the database. If that does not answer three times within ten seconds, `PagerDuty` is told straight, under a
//! `dedup_key` that never changes, so that it is one alert however long it lasts. Who comes by afterwards sees that the clock
//! stood still, and resolves it.

use rs1_domain::config::BadConfig;
use rs1_domain::event::Tick;
use rs1_domain::port::{Database, Messenger, PortError, Posted, Random};
use rs1_domain::time::{DAY, MINUTE, SECOND};
use rs1_domain::together::together;
use rs1_domain::{RecordId, UnixMillis, hex, json};
use rs1_ops::check::Kind;
use rs1_ops::collect::{self, AlertEntry, Collector, Run, Word};
use rs1_ops::incident::{self, Cause};
use rs1_ops::notice::{self, Channel, Notice, Reply, Tried, Unplanned, Verdict, judge};
use rs1_store::checks::{self, CheckRow};
use rs1_store::incidents::{self, IncidentRow, WindowRow};
use rs1_store::notices::{self, Claimed, CollectorRow, Count, Digest, If, Key, Settled};
use rs1_store::sql::{first_row, rows, run};
use rs1_store::{Statement, alerts, cron};

use crate::config::{Channels, Config};
use crate::round::typed;
use crate::world::{Ports, World};

/// The trigger.
pub const CRON: &str = "* * * * *";

/// How many alerts are collected at once.
const ALERTS: u32 = 500;
/// How much of what triggers left word of.
const WORDS: u32 = 200;
/// How often a run collects, if there is so much.
const COLLECTIONS: usize = 4;
/// How many notices are planned at once, and how often.
const PLANNED: u32 = 100;
const PLANS: usize = 5;
/// The most sends of a channel in a run. Each is a request and four queries, of which an invocation has 1,000 each.
const SENDS: usize = 40;
/// No send is begun later than this after a run's beginning: another one begins after a minute.
const SENDING: i64 = 40 * SECOND;
/// How long a delivery stays in the hand of whoever claimed it. A send takes 10 seconds at most.
const LEASE: i64 = 2 * MINUTE;
/// The most silent devices that are counted.
const SILENT: u32 = 20_000;
/// How long notices are kept, and how many go at once, once an hour.
const KEPT: i64 = 90 * DAY;
const PRUNED: u32 = 1_000;
/// How often the database is asked before it is taken to be away, and the wait between.
const ASKED: u32 = 3;
const BETWEEN: u32 = 5_000;
/// As much of a receiver's words as is kept.
const WORDS_KEPT: usize = 200;

/// Runs the trigger, unless that run was taken before. What it did, for the log.
///
/// # Errors
/// What failed first; it keeps the other steps from nothing.
pub async fn tick<P: Ports>(
    tick: &Tick,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, P>,
) -> Result<String, PortError> {
    let db = &world.db;
    let mut asked = 1_u32;
    let lease = loop {
        match run(db, [cron::begin("health", CRON, tick.scheduled, tick.now)]).await {
            Ok([lease]) => break lease,
            Err(error) if asked == ASKED => return Err(database_unreachable(config, world, error).await),
            Err(_) => world.messenger.pause(BETWEEN).await,
        }
        asked = asked.saturating_add(1);
    };
    if lease.changes == 0 {
        return Ok(cron::RUN_BEFORE.to_owned());
    }
    let done = [
        collect(config, world).await,
        match config {
            Ok(config) => plan_and_deliver(&config.channels, world).await,
            Err(faults) => Err(PortError::new("configuration", faults.0.join("; "))),
        },
        prune(db, tick).await,
    ];
    let outcome = done.into_iter().collect::<Result<Vec<_>, _>>().map(|done| done.join("; "));
    let (ok, detail) = match &outcome {
        Ok(done) => (true, done),
        Err(error) => (false, &error.operation),
    };
    run(db, [cron::finish("health", CRON, tick.scheduled, (world.clock)(), ok, detail)]).await?;
    outcome
}

/// Tells `PagerDuty` straight. Answers what is to be said in the log.
async fn database_unreachable<P: Ports>(
    config: Result<&Config, &BadConfig>,
    world: &World<'_, P>,
    error: PortError,
) -> PortError {
    let told = match config {
        Ok(Config { channels, .. }) if channels.pagerduty.is_some() => {
            let now = (world.clock)();
            let notice = collect::database_unreachable(now, new_id(&world.random, now));
            match send(channels, Channel::PagerDuty, &notice, world).await {
                Ok(Posted { status: 200..=299, .. }) => "PagerDuty was told".to_owned(),
                Ok(Posted { status, .. }) => format!("PagerDuty answered {status}"),
                Err(_) => "PagerDuty did not answer".to_owned(),
            }
        }
        _ => "PagerDuty is not configured".to_owned(),
    };
    PortError::new(format!("{}; {told}", error.operation), error.cause)
}

/// Makes notices of what others left word of.
async fn collect<P: Ports>(
    config: Result<&Config, &BadConfig>,
    world: &World<'_, P>,
) -> Result<String, PortError> {
    let mut told = 0_usize;
    for _ in 0..COLLECTIONS {
        let (more, number) = collect_some(config.ok(), world).await?;
        told = told.saturating_add(number);
        if !more {
            break;
        }
    }
    Ok(format!("{told} told"))
}

/// Whether there was as much as it collects at once, and how many notices it made.
async fn collect_some<P: Ports>(
    config: Option<&Config>,
    world: &World<'_, P>,
) -> Result<(bool, usize), PortError> {
    let (db, now) = (&world.db, (world.clock)());
    let [known, entries, words] =
        run(db, [notices::collector(), alerts::outbox(ALERTS), notices::inbox(WORDS)]).await?;
    let known: Option<CollectorRow> = first_row(&known)?;
    let (entries, words): (Vec<AlertEntry>, Vec<Word>) = (rows(&entries)?, rows(&words)?);
    let generation = known.as_ref().map_or(0, |known| known.generation);
    // What cannot be read is begun anew: counts of waves are worth less than that people are told.
    let mut collector: Collector = known.and_then(|known| json::read(&known.state).ok()).unwrap_or_default();
    let mut id = || new_id(&world.random, now);
    let mut run_ = Run { collector: &mut collector, open: Vec::new(), id: &mut id, now, told: Vec::new() };
    let mut keys: Vec<String> = entries.iter().map(AlertEntry::dedup_key).collect();
    keys.extend(words.iter().map(Word::dedup_key));
    let border = collect::border(run_.silent_since());
    let open = notices::open(&keys).map_err(|error| bad_json(&error))?;
    let [open, silent] = run(db, [open, notices::silent_devices(&border, SILENT)]).await?;
    run_.open = rows::<Key>(&open)?.into_iter().map(|key| key.dedup_key).collect();
    let silent = first_row::<Count>(&silent)?.map_or(0, |silent| silent.count);
    let cause = if run_.asks_why(silent) { cause_of_silence(config, db, now).await? } else { Cause::Unknown };
    run_.wake();
    run_.alerts(&entries);
    run_.silent(silent, &cause);
    run_.words(&words);
    let mut digest_failed = None;
    let digest_at = config.and_then(|config| config.digest_at);
    if digest_at.is_some_and(|minute| run_.digest_is_due(minute)) {
        match digest(db, now).await {
            Ok(lines) => run_.digest(&lines),
            Err(error) => digest_failed = Some(error),
        }
    }
    let told = run_.told;
    let numbers = |all: &mut dyn Iterator<Item = i64>| all.collect::<Vec<_>>();
    let entry_ids = numbers(&mut entries.iter().map(|entry| entry.entry_id));
    let word_ids = numbers(&mut words.iter().map(|word| word.entry_id));
    let state = json::write(&collector).map_err(|error| bad_json(&error))?;
    let commit = [
        notices::tell(&told, If::Uncollected(generation), now).map_err(|error| bad_json(&error))?,
        alerts::taken(&entry_ids, generation, now).map_err(|error| bad_json(&error))?,
        notices::empty_inbox(&word_ids, generation).map_err(|error| bad_json(&error))?,
        notices::collected(&state, generation),
    ];
    run(db, commit).await?;
    if let Some(error) = digest_failed {
        return Err(error);
    }
    let full = |found: usize, limit: u32| found >= usize::try_from(limit).unwrap_or(usize::MAX);
    Ok((full(entries.len(), ALERTS) || full(words.len(), WORDS), told.len()))
}

/// Why devices may be silent, as the rounds of checks left things: what explains the check of them explains silence.
async fn cause_of_silence(
    config: Option<&Config>,
    db: &impl Database,
    now: UnixMillis,
) -> Result<Cause, PortError> {
    let list = config.map_or(&[][..], |config| &config.checks);
    let Some(devices) = list.iter().find(|check| matches!(check.kind, Kind::Devices { .. })) else {
        return Ok(Cause::Unknown);
    };
    let [known, open, windows] =
        run(db, [checks::list(), incidents::open(), incidents::windows_at(now)]).await?;
    let (known, open) = (typed::<CheckRow, _>(&known)?, typed::<IncidentRow, _>(&open)?);
    Ok(incident::cause(devices, list, &known, &open, &typed::<WindowRow, _>(&windows)?, now))
}

/// The lines of the day that ends now.
async fn digest(db: &impl Database, now: UnixMillis) -> Result<Vec<String>, PortError> {
    let yesterday = now.plus(-DAY);
    let since = RecordId::generate("sec", yesterday, [0; 10]);
    let [digest] = run(db, [notices::digest(&since, yesterday)]).await?;
    let digest = first_row::<Digest>(&digest)?.ok_or_else(|| PortError::new("digest", "there is none"))?;
    json::read(&digest.lines).map_err(|error| bad_json(&error))
}

/// Decides where notices go, and sends what is due.
async fn plan_and_deliver<P: Ports>(channels: &Channels, world: &World<'_, P>) -> Result<String, PortError> {
    let configured = channels.configured();
    let planned = plan(&configured, &world.db, (world.clock)()).await;
    let sent = together(configured.iter().map(|channel| drain(channels, *channel, world)).collect()).await;
    let sent = sent.into_iter().collect::<Result<Vec<_>, _>>()?;
    planned?;
    Ok(if sent.is_empty() { "no channel is configured".to_owned() } else { sent.join(", ") })
}

async fn plan(configured: &[Channel], db: &impl Database, now: UnixMillis) -> Result<(), PortError> {
    for _ in 0..PLANS {
        let [unplanned] = run(db, [notices::unplanned(PLANNED)]).await?;
        let unplanned: Vec<Unplanned> = rows(&unplanned)?;
        if unplanned.is_empty() {
            break;
        }
        let deliveries = notice::plan(&unplanned, configured);
        run(db, notices::plan(&unplanned, &deliveries, now).map_err(|error| bad_json(&error))?).await?;
    }
    Ok(())
}

/// Sends what is due in a channel, one after the other.
async fn drain<P: Ports>(
    channels: &Channels,
    channel: Channel,
    world: &World<'_, P>,
) -> Result<String, PortError> {
    let (db, began) = (&world.db, (world.clock)());
    let mut sent = 0_usize;
    let mut given_up = Vec::new();
    // How the send before this one ended, which is noted together with the next claim.
    let mut ended: Vec<Statement> = Vec::new();
    for _ in 0..SENDS {
        let now = (world.clock)();
        if now.since(began) >= SENDING {
            break;
        }
        let (claim, until) = (hex::encode(&world.random.bytes::<8>()), now.plus(LEASE));
        ended.push(notices::claim(channel, &claim, now, until));
        ended.push(notices::claimed(channel, &claim, until));
        let outcomes = db.batch(std::mem::take(&mut ended)).await?;
        let claimed = outcomes.last().map(first_row::<Claimed>).transpose()?.flatten();
        let Some(claimed) = claimed else { break };
        let (attempts, since, seq) = (claimed.attempts, claimed.since, claimed.seq);
        let notice = notice_of(claimed);
        let answer = send(channels, channel, &notice, world).await;
        let now = (world.clock)();
        let reply = answer.as_ref().ok().map(|it| Reply::new(it.status, it.retry_after.as_deref()));
        let roll = u16::from_le_bytes(world.random.bytes());
        let verdict = judge(&Tried { reply, attempts, since }, now, roll);
        let wrong = match &answer {
            // What is in a fetch's error may be the URL, which may be a secret.
            Err(_) => "no answer".to_owned(),
            Ok(it) => {
                format!("status {}: {}", it.status, it.text.chars().take(WORDS_KEPT).collect::<String>())
            }
        };
        let (state, next_at, quiet_until) = match verdict {
            Verdict::Sent => ("sent", None, None),
            Verdict::GivenUp => ("failed", None, None),
            Verdict::Again { at, quiet_until } => ("waiting", Some(at), quiet_until),
        };
        let settled = Settled {
            seq,
            channel,
            claim: &claim,
            state,
            next_at,
            status: reply.map(|reply| reply.status),
            error: (verdict != Verdict::Sent).then_some(wrong.as_str()),
            quiet_until,
        };
        ended.extend(notices::settle(&settled, now));
        match verdict {
            Verdict::Sent => sent = sent.saturating_add(1),
            Verdict::GivenUp => given_up.push(format!("{}: {wrong}", notice.notice_id)),
            Verdict::Again { .. } => {
                db.batch(ended).await?;
                return Err(PortError::new(format!("notices to {}", channel.as_str()), wrong));
            }
        }
    }
    if !ended.is_empty() {
        db.batch(ended).await?;
    }
    if !given_up.is_empty() {
        let operation = format!("notices that {} will not take", channel.as_str());
        return Err(PortError::new(operation, given_up.join("; ")));
    }
    Ok(format!("{sent} to {}", channel.as_str()))
}

/// Sends a notice through a channel.
async fn send<P: Ports>(
    channels: &Channels,
    channel: Channel,
    notice: &Notice,
    world: &World<'_, P>,
) -> Result<Posted, PortError> {
    const JSON: (&str, &str) = ("content-type", "application/json");
    const AGENT: (&str, &str) = ("user-agent", "rs1-cloud/1");
    let missing = || PortError::new(channel.as_str(), "it is not configured");
    let (post, origin) = (&world.messenger, channels.origin);
    match channel {
        Channel::PagerDuty => {
            let to = channels.pagerduty.as_ref().ok_or_else(missing)?;
            let body = notice::pagerduty(notice, to.routing_key.expose(), origin);
            post.post(&to.url, &[JSON, AGENT], &body).await
        }
        Channel::Slack => {
            let to = channels.slack.as_ref().ok_or_else(missing)?;
            let body = notice::slack(notice, origin);
            post.post(to.expose(), &[JSON, AGENT], &body).await
        }
        Channel::Webhook => {
            let to = channels.webhook.as_ref().ok_or_else(missing)?;
            let body = notice::webhook(notice, origin);
            let signature = to.keys.sign(&body, (world.clock)());
            let own = [("x-rs1-notice-id", notice.notice_id.as_str()), ("x-rs1-signature", &signature)];
            post.post(&to.url, &[JSON, AGENT, own[0], own[1]], &body).await
        }
    }
}

fn notice_of(claimed: Claimed) -> Notice {
    Notice {
        notice_id: claimed.notice_id,
        said: String::new(),
        source: claimed.source,
        dedup_key: claimed.dedup_key,
        what: claimed.what,
        severity: claimed.severity,
        component: claimed.component,
        summary: claimed.summary,
        at: claimed.at,
        detail: claimed.detail,
    }
}

/// Forgets what is old, once an hour.
async fn prune(db: &impl Database, tick: &Tick) -> Result<String, PortError> {
    if tick.scheduled.0.div_euclid(MINUTE).rem_euclid(60) != 47 {
        return Ok("nothing forgotten".to_owned());
    }
    let [_, notices] = run(db, notices::prune(tick.now.plus(-KEPT), PRUNED)).await?;
    Ok(format!("{} forgotten", notices.changes))
}

/// The id of a new notice.
pub fn new_id(random: &impl Random, now: UnixMillis) -> String {
    RecordId::generate("ntc", now, random.bytes()).to_string()
}

fn bad_json(error: &json::Error) -> PortError {
    PortError::new("notices", error.to_string())
}
