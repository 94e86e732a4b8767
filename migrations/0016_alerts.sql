-- What is wrong with devices, and since when.

CREATE TABLE alerts (
  alert_id        TEXT    NOT NULL PRIMARY KEY,    -- alr-{ULID}, made of what it is about and of when it began
  device_id       TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  kind            TEXT    NOT NULL CHECK (kind IN ('low_memory', 'critical_memory', 'radar_disconnected', 'radar_prolonged',
                                                   'high_error_rate', 'watchdog_reset', 'ota_failure_spike', 'device_offline')),
  severity        TEXT    NOT NULL CHECK (severity IN ('warning', 'critical')),
  opened_at       INTEGER NOT NULL,                -- Unix ms: when it was first seen
  last_at         INTEGER NOT NULL,                -- Unix ms: when it was last seen
  occurrences     INTEGER NOT NULL,                -- how often it was seen
  detail          TEXT    NOT NULL,                -- what was last seen of it
  acknowledged_at INTEGER,                         -- Unix ms: when somebody said that they know
  acknowledged_by TEXT,                            -- the user
  resolved_at     INTEGER,                         -- Unix ms: when it was over
  generation      INTEGER NOT NULL                 -- counts what the state machine wrote; a writer that read an older one changes nothing
) STRICT, WITHOUT ROWID;

-- One open alert a device and kind: kept by the database itself.
CREATE UNIQUE INDEX alerts_open ON alerts (device_id, kind) WHERE resolved_at IS NULL;
CREATE INDEX alerts_open_by_kind ON alerts (kind, device_id) WHERE resolved_at IS NULL;
CREATE INDEX alerts_by_device ON alerts (device_id, alert_id);

-- What somebody is to be told, until the one who tells has taken it. Written with the alert, so that neither is without the other.
CREATE TABLE alert_outbox (
  entry_id   INTEGER NOT NULL PRIMARY KEY,         -- rises
  alert_id   TEXT    NOT NULL,
  device_id  TEXT    NOT NULL,
  kind       TEXT    NOT NULL,
  what       TEXT    NOT NULL CHECK (what IN ('opened', 'resolved')),
  at         INTEGER NOT NULL,                     -- Unix ms: when that was
  detail     TEXT    NOT NULL,                     -- what was seen of it
  taken_at   INTEGER                               -- Unix ms; null: nobody was told yet
) STRICT;

CREATE INDEX alert_outbox_waiting ON alert_outbox (entry_id) WHERE taken_at IS NULL;
CREATE INDEX alert_outbox_told ON alert_outbox (at) WHERE taken_at IS NOT NULL;

CREATE TRIGGER alerts_tell_opened AFTER INSERT ON alerts WHEN NEW.severity = 'critical'
BEGIN
  INSERT INTO alert_outbox (alert_id, device_id, kind, what, at, detail)
  VALUES (NEW.alert_id, NEW.device_id, NEW.kind, 'opened', NEW.opened_at, NEW.detail);
END;

-- Opened and over within one batch.
CREATE TRIGGER alerts_tell_opened_and_resolved AFTER INSERT ON alerts WHEN NEW.severity = 'critical' AND NEW.resolved_at IS NOT NULL
BEGIN
  INSERT INTO alert_outbox (alert_id, device_id, kind, what, at, detail)
  VALUES (NEW.alert_id, NEW.device_id, NEW.kind, 'resolved', NEW.resolved_at, NEW.detail);
END;

CREATE TRIGGER alerts_tell_resolved AFTER UPDATE OF resolved_at ON alerts
WHEN NEW.severity = 'critical' AND OLD.resolved_at IS NULL AND NEW.resolved_at IS NOT NULL
BEGIN
  INSERT INTO alert_outbox (alert_id, device_id, kind, what, at, detail)
  VALUES (NEW.alert_id, NEW.device_id, NEW.kind, 'resolved', NEW.resolved_at, NEW.detail);
END;

-- The few devices that the minute's watch has to look at, besides those that are silent.
CREATE INDEX devices_without_radar ON devices (device_id) WHERE radar_connected = 0;
CREATE INDEX devices_after_watchdog ON devices (device_id) WHERE reset_reason = 'watchdog';
