//! Refresh tokens: random, worth a session for a day, and never stored: only their hash is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rs1_domain::hex;
use sha2::{Digest, Sha256};

use crate::Secret;

/// How long a session lives after the last sign of life, in seconds.
pub const LIFETIME_SECONDS: u32 = 24 * 60 * 60;

/// 256 random bits.
#[derive(Clone, Debug)]
pub struct RefreshToken(Secret<[u8; 32]>);

impl RefreshToken {
    /// A token out of randomness.
    pub fn new(random: [u8; 32]) -> Self {
        Self(Secret::new(random))
    }

    /// Reads 43 characters of base64url.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self::new)
    }

    /// What the app is given.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.expose())
    }

    /// What is stored: SHA-256 in hex. There is nothing to guess in 256 random bits, so it needs neither salt nor stretching.
    pub fn hash(&self) -> String {
        hex::encode(&Sha256::digest(self.0.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_does_not_print() {
        let token = RefreshToken::new([7; 32]);
        let text = token.expose();
        assert_eq!(text.len(), 43);
        assert_eq!(RefreshToken::parse(&text).unwrap().hash(), token.hash());
        assert_eq!(token.hash(), "4bb06f8e4e3a7715d201d573d0aa423762e55dabd61a2c02278fa56cc6d294e0");
        assert!(!format!("{token:?}").contains(&text));
    }

    #[test]
    fn anything_else_is_no_token() {
        for text in
            ["", "x", &"A".repeat(42), &"A".repeat(44), &format!("{}=", "A".repeat(43)), &"!".repeat(43)]
        {
            assert!(RefreshToken::parse(text).is_none(), "{text}");
        }
    }
}
