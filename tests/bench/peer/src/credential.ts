// Device credentials (contract, section 1).

import { fromBase64, fromHex } from './bytes';

const encoder = new TextEncoder();
const HOUR = 3_600_000;
const EARLY = 5 * 60_000;

/** Imported once an isolate. */
let kek: CryptoKey | undefined;

async function keyEncryptionKey(hex: string): Promise<CryptoKey> {
  kek ??= await crypto.subtle.importKey('raw', fromHex(hex)!, 'AES-GCM', false, ['decrypt']);
  return kek;
}

/** Opens a sealed device key: `1.` and Base64 of nonce (12), ciphertext (32), tag (16). */
export async function unseal(kekHex: string, sealed: string, deviceId: string): Promise<Uint8Array> {
  const bytes = sealed.startsWith('1.') ? fromBase64(sealed.slice(2)) : null;
  if (!bytes) throw new Error(`the key of ${deviceId} is not sealed`);
  const params = { name: 'AES-GCM', iv: bytes.subarray(0, 12), additionalData: encoder.encode(deviceId) };
  return new Uint8Array(await crypto.subtle.decrypt(params, await keyEncryptionKey(kekHex), bytes.subarray(12)));
}

/** A presented password: 64 hex digits or 44 characters of Base64. */
export function parsePassword(text: string): Uint8Array | null {
  const bytes = text.length === 64 ? fromHex(text) : text.length === 44 ? fromBase64(text) : null;
  return bytes?.length === 32 ? bytes : null;
}

/** Whether the password is good now: this hour's, the last one's, and shortly before the next hour that one's. */
export async function verifyPassword(rawKey: Uint8Array, deviceId: string, password: Uint8Array, now: number): Promise<boolean> {
  const key = await crypto.subtle.importKey('raw', rawKey, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify']);
  const hour = Math.floor(now / HOUR);
  const hours = [hour, hour - 1];
  if (Math.floor((now + EARLY) / HOUR) > hour) hours.push(hour + 1);
  for (const each of hours) {
    // `verify` compares in constant time.
    if (await crypto.subtle.verify('HMAC', key, password, encoder.encode(`${deviceId}:${each}`))) return true;
  }
  return false;
}
