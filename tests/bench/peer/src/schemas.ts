// What comes in (contract, section 3, and EMQX's own bodies).

import { z } from 'zod';

export const Authentication = z.object({
  clientid: z.string().default(''),
  username: z.string().default(''),
  password: z.string().default(''),
  peerhost: z.string().default(''),
});

export const Authorization = z.object({
  clientid: z.string().default(''),
  username: z.string().default(''),
  peerhost: z.string().default(''),
  action: z.string().default(''),
  topic: z.string().default(''),
});

/** A rule's SELECT; the payload comes as exact bytes, as text, or decoded. */
export const Message = z.object({
  id: z.string().min(1).max(64),
  clientid: z.string().nullish(),
  topic: z.string().regex(/^opticworks\/[0-9a-f]{32}\/[^+#]+$/, 'must be a topic of a device'),
  payload: z.union([z.string(), z.record(z.string(), z.unknown())]).optional(),
  payload_b64: z.base64().optional(),
  publish_received_at: z.int().optional(),
});

export const Disconnected = z.object({
  clientid: z.string(),
  reason: z.string(),
  disconnected_at: z.int(),
});

const version = z.string().regex(/^\d+\.\d+\.\d+(-[a-zA-Z0-9.]+)?$/);
const time = z.iso.datetime({ offset: true });
const count = z.int().min(0);

export const State = z.object({
  online: z.boolean(),
  firmware_version: version,
  last_seen: time,
  protocol_version: z.string().regex(/^\d+\.\d+$/).nullish(),
  product_sku: z.enum(['rs1_lite', 'rs1_pro']).nullish(),
  uptime_sec: count.nullish(),
  wifi_rssi: z.int().min(-100).max(0).nullish(),
  config_version: count.nullish(),
  zone_count: z.int().min(0).max(16).nullish(),
  radar_connected: z.boolean().nullish(),
  boot_count: count.nullish(),
  reset_reason: z.enum(['power_on', 'software', 'watchdog', 'brownout', 'panic', 'unknown']).nullish(),
});

export const Telemetry = z.object({
  device_id: z.string(),
  timestamp: time,
  metrics: z.record(z.string().regex(/^[a-z_]+\.[a-z_]+$/), z.number()),
  firmware_version: version.nullish(),
  uptime_sec: count.nullish(),
  logs: z
    .array(z.object({ ts: count, lvl: z.enum(['E', 'W', 'I', 'D', 'V']), tag: z.string().max(16), msg: z.string().max(128) }))
    .max(100)
    .nullish(),
});

export const Page = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().regex(/^[0-9a-f]{32}$/).default(''),
  online: z.enum(['true', 'false']).optional(),
  firmware_version: z.string().optional(),
  q: z.string().optional(),
});

const Vertex = z.tuple([z.int().min(-6000).max(6000), z.int().min(0).max(6000)]);

export const Zones = z.strictObject({
  version: z.int().min(1).optional(),
  updated_at: time.optional(),
  zones: z
    .array(
      z.strictObject({
        id: z.string().regex(/^[a-z0-9_]{1,16}$/),
        name: z.string().max(32),
        type: z.enum(['include', 'exclude']),
        vertices: z.array(Vertex).min(3).max(8),
        sensitivity: z.int().min(0).max(100),
      }),
    )
    .max(16)
    .refine((zones) => new Set(zones.map(({ id }) => id)).size === zones.length, 'ids must differ'),
});
