-- Rollouts: which devices are to get which firmware, how far each of them has come, and all that was decided.

ALTER TABLE devices ADD COLUMN tags TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(tags)); -- JSON array of the labels that operators gave it, sorted; rollouts select by them
ALTER TABLE devices ADD COLUMN news INTEGER NOT NULL DEFAULT 0;  -- what the state of `state_at` changed: 1 it came online, 2 its version, 3 both
ALTER TABLE devices ADD COLUMN updated_at INTEGER;               -- Unix ms: when it last confirmed an update of a rollout
ALTER TABLE devices ADD COLUMN fw_version INTEGER;               -- the highest anti-rollback counter of an image it confirmed

CREATE TABLE rollouts (
  rollout_id       TEXT    NOT NULL PRIMARY KEY,   -- rol-{ULID}
  sku              TEXT    NOT NULL CHECK (sku IN ('rs1_lite', 'rs1_pro')),
  version          TEXT    NOT NULL,               -- of the artifact; versions are immutable, so what follows is the artifact's for ever
  sha256           TEXT    NOT NULL CHECK (length(sha256) = 64),     -- of the whole file
  elf_sha256       TEXT    NOT NULL CHECK (length(elf_sha256) = 64), -- of the build, which a device that runs it may report
  fw_version       INTEGER NOT NULL,               -- anti-rollback counter

  stages           TEXT    NOT NULL CHECK (json_valid(stages)), -- [{percent, duration_sec, max_failure_share, min_confirmed}], rising to 100
  min_rssi         INTEGER NOT NULL,               -- dBm below which a device puts the update off
  force            INTEGER NOT NULL CHECK (force IN (0, 1)), -- whether a device may get a version that is not newer than its own
  rate_per_minute  INTEGER NOT NULL CHECK (rate_per_minute > 0), -- most triggers in any minute
  selector         TEXT    NOT NULL CHECK (json_valid(selector)), -- {tags, versions, device_ids}: which devices of the SKU; {} is all
  schedule_at      INTEGER,                        -- Unix ms: when it starts by itself
  reason           TEXT,                           -- why it is, in its author's words
  created_at       INTEGER NOT NULL,               -- Unix ms
  created_by       TEXT    NOT NULL,               -- the operator

  status           TEXT    NOT NULL CHECK (status IN ('PENDING', 'STAGED', 'PAUSED', 'COMPLETED', 'ABORTED')),
  cause            TEXT,                           -- what brought it into this status: 'operator', 'failure_share', …
  stage            INTEGER NOT NULL DEFAULT 0,     -- index into `stages`
  stage_started_at INTEGER,                        -- Unix ms; null until it starts
  started_at       INTEGER,                        -- Unix ms
  paused_at        INTEGER,                        -- Unix ms; null unless it is paused
  finished_at      INTEGER,                        -- Unix ms: completed or aborted
  settled          INTEGER NOT NULL DEFAULT 0 CHECK (settled IN (0, 1)), -- finished, and no attempt of it is open any more
  acknowledged_at  INTEGER,                        -- Unix ms: failures learnt by then are acknowledged by whoever resumed it, and count towards no halt

  generation       INTEGER NOT NULL DEFAULT 0,     -- counts decisions; one that was made on an older generation changes nothing
  decided_by       TEXT    NOT NULL DEFAULT '',    -- id of the decision that made this generation: what else belongs to it is written only if it did
  report           TEXT    CHECK (report IS NULL OR json_valid(report)), -- the planner's last report
  planned_at       INTEGER                         -- Unix ms: when that was
) STRICT, WITHOUT ROWID;

-- The few that may still change, for the planner and for the state webhook.
CREATE INDEX rollouts_open ON rollouts (sku, status, rollout_id) WHERE settled = 0;
CREATE INDEX rollouts_by_artifact ON rollouts (sku, version);

-- A device in a rollout: a row from its first trigger on. Those that were never triggered have none.
CREATE TABLE rollout_devices (
  rollout_id    TEXT    NOT NULL REFERENCES rollouts (rollout_id) ON DELETE CASCADE,
  device_id     TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  state         TEXT    NOT NULL CHECK (state IN ('eligible', 'triggered', 'deferred', 'downloading', 'verifying', 'installed',
                                                  'confirmed', 'failed', 'refused', 'rolled_back', 'timed_out', 'cancelled')),
  attempt       INTEGER NOT NULL CHECK (attempt > 0), -- counts triggers; what is said about an older one changes nothing
  facts         TEXT    NOT NULL CHECK (json_valid(facts)), -- all that is known of the attempt, as shared/rollout's state machine keeps it; the columns repeat what is searched for
  triggered_at  INTEGER NOT NULL,                  -- Unix ms: when this attempt was decided
  queued_at     INTEGER,                           -- Unix ms: when its trigger went to the queue; null: it is to be sent yet
  sent_at       INTEGER,                           -- Unix ms: when the broker took its trigger for a subscriber; null: not yet
  claimed_until INTEGER,                           -- Unix ms: until then one consumer of the queue has the trigger in hand
  closed_at     INTEGER,                           -- Unix ms: when what ended it was received; null while it is open
  counted_at    INTEGER,                           -- Unix ms: when we learnt of that
  revision      INTEGER NOT NULL,                  -- counts writes; a writer that read an older one changes nothing
  written_by    TEXT    NOT NULL,                  -- id of the write that made this revision: its events are written only if it did
  PRIMARY KEY (rollout_id, device_id)
) STRICT, WITHOUT ROWID;

-- One open attempt a device, in whatever rollout: kept by the database itself.
CREATE UNIQUE INDEX rollout_devices_open ON rollout_devices (device_id)
  WHERE state IN ('triggered', 'deferred', 'downloading', 'verifying', 'installed');
-- A device's history, and its latest attempt; also what deleting a device has to find.
CREATE INDEX rollout_devices_by_device ON rollout_devices (device_id, triggered_at);
CREATE INDEX rollout_devices_by_state ON rollout_devices (rollout_id, state, device_id);
-- Failures of the last hour, across rollouts.
CREATE INDEX rollout_devices_failed ON rollout_devices (counted_at)
  WHERE state IN ('failed', 'rolled_back', 'timed_out');
-- Triggers that are to be put on the queue yet.
CREATE INDEX rollout_devices_unqueued ON rollout_devices (rollout_id, device_id)
  WHERE state = 'triggered' AND sent_at IS NULL AND queued_at IS NULL;

-- A confirmed update is a fact about the device, for its cooldown and against rollbacks. It follows here, so that neither
-- can be committed without the other.
CREATE TRIGGER rollout_devices_confirm_device AFTER UPDATE OF state ON rollout_devices
WHEN NEW.state = 'confirmed' AND OLD.state <> 'confirmed'
BEGIN
  UPDATE devices SET
    updated_at = max(coalesce(updated_at, 0), NEW.closed_at),
    fw_version = max(coalesce(fw_version, 0), (SELECT fw_version FROM rollouts WHERE rollout_id = NEW.rollout_id))
  WHERE device_id = NEW.device_id;
END;

-- All that was decided and all that devices said about it, in the order in which it was taken in. The counts of a rollout
-- are what its device events fold to.
CREATE TABLE rollout_events (
  event_id   INTEGER NOT NULL PRIMARY KEY,         -- rises
  rollout_id TEXT    NOT NULL REFERENCES rollouts (rollout_id) ON DELETE CASCADE,
  at         INTEGER NOT NULL,                     -- Unix ms
  kind       TEXT    NOT NULL,                     -- 'created', 'started', 'halted', …; of a device 'device', or 'stray' for a report that changed nothing
  device_id  TEXT,                                 -- whom it is about
  state      TEXT,                                 -- of a device's: the state that it came to
  attempt    INTEGER,                              -- of a device's: the attempt
  actor      TEXT,                                 -- the operator; null for the engine
  detail     TEXT    CHECK (detail IS NULL OR json_valid(detail)),
  source     TEXT    UNIQUE                        -- id of the message behind a 'stray', so that one delivered twice is kept once
) STRICT;

CREATE INDEX rollout_events_by_rollout ON rollout_events (rollout_id, event_id);
-- What operators are to be told.
CREATE INDEX rollout_events_halted ON rollout_events (event_id) WHERE kind = 'halted';

-- Answers to requests that came with an Idempotency-Key: the same request again is answered the same, and done once.
CREATE TABLE idempotency_keys (
  actor       TEXT    NOT NULL,                    -- who sent it
  key         TEXT    NOT NULL,                    -- the header's value
  fingerprint TEXT    NOT NULL,                    -- SHA-256 of method, path, query and body: another request may not reuse the key
  request_id  TEXT    NOT NULL,                    -- of the request that was carried out
  status      INTEGER NOT NULL,                    -- of the answer
  body        TEXT    NOT NULL,                    -- of the answer
  created_at  INTEGER NOT NULL,                    -- Unix ms; kept for a day
  PRIMARY KEY (actor, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
