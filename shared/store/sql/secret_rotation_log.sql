/* secret_rotation_log */
INSERT INTO security_log (id, kind, severity, subject, peerhost, detail, count, first_at, last_at, window_key)
VALUES (?1, ?2, ?3, ?4, NULL, ?5, 1, ?6, ?6, ?2 || ':' || ?6 || ':' || ?4)
ON CONFLICT (window_key) DO UPDATE SET
  count = count + excluded.count,
  first_at = min(first_at, excluded.first_at),
  last_at = max(last_at, excluded.last_at)
