//! Facts about devices, written into their attempts.

use rs1_domain::json;
use rs1_domain::port::{Database, PortError, Random};
use rs1_domain::{DeviceId, RecordId, UnixMillis};
use rs1_rollout::{Applied, Attempt, Fact, Target};
use rs1_store::rollouts::{self, AttemptEvent, AttemptRow, RolloutAttempt, Stray, WrittenAttempt};
use rs1_store::sql::{rows, run};
use serde_json::{Value, json};

use super::{Map, Set, json_fault, set_of};

/// How often attempts that somebody else wrote in between are read and worked on again, before the rest is left to a
/// later delivery.
const ROUNDS: usize = 4;

/// A fact about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// About whom.
    pub device_id: DeviceId,
    /// In which rollout; `None` for the device's latest attempt, in whatever rollout.
    pub rollout_id: Option<String>,
    /// What.
    pub fact: Fact,
    /// The id of the message behind it, if it is worth keeping even where it changes nothing.
    pub source: Option<String>,
}

/// What became of some facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// The rollouts of which a count changed, or of which something was noted that the planner may act on.
    pub touched: Set<String>,
    /// Facts that changed a count.
    pub changed: usize,
    /// Facts that are known now and changed no count.
    pub noted: usize,
    /// Facts that were known before.
    pub repeated: usize,
    /// Facts that are about nothing that is under way.
    pub strays: usize,
    /// Attempts that a late fact would have opened again, and whose device has another by now.
    pub refused: usize,
}

/// Works facts into the attempts that they are about.
///
/// Everything of one round is one batch: attempts with their events, and strays. Attempts that somebody else wrote in
/// between are read again, and their facts applied to what is there now.
///
/// # Errors
/// When the database fails, or attempts were written by others again and again. Some facts may have been worked in; to
/// work them in again changes nothing.
pub async fn fold(
    db: &impl Database,
    random: &impl Random,
    told: Vec<Told>,
    now: UnixMillis,
) -> Result<Folded, PortError> {
    let mut folded = Folded::default();
    let mut open = told;
    let mut refused_at = Map::new_vec();
    for _ in 0..ROUNDS {
        if open.is_empty() {
            return Ok(folded);
        }
        let found = load(db, &open).await?;
        let round = Round::work(&open, found, now)?;
        let left = round.commit(db, random, now).await?;
        round.count(&left, &mut folded);
        // An attempt that nobody wrote and that we could not write either is one that the database refuses to open again.
        let refused = set_of(
            left.iter()
                .filter(|(key, revision)| refused_at.insert(key.clone(), *revision) == Some(*revision))
                .map(|(key, _)| key.clone()),
        );
        folded.refused = folded.refused.saturating_add(refused.len());
        open = round.facts_of(&left, &refused);
    }
    if open.is_empty() {
        return Ok(folded);
    }
    Err(PortError::new("fold", format!("{} facts met other writers each time", open.len())))
}

/// An attempt's rollout and device.
type Key = (String, DeviceId);

async fn load(db: &impl Database, told: &[Told]) -> Result<Map<Key, RolloutAttempt>, PortError> {
    let named = set_of(told.iter().filter_map(|one| Some((one.rollout_id.as_deref()?, &one.device_id))));
    let latest = set_of(told.iter().filter(|one| one.rollout_id.is_none()).map(|one| &one.device_id));
    let named: Vec<_> = named.keys().copied().collect();
    let latest: Vec<_> = latest.keys().copied().collect();
    let named = rollouts::attempts(&named).map_err(|error| json_fault(&error))?;
    let latest = rollouts::latest_attempts(&latest).map_err(|error| json_fault(&error))?;
    let [named, latest] = run(db, [named, latest]).await?;
    let found = rows::<RolloutAttempt>(&named)?.into_iter().chain(rows(&latest)?);
    let mut attempts = Map::new_vec();
    for one in found {
        attempts.insert((one.row.rollout_id.clone(), one.row.device_id.clone()), one);
    }
    Ok(attempts)
}

/// One attempt while facts are worked into it.
struct Worked {
    read: RolloutAttempt,
    attempt: Attempt,
    events: Vec<(Attempt, Value)>,
    facts: Vec<Told>,
    changed: usize,
    noted: usize,
    repeated: usize,
}

/// What one round comes to, before it is committed.
struct Round {
    worked: Map<Key, Worked>,
    strays: Vec<(Told, &'static str)>,
}

impl Round {
    fn work(told: &[Told], found: Map<Key, RolloutAttempt>, now: UnixMillis) -> Result<Self, PortError> {
        // The latest attempts of devices, for those facts that name no rollout.
        let mut latest: Map<DeviceId, (UnixMillis, String)> = Map::new_vec();
        for AttemptRow { device_id, rollout_id, triggered_at, .. } in found.values().map(|one| &one.row) {
            if latest.get(device_id).is_none_or(|(at, _)| at < triggered_at) {
                latest.insert(device_id.clone(), (*triggered_at, rollout_id.clone()));
            }
        }
        let mut worked = Map::new_vec();
        for (key, read) in found {
            let attempt = json::read(&read.row.facts).map_err(|error| json_fault(&error))?;
            let (events, facts) = (Vec::new(), Vec::new());
            worked.insert(key, Worked { read, attempt, events, facts, changed: 0, noted: 0, repeated: 0 });
        }
        let mut round = Self { worked, strays: Vec::new() };
        for one in told {
            let rollout = one
                .rollout_id
                .clone()
                .or_else(|| latest.get(&one.device_id).map(|(_, rollout)| rollout.clone()));
            let worked = rollout.and_then(|rollout| round.worked.get_mut(&(rollout, one.device_id.clone())));
            match worked {
                Some(worked) => {
                    if let Some(stray) = worked.take_in(one, now) {
                        round.strays.push((one.clone(), stray));
                    }
                }
                None => round.strays.push((one.clone(), "not_in_rollout")),
            }
        }
        Ok(round)
    }

    /// Commits the round; answers the attempts that were not written, with the revision that they were read at.
    async fn commit(
        &self,
        db: &impl Database,
        random: &impl Random,
        now: UnixMillis,
    ) -> Result<Vec<(Key, i64)>, PortError> {
        let mut statements = Vec::new();
        let write = RecordId::generate("wrt", now, random.bytes());
        let dirty: Vec<_> = self.worked.iter().filter(|(_, worked)| worked.is_dirty()).collect();
        if !dirty.is_empty() {
            let rows = dirty.iter().map(|(_, worked)| worked.row()).collect::<Result<Vec<_>, _>>()?;
            let events: Vec<_> = dirty.iter().flat_map(|(key, worked)| worked.events(key)).collect();
            statements
                .push(rollouts::write_attempts(&rows, &write, None).map_err(|error| json_fault(&error))?);
            statements
                .push(rollouts::attempt_events(&events, &write, now).map_err(|error| json_fault(&error))?);
        }
        let strays: Vec<_> = self.strays.iter().filter_map(|(told, why)| stray(told, why)).collect();
        if !strays.is_empty() {
            statements.push(rollouts::note_strays(&strays, now).map_err(|error| json_fault(&error))?);
        }
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = db.batch(statements).await?;
        let written: Set<Key> = match outcomes.first() {
            Some(outcome) if !dirty.is_empty() => set_of(
                rows::<WrittenAttempt>(outcome)?
                    .into_iter()
                    .map(|written| (written.rollout_id, written.device_id)),
            ),
            _ => Set::new_vec(),
        };
        let left = dirty.into_iter().filter(|(key, _)| !written.contains_key(*key));
        Ok(left.map(|(key, worked)| (key.clone(), worked.read.row.revision)).collect())
    }

    /// Counts what was written.
    fn count(&self, left: &[(Key, i64)], folded: &mut Folded) {
        for (key, worked) in
            self.worked.iter().filter(|(key, _)| !left.iter().any(|(other, _)| other == *key))
        {
            folded.changed = folded.changed.saturating_add(worked.changed);
            folded.noted = folded.noted.saturating_add(worked.noted);
            folded.repeated = folded.repeated.saturating_add(worked.repeated);
            if worked.changed > 0 || worked.attempt.is_forgotten() {
                folded.touched.insert(key.0.clone(), ());
            }
        }
        folded.strays = folded.strays.saturating_add(self.strays.len());
    }

    /// The facts that are to be worked in again.
    fn facts_of(&self, left: &[(Key, i64)], refused: &Set<Key>) -> Vec<Told> {
        left.iter()
            .filter(|(key, _)| !refused.contains_key(key))
            .filter_map(|(key, _)| self.worked.get(key))
            .flat_map(|worked| worked.facts.clone())
            .collect()
    }
}

impl Worked {
    /// Works a fact in; answers why, if it changed nothing and is to be kept all the same.
    fn take_in(&mut self, told: &Told, now: UnixMillis) -> Option<&'static str> {
        let target =
            Target { version: self.read.version.clone(), elf_sha256: Some(self.read.elf_sha256.clone()) };
        let applied = self.attempt.apply(&target, &told.fact, now);
        let word = applied.as_str();
        let add = |number: &mut usize| *number = number.saturating_add(1);
        match applied {
            Applied::Changed(next) => {
                add(&mut self.changed);
                self.facts.push(told.clone());
                self.events.push((next.clone(), describe(&told.fact)));
                self.attempt = next;
                None
            }
            Applied::Noted(next) => {
                add(&mut self.noted);
                self.facts.push(told.clone());
                self.attempt = next;
                None
            }
            Applied::Late(next) => {
                add(&mut self.noted);
                self.facts.push(told.clone());
                self.attempt = next;
                Some(word)
            }
            Applied::Repeated => {
                add(&mut self.repeated);
                None
            }
            Applied::Outdated | Applied::Stray => Some(word),
        }
    }

    fn is_dirty(&self) -> bool {
        !self.facts.is_empty()
    }

    fn row(&self) -> Result<AttemptRow, PortError> {
        let read = &self.read.row;
        attempt_row(&read.rollout_id, &read.device_id, &self.attempt, read.revision.saturating_add(1))
    }

    fn events<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = AttemptEvent<'a>> {
        self.events.iter().map(|(attempt, detail)| AttemptEvent {
            rollout_id: &key.0,
            device_id: &key.1,
            state: attempt.state.as_str(),
            attempt: attempt.attempt,
            detail: Some(detail.clone()),
        })
    }
}

/// The row of an attempt.
///
/// # Errors
/// When it cannot be written as JSON, which it always can.
pub fn attempt_row(
    rollout_id: &str,
    device_id: &DeviceId,
    attempt: &Attempt,
    revision: i64,
) -> Result<AttemptRow, PortError> {
    Ok(AttemptRow {
        rollout_id: rollout_id.to_owned(),
        device_id: device_id.clone(),
        state: attempt.state.as_str().to_owned(),
        attempt: attempt.attempt,
        facts: json::write(attempt).map_err(|error| json_fault(&error))?,
        triggered_at: attempt.triggered_at,
        // A device that speaks of it has had its trigger, whether or not we heard that it was sent.
        sent_at: attempt.sent_at.or(attempt.first_report_at),
        closed_at: attempt.closed_at,
        counted_at: attempt.counted_at,
        revision,
    })
}

/// What a fact says, for the history.
fn describe(fact: &Fact) -> Value {
    match fact {
        Fact::Report(report) => {
            let status = &report.status;
            let mut detail =
                json!({"status": status.status, "version": status.version, "said_at": status.timestamp});
            if let Some(object) = detail.as_object_mut() {
                let optional = [
                    ("progress", status.progress.map(Value::from)),
                    ("error", status.error.clone().map(Value::from)),
                ];
                for (name, value) in optional {
                    if let Some(value) = value {
                        object.insert(name.to_owned(), value);
                    }
                }
            }
            detail
        }
        Fact::State(sighting) => json!({"runs": sighting.version, "boot_count": sighting.boot_count}),
        Fact::Sent { .. } => json!({"trigger": "sent"}),
        Fact::NoSubscriber { .. } => json!({"trigger": "no_subscriber"}),
        Fact::Decided { decision, .. } => json!({"decided": decision}),
    }
}

/// The stray of a fact that is worth one: a report, which names its message and its rollout.
fn stray<'a>(told: &'a Told, why: &str) -> Option<Stray<'a>> {
    let mut detail = describe(&told.fact);
    detail.as_object_mut()?.insert("why".to_owned(), why.into());
    Some(Stray {
        rollout_id: told.rollout_id.as_deref()?,
        device_id: &told.device_id,
        source: told.source.as_deref()?,
        detail,
    })
}
