/* firmware_keys_before */
SELECT key_id, name FROM firmware_keys WHERE key_id < ?1 AND revoked_at IS NULL ORDER BY key_id LIMIT 20
