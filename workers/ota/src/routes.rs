//! Which handler answers which request on ota.optic.works.

use rs1_domain::config::BadConfig;
use rs1_domain::port::Database;
use rs1_domain::{Answer, Method, Problem, Request};
use rs1_store::health;

use crate::config::Config;

/// The request headers that this worker reads.
pub const HEADERS: &[&str] = &[];

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
    let problem = match (request.path.as_str(), request.method) {
        ("/health", Method::Get | Method::Head) => {
            return (
                "/health",
                health::check("ota", env!("CARGO_PKG_VERSION"), config.map(|_| ()), db).await,
            );
        }
        ("/health", _) => Problem::method_not_allowed(&[Method::Get, Method::Head]),
        _ => Problem::not_found("there is no such resource"),
    };
    let route = if request.path == "/health" { "/health" } else { "unknown" };
    (route, Answer::problem(problem, &request.request_id))
}

#[cfg(test)]
mod tests {
    use pollster::block_on;
    use rs1_domain::{RequestId, UnixMillis};
    use rs1_store::native::{Failure, NativeDatabase};

    use super::*;

    #[test]
    fn health_says_what_is_wrong_and_nothing_else_is_here() {
        let db = NativeDatabase::new();
        let config = Config::read(&|name| {
            let value = match name {
                "ENVIRONMENT" => "staging",
                "EMQX_API_URL" => "https://emqx.example/api/v5",
                "EMQX_API_KEY" => "key:secret",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let bad = Config::read(&|_| None);
        let ask = |method, path: &str, config: &Result<Config, BadConfig>| {
            let request = Request {
                method,
                path: path.into(),
                query: String::new(),
                headers: Vec::new(),
                body: Vec::new(),
                now: UnixMillis(0),
                request_id: RequestId::from_header("r").unwrap(),
            };
            block_on(handle(request, config.as_ref(), &db)).1
        };
        assert_eq!(ask(Method::Get, "/health", &config).status, 200);
        assert_eq!(ask(Method::Post, "/health", &config).status, 405);
        assert_eq!(ask(Method::Get, "/", &config).status, 404);
        assert!(ask(Method::Get, "/health", &bad).body.contains("ENVIRONMENT is missing"));
        db.fail(Some(Failure::BeforeCommit));
        assert_eq!(ask(Method::Get, "/health", &config).status, 503);
    }
}
