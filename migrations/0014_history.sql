-- What a device said is told to the people that it is of now, and not what it said while it was somebody else's.

ALTER TABLE devices ADD COLUMN history_from INTEGER NOT NULL DEFAULT 0; -- Unix ms: since when it is the present owner's, if it had another one before
ALTER TABLE devices ADD COLUMN had_owner INTEGER NOT NULL DEFAULT 0 CHECK (had_owner IN (0, 1)); -- an owner has left it

-- The owner changes in several statements and by people's deletion; here it cannot be forgotten.
CREATE TRIGGER device_access_owner_leaves AFTER DELETE ON device_access WHEN OLD.role = 'owner'
BEGIN
  UPDATE devices SET had_owner = 1 WHERE device_id = OLD.device_id;
END;

CREATE TRIGGER device_access_owner_comes AFTER INSERT ON device_access WHEN NEW.role = 'owner'
BEGIN
  UPDATE devices SET history_from = NEW.granted_at WHERE device_id = NEW.device_id AND had_owner = 1;
END;

CREATE TRIGGER device_access_owner_changes AFTER UPDATE OF user_id ON device_access
WHEN NEW.role = 'owner' AND NEW.user_id <> OLD.user_id
BEGIN
  UPDATE devices SET history_from = NEW.granted_at, had_owner = 1 WHERE device_id = NEW.device_id;
END;
