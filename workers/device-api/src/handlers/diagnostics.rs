//! `/api/admin/devices/{id}/diagnostics`: an operator asks a device about itself, and fetches what it said.
//!
//! The answer comes over MQTT, is kept by the telemetry worker in R2 for seven days and found there by its key.

use std::fmt::Display;

use rs1_api::query::Query;
use rs1_auth::operator::Operator;
use rs1_domain::diagnostics::{Asked, key};
use rs1_domain::json;
use rs1_domain::port::{Broker, Bucket, Database, Published, Random};
use rs1_domain::problem::Kind;
use rs1_domain::time::SECOND;
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Answer, DeviceId, Faults, Problem, RecordId, Request, UnixMillis};
use rs1_store::devices;
use rs1_store::diagnostics::{self, DiagnosticsRow, EVERY};
use rs1_store::sql::{first_row, run};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::devices::{not_enrolled, parse_id};

/// How long a device may take to answer.
const PATIENCE: i64 = 120 * SECOND;
/// How long a caller should wait before asking again whether there is an answer, in seconds.
const ASK_AGAIN: &str = "2";
/// What a device is asked for when the operator does not say.
const USUAL: [&str; 4] = ["heap", "tasks", "config", "logs"];
/// Most sections of one request.
const MOST_SECTIONS: usize = 16;

/// What became of a request, and the answer once it is there.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Diagnostics"))]
#[derive(Serialize)]
pub(crate) struct Shown<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) device_id: &'a DeviceId,
    pub(crate) status: &'static str,
    pub(crate) requested_at: UnixMillis,
    pub(crate) requested_by: &'a str,
    pub(crate) include: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answered_at: Option<UnixMillis>,
    /// The device's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timestamp: Option<&'a RawValue>,
    /// As the device sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) diagnostics: Option<&'a RawValue>,
}

/// What is taken out of a device's answer.
#[derive(Deserialize)]
struct Kept<'a> {
    #[serde(borrow)]
    timestamp: &'a RawValue,
    #[serde(borrow)]
    diagnostics: &'a RawValue,
}

/// Asks a device: 202 with the request's id. What is asked for is noted before it is sent, so that an answer never
/// comes before its question.
///
/// # Errors
/// 404 for a device that is not enrolled, 422 naming every fault, 429 for a device that was asked a moment ago, 409
/// for one that is not connected, 503 when the database or the broker fails.
pub async fn ask(
    db: &impl Database,
    broker: &impl Broker,
    random: &impl Random,
    operator: &Operator,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = parse_id(device)?;
    Query::of(request).finish()?;
    let include = read_include(&request.body)?;
    let id = RecordId::generate("dia", request.now, random.bytes());
    let sections = json::write(&include).map_err(|error| Problem::internal(error.to_string()))?;
    let [noted, exists] = run(
        db,
        [
            diagnostics::request(&id, &device, &sections, &operator.name, request.now),
            devices::exists(&device),
        ],
    )
    .await?;
    if exists.rows_json == "[]" {
        return Err(not_enrolled());
    }
    if noted.changes == 0 {
        let seconds = EVERY.div_euclid(SECOND);
        return Err(Problem::too_many_requests("a device is asked once in ten seconds", seconds));
    }
    let asked = Asked { request_id: id.as_str(), include: &include };
    match broker.publish(&[asked.publication(&device)]).await?.as_slice() {
        [Published::Accepted] => {}
        [Published::NoSubscriber] => return Err(Problem::conflict("the device is not connected")),
        other => return Err(Problem::unavailable(format!("diag/request: {other:?}"))),
    }
    let shown = Shown {
        request_id: id.as_str(),
        device_id: &device,
        status: "waiting",
        requested_at: request.now,
        requested_by: &operator.name,
        include,
        answered_at: None,
        timestamp: None,
        diagnostics: None,
    };
    Ok(Answer::json(202, &shown)
        .with_header("location", format!("/api/admin/devices/{device}/diagnostics/{id}"))
        .with_header("retry-after", ASK_AGAIN))
}

/// `{include?: [section, …]}`, or no body at all.
fn read_include(body: &[u8]) -> Result<Vec<String>, Faults> {
    let usual = || USUAL.map(str::to_owned).to_vec();
    if body.trim_ascii().is_empty() {
        return Ok(usual());
    }
    let object = fields::object(body)?;
    let fields = Fields::new(&object, "");
    let mut faults = Faults::new();
    let expected = "must be an array of 1 to 16 section names";
    let include = fields.optional("include", expected, &mut faults, |value| {
        value.as_array().filter(|sections| (1..=MOST_SECTIONS).contains(&sections.len()))
    });
    let mut sections: Vec<String> = Vec::new();
    for (index, section) in include.into_iter().flatten().enumerate() {
        let name = section.as_str().filter(|name| is_section(name));
        let at = format!("/include/{index}");
        faults.require(name.is_some(), &at, "must be 1 to 32 of a-z, 0-9 and _");
        let Some(name) = name else { continue };
        faults.require(!sections.iter().any(|known| known == name), &at, "must not be named twice");
        sections.push(name.to_owned());
    }
    fields.refuse_unknown(&["include"], &mut faults);
    faults.into_result(if include.is_some() { sections } else { usual() })
}

fn is_section(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// What a device answered: 200 with it, 202 while it may still come.
///
/// # Errors
/// 404 if that device was not asked that, or the answer is not kept any more; 504 once it should have come; 503 when the database or the bucket fails.
pub async fn fetch(
    db: &impl Database,
    files: &impl Bucket,
    device: &str,
    request_id: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = parse_id(device)?;
    Query::of(request).finish()?;
    let [found] = run(db, [diagnostics::of_device(&device, request_id)]).await?;
    let row = first_row::<DiagnosticsRow>(&found)?.ok_or_else(|| {
        Problem::not_found("the device was not asked that, or it is longer than seven days ago")
    })?;
    let include: Vec<String> = json::read(&row.include)
        .map_err(|error| Problem::internal(format!("diagnostics include: {error}")))?;
    let mut shown = Shown {
        request_id: &row.request_id,
        device_id: &row.device_id,
        status: "waiting",
        requested_at: row.requested_at,
        requested_by: &row.requested_by,
        include,
        answered_at: None,
        timestamp: None,
        diagnostics: None,
    };
    let Some(answered_at) = row.answered_at else {
        if request.now.since(row.requested_at) > PATIENCE {
            return Err(Problem::new(Kind::DeviceSilent, "the device has not answered within two minutes"));
        }
        return Ok(Answer::json(202, &shown).with_header("retry-after", ASK_AGAIN));
    };
    let bytes = files.get(&key(&device, &row.request_id, row.requested_at)).await?.ok_or_else(|| {
        Problem::not_found("the answer is not kept any more: it is longer than seven days ago")
    })?;
    let strange = |why: &dyn Display| Problem::internal(format!("diagnostics {}: {why}", row.request_id));
    let text = str::from_utf8(&bytes).map_err(|error| strange(&error))?;
    let kept: Kept<'_> = serde_json::from_str(text).map_err(|error| strange(&error))?;
    shown.status = "answered";
    shown.answered_at = Some(answered_at);
    shown.timestamp = Some(kept.timestamp);
    shown.diagnostics = Some(kept.diagnostics);
    Ok(Answer::json(200, &shown))
}
