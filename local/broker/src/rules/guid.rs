//! Message ids, as `emqx_guid` makes them: 64 bits of microseconds since the epoch, 48 bits of node
//! and process, 16 bits of sequence, written as 32 upper-case hex digits. So they sort by time.

use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

/// Makes ids, each once.
#[derive(Debug)]
pub struct Guids {
    node: u64,
    /// Time and sequence of the last id.
    last: Mutex<(u64, u16)>,
}

impl Guids {
    /// A maker with a random node part.
    pub fn new() -> Self {
        Self { node: RandomState::new().hash_one("rs1-broker") & 0xFFFF_FFFF_FFFF, last: Mutex::new((0, 0)) }
    }

    /// The next id at `now`, in microseconds since the epoch.
    pub fn next(&self, now: u64) -> String {
        let (time, sequence) = {
            let mut last = self.last.lock();
            *last = match *last {
                // A clock that stands still or goes back must not repeat an id.
                (time, u16::MAX) if now <= time => (time.saturating_add(1), 0),
                (time, sequence) if now <= time => (time, sequence.saturating_add(1)),
                _ => (now, 0),
            };
            *last
        };
        format!("{time:016X}{:012X}{sequence:04X}", self.node)
    }
}

impl Default for Guids {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_32_hex_digits_that_begin_with_the_time_and_never_repeat() {
        let guids = Guids::new();
        let first = guids.next(0x0006_532A_9C1F_7B9D);
        assert_eq!(first.len(), 32);
        assert!(first.starts_with("0006532A9C1F7B9D"), "{first}");
        let mut all: Vec<String> = (0..70_000).map(|_| guids.next(0x0006_532A_9C1F_7B9D)).collect();
        let made = all.clone();
        all.sort();
        all.dedup();
        assert_eq!(all, made, "ids made in one microsecond are distinct and in order");
    }
}
