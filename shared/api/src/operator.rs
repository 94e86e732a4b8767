//! Who is asking: an operator's token, checked against the issuer's keys.

use std::cell::RefCell;

use rs1_auth::jwt::KeyCache;
use rs1_auth::operator::{ALGORITHMS, Operator, Token};
use rs1_domain::config::Settings;
use rs1_domain::port::{DocumentSource, SignatureVerifier};
use rs1_domain::{Problem, Request};

use crate::keys::{self, Unverified};

/// Whose tokens operators have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The `iss` of their tokens.
    pub name: String,
    /// The `aud` of their tokens: for whom they are issued.
    pub audience: String,
    /// Where the issuer's keys are.
    pub jwks_url: String,
}

impl Issuer {
    /// Reads `OPERATOR_ISSUER`, `OPERATOR_AUDIENCE` and `OPERATOR_JWKS_URL`; what is wrong with them is noted in
    /// `settings`.
    pub fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let name = settings.url("OPERATOR_ISSUER");
        let audience = settings.text("OPERATOR_AUDIENCE");
        let jwks_url = settings.url("OPERATOR_JWKS_URL");
        Some(Self { name: name?, audience: audience?, jwks_url: jwks_url? })
    }
}

/// The operator whose token a request carries: in `Cf-Access-Jwt-Assertion`, as Cloudflare Access
/// sends it, or in `Authorization: Bearer`.
///
/// # Errors
/// 401 for a token that is missing or not good, 503 when the issuer's keys cannot be had.
pub async fn identify(
    request: &Request,
    issuer: &Issuer,
    keys: &RefCell<KeyCache>,
    documents: &impl DocumentSource,
    signatures: &impl SignatureVerifier,
) -> Result<Operator, Problem> {
    let text = token(request).ok_or_else(|| refused("no token"))?;
    let token = Token::parse(text, ALGORITHMS).map_err(|fault| refused(fault.as_str()))?;
    keys::verify(&token, &issuer.jwks_url, keys, documents, signatures, request.now).await.map_err(
        |unverified| match unverified {
            Unverified::Refused(why) => refused(why),
            Unverified::Unavailable(cause) => Problem::unavailable(format!("operators' keys: {cause}")),
        },
    )?;
    token.judge(&issuer.name, &issuer.audience, request.now).map_err(|fault| refused(fault.as_str()))
}

fn token(request: &Request) -> Option<&str> {
    request.header("cf-access-jwt-assertion").or_else(|| {
        let (scheme, token) = request.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

fn refused(why: &str) -> Problem {
    let mut problem =
        Problem::unauthenticated("an operator's token is needed, and this is none that is good");
    problem.headers.push(("www-authenticate", "Bearer".to_owned()));
    problem.with_log(format!("token: {why}"))
}
