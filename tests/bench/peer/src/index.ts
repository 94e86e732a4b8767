// The telemetry worker in plain TypeScript; see ../README.md.

import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { authenticate, authorize } from './admission';
import type { App } from './env';
import { observe } from './observe';
import { problem } from './problem';
import { webhookSecret } from './secret';
import { deviceOffline, deviceState } from './state';
import { telemetry } from './telemetry';

const limit = (maxSize: number) => bodyLimit({ maxSize, onError: (c) => problem(c, 413, `The body may have ${maxSize} bytes`) });
const admissionLimit = limit(16 * 1024);
const webhookLimit = limit(256 * 1024);

const app = new Hono<App>();

app.use(observe);
app.get('/webhook/health', (c) => c.json({ status: 'ok', version: '0.1.0' }));
app.use('/webhook/*', webhookSecret);
app.post('/webhook/mqtt-auth', admissionLimit, authenticate);
app.post('/webhook/mqtt-acl', admissionLimit, authorize);
app.post('/webhook/device-state', webhookLimit, deviceState);
app.post('/webhook/device-offline', webhookLimit, deviceOffline);
app.post('/webhook/telemetry', webhookLimit, telemetry);
app.notFound((c) => problem(c, 404, 'there is no such resource'));
app.onError((error, c) => {
  c.set('note', error.message);
  // EMQX sends again what is answered with 503.
  return problem(c, 503, 'Not available right now');
});

export default app;
