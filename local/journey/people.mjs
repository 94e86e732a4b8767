// People: a device finds its buyer, who names it and lets somebody else in.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../../tools/lib/paths.mjs';
import { equal, like, problem, status } from './expect.mjs';
import { connect } from './mqtt.mjs';

const OWNER = 'ada@example.com';
const GUEST = 'bob@example.com';

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const PEOPLE = {
  title: 'people',
  steps: [
    {
      name: 'npm run token signs a user in, who is known from then on',
      async run(traveller) {
        const args = [join(ROOT, 'local', 'token.mjs'), '--user', OWNER, '--state', traveller.stack.directory];
        const { stdout } = await promisify(execFile)(process.execPath, args);
        like('the token', stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
        traveller.owner = as(traveller, stdout.trim());
        const me = await traveller.owner('GET', '/api/me');
        status(me, 200);
        equal('their address', me.json.email, OWNER);
        traveller.user = me.json;
        problem(await traveller.owner('GET', `/api/devices/${traveller.device.id}`), 404);
      },
    },
    {
      name: 'the device reports for duty and hears that its buyer owns it',
      async run(traveller) {
        const { stack, admin, device, owner, user } = traveller;
        const order = { order_id: 'R-1001', mac_address: device.mac, email: OWNER, shipped_at: new Date().toISOString() };
        status(await admin('POST', '/api/admin/orders/bulk', { body: JSON.stringify(order) }), 200);
        const { client } = await connect({ port: stack.ports.mqtt, version: 5, username: device.id, password: device.password() });
        try {
          const topic = `opticworks/${device.id}/provision/response`;
          equal('SUBACK', await client.subscribe(topic), 1);
          const answer = client.next(topic);
          const report = { device_id: device.id, mac_address: device.mac, firmware_version: '1.2.2', timestamp: new Date().toISOString() };
          await client.publish(`opticworks/${device.id}/provision`, report);
          const { status: outcome, owner: id } = await answer;
          equal('the answer', { outcome, id }, { outcome: 'registered', id: user.user_id });
        } finally {
          await client.disconnect();
        }
        const { json } = await owner('GET', '/api/devices');
        equal('their devices', json.items.map(({ device_id, role }) => [device_id, role]), [[device.id, 'owner']]);
      },
    },
    {
      name: 'they give it a name; a change made from an older version is refused',
      async run({ owner, device }) {
        const path = `/api/devices/${device.id}`;
        const { headers } = await owner('GET', path);
        const rename = (name) => owner('PATCH', path, { body: { name }, headers: { 'if-match': headers.etag } });
        const renamed = await rename('Bedroom');
        status(renamed, 200);
        equal('its name', renamed.json.name, 'Bedroom');
        const stale = await rename('Kitchen');
        problem(stale, 412);
        equal('what is there now', stale.json.current.name, 'Bedroom');
      },
    },
    {
      name: 'they share it with somebody who has not signed in yet, who sees it then and may not change it',
      async run(traveller) {
        const { owner, device } = traveller;
        const path = `/api/devices/${device.id}`;
        const shared = await owner('POST', `${path}/shares`, { body: { email: GUEST, role: 'viewer' } });
        status(shared, 201);
        equal('pending', shared.json.pending, true);
        const guest = as(traveller, await signIn(traveller, GUEST));
        const seen = await guest('GET', path);
        status(seen, 200);
        equal('their role', seen.json.role, 'viewer');
        problem(await guest('PATCH', path, { body: { name: 'Mine' }, headers: { 'if-match': seen.headers.etag } }), 403);
        problem(await guest('DELETE', path), 403);
      },
    },
    {
      name: 'a used refresh token ends its session',
      async run({ stack, api }) {
        const id_token = await stack.idp.userToken({ email: 'eve@example.com' });
        const { json: first } = await api('POST', '/api/auth/session', { body: { id_token } });
        const refresh = () => api('POST', '/api/auth/refresh', { body: { refresh_token: first.refresh_token } });
        const second = await refresh();
        status(second, 200);
        problem(await refresh(), 401);
        problem(await api('POST', '/api/auth/refresh', { body: { refresh_token: second.json.refresh_token } }), 401);
      },
    },
  ],
};

const as = ({ api }, token) => (method, path, options) => api(method, path, { token, ...options });

async function signIn({ stack, api }, email) {
  const answer = await api('POST', '/api/auth/session', { body: { id_token: await stack.idp.userToken({ email }) } });
  status(answer, 201);
  return answer.json.access_token;
}
