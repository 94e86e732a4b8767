// Zones: their owner draws them, a simulated RS-1 puts them to use and says so; and it tells an operator about itself.

import { startDevice } from '../lib/parts.mjs';
import { makeDevice } from '../lib/credentials.mjs';
import { eventually } from '../lib/wait.mjs';
import { equal, problem, status } from './expect.mjs';

const OWNER = 'grace@example.com';
const SOFA = { id: 'sofa', name: 'Sofa', type: 'include', vertices: [[-1000, 500], [1000, 500], [1000, 2500], [-1000, 2500]], sensitivity: 60 };
const DOOR = { id: 'door', name: 'Door', type: 'exclude', vertices: [[1500, 0], [2500, 0], [2000, 800]], sensitivity: 20 };

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const ZONES = {
  title: 'zones',
  steps: [
    {
      name: 'a simulated RS-1 comes, and support gives it to somebody who has signed in',
      async run(traveller) {
        const { stack, api, admin } = traveller;
        const id_token = await stack.idp.userToken({ email: OWNER });
        const session = await api('POST', '/api/auth/session', { body: { id_token } });
        status(session, 201);
        const sensor = makeDevice();
        const program = startDevice({ device: sensor, ports: stack.ports, state: stack.directory });
        const path = `/api/devices/${sensor.id}/zones`;
        const token = session.json.access_token;
        traveller.zones = {
          sensor,
          program,
          get: () => api('GET', path, { token }),
          put: (etag, zones) => api('PUT', path, { token, headers: { 'if-match': etag }, body: { zones } }),
          restore: (version) => api('POST', `${path}/restore/${version}`, { token }),
        };
        await orEnd(traveller, 'the sensor to be online', async () => {
          const answer = await admin('GET', `/api/admin/devices/${sensor.id}`);
          return answer.json?.online;
        });
        const claim = { email: OWNER, reason: 'a step of the journey' };
        status(await admin('POST', `/api/admin/devices/${sensor.id}/claim`, { body: claim }), 200);
        return sensor.id;
      },
    },
    {
      name: 'zones are drawn, and the device puts them to use',
      async run(traveller) {
        const { get, put } = traveller.zones;
        const before = await get();
        status(before, 200);
        equal('zones before', before.json.zones, []);
        const drawn = await put(before.headers.etag, [SOFA, DOOR]);
        status(drawn, 200);
        equal('the answer', [drawn.json.version, drawn.json.delivery, drawn.json.in_sync], [1, 'sent', false]);
        await inSync(traveller, 1);
        traveller.zones.stale = before.headers.etag;
      },
    },
    {
      name: 'an edit of what somebody has changed meanwhile is refused, and shows what is there',
      async run({ zones: { put, stale } }) {
        const late = await put(stale, [DOOR]);
        problem(late, 412);
        equal('what is there', late.json.current.zones, [SOFA, DOOR]);
      },
    },
    {
      name: 'a zone that crosses itself is refused with the place',
      async run({ zones: { put } }) {
        const [a, b, c, d] = SOFA.vertices;
        const crossed = await put('"1"', [DOOR, { ...SOFA, vertices: [a, c, b, d] }]);
        problem(crossed, 422);
        equal('the fault', crossed.json.errors.map(({ pointer }) => pointer), ['/zones/1/vertices/2']);
      },
    },
    {
      name: 'another edit, and the first version again: the device follows',
      async run(traveller) {
        const { put, restore } = traveller.zones;
        status(await put('"1"', [DOOR]), 200);
        await inSync(traveller, 2);
        const restored = await restore(1);
        status(restored, 200);
        equal('restored', [restored.json.version, restored.json.zones], [3, [SOFA, DOOR]]);
        await inSync(traveller, 3);
      },
    },
    {
      name: 'an operator asks the device about itself, and it answers',
      async run(traveller) {
        const { admin, zones } = traveller;
        const asked = await admin('POST', `/api/admin/devices/${zones.sensor.id}/diagnostics`, { body: { include: ['heap', 'config'] } });
        status(asked, 202);
        const answer = await orEnd(traveller, 'the answer', async () => {
          const answer = await admin('GET', asked.headers.location);
          return answer.status !== 202 && answer;
        });
        status(answer, 200);
        equal('its configuration', answer.json.diagnostics.config, { version: 3, zone_count: 2 });
        await zones.program.stop();
      },
    },
  ],
};

/** The device has that version, and it is the one that is wanted. */
async function inSync(traveller, version) {
  const look = async () => {
    const { json } = await traveller.zones.get();
    return json.in_sync && json;
  };
  const { desired, applied, status: standing } = await orEnd(traveller, `version ${version} to be in use`, look);
  equal('the device', { desired, applied, standing }, { desired: version, applied: version, standing: 'applied' });
}

/** Waits; a sensor that has ended explains more than the time-out that follows from it. */
async function orEnd({ zones: { program } }, what, look) {
  const ended = program.ended.then((how) => {
    throw new Error(`the sensor ended: ${how}`);
  });
  const found = eventually(what, look, { within: 20_000 });
  // Whichever is not waited for may fail later; nobody minds then.
  ended.catch(() => {});
  found.catch(() => {});
  return Promise.race([found, ended]);
}
