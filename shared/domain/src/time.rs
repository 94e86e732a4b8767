//! Instants as the whole system keeps them: integer Unix milliseconds, UTC.
//!
//! RFC 3339 is read and written here by hand: the contract needs one narrow form of it, and a date
//! library would cost a worker more than the rest of its code. The calendar arithmetic is Howard
//! Hinnant's `days_from_civil` / `civil_from_days` (proleptic Gregorian calendar).

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z. In JSON it is RFC 3339 text in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

/// Milliseconds in a second.
pub const SECOND: i64 = 1_000;
/// Milliseconds in a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Milliseconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Milliseconds in a day.
pub const DAY: i64 = 24 * HOUR;

/// The last instant that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
const LAST: i64 = 253_402_300_799_999;
/// The first: 0000-01-01T00:00:00Z.
const FIRST: i64 = -62_167_219_200_000;

impl UnixMillis {
    /// Reads RFC 3339 (`2026-01-20T10:00:00Z`, `…T11:00:00.25+01:00`). Fractions beyond
    /// milliseconds are cut off; a leap second (`:60`) is taken as the second before it.
    ///
    /// `None` for anything else, a date that does not exist included.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (date_time, rest) = bytes.split_at_checked(19)?;
        let [
            y1,
            y2,
            y3,
            y4,
            b'-',
            mo1,
            mo2,
            b'-',
            d1,
            d2,
            b'T' | b't' | b' ',
            h1,
            h2,
            b':',
            mi1,
            mi2,
            b':',
            s1,
            s2,
        ] = date_time
        else {
            return None;
        };
        let year = number(&[*y1, *y2, *y3, *y4])?;
        let (month, day) = (number(&[*mo1, *mo2])?, number(&[*d1, *d2])?);
        let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*mi1, *mi2])?, number(&[*s1, *s2])?);
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (fraction, zone) = match rest {
            [b'.', digits @ ..] => {
                let length = digits.iter().take_while(|digit| digit.is_ascii_digit()).count();
                if length == 0 {
                    return None;
                }
                let (digits, zone) = digits.split_at_checked(length)?;
                (millis_of(digits)?, zone)
            }
            zone => (0, zone),
        };
        let offset_minutes = match zone {
            [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
                if *sign == b'-' { minutes.checked_neg()? } else { minutes }
            }
            _ => return None,
        };
        let minutes = days_from_civil(year, month, day)?
            .checked_mul(24 * 60)?
            .checked_add(hour.checked_mul(60)?)?
            .checked_add(minute)?
            .checked_sub(offset_minutes)?;
        let millis = minutes
            .checked_mul(MINUTE)?
            .checked_add(second.min(59).checked_mul(SECOND)?)?
            .checked_add(fraction)?;
        (FIRST..=LAST).contains(&millis).then_some(Self(millis))
    }

    /// Writes RFC 3339 in UTC, with milliseconds only where there are any: `2026-01-20T10:00:00Z`.
    ///
    /// Instants outside the years 0 to 9999 are written as the nearest that has a form.
    pub fn to_rfc3339(self) -> String {
        let millis = self.0.clamp(FIRST, LAST);
        let (year, month, day) = civil_from_days(millis.div_euclid(DAY));
        let within = millis.rem_euclid(DAY);
        let fraction = within % SECOND;
        // By hand: a page of fifty devices has a hundred times in it, and `format!` takes a microsecond over each.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let pairs = [
            (0, year / 100),
            (2, year % 100),
            (5, month),
            (8, day),
            (11, within / HOUR),
            (14, within % HOUR / MINUTE),
            (17, within % MINUTE / SECOND),
            (20, fraction / 10),
        ];
        for (place, number) in pairs {
            let number = u8::try_from(number).unwrap_or_default();
            if let Some([tens, ones]) = text.get_mut(place..).and_then(|rest| rest.first_chunk_mut()) {
                (*tens, *ones) = (digit(number / 10), digit(number % 10));
            }
        }
        let [.., point, _, _, thousandths, _] = &mut text;
        *thousandths = digit(u8::try_from(fraction % 10).unwrap_or_default());
        let length = if fraction == 0 {
            *point = b'Z';
            20
        } else {
            24
        };
        text.get(..length).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default().to_owned()
    }

    /// An instant out of a number that somebody else wrote; `None` outside the years 1970 to 9999, where
    /// it could be stored but not be written as text and read back.
    pub fn from_outside(millis: i64) -> Option<Self> {
        (0..=LAST).contains(&millis).then_some(Self(millis))
    }

    /// Whole hours since the epoch, rounded down: the unit of rollups and of device passwords.
    pub fn hour(self) -> i64 {
        self.0.div_euclid(HOUR)
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    /// The instant that many milliseconds later (earlier when negative), at the ends of the range at most.
    #[must_use]
    pub fn plus(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this instant; negative if it lies before.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `2026-01-20`, the UTC day as it stands in object keys.
    pub fn date(self) -> String {
        self.to_rfc3339().get(..10).unwrap_or_default().to_owned()
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl Serialize for UnixMillis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for UnixMillis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_rfc3339(&text)
            .ok_or_else(|| de::Error::custom("an RFC 3339 time, like 2026-01-20T10:00:00Z, was expected"))
    }
}

/// Serde for the places where an instant is a number of Unix milliseconds: D1 rows and EMQX's events.
pub mod as_millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::UnixMillis;

    /// Writes the number.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(time: &UnixMillis, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.0)
    }

    /// Reads the number.
    ///
    /// # Errors
    /// When there is no integer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMillis, D::Error> {
        i64::deserialize(deserializer).map(UnixMillis)
    }
}

/// As [`as_millis`], where the number may be null or missing.
pub mod as_optional_millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::UnixMillis;

    /// Writes the number or null.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(time: &Option<UnixMillis>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_i64(time.0),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the number or null.
    ///
    /// # Errors
    /// When there is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMillis>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(UnixMillis))
    }
}

/// A decimal digit as text.
fn digit(number: u8) -> u8 {
    b'0'.saturating_add(number)
}

/// Decimal digits to a number; `None` if any is not a digit.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0_i64, |value, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        value.checked_mul(10)?.checked_add(i64::from(digit))
    })
}

/// `.25` is 250 milliseconds, `.0009` none.
fn millis_of(fraction: &[u8]) -> Option<i64> {
    (0..3).try_fold(0_i64, |value, place| {
        let digit = number(&[fraction.get(place).copied().unwrap_or(b'0')])?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    // Years begin in March, so that the leap day is the last of its year.
    let (year, month) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year =
        month.checked_mul(153)?.checked_add(2)?.checked_div(5)?.checked_add(day)?.checked_sub(1)?;
    let day_of_era = year_of_era
        .checked_mul(365)?
        .checked_add(year_of_era / 4)?
        .checked_sub(year_of_era / 100)?
        .checked_add(day_of_year)?;
    era.checked_mul(146_097)?.checked_add(day_of_era)?.checked_sub(719_468)
}

#[expect(clippy::arithmetic_side_effects, reason = "`days` is clamped by the caller to the years 0 to 9999")]
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400 + i64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_instants_read_and_write() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-20T10:00:00Z", 1_768_903_200_000),
            ("2024-02-29T23:59:59.999Z", 1_709_251_199_999),
            ("1969-12-31T23:59:59.500Z", -500),
            ("0000-01-01T00:00:00Z", FIRST),
            ("9999-12-31T23:59:59.999Z", LAST),
        ] {
            assert_eq!(UnixMillis::parse_rfc3339(text), Some(UnixMillis(millis)), "{text}");
            assert_eq!(UnixMillis(millis).to_rfc3339(), text);
        }
    }

    #[test]
    fn offsets_fractions_and_leap_seconds_are_understood() {
        let base = UnixMillis::parse_rfc3339("2026-01-20T10:00:00Z").unwrap();
        for (text, difference) in [
            ("2026-01-20T11:00:00+01:00", 0),
            ("2026-01-20T04:30:00-05:30", 0),
            ("2026-01-20T10:00:00.25Z", 250),
            ("2026-01-20t10:00:00.0009z", 0),
            ("2026-01-20 10:00:60Z", 59_000),
        ] {
            assert_eq!(UnixMillis::parse_rfc3339(text), Some(base.plus(difference)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "2026-01-20",
            "2026-01-20T10:00:00",
            "2026-01-20T10:00:00+01",
            "2026-02-29T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-00-01T10:00:00Z",
            "2026-01-00T10:00:00Z",
            "2026-01-20T24:00:00Z",
            "2026-01-20T10:60:00Z",
            "2026-01-20T10:00:61Z",
            "2026-01-20T10:00:00.Z",
            "2026-01-20T10:00:00Zx",
            "1900-02-29T10:00:00Z",
            "é026-01-20T10:00:00Z",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(UnixMillis::parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_survives_its_text(millis in FIRST..=LAST) {
            let time = UnixMillis(millis);
            prop_assert_eq!(UnixMillis::parse_rfc3339(&time.to_rfc3339()), Some(time));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}") {
            let _ = UnixMillis::parse_rfc3339(&text);
        }

        #[test]
        fn later_days_have_later_numbers(days in -700_000_i64..2_900_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), Some(days));
            prop_assert!((1..=days_in_month(year, month)).contains(&day));
        }
    }

    #[test]
    fn the_hour_of_the_contracts_vector() {
        let time = UnixMillis::parse_rfc3339("2026-01-20T10:00:00Z").unwrap();
        assert_eq!(time.hour(), 491_362);
        assert_eq!(time.date(), "2026-01-20");
    }
}
