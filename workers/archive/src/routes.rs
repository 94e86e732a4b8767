//! What answers requests: nobody but the platform has a use for this worker, so it is only asked how it is.

use rs1_domain::config::BadConfig;
use rs1_domain::port::Database;
use rs1_domain::{Answer, Method, Problem, Request};
use rs1_store::health;

use crate::config::Config;

/// The request headers that this worker reads.
pub const HEADERS: &[&str] = &[];

/// Where this worker says how it is.
pub const HEALTH: &str = "/api/archive/health";

/// No route takes a body.
pub fn body_limit(_: Method, _: &str) -> usize {
    0
}

/// Answers a request, and says which route it was for the log.
pub async fn handle(
    request: Request,
    config: Result<&Config, &BadConfig>,
    db: &impl Database,
) -> (&'static str, Answer) {
    const METHODS: [Method; 2] = [Method::Get, Method::Head];
    let refuse = |problem| Answer::problem(problem, &request.request_id);
    if request.path != HEALTH {
        return ("unknown", refuse(Problem::not_found("there is no such resource")));
    }
    if !METHODS.contains(&request.method) {
        return (HEALTH, refuse(Problem::method_not_allowed(&METHODS)));
    }
    (HEALTH, health::check("archive", env!("CARGO_PKG_VERSION"), config.map(|_| ()), db).await)
}
