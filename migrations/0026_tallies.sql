-- phase: expand
--
-- What came, since ever, for the operators' Prometheus (/api/admin/metrics): a row a door of telemetry, not a row a message.

CREATE TABLE telemetry_tallies (
  door            TEXT    NOT NULL PRIMARY KEY     -- how it came: by the message, by the object, or found in the archive by what compacts it
                          CHECK (door IN ('webhook', 'objects', 'archive')),
  received        INTEGER NOT NULL DEFAULT 0,      -- messages counted in rollups, each id once
  archived_bytes  INTEGER NOT NULL DEFAULT 0,      -- bytes of their lines in the archive, before compression
  duplicates      INTEGER NOT NULL DEFAULT 0,      -- messages that had been counted before
  late            INTEGER NOT NULL DEFAULT 0,      -- messages of sealed hours
  malformed       INTEGER NOT NULL DEFAULT 0,      -- in quarantine: no messages of ours
  not_enrolled    INTEGER NOT NULL DEFAULT 0,      -- in quarantine: messages of devices that are not enrolled
  damaged         INTEGER NOT NULL DEFAULT 0,      -- in quarantine: objects that are missing, or cannot be read to their end
  objects         INTEGER NOT NULL DEFAULT 0,      -- objects of the archive that were written
  taken_at        INTEGER,                         -- Unix ms: when the latest batch was taken; null before the first
  oldest_age      INTEGER                          -- milliseconds that the oldest message of that batch had been waiting
) STRICT, WITHOUT ROWID;

INSERT INTO telemetry_tallies (door) VALUES ('webhook'), ('objects'), ('archive');

-- A batch's tally goes along with its rollups, as the first row of the statement that writes them: a row of generation 0, which no
-- rollup has. It is met before any of them is written, so it sees which of them will be: those whose generation is one less. So what
-- is counted and what is written are one change, and a rollup that somebody else wrote in between is not counted. Here:
--   device_id  the door
--   metrics    the rollups that are to be written, each with what it adds: {messages, duplicates, bytes}
--   seen       what else there is: {duplicates, late, malformed, not_enrolled, damaged, objects, taken_at, oldest_age}
-- The row itself is not written.
CREATE TRIGGER telemetry_rollups_tally BEFORE INSERT ON telemetry_rollups WHEN NEW.generation = 0
BEGIN
  UPDATE telemetry_tallies SET
    received = received + own.messages,
    archived_bytes = archived_bytes + own.bytes,
    duplicates = duplicates + own.repeats + (NEW.seen->>'duplicates'),
    late = late + (NEW.seen->>'late'),
    malformed = malformed + (NEW.seen->>'malformed'),
    not_enrolled = not_enrolled + (NEW.seen->>'not_enrolled'),
    damaged = damaged + (NEW.seen->>'damaged'),
    objects = objects + (NEW.seen->>'objects'),
    taken_at = coalesce(NEW.seen->>'taken_at', taken_at),
    oldest_age = CASE WHEN NEW.seen->>'taken_at' IS NULL THEN oldest_age ELSE NEW.seen->>'oldest_age' END
  FROM (
    SELECT coalesce(sum(w.value->'adds'->>'messages'), 0) AS messages,
      coalesce(sum(w.value->'adds'->>'duplicates'), 0) AS repeats,
      coalesce(sum(w.value->'adds'->>'bytes'), 0) AS bytes
    FROM json_each(NEW.metrics) AS w
    JOIN devices AS d ON d.device_id = w.value->>'device_id'
    LEFT JOIN telemetry_rollups AS r ON r.device_id = w.value->>'device_id' AND r.hour = w.value->>'hour'
    WHERE r.generation IS NULL OR r.generation = (w.value->>'generation') - 1
  ) AS own
  WHERE door = NEW.device_id;
  SELECT RAISE(IGNORE);
END;

-- What the care of the archive and the rollups came to, since ever: one row.
CREATE TABLE telemetry_upkeep (
  id                   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  hours_sealed         INTEGER NOT NULL DEFAULT 0, -- hours that were compared with the archive to their end
  rollups_checked      INTEGER NOT NULL DEFAULT 0, -- rollups that were compared
  rollups_differing    INTEGER NOT NULL DEFAULT 0, -- … and were not what the archive holds
  rollups_repaired     INTEGER NOT NULL DEFAULT 0, -- rollups that were made anew of the archive
  hours_compacted      INTEGER NOT NULL DEFAULT 0, -- times that an hour of the archive was packed
  compacted_messages   INTEGER NOT NULL DEFAULT 0, -- lines that were packed
  compacted_duplicates INTEGER NOT NULL DEFAULT 0, -- lines that stood twice and were left out
  compacted_bytes      INTEGER NOT NULL DEFAULT 0, -- bytes that were read for it, before compression
  compacted_objects    INTEGER NOT NULL DEFAULT 0  -- loose objects that packs stand for
) STRICT;

-- It begins with what is known of the last thirty days.
INSERT INTO telemetry_upkeep (id, hours_sealed, rollups_checked, rollups_differing, rollups_repaired)
SELECT 1, coalesce(sum(after = 'g'), 0), coalesce(sum(checked), 0), coalesce(sum(more + fewer + other), 0), coalesce(sum(repaired), 0)
FROM telemetry_seals;

CREATE TRIGGER telemetry_seals_begun AFTER INSERT ON telemetry_seals
BEGIN
  UPDATE telemetry_upkeep SET hours_sealed = hours_sealed + (NEW.after = 'g'), rollups_checked = rollups_checked + NEW.checked,
    rollups_differing = rollups_differing + NEW.more + NEW.fewer + NEW.other,
    rollups_repaired = rollups_repaired + NEW.repaired;
END;

CREATE TRIGGER telemetry_seals_gone_on AFTER UPDATE ON telemetry_seals
BEGIN
  UPDATE telemetry_upkeep SET hours_sealed = hours_sealed + (NEW.after = 'g' AND OLD.after <> 'g'),
    rollups_checked = rollups_checked + NEW.checked - OLD.checked,
    rollups_differing = rollups_differing + (NEW.more + NEW.fewer + NEW.other) - (OLD.more + OLD.fewer + OLD.other),
    rollups_repaired = rollups_repaired + NEW.repaired - OLD.repaired;
END;

-- Alerts that were opened, since ever; alerts themselves go after 90 days.
CREATE TABLE alert_tallies (
  kind   TEXT    NOT NULL PRIMARY KEY,             -- as in alerts
  opened INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO alert_tallies (kind, opened) SELECT kind, count(*) FROM alerts GROUP BY kind;

CREATE TRIGGER alerts_tally AFTER INSERT ON alerts
BEGIN
  INSERT INTO alert_tallies (kind, opened) VALUES (NEW.kind, 1) ON CONFLICT (kind) DO UPDATE SET opened = opened + 1;
END;
