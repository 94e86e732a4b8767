-- What else is a ring: the token of the metrics, and what signs notices. Of those that are there already it is known that they are
-- not younger than this.
INSERT INTO secret_rotations (name, every_days, rotated_at, dropped_at)
SELECT column1, column2, unixepoch() * 1000, unixepoch() * 1000
FROM (VALUES ('METRICS_TOKEN', 365), ('NOTICE_WEBHOOK_SECRET', 365)) WHERE true
ON CONFLICT (name) DO NOTHING;
