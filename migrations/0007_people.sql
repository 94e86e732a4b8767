-- People: who they are, which devices they may see and change, and how a device finds its owner.

CREATE TABLE users (
  user_id           TEXT    NOT NULL PRIMARY KEY,  -- usr-{ULID}
  issuer            TEXT    NOT NULL,              -- `iss` of the identity provider's tokens
  subject           TEXT    NOT NULL,              -- `sub`: the person, for ever, at that issuer
  email             TEXT    NOT NULL,              -- in lower case; verified by the issuer
  email_verified_at INTEGER NOT NULL,              -- Unix ms: the latest sign-in that said so. An address that changed hands is the latest one's
  name              TEXT,
  created_at        INTEGER NOT NULL,              -- Unix ms
  UNIQUE (issuer, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX users_by_email ON users (email, email_verified_at);

-- What must be decided in one place about a session: which refresh token is the present one, and whether it has ended. What
-- each token stands for is in KV, written once a token.
CREATE TABLE sessions (
  session_id   TEXT    NOT NULL PRIMARY KEY,       -- ses-{ULID}
  user_id      TEXT    NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
  token_hash   TEXT    NOT NULL,                   -- SHA-256 of the one refresh token that is good, 64 hex digits
  created_at   INTEGER NOT NULL,                   -- Unix ms
  refreshed_at INTEGER NOT NULL,                   -- Unix ms: the latest sign of life
  expires_at   INTEGER NOT NULL,                   -- Unix ms: 24 hours after that
  ended_at     INTEGER,                            -- Unix ms
  ended_by     TEXT    CHECK (ended_by IN ('sign_out', 'token_reuse'))
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_refresh ON sessions (refreshed_at, user_id);

-- What people call a device, and how often they changed that (the ETag).
ALTER TABLE devices ADD COLUMN name TEXT;
ALTER TABLE devices ADD COLUMN room TEXT;
ALTER TABLE devices ADD COLUMN profile_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN provisioned_at INTEGER; -- Unix ms: the first time that it said so itself

-- What operators look for. An index is written only when its own columns change.
CREATE INDEX devices_by_presence ON devices (online, device_id);
CREATE INDEX devices_by_version ON devices (firmware_version, device_id);
CREATE INDEX devices_by_sku ON devices (product_sku, device_id);

CREATE TABLE device_access (
  device_id  TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  user_id    TEXT    NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
  role       TEXT    NOT NULL CHECK (role IN ('owner', 'admin', 'viewer')),
  granted_at INTEGER NOT NULL,                     -- Unix ms
  granted_by TEXT    NOT NULL,                     -- a user id, an operator, or 'order'
  PRIMARY KEY (device_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX device_access_one_owner ON device_access (device_id) WHERE role = 'owner';
CREATE INDEX device_access_by_user ON device_access (user_id, device_id);

-- At most 50 devices a user, whichever way they come: a row too many is not written, and whoever wanted it sees that.
CREATE TRIGGER device_access_limit BEFORE INSERT ON device_access
WHEN (SELECT count(*) FROM device_access WHERE user_id = NEW.user_id AND device_id <> NEW.device_id) >= 50
BEGIN
  SELECT RAISE(IGNORE);
END;

-- Shares with people who have not signed in yet.
CREATE TABLE invitations (
  invitation_id TEXT    NOT NULL PRIMARY KEY,      -- inv-{ULID}
  device_id     TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  email         TEXT    NOT NULL,                  -- in lower case
  role          TEXT    NOT NULL CHECK (role IN ('admin', 'viewer')),
  invited_by    TEXT    NOT NULL,                  -- a user id
  created_at    INTEGER NOT NULL,                  -- Unix ms
  UNIQUE (device_id, email)
) STRICT, WITHOUT ROWID;

CREATE INDEX invitations_by_email ON invitations (email, device_id);

-- A change of owner that waits for the receiver's word; one a device.
CREATE TABLE transfers (
  device_id   TEXT    NOT NULL PRIMARY KEY REFERENCES devices (device_id) ON DELETE CASCADE,
  transfer_id TEXT    NOT NULL UNIQUE,             -- trf-{ULID}
  from_user   TEXT    NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
  to_email    TEXT    NOT NULL,                    -- in lower case
  created_at  INTEGER NOT NULL,                    -- Unix ms
  expires_at  INTEGER NOT NULL                     -- Unix ms
) STRICT, WITHOUT ROWID;

CREATE INDEX transfers_by_email ON transfers (to_email, device_id);

-- What the shop sold to whom. An order makes its buyer the owner once: when it has been shipped, the device has reported, the buyer has
-- signed in, and nobody owns the device. After that it is history: a device that was given up does not go back to its first buyer.
CREATE TABLE orders (
  device_id   TEXT    NOT NULL,                    -- derived from mac_address; may be enrolled later
  order_id    TEXT    NOT NULL,                    -- the shop's
  mac_address TEXT    NOT NULL,                    -- AA:BB:CC:DD:EE:FF
  email       TEXT    NOT NULL,                    -- the buyer's, in lower case
  shipped_at  INTEGER,                             -- Unix ms; null while it has not been shipped
  imported_at INTEGER NOT NULL,                    -- Unix ms: the first time
  linked_at   INTEGER,                             -- Unix ms: when it made its buyer the owner
  PRIMARY KEY (device_id, order_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX orders_by_email ON orders (email, device_id) WHERE linked_at IS NULL;
