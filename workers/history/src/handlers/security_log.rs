//! `GET /api/admin/security-log?kind=&severity=&subject=&peerhost=&from=&to=&limit=&cursor=`.

use rs1_api::format::{Format, next_link};
use rs1_api::query::Query;
use rs1_domain::http::NDJSON;
use rs1_domain::limits::{PAGE_DEFAULT, PAGE_MAX};
use rs1_domain::port::Database;
use rs1_domain::security::{SecurityKind, Severity};
use rs1_domain::{Answer, Problem, Request, UnixMillis};
use rs1_store::security::{self, SecurityRow, Wanted};
use rs1_store::sql::{Page, rows, run};

/// Most lines of NDJSON, and how many there are when nobody says: an export takes few requests.
pub(crate) const MOST_LINES: u32 = 1_000;
/// Longest subject or address that is looked for.
const MOST_TEXT: usize = 256;

/// A page of the security log, newest first. With `Accept: application/x-ndjson` a line an event, and the way to the next page in
/// `Link`, so that the whole log can be had by following that.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let lines = Format::of(request) == Format::Ndjson;
    let (most, usual) = if lines { (MOST_LINES, MOST_LINES) } else { (PAGE_MAX, PAGE_DEFAULT) };
    let mut query = Query::of(request);
    let limit = query.number("limit", 1..=most, usual);
    let after = query.parsed("cursor", "must be a next_cursor of this list", |cursor| {
        cursor.starts_with("sec-").then(|| cursor.to_owned())
    });
    let kind = query.parsed("kind", "must be a kind of event", SecurityKind::parse);
    let severity = query.parsed("severity", "must be info, warning or high", Severity::parse);
    let mut text = |name| {
        let text = |text: &str| (text.len() <= MOST_TEXT).then(|| text.to_owned());
        query.parsed(name, "must have at most 256 bytes", text)
    };
    let (subject, peerhost) = (text("subject"), text("peerhost"));
    let mut time =
        |name| query.parsed(name, "must be a time like 2026-01-20T10:00:00Z", UnixMillis::parse_rfc3339);
    let (from, to) = (time("from"), time("to"));
    query.finish()?;

    let fits = |known: &SecurityKind| {
        kind.is_none_or(|kind| kind == *known) && severity.is_none_or(|severity| severity == known.severity())
    };
    let kinds =
        (kind.is_some() || severity.is_some()).then(|| SecurityKind::ALL.into_iter().filter(fits).collect());
    let wanted = Wanted { kinds, subject, peerhost, from, to, after, rows: limit.saturating_add(1) };
    let statement = security::list(&wanted).map_err(|error| Problem::internal(error.to_string()))?;
    let [outcome] = run(db, [statement]).await?;
    let mut items = rows::<SecurityRow>(&outcome)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|row| row.id.clone());
    let page = Page { items, next_cursor };
    if !lines {
        return Ok(Answer::json(200, &page).with_header("vary", "accept"));
    }
    let mut body = String::new();
    for row in &page.items {
        body.push_str(&rs1_domain::json::write(row).map_err(|error| Problem::internal(error.to_string()))?);
        body.push('\n');
    }
    let answer = Answer::text(200, NDJSON, body).with_header("vary", "accept");
    Ok(match &page.next_cursor {
        Some(cursor) => answer.with_header("link", next_link(request, cursor)),
        None => answer,
    })
}
