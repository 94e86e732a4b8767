// Signed firmware images for this machine: what an ESP32 build and the factory's signing step leave behind, with noise in
// place of a program. The workers read them with the Rust of `shared/domain` and `shared/auth`; this is written on its own,
// from the contract (section 5), so that the two check each other.

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomFillSync, sign } from 'node:crypto';

/** Bytes of the signature block at an image's end. */
export const BLOCK = 240;

/** Where `esp_app_desc_t` stands, after the image header (24 bytes) and the first segment's (8). */
const DESCRIPTION = 0x20;

/** Segments that the image header speaks of; there may be 16. */
const SEGMENTS = 6;

/** The end of the description, and so the smallest body that has one. */
const LEAST_BODY = DESCRIPTION + 256;

/** The smallest image there can be, in bytes. */
export const LEAST_SIZE = LEAST_BODY + BLOCK;

const sha256 = (bytes) => createHash('sha256').update(bytes).digest();

/** A new P-256 signing key. */
export const makeKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

/** The public half as operators register it: x and y, 128 hex digits. @param {import('node:crypto').KeyObject} key */
export function publicKeyOf(key) {
  const { x, y } = createPublicKey(key).export({ format: 'jwk' });
  return Buffer.concat([x, y].map((part) => Buffer.from(part, 'base64url'))).toString('hex');
}

/** @param {string} pem @returns {import('node:crypto').KeyObject} */
export const readKey = (pem) => createPrivateKey(pem);

/**
 * @param {object} options
 * @param {string} options.version
 * @param {import('node:crypto').KeyObject} options.key signs it
 * @param {string} [options.project] `project_name` of the description
 * @param {number} [options.counter] anti-rollback counter
 * @param {number} [options.size] of the whole file in bytes
 * @param {Date} [options.builtAt]
 */
export function makeImage({ version, key, project = 'rs1_pro', counter = 1, size = 64 * 1024, builtAt = new Date() }) {
  if (size < LEAST_SIZE) throw new Error(`an image has at least ${LEAST_SIZE} bytes, not ${size}`);
  const body = randomFillSync(Buffer.alloc(size - BLOCK));
  body[0] = 0xe9;
  body[1] = SEGMENTS;
  const description = body.subarray(DESCRIPTION, LEAST_BODY);
  description.writeUInt32LE(0xabcd5432, 0);
  writeText(description, 16, 32, version);
  writeText(description, 48, 32, project);
  return Buffer.concat([body, block(body, { key, counter, builtAt })]);
}

function block(body, { key, counter, builtAt }) {
  const fields = Buffer.alloc(BLOCK - 32);
  fields.write('OPFW', 0, 'latin1');
  fields.writeUInt32LE(1, 4);
  sha256(body).copy(fields, 8);
  // ECDSA over SHA-256 of the body is a signature of `fw_hash`; r and s as they are, not DER.
  sign('sha256', body, { key, dsaEncoding: 'ieee-p1363' }).copy(fields, 40);
  Buffer.from(publicKeyOf(key), 'hex').copy(fields, 104);
  fields.writeUInt32LE(counter, 168);
  fields.writeUInt32LE(Math.floor(builtAt.getTime() / 1000), 172);
  return Buffer.concat([fields, sha256(fields)]);
}

/** A text with zeros after it, as C keeps it. */
function writeText(bytes, at, length, text) {
  if (Buffer.byteLength(text) >= length) throw new Error(`"${text}" does not fit into ${length} bytes`);
  bytes.fill(0, at, at + length);
  bytes.write(text, at, 'utf8');
}
