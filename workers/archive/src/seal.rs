//! Hours that take no more messages are sealed: what was counted as messages came is compared with what the archive holds, and
//! then forgets the messages' ids, which is most of what a rollup costs.
//!
//! Where the two differ, the rollup is marked, and made anew of the archive; so is one for which messages come when it is sealed. The
//! archive is right, because a message is archived before it is counted, and stands there under its id. Who makes a rollup anew reads
//! first the mark, then the row, then the archive: what comes after that adds to the mark, or to the row's generation, and has the
//! work done again.
//!
//! All of it goes by steps, each of which notes how far it is; a run that is cut off anywhere is gone on with by the next.

use std::cmp::Ordering;

use rs1_domain::port::{Database, PortError};
use rs1_domain::{DeviceId, UnixMillis, json};
use rs1_store::objects::PATIENCE;
use rs1_store::seals::{self, Compared, END, Mark, SealRow};
use rs1_store::sql::{first_row, rows, run};
use rs1_store::telemetry::{self, RollupRow, RollupSlot, Written};
use rs1_telemetry::Rollup;
use rs1_telemetry::archive::{FOLDERS, folder};
use rs1_telemetry::batch::Adds;
use rs1_telemetry::pack::{self, Part};
use rs1_telemetry::queued::received_hours;

use crate::recount::{Reader, Wanted};
use crate::sweep::ROLLUP_HOURS;
use crate::world::{Ports, World};

/// Hours stay open for messages this long: the queue keeps a message for four days at most, and a
/// message's own time is believed up to a day back.
const OPEN_HOURS: i64 = 5 * 24;
/// Hours before that in which open ones are looked for; more than any outage of this trigger.
const SEAL_WINDOW_HOURS: i64 = 7 * 24;
/// Devices whose rollups one statement compares and seals.
const STEP: u32 = 500;
/// Rollups that are made anew at once.
const ANEW: u32 = 50;
/// How often that is done in one run.
const ROUNDS: u32 = 60;
/// Calls to the archive after which a run begins no further step, of sealing and of making anew. The platform allows 10,000 in all.
const CALLS: usize = 4_500;
/// Most characters about single rollups that a run tells.
const TOLD: usize = 500;

/// Compares and seals the hours that are due, and makes anew what is marked. What was done, for the log.
///
/// # Errors
/// What failed. The next run goes on.
pub async fn seal(now: UnixMillis, world: &World<impl Ports>) -> Result<String, PortError> {
    // What comes while an hour is sealed shows as a difference, or as late, and is made anew of what there is then.
    let reader = Reader::remembering(&world.archives);
    let mut run =
        Run { world, now, reader, hours: 0, checked: 0, differ: 0, repaired: 0, told: String::new() };
    let sealed = run.seal_hours().await;
    run.reader = Reader::new(&world.archives);
    let repaired = run.repair().await;
    sealed?;
    repaired?;
    let Run { hours, checked, differ, repaired, told, .. } = run;
    Ok(format!(
        "{hours} hours sealed, {checked} rollups checked, {differ} not as archived, {repaired} made anew{told}"
    ))
}

/// A run, and what it did.
struct Run<'a, P: Ports> {
    world: &'a World<P>,
    now: UnixMillis,
    reader: Reader<'a, P::Archive>,
    hours: u32,
    checked: u32,
    differ: u32,
    repaired: u32,
    told: String,
}

/// A statement whose list could not be written as JSON is a fault of the database.
fn written<T>(statement: Result<T, json::Error>) -> Result<T, PortError> {
    statement.map_err(|error| PortError::new("seal", error.to_string()))
}

impl<P: Ports> Run<'_, P> {
    /// Seals the hours that are due, the oldest first.
    async fn seal_hours(&mut self) -> Result<(), PortError> {
        let border = self.now.hour().saturating_sub(OPEN_HOURS);
        let first = border.saturating_sub(SEAL_WINDOW_HOURS);
        let [latest] = run(&self.world.db, [seals::latest(first)]).await?;
        let (mut hour, mut after) = match first_row(&latest)? {
            Some(SealRow { hour, after }) => (hour, after),
            None => (self.first_told_of(first, border).await?, String::new()),
        };
        while self.reader.calls < CALLS {
            if after == END {
                (hour, after) = (hour.saturating_add(1), String::new());
            }
            if hour >= border {
                break;
            }
            after = self.seal_shard(hour, after).await?;
            self.hours = self.hours.saturating_add(u32::from(after == END));
        }
        Ok(())
    }

    /// The first of the hours from `first` until before `border` of which the archive may tell: of a new database's past there is
    /// nothing to be read.
    async fn first_told_of(&mut self, first: i64, border: i64) -> Result<i64, PortError> {
        let Some(oldest) = self.reader.oldest(FOLDERS).await? else { return Ok(border) };
        let told_of = |hour: &i64| {
            received_hours(*hour).max().is_some_and(|latest| oldest < folder(latest.saturating_add(1)))
        };
        Ok((first..border).find(told_of).unwrap_or(border))
    }

    /// Seals an hour of the devices after `after`, as far as a shard goes. Answers where it ends.
    async fn seal_shard(&mut self, hour: i64, mut after: String) -> Result<String, PortError> {
        let objects = self.reader.look(&folder(hour)).await?;
        let of = pack::shards_for(objects.iter().map(|object| object.size).fold(0, u64::saturating_add));
        let shard = pack::first_byte(&after).saturating_mul(of) >> 8;
        let part = Part { digest: "", shard, of };
        let wanted = Wanted { part, devices: Vec::new(), hour: Some(hour) };
        let archived = self.reader.rollups(hour, &wanted).await?;
        let end = part.bytes().end;
        let below = if end > 255 { END.to_owned() } else { format!("{end:02x}") };
        while after < below {
            let [page] = run(&self.world.db, [seals::slots(hour, &after, &below, STEP)]).await?;
            let page: Vec<RollupSlot> = rows(&page)?;
            let last = page.last().map(|slot| slot.device_id.to_string());
            // Behind the last page there is nobody up to the end of the shard.
            let full = u32::try_from(page.len()) == Ok(STEP);
            let until = last.filter(|_| full).unwrap_or_else(|| below.clone());
            let (mut compared, mut differing) = (Compared::default(), Vec::new());
            for slot in page {
                let device = slot.device_id.clone();
                let (counted, archived) = (slot.into_row(), of_device(&archived, &device));
                compared.checked =
                    compared.checked.saturating_add(u32::from(counted.is_some() || archived.is_some()));
                if is_same(counted.as_ref(), archived) {
                    continue;
                }
                let had = counted.map_or(0, |row| row.messages);
                let has = archived.map_or(0, |rollup| rollup.messages);
                let kind = match had.cmp(&has) {
                    Ordering::Greater => &mut compared.more,
                    Ordering::Less => &mut compared.fewer,
                    Ordering::Equal => &mut compared.other,
                };
                *kind = kind.saturating_add(1);
                if self.told.len() < TOLD {
                    let told = format!("; {device} in {hour}: {had} counted, {has} archived");
                    self.told.push_str(&told);
                }
                differing.push(device);
            }
            let keys: Vec<_> = differing.iter().map(|device| (device, hour)).collect();
            let statements = [
                written(seals::mark(&keys))?,
                seals::seal(hour, &after, &until),
                seals::note(hour, &until, compared, self.now),
            ];
            run(&self.world.db, statements).await?;
            self.checked = self.checked.saturating_add(compared.checked);
            self.differ = self.differ.saturating_add(u32::try_from(differing.len()).unwrap_or(u32::MAX));
            after = until;
        }
        Ok(after)
    }

    /// Makes anew the rollups that are marked, as far as it gets.
    async fn repair(&mut self) -> Result<(), PortError> {
        let World { db, .. } = self.world;
        for _ in 0..ROUNDS {
            let oldest = self.now.hour().saturating_sub(ROLLUP_HOURS);
            let [marks] = run(db, [seals::marks(oldest, ANEW)]).await?;
            let mut marks: Vec<Mark> = rows(&marks)?;
            let Some(hour) = marks.first().map(|mark| mark.hour).filter(|_| self.reader.calls < CALLS) else {
                break;
            };
            let keys: Vec<_> = marks.iter().map(|mark| (&mark.device_id, hour)).collect();
            let [counted] = run(db, [written(telemetry::rollups_for(&keys))?]).await?;
            let devices = marks.iter().map(|mark| mark.device_id.clone()).collect();
            let wanted = Wanted { part: Part::WHOLE, devices, hour: Some(hour) };
            let archived = self.reader.rollups(hour, &wanted).await?;
            // A device that is not enrolled has no slot, and no rollup.
            let (mut anew, mut gone) = (Vec::new(), Vec::new());
            for slot in rows::<RollupSlot>(&counted)? {
                // What was erased is not to be made again of what the archive may still have of it.
                if slot.erased {
                    continue;
                }
                let archived = of_device(&archived, &slot.device_id);
                let device = slot.device_id.clone();
                let counted = slot.into_row();
                if is_same(counted.as_ref(), archived) {
                    continue;
                }
                match (archived, counted) {
                    (Some(rollup), counted) => anew.push(row_of(device, hour, rollup, counted.as_ref())),
                    (None, Some(row)) => gone.push(row),
                    (None, None) => {}
                }
            }
            if !anew.is_empty() || !gone.is_empty() {
                let mut statements = vec![written(telemetry::write_rollups(&anew, PATIENCE, None))?];
                statements.extend(gone.iter().map(|row| seals::delete(&row.device_id, hour, row.generation)));
                let mut lost: Vec<_> = anew.iter().chain(&gone).map(|row| row.device_id.clone()).collect();
                let mut outcomes = db.batch(statements).await?.into_iter();
                let done: Vec<Written> = rows(&outcomes.next().unwrap_or_default())?;
                anew.retain(|row| done.iter().any(|done| done.device_id == row.device_id));
                gone.retain(|_| outcomes.next().is_some_and(|outcome| outcome.changes > 0));
                anew.append(&mut gone);
                // Those that somebody else wrote meanwhile stay marked.
                lost.retain(|device| anew.iter().all(|row| row.device_id != *device));
                marks.retain(|mark| !lost.contains(&mark.device_id));
            }
            let repaired = u32::try_from(anew.len()).unwrap_or(u32::MAX);
            let mut statements: Vec<_> = marks.iter().map(seals::settle).collect();
            statements.push(seals::note_repaired(hour, repaired, self.now));
            db.batch(statements).await?;
            self.repaired = self.repaired.saturating_add(repaired);
        }
        Ok(())
    }
}

/// What is archived of a device, if there is something.
fn of_device<'a>(archived: &'a [(DeviceId, Rollup)], device: &DeviceId) -> Option<&'a Rollup> {
    let place = archived.binary_search_by(|(other, _)| other.cmp(device)).ok()?;
    archived.get(place).map(|(_, rollup)| rollup)
}

/// Whether what was counted is what is archived.
fn is_same(counted: Option<&RollupRow>, archived: Option<&Rollup>) -> bool {
    match (counted, archived) {
        (None, None) => true,
        (Some(row), Some(rollup)) => {
            row.messages == rollup.messages
                && row.last_at == rollup.last_at
                && row.last_received_at == rollup.last_received_at
                && row.metrics == rollup.metrics_column()
        }
        _ => false,
    }
}

/// A rollup that was made anew, to be written in place of what is there. It remembers its messages only if that one does.
fn row_of(device_id: DeviceId, hour: i64, rollup: &Rollup, there: Option<&RollupRow>) -> RollupRow {
    RollupRow {
        device_id,
        hour,
        messages: rollup.messages,
        last_at: rollup.last_at,
        last_received_at: rollup.last_received_at,
        metrics: rollup.metrics_column(),
        seen: there.and_then(|row| row.seen.as_ref()).map(|_| rollup.seen_column().to_owned()),
        generation: there.map_or(0, |row| row.generation).saturating_add(1),
        adds: Adds::default(),
    }
}
