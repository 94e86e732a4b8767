//! Faults on demand: what may go wrong between a device and the broker, and how often.

use std::time::Duration;

/// How often which fault strikes. Nothing does by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// The share of telemetry messages in whose place the TCP connection is cut, without a DISCONNECT.
    pub drop: f64,
    /// The share of telemetry messages that are published twice.
    pub duplicate: f64,
    /// The share of telemetry messages that are sent after the one that follows them.
    pub reorder: f64,
    /// How far clocks may be off, either way.
    pub skew: Duration,
    /// How often all devices lose their connection at the same time.
    pub storm: Option<Duration>,
}

/// What becomes of one telemetry message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent.
    Send,
    /// The connection is cut instead.
    Cut,
    /// It is sent twice. The broker gives each copy an id of its own, so to the cloud these are two
    /// messages; the accounts count two.
    Twice,
    /// It is sent after the next one.
    Late,
}

impl Faults {
    /// What `--faults` takes, for its help.
    pub const FORM: &'static str = "drop=SHARE,duplicate=SHARE,reorder=SHARE,skew=SECONDS,storm=SECONDS";

    /// Reads `name=value` pairs with commas between.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("{part:?} is not name=value; faults are {}", Self::FORM));
            };
            let number = || {
                value
                    .trim()
                    .parse::<f64>()
                    .ok()
                    .filter(|number| number.is_finite() && *number >= 0.0)
                    .ok_or_else(|| format!("{name} wants a number from 0, not {value:?}"))
            };
            let share = || {
                number()
                    .ok()
                    .filter(|share| *share <= 1.0)
                    .ok_or_else(|| format!("{name} wants a share of messages from 0 to 1, not {value:?}"))
            };
            let span = || Duration::try_from_secs_f64(number()?).map_err(|error| format!("{name}: {error}"));
            match name.trim() {
                "drop" => faults.drop = share()?,
                "duplicate" => faults.duplicate = share()?,
                "reorder" => faults.reorder = share()?,
                "skew" => faults.skew = span()?,
                "storm" => faults.storm = Some(span()?).filter(|every| !every.is_zero()),
                other => return Err(format!("there is no fault {other:?}; faults are {}", Self::FORM)),
            }
        }
        if faults.drop + faults.duplicate + faults.reorder > 1.0 {
            return Err("drop, duplicate and reorder must not add up to more than 1".to_owned());
        }
        Ok(faults)
    }

    /// What becomes of the next telemetry message.
    pub fn fate(&self, random: &mut fastrand::Rng) -> Fate {
        let throw = random.f64();
        if throw < self.drop {
            Fate::Cut
        } else if throw < self.drop + self.duplicate {
            Fate::Twice
        } else if throw < self.drop + self.duplicate + self.reorder {
            Fate::Late
        } else {
            Fate::Send
        }
    }

    /// How far one device's clock is off, in milliseconds. It shows in the times it writes, never in
    /// its password: a device whose clock is hours off cannot log in at all until SNTP has set it.
    pub fn skew_of(&self, random: &mut fastrand::Rng) -> i64 {
        let most = i64::try_from(self.skew.as_millis()).unwrap_or(i64::MAX);
        random.i64(most.saturating_neg()..=most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn faults_are_read() {
        assert_eq!(Faults::parse(""), Ok(Faults::default()));
        let faults = Faults::parse("drop=0.01, duplicate=0.02,reorder=0.5,skew=300,storm=60").unwrap();
        assert_eq!(
            faults,
            Faults {
                drop: 0.01,
                duplicate: 0.02,
                reorder: 0.5,
                skew: Duration::from_mins(5),
                storm: Some(Duration::from_mins(1)),
            }
        );
        for wrong in ["drop", "drop=2", "drop=-1", "drop=x", "flood=1", "skew=nan", "drop=0.6,reorder=0.6"] {
            assert!(Faults::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn each_fault_strikes_as_often_as_asked(seed: u64, drop in 0.0..0.3, duplicate in 0.0..0.3, reorder in 0.0..0.3) {
            let faults = Faults { drop, duplicate, reorder, ..Faults::default() };
            let mut random = fastrand::Rng::with_seed(seed);
            let fates: Vec<_> = (0..20_000).map(|_| faults.fate(&mut random)).collect();
            for (fate, asked) in [(Fate::Cut, drop), (Fate::Twice, duplicate), (Fate::Late, reorder)] {
                let share = fates.iter().filter(|one| **one == fate).count() as f64 / 20_000.0;
                prop_assert!((share - asked).abs() < 0.03, "{fate:?}: {share} for {asked}");
            }
        }

        #[test]
        fn without_faults_everything_is_sent(seed: u64) {
            let mut random = fastrand::Rng::with_seed(seed);
            prop_assert_eq!(Faults::default().fate(&mut random), Fate::Send);
            prop_assert_eq!(Faults::default().skew_of(&mut random), 0);
        }

        #[test]
        fn clocks_are_off_by_no_more_than_asked(seed: u64, seconds in 0_u64..100_000) {
            let faults = Faults { skew: Duration::from_secs(seconds), ..Faults::default() };
            let skew = faults.skew_of(&mut fastrand::Rng::with_seed(seed));
            prop_assert!(skew.unsigned_abs() <= seconds * 1_000);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}") {
            let _ = Faults::parse(&text);
        }
    }
}
