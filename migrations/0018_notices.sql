-- What people are told, and how far each of it has come on each way to them.

CREATE TABLE notices (
  seq        INTEGER NOT NULL PRIMARY KEY,         -- rises: the order in which things were said
  notice_id  TEXT    NOT NULL UNIQUE,              -- ntc-{ULID}
  said       TEXT    NOT NULL UNIQUE,              -- what makes it this one: the same again is not said again
  source     TEXT    NOT NULL CHECK (source IN ('incident', 'alert', 'rollout', 'security', 'backup', 'database', 'digest', 'test')),
  dedup_key  TEXT    NOT NULL,                     -- what it is about, the same from its beginning to its end
  what       TEXT    NOT NULL CHECK (what IN ('trigger', 'acknowledge', 'resolve', 'info')),
  severity   TEXT    NOT NULL CHECK (severity IN ('critical', 'error', 'warning', 'info')),
  component  TEXT    NOT NULL,                     -- the part of the system
  summary    TEXT    NOT NULL,                     -- one line, for people
  at         INTEGER NOT NULL,                     -- Unix ms: when it happened
  detail     TEXT    NOT NULL CHECK (json_valid(detail)), -- a JSON object
  created_at INTEGER NOT NULL,                     -- Unix ms: when it was said
  planned_at INTEGER                               -- Unix ms: when it was decided into which channels it goes; null: not yet
) STRICT;

CREATE INDEX notices_unplanned ON notices (seq) WHERE planned_at IS NULL;
CREATE INDEX notices_by_key ON notices (dedup_key, seq);
CREATE INDEX notices_by_source ON notices (source, seq);
CREATE INDEX notices_by_age ON notices (created_at);

-- A row a notice and channel that it goes to. It has no reference to `notices`, since rows go from both: see shared/ops.
CREATE TABLE notice_deliveries (
  seq        INTEGER NOT NULL,                     -- the notice
  channel    TEXT    NOT NULL CHECK (channel IN ('pagerduty', 'slack', 'webhook')),
  dedup_key  TEXT    NOT NULL,                     -- the notice's: in a channel, what is about one thing goes in the order of `seq`
  state      TEXT    NOT NULL CHECK (state IN ('waiting', 'sent', 'failed')),
  since      INTEGER NOT NULL,                     -- Unix ms: since when it waits; tried no more three days after
  attempts   INTEGER NOT NULL DEFAULT 0,           -- counts the sends that were begun
  next_at    INTEGER NOT NULL,                     -- Unix ms: when it may be sent; while somebody has it in hand, when it is taken from them
  claim      TEXT,                                 -- who has it in hand: their word alone says how that send ended
  status     INTEGER,                              -- HTTP status of the last answer; null: there was none
  error      TEXT,                                 -- what was wrong the last time
  settled_at INTEGER,                              -- Unix ms: when it was sent or given up
  PRIMARY KEY (seq, channel)
) STRICT, WITHOUT ROWID;

CREATE INDEX notice_deliveries_due ON notice_deliveries (channel, next_at, seq) WHERE state = 'waiting';
CREATE INDEX notice_deliveries_order ON notice_deliveries (channel, dedup_key, seq) WHERE state = 'waiting';
CREATE INDEX notice_deliveries_by_state ON notice_deliveries (state, seq);

-- A channel that asked to be left alone for a while.
CREATE TABLE notice_channels (
  channel     TEXT    NOT NULL PRIMARY KEY,
  quiet_until INTEGER NOT NULL                     -- Unix ms
) STRICT, WITHOUT ROWID;

-- What whoever collects has to remember: one row.
CREATE TABLE notice_collector (
  id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  state      TEXT    NOT NULL CHECK (json_valid(state)),
  generation INTEGER NOT NULL                      -- counts writes; a collector that read an older one changes nothing
) STRICT;

-- What is to be made into notices yet, written by triggers together with what it is about, so that neither is without the
-- other; whoever makes the notices deletes it in the same transaction. (Devices' alerts have `alert_outbox`.)
CREATE TABLE notice_inbox (
  entry_id INTEGER NOT NULL PRIMARY KEY,           -- rises
  source   TEXT    NOT NULL CHECK (source IN ('rollout', 'security')),
  kind     TEXT    NOT NULL,                       -- of a rollout's event, or of a row of the security log
  subject  TEXT    NOT NULL,                       -- the rollout, or whom the security log speaks of
  at       INTEGER NOT NULL,                       -- Unix ms
  detail   TEXT    NOT NULL CHECK (json_valid(detail))
) STRICT;

-- A halt is what stops a rollout against its author's plan, and what ends that.
CREATE TRIGGER rollout_events_tell AFTER INSERT ON rollout_events
WHEN NEW.kind IN ('halted', 'resumed', 'aborted', 'completed')
  OR (NEW.kind = 'paused' AND NEW.detail->>'cause' IN ('artifact_yanked', 'key_revoked'))
BEGIN
  INSERT INTO notice_inbox (source, kind, subject, at, detail)
  VALUES ('rollout', NEW.kind, NEW.rollout_id, NEW.at,
    json_object('event', NEW.event_id, 'actor', NEW.actor, 'detail', json(coalesce(NEW.detail, '{}'))));
END;

-- One a row, and a row is one address (or other subject) and window: what else comes in that window only counts.
CREATE TRIGGER security_log_tell AFTER INSERT ON security_log
WHEN NEW.severity = 'high' OR NEW.kind = 'backup_recovered'
BEGIN
  INSERT INTO notice_inbox (source, kind, subject, at, detail)
  VALUES ('security', NEW.kind, NEW.subject, NEW.first_at,
    json_object('id', NEW.id, 'peerhost', NEW.peerhost, 'detail', json(NEW.detail)));
END;

CREATE TRIGGER security_log_tell_raised AFTER UPDATE OF severity ON security_log
WHEN NEW.severity = 'high' AND OLD.severity <> 'high'
BEGIN
  INSERT INTO notice_inbox (source, kind, subject, at, detail)
  VALUES ('security', NEW.kind, NEW.subject, NEW.first_at,
    json_object('id', NEW.id, 'peerhost', NEW.peerhost, 'detail', json(NEW.detail)));
END;
