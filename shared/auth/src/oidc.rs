//! Users' ID tokens: who somebody is, by the word of an identity provider that we trust.
//!
//! Several providers are trusted, each for its own audiences and with its own keys. A person is `iss` and `sub`, for ever; their
//! e-mail address may change, and is believed only while the provider says that it is verified.
//!
//! Format: `OpenID` Connect Core 1.0, sections 2 and 3.1.3.7.

use rs1_domain::config::Settings;
use rs1_domain::json;
use rs1_domain::{EmailAddress, UnixMillis};
use serde::Deserialize;
use serde_json::Value;

use crate::jwt::{self, Algorithm, Audience, BadToken, judge_time};

/// How users' ID tokens may be signed.
pub const ALGORITHMS: &[Algorithm] = &[Algorithm::Rs256, Algorithm::Es256];

/// Longest `sub` (`OpenID` Connect Core, section 2: "MUST NOT exceed 255 ASCII characters").
const MAX_SUBJECT: usize = 255;
/// Longest name that is kept, in characters.
const MAX_NAME: usize = 100;

/// An identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Our client ids with it: the `aud` of tokens that are meant for us.
    pub audiences: Vec<String>,
    /// Where its keys are.
    pub jwks_url: String,
}

impl Provider {
    /// Reads `OIDC_PROVIDERS`, a JSON list of providers; what is wrong with it is noted in `settings`.
    pub fn read(settings: &mut Settings<'_>) -> Option<Vec<Self>> {
        settings.required(
            "OIDC_PROVIDERS",
            "must be a JSON list of {issuer, audiences, jwks_url}, at least one, all https but for *.localhost",
            |text| {
                let providers: Vec<Self> = json::read(text).ok()?;
                (!providers.is_empty() && providers.iter().all(Self::is_sound)).then_some(providers)
            },
        )
    }

    fn is_sound(&self) -> bool {
        let audiences = !self.audiences.is_empty() && self.audiences.iter().all(|one| !one.is_empty());
        !self.issuer.is_empty() && audiences && is_safe_url(&self.jwks_url)
    }
}

/// Keys are fetched over TLS; a name under `.localhost` is this very machine.
fn is_safe_url(url: &str) -> bool {
    let host = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    if let Some(rest) = url.strip_prefix("https://") {
        return !host(rest).is_empty();
    }
    url.strip_prefix("http://").is_some_and(|rest| {
        let host = host(rest);
        host.split(':').next().unwrap_or_default().ends_with(".localhost")
    })
}

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// The person, at that provider.
    pub subject: String,
    /// Their e-mail address, if the provider says that it is theirs.
    pub verified_email: Option<EmailAddress>,
    /// What they are called, if the provider says.
    pub name: Option<String>,
}

/// An ID token, not yet believed.
pub type Token<'a> = jwt::Token<'a, Claims>;

/// What such a token says.
#[derive(Deserialize)]
pub struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<Value>,
    #[serde(default)]
    name: Option<String>,
}

impl Token<'_> {
    /// The provider that is said to have issued it, if we trust one of that name.
    pub fn provider<'p>(&self, providers: &'p [Provider]) -> Option<&'p Provider> {
        providers.iter().find(|provider| provider.issuer == self.claims.iss)
    }

    /// Judges the claims of a token whose signature by `provider` was found good. `nonce` is what the app sent along when it asked for the
    /// token, if it says so.
    ///
    /// # Errors
    /// When it is someone else's, of another time, or the answer to another question.
    pub fn judge(
        &self,
        provider: &Provider,
        nonce: Option<&str>,
        now: UnixMillis,
    ) -> Result<Identity, BadToken> {
        let Claims { iss, sub, aud, exp, nbf, azp, nonce: answered, email, email_verified, name } =
            &self.claims;
        if *iss != provider.issuer {
            return Err(BadToken::Issuer);
        }
        let ours = |audience: &String| provider.audiences.contains(audience);
        let audiences = aud.as_slice();
        // A token for several must say to whom it was given (section 3.1.3.7, 4 and 5).
        let given_to_us = match azp {
            Some(azp) => ours(azp),
            None => audiences.len() == 1,
        };
        if !audiences.iter().any(ours) || !given_to_us {
            return Err(BadToken::Audience);
        }
        judge_time(*exp, *nbf, now)?;
        if nonce.is_some() && nonce != answered.as_deref() {
            return Err(BadToken::Nonce);
        }
        if sub.is_empty() || sub.len() > MAX_SUBJECT {
            return Err(BadToken::Nameless);
        }
        // Some providers write it as text.
        let verified = matches!(email_verified, Some(Value::Bool(true)))
            || email_verified.as_ref().and_then(Value::as_str) == Some("true");
        let email = email.as_deref().filter(|_| verified).and_then(EmailAddress::parse);
        let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        Ok(Identity {
            issuer: iss.clone(),
            subject: sub.clone(),
            verified_email: email,
            name: name
                .map(|name| name.chars().filter(|letter| !letter.is_control()).take(MAX_NAME).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

    fn provider() -> Provider {
        Provider {
            issuer: "https://accounts.example".into(),
            audiences: vec!["app".into(), "app-android".into()],
            jwks_url: "https://accounts.example/jwks".into(),
        }
    }

    fn claims() -> Value {
        json!({
            "iss": "https://accounts.example", "aud": "app", "sub": "1001", "exp": NOW.seconds() + 300, "iat": NOW.seconds(),
            "email": "Ada@Example.com", "email_verified": true, "name": " Ada ", "nonce": "n-1",
        })
    }

    fn judge_with(claims: &Value, nonce: Option<&str>) -> Result<Identity, BadToken> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}.c2ln", part(&json!({"alg": "ES256", "kid": "k"})), part(claims));
        let token = Token::parse(&text, ALGORITHMS)?;
        let providers = [provider()];
        let provider = token.provider(&providers).ok_or(BadToken::Issuer)?;
        token.judge(provider, nonce, NOW)
    }

    fn judge(change: &[(&str, Value)]) -> Result<Identity, BadToken> {
        let mut claims = claims();
        for (name, value) in change {
            claims[name] = value.clone();
        }
        judge_with(&claims, None)
    }

    #[test]
    fn a_token_says_who_somebody_is() {
        let identity = judge(&[]).unwrap();
        assert_eq!(
            (identity.issuer.as_str(), identity.subject.as_str()),
            ("https://accounts.example", "1001")
        );
        assert_eq!(identity.verified_email, EmailAddress::parse("ada@example.com"));
        assert_eq!(identity.name.as_deref(), Some("Ada"));
    }

    #[test]
    fn an_address_counts_only_if_the_provider_says_that_it_is_verified() {
        for (verified, counts) in [
            (json!(true), true),
            (json!("true"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!("yes"), false),
            (Value::Null, false),
        ] {
            let identity = judge(&[("email_verified", verified.clone())]).unwrap();
            assert_eq!(identity.verified_email.is_some(), counts, "{verified}");
        }
        assert_eq!(judge(&[("email", json!("nobody"))]).unwrap().verified_email, None);
        assert_eq!(judge(&[("email_verified", json!(1))]).unwrap().verified_email, None);
    }

    #[test]
    fn a_token_for_others_or_of_another_time_is_refused() {
        for (change, fault) in [
            (&[("iss", json!("https://evil.example"))][..], BadToken::Issuer),
            (&[("aud", json!("shop"))], BadToken::Audience),
            (&[("aud", json!([]))], BadToken::Audience),
            (&[("aud", json!(["app", "shop"]))], BadToken::Audience),
            (&[("aud", json!(["app", "shop"])), ("azp", json!("shop"))], BadToken::Audience),
            (&[("azp", json!("shop"))], BadToken::Audience),
            (&[("exp", json!(NOW.seconds() - 60))], BadToken::Expired),
            (&[("nbf", json!(NOW.seconds() + 61))], BadToken::NotYet),
            (&[("sub", json!(""))], BadToken::Nameless),
            (&[("sub", json!("x".repeat(256)))], BadToken::Nameless),
            (&[("sub", Value::Null)], BadToken::Form),
        ] {
            assert_eq!(judge(change).unwrap_err(), fault, "{change:?}");
        }
        assert!(judge(&[("aud", json!(["app", "shop"])), ("azp", json!("app"))]).is_ok());
        assert!(judge(&[("aud", json!(["app-android"]))]).is_ok());
    }

    #[test]
    fn a_nonce_is_checked_when_one_is_given() {
        assert!(judge_with(&claims(), None).is_ok());
        assert!(judge_with(&claims(), Some("n-1")).is_ok());
        assert_eq!(judge_with(&claims(), Some("n-2")).unwrap_err(), BadToken::Nonce);
        let mut without = claims();
        without.as_object_mut().unwrap().remove("nonce");
        assert_eq!(judge_with(&without, Some("n-1")).unwrap_err(), BadToken::Nonce);
    }

    #[test]
    fn providers_are_configured_as_json() {
        let read = |text: &str| {
            let look_up = |_: &str| Some(text.to_owned());
            Provider::read(&mut Settings::new(&look_up))
        };
        let good = r#"[{"issuer": "https://accounts.example", "audiences": ["app", "app-android"], "jwks_url": "https://accounts.example/jwks"}]"#;
        assert_eq!(read(good), Some(vec![provider()]));
        assert!(
            read(&good.replace("https://accounts.example/jwks", "http://accounts.localhost/jwks")).is_some()
        );
        for bad in [
            "",
            "[]",
            "{}",
            &good.replace("\"app\", ", "\"\", "),
            &good.replace("jwks_url", "jwks"),
            &good.replace("https://accounts.example/jwks", "http://accounts.example/jwks"),
            &good.replace("https://accounts.example/jwks", "ftp://accounts.example/jwks"),
            &good.replace("[\"app\", \"app-android\"]", "[]"),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
