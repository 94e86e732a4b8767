//! What others left to be told, made into notices: so many that people learn what is the matter, and so few that they read them.
//!
//! - **Devices' alerts** are told one by one while they are few: five of a kind within ten minutes. From the sixth on they are a
//!   *wave*, one subject however many devices: told when it begins, whenever it has doubled, and when the last of them is well
//!   again. 10,000 devices make 15 notices and one page.
//! - **Silent devices** are no critical alerts, each for itself; twenty of them within ten minutes are a wave as well. While an
//!   incident explains them (EMQX is down), they are told of with that, and wake nobody once more; a wave that was told before is
//!   closed. If they are silent still when the incident is over and a while has passed, they are a wave like any other.
//! - **Halts** of rollouts are told one by one, and over when somebody resumes or aborts, or when the rollout completes. One that
//!   the engine aborted has no end: whoever looked into it closes it.
//! - **The security log's** high rows are told one by one, sixty of a kind within ten minutes; what comes above that is told
//!   together, a notice a run.
//! - **Alarms of the watch over backups** begin and end what they are about.
//!
//! [`Collector`] is all that has to be remembered from one run to the next. It is written in the transaction that tells and
//! takes, so every entry is told by one run.

use std::fmt::Write as _;

use rs1_domain::time::{MINUTE, as_millis};
use rs1_domain::{RecordId, UnixMillis, json};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::incident::{Cause, Explanation};
use crate::notice::{Notice, Severity, Source, What};

/// How long what comes one by one is counted.
const WINDOW: i64 = 10 * MINUTE;
/// The most alerts of a kind that are told one by one within a window.
const ALERTS: u32 = 5;
/// The most rows of the security log, of a kind.
const SECURITY: u32 = 60;
/// So many devices that fell silent within a window are a wave.
const SILENT: u32 = 20;
/// The kind of alert that tells of silence.
const OFFLINE: &str = "device_offline";
/// How many of what is told together are named.
const NAMED: usize = 10;
/// A run is due every minute; so long after the last one something was wrong.
const STILL: i64 = 3 * MINUTE;

/// What one run remembers for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collector {
    /// By kind of alert.
    #[serde(default)]
    alerts: Vec<Kind>,
    /// By kind of row in the security log, with no wave in it.
    #[serde(default)]
    security: Vec<Kind>,
    /// When the latest run was, Unix ms; 0: never.
    #[serde(default)]
    ran_at: i64,
    /// The day of the latest digest.
    #[serde(default)]
    digest: String,
}

/// What was told of a kind lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kind {
    name: String,
    /// When the window began, Unix ms.
    since: i64,
    /// How many were told one by one in it.
    told: u32,
    wave: Option<Wave>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wave {
    dedup_key: String,
    /// When it began, Unix ms.
    since: i64,
    /// How many devices, in all.
    devices: u32,
    /// How many of them are well again.
    well: u32,
    /// How many there were when it was told last; 0: it was not.
    told: u32,
    /// The incident that it is told of with.
    #[serde(default)]
    under: Option<Explanation>,
}

/// An entry of the outbox of alerts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AlertEntry {
    /// Its number; they rise.
    pub entry_id: i64,
    /// The alert.
    pub alert_id: String,
    /// The device.
    pub device_id: String,
    /// What is wrong.
    pub kind: String,
    /// `opened` or `resolved`.
    pub what: String,
    /// When that was.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
    /// What was seen of it.
    pub detail: String,
}

/// An entry of the inbox of notices.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Word {
    /// Its number; they rise.
    pub entry_id: i64,
    /// `rollout` or `security`.
    pub source: String,
    /// Of a rollout's event, or of a row of the security log.
    pub kind: String,
    /// The rollout, or whom the security log speaks of.
    pub subject: String,
    /// When it was.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
    /// What else is known.
    #[serde(deserialize_with = "json_text")]
    pub detail: Value,
}

fn json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let text = String::deserialize(deserializer)?;
    json::parse(&text).map_err(serde::de::Error::custom)
}

impl AlertEntry {
    /// What it is about, when it is told by itself.
    pub fn dedup_key(&self) -> String {
        format!("alert:{}", self.alert_id)
    }
}

impl Word {
    /// What it is about.
    pub fn dedup_key(&self) -> String {
        match (self.source.as_str(), self.kind.as_str()) {
            ("rollout", _) => format!("rollout:{}", self.subject),
            (_, "backup_alarm" | "backup_recovered") => format!("backup:{}", self.subject),
            (_, kind) => format!("security:{kind}:{}", self.subject),
        }
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.detail.pointer(pointer).and_then(Value::as_str)
    }
}

/// One run.
pub struct Run<'a> {
    /// What is remembered.
    pub collector: &'a mut Collector,
    /// The subjects whose latest notice says that they began.
    pub open: Vec<String>,
    /// Ids for notices.
    pub id: &'a mut dyn FnMut() -> String,
    /// The present.
    pub now: UnixMillis,
    /// What is told, in this order.
    pub told: Vec<Notice>,
}

impl Run<'_> {
    fn tell(&mut self, telling: Telling<'_>) {
        let notice = telling.into_notice((self.id)());
        match notice.what {
            What::Trigger | What::Acknowledge => self.open.push(notice.dedup_key.clone()),
            What::Resolve => self.open.retain(|key| *key != notice.dedup_key),
            What::Info => {}
        }
        self.told.push(notice);
    }

    fn is_open(&self, key: &str) -> bool {
        self.open.iter().any(|open| open == key)
    }

    /// Tells that the database is there again, if nobody came by for a while: whoever comes by when it is not there says so
    /// elsewhere, and has nowhere to note it.
    pub fn wake(&mut self) {
        let last = UnixMillis(std::mem::replace(&mut self.collector.ran_at, self.now.0));
        if last.0 == 0 || self.now.since(last) < STILL {
            return;
        }
        let (from, until) = (last.to_rfc3339(), self.now.to_rfc3339());
        self.tell(Telling {
            source: Source::Database,
            what: What::Resolve,
            severity: Severity::Critical,
            component: "database",
            key: DATABASE_KEY,
            said: format!("database:{}", last.0),
            summary: format!("The database answers; nothing was told from {from} to {until}"),
            at: self.now,
            detail: json!({}),
        });
    }

    /// Tells of alerts.
    pub fn alerts(&mut self, entries: &[AlertEntry]) {
        for entry in entries {
            if entry.what == "opened" {
                self.alert_opened(entry);
            } else {
                self.alert_resolved(entry);
            }
        }
        for place in 0..self.collector.alerts.len() {
            self.ride(place);
        }
    }

    fn alert_opened(&mut self, entry: &AlertEntry) {
        let kind = kind_of(&mut self.collector.alerts, &entry.kind, self.now);
        if let Some(wave) = &mut kind.wave {
            wave.devices = wave.devices.saturating_add(1);
            return;
        }
        if kind.told >= ALERTS {
            let dedup_key = format!("alerts:{}:{}", entry.kind, entry.alert_id);
            kind.wave =
                Some(Wave { dedup_key, since: entry.at.0, devices: 1, well: 0, told: 0, under: None });
            return;
        }
        kind.told = kind.told.saturating_add(1);
        self.tell_alert(entry, What::Trigger, "");
    }

    fn tell_alert(&mut self, entry: &AlertEntry, what: What, end: &str) {
        let AlertEntry { alert_id, device_id, kind, detail, .. } = entry;
        let key = entry.dedup_key();
        self.tell(Telling {
            source: Source::Alert,
            what,
            severity: Severity::Critical,
            component: "devices",
            said: format!("{key}:{}", entry.what),
            key: &key,
            summary: format!("Device {device_id}: {kind}{end}"),
            at: entry.at,
            detail: json!({"alert_id": alert_id, "device_id": device_id, "kind": kind, "seen": detail}),
        });
    }

    fn alert_resolved(&mut self, entry: &AlertEntry) {
        if self.is_open(&entry.dedup_key()) {
            self.tell_alert(entry, What::Resolve, " is over");
        } else if let Some(wave) = &mut kind_of(&mut self.collector.alerts, &entry.kind, self.now).wave {
            wave.well = wave.well.saturating_add(1);
        }
    }

    /// Tells how the wave of a kind has grown, and that it is over.
    fn ride(&mut self, place: usize) {
        // Silence is told by its own rules.
        let Some(kind) = self.collector.alerts.get_mut(place).filter(|kind| kind.name != OFFLINE) else {
            return;
        };
        let Some(wave) = &mut kind.wave else { return };
        let name = kind.name.clone();
        let grown = wave.told == 0 || wave.devices >= wave.told.saturating_mul(2);
        if grown {
            wave.told = wave.devices;
        }
        let wave = wave.clone();
        let over = wave.well >= wave.devices;
        if over {
            kind.wave = None;
        }
        let tells = [
            (grown, What::Trigger, wave.devices.to_string(), ""),
            (over, What::Resolve, "over".to_owned(), ", and all are well again"),
        ];
        for (_, what, which, end) in tells.into_iter().filter(|(due, ..)| *due) {
            self.tell(Telling {
                source: Source::Alert,
                what,
                severity: Severity::Critical,
                component: "devices",
                key: &wave.dedup_key,
                said: format!("{}:{which}", wave.dedup_key),
                summary: format!("{} devices: {name}{end}", wave.devices),
                at: self.now,
                detail: json!({"kind": name, "devices": wave.devices, "well_again": wave.well, "since": UnixMillis(wave.since)}),
            });
        }
    }

    fn wave_of_silence(&self) -> Option<&Wave> {
        self.collector.alerts.iter().find(|kind| kind.name == OFFLINE)?.wave.as_ref()
    }

    /// Since when [`silent`](Self::silent) wants to have silent devices counted.
    pub fn silent_since(&self) -> UnixMillis {
        self.wave_of_silence().map_or_else(|| self.now.plus(-WINDOW), |wave| UnixMillis(wave.since))
    }

    /// Whether [`silent`](Self::silent) has to know why so many may be silent.
    pub fn asks_why(&self, devices: u32) -> bool {
        devices >= SILENT || self.wave_of_silence().is_some()
    }

    /// Tells of silent devices, which are so many, and why that may be. While it is in doubt why, nothing begins and nothing grows.
    pub fn silent(&mut self, devices: u32, cause: &Cause) {
        let (since, now) = (self.silent_since(), self.now);
        let before = kind_of(&mut self.collector.alerts, OFFLINE, now).wave.take();
        let mut wave = match before {
            None if devices < SILENT => return,
            None => Wave { dedup_key: silence(now), since: since.0, devices, well: 0, told: 0, under: None },
            Some(wave) => Wave { devices: wave.devices.max(devices), ..wave },
        };
        let over = devices < SILENT.div_euclid(2);
        wave.well = if over { wave.devices } else { 0 };
        match cause {
            Cause::Incident(incident) if wave.under.as_ref() != Some(incident) => {
                if wave.under.is_some() {
                    wave.told = 0;
                } else if wave.told > 0 {
                    self.end_of_its_own(&wave, incident);
                }
                (wave.under, wave.dedup_key) = (Some(incident.clone()), silence(now));
            }
            // It outlasts what explained it, and is its own matter from now on.
            Cause::Unknown if wave.under.is_some() && !over => {
                wave = Wave { dedup_key: silence(now), devices, told: 0, under: None, ..wave };
            }
            _ => {}
        }
        let grown = wave.told == 0 || wave.devices >= wave.told.saturating_mul(2);
        if grown && !over && *cause != Cause::Doubt {
            wave.told = wave.devices;
            self.tell_silence(&wave, What::Trigger, &wave.devices.to_string(), "");
        }
        if over && wave.told > 0 {
            self.tell_silence(&wave, What::Resolve, "over", ", and all are well again");
        }
        kind_of(&mut self.collector.alerts, OFFLINE, now).wave = (!over).then_some(wave);
    }

    /// Closes what was told before it was known that an incident explains it.
    fn end_of_its_own(&mut self, wave: &Wave, incident: &Explanation) {
        let end = format!(", which {} explains: {}", incident.incident_id, incident.title);
        self.tell_silence(&Wave { under: None, ..wave.clone() }, What::Resolve, "explained", &end);
    }

    /// Tells of a wave of silence; with its incident, if it has one: there nothing begins or ends but the incident.
    fn tell_silence(&mut self, wave: &Wave, what: What, which: &str, end: &str) {
        let Wave { dedup_key, since, devices, well, under, .. } = wave;
        let mut detail =
            json!({"kind": OFFLINE, "devices": devices, "well_again": well, "since": UnixMillis(*since)});
        let (mut said, mut summary) =
            (format!("{dedup_key}:{which}"), format!("{devices} devices: {OFFLINE}{end}"));
        let (what, severity, key) = match under {
            None => (what, Severity::Critical, dedup_key.clone()),
            Some(Explanation { incident_id, title }) => {
                let _ = write!(said, ":{incident_id}");
                let _ = write!(summary, " (because of {title})");
                if let Some(detail) = detail.as_object_mut() {
                    detail.insert("incident_id".to_owned(), Value::String(incident_id.clone()));
                }
                (What::Info, Severity::Info, format!("incident-{incident_id}"))
            }
        };
        let telling = Telling {
            source: Source::Alert,
            what,
            severity,
            component: "devices",
            key: &key,
            said,
            summary,
            at: self.now,
            detail,
        };
        self.tell(telling);
    }

    /// Tells of what triggers left word of.
    pub fn words(&mut self, words: &[Word]) {
        let mut crowd: Vec<(&str, Vec<&Word>)> = Vec::new();
        for word in words {
            let key = word.dedup_key();
            match (word.source.as_str(), word.kind.as_str()) {
                ("rollout", _) => self.rollout(word, &key),
                (_, "backup_alarm") => self.backup(word, &key, What::Trigger, "something is wrong with", ""),
                (_, "backup_recovered") if self.is_open(&key) => {
                    self.backup(word, &key, What::Resolve, "", "is well again");
                }
                (_, "backup_recovered") => {}
                (_, kind) => {
                    let counted = kind_of(&mut self.collector.security, kind, self.now);
                    if counted.told < SECURITY {
                        counted.told = counted.told.saturating_add(1);
                        self.security(word, &key);
                    } else if let Some((_, others)) = crowd.iter_mut().find(|(name, _)| *name == kind) {
                        others.push(word);
                    } else {
                        crowd.push((kind, vec![word]));
                    }
                }
            }
        }
        for (kind, words) in crowd {
            let Some(first) = words.first() else { continue };
            let lines: Vec<&str> = words.iter().take(NAMED).map(|word| word.subject.as_str()).collect();
            self.tell(Telling {
                source: Source::Security,
                what: What::Trigger,
                severity: Severity::Error,
                component: "security",
                key: &format!("security:{kind}:many"),
                said: format!("{}:many", said(first)),
                summary: format!("Security: {kind}, {} more", words.len()),
                at: first.at,
                detail: json!({"kind": kind, "count": words.len(), "lines": lines}),
            });
        }
        let now = self.now;
        self.collector.security.retain(|kind| now.0.saturating_sub(kind.since) < WINDOW);
    }

    fn rollout(&mut self, word: &Word, key: &str) {
        let id = &word.subject;
        let begins = matches!(word.kind.as_str(), "halted" | "paused");
        if !begins && !self.is_open(key) {
            return;
        }
        let summary = if begins {
            let why = word
                .text("/detail/says")
                .or_else(|| word.text("/detail/cause"))
                .unwrap_or("no cause is known");
            let verb = if word.text("/detail/status") == Some("ABORTED") { "aborted" } else { "halted" };
            format!("Rollout {id} was {verb}: {why}")
        } else {
            let by = word.text("/actor").map(|actor| format!(" by {actor}")).unwrap_or_default();
            format!("Rollout {id} was {}{by}", word.kind)
        };
        self.tell(Telling {
            source: Source::Rollout,
            what: if begins { What::Trigger } else { What::Resolve },
            severity: Severity::Critical,
            component: "updates",
            key,
            said: said(word),
            summary,
            at: word.at,
            detail: word.detail.clone(),
        });
    }

    fn security(&mut self, word: &Word, key: &str) {
        let (kind, subject) = (&word.kind, &word.subject);
        let from = word.text("/peerhost").filter(|host| host != subject);
        let from = from.map(|host| format!(" from {host}")).unwrap_or_default();
        self.tell(Telling {
            source: Source::Security,
            what: What::Trigger,
            severity: Severity::Error,
            component: "security",
            key,
            said: said(word),
            summary: format!("Security: {kind} by {subject}{from}"),
            at: word.at,
            detail: word.detail.clone(),
        });
    }

    fn backup(&mut self, word: &Word, key: &str, what: What, before: &str, after: &str) {
        let lines = word.detail.pointer("/detail/faults").cloned().unwrap_or(Value::Array(Vec::new()));
        let summary = ["Backups:", before, &word.subject, after];
        self.tell(Telling {
            source: Source::Backup,
            what,
            severity: Severity::Error,
            component: "backups",
            key,
            said: said(word),
            summary: summary.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "),
            at: word.at,
            detail: json!({"lines": lines, "subject": word.subject}),
        });
    }

    /// Whether the digest of today is to be told now, from that minute of the day on.
    pub fn digest_is_due(&self, minute: i64) -> bool {
        self.now.0.div_euclid(MINUTE).rem_euclid(24 * 60) >= minute
            && self.collector.digest != self.now.date()
    }

    /// Tells the digest of today.
    pub fn digest(&mut self, lines: &[String]) {
        let today = self.now.date();
        self.collector.digest.clone_from(&today);
        self.tell(Telling {
            source: Source::Digest,
            what: What::Info,
            severity: Severity::Info,
            component: "all",
            key: "digest",
            said: format!("digest:{today}"),
            summary: format!("The day before {today}"),
            at: self.now,
            detail: json!({"lines": lines}),
        });
    }
}

/// What the database's absence is known by. Whoever finds it absent tells `PagerDuty` itself.
pub const DATABASE_KEY: &str = "database:unreachable";

/// Says that the database is not there: to `PagerDuty` alone, straight.
pub fn database_unreachable(now: UnixMillis, id: String) -> Notice {
    let telling = Telling {
        source: Source::Database,
        what: What::Trigger,
        severity: Severity::Critical,
        component: "database",
        key: DATABASE_KEY,
        said: DATABASE_KEY.to_owned(),
        summary: "The database does not answer".to_owned(),
        at: now,
        detail: json!({"meaning": "notices are neither collected nor sent while this lasts"}),
    };
    telling.into_notice(id)
}

/// A notice that has no id yet.
struct Telling<'a> {
    source: Source,
    what: What,
    severity: Severity,
    component: &'static str,
    key: &'a str,
    said: String,
    summary: String,
    at: UnixMillis,
    detail: Value,
}

impl Telling<'_> {
    fn into_notice(self, notice_id: String) -> Notice {
        Notice {
            notice_id,
            said: self.said,
            source: self.source,
            dedup_key: self.key.to_owned(),
            what: self.what,
            severity: self.severity,
            component: self.component.to_owned(),
            summary: self.summary,
            at: self.at,
            detail: self.detail,
        }
    }
}

/// What makes a word the one it is, whatever its number: numbers come again when the inbox was empty.
fn said(word: &Word) -> String {
    if let Some(id) = word.text("/id") {
        return format!("security:{id}");
    }
    let event = word.detail.get("event").and_then(Value::as_i64).unwrap_or_default();
    format!("rollout:{}:{}:{}:{event}", word.subject, word.kind, word.at.0)
}

/// What was told of a kind in the window of now.
fn kind_of<'a>(kinds: &'a mut Vec<Kind>, name: &str, now: UnixMillis) -> &'a mut Kind {
    let place = kinds.iter().position(|kind| kind.name == name).unwrap_or_else(|| {
        kinds.push(Kind { name: name.to_owned(), since: now.0, told: 0, wave: None });
        kinds.len().saturating_sub(1)
    });
    #[expect(clippy::indexing_slicing, reason = "found, or pushed, on the line before")]
    let kind = &mut kinds[place];
    if now.0.saturating_sub(kind.since) >= WINDOW {
        (kind.since, kind.told) = (now.0, 0);
    }
    kind
}

/// A test: its beginning and its end, so that nothing stays open. `name` is unique to it.
pub fn test(name: &str, by: &str, now: UnixMillis, id: &mut dyn FnMut() -> String) -> [Notice; 2] {
    let key = format!("test:{name}");
    [(What::Trigger, "a test of the channels"), (What::Resolve, "the test is over")].map(|(what, says)| {
        let telling = Telling {
            source: Source::Test,
            what,
            severity: Severity::Info,
            component: "notices",
            key: &key,
            said: format!("{key}:{}", what.as_str()),
            summary: format!("{by}: {says}"),
            at: now,
            detail: json!({"by": by}),
        };
        telling.into_notice(id())
    })
}

/// What a wave of silence that begins then is about.
fn silence(at: UnixMillis) -> String {
    format!("alerts:{OFFLINE}:{}", at.0)
}

/// The border of alerts that began since then.
pub fn border(since: UnixMillis) -> RecordId {
    RecordId::generate("alr", since, [0; 10])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rs1_domain::time::{DAY, HOUR};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_763_694_000_000);

    /// Collects as the outbox has it collected: what is open is what was told.
    #[derive(Default)]
    struct Desk {
        collector: Collector,
        open: BTreeSet<String>,
        ids: u32,
    }

    impl Desk {
        fn run(&mut self, now: UnixMillis, work: impl FnOnce(&mut Run<'_>)) -> Vec<Notice> {
            // What is remembered is written down as JSON between runs.
            let text = serde_json::to_string(&self.collector).unwrap();
            self.collector = json::read(&text).unwrap();
            let ids = &mut self.ids;
            let mut id = || {
                *ids += 1;
                format!("ntc-{ids}")
            };
            let mut run = Run {
                collector: &mut self.collector,
                open: self.open.iter().cloned().collect(),
                id: &mut id,
                now,
                told: Vec::new(),
            };
            work(&mut run);
            let told = run.told;
            for notice in &told {
                match notice.what {
                    What::Trigger | What::Acknowledge => drop(self.open.insert(notice.dedup_key.clone())),
                    What::Resolve => drop(self.open.remove(&notice.dedup_key)),
                    What::Info => {}
                }
            }
            told
        }

        fn alerts(&mut self, now: UnixMillis, entries: &[AlertEntry]) -> Vec<(What, String)> {
            short(&self.run(now, |run| run.alerts(entries)))
        }

        fn words(&mut self, now: UnixMillis, words: &[Word]) -> Vec<(What, String)> {
            short(&self.run(now, |run| run.words(words)))
        }
    }

    fn short(told: &[Notice]) -> Vec<(What, String)> {
        told.iter().map(|notice| (notice.what, notice.summary.clone())).collect()
    }

    fn alert(number: i64, what: &str) -> AlertEntry {
        AlertEntry {
            entry_id: number,
            alert_id: format!("alr-{number}"),
            device_id: format!("d{number}"),
            kind: "critical_memory".into(),
            what: what.into(),
            at: NOW,
            detail: "19000 bytes free".into(),
        }
    }

    fn word(source: &str, kind: &str, subject: &str, detail: Value) -> Word {
        Word {
            entry_id: 1,
            source: source.into(),
            kind: kind.into(),
            subject: subject.into(),
            at: NOW,
            detail,
        }
    }

    fn high(kind: &str, number: u32) -> Word {
        let detail = json!({"id": format!("sec-{kind}-{number}"), "peerhost": null, "detail": {}});
        word("security", kind, &format!("203.0.113.{number}"), detail)
    }

    #[test]
    fn a_few_alerts_are_told_one_by_one_from_beginning_to_end() {
        let mut desk = Desk::default();
        let told =
            desk.run(NOW, |run| run.alerts(&[alert(1, "opened"), alert(2, "opened"), alert(2, "resolved")]));
        assert_eq!(
            short(&told),
            [
                (What::Trigger, "Device d1: critical_memory".to_owned()),
                (What::Trigger, "Device d2: critical_memory".to_owned()),
                (What::Resolve, "Device d2: critical_memory is over".to_owned()),
            ]
        );
        assert_eq!((told[0].dedup_key.as_str(), told[0].severity), ("alert:alr-1", Severity::Critical));
        assert_eq!(told[0].detail["seen"], "19000 bytes free");
        let later = desk.alerts(NOW.plus(HOUR), &[alert(1, "resolved"), alert(1, "resolved")]);
        assert_eq!(later, [(What::Resolve, "Device d1: critical_memory is over".to_owned())]);
    }

    #[test]
    fn ten_thousand_devices_are_one_wave() {
        let mut desk = Desk::default();
        let mut told = Vec::new();
        for minute in 0..20 {
            let opened: Vec<_> =
                (minute * 500..(minute + 1) * 500).map(|number| alert(number, "opened")).collect();
            told.extend(desk.alerts(NOW.plus(minute * MINUTE), &opened));
        }
        assert_eq!(told.iter().filter(|(_, says)| says.starts_with("Device ")).count(), 5);
        let wave: Vec<_> = told.iter().filter(|(_, says)| !says.starts_with("Device ")).collect();
        let counts: Vec<_> = wave.iter().map(|(_, says)| says.split(' ').next().unwrap()).collect();
        assert_eq!(counts, ["495", "995", "1995", "3995", "7995"]);
        // All but one are well again, those that were told one by one too.
        let well: Vec<_> = (0..9_999).map(|number| alert(number, "resolved")).collect();
        let ends = desk.alerts(NOW.plus(HOUR), &well);
        assert_eq!(ends.len(), 5, "the five, and not the wave");
        let end = desk.alerts(NOW.plus(HOUR), &[alert(9_999, "resolved")]);
        assert_eq!(
            end,
            [(What::Resolve, "9995 devices: critical_memory, and all are well again".to_owned())]
        );
        assert!(desk.open.is_empty());
        let next = desk.alerts(NOW.plus(2 * HOUR), &[alert(10_001, "opened")]);
        assert_eq!(next, [(What::Trigger, "Device d10001: critical_memory".to_owned())], "one by one again");
    }

    #[test]
    fn many_silent_devices_are_a_wave_and_a_few_are_nobodys_business() {
        let mut desk = Desk::default();
        let mut silent = |minutes: i64, devices| {
            let now = NOW.plus(minutes * MINUTE);
            let mut since = NOW;
            let told = desk.run(now, |run| {
                since = run.silent_since();
                run.silent(devices, &Cause::Unknown);
            });
            (short(&told), now.since(since).div_euclid(MINUTE))
        };
        assert_eq!(silent(0, 19), (vec![], 10));
        assert_eq!(silent(1, 20).0, [(What::Trigger, "20 devices: device_offline".to_owned())]);
        assert_eq!(silent(2, 39), (vec![], 11), "counted since the wave began");
        assert_eq!(silent(3, 10_000).0, [(What::Trigger, "10000 devices: device_offline".to_owned())]);
        assert_eq!(silent(50, 10).0, []);
        let over = (What::Resolve, "10000 devices: device_offline, and all are well again".to_owned());
        assert_eq!(silent(51, 9), (vec![over], 60));
        assert_eq!(silent(52, 9), (vec![], 10));
    }

    fn incident(name: &str) -> Cause {
        let (incident_id, title) = (format!("inc-{name}"), format!("{name} does not answer"));
        Cause::Incident(Explanation { incident_id, title })
    }

    #[test]
    fn silence_that_an_incident_explains_is_told_with_it() {
        let mut desk = Desk::default();
        let mut silent = |minutes: i64, devices, cause: &Cause| {
            desk.run(NOW.plus(minutes * MINUTE), |run| {
                assert_eq!(run.asks_why(devices), minutes != 9, "{minutes}");
                run.silent(devices, cause);
            })
        };
        let emqx = incident("emqx");
        assert_eq!(silent(0, 30, &Cause::Doubt), [], "it may be explained in a moment");
        let told = silent(1, 40, &emqx);
        assert_eq!(
            short(&told),
            [(What::Info, "40 devices: device_offline (because of emqx does not answer)".to_owned())]
        );
        assert_eq!(
            (told[0].dedup_key.as_str(), &told[0].detail["incident_id"]),
            ("incident-inc-emqx", &json!("inc-emqx"))
        );
        assert_eq!(silent(2, 79, &emqx), []);
        assert_eq!(silent(3, 80, &emqx).len(), 1, "twice as many");
        assert_eq!(silent(4, 500, &Cause::Doubt), [], "it is over, and they come back");
        let over = (
            What::Info,
            "500 devices: device_offline, and all are well again (because of emqx does not answer)"
                .to_owned(),
        );
        assert_eq!(short(&silent(5, 9, &Cause::Doubt)), [over]);
        assert_eq!(silent(9, 9, &Cause::Unknown), []);
    }

    #[test]
    fn silence_that_outlasts_what_explained_it_is_told_by_itself() {
        let mut desk = Desk::default();
        let mut silent = |minutes: i64, devices, cause: &Cause| {
            short(&desk.run(NOW.plus(minutes * MINUTE), |run| run.silent(devices, cause)))
        };
        assert_eq!(
            silent(0, 30, &Cause::Unknown),
            [(What::Trigger, "30 devices: device_offline".to_owned())]
        );
        let explained =
            "30 devices: device_offline, which inc-emqx explains: emqx does not answer".to_owned();
        assert_eq!(silent(1, 30, &incident("emqx")), [(What::Resolve, explained)], "nobody is woken twice");
        assert_eq!(silent(2, 30, &incident("database")).len(), 1, "another incident has it now");
        assert_eq!(silent(3, 30, &Cause::Doubt), []);
        let own = silent(18, 30, &Cause::Unknown);
        assert_eq!(own, [(What::Trigger, "30 devices: device_offline".to_owned())]);
        assert_eq!(silent(19, 9, &Cause::Unknown).len(), 1);
        assert!(desk.open.is_empty());
    }

    #[test]
    fn a_halt_is_told_and_over_when_somebody_decides() {
        let mut desk = Desk::default();
        let halted = |status: &str| json!({"event": 7, "actor": null, "detail": {"says": "6 of 20 devices failed", "status": status, "cause": "failure_share"}});
        let by_ada = json!({"event": 8, "actor": "ada", "detail": {}});
        let told = desk.words(
            NOW,
            &[
                word("rollout", "resumed", "rol-0", by_ada.clone()),
                word("rollout", "halted", "rol-1", halted("PAUSED")),
                word("rollout", "halted", "rol-2", halted("ABORTED")),
                word(
                    "rollout",
                    "paused",
                    "rol-3",
                    json!({"event": 9, "actor": "ada", "detail": {"cause": "key_revoked"}}),
                ),
            ],
        );
        assert_eq!(
            told,
            [
                (What::Trigger, "Rollout rol-1 was halted: 6 of 20 devices failed".to_owned()),
                (What::Trigger, "Rollout rol-2 was aborted: 6 of 20 devices failed".to_owned()),
                (What::Trigger, "Rollout rol-3 was halted: key_revoked".to_owned()),
            ]
        );
        let told = desk.words(
            NOW,
            &[
                word("rollout", "resumed", "rol-1", by_ada.clone()),
                word("rollout", "completed", "rol-1", by_ada),
            ],
        );
        assert_eq!(told, [(What::Resolve, "Rollout rol-1 was resumed by ada".to_owned())], "once");
    }

    #[test]
    fn an_attack_is_a_notice_an_address_until_they_are_too_many() {
        let mut desk = Desk::default();
        let attack: Vec<_> = (0..50).map(|number| high("auth_failure_repeated", number)).collect();
        let told = desk.words(NOW, &attack);
        assert_eq!(told.len(), 50);
        assert_eq!(told[0], (What::Trigger, "Security: auth_failure_repeated by 203.0.113.0".to_owned()));
        let more: Vec<_> = (50..250).map(|number| high("auth_failure_repeated", number)).collect();
        let told = desk.run(NOW.plus(MINUTE), |run| {
            run.words(&more);
            run.words(&[high("acl_violation", 1)]);
        });
        assert_eq!(told.len(), 12);
        assert_eq!(told[10].summary, "Security: auth_failure_repeated, 190 more");
        assert_eq!(told[10].detail["lines"].as_array().unwrap().len(), 10);
        assert_eq!(
            told[11].summary, "Security: acl_violation by 203.0.113.1",
            "another kind counts by itself"
        );
        assert_eq!(desk.words(NOW.plus(10 * MINUTE), &more[..1]).len(), 1, "the next window");
    }

    #[test]
    fn alarms_of_backups_begin_and_end() {
        let mut desk = Desk::default();
        let alarm = json!({"id": "sec-1", "peerhost": null, "detail": {"faults": ["there is no backup"]}});
        let well = json!({"id": "sec-2", "peerhost": null, "detail": {}});
        let recovered = word("security", "backup_recovered", "postgres/", well);
        assert_eq!(desk.words(NOW, std::slice::from_ref(&recovered)), [], "nobody was told that it began");
        let told = desk.run(NOW, |run| run.words(&[word("security", "backup_alarm", "postgres/", alarm)]));
        assert_eq!(
            (told[0].dedup_key.as_str(), &told[0].detail["lines"][0]),
            ("backup:postgres/", &json!("there is no backup"))
        );
        let told = desk.words(NOW, &[recovered]);
        assert_eq!(told, [(What::Resolve, "Backups: postgres/ is well again".to_owned())]);
    }

    #[test]
    fn the_same_said_again_says_the_same() {
        let words = [high("acl_violation", 1), word("rollout", "halted", "rol-1", json!({"event": 3}))];
        let said = |number| {
            let words = words.clone().map(|word| Word { entry_id: number, ..word });
            let told = Desk::default().run(NOW, |run| run.words(&words));
            told.into_iter().map(|notice| notice.said).collect::<Vec<_>>()
        };
        assert_eq!(said(1), said(9));
        assert_eq!(said(1).len(), 2);
    }

    #[test]
    fn a_clock_that_stood_still_is_told_when_it_goes_on() {
        let mut desk = Desk::default();
        let mut wake = |minutes: i64| {
            desk.run(NOW.plus(minutes * MINUTE), |run| {
                run.wake();
            })
        };
        assert!(wake(0).is_empty() && wake(1).is_empty() && wake(3).is_empty());
        let told = wake(6);
        assert_eq!((told[0].dedup_key.as_str(), told[0].what), (DATABASE_KEY, What::Resolve));
        assert!(wake(7).is_empty());
        assert_eq!(database_unreachable(NOW, String::new()).dedup_key, DATABASE_KEY);
    }

    #[test]
    fn the_digest_is_due_once_a_day_from_its_minute_on() {
        let mut desk = Desk::default();
        // NOW is 03:00 UTC.
        let mut due = |millis: i64| {
            let mut due = false;
            desk.run(NOW.plus(millis), |run| {
                due = run.digest_is_due(8 * 60);
                if due {
                    run.digest(&[]);
                }
            });
            due
        };
        assert!(!due(0) && !due(5 * HOUR - 1));
        assert!(due(5 * HOUR) && !due(6 * HOUR) && !due(DAY) && due(DAY + 7 * HOUR));
        let told = Desk::default().run(NOW, |run| run.digest(&["one".to_owned()]));
        assert_eq!((told[0].said.as_str(), told[0].what), ("digest:2025-11-21", What::Info));
    }

    #[test]
    fn a_test_opens_and_closes() {
        let mut id = || "ntc-1".to_owned();
        let [begin, end] = test("req-1", "ada", NOW, &mut id);
        assert_eq!(
            (begin.what, end.what, begin.dedup_key == end.dedup_key),
            (What::Trigger, What::Resolve, true)
        );
        assert_ne!(begin.said, end.said);
    }

    proptest! {
        /// However many devices are silent, for whatever reason: one page at most is open for them, while nothing explains them and
        /// never while an incident does; nothing is said twice, and all is closed once they are well.
        #[test]
        fn silence_wakes_somebody_if_nothing_explains_it(
            steps in prop::collection::vec((1_i64..8, 0_u32..60, 0_usize..4), 1..40)
        ) {
            let causes = [Cause::Unknown, Cause::Doubt, incident("emqx"), incident("database")];
            let (mut desk, mut now, mut said) = (Desk::default(), NOW, BTreeSet::new());
            for (minutes, devices, which) in steps.into_iter().chain([(1, 0, 0)]) {
                now = now.plus(minutes * MINUTE);
                let cause = &causes[which];
                let before = desk.open.clone();
                let told = desk.run(now, |run| run.silent(devices, cause));
                for notice in &told {
                    prop_assert!(said.insert(notice.said.clone()), "{} was said", notice.said);
                    let with_incident = notice.dedup_key.starts_with("incident-");
                    prop_assert_eq!(notice.what == What::Info, with_incident, "{:?}", notice);
                    if notice.what == What::Resolve {
                        prop_assert!(before.contains(&notice.dedup_key), "{} had not begun", notice.dedup_key);
                    }
                    if let (Cause::Incident(of), true, true) = (cause, with_incident, devices >= SILENT) {
                        prop_assert_eq!(&notice.dedup_key, &format!("incident-{}", of.incident_id));
                    }
                }
                let open = desk.open.len();
                match cause {
                    Cause::Incident(_) => prop_assert_eq!(open, 0),
                    Cause::Unknown if devices >= SILENT => prop_assert_eq!(open, 1),
                    Cause::Doubt => prop_assert!(desk.open.is_subset(&before)),
                    Cause::Unknown => prop_assert!(open <= 1),
                }
                if devices < SILENT / 2 {
                    prop_assert_eq!(open, 0);
                }
            }
        }

        /// However alerts come and go, in whatever runs: what ends was begun, all that began is over once all are well,
        /// and nothing is said twice.
        #[test]
        fn every_beginning_has_its_end(runs in prop::collection::vec((0_i64..15, prop::collection::vec(0_i64..40, 0..30)), 1..20)) {
            let mut desk = Desk::default();
            let (mut now, mut ill, mut number) = (NOW, Vec::<AlertEntry>::new(), 0);
            let mut said = BTreeSet::new();
            let mut open = BTreeSet::new();
            let mut all = Vec::new();
            for (minutes, steps) in runs {
                now = now.plus(minutes * MINUTE);
                let entries = steps.into_iter().map(|step| {
                    let place = usize::try_from(step).unwrap();
                    if place < ill.len() {
                        AlertEntry { what: "resolved".into(), ..ill.remove(place) }
                    } else {
                        number += 1;
                        ill.push(alert(number, "opened"));
                        alert(number, "opened")
                    }
                }).collect::<Vec<_>>();
                all.extend(desk.run(now, |run| run.alerts(&entries)));
            }
            let rest: Vec<_> = ill.into_iter().map(|entry| AlertEntry { what: "resolved".into(), ..entry }).collect();
            all.extend(desk.run(now, |run| run.alerts(&rest)));
            for notice in all {
                prop_assert!(said.insert(notice.said.clone()), "{} was said", notice.said);
                match notice.what {
                    What::Trigger => drop(open.insert(notice.dedup_key)),
                    _ => prop_assert!(open.remove(&notice.dedup_key), "{} had not begun", notice.dedup_key),
                }
            }
            prop_assert!(open.is_empty(), "{open:?}");
        }
    }
}
