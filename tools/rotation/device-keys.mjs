// The keys of devices, sealed anew under another DEVICE_KEK. The form is `shared/auth`'s: `1.` and Base64 of nonce (12 bytes),
// ciphertext (32), tag (16), AES-256-GCM with the device's id as associated data.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { statement } from './sql.mjs';

const FORM = '1.';
const PAGE = 500;

/** @returns {Buffer | null} null if it does not open */
function open(kek, device, sealed) {
  if (!sealed.startsWith(FORM)) return null;
  const bytes = Buffer.from(sealed.slice(FORM.length), 'base64');
  const decipher = createDecipheriv('aes-256-gcm', kek, bytes.subarray(0, 12), { authTagLength: 16 }).setAAD(Buffer.from(device));
  try {
    decipher.setAuthTag(bytes.subarray(-16));
    return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]);
  } catch {
    return null;
  }
}

/**
 * A device's key as it is stored.
 * @param {Buffer} kek @param {string} device its id @param {Buffer} key
 */
export function seal(kek, device, key) {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', kek, nonce, { authTagLength: 16 }).setAAD(Buffer.from(device));
  const ciphertext = Buffer.concat([cipher.update(key), cipher.final()]);
  return `${FORM}${Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]).toString('base64')}`;
}

/**
 * Opens each key with `from` and seals it with `to`, a page at a time. A row that changed meanwhile is left to the next run; one
 * that is sealed with `to` already is left alone.
 * @param {(sql: string, params: unknown[]) => Promise<object[]>} query
 * @param {{ from: string, to: string, dry?: boolean, most?: number }} keys as 64 hex digits; `dry` only counts, up to `most`
 * @returns {Promise<{ sealed: number, already: number, strange: number }>} sealed anew, or to be; sealed with `to`; opened by neither
 */
export async function rewrap(query, { from, to, dry = false, most = Infinity }) {
  const [old, fresh] = [from, to].map((hex) => Buffer.from(hex, 'hex'));
  const count = { sealed: 0, already: 0, strange: 0 };
  for (let after = ''; ; ) {
    const rows = await query(statement('device_keys_page'), [after, Math.min(PAGE, most)]);
    const changes = [];
    for (const { device_id: device, sealed_key: sealed } of rows) {
      if (open(fresh, device, sealed)) {
        count.already += 1;
        continue;
      }
      const key = open(old, device, sealed);
      if (key) changes.push({ device_id: device, old: sealed, new: seal(fresh, device, key) });
      else count.strange += 1;
    }
    if (changes.length > 0 && !dry) await query(statement('device_keys_reseal'), [JSON.stringify(changes)]);
    count.sealed += changes.length;
    if (rows.length < PAGE) return count;
    after = rows.at(-1).device_id;
  }
}
