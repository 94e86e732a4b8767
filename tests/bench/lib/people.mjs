// The device API as people use it: forty users with fifty devices each, and a broker that takes what it is given.

import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { serveHttp } from '../../../local/lib/serve.mjs';

export const API_ROUTES = ['devices', 'device', 'zones'];

/** As many as one may have. */
const DEVICES_A_USER = 50;
const HEAD = Buffer.from(JSON.stringify({ alg: 'HS256', typ: 'JWT' })).toString('base64url');
/** An id of ours: a prefix and a ULID. */
const record = (prefix, number) => `${prefix}-${String(number).padStart(26, '0')}`;
const owner = (index) => record('usr', Math.floor(index / DEVICES_A_USER));

/**
 * Gives each device its owner, and says that it is here.
 * @param {D1Database} db of ours or of the peer's
 * @param {import('../../../local/lib/credentials.mjs').Device[]} devices
 * @param {'ours' | 'peer'} schema
 */
export async function own(db, devices, schema) {
  const rows = JSON.stringify(devices.map(({ id }, index) => [owner(index), id]));
  const users = `INSERT INTO users (user_id, issuer, subject, email, email_verified_at, created_at)
    SELECT DISTINCT value->>0, 'bench', value->>0, value->>0, 1, 1 FROM json_each(?1)`;
  const access = `INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by)
    SELECT value->>1, value->>0, 'owner', 1, 'bench' FROM json_each(?1)`;
  const online = "UPDATE devices SET online = 1, firmware_version = '1.2.0', product_sku = 'rs1_pro', last_seen_at = 1768903200000, state_at = 1768903200000";
  const statements = [...(schema === 'ours' ? [users] : []), access].map((sql) => db.prepare(sql).bind(rows));
  await db.batch([...statements, db.prepare(online)]);
}

/** The file that api.lua reads. Written anew for each round: tokens are good for five minutes. */
export function writeTokens(path, devices, secret) {
  const now = Math.floor(Date.now() / 1000);
  const token = (index) => {
    const claims = { aud: 'rs1-api', sub: owner(index), sid: record('ses', 0), iat: now, exp: now + 300 };
    const signed = `${HEAD}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
    return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
  };
  writeFileSync(path, devices.map(({ id }, index) => `${id} ${token(index)}\n`).join(''));
}

/** EMQX's `publish/bulk`, for messages that somebody always subscribes to. @param {number} port */
export async function startBroker(port) {
  const taken = JSON.stringify([{ id: '0006532A9C1F7B9DF445000013F90000' }]);
  const handle = (incoming, response) => {
    incoming.resume();
    incoming.on('end', () => response.writeHead(200, { 'content-type': 'application/json', 'content-length': taken.length }).end(taken));
  };
  return serveHttp({ port, handle });
}

/** The limits of people's requests would be what is measured. */
export const unlimited = (table) => ({ ...table, ratelimits: table.ratelimits.map((it) => ({ ...it, simple: { ...it.simple, limit: 1e9 } })) });
