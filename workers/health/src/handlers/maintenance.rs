//! `/admin/maintenance`: times in which what is named raises no incident.

use rs1_api::query::Query;
use rs1_auth::operator::Operator;
use rs1_domain::port::{Database, Random};
use rs1_domain::time::DAY;
use rs1_domain::wire::fields::{self, Fields, TIME};
use rs1_domain::{Answer, Faults, Problem, RecordId, Request, UnixMillis};
use rs1_ops::check::Check;
use rs1_store::incidents::{self, WindowRow};
use rs1_store::sql::{Page, first_row, rows, run};

/// The longest window: whoever wants more says so again.
const LONGEST: i64 = 7 * DAY;
/// How far ahead one may begin.
const AHEAD: i64 = 90 * DAY;
/// The most names in one.
const SUBJECTS: usize = 20;
/// Longest reason, in characters.
const REASON: usize = 500;

/// What an operator asks for.
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Deserialize),
    schemars(rename = "Maintenance", deny_unknown_fields)
)]
pub struct Wish {
    /// Checks, groups and components; `*` is everything.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 20)))]
    pub subjects: Vec<String>,
    /// What for.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 500)))]
    pub reason: String,
    /// When it begins; now, if it does not say.
    #[cfg_attr(feature = "schema", serde(default))]
    pub from: Option<UnixMillis>,
    /// When it ends: at most seven days later.
    pub until: UnixMillis,
}

/// A page of windows, newest first.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn list(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(is_id);
    query.finish()?;
    let [outcome] = run(db, [incidents::windows(&page)]).await?;
    let found = rows::<WindowRow>(&outcome)?;
    Ok(Answer::json(200, &Page::of(found, &page, |window| window.window_id.clone())))
}

/// Declares maintenance: 201.
///
/// # Errors
/// 422 naming every fault, 503 when the database fails.
pub async fn declare(
    db: &impl Database,
    random: &impl Random,
    checks: &[Check],
    operator: &Operator,
    request: &Request,
) -> Result<Answer, Problem> {
    Query::of(request).finish()?;
    let wish = read(&request.body, checks, request.now)?;
    let window = WindowRow {
        window_id: RecordId::generate("mnt", request.now, random.bytes()).to_string(),
        subjects: wish.subjects,
        reason: wish.reason,
        from_at: wish.from.unwrap_or(request.now),
        until_at: wish.until,
        created_by: operator.name.clone(),
        ended_by: None,
    };
    let declare = incidents::declare(&window).map_err(|error| Problem::internal(error.to_string()))?;
    run(db, [declare]).await?;
    Ok(Answer::json(201, &window))
}

/// Ends a window now, or keeps it from beginning. One that is over stays as it is.
///
/// # Errors
/// 404 if there is none, 422 for parameters, 503 when the database fails.
pub async fn end(
    db: &impl Database,
    operator: &Operator,
    id: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let no_such = || Problem::not_found("there is no such maintenance window");
    if !is_id(id) {
        return Err(no_such());
    }
    Query::of(request).finish()?;
    let end = incidents::end_window(id, &operator.name, request.now);
    let [_, window] = run(db, [end, incidents::window(id)]).await?;
    let window = first_row::<WindowRow>(&window)?.ok_or_else(no_such)?;
    Ok(Answer::json(200, &window))
}

fn read(body: &[u8], checks: &[Check], now: UnixMillis) -> Result<Wish, Faults> {
    let object = fields::object(body)?;
    let fields = Fields::new(&object, "");
    let mut faults = Faults::new();
    let subjects = fields.required("subjects", "must be a list of 1 to 20 names", &mut faults, |value| {
        let list = value.as_array().filter(|list| (1..=SUBJECTS).contains(&list.len()))?;
        list.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    for (at, subject) in subjects.iter().flatten().enumerate() {
        let known = subject == "*"
            || checks.iter().any(|check| [&check.id, &check.group, &check.component].contains(&subject));
        faults.require(
            known,
            &format!("/subjects/{at}"),
            "must be a check, a group or a component that there is, or *",
        );
    }
    let reason = fields.required("reason", "must be 1 to 500 characters of text", &mut faults, |value| {
        let reason = value.as_str()?.trim();
        (1..=REASON).contains(&reason.chars().count()).then(|| reason.to_owned())
    });
    let from = fields.optional("from", TIME, &mut faults, fields::time);
    let until = fields.required("until", TIME, &mut faults, fields::time);
    if let Some(until) = until {
        let begins = from.unwrap_or(now);
        let fine = until > begins && until > now && until.since(begins) <= LONGEST;
        faults.require(fine, "/until", "must be later than now and than its beginning, by at most 7 days");
        faults.require(begins.since(now) <= AHEAD, "/from", "must be within 90 days");
    }
    fields.refuse_unknown(&["subjects", "reason", "from", "until"], &mut faults);
    let wish = match (subjects, reason, until) {
        (Some(subjects), Some(reason), Some(until)) => Some(Wish { subjects, reason, from, until }),
        _ => None,
    };
    match faults.into_result(wish)? {
        Some(wish) => Ok(wish),
        // What is missing is a fault, so there is always one.
        None => Err(Faults::unreadable("it lacks something")),
    }
}

/// Whether a text may be a window's id.
fn is_id(text: &str) -> bool {
    RecordId::parse("mnt", text).is_some()
}
