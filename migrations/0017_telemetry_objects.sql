-- Telemetry that comes by the object: what EMQX collects for a while and writes into the archive's bucket.

-- How far each object is. What has an object's key here and is done changes nothing when it is delivered again; below that,
-- a message is known by its mark in its device's hour.
CREATE TABLE telemetry_objects (
  object_key  TEXT    NOT NULL PRIMARY KEY,
  etag        TEXT,                                -- of the version that is taken in; null before it was opened
  state       TEXT    NOT NULL CHECK (state IN ('open', 'done', 'damaged', 'gone')),
  position    INTEGER NOT NULL DEFAULT 0,          -- bytes, before compression, whose lines are archived and counted
  counted     INTEGER NOT NULL DEFAULT 0,          -- messages that were new
  repeated    INTEGER NOT NULL DEFAULT 0,          -- messages that were known
  refused     INTEGER NOT NULL DEFAULT 0,          -- lines in quarantine
  generation  INTEGER NOT NULL,                    -- counts writes; who read an older one changes nothing
  held_until  INTEGER NOT NULL,                    -- Unix ms: somebody is at it until then
  begun_at    INTEGER NOT NULL,                    -- Unix ms
  updated_at  INTEGER NOT NULL                     -- Unix ms
) STRICT, WITHOUT ROWID;

CREATE INDEX telemetry_objects_by_time ON telemetry_objects (updated_at);

-- Objects come half an hour late, so there is no hurry to tell the registry: it may be behind by so much.
ALTER TABLE telemetry_rollups ADD COLUMN patience INTEGER NOT NULL DEFAULT 0; -- milliseconds that the registry may be behind last_received_at

-- As before (migration 0003), but for that, and for what it costs: an update that names `online` rewrites an index, so only a
-- device that comes back does that.
DROP TRIGGER telemetry_rollups_touch_device_on_insert;
DROP TRIGGER telemetry_rollups_touch_device_on_update;

CREATE TRIGGER telemetry_rollups_touch_device_on_insert AFTER INSERT ON telemetry_rollups
BEGIN
  UPDATE devices SET
    online = 1, offline_reason = NULL, presence_at = NEW.last_received_at,
    last_seen_at = max(coalesce(last_seen_at, 0), NEW.last_received_at),
    last_telemetry_at = max(coalesce(last_telemetry_at, 0), NEW.last_received_at)
  WHERE device_id = NEW.device_id AND online = 0 AND NEW.last_received_at > presence_at;
  UPDATE devices SET
    last_telemetry_at = NEW.last_received_at,
    last_seen_at = max(coalesce(last_seen_at, 0), NEW.last_received_at),
    presence_at = max(presence_at, NEW.last_received_at)
  WHERE device_id = NEW.device_id AND coalesce(last_telemetry_at, 0) < NEW.last_received_at - NEW.patience;
END;

CREATE TRIGGER telemetry_rollups_touch_device_on_update AFTER UPDATE OF last_received_at ON telemetry_rollups
WHEN NEW.last_received_at > OLD.last_received_at
BEGIN
  UPDATE devices SET
    online = 1, offline_reason = NULL, presence_at = NEW.last_received_at,
    last_seen_at = max(coalesce(last_seen_at, 0), NEW.last_received_at),
    last_telemetry_at = max(coalesce(last_telemetry_at, 0), NEW.last_received_at)
  WHERE device_id = NEW.device_id AND online = 0 AND NEW.last_received_at > presence_at;
  UPDATE devices SET
    last_telemetry_at = NEW.last_received_at,
    last_seen_at = max(coalesce(last_seen_at, 0), NEW.last_received_at),
    presence_at = max(presence_at, NEW.last_received_at)
  WHERE device_id = NEW.device_id AND coalesce(last_telemetry_at, 0) < NEW.last_received_at - NEW.patience;
END;
