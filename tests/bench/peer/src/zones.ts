// GET and PUT /api/devices/{id}/zones.

import type { Context } from 'hono';
import type { ApiApp } from './env';
import { crossings } from './polygon';
import { invalid, problem } from './problem';
import { Zones } from './schemas';

interface Row {
  version: number;
  updated_at: number;
  updated_by: string;
  zones: string;
}

interface Device {
  product_sku: string | null;
  config_version: number | null;
}

async function roleOf(c: Context<ApiApp>, device: string): Promise<string | undefined> {
  const row = await c.env.DB.prepare('SELECT role FROM device_access WHERE device_id = ? AND user_id = ?')
    .bind(device, c.get('user'))
    .first<{ role: string }>();
  return row?.role;
}

async function current(c: Context<ApiApp>, device: string) {
  const found = await c.env.DB.prepare('SELECT product_sku, config_version FROM devices WHERE device_id = ?').bind(device).first<Device>();
  const row = await c.env.DB.prepare('SELECT version, updated_at, updated_by, zones FROM zone_configurations WHERE device_id = ?')
    .bind(device)
    .first<Row>();
  return { device: found!, row };
}

function shown(device: string, row: Row | null, applied: number | null) {
  const version = row?.version ?? 0;
  return {
    device_id: device,
    version,
    updated_at: row ? new Date(row.updated_at).toISOString() : null,
    updated_by: row?.updated_by ?? null,
    zones: row ? JSON.parse(row.zones) : [],
    desired: version,
    applied: applied ?? 0,
    in_sync: version === (applied ?? 0),
  };
}

export async function getZones(c: Context<ApiApp>): Promise<Response> {
  const id = c.req.param('id') ?? '';
  if (!(await roleOf(c, id))) return problem(c, 404, 'you have no such device');
  const { device, row } = await current(c, id);
  c.header('etag', `"${row?.version ?? 0}"`);
  return c.json(shown(id, row, device.config_version));
}

export async function putZones(c: Context<ApiApp>): Promise<Response> {
  const id = c.req.param('id') ?? '';
  const ifMatch = c.req.header('if-match');
  if (!ifMatch) return problem(c, 428, 'If-Match must name a version');
  const role = await roleOf(c, id);
  if (!role) return problem(c, 404, 'you have no such device');
  if (role === 'viewer') return problem(c, 403, 'a viewer may not change the device');
  const { device, row } = await current(c, id);
  const expected = row?.version ?? 0;
  const stale = () => problem(c, 412, 'the zones were changed in the meantime');
  if (ifMatch !== '*' && !ifMatch.split(',').some((tag) => tag.trim() === `"${expected}"`)) return stale();

  const body = await c.req.json().catch(() => undefined);
  if (body === undefined) return problem(c, 400, 'The body must be JSON');
  const parsed = Zones.safeParse(body);
  if (!parsed.success) return invalid(c, parsed.error.issues);
  const { zones } = parsed.data;
  if (device.product_sku === 'rs1_lite' && zones.length > 0) return invalid(c, [{ path: ['zones'], message: 'an rs1_lite has no zones' }]);
  const faults = zones.flatMap((zone, index) => crossings(zone.vertices).map((fault) => ({ path: ['zones', index, 'vertices', fault.vertex], message: fault.message })));
  if (faults.length > 0) return invalid(c, faults);

  const now = Date.now();
  const next: Row = { version: expected + 1, updated_at: now, updated_by: c.get('user'), zones: JSON.stringify(zones) };
  const values = [id, next.version, now, next.updated_by, next.zones] as const;
  const written = await c.env.DB.prepare(
    `INSERT INTO zone_configurations (device_id, version, updated_at, updated_by, zones) VALUES (?1, ?2, ?3, ?4, ?5)
     ON CONFLICT (device_id) DO UPDATE SET version = ?2, updated_at = ?3, updated_by = ?4, zones = ?5 WHERE version = ?2 - 1`,
  )
    .bind(...values)
    .run();
  if (written.meta.changes === 0) return stale();
  await c.env.DB.prepare('INSERT INTO zone_versions (device_id, version, updated_at, updated_by, zones) VALUES (?1, ?2, ?3, ?4, ?5)').bind(...values).run();
  await c.env.DB.prepare('DELETE FROM zone_versions WHERE device_id = ? AND version <= ?').bind(id, next.version - 10).run();

  const payload = JSON.stringify({ version: next.version, updated_at: new Date(now).toISOString(), zones });
  const delivery = await publish(c, `opticworks/${id}/config/update`, payload);
  c.header('etag', `"${next.version}"`);
  return c.json({ ...shown(id, next, device.config_version), delivery });
}

async function publish(c: Context<ApiApp>, topic: string, payload: string): Promise<'sent' | 'pending'> {
  try {
    const answer = await fetch(`${c.env.EMQX_API_URL}/publish/bulk`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Basic ${btoa(c.env.EMQX_API_KEY)}` },
      body: JSON.stringify([{ topic, payload, qos: 1, retain: false }]),
      signal: AbortSignal.timeout(10_000),
    });
    const [outcome] = (await answer.json()) as { id?: string }[];
    return outcome?.id ? 'sent' : 'pending';
  } catch {
    return 'pending';
  }
}
