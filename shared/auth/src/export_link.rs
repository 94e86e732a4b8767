//! Links to exports: whoever has one may download that archive, for a quarter of an hour.
//!
//! A browser that is sent somewhere shows no token, so the link has to say for itself that it is good: `expires`, and `sig`, an
//! HMAC over the path and that time. The key is derived from the secret that access tokens are signed with, so that neither passes for the
//! other, and that no further secret has to be kept.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rs1_domain::UnixMillis;
use rs1_domain::time::SECOND;
use subtle::ConstantTimeEq;

use crate::Secret;
use crate::signed_url::{parameters, read_seconds, tag};

/// How long a link is good, in milliseconds. A download that has begun goes on.
pub const VALID: i64 = 900 * SECOND;

/// Signs links, and knows them again.
#[derive(Clone, Debug)]
pub struct ExportLinks {
    current: Secret<Vec<u8>>,
    previous: Option<Secret<Vec<u8>>>,
}

impl ExportLinks {
    /// Links under keys derived from `JWT_SECRET`, and while that rotates from the one before.
    pub fn new(current: &str, previous: Option<&str>) -> Self {
        let derived = |text: &str| {
            let secret = Secret::new(text.as_bytes().to_vec());
            Secret::new(tag(&secret, "rs1 export links").to_vec())
        };
        Self { current: derived(current), previous: previous.map(derived) }
    }

    /// The query of a link to `path`, good until [`VALID`] after `now`.
    pub fn sign(&self, path: &str, now: UnixMillis) -> String {
        let expires = now.plus(VALID).seconds();
        let sig = URL_SAFE_NO_PAD.encode(tag(&self.current, &text_to_sign(path, expires)));
        format!("expires={expires}&sig={sig}")
    }

    /// Whether this query, as it was sent, makes a link to `path` that is good at `now`.
    pub fn allows(&self, path: &str, query: &str, now: UnixMillis) -> bool {
        let Some([expires, sig]) = parameters(query, ["expires", "sig"]) else { return false };
        let mut presented = [0_u8; 32];
        let (Some(expires), Ok(32)) =
            (read_seconds(expires), URL_SAFE_NO_PAD.decode_slice(sig, &mut presented))
        else {
            return false;
        };
        let text = text_to_sign(path, expires);
        let current = tag(&self.current, &text).ct_eq(&presented);
        let previous = tag(self.previous.as_ref().unwrap_or(&self.current), &text).ct_eq(&presented);
        bool::from(current | previous) && now.seconds() < expires
    }
}

fn text_to_sign(path: &str, expires: i64) -> String {
    format!("GET\n{path}\nexpires={expires}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_768_903_200_000);
    const PATH: &str = "/api/history/exports/exp-1";

    #[test]
    fn a_link_is_good_for_its_path_and_its_time_alone() {
        let links = ExportLinks::new(&"j".repeat(32), None);
        let query = links.sign(PATH, NOW);
        assert!(links.allows(PATH, &query, NOW) && links.allows(PATH, &query, NOW.plus(VALID - 1_000)));
        assert!(!links.allows(PATH, &query, NOW.plus(VALID)), "it is over");
        assert!(!links.allows("/api/history/exports/exp-2", &query, NOW));
        let later = query.replace("expires=17689041", "expires=17689042");
        assert_ne!(later, query);
        for bad in [
            later.as_str(),
            "",
            "expires=1768904100",
            "sig=a",
            "expires=1768904100&sig=AAAA",
            &format!("{query}&x=1"),
        ] {
            assert!(!links.allows(PATH, bad, NOW), "{bad}");
        }
    }

    #[test]
    fn links_outlive_a_rotation_and_are_no_tokens() {
        let before = ExportLinks::new(&"j".repeat(32), None);
        let during = ExportLinks::new(&"k".repeat(32), Some(&"j".repeat(32)));
        let after = ExportLinks::new(&"k".repeat(32), None);
        let old = before.sign(PATH, NOW);
        assert!(during.allows(PATH, &old, NOW) && !after.allows(PATH, &old, NOW));
        assert!(after.allows(PATH, &during.sign(PATH, NOW), NOW));
        let plain = Secret::new("j".repeat(32).into_bytes());
        let forged = URL_SAFE_NO_PAD.encode(tag(&plain, &text_to_sign(PATH, NOW.plus(VALID).seconds())));
        assert!(!before.allows(PATH, &format!("expires={}&sig={forged}", NOW.plus(VALID).seconds()), NOW));
    }
}
