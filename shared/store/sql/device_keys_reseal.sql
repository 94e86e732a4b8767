/* device_keys_reseal */
UPDATE devices SET sealed_key = (SELECT value->>'new' FROM json_each(?1) WHERE value->>'device_id' = devices.device_id)
WHERE device_id IN (SELECT value->>'device_id' FROM json_each(?1))
  AND sealed_key = (SELECT value->>'old' FROM json_each(?1) WHERE value->>'device_id' = devices.device_id)
