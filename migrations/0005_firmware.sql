-- Firmware: the keys that sign it, the artifacts that devices may be sent, and how often each device tried.

CREATE TABLE firmware_keys (
  key_id     TEXT    NOT NULL PRIMARY KEY,         -- fwk-{ULID}
  name       TEXT    NOT NULL,                     -- what people call it
  public_key TEXT    NOT NULL UNIQUE CHECK (length(public_key) = 128), -- P-256, x and y as 128 lower-case hex digits
  created_at INTEGER NOT NULL,                     -- Unix ms
  created_by TEXT    NOT NULL,                     -- the operator
  revoked_at INTEGER,                              -- Unix ms; what it signed is not handed out any more. For good
  revoked_by TEXT
) STRICT, WITHOUT ROWID;

-- Written once: a row, and the bytes that it stands for, never change. Only a yank is added.
CREATE TABLE firmware_artifacts (
  sku          TEXT    NOT NULL CHECK (sku IN ('rs1_lite', 'rs1_pro')),
  version      TEXT    NOT NULL,
  artifact_id  TEXT    NOT NULL UNIQUE,            -- fwa-{ULID}: the order in which they came
  sha256       TEXT    NOT NULL CHECK (length(sha256) = 64), -- of the whole file; R2 keeps it as {sku}/{version}/{sha256}.bin
  size         INTEGER NOT NULL CHECK (size > 0),  -- bytes of the whole file
  elf_sha256   TEXT    NOT NULL CHECK (length(elf_sha256) = 64), -- what a running image calls itself
  fw_version   INTEGER NOT NULL,                   -- anti-rollback counter
  project_name TEXT    NOT NULL,
  built_at     INTEGER NOT NULL,                   -- Unix ms, as the signature block says
  key_id       TEXT    NOT NULL REFERENCES firmware_keys (key_id), -- who signed it
  uploaded_at  INTEGER NOT NULL,                   -- Unix ms
  uploaded_by  TEXT    NOT NULL,                   -- the operator
  yanked_at    INTEGER,                            -- Unix ms; from then on nobody is sent it. For good
  yanked_by    TEXT,
  yank_reason  TEXT,
  PRIMARY KEY (sku, version)
) STRICT, WITHOUT ROWID;

CREATE INDEX firmware_artifacts_by_sku ON firmware_artifacts (sku, artifact_id);
CREATE INDEX firmware_artifacts_by_key ON firmware_artifacts (key_id);

-- How often a device began to download an artifact. A row a device and artifact, written once a download and not
-- once a range.
CREATE TABLE firmware_downloads (
  device_id  TEXT    NOT NULL REFERENCES devices (device_id) ON DELETE CASCADE,
  sku        TEXT    NOT NULL,
  version    TEXT    NOT NULL,
  rollout_id TEXT    NOT NULL,                     -- what is counted is of this rollout; a later one counts anew
  attempts   INTEGER NOT NULL,                     -- downloads begun, up to the limit
  began_at   INTEGER NOT NULL,                     -- Unix ms: the latest
  refused_at INTEGER,                              -- Unix ms: the first refusal for too many attempts that the engine was told of
  PRIMARY KEY (device_id, sku, version)
) STRICT, WITHOUT ROWID;
