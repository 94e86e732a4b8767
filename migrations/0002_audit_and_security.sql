-- Who did what (audit), and what somebody tried (security). Ids are ULIDs with a prefix, so that the
-- primary key is also the order in time, for paging and for retention.

CREATE TABLE audit_log (
  id         TEXT    NOT NULL PRIMARY KEY,         -- aud-{ULID}
  at         INTEGER NOT NULL,                     -- Unix ms
  actor      TEXT    NOT NULL,                     -- the operator's e-mail address or service token
  action     TEXT    NOT NULL,                     -- 'admin_api_access'
  method     TEXT    NOT NULL,                     -- HTTP method
  route      TEXT    NOT NULL,                     -- route pattern, e.g. /api/admin/devices/{id}
  target     TEXT,                                 -- what it was about, e.g. a device id
  request_id TEXT    NOT NULL,
  detail     TEXT    CHECK (detail IS NULL OR json_valid(detail))
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_log_by_target ON audit_log (target, id) WHERE target IS NOT NULL;

CREATE TABLE security_log (
  id         TEXT    NOT NULL PRIMARY KEY,         -- sec-{ULID}
  kind       TEXT    NOT NULL,                     -- 'auth_failure_repeated', 'acl_violation', 'admin_api_access', …
  severity   TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'high')),
  subject    TEXT    NOT NULL,                     -- whom it is about: a device id, an operator, an address
  peerhost   TEXT,                                 -- IP address it came from
  detail     TEXT    NOT NULL CHECK (json_valid(detail)), -- of the first occurrence
  count      INTEGER NOT NULL DEFAULT 1,           -- occurrences in this window
  first_at   INTEGER NOT NULL,                     -- Unix ms
  last_at    INTEGER NOT NULL,                     -- Unix ms
  window_key TEXT    NOT NULL UNIQUE               -- kind, subject and window: a burst is one counted row, so that nobody can fill the database
) STRICT, WITHOUT ROWID;

CREATE INDEX security_log_by_kind ON security_log (kind, id);

-- The last few failed MQTT authentications of each address, for "more than 5 in 10 minutes".
CREATE TABLE auth_failures (
  peerhost       TEXT    NOT NULL PRIMARY KEY,     -- IP address as EMQX gives it
  recent         TEXT    NOT NULL CHECK (json_valid(recent)), -- JSON array of at most 6 failure marks, ascending (Unix ms * 1000 + a digest of the request)
  last_failed_at INTEGER NOT NULL,                 -- Unix ms
  reported_at    INTEGER NOT NULL DEFAULT 0        -- Unix ms: the last auth_failure_repeated
) STRICT, WITHOUT ROWID;

CREATE INDEX auth_failures_by_age ON auth_failures (last_failed_at);
