//! Notices: what people are told, in whose words, on which ways, and how hard each way is tried.
//!
//! A notice says that something began, is known, is over, or is as it is ([`What`]). Notices about one thing carry one
//! `dedup_key`, by which `PagerDuty` knows that they belong together; on each [`Channel`] they go out in the order in which
//! they were said. Writing them down, and sending them exactly once, is the outbox's part (`rs1-store`, `notices`).
//!
//! What each channel is sent, and what its answer means:
//!
//! | channel | sent | repeated when the answer was lost |
//! |---|---|---|
//! | `PagerDuty` | Events API v2, `trigger`, `acknowledge`, `resolve` | yes: the same `dedup_key` is the same alert |
//! | Slack | an incoming webhook's `text` | yes: rather twice than never, and the notice's id is in the text |
//! | webhook | the notice as JSON, signed | yes: `X-RS1-Notice-Id` is the same, for the receiver to know it by |
//!
//! 2xx is taken; 400, 413, 415 and 422 mean that this notice will never be; everything else is tried again, later each time, for
//! three days. What a receiver asks for with `Retry-After` (in seconds) is granted up to an hour, by the whole channel.

use std::fmt::Write as _;

use rs1_domain::time::{DAY, HOUR, MINUTE, SECOND, as_millis};
use rs1_domain::{UnixMillis, json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest summary that `PagerDuty` takes, in characters.
const SUMMARY: usize = 1_024;
/// Longest `dedup_key` that it takes.
const KEY: usize = 255;
/// Largest detail that is sent, in bytes of JSON; `PagerDuty` takes 512 KB in all.
const DETAIL: usize = 16_000;
/// The wait after the first attempt that failed; each further one is twice as long.
const FIRST_WAIT: i64 = 30 * SECOND;
/// The longest wait between attempts.
const LONGEST_WAIT: i64 = 30 * MINUTE;
/// The longest that a receiver may ask us to wait.
const LONGEST_ASKED: i64 = HOUR;
/// How long a notice is tried.
const TRIED: i64 = 3 * DAY;

/// Where a notice comes from.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "NoticeSource"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A check's incident.
    Incident,
    /// Devices' critical alerts.
    Alert,
    /// A rollout that was halted.
    Rollout,
    /// The security log.
    Security,
    /// The watch over backups.
    Backup,
    /// The database, from outside of it.
    Database,
    /// The day in numbers.
    Digest,
    /// An operator who tries the channels.
    Test,
}

/// What a notice says of its subject.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "NoticeAction"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It began, or goes on.
    Trigger,
    /// Somebody knows.
    Acknowledge,
    /// It is over.
    Resolve,
    /// For the record: it neither began nor ends.
    Info,
}

/// How much it matters, in `PagerDuty`'s words.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "NoticeSeverity"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody should look at it in the day.
    Warning,
    /// Somebody is paged.
    Error,
    /// Somebody is paged, and customers feel it.
    Critical,
}

/// A way to people.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "NoticeChannel"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Events API v2.
    PagerDuty,
    /// An incoming webhook.
    Slack,
    /// A signed webhook of our own form.
    Webhook,
}

impl Channel {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::PagerDuty, Self::Slack, Self::Webhook];

    /// The word in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PagerDuty => "pagerduty",
            Self::Slack => "slack",
            Self::Webhook => "webhook",
        }
    }
}

impl Source {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Incident,
        Self::Alert,
        Self::Rollout,
        Self::Security,
        Self::Backup,
        Self::Database,
        Self::Digest,
        Self::Test,
    ];

    /// The word in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::Alert => "alert",
            Self::Rollout => "rollout",
            Self::Security => "security",
            Self::Backup => "backup",
            Self::Database => "database",
            Self::Digest => "digest",
            Self::Test => "test",
        }
    }
}

impl What {
    /// The word in the database and on the wire, `PagerDuty`'s `event_action`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Acknowledge => "acknowledge",
            Self::Resolve => "resolve",
            Self::Info => "info",
        }
    }
}

impl Severity {
    /// The word in the database and on the wire, `PagerDuty`'s `severity`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// That of an incident, by its severity from SEV1 (1) to SEV4 (4): the first two page somebody.
    pub fn of_sev(sev: u8) -> Self {
        match sev {
            0 | 1 => Self::Critical,
            2 => Self::Error,
            3 => Self::Warning,
            _ => Self::Info,
        }
    }
}

/// Something that people are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// `ntc-…`.
    pub notice_id: String,
    /// What makes it this one, whoever says it and however often: `incident:inc-1:opened`. It is told once.
    pub said: String,
    /// Where it comes from.
    pub source: Source,
    /// What it is about, the same from trigger to resolve; at most 255 characters, of which nothing is secret.
    pub dedup_key: String,
    /// What it says of that.
    pub what: What,
    /// How much that matters.
    pub severity: Severity,
    /// The part of the system.
    pub component: String,
    /// One line, for people.
    pub summary: String,
    /// When it happened.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
    /// A JSON object of whatever helps. `lines`, a list of texts, is shown to people as such.
    pub detail: Value,
}

/// A notice for which no channels were chosen yet, as far as that matters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Unplanned {
    /// Its place in the order in which things were said.
    pub seq: i64,
    /// Where it comes from.
    pub source: Source,
    /// What it is about.
    pub dedup_key: String,
    /// What it says of that.
    pub what: What,
    /// How much that matters.
    pub severity: Severity,
    /// Whether `PagerDuty` was told of its subject before; 0 or 1.
    pub paged: i64,
}

/// Which channels notices go to, given in the order in which they were said. What is not configured gets nothing.
///
/// Slack and the webhook are told everything. `PagerDuty` is told what is an error at least, and what becomes of that; no
/// information, which it has no word for. A test's end goes where it is needed to close what its beginning opened.
pub fn plan(notices: &[Unplanned], configured: &[Channel]) -> Vec<(i64, Channel)> {
    let mut paged = Vec::new();
    let mut planned = Vec::new();
    for notice in notices {
        let key = notice.dedup_key.as_str();
        let test = notice.source == Source::Test;
        let to_pager = match notice.what {
            What::Trigger => test || notice.severity >= Severity::Error,
            // Who found the database absent told `PagerDuty`, and could not note it.
            What::Acknowledge | What::Resolve => {
                notice.paged != 0 || paged.contains(&key) || notice.source == Source::Database
            }
            What::Info => false,
        };
        let wanted = |channel: &Channel| match channel {
            Channel::PagerDuty => to_pager,
            Channel::Slack | Channel::Webhook => !test || notice.what == What::Trigger,
        };
        for channel in configured.iter().filter(|channel| wanted(channel)) {
            if *channel == Channel::PagerDuty {
                paged.push(key);
            }
            planned.push((notice.seq, *channel));
        }
    }
    planned
}

/// The event for `PagerDuty`'s `/v2/enqueue`, JSON. `origin` names this system.
pub fn pagerduty(notice: &Notice, routing_key: &str, origin: &str) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        routing_key: &'a str,
        event_action: What,
        dedup_key: String,
        // What is acknowledged or over is named by its key alone.
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Payload<'a>>,
    }
    #[derive(Serialize)]
    struct Payload<'a> {
        summary: String,
        source: &'a str,
        severity: Severity,
        timestamp: UnixMillis,
        component: &'a str,
        group: Source,
        custom_details: Details<'a>,
    }
    #[derive(Serialize)]
    struct Details<'a> {
        notice_id: &'a str,
        detail: Value,
    }
    let payload = (notice.what == What::Trigger).then(|| Payload {
        summary: cut(&notice.summary, SUMMARY),
        source: origin,
        severity: notice.severity,
        timestamp: notice.at,
        component: &notice.component,
        group: notice.source,
        custom_details: Details { notice_id: &notice.notice_id, detail: bounded(&notice.detail) },
    });
    let body = Body {
        routing_key,
        event_action: notice.what,
        dedup_key: pagerduty_key(notice),
        client: payload.is_some().then_some("RS-1 Cloud"),
        payload,
    };
    written(&body)
}

/// What `PagerDuty` knows the subject by. Attacks come from many addresses at once, and one page is enough: they are one
/// alert a kind, which notes each of them. Nothing says that an attack is over; whoever looks into it closes the alert.
fn pagerduty_key(notice: &Notice) -> String {
    let key = match notice.source {
        Source::Security => notice.dedup_key.splitn(3, ':').take(2).collect::<Vec<_>>().join(":"),
        _ => notice.dedup_key.clone(),
    };
    cut(&key, KEY)
}

/// The message for Slack's incoming webhook, JSON.
pub fn slack(notice: &Notice, origin: &str) -> String {
    #[derive(Serialize)]
    struct Message {
        text: String,
    }
    let sign = match (notice.what, notice.severity) {
        (What::Resolve, _) => ":white_check_mark: Over",
        (What::Acknowledge, _) => ":eyes: Acknowledged",
        (What::Info, _) | (What::Trigger, Severity::Info) => ":information_source: Notice",
        (What::Trigger, Severity::Critical) => ":rotating_light: Critical",
        (What::Trigger, Severity::Error) => ":red_circle: Error",
        (What::Trigger, Severity::Warning) => ":warning: Warning",
    };
    let mut text = format!("*{sign}*: {}", escaped(&cut(&notice.summary, SUMMARY)));
    for line in notice.detail.get("lines").and_then(Value::as_array).into_iter().flatten().take(40) {
        text.push_str("\n• ");
        text.push_str(&escaped(&cut(line.as_str().unwrap_or_default(), 300)));
    }
    let (at, id) = (notice.at.to_rfc3339(), &notice.notice_id);
    // Writing to a String cannot fail.
    let _ = write!(text, "\n_{} · {} · {at} · {id}_", escaped(origin), escaped(&notice.component));
    written(&Message { text })
}

/// The body for the webhook of our own form, JSON.
pub fn webhook(notice: &Notice, origin: &str) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        version: u8,
        id: &'a str,
        origin: &'a str,
        source: Source,
        dedup_key: &'a str,
        action: What,
        severity: Severity,
        component: &'a str,
        summary: String,
        at: UnixMillis,
        detail: Value,
    }
    written(&Body {
        version: 1,
        id: &notice.notice_id,
        origin,
        source: notice.source,
        dedup_key: &notice.dedup_key,
        action: notice.what,
        severity: notice.severity,
        component: &notice.component,
        summary: cut(&notice.summary, SUMMARY),
        at: notice.at,
        detail: bounded(&notice.detail),
    })
}

/// These types can always be written.
fn written(body: &impl Serialize) -> String {
    json::write(body).unwrap_or_default()
}

/// Slack reads these three as markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

fn bounded(detail: &Value) -> Value {
    if written(detail).len() > DETAIL {
        return Value::String(format!("omitted: more than {DETAIL} bytes"));
    }
    detail.clone()
}

/// A receiver's answer, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, in milliseconds.
    pub retry_after: Option<i64>,
}

impl Reply {
    /// An answer with the text of its `Retry-After`; a date there, which none of the receivers sends, counts as none.
    pub fn new(status: u16, retry_after: Option<&str>) -> Self {
        let seconds = retry_after.and_then(|text| text.trim().parse::<u32>().ok());
        Self { status, retry_after: seconds.map(|seconds| i64::from(seconds).saturating_mul(SECOND)) }
    }
}

/// One send, as it stands after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The answer; `None` when there was none: nobody knows whether it arrived.
    pub reply: Option<Reply>,
    /// How many sends there were, this one included.
    pub attempts: u32,
    /// Since when it waits to be sent.
    pub since: UnixMillis,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Sent,
    /// It will never be taken, or was tried for long enough; an operator may have it tried again.
    GivenUp,
    /// It is to be sent again then, and the channel left alone until `quiet_until`.
    Again {
        /// When.
        at: UnixMillis,
        /// What the receiver asked for.
        quiet_until: Option<UnixMillis>,
    },
}

/// Judges a send. `roll` is random, so that what failed together does not come again together.
pub fn judge(tried: &Tried, now: UnixMillis, roll: u16) -> Verdict {
    match tried.reply.map(|reply| reply.status) {
        Some(200..=299) => return Verdict::Sent,
        Some(400 | 413 | 415 | 422) => return Verdict::GivenUp,
        _ => {}
    }
    let asked = tried.reply.and_then(|reply| reply.retry_after).map(|asked| asked.min(LONGEST_ASKED));
    let wait = backoff(tried.attempts, roll).max(asked.unwrap_or_default());
    if now.plus(wait).since(tried.since) > TRIED {
        return Verdict::GivenUp;
    }
    Verdict::Again { at: now.plus(wait), quiet_until: asked.map(|asked| now.plus(asked)) }
}

/// The wait after so many attempts: twice as long each time, of which half is left to chance.
pub fn backoff(attempts: u32, roll: u16) -> i64 {
    let doublings = attempts.saturating_sub(1).min(16);
    let whole = FIRST_WAIT.saturating_mul(1_i64 << doublings).min(LONGEST_WAIT);
    let half = whole.div_euclid(2);
    half.saturating_add(half.saturating_mul(i64::from(roll)).div_euclid(i64::from(u16::MAX)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_763_690_475_000);

    fn read(body: &str) -> Value {
        serde_json::from_str(body).unwrap()
    }

    fn notice(source: Source, what: What, severity: Severity) -> Notice {
        Notice {
            notice_id: "ntc-1".into(),
            said: "s".into(),
            source,
            dedup_key: "security:acl_violation:203.0.113.7".into(),
            what,
            severity,
            component: "broker".into(),
            summary: "a < b & c".into(),
            at: NOW,
            detail: json!({"lines": ["one <two>"], "count": 2}),
        }
    }

    fn unplanned(seq: i64, what: What, severity: Severity) -> Unplanned {
        Unplanned { seq, source: Source::Incident, dedup_key: "k".into(), what, severity, paged: 0 }
    }

    #[test]
    fn pagerduty_is_sent_an_event_of_its_api() {
        let event = read(&pagerduty(
            &notice(Source::Incident, What::Trigger, Severity::Error),
            "R",
            "rs1-cloud-local",
        ));
        assert_eq!(
            event,
            json!({
                "routing_key": "R",
                "event_action": "trigger",
                "dedup_key": "security:acl_violation:203.0.113.7",
                "client": "RS-1 Cloud",
                "payload": {
                    "summary": "a < b & c",
                    "source": "rs1-cloud-local",
                    "severity": "error",
                    "timestamp": "2025-11-21T02:01:15Z",
                    "component": "broker",
                    "group": "incident",
                    "custom_details": {"notice_id": "ntc-1", "detail": {"lines": ["one <two>"], "count": 2}},
                },
            })
        );
        let end = read(&pagerduty(&notice(Source::Security, What::Resolve, Severity::Error), "R", "o"));
        assert_eq!(
            end,
            json!({"routing_key": "R", "event_action": "resolve", "dedup_key": "security:acl_violation"})
        );
    }

    #[test]
    fn what_is_too_long_is_cut_to_what_receivers_take() {
        let long = Notice {
            summary: "é".repeat(2_000),
            dedup_key: "k".repeat(300),
            detail: json!({"x": "y".repeat(20_000)}),
            ..notice(Source::Backup, What::Trigger, Severity::Critical)
        };
        let event = read(&pagerduty(&long, "R", "o"));
        assert_eq!(event["payload"]["summary"].as_str().map(|text| text.chars().count()), Some(1_024));
        assert_eq!(event["dedup_key"].as_str().map(str::len), Some(255));
        assert_eq!(event["payload"]["custom_details"]["detail"], "omitted: more than 16000 bytes");
        assert!(webhook(&long, "o").len() < 4_000);
    }

    #[test]
    fn slack_is_sent_text_in_which_nothing_is_markup_but_ours() {
        let message =
            read(&slack(&notice(Source::Incident, What::Trigger, Severity::Critical), "rs1-cloud-local"));
        assert_eq!(
            message["text"],
            "*:rotating_light: Critical*: a &lt; b &amp; c\n• one &lt;two&gt;\n_rs1-cloud-local · broker · 2025-11-21T02:01:15Z · ntc-1_"
        );
        for (what, severity, begins) in [
            (What::Resolve, Severity::Critical, "*:white_check_mark: Over*"),
            (What::Acknowledge, Severity::Critical, "*:eyes: Acknowledged*"),
            (What::Trigger, Severity::Error, "*:red_circle: Error*"),
            (What::Trigger, Severity::Warning, "*:warning: Warning*"),
            (What::Trigger, Severity::Info, "*:information_source: Notice*"),
            (What::Info, Severity::Error, "*:information_source: Notice*"),
        ] {
            let message = read(&slack(&notice(Source::Incident, what, severity), "o"));
            assert!(message["text"].as_str().is_some_and(|text| text.starts_with(begins)), "{message}");
        }
    }

    #[test]
    fn the_webhook_is_sent_the_notice() {
        let body =
            read(&webhook(&notice(Source::Rollout, What::Resolve, Severity::Critical), "rs1-cloud-local"));
        assert_eq!(
            body,
            json!({
                "version": 1,
                "id": "ntc-1",
                "origin": "rs1-cloud-local",
                "source": "rollout",
                "dedup_key": "security:acl_violation:203.0.113.7",
                "action": "resolve",
                "severity": "critical",
                "component": "broker",
                "summary": "a < b & c",
                "at": "2025-11-21T02:01:15Z",
                "detail": {"lines": ["one <two>"], "count": 2},
            })
        );
    }

    #[test]
    fn pagerduty_hears_of_errors_and_of_what_becomes_of_them() {
        use Channel::{PagerDuty, Slack, Webhook};
        let channels = |notices: &[Unplanned]| plan(notices, &Channel::ALL);
        for (what, severity, expected) in [
            (What::Trigger, Severity::Critical, vec![PagerDuty, Slack, Webhook]),
            (What::Trigger, Severity::Error, vec![PagerDuty, Slack, Webhook]),
            (What::Trigger, Severity::Warning, vec![Slack, Webhook]),
            (What::Info, Severity::Critical, vec![Slack, Webhook]),
            (What::Resolve, Severity::Critical, vec![Slack, Webhook]),
            (What::Acknowledge, Severity::Critical, vec![Slack, Webhook]),
        ] {
            let planned = channels(&[unplanned(1, what, severity)]);
            assert_eq!(planned, expected.into_iter().map(|it| (1, it)).collect::<Vec<_>>(), "{what:?}");
        }
        // An end is told where the beginning was, whatever it has become meanwhile.
        let both =
            [unplanned(1, What::Trigger, Severity::Error), unplanned(2, What::Resolve, Severity::Info)];
        assert!(channels(&both).contains(&(2, PagerDuty)));
        let before = Unplanned { paged: 1, ..unplanned(2, What::Acknowledge, Severity::Info) };
        assert!(channels(&[before]).contains(&(2, PagerDuty)));
        assert_eq!(plan(&both, &[]), []);
        assert_eq!(plan(&both, &[Webhook]), [(1, Webhook), (2, Webhook)]);
    }

    #[test]
    fn a_test_goes_everywhere_and_its_end_closes_what_it_opened() {
        let of = |seq, what| Unplanned { source: Source::Test, ..unplanned(seq, what, Severity::Info) };
        let planned = plan(&[of(1, What::Trigger), of(2, What::Resolve)], &Channel::ALL);
        assert_eq!(
            planned,
            [(1, Channel::PagerDuty), (1, Channel::Slack), (1, Channel::Webhook), (2, Channel::PagerDuty)]
        );
    }

    #[test]
    fn an_incident_pages_from_sev2_on() {
        let severities = [1, 2, 3, 4].map(Severity::of_sev);
        assert_eq!(severities, [Severity::Critical, Severity::Error, Severity::Warning, Severity::Info]);
    }

    #[test]
    fn words_are_those_of_json() {
        for source in Source::ALL {
            assert_eq!(json!(source), source.as_str());
        }
        for channel in Channel::ALL {
            assert_eq!(json!(channel), channel.as_str());
        }
        for what in [What::Trigger, What::Acknowledge, What::Resolve, What::Info] {
            assert_eq!(json!(what), what.as_str());
        }
        for severity in [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical] {
            assert_eq!(json!(severity), severity.as_str());
        }
    }

    fn tried(status: Option<u16>, retry_after: Option<&str>) -> Tried {
        let reply = status.map(|status| Reply::new(status, retry_after));
        Tried { reply, attempts: 1, since: NOW }
    }

    #[test]
    fn an_answer_is_taken_refused_or_to_be_tried_again() {
        for status in [200, 202, 204] {
            assert_eq!(judge(&tried(Some(status), None), NOW, 0), Verdict::Sent);
        }
        for status in [400, 413, 415, 422] {
            assert_eq!(judge(&tried(Some(status), None), NOW, 0), Verdict::GivenUp);
        }
        for status in
            [None, Some(301), Some(401), Some(403), Some(404), Some(408), Some(410), Some(429), Some(500)]
        {
            let again = Verdict::Again { at: NOW.plus(15 * SECOND), quiet_until: None };
            assert_eq!(judge(&tried(status, None), NOW, 0), again, "{status:?}");
        }
    }

    #[test]
    fn what_a_receiver_asks_for_is_granted_within_reason() {
        let asked = |text| judge(&tried(Some(429), Some(text)), NOW, 0);
        let quiet = |millis| Verdict::Again { at: NOW.plus(millis), quiet_until: Some(NOW.plus(millis)) };
        assert_eq!(asked("120"), quiet(2 * MINUTE));
        assert_eq!(asked(" 86400 "), quiet(HOUR));
        let soon = Verdict::Again { at: NOW.plus(15 * SECOND), quiet_until: Some(NOW.plus(SECOND)) };
        assert_eq!(asked("1"), soon, "the channel for a second, this notice no sooner than otherwise");
        for text in ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", ""] {
            assert_eq!(
                asked(text),
                Verdict::Again { at: NOW.plus(15 * SECOND), quiet_until: None },
                "{text}"
            );
        }
    }

    #[test]
    fn what_was_tried_for_three_days_is_given_up() {
        let old = Tried { attempts: 100, since: NOW.plus(-3 * DAY + 20 * MINUTE), ..tried(Some(500), None) };
        assert!(matches!(judge(&old, NOW, 0), Verdict::Again { .. }));
        assert_eq!(judge(&old, NOW, u16::MAX), Verdict::GivenUp);
    }

    proptest! {
        #[test]
        fn waits_grow_to_a_bound_and_differ(attempts in 1_u32..1_000, roll: u16) {
            let wait = backoff(attempts, roll);
            prop_assert!((FIRST_WAIT / 2..=LONGEST_WAIT).contains(&wait), "{wait}");
            prop_assert!(backoff(attempts + 1, roll) >= wait);
            prop_assert!(backoff(attempts, 0) * 2 >= wait && wait >= backoff(attempts, 0));
        }

        /// Whatever is said in whatever order: nothing goes where nothing is configured, nothing twice, and `PagerDuty`
        /// hears of no end without a beginning.
        #[test]
        fn a_plan_is_within_what_is_configured(
            said in prop::collection::vec((0_u8..4, 0_u8..4, 0_u8..3), 0..30),
            configured in prop::sample::subsequence(Channel::ALL.to_vec(), 0..=3),
        ) {
            let whats = [What::Trigger, What::Acknowledge, What::Resolve, What::Info];
            let severities = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];
            let notices: Vec<_> = said.iter().zip(1..).map(|((what, severity, key), seq)| Unplanned {
                dedup_key: key.to_string(),
                ..unplanned(seq, whats[usize::from(*what)], severities[usize::from(*severity)])
            }).collect();
            let planned = plan(&notices, &configured);
            let unique: BTreeSet<_> = planned.iter().collect();
            prop_assert_eq!(unique.len(), planned.len());
            prop_assert!(planned.iter().all(|(_, channel)| configured.contains(channel)));
            for notice in &notices {
                let to = |channel| planned.contains(&(notice.seq, channel));
                prop_assert_eq!(to(Channel::Slack), configured.contains(&Channel::Slack));
                let began = |other: &&Unplanned| {
                    other.seq < notice.seq && other.dedup_key == notice.dedup_key
                        && other.what == What::Trigger && planned.contains(&(other.seq, Channel::PagerDuty))
                };
                if to(Channel::PagerDuty) && notice.what != What::Trigger {
                    prop_assert!(notices.iter().any(|other| began(&other)), "{:?}", notice);
                }
            }
        }
    }
}
