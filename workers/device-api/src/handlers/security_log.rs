//! `GET /api/admin/security-log?kind=`.

use rs1_api::query::Query;
use rs1_domain::port::Database;
use rs1_domain::{Answer, Problem, Request};
use rs1_store::security::{self, SecurityRow};
use rs1_store::sql::{Page, rows, run};

/// A page of the security log, newest first.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(|cursor| cursor.starts_with("sec-"));
    let kind = query.text("kind");
    query.finish()?;
    let statement = match &kind {
        Some(kind) => security::list_kind(kind, &page),
        None => security::list(&page),
    };
    let [outcome] = run(db, [statement]).await?;
    let found = rows::<SecurityRow>(&outcome)?;
    Ok(Answer::json(200, &Page::of(found, &page, |row| row.id.clone())))
}
