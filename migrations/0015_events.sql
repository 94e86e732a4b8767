-- What devices reported of themselves in their log lines, 90 days. Measurements are in telemetry_rollups.

CREATE TABLE telemetry_events (
  device_id TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  at        INTEGER NOT NULL,                      -- Unix ms by the device's clock, as far as it can be right
  mark      TEXT    NOT NULL,                      -- made of the message's id and the line's number: the same event again is the same row
  kind      TEXT    NOT NULL,                      -- 'boot', 'radar_disconnect', 'error', …
  detail    TEXT    NOT NULL,                      -- what stands behind the kind: a reason, a version, a code; may be empty
  count     INTEGER NOT NULL,                      -- how often the message says it
  PRIMARY KEY (device_id, at, mark)
) STRICT, WITHOUT ROWID;
