// POST /webhook/device-state and /webhook/device-offline.

import type { Context } from 'hono';
import { deviceOf } from './acl';
import type { App } from './env';
import { readMessage } from './message';
import { invalid, problem } from './problem';
import { Disconnected, State } from './schemas';

interface Times {
  state_at: number;
  presence_at: number;
}

function times(c: Context<App>, deviceId: string) {
  return c.env.DB.prepare('SELECT state_at, presence_at FROM devices WHERE device_id = ?').bind(deviceId).first<Times>();
}

export async function deviceState(c: Context<App>): Promise<Response> {
  const message = await readMessage(c);
  if (message instanceof Response) return message;
  const { deviceId, topic, receivedAt: at } = message;
  if (!topic.endsWith('/state')) return invalid(c, [{ path: ['topic'], message: 'must be a state topic' }]);
  const parsed = State.safeParse(message.payload);
  if (!parsed.success) return invalid(c, parsed.error.issues);
  const state = parsed.data;

  const known = await times(c, deviceId);
  if (!known) return problem(c, 404, 'no such device is enrolled');
  if (!state.online) return offline(c, deviceId, 'will', at, known);
  if (at < known.state_at) return stale(c);
  const online = at >= known.presence_at;
  await c.env.DB.prepare(
    `UPDATE devices SET state_at = ?2, last_seen_at = max(coalesce(last_seen_at, 0), ?2), firmware_version = ?3,
       product_sku = coalesce(product_sku, ?4), protocol_version = ?5, uptime_sec = ?6, wifi_rssi = ?7,
       config_version = coalesce(?8, config_version), zone_count = coalesce(?9, zone_count), radar_connected = ?10,
       boot_count = coalesce(?11, boot_count), reset_reason = coalesce(?12, reset_reason)
       ${online ? ', online = 1, offline_reason = NULL, presence_at = ?2' : ''}
     WHERE device_id = ?1 AND state_at <= ?2`,
  )
    .bind(
      deviceId,
      at,
      state.firmware_version,
      state.product_sku ?? null,
      state.protocol_version ?? null,
      state.uptime_sec ?? null,
      state.wifi_rssi ?? null,
      state.config_version ?? null,
      state.zone_count ?? null,
      state.radar_connected === undefined || state.radar_connected === null ? null : Number(state.radar_connected),
      state.boot_count ?? null,
      state.reset_reason ?? null,
    )
    .run();
  return c.body(null, 204);
}

export async function deviceOffline(c: Context<App>): Promise<Response> {
  const parsed = Disconnected.safeParse(await c.req.json().catch(() => undefined));
  if (!parsed.success) return invalid(c, parsed.error.issues);
  const { clientid, reason, disconnected_at } = parsed.data;
  const device = deviceOf(clientid.slice(0, 32), clientid);
  if (!device || reason === 'takenover' || reason === 'discarded') {
    c.set('note', `ignored: ${reason}`);
    return c.body(null, 204);
  }
  const known = await times(c, device);
  if (!known) return problem(c, 404, 'no such device is enrolled');
  return offline(c, device, reason, disconnected_at, known);
}

async function offline(c: Context<App>, deviceId: string, reason: string, at: number, known: Times): Promise<Response> {
  if (at < known.presence_at) return stale(c);
  await c.env.DB.prepare('UPDATE devices SET online = 0, offline_reason = ?3, presence_at = ?2 WHERE device_id = ?1 AND presence_at <= ?2')
    .bind(deviceId, at, reason)
    .run();
  return c.body(null, 204);
}

function stale(c: Context<App>): Response {
  c.set('note', 'stale: something newer is known');
  return c.body(null, 204);
}
