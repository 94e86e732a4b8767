//! Which handler answers which request on status.optic.works.
//!
//! Everything below `/admin` needs an operator, and is audited before it is carried out. The page, and what belongs to it, is the worker
//! `status`'s: see there why.

use rs1_api::{audit, operator};
use rs1_domain::config::BadConfig;
use rs1_domain::port::Peer;
use rs1_domain::{Answer, Method, Problem, Request, limits};
use rs1_ops::notice::Channel;
use rs1_store::health;

use crate::config::Config;
use crate::handlers::{backups, checks, incidents, maintenance, notices};
use crate::world::{Ports, World};

/// The request headers that this worker reads.
pub const HEADERS: &[&str] = &["authorization", "cf-access-jwt-assertion", "cf-connecting-ip"];

/// The routes, with what their paths name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// How this worker is.
    Health,
    /// The backups.
    Backups,
    /// What the watch over backups says.
    Watch,
    /// One backup.
    Backup(&'a str),
    /// What people were told.
    Notices,
    /// A try of the channels.
    NoticeTest,
    /// Another try of a notice.
    NoticeRetry(&'a str),
    /// What the worker `status` answers, by its path.
    Passed(&'static str),
    /// What is checked.
    Checks,
    /// The incidents.
    Incidents,
    /// One incident.
    Incident(&'a str),
    /// That somebody knows of it.
    Acknowledgement(&'a str),
    /// Maintenance windows.
    Maintenance,
    /// One of them.
    Window(&'a str),
}

/// What is for the worker `status`.
const PASSED: [&str; 4] = ["/", "/status.json", "/feed.atom", "/metrics"];

impl<'a> Route<'a> {
    /// The route of a path.
    pub fn of(path: &'a str) -> Option<Self> {
        if let Some(passed) = PASSED.into_iter().find(|passed| *passed == path) {
            return Some(Self::Passed(passed));
        }
        let segments: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        Some(match *segments.as_slice() {
            ["health"] => Self::Health,
            ["admin", "backups"] => Self::Backups,
            ["admin", "backups", "watch"] => Self::Watch,
            ["admin", "backups", id] if !id.is_empty() => Self::Backup(id),
            ["admin", "notices"] => Self::Notices,
            ["admin", "notices", "test"] => Self::NoticeTest,
            ["admin", "notices", id, "retry"] if !id.is_empty() => Self::NoticeRetry(id),
            ["admin", "checks"] => Self::Checks,
            ["admin", "incidents"] => Self::Incidents,
            ["admin", "incidents", id] if !id.is_empty() => Self::Incident(id),
            ["admin", "incidents", id, "ack"] if !id.is_empty() => Self::Acknowledgement(id),
            ["admin", "maintenance"] => Self::Maintenance,
            ["admin", "maintenance", id] if !id.is_empty() => Self::Window(id),
            _ => return None,
        })
    }

    /// Its pattern, for logs.
    pub fn pattern(&self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Backups => "/admin/backups",
            Self::Watch => "/admin/backups/watch",
            Self::Backup(_) => "/admin/backups/{id}",
            Self::Notices => "/admin/notices",
            Self::NoticeTest => "/admin/notices/test",
            Self::NoticeRetry(_) => "/admin/notices/{id}/retry",
            Self::Passed(path) => path,
            Self::Checks => "/admin/checks",
            Self::Incidents => "/admin/incidents",
            Self::Incident(_) => "/admin/incidents/{id}",
            Self::Acknowledgement(_) => "/admin/incidents/{id}/ack",
            Self::Maintenance => "/admin/maintenance",
            Self::Window(_) => "/admin/maintenance/{id}",
        }
    }

    pub(crate) fn methods(&self) -> &'static [Method] {
        match self {
            Self::Backups | Self::Maintenance => &[Method::Get, Method::Head, Method::Post],
            Self::Acknowledgement(_) | Self::NoticeTest | Self::NoticeRetry(_) => &[Method::Post],
            Self::Window(_) => &[Method::Delete],
            Self::Health
            | Self::Watch
            | Self::Passed(_)
            | Self::Backup(_)
            | Self::Notices
            | Self::Checks
            | Self::Incidents
            | Self::Incident(_) => &[Method::Get, Method::Head],
        }
    }

    fn target(&self) -> Option<&'a str> {
        match self {
            Self::Backup(id)
            | Self::NoticeRetry(id)
            | Self::Incident(id)
            | Self::Acknowledgement(id)
            | Self::Window(id) => Some(id),
            _ => None,
        }
    }
}

/// The most bytes of a body that a request to this path may have.
pub fn body_limit(method: Method, path: &str) -> usize {
    match (method, Route::of(path)) {
        (Method::Post, Some(Route::Backups | Route::Acknowledgement(_) | Route::Maintenance)) => {
            limits::API_BODY
        }
        _ => 0,
    }
}

/// Answers a request, and says which route it was for the log.
pub async fn handle(
    request: Request,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, impl Ports>,
) -> (&'static str, Answer) {
    let Some(route) = Route::of(&request.path) else {
        let problem = Problem::not_found("there is no such resource");
        return ("unknown", Answer::problem(problem, &request.request_id));
    };
    let answer = answer(&route, &request, config, world).await;
    (route.pattern(), answer.unwrap_or_else(|problem| Answer::problem(problem, &request.request_id)))
}

async fn answer(
    route: &Route<'_>,
    request: &Request,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, impl Ports>,
) -> Result<Answer, Problem> {
    if !route.methods().contains(&request.method) {
        return Err(Problem::method_not_allowed(route.methods()));
    }
    let db = &world.db;
    if let Route::Passed(_) = route {
        return Ok(world.status.pass(request, &["authorization"]).await?);
    }
    if *route == Route::Health {
        let mut health = health::look("health", config.map(|_| ()), db).await;
        if let Ok(config) = config {
            let configured: Vec<_> = config.channels.configured().into_iter().map(Channel::as_str).collect();
            let configured = if configured.is_empty() {
                "no channel is configured".to_owned()
            } else {
                configured.join(", ")
            };
            health.tell("notices", configured);
        }
        return Ok(health.into_answer(env!("CARGO_PKG_VERSION")));
    }
    let config =
        config.map_err(|faults| Problem::unavailable(format!("configuration: {}", faults.0.join("; "))))?;
    let operator =
        operator::identify(request, &config.operators, world.keys, &world.documents, &world.signatures)
            .await?;
    audit::admin_access(db, &world.random, &operator, route.pattern(), route.target(), request).await?;
    match (route, request.method) {
        (Route::Health | Route::Passed(_), _) => Err(Problem::internal("it was answered above")),
        (Route::Backups, Method::Post) => backups::create(db, &operator, request).await,
        (Route::Backups, _) => backups::list(db, request).await,
        (Route::Watch, _) => backups::watched(db, request).await,
        (Route::Backup(id), _) => backups::one(db, &world.vault, id, request).await,
        (Route::Notices, _) => notices::list(db, request).await,
        (Route::NoticeRetry(id), _) => notices::retry(db, id, request).await,
        (Route::NoticeTest, _) => {
            notices::test(db, &world.random, &config.channels, &operator, request).await
        }
        (Route::Checks, _) => checks::list(db, request).await,
        (Route::Incidents, _) => incidents::list(db, request).await,
        (Route::Incident(id), _) => incidents::one(db, id, request).await,
        (Route::Acknowledgement(id), _) => {
            incidents::acknowledge(db, &world.random, &operator, id, request).await
        }
        (Route::Maintenance, Method::Post) => {
            maintenance::declare(db, &world.random, &config.checks, &operator, request).await
        }
        (Route::Maintenance, _) => maintenance::list(db, request).await,
        (Route::Window(id), _) => maintenance::end(db, &operator, id, request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes() {
        for (path, route) in [
            ("/health", Some(Route::Health)),
            ("/admin/backups", Some(Route::Backups)),
            ("/admin/backups/watch", Some(Route::Watch)),
            ("/admin/backups/2026-11-21", Some(Route::Backup("2026-11-21"))),
            ("/admin/backups/", None),
            ("/admin/checks", Some(Route::Checks)),
            ("/admin/incidents", Some(Route::Incidents)),
            ("/admin/incidents/inc-1", Some(Route::Incident("inc-1"))),
            ("/admin/incidents/inc-1/ack", Some(Route::Acknowledgement("inc-1"))),
            ("/admin/incidents//ack", None),
            ("/admin/maintenance", Some(Route::Maintenance)),
            ("/admin/maintenance/mnt-1", Some(Route::Window("mnt-1"))),
            ("/admin/maintenance/", None),
            ("/admin/backups/2026-11-21/", None),
            ("/admin/notices", Some(Route::Notices)),
            ("/admin/notices/test", Some(Route::NoticeTest)),
            ("/admin/notices/ntc-1/retry", Some(Route::NoticeRetry("ntc-1"))),
            ("/admin/notices/ntc-1", None),
            ("/admin/notices//retry", None),
            ("/admin", None),
            ("/", Some(Route::Passed("/"))),
            ("/metrics", Some(Route::Passed("/metrics"))),
            ("/page/health", None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
