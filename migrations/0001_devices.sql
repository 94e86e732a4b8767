-- The device registry: who exists, what each device last said of itself, and whether it is here.

CREATE TABLE devices (
  device_id          TEXT    NOT NULL PRIMARY KEY CHECK (length(device_id) = 32), -- 32 hex digits derived from the MAC address
  mac_address        TEXT    NOT NULL,             -- AA:BB:CC:DD:EE:FF
  product_sku        TEXT    CHECK (product_sku IN ('rs1_lite', 'rs1_pro')), -- from enrolment, else from the device
  sealed_key         TEXT    NOT NULL,             -- SHA-256(device secret), sealed with AES-256-GCM under DEVICE_KEK, device_id as associated data
  enrolled_at        INTEGER NOT NULL,             -- Unix ms
  enrolled_by        TEXT    NOT NULL,             -- the operator

  online             INTEGER NOT NULL DEFAULT 0 CHECK (online IN (0, 1)), -- as far as presence_at knows
  presence_at        INTEGER NOT NULL DEFAULT 0,   -- Unix ms by the broker's clock: the event that decided `online`
  presence_client_id TEXT,                         -- MQTT client id of the session that last said it was online
  offline_reason     TEXT,                         -- 'will', 'goodbye' or EMQX's reason; null while online
  last_seen_at       INTEGER,                      -- Unix ms by the broker's clock: the latest sign of life

  state_at           INTEGER NOT NULL DEFAULT 0,   -- Unix ms by the broker's clock: the state message that the columns below come from
  firmware_version   TEXT,
  protocol_version   TEXT,
  uptime_sec         INTEGER,
  wifi_rssi          INTEGER,                      -- dBm, -100..0
  config_version     INTEGER,                      -- zone configuration that the device applied
  zone_count         INTEGER,
  radar_connected    INTEGER CHECK (radar_connected IN (0, 1)),
  boot_count         INTEGER,
  reset_reason       TEXT,

  last_telemetry_at  INTEGER                       -- Unix ms by the broker's clock: the latest telemetry message
) STRICT, WITHOUT ROWID;
