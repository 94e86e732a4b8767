//! Firmware versions: a narrow semantic version, compared as semantic versions are.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// A firmware version: `\d+\.\d+\.\d+(-[a-zA-Z0-9.]+)?`, at most 31 bytes, which is what an ESP32
/// image has room for (`esp_app_desc_t.version` is 32 bytes with its terminator).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FirmwareVersion(String);

impl FirmwareVersion {
    /// Most bytes of a version.
    pub const MAX_LENGTH: usize = 31;
    /// What a fault says when a version is expected.
    pub const EXPECTED: &'static str = "must be a version like 1.2.0 or 1.2.0-rc.1, of at most 31 characters";

    /// Reads a version.
    pub fn parse(text: &str) -> Option<Self> {
        let (core, pre) = split(text);
        let mut parts = 0_u8;
        for part in core.split('.') {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            parts = parts.checked_add(1)?;
        }
        let pre_fine = pre.is_none_or(|pre| {
            !pre.is_empty() && pre.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        });
        (parts == 3 && pre_fine && text.len() <= Self::MAX_LENGTH).then(|| Self(text.to_owned()))
    }

    /// The version's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (text, None),
    }
}

/// Digits compared as numbers of any length; equal numbers of other lengths (`01`, `1`) by length,
/// so that the order agrees with equality.
fn compare_digits(a: &str, b: &str) -> Ordering {
    let (short_a, short_b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    short_a.len().cmp(&short_b.len()).then_with(|| short_a.cmp(short_b)).then_with(|| a.len().cmp(&b.len()))
}

/// Precedence of Semantic Versioning 2.0.0, section 11, for pre-release parts.
fn compare_pre_release(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => {
                let numeric = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
                match (numeric(a), numeric(b)) {
                    (true, true) => compare_digits(a, b),
                    (true, false) => Ordering::Less,
                    (false, true) => Ordering::Greater,
                    (false, false) => a.cmp(b),
                }
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

impl Ord for FirmwareVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((core_a, pre_a), (core_b, pre_b)) = (split(&self.0), split(&other.0));
        core_a
            .split('.')
            .zip(core_b.split('.'))
            .map(|(a, b)| compare_digits(a, b))
            .find(|order| *order != Ordering::Equal)
            .unwrap_or_else(|| match (pre_a, pre_b) {
                (None, None) => Ordering::Equal,
                // A release comes after its pre-releases.
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(a), Some(b)) => compare_pre_release(a, b),
            })
    }
}

impl PartialOrd for FirmwareVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for FirmwareVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FirmwareVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(Self::EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> FirmwareVersion {
        FirmwareVersion::parse(text).unwrap_or_else(|| panic!("{text} is a version"))
    }

    #[test]
    fn versions_order_as_semantic_versions_do() {
        let ordered = [
            "0.9.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.2.0",
            "1.10.0",
            "2.0.0",
            "10.0.0",
            "99999999999999999999.0.0",
        ];
        for pair in ordered.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn what_the_pattern_does_not_allow_is_refused() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.x",
            "v1.2.3",
            "1.2.3-",
            "1.2.3-a-b",
            "1.2.3+build",
            "1..3",
            " 1.2.3",
            "1.2.3-aaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(FirmwareVersion::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_order_agrees_with_equality(a in r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-[a-b0-1.]{1,4})?", b in r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-[a-b0-1.]{1,4})?") {
            let (a, b) = (version(&a), version(&b));
            prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        }
    }
}
