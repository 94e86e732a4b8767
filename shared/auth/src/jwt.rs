//! JSON Web Tokens of other people's: reading them, and knowing when to fetch the keys that verify them.
//!
//! Nothing is verified here but form; the signature is checked by whoever holds a
//! [`SignatureVerifier`](rs1_domain::port::SignatureVerifier), between [`Token::parse`] and a judgement of the claims
//! ([`operator`](crate::operator), [`oidc`](crate::oidc)). [`KeyCache`] says when keys are to be fetched: at most once an
//! hour while all is well, and soon, but not at an attacker's pace, when a token names a key we do not know.
//!
//! Format: RFC 7515 (JWS compact), RFC 7517 (JWK), RFC 7518 (algorithms), RFC 7519 (claims).

use std::cell::RefCell;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rs1_domain::UnixMillis;
use rs1_domain::json;
use rs1_domain::time::{HOUR, SECOND};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Largest token that is looked at. Those of Access and of identity providers are about 1 KB.
const MAX_TOKEN: usize = 8 * 1024;
/// How far the issuer's clock and ours may differ, in seconds.
const LEEWAY: i64 = 60;
/// How long fetched keys are used without asking again. Access rotates every six weeks and honours
/// the old key for seven days.
const FRESH: i64 = HOUR;
/// How long old keys are still used when they cannot be fetched anew.
const STALE: i64 = 24 * HOUR;
/// The least time between two fetches, whatever tokens say.
const FETCH_FLOOR: i64 = 30 * SECOND;

/// How a token is signed. There is no `none`, and nothing symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

/// A token that was read but not yet believed. `C` is what its claims are read as.
pub struct Token<'a, C> {
    /// How it is said to be signed.
    pub algorithm: Algorithm,
    /// The key that is said to have signed it.
    pub key_id: String,
    /// What the signature covers.
    pub signed: &'a [u8],
    /// The signature's bytes.
    pub signature: Vec<u8>,
    pub(crate) claims: C,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

/// The claim `aud`: one text, or several.
#[derive(Deserialize)]
#[serde(from = "Value")]
pub(crate) struct Audience(Vec<String>);

impl Audience {
    /// All of them.
    pub(crate) fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl From<Value> for Audience {
    /// What is no text is nobody's name, and so matches none of ours.
    fn from(claim: Value) -> Self {
        let text = |value: Value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        match claim {
            Value::Array(several) => Self(several.into_iter().filter_map(text).collect()),
            one => Self(text(one).into_iter().collect()),
        }
    }
}

/// Why a token is not good. For the log; a caller hears only that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadToken {
    /// Not a compact JWS with the claims we need.
    Form,
    /// An algorithm that is not taken (`none` and HS256 included).
    Algorithm,
    /// Issued by somebody else.
    Issuer,
    /// Issued for somebody else.
    Audience,
    /// No longer good.
    Expired,
    /// Not yet good.
    NotYet,
    /// Says nobody's name.
    Nameless,
    /// Answers another question than the one that was asked.
    Nonce,
}

impl BadToken {
    /// The fault's word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Algorithm => "algorithm",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Nameless => "nameless",
            Self::Nonce => "nonce",
        }
    }
}

impl<'a, C: for<'de> Deserialize<'de>> Token<'a, C> {
    /// Reads a compact JWS.
    ///
    /// # Errors
    /// When it has another form, or an algorithm that is not one of `allowed`.
    pub fn parse(text: &'a str, allowed: &[Algorithm]) -> Result<Self, BadToken> {
        if text.len() > MAX_TOKEN {
            return Err(BadToken::Form);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(BadToken::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(BadToken::Form)?;
        let header: Header = decode_json(header)?;
        let algorithm = Algorithm::parse(&header.alg).filter(|algorithm| allowed.contains(algorithm));
        let algorithm = algorithm.ok_or(BadToken::Algorithm)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadToken::Form)?;
        let claims = decode_json(payload)?;
        Ok(Self { algorithm, key_id: header.kid, signed: signed.as_bytes(), signature, claims })
    }
}

fn decode_json<T: DeserializeOwned>(part: &str) -> Result<T, BadToken> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| BadToken::Form)?;
    json::read(str::from_utf8(&bytes).map_err(|_| BadToken::Form)?).map_err(|_| BadToken::Form)
}

/// Judges when a token is good: `exp` and `nbf`, in Unix seconds.
pub(crate) fn judge_time(exp: i64, nbf: Option<i64>, now: UnixMillis) -> Result<(), BadToken> {
    let now = now.seconds();
    if exp.saturating_add(LEEWAY) <= now {
        return Err(BadToken::Expired);
    }
    if nbf.is_some_and(|nbf| nbf.saturating_sub(LEEWAY) > now) {
        return Err(BadToken::NotYet);
    }
    Ok(())
}

/// Public keys by their id, each with its algorithm and as its JWK's JSON text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<(String, Algorithm, String)>);

impl KeySet {
    /// Reads a JWKS; keys of other types, for other uses, and keys without an id, are left out.
    /// `None` if it is no JWKS at all.
    pub fn parse(text: &str) -> Option<Self> {
        let document = json::parse(text).ok()?;
        let keys = document.get("keys")?.as_array()?;
        let usable = keys.iter().filter_map(|key| {
            let field = |name| key.get(name).and_then(Value::as_str);
            let algorithm = match (field("kty")?, field("crv")) {
                ("RSA", _) => Algorithm::Rs256,
                ("EC", Some("P-256")) => Algorithm::Es256,
                _ => return None,
            };
            let fits = field("alg").is_none_or(|named| Algorithm::parse(named) == Some(algorithm))
                && field("use").is_none_or(|used_for| used_for == "sig");
            fits.then_some((field("kid")?.to_owned(), algorithm, key.to_string()))
        });
        Some(Self(usable.collect()))
    }

    /// A key is for its own algorithm only, whatever a token says.
    fn find(&self, key_id: &str, algorithm: Algorithm) -> Option<&str> {
        let found = self.0.iter().find(|(id, of, _)| id == key_id && *of == algorithm);
        found.map(|(_, _, key)| key.as_str())
    }
}

/// The keys fetched last, and when it is time to fetch again.
#[derive(Clone, Debug, Default)]
pub struct KeyCache {
    keys: Option<(KeySet, UnixMillis)>,
    tried_at: Option<UnixMillis>,
}

/// What a cache says of a key id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The key, as JWK JSON text.
    Found(String),
    /// Fetch the keys, [`KeyCache::store`] or [`KeyCache::failed`], and look again.
    Fetch,
    /// There is no such key, and it is too early to ask again.
    Unknown,
    /// There are no keys at all, and the last attempt to get them failed a moment ago.
    Unavailable,
}

impl KeyCache {
    /// An empty cache; usable as the initial value of a static.
    pub const fn new() -> Self {
        Self { keys: None, tried_at: None }
    }

    /// Looks a key up at `now`.
    pub fn look_up(&self, key_id: &str, algorithm: Algorithm, now: UnixMillis) -> Lookup {
        let may_fetch = self.tried_at.is_none_or(|tried_at| now.since(tried_at) >= FETCH_FLOOR);
        let Some((keys, fetched_at)) = &self.keys else {
            return if may_fetch { Lookup::Fetch } else { Lookup::Unavailable };
        };
        let age = now.since(*fetched_at);
        match keys.find(key_id, algorithm) {
            _ if age >= FRESH && may_fetch => Lookup::Fetch,
            _ if age >= STALE => Lookup::Unavailable,
            Some(key) => Lookup::Found(key.to_owned()),
            None if may_fetch => Lookup::Fetch,
            None => Lookup::Unknown,
        }
    }

    /// Notes that the keys are being fetched. Requests that come meanwhile make do with the keys there
    /// are, so that any number of strangers at once cause one fetch. As long as there are no keys at
    /// all, each request fetches for itself: it cannot wait for another's promise.
    pub fn begin(&mut self, now: UnixMillis) {
        if self.keys.is_some() {
            self.tried_at = Some(now);
        }
    }

    /// Keeps freshly fetched keys.
    pub fn store(&mut self, keys: KeySet, now: UnixMillis) {
        self.keys = Some((keys, now));
        self.tried_at = Some(now);
    }

    /// Notes that fetching failed; old keys stay in use for a day.
    pub fn failed(&mut self, now: UnixMillis) {
        self.tried_at = Some(now);
    }
}

/// The caches of several issuers, by where their keys are.
#[derive(Debug, Default)]
pub struct KeyCaches(RefCell<Vec<(String, Rc<RefCell<KeyCache>>)>>);

impl KeyCaches {
    /// The cache of the keys that are there.
    pub fn of(&self, jwks_url: &str) -> Rc<RefCell<KeyCache>> {
        let mut caches = self.0.borrow_mut();
        if let Some((_, cache)) = caches.iter().find(|(url, _)| url == jwks_url) {
            return Rc::clone(cache);
        }
        let cache = Rc::default();
        caches.push((jwks_url.to_owned(), Rc::clone(&cache)));
        cache
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

    fn token(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    fn fault(text: &str, allowed: &[Algorithm]) -> Option<BadToken> {
        Token::<Value>::parse(text, allowed).err()
    }

    #[test]
    fn only_the_allowed_algorithms_are_taken() {
        for alg in ["none", "HS256", "PS256", "rs256", ""] {
            let text = token(&json!({"alg": alg, "kid": "k1"}), &json!({}));
            assert_eq!(
                fault(&text, &[Algorithm::Rs256, Algorithm::Es256]),
                Some(BadToken::Algorithm),
                "{alg}"
            );
        }
        let text = token(&json!({"alg": "ES256", "kid": "k1"}), &json!({}));
        assert_eq!(fault(&text, &[Algorithm::Rs256]), Some(BadToken::Algorithm));
        assert_eq!(fault(&text, &[Algorithm::Es256]), None);
    }

    #[test]
    fn malformed_tokens_are_refused() {
        let good = token(&json!({"alg": "RS256", "kid": "k1"}), &json!({}));
        for text in [
            "",
            ".",
            "..",
            "a.b.c",
            "a.b",
            &good.replace('.', ""),
            &format!("{good}!"),
            &"x".repeat(9000),
            "W10.W10.c2ln",
        ] {
            assert_eq!(fault(text, &[Algorithm::Rs256]), Some(BadToken::Form), "{text}");
        }
    }

    fn keys(ids: &[&str]) -> KeySet {
        let keys: Vec<_> =
            ids.iter().map(|id| json!({"kty": "RSA", "kid": id, "n": "…", "e": "AQAB"})).collect();
        KeySet::parse(&json!({"keys": keys}).to_string()).unwrap()
    }

    #[test]
    fn other_key_types_are_left_out() {
        let text = json!({"keys": [
            {"kty": "EC", "kid": "ec", "crv": "P-384"}, {"kty": "oct", "kid": "oct"}, {"kty": "RSA", "kid": "ps", "alg": "PS256"}, {"kty": "RSA", "kid": "enc", "use": "enc"}, {"kty": "RSA"}, {"kty": "RSA", "kid": "good", "use": "sig"},
        ]});
        let set = KeySet::parse(&text.to_string()).unwrap();
        assert_eq!(set.0.len(), 1);
        assert!(set.find("good", Algorithm::Rs256).is_some());
        assert_eq!(KeySet::parse("{}"), None);
        assert_eq!(KeySet::parse("not json"), None);
    }

    #[test]
    fn a_key_serves_its_own_algorithm_only() {
        let text = json!({"keys": [{"kty": "EC", "kid": "k", "crv": "P-256"}, {"kty": "RSA", "kid": "r"}]});
        let set = KeySet::parse(&text.to_string()).unwrap();
        assert!(set.find("k", Algorithm::Es256).is_some());
        assert!(set.find("k", Algorithm::Rs256).is_none());
        assert!(set.find("r", Algorithm::Es256).is_none());
    }

    #[test]
    fn each_issuer_has_a_cache_of_its_own() {
        let caches = KeyCaches::default();
        caches.of("https://a").borrow_mut().store(keys(&["k1"]), NOW);
        assert!(matches!(
            caches.of("https://a").borrow().look_up("k1", Algorithm::Rs256, NOW),
            Lookup::Found(_)
        ));
        assert_eq!(caches.of("https://b").borrow().look_up("k1", Algorithm::Rs256, NOW), Lookup::Fetch);
    }

    #[test]
    fn keys_are_fetched_once_an_hour_and_for_an_unknown_key_at_a_bounded_pace() {
        let mut cache = KeyCache::new();
        assert_eq!(cache.look_up("k1", Algorithm::Rs256, NOW), Lookup::Fetch);
        cache.store(keys(&["k1"]), NOW);
        assert!(matches!(cache.look_up("k1", Algorithm::Rs256, NOW.plus(FRESH - 1)), Lookup::Found(_)));
        assert_eq!(cache.look_up("k1", Algorithm::Rs256, NOW.plus(FRESH)), Lookup::Fetch);
        assert_eq!(cache.look_up("k2", Algorithm::Rs256, NOW.plus(FETCH_FLOOR - 1)), Lookup::Unknown);
        assert_eq!(cache.look_up("k2", Algorithm::Rs256, NOW.plus(FETCH_FLOOR)), Lookup::Fetch);
        cache.store(keys(&["k1", "k2"]), NOW.plus(FETCH_FLOOR));
        assert!(matches!(cache.look_up("k2", Algorithm::Rs256, NOW.plus(FETCH_FLOOR)), Lookup::Found(_)));
    }

    #[test]
    fn while_keys_are_being_fetched_others_make_do_with_those_there_are() {
        let mut cache = KeyCache::new();
        cache.begin(NOW);
        assert_eq!(cache.look_up("k1", Algorithm::Rs256, NOW), Lookup::Fetch, "there are none");
        cache.store(keys(&["k1"]), NOW);
        let later = NOW.plus(FRESH);
        assert_eq!(cache.look_up("k1", Algorithm::Rs256, later), Lookup::Fetch);
        cache.begin(later);
        assert!(matches!(cache.look_up("k1", Algorithm::Rs256, later), Lookup::Found(_)));
        assert_eq!(cache.look_up("k2", Algorithm::Rs256, later), Lookup::Unknown);
    }

    #[test]
    fn old_keys_serve_for_a_day_when_new_ones_cannot_be_had() {
        let mut cache = KeyCache::new();
        cache.failed(NOW);
        assert_eq!(cache.look_up("k1", Algorithm::Rs256, NOW.plus(1)), Lookup::Unavailable);
        assert_eq!(cache.look_up("k1", Algorithm::Rs256, NOW.plus(FETCH_FLOOR)), Lookup::Fetch);
        cache.store(keys(&["k1"]), NOW);
        let later = NOW.plus(2 * HOUR);
        cache.failed(later);
        assert!(matches!(cache.look_up("k1", Algorithm::Rs256, later.plus(1)), Lookup::Found(_)));
        let much_later = NOW.plus(STALE);
        cache.failed(much_later);
        assert_eq!(cache.look_up("k1", Algorithm::Rs256, much_later.plus(1)), Lookup::Unavailable);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,200}") {
            let _ = (Token::<Value>::parse(&text, &[Algorithm::Rs256]).err(), KeySet::parse(&text));
        }
    }
}
