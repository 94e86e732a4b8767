//! When things happen: telemetry, connecting, connecting again.

use std::time::Duration;

/// When a device sends telemetry: at `offset`, and every `period` after, measured from an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    offset: Duration,
    period: Duration,
    /// How many messages there are in all; `None` is no end.
    count: Option<u64>,
}

impl Cadence {
    /// One message now and one every `period`.
    pub fn every(period: Duration) -> Self {
        Self { offset: Duration::ZERO, period: period.max(Duration::from_millis(1)), count: None }
    }

    /// The share of device `index` when `devices` together send `rate` messages a second for
    /// `length`, evenly spread. Over all devices that makes `rate × length` messages.
    pub fn share(rate: f64, devices: u32, index: u32, length: Option<Duration>) -> Self {
        let period = Duration::try_from_secs_f64(f64::from(devices) / rate).unwrap_or(Duration::MAX);
        let offset = Duration::try_from_secs_f64(f64::from(index) / rate).unwrap_or(Duration::MAX);
        let count = length.map(|length| {
            let total = (rate * length.as_secs_f64()).round();
            // The device's messages are number index, index + devices, index + 2 × devices … of all.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count, floored at 0"
            )]
            let count = ((total - f64::from(index)) / f64::from(devices.max(1))).ceil().max(0.0) as u64;
            count
        });
        Self { offset, period: period.max(Duration::from_micros(1)), count }
    }

    /// No more than `count` messages in all.
    #[must_use]
    pub fn at_most(mut self, count: u64) -> Self {
        self.count = Some(self.count.map_or(count, |known| known.min(count)));
        self
    }

    /// When message `number` (from 0) is due after the origin; `None` if there is no such message.
    pub fn due(&self, number: u64) -> Option<Duration> {
        if self.count.is_some_and(|count| number >= count) {
            return None;
        }
        let nanos = self.period.as_nanos().checked_mul(u128::from(number))?;
        self.offset.checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
    }

    /// The first message that is due at `elapsed` after the origin or later: where a device that was
    /// away goes on. What was due meanwhile was never measured.
    pub fn next_from(&self, elapsed: Duration) -> u64 {
        let since = elapsed.saturating_sub(self.offset).as_nanos();
        u64::try_from(since.div_ceil(self.period.as_nanos().max(1))).unwrap_or(u64::MAX)
    }
}

/// When device `index` of `devices` connects, if all are to within `stagger`.
pub fn connects_after(stagger: Duration, devices: u32, index: u32) -> Duration {
    stagger.mul_f64(f64::from(index) / f64::from(devices.max(1)))
}

/// Why a device has to connect again; it decides how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The connection ended although it stood, or was cut on purpose.
    Lost,
    /// All devices lost theirs at once: they spread out, or they would strike again together.
    Storm,
    /// So many attempts in a row failed.
    Failed(u32),
}

/// How long a device waits before it connects again: longer after each failure, up to a minute, and
/// never two devices alike.
pub fn backoff(again: Again, random: &mut fastrand::Rng) -> Duration {
    let most: f64 = match again {
        Again::Lost => 1.0,
        Again::Storm => 5.0,
        Again::Failed(times) => 2_f64.powi(i32::try_from(times).unwrap_or(6).clamp(0, 6)).min(60.0),
    };
    Duration::from_secs_f64(most * (0.2 + 0.8 * random.f64()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_interval_begins_at_once() {
        let cadence = Cadence::every(Duration::from_mins(1));
        assert_eq!(cadence.due(0), Some(Duration::ZERO));
        assert_eq!(cadence.due(2), Some(Duration::from_mins(2)));
        assert_eq!(cadence.at_most(2).due(2), None);
        assert_eq!(cadence.at_most(2).at_most(5).due(2), None);
    }

    #[test]
    fn a_device_that_was_away_goes_on_with_what_is_due_next() {
        let cadence = Cadence::every(Duration::from_mins(1));
        for (elapsed, number) in [(0, 0), (1, 1), (60, 1), (61, 2), (3600, 60)] {
            assert_eq!(cadence.next_from(Duration::from_secs(elapsed)), number, "{elapsed} s");
        }
    }

    #[test]
    fn the_devices_of_a_fleet_connect_one_after_another() {
        let at = |index| connects_after(Duration::from_secs(10), 100, index);
        assert_eq!((at(0), at(50)), (Duration::ZERO, Duration::from_secs(5)));
        assert!(at(99) < Duration::from_secs(10));
    }

    proptest! {
        #[test]
        fn shares_add_up_to_the_whole(rate in 1.0_f64..1_000.0, devices in 1_u32..300, seconds in 1_u64..100) {
            let length = Duration::from_secs(seconds);
            let counts = (0..devices).map(|index| {
                let cadence = Cadence::share(rate, devices, index, Some(length));
                let dues: Vec<_> = (0..100_001).map_while(|number| cadence.due(number)).collect();
                // A message in the last instant may be due a rounding error past the end.
                assert!(dues.iter().all(|due| *due < length + Duration::from_secs_f64(1.0 / rate)), "{dues:?}");
                dues.len()
            });
            prop_assert_eq!(counts.sum::<usize>() as f64, (rate * length.as_secs_f64()).round());
        }

        #[test]
        fn what_is_next_is_due_and_what_was_before_is_not(offset in 0_u32..50, elapsed_ms in 0_u64..10_000_000) {
            let cadence = Cadence::share(7.0, 50, offset, None);
            let elapsed = Duration::from_millis(elapsed_ms);
            let next = cadence.next_from(elapsed);
            prop_assert!(cadence.due(next).unwrap() >= elapsed);
            prop_assert!(next == 0 || cadence.due(next - 1).unwrap() < elapsed);
        }

        #[test]
        fn waiting_grows_and_ends_at_a_minute(seed: u64, times in 0_u32..1_000) {
            let mut random = fastrand::Rng::with_seed(seed);
            let wait = backoff(Again::Failed(times), &mut random);
            prop_assert!(wait >= Duration::from_millis(200) && wait <= Duration::from_mins(1));
            prop_assert!(times < 6 || wait >= Duration::from_secs(12));
        }
    }
}
