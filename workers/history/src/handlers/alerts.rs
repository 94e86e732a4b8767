//! `/api/devices/{id}/alerts`: what is wrong with a device, and that somebody knows.

use rs1_api::access::{device_id, may_view, require};
use rs1_api::query::Query;
use rs1_auth::access_token::Person;
use rs1_domain::port::Database;
use rs1_domain::{Answer, Problem, RecordId, Request, UnixMillis, Verb};
use rs1_store::access::{self, RoleRow};
use rs1_store::alerts::{self, ShownAlert, Status};
use rs1_store::sql::{Page, first_row, rows, run};
use rs1_telemetry::alert::{Kind, Severity};
use serde::Serialize;

/// An alert, as it is shown.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Alert"))]
#[derive(Serialize)]
pub(crate) struct Shown {
    pub(crate) id: String,
    /// What is wrong: `low_memory`, `device_offline` and so on.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// `warning` or `critical`.
    pub(crate) severity: String,
    /// `open`, `acknowledged` or `resolved`.
    pub(crate) status: String,
    /// When it was first seen.
    pub(crate) opened_at: UnixMillis,
    /// When it was last seen.
    pub(crate) last_at: UnixMillis,
    /// How often it was seen.
    pub(crate) occurrences: i64,
    /// What was last seen of it.
    pub(crate) detail: String,
    /// When somebody said that they know.
    pub(crate) acknowledged_at: Option<UnixMillis>,
    /// Who.
    pub(crate) acknowledged_by: Option<String>,
    /// When it was over.
    pub(crate) resolved_at: Option<UnixMillis>,
}

impl Shown {
    pub(crate) fn of(alert: ShownAlert) -> Self {
        let (kind, severity): (Kind, Severity) = (alert.kind, alert.severity);
        Self {
            status: alert.status().as_str().to_owned(),
            id: alert.alert_id,
            kind: kind.as_str().to_owned(),
            severity: severity.as_str().to_owned(),
            opened_at: alert.opened_at,
            last_at: alert.last_at,
            occurrences: alert.occurrences,
            detail: alert.detail,
            acknowledged_at: alert.acknowledged_at,
            acknowledged_by: alert.acknowledged_by,
            resolved_at: alert.resolved_at,
        }
    }
}

/// `GET …/alerts?status=&type=&limit=&cursor=`: newest first.
///
/// # Errors
/// 404 for somebody without a role, 422 naming every bad parameter, 503 when the database fails.
pub async fn list(
    db: &impl Database,
    person: &Person,
    device: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    let mut query = Query::of(request);
    let status = query.parsed("status", "must be open, acknowledged or resolved", Status::parse);
    let kinds = Kind::ALL.map(Kind::as_str).join(", ");
    let kind = query.parsed("type", &format!("must be one of {kinds}"), Kind::parse);
    let page = query.page(|cursor| RecordId::parse("alr", cursor).is_some());
    query.finish()?;
    let [sight, found] =
        run(db, [access::sight_of(&person.user, &device), alerts::of_device(&device, status, kind, &page)])
            .await?;
    may_view(first_row(&sight)?)?;
    let Page { items, next_cursor } =
        Page::of(rows::<ShownAlert>(&found)?, &page, |alert| alert.alert_id.clone());
    let items: Vec<_> = items.into_iter().map(Shown::of).collect();
    Ok(Answer::json(200, &Page { items, next_cursor }))
}

/// `POST …/alerts/{id}/ack`: somebody knows. Saying so again is answered the same; the first one who said so stays.
///
/// # Errors
/// 404 for somebody without a role and for an alert that there is not, 403 for a role that may not change the device, 409 for an
/// alert that is over, 422 for parameters, 503 when the database fails.
pub async fn acknowledge(
    db: &impl Database,
    person: &Person,
    device: &str,
    alert: &str,
    request: &Request,
) -> Result<Answer, Problem> {
    let device = device_id(device)?;
    Query::of(request).finish()?;
    let [sight, _, found] = run(
        db,
        [
            access::sight_of(&person.user, &device),
            alerts::acknowledge(&person.user, &device, alert, request.now),
            alerts::one(&device, alert),
        ],
    )
    .await?;
    let sight = may_view(first_row(&sight)?)?;
    require(Some(RoleRow { role: sight.role }), Verb::Edit)?;
    let found = first_row::<ShownAlert>(&found)?;
    let found = found.ok_or_else(|| Problem::not_found("the device has no such alert"))?;
    if found.status() == Status::Resolved && found.acknowledged_at.is_none() {
        return Err(Problem::conflict("the alert is over"));
    }
    Ok(Answer::json(200, &Shown::of(found)))
}
