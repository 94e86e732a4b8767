//! How updates go wrong on demand: which devices misbehave, and in which way.
//!
//! A fault is asked for by a share of the fleet or by a number of devices, and falls on exactly so many.
//! They are spread evenly over the cohorts, so that each stage of a rollout meets about its share: with
//! bare dice a first stage of twenty devices would often meet none.

use rs1_domain::DeviceId;
use rs1_domain::time::MINUTE;
use sha2::{Digest as _, Sha256};

/// How an update ends on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The image is installed and runs.
    #[default]
    Good,
    /// It says that it will never take the image, for want of memory.
    Refuse,
    /// Every download breaks off, after each wait.
    FailDownload,
    /// A bit of the flash is bad, and the hash does not match.
    FailHash,
    /// It believes nobody's signature.
    FailSignature,
    /// The image cannot be made the one to boot from.
    FailInstall,
    /// The new image does not come up, and the boot loader goes back to the old one.
    Rollback,
    /// It hears the trigger and does nothing.
    Silent,
    /// It says that it downloads, and nothing after that.
    Stuck,
    /// It downloads the image again and again.
    Loop,
    /// It loses its power in the middle of the first download, and forgets the trigger.
    PowerCut,
}

/// How a device reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Once, in order, at once.
    #[default]
    Plain,
    /// Not at all: only its state tells.
    Mute,
    /// Each report twice.
    Twice,
    /// Each report minutes after the fact.
    Late,
    /// Each two reports the wrong way round.
    Shuffled,
    /// It also repeats itself about a rollout that is not this one.
    Stray,
    /// Minutes after an update's last report all of them again, in any order.
    Replayed,
}

/// What one device does of all that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// How its updates end.
    pub outcome: Outcome,
    /// How it reports.
    pub manner: Manner,
    /// Whether its downloads are cut off a few times on their way.
    pub cuts: bool,
    /// Whether its signal is too weak at first.
    pub weak: bool,
    /// Whether its clock is wrong.
    pub skewed: bool,
}

/// How far a wrong clock is off: less than the quarter of an hour for which a trigger is good.
const SKEW_MS: i64 = 10 * MINUTE;

impl Fate {
    /// How far the clock of a device with this fate is off, in milliseconds.
    pub fn skew(self, random: &mut fastrand::Rng) -> i64 {
        if self.skewed { random.i64(SKEW_MS.saturating_neg()..=SKEW_MS) } else { 0 }
    }
}

/// What a fault changes of a fate.
type Change = fn(&mut Fate);

/// The faults by name. Those of one group exclude each other.
const GROUPS: &[&[(&str, Change)]] = &[
    &[
        ("refuse", |fate| fate.outcome = Outcome::Refuse),
        ("fail-download", |fate| fate.outcome = Outcome::FailDownload),
        ("fail-hash", |fate| fate.outcome = Outcome::FailHash),
        ("fail-signature", |fate| fate.outcome = Outcome::FailSignature),
        ("fail-install", |fate| fate.outcome = Outcome::FailInstall),
        ("rollback", |fate| fate.outcome = Outcome::Rollback),
        ("silent", |fate| fate.outcome = Outcome::Silent),
        ("stuck", |fate| fate.outcome = Outcome::Stuck),
        ("loop", |fate| fate.outcome = Outcome::Loop),
        ("power-cut", |fate| fate.outcome = Outcome::PowerCut),
    ],
    &[
        ("mute", |fate| fate.manner = Manner::Mute),
        ("twice", |fate| fate.manner = Manner::Twice),
        ("late", |fate| fate.manner = Manner::Late),
        ("shuffle", |fate| fate.manner = Manner::Shuffled),
        ("stray", |fate| fate.manner = Manner::Stray),
        ("replay", |fate| fate.manner = Manner::Replayed),
    ],
    &[("cuts", |fate| fate.cuts = true)],
    &[("weak", |fate| fate.weak = true)],
    &[("skew", |fate| fate.skewed = true)],
];

/// How many devices.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Share(f64),
    Count(usize),
}

/// Which fault falls on how many devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OtaFaults(Vec<(&'static str, Amount)>);

impl OtaFaults {
    /// Reads `name=value` pairs with commas between; a value is a share (`3%`) or a number of devices
    /// (`60`), and a name alone is all of them.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut faults = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, "100%"));
            let Some((name, _)) = GROUPS.iter().copied().flatten().find(|(known, _)| *known == name.trim())
            else {
                return Err(format!("there is no fault {name:?}; there are {}", Self::names().join(", ")));
            };
            if faults.iter().any(|(known, _)| known == name) {
                return Err(format!("{name} is there twice"));
            }
            faults.push((*name, amount(name, value.trim())?));
        }
        for group in GROUPS {
            let shares = faults.iter().filter(|(name, _)| group.iter().any(|(known, _)| known == name));
            let shares =
                shares.map(|(_, amount)| if let Amount::Share(share) = amount { *share } else { 0.0 });
            if shares.sum::<f64>() > 1.000_001 {
                let names: Vec<_> = group.iter().map(|(name, _)| *name).collect();
                return Err(format!("{} must not add up to more than 100%", names.join(", ")));
            }
        }
        Ok(Self(faults))
    }

    /// Every fault's name.
    pub fn names() -> Vec<&'static str> {
        GROUPS.iter().copied().flatten().map(|(name, _)| *name).collect()
    }

    /// The fates of the devices of a fleet, in their order. They follow from the seed alone.
    pub fn fates(&self, seed: u64, devices: &[&DeviceId]) -> Vec<Fate> {
        let mut fates = vec![Fate::default(); devices.len()];
        self.strike(seed, devices, |index, _, change| {
            if let Some(fate) = fates.get_mut(index) {
                change(fate);
            }
        });
        fates
    }

    /// The names of the faults of each device.
    pub fn of_each(&self, seed: u64, devices: &[&DeviceId]) -> Vec<Vec<&'static str>> {
        let mut names = vec![Vec::new(); devices.len()];
        self.strike(seed, devices, |index, name, _| {
            if let Some(names) = names.get_mut(index) {
                names.push(name);
            }
        });
        names
    }

    /// Lets each fault fall on its devices, named by their place.
    fn strike(&self, seed: u64, devices: &[&DeviceId], mut on: impl FnMut(usize, &'static str, Change)) {
        let mut order: Vec<usize> = (0..devices.len()).collect();
        order.sort_by_cached_key(|index| devices.get(*index).map(|device| (cohort(device), *device)));
        for group in GROUPS {
            let mut free: Vec<Option<usize>> = order.iter().copied().map(Some).collect();
            for (name, change) in *group {
                let asked = self.0.iter().find(|(known, _)| known == name).map(|(_, amount)| *amount);
                let count = count(asked, devices.len());
                for index in spread(&mut free, count, phase(seed, name)) {
                    on(index, name, *change);
                }
            }
        }
    }
}

fn amount(name: &str, text: &str) -> Result<Amount, String> {
    let wrong =
        || format!("{name} wants a share of devices like 3%, or a number of them like 60, not {text:?}");
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| wrong())?;
        return (0.0..=100.0).contains(&percent).then_some(Amount::Share(percent / 100.0)).ok_or_else(wrong);
    }
    text.parse().map(Amount::Count).map_err(|_| wrong())
}

fn count(asked: Option<Amount>, devices: usize) -> usize {
    match asked {
        None => 0,
        Some(Amount::Count(count)) => count.min(devices),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the number of devices"
        )]
        Some(Amount::Share(share)) => ((share * devices as f64).round() as usize).min(devices),
    }
}

/// Takes so many of what is free, evenly spread; where one is taken, the next that is free.
fn spread(free: &mut [Option<usize>], count: usize, phase: f64) -> Vec<usize> {
    let places = free.len();
    let mut taken = Vec::with_capacity(count);
    for number in 0..count {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "less than the number of places"
        )]
        let wanted = ((number as f64 + phase) * places as f64 / count as f64) as usize;
        let (before, from) = free.split_at_mut(wanted.min(places));
        taken.extend(from.iter_mut().chain(before).find_map(Option::take));
    }
    taken
}

/// Where between 0 and 1 a fault's spreading begins, so that two faults do not fall on the same devices.
fn phase(seed: u64, name: &str) -> f64 {
    let digest = Sha256::new().chain_update(seed.to_be_bytes()).chain_update(name).finalize();
    let first = digest.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    f64::from(first) / (f64::from(u32::MAX) + 1.0)
}

/// A device's cohort, 0 to 99 (contract, section 5).
pub fn cohort(device: &DeviceId) -> u16 {
    let digest = Sha256::digest(device.as_str());
    digest.first_chunk::<2>().map_or(0, |bytes| u16::from_be_bytes(*bytes) % 100)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::device::Identity;

    fn fleet(devices: usize) -> &'static [DeviceId] {
        static FLEET: LazyLock<Vec<DeviceId>> = LazyLock::new(|| {
            (0..1_000).map(|index| Identity::of_fleet(1, index, None).unwrap().id).collect()
        });
        &FLEET[..devices]
    }

    fn fates(text: &str, seed: u64, fleet: &[DeviceId]) -> Vec<Fate> {
        let devices: Vec<_> = fleet.iter().collect();
        OtaFaults::parse(text).unwrap().fates(seed, &devices)
    }

    fn number(fates: &[Fate], like: impl Fn(&Fate) -> bool) -> usize {
        fates.iter().filter(|fate| like(fate)).count()
    }

    #[test]
    fn the_contracts_cohort_holds() {
        assert_eq!(cohort(&DeviceId::parse("3e32e97b9d6cf5e193d3a3a7e8fd9a97").unwrap()), 63);
    }

    #[test]
    fn faults_are_read() {
        assert_eq!(OtaFaults::parse(""), Ok(OtaFaults::default()));
        let faults = OtaFaults::parse("rollback=3%, silent=60,weak").unwrap();
        assert_eq!(
            faults.0,
            [("rollback", Amount::Share(0.03)), ("silent", Amount::Count(60)), ("weak", Amount::Share(1.0))]
        );
        for wrong in
            ["explode", "rollback=x", "rollback=101%", "rollback=-1", "cuts=1,cuts=2", "silent=60%,stuck=60%"]
        {
            assert!(OtaFaults::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_falls_on_exactly_as_many_devices_as_asked() {
        let fleet = fleet(500);
        let fates = fates("fail-hash=3%,silent=30%,rollback=7,twice=50%,cuts=40%", 1, fleet);
        assert_eq!(number(&fates, |fate| fate.outcome == Outcome::FailHash), 15);
        assert_eq!(number(&fates, |fate| fate.outcome == Outcome::Silent), 150);
        assert_eq!(number(&fates, |fate| fate.outcome == Outcome::Rollback), 7);
        assert_eq!(number(&fates, |fate| fate.manner == Manner::Twice), 250);
        assert_eq!(number(&fates, |fate| fate.cuts), 200);
        let both = number(&fates, |fate| fate.cuts && fate.manner == Manner::Twice);
        assert!((50..150).contains(&both), "faults of two groups fall where they like: {both}");
    }

    #[test]
    fn every_fault_can_be_asked_for() {
        let fleet = fleet(40);
        for name in OtaFaults::names() {
            assert_eq!(
                number(&fates(&format!("{name}=10"), 1, fleet), |fate| *fate != Fate::default()),
                10,
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn each_tenth_of_the_cohorts_meets_its_share(seed: u64, percent in 2_u32..40) {
            let fleet = fleet(1_000);
            let fates = fates(&format!("rollback={percent}%"), seed, fleet);
            let mut met = [(0.0, 0.0); 10];
            for (device, fate) in fleet.iter().zip(&fates) {
                let (here, bad) = &mut met[usize::from(cohort(device) / 10)];
                *here += 1.0;
                *bad += f64::from(u8::from(fate.outcome == Outcome::Rollback));
            }
            for (here, bad) in met {
                let asked = here * f64::from(percent) / 100.0;
                prop_assert!((bad - asked).abs() <= 1.0, "{bad} of {here} where {asked} were asked for");
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}") {
            let _ = OtaFaults::parse(&text);
        }
    }
}
