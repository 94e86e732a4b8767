//! `/admin/notices`: what people were told, how far each of it is in each channel, and another try.

use rs1_api::query::Query;
use rs1_auth::operator::Operator;
use rs1_domain::http::JSON;
use rs1_domain::port::{Database, Random};
use rs1_domain::{Answer, Problem, RecordId, Request};
use rs1_ops::collect;
use rs1_ops::notice::Source;
use rs1_store::notices::{self, DeliveryState, If, Shown};
use rs1_store::sql::{Page, first_row, rows, run};
use serde_json::json;

use crate::config::Channels;
use crate::notices::new_id;

/// A page of the notices, latest first: all, those of a `source`, those with a delivery in a `state`.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let state = query.parsed("state", "must be waiting, sent or failed", DeliveryState::parse);
    let source = query.parsed("source", &format!("must be one of {}", sources()), |text| {
        Source::ALL.into_iter().find(|source| source.as_str() == text)
    });
    let page =
        query.page(|text| (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()));
    query.finish()?;
    let [outcome] = run(db, [notices::list(state, source, &page)]).await?;
    let Page { items, next_cursor } =
        Page::of(rows::<Shown>(&outcome)?, &page, |notice| notice.seq.to_string());
    let items = items.into_iter().map(|notice| notice.body).collect::<Vec<_>>().join(",");
    // A cursor is digits.
    let next = next_cursor.map_or_else(|| "null".to_owned(), |cursor| format!("\"{cursor}\""));
    Ok(Answer::text(200, JSON, format!("{{\"items\":[{items}],\"next_cursor\":{next}}}")))
}

fn sources() -> String {
    Source::ALL.map(Source::as_str).join(", ")
}

/// Has a notice sent again at once where it waits or was given up: 202, and the next tick of the clock sends it.
///
/// # Errors
/// 404 if there is none; 409 if it arrived everywhere, or something later about the same has; 422 for parameters; 503 when the
/// database fails.
pub async fn retry(db: &impl Database, id: &str, request: &Request) -> Result<Answer, Problem> {
    let no_such = || Problem::not_found("there is no such notice");
    if RecordId::parse("ntc", id).is_none() {
        return Err(no_such());
    }
    Query::of(request).finish()?;
    let [retried, notice] = run(db, [notices::retry(id, request.now), notices::by_id(id)]).await?;
    let notice = first_row::<Shown>(&notice)?.ok_or_else(no_such)?;
    if retried.changes == 0 {
        return Err(Problem::conflict(
            "nothing of it is to be sent again: it arrived, is being sent, or was overtaken",
        ));
    }
    Ok(Answer::text(202, JSON, notice.body))
}

/// Tells each channel that is configured that this is a test: 202, and the next tick of the clock sends it.
///
/// # Errors
/// 409 if no channel is configured; 422 for parameters; 503 when the database fails.
pub async fn test(
    db: &impl Database,
    random: &impl Random,
    channels: &Channels,
    operator: &Operator,
    request: &Request,
) -> Result<Answer, Problem> {
    Query::of(request).finish()?;
    let configured = channels.configured();
    if configured.is_empty() {
        return Err(Problem::conflict("no channel is configured"));
    }
    let name = new_id(random, request.now);
    let mut id = || new_id(random, request.now);
    let told = collect::test(&name, &operator.name, request.now, &mut id);
    let tell = notices::tell(&told, If::Always, request.now);
    run(db, [tell.map_err(|error| Problem::internal(error.to_string()))?]).await?;
    let ids: Vec<_> = told.iter().map(|notice| &notice.notice_id).collect();
    Ok(Answer::json(202, &json!({"notice_ids": ids, "channels": configured})))
}
