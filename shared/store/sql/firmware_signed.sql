/* firmware_signed */
SELECT count(*) AS n FROM firmware_artifacts WHERE key_id = ?1
