//! Secrets in memory: they compare in constant time and cannot be printed.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};

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
#[derive(Clone, Debug)]
pub struct KeyRing {
    current: Secret<Box<[u8]>>,
    previous: Option<Secret<Box<[u8]>>>,
}

/// Which of a ring's secrets somebody presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The current one.
    Current,
    /// The one before.
    Previous,
}

impl KeyRing {
    /// A ring of the current and, while it is being replaced, the previous secret.
    pub fn new(current: &str, previous: Option<&str>) -> Self {
        let keep = |text: &str| Secret::new(text.as_bytes().into());
        Self { current: keep(current), previous: previous.map(keep) }
    }

    /// Which of the secrets `presented` is, if it is one.
    ///
    /// How long it takes tells nothing of a secret but whether its length was met, and that is no secret: those that `npm run secrets`
    /// makes are all alike. (Comparing digests would hide that, too, at two SHA-256 a request.)
    pub fn recognize(&self, presented: &str) -> Option<Presented> {
        let is = |secret: &Secret<Box<[u8]>>| secret.expose().ct_eq(presented.as_bytes());
        let previous = self.previous.as_ref().map_or(Choice::from(0), is);
        if is(&self.current).into() {
            return Some(Presented::Current);
        }
        bool::from(previous).then_some(Presented::Previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_secrets_of_a_ring_are_accepted_and_nothing_else() {
        let ring = KeyRing::new("new", Some("old"));
        assert_eq!(ring.recognize("new"), Some(Presented::Current));
        assert_eq!(ring.recognize("old"), Some(Presented::Previous));
        for other in ["", "ne", "nex", "newx", "NEW", "older"] {
            assert_eq!(ring.recognize(other), None, "{other}");
        }
        let alone = KeyRing::new("new", None);
        assert_eq!(alone.recognize("new"), Some(Presented::Current));
        assert_eq!(alone.recognize("old"), None);
        assert_eq!(alone.recognize(""), None);
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("s3cr3t")), "[secret]");
        assert!(!format!("{:?}", KeyRing::new("s3cr3t", None)).contains("s3cr3t"));
    }
}
