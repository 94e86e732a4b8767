-- A row a check, overwritten by each round; a row an incident and a notice.

CREATE TABLE watch_checks (
  check_id   TEXT    NOT NULL PRIMARY KEY,
  component  TEXT    NOT NULL,
  down       INTEGER NOT NULL,
  recent     TEXT    NOT NULL, -- JSON: whether each of the last three looks found no fault
  fault      TEXT,
  latency_ms INTEGER NOT NULL,
  checked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE watch_incidents (
  check_id    TEXT    NOT NULL,
  opened_at   INTEGER NOT NULL,
  resolved_at INTEGER,
  PRIMARY KEY (check_id, opened_at)
) STRICT, WITHOUT ROWID;

CREATE TABLE watch_notices (
  notice_id INTEGER PRIMARY KEY,
  check_id  TEXT    NOT NULL,
  what      TEXT    NOT NULL,
  said_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE watch_probe (
  id   INTEGER PRIMARY KEY,
  mark TEXT NOT NULL
) STRICT;
