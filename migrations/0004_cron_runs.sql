-- One row a cron trigger: a lease, so that a trigger delivered twice runs once, and the trace by which
-- health checks see that the clock still ticks.

CREATE TABLE cron_runs (
  worker       TEXT    NOT NULL,                   -- 'telemetry', 'ota', …
  cron         TEXT    NOT NULL,                   -- the trigger's expression
  scheduled_at INTEGER NOT NULL,                   -- Unix ms that the latest run was due
  started_at   INTEGER NOT NULL,                   -- Unix ms
  finished_at  INTEGER,                            -- Unix ms; null while it runs, or if it was cut off
  outcome      TEXT    CHECK (outcome IN ('ok', 'failed')),
  detail       TEXT,                               -- what was done, or what failed
  PRIMARY KEY (worker, cron)
) STRICT, WITHOUT ROWID;
