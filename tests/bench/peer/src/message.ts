// A message from a device, out of a rule's webhook.

import type { Context } from 'hono';
import { fromBase64 } from './bytes';
import type { App } from './env';
import { invalid, problem } from './problem';
import { Message } from './schemas';

const decoder = new TextDecoder();

export interface Received {
  id: string;
  deviceId: string;
  clientId: string | null;
  topic: string;
  receivedAt: number;
  /** As the device sent it. */
  text: string;
  /** The same, parsed. */
  payload: unknown;
}

/** Reads the request; gives the answer instead if it is no message. */
export async function readMessage(c: Context<App>): Promise<Received | Response> {
  const body = await c.req.json().catch(() => undefined);
  if (body === undefined) return problem(c, 400, 'The body must be JSON');
  const parsed = Message.safeParse(body);
  if (!parsed.success) return invalid(c, parsed.error.issues);
  const { id, topic, clientid, payload, payload_b64, publish_received_at } = parsed.data;
  // The exact bytes, if the rule sends them: EMQX replaces in the string what is not UTF-8.
  const text = payload_b64 !== undefined ? decoder.decode(fromBase64(payload_b64)!) : typeof payload === 'string' ? payload : JSON.stringify(payload);
  if (text === undefined) return invalid(c, [{ path: ['payload'], message: 'is required (or payload_b64)' }]);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return invalid(c, [{ path: [], message: 'the payload must be JSON' }]);
  }
  const deviceId = topic.split('/')[1]!;
  return { id, deviceId, clientId: clientid ?? null, topic, receivedAt: publish_received_at ?? Date.now(), text, payload: value };
}
