// Whom the system tells things, played by this process as the real ones would: PagerDuty's Events API v2, Slack's incoming
// webhook, and a receiver of our signed webhook. Each refuses what the real one would refuse, and remembers what it was told.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { Response } from 'miniflare';

export const RECEIVERS = { 'pagerduty.localhost': 'pagerduty', 'slack.localhost': 'slack', 'receiver.localhost': 'webhook' };

/** How far the time of a signature may lie from ours, in seconds. */
const WINDOW_SEC = 300;
const SEVERITIES = ['critical', 'error', 'warning', 'info'];

/**
 * @typedef {object} Told
 * @property {'pagerduty' | 'slack' | 'webhook'} channel
 * @property {string} action `trigger`, `acknowledge`, `resolve`, `info`; Slack is told `message`
 * @property {string} about the `dedup_key`; of Slack the text
 * @property {string} summary one line
 * @property {any} body as it was sent
 * @property {string | undefined} id the notice's
 */

/** An answer that the real one gives to what is wrong. */
class Refusal extends Error {
  constructor(status, body) {
    super(`${status} ${typeof body === 'string' ? body : JSON.stringify(body)}`);
    this.answer = () => (typeof body === 'string' ? new Response(body, { status }) : Response.json(body, { status }));
  }
}

/**
 * @param {object} options
 * @param {Record<string, string>} options.secrets those that the health worker was given
 * @param {(told: Told) => void} [options.onTold]
 * @param {(line: string) => void} [options.onRefused] what was refused, and why
 */
export function startReceivers({ secrets, onTold = () => {}, onRefused = () => {} }) {
  /** @type {Told[]} */
  const told = [];
  /** Requests, taken or not. */
  const tried = { pagerduty: 0, slack: 0, webhook: 0 };
  const behaviours = {};
  const seen = new Set();
  /** PagerDuty's alerts by `dedup_key`: what became of each, and how often it was triggered. @type {Map<string, { state: string, triggers: number }>} */
  const alerts = new Map();

  const players = {
    async pagerduty(request, url) {
      const event = await json(request, 'invalid event');
      const errors = url.pathname === '/v2/enqueue' && request.method === 'POST' ? eventFaults(event) : [`there is no ${request.method} ${url.pathname}`];
      if (event.routing_key !== secrets.PAGERDUTY_ROUTING_KEY) errors.push("'routing_key' is not that of an integration");
      if (errors.length > 0) throw new Refusal(400, { status: 'invalid event', message: 'Event object is invalid', errors });
      const { event_action: action, dedup_key: key } = event;
      const alert = alerts.get(key) ?? { state: 'unknown', triggers: 0 };
      if (action === 'trigger') alerts.set(key, { state: alert.state === 'acknowledged' ? 'acknowledged' : 'triggered', triggers: alert.triggers + 1 });
      // What is not open cannot be acknowledged or resolved: it is taken, and nothing follows.
      else if (['triggered', 'acknowledged'].includes(alert.state)) alert.state = `${action}d`;
      return {
        told: { action, about: key, summary: event.payload?.summary ?? key, body: event, id: event.payload?.custom_details?.notice_id },
        answer: () => Response.json({ status: 'success', message: 'Event processed', dedup_key: key }, { status: 202 }),
      };
    },

    async slack(request, url) {
      if (String(url) !== secrets.SLACK_WEBHOOK_URL) throw new Refusal(404, 'no_service');
      const body = await json(request, 'invalid_payload');
      if (typeof body.text !== 'string' || body.text === '') throw new Refusal(400, 'no_text');
      const [summary] = body.text.split('\n');
      return { told: { action: 'message', about: body.text, summary, body, id: /\bntc-[0-9A-Z]+/.exec(body.text)?.[0] }, answer: () => new Response('ok') };
    },

    async webhook(request) {
      const text = await request.text();
      const fault = signatureFault(request.headers.get('x-rs1-signature') ?? '', text, secrets);
      if (fault) throw new Refusal(401, fault);
      const body = parse(text, 'no JSON');
      const missing = ['version', 'id', 'origin', 'source', 'dedup_key', 'action', 'severity', 'component', 'summary', 'at', 'detail'].filter((name) => body[name] === undefined);
      if (missing.length > 0) throw new Refusal(400, `missing: ${missing.join(', ')}`);
      const id = request.headers.get('x-rs1-notice-id');
      if (id !== body.id) throw new Refusal(400, 'the header names another notice');
      const answer = () => new Response(null, { status: 204 });
      // The same notice again is taken, and nothing follows.
      if (seen.has(id)) return { answer };
      seen.add(id);
      return { told: { action: body.action, about: body.dedup_key, summary: body.summary, body, id }, answer };
    },
  };

  /** `intercept` of outbound.mjs. */
  const intercept = async (request, url) => {
    const channel = RECEIVERS[url.hostname];
    if (!channel) return undefined;
    tried[channel] += 1;
    const take = async () => {
      try {
        const taken = await players[channel](request, url);
        if (taken.told) {
          const one = { channel, ...taken.told };
          told.push(one);
          onTold(one);
        }
        return taken.answer();
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        onRefused(`${channel} refused: ${error.message}`);
        return error.answer();
      }
    };
    return behaviours[channel] ? behaviours[channel](take, request) : take();
  };

  return {
    intercept,
    told,
    tried,
    alerts,
    /** What a channel was told: `[action, about]`. @param {string} channel */
    of: (channel) => told.filter((one) => one.channel === channel).map(({ action, about }) => [action, about]),
    /**
     * Has a channel behave otherwise from now on, or as it should.
     * @param {string} channel
     * @param {((take: () => Promise<Response>, request: Request) => Promise<Response>) | null} behaviour
     */
    behave(channel, behaviour) {
      behaviours[channel] = behaviour ?? undefined;
    },
    forget() {
      told.length = 0;
      for (const channel of Object.keys(tried)) tried[channel] = 0;
    },
  };
}

/** What the Events API says of an event. */
function eventFaults(event) {
  const errors = [];
  const text = (value, most) => typeof value === 'string' && value.length > 0 && value.length <= most;
  if (!text(event.routing_key, 32) || event.routing_key.length !== 32) errors.push("Length of 'routing_key' is incorrect (should be 32 characters)");
  if (!['trigger', 'acknowledge', 'resolve'].includes(event.event_action)) errors.push("'event_action' is invalid");
  if (!text(event.dedup_key, 255)) errors.push("'dedup_key' is missing or too long");
  if (event.event_action !== 'trigger') return errors;
  const { summary, source, severity, timestamp } = event.payload ?? {};
  if (!text(summary, 1024)) errors.push("'payload.summary' is missing or blank or too long");
  if (!text(source, 1024)) errors.push("'payload.source' is missing or blank");
  if (!SEVERITIES.includes(severity)) errors.push("'payload.severity' is invalid");
  if (timestamp !== undefined && Number.isNaN(Date.parse(timestamp))) errors.push("'payload.timestamp' is invalid");
  return errors;
}

/** What is wrong with a signature, as a careful receiver sees it. @returns {string | null} */
function signatureFault(header, body, secrets) {
  const match = /^t=(\d+)((?:,v1=[0-9a-f]{64})+)$/.exec(header);
  if (!match) return 'there is no signature';
  const [, seconds, tags] = match;
  if (Math.abs(Date.now() / 1000 - Number(seconds)) > WINDOW_SEC) return 'it was signed too long ago';
  const expected = createHmac('sha256', secrets.NOTICE_WEBHOOK_SECRET).update(`${seconds}.${body}`).digest();
  const good = tags.slice(1).split(',').some((tag) => timingSafeEqual(Buffer.from(tag.slice(3), 'hex'), expected));
  return good ? null : 'the signature is another';
}

const json = async (request, refusal) => {
  if (!request.headers.get('content-type')?.startsWith('application/json')) throw new Refusal(415, refusal);
  return parse(await request.text(), refusal);
};

function parse(text, refusal) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, refusal);
  }
}
