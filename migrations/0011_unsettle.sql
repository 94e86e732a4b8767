-- A rollout that is over has nothing open any more, until a fact that arrived late shows that a device is still at it (its trigger
-- was on its way when the rollout was aborted). Then the planner has to look at it again: the device's time may run out, and as
-- long as the attempt is open no other rollout may have the device. It follows here, so that neither can be committed without
-- the other.
CREATE TRIGGER rollout_devices_unsettle AFTER UPDATE OF state ON rollout_devices
WHEN NEW.state IN ('triggered', 'deferred', 'downloading', 'verifying', 'installed')
  AND OLD.state NOT IN ('triggered', 'deferred', 'downloading', 'verifying', 'installed')
BEGIN
  UPDATE rollouts SET settled = 0 WHERE rollout_id = NEW.rollout_id AND settled = 1;
END;
