-- The peer's database: a row a device, a row a message (to know repeated ones by), a row a device, hour and metric.

CREATE TABLE devices (
  device_id         TEXT    PRIMARY KEY,
  mac_address       TEXT    NOT NULL,
  sealed_key        TEXT    NOT NULL,            -- as in ours: AES-256-GCM under DEVICE_KEK, device_id as associated data
  enrolled_at       INTEGER NOT NULL,            -- Unix ms, as every time here
  product_sku       TEXT,
  online            INTEGER NOT NULL DEFAULT 0,
  presence_at       INTEGER NOT NULL DEFAULT 0,
  offline_reason    TEXT,
  last_seen_at      INTEGER,
  state_at          INTEGER NOT NULL DEFAULT 0,
  firmware_version  TEXT,
  protocol_version  TEXT,
  uptime_sec        INTEGER,
  wifi_rssi         INTEGER,
  config_version    INTEGER,
  zone_count        INTEGER,
  radar_connected   INTEGER,
  boot_count        INTEGER,
  reset_reason      TEXT,
  last_telemetry_at INTEGER
);

CREATE TABLE telemetry_messages (
  message_id  TEXT    PRIMARY KEY,
  device_id   TEXT    NOT NULL REFERENCES devices (device_id),
  received_at INTEGER NOT NULL,
  object_key  TEXT    NOT NULL
);

CREATE TABLE telemetry_hourly (
  device_id TEXT    NOT NULL REFERENCES devices (device_id),
  hour      INTEGER NOT NULL,                    -- Unix ms / 3,600,000
  metric    TEXT    NOT NULL,
  count     INTEGER NOT NULL,
  sum       REAL    NOT NULL,
  min       REAL    NOT NULL,
  max       REAL    NOT NULL,
  last      REAL    NOT NULL,
  PRIMARY KEY (device_id, hour, metric)
);

CREATE TABLE auth_failures (
  id        INTEGER PRIMARY KEY,
  peerhost  TEXT    NOT NULL,
  failed_at INTEGER NOT NULL
);

CREATE INDEX auth_failures_by_peerhost ON auth_failures (peerhost, failed_at);

CREATE TABLE security_log (
  id       INTEGER PRIMARY KEY,
  kind     TEXT    NOT NULL,
  severity TEXT    NOT NULL,
  subject  TEXT    NOT NULL,
  peerhost TEXT,
  detail   TEXT    NOT NULL,
  at       INTEGER NOT NULL
);
