// The device API in plain TypeScript: a person's devices, and their zones.

import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import { device, devices } from './devices';
import type { ApiApp } from './env';
import { observe } from './observe';
import { person } from './person';
import { problem } from './problem';
import { getZones, putZones } from './zones';

const app = new Hono<ApiApp>();

app.use(observe);
app.use('/api/*', (c, next) => cors({ origin: c.env.APP_ORIGINS.split(' '), exposeHeaders: ['etag', 'x-request-id'] })(c, next));
app.get('/api/health', (c) => c.json({ status: 'ok', version: '0.1.0' }));
app.use('/api/*', person);
app.get('/api/devices', devices);
app.get('/api/devices/:id', device);
app.get('/api/devices/:id/zones', getZones);
app.put('/api/devices/:id/zones', bodyLimit({ maxSize: 64 * 1024, onError: (c) => problem(c, 413, 'The body may have 65536 bytes') }), putZones);
app.notFound((c) => problem(c, 404, 'there is no such resource'));
app.onError((error, c) => {
  c.set('note', error.message);
  return problem(c, 503, 'Not available right now');
});

export default app;
