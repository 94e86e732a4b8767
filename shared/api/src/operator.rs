//! Who is asking: an operator's token, checked against the issuer's keys.

use std::cell::RefCell;

use rs1_auth::operator::{KeyCache, KeySet, Lookup, Operator, Token};
use rs1_domain::config::Settings;
use rs1_domain::port::{DocumentSource, PortError, SignatureVerifier};
use rs1_domain::{Problem, Request};

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
    let token = Token::parse(text).map_err(|fault| refused(fault.as_str()))?;
    let key = find_key(&token.key_id, request, issuer, keys, documents).await?;
    let genuine = signatures.verify_rs256(&key, token.signed, &token.signature).await;
    // A key that the runtime cannot import is the issuer's fault and may be mended there.
    if !genuine? {
        return Err(refused("signature"));
    }
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

async fn find_key(
    key_id: &str,
    request: &Request,
    issuer: &Issuer,
    keys: &RefCell<KeyCache>,
    documents: &impl DocumentSource,
) -> Result<String, Problem> {
    let unavailable = |cause: &str| Problem::unavailable(format!("operators' keys: {cause}"));
    // The cache is never borrowed across an await: other requests share this isolate.
    let mut lookup = keys.borrow().look_up(key_id, request.now);
    if lookup == Lookup::Fetch {
        keys.borrow_mut().begin(request.now);
        let fetched = documents.fetch(&issuer.jwks_url).await.and_then(|text| {
            KeySet::parse(&text).ok_or_else(|| PortError::new("parse JWKS", "it is no key set"))
        });
        match fetched {
            Ok(set) => keys.borrow_mut().store(set, request.now),
            Err(error) => {
                keys.borrow_mut().failed(request.now);
                if keys.borrow().look_up(key_id, request.now) == Lookup::Unavailable {
                    return Err(unavailable(&error.to_string()));
                }
            }
        }
        lookup = keys.borrow().look_up(key_id, request.now);
    }
    match lookup {
        Lookup::Found(key) => Ok(key),
        Lookup::Unknown | Lookup::Fetch => Err(refused("unknown key")),
        Lookup::Unavailable => Err(unavailable("the last attempt failed a moment ago")),
    }
}
