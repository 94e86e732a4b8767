-- phase: expand, because an index that no statement needs is all that goes
--
-- What is wanted of the security log besides its kinds: all about a subject, all from an address. Of most rows that an attacker
-- can cause, the address is the subject; those are in the first index only, so that a row costs no more writes than it must.

CREATE INDEX security_log_by_subject ON security_log (subject, id);
CREATE INDEX security_log_by_peerhost ON security_log (peerhost, id) WHERE peerhost IS NOT subject;

-- Failures are forgotten after an hour, so whoever looks for old ones looks at hardly any others.
DROP INDEX auth_failures_by_age;

-- When each secret was last replaced, and whether the one before it is still good. What is due is told by shared/ops
-- (`rotation`); `npm run secrets` writes here. DEVICE_KEK is not among them: it is replaced when it leaked, since devices have
-- to be enrolled anew.
CREATE TABLE secret_rotations (
  name       TEXT    NOT NULL PRIMARY KEY,         -- WEBHOOK_SECRET
  every_days INTEGER NOT NULL CHECK (every_days > 0), -- how long one is good
  rotated_at INTEGER NOT NULL,                     -- Unix ms: since when the present one is good
  dropped_at INTEGER                               -- Unix ms: since when the one before it is not; NULL while both are
) STRICT, WITHOUT ROWID;

-- Of those that are there already it is known that they are not younger than this.
INSERT INTO secret_rotations (name, every_days, rotated_at, dropped_at)
SELECT column1, column2, unixepoch() * 1000, unixepoch() * 1000
FROM (VALUES ('WEBHOOK_SECRET', 91), ('SIGNING_KEY', 365), ('JWT_SECRET', 182), ('EMQX_API_KEY', 365),
  ('PAGERDUTY_ROUTING_KEY', 365), ('SLACK_WEBHOOK_URL', 365));
