//! `/admin/firmware`: the artifacts that rollouts bring to devices.

use rs1_api::query::Query;
use rs1_api::reason;
use rs1_auth::operator::Operator;
use rs1_domain::port::{Database, Random};
use rs1_domain::{Answer, FirmwareVersion, Problem, RecordId, Request, Sku};
use rs1_store::firmware::{self, Artifact};
use rs1_store::rollouts;
use rs1_store::sql::{Page, first_row, rows, run};

/// The prefix of an artifact's id.
const PREFIX: &str = "fwa";

/// A page of the artifacts, newest first; `?sku=` for those of one variant.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(|cursor| RecordId::parse(PREFIX, cursor).is_some());
    let sku = query.parsed("sku", Sku::EXPECTED, Sku::parse);
    query.finish()?;
    let statement = match sku {
        Some(sku) => firmware::artifacts_of(sku, &page),
        None => firmware::artifacts(&page),
    };
    let [outcome] = run(db, [statement]).await?;
    let artifacts = rows::<Artifact>(&outcome)?;
    Ok(Answer::json(200, &Page::of(artifacts, &page, |artifact| artifact.artifact_id.clone())))
}

/// One artifact.
///
/// # Errors
/// 404 if there is none, 422 for parameters, 503 when the database fails.
pub async fn one(db: &impl Database, name: (&str, &str), request: &Request) -> Result<Answer, Problem> {
    let (sku, version) = parse_name(name)?;
    Query::of(request).finish()?;
    let [outcome] = run(db, [firmware::artifact(sku, &version)]).await?;
    let artifact = first_row::<Artifact>(&outcome)?.ok_or_else(no_such_artifact)?;
    Ok(Answer::json(200, &artifact))
}

/// Withdraws an artifact, for the reason in `{reason}`: nobody is sent it any more, downloads of it are refused, and its
/// rollouts pause. Doing so again changes nothing.
///
/// # Errors
/// 404 if there is none, 422 naming every fault, 503 when the database fails.
pub async fn yank(
    db: &impl Database,
    random: &impl Random,
    operator: &Operator,
    name: (&str, &str),
    request: &Request,
) -> Result<Answer, Problem> {
    let (sku, version) = parse_name(name)?;
    Query::of(request).finish()?;
    let reason = reason::read(&request.body)?;
    let decision = RecordId::generate("dec", request.now, random.bytes());
    let [pause, note] =
        rollouts::pause_for_artifact(sku, version.as_str(), &operator.name, &decision, request.now);
    let yank = firmware::yank(sku, &version, &reason, request.now, &operator.name);
    let [_, _, _, outcome] = run(db, [yank, pause, note, firmware::artifact(sku, &version)]).await?;
    let artifact = first_row::<Artifact>(&outcome)?.ok_or_else(no_such_artifact)?;
    Ok(Answer::json(200, &artifact))
}

/// The artifact that a path names.
///
/// # Errors
/// 404: what is no version of no variant is no artifact either.
fn parse_name((sku, version): (&str, &str)) -> Result<(Sku, FirmwareVersion), Problem> {
    let (sku, version) = (Sku::parse(sku), FirmwareVersion::parse(version));
    sku.zip(version).ok_or_else(no_such_artifact)
}

fn no_such_artifact() -> Problem {
    Problem::not_found("there is no such artifact")
}
