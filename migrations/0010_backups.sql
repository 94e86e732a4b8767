-- Backups of this database: those that there are, and the one that is being made. Only one is made at a time.

CREATE TABLE backups (
  backup_id    TEXT    NOT NULL PRIMARY KEY,       -- 2026-11-21, or 2026-11-21T1405 for one that somebody asked for
  state        TEXT    NOT NULL CHECK (state IN ('running', 'complete', 'failed')),
  requested_by TEXT,                               -- the operator; null: the clock
  started_at   INTEGER NOT NULL,                   -- Unix ms
  updated_at   INTEGER NOT NULL,                   -- Unix ms: the last step; while held, whoever holds it is alive
  finished_at  INTEGER,                            -- Unix ms
  held         INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)), -- a run is at it
  generation   INTEGER NOT NULL DEFAULT 0,         -- counts writes; a run that lost its hold changes nothing
  progress     TEXT    CHECK (progress IS NULL OR json_valid(progress)), -- rs1-ops's Progress; null before the first step and once complete
  row_count    INTEGER,                            -- rows of all tables, once complete
  bytes        INTEGER,                            -- of the object in R2, once complete
  sha256       TEXT,                               -- of that object
  detail       TEXT                                -- what failed
) STRICT, WITHOUT ROWID;

CREATE INDEX backups_running ON backups (state) WHERE state = 'running';
