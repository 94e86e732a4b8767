//! Exports: all that there is of a device, as one archive (`.tar.gz`), made step by step by the minute's cron.
//!
//! First the rows of the database, a page a file, then the archive's lines, a day a file (more files of a day that has very many),
//! at last a manifest. Gzip lets one compressed stream follow another, and tar one file another; so each step stores an object of its own,
//! `exports/{export}/{number}.tar.gz`, and whoever downloads is sent them one after the other. A step that is done twice stores the same
//! object again. None of it is ever in memory but for the step's own few megabytes.

use rs1_domain::http::NDJSON;
use rs1_domain::json;
use rs1_domain::port::{Encoding, NewObject, Packs, PortError, Shelf};
use rs1_domain::time::{DAY, HOUR};
use rs1_domain::{DeviceId, UnixMillis};
use rs1_store::exports::{self, After, ExportRow, FILES, Progress, end_of, key, prefix};
use rs1_store::lines;
use rs1_store::sql::{first_row, run};
use rs1_telemetry::archive::folder;
use rs1_telemetry::series;
use serde::Serialize;

use crate::tar;
use crate::world::{Ports, World};

/// Hours of the archive that one run reads, about: a fortnight. A year takes half an hour of runs.
const HOURS: u32 = 14 * 24;
/// Rows of a page: rollups of an hour have a kilobyte, and a statement's text may have two million.
const ROWS: u32 = 500;
/// What a page of rows costs, in hours of the archive.
const PAGE: u32 = 4;
/// Bytes after which a step stores what it has.
const CHUNK: usize = 4 * 1024 * 1024;

/// Goes on with the export that waits longest. What was done, for the log; nothing if there is none.
///
/// # Errors
/// What failed. The step is done anew by a later run.
pub async fn step(now: UnixMillis, world: &World<impl Ports>) -> Result<Option<String>, PortError> {
    let [taken] = run(&world.db, [exports::take(now)]).await?;
    let Some(mut export) = first_row::<ExportRow>(&taken)? else { return Ok(None) };
    let outcome = go_on(&mut export, now, world).await;
    if outcome.is_err() {
        // Otherwise the next run would wait for as long as this one might still be at it.
        run(&world.db, [exports::let_go(&export, now)]).await?;
    }
    outcome.map(Some)
}

async fn go_on(
    export: &mut ExportRow,
    now: UnixMillis,
    world: &World<impl Ports>,
) -> Result<String, PortError> {
    let failed = |error: json::Error| PortError::new("export", error.to_string());
    let mut making = Making {
        world,
        progress: json::read(&export.progress).map_err(failed)?,
        left: HOURS,
        chunk: Vec::new(),
        device: export.device_id.clone(),
        from: export.from_at,
        until: export.until_at,
    };
    loop {
        let whole = making.fill().await?;
        making.store(&export.export_id).await?;
        let goes_on = !whole && making.left > 0;
        let bytes = if whole { Some(making.measure(&export.export_id).await?) } else { None };
        let progress = json::write(&making.progress).map_err(failed)?;
        let held_until = if goes_on { now.plus(exports::HOLD) } else { now };
        let [saved] = run(&world.db, [exports::save(export, &progress, bytes, held_until)]).await?;
        if saved.changes == 0 {
            return Ok(format!("{} was cancelled", export.export_id));
        }
        export.generation = export.generation.saturating_add(1);
        if !goes_on {
            let Progress { objects, rows, lines, .. } = making.progress;
            let state = if whole { "ready" } else { "goes on" };
            return Ok(format!(
                "{} {state}: {objects} objects, {rows} rows, {lines} lines",
                export.export_id
            ));
        }
    }
}

/// An export that is being made.
struct Making<'a, P: Ports> {
    world: &'a World<P>,
    progress: Progress,
    /// Hours that this run may still read.
    left: u32,
    /// What is not stored yet.
    chunk: Vec<u8>,
    device: DeviceId,
    from: UnixMillis,
    until: UnixMillis,
}

impl<P: Ports> Making<'_, P> {
    /// Makes files until there are enough for an object, for a run, or all: then it is whole.
    async fn fill(&mut self) -> Result<bool, PortError> {
        if self.progress.objects == 0 {
            self.file("README.txt", README.as_bytes());
        }
        while self.left > 0 && self.chunk.len() < CHUNK {
            if let Some((name, page)) = FILES.get(self.progress.file) {
                let after = After { number: self.progress.number, text: self.progress.text.clone() };
                let [outcome] =
                    run(&self.world.db, [page(&self.device, self.from, self.until, &after, ROWS)]).await?;
                self.rows(name, &outcome.rows_json)?;
                self.left = self.left.saturating_sub(PAGE);
            } else if self.progress.hour < end_of(self.until) {
                self.hours().await?;
            } else {
                self.close()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A page of rows becomes a file; the last page of a kind leads to the next kind.
    fn rows(&mut self, name: &str, rows: &str) -> Result<(), PortError> {
        let read = json::read::<Vec<After>>(rows);
        let places = read.map_err(|error| PortError::new("export rows", error.to_string()))?;
        let Progress { file, page, number, text, rows: all, .. } = &mut self.progress;
        *all = all.saturating_add(places.len());
        let (name, full) =
            (format!("{name}-{page:04}.json"), places.len() >= usize::try_from(ROWS).unwrap_or(usize::MAX));
        let last = places.into_iter().next_back();
        if let Some(last) = last.filter(|_| full) {
            (*number, *text, *page) = (last.number, last.text, page.saturating_add(1));
        } else {
            *file = file.saturating_add(1);
            (*number, *text, *page) = (0, String::new(), 0);
        }
        self.file(&name, rows.as_bytes());
        Ok(())
    }

    /// The lines of a day, or of as many of its hours as one file may have, become a file, if there are any.
    async fn hours(&mut self) -> Result<(), PortError> {
        let begin = self.progress.hour.max(self.from.hour());
        let day = UnixMillis(begin.saturating_mul(HOUR));
        let end = begin
            .saturating_sub(begin.rem_euclid(DAY / HOUR))
            .saturating_add(DAY / HOUR)
            .min(end_of(self.until));
        let archives = &self.world.archives;
        let objects = lines::list(archives, &format!("telemetry/{}/", day.date())).await?;
        let (mut hour, mut text) = (begin, String::new());
        while hour < end && text.len() < CHUNK {
            let folder = folder(hour);
            let of_hour: Vec<_> =
                objects.iter().filter(|object| object.key.starts_with(&folder)).cloned().collect();
            let found = lines::of_hour(archives, &self.device, &folder, &of_hour).await?;
            let own = series::own_lines(&found, &self.device, self.from, self.until);
            let own = own.map_err(|why| PortError::new(format!("export {folder}"), why))?;
            self.progress.lines = self.progress.lines.saturating_add(own.len());
            for line in own {
                text.push_str(&line);
                text.push('\n');
            }
            hour = hour.saturating_add(1);
            self.left = self.left.saturating_sub(1);
        }
        if !text.is_empty() {
            let name = format!("telemetry/{}T{:02}.ndjson", day.date(), begin.rem_euclid(DAY / HOUR));
            self.file(&name, text.as_bytes());
        }
        self.progress.hour = hour;
        Ok(())
    }

    /// What there is in all.
    fn close(&mut self) -> Result<(), PortError> {
        let Progress { rows, lines, .. } = self.progress;
        let manifest = Manifest { device_id: &self.device, from: self.from, until: self.until, rows, lines };
        let manifest = json::write(&manifest).map_err(|error| PortError::new("export", error.to_string()))?;
        self.file("manifest.json", manifest.as_bytes());
        tar::end(&mut self.chunk);
        Ok(())
    }

    fn file(&mut self, name: &str, content: &[u8]) {
        tar::append(&mut self.chunk, &format!("rs1-{}/{name}", self.device), self.until, content);
    }

    /// Stores what is not stored yet, as the next object.
    async fn store(&mut self, export: &str) -> Result<(), PortError> {
        let body = std::mem::take(&mut self.chunk);
        if !body.is_empty() {
            let key = key(export, self.progress.objects);
            let new = NewObject {
                key: &key,
                body: &body,
                content_type: NDJSON,
                encoding: Encoding::Gzip,
                label: None,
            };
            self.world.archives.replace(new).await?;
            self.progress.objects = self.progress.objects.saturating_add(1);
        }
        Ok(())
    }

    /// The bytes of all objects.
    async fn measure(&self, export: &str) -> Result<u64, PortError> {
        let (mut objects, mut bytes, mut cursor) = (0_u32, 0_u64, None::<String>);
        loop {
            let page = self.world.archives.inventory(&prefix(export), cursor.as_deref()).await?;
            for object in page.objects {
                bytes = bytes.saturating_add(object.size);
                objects = objects.saturating_add(1);
            }
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        if objects == self.progress.objects {
            Ok(bytes)
        } else {
            Err(PortError::new("export", format!("{objects} objects of {}", self.progress.objects)))
        }
    }
}

/// The last file: what there is in all.
#[derive(Serialize)]
struct Manifest<'a> {
    device_id: &'a DeviceId,
    from: UnixMillis,
    until: UnixMillis,
    rows: usize,
    lines: usize,
}

/// The first file: what the others are.
const README: &str = "\
This archive holds what OpticWorks has stored about one RS-1 since it is yours.

device-0000.json     the device as it was last known
people-0000.json     who may use it, who is invited, to whom it is offered
zones-0000.json      its zone configurations, the last ten
alerts-NNNN.json     what was wrong with it (90 days)
audit-NNNN.json      who did what with it (90 days); people of OpticWorks are 'operator'
hours-NNNN.json      what it measured, by the hour (30 days): of each metric
                     [count, sum, min, max, last], and the time of last if that is not last_at
events-NNNN.json     what its log lines told (90 days)
telemetry/*.ndjson   every message (365 days): one JSON object a line, in the order in which they came.
                     'payload' is what the device sent. A file is of a day (UTC) and named for its first hour.
manifest.json        how many rows and lines there are in all; it comes last

Files that end in .json are JSON arrays. 'number' is an hour (since 1970) or the time of an event, 'text' an id.
Times that are numbers are milliseconds since 1970-01-01T00:00:00Z; others are RFC 3339. Zones are in millimetres.
";
