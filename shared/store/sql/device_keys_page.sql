/* device_keys_page */
SELECT device_id, sealed_key FROM devices WHERE device_id > ?1 ORDER BY device_id LIMIT CAST(?2 AS INTEGER)
