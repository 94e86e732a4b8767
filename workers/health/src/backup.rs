//! Backups: a run carries the one that is being made as far as its budget goes.
//!
//! 1. **Take** the backup, so that no other run works on it.
//! 2. **Read** a page, and put it into the part as a gzip member.
//! 3. When the part is full, **store** it and note the progress; what comes after is the next part's.
//! 4. After the last table, store the last part, **complete** the object, write the **manifest**, and note the end.
//!
//! A run that dies anywhere leaves what it noted; the next one goes on from there. Every step can be done twice: a part
//! with the number of one that is stored replaces it, and an object that is complete is recognised by its size.

use rs1_domain::port::{Database, Gzip, Param, PortError, Reader, Vault};
use rs1_domain::{UnixMillis, json};
use rs1_ops::dump;
use rs1_ops::part::{PART_BYTES, Part};
use rs1_ops::plan::{self, Manifest, Progress, Row, check_key, manifest_key, object_key};
use rs1_ops::retention::{Kept, expired};
use rs1_store::backups::{self, Check, RunningRow, Whole, Wish};
use rs1_store::sql::{PageRequest, rows, run};
use serde_json::Value;

/// A backup that is not whole after a day is given up: something is wrong that trying again does not mend.
const GIVE_UP_MS: i64 = 86_400_000;

/// What a backup works with.
pub struct Ports<'a, D, V, G> {
    /// The database, which is both read and where the progress is noted.
    pub db: &'a D,
    /// Where backups are kept.
    pub vault: &'a V,
    /// Compression.
    pub gzip: &'a G,
    /// The time now: a run takes minutes.
    pub clock: &'a dyn Fn() -> UnixMillis,
}

/// How much one run does.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Pages; each is a query. D1 lets an invocation make 1,000.
    pub pages: u32,
    /// The size of a part; smaller than R2 takes in tests alone.
    pub part_bytes: usize,
}

impl Budget {
    /// The daily trigger has 15 minutes of CPU time.
    pub const DAILY: Self = Self { pages: 800, part_bytes: PART_BYTES };
    /// A trigger that comes more than once an hour has 30 seconds.
    pub const OFTEN: Self = Self { pages: 600, part_bytes: PART_BYTES };
}

/// Begins a backup, unless there is one of that name or another is being made. Answers whether it did.
///
/// # Errors
/// As [`Database::batch`].
pub async fn begin(
    db: &impl Database,
    backup_id: &str,
    wish: Option<Wish<'_>>,
    now: UnixMillis,
) -> Result<bool, PortError> {
    let [begun] = run(db, [backups::begin(backup_id, wish, now)]).await?;
    Ok(begun.changes == 1)
}

/// Carries on with the backup that is being made. What it did, for the log.
///
/// # Errors
/// What failed; the next run tries again from what was noted.
pub async fn advance<D: Database + Reader, V: Vault, G: Gzip>(
    ports: &Ports<'_, D, V, G>,
    budget: Budget,
) -> Result<String, PortError> {
    let now = (ports.clock)();
    let Some(row) = backups::take(ports.db, now).await? else { return Ok("no backup to make".to_owned()) };
    let mut run = Run { ports, row, budget };
    if now.since(run.row.started_at) > GIVE_UP_MS {
        return run.give_up(now).await;
    }
    let outcome = run.go_on().await;
    // Without this the next run would wait until the hold has gone stale.
    let let_go = rs1_store::sql::run(ports.db, [backups::let_go(&run.row)]).await;
    outcome.and_then(|done| let_go.map(|_| done))
}

struct Run<'a, 'b, D, V, G> {
    ports: &'b Ports<'a, D, V, G>,
    row: RunningRow,
    budget: Budget,
}

impl<D: Database + Reader, V: Vault, G: Gzip> Run<'_, '_, D, V, G> {
    async fn go_on(&mut self) -> Result<String, PortError> {
        let mut progress = match self.row.progress.take() {
            Some(text) => json::read(&text).map_err(|error| unreadable(&error))?,
            None => self.start().await?,
        };
        if !progress.is_whole() && !self.read_on(&mut progress).await? {
            return Ok(self.say(&progress, "goes on"));
        }
        self.complete(&progress).await?;
        Ok(self.say(&progress, "is whole"))
    }

    async fn start(&mut self) -> Result<Progress, PortError> {
        let bookmark = self.ports.db.bookmark().await?;
        let schema = backups::schema(self.ports.db).await?;
        let upload = self.ports.vault.begin(&self.key()).await?;
        let progress = Progress::new(upload, bookmark, schema);
        self.save(&progress).await?;
        Ok(progress)
    }

    /// Reads and stores until all is stored, or the budget is used up; answers whether all is.
    async fn read_on(&mut self, progress: &mut Progress) -> Result<bool, PortError> {
        let mut part = Part::new(self.budget.part_bytes);
        if progress.parts.is_empty() {
            let header = dump::header(&progress.schema, &self.row.backup_id, &progress.bookmark);
            part.push(&self.ports.gzip.gzip(&header).await?);
        }
        let mut pages = 0_u32;
        loop {
            // What the part stands for when the next page is in it.
            let mut ahead = progress.clone();
            let more = self.next_page(&mut ahead).await?;
            let text = match &more {
                Some(text) => text.clone(),
                None => dump::footer(&progress.schema),
            };
            let member = if text.is_empty() { Vec::new() } else { self.ports.gzip.gzip(&text).await? };
            if !part.takes(member.len()) {
                self.store(progress, std::mem::replace(&mut part, Part::new(self.budget.part_bytes))).await?;
                // `ahead` was made of what the part before stood for, and does not know that it is stored.
                ahead.parts.clone_from(&progress.parts);
                ahead.hash.clone_from(&progress.hash);
                if !part.takes(member.len()) {
                    return Err(PortError::new("backup", "a page is larger than a part"));
                }
            }
            part.push(&member);
            *progress = ahead;
            if more.is_none() {
                self.store_last(progress, part).await?;
                return Ok(true);
            }
            pages = pages.saturating_add(1);
            if pages >= self.budget.pages {
                self.store(progress, part).await?;
                return Ok(false);
            }
        }
    }

    /// The next page as statements, counted; `None` when every table is read.
    async fn next_page(&self, progress: &mut Progress) -> Result<Option<String>, PortError> {
        let Some((place, after)) = progress.next() else { return Ok(None) };
        let Some(table) = progress.schema.tables.get(place) else { return Ok(None) };
        let key = match after {
            Some(key) => values_of(key)?,
            None => Vec::new(),
        };
        let query = dump::page_query(table, after.is_some());
        let mut limit = progress.limit;
        let page: Vec<Row> = loop {
            let params: Vec<Param> = key.iter().cloned().chain([limit.into()]).collect();
            let page = rows(&self.ports.db.read(&query, &params).await?)?;
            match plan::fewer_rows(&page) {
                Some(fewer) => limit = fewer,
                None => break page,
            }
        };
        let lines: Vec<String> = page.iter().map(|row| row.line.clone()).collect();
        let text = dump::inserts(table, &lines);
        progress.limit = limit;
        progress.take(&page);
        Ok(Some(text))
    }

    async fn store(&mut self, progress: &mut Progress, part: Part) -> Result<(), PortError> {
        let bytes = part.into_full();
        let etag = self.put(progress, &bytes).await?;
        progress.store(etag, &bytes);
        self.save(progress).await
    }

    async fn store_last(&mut self, progress: &mut Progress, part: Part) -> Result<(), PortError> {
        let bytes = part.into_last();
        let etag = self.put(progress, &bytes).await?;
        progress.store_last(etag, &bytes);
        self.save(progress).await
    }

    async fn put(&self, progress: &Progress, bytes: &[u8]) -> Result<String, PortError> {
        let number = u32::try_from(progress.parts.len().saturating_add(1)).unwrap_or(u32::MAX);
        self.ports.vault.put_part(&self.key(), &progress.upload, number, bytes).await
    }

    /// Notes the progress; an error if another run has taken over.
    async fn save(&mut self, progress: &Progress) -> Result<(), PortError> {
        let text = json::write(progress).map_err(|error| unreadable(&error))?;
        let now = (self.ports.clock)();
        let [saved] = run(self.ports.db, [backups::save(&self.row, &text, true, now)]).await?;
        if saved.changes == 0 {
            return Err(PortError::new("backup_save", "another run has taken over"));
        }
        self.row.generation = self.row.generation.saturating_add(1);
        Ok(())
    }

    async fn complete(&self, progress: &Progress) -> Result<(), PortError> {
        let vault = self.ports.vault;
        let etags: Vec<String> = progress.parts.iter().map(|part| part.etag.clone()).collect();
        if let Err(error) = vault.complete(&self.key(), &progress.upload, &etags).await {
            // An upload that was completed is no more.
            if vault.size(&self.key()).await? != Some(progress.bytes()) {
                return Err(error);
            }
        }
        let end = self.ports.db.bookmark().await?;
        let now = (self.ports.clock)();
        let manifest = Manifest::of(&self.row.backup_id, progress, end, self.row.started_at, now);
        let text = json::write(&manifest).map_err(|error| unreadable(&error))?;
        vault.put(&manifest_key(&self.row.backup_id), &text, "application/json").await?;
        let whole = Whole {
            rows: progress.rows(),
            bytes: progress.bytes(),
            sha256: &progress.hash,
            schema_version: progress.schema.version.as_deref(),
        };
        run(self.ports.db, [backups::complete(&self.row, &whole, now)]).await?;
        Ok(())
    }

    async fn give_up(&mut self, now: UnixMillis) -> Result<String, PortError> {
        if let Some(progress) =
            self.row.progress.as_deref().and_then(|text| json::read::<Progress>(text).ok())
        {
            // What stays behind is aborted by the bucket's lifecycle rule.
            let _ = self.ports.vault.abort(&self.key(), &progress.upload).await;
        }
        run(self.ports.db, [backups::fail(&self.row, "not whole after a day", now)]).await?;
        Err(PortError::new("backup", format!("{} was given up: not whole after a day", self.row.backup_id)))
    }

    fn key(&self) -> String {
        object_key(&self.row.backup_id)
    }

    fn say(&self, progress: &Progress, verb: &str) -> String {
        let (id, parts) = (&self.row.backup_id, progress.parts.len());
        format!("backup {id} {verb}: {} rows, {parts} parts, {} bytes", progress.rows(), progress.bytes())
    }
}

/// The values of a key, as the database wrote them.
fn values_of(key: &str) -> Result<Vec<Param>, PortError> {
    let Value::Array(values) = json::parse(key).map_err(|error| unreadable(&error))? else {
        return Err(PortError::new("backup", "a key is no list"));
    };
    let param = |value: Value| match &value {
        Value::Number(number) => match number.as_i64() {
            Some(number) => Some(Param::Int(number)),
            None => number.as_f64().map(Param::Real),
        },
        Value::String(text) => Some(Param::Text(text.clone())),
        _ => None,
    };
    let values: Option<_> = values.into_iter().map(param).collect();
    values.ok_or_else(|| PortError::new("backup", "a key is neither number nor text"))
}

fn unreadable(error: &json::Error) -> PortError {
    PortError::new("backup", error.to_string())
}

/// Deletes what is past its time. What it did, for the log.
///
/// # Errors
/// When the database or the bucket cannot be reached; what is left goes the next day.
pub async fn clear_up<D: Database, V: Vault>(
    db: &D,
    vault: &V,
    now: UnixMillis,
) -> Result<String, PortError> {
    let [listed] = run(db, [backups::list(&PageRequest { limit: 100, after: None })]).await?;
    let listed: Vec<backups::BackupRow> = rows(&listed)?;
    let mut kept = Vec::new();
    for row in listed.into_iter().filter(|row| row.state == "complete") {
        let check = vault.text(&check_key(&row.backup_id)).await?;
        let good = check.and_then(|text| json::read::<Check>(&text).ok()).is_some_and(|check| check.ok);
        kept.push(Kept { backup_id: row.backup_id, started_at: row.started_at, good });
    }
    let gone = expired(&kept, now);
    if gone.is_empty() {
        return Ok(format!("{} backups kept", kept.len()));
    }
    let keys: Vec<String> =
        gone.iter().flat_map(|id| [manifest_key(id), check_key(id), object_key(id)]).collect();
    vault.delete(&keys).await?;
    run(db, [backups::forget(&gone)?]).await?;
    Ok(format!("{} backups kept, deleted {}", kept.len().saturating_sub(gone.len()), gone.join(", ")))
}
