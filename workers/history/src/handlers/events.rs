//! `GET /api/devices/{id}/events?kind=&from=&to=&limit=&cursor=`: what happened to a device, newest first.

use rs1_api::access::{device_id, may_view};
use rs1_api::query::Query;
use rs1_auth::access_token::Person;
use rs1_domain::port::Database;
use rs1_domain::time::DAY;
use rs1_domain::{Answer, DeviceId, Problem, Request, UnixMillis};
use rs1_store::access;
use rs1_store::sql::{first_row, rows, run};
use rs1_store::telemetry::{self, EventRow, WantedEvents};
use rs1_telemetry::event::Kind;
use serde::Serialize;

use crate::format::{self, Tabled};

/// Most items of a page, and how many there are when nobody says.
pub(crate) const MOST_ITEMS: u32 = 1_000;
/// See [`MOST_ITEMS`].
pub(crate) const ITEMS: u32 = 200;
/// How far back a request goes that does not say, and at most, in days: events are kept so long.
const USUAL_DAYS: i64 = 7;
/// See [`USUAL_DAYS`].
const MOST_DAYS: i64 = 90;

/// What a JSON page says before its items.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Events"))]
#[derive(Serialize)]
pub(crate) struct Head<'a> {
    pub(crate) device_id: &'a DeviceId,
    pub(crate) from: UnixMillis,
    pub(crate) to: UnixMillis,
}

/// An event, as it is shown.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Event"))]
#[derive(Serialize)]
pub(crate) struct Shown {
    /// When, by the device's clock.
    pub(crate) time: UnixMillis,
    /// What: `boot`, `radar_disconnect`, `error` and so on.
    pub(crate) kind: String,
    /// A reason, a version, a code; may be empty.
    pub(crate) detail: String,
    /// How often the message says so.
    pub(crate) count: i64,
}

impl Tabled for Shown {
    const COLUMNS: &'static [&'static str] = &["time", "kind", "detail", "count"];

    fn rows(&self, row: &mut dyn FnMut(&[String])) {
        row(&[self.time.to_rfc3339(), self.kind.clone(), self.detail.clone(), self.count.to_string()]);
    }
}

/// What happened to a device.
///
/// # Errors
/// 404 for somebody without a role, 422 naming every bad parameter, 503 when the database fails.
pub async fn list(
    db: &impl Database,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    const TIME: &str = "must be a time like 2026-01-20T10:00:00Z";
    let device = device_id(device)?;
    let mut query = Query::of(request);
    let to = query.parsed("to", TIME, UnixMillis::parse_rfc3339).unwrap_or(request.now);
    let from = query.parsed("from", TIME, UnixMillis::parse_rfc3339);
    let from = from.unwrap_or_else(|| to.plus(DAY.saturating_mul(-USUAL_DAYS)));
    let kinds = Kind::ALL.map(Kind::as_str).join(", ");
    let kind = query.parsed("kind", &format!("must be one of {kinds}"), Kind::parse);
    let limit = query.number("limit", 1..=MOST_ITEMS, ITEMS);
    let before = query.parsed("cursor", "must be a next_cursor of this list", read_cursor);
    query.require(from < to, "?from", "must be before to");
    let longest = DAY.saturating_mul(MOST_DAYS);
    query.require(to.since(from) <= longest, "?from", &format!("must be at most {MOST_DAYS} days before to"));
    query.finish()?;

    let wanted = WantedEvents {
        from,
        until: to,
        kind: kind.map(Kind::as_str),
        before: before.as_ref().map(|(at, mark)| (*at, mark.as_str())),
        limit: limit.saturating_add(1),
    };
    let [sight, events] =
        run(db, [access::sight_of(&person.user, &device), telemetry::events(&device, &wanted)]).await?;
    may_view(first_row(&sight)?)?;
    let mut events = rows::<EventRow>(&events)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| more).map(|event| format!("{}.{}", event.at.0, event.mark));
    let items: Vec<_> = events
        .into_iter()
        .map(|EventRow { at, kind, detail, count, .. }| Shown { time: at, kind, detail, count })
        .collect();
    format::page(request, &Head { device_id: &device, from, to }, &items, next.as_deref())
}

/// `1768903200000.5yTq0A1b-3`: time and mark of the last event seen.
fn read_cursor(text: &str) -> Option<(UnixMillis, String)> {
    let (at, mark) = text.split_once('.')?;
    let digits = !at.is_empty() && at.bytes().all(|byte| byte.is_ascii_digit());
    let is_mark =
        mark.len() <= 32 && mark.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let at = UnixMillis(at.parse().ok()?);
    (digits && is_mark).then(|| (at, mark.to_owned()))
}
