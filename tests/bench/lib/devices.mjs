// The devices that the load comes from: enrolled by writing the rows that enrolment would write.

import { writeFileSync } from 'node:fs';
import { makeDevice } from '../../../local/lib/credentials.mjs';
import { seal } from '../../../tools/rotation/device-keys.mjs';

/** A parameter of D1's may have two million bytes. */
const AT_ONCE = 5_000;

/** @param {number} count */
export function makeDevices(count) {
  return Array.from({ length: count }, () => makeDevice());
}

/**
 * @param {D1Database} db of ours or of the peer's
 * @param {import('../../../local/lib/credentials.mjs').Device[]} devices
 * @param {string} kekHex
 * @param {'ours' | 'peer'} schema
 */
export async function enrol(db, devices, kekHex, schema) {
  const kek = Buffer.from(kekHex, 'hex');
  const rows = devices.map(({ id, mac, secretHash }) => [id, mac, seal(kek, id, Buffer.from(secretHash, 'hex')), Date.now()]);
  const [column, value] = schema !== 'peer' ? [', enrolled_by', ", 'bench'"] : ['', ''];
  for (let first = 0; first < rows.length; first += AT_ONCE) {
    await db
      .prepare(
        `INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at${column})
         SELECT value->>0, value->>1, value->>2, value->>3${value} FROM json_each(?1)`,
      )
      .bind(JSON.stringify(rows.slice(first, first + AT_ONCE)))
      .run();
  }
}

/** The file that load.lua reads. Written anew for each round: passwords are of the hour. */
export function writeDevices(path, devices) {
  writeFileSync(path, devices.map((device) => `${device.id} ${device.password()}\n`).join(''));
}
