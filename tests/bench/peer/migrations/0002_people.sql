-- Who owns what, and what devices are to watch.

ALTER TABLE devices ADD COLUMN name TEXT;
ALTER TABLE devices ADD COLUMN room TEXT;
ALTER TABLE devices ADD COLUMN profile_version INTEGER NOT NULL DEFAULT 0;

CREATE TABLE device_access (
  device_id  TEXT    NOT NULL REFERENCES devices (device_id),
  user_id    TEXT    NOT NULL,
  role       TEXT    NOT NULL,
  granted_at INTEGER NOT NULL,
  granted_by TEXT    NOT NULL,
  PRIMARY KEY (device_id, user_id)
);

CREATE INDEX device_access_by_user ON device_access (user_id, device_id);

CREATE TABLE zone_configurations (
  device_id  TEXT    PRIMARY KEY REFERENCES devices (device_id),
  version    INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  updated_by TEXT    NOT NULL,
  zones      TEXT    NOT NULL
);

CREATE TABLE zone_versions (
  device_id  TEXT    NOT NULL REFERENCES devices (device_id),
  version    INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  updated_by TEXT    NOT NULL,
  zones      TEXT    NOT NULL,
  PRIMARY KEY (device_id, version)
);
