// How an RS-1 names and proves itself, in JavaScript. The workers and the fleet use the Rust of `shared/auth`;
// this is written on its own, from the contract, so that the two check each other.

import { createHash, createHmac, randomBytes } from 'node:crypto';

/** @param {string | Buffer} data */
const sha256 = (data) => createHash('sha256').update(data).digest();

/**
 * A device's id: the first 32 hex digits of SHA-256(MAC as 12 lower-case hex digits, then `opticworks-rs1`).
 * @param {string} mac `AA:BB:CC:DD:EE:01`
 */
export function deviceId(mac) {
  const digits = mac.replaceAll(':', '').toLowerCase();
  return sha256(`${digits}opticworks-rs1`).toString('hex').slice(0, 32);
}

/** Hours since the epoch: what a password is good for. @param {number} [now] Unix milliseconds */
export const hourOf = (now = Date.now()) => Math.floor(now / 3_600_000);

/**
 * @typedef {object} Device
 * @property {string} mac
 * @property {string} id
 * @property {Buffer} secret the 32 bytes that the factory burned in
 * @property {string} secretHash SHA-256(secret), what the cloud is given
 * @property {(options?: { hour?: number, encoding?: 'hex' | 'base64' }) => string} password
 */

/**
 * A device, with a random MAC and secret unless given.
 * @param {{ mac?: string, secret?: Buffer }} [options]
 * @returns {Device}
 */
export function makeDevice({ mac = randomMac(), secret = randomBytes(32) } = {}) {
  const id = deviceId(mac);
  const key = sha256(secret);
  return {
    mac,
    id,
    secret,
    secretHash: key.toString('hex'),
    password: ({ hour = hourOf(), encoding = 'hex' } = {}) => createHmac('sha256', key).update(`${id}:${hour}`).digest(encoding),
  };
}

/** A MAC from the locally administered range: it can never be that of a device that was sold. */
export function randomMac() {
  const bytes = randomBytes(6);
  bytes[0] = 0x02;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0').toUpperCase()).join(':');
}
