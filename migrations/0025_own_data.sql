-- People's right to what their devices said: all of it in one archive, and that it is deleted. Both are done in steps by the archive
-- worker, a few at each tick, and each step is known here.

-- What is of an hour before that goes, and is not taken in any more: Unix ms / 3,600,000, rounded down.
ALTER TABLE devices ADD COLUMN erased_before INTEGER NOT NULL DEFAULT 0;

CREATE TABLE exports (
  export_id  TEXT    NOT NULL PRIMARY KEY,         -- exp-{ULID}; its objects are exports/{export_id}/… in ARCHIVES
  device_id  TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  user_id    TEXT    NOT NULL,                     -- the owner who asked
  state      TEXT    NOT NULL CHECK (state IN ('running', 'ready', 'cancelled')),
  from_at    INTEGER NOT NULL,                     -- Unix ms: what was received from then on
  until_at   INTEGER NOT NULL,                     -- Unix ms: and before then
  progress   TEXT    NOT NULL CHECK (json_valid(progress)), -- what comes next
  bytes      INTEGER NOT NULL DEFAULT 0,           -- of the whole archive, once it is ready
  generation INTEGER NOT NULL,                     -- counts writes; who read an older one changes nothing
  held_until INTEGER NOT NULL,                     -- Unix ms: somebody is at it until then
  created_at INTEGER NOT NULL                      -- Unix ms
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX exports_one_running ON exports (device_id) WHERE state = 'running';
CREATE INDEX exports_to_do ON exports (held_until) WHERE state = 'running';
CREATE INDEX exports_by_device ON exports (device_id, export_id);

CREATE TABLE erasures (
  erasure_id   TEXT    NOT NULL PRIMARY KEY,       -- era-{ULID}
  device_id    TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  user_id      TEXT    NOT NULL,                   -- the owner who asked
  state        TEXT    NOT NULL CHECK (state IN ('running', 'waiting', 'settling', 'done')),
  requested_at INTEGER NOT NULL,                   -- Unix ms
  from_hour    INTEGER NOT NULL,                   -- Unix ms / 3,600,000: where the archive may begin to know the device
  until_hour   INTEGER NOT NULL,                   -- everything before this hour goes
  next_hour    INTEGER NOT NULL,                   -- the hour of the archive that comes next
  lines        INTEGER NOT NULL DEFAULT 0,         -- lines that were taken out of the archive
  generation   INTEGER NOT NULL,                   -- counts writes; who read an older one changes nothing
  due_at       INTEGER NOT NULL,                   -- Unix ms: when there is something to do
  held_until   INTEGER NOT NULL,                   -- Unix ms: somebody is at it until then
  done_at      INTEGER                             -- Unix ms
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX erasures_one_open ON erasures (device_id) WHERE state <> 'done';
CREATE INDEX erasures_due ON erasures (due_at) WHERE state <> 'done';
CREATE INDEX erasures_held ON erasures (held_until) WHERE state <> 'done';
CREATE INDEX erasures_by_device ON erasures (device_id, erasure_id);

-- What was told of a device's alerts goes with them.
CREATE INDEX alert_outbox_by_device ON alert_outbox (device_id, at);

-- What somebody had put together is theirs as long as the device is; kept by the database itself, as who comes next must never see it.
CREATE TRIGGER device_access_owner_leaves_exports AFTER DELETE ON device_access WHEN OLD.role = 'owner'
BEGIN
  UPDATE exports SET state = 'cancelled', generation = generation + 1 WHERE device_id = OLD.device_id AND state <> 'cancelled';
END;

-- A device that is handed on keeps the zones that it watches, because it goes on watching; how its former owner came to them goes.
CREATE TRIGGER device_access_owner_changes_exports AFTER UPDATE OF user_id ON device_access
WHEN NEW.role = 'owner' AND NEW.user_id <> OLD.user_id
BEGIN
  UPDATE exports SET state = 'cancelled', generation = generation + 1 WHERE device_id = NEW.device_id AND state <> 'cancelled';
  DELETE FROM zone_versions WHERE device_id = NEW.device_id
    AND version < (SELECT version FROM zone_configurations WHERE device_id = NEW.device_id);
END;
