//! `/api/admin/telemetry/…`: the whole fleet, for operators.
//!
//! What is asked about a time comes out of the fleet's hours (see [`rs1_store::hours`]), so it ends with the last hour that is over, and
//! costs the same however many devices there are.

use litemap::LiteMap;
use rs1_api::kept::kept;
use rs1_api::query::Query;
use rs1_domain::port::{Database, KeyValue};
use rs1_domain::time::HOUR;
use rs1_domain::{Answer, Problem, Request, UnixMillis, json};
use rs1_store::fleet::{self, ErrorCount, HEALTH, HourRow, MetricSum, TroubledDevice};
use rs1_store::hours::WORST;
use rs1_store::sql::{rows, run};
use serde::Serialize;

/// Devices that are named as the most affected ones.
const MOST_AFFECTED: u32 = 20;

/// `GET …/health`: the devices, the alerts that are open and the versions that run, at most a minute old: it reads the whole registry, so its
/// answer is kept in KV for whoever asks next.
///
/// # Errors
/// 422 for parameters, 503 when the database fails.
pub async fn health(db: &impl Database, cache: &impl KeyValue, request: &Request) -> Result<Answer, Problem> {
    Query::of(request).finish()?;
    kept(cache, HEALTH, async || Ok(fleet::health(db, request.now).await?)).await
}

/// How long a time an answer is about.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Period {
    /// A day.
    #[serde(rename = "24h")]
    Day,
    /// A week.
    #[serde(rename = "7d")]
    Week,
    /// As long as hours are kept.
    #[serde(rename = "30d")]
    Month,
}

impl Period {
    /// What a fault says when one is expected.
    const EXPECTED: &'static str = "must be 24h, 7d or 30d";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "24h" => Some(Self::Day),
            "7d" => Some(Self::Week),
            "30d" => Some(Self::Month),
            _ => None,
        }
    }

    fn hours(self) -> i64 {
        match self {
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::Month => 30 * 24,
        }
    }
}

/// How fine a series is.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    /// By the hour.
    Hour,
    /// By the day, in UTC.
    Day,
}

/// What the fleet measured.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(crate) struct FleetMetrics {
    /// Where it begins.
    pub(crate) from: UnixMillis,
    /// Where it ends: with the last hour that is over.
    pub(crate) to: UnixMillis,
    /// How fine it is.
    pub(crate) resolution: Step,
    /// Hours or days, oldest first. One that is missing is not added up yet.
    pub(crate) items: Vec<FleetSpan>,
}

/// An hour or a day of the fleet.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(crate) struct FleetSpan {
    /// When it began.
    pub(crate) time: UnixMillis,
    /// Devices that sent something; of a day, in the hour that had most.
    pub(crate) devices: i64,
    /// Messages.
    pub(crate) messages: i64,
    /// The contract's metrics, by name.
    #[cfg_attr(feature = "schema", schemars(with = "std::collections::BTreeMap<String, FleetMetric>"))]
    #[serde(serialize_with = "json::as_object")]
    pub(crate) metrics: LiteMap<String, FleetMetric>,
}

/// A metric, over all devices.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(crate) struct FleetMetric {
    /// Messages that carried it.
    pub(crate) count: i64,
    /// The sum of its values: of a counter, how often.
    pub(crate) sum: f64,
    /// The mean of a message.
    pub(crate) mean: f64,
    /// The smallest value.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

/// The first hour of a period that ends with the present hour's beginning, and that time.
fn bounds(period: Period, now: UnixMillis) -> (i64, UnixMillis) {
    let end = now.hour();
    (end.saturating_sub(period.hours()), UnixMillis(end.saturating_mul(HOUR)))
}

fn unreadable(error: &json::Error) -> Problem {
    Problem::internal(format!("fleet_hours: {error}"))
}

/// `GET …/metrics?period=&resolution=`: messages, and count, sum, mean, least and greatest of the contract's metrics, by the hour or the day.
///
/// # Errors
/// 422 naming every bad parameter, 503 when the database fails.
pub async fn metrics(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let period = query.parsed("period", Period::EXPECTED, Period::parse).unwrap_or(Period::Day);
    let resolution = query.parsed("resolution", "must be hour or day", |text| match text {
        "hour" => Some(Step::Hour),
        "day" => Some(Step::Day),
        _ => None,
    });
    query.finish()?;
    let resolution = resolution.unwrap_or(if period == Period::Month { Step::Day } else { Step::Hour });
    let (mut begin, to) = bounds(period, request.now);
    let length = if resolution == Step::Day { 24 } else { 1 };
    // A day takes all its hours.
    begin = begin.saturating_sub(begin.rem_euclid(length));
    let [found] = run(db, [fleet::hours(begin)]).await?;
    let mut spans: Vec<(i64, i64, i64, Vec<MetricSum>)> = Vec::new();
    for HourRow { hour, devices, messages, metrics, .. } in rows(&found)? {
        let span = hour.saturating_sub(hour.rem_euclid(length));
        let metrics: Vec<MetricSum> = json::read(&metrics).map_err(|error| unreadable(&error))?;
        match spans.last_mut() {
            Some((last, most, all, sums)) if *last == span => {
                *most = (*most).max(devices);
                *all = all.saturating_add(messages);
                for metric in metrics {
                    MetricSum::add_to(sums, metric);
                }
            }
            _ => spans.push((span, devices, messages, metrics)),
        }
    }
    let items = spans.into_iter().map(|(hour, devices, messages, sums)| FleetSpan {
        time: UnixMillis(hour.saturating_mul(HOUR)),
        devices,
        messages,
        metrics: sums.into_iter().map(shown).collect(),
    });
    let from = UnixMillis(begin.saturating_mul(HOUR));
    Ok(Answer::json(200, &FleetMetrics { from, to, resolution, items: items.collect() }))
}

fn shown(metric: MetricSum) -> (String, FleetMetric) {
    let MetricSum { name, count, sum, min, max } = metric;
    (name, FleetMetric { count, sum, mean: sum / count.max(1) as f64, min, max })
}

/// What went wrong with the fleet.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(crate) struct FleetErrors {
    /// Where it begins.
    pub(crate) from: UnixMillis,
    /// Where it ends: with the last hour that is over.
    pub(crate) to: UnixMillis,
    /// How often, by kind, what happened most first.
    pub(crate) errors: Vec<ErrorCount>,
    /// The most affected devices, the worst first.
    pub(crate) devices: Vec<TroubledDevice>,
    /// Whether each of those has all its numbers. Of an hour the hundred most affected devices are kept, so if more were affected in
    /// one, a device may have more than it says here.
    pub(crate) exact: bool,
}

/// `GET …/errors?period=`: what went wrong, by kind, and the most affected devices.
///
/// # Errors
/// 422 naming every bad parameter, 503 when the database fails.
pub async fn errors(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let period = query.parsed("period", Period::EXPECTED, Period::parse).unwrap_or(Period::Day);
    query.finish()?;
    let (begin, to) = bounds(period, request.now);
    let [found, devices] = run(db, [fleet::hours(begin), fleet::troubled(begin, MOST_AFFECTED)]).await?;
    let (mut all, mut exact): (Vec<ErrorCount>, bool) = (Vec::new(), true);
    for HourRow { errors, troubled, .. } in rows(&found)? {
        exact &= usize::try_from(troubled).is_ok_and(|troubled| troubled <= WORST);
        for error in json::read::<Vec<ErrorCount>>(&errors).map_err(|error| unreadable(&error))? {
            ErrorCount::add_to(&mut all, error);
        }
    }
    let mut errors: Vec<ErrorCount> = Vec::with_capacity(all.len());
    for error in all {
        errors.insert(errors.partition_point(|known| known.count >= error.count), error);
    }
    let from = UnixMillis(begin.saturating_mul(HOUR));
    Ok(Answer::json(200, &FleetErrors { from, to, errors, devices: rows(&devices)?, exact }))
}
