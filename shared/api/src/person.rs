//! Who is asking: a user's access token, which we issued ourselves.

use rs1_auth::access_token::{AccessTokens, Person};
use rs1_domain::{Problem, Request};

/// The person whose access token a request carries in `Authorization: Bearer`. No store is asked.
///
/// # Errors
/// 401 for a token that is missing or not good.
pub fn identify(request: &Request, tokens: &AccessTokens) -> Result<Person, Problem> {
    let token = bearer(request).ok_or_else(|| refused("no token"))?;
    tokens.verify(token, request.now).map_err(|fault| refused(fault.as_str()))
}

fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refused(why: &str) -> Problem {
    let mut problem = Problem::unauthenticated("an access token is needed, and this is none that is good");
    problem.headers.push(("www-authenticate", "Bearer".to_owned()));
    problem.with_log(format!("access token: {why}"))
}
