-- Rollups are compared with the archive when their hour is sealed, and made anew of it where they are not what it holds.

-- How far an hour is.
CREATE TABLE telemetry_seals (
  hour       INTEGER NOT NULL PRIMARY KEY,         -- Unix ms / 3,600,000, rounded down, of the messages' own time
  after      TEXT    NOT NULL,                     -- devices up to here are done; 'g', which is behind all of them, at the end
  checked    INTEGER NOT NULL DEFAULT 0,           -- rollups that were compared
  more       INTEGER NOT NULL DEFAULT 0,           -- … and had counted more than the archive holds
  fewer      INTEGER NOT NULL DEFAULT 0,           -- … fewer
  other      INTEGER NOT NULL DEFAULT 0,           -- … as many, and other values
  repaired   INTEGER NOT NULL DEFAULT 0,           -- rollups that were made anew: those above, and those of late messages
  updated_at INTEGER NOT NULL                      -- Unix ms
) STRICT;

-- Rollups of sealed hours that are to be made anew: messages came late, or the comparison found something.
CREATE TABLE telemetry_late (
  hour      INTEGER NOT NULL,
  device_id TEXT    NOT NULL,
  marks     INTEGER NOT NULL,                      -- counts the reasons; who read fewer does not settle the later ones
  PRIMARY KEY (hour, device_id)
) STRICT, WITHOUT ROWID;
