/* secret_outdated */
SELECT subject, last_at FROM security_log WHERE kind = 'outdated_secret' AND last_at >= ?1 ORDER BY id DESC LIMIT 20
