// `npm run -s token -- --user EMAIL | --admin EMAIL`: a bearer token for the running stack, and nothing else on stdout.

import { resolve } from 'node:path';
import { httpClient } from './lib/http.mjs';
import { misuse, readOptions, span } from './lib/options.mjs';
import { STATE, runningStack } from './lib/stack-file.mjs';
import { Trouble, command } from './lib/trouble.mjs';

const HELP = `npm run -s token -- --user EMAIL | --admin EMAIL: prints a bearer token for the running stack

  --user EMAIL    signs a user in and prints their access token, good for five minutes
  --admin EMAIL   what Cloudflare Access gives an operator
  --id-token      with --user: the ID token of their identity provider instead, which POST /api/auth/session takes
  --ttl LENGTH    how long an operator's token or an ID token is good for, as 90s, 15m, 8h (1h)
  --state DIR     the state of the stack that is meant (.local/)
  --help          this

For example: curl -H "Authorization: Bearer $(npm run -s token -- --admin you@example.com)" http://api.localhost:8787/api/admin/devices
`;

const string = { type: 'string' };
const options = { user: string, admin: string, 'id-token': { type: 'boolean' }, ttl: { ...string, default: '1h' }, state: string };
const USAGE = { text: HELP, options };

await command(async () => {
  const { values, help } = readOptions(USAGE);
  if (help) return;
  const { user, admin } = values;
  if ((user === undefined) === (admin === undefined)) throw misuse('say either --user EMAIL or --admin EMAIL', HELP);
  const ttl = span(values, 'ttl', HELP);
  const idTokenOnly = values['id-token'] ?? false;
  if (idTokenOnly && user === undefined) throw misuse('only a user has an ID token', HELP);
  const { ports } = await runningStack(values.state ? resolve(values.state) : STATE);
  const idp = httpClient({ port: ports.idp });
  const api = httpClient({ port: ports.http });
  try {
    const host = admin === undefined ? 'accounts.localhost' : 'identity.localhost';
    const { status, json, text } = await idp('POST', '/token', { host, body: { email: admin ?? user, ttl } });
    if (status !== 200) throw new Trouble(`the identity provider answers ${status}: ${json?.error ?? text}`);
    const bearer = user === undefined || idTokenOnly ? json.token : await signIn(api, json.token);
    process.stdout.write(`${bearer}\n`);
  } finally {
    idp.close();
    api.close();
  }
});

/** Exchanges an ID token for an access token, as the app does. */
async function signIn(api, id_token) {
  const { status, json, text } = await api('POST', '/api/auth/session', { body: { id_token } });
  if (status !== 201) throw new Trouble(`signing in answers ${status}: ${json?.detail ?? text}`);
  return json.access_token;
}
