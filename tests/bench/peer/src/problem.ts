// Errors as callers see them: RFC 9457 problem documents.

import type { Context } from 'hono';
import type { App } from './env';

const KINDS = {
  400: ['malformed', 'The request cannot be read'],
  401: ['unauthenticated', 'Credentials are missing or not good'],
  403: ['forbidden', 'Not allowed'],
  404: ['not-found', 'Not found'],
  405: ['method-not-allowed', 'The resource does not take this method'],
  413: ['too-large', 'The body is too large'],
  412: ['precondition-failed', 'It was changed in the meantime'],
  422: ['invalid', 'The request is not valid'],
  428: ['precondition-required', 'The change must say what it was made from'],
  429: ['too-many-requests', 'Too many requests'],
  500: ['internal', 'Something went wrong on our side'],
  503: ['unavailable', 'Not available right now'],
} as const;

export interface Fault {
  pointer: string;
  detail: string;
}

export function problem(c: Context<App>, status: keyof typeof KINDS, detail: string, errors?: Fault[]): Response {
  const [kind, title] = KINDS[status];
  const body = { type: `urn:rs1:problem:${kind}`, title, status, detail, request_id: c.get('requestId'), ...(errors ? { errors } : {}) };
  return c.body(JSON.stringify(body), status, { 'content-type': 'application/problem+json' });
}

/** 422 with everything that zod found. */
export function invalid(c: Context<App>, issues: readonly { path: PropertyKey[]; message: string }[]): Response {
  const errors = issues.map(({ path, message }) => ({ pointer: path.map((part) => `/${String(part)}`).join(''), detail: message }));
  return problem(c, 422, 'The request is not valid', errors);
}
