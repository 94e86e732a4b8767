import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** `sec-` and a ULID. @param {number} at Unix milliseconds */
export function recordId(at) {
  const time = Array.from({ length: 10 }, (_, place) => ALPHABET[Math.floor(at / 32 ** (9 - place)) % 32]);
  const random = Array.from(randomBytes(16), (byte) => ALPHABET[byte % 32]);
  return `sec-${[...time, ...random].join('')}`;
}
