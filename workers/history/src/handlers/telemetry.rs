//! `GET /api/devices/{id}/telemetry?metric=&from=&to=&resolution=raw|hour|day&limit=&cursor=`.
//!
//! Hours and days come out of the rollups, by the devices' own time. `raw` comes out of the archive, message by message, by the
//! time that the broker received them, which is how the archive lies.

use std::collections::{BTreeMap, BTreeSet};

use rs1_api::access::{device_id, may_view};
use rs1_api::query::Query;
use rs1_auth::access_token::Person;
use rs1_domain::port::{Archive, Database, Packs};
use rs1_domain::time::{DAY, HOUR};
use rs1_domain::wire::telemetry::is_metric_name;
use rs1_domain::{Answer, DeviceId, Problem, Request, UnixMillis};
use rs1_store::sql::{first_row, rows, run};
use rs1_store::telemetry::{self, HourRow};
use rs1_store::{access, lines};
use rs1_telemetry::archive::folder;
use rs1_telemetry::rollup::{Nature, read_metrics};
use rs1_telemetry::series::{self, Place, Span};
use rs1_telemetry::{Message, rollup};
use serde::Serialize;

use crate::format::{self, Tabled};

/// Most metrics that one request may name.
const MOST_METRICS: usize = 16;
/// Most items of a page, and how many there are when nobody says.
pub(crate) const MOST_ITEMS: u32 = 1_000;
/// See [`MOST_ITEMS`].
pub(crate) const ITEMS: u32 = 200;
/// Hours of the archive that are looked through for one page.
const HOURS_A_PAGE: i64 = 6;

/// How fine the answer is.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Resolution {
    /// Every message.
    Raw,
    /// By the hour.
    Hour,
    /// By the day, in UTC.
    Day,
}

impl Resolution {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "raw" => Some(Self::Raw),
            "hour" => Some(Self::Hour),
            "day" => Some(Self::Day),
            _ => None,
        }
    }

    /// How far back a request goes that does not say.
    fn usual(self) -> i64 {
        match self {
            Self::Raw => HOUR,
            Self::Hour => DAY,
            Self::Day => DAY.saturating_mul(7),
        }
    }

    /// The longest time that a request may be about, in days. Hours are kept 30 days.
    fn longest(self) -> i64 {
        match self {
            Self::Raw => 1,
            Self::Hour | Self::Day => 31,
        }
    }
}

/// What is asked for.
#[derive(Debug)]
struct Wanted {
    resolution: Resolution,
    from: UnixMillis,
    to: UnixMillis,
    /// Only these metrics; none for all.
    metrics: BTreeSet<String>,
    limit: usize,
    cursor: Option<Place>,
}

impl Wanted {
    fn read(request: &Request) -> Result<Self, Problem> {
        const TIME: &str = "must be a time like 2026-01-20T10:00:00Z";
        let mut query = Query::of(request);
        let resolution = query.parsed("resolution", "must be raw, hour or day", Resolution::parse);
        let resolution = resolution.unwrap_or(Resolution::Hour);
        let to = query.parsed("to", TIME, UnixMillis::parse_rfc3339).unwrap_or(request.now);
        let from = query.parsed("from", TIME, UnixMillis::parse_rfc3339);
        let from = from.unwrap_or_else(|| to.plus(resolution.usual().saturating_neg()));
        let expected =
            format!("must be up to {MOST_METRICS} metrics like system.free_heap, with commas between");
        let metrics = query.parsed("metric", &expected, metrics).unwrap_or_default();
        let limit = query.number("limit", 1..=MOST_ITEMS, ITEMS);
        let cursor = query.parsed("cursor", "must be a next_cursor of this list", Place::parse);
        let longest = DAY.saturating_mul(resolution.longest());
        let days = resolution.longest();
        query.require(from < to, "?from", "must be before to");
        query.require(to.since(from) <= longest, "?from", &format!("must be at most {days} days before to"));
        query.finish()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Self { resolution, from, to, metrics, limit, cursor })
    }

    fn wants(&self, metric: &str) -> bool {
        self.metrics.is_empty() || self.metrics.contains(metric)
    }
}

fn metrics(text: &str) -> Option<BTreeSet<String>> {
    let names: BTreeSet<_> = text.split(',').map(str::to_owned).collect();
    (names.len() <= MOST_METRICS && names.iter().all(|name| is_metric_name(name))).then_some(names)
}

/// What a JSON page says before its items.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "History"))]
#[derive(Serialize)]
pub(crate) struct Head<'a> {
    pub(crate) device_id: &'a DeviceId,
    pub(crate) resolution: Resolution,
    pub(crate) from: UnixMillis,
    pub(crate) to: UnixMillis,
}

/// An hour or a day, as it is shown.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "HistorySpan"))]
#[derive(Serialize)]
pub(crate) struct ShownSpan {
    pub(crate) time: UnixMillis,
    pub(crate) messages: i64,
    pub(crate) last_at: UnixMillis,
    pub(crate) metrics: BTreeMap<String, ShownMetric>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "HistoryMetric"))]
#[derive(Serialize)]
pub(crate) struct ShownMetric {
    pub(crate) count: i64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) last: f64,
    /// A counter's sum, a gauge's mean.
    pub(crate) value: f64,
}

impl Tabled for ShownSpan {
    const COLUMNS: &'static [&'static str] =
        &["time", "metric", "count", "sum", "min", "max", "last", "value"];

    fn rows(&self, row: &mut dyn FnMut(&[String])) {
        for (name, m) in &self.metrics {
            let numbers = [m.sum, m.min, m.max, m.last, m.value].map(|number| number.to_string());
            let [sum, min, max, last, value] = numbers;
            row(&[self.time.to_rfc3339(), name.clone(), m.count.to_string(), sum, min, max, last, value]);
        }
    }
}

/// A message, as it is shown.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "HistoryMessage"))]
#[derive(Serialize)]
pub(crate) struct ShownMessage {
    pub(crate) id: String,
    pub(crate) time: UnixMillis,
    pub(crate) received_at: UnixMillis,
    pub(crate) metrics: BTreeMap<String, f64>,
}

impl Tabled for ShownMessage {
    const COLUMNS: &'static [&'static str] = &["received_at", "time", "id", "metric", "value"];

    fn rows(&self, row: &mut dyn FnMut(&[String])) {
        for (name, value) in &self.metrics {
            let (received_at, time) = (self.received_at.to_rfc3339(), self.time.to_rfc3339());
            row(&[received_at, time, self.id.clone(), name.clone(), value.to_string()]);
        }
    }
}

/// What a device measured, oldest first.
///
/// # Errors
/// 404 for somebody without a role, 422 naming every bad parameter, 503 when the database or the archive fails.
pub async fn show(
    db: &impl Database,
    archives: &(impl Archive + Packs),
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    let wanted = Wanted::read(request)?;
    let head = Head { device_id: &device, resolution: wanted.resolution, from: wanted.from, to: wanted.to };
    if wanted.resolution == Resolution::Raw {
        let [sight] = run(db, [access::sight_of(&person.user, &device)]).await?;
        let sight = may_view(first_row(&sight)?)?;
        let (items, next) = messages(archives, &device, &wanted, sight.history_from).await?;
        return format::page(request, &head, &items, next.map(|place| place.to_cursor()).as_deref());
    }
    let begin = match &wanted.cursor {
        Some(place) => place.received_at.hour(),
        None => wanted.from.hour(),
    };
    // A day takes all its hours: the first one's too, though the caller may have begun at noon.
    let begin =
        if wanted.resolution == Resolution::Day { begin.saturating_sub(begin.rem_euclid(24)) } else { begin };
    let end = wanted.to.plus(-1).hour().saturating_add(1);
    let limit = match wanted.resolution {
        Resolution::Hour => wanted.limit.saturating_add(1),
        // A month and a day: all of them, always.
        Resolution::Day | Resolution::Raw => 800,
    };
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let [sight, hours] = run(
        db,
        [access::sight_of(&person.user, &device), telemetry::hours_between(&device, begin, end, limit)],
    )
    .await?;
    may_view(first_row(&sight)?)?;
    let mut spans = rows::<HourRow>(&hours)?.iter().map(span).collect::<Result<Vec<_>, _>>()?;
    if wanted.resolution == Resolution::Day {
        spans = series::days(spans);
    }
    let next = spans.get(wanted.limit).map(|span| Place::before(span.begins_at).to_cursor());
    spans.truncate(wanted.limit);
    let items: Vec<_> = spans.into_iter().map(|span| shown_span(span, &wanted)).collect();
    format::page(request, &head, &items, next.as_deref())
}

fn span(row: &HourRow) -> Result<Span, Problem> {
    let metrics = read_metrics(&row.metrics, row.last_at)
        .map_err(|rollup::Unreadable(reason)| Problem::internal(reason))?;
    let begins_at = UnixMillis(row.hour.saturating_mul(HOUR));
    Ok(Span { begins_at, messages: row.messages, last_at: row.last_at, metrics })
}

fn shown_span(span: Span, wanted: &Wanted) -> ShownSpan {
    let Span { begins_at, messages, last_at, metrics } = span;
    let metrics = metrics.into_iter().filter(|(name, _)| wanted.wants(name)).map(|(name, m)| {
        let value = m.value(Nature::of(&name));
        (name, ShownMetric { count: m.count, sum: m.sum, min: m.min, max: m.max, last: m.last, value })
    });
    ShownSpan { time: begins_at, messages, last_at, metrics: metrics.collect() }
}

/// A page of messages, and where the next one begins. A page ends when it is full or when enough of the archive was looked
/// through for one request, so a page may be empty and yet not the last.
async fn messages(
    archives: &(impl Archive + Packs),
    device: &DeviceId,
    wanted: &Wanted,
    history_from: UnixMillis,
) -> Result<(Vec<ShownMessage>, Option<Place>), Problem> {
    let start = Place::before(wanted.from.max(history_from));
    let after = wanted.cursor.clone().map_or_else(|| start.clone(), |cursor| cursor.max(start.clone()));
    let end = wanted.to.plus(-1).hour();
    let mut found: Vec<Message> = Vec::new();
    let mut hour = after.received_at.hour();
    let stop = hour.saturating_add(HOURS_A_PAGE);
    while hour <= end && hour < stop && found.len() <= wanted.limit {
        let folder = folder(hour);
        let objects = lines::list(archives, &folder).await?;
        let lines = lines::of_hour(archives, device, &folder, &objects).await?;
        let more = series::messages_after(&lines, device, &after, wanted.to).map_err(Problem::internal)?;
        found.extend(more);
        hour = hour.saturating_add(1);
    }
    let next = if found.len() > wanted.limit {
        found.truncate(wanted.limit);
        found.last().map(Place::of)
    } else {
        (hour <= end).then(|| Place::before(UnixMillis(hour.saturating_mul(HOUR))))
    };
    Ok((found.into_iter().map(|message| shown_message(message, wanted)).collect(), next))
}

fn shown_message(message: Message, wanted: &Wanted) -> ShownMessage {
    let (time, received_at) = (message.telemetry.timestamp, message.received_at);
    let metrics = message.telemetry.metrics.into_iter().filter(|(name, _)| wanted.wants(name)).collect();
    ShownMessage { id: message.id, time, received_at, metrics }
}
