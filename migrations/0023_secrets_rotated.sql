-- phase: expand
--
-- More secrets that are replaced by the calendar. DEVICE_KEK is among them since device keys can be sealed anew while devices
-- stay connected. FIRMWARE_KEY is the key that images are signed with: the operators have it, and register its public half.

INSERT INTO secret_rotations (name, every_days, rotated_at, dropped_at)
SELECT column1, column2, unixepoch() * 1000, unixepoch() * 1000
FROM (VALUES ('DEVICE_KEK', 365), ('FIRMWARE_KEY', 365));
