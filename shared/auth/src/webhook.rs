//! Signatures of the webhooks that we send, so that a receiver knows that we sent them, and when.
//!
//! `X-RS1-Signature: t=1763690475,v1=5f…` has the Unix seconds of the send and the HMAC-SHA256, in hex, of those seconds, a full
//! stop and the body. While the secret rotates there is a `v1` of each of the two, the new one first: a receiver that knows
//! either finds its own. It compares in constant time, and refuses what was sent more than [`WINDOW`] ago, or will be: within it
//! the id of the notice tells what came twice.

use hmac::{Hmac, Mac};
use rs1_domain::time::MINUTE;
use rs1_domain::{UnixMillis, hex};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::Secret;

/// How far a signature's time may lie from the receiver's, in milliseconds.
pub const WINDOW: i64 = 5 * MINUTE;

/// The secrets that webhooks are signed with: the current one and, while it is being replaced, the one before.
#[derive(Clone, Debug)]
pub struct WebhookKeys {
    current: Secret<Vec<u8>>,
    previous: Option<Secret<Vec<u8>>>,
}

impl WebhookKeys {
    /// A ring of the two.
    pub fn new(current: &str, previous: Option<&str>) -> Self {
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        Self { current: secret(current), previous: previous.map(secret) }
    }

    /// The header's value for a body that is sent now.
    pub fn sign(&self, body: &str, now: UnixMillis) -> String {
        let seconds = now.seconds();
        let mut header = format!("t={seconds}");
        for secret in [Some(&self.current), self.previous.as_ref()].into_iter().flatten() {
            header.push_str(",v1=");
            header.push_str(&hex::encode(&tag(secret, seconds, body)));
        }
        header
    }

    /// What a receiver does with it: whether one of its secrets has signed this body, within [`WINDOW`] of now.
    pub fn accepts(&self, header: &str, body: &str, now: UnixMillis) -> bool {
        let Some((seconds, tags)) = header.strip_prefix("t=").and_then(|rest| rest.split_once(',')) else {
            return false;
        };
        let Ok(seconds) = seconds.parse::<i64>() else { return false };
        if now.since(UnixMillis(seconds.saturating_mul(1_000))).saturating_abs() > WINDOW {
            return false;
        }
        let known = [Some(&self.current), self.previous.as_ref()];
        let known: Vec<_> = known.into_iter().flatten().map(|secret| tag(secret, seconds, body)).collect();
        tags.split(',')
            .filter_map(|tag| hex::decode::<32>(tag.strip_prefix("v1=")?))
            .any(|presented| known.iter().any(|tag| bool::from(tag.ct_eq(&presented))))
    }
}

fn tag(secret: &Secret<Vec<u8>>, seconds: i64, body: &str) -> [u8; 32] {
    // An HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose()) else { return [0; 32] };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_763_690_475_999);

    #[test]
    fn a_signature_is_the_hmac_of_time_and_body() {
        // echo -n '1763690475.{"a":1}' | openssl dgst -sha256 -hmac secret
        let header = WebhookKeys::new("secret", None).sign(r#"{"a":1}"#, NOW);
        assert_eq!(
            header,
            "t=1763690475,v1=e9f8017612c368d9fc5c5038b12b4a02e892751c312d0bb8bf2a4a0b1a4906bb"
        );
    }

    #[test]
    fn a_receiver_with_either_secret_accepts_it_and_nothing_else() {
        let body = r#"{"a":1}"#;
        let header = WebhookKeys::new("new", Some("old")).sign(body, NOW);
        for secret in ["new", "old"] {
            assert!(WebhookKeys::new(secret, None).accepts(&header, body, NOW), "{secret}");
        }
        assert!(WebhookKeys::new("next", Some("new")).accepts(&header, body, NOW));
        assert!(!WebhookKeys::new("other", None).accepts(&header, body, NOW));
        let keys = WebhookKeys::new("new", None);
        assert!(!keys.accepts(&header, r#"{"a":2}"#, NOW));
        assert!(keys.accepts(&header, body, NOW.plus(WINDOW - 1_000)));
        assert!(!keys.accepts(&header, body, NOW.plus(WINDOW + 1_000)));
        assert!(!keys.accepts(&header, body, NOW.plus(-WINDOW - 2_000)));
        let moved = header.replace("t=1763690475", "t=1763690476");
        assert!(!keys.accepts(&moved, body, NOW));
        for header in ["", "t=", "t=1763690475", "v1=00", "t=x,v1=00", "t=1763690475,v1=00", "t=1763690475,"]
        {
            assert!(!keys.accepts(header, body, NOW), "{header}");
        }
    }
}
