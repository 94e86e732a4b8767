// The webhook secret.

import type { MiddlewareHandler } from 'hono';
import type { App } from './env';
import { problem } from './problem';

const encoder = new TextEncoder();

/** In constant time, as Cloudflare's documentation does it. */
function same(given: string, wanted: string): boolean {
  const a = encoder.encode(given);
  const b = encoder.encode(wanted);
  // @ts-expect-error timingSafeEqual is the runtime's own
  return a.byteLength === b.byteLength ? crypto.subtle.timingSafeEqual(a, b) : !crypto.subtle.timingSafeEqual(a, a);
}

export const webhookSecret: MiddlewareHandler<App> = async (c, next) => {
  const given = c.req.header('x-webhook-secret') ?? '';
  const { WEBHOOK_SECRET, WEBHOOK_SECRET_PREVIOUS } = c.env;
  if (!same(given, WEBHOOK_SECRET) && !(WEBHOOK_SECRET_PREVIOUS && same(given, WEBHOOK_SECRET_PREVIOUS))) {
    return problem(c, 401, 'X-Webhook-Secret is missing or not good');
  }
  return next();
};
