-- Zone configurations, how far they have come, and diagnostics that operators asked for.

-- What a device has is told by two kinds of message, its state and its reports; the newest of either counts.
ALTER TABLE devices ADD COLUMN config_at INTEGER NOT NULL DEFAULT 0; -- Unix ms by the broker's clock: the message that config_version comes from

CREATE TABLE zone_configurations (
  device_id      TEXT    NOT NULL PRIMARY KEY REFERENCES devices (device_id) ON DELETE CASCADE,
  version        INTEGER NOT NULL CHECK (version >= 1), -- what the device is wanted to have
  updated_at     INTEGER NOT NULL,                -- Unix ms
  updated_by     TEXT    NOT NULL,                -- a user id, or 'system'
  zones          TEXT    NOT NULL CHECK (json_valid(zones)), -- the array that the device is sent, to the letter

  report_version INTEGER NOT NULL DEFAULT 0,      -- the newest version that it reported on
  report_outcome TEXT    CHECK (report_outcome IN ('applied', 'rejected', 'pending')), -- its last word about that one
  report_error   TEXT,                            -- why it rejected it
  report_at      INTEGER NOT NULL DEFAULT 0,      -- Unix ms by the broker's clock

  attempts       INTEGER NOT NULL DEFAULT 0,      -- how often this version was sent again
  send_at        INTEGER                          -- Unix ms: when it is due to be sent again; null while the device has it or is not here
) STRICT, WITHOUT ROWID;

CREATE INDEX zone_configurations_due ON zone_configurations (send_at) WHERE send_at IS NOT NULL;

-- The last ten versions of each device, the present one among them.
CREATE TABLE zone_versions (
  device_id  TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  version    INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,                     -- Unix ms
  updated_by TEXT    NOT NULL,
  zones      TEXT    NOT NULL CHECK (json_valid(zones)),
  PRIMARY KEY (device_id, version)
) STRICT, WITHOUT ROWID;

-- Written with the configuration by the database itself: no statement can change the one and forget the other.
CREATE TRIGGER zone_versions_on_insert AFTER INSERT ON zone_configurations
BEGIN
  INSERT INTO zone_versions (device_id, version, updated_at, updated_by, zones)
  VALUES (NEW.device_id, NEW.version, NEW.updated_at, NEW.updated_by, NEW.zones);
END;

CREATE TRIGGER zone_versions_on_update AFTER UPDATE OF version ON zone_configurations
WHEN NEW.version <> OLD.version
BEGIN
  INSERT INTO zone_versions (device_id, version, updated_at, updated_by, zones)
  VALUES (NEW.device_id, NEW.version, NEW.updated_at, NEW.updated_by, NEW.zones);
  DELETE FROM zone_versions
  WHERE device_id = NEW.device_id
    AND version <= (SELECT version FROM zone_versions WHERE device_id = NEW.device_id ORDER BY version DESC LIMIT 1 OFFSET 10);
END;

-- A device that is not here is not sent anything; one that comes is due. Whoever changes `online`, this follows.
CREATE TRIGGER zone_configurations_wait AFTER UPDATE OF online ON devices
WHEN NEW.online = 0 AND OLD.online = 1
BEGIN
  UPDATE zone_configurations SET send_at = NULL WHERE device_id = NEW.device_id AND send_at IS NOT NULL;
END;

CREATE TRIGGER zone_configurations_wake AFTER UPDATE OF online ON devices
WHEN NEW.online = 1 AND OLD.online = 0
BEGIN
  UPDATE zone_configurations SET send_at = NEW.presence_at
  WHERE device_id = NEW.device_id AND version > coalesce(NEW.config_version, 0);
END;

CREATE TRIGGER zone_configurations_settle AFTER UPDATE OF config_version ON devices
WHEN NEW.config_version IS NOT OLD.config_version
BEGIN
  UPDATE zone_configurations SET
    send_at = CASE WHEN NEW.config_version < version AND NEW.online THEN coalesce(send_at, NEW.config_at) END
  WHERE device_id = NEW.device_id;
END;

CREATE TABLE diagnostics (
  request_id   TEXT    NOT NULL PRIMARY KEY,       -- dia-{ULID}
  device_id    TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  requested_at INTEGER NOT NULL,                   -- Unix ms
  requested_by TEXT    NOT NULL,                   -- the operator
  include      TEXT    NOT NULL CHECK (json_valid(include)), -- JSON array of the sections that were asked for
  answered_at  INTEGER,                            -- Unix ms by the broker's clock; the answer itself is in R2
  size         INTEGER                             -- bytes of the answer
) STRICT, WITHOUT ROWID;

CREATE INDEX diagnostics_by_device ON diagnostics (device_id, requested_at);
