//! Permits to download that were read a moment ago.
//!
//! A device fetches an image in dozens of ranges within seconds. Whether it may have it is asked of the database when a
//! download begins, and of one that goes on every other second: to ask at each range would cost more than the bytes. So an
//! abort or a withdrawal is felt within [`GOOD_FOR`] by a download that is under way, and at once by all others.

use litemap::LiteMap;
use rs1_domain::UnixMillis;
use rs1_domain::time::SECOND;
use rs1_store::firmware::Permit;

/// For how long a permit is good without being read again.
pub const GOOD_FOR: i64 = 2 * SECOND;
/// Most permits that an isolate remembers: some 300 KB.
const MOST: usize = 1_000;

/// The permits that an isolate remembers, by who may have what.
#[derive(Debug, Default)]
pub struct Permits(LiteMap<String, (UnixMillis, Permit)>);

impl Permits {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A permit that is still good.
    pub fn find(&self, of: &str, now: UnixMillis) -> Option<Permit> {
        let (read_at, permit) = self.0.get(of)?;
        (0..GOOD_FOR).contains(&now.since(*read_at)).then(|| permit.clone())
    }

    /// Remembers a permit as it was read at `now`.
    pub fn note(&mut self, of: String, permit: Permit, now: UnixMillis) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(of, (now, permit));
    }

    /// Forgets a permit: its device is refused.
    pub fn forget(&mut self, of: &str) {
        self.0.remove(of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

    fn permit(begun: u32) -> Permit {
        Permit {
            sha256: "ab".repeat(32),
            size: 100,
            yanked_at: None,
            key_revoked_at: None,
            status: Some("STAGED".to_owned()),
            state: Some("downloading".to_owned()),
            attempt: Some(1),
            begun,
            refused_at: None,
        }
    }

    #[test]
    fn a_permit_is_good_for_two_seconds_for_whom_it_was_read() {
        let mut permits = Permits::new();
        assert_eq!(permits.find("a", NOW), None);
        permits.note("a".to_owned(), permit(1), NOW);
        assert_eq!(permits.find("a", NOW.plus(1_999)), Some(permit(1)));
        assert_eq!(permits.find("a", NOW.plus(2_000)), None);
        assert_eq!(permits.find("a", NOW.plus(-1)), None, "a clock that was set back makes it no younger");
        assert_eq!(permits.find("b", NOW), None);
        permits.note("a".to_owned(), permit(2), NOW.plus(2_000));
        assert_eq!(permits.find("a", NOW.plus(3_000)), Some(permit(2)));
        permits.forget("a");
        assert_eq!(permits.find("a", NOW.plus(3_000)), None);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut permits = Permits::new();
        for device in 0..MOST * 3 {
            permits.note(device.to_string(), permit(1), NOW);
            assert!(permits.0.len() <= MOST);
            assert!(permits.find(&device.to_string(), NOW).is_some());
        }
    }
}
