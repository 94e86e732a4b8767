//! SQLite with D1's manners, for native tests: the real migrations, batches that roll back whole,
//! integers bound as JavaScript numbers (so as REAL), rows as `JSON.stringify` would write them,
//! and failures on demand.

use std::cell::{Cell, RefCell};
use std::path::Path;

use rs1_domain::port::{Database, Outcome, Param, PortError, Reader, Statement};
use rusqlite::types::{Value, ValueRef};
use serde_json::{Map, Value as Json};

/// How the next batch shall fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing is done.
    BeforeCommit,
    /// Everything is done, but the caller hears that the connection was lost.
    AfterCommit,
}

/// An in-memory database with the project's schema.
pub struct NativeDatabase {
    connection: RefCell<rusqlite::Connection>,
    failure: Cell<Option<(&'static str, Failure)>>,
    once: Cell<bool>,
    statements: Cell<u64>,
    batches: Cell<u64>,
    writing: Cell<u64>,
}

impl NativeDatabase {
    /// An empty database with every migration applied.
    ///
    /// # Panics
    /// When a migration does not apply: nothing can be tested then.
    #[expect(clippy::expect_used, reason = "test support")]
    pub fn new() -> Self {
        let connection = rusqlite::Connection::open_in_memory().expect("SQLite opens in memory");
        connection.pragma_update(None, "foreign_keys", true).expect("foreign keys can be switched on");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("migrations/ can be read")
            .map(|entry| entry.expect("migrations/ can be listed").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
            .collect();
        files.sort();
        for file in files {
            let sql = std::fs::read_to_string(&file).expect("a migration can be read");
            if let Err(error) = connection.execute_batch(&sql) {
                #[expect(clippy::panic, reason = "test support")]
                {
                    panic!("{}: {error}", file.display());
                }
            }
        }
        // As many as a worker has. To prepare one takes longer than to run it.
        connection.set_prepared_statement_cache_capacity(256);
        Self {
            connection: RefCell::new(connection),
            failure: Cell::new(None),
            once: Cell::new(false),
            statements: Cell::new(0),
            batches: Cell::new(0),
            writing: Cell::new(0),
        }
    }

    /// Makes every batch fail like this, until it is set to `None`.
    pub fn fail(&self, failure: Option<Failure>) {
        self.fail_statement("", failure);
    }

    /// Makes every batch with a statement whose name begins like this fail like this, until it is set
    /// to `None`.
    pub fn fail_statement(&self, name: &'static str, failure: Option<Failure>) {
        self.failure.set(failure.map(|failure| (name, failure)));
    }

    /// Makes the next batch with such a statement fail like this, and none after it.
    pub fn fail_once(&self, name: &'static str, failure: Failure) {
        self.fail_statement(name, Some(failure));
        self.once.set(true);
    }

    /// How many statements have run so far.
    pub fn statements_run(&self) -> u64 {
        self.statements.get()
    }

    /// How many batches have run so far, each one way to the database and back.
    pub fn batches_run(&self) -> u64 {
        self.batches.get()
    }

    /// How many of those batches had something to write.
    pub fn writing_batches_run(&self) -> u64 {
        self.writing.get()
    }

    /// The query plan of a statement, a line a step.
    ///
    /// # Errors
    /// When the statement is not valid.
    pub fn plan(&self, statement: &Statement) -> Result<Vec<String>, PortError> {
        let connection = self.connection.borrow();
        let failed =
            |error: rusqlite::Error| PortError::new(format!("plan {}", statement.name), error.to_string());
        let mut prepared =
            connection.prepare(&format!("EXPLAIN QUERY PLAN {}", statement.sql)).map_err(failed)?;
        let values = rusqlite::params_from_iter(statement.params.iter().map(bind));
        let lines = prepared.query_map(values, |row| row.get::<_, String>("detail")).map_err(failed)?;
        lines.collect::<Result<_, _>>().map_err(failed)
    }

    /// Runs SQL text as it is, several statements too: what other programs do to the database.
    ///
    /// # Errors
    /// The first statement that fails; those before it are done.
    pub fn execute(&self, sql: &str) -> Result<(), PortError> {
        self.connection
            .borrow()
            .execute_batch(sql)
            .map_err(|error| PortError::new("execute", error.to_string()))
    }

    fn run(connection: &rusqlite::Connection, sql: &str, params: &[Param]) -> rusqlite::Result<Outcome> {
        let before = connection.total_changes();
        let mut prepared = connection.prepare_cached(sql)?;
        let names: Vec<String> = prepared.column_names().map(str::to_owned).collect();
        let mut rows = prepared.query(rusqlite::params_from_iter(params.iter().map(bind)))?;
        let mut objects = Vec::new();
        while let Some(row) = rows.next()? {
            let mut object = Map::new();
            for (index, name) in names.iter().enumerate() {
                object.insert(name.clone(), json(row.get_ref(index)?));
            }
            objects.push(Json::Object(object));
        }
        drop(rows);
        let changes = connection.total_changes().saturating_sub(before);
        let whole = objects.first().and_then(|row| row.get("json")?.as_str().map(str::to_owned));
        Ok(Outcome { rows_json: whole.unwrap_or_else(|| Json::Array(objects).to_string()), changes })
    }
}

impl Default for NativeDatabase {
    fn default() -> Self {
        Self::new()
    }
}

impl Database for NativeDatabase {
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, PortError> {
        let failure = self.failure.get().and_then(|(name, failure)| {
            statements.iter().any(|statement| statement.name.starts_with(name)).then_some(failure)
        });
        if failure.is_some() && self.once.take() {
            self.failure.set(None);
        }
        let lost = || PortError::new("d1", "Network connection lost.");
        if failure == Some(Failure::BeforeCommit) {
            return Err(lost());
        }
        self.batches.set(self.batches.get().saturating_add(1));
        let mut connection = self.connection.borrow_mut();
        let begun = connection.transaction().map_err(|error| PortError::new("d1", error.to_string()))?;
        let reads = |statement: &Statement| begun.prepare_cached(statement.sql).is_ok_and(|it| it.readonly());
        if !statements.iter().all(reads) {
            self.writing.set(self.writing.get().saturating_add(1));
        }
        let mut outcomes = Vec::with_capacity(statements.len());
        for statement in &statements {
            let outcome = Self::run(&begun, statement.sql, &statement.params)
                .map_err(|error| PortError::new(format!("d1 {}", statement.name), error.to_string()))?;
            self.statements.set(self.statements.get().saturating_add(1));
            outcomes.push(outcome);
        }
        begun.commit().map_err(|error| PortError::new("d1", error.to_string()))?;
        if failure == Some(Failure::AfterCommit) { Err(lost()) } else { Ok(outcomes) }
    }
}

impl Reader for NativeDatabase {
    async fn read(&self, sql: &str, params: &[Param]) -> Result<Outcome, PortError> {
        if self.failure.get().is_some_and(|(name, _)| sql.contains(name)) {
            if self.once.take() {
                self.failure.set(None);
            }
            return Err(PortError::new("d1 read", "Network connection lost."));
        }
        self.statements.set(self.statements.get().saturating_add(1));
        Self::run(&self.connection.borrow(), sql, params)
            .map_err(|error| PortError::new("d1 read", error.to_string()))
    }

    async fn bookmark(&self) -> Result<String, PortError> {
        Ok(format!("{:08x}-00000000-00004e2e-{}", self.connection.borrow().total_changes(), "0".repeat(32)))
    }
}

/// As D1 binds: every JavaScript number is REAL.
fn bind(param: &Param) -> Value {
    match param {
        Param::Null => Value::Null,
        Param::Int(value) => Value::Real(*value as f64),
        Param::Real(value) => Value::Real(*value),
        Param::Text(value) => Value::Text(value.clone()),
    }
}

/// As JSON.stringify writes what D1 answers: an integral REAL has no decimal point.
fn json(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null => Json::Null,
        ValueRef::Integer(value) => value.into(),
        ValueRef::Real(value) if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 => {
            #[expect(clippy::cast_possible_truncation, reason = "integral and within ±2^53")]
            let value = value as i64;
            value.into()
        }
        ValueRef::Real(value) => value.into(),
        ValueRef::Text(value) | ValueRef::Blob(value) => String::from_utf8_lossy(value).into_owned().into(),
    }
}
