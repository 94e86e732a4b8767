-- Why a backup was asked for and what its restore check found, and what is known of the backups that are watched, this
-- system's and the company's.

ALTER TABLE backups ADD COLUMN reason TEXT;         -- the operator's; null: the clock
ALTER TABLE backups ADD COLUMN schema_version TEXT; -- the last migration that is in it, once complete
ALTER TABLE backups ADD COLUMN checked_at INTEGER;  -- Unix ms: when it was last loaded into a scratch database
ALTER TABLE backups ADD COLUMN check_ok INTEGER CHECK (check_ok IN (0, 1));
ALTER TABLE backups ADD COLUMN check_faults TEXT CHECK (check_faults IS NULL OR json_valid(check_faults)); -- a JSON array of texts

CREATE INDEX backups_unproven ON backups (backup_id) WHERE state = 'complete' AND check_ok IS NOT 1;

-- A row each thing that is watched. Alarms go into the security log in the same transaction that notes their cause.
CREATE TABLE backup_watch (
  subject    TEXT    NOT NULL PRIMARY KEY,         -- 'backup', 'restore-check', 'firmware', or a prefix of the company's bucket
  faults     TEXT    NOT NULL CHECK (json_valid(faults)), -- a JSON array of texts; empty: all is well
  facts      TEXT    NOT NULL CHECK (json_valid(facts)),  -- a JSON object: what was seen
  first_at   INTEGER NOT NULL,                     -- Unix ms: the first look
  since      INTEGER NOT NULL,                     -- Unix ms: since when it is well, or not
  looked_at  INTEGER NOT NULL                      -- Unix ms: the latest look
) STRICT, WITHOUT ROWID;
