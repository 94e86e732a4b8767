//! The accounts of all devices' updates.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::Update;
use crate::tally::{Percentiles, Spans};

/// Counters of updates, shared by all devices.
#[derive(Debug, Default)]
pub struct OtaTally {
    totals: Mutex<OtaTotals>,
    download_times: Spans,
}

/// The accounts at one moment, as they stand in the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OtaTotals {
    /// Triggers heard.
    pub triggers: u64,
    /// Triggers that nothing came of: another update was under way, or the device is silent.
    pub ignored: u64,
    /// Triggers turned down, by the reason.
    pub refused: BTreeMap<String, u64>,
    /// Triggers put off for want of signal.
    pub deferred: u64,
    /// Updates begun.
    pub begun: u64,
    /// Images downloaded to the end.
    pub downloaded: u64,
    /// Bytes of images that came.
    pub fetched_bytes: u64,
    /// Downloads that broke off.
    pub cuts: u64,
    /// Bytes that came again for a download that had broken off.
    pub resent_bytes: u64,
    /// The most of them after one cut.
    pub resent_most_bytes: u64,
    /// Downloads that began again because a range was answered with 200.
    pub restarts: u64,
    /// Images installed.
    pub installed: u64,
    /// Updates that failed, by what the device reported.
    pub failed: BTreeMap<String, u64>,
    /// Restarts into another image.
    pub booted: u64,
    /// Restarts into the image that ran before.
    pub booted_back: u64,
    /// Reports handed to the broker.
    pub reports: u64,
    /// Of them, those that a fault made: copies, replays, and reports about another rollout.
    pub report_copies: u64,
    /// Answers of the server that were not as the contract says, by what was wrong.
    pub breaches: BTreeMap<String, u64>,
    /// From the first request to the last byte.
    pub download_ms: Percentiles,
}

impl OtaTally {
    /// The accounts as they are now.
    pub fn totals(&self) -> OtaTotals {
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        OtaTotals { download_ms: self.download_times.percentiles(), ..totals }
    }

    /// Takes account of something.
    pub fn note(&self, update: &Update<'_>) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let t = &mut *totals;
        match update {
            Update::Heard => one(&mut t.triggers),
            Update::Ignored(_) => one(&mut t.ignored),
            Update::Refused(why) => one(t.refused.entry((*why).to_owned()).or_default()),
            Update::Deferred => one(&mut t.deferred),
            Update::Begins(_) => one(&mut t.begun),
            Update::Came(bytes) => add(&mut t.fetched_bytes, *bytes),
            Update::Cut { again, .. } => {
                one(&mut t.cuts);
                add(&mut t.resent_bytes, *again);
                t.resent_most_bytes = t.resent_most_bytes.max(*again);
            }
            Update::Restarted => one(&mut t.restarts),
            Update::Breach(what) => one(t.breaches.entry((*what).to_owned()).or_default()),
            Update::Downloaded(took) => {
                one(&mut t.downloaded);
                self.download_times.add(*took);
            }
            Update::Installed => one(&mut t.installed),
            Update::Failed(error) => one(t.failed.entry((*error).to_owned()).or_default()),
            Update::Booted(boot) if boot.image.is_some() => one(&mut t.booted),
            Update::Booted(_) => one(&mut t.booted_back),
            Update::Reported { copy, .. } => {
                one(&mut t.reports);
                add(&mut t.report_copies, u64::from(*copy));
            }
            Update::Downloading(_) | Update::Waits(_) => {}
        }
    }
}

fn one(counter: &mut u64) {
    add(counter, 1);
}

fn add(counter: &mut u64, more: u64) {
    *counter = counter.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_came_again_is_counted_and_the_worst_of_it_kept() {
        let tally = OtaTally::default();
        for again in [10, 30, 20] {
            tally.note(&Update::Cut { why: "cut", at: 100, again });
        }
        tally.note(&Update::Failed("sha256_mismatch"));
        tally.note(&Update::Failed("sha256_mismatch"));
        tally.note(&Update::Downloaded(Duration::from_millis(5)));
        let totals = tally.totals();
        assert_eq!((totals.cuts, totals.resent_bytes, totals.resent_most_bytes), (3, 60, 30));
        assert_eq!(totals.failed.get("sha256_mismatch"), Some(&2));
        assert_eq!((totals.downloaded, totals.download_ms.count), (1, 1));
    }
}
