//! Leases of cron triggers. Cloudflare may deliver a trigger twice, or not at all.

use rs1_domain::UnixMillis;
use rs1_domain::event::Tick;
use rs1_domain::port::{Database, PortError, Statement};
use rs1_domain::time::{as_millis, as_optional_millis};
use serde::{Deserialize, Serialize};

use crate::sql::run;

/// What is said of a run that was taken before.
pub const RUN_BEFORE: &str = "run before";

/// Carries out the run of a trigger under its lease, and notes how it ended. Answers what `work` did,
/// for the log; a run that was taken before is left alone.
///
/// # Errors
/// What failed, of the work or of the lease.
pub async fn leased(
    db: &impl Database,
    worker: &str,
    tick: &Tick,
    work: impl AsyncFnOnce() -> Result<String, PortError>,
) -> Result<String, PortError> {
    let [lease] = run(db, [begin(worker, &tick.cron, tick.scheduled, tick.now)]).await?;
    if lease.changes == 0 {
        return Ok(RUN_BEFORE.to_owned());
    }
    let outcome = work().await;
    let (ok, detail) = match &outcome {
        Ok(done) => (true, done),
        Err(error) => (false, &error.operation),
    };
    run(db, [finish(worker, &tick.cron, tick.scheduled, tick.now, ok, detail)]).await?;
    outcome
}

/// Takes the lease of the run that was due at `scheduled_at`: one change if it is ours, none if
/// that run, or a later one, was taken before.
pub fn begin(worker: &str, cron: &str, scheduled_at: UnixMillis, now: UnixMillis) -> Statement {
    Statement {
        name: "cron_begin",
        sql: "/* cron_begin */
            INSERT INTO cron_runs (worker, cron, scheduled_at, started_at) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (worker, cron) DO UPDATE SET
              scheduled_at = excluded.scheduled_at, started_at = excluded.started_at,
              finished_at = NULL, outcome = NULL, detail = NULL
            WHERE cron_runs.scheduled_at < excluded.scheduled_at",
        params: vec![worker.into(), cron.into(), scheduled_at.into(), now.into()],
    }
}

/// Notes how the run that was due at `scheduled_at` ended.
pub fn finish(
    worker: &str,
    cron: &str,
    scheduled_at: UnixMillis,
    now: UnixMillis,
    ok: bool,
    detail: &str,
) -> Statement {
    Statement {
        name: "cron_finish",
        sql: "/* cron_finish */
            UPDATE cron_runs SET finished_at = ?4, outcome = ?5, detail = ?6
            WHERE worker = ?1 AND cron = ?2 AND scheduled_at = ?3",
        params: vec![
            worker.into(),
            cron.into(),
            scheduled_at.into(),
            now.into(),
            if ok { "ok" } else { "failed" }.into(),
            detail.into(),
        ],
    }
}

/// Forgets a worker's triggers: it has none any more, and nobody is to wait for their runs.
pub fn forget(worker: &str) -> Statement {
    Statement {
        name: "cron_forget",
        sql: "/* cron_forget */
            DELETE FROM cron_runs WHERE worker = ?1",
        params: vec![worker.into()],
    }
}

/// The latest run of a trigger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CronRun {
    /// The trigger's expression.
    pub cron: String,
    /// When it began.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub started_at: UnixMillis,
    /// When it ended; null while it runs, or if it was cut off.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub finished_at: Option<UnixMillis>,
    /// `ok` or `failed`.
    pub outcome: Option<String>,
}

/// The [`CronRun`]s of a worker.
pub fn runs(worker: &str) -> Statement {
    Statement {
        name: "cron_runs",
        sql: "/* cron_runs */
            SELECT cron, started_at, finished_at, outcome FROM cron_runs WHERE worker = ?1",
        params: vec![worker.into()],
    }
}

/// The latest run of a trigger, and whose it is.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkerRun {
    /// The worker.
    pub worker: String,
    /// The trigger's expression.
    pub cron: String,
    /// When it began.
    #[serde(with = "as_millis")]
    pub started_at: UnixMillis,
    /// `ok` or `failed`; null while it runs, or if it was cut off.
    pub outcome: Option<String>,
}

/// The [`WorkerRun`]s of all workers: a handful.
pub fn all_runs() -> Statement {
    Statement {
        name: "cron_runs_all",
        sql: "/* cron_runs_all */
            SELECT worker, cron, started_at, outcome FROM cron_runs ORDER BY worker, cron LIMIT 100",
        params: Vec::new(),
    }
}
