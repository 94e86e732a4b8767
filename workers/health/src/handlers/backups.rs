//! `/admin/backups`: the backups of the database, and what the watch over all backups says.

use rs1_api::query::Query;
use rs1_api::reason;
use rs1_auth::operator::Operator;
use rs1_domain::port::{Database, Vault};
use rs1_domain::{Answer, Problem, Request, UnixMillis, json};
use rs1_ops::plan::{Progress, manifest_key};
use rs1_store::backups::{self, BackupId, BackupRow, Wish};
use rs1_store::sql::{Page, first_row, rows, run};
use rs1_store::watch::{self, WatchRow};
use serde::Serialize;
use serde_json::{Value, json};

/// A page of the backups, newest first.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(is_id);
    query.finish()?;
    let [outcome] = run(db, [backups::list(&page)]).await?;
    let backups = rows::<BackupRow>(&outcome)?;
    Ok(Answer::json(200, &Page::of(backups, &page, |backup| backup.backup_id.clone())))
}

/// Begins a backup, for the reason in `{reason}`: 202. The next tick of the clock carries it on. The same again within the minute
/// is the same backup.
///
/// # Errors
/// 422 naming every fault; 409 while another one is being made; 503 when the database fails.
pub async fn create(db: &impl Database, operator: &Operator, request: &Request) -> Result<Answer, Problem> {
    Query::of(request).finish()?;
    let reason = reason::read(&request.body)?;
    let id = id_of(request.now);
    let wish = Wish { by: &operator.name, reason: &reason };
    let begin = backups::begin(&id, Some(wish), request.now);
    let [_, running, made] = run(db, [begin, backups::running(), backups::by_id(&id)]).await?;
    if let Some(backup) = first_row::<BackupRow>(&made)? {
        let same =
            backup.requested_by.as_deref() == Some(wish.by) && backup.reason.as_deref() == Some(wish.reason);
        let taken = || Problem::conflict(format!("there is a backup of this minute already, {id}"));
        return if same { Ok(Answer::json(202, &backup)) } else { Err(taken()) };
    }
    let running = first_row::<BackupId>(&running)?.map_or_else(String::new, |backup| backup.backup_id);
    Err(Problem::conflict(format!("another backup is being made, {running}")))
}

/// One backup: with its manifest once it is whole, and how far it is before.
///
/// # Errors
/// 404 if there is none, 422 for parameters, 503 when the database or the bucket fails.
pub async fn one(
    db: &impl Database,
    vault: &impl Vault,
    id: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct One<'a> {
        #[serde(flatten)]
        backup: &'a BackupRow,
        progress: Option<Value>,
        manifest: Option<Value>,
    }
    let no_such = || Problem::not_found("there is no such backup");
    if !is_id(id) {
        return Err(no_such());
    }
    Query::of(request).finish()?;
    let [outcome] = run(db, [backups::by_id(id)]).await?;
    let backup = first_row::<BackupRow>(&outcome)?.ok_or_else(no_such)?;
    let manifest = match backup.state.as_str() {
        "complete" => vault.text(&manifest_key(id)).await?.and_then(|text| json::parse(&text).ok()),
        _ => None,
    };
    let progress = backup.progress.as_deref().and_then(|text| json::read::<Progress>(text).ok());
    let progress = progress.map(|progress| {
        json!({
            "rows": progress.rows(),
            "bytes": progress.bytes(),
            "parts": progress.parts.len(),
            "tables_begun": progress.counts.len(),
            "tables": progress.schema.tables.len(),
        })
    });
    Ok(Answer::json(200, &One { backup: &backup, progress, manifest }))
}

/// What is watched: this system's backups, their restore checks, firmware, and the company's backups.
///
/// # Errors
/// 422 for parameters, 503 when the database fails.
pub async fn watched(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    Query::of(request).finish()?;
    let [outcome] = run(db, [watch::list()]).await?;
    let items = rows::<WatchRow>(&outcome)?;
    Ok(Answer::json(200, &json!({"items": items})))
}

/// The id of a backup that somebody asks for: `2026-11-21T1405`.
fn id_of(now: UnixMillis) -> String {
    let text = now.to_rfc3339();
    text.chars().take(16).filter(|letter| *letter != ':').collect()
}

/// Whether a text may be a backup's id.
fn is_id(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_digit() || byte == b'-' || byte == b'T';
    (10..=15).contains(&text.len()) && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_the_minute() {
        let id = id_of(UnixMillis(1_763_690_475_123));
        assert_eq!(id, "2025-11-21T0201");
        assert!(is_id(&id) && is_id("2025-11-21"));
        for text in ["", "2025", "../2025-11-21", "2025-11-21T02015", "2025-11-2é"] {
            assert!(!is_id(text), "{text}");
        }
    }
}
