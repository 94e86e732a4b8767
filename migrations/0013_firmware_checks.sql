-- When each artifact's bytes in R2 were last held against the hash that was recorded when they came. Artifacts themselves
-- are never changed, so this stands beside them.

CREATE TABLE firmware_checks (
  artifact_id TEXT    NOT NULL PRIMARY KEY REFERENCES firmware_artifacts (artifact_id),
  checked_at  INTEGER NOT NULL,                    -- Unix ms
  fault       TEXT                                 -- what is wrong; null: the bytes are those that came
) STRICT, WITHOUT ROWID;

CREATE INDEX firmware_checks_by_age ON firmware_checks (checked_at);
CREATE INDEX firmware_checks_faulty ON firmware_checks (artifact_id) WHERE fault IS NOT NULL;
