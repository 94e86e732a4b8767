-- The whole fleet, hour by hour: added up out of telemetry_rollups, telemetry_events and alerts by the history worker, so that who asks
-- about a month reads 720 rows, however many devices there are. Kept as long as the rollups.

CREATE TABLE fleet_hours (
  hour     INTEGER NOT NULL PRIMARY KEY,           -- Unix ms / 3,600,000, rounded down
  devices  INTEGER NOT NULL,                       -- devices of which messages were counted
  messages INTEGER NOT NULL,
  metrics  TEXT    NOT NULL CHECK (json_valid(metrics)), -- [{"name", "count", "sum", "min", "max"}] of the contract's metrics
  errors   TEXT    NOT NULL CHECK (json_valid(errors)),  -- [{"source": "event" or "alert", "kind", "count"}]
  troubled INTEGER NOT NULL,                       -- devices of which there is any of these
  made_at  INTEGER NOT NULL                        -- Unix ms: when it was added up
) STRICT, WITHOUT ROWID;

-- Which devices those were: the hundred with the most, of each hour.
CREATE TABLE fleet_troubled (
  hour      INTEGER NOT NULL,
  device_id TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  events    INTEGER NOT NULL,
  alerts    INTEGER NOT NULL,
  PRIMARY KEY (hour, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX fleet_troubled_by_device ON fleet_troubled (device_id);
