// One log line and one analytics point a request, and the headers that every answer has.

import type { MiddlewareHandler } from 'hono';
import { routePath } from 'hono/route';
import type { App } from './env';

export const observe: MiddlewareHandler<App> = async (c, next) => {
  const started = Date.now();
  const given = c.req.header('x-request-id');
  const requestId = given !== undefined && /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : crypto.randomUUID();
  c.set('requestId', requestId);
  // Before the answer is made: Hono copies a finished one for each header set on it.
  c.header('x-request-id', requestId);
  if (c.req.method === 'GET') {
    c.header('x-content-type-options', 'nosniff');
    c.header('cache-control', 'no-store');
  }

  await next();

  const { status } = c.res;
  const route = routePath(c, -1);
  const duration = Date.now() - started;
  const level = status >= 500 ? 'error' : status >= 400 ? 'warn' : 'info';
  const line = {
    ts: new Date(started).toISOString(),
    level,
    worker: 'peer',
    request_id: requestId,
    method: c.req.method,
    route,
    status,
    duration_ms: duration,
    log: c.get('note'),
  };
  console[level === 'info' ? 'log' : level](JSON.stringify(line));
  const colo = c.req.header('cf-ray')?.split('-')[1] ?? (c.req.raw as { cf?: { colo?: string } }).cf?.colo ?? '';
  c.env.ANALYTICS?.writeDataPoint({
    indexes: ['peer'],
    blobs: [route, c.req.method, `${Math.floor(status / 100)}xx`, colo, c.env.ENVIRONMENT],
    doubles: [status, duration],
  });
};
