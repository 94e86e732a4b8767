// `npm run -s token -- --user EMAIL | --admin EMAIL`: a bearer token for the running stack, and nothing else on stdout.

import { resolve } from 'node:path';
import { httpClient } from './lib/http.mjs';
import { misuse, readOptions, span } from './lib/options.mjs';
import { STATE, runningStack } from './lib/stack-file.mjs';
import { Trouble, command } from './lib/trouble.mjs';

const HELP = `npm run -s token -- --user EMAIL | --admin EMAIL: prints a bearer token for the running stack

  --user EMAIL    an ID token from the users' identity provider
  --admin EMAIL   what Cloudflare Access gives an operator
  --ttl LENGTH    how long it is good for, as 90s, 15m, 8h (1h)
  --state DIR     the state of the stack that is meant (.local/)
  --help          this

For example: curl -H "Authorization: Bearer $(npm run -s token -- --admin you@example.com)" http://api.localhost:8787/api/admin/devices
`;

const string = { type: 'string' };
const USAGE = { text: HELP, options: { user: string, admin: string, ttl: { ...string, default: '1h' }, state: string } };

await command(async () => {
  const { values, help } = readOptions(USAGE);
  if (help) return;
  const { user, admin } = values;
  if ((user === undefined) === (admin === undefined)) throw misuse('say either --user EMAIL or --admin EMAIL', HELP);
  const ttl = span(values, 'ttl', HELP);
  const { ports } = await runningStack(values.state ? resolve(values.state) : STATE);
  const idp = httpClient({ port: ports.idp });
  try {
    const host = admin === undefined ? 'accounts.localhost' : 'identity.localhost';
    const { status, json, text } = await idp('POST', '/token', { host, body: { email: admin ?? user, ttl } });
    if (status !== 200) throw new Trouble(`the identity provider answers ${status}: ${json?.error ?? text}`);
    process.stdout.write(`${json.token}\n`);
  } finally {
    idp.close();
  }
});
