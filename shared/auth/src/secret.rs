//! Secrets in memory: they compare in constant time and cannot be printed.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A value that must not reach a log, an error text or a `Debug` output.
#[derive(Clone)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value; the name makes each use easy to find.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A shared secret that rotates: the current value and, while a rotation runs, the one before.
///
/// Only digests are kept. Comparing digests takes the same time whatever was presented, its length
/// included.
#[derive(Clone, Debug)]
pub struct KeyRing {
    current: Secret<[u8; 32]>,
    previous: Option<Secret<[u8; 32]>>,
}

impl KeyRing {
    /// A ring of the current and, while it is being replaced, the previous secret.
    pub fn new(current: &str, previous: Option<&str>) -> Self {
        let digest = |text: &str| Secret::new(Sha256::digest(text).into());
        Self { current: digest(current), previous: previous.map(digest) }
    }

    /// Whether `presented` is one of the secrets. Both are always compared, so the time taken does
    /// not tell which one it was.
    pub fn accepts(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let current = self.current.expose().ct_eq(&presented);
        let previous = self.previous.as_ref().unwrap_or(&self.current).expose().ct_eq(&presented);
        (current | previous).into()
    }

    /// Whether an [accepted](Self::accepts) secret is the previous one. Whoever knows it may learn that.
    pub fn is_previous(&self, accepted: &str) -> bool {
        let accepted: [u8; 32] = Sha256::digest(accepted).into();
        self.previous.as_ref().is_some_and(|previous| previous.expose().ct_eq(&accepted).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_secrets_of_a_ring_are_accepted_and_nothing_else() {
        let ring = KeyRing::new("new", Some("old"));
        assert!(ring.accepts("new"));
        assert!(ring.accepts("old"));
        for other in ["", "ne", "newx", "NEW", "older"] {
            assert!(!ring.accepts(other), "{other}");
        }
        assert!(ring.is_previous("old") && !ring.is_previous("new"));
        let alone = KeyRing::new("new", None);
        assert!(!alone.is_previous("new") && !alone.is_previous("old"));
        assert!(alone.accepts("new"));
        assert!(!alone.accepts("old"));
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("s3cr3t")), "[secret]");
        assert!(!format!("{:?}", KeyRing::new("s3cr3t", None)).contains("s3cr3t"));
    }
}
