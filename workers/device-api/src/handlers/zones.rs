//! `/api/devices/{id}/zones`: what a person wants a device to watch, and how far the device is with it.
//!
//! A change is committed first and sent then: what is committed goes out sooner or later (the minute's cron, or the
//! device's next state), so the broker being down is nobody's problem but the wait's.

use rs1_api::access::{device_id, require, unknown_device};
use rs1_api::if_match::{IfMatch, etag};
use rs1_api::query::Query;
use rs1_auth::access_token::Person;
use rs1_domain::json;
use rs1_domain::port::{Broker, Database, Published};
use rs1_domain::{Answer, DeviceId, Faults, Problem, Request, Sku, UnixMillis, Verb};
use rs1_store::access::{self, RoleRow};
use rs1_store::sql::{Page, first_row, rows, run};
use rs1_store::zones::{self, Current, Version, VersionRow, Written};
use rs1_zones::Edit;
use rs1_zones::delivery::{Standing, publication};
use serde::Serialize;
use serde_json::value::RawValue;

/// A configuration as people see it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Zones"))]
#[derive(Serialize)]
pub(crate) struct Shown<'a> {
    pub(crate) device_id: &'a DeviceId,
    /// 0 until the first one is made.
    pub(crate) version: i64,
    pub(crate) updated_at: Option<UnixMillis>,
    pub(crate) updated_by: Option<&'a str>,
    #[cfg_attr(feature = "schema", schemars(with = "Vec<rs1_zones::Zone>"))]
    pub(crate) zones: Box<RawValue>,
    /// The version that the device is to have: the one above.
    pub(crate) desired: i64,
    /// The version that the device has, as it said last; 0 for none.
    pub(crate) applied: i64,
    pub(crate) applied_at: Option<UnixMillis>,
    pub(crate) in_sync: bool,
    pub(crate) status: Standing,
    /// Why the device refused the desired version.
    pub(crate) error: Option<&'a str>,
    /// Of a change: whether the device was sent it, or will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delivery: Option<Delivery>,
}

/// What became of a change's way to the device.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Delivery {
    /// The broker has taken it for the device.
    Sent,
    /// The device is not here, or the broker cannot be asked: it is sent later.
    Pending,
}

impl<'a> Shown<'a> {
    fn of(device: &'a DeviceId, current: &'a Current) -> Result<Self, Problem> {
        let report = current.report_outcome.map(|outcome| (current.report_version, outcome));
        let status = Standing::of(current.version, current.applied_version, report);
        Ok(Self {
            device_id: device,
            version: current.version,
            updated_at: current.updated_at,
            updated_by: current.updated_by.as_deref(),
            zones: raw(&current.zones)?,
            desired: current.version,
            applied: current.applied_version,
            applied_at: current.applied_at,
            in_sync: matches!(status, Standing::Applied | Standing::None),
            status,
            error: current.report_error.as_deref().filter(|_| status == Standing::Rejected),
            delivery: None,
        })
    }
}

/// A version that is kept.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ZoneVersion"))]
#[derive(Serialize)]
pub(crate) struct Kept<'a> {
    pub(crate) device_id: &'a DeviceId,
    pub(crate) version: i64,
    pub(crate) updated_at: UnixMillis,
    pub(crate) updated_by: &'a str,
    #[cfg_attr(feature = "schema", schemars(with = "Vec<rs1_zones::Zone>"))]
    pub(crate) zones: Box<RawValue>,
}

fn raw(json: &str) -> Result<Box<RawValue>, Problem> {
    RawValue::from_string(json.to_owned()).map_err(|error| Problem::internal(format!("zones: {error}")))
}

/// The present configuration. The `ETag` is its version, which a change names in `If-Match`.
///
/// # Errors
/// 404 for somebody without a role, 422 for parameters, 503 when the database fails.
pub async fn show(
    db: &impl Database,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let current = load(db, person, &device, Verb::View).await?;
    Ok(Answer::json(200, &Shown::of(&device, &current)?).with_header("etag", etag(current.version)))
}

/// Makes other zones the device's.
///
/// # Errors
/// 428 without `If-Match`, 404 and 403 by role, 412 with what is there when somebody was faster, 422 naming every
/// fault, 503 when the database fails.
pub async fn replace(
    db: &impl Database,
    broker: &impl Broker,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let if_match = IfMatch::required(request)?;
    let current = load(db, person, &device, Verb::Edit).await?;
    if !if_match.holds(current.version) {
        return Err(stale(&device, &current)?);
    }
    let edit = Edit::read(&request.body, current.product_sku)?;
    expect_version(&edit, current.version)?;
    let zones = json::write(&edit.zones).map_err(|error| Problem::internal(error.to_string()))?;
    change(db, broker, person, &device, current, zones, request.now).await
}

/// A document that names a version names the one that it was made from, or the next.
fn expect_version(edit: &Edit, current: i64) -> Result<(), Problem> {
    let Some(version) = edit.version else { return Ok(()) };
    let next = current.saturating_add(1);
    let mut faults = Faults::new();
    if version != current && version != next {
        let expected =
            format!("must be {next}, the version that this becomes, or that of If-Match, or left out");
        faults.add("/version", expected);
    }
    Ok(faults.into_result(())?)
}

/// The versions that are kept, newest first.
///
/// # Errors
/// 404 for somebody without a role, 422 for parameters, 503 when the database fails.
pub async fn history(
    db: &impl Database,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let [role, history] = run(db, [access::role_of(&person.user, &device), zones::history(&device)]).await?;
    require(first_row::<RoleRow>(&role)?, Verb::View)?;
    // Ten at most: there is never another page.
    Ok(Answer::json(200, &Page { items: rows::<VersionRow>(&history)?, next_cursor: None }))
}

/// One version that is kept.
///
/// # Errors
/// 404 for somebody without a role and for a version that is not kept, 422 for parameters, 503 when the database
/// fails.
pub async fn version(
    db: &impl Database,
    person: &Person,
    device: &str,
    version: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let wanted = version_number(version);
    let [role, found] = run(
        db,
        [access::role_of(&person.user, &device), zones::version(&device, wanted.unwrap_or_default())],
    )
    .await?;
    require(first_row::<RoleRow>(&role)?, Verb::View)?;
    let found = first_row::<Version>(&found)?.ok_or_else(not_kept)?;
    let kept = Kept {
        device_id: &device,
        version: found.version,
        updated_at: found.updated_at,
        updated_by: &found.updated_by,
        zones: raw(&found.zones)?,
    };
    Ok(Answer::json(200, &kept))
}

/// Makes an earlier version's zones the device's again, as a new version. `If-Match` may say what is to be replaced;
/// without it that is whatever is there now.
///
/// # Errors
/// As [`replace`], but for 428; 404 also for a version that is not kept, 409 if the device cannot have its zones.
pub async fn restore(
    db: &impl Database,
    broker: &impl Broker,
    person: &Person,
    device: &str,
    version: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let if_match = IfMatch::read(request)?;
    let wanted = version_number(version);
    let [role, current, found] = run(
        db,
        [
            access::role_of(&person.user, &device),
            zones::current(&device),
            zones::version(&device, wanted.unwrap_or_default()),
        ],
    )
    .await?;
    require(first_row::<RoleRow>(&role)?, Verb::Edit)?;
    let current = first_row::<Current>(&current)?.ok_or_else(unknown_device)?;
    let found = first_row::<Version>(&found)?.ok_or_else(not_kept)?;
    if if_match.is_some_and(|if_match| !if_match.holds(current.version)) {
        return Err(stale(&device, &current)?);
    }
    if current.product_sku == Some(Sku::Lite) && found.zones != "[]" {
        return Err(Problem::conflict("an rs1_lite has no zones, and that version has some"));
    }
    change(db, broker, person, &device, current, found.zones, request.now).await
}

/// A path's version; what is none is kept nowhere.
fn version_number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|version: &i64| *version >= 1 && version.to_string() == text)
}

fn not_kept() -> Problem {
    Problem::not_found("that version is not kept: a device's last ten are")
}

async fn load(
    db: &impl Database,
    person: &Person,
    device: &DeviceId,
    verb: Verb,
) -> Result<Current, Problem> {
    let [role, current] = run(db, [access::role_of(&person.user, device), zones::current(device)]).await?;
    require(first_row::<RoleRow>(&role)?, verb)?;
    first_row::<Current>(&current)?.ok_or_else(unknown_device)
}

fn stale(device: &DeviceId, current: &Current) -> Result<Problem, Problem> {
    let detail = format!("the zones are at version {}", current.version);
    let mut problem = Problem::precondition_failed(detail, &Shown::of(device, current)?);
    problem.headers.push(("etag", etag(current.version)));
    Ok(problem)
}

/// Commits `zones` in place of `current`, then sends them.
async fn change(
    db: &impl Database,
    broker: &impl Broker,
    person: &Person,
    device: &DeviceId,
    current: Current,
    zones: String,
    now: UnixMillis,
) -> Result<Answer, Problem> {
    let statement = zones::write(device, current.version, &zones, &person.user, now);
    let [written] = run(db, [statement]).await?;
    let Some(Written { version }) = first_row(&written)? else {
        // Somebody was faster: with the zones, or by taking the role away.
        let found = load(db, person, device, Verb::Edit).await?;
        return Err(stale(device, &found)?);
    };
    let message = publication(device, version, now, &zones)
        .map_err(|error| Problem::internal(format!("zones: {error}")))?;
    let (delivery, note) = match broker.publish(&[message]).await.as_deref() {
        Ok([Published::Accepted]) => (Delivery::Sent, None),
        Ok(other) => (Delivery::Pending, Some(format!("not sent: {other:?}"))),
        Err(error) => (Delivery::Pending, Some(format!("not sent: {error}"))),
    };
    let current = Current {
        version,
        zones,
        updated_at: Some(now),
        updated_by: Some(person.user.to_string()),
        ..current
    };
    let shown = Shown { delivery: Some(delivery), ..Shown::of(device, &current)? };
    let answer = Answer::json(200, &shown).with_header("etag", etag(version));
    Ok(match note {
        Some(note) => answer.with_log(note),
        None => answer,
    })
}
