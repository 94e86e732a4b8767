//! Shares of devices, compared exactly.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A share from 0 to 1, in millionths, so that "above 2 %" is decided by integers: 1 of 50 is not above it,
/// on any machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

const WHOLE: u32 = 1_000_000;

impl Share {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(WHOLE);

    /// So many hundredths; at most all.
    pub const fn percent(percent: u32) -> Self {
        let millionths = percent.saturating_mul(10_000);
        Self(if millionths > WHOLE { WHOLE } else { millionths })
    }

    /// A fraction from 0 to 1, to the nearest millionth.
    pub fn from_fraction(fraction: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&fraction) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and a million")]
        Some(Self((fraction * f64::from(WHOLE)).round() as u32))
    }

    /// The share as a fraction.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// Whether `part` of `whole` is strictly more than this share. Nothing of nothing is not.
    pub fn is_exceeded_by(self, part: u32, whole: u32) -> bool {
        u64::from(part).saturating_mul(u64::from(WHOLE)) > u64::from(self.0).saturating_mul(u64::from(whole))
    }

    /// Whether `part` of `whole` stays strictly under this share, as no part at all does under any.
    pub fn is_kept_by(self, part: u32, whole: u32) -> bool {
        let reached = u64::from(self.0).saturating_mul(u64::from(whole));
        part == 0 || u64::from(part).saturating_mul(u64::from(WHOLE)) < reached
    }

    /// `part` of `whole`, for people; 0 of nothing.
    pub fn of(part: u32, whole: u32) -> f64 {
        if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.fraction())
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fraction = f64::deserialize(deserializer)?;
        Self::from_fraction(fraction).ok_or_else(|| de::Error::custom("a share from 0 to 1 was expected"))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fraction".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "number", "minimum": 0, "maximum": 1,
            "description": "A share of devices, to the nearest millionth.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_is_strict_and_exact() {
        for (percent, part, whole) in [(2, 1, 50), (5, 1, 20), (7, 7, 100), (1, 3, 300), (29, 29, 100)] {
            assert!(!Share::percent(percent).is_exceeded_by(part, whole), "{part}/{whole} is {percent} %");
            assert!(Share::percent(percent).is_exceeded_by(part, whole - 1));
            assert!(!Share::percent(percent).is_kept_by(part, whole), "at the limit is not under it");
            assert!(Share::percent(percent).is_kept_by(part, whole + 1));
        }
        assert!(!Share::NONE.is_exceeded_by(0, 0));
        assert!(Share::NONE.is_exceeded_by(1, 1_000));
        assert!(Share::NONE.is_kept_by(0, 0));
        assert!(!Share::NONE.is_kept_by(1, 1_000));
    }

    #[test]
    fn fractions_survive_their_text() {
        for percent in 0..=100 {
            let share = Share::percent(percent);
            let text = serde_json::to_string(&share).unwrap();
            assert_eq!(serde_json::from_str::<Share>(&text).unwrap(), share, "{text}");
        }
        assert_eq!(serde_json::from_str::<Share>("1").unwrap(), Share::ALL);
        for text in ["-0.1", "1.1", "\"x\"", "null"] {
            assert!(serde_json::from_str::<Share>(text).is_err(), "{text}");
        }
        assert_eq!(Share::from_fraction(f64::NAN), None);
    }
}
