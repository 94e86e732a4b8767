//! Telemetry that comes collected: objects of many messages, a message a line, that EMQX's S3 action writes into the archive's
//! bucket.
//!
//! An object passes by in pieces; each piece's new messages are archived, and its devices' hours are held in memory until the
//! end, so that a device's hour is written once an object and not once a message. How far an object is stands in a row, whose
//! generation guards it; what is behind that position is archived, verified and counted. Between two such points the work may stop
//! anywhere: done again from the last one, it meets the archive objects that it wrote, and ids that are counted.
//!
//! The object itself is deleted last.

use rs1_domain::UnixMillis;
use rs1_domain::http::JSON;
use rs1_domain::json;
use rs1_domain::port::{Bucket, Encoding, Inbox, Lines, NewObject, PortError, Statement};
use rs1_store::alerts;
use rs1_store::objects::{self, ObjectRow, PATIENCE};
use rs1_store::rollups::{event_row, load, write};
use rs1_store::sql::{first_row, run};
use rs1_store::tallies::{Door, Tally};
use rs1_store::telemetry;
use rs1_telemetry::alert::Register;
use rs1_telemetry::batch::{self, Intake, Key};
use rs1_telemetry::event::Event;
use rs1_telemetry::object::{self, Refused};

use crate::queue::{ATTEMPTS, mark_late, store};
use crate::world::{Ports, World};

/// Lines that one invocation takes in, about; what is left is delivered again.
pub(crate) const LINES: usize = 1_000_000;

/// Bytes of an object that are worked on at a time. What lies in memory is a few times that.
const PIECE: usize = 2 * 1024 * 1024;
/// Lines between two points from which the work may be done again. More of them mean more rows written a device's hour.
const STRETCH: usize = 400_000;
/// Most devices' hours that are held in memory, at about 2.5 KB each.
const MOST_HELD: usize = 20_000;
/// Most events that are held in memory.
const MOST_EVENTS: usize = 10_000;
/// Rollups that are read with one statement.
const READ: usize = 2_500;
/// Events that are written with one statement.
const EVENTS: usize = 2_000;

/// What was taken in since the last point from which the work may be done again.
#[derive(Default)]
struct Stretch {
    intake: Intake,
    register: Register,
    events: Vec<Event>,
    /// Keys of the objects that were archived, and what they hold, in bytes.
    archived: Vec<(String, u64)>,
    lines: usize,
    bytes: u64,
    counted: u64,
    repeated: u64,
    refused: u64,
    /// What is counted besides the rollups.
    tally: Tally,
}

impl Stretch {
    fn is_long(&self) -> bool {
        self.lines >= STRETCH || self.intake.len() >= MOST_HELD || self.events.len() >= MOST_EVENTS
    }
}

/// An object that is worked on.
struct Work<'a, P: Ports> {
    key: &'a str,
    world: &'a World<P>,
    now: UnixMillis,
    etag: String,
    uploaded: UnixMillis,
    row: ObjectRow,
}

/// Takes an object in, or goes on with it. What it came to, for the log. `lines` is what may still be taken in; it becomes less.
///
/// # Errors
/// When there is more to do: something failed, somebody else is at it, or it is too long for one time.
pub(crate) async fn take_in(
    key: &str,
    lines: &mut usize,
    world: &World<impl Ports>,
    now: UnixMillis,
) -> Result<String, PortError> {
    if *lines == 0 {
        return Err(PortError::new("object", "it is the next one's turn"));
    }
    let [taken] = run(&world.db, [objects::take(key, now)]).await?;
    let Some(row) = first_row::<ObjectRow>(&taken)? else {
        return Err(PortError::new("object", "somebody else is at it"));
    };
    let mut work = Work { key, world, now, etag: String::new(), uploaded: now, row };
    let outcome = work.go_on(lines).await;
    if outcome.is_err() {
        // If this fails too the next delivery waits until the hold is over.
        let _ = run(&world.db, [objects::let_go(key, &work.row, now)]).await;
    }
    outcome
}

impl<P: Ports> Work<'_, P> {
    async fn go_on(&mut self, left: &mut usize) -> Result<String, PortError> {
        let archives = &self.world.archives;
        let Some(mut opened) = archives.open(self.key, self.row.position).await? else {
            return self.missing().await;
        };
        if self.row.etag.as_ref().is_some_and(|etag| *etag != opened.etag) {
            // Another object of the same name: what it shares with the first is known by its ids.
            self.row = ObjectRow { state: "open".into(), position: 0, ..self.row.clone() };
            let Some(again) = archives.open(self.key, 0).await? else { return self.missing().await };
            opened = again;
        }
        self.row.etag = Some(opened.etag.clone());
        (self.etag, self.uploaded) = (opened.etag, opened.uploaded);
        match self.row.state.as_str() {
            "damaged" => return self.end("damaged").await,
            "done" => return self.delete("it was taken in before").await,
            _ => self.row.state = "open".into(),
        }
        let mut stretch = Stretch::default();
        while let Some(bytes) = opened.lines.next(PIECE).await? {
            self.piece(&mut stretch, &bytes).await?;
            if stretch.is_long() {
                *left = left.saturating_sub(stretch.lines);
                self.settle(std::mem::take(&mut stretch), true).await?;
                if *left == 0 {
                    return Err(PortError::new("object", format!("{} bytes so far", self.row.position)));
                }
            }
        }
        *left = left.saturating_sub(stretch.lines);
        let Some(why) = opened.lines.damage() else {
            self.row.state = "done".into();
            self.settle(stretch, true).await?;
            return self.delete("").await;
        };
        let refused = [Refused { place: 0, reason: format!("the rest cannot be read: {why}") }];
        let new = self.quarantine(self.row.position.saturating_add(stretch.bytes), b"", &refused).await?;
        stretch.tally.damaged = u64::from(new);
        stretch.refused = stretch.refused.saturating_add(1);
        self.row.state = "damaged".into();
        self.settle(stretch, false).await?;
        Ok(self.told("damaged: it stays where it is"))
    }

    /// There is no such object.
    async fn missing(&mut self) -> Result<String, PortError> {
        match self.row.state.as_str() {
            "done" | "damaged" => self.end("it was taken in before, and is gone").await,
            _ => {
                self.row.state = "gone".into();
                self.end("there is no such object").await
            }
        }
    }

    /// Notes that nobody is at it any more.
    async fn end(&mut self, note: &str) -> Result<String, PortError> {
        self.save(false).await?;
        Ok(note.to_owned())
    }

    /// Deletes what is archived and counted.
    async fn delete(&mut self, note: &str) -> Result<String, PortError> {
        self.world.archives.remove(self.key).await?;
        self.end(note).await?;
        Ok(if note.is_empty() { self.told("taken in") } else { note.to_owned() })
    }

    fn told(&self, what: &str) -> String {
        let ObjectRow { counted, repeated, refused, .. } = self.row;
        format!("{what}; {counted} counted, {repeated} repeated, {refused} refused")
    }

    /// Archives a piece's new messages, and takes them into their rollups.
    async fn piece(&self, stretch: &mut Stretch, bytes: &[u8]) -> Result<(), PortError> {
        let read = object::read_lines(bytes, self.uploaded);
        for keys in stretch.intake.missing(&read.messages).chunks(READ) {
            let (slots, open) = load(&self.world.db, keys).await?;
            stretch.intake.load(keys, slots);
            for (device, open) in open {
                stretch.register.load(device, open);
            }
        }
        let taken = stretch.intake.take(&read.messages);
        let malformed = read.refused.len();
        let lines = read.messages.len().saturating_add(malformed);
        let refused = read.refused_with(&taken.unknown);
        let begins_at = self.row.position.saturating_add(stretch.bytes);
        let tally = &mut stretch.tally;
        if self.quarantine(begins_at, bytes, &refused).await? {
            tally.malformed = tally.malformed.saturating_add(length(malformed));
            tally.not_enrolled = tally.not_enrolled.saturating_add(length(taken.unknown.len()));
        }
        tally.late = tally.late.saturating_add(length(taken.late));
        for object in &taken.archive {
            let stored = store(&self.world.archives, object).await?;
            tally.objects = tally.objects.saturating_add(u64::from(stored));
            stretch.archived.push((object.key.clone(), length(object.body.len())));
        }
        for (device, signals) in taken.signals {
            stretch.register.apply(&device, signals);
        }
        stretch.events.extend(taken.events);
        stretch.lines = stretch.lines.saturating_add(lines);
        stretch.bytes = stretch.bytes.saturating_add(length(bytes.len()));
        stretch.counted = stretch.counted.saturating_add(length(taken.counted.saturating_add(taken.late)));
        stretch.repeated = stretch.repeated.saturating_add(length(taken.repeated));
        stretch.refused = stretch.refused.saturating_add(length(refused.len()));
        Ok(())
    }

    /// Keeps lines that can never be taken, with the reasons. Whether they were not there yet.
    async fn quarantine(&self, position: u64, bytes: &[u8], refused: &[Refused]) -> Result<bool, PortError> {
        if refused.is_empty() {
            return Ok(false);
        }
        let (key, document) =
            object::quarantine(self.key, &self.etag, self.uploaded, position, bytes, refused);
        let object = NewObject {
            key: &key,
            body: document.as_bytes(),
            content_type: JSON,
            encoding: Encoding::Identity,
            label: None,
        };
        self.world.archives.put_new(object).await
    }

    /// Looks whether the archive has what it should, writes the rollups, and notes how far that is.
    async fn settle(&mut self, stretch: Stretch, held: bool) -> Result<(), PortError> {
        for (key, bytes) in &stretch.archived {
            let found = self.world.archives.measure(key).await?;
            if found != Some(*bytes) {
                return Err(PortError::new("archive", format!("{key} holds {found:?}, not {bytes} bytes")));
            }
        }
        let end = self.row.position.saturating_add(stretch.bytes);
        let mut beside = beside(&stretch.events, stretch.register)?;
        mark_late(&stretch.intake.late(), &mut beside)?;
        let writes = stretch.intake.writes();
        let oldest_age = self.now.since(self.uploaded).max(0);
        let known = Tally::repeated(stretch.repeated, &writes);
        let tally = Tally { taken_at: Some(self.now), oldest_age, duplicates: known, ..stretch.tally };
        let mut lost = write(&self.world.db, writes, beside, PATIENCE, Door::Objects, tally).await?;
        for _ in 0..ATTEMPTS {
            if lost.is_empty() {
                break;
            }
            lost = self.mend(&lost, end).await?;
        }
        if !lost.is_empty() {
            return Err(PortError::new("write_rollups", "others keep writing the same rollups"));
        }
        self.row.position = end;
        self.row.counted = self.row.counted.saturating_add(stretch.counted);
        self.row.repeated = self.row.repeated.saturating_add(stretch.repeated);
        self.row.refused = self.row.refused.saturating_add(stretch.refused);
        self.save(held).await
    }

    /// Reads once more, up to `end`, what belongs to rollups that somebody else wrote in between; it is archived already.
    async fn mend(&self, lost: &[Key], end: u64) -> Result<Vec<Key>, PortError> {
        let gone = || PortError::new("object", "it changed meanwhile");
        let mut opened = self.world.archives.open(self.key, self.row.position).await?.ok_or_else(gone)?;
        if opened.etag != self.etag {
            return Err(gone());
        }
        let mut intake = Intake::default();
        let (slots, _) = load(&self.world.db, lost).await?;
        intake.load(lost, slots);
        let (mut position, mut repeated, mut late) = (self.row.position, 0_u64, 0_u64);
        while position < end {
            let bytes = opened.lines.next(PIECE).await?.ok_or_else(gone)?;
            position = position.saturating_add(length(bytes.len()));
            let mut messages = object::read_lines(&bytes, self.uploaded).messages;
            // In order, as everything that was lost is.
            messages.retain(|message| lost.binary_search(&batch::key_of(message)).is_ok());
            let taken = intake.take(&messages);
            repeated = repeated.saturating_add(length(taken.repeated));
            late = late.saturating_add(length(taken.late));
        }
        let mut beside = Vec::new();
        mark_late(&intake.late(), &mut beside)?;
        let writes = intake.writes();
        let tally = Tally { duplicates: Tally::repeated(repeated, &writes), late, ..Tally::default() };
        write(&self.world.db, writes, beside, PATIENCE, Door::Objects, tally).await
    }

    async fn save(&mut self, held: bool) -> Result<(), PortError> {
        let [saved] = run(&self.world.db, [objects::save(self.key, &self.row, held, self.now)]).await?;
        if saved.changes == 0 {
            return Err(PortError::new("object_save", "somebody else has taken it"));
        }
        self.row.generation = self.row.generation.saturating_add(1);
        Ok(())
    }
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What is written with the first of the rollups: events, and what became of alerts. Whatever is written again finds itself there.
fn beside(events: &[Event], register: Register) -> Result<Vec<Statement>, PortError> {
    let unwritable = |error: json::Error| PortError::new("write_rollups", error.to_string());
    let mut statements = Vec::new();
    for events in events.chunks(EVENTS) {
        let rows: Vec<_> = events.iter().map(event_row).collect();
        statements.push(telemetry::record_events(&rows).map_err(unwritable)?);
    }
    let changed = register.changed();
    if !changed.is_empty() {
        statements.push(alerts::write(&changed).map_err(unwritable)?);
    }
    Ok(statements)
}
