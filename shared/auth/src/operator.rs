//! Operators' tokens: JWTs as Cloudflare Access issues them, RS256 against a JWKS.

use rs1_domain::UnixMillis;
use serde::Deserialize;

use crate::jwt::{self, Algorithm, Audience, BadToken, judge_time};

/// Who administers: an e-mail address, or a service token's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name that the audit log carries.
    pub name: String,
}

/// An operator's token, not yet believed.
pub type Token<'a> = jwt::Token<'a, Claims>;

/// How operators' tokens are signed.
pub const ALGORITHMS: &[Algorithm] = &[Algorithm::Rs256];

/// What such a token says.
#[derive(Deserialize)]
pub struct Claims {
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

impl Token<'_> {
    /// Judges the claims of a token whose signature was found good.
    ///
    /// # Errors
    /// When it is someone else's, or of another time.
    pub fn judge(&self, issuer: &str, audience: &str, now: UnixMillis) -> Result<Operator, BadToken> {
        if self.claims.iss != issuer {
            return Err(BadToken::Issuer);
        }
        if !self.claims.aud.as_slice().iter().any(|one| one == audience) {
            return Err(BadToken::Audience);
        }
        judge_time(self.claims.exp, self.claims.nbf, now)?;
        let name = [&self.claims.email, &self.claims.common_name]
            .into_iter()
            .flatten()
            .find(|name| !name.is_empty());
        name.map(|name| Operator { name: name.chars().take(254).collect() }).ok_or(BadToken::Nameless)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

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
        Token::parse(&text, ALGORITHMS)?.judge(ISSUER, "ops", NOW)
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
}
