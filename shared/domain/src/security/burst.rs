//! How a flood is kept from becoming as many messages.

use super::{OTHERS, SecurityKind, TOLERATED_FAILURES, WINDOW};
use crate::UnixMillis;
use crate::time::{MINUTE, SECOND};

/// Sources that are told apart at a time.
const MOST_SOURCES: usize = 500;
/// Messages that may be sent beyond what must be, at once …
const CALM: i64 = 20;
/// … and one more each time this has passed.
const REFILL: i64 = 6 * SECOND;

/// What an isolate remembers of those who do what is not allowed.
///
/// As long as little happens, each occurrence is told at once. In a flood, of each source and window are told the first one (of
/// failed authentications the one that is too many), and once a minute how many there were since: so a flood costs as many
/// messages as it has sources, whatever is in it and however long it lasts. What a source did in the minute before it fell
/// silent may go untold; that it did something never does.
#[derive(Debug)]
pub struct Bursts {
    sources: Vec<Source>,
    spare: i64,
    refilled_at: UnixMillis,
}

impl Default for Bursts {
    fn default() -> Self {
        Self { sources: Vec::new(), spare: CALM, refilled_at: UnixMillis(0) }
    }
}

#[derive(Debug)]
struct Source {
    kind: SecurityKind,
    name: String,
    window: i64,
    /// Occurrences in this window.
    seen: u32,
    /// Occurrences that nobody was told of.
    held: u32,
    told_at: UnixMillis,
}

/// What is to be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Of whom: the source that was named, or [`OTHERS`] if there are too many.
    pub source: String,
    /// How often it happened since the last time.
    pub count: u32,
}

impl Bursts {
    /// Counts one occurrence, and says what is to be told of it, if anything.
    pub fn take(&mut self, kind: SecurityKind, source: &str, at: UnixMillis) -> Option<Told> {
        self.refill(at);
        let known = self.source(kind, source, at)?;
        known.seen = known.seen.saturating_add(1);
        known.held = known.held.saturating_add(1);
        let first =
            if kind == SecurityKind::AuthFailureRepeated { TOLERATED_FAILURES.saturating_add(1) } else { 1 };
        let due = known.seen == first || at.since(known.told_at) >= MINUTE;
        if !due {
            if self.spare == 0 {
                return None;
            }
            self.spare = self.spare.saturating_sub(1);
        }
        let known = self.source(kind, source, at)?;
        known.told_at = at;
        Some(Told { source: known.name.clone(), count: std::mem::take(&mut known.held) })
    }

    /// What could not be told after all is told with the next.
    pub fn put_back(&mut self, kind: SecurityKind, told: &Told) {
        let source = self.sources.iter_mut().find(|known| known.kind == kind && known.name == told.source);
        if let Some(source) = source {
            source.held = source.held.saturating_add(told.count);
            source.seen = 0;
        }
    }

    fn refill(&mut self, at: UnixMillis) {
        let passed = at.since(self.refilled_at);
        let more = passed.checked_div_euclid(REFILL).unwrap_or_default();
        if more != 0 {
            self.spare = self.spare.saturating_add(more.max(0)).min(CALM);
            self.refilled_at = at;
        }
    }

    /// The source of that name, as of this window; of too many the one that stands for the rest.
    fn source(&mut self, kind: SecurityKind, name: &str, at: UnixMillis) -> Option<&mut Source> {
        let window = at.0.div_euclid(WINDOW);
        let place = |sources: &[Source], name: &str| {
            sources.iter().position(|known| known.kind == kind && known.name == name)
        };
        let mut found = place(&self.sources, name);
        if found.is_none() && self.sources.len() >= MOST_SOURCES {
            self.sources.retain(|known| known.window == window);
        }
        if found.is_none() {
            let full = self.sources.len() >= MOST_SOURCES;
            let name = if full { OTHERS } else { name };
            found = place(&self.sources, name);
            if found.is_none() {
                found = Some(self.sources.len());
                let name = name.to_owned();
                self.sources.push(Source { kind, name, window, seen: 0, held: 0, told_at: at });
            }
        }
        let known = self.sources.get_mut(found?)?;
        if known.window != window {
            known.window = window;
            known.seen = 0;
        }
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACL: SecurityKind = SecurityKind::AclViolation;
    const AUTH: SecurityKind = SecurityKind::AuthFailureRepeated;
    const START: UnixMillis = UnixMillis(1_763_690_400_000);

    fn counts(bursts: &mut Bursts, kind: SecurityKind, times: impl IntoIterator<Item = i64>) -> Vec<u32> {
        let told = times.into_iter().map(|at| bursts.take(kind, "203.0.113.7", START.plus(at)));
        told.flatten().map(|told| told.count).collect()
    }

    /// Uses up what may be sent beyond what must be.
    fn flooded() -> Bursts {
        let mut bursts = Bursts::default();
        while bursts.take(ACL, "198.51.100.1", START).is_some() {}
        bursts
    }

    #[test]
    fn while_little_happens_each_time_is_told() {
        assert_eq!(counts(&mut Bursts::default(), ACL, 0..15), [1; 15]);
        assert_eq!(counts(&mut Bursts::default(), AUTH, 0..15), [1; 15]);
        let slowly = (0..500).map(|step| step * 7 * SECOND);
        assert_eq!(counts(&mut Bursts::default(), ACL, slowly), [1; 500]);
    }

    #[test]
    fn in_a_flood_the_first_is_told_and_then_a_number_a_minute() {
        let mut bursts = flooded();
        assert_eq!(counts(&mut bursts, ACL, 0..1_000), [1]);
        assert_eq!(counts(&mut bursts, ACL, [MINUTE]), [1_000]);
        let mut bursts = flooded();
        assert_eq!(counts(&mut bursts, AUTH, 0..1_000), [6], "as soon as it is too many");
        assert_eq!(counts(&mut bursts, AUTH, [MINUTE + 5]), [995]);
    }

    #[test]
    fn another_window_is_another_first() {
        let mut bursts = flooded();
        bursts.take(ACL, "203.0.113.7", START);
        bursts.take(ACL, "203.0.113.7", START.plus(1));
        let (mut told, mut at) = (Vec::new(), START.plus(WINDOW - 30 * SECOND));
        bursts.take(ACL, "203.0.113.7", at);
        while bursts.spare > 0 {
            bursts.take(ACL, "198.51.100.1", at);
        }
        at = START.plus(WINDOW);
        told.extend(bursts.take(ACL, "203.0.113.7", at));
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn ten_thousand_from_fifty_sources_are_few_messages() {
        let mut bursts = Bursts::default();
        let (mut messages, mut total) = (0_u32, 0_u32);
        for number in 0..10_000_i64 {
            let source = format!("203.0.113.{}", number % 50);
            let kind = if number / 50 % 2 == 0 { ACL } else { AUTH };
            if let Some(told) = bursts.take(kind, &source, START.plus(number * 6)) {
                messages += 1;
                total += told.count;
            }
        }
        assert!(messages <= 50 + 50 + 20 + 10, "{messages} messages");
        assert!(total >= 50 * 7, "{total}");
    }

    #[test]
    fn any_number_of_sources_needs_bounded_memory_and_few_messages() {
        let mut bursts = Bursts::default();
        let mut messages = 0;
        for number in 0..50_000 {
            let told = bursts.take(ACL, &format!("source {number}"), START.plus(number / 10));
            messages += usize::from(told.is_some());
        }
        assert!(bursts.sources.len() <= MOST_SOURCES + SecurityKind::ALL.len());
        assert!(messages <= MOST_SOURCES + 30, "{messages}");
        let told = bursts.take(ACL, "source 50000", START.plus(2 * MINUTE)).unwrap();
        assert_eq!(told.source, OTHERS);
        assert!(told.count > 40_000, "{}", told.count);
        let told = bursts.take(ACL, "source 50001", START.plus(WINDOW)).unwrap();
        assert_eq!(told.source, "source 50001", "the next window has room again");
    }

    #[test]
    fn what_could_not_be_told_is_told_with_the_next() {
        let mut bursts = flooded();
        let told = bursts.take(ACL, "203.0.113.7", START).unwrap();
        bursts.put_back(ACL, &told);
        assert_eq!(counts(&mut bursts, ACL, [1]), [2]);
    }

    #[test]
    fn a_clock_that_goes_back_harms_nothing() {
        let mut bursts = flooded();
        bursts.take(ACL, "203.0.113.7", START);
        assert_eq!(counts(&mut bursts, ACL, [-2 * WINDOW]), [1]);
    }
}
