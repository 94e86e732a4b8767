-- Telemetry by device and hour. Messages themselves are in the R2 archive: no row a message anywhere.

CREATE TABLE telemetry_rollups (
  device_id        TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  hour             INTEGER NOT NULL,               -- Unix ms / 3,600,000, rounded down, of the messages' own time
  messages         INTEGER NOT NULL,               -- messages counted, each id once
  last_at          INTEGER NOT NULL,               -- Unix ms by the device's clock: the latest message
  last_received_at INTEGER NOT NULL,               -- Unix ms by the broker's clock: the latest message
  metrics          TEXT    NOT NULL CHECK (json_valid(metrics)), -- {"b": [count, sum, min, max, last]}: a letter for a metric of the contract, its name for another (rollup.rs); a sixth element is the time of `last` where it is not last_at
  seen             TEXT,                           -- 8 characters for each message id counted; null once the hour is sealed
  generation       INTEGER NOT NULL,               -- counts writes; a writer that read an older one changes nothing
  PRIMARY KEY (device_id, hour)
) STRICT, WITHOUT ROWID;

-- Telemetry is a sign of life. The registry follows here and not in a statement of the writer's, so that
-- one statement a batch writes both and neither can be committed without the other. A sign of life that
-- is newer than what took the device for offline brings it back.
CREATE TRIGGER telemetry_rollups_touch_device_on_insert AFTER INSERT ON telemetry_rollups
BEGIN
  UPDATE devices SET
    last_telemetry_at = NEW.last_received_at,
    last_seen_at = max(coalesce(last_seen_at, 0), NEW.last_received_at),
    online = CASE WHEN NEW.last_received_at > presence_at THEN 1 ELSE online END,
    offline_reason = CASE WHEN NEW.last_received_at > presence_at THEN NULL ELSE offline_reason END,
    presence_at = max(presence_at, NEW.last_received_at)
  WHERE device_id = NEW.device_id AND coalesce(last_telemetry_at, 0) < NEW.last_received_at;
END;

CREATE TRIGGER telemetry_rollups_touch_device_on_update AFTER UPDATE OF last_received_at ON telemetry_rollups
WHEN NEW.last_received_at > OLD.last_received_at
BEGIN
  UPDATE devices SET
    last_telemetry_at = NEW.last_received_at,
    last_seen_at = max(coalesce(last_seen_at, 0), NEW.last_received_at),
    online = CASE WHEN NEW.last_received_at > presence_at THEN 1 ELSE online END,
    offline_reason = CASE WHEN NEW.last_received_at > presence_at THEN NULL ELSE offline_reason END,
    presence_at = max(presence_at, NEW.last_received_at)
  WHERE device_id = NEW.device_id AND coalesce(last_telemetry_at, 0) < NEW.last_received_at;
END;
