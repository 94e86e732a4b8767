//! What operators look after: people, the trail of a device, and the whole in numbers.

use rs1_api::kept::kept;
use rs1_api::query::Query;
use rs1_domain::port::{Database, KeyValue};
use rs1_domain::time::DAY;
use rs1_domain::{Answer, EmailAddress, Problem, RecordId, Request, UnixMillis, UserId};
use rs1_store::fleet::{self, DeviceStats, PeopleCounts, VersionCounts};
use rs1_store::security::{self, AuditRow};
use rs1_store::sql::{Page, first_row, rows, run};
use rs1_store::users::{self, UserSummary};
use serde::Serialize;

use crate::handlers::devices::parse_id;

/// The key of the numbers in KV, and how long they are good, in seconds.
const STATS: (&str, u32) = ("stats", 60);

/// A page of the users, oldest first, or with `q` those of an e-mail address.
///
/// # Errors
/// 422 for bad parameters, 503 when the database fails.
pub async fn users(db: &impl Database, request: &Request) -> Result<Answer, Problem> {
    let mut query = Query::of(request);
    let page = query.page(|cursor| UserId::parse(cursor).is_some());
    let email = query.parsed("q", EmailAddress::EXPECTED, EmailAddress::parse);
    query.finish()?;
    let [found] = match &email {
        Some(email) => run(db, [users::list_of_email(email)]).await?,
        None => run(db, [users::list(&page)]).await?,
    };
    let users = rows::<UserSummary>(&found)?;
    Ok(Answer::json(200, &Page::of(users, &page, |user| user.user_id.to_string())))
}

/// A page of what was done with a device and by whom, newest first.
///
/// # Errors
/// 404 for what is no device id, 422 for bad parameters, 503 when the database fails.
pub async fn audit(db: &impl Database, device: &str, request: &Request) -> Result<Answer, Problem> {
    let device = parse_id(device)?;
    let mut query = Query::of(request);
    let page = query.page(|cursor| RecordId::parse("aud", cursor).is_some());
    query.finish()?;
    let [found] = run(db, [security::audit_of(&device, &page)]).await?;
    let acts = rows::<AuditRow>(&found)?;
    Ok(Answer::json(200, &Page::of(acts, &page, |act| act.id.clone())))
}

/// The whole in numbers.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// When they were counted.
    pub counted_at: UnixMillis,
    /// The devices.
    pub devices: DeviceStats,
    /// The people.
    pub users: PeopleCounts,
    /// The devices by variant and version.
    pub versions: Vec<VersionCounts>,
}

/// The whole in numbers, at most a minute old: this is the one question that reads the whole registry, so its answer is
/// kept in KV for whoever asks next.
///
/// # Errors
/// 422 for parameters, 503 when the database fails.
pub async fn stats(db: &impl Database, cache: &impl KeyValue, request: &Request) -> Result<Answer, Problem> {
    Query::of(request).finish()?;
    kept(cache, STATS, async || {
        let since = request.now.plus(-DAY);
        let [versions, people] = run(db, [fleet::versions(since), fleet::people(since)]).await?;
        let versions = rows::<VersionCounts>(&versions)?;
        let users = first_row::<PeopleCounts>(&people)?.ok_or_else(|| Problem::internal("no counts"))?;
        let devices = DeviceStats::of(&versions);
        Ok(Stats { counted_at: request.now, devices, users, versions })
    })
    .await
}
