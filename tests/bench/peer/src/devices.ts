// GET /api/devices and /api/devices/{id}.

import type { Context } from 'hono';
import type { ApiApp } from './env';
import { invalid, problem } from './problem';
import { Page } from './schemas';

interface Row {
  device_id: string;
  mac_address: string;
  product_sku: string | null;
  name: string | null;
  room: string | null;
  version: number;
  role: string;
  online: number;
  offline_reason: string | null;
  last_seen_at: number | null;
  last_telemetry_at: number | null;
  state_at: number;
  firmware_version: string | null;
  uptime_sec: number | null;
  wifi_rssi: number | null;
  config_version: number | null;
  zone_count: number | null;
  radar_connected: number | null;
}

const COLUMNS = `d.device_id, d.mac_address, d.product_sku, d.name, d.room, d.profile_version AS version, a.role, d.online,
  d.offline_reason, d.last_seen_at, d.last_telemetry_at, d.state_at, d.firmware_version, d.uptime_sec, d.wifi_rssi,
  d.config_version, d.zone_count, d.radar_connected`;

const time = (millis: number | null) => (millis ? new Date(millis).toISOString() : null);

const shown = (row: Row) => ({
  ...row,
  online: row.online === 1,
  last_seen_at: time(row.last_seen_at),
  last_telemetry_at: time(row.last_telemetry_at),
  state_at: time(row.state_at),
  radar_connected: row.radar_connected === null ? null : row.radar_connected === 1,
});

export async function devices(c: Context<ApiApp>): Promise<Response> {
  const parsed = Page.safeParse(c.req.query());
  if (!parsed.success) return invalid(c, parsed.error.issues);
  const { limit, cursor, online, q } = parsed.data;
  const { results } = await c.env.DB.prepare(
    `SELECT ${COLUMNS} FROM device_access a JOIN devices d ON d.device_id = a.device_id
     WHERE a.user_id = ?1 AND a.device_id > ?2 ORDER BY a.device_id LIMIT 51`,
  )
    .bind(c.get('user'), cursor)
    .all<Row>();
  const text = q?.toLowerCase();
  const found = results
    .filter((row) => online === undefined || (row.online === 1) === (online === 'true'))
    .filter((row) => text === undefined || row.name?.toLowerCase().includes(text) || row.room?.toLowerCase().includes(text));
  const items = found.slice(0, limit).map(shown);
  return c.json({ items, next_cursor: found.length > limit ? items.at(-1)!.device_id : null });
}

export async function device(c: Context<ApiApp>): Promise<Response> {
  const row = await c.env.DB.prepare(
    `SELECT ${COLUMNS} FROM device_access a JOIN devices d ON d.device_id = a.device_id WHERE a.user_id = ?1 AND a.device_id = ?2`,
  )
    .bind(c.get('user'), c.req.param('id') ?? '')
    .first<Row>();
  if (!row) return problem(c, 404, 'you have no such device');
  c.header('etag', `"${row.version}"`);
  return c.json(shown(row));
}
