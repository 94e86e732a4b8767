/* secret_acts */
SELECT detail FROM security_log WHERE subject = ?1 AND kind = 'secret_rotated' AND first_at >= ?2 ORDER BY id DESC LIMIT 20
