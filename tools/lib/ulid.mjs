// ULIDs, as the ids of records have them: ten characters of time and sixteen of chance, in Crockford's Base32.

import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** The ten characters that are its time. @param {number} at Unix milliseconds */
export const ulidTime = (at) => Array.from({ length: 10 }, (_, place) => ALPHABET[Math.floor(at / 32 ** (9 - place)) % 32]).join('');

/** An id that was made then: `sec-` and a ULID. @param {string} kind @param {number} at Unix milliseconds */
export const recordId = (kind, at) => `${kind}-${ulidTime(at)}${Array.from(randomBytes(16), (byte) => ALPHABET[byte % 32]).join('')}`;
