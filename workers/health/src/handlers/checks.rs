//! `/admin/checks`: what is checked, and what was found.

use rs1_api::query::Query;
use rs1_domain::port::Database;
use rs1_domain::{Answer, Problem, Request};
use rs1_store::checks::{self, CheckRow, RoundRow};
use rs1_store::sql::{first_row, rows, run};
use serde::Serialize;

/// What was found of everything that is checked.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Checks"))]
#[derive(Serialize)]
pub struct Found {
    /// How the latest round went; null before the first.
    pub round: Option<RoundRow>,
    /// Each check.
    pub items: Vec<CheckRow>,
}

/// What was found of everything that is checked.
///
/// # Errors
/// 422 for parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    Query::of(request).finish()?;
    let [round, items] = run(db, [checks::round(), checks::list()]).await?;
    let round = first_row::<RoundRow>(&round)?.filter(|round| round.last().is_some());
    Ok(Answer::json(200, &Found { round, items: rows(&items)? }))
}
