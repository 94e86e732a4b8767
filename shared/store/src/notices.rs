//! The outbox: what people are told, and how far each of it has come on each way to them.
//!
//! Whoever has something to tell puts [`tell`] into the batch that makes it true, so that neither is without the other; what
//! was said before is not said again. From there on it is the health worker's, once a minute: it *collects* what others left
//! for it ([`inbox`], [`alerts::outbox`](crate::alerts::outbox)), *plans* which channels each notice goes to, and *delivers*. A delivery is
//! [claimed](claim) before it is sent and [settled](settle) after; whoever claimed it and is not heard of again loses it after
//! a while, and it is sent again. In each channel, what is about one thing goes in the order in which it was said: nothing is
//! claimed while something earlier about it waits.

use rs1_domain::port::Statement;
use rs1_domain::time::as_millis;
use rs1_domain::{RecordId, UnixMillis, json};
use rs1_ops::notice::{Channel, Notice, Severity, Source, Unplanned, What};
use serde::Deserialize;
#[cfg(feature = "schema")]
use serde::Serialize;
use serde_json::Value;

use crate::security::json_text;
use crate::sql::PageRequest;

/// On what it depends whether [`tell`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum If {
    /// On nothing.
    Always,
    /// On whether the statement before this one in the same transaction changed something.
    Changed,
    /// On whether nobody collected since that generation was read; see [`collector`].
    Uncollected(i64),
}

/// Tells people, in the given order. What was said before (see [`Notice::said`]) is passed over.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn tell(notices: &[Notice], when: If, now: UnixMillis) -> Result<Statement, json::Error> {
    let (condition, generation) = match when {
        If::Always => (0_i64, None),
        If::Changed => (1, None),
        If::Uncollected(generation) => (2, Some(generation)),
    };
    Ok(Statement {
        name: "notices_tell",
        sql: "/* notices_tell */
            INSERT INTO notices (notice_id, said, source, dedup_key, what, severity, component, summary, at, detail, created_at)
            SELECT value->>'notice_id', value->>'said', value->>'source', value->>'dedup_key', value->>'what', value->>'severity',
              value->>'component', value->>'summary', value->>'at', value->'detail', ?2
            FROM json_each(?1)
            WHERE CASE ?3 WHEN 0 THEN 1 WHEN 1 THEN changes() > 0
              ELSE coalesce((SELECT generation FROM notice_collector WHERE id = 1), 0) = ?4 END
            ON CONFLICT (said) DO NOTHING",
        params: vec![json::write(notices)?.into(), now.into(), condition.into(), generation.into()],
    })
}

/// What whoever collects remembers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CollectorRow {
    /// JSON of it.
    pub state: String,
    /// Counts writes.
    pub generation: i64,
}

/// The [`CollectorRow`], if anybody ever collected.
pub fn collector() -> Statement {
    Statement {
        name: "notice_collector",
        sql: "/* notice_collector */
            SELECT state, generation FROM notice_collector WHERE id = 1",
        params: Vec::new(),
    }
}

/// Remembers, if nobody collected since `generation` (0: ever) was read. The last statement of a collection: the others depend on
/// the generation that it ends.
pub fn collected(state: &str, generation: i64) -> Statement {
    Statement {
        name: "notice_collected",
        sql: "/* notice_collected */
            INSERT INTO notice_collector (id, state, generation) VALUES (1, ?1, 1)
            ON CONFLICT (id) DO UPDATE SET state = excluded.state, generation = notice_collector.generation + 1
            WHERE notice_collector.generation = ?2",
        params: vec![state.into(), generation.into()],
    }
}

/// The first `limit` [`Word`](rs1_ops::collect::Word)s, oldest first.
pub fn inbox(limit: u32) -> Statement {
    Statement {
        name: "notice_inbox",
        sql: "/* notice_inbox */
            SELECT entry_id, source, kind, subject, at, detail FROM notice_inbox WHERE entry_id > 0 ORDER BY entry_id LIMIT ?1",
        params: vec![limit.into()],
    }
}

/// Takes those entries out, if nobody collected since that generation was read.
///
/// # Errors
/// When the list cannot be written as JSON, which numbers always can.
pub fn empty_inbox(entries: &[i64], generation: i64) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "notice_inbox_taken",
        sql: "/* notice_inbox_taken */
            DELETE FROM notice_inbox WHERE entry_id IN (SELECT value FROM json_each(?1))
              AND coalesce((SELECT generation FROM notice_collector WHERE id = 1), 0) = ?2",
        params: vec![json::write(entries)?.into(), generation.into()],
    })
}

/// A subject.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Key {
    /// Its `dedup_key`.
    pub dedup_key: String,
}

/// Those of the [`Key`]s whose latest notice says that they began, or are known.
///
/// # Errors
/// When the list cannot be written as JSON, which texts always can.
pub fn open(keys: &[String]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "notices_open",
        sql: "/* notices_open */
            SELECT value AS dedup_key FROM json_each(?1)
            WHERE (SELECT what FROM notices WHERE dedup_key = value ORDER BY seq DESC LIMIT 1) IN ('trigger', 'acknowledge')",
        params: vec![json::write(keys)?.into()],
    })
}

/// The first `limit` [`Unplanned`] notices, in the order in which they were said. Follow with [`plan`].
pub fn unplanned(limit: u32) -> Statement {
    Statement {
        name: "notices_unplanned",
        sql: "/* notices_unplanned */
            SELECT seq, source, dedup_key, what, severity,
              EXISTS (SELECT 1 FROM notices AS earlier
                CROSS JOIN notice_deliveries AS d ON d.seq = earlier.seq AND d.channel = 'pagerduty'
                WHERE earlier.dedup_key = n.dedup_key AND earlier.seq < n.seq) AS paged
            FROM notices AS n WHERE planned_at IS NULL ORDER BY seq LIMIT ?1",
        params: vec![limit.into()],
    }
}

/// Has each of those notices go to those channels, unless that was decided before.
///
/// # Errors
/// When the lists cannot be written as JSON, which these types always can.
pub fn plan(
    notices: &[Unplanned],
    deliveries: &[(i64, Channel)],
    now: UnixMillis,
) -> Result<[Statement; 2], json::Error> {
    let notices: Vec<i64> = notices.iter().map(|notice| notice.seq).collect();
    Ok([
        Statement {
            name: "notices_plan",
            sql: "/* notices_plan */
                INSERT INTO notice_deliveries (seq, channel, dedup_key, state, since, next_at)
                SELECT n.seq, wanted.value->>1, n.dedup_key, 'waiting', ?2, ?2
                FROM json_each(?1) AS wanted CROSS JOIN notices AS n ON n.seq = wanted.value->>0
                WHERE n.planned_at IS NULL
                ON CONFLICT (seq, channel) DO NOTHING",
            params: vec![json::write(deliveries)?.into(), now.into()],
        },
        Statement {
            name: "notices_planned",
            sql: "/* notices_planned */
                UPDATE notices SET planned_at = ?2
                WHERE seq IN (SELECT value FROM json_each(?1)) AND planned_at IS NULL",
            params: vec![json::write(&notices)?.into(), now.into()],
        },
    ])
}

/// Takes the delivery in hand that is due first in a channel, until `until`: nobody else sends it meanwhile. `claim` is unique to
/// this call; [`claimed`] in the same batch says what it is. None while the channel is to be left alone.
pub fn claim(channel: Channel, claim: &str, now: UnixMillis, until: UnixMillis) -> Statement {
    Statement {
        name: "notice_claim",
        sql: "/* notice_claim */
            UPDATE notice_deliveries SET claim = ?2, attempts = attempts + 1, next_at = ?4
            WHERE channel = ?1 AND seq = (
              SELECT d.seq FROM notice_deliveries AS d
              WHERE d.channel = ?1 AND d.state = 'waiting' AND d.next_at <= ?3
                AND NOT EXISTS (SELECT 1 FROM notice_deliveries AS earlier
                  WHERE earlier.channel = ?1 AND earlier.dedup_key = d.dedup_key AND earlier.state = 'waiting' AND earlier.seq < d.seq)
                AND NOT EXISTS (SELECT 1 FROM notice_channels WHERE channel = ?1 AND quiet_until > ?3)
              ORDER BY d.next_at, d.seq LIMIT 1)",
        params: vec![channel.as_str().into(), claim.into(), now.into(), until.into()],
    }
}

/// A delivery in hand, with what is to be sent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Claimed {
    /// The notice's place.
    pub seq: i64,
    /// How many sends were begun, with this one.
    pub attempts: u32,
    /// Since when it waits.
    #[serde(with = "as_millis")]
    pub since: UnixMillis,
    /// `ntc-…`.
    pub notice_id: String,
    /// Where it comes from.
    pub source: Source,
    /// What it is about.
    pub dedup_key: String,
    /// What it says of that.
    pub what: What,
    /// How much that matters.
    pub severity: Severity,
    /// The part of the system.
    pub component: String,
    /// One line.
    pub summary: String,
    /// When it happened.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
    /// What else is known.
    #[serde(deserialize_with = "json_text")]
    pub detail: Value,
}

/// The [`Claimed`] delivery of a claim until `until`.
pub fn claimed(channel: Channel, claim: &str, until: UnixMillis) -> Statement {
    Statement {
        name: "notice_claimed",
        sql: "/* notice_claimed */
            SELECT d.seq, d.attempts, d.since, n.notice_id, n.source, n.dedup_key, n.what, n.severity, n.component, n.summary, n.at,
              n.detail
            FROM notice_deliveries AS d CROSS JOIN notices AS n ON n.seq = d.seq
            WHERE d.channel = ?1 AND d.state = 'waiting' AND d.next_at = ?3 AND d.claim = ?2",
        params: vec![channel.as_str().into(), claim.into(), until.into()],
    }
}

/// How a send ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled<'a> {
    /// The notice's place.
    pub seq: i64,
    /// The channel.
    pub channel: Channel,
    /// The claim that it was sent under.
    pub claim: &'a str,
    /// `sent`, `failed`, or `waiting` to be sent again.
    pub state: &'static str,
    /// When, if it is to be sent again.
    pub next_at: Option<UnixMillis>,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// What was wrong.
    pub error: Option<&'a str>,
    /// Until when the channel is to be left alone.
    pub quiet_until: Option<UnixMillis>,
}

/// Notes how a send ended, if the delivery is still in the hand of whoever sent it; and lets the channel alone if that was asked
/// for.
pub fn settle(settled: &Settled<'_>, now: UnixMillis) -> [Statement; 2] {
    let over = settled.state != "waiting";
    [
        Statement {
            name: "notice_settle",
            sql: "/* notice_settle */
                UPDATE notice_deliveries SET state = ?4, next_at = coalesce(?5, next_at), status = ?6, error = ?7, settled_at = ?8,
                  claim = NULL
                WHERE seq = ?1 AND channel = ?2 AND claim = ?3 AND state = 'waiting'",
            params: vec![
                settled.seq.into(),
                settled.channel.as_str().into(),
                settled.claim.into(),
                settled.state.into(),
                settled.next_at.into(),
                settled.status.map(u32::from).into(),
                settled.error.into(),
                over.then_some(now).into(),
            ],
        },
        Statement {
            name: "notice_hush",
            sql: "/* notice_hush */
                INSERT INTO notice_channels (channel, quiet_until) SELECT ?1, ?2 WHERE ?2 IS NOT NULL
                ON CONFLICT (channel) DO UPDATE SET quiet_until = max(quiet_until, excluded.quiet_until)",
            params: vec![settled.channel.as_str().into(), settled.quiet_until.into()],
        },
    ]
}

/// A time as the wire has it, by the database.
macro_rules! time {
    ($column:literal) => {
        concat!("replace(strftime('%Y-%m-%dT%H:%M:%fZ', ", $column, " / 1000.0, 'unixepoch'), '.000Z', 'Z')")
    };
}

/// The columns of a [`Shown`], of notices `n`.
macro_rules! shown {
    () => {
        concat!(
            "n.seq, json_object('notice_id', n.notice_id, 'source', n.source, 'dedup_key', n.dedup_key, 'action', n.what,
                'severity', n.severity, 'component', n.component, 'summary', n.summary, 'at', ",
            time!("n.at"),
            ", 'created_at', ",
            time!("n.created_at"),
            ", 'detail', json(n.detail), 'deliveries', json((SELECT json_group_array(json_object('channel', channel, 'state', state,
                'attempts', attempts, 'next_at', CASE state WHEN 'waiting' THEN ",
            time!("next_at"),
            " END, 'status', status, 'error', error, 'settled_at', ",
            time!("settled_at"),
            ")) FROM notice_deliveries WHERE seq = n.seq))) AS body"
        )
    };
}

/// A notice, to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Shown {
    /// Its place in the order in which things were said.
    pub seq: i64,
    /// JSON of it, written by the database: nothing here reads it.
    pub body: String,
}

/// A notice as it is shown.
#[cfg(feature = "schema")]
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Notice")]
pub struct NoticeShown {
    /// `ntc-…`.
    pub notice_id: String,
    /// Where it comes from.
    pub source: Source,
    /// What it is about, the same from its beginning to its end.
    pub dedup_key: String,
    /// What it says of that.
    pub action: What,
    /// How much that matters.
    pub severity: Severity,
    /// The part of the system.
    pub component: String,
    /// One line.
    pub summary: String,
    /// When it happened.
    pub at: UnixMillis,
    /// When it was said.
    pub created_at: UnixMillis,
    /// What else is known.
    pub detail: Value,
    /// How far it is in each channel that it goes to.
    pub deliveries: Vec<DeliveryShown>,
}

/// How far a notice is in a channel.
#[cfg(feature = "schema")]
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "NoticeDelivery")]
pub struct DeliveryShown {
    /// The channel.
    pub channel: Channel,
    /// Whether it is there.
    pub state: DeliveryState,
    /// How many sends were begun.
    pub attempts: u32,
    /// When it is sent again, while it waits.
    pub next_at: Option<UnixMillis>,
    /// HTTP status of the last answer; null if there was none.
    pub status: Option<u16>,
    /// What was wrong the last time.
    pub error: Option<String>,
    /// When it was sent, or given up.
    pub settled_at: Option<UnixMillis>,
}

/// Whether a notice has arrived.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", derive(Serialize), serde(rename_all = "lowercase"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Not yet.
    Waiting,
    /// The channel took it.
    Sent,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// The word in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Sent, Self::Failed].into_iter().find(|state| state.as_str() == text)
    }
}

/// A page of the [`Shown`]s, latest first: all, those of a source, those with a delivery in a state. A cursor is a `seq`.
pub fn list(state: Option<DeliveryState>, source: Option<Source>, page: &PageRequest) -> Statement {
    let before: i64 = page.after.as_deref().and_then(|seq| seq.parse().ok()).unwrap_or(1 << 53);
    let source = source.map(Source::as_str);
    match (state, source) {
        (Some(state), source) => Statement {
            name: "notices_in_state",
            sql: concat!("/* notices_in_state */
                SELECT ", shown!(), "
                FROM notice_deliveries AS first CROSS JOIN notices AS n ON n.seq = first.seq
                WHERE first.state = ?2 AND first.seq < ?1 AND (?4 IS NULL OR source = ?4)
                  AND first.channel = (SELECT min(channel) FROM notice_deliveries WHERE seq = first.seq AND state = ?2)
                ORDER BY first.seq DESC LIMIT ?3"),
            params: vec![before.into(), state.as_str().into(), page.rows().into(), source.into()],
        },
        (None, Some(source)) => Statement {
            name: "notices_of_source",
            sql: concat!("/* notices_of_source */
                SELECT ", shown!(), "
                FROM notices AS n WHERE source = ?3 AND n.seq < ?1 ORDER BY n.seq DESC LIMIT ?2"),
            params: vec![before.into(), page.rows().into(), source.into()],
        },
        (None, None) => Statement {
            name: "notices_list",
            sql: concat!("/* notices_list */
                SELECT ", shown!(), "
                FROM notices AS n WHERE n.seq < ?1 ORDER BY n.seq DESC LIMIT ?2"),
            params: vec![before.into(), page.rows().into()],
        },
    }
}

/// One [`Shown`].
pub fn by_id(notice: &str) -> Statement {
    Statement {
        name: "notice_by_id",
        sql: concat!(
            "/* notice_by_id */
            SELECT ",
            shown!(),
            "
            FROM notices AS n WHERE notice_id = ?1"
        ),
        params: vec![notice.into()],
    }
}

/// Has a notice sent again at once where it was given up or waits, but not where something later about its subject has arrived:
/// an end must not be followed by its beginning. What somebody has in hand stays there. Changes a row a channel.
pub fn retry(notice: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "notice_retry",
        sql: "/* notice_retry */
            UPDATE notice_deliveries SET state = 'waiting', since = ?2, next_at = ?2, settled_at = NULL
            WHERE seq = (SELECT seq FROM notices WHERE notice_id = ?1) AND state <> 'sent' AND claim IS NULL
              AND NOT EXISTS (SELECT 1 FROM notices AS later
                CROSS JOIN notice_deliveries AS d ON d.seq = later.seq AND d.channel = notice_deliveries.channel AND d.state = 'sent'
                WHERE later.dedup_key = notice_deliveries.dedup_key AND later.seq > notice_deliveries.seq)",
        params: vec![notice.into(), now.into()],
    }
}

/// Forgets up to `limit` notices from before `before`, with their deliveries; the statements belong into one transaction. What
/// began and has not ended stays.
pub fn prune(before: UnixMillis, limit: u32) -> [Statement; 2] {
    let params = vec![before.into(), limit.into()];
    [
        Statement {
            name: "notice_deliveries_prune",
            sql: "/* notice_deliveries_prune */
                DELETE FROM notice_deliveries WHERE seq IN (
                  SELECT seq FROM notices AS n WHERE created_at < ?1
                    AND (what IN ('resolve', 'info') OR source IN ('security', 'test')
                      OR EXISTS (SELECT 1 FROM notices AS later WHERE later.dedup_key = n.dedup_key AND later.seq > n.seq))
                  ORDER BY created_at LIMIT ?2)",
            params: params.clone(),
        },
        Statement {
            name: "notices_prune",
            sql: "/* notices_prune */
                DELETE FROM notices WHERE seq IN (
                  SELECT seq FROM notices AS n WHERE created_at < ?1
                    AND (what IN ('resolve', 'info') OR source IN ('security', 'test')
                      OR EXISTS (SELECT 1 FROM notices AS later WHERE later.dedup_key = n.dedup_key AND later.seq > n.seq))
                  ORDER BY created_at LIMIT ?2)",
            params,
        },
    ]
}

/// The digest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Digest {
    /// JSON: a list of texts, a line each.
    pub lines: String,
}

/// The [`Digest`] of the day that ends now; `since` is an id of its beginning. Counts the whole fleet, once a day. (A union of its
/// lines would be too long for D1, which takes five parts.)
pub fn digest(since: &RecordId, yesterday: UnixMillis) -> Statement {
    Statement {
        name: "notices_digest",
        sql: "/* notices_digest */
            SELECT json_array(
              'Open incidents: ' || coalesce((SELECT group_concat(title || ', since '
                || strftime('%Y-%m-%dT%H:%M:%SZ', opened_at / 1000, 'unixepoch'), '; ')
                FROM (SELECT title, opened_at FROM incidents WHERE resolved_at IS NULL ORDER BY subject LIMIT 20)), 'none'),
              'Open alerts of devices: ' || coalesce((SELECT group_concat(n || ' ' || kind, ', ') FROM (
                SELECT kind, count(*) AS n FROM alerts WHERE resolved_at IS NULL GROUP BY kind)), 'none'),
              'Rollouts in progress: ' || coalesce((SELECT group_concat(rollout_id || ' ' || version || ' ' || status, ', ')
                FROM (SELECT * FROM rollouts INDEXED BY rollouts_open WHERE settled = 0 AND status <> 'PENDING' LIMIT 20)), 'none'),
              'Latest backup: ' || coalesce((SELECT backup_id || ' ' || state || ', ' ||
                  CASE check_ok WHEN 1 THEN 'restored well' WHEN 0 THEN 'does not restore' ELSE 'not checked yet' END
                FROM backups ORDER BY backup_id DESC LIMIT 1), 'none'),
              'Backups with faults: ' || coalesce((SELECT group_concat(subject, ', ') FROM backup_watch
                WHERE json_array_length(faults) > 0), 'none'),
              'Security log of the last day: ' || coalesce((SELECT group_concat(n || ' ' || kind, ', ') FROM (
                SELECT kind, sum(count) AS n FROM security_log WHERE id > ?1 GROUP BY kind || '')), 'none'),
              (SELECT 'Devices: ' || coalesce(sum(online), 0) || ' of ' || count(*) || ' online, '
                || coalesce(sum(last_seen_at >= ?2), 0) || ' heard of in the last day' FROM devices)) AS lines",
        params: vec![since.as_str().into(), yesterday.into()],
    }
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Count {
    /// How many.
    pub count: u32,
}

/// The [`Count`] of devices that have been silent since `since` was made and are, up to `most`.
pub fn silent_devices(since: &RecordId, most: u32) -> Statement {
    Statement {
        name: "notices_silent_devices",
        sql: "/* notices_silent_devices */
            SELECT count(*) AS count FROM (
              SELECT 1 FROM alerts WHERE alert_id > ?1 AND kind = 'device_offline' AND resolved_at IS NULL LIMIT ?2)",
        params: vec![since.as_str().into(), most.into()],
    }
}
