// Operators enrol a device before it ships.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../../tools/lib/paths.mjs';
import { makeDevice } from '../lib/credentials.mjs';
import { HEALTH } from '../lib/workers.mjs';
import { TIME, equal, like, problem, status } from './expect.mjs';

/** @type {{ title: string, steps: import('./journey.mjs').Step[] }} */
export const ENROLMENT = {
  title: 'enrolment',
  steps: [
    {
      name: 'the workers are well',
      async run({ api }) {
        for (const [worker, { host, path }] of Object.entries(HEALTH)) {
          const answer = await api('GET', path, { host });
          status(answer, 200);
          equal(`status of ${worker}`, answer.json?.status, 'ok');
          like(`version of ${worker}`, answer.json?.version, /./);
        }
      },
    },
    {
      name: 'npm run token gives an operator a token',
      async run(traveller) {
        const { stack, api } = traveller;
        const args = [join(ROOT, 'local', 'token.mjs'), '--admin', 'operator@optic.works', '--state', stack.directory];
        const { stdout } = await promisify(execFile)(process.execPath, args);
        like('the token', stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
        traveller.token = stdout.trim();
        traveller.admin = (method, path, options) => api(method, path, { token: traveller.token, ...options });
      },
    },
    {
      name: 'a device is enrolled',
      async run(traveller) {
        traveller.device = makeDevice();
        const answer = await enrol(traveller, traveller.device.secretHash);
        status(answer, 201);
        equal('device_id', answer.json?.device_id, traveller.device.id);
        like('enrolled_at', answer.json?.enrolled_at, TIME);
        traveller.enrolment = answer.json;
        return `${traveller.device.mac} is ${traveller.device.id}`;
      },
    },
    {
      name: 'enrolled again, it is the same device',
      async run(traveller) {
        const answer = await enrol(traveller, traveller.device.secretHash);
        status(answer, 200);
        equal('the answer', answer.json, traveller.enrolment);
      },
    },
    {
      name: 'with another secret it is a conflict',
      run: async (traveller) => problem(await enrol(traveller, makeDevice().secretHash), 409),
    },
    {
      name: 'without a token nobody enrols anything',
      run: async ({ api, device }) => problem(await api('POST', '/api/admin/enroll', { body: { mac_address: device.mac } }), 401),
    },
  ],
};

const enrol = ({ admin, device }, device_secret_hash) =>
  admin('POST', '/api/admin/enroll', { body: { mac_address: device.mac, device_secret_hash, product_sku: 'rs1_pro' } });
