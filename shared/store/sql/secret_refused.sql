/* secret_refused */
SELECT count(*) AS n FROM security_log WHERE kind = 'bad_webhook_secret' AND last_at >= ?1
