//! What became of each device, by its own account: who really runs what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rs1_domain::{DeviceId, FirmwareVersion, UnixMillis};
use serde::Serialize;

use crate::clock;
use crate::life::{Happening, Witness};
use crate::ota::Update;
use crate::ota::faults::cohort;
use crate::tally::Tally;

/// One device of the fleet.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its id.
    pub device_id: DeviceId,
    /// Its cohort, 0 to 99.
    pub cohort: u16,
    /// The version that it runs.
    pub firmware_version: FirmwareVersion,
    /// Restarts since the fleet began.
    pub boots: u32,
    /// Triggers heard.
    pub triggers: u32,
    /// Updates begun.
    pub updates: u32,
    /// Bytes of images that came.
    pub fetched: u64,
    /// The last status that it reported.
    pub status: Option<&'static str>,
    /// Every report: when it was handed to the broker in Unix milliseconds, and its status.
    pub reports: Vec<(i64, &'static str)>,
}

/// All devices of the fleet.
#[derive(Debug, Default)]
pub struct Roster(Vec<Arc<Mutex<Entry>>>);

impl Roster {
    /// Adds a device that runs that version, and gives back who watches it.
    pub fn seat(
        &mut self,
        device: DeviceId,
        firmware: FirmwareVersion,
        tally: &Arc<Tally>,
    ) -> Arc<dyn Witness> {
        let entry = Arc::new(Mutex::new(Entry {
            cohort: cohort(&device),
            device_id: device,
            firmware_version: firmware,
            boots: 0,
            triggers: 0,
            updates: 0,
            fetched: 0,
            status: None,
            reports: Vec::new(),
        }));
        self.0.push(Arc::clone(&entry));
        Arc::new(Seat { entry, tally: Arc::clone(tally) })
    }

    /// Every device as it is now.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.iter().map(|entry| entry.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }
}

/// How many devices have each value of something.
pub fn distribution(entries: &[Entry], of: impl Fn(&Entry) -> String) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        let count: &mut u64 = counts.entry(of(entry)).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

/// Watches one device for the roster and the tally.
struct Seat {
    entry: Arc<Mutex<Entry>>,
    tally: Arc<Tally>,
}

impl Witness for Seat {
    fn saw(&self, happening: &Happening<'_>) {
        self.tally.saw(happening);
        let Happening::Update(update) = happening else { return };
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        entry.note(update, clock::now());
    }
}

impl Entry {
    fn note(&mut self, update: &Update<'_>, now: UnixMillis) {
        match update {
            Update::Heard => self.triggers = self.triggers.saturating_add(1),
            Update::Begins(_) => self.updates = self.updates.saturating_add(1),
            Update::Came(bytes) => self.fetched = self.fetched.saturating_add(*bytes),
            Update::Reported { status, .. } => {
                self.status = Some(status.name());
                self.reports.push((now.0, status.name()));
            }
            Update::Booted(boot) => {
                self.boots = self.boots.saturating_add(boot.boots);
                if let Some((version, _)) = &boot.image {
                    self.firmware_version = version.clone();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Identity;
    use crate::ota::{Boot, Status};

    const SUCCESS: Update<'_> = Update::Reported { status: Status::Success, copy: false };

    #[test]
    fn a_seat_tells_the_roster_and_the_tally() {
        let (tally, mut roster) = (Arc::new(Tally::default()), Roster::default());
        let version = |text| FirmwareVersion::parse(text).unwrap();
        let seats: Vec<_> = (0..2)
            .map(|index| {
                roster.seat(Identity::of_fleet(1, index, None).unwrap().id, version("1.2.0"), &tally)
            })
            .collect();
        let boot = Boot { image: Some((version("1.3.0"), 1)), boots: 1, reason: "software" };
        for update in [Update::Heard, Update::Came(4_096), SUCCESS, Update::Booted(&boot)] {
            seats[1].saw(&Happening::Update(&update));
        }
        let entries = roster.entries();
        assert_eq!(
            distribution(&entries, |entry| entry.firmware_version.to_string()),
            BTreeMap::from([("1.2.0".to_owned(), 1), ("1.3.0".to_owned(), 1)])
        );
        assert_eq!((entries[1].triggers, entries[1].boots, entries[1].fetched), (1, 1, 4_096));
        assert_eq!((entries[1].status, entries[0].status), (Some("success"), None));
        assert_eq!(tally.totals().ota.triggers, 1);
    }
}
