//! Operators' tokens: JWTs as Cloudflare Access issues them, RS256 against a JWKS.
//!
//! Nothing is verified here but form and claims; the signature is checked by whoever holds a
//! [`SignatureVerifier`](rs1_domain::port::SignatureVerifier), between [`Token::parse`] and
//! [`Token::judge`]. [`KeyCache`] says when keys are to be fetched: at most once an hour while all
//! is well, and soon, but not at an attacker's pace, when a token names a key we do not know.
//!
//! Format: RFC 7515 (JWS compact), RFC 7517 (JWK), RFC 7519 (claims).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rs1_domain::UnixMillis;
use rs1_domain::time::{HOUR, SECOND};
use serde::Deserialize;
use serde_json::Value;

/// Largest token that is looked at. Access tokens are about 1 KB.
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

/// Who administers: an e-mail address, or a service token's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name that the audit log carries.
    pub name: String,
}

/// A token that was read but not yet believed.
pub struct Token<'a> {
    /// The key that is said to have signed it.
    pub key_id: String,
    /// What the signature covers.
    pub signed: &'a [u8],
    /// The signature's bytes.
    pub signature: Vec<u8>,
    claims: Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    common_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Why a token is not good. For the log; a caller hears only that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadToken {
    /// Not a compact JWS with the claims we need.
    Form,
    /// Another algorithm than RS256 (`none` and HS256 included).
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
        }
    }
}

impl<'a> Token<'a> {
    /// Reads a compact JWS.
    ///
    /// # Errors
    /// When it has another form, or another algorithm.
    pub fn parse(text: &'a str) -> Result<Self, BadToken> {
        if text.len() > MAX_TOKEN {
            return Err(BadToken::Form);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(BadToken::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(BadToken::Form)?;
        let header: Header = decode_json(header)?;
        if header.alg != "RS256" {
            return Err(BadToken::Algorithm);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadToken::Form)?;
        Ok(Self { key_id: header.kid, signed: signed.as_bytes(), signature, claims: decode_json(payload)? })
    }

    /// Judges the claims of a token whose signature was found good.
    ///
    /// # Errors
    /// When it is someone else's, or of another time.
    pub fn judge(&self, issuer: &str, audience: &str, now: UnixMillis) -> Result<Operator, BadToken> {
        let now = now.seconds();
        if self.claims.iss != issuer {
            return Err(BadToken::Issuer);
        }
        let for_us = match &self.claims.aud {
            Audience::One(one) => one == audience,
            Audience::Several(several) => several.iter().any(|one| one == audience),
        };
        if !for_us {
            return Err(BadToken::Audience);
        }
        if self.claims.exp.saturating_add(LEEWAY) <= now {
            return Err(BadToken::Expired);
        }
        if self.claims.nbf.is_some_and(|nbf| nbf.saturating_sub(LEEWAY) > now) {
            return Err(BadToken::NotYet);
        }
        let name = [&self.claims.email, &self.claims.common_name]
            .into_iter()
            .flatten()
            .find(|name| !name.is_empty());
        name.map(|name| Operator { name: name.chars().take(254).collect() }).ok_or(BadToken::Nameless)
    }
}

fn decode_json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, BadToken> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| BadToken::Form)?;
    if !bytes.starts_with(b"{") {
        return Err(BadToken::Form);
    }
    serde_json::from_slice(&bytes).map_err(|_| BadToken::Form)
}

/// Public keys by their id, each as its JWK's JSON text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<(String, String)>);

impl KeySet {
    /// Reads a JWKS; keys of other types than RSA, and keys without an id, are left out.
    /// `None` if it is no JWKS at all.
    pub fn parse(text: &str) -> Option<Self> {
        let document: Value = serde_json::from_str(text).ok()?;
        let keys = document.get("keys")?.as_array()?;
        let usable = keys.iter().filter(|key| {
            let field = |name| key.get(name).and_then(Value::as_str);
            field("kty") == Some("RSA") && field("use").is_none_or(|used_for| used_for == "sig")
        });
        Some(Self(
            usable.filter_map(|key| Some((key.get("kid")?.as_str()?.to_owned(), key.to_string()))).collect(),
        ))
    }

    fn find(&self, key_id: &str) -> Option<&str> {
        self.0.iter().find(|(id, _)| id == key_id).map(|(_, key)| key.as_str())
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
    pub fn look_up(&self, key_id: &str, now: UnixMillis) -> Lookup {
        let may_fetch = self.tried_at.is_none_or(|tried_at| now.since(tried_at) >= FETCH_FLOOR);
        let Some((keys, fetched_at)) = &self.keys else {
            return if may_fetch { Lookup::Fetch } else { Lookup::Unavailable };
        };
        let age = now.since(*fetched_at);
        match keys.find(key_id) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://opticworks.cloudflareaccess.com";
    const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

    fn token(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    fn claims() -> Value {
        let now = NOW.seconds();
        json!({"iss": ISSUER, "aud": ["ops"], "exp": now + 300, "nbf": now - 5, "iat": now - 5, "email": "ada@optic.works", "sub": "u1", "type": "app"})
    }

    fn judge(claims: &Value) -> Result<Operator, BadToken> {
        let text = token(&json!({"alg": "RS256", "kid": "k1"}), claims);
        Token::parse(&text)?.judge(ISSUER, "ops", NOW)
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    #[test]
    fn a_token_of_access_names_its_operator() {
        assert_eq!(judge(&claims()).unwrap().name, "ada@optic.works");
        assert_eq!(judge(&with("aud", json!("ops"))).unwrap().name, "ada@optic.works");
        let mut service = with("common_name", json!("ci.access"));
        service["email"] = Value::Null;
        assert_eq!(judge(&service).unwrap().name, "ci.access");
    }

    #[test]
    fn a_token_for_others_or_of_another_time_is_refused() {
        let now = NOW.seconds();
        for (claims, fault) in [
            (with("iss", json!("https://evil.example")), BadToken::Issuer),
            (with("aud", json!(["shop"])), BadToken::Audience),
            (with("aud", json!([])), BadToken::Audience),
            (with("exp", json!(now - 60)), BadToken::Expired),
            (with("nbf", json!(now + 61)), BadToken::NotYet),
            (with("email", json!("")), BadToken::Nameless),
            (with("exp", json!("never")), BadToken::Form),
        ] {
            assert_eq!(judge(&claims).unwrap_err(), fault, "{claims}");
        }
        assert!(judge(&with("exp", json!(now - 59))).is_ok(), "within the leeway");
        assert!(judge(&with("nbf", json!(now + 60))).is_ok(), "within the leeway");
    }

    #[test]
    fn only_rs256_is_taken() {
        for alg in ["none", "HS256", "ES256", "rs256", ""] {
            let text = token(&json!({"alg": alg, "kid": "k1"}), &claims());
            assert_eq!(Token::parse(&text).err(), Some(BadToken::Algorithm), "{alg}");
        }
    }

    #[test]
    fn malformed_tokens_are_refused() {
        let good = token(&json!({"alg": "RS256", "kid": "k1"}), &claims());
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
            assert_eq!(Token::parse(text).err(), Some(BadToken::Form), "{text}");
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
            {"kty": "EC", "kid": "ec"}, {"kty": "RSA", "kid": "enc", "use": "enc"}, {"kty": "RSA"}, {"kty": "RSA", "kid": "good", "use": "sig"},
        ]});
        let set = KeySet::parse(&text.to_string()).unwrap();
        assert_eq!(set.0.len(), 1);
        assert!(set.find("good").is_some());
        assert_eq!(KeySet::parse("{}"), None);
        assert_eq!(KeySet::parse("not json"), None);
    }

    #[test]
    fn keys_are_fetched_once_an_hour_and_for_an_unknown_key_at_a_bounded_pace() {
        let mut cache = KeyCache::new();
        assert_eq!(cache.look_up("k1", NOW), Lookup::Fetch);
        cache.store(keys(&["k1"]), NOW);
        assert!(matches!(cache.look_up("k1", NOW.plus(FRESH - 1)), Lookup::Found(_)));
        assert_eq!(cache.look_up("k1", NOW.plus(FRESH)), Lookup::Fetch);
        assert_eq!(cache.look_up("k2", NOW.plus(FETCH_FLOOR - 1)), Lookup::Unknown);
        assert_eq!(cache.look_up("k2", NOW.plus(FETCH_FLOOR)), Lookup::Fetch);
        cache.store(keys(&["k1", "k2"]), NOW.plus(FETCH_FLOOR));
        assert!(matches!(cache.look_up("k2", NOW.plus(FETCH_FLOOR)), Lookup::Found(_)));
    }

    #[test]
    fn while_keys_are_being_fetched_others_make_do_with_those_there_are() {
        let mut cache = KeyCache::new();
        cache.begin(NOW);
        assert_eq!(cache.look_up("k1", NOW), Lookup::Fetch, "there are none");
        cache.store(keys(&["k1"]), NOW);
        let later = NOW.plus(FRESH);
        assert_eq!(cache.look_up("k1", later), Lookup::Fetch);
        cache.begin(later);
        assert!(matches!(cache.look_up("k1", later), Lookup::Found(_)));
        assert_eq!(cache.look_up("k2", later), Lookup::Unknown);
    }

    #[test]
    fn old_keys_serve_for_a_day_when_new_ones_cannot_be_had() {
        let mut cache = KeyCache::new();
        cache.failed(NOW);
        assert_eq!(cache.look_up("k1", NOW.plus(1)), Lookup::Unavailable);
        assert_eq!(cache.look_up("k1", NOW.plus(FETCH_FLOOR)), Lookup::Fetch);
        cache.store(keys(&["k1"]), NOW);
        let later = NOW.plus(2 * HOUR);
        cache.failed(later);
        assert!(matches!(cache.look_up("k1", later.plus(1)), Lookup::Found(_)));
        let much_later = NOW.plus(STALE);
        cache.failed(much_later);
        assert_eq!(cache.look_up("k1", much_later.plus(1)), Lookup::Unavailable);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,200}") {
            let _ = (Token::parse(&text).err(), KeySet::parse(&text));
        }
    }
}
