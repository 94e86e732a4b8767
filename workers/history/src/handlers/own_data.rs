//! `/api/devices/{id}/export` and `/api/devices/{id}/data`: what people may have of us as a right. All that there is of a device in one
//! archive, and that it is deleted. Both are for its owner, are made step by step by the minute's cron, and stand in the audit log.

use rs1_api::access::{device_id, require};
use rs1_api::query::Query;
use rs1_auth::access_token::Person;
use rs1_auth::export_link::ExportLinks;
use rs1_domain::port::{Database, Packs, PortError, Random};
use rs1_domain::time::{DAY, HOUR};
use rs1_domain::{Answer, DeviceId, Method, Problem, RecordId, Request, UnixMillis, Verb, json};
use rs1_store::erasures::{self, ErasureRow, FINAL};
use rs1_store::exports::{self, ExportRow, KEPT, Progress, key};
use rs1_store::security::{self, Act};
use rs1_store::sql::{first_row, run};
use rs1_store::{Statement, access};
use serde::Serialize;

/// An export that was asked for not longer ago is answered again, instead of another one.
const AGAIN: i64 = DAY;

/// How far something is, in hours of the archive.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "HoursDone"))]
#[derive(Serialize)]
pub(crate) struct Hours {
    /// Hours of the archive that were gone through.
    pub(crate) done: i64,
    /// How many there are.
    pub(crate) of: i64,
}

/// An export, as it is shown.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Export"))]
#[derive(Serialize)]
pub(crate) struct ShownExport {
    pub(crate) id: String,
    /// `running` or `ready`.
    pub(crate) state: String,
    /// What was received from then on: since the device is its owner's, for a year at most.
    pub(crate) from: UnixMillis,
    /// And before then.
    pub(crate) until: UnixMillis,
    /// How far it is.
    pub(crate) hours: Hours,
    /// Until when it can be had.
    pub(crate) expires_at: UnixMillis,
    /// Bytes of the archive, once it is ready.
    pub(crate) bytes: Option<u64>,
    /// Where the archive is, on this host, once it is ready: a link that needs no token, good for a quarter of an hour.
    pub(crate) download: Option<String>,
}

impl ShownExport {
    fn of(row: ExportRow, links: Option<&ExportLinks>, now: UnixMillis) -> Result<Self, Problem> {
        let (done, of) = progress_of(&row)?.hours(row.from_at, row.until_at);
        let ready = row.state == "ready";
        let path = format!("/api/history/exports/{}", row.export_id);
        Ok(Self {
            id: row.export_id,
            from: row.from_at,
            until: row.until_at,
            hours: Hours { done, of },
            expires_at: row.created_at.plus(KEPT),
            bytes: ready.then_some(row.bytes),
            download: links.filter(|_| ready).map(|links| format!("{path}?{}", links.sign(&path, now))),
            state: row.state,
        })
    }
}

fn progress_of(export: &ExportRow) -> Result<Progress, Problem> {
    json::read(&export.progress).map_err(|error| Problem::internal(format!("exports: {error}")))
}

/// The statement that writes down what a person did with a device.
fn note(
    random: &impl Random,
    person: &str,
    (action, route): (&'static str, &'static str),
    device: &DeviceId,
    request: &Request,
    change: bool,
) -> Statement {
    let act = Act {
        id: RecordId::generate("aud", request.now, random.bytes()),
        at: request.now,
        actor: person,
        action,
        method: request.method.as_str(),
        route,
        target: device,
        request_id: &request.request_id,
        detail: serde_json::json!({}),
    };
    if change { security::act(&act) } else { security::note(&act) }
}

/// `POST …/export`: all that there is of a device is to be put into one archive. One that runs, or was asked for within a day, is
/// answered as it is.
///
/// # Errors
/// 404 for somebody without a role, 403 for one who is not the owner, 422 for parameters, 503 when the database fails.
pub async fn export(
    db: &impl Database,
    random: &impl Random,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let (user, now) = (&person.user, request.now);
    let id = RecordId::generate("exp", now, random.bytes());
    let progress = Progress::begin().map_err(|error| Problem::internal(error.to_string()))?;
    let [role, _, _, found] = run(
        db,
        [
            access::role_of(user, &device),
            exports::begin(&id, user, &device, &progress, now.plus(-AGAIN), now),
            note(
                random,
                user.as_str(),
                ("data_export_asked", "/api/devices/{id}/export"),
                &device,
                request,
                true,
            ),
            exports::latest(user, &device, now),
        ],
    )
    .await?;
    require(first_row(&role)?, Verb::Own)?;
    let found = first_row::<ExportRow>(&found)?;
    // Somebody who was the owner may have had one begun.
    let found = found
        .ok_or_else(|| Problem::conflict("an export for somebody else is being made; try again later"))?;
    Ok(Answer::json(202, &ShownExport::of(found, None, now)?))
}

/// `GET …/export`: how far it is, and when it is ready where it can be had.
///
/// # Errors
/// As [`export`]; 404 also when there is none.
pub async fn exported(
    db: &impl Database,
    links: &ExportLinks,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let (user, now) = (&person.user, request.now);
    let [role, found] =
        run(db, [access::role_of(user, &device), exports::latest(user, &device, now)]).await?;
    require(first_row(&role)?, Verb::Own)?;
    let found = first_row::<ExportRow>(&found)?;
    let found = found.ok_or_else(|| Problem::not_found("no export was asked for"))?;
    Ok(Answer::json(200, &ShownExport::of(found, Some(links), now)?))
}

/// `GET /api/history/exports/{export}?expires=&sig=`: the archive, for whoever has a link to it, as long as the device belongs to whom it was
/// made for.
///
/// # Errors
/// 403 for a link that is not good or not good any more, 404 for an export that is gone, 503 when the database or the archive fails.
pub async fn download(
    db: &impl Database,
    archives: &impl Packs,
    random: &impl Random,
    links: &ExportLinks,
    export: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    if !links.allows(&request.path, &request.query, request.now) {
        return Err(Problem::forbidden("the link is not good, or not any more: ask for another"));
    }
    let gone = || Problem::not_found("there is no such export any more");
    let [found] = run(db, [exports::ready(export, request.now)]).await?;
    let found = first_row::<ExportRow>(&found)?.ok_or_else(gone)?;
    let device = &found.device_id;
    let name = format!("attachment; filename=\"rs1-{device}-{}.tar.gz\"", found.until_at.date());
    if request.method == Method::Head {
        return Ok(Answer::empty(200).with_header("content-disposition", name));
    }
    let progress = progress_of(&found)?;
    let action = ("data_exported", "/api/history/exports/{export}");
    run(db, [note(random, found.user_id.as_str(), action, device, request, false)]).await?;
    let keys: Vec<_> = (0..progress.objects).map(|number| key(export, number)).collect();
    let stream = archives.joined(&keys, found.bytes).await?.ok_or_else(gone)?;
    Ok(Answer::streamed(200, "application/gzip", stream).with_header("content-disposition", name))
}

/// An erasure, as it is shown.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Erasure"))]
#[derive(Serialize)]
pub(crate) struct ShownErasure {
    pub(crate) id: String,
    /// `running`: from the end of that hour on the archive is gone through; `waiting`: until the last hour takes no more messages; `settling`: those hours are gone
    /// through once more; `done`.
    pub(crate) state: String,
    pub(crate) requested_at: UnixMillis,
    /// Everything before then goes, and is shown to nobody any more.
    pub(crate) before: UnixMillis,
    /// How far it is.
    pub(crate) hours: Hours,
    /// Messages that were taken out of the archive so far.
    pub(crate) messages: i64,
    /// When it is done, at the latest.
    pub(crate) due_at: UnixMillis,
    /// When it was done.
    pub(crate) done_at: Option<UnixMillis>,
}

impl ShownErasure {
    fn of(row: ErasureRow) -> Self {
        let at = |hour: i64| UnixMillis(hour.saturating_mul(HOUR));
        Self {
            id: row.erasure_id,
            state: row.state,
            requested_at: row.requested_at,
            before: at(row.until_hour),
            hours: Hours {
                done: row.next_hour.saturating_sub(row.from_hour),
                of: row.until_hour.saturating_sub(row.from_hour),
            },
            messages: row.lines,
            due_at: at(row.until_hour.saturating_add(FINAL)).plus(DAY),
            done_at: row.done_at,
        }
    }
}

/// `DELETE …/data?confirm={id}`: what the device said until the end of this hour goes. Nobody is shown it from now on.
///
/// # Errors
/// 404 for somebody without a role, 403 for one who is not the owner, 422 unless `confirm` is the device's id, 503 when the database or the
/// archive fails.
pub async fn erase(
    db: &impl Database,
    archives: &impl Packs,
    random: &impl Random,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    let [role] = run(db, [access::role_of(&person.user, &device)]).await?;
    require(first_row(&role)?, Verb::Own)?;
    let mut query = Query::of(request);
    let confirmed = query.text("confirm").is_some_and(|confirm| confirm == device.as_str());
    query.require(confirmed, "?confirm", "must be the device's id: what is deleted cannot be had again");
    query.finish()?;
    let (user, now) = (&person.user, request.now);
    let id = RecordId::generate("era", now, random.bytes());
    let until_hour = now.hour().saturating_add(1);
    let [_, _, _, _, found] = run(
        db,
        [
            erasures::begin(&id, user, &device, until_hour, now),
            note(
                random,
                user.as_str(),
                ("data_deletion_asked", "/api/devices/{id}/data"),
                &device,
                request,
                true,
            ),
            erasures::hide(&device),
            erasures::cancel_exports(&device),
            erasures::latest(user, &device),
        ],
    )
    .await?;
    let found = first_row::<ErasureRow>(&found)?;
    let found = found.ok_or_else(|| PortError::new("erasure", "the device is somebody else's by now"))?;
    erasures::keep(&found, archives).await?;
    Ok(Answer::json(202, &ShownErasure::of(found)))
}

/// `GET …/data`: how far its deletion is.
///
/// # Errors
/// As [`erase`]; 404 also when nobody asked for it.
pub async fn erased(
    db: &impl Database,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let [role, found] =
        run(db, [access::role_of(&person.user, &device), erasures::latest(&person.user, &device)]).await?;
    require(first_row(&role)?, Verb::Own)?;
    let found = first_row::<ErasureRow>(&found)?;
    let found =
        found.ok_or_else(|| Problem::not_found("nobody asked for the device's data to be deleted"))?;
    Ok(Answer::json(200, &ShownErasure::of(found)))
}
