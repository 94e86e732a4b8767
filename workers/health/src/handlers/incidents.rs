//! `/admin/incidents`: what is wrong, what was, and who knows of it.

use rs1_api::query::Query;
use rs1_auth::operator::Operator;
use rs1_domain::port::{Database, Random};
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Answer, Faults, Problem, RecordId, Request};
use rs1_store::incidents::{self, IncidentRow, Status};
use rs1_store::notices::{self, If};
use rs1_store::sql::{Page, first_row, rows, run};

use crate::announce;

/// The most steps of an incident that are shown.
const STEPS: u32 = 1_000;
/// Longest note, in characters.
const NOTE: usize = 500;

/// A page of incidents, newest first; with `status` those of that.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let status = query.parsed("status", "must be open, acknowledged or resolved", Status::parse);
    let page = query.page(is_id);
    query.finish()?;
    let [outcome] = run(db, [incidents::list(status, &page)]).await?;
    let found = rows::<IncidentRow>(&outcome)?;
    Ok(Answer::json(200, &Page::of(found, &page, |incident| incident.incident_id.clone())))
}

/// One incident, with what became of it step by step.
///
/// # Errors
/// 404 if there is none, 422 for parameters, 503 when the database fails.
pub async fn one(db: &impl Database, id: &str, request: &Request) -> Result<Answer, Problem> {
    known_id(id)?;
    Query::of(request).finish()?;
    let [incident, timeline] = run(db, [incidents::by_id(id), incidents::timeline(id, STEPS)]).await?;
    let incident = first_row::<IncidentRow>(&incident)?.ok_or_else(no_such)?;
    Ok(Answer::json(200, &IncidentRow { timeline: rows(&timeline)?, ..incident }))
}

/// Notes that the operator knows of an incident, with `{note}` if there is something to say: nobody is reminded of it any more.
/// Who said so first is kept; the same again is the same.
///
/// # Errors
/// 404 if there is none, 409 if it is over, 422 naming every fault, 503 when the database fails.
pub async fn acknowledge(
    db: &impl Database,
    random: &impl Random,
    operator: &Operator,
    id: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    known_id(id)?;
    Query::of(request).finish()?;
    let note = read_note(&request.body)?;
    let [incident] = run(db, [incidents::by_id(id)]).await?;
    let incident = first_row::<IncidentRow>(&incident)?.ok_or_else(no_such)?;
    let (by, now) = (operator.name.as_str(), request.now);
    let notice_id = RecordId::generate("ntc", now, random.bytes()).to_string();
    let told = [announce::acknowledged(&incident.into(), by, now, notice_id)];
    let told =
        notices::tell(&told, If::Changed, now).map_err(|error| Problem::internal(error.to_string()))?;
    let [_, _, _, incident, timeline] = run(
        db,
        [
            incidents::acknowledge(id, by, now),
            told,
            incidents::record_acknowledged(id, by, &note, now),
            incidents::by_id(id),
            incidents::timeline(id, STEPS),
        ],
    )
    .await?;
    let incident = first_row::<IncidentRow>(&incident)?.ok_or_else(no_such)?;
    if incident.acknowledged_at.is_none() {
        return Err(Problem::conflict("it is over, and nobody had acknowledged it"));
    }
    Ok(Answer::json(200, &IncidentRow { timeline: rows(&timeline)?, ..incident }))
}

/// `{note}`, or nothing.
fn read_note(body: &[u8]) -> Result<String, Faults> {
    if body.is_empty() {
        return Ok(String::new());
    }
    let object = fields::object(body)?;
    let fields = Fields::new(&object, "");
    let mut faults = Faults::new();
    let note = fields.optional("note", "must be at most 500 characters of text", &mut faults, |value| {
        Some(value.as_str()?.trim()).filter(|note| note.chars().count() <= NOTE).map(str::to_owned)
    });
    fields.refuse_unknown(&["note"], &mut faults);
    faults.into_result(note.unwrap_or_default())
}

fn no_such() -> Problem {
    Problem::not_found("there is no such incident")
}

fn known_id(id: &str) -> Result<(), Problem> {
    if is_id(id) { Ok(()) } else { Err(no_such()) }
}

/// Whether a text may be an incident's id.
fn is_id(text: &str) -> bool {
    RecordId::parse("inc", text).is_some()
}
