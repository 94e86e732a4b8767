// POST /webhook/telemetry.

import type { Context } from 'hono';
import type { App } from './env';
import { readMessage } from './message';
import { invalid, problem } from './problem';
import { Telemetry } from './schemas';

const HOUR = 3_600_000;

export async function telemetry(c: Context<App>): Promise<Response> {
  const message = await readMessage(c);
  if (message instanceof Response) return message;
  const { id, deviceId, topic, receivedAt } = message;
  const parsed = Telemetry.safeParse(message.payload);
  if (!parsed.success) return invalid(c, parsed.error.issues);
  const { device_id, timestamp, metrics } = parsed.data;
  if (device_id !== deviceId) return invalid(c, [{ path: ['device_id'], message: 'must be the device of the topic' }]);
  const { DB, ARCHIVES } = c.env;

  const known = await DB.prepare('SELECT 1 AS known FROM telemetry_messages WHERE message_id = ?').bind(id).first();
  if (known) {
    c.set('note', 'repeated');
    return c.body(null, 202);
  }

  const time = new Date(timestamp);
  const key = `telemetry/${time.toISOString().slice(0, 10)}/${deviceId}/${id}.json`;
  const archived = { id, device_id: deviceId, topic, time: time.toISOString(), received_at: receivedAt, payload: message.payload };
  await ARCHIVES.put(key, JSON.stringify(archived), { httpMetadata: { contentType: 'application/json' } });

  const updated = await DB.prepare(
    'UPDATE devices SET last_telemetry_at = max(coalesce(last_telemetry_at, 0), ?2), last_seen_at = max(coalesce(last_seen_at, 0), ?2) WHERE device_id = ?1',
  )
    .bind(deviceId, receivedAt)
    .run();
  if (updated.meta.changes === 0) return problem(c, 404, 'no such device is enrolled');

  const hour = Math.floor(time.getTime() / HOUR);
  const names = Object.keys(metrics);
  if (names.length > 0) {
    const rows = names.map((_, i) => `(?1, ?2, ?${2 * i + 3}, 1, ?${2 * i + 4}, ?${2 * i + 4}, ?${2 * i + 4}, ?${2 * i + 4})`).join(', ');
    await DB.prepare(
      `INSERT INTO telemetry_hourly (device_id, hour, metric, count, sum, min, max, last) VALUES ${rows}
       ON CONFLICT (device_id, hour, metric) DO UPDATE SET count = count + 1, sum = sum + excluded.sum,
         min = min(min, excluded.min), max = max(max, excluded.max), last = excluded.last`,
    )
      .bind(deviceId, hour, ...names.flatMap((name) => [name, metrics[name]!]))
      .run();
  }

  await DB.prepare('INSERT INTO telemetry_messages (message_id, device_id, received_at, object_key) VALUES (?, ?, ?, ?)')
    .bind(id, deviceId, receivedAt, key)
    .run();
  return c.body(null, 202);
}
