//! Whether a token was signed by whom it names: the issuer's keys are fetched when they are needed, and remembered.

use std::cell::RefCell;

use rs1_auth::jwt::{Algorithm, KeyCache, KeySet, Lookup, Token};
use rs1_domain::UnixMillis;
use rs1_domain::port::{DocumentSource, PortError, SignatureVerifier};

/// Why a token's signature is not known to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// It is not: in a word, for the log.
    Refused(&'static str),
    /// The issuer's keys cannot be had, or not be used: nothing that the caller could mend.
    Unavailable(String),
}

/// Checks a token's signature with the keys at `jwks_url`.
///
/// # Errors
/// When it is not good, or there is no telling.
pub async fn verify<C>(
    token: &Token<'_, C>,
    jwks_url: &str,
    cache: &RefCell<KeyCache>,
    documents: &impl DocumentSource,
    signatures: &impl SignatureVerifier,
    now: UnixMillis,
) -> Result<(), Unverified> {
    let key = find(&token.key_id, token.algorithm, jwks_url, cache, documents, now).await?;
    let genuine = match token.algorithm {
        Algorithm::Rs256 => signatures.verify_rs256(&key, token.signed, &token.signature).await,
        Algorithm::Es256 => signatures.verify_es256(&key, token.signed, &token.signature).await,
    };
    // A key that the runtime cannot import is the issuer's fault and may be mended there.
    match genuine {
        Ok(true) => Ok(()),
        Ok(false) => Err(Unverified::Refused("signature")),
        Err(error) => Err(Unverified::Unavailable(error.to_string())),
    }
}

async fn find(
    key_id: &str,
    algorithm: Algorithm,
    jwks_url: &str,
    cache: &RefCell<KeyCache>,
    documents: &impl DocumentSource,
    now: UnixMillis,
) -> Result<String, Unverified> {
    let unavailable = |cause: String| Unverified::Unavailable(format!("{jwks_url}: {cause}"));
    // The cache is never borrowed across an await: other requests share this isolate.
    let mut lookup = cache.borrow().look_up(key_id, algorithm, now);
    if lookup == Lookup::Fetch {
        cache.borrow_mut().begin(now);
        let fetched = documents.fetch(jwks_url).await.and_then(|text| {
            KeySet::parse(&text).ok_or_else(|| PortError::new("parse JWKS", "it is no key set"))
        });
        match fetched {
            Ok(set) => cache.borrow_mut().store(set, now),
            Err(error) => {
                cache.borrow_mut().failed(now);
                if cache.borrow().look_up(key_id, algorithm, now) == Lookup::Unavailable {
                    return Err(unavailable(error.to_string()));
                }
            }
        }
        lookup = cache.borrow().look_up(key_id, algorithm, now);
    }
    match lookup {
        Lookup::Found(key) => Ok(key),
        Lookup::Unknown | Lookup::Fetch => Err(Unverified::Refused("unknown key")),
        Lookup::Unavailable => Err(unavailable("the last attempt failed a moment ago".to_owned())),
    }
}
