//! Whether backups are what somebody who needs one hopes for: there, fresh, no smaller than they were, and gone when
//! their time is over. This system's own are judged by their rows ([`judge_own`]), the company's by the objects in their
//! bucket ([`Tally`]), and firmware by what became of its hashes ([`judge_firmware`]).
//!
//! A [`Finding`] is what a look found. It says nothing of what was found before: whether it is news is decided where
//! it is noted.

use std::collections::BTreeMap;

use rs1_domain::UnixMillis;
use rs1_domain::time::{DAY, HOUR};
use serde::Serialize;
use serde_json::{Value, json};

use crate::middle::middle;

/// How many sets before the latest one say how large it should be.
const COMPARED: usize = 7;
/// How long after its last object a set is taken for whole: until then the one before it is judged.
const SETTLED_MS: i64 = HOUR;
/// The daily trigger is every 24 hours, and a backup is minutes.
const OWN_FRESH_MS: i64 = 26 * HOUR;
/// The restore check runs every day.
const CHECK_DUE_MS: i64 = 26 * HOUR;
/// An artifact whose bytes were not looked at for so long is a fault of the watch.
const FIRMWARE_DUE_MS: i64 = 45 * DAY;
/// The most faults that a finding names.
const NAMED: usize = 20;

/// What a look at one thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// What is wrong, a sentence each; empty if all is well.
    pub faults: Vec<String>,
    /// What was seen.
    pub facts: Value,
}

/// How often something is backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Each day.
    Day,
    /// Each week.
    Week,
}

impl Every {
    /// The time from one to the next.
    fn period(self) -> i64 {
        match self {
            Self::Day => DAY,
            Self::Week => DAY.saturating_mul(7),
        }
    }

    /// The age at which the latest one is too old.
    fn stale_after(self) -> i64 {
        self.period().saturating_mul(3).div_euclid(2)
    }
}

/// What is expected of the objects under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// What their keys begin with.
    pub prefix: String,
    /// How often some come.
    pub every: Every,
    /// How many days they stay.
    pub kept_days: i64,
}

impl Watched {
    /// What a list of them must be, for people.
    pub const EXPECTED: &'static str = "must be a list like \"postgres/ daily 30, snapshots/ weekly 28\": prefix, daily or weekly, days kept";

    /// Reads a list of them, parted by commas. No text is no list, a prefix twice neither.
    pub fn read_list(text: &str) -> Option<Vec<Self>> {
        let list: Vec<Self> = text.split(',').map(Self::read).collect::<Option<_>>()?;
        let twice =
            |at: usize, one: &Self| list.iter().skip(at.saturating_add(1)).any(|it| it.prefix == one.prefix);
        (!list.iter().enumerate().any(|(at, one)| twice(at, one))).then_some(list)
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (prefix, every, days) = (words.next()?, words.next()?, words.next()?);
        let every = match every {
            "daily" => Every::Day,
            "weekly" => Every::Week,
            _ => return None,
        };
        let kept_days = days.parse().ok().filter(|days| (1..=3_650).contains(days))?;
        (words.next().is_none() && prefix.ends_with('/')).then(|| Self {
            prefix: prefix.to_owned(),
            every,
            kept_days,
        })
    }

    /// The age at which an object should have gone. Lifecycle rules act within a day, and the last of what is kept in numbers
    /// stays until the next one comes.
    fn overdue_after(&self) -> i64 {
        self.kept_days.saturating_mul(DAY).saturating_add(self.every.period()).saturating_add(DAY)
    }
}

/// The objects that came on one day: a backup may be several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set {
    bytes: u64,
    last_at: i64,
}

/// The objects under a prefix as they are listed, in memory that does not grow with them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By day since 1970, of those that are not overdue.
    sets: BTreeMap<i64, Set>,
    objects: u64,
    overdue: u64,
    an_overdue_one: Option<String>,
}

impl Tally {
    /// Takes an object in.
    pub fn add(&mut self, rule: &Watched, key: &str, size: u64, uploaded: UnixMillis, now: UnixMillis) {
        self.objects = self.objects.saturating_add(1);
        if now.since(uploaded) > rule.overdue_after() {
            self.overdue = self.overdue.saturating_add(1);
            self.an_overdue_one.get_or_insert_with(|| key.to_owned());
            return;
        }
        let set = self.sets.entry(uploaded.0.div_euclid(DAY)).or_default();
        set.bytes = set.bytes.saturating_add(size);
        set.last_at = set.last_at.max(uploaded.0);
    }

    /// What is wrong with what was listed.
    pub fn judge(&self, rule: &Watched, now: UnixMillis) -> Finding {
        let mut faults = Vec::new();
        let newest = self.sets.values().map(|set| set.last_at).max().map(UnixMillis);
        match newest {
            None => faults.push("there is no backup".to_owned()),
            Some(at) if now.since(at) > rule.every.stale_after() => {
                faults.push(format!("the latest one is of {}", at.to_rfc3339()));
            }
            Some(_) => {}
        }
        let mut settled =
            self.sets.iter().rev().filter(|(_, set)| now.since(UnixMillis(set.last_at)) >= SETTLED_MS);
        let latest = settled.next();
        let before = middle(&settled.take(COMPARED).map(|(_, set)| set.bytes).collect::<Vec<_>>());
        if let Some((day, set)) = latest
            && let Some(fault) = shrunk(&date(*day), set.bytes, before)
        {
            faults.push(fault);
        }
        if let Some(key) = &self.an_overdue_one {
            let days = rule.kept_days;
            faults
                .push(format!("{} objects are kept longer than {days} days, among them {key}", self.overdue));
        }
        let facts = json!({
            "objects": self.objects,
            "sets": self.sets.len(),
            "overdue": self.overdue,
            "latest_at": newest.map(UnixMillis::to_rfc3339),
            "latest_bytes": latest.map(|(_, set)| set.bytes),
            "usual_bytes": before,
        });
        Finding { subject: rule.prefix.clone(), faults, facts }
    }
}

/// What is wrong with a size, beside the usual one.
fn shrunk(name: &str, bytes: u64, usual: Option<u64>) -> Option<String> {
    match usual {
        _ if bytes == 0 => Some(format!("that of {name} is empty")),
        Some(usual) if bytes < usual.div_euclid(2) => {
            Some(format!("that of {name} is {bytes} bytes, less than half of the usual {usual}"))
        }
        _ => None,
    }
}

fn date(day: i64) -> String {
    UnixMillis(day.saturating_mul(DAY)).date()
}

/// A backup of the database, as its row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Which.
    pub backup_id: String,
    /// `running`, `complete` or `failed`.
    pub state: String,
    /// When it began.
    pub started_at: UnixMillis,
    /// When it ended.
    pub finished_at: Option<UnixMillis>,
    /// Bytes in R2, once complete.
    pub bytes: Option<u64>,
    /// Whether its restore check went well; `None` before there was one.
    pub check_ok: Option<bool>,
}

/// What is wrong with the database's own backups, newest first, and with their restore checks. `watched_since` is when the
/// watch began: before a day has gone by, no backup is no fault.
pub fn judge_own(backups: &[Made], watched_since: UnixMillis, now: UnixMillis) -> [Finding; 2] {
    let complete: Vec<&Made> = backups.iter().filter(|backup| backup.state == "complete").collect();
    let newest = complete.first().copied();
    let mut faults = Vec::new();
    if now.since(newest.map_or(watched_since, |backup| backup.started_at)) > OWN_FRESH_MS {
        let latest =
            newest.map_or("there is none".to_owned(), |backup| format!("the latest is {}", backup.backup_id));
        faults.push(format!("no backup of the last 26 hours is whole: {latest}"));
    }
    if let Some(failed) =
        backups.iter().find(|backup| backup.state != "running").filter(|it| it.state == "failed")
    {
        faults.push(format!("{} was given up", failed.backup_id));
    }
    let sizes = complete.iter().skip(1).take(COMPARED).filter_map(|backup| backup.bytes);
    let usual = middle(&sizes.collect::<Vec<_>>());
    if let Some(newest) = newest
        && let Some(fault) = shrunk(&newest.backup_id, newest.bytes.unwrap_or_default(), usual)
    {
        faults.push(fault);
    }
    let facts = json!({
        "latest": newest.map(|backup| &backup.backup_id),
        "latest_bytes": newest.and_then(|backup| backup.bytes),
        "usual_bytes": usual,
        "whole": complete.len(),
    });
    let backup = Finding { subject: "backup".to_owned(), faults, facts };
    [backup, judge_checks(&complete, now)]
}

fn judge_checks(complete: &[&Made], now: UnixMillis) -> Finding {
    let mut faults = Vec::new();
    let checked = complete.iter().find(|backup| backup.check_ok.is_some());
    if let Some(bad) = checked.filter(|backup| backup.check_ok == Some(false)) {
        faults.push(format!("{} does not restore", bad.backup_id));
    }
    let due = |backup: &&&Made| {
        let made_at = backup.finished_at.unwrap_or(backup.started_at);
        backup.check_ok.is_none() && now.since(made_at) > CHECK_DUE_MS
    };
    // A backup from before the latest check is not checked any more: what it was good for is past.
    let unchecked = complete.iter().take_while(|backup| backup.check_ok.is_none()).filter(due);
    faults.extend(unchecked.take(NAMED).map(|backup| format!("{} was not checked", backup.backup_id)));
    let good = complete.iter().find(|backup| backup.check_ok == Some(true));
    let facts = json!({
        "latest_good": good.map(|backup| &backup.backup_id),
        "latest_checked": checked.map(|backup| &backup.backup_id),
    });
    Finding { subject: "restore-check".to_owned(), faults, facts }
}

/// What is known of the artifacts' bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirmwareState {
    /// When the one was looked at that waits longest.
    pub oldest_at: Option<UnixMillis>,
    /// When the one came that waits longest for its first look.
    pub waiting_since: Option<UnixMillis>,
    /// The faulty ones: what they are called, and what is wrong.
    pub faulty: Vec<(String, String)>,
}

/// What is wrong with firmware.
pub fn judge_firmware(state: &FirmwareState, now: UnixMillis) -> Finding {
    let mut faults: Vec<String> =
        state.faulty.iter().take(NAMED).map(|(name, fault)| format!("{name}: {fault}")).collect();
    let waits = [state.oldest_at, state.waiting_since].into_iter().flatten().min();
    if let Some(since) = waits.filter(|since| now.since(*since) > FIRMWARE_DUE_MS) {
        faults.push(format!("some was not looked at since {}", since.date()));
    }
    let facts = json!({
        "faulty": state.faulty.len(),
        "oldest_check_at": state.oldest_at.map(UnixMillis::to_rfc3339),
        "unchecked_since": state.waiting_since.map(UnixMillis::to_rfc3339),
    });
    Finding { subject: "firmware".to_owned(), faults, facts }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 03:00 UTC.
    const NOW: UnixMillis = UnixMillis(1_763_694_000_000);

    fn rule(every: Every, kept_days: i64) -> Watched {
        Watched { prefix: "postgres/".into(), every, kept_days }
    }

    fn hours_ago(hours: i64) -> UnixMillis {
        UnixMillis(NOW.0 - hours * HOUR)
    }

    /// The finding of objects, each its age in hours and its size.
    fn judged(rule: &Watched, objects: &[(i64, u64)]) -> Finding {
        let mut tally = Tally::default();
        for (hours, size) in objects {
            tally.add(rule, &format!("postgres/{hours}"), *size, hours_ago(*hours), NOW);
        }
        tally.judge(rule, NOW)
    }

    /// A month of daily backups that are as they should be.
    fn month() -> Vec<(i64, u64)> {
        (0..30).map(|day| (day * 24 + 2, 1_000)).collect()
    }

    #[test]
    fn a_list_of_prefixes_is_read_or_refused() {
        let list = Watched::read_list("medusa/ daily 30,  snapshots/ weekly 28").unwrap();
        assert_eq!(list[0], Watched { prefix: "medusa/".into(), every: Every::Day, kept_days: 30 });
        assert_eq!((list[1].every, list[1].kept_days), (Every::Week, 28));
        for text in [
            "",
            "medusa/",
            "medusa daily 30",
            "medusa/ hourly 30",
            "medusa/ daily 0",
            "medusa/ daily x",
            "a/ daily 1 2",
            "a/ daily 1, a/ weekly 2",
            "a/ daily 1,",
        ] {
            assert_eq!(Watched::read_list(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_as_it_should_be_has_no_fault() {
        let finding = judged(&rule(Every::Day, 30), &month());
        assert_eq!(finding.faults, Vec::<String>::new());
        assert_eq!((&finding.facts["objects"], &finding.facts["sets"]), (&json!(30), &json!(30)));
        assert_eq!(
            judged(&rule(Every::Week, 28), &[(160, 5), (328, 5), (496, 5), (664, 5)]).faults,
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_thing_that_can_be_wrong_is_named() {
        let daily = rule(Every::Day, 30);
        assert_eq!(judged(&daily, &[]).faults, ["there is no backup"]);
        assert_eq!(judged(&daily, &month()[2..]).faults, ["the latest one is of 2025-11-19T01:00:00Z"]);
        let mut shrunk = month();
        shrunk[0].1 = 499;
        assert_eq!(
            judged(&daily, &shrunk).faults,
            ["that of 2025-11-21 is 499 bytes, less than half of the usual 1000"]
        );
        shrunk[0].1 = 500;
        assert_eq!(judged(&daily, &shrunk).faults, Vec::<String>::new());
        shrunk[0].1 = 0;
        assert_eq!(judged(&daily, &shrunk).faults, ["that of 2025-11-21 is empty"]);
        let mut old = month();
        old.extend([(33 * 24, 1_000), (40 * 24, 1_000)]);
        assert_eq!(
            judged(&daily, &old).faults,
            ["2 objects are kept longer than 30 days, among them postgres/792"]
        );
        assert_eq!(
            judged(&rule(Every::Week, 28), &[(253, 5)]).faults,
            ["the latest one is of 2025-11-10T14:00:00Z"]
        );
    }

    #[test]
    fn what_is_still_being_written_is_not_judged_and_a_set_may_be_many_objects() {
        let daily = rule(Every::Day, 30);
        let mut objects: Vec<(i64, u64)> =
            (1..10).flat_map(|day| [(day * 24 + 2, 600), (day * 24 + 2, 400)]).collect();
        objects.push((0, 10));
        assert_eq!(judged(&daily, &objects).faults, Vec::<String>::new());
        *objects.last_mut().unwrap() = (2, 10);
        assert_eq!(judged(&daily, &objects).faults.len(), 1);
    }

    #[test]
    fn a_smaller_one_stays_a_fault_until_it_is_usual() {
        let daily = rule(Every::Day, 30);
        let sizes = |small: usize| -> Vec<(i64, u64)> {
            month()
                .into_iter()
                .enumerate()
                .map(|(at, (hours, _))| (hours, if at < small { 100 } else { 1_000 }))
                .collect()
        };
        for small in 1..=4 {
            assert_eq!(judged(&daily, &sizes(small)).faults.len(), 1, "{small}");
        }
        assert_eq!(judged(&daily, &sizes(5)).faults, Vec::<String>::new());
    }

    proptest! {
        /// Objects come in any order, and none that is in time is ever called overdue.
        #[test]
        fn the_order_of_objects_is_nothing(mut objects in prop::collection::vec((0_i64..1_500, 0_u64..10_000), 0..80), kept in 1_i64..40) {
            let daily = rule(Every::Day, kept);
            // Which of the overdue ones is named is not told apart by them.
            let without_names = |finding: Finding| {
                let faults: Vec<String> = finding.faults.iter().map(|fault| fault.split(", among").next().unwrap_or_default().to_owned()).collect();
                (faults, finding.facts)
            };
            let one = without_names(judged(&daily, &objects));
            objects.reverse();
            prop_assert_eq!(&one, &without_names(judged(&daily, &objects)));
            let overdue = objects.iter().filter(|(hours, _)| *hours > (kept + 2) * 24).count();
            prop_assert_eq!(&one.1["overdue"], &json!(overdue));
            prop_assert_eq!(one.0.iter().any(|fault| fault.contains("kept longer")), overdue > 0);
        }

        /// One fresh object is enough for "present and fresh"; without one there is a fault.
        #[test]
        fn something_fresh_is_missed_exactly_when_it_is_missing(hours in prop::collection::vec(0_i64..700, 0..60)) {
            let daily = rule(Every::Day, 30);
            let objects: Vec<(i64, u64)> = hours.iter().map(|hours| (*hours, 100)).collect();
            let faults = judged(&daily, &objects).faults;
            let fresh = hours.iter().any(|hours| *hours <= 36);
            let told = faults.iter().any(|fault| fault.contains("no backup") || fault.contains("the latest one"));
            prop_assert_eq!(told, !fresh);
        }

        /// Sizes that stay within half of each other are never a fault.
        #[test]
        fn sizes_that_vary_a_little_are_fine(sizes in prop::collection::vec(1_000_u64..2_000, 1..30)) {
            let objects: Vec<(i64, u64)> = sizes.iter().zip(0..).map(|(size, day)| (day * 24 + 2, *size)).collect();
            prop_assert_eq!(judged(&rule(Every::Day, 30), &objects).faults, Vec::<String>::new());
        }
    }

    fn made(id: &str, hours: i64, check_ok: Option<bool>) -> Made {
        Made {
            backup_id: id.into(),
            state: "complete".into(),
            started_at: hours_ago(hours),
            finished_at: Some(hours_ago(hours)),
            bytes: Some(1_000),
            check_ok,
        }
    }

    fn own(backups: &[Made], watched_hours: i64) -> [Vec<String>; 2] {
        judge_own(backups, hours_ago(watched_hours), NOW).map(|finding| finding.faults)
    }

    #[test]
    fn our_own_backups_are_fresh_and_checked() {
        let none = Vec::<String>::new();
        assert_eq!(own(&[], 1), [none.clone(), none.clone()], "a system of today has none yet");
        assert_eq!(own(&[], 27)[0], ["no backup of the last 26 hours is whole: there is none"]);
        let fine = [made("d2", 1, None), made("d1", 25, Some(true))];
        assert_eq!(own(&fine, 100), [none.clone(), none.clone()]);
        assert_eq!(
            own(&[made("d1", 27, Some(true))], 100)[0],
            ["no backup of the last 26 hours is whole: the latest is d1"]
        );
        assert_eq!(
            own(&[made("d2", 1, Some(false)), made("d1", 25, Some(true))], 100)[1],
            ["d2 does not restore"]
        );
        assert_eq!(
            own(&[made("d2", 1, Some(true)), made("d1", 25, Some(false))], 100)[1],
            none,
            "it was mended"
        );
        let unchecked =
            [made("d3", 3, None), made("d2", 27, None), made("d1", 51, Some(true)), made("d0", 75, None)];
        assert_eq!(own(&unchecked, 100)[1], ["d2 was not checked"]);
        let failed = Made { state: "failed".into(), bytes: None, ..made("d3", 1, None) };
        assert_eq!(own(&[failed, made("d2", 2, Some(true))], 100)[0], ["d3 was given up"]);
        let small = Made { bytes: Some(400), ..made("d3", 1, None) };
        assert_eq!(
            own(&[small, made("d2", 2, Some(true)), made("d1", 25, Some(true))], 100)[0],
            ["that of d3 is 400 bytes, less than half of the usual 1000"]
        );
    }

    #[test]
    fn firmware_is_faulty_when_its_bytes_are_or_when_nobody_looks() {
        let fine = FirmwareState { oldest_at: Some(hours_ago(24 * 44)), ..FirmwareState::default() };
        assert_eq!(judge_firmware(&fine, NOW).faults, Vec::<String>::new());
        for oldest_at in [Some(hours_ago(24 * 46)), None] {
            let old = FirmwareState { oldest_at, waiting_since: Some(hours_ago(24 * 46)), faulty: vec![] };
            assert_eq!(judge_firmware(&old, NOW).faults, ["some was not looked at since 2025-10-06"]);
        }
        let bad = FirmwareState { faulty: vec![("rs1_pro 1.2.0".into(), "it is not there".into())], ..fine };
        assert_eq!(judge_firmware(&bad, NOW).faults, ["rs1_pro 1.2.0: it is not there"]);
    }
}
