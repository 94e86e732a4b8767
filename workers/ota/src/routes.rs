//! Which handler answers which request on ota.optic.works.

use rs1_domain::port::Database;
use rs1_domain::{Answer, Method, Problem, Request};
use rs1_store::health;

/// The request headers that this worker reads.
pub const HEADERS: &[&str] = &[];

/// No route takes a body.
pub fn body_limit(_: Method, _: &str) -> usize {
    0
}

/// Answers a request, and says which route it was for the log.
pub async fn handle(request: Request, db: &impl Database) -> (&'static str, Answer) {
    let problem = match (request.path.as_str(), request.method) {
        ("/health", Method::Get | Method::Head) => {
            return ("/health", health::check("ota", env!("CARGO_PKG_VERSION"), Ok(()), db).await);
        }
        ("/health", _) => Problem::method_not_allowed(&[Method::Get, Method::Head]),
        _ => Problem::not_found("there is no such resource"),
    };
    let route = if request.path == "/health" { "/health" } else { "unknown" };
    (route, Answer::problem(problem, &request.request_id))
}
