//! Users' access tokens: JWTs of our own, HS256, good for five minutes.
//!
//! They are believed without asking any store, which is what they are for; so whoever is signed out keeps what they hold for
//! five minutes at most. The header of our tokens is always the same text, and a token with any other is not ours: there is
//! no algorithm to be talked into.
//!
//! Format: RFC 7515 (JWS compact), RFC 7519 (claims).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use rs1_domain::json;
use rs1_domain::{SessionId, UnixMillis, UserId};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::Secret;

/// How long a token is good, in seconds.
pub const LIFETIME_SECONDS: i64 = 300;

/// The one audience there is. It keeps whatever else may be signed under the same secret one day from passing for a token.
const AUDIENCE: &str = "rs1-api";

/// `{"alg":"HS256","typ":"JWT"}` in Base64.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Longest token that is looked at; ours are about 300 characters.
const MAX_TOKEN: usize = 1_024;

/// Whom a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user.
    pub user: UserId,
    /// The session in which they signed in.
    pub session: SessionId,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    sub: UserId,
    sid: SessionId,
    iat: i64,
    exp: i64,
}

/// Why a token is not good. For the log; a caller hears only that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAccessToken {
    /// Not one of ours.
    Form,
    /// Signed with another secret, or changed.
    Signature,
    /// No longer good.
    Expired,
}

impl BadAccessToken {
    /// The fault's word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Signature => "signature",
            Self::Expired => "expired",
        }
    }
}

/// Issues and verifies access tokens: with `JWT_SECRET`, and while that rotates with the one before.
#[derive(Clone, Debug)]
pub struct AccessTokens {
    current: Secret<Vec<u8>>,
    previous: Option<Secret<Vec<u8>>>,
}

impl AccessTokens {
    /// Tokens signed with `current`; those that `previous` signed are still good.
    pub fn new(current: &str, previous: Option<&str>) -> Self {
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        Self { current: secret(current), previous: previous.map(secret) }
    }

    /// A token for a user, good for [`LIFETIME_SECONDS`] from `now`.
    pub fn issue(&self, person: &Person, now: UnixMillis) -> String {
        let iat = now.seconds();
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            sub: person.user.clone(),
            sid: person.session.clone(),
            iat,
            exp: iat.saturating_add(LIFETIME_SECONDS),
        };
        // Text keys, text and integers: this cannot fail; an empty payload would be nobody's token.
        let payload = serde_json::to_vec(&claims).unwrap_or_default();
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(payload));
        let tag = mac(&self.current, signed.as_bytes()).map(|mac| mac.finalize().into_bytes());
        format!("{signed}.{}", tag.map(|tag| URL_SAFE_NO_PAD.encode(tag)).unwrap_or_default())
    }

    /// Whom a token stands for at `now`. There is no leeway: the clock that issued it is ours.
    ///
    /// # Errors
    /// When it is none of ours, or has expired.
    pub fn verify(&self, text: &str, now: UnixMillis) -> Result<Person, BadAccessToken> {
        if text.len() > MAX_TOKEN {
            return Err(BadAccessToken::Form);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(BadAccessToken::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(BadAccessToken::Form)?;
        if header != HEADER {
            return Err(BadAccessToken::Form);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadAccessToken::Form)?;
        let good =
            |secret| mac(secret, signed.as_bytes()).is_some_and(|mac| mac.verify_slice(&signature).is_ok());
        if !good(&self.current) && !self.previous.as_ref().is_some_and(good) {
            return Err(BadAccessToken::Signature);
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| BadAccessToken::Form)?;
        let payload = str::from_utf8(&payload).map_err(|_| BadAccessToken::Form)?;
        let claims: Claims = json::read(payload).map_err(|_| BadAccessToken::Form)?;
        if claims.aud != AUDIENCE {
            return Err(BadAccessToken::Form);
        }
        if claims.exp <= now.seconds() {
            return Err(BadAccessToken::Expired);
        }
        Ok(Person { user: claims.sub, session: claims.sid })
    }
}

/// HMAC takes a key of any length, so there always is one.
fn mac(secret: &Secret<Vec<u8>>, message: &[u8]) -> Option<Hmac<Sha256>> {
    let mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.expose()).ok()?;
    Some(mac.chain_update(message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

    fn person() -> Person {
        Person { user: UserId::generate(NOW, [1; 10]), session: SessionId::generate(NOW, [2; 10]) }
    }

    fn signed(secret: &str, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let tag = mac(&Secret::new(secret.as_bytes().to_vec()), text.as_bytes()).unwrap().finalize();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.into_bytes()))
    }

    #[test]
    fn the_header_is_what_it_says() {
        assert_eq!(URL_SAFE_NO_PAD.decode(HEADER).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
    }

    #[test]
    fn a_token_stands_for_its_person_for_five_minutes() {
        let tokens = AccessTokens::new("secret", None);
        let text = tokens.issue(&person(), NOW);
        assert_eq!(tokens.verify(&text, NOW), Ok(person()));
        assert_eq!(tokens.verify(&text, NOW.plus(299_999)), Ok(person()));
        assert_eq!(tokens.verify(&text, NOW.plus(300_000)), Err(BadAccessToken::Expired));
    }

    #[test]
    fn tokens_of_the_secret_before_are_good_while_it_rotates() {
        let old = AccessTokens::new("old", None).issue(&person(), NOW);
        assert_eq!(AccessTokens::new("new", Some("old")).verify(&old, NOW), Ok(person()));
        assert_eq!(AccessTokens::new("new", None).verify(&old, NOW), Err(BadAccessToken::Signature));
        let new = AccessTokens::new("new", Some("old")).issue(&person(), NOW);
        assert_eq!(AccessTokens::new("new", None).verify(&new, NOW), Ok(person()));
    }

    #[test]
    fn what_somebody_else_made_or_changed_is_refused() {
        let tokens = AccessTokens::new("secret", None);
        let good = json!({"aud": "rs1-api", "sub": person().user, "sid": person().session, "iat": 0, "exp": NOW.seconds() + 9});
        let header = json!({"alg": "HS256", "typ": "JWT"});
        assert!(tokens.verify(&signed("secret", &header, &good), NOW).is_ok());
        for (text, fault) in [
            (signed("other", &header, &good), BadAccessToken::Signature),
            (signed("secret", &json!({"alg": "none"}), &good), BadAccessToken::Form),
            (signed("secret", &json!({"alg": "HS512", "typ": "JWT"}), &good), BadAccessToken::Form),
            (signed("secret", &header, &json!({})), BadAccessToken::Form),
            (format!("{HEADER}.e30."), BadAccessToken::Signature),
            ("x".repeat(2_000), BadAccessToken::Form),
            (String::new(), BadAccessToken::Form),
        ] {
            assert_eq!(tokens.verify(&text, NOW), Err(fault), "{text}");
        }
        let mut elsewhere = good.clone();
        elsewhere["aud"] = "shop".into();
        assert_eq!(tokens.verify(&signed("secret", &header, &elsewhere), NOW), Err(BadAccessToken::Form));
        let mut nobody = good;
        nobody["sub"] = "usr-1".into();
        assert_eq!(tokens.verify(&signed("secret", &header, &nobody), NOW), Err(BadAccessToken::Form));
    }

    proptest! {
        #[test]
        fn no_change_of_a_single_character_goes_unnoticed(at in 0_usize..400, with in "[A-Za-z0-9_.-]") {
            let tokens = AccessTokens::new("secret", None);
            let text = tokens.issue(&person(), NOW);
            let mut changed: Vec<char> = text.chars().collect();
            let at = at % changed.len();
            changed[at] = with.chars().next().unwrap();
            let changed: String = changed.into_iter().collect();
            prop_assert_eq!(tokens.verify(&changed, NOW).is_ok(), changed == text);
        }
    }
}
