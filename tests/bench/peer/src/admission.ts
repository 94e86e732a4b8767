// POST /webhook/mqtt-auth and /webhook/mqtt-acl.

import type { Context } from 'hono';
import { deviceOf, rules, violation } from './acl';
import { parsePassword, unseal, verifyPassword } from './credential';
import type { App } from './env';
import { problem } from './problem';
import { Authentication, Authorization } from './schemas';

const WINDOW = 10 * 60_000;

export async function authenticate(c: Context<App>): Promise<Response> {
  const parsed = Authentication.safeParse(await c.req.json().catch(() => undefined));
  if (!parsed.success) return problem(c, 400, 'The body must be a JSON object of strings');
  const { clientid, username, password, peerhost } = parsed.data;
  const device = deviceOf(username, clientid);
  if (!device) return refuse(c, peerhost, 'client');
  const row = await c.env.DB.prepare('SELECT sealed_key FROM devices WHERE device_id = ?').bind(device).first<{ sealed_key: string }>();
  // An unknown device costs about the same work as a known one.
  const key = row ? await unseal(c.env.DEVICE_KEK, row.sealed_key, device) : crypto.getRandomValues(new Uint8Array(32));
  const good = await verifyPassword(key, device, parsePassword(password) ?? new Uint8Array(32), Date.now());
  if (!row || !good) return refuse(c, peerhost, row ? 'password' : 'unknown_device');
  return c.json({ result: 'allow', is_superuser: false, acl: rules(device) });
}

async function refuse(c: Context<App>, peerhost: string, reason: string): Promise<Response> {
  c.set('note', `refused: ${reason}`);
  const now = Date.now();
  await c.env.DB.prepare('INSERT INTO auth_failures (peerhost, failed_at) VALUES (?, ?)').bind(peerhost, now).run();
  const recent = await c.env.DB.prepare('SELECT count(*) AS failures FROM auth_failures WHERE peerhost = ? AND failed_at > ?')
    .bind(peerhost, now - WINDOW)
    .first<{ failures: number }>();
  if (recent?.failures === 6) await report(c, 'auth_failure_repeated', 'high', peerhost, peerhost, { failures: 6 });
  return c.json({ result: 'deny', is_superuser: false });
}

export async function authorize(c: Context<App>): Promise<Response> {
  const parsed = Authorization.safeParse(await c.req.json().catch(() => undefined));
  if (!parsed.success) return problem(c, 400, 'The body must be a JSON object of strings');
  const { clientid, username, peerhost, action, topic } = parsed.data;
  const reason = violation(username, clientid, action, topic);
  if (reason) {
    c.set('note', `refused: ${reason}`);
    await report(c, 'acl_violation', 'warning', username, peerhost, { reason, action, topic, client_id: clientid });
  }
  return c.json({ result: reason ? 'deny' : 'allow' });
}

async function report(c: Context<App>, kind: string, severity: string, subject: string, peerhost: string, detail: object) {
  await c.env.DB.prepare('INSERT INTO security_log (kind, severity, subject, peerhost, detail, at) VALUES (?, ?, ?, ?, ?, ?)')
    .bind(kind, severity, subject, peerhost, JSON.stringify(detail), Date.now())
    .run();
}
