//! `GET /api/admin/devices/{id}/telemetry?hours=24`.

use std::collections::BTreeMap;

use rs1_api::query::Query;
use rs1_domain::port::Database;
use rs1_domain::time::HOUR;
use rs1_domain::{Answer, DeviceId, Problem, Request, UnixMillis};
use rs1_store::sql::{rows, run};
use rs1_store::telemetry::HourRow;
use rs1_store::{devices, telemetry};
use rs1_telemetry::rollup::read_metrics;
use serde::Serialize;

use super::devices::{not_enrolled, parse_id};

/// Hourly rollups are kept 30 days.
const MOST_HOURS: u32 = 720;

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(crate) struct Hours<'a> {
    pub(crate) device_id: &'a DeviceId,
    pub(crate) items: Vec<Hour>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(crate) struct Hour {
    #[serde(rename = "hour")]
    pub(crate) begins_at: UnixMillis,
    pub(crate) messages: i64,
    pub(crate) last_at: UnixMillis,
    pub(crate) metrics: BTreeMap<String, Metric>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(crate) struct Metric {
    pub(crate) count: i64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) last: f64,
}

/// A device's hours, oldest first; hours without messages are left out.
///
/// # Errors
/// 404 if the device is not enrolled, 422 for bad parameters, 503 when the database fails.
pub async fn hours(db: &impl Database, device: &str, request: &Request) -> Result<Answer, Problem> {
    let device_id = parse_id(device)?;
    let mut query = Query::of(request);
    let hours = query.number("hours", 1..=MOST_HOURS, 24);
    query.finish()?;
    // The present hour counts as one of them.
    let from = request.now.hour().saturating_sub(i64::from(hours)).saturating_add(1);
    let [found, hours] = run(db, [devices::exists(&device_id), telemetry::hours(&device_id, from)]).await?;
    if found.rows_json == "[]" {
        return Err(not_enrolled());
    }
    let items = rows::<HourRow>(&hours)?.iter().map(hour).collect::<Result<_, _>>()?;
    Ok(Answer::json(200, &Hours { device_id: &device_id, items }))
}

fn hour(row: &HourRow) -> Result<Hour, Problem> {
    let metrics = read_metrics(&row.metrics, row.last_at).map_err(|error| Problem::internal(error.0))?;
    let metrics = metrics
        .into_iter()
        .map(|(name, m)| (name, Metric { count: m.count, sum: m.sum, min: m.min, max: m.max, last: m.last }));
    Ok(Hour {
        begins_at: UnixMillis(row.hour.saturating_mul(HOUR)),
        messages: row.messages,
        last_at: row.last_at,
        metrics: metrics.collect(),
    })
}
