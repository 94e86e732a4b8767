//! Backups: their rows, and the schema of the database that they read.
//!
//! One backup runs at a time, and one run at a time works on it: a run takes the backup with
//! [`take`], which is good until nothing was written for [`HOLD_MS`], and each step names the generation
//! that it saw.

use rs1_domain::UnixMillis;
use rs1_domain::json;
use rs1_domain::port::{Database, Param, PortError, Reader, Statement};
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_ops::dump::quoted;
use rs1_ops::schema::{Schema, Table, read_order};
use rs1_ops::watch::Made;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::security::optional_json_text;
use crate::sql::{PageRequest, first_row, optional_flag, rows, run};

/// After how many milliseconds without a step a run is taken for dead. A step is a few seconds of work.
pub const HOLD_MS: i64 = 180_000;

/// The backup that is being made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RunningRow {
    /// Which.
    pub backup_id: String,
    /// When it began.
    #[serde(with = "as_millis")]
    pub started_at: UnixMillis,
    /// To be named by the next write.
    pub generation: u32,
    /// How far it is, as JSON; `None` before the first step.
    pub progress: Option<String>,
}

/// A backup, as operators see it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Backup"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRow {
    /// Which.
    pub backup_id: String,
    /// `running`, `complete` or `failed`.
    pub state: String,
    /// Who asked for it; `None`: the clock.
    pub requested_by: Option<String>,
    /// Why, if somebody asked for it.
    pub reason: Option<String>,
    /// When it began.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub started_at: UnixMillis,
    /// When it ended.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub finished_at: Option<UnixMillis>,
    /// The time between, in milliseconds.
    pub duration_ms: Option<i64>,
    /// Rows of all tables.
    pub row_count: Option<u64>,
    /// Bytes in R2.
    pub bytes: Option<u64>,
    /// Of those bytes.
    pub sha256: Option<String>,
    /// The last migration that is in it.
    pub schema_version: Option<String>,
    /// Whether it was loaded into a scratch database and found equal; `None` before that was tried.
    #[serde(deserialize_with = "optional_flag")]
    pub check_ok: Option<bool>,
    /// When that was.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub checked_at: Option<UnixMillis>,
    /// What was not equal: a list of texts.
    #[serde(deserialize_with = "optional_json_text")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<String>>"))]
    pub check_faults: Option<Value>,
    /// What failed.
    pub detail: Option<String>,
    /// How far it is, as JSON, while it is made and one backup is asked for.
    #[serde(default, skip_serializing)]
    pub progress: Option<String>,
}

impl BackupRow {
    /// What the watch wants to know of it.
    pub fn made(&self) -> Made {
        Made {
            backup_id: self.backup_id.clone(),
            state: self.state.clone(),
            started_at: self.started_at,
            finished_at: self.finished_at,
            bytes: self.bytes,
            check_ok: self.check_ok,
        }
    }
}

/// Whose wish a backup is.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The operator.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// Begins a backup, somebody's or the clock's: one change, or none if that one exists or another is being made.
pub fn begin(backup_id: &str, wish: Option<Wish<'_>>, now: UnixMillis) -> Statement {
    Statement {
        name: "backup_begin",
        sql: "/* backup_begin */
            INSERT INTO backups (backup_id, state, requested_by, reason, started_at, updated_at)
            SELECT ?1, 'running', ?2, ?4, ?3, ?3
            WHERE NOT EXISTS (SELECT 1 FROM backups WHERE state = 'running')
            ON CONFLICT (backup_id) DO NOTHING",
        params: vec![
            backup_id.into(),
            wish.map(|wish| wish.by).into(),
            now.into(),
            wish.map(|wish| wish.reason).into(),
        ],
    }
}

/// The id of the backup that is being made.
pub fn running() -> Statement {
    Statement {
        name: "backup_running",
        sql: "/* backup_running */ SELECT backup_id FROM backups WHERE state = 'running'",
        params: Vec::new(),
    }
}

/// Takes the backup that is being made, if nobody is at it.
///
/// # Errors
/// As [`Database::batch`].
pub async fn take(db: &impl Database, now: UnixMillis) -> Result<Option<RunningRow>, PortError> {
    let [taken] = run(db, [take_statement(now)]).await?;
    first_row(&taken)
}

/// See [`take`].
pub fn take_statement(now: UnixMillis) -> Statement {
    Statement {
        name: "backup_take",
        sql: "/* backup_take */
            UPDATE backups SET held = 1, updated_at = ?1, generation = generation + 1
            WHERE state = 'running' AND (held = 0 OR updated_at < ?2)
            RETURNING backup_id, started_at, generation, progress",
        params: vec![now.into(), now.plus(HOLD_MS.saturating_neg()).into()],
    }
}

/// Notes how far a backup is: one change, or none if another run has it. The generation is one more then.
pub fn save(row: &RunningRow, progress: &str, held: bool, now: UnixMillis) -> Statement {
    Statement {
        name: "backup_save",
        sql: "/* backup_save */
            UPDATE backups SET progress = ?3, held = ?4, updated_at = ?5, generation = generation + 1
            WHERE backup_id = ?1 AND generation = ?2 AND state = 'running'",
        params: vec![
            row.backup_id.as_str().into(),
            row.generation.into(),
            progress.into(),
            held.into(),
            now.into(),
        ],
    }
}

/// Lets go of a backup, so that the next run need not wait.
pub fn let_go(row: &RunningRow) -> Statement {
    Statement {
        name: "backup_let_go",
        sql: "/* backup_let_go */
            UPDATE backups SET held = 0 WHERE backup_id = ?1 AND generation = ?2 AND state = 'running'",
        params: vec![row.backup_id.as_str().into(), row.generation.into()],
    }
}

/// What a backup that is whole is known by.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes in R2.
    pub bytes: u64,
    /// Of those bytes.
    pub sha256: &'a str,
    /// The last migration that is in it.
    pub schema_version: Option<&'a str>,
}

/// Notes that a backup is whole.
pub fn complete(row: &RunningRow, whole: &Whole<'_>, now: UnixMillis) -> Statement {
    let count = |value: u64| Param::Int(i64::try_from(value).unwrap_or(i64::MAX));
    Statement {
        name: "backup_complete",
        sql: "/* backup_complete */
            UPDATE backups SET state = 'complete', progress = NULL, held = 0, generation = generation + 1,
              row_count = ?3, bytes = ?4, sha256 = ?5, schema_version = ?7, updated_at = ?6, finished_at = ?6
            WHERE backup_id = ?1 AND generation = ?2 AND state = 'running'",
        params: vec![
            row.backup_id.as_str().into(),
            row.generation.into(),
            count(whole.rows),
            count(whole.bytes),
            whole.sha256.into(),
            now.into(),
            whole.schema_version.into(),
        ],
    }
}

/// Gives a backup up.
pub fn fail(row: &RunningRow, detail: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "backup_fail",
        sql: "/* backup_fail */
            UPDATE backups SET state = 'failed', progress = NULL, held = 0, generation = generation + 1,
              detail = ?3, updated_at = ?4, finished_at = ?4
            WHERE backup_id = ?1 AND generation = ?2 AND state = 'running'",
        params: vec![row.backup_id.as_str().into(), row.generation.into(), detail.into(), now.into()],
    }
}

/// A page of [`BackupRow`]s, newest first.
pub fn list(page: &PageRequest) -> Statement {
    Statement {
        name: "backup_list",
        sql: "/* backup_list */
            SELECT backup_id, state, requested_by, reason, started_at, finished_at,
              finished_at - started_at AS duration_ms, row_count, bytes, sha256, schema_version,
              check_ok, checked_at, check_faults, detail
            FROM backups WHERE backup_id < coalesce(?1, '~') ORDER BY backup_id DESC LIMIT ?2",
        params: vec![page.after.clone().into(), page.rows().into()],
    }
}

/// One [`BackupRow`].
pub fn by_id(backup_id: &str) -> Statement {
    Statement {
        name: "backup_by_id",
        sql: "/* backup_by_id */
            SELECT backup_id, state, requested_by, reason, started_at, finished_at,
              finished_at - started_at AS duration_ms, row_count, bytes, sha256, schema_version,
              check_ok, checked_at, check_faults, detail, progress
            FROM backups WHERE backup_id = ?1",
        params: vec![backup_id.into()],
    }
}

/// The newest whole backups that no restore check found good: their ids, as [`BackupId`].
pub fn unproven(limit: u32) -> Statement {
    Statement {
        name: "backup_unproven",
        sql: "/* backup_unproven */
            SELECT backup_id FROM backups WHERE state = 'complete' AND check_ok IS NOT 1
            ORDER BY backup_id DESC LIMIT ?1",
        params: vec![limit.into()],
    }
}

/// Which backup.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BackupId {
    /// Which.
    pub backup_id: String,
}

/// What a restore check found, as it stands beside the backup in R2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Whether the restored database is the one that was backed up.
    pub ok: bool,
    /// What is not as it should be.
    #[serde(default)]
    pub faults: Vec<String>,
    /// When, RFC 3339.
    #[serde(default)]
    pub checked_at: Option<UnixMillis>,
}

/// Notes what a restore check found; one that is older than what is noted changes nothing.
///
/// # Errors
/// When the faults cannot be written as JSON, which texts always can.
pub fn note_check(backup_id: &str, check: &Check, now: UnixMillis) -> Result<Statement, PortError> {
    let faults =
        json::write(&check.faults).map_err(|error| PortError::new("backup_check", error.to_string()))?;
    Ok(Statement {
        name: "backup_check",
        sql: "/* backup_check */
            UPDATE backups SET check_ok = ?2, check_faults = ?3, checked_at = ?4
            WHERE backup_id = ?1 AND state = 'complete' AND coalesce(checked_at, 0) <= ?4",
        params: vec![
            backup_id.into(),
            check.ok.into(),
            faults.into(),
            check.checked_at.unwrap_or(now).into(),
        ],
    })
}

/// Forgets backups, whatever becomes of their objects.
///
/// # Errors
/// When the ids cannot be written as JSON.
pub fn forget(ids: &[String]) -> Result<Statement, PortError> {
    let ids = json::write(ids).map_err(|error| PortError::new("backup_forget", error.to_string()))?;
    Ok(Statement {
        name: "backup_forget",
        sql: "/* backup_forget */
            DELETE FROM backups WHERE backup_id IN (SELECT value FROM json_each(?1)) AND state <> 'running'",
        params: vec![ids.into()],
    })
}

/// Reads what the database consists of: its own tables, not those of SQLite and of D1.
///
/// # Errors
/// As [`Reader::read`].
pub async fn schema(db: &impl Reader) -> Result<Schema, PortError> {
    #[derive(Deserialize)]
    struct Thing {
        r#type: String,
        name: String,
        sql: String,
    }
    #[derive(Deserialize)]
    struct Column {
        name: String,
        pk: u32,
        hidden: u32,
    }
    #[derive(Deserialize)]
    struct Reference {
        table: String,
    }
    #[derive(Deserialize)]
    struct Applied {
        name: String,
    }

    let things: Vec<Thing> = rows(
        &db.read(
            "/* backup_schema */ SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL
             AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\' ORDER BY rowid",
            &[],
        )
        .await?,
    )?;
    let (tables, rest): (Vec<Thing>, Vec<Thing>) =
        things.into_iter().partition(|thing| thing.r#type == "table");
    let mut read = Vec::with_capacity(tables.len());
    for Thing { name, sql, .. } in tables {
        let name_in_sql = quoted(&name);
        let columns: Vec<Column> = rows(&db.read(&format!("PRAGMA table_xinfo({name_in_sql})"), &[]).await?)?;
        let references: Vec<Reference> =
            rows(&db.read(&format!("PRAGMA foreign_key_list({name_in_sql})"), &[]).await?)?;
        // `pk` is a column's place in the key, from 1.
        let key: Vec<&Column> =
            (1..).map_while(|place| columns.iter().find(|column| column.pk == place)).collect();
        if key.is_empty() {
            return Err(PortError::new(
                "backup_schema",
                format!("the table {name} has no primary key to page by"),
            ));
        }
        read.push(Table {
            key: key.into_iter().map(|column| column.name.clone()).collect(),
            // Generated columns are computed anew.
            columns: columns
                .iter()
                .filter(|column| column.hidden == 0)
                .map(|column| column.name.clone())
                .collect(),
            refers_to: references.into_iter().map(|reference| reference.table).collect(),
            name,
            sql,
        });
    }
    let version = if read.iter().any(|table| table.name == "d1_migrations") {
        let last = db
            .read("/* backup_version */ SELECT name FROM d1_migrations ORDER BY id DESC LIMIT 1", &[])
            .await?;
        first_row::<Applied>(&last)?.map(|applied| applied.name)
    } else {
        None
    };
    Ok(Schema { tables: read_order(read), rest: rest.into_iter().map(|thing| thing.sql).collect(), version })
}
