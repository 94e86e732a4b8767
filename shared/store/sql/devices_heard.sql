/* devices_heard */
SELECT count(*) AS online, count(CASE WHEN last_seen_at >= ?1 THEN 1 END) AS heard FROM devices WHERE online = 1
