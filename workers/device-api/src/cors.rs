//! Which pages may read our answers from a browser: the app's, and no other. We use no cookies, so this is
//! about pages that already hold a token.

use rs1_domain::{Answer, Method, Request};

use crate::config::Config;

/// Request headers that a page may send.
const HEADERS: &str = "authorization, content-type, idempotency-key, if-match, x-request-id";
/// Answer headers that a page may read, beyond those that it always may.
const EXPOSED: &str = "etag, link, location, retry-after, x-request-id";
/// How long a browser may remember a preflight's answer, in seconds; browsers take no more than this.
const MAX_AGE: &str = "7200";

/// The `Origin` of a request, if it is one of the app's.
fn origin<'a>(request: &'a Request, config: &Config) -> Option<&'a str> {
    request.header("origin").filter(|origin| config.app_origins.iter().any(|known| known == origin))
}

/// Lets the app read an answer. Whoever else asks gets the same answer, and their browser keeps it from the page.
pub fn allow(answer: Answer, request: &Request, config: &Config) -> Answer {
    let Some(origin) = origin(request, config) else { return answer };
    answer
        .with_header("access-control-allow-origin", origin)
        .with_header("access-control-expose-headers", EXPOSED)
        .with_header("vary", "origin")
}

/// Answers a browser that asks what it may send ([`allow`] says to whom that is told).
pub fn preflight(methods: &[Method], request: &Request, config: &Config) -> Answer {
    let allowed = methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
    let answer = Answer::empty(204).with_header("allow", allowed.clone());
    if origin(request, config).is_none() {
        return answer;
    }
    answer
        .with_header("access-control-allow-methods", allowed)
        .with_header("access-control-allow-headers", HEADERS)
        .with_header("access-control-max-age", MAX_AGE)
}
