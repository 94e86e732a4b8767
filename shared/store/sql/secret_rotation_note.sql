/* secret_rotation_note */
UPDATE secret_rotations SET
  rotated_at = iif(?2 = 'replaced', ?3, rotated_at),
  dropped_at = iif(?2 = 'replaced', NULL, ?3)
WHERE name = ?1
