//! Which handler answers which request.
//!
//! Only `/page/*` leads here from outside, and nothing is there but health. Whatever else is here comes by way of `health`.

use rs1_domain::config::BadConfig;
use rs1_domain::http::{ATOM, HTML, JSON, METRICS};
use rs1_domain::{Answer, Method, Problem, Request};
use rs1_store::health;

use crate::config::Config;
use crate::report::{Report, report};
use crate::world::{Ports, World};
use crate::{feed, html, metrics, picture};

/// The request headers that this worker reads.
pub const HEADERS: &[&str] = &["authorization"];

/// For how long browsers and whatever is between may keep an answer: as long as this worker itself does.
const CACHED: &str = "public, max-age=30";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// How this worker is.
    Health,
    /// The page.
    Page,
    /// The same as JSON.
    Json,
    /// Incidents, as Atom.
    Feed,
    /// Metrics, for operators.
    Metrics,
}

impl Route {
    /// Each.
    pub const ALL: [Self; 5] = [Self::Health, Self::Page, Self::Json, Self::Feed, Self::Metrics];

    /// The route of a path.
    pub fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.path() == path)
    }

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Health => "/page/health",
            Self::Page => "/",
            Self::Json => "/status.json",
            Self::Feed => "/feed.atom",
            Self::Metrics => "/metrics",
        }
    }
}

/// No route takes a body.
pub fn body_limit(_: Method, _: &str) -> usize {
    0
}

/// Answers a request, and says which route it was for the log.
pub async fn handle(
    request: Request,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, impl Ports>,
) -> (&'static str, Answer) {
    let route = Route::of(&request.path);
    let answer = match route {
        Some(route) => answer(route, &request, config, world).await,
        None => Err(Problem::not_found("there is no such resource")),
    };
    let answer = answer.unwrap_or_else(|problem| Answer::problem(problem, &request.request_id));
    (route.map_or("unknown", Route::path), answer)
}

async fn answer(
    route: Route,
    request: &Request,
    config: Result<&Config, &BadConfig>,
    world: &World<'_, impl Ports>,
) -> Result<Answer, Problem> {
    const METHODS: [Method; 2] = [Method::Get, Method::Head];
    if !METHODS.contains(&request.method) {
        return Err(Problem::method_not_allowed(&METHODS));
    }
    if route == Route::Health {
        let config = config.map(|_| ());
        return Ok(health::check("status", env!("CARGO_PKG_VERSION"), config, &world.db).await);
    }
    let config =
        config.map_err(|faults| Problem::unavailable(format!("configuration: {}", faults.0.join("; "))))?;
    let shown = async |content_type, render: &dyn Fn(&Report) -> String| {
        let (picture, note) = picture::look(&world.db, world.shelf, request.now).await?;
        let report = report(&picture, &config.hidden, request.now);
        let answer = Answer::text(200, content_type, render(&report)).with_header("cache-control", CACHED);
        Ok(Answer { log: note, ..answer })
    };
    match route {
        Route::Health => Err(Problem::internal("health was answered above")),
        Route::Page => {
            Ok(shown(HTML, &html::page).await?.with_header("content-security-policy", html::POLICY))
        }
        Route::Json => shown(JSON, &|report| rs1_domain::json::write(report).unwrap_or_default()).await,
        Route::Feed => shown(ATOM, &|report| feed::feed(report, &config.origin)).await,
        Route::Metrics => {
            let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
            let known = config
                .metrics
                .as_ref()
                .zip(token)
                .is_some_and(|(ring, token)| ring.recognize(token).is_some());
            if !known {
                let mut problem = Problem::unauthenticated(
                    "the token of the metrics is needed, and this is none that is good",
                );
                problem.headers.push(("www-authenticate", "Bearer".to_owned()));
                return Err(problem);
            }
            let measured = metrics::measure(&world.db).await?;
            Ok(Answer::text(200, METRICS, metrics::render(&measured, request.now)))
        }
    }
}
