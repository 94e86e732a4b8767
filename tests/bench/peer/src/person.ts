// Who is asking: an access token (JWT, HS256), and whether they ask too often.

import type { MiddlewareHandler } from 'hono';
import { verify } from 'hono/jwt';
import type { ApiApp } from './env';
import { problem } from './problem';

export const person: MiddlewareHandler<ApiApp> = async (c, next) => {
  const token = /^bearer (.+)$/i.exec(c.req.header('authorization') ?? '')?.[1];
  if (!token) return problem(c, 401, 'an access token is needed');
  let claims;
  try {
    claims = await verify(token, c.env.JWT_SECRET, 'HS256');
  } catch {
    return problem(c, 401, 'the access token is not good');
  }
  if (claims.aud !== 'rs1-api' || typeof claims.sub !== 'string') return problem(c, 401, 'the access token is not good');
  const { success } = await c.env.RATE_LIMIT.limit({ key: `user:${claims.sub}` });
  if (!success) return problem(c, 429, 'this is one request too many for a minute');
  c.set('user', claims.sub);
  return next();
};
