-- What is checked every five minutes, what was found, and the incidents that follow. No row is written for a run: a check keeps
-- its latest results, a component a row a day.

-- One row: who is at it, and how the latest round went.
CREATE TABLE check_rounds (
  round_id    INTEGER NOT NULL PRIMARY KEY CHECK (round_id = 1),
  generation  INTEGER NOT NULL,                    -- counts rounds that were written; null is refused, by which a round that lost its hold fails whole
  holder      TEXT,                                -- the round that is going on; null: none
  held_at     INTEGER NOT NULL,                    -- Unix ms: when that began
  judged_at   INTEGER NOT NULL,                    -- Unix ms: the latest round that was written; 0 before the first
  duration_ms INTEGER NOT NULL,                    -- of that round
  looked      INTEGER NOT NULL,                    -- checks of that round
  failed      INTEGER NOT NULL                     -- those of them that found a fault
) STRICT, WITHOUT ROWID;

CREATE TABLE checks (
  check_id     TEXT    NOT NULL PRIMARY KEY,       -- as configured
  component    TEXT    NOT NULL,                   -- what it is a part of, to people
  kind         TEXT    NOT NULL,                   -- 'http', 'd1', …
  severity     TEXT    NOT NULL CHECK (severity IN ('SEV1', 'SEV2', 'SEV3', 'SEV4')),
  state        TEXT    NOT NULL CHECK (state IN ('up', 'down')), -- by the latest results, not by the last alone
  since        INTEGER NOT NULL,                   -- Unix ms: when that began
  checked_at   INTEGER NOT NULL,                   -- Unix ms: the latest result
  latency_ms   INTEGER NOT NULL,                   -- of that
  fault        TEXT,                               -- what it found wrong; null: nothing
  silenced     INTEGER NOT NULL CHECK (silenced IN (0, 1)), -- a maintenance window names it
  explained_by TEXT,                               -- the check that it needs and whose fault this is
  track        TEXT    NOT NULL CHECK (json_valid(track)) -- rs1-ops's Track: the latest results, what the next one is compared with
) STRICT, WITHOUT ROWID;

-- A row a component and day (UTC), 90 days.
CREATE TABLE component_days (
  component      TEXT    NOT NULL,
  day            TEXT    NOT NULL,                 -- 2026-11-21
  rounds         INTEGER NOT NULL,                 -- rounds in which it was looked at
  rounds_ill     INTEGER NOT NULL,                 -- of those: some of its checks were down
  rounds_down    INTEGER NOT NULL,                 -- of those: all of its checks were, or one of SEV1
  rounds_silent  INTEGER NOT NULL,                 -- rounds besides in which maintenance silenced all of it
  runs           INTEGER NOT NULL,                 -- results of its checks
  failures       INTEGER NOT NULL,                 -- of those: with a fault
  latency_sum_ms INTEGER NOT NULL,                 -- of the results without a fault
  latency_max_ms INTEGER NOT NULL,
  latency_100    INTEGER NOT NULL,                 -- results without a fault within 100 ms
  latency_300    INTEGER NOT NULL,                 -- … within 300 ms, those within 100 ms included
  latency_1000   INTEGER NOT NULL,
  latency_3000   INTEGER NOT NULL,
  PRIMARY KEY (component, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX component_days_by_day ON component_days (day);

CREATE TABLE incidents (
  incident_id     TEXT    NOT NULL PRIMARY KEY,    -- inc-{ULID}
  subject         TEXT    NOT NULL,                -- the group of checks that it is about
  severity        TEXT    NOT NULL CHECK (severity IN ('SEV1', 'SEV2', 'SEV3', 'SEV4')), -- the worst that it has been
  title           TEXT    NOT NULL,
  components      TEXT    NOT NULL CHECK (json_valid(components)), -- a JSON array of texts
  members         TEXT    NOT NULL CHECK (json_valid(members)),    -- a JSON array: the checks that failed, and since when
  explains        TEXT    NOT NULL CHECK (json_valid(explains)),   -- a JSON array: checks that failed because of it
  opened_at       INTEGER NOT NULL,                -- Unix ms
  respond_by      INTEGER NOT NULL,                -- Unix ms: by when somebody is to have acknowledged it
  reminded_at     INTEGER,                         -- Unix ms: when nobody had
  acknowledged_at INTEGER,                         -- Unix ms
  acknowledged_by TEXT,                            -- the operator
  resolved_at     INTEGER                          -- Unix ms
) STRICT, WITHOUT ROWID;

-- One open incident a subject: kept by the database itself.
CREATE UNIQUE INDEX incidents_open ON incidents (subject) WHERE resolved_at IS NULL;

-- What became of an incident, step by step.
CREATE TABLE incident_events (
  incident_id TEXT    NOT NULL,
  at          INTEGER NOT NULL,                    -- Unix ms
  step        INTEGER NOT NULL,                    -- orders what is of one instant
  what        TEXT    NOT NULL CHECK (what IN ('opened', 'check_failed', 'check_recovered', 'escalated', 'explains', 'reminded',
                                               'acknowledged', 'resolved')),
  about       TEXT,                                -- the check, or the operator
  detail      TEXT    NOT NULL,
  PRIMARY KEY (incident_id, at, step)
) STRICT, WITHOUT ROWID;

-- Times in which what is named raises no incident.
CREATE TABLE maintenance_windows (
  window_id  TEXT    NOT NULL PRIMARY KEY,         -- mnt-{ULID}
  subjects   TEXT    NOT NULL CHECK (json_valid(subjects)), -- a JSON array: checks, groups, components; '*' is everything
  reason     TEXT    NOT NULL,
  from_at    INTEGER NOT NULL,                     -- Unix ms
  until_at   INTEGER NOT NULL,                     -- Unix ms; earlier than planned where it was ended by hand
  created_by TEXT    NOT NULL,                     -- the operator
  ended_by   TEXT,                                 -- the operator who ended it before its time
  CHECK (from_at <= until_at)
) STRICT, WITHOUT ROWID;

CREATE INDEX maintenance_windows_by_end ON maintenance_windows (until_at);
