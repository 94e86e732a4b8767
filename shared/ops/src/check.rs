//! What is checked: a typed list, read from configuration with every fault named, and what becomes of a look at each
//! ([`judge`]): a sentence that says what is wrong, or nothing.
//!
//! A check says nothing of what somebody is to be told: whether its results make an incident is
//! [`incident`](crate::incident)'s to decide.

use rs1_domain::port::{Answered, Backlog};
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Faults, UnixMillis, json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::middle::middle;
use crate::rotation::{self, Rotation};

/// How often a round of checks is due.
pub const PERIOD: i64 = 5 * MINUTE;
/// Two missed rounds and a bit: then the checker itself was not at work.
const ROUND_DUE: i64 = 12 * MINUTE;
/// The longest a fault is told.
const FAULT_CHARS: usize = 300;

/// How bad it is. The worst is the least.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "IncidentSeverity"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// People cannot use the product, or data is being lost.
    #[serde(rename = "SEV1")]
    Sev1,
    /// A part of it does not work.
    #[serde(rename = "SEV2")]
    Sev2,
    /// Something is wrong that people hardly notice yet.
    #[serde(rename = "SEV3")]
    Sev3,
    /// Somebody should look at it one of these days.
    #[serde(rename = "SEV4")]
    Sev4,
}

impl Severity {
    const ALL: [Self; 4] = [Self::Sev1, Self::Sev2, Self::Sev3, Self::Sev4];

    /// Its number, from 1.
    pub fn number(self) -> u8 {
        match self {
            Self::Sev1 => 1,
            Self::Sev2 => 2,
            Self::Sev3 => 3,
            Self::Sev4 => 4,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sev1 => "SEV1",
            Self::Sev2 => "SEV2",
            Self::Sev3 => "SEV3",
            Self::Sev4 => "SEV4",
        }
    }

    /// Reads the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }

    /// Within how many milliseconds somebody is to have acknowledged it: a quarter of an hour, an hour, four, a day.
    pub fn response_ms(self) -> i64 {
        match self {
            Self::Sev1 => 15 * MINUTE,
            Self::Sev2 => HOUR,
            Self::Sev3 => 4 * HOUR,
            Self::Sev4 => DAY,
        }
    }
}

/// Something that is looked at in every round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name: small letters, digits and hyphens.
    pub id: String,
    /// What it is a part of, to people; named likewise.
    pub component: String,
    /// Checks of one group share their incidents. A check that names none is one by itself.
    pub group: String,
    /// The checks without which this one cannot go well: their faults explain its own.
    pub needs: Vec<String>,
    /// What is done.
    pub kind: Kind,
    /// How long it may take.
    pub timeout_ms: u32,
    /// How bad it is when it fails.
    pub severity: Severity,
    /// How bad it is when all of its group fail.
    pub together: Severity,
    /// It is down once so many …
    pub fails: usize,
    /// … of the latest so many results found a fault.
    pub of: usize,
    /// It is up again once so many in a row found none.
    pub recovers: usize,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writes a row of the database, and reads it.
    D1,
    /// Puts a probe into a bucket, gets it, deletes it.
    R2 {
        /// The bucket's binding.
        binding: String,
    },
    /// Puts a probe into a KV namespace, and asks for it. A place that has not heard of it yet is well.
    Kv {
        /// The namespace's binding.
        binding: String,
    },
    /// Asks a queue, and its dead-letter queue, how much waits in them.
    Queue {
        /// The queue's binding.
        binding: String,
        /// The dead-letter queue's binding.
        dead: String,
        /// The oldest message may wait this long, in seconds.
        oldest_s: i64,
    },
    /// Asks one of our workers how it is, over its service binding.
    Worker {
        /// The binding.
        binding: String,
        /// The path of its health route.
        path: String,
    },
    /// Asks the broker's API whether it runs.
    EmqxStatus,
    /// Compares the broker's connections with the devices that are online.
    EmqxStats {
        /// Most of the devices that may be missing on either side, in percent.
        off_percent: u32,
    },
    /// Compares the broker's counters with those of the round before.
    EmqxMetrics,
    /// Whether the triggers of all workers ran when they were due, and well.
    Triggers,
    /// Whether many devices went offline within a quarter of an hour.
    Devices {
        /// That many of those that are online, in percent.
        wave_percent: u32,
    },
    /// Whether the rounds themselves come when they are due.
    Rounds,
    /// Whether secrets are replaced when they are due, and the ones before them dropped.
    Secrets,
    /// Asks somebody's HTTP server.
    Http {
        /// What is asked for.
        url: String,
        /// What it is to answer.
        expect: Expect,
    },
}

impl Kind {
    /// Its name in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::D1 => "d1",
            Self::R2 { .. } => "r2",
            Self::Kv { .. } => "kv",
            Self::Queue { .. } => "queue",
            Self::Worker { .. } => "worker",
            Self::EmqxStatus => "emqx_status",
            Self::EmqxStats { .. } => "emqx_stats",
            Self::EmqxMetrics => "emqx_metrics",
            Self::Triggers => "triggers",
            Self::Devices { .. } => "devices",
            Self::Rounds => "rounds",
            Self::Secrets => "secrets",
            Self::Http { .. } => "http",
        }
    }

    /// Whether it asks the broker's API.
    pub fn is_emqx(&self) -> bool {
        matches!(self, Self::EmqxStatus | Self::EmqxStats { .. } | Self::EmqxMetrics)
    }
}

/// What an HTTP server is to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// One of these; none: 200 to 299.
    pub status: Vec<u16>,
    /// Within so many milliseconds.
    pub max_ms: Option<i64>,
    /// A JSON object with these members, whatever else it has.
    pub json: Map<String, Value>,
    /// A body with this text in it.
    pub contains: Option<String>,
    /// A redirect to a place that begins like this: who has not signed in is sent there, and only there. Nothing else of the
    /// above is looked at then, but the time.
    pub login: Option<String>,
}

/// What a look at something came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It did what it was asked to.
    Done,
    /// It answered.
    Answer(Answered),
    /// So much waits, and so many messages were given up.
    Backlog(Backlog, u64),
}

/// What the database knows that looks are compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Devices that are online.
    pub online: u64,
    /// Devices that went offline without leave within the last quarter of an hour.
    pub gone: u64,
    /// The latest run of each trigger.
    pub runs: Vec<Run>,
    /// The latest round before this one.
    pub last_round: Option<UnixMillis>,
    /// When secrets were replaced.
    pub rotations: Vec<Rotation>,
}

/// The latest run of a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose it is.
    pub worker: String,
    /// When it is due.
    pub cron: String,
    /// When it began.
    pub started_at: UnixMillis,
    /// Whether it went well; `None` while it runs, or if it was cut off.
    pub ok: Option<bool>,
}

/// What the next look is compared with: the broker's counters, and how many messages a minute are usual.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "BrokerCounters"))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// When the counters were read, in Unix milliseconds.
    pub at: i64,
    /// Messages that came in.
    pub received: i64,
    /// Messages that were dropped though somebody should have got them.
    pub dropped: i64,
    /// Authentications that failed.
    pub refused: i64,
    /// Messages a minute, of the latest rounds.
    pub rates: Vec<i64>,
}

/// Authentications that may fail in a minute.
const MOST_REFUSED: i64 = 10;
/// Rounds by which it is told what is usual, two hours; and the fewest by which it can be told.
const USUAL_ROUNDS: usize = 24;
const LEAST_ROUNDS: usize = 6;
/// Below so many messages a minute nothing is usual: a device that comes or goes is half of it.
const LEAST_RATE: i64 = 60;
/// Counters that were read so shortly after one another tell no rate.
const LEAST_BETWEEN: i64 = 30_000;
/// Fewer devices are no wave, and no matter beside the broker's own connections.
const FEW_DEVICES: u64 = 5;

/// What is wrong with what was seen; `None` if nothing is. `memory` is what was remembered, and is changed to what is to be.
///
/// # Errors
/// What is wrong, a sentence for people.
pub fn judge(
    check: &Check,
    observed: Result<&Observed, &str>,
    latency_ms: i64,
    facts: &Facts,
    memory: &mut Option<Memory>,
    now: UnixMillis,
) -> Option<String> {
    let fault = match observed {
        Err(why) => Some(why.to_owned()),
        Ok(observed) => match (&check.kind, observed) {
            (Kind::Http { expect, .. }, Observed::Answer(answer)) => unexpected(expect, answer, latency_ms),
            (Kind::Worker { .. }, Observed::Answer(answer)) => ill_worker(answer),
            (Kind::EmqxStatus, Observed::Answer(answer)) => ill_broker(answer),
            (Kind::EmqxStats { off_percent }, Observed::Answer(answer)) => {
                numbers(answer).map_or_else(Some, |stats| miscounted(&stats, *off_percent, facts.online))
            }
            (Kind::EmqxMetrics, Observed::Answer(answer)) => {
                numbers(answer).map_or_else(Some, |metrics| unusual(&metrics, memory, now))
            }
            (Kind::Queue { oldest_s, .. }, Observed::Backlog(backlog, dead)) => {
                late(backlog, *dead, *oldest_s, now)
            }
            (Kind::Triggers, _) => overdue(&facts.runs, now),
            (Kind::Devices { wave_percent }, _) => wave(facts, *wave_percent),
            (Kind::Rounds, _) => facts.last_round.filter(|at| now.since(*at) > ROUND_DUE).map(|at| {
                format!("nothing was checked from {at} to {now}: the rounds before this one did not come")
            }),
            (Kind::Secrets, _) => {
                let told = rotation::warnings(&facts.rotations, now);
                (!told.is_empty()).then(|| told.join("; "))
            }
            _ => None,
        },
    };
    fault.map(|text| text.chars().take(FAULT_CHARS).collect())
}

/// What is wrong with an HTTP answer.
fn unexpected(expect: &Expect, answer: &Answered, latency_ms: i64) -> Option<String> {
    let status = answer.status;
    if let Some(most) = expect.max_ms.filter(|most| latency_ms > *most) {
        return Some(format!("it took {latency_ms} ms to answer, and may take {most}"));
    }
    // Cloudflare's own statuses for a server whose TLS it does not accept.
    if matches!(status, 525 | 526) {
        return Some(format!("its certificate is not valid (status {status})"));
    }
    if let Some(login) = &expect.login {
        return match status {
            301..=308 if answer.location.starts_with(login) => None,
            301..=308 => Some(format!("it redirects, but not to {login}")),
            200..=299 => Some(format!("it lets everybody in: status {status} without a login")),
            _ => Some(format!("status {status}, where a redirect to {login} is expected")),
        };
    }
    let fine =
        if expect.status.is_empty() { (200..300).contains(&status) } else { expect.status.contains(&status) };
    if !fine {
        return Some(format!("status {status}"));
    }
    if let Some(text) = expect.contains.as_ref().filter(|text| !answer.body.contains(text.as_str())) {
        return Some(format!("its answer does not contain \"{text}\""));
    }
    if expect.json.is_empty() {
        return None;
    }
    let Ok(Value::Object(found)) = json::parse(&answer.body) else {
        return Some("its answer is no JSON object".to_owned());
    };
    let wrong = |(name, wanted): (&String, &Value)| match found.get(name) {
        Some(value) if value == wanted => None,
        Some(value) => Some(format!("{name} is {value}, not {wanted}")),
        None => Some(format!("{name} is missing")),
    };
    let wrong: Vec<String> = expect.json.iter().filter_map(wrong).collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

/// What is wrong with one of our workers: it says so itself.
fn ill_worker(answer: &Answered) -> Option<String> {
    if answer.status == 200 {
        return None;
    }
    let Ok(Value::Object(health)) = json::parse(&answer.body) else {
        return Some(format!("status {}", answer.status));
    };
    let checks = health.get("checks").and_then(Value::as_object).into_iter().flatten();
    let failed = checks.filter(|(_, check)| check.get("status").and_then(Value::as_str) != Some("ok"));
    let said: Vec<String> = failed
        .map(|(name, check)| match check.get("detail").and_then(Value::as_str) {
            Some(detail) => format!("{name}: {detail}"),
            None => name.clone(),
        })
        .collect();
    Some(format!("status {}: {}", answer.status, said.join("; ")))
}

/// What is wrong with a broker that was asked whether it runs.
fn ill_broker(answer: &Answered) -> Option<String> {
    let said = answer.body.chars().take(100).collect::<String>().replace('\n', ", ");
    let runs = answer.status == 200 && answer.body.contains("is running");
    (!runs).then(|| format!("status {}: {said}", answer.status))
}

/// The numbers of a broker's answer: one object, or a list with one a node.
fn numbers(answer: &Answered) -> Result<Map<String, Value>, String> {
    if answer.status != 200 {
        return Err(format!("status {}", answer.status));
    }
    match json::parse(&answer.body) {
        Ok(Value::Object(numbers)) => Ok(numbers),
        _ => Err("its numbers are no JSON object".to_owned()),
    }
}

fn number(numbers: &Map<String, Value>, name: &str) -> Option<i64> {
    numbers.get(name).and_then(Value::as_i64)
}

/// What is wrong with how many clients are connected.
fn miscounted(stats: &Map<String, Value>, off_percent: u32, online: u64) -> Option<String> {
    let Some(live) = number(stats, "live_connections.count").and_then(|live| u64::try_from(live).ok()) else {
        return Some("it does not say how many clients are connected".to_owned());
    };
    let allowed = percent(live.max(online), off_percent).max(FEW_DEVICES);
    (live.abs_diff(online) > allowed)
        .then(|| format!("{live} clients are connected, and {online} devices are said to be online"))
}

fn percent(of: u64, percent: u32) -> u64 {
    of.saturating_mul(u64::from(percent)).div_euclid(100)
}

/// What is wrong with how the broker's counters went on. A counter that fell was begun anew, and tells nothing.
fn unusual(metrics: &Map<String, Value>, memory: &mut Option<Memory>, now: UnixMillis) -> Option<String> {
    let count = |name| number(metrics, name).unwrap_or_default();
    let Some(received) = number(metrics, "messages.received") else {
        return Some("it does not say how many messages it received".to_owned());
    };
    // What rules alone are interested in has no subscriber; a trigger that expires was for a device that is away.
    let dropped = count("messages.dropped")
        .saturating_sub(count("messages.dropped.no_subscribers"))
        .saturating_add(count("delivery.dropped"))
        .saturating_sub(count("delivery.dropped.expired"))
        .saturating_sub(count("delivery.dropped.no_local"));
    let refused = count("authentication.failure");
    let before = memory.take().unwrap_or_default();
    let elapsed = now.since(UnixMillis(before.at));
    if before.at > 0 && elapsed < LEAST_BETWEEN {
        *memory = Some(before);
        return None;
    }
    let next = Memory { at: now.0, received, dropped, refused, rates: before.rates };
    let came = received.saturating_sub(before.received);
    let lost = dropped.saturating_sub(before.dropped);
    let denied = refused.saturating_sub(before.refused);
    let Memory { mut rates, .. } = next.clone();
    if before.at == 0 || came < 0 || lost < 0 || denied < 0 {
        *memory = Some(next);
        return None;
    }
    let a_minute = |count: i64| count.saturating_mul(MINUTE).checked_div(elapsed).unwrap_or_default();
    let rate = a_minute(came);
    let mut faults = Vec::new();
    if a_minute(denied) > MOST_REFUSED {
        faults.push(format!("{} authentications a minute fail", a_minute(denied)));
    }
    if lost.saturating_mul(1_000) > came.max(1) && lost > 1 {
        faults.push(format!("{lost} messages were dropped of {came}"));
    }
    let usual = middle(&rates).filter(|usual| rates.len() >= LEAST_ROUNDS && *usual >= LEAST_RATE);
    if let Some(usual) = usual
        && rate.abs_diff(usual).saturating_mul(2) > usual.unsigned_abs()
    {
        faults.push(format!("{rate} messages a minute come in, where {usual} are usual"));
    }
    rates.push(rate);
    let surplus = rates.len().saturating_sub(USUAL_ROUNDS);
    *memory = Some(Memory { rates: rates.into_iter().skip(surplus).collect(), ..next });
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// What is wrong with what waits in a queue.
fn late(backlog: &Backlog, dead: u64, oldest_s: i64, now: UnixMillis) -> Option<String> {
    let mut faults = Vec::new();
    let age = backlog.oldest_at.map_or(0, |at| now.since(at).div_euclid(1_000));
    if backlog.waiting > 0 && age > oldest_s {
        faults.push(format!("the oldest of {} messages waits for {age} s", backlog.waiting));
    }
    if dead > 0 {
        faults.push(format!("{dead} messages were given up"));
    }
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// What is wrong with the triggers.
fn overdue(runs: &[Run], now: UnixMillis) -> Option<String> {
    let fault = |run: &Run| {
        let Run { worker, cron, started_at, ok } = run;
        let age = now.since(*started_at);
        if age > period(cron).saturating_mul(2).saturating_add(PERIOD) {
            Some(format!("{worker} \"{cron}\" last ran at {started_at}"))
        } else if *ok == Some(false) {
            Some(format!("{worker} \"{cron}\" failed"))
        } else {
            // A trigger may run for a quarter of an hour.
            (ok.is_none() && age > 16 * MINUTE).then(|| format!("{worker} \"{cron}\" was cut off"))
        }
    };
    let faults: Vec<String> = runs.iter().filter_map(fault).collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// How long it is from one run of a trigger to the next, for the expressions that ours are: every so many minutes, hourly, daily.
fn period(cron: &str) -> i64 {
    let mut fields = cron.split(' ');
    let (minute, hour) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    match (minute, minute.strip_prefix("*/").and_then(|every| every.parse::<i64>().ok()), hour) {
        ("*", ..) => MINUTE,
        (_, Some(every), _) => every.saturating_mul(MINUTE),
        (_, None, "*") => HOUR,
        _ => DAY,
    }
}

/// Whether many devices went offline at once.
fn wave(facts: &Facts, wave_percent: u32) -> Option<String> {
    let Facts { online, gone, .. } = facts;
    let there = online.saturating_add(*gone);
    (*gone > FEW_DEVICES && *gone > percent(there, wave_percent))
        .then(|| format!("{gone} of {there} devices went offline within a quarter of an hour"))
}

/// Reads a list of checks out of settings, each a JSON array under its name.
///
/// # Errors
/// Every fault, with the setting and the check that it is of.
pub fn read_list(settings: &[(&str, &str)]) -> Result<Vec<Check>, Vec<String>> {
    let (mut checks, mut faults) = (Vec::<Check>::new(), Vec::new());
    for (name, text) in settings {
        let Ok(Value::Array(items)) = json::parse(text) else {
            faults.push(format!("{name} must be a JSON array of checks"));
            continue;
        };
        for (at, item) in items.iter().enumerate() {
            let Value::Object(object) = item else {
                faults.push(format!("{name}[{at}] must be an object"));
                continue;
            };
            let mut reader = Reader { fields: Fields::new(object, ""), faults: Faults::new() };
            let check = reader.check();
            let twice = !check.id.is_empty() && checks.iter().any(|known| known.id == check.id);
            reader.faults.require(!twice, "/id", "must be no other check's");
            let of = if check.id.is_empty() { String::new() } else { format!(" {}", check.id) };
            for fault in reader.faults.as_slice() {
                faults.push(format!("{name}[{at}]{of}: {} {}", fault.pointer, fault.detail));
            }
            checks.push(check);
        }
    }
    // In a list of which something could not be read, needs would seem to name nothing.
    if faults.is_empty() {
        faults.extend(needs_faults(&checks));
    }
    if faults.is_empty() { Ok(checks) } else { Err(faults) }
}

/// What is wrong with who needs whom: names that nobody has, circles.
fn needs_faults(checks: &[Check]) -> Vec<String> {
    let find = |id: &str| checks.iter().find(|check| check.id == id);
    let mut faults = Vec::new();
    for check in checks {
        for need in check.needs.iter().filter(|need| find(need).is_none()) {
            faults.push(format!("check {}: there is no check {need} that it could need", check.id));
        }
        // Everything that it needs, however far away. The list grows while it is walked.
        let mut reached: Vec<&str> = check.needs.iter().map(String::as_str).collect();
        let mut at = 0_usize;
        while let Some(id) = reached.get(at).copied() {
            for further in find(id).into_iter().flat_map(|check| &check.needs) {
                if !reached.contains(&further.as_str()) {
                    reached.push(further);
                }
            }
            at = at.saturating_add(1);
        }
        if reached.contains(&check.id.as_str()) {
            faults.push(format!("check {}: it must not need itself", check.id));
        }
    }
    faults
}

/// Reads one check of the configuration. What cannot be read is a fault, and something or other in its place.
struct Reader<'a> {
    fields: Fields<'a>,
    faults: Faults,
}

/// What every check may say.
const COMMON: [&str; 10] =
    ["id", "component", "kind", "group", "needs", "timeout_ms", "severity", "together", "fails", "recovers"];
const URL: &str = "must be an http or https URL";
const NAME: &str = "must be 1 to 40 small letters, digits and hyphens";

fn is_name(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&text.len()) && text.bytes().all(fine)
}

fn is_binding(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.bytes().all(fine)
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty()) && !text.contains(char::is_whitespace)
}

impl Reader<'_> {
    fn optional_text(&mut self, field: &str, expected: &str, fine: fn(&str) -> bool) -> Option<String> {
        self.fields.optional(field, expected, &mut self.faults, |value| {
            value.as_str().filter(|text| fine(text)).map(str::to_owned)
        })
    }

    fn text(&mut self, field: &str, expected: &str, fine: fn(&str) -> bool) -> String {
        if self.fields.value(field).is_none() {
            self.faults.add(self.fields.pointer(field), format!("is required and {expected}"));
        }
        self.optional_text(field, expected, fine).unwrap_or_default()
    }

    fn binding(&mut self, field: &str) -> String {
        self.text(field, "must be the name of a binding", is_binding)
    }

    fn number(&mut self, field: &str, from: i64, to: i64, default: i64) -> i64 {
        let expected = format!("must be a whole number from {from} to {to}");
        let read = |value: &Value| fields::integer(value, from..=to);
        self.fields.optional(field, &expected, &mut self.faults, read).unwrap_or(default)
    }

    fn severity(&mut self, field: &str, default: Severity) -> Severity {
        let read = |value: &Value| Severity::parse(value.as_str()?);
        let expected = "must be SEV1, SEV2, SEV3 or SEV4";
        self.fields.optional(field, expected, &mut self.faults, read).unwrap_or(default)
    }

    /// A list of what `read` understands; an empty one if it is not there.
    fn list<T>(&mut self, field: &str, expected: &str, read: fn(&Value) -> Option<T>) -> Vec<T> {
        let list = self.fields.optional(field, expected, &mut self.faults, |value| {
            value.as_array()?.iter().map(read).collect::<Option<Vec<T>>>()
        });
        list.unwrap_or_default()
    }

    fn check(&mut self) -> Check {
        let id = self.text("id", NAME, is_name);
        let component = self.text("component", NAME, is_name);
        let group = self.optional_text("group", NAME, is_name).unwrap_or_else(|| id.clone());
        let needs = self.list("needs", "must be a list of checks", |value| value.as_str().map(str::to_owned));
        let timeout_ms = self.number("timeout_ms", 100, 30_000, 10_000);
        let severity = self.severity("severity", Severity::Sev3);
        let together = self.severity("together", severity);
        let expected = "must be like \"2 of 3\", of 12 at most";
        let often = self.fields.optional("fails", expected, &mut self.faults, |value| {
            let (fails, of) = value.as_str()?.split_once(" of ")?;
            let (fails, of): (usize, usize) = (fails.parse().ok()?, of.parse().ok()?);
            (1 <= fails && fails <= of && of <= 12).then_some((fails, of))
        });
        let (fails, of) = often.unwrap_or((2, 3));
        let recovers = self.number("recovers", 1, 12, 2);
        let kind = self.kind();
        Check {
            id,
            component,
            group,
            needs,
            kind,
            timeout_ms: u32::try_from(timeout_ms).unwrap_or_default(),
            severity,
            together,
            fails,
            of,
            recovers: usize::try_from(recovers).unwrap_or_default(),
        }
    }

    fn kind(&mut self) -> Kind {
        let share = |number: i64| u32::try_from(number).unwrap_or_default();
        let name = self.fields.value("kind").and_then(Value::as_str).unwrap_or_default();
        let (kind, own): (_, &[&str]) = match name {
            "d1" => (Kind::D1, &[]),
            "r2" => (Kind::R2 { binding: self.binding("binding") }, &["binding"]),
            "kv" => (Kind::Kv { binding: self.binding("binding") }, &["binding"]),
            "queue" => {
                let (binding, dead) = (self.binding("binding"), self.binding("dead"));
                let oldest_s = self.number("oldest_s", 1, 86_400, 900);
                (Kind::Queue { binding, dead, oldest_s }, &["binding", "dead", "oldest_s"])
            }
            "worker" => {
                let binding = self.binding("binding");
                let path = self.text("path", "must be a path", |text| text.starts_with('/'));
                (Kind::Worker { binding, path }, &["binding", "path"])
            }
            "emqx_status" => (Kind::EmqxStatus, &[]),
            "emqx_stats" => {
                let off_percent = share(self.number("off_percent", 1, 100, 20));
                (Kind::EmqxStats { off_percent }, &["off_percent"])
            }
            "emqx_metrics" => (Kind::EmqxMetrics, &[]),
            "triggers" => (Kind::Triggers, &[]),
            "devices" => {
                let wave_percent = share(self.number("wave_percent", 1, 100, 10));
                (Kind::Devices { wave_percent }, &["wave_percent"])
            }
            "rounds" => (Kind::Rounds, &[]),
            "secrets" => (Kind::Secrets, &[]),
            "http" => {
                let url = self.text("url", URL, is_url);
                let kind = Kind::Http { url, expect: self.expect() };
                (kind, &["url", "status", "max_ms", "json", "contains", "login"])
            }
            _ => {
                let known = "must be d1, r2, kv, queue, worker, emqx_status, emqx_stats, emqx_metrics, triggers, devices, rounds, secrets or http";
                self.faults.add("/kind", known);
                // What else it may say depends on it.
                return Kind::D1;
            }
        };
        let known: Vec<&str> = COMMON.iter().chain(own).copied().collect();
        self.fields.refuse_unknown(&known, &mut self.faults);
        kind
    }

    fn expect(&mut self) -> Expect {
        let status = self.list("status", "must be a list of HTTP statuses", |value| {
            fields::integer(value, 100..=599).and_then(|status| u16::try_from(status).ok())
        });
        let json = self
            .fields
            .optional("json", "must be an object", &mut self.faults, |value| value.as_object().cloned());
        let most = self.number("max_ms", 1, 30_000, 0);
        Expect {
            status,
            max_ms: Some(most).filter(|most| *most > 0),
            json: json.unwrap_or_default(),
            contains: self.optional_text("contains", "must be a text", |text| !text.is_empty()),
            login: self.optional_text("login", URL, is_url),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_763_694_000_000);

    fn check(mut fields: Value) -> Check {
        fields["id"] = json!("it");
        fields["component"] = json!("part");
        read_list(&[("CHECKS", &Value::from(vec![fields]).to_string())]).unwrap().remove(0)
    }

    fn faults(list: &Value) -> Vec<String> {
        read_list(&[("CHECKS", &list.to_string())]).unwrap_err()
    }

    /// What is wrong with an answer.
    fn http(mut expect: Value, status: u16, location: &str, body: &str) -> Option<String> {
        expect["kind"] = json!("http");
        expect["url"] = json!("https://optic.works/");
        answered(expect, status, location, body)
    }

    fn answered(fields: Value, status: u16, location: &str, body: &str) -> Option<String> {
        let answer = Observed::Answer(Answered { status, location: location.into(), body: body.into() });
        judge(&check(fields), Ok(&answer), 200, &Facts::default(), &mut None, NOW)
    }

    #[test]
    fn a_list_is_read_with_what_it_does_not_say() {
        let plain = check(json!({"kind": "d1"}));
        assert_eq!((plain.group.as_str(), plain.timeout_ms, plain.kind), ("it", 10_000, Kind::D1));
        assert_eq!((plain.fails, plain.of, plain.recovers), (2, 3, 2));
        assert_eq!((plain.severity, plain.together), (Severity::Sev3, Severity::Sev3));
        let whole = check(json!({
            "kind": "http", "url": "https://x.example/", "group": "ingress", "severity": "SEV3", "together": "SEV1",
            "fails": "1 of 1", "recovers": 3, "timeout_ms": 5000, "status": [200, 204], "max_ms": 900,
            "json": {"status": "ok"}, "contains": "Sign",
        }));
        assert_eq!(
            (whole.group.as_str(), whole.together, whole.fails, whole.of),
            ("ingress", Severity::Sev1, 1, 1)
        );
        let Kind::Http { expect, .. } = whole.kind else { panic!("{whole:?}") };
        assert_eq!((expect.status, expect.max_ms), (vec![200, 204], Some(900)));
        let two = [
            ("CHECKS", r#"[{"id":"a","component":"c","kind":"d1"}]"#),
            ("TARGETS", r#"[{"id":"b","component":"c","kind":"triggers","needs":["a"]}]"#),
        ];
        assert_eq!(read_list(&two).unwrap()[1].needs, ["a"]);
    }

    #[test]
    fn every_fault_of_a_list_is_named() {
        let bad = json!([
            {"id": "Data base", "component": "", "kind": "d1", "timeout_ms": 5, "severity": "bad", "fails": "3 of 2", "colour": "red"},
            {"id": "site", "component": "c", "kind": "http", "url": "ftp://x", "status": [99], "json": [], "needs": "a"},
            {"component": "c", "kind": "smoke", "binding": "X"},
            {"id": "bucket", "component": "c", "kind": "r2", "binding": "lower"},
            {"id": "queue", "component": "c", "kind": "queue", "binding": "Q"},
            7,
        ]);
        assert_eq!(
            faults(&bad),
            [
                "CHECKS[0]: /id must be 1 to 40 small letters, digits and hyphens",
                "CHECKS[0]: /component must be 1 to 40 small letters, digits and hyphens",
                "CHECKS[0]: /timeout_ms must be a whole number from 100 to 30000",
                "CHECKS[0]: /severity must be SEV1, SEV2, SEV3 or SEV4",
                "CHECKS[0]: /fails must be like \"2 of 3\", of 12 at most",
                "CHECKS[0]: /colour is not a field; known are id, component, kind, group, needs, timeout_ms, severity, together, fails, recovers",
                "CHECKS[1] site: /needs must be a list of checks",
                "CHECKS[1] site: /url must be an http or https URL",
                "CHECKS[1] site: /status must be a list of HTTP statuses",
                "CHECKS[1] site: /json must be an object",
                "CHECKS[2]: /id is required and must be 1 to 40 small letters, digits and hyphens",
                "CHECKS[2]: /kind must be d1, r2, kv, queue, worker, emqx_status, emqx_stats, emqx_metrics, triggers, devices, rounds, secrets or http",
                "CHECKS[3] bucket: /binding must be the name of a binding",
                "CHECKS[4] queue: /dead is required and must be the name of a binding",
                "CHECKS[5] must be an object",
            ]
        );
        assert_eq!(faults(&json!({})), ["CHECKS must be a JSON array of checks"]);
        let d1 = |id: &str, needs: &[&str]| json!({"id": id, "component": "c", "kind": "d1", "needs": needs});
        assert_eq!(
            faults(&json!([d1("a", &[]), d1("a", &[])])),
            ["CHECKS[1] a: /id must be no other check's"]
        );
        assert_eq!(faults(&json!([d1("a", &["b"])])), ["check a: there is no check b that it could need"]);
        let round = faults(&json!([d1("a", &["b"]), d1("b", &["c"]), d1("c", &["a"]), d1("d", &["a"])]));
        assert_eq!(round, ["a", "b", "c"].map(|id| format!("check {id}: it must not need itself")));
    }

    #[test]
    fn an_answer_is_held_against_what_is_expected() {
        let fine = json!({});
        assert_eq!(http(fine.clone(), 204, "", ""), None);
        assert_eq!(http(fine.clone(), 503, "", "").unwrap(), "status 503");
        assert_eq!(http(fine.clone(), 302, "/x", "").unwrap(), "status 302");
        assert_eq!(http(fine, 526, "", "").unwrap(), "its certificate is not valid (status 526)");
        assert_eq!(http(json!({"status": [401]}), 401, "", ""), None);
        assert_eq!(http(json!({"status": [401]}), 200, "", "").unwrap(), "status 200");
        assert_eq!(
            http(json!({"max_ms": 199}), 200, "", "").unwrap(),
            "it took 200 ms to answer, and may take 199"
        );
        assert_eq!(http(json!({"max_ms": 200}), 200, "", ""), None);
        assert_eq!(http(json!({"contains": "Optic"}), 200, "", "<h1>OpticWorks"), None);
        assert_eq!(
            http(json!({"contains": "Optic"}), 200, "", "<h1>").unwrap(),
            "its answer does not contain \"Optic\""
        );
        let store = json!({"json": {"status": "ok", "database": "connected", "redis": "connected"}});
        let body = |redis: &str| {
            json!({"status": "ok", "database": "connected", "redis": redis, "uptime": 5}).to_string()
        };
        assert_eq!(http(store.clone(), 200, "", &body("connected")), None);
        assert_eq!(
            http(store.clone(), 200, "", &body("gone")).unwrap(),
            "redis is \"gone\", not \"connected\""
        );
        assert_eq!(
            http(store.clone(), 200, "", r#"{"status":"ok","database":"connected"}"#).unwrap(),
            "redis is missing"
        );
        assert_eq!(http(store.clone(), 200, "", "<html>").unwrap(), "its answer is no JSON object");
        assert_eq!(http(store, 200, "", &"x".repeat(10)).unwrap(), "its answer is no JSON object");
    }

    #[test]
    fn who_must_sign_in_is_sent_to_the_login_and_nobody_else_gets_in() {
        let access = json!({"login": "https://opticworks.cloudflareaccess.com/"});
        assert_eq!(
            http(access.clone(), 302, "https://opticworks.cloudflareaccess.com/cdn-cgi/access/login/x", ""),
            None
        );
        assert_eq!(
            http(access.clone(), 200, "", "").unwrap(),
            "it lets everybody in: status 200 without a login"
        );
        assert_eq!(
            http(access.clone(), 302, "https://evil.example/", "").unwrap(),
            "it redirects, but not to https://opticworks.cloudflareaccess.com/"
        );
        assert_eq!(
            http(access, 502, "", "").unwrap(),
            "status 502, where a redirect to https://opticworks.cloudflareaccess.com/ is expected"
        );
    }

    #[test]
    fn a_worker_and_a_broker_say_themselves_what_is_wrong() {
        let worker = json!({"kind": "worker", "binding": "OTA", "path": "/health"});
        let ill = json!({"status": "fail", "checks": {"config": {"status": "ok"}, "database": {"status": "fail", "detail": "does not answer"}}});
        assert_eq!(answered(worker.clone(), 200, "", ""), None);
        assert_eq!(
            answered(worker.clone(), 503, "", &ill.to_string()).unwrap(),
            "status 503: database: does not answer"
        );
        assert_eq!(answered(worker, 500, "", "").unwrap(), "status 500");
        let emqx = json!({"kind": "emqx_status"});
        assert_eq!(answered(emqx.clone(), 200, "", "Node emqx@10.0.0.5 is started\nemqx is running"), None);
        assert_eq!(
            answered(emqx, 503, "", "Node emqx@10.0.0.5 is stopping\nemqx is not_running").unwrap(),
            "status 503: Node emqx@10.0.0.5 is stopping, emqx is not_running"
        );
    }

    #[test]
    fn connections_are_held_against_the_devices_that_are_online() {
        let stats = |live: u64, online: u64| {
            let body = json!({"live_connections.count": live}).to_string();
            let answer = Observed::Answer(Answered { status: 200, body, ..Answered::default() });
            let facts = Facts { online, ..Facts::default() };
            judge(&check(json!({"kind": "emqx_stats"})), Ok(&answer), 1, &facts, &mut None, NOW)
        };
        assert_eq!(stats(1_000, 801), None);
        assert_eq!(stats(0, 5), None, "a handful is no matter");
        assert_eq!(
            stats(400, 1_000).unwrap(),
            "400 clients are connected, and 1000 devices are said to be online"
        );
        assert!(stats(1_000, 400).is_some());
        let none = answered(json!({"kind": "emqx_stats"}), 200, "", "{}");
        assert_eq!(none.unwrap(), "it does not say how many clients are connected");
        assert_eq!(answered(json!({"kind": "emqx_stats"}), 401, "", "{}").unwrap(), "status 401");
    }

    /// A broker whose counters go on minute by minute.
    #[derive(Default)]
    struct Counters {
        at: i64,
        memory: Option<Memory>,
        received: i64,
        dropped: i64,
        refused: i64,
        nobody: i64,
    }

    impl Counters {
        /// Five minutes with so many messages, dropped ones and refusals; what is wrong then.
        fn pass(&mut self, received: i64, dropped: i64, refused: i64) -> Option<String> {
            self.at += PERIOD;
            self.received += received;
            self.dropped += dropped;
            self.refused += refused;
            // Whatever comes in has no subscriber: rules take it.
            self.nobody += received;
            self.look()
        }

        fn look(&mut self) -> Option<String> {
            let body = json!({
                "messages.received": self.received,
                "messages.dropped": self.nobody + self.dropped,
                "messages.dropped.no_subscribers": self.nobody,
                "delivery.dropped": 7, "delivery.dropped.expired": 7,
                "authentication.failure": self.refused,
            });
            let answer =
                Observed::Answer(Answered { status: 200, body: body.to_string(), ..Answered::default() });
            let now = UnixMillis(NOW.0 + self.at);
            judge(
                &check(json!({"kind": "emqx_metrics"})),
                Ok(&answer),
                1,
                &Facts::default(),
                &mut self.memory,
                now,
            )
        }
    }

    #[test]
    fn the_brokers_counters_are_held_against_those_before() {
        let mut broker = Counters::default();
        assert_eq!(broker.pass(50_000, 5_000, 900), None, "what was before is not known");
        for _ in 0..LEAST_ROUNDS {
            assert_eq!(broker.pass(50_000, 50, 50), None, "just within the bounds");
        }
        assert_eq!(broker.pass(50_000, 0, 60).unwrap(), "12 authentications a minute fail");
        assert_eq!(broker.pass(50_000, 51, 0).unwrap(), "51 messages were dropped of 50000");
        assert_eq!(
            broker.pass(76_000, 0, 0).unwrap(),
            "15200 messages a minute come in, where 10000 are usual"
        );
        assert_eq!(
            broker.pass(24_000, 0, 0).unwrap(),
            "4800 messages a minute come in, where 10000 are usual"
        );
        assert_eq!(broker.pass(74_000, 0, 0), None);
        broker = Counters { at: broker.at, memory: broker.memory, ..Counters::default() };
        assert_eq!(broker.pass(100, 0, 0), None, "it was restarted, and counts anew");
        assert_eq!(broker.pass(50_000, 0, 0), None);
        let memory = broker.memory.clone();
        broker.at += 1_000;
        assert_eq!(broker.look(), None, "too soon");
        assert_eq!(broker.memory, memory);
    }

    #[test]
    fn what_stays_becomes_usual() {
        let mut broker = Counters::default();
        for _ in 0..=USUAL_ROUNDS {
            broker.pass(50_000, 0, 0);
        }
        let ill = (0..USUAL_ROUNDS).filter(|_| broker.pass(10_000, 0, 0).is_some()).count();
        assert_eq!(ill, USUAL_ROUNDS / 2, "after an hour it is half of what is known");
        assert_eq!(broker.memory.as_ref().unwrap().rates.len(), USUAL_ROUNDS);
        let mut small = Counters::default();
        for at in 0..20 {
            assert_eq!(small.pass(if at % 2 == 0 { 20 } else { 200 }, 0, 0), None, "a fleet of three");
        }
    }

    #[test]
    fn queues_may_wait_for_so_long_and_give_nothing_up() {
        let queue = |waiting, age_s: i64, dead| {
            let oldest_at = (waiting > 0).then(|| NOW.plus(-age_s * 1_000));
            let backlog = Observed::Backlog(Backlog { waiting, oldest_at }, dead);
            let check = check(json!({"kind": "queue", "binding": "Q", "dead": "DLQ", "oldest_s": 60}));
            judge(&check, Ok(&backlog), 1, &Facts::default(), &mut None, NOW)
        };
        assert_eq!(queue(0, 0, 0), None);
        assert_eq!(queue(9, 60, 0), None);
        assert_eq!(
            queue(9, 61, 2).unwrap(),
            "the oldest of 9 messages waits for 61 s; 2 messages were given up"
        );
    }

    #[test]
    fn triggers_waves_and_the_rounds_themselves_are_watched() {
        let facts = |facts: &Facts, kind: &str| {
            judge(&check(json!({"kind": kind})), Ok(&Observed::Done), 1, facts, &mut None, NOW)
        };
        let run = |cron: &str, minutes: i64, ok| Run {
            worker: "ota".into(),
            cron: cron.into(),
            started_at: NOW.plus(-minutes * MINUTE),
            ok,
        };
        let triggers = |run| facts(&Facts { runs: vec![run], ..Facts::default() }, "triggers");
        for (cron, late) in [("* * * * *", 8), ("*/5 * * * *", 16), ("0 * * * *", 126), ("0 3 * * *", 2_886)]
        {
            assert_eq!(triggers(run(cron, late - 1, Some(true))), None, "{cron}");
            assert!(triggers(run(cron, late, Some(true))).unwrap().contains("last ran at"), "{cron}");
        }
        assert_eq!(triggers(run("0 * * * *", 5, Some(false))).unwrap(), "ota \"0 * * * *\" failed");
        assert_eq!(triggers(run("0 * * * *", 5, None)), None);
        assert_eq!(triggers(run("0 * * * *", 17, None)).unwrap(), "ota \"0 * * * *\" was cut off");
        let wave = |online, gone| facts(&Facts { online, gone, ..Facts::default() }, "devices");
        assert_eq!((wave(10, 5), wave(1_000, 100)), (None, None));
        assert_eq!(wave(800, 200).unwrap(), "200 of 1000 devices went offline within a quarter of an hour");
        let rounds = |minutes: i64| {
            facts(&Facts { last_round: Some(NOW.plus(-minutes * MINUTE)), ..Facts::default() }, "rounds")
        };
        assert_eq!((facts(&Facts::default(), "rounds"), rounds(12)), (None, None));
        assert!(rounds(13).unwrap().starts_with("nothing was checked from 2025-11-21T02:47:00Z"));
        let secrets = |days: i64| {
            let rotated_at = NOW.plus(-days * DAY);
            let rotation = |name: &str, every_days| Rotation {
                name: name.into(),
                every_days,
                rotated_at,
                dropped_at: Some(rotated_at),
            };
            let rotations = vec![rotation("JWT_SECRET", 90), rotation("WEBHOOK_SECRET", 91)];
            facts(&Facts { rotations, ..Facts::default() }, "secrets")
        };
        assert_eq!((facts(&Facts::default(), "secrets"), secrets(89)), (None, None));
        assert_eq!(secrets(90).unwrap(), "JWT_SECRET is due to be replaced since 2025-11-21");
        assert_eq!(
            secrets(92).unwrap(),
            "JWT_SECRET is due to be replaced since 2025-11-19; WEBHOOK_SECRET is due to be replaced since 2025-11-20"
        );
    }

    #[test]
    fn what_prevented_a_look_is_its_fault() {
        let fault = judge(
            &check(json!({"kind": "d1"})),
            Err("no answer within 100 ms"),
            1,
            &Facts::default(),
            &mut None,
            NOW,
        );
        assert_eq!(fault.unwrap(), "no answer within 100 ms");
        let long =
            judge(&check(json!({"kind": "d1"})), Err(&"é".repeat(900)), 1, &Facts::default(), &mut None, NOW);
        assert_eq!(long.unwrap().chars().count(), FAULT_CHARS);
    }

    proptest! {
        /// Whatever a server answers is judged, and a body is never needed where only a status is expected.
        #[test]
        fn any_answer_is_judged(status in 0_u16..1_000, location in ".{0,40}", body in ".{0,200}") {
            let fault = http(json!({}), status, &location, &body);
            prop_assert_eq!(fault.is_none(), (200..300).contains(&status));
            for fields in [json!({"kind": "emqx_metrics"}), json!({"kind": "emqx_stats"}), json!({"kind": "worker", "binding": "A", "path": "/"})] {
                let _ = answered(fields, status, &location, &body);
            }
        }

        /// Counters that go anywhere at any time are never a panic, and the memory stays small.
        #[test]
        fn any_counters_are_followed(steps in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>(), -600_000_i64..600_000), 1..60)) {
            let check = check(json!({"kind": "emqx_metrics"}));
            let (mut memory, mut now) = (None, NOW);
            for (received, dropped, refused, passed) in steps {
                now = now.plus(passed);
                let body = json!({"messages.received": received, "messages.dropped": dropped, "authentication.failure": refused}).to_string();
                let answer = Observed::Answer(Answered { status: 200, body, ..Answered::default() });
                judge(&check, Ok(&answer), 1, &Facts::default(), &mut memory, now);
                prop_assert!(memory.as_ref().unwrap().rates.len() <= USUAL_ROUNDS);
            }
        }
    }
}
