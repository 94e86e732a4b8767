/* firmware_needed */
SELECT sku, version FROM rollouts JOIN firmware_artifacts USING (sku, version)
WHERE rollouts.settled = 0 AND rollouts.sku IN ('rs1_lite', 'rs1_pro') AND rollouts.status IN ('PENDING', 'STAGED', 'PAUSED')
  AND firmware_artifacts.key_id <> ?1
LIMIT 20
