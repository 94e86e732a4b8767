/* firmware_key_latest */
SELECT key_id, created_at FROM firmware_keys WHERE key_id > 'fwk-' AND revoked_at IS NULL ORDER BY key_id DESC LIMIT 1
