// Download throughput: many clients at once, each fetching the same image range by range, from the OTA worker and from a plain
// JavaScript worker that streams the same R2 object. The systems take turns.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { fileURLToPath } from 'node:url';
import { startIdentityProvider } from '../../../local/idp/provider.mjs';
import { startCloud } from '../../../local/lib/cloud.mjs';
import { makeDevice } from '../../../local/lib/credentials.mjs';
import { makeImage, makeKey, publicKeyOf } from '../../../local/lib/firmware-image.mjs';
import { httpClient } from '../../../local/lib/http.mjs';
import { freePorts } from '../../../local/lib/ports.mjs';
import { readWorkers } from '../../../local/lib/workers.mjs';
import { putDevice, putMember, putRollout, signedLink } from '../../integration/fixtures/firmware.mjs';
import { runtimes } from './systems.mjs';

const PEER = fileURLToPath(new URL('../peer-download/index.js', import.meta.url));
const HOST = 'ota.localhost';
const SIZE = 1_500_000;
const CLIENTS = 200;
/** What an ESP32 asks for at a time. */
const RANGE = 64 * 1024;

/**
 * @param {{ secrets: Record<string, string>, workshop: import('./systems.mjs').Workshop, rounds: number, say: (line: string) => void }} options
 * @returns {Promise<{ size: number, range: number, clients: number, systems: Record<string, { rate: number[], p50: number[], p99: number[], peak: number }> }>}
 *   bytes; and MB/s, milliseconds a range, MB of the runtime
 */
export async function measureDownloads({ secrets, workshop, rounds, say }) {
  const key = makeKey();
  const image = makeImage({ version: '1.2.0', key, size: SIZE });
  const systems = [await startOurs({ secrets, workshop, image, key }), await startPeer({ secrets, workshop, image })];
  try {
    const found = Object.fromEntries(systems.map(({ name }) => [name, { rate: [], p50: [], p99: [], peak: 0 }]));
    for (let round = -1; round < rounds; round += 1) {
      for (const { name, links, port, pid } of systems) {
        say(`download: ${name}, ${round < 0 ? 'warming up' : `round ${round + 1} of ${rounds}`}`);
        const { seconds, waits } = await fetchAll(port, links, image);
        const mine = found[name];
        mine.peak = Math.max(mine.peak, highWater(pid));
        if (round < 0) continue;
        waits.sort((a, b) => a - b);
        mine.rate.push((CLIENTS * SIZE) / 1e6 / seconds);
        mine.p50.push(waits[Math.floor(waits.length * 0.5)]);
        mine.p99.push(waits[Math.floor(waits.length * 0.99)]);
      }
    }
    return { size: SIZE, range: RANGE, clients: CLIENTS, systems: found };
  } finally {
    for (const { stop } of systems) await stop();
  }
}

async function startOurs({ secrets, workshop, image, key }) {
  const [table] = readWorkers(['ota']);
  const ports = await freePorts();
  const idp = await startIdentityProvider({ port: ports.idp });
  const { cloud, pid } = await started({ table: { ...table, vars: { ...table.vars, DOWNLOAD_ATTEMPTS: 1000 } }, secrets, ports, persist: workshop.fresh('download-ours') });
  await cloud.migrate();
  const api = httpClient({ port: ports.http });
  const token = await idp.operatorToken({ email: 'bench@optic.works' });
  const ask = async (method, path, options) => {
    const answer = await api(method, path, { host: HOST, token, ...options });
    if (answer.status !== 201) throw new Error(`${method} ${path} answered ${answer.status}: ${answer.text}`);
    return answer.json;
  };
  await ask('POST', '/admin/firmware-keys', { body: { name: 'bench', public_key: publicKeyOf(key) } });
  const artifact = await ask('PUT', '/admin/firmware/rs1_pro/1.2.0', { body: image, headers: { 'content-type': 'application/octet-stream' } });
  api.close();
  const database = await cloud.database();
  const store = { rows: async (sql, ...values) => (await database.prepare(sql).bind(...values).all()).results };
  const rollout = await putRollout(store, artifact);
  const links = [];
  for (let client = 0; client < CLIENTS; client += 1) {
    const device = await putDevice(store, makeDevice());
    await putMember(store, rollout, device, 'downloading');
    links.push(signedLink({ key: secrets.SIGNING_KEY, version: '1.2.0', device, rollout }));
  }
  const stop = async () => {
    await cloud.stop();
    await idp.close();
  };
  return { name: 'ours', links, port: ports.http, pid, stop };
}

async function startPeer({ secrets, workshop, image }) {
  const [table] = readWorkers(['ota']);
  const ports = await freePorts();
  const { cloud, pid } = await started({ table: { ...table, main: PEER }, secrets, ports, persist: workshop.fresh('download-peer') });
  await (await cloud.bucket('FIRMWARE')).put('image.bin', image);
  const links = Array.from({ length: CLIENTS }, () => '/image.bin');
  return { name: 'peer', links, port: ports.http, pid, stop: () => cloud.stop() };
}

async function started({ table, secrets, ports, persist }) {
  const before = runtimes();
  const cloud = await startCloud({ workers: [table], secrets, ports, persist });
  const [pid] = runtimes().filter((each) => !before.includes(each));
  return { cloud, pid };
}

/** Each client fetches the image range by range; all at once. */
async function fetchAll(port, links, image) {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  const waits = [];
  const wanted = createHash('sha256').update(image).digest('hex');
  const begun = performance.now();
  await Promise.all(
    links.map(async (link, client) => {
      const hash = createHash('sha256');
      for (let first = 0; first < SIZE; first += RANGE) {
        const sent = performance.now();
        for (const part of await range(agent, port, link, first, Math.min(first + RANGE, SIZE) - 1)) hash.update(part);
        waits.push(performance.now() - sent);
      }
      if (hash.digest('hex') !== wanted) throw new Error(`client ${client} got another image`);
    }),
  );
  const seconds = (performance.now() - begun) / 1000;
  agent.destroy();
  return { seconds, waits };
}

function range(agent, port, path, first, last) {
  return new Promise((done, fail) => {
    const out = request({ agent, host: '127.0.0.1', port, path, headers: { host: HOST, range: `bytes=${first}-${last}` } }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('error', fail);
      response.on('end', () => (response.statusCode === 206 ? done(parts) : fail(new Error(`${response.statusCode} ${Buffer.concat(parts)}`))));
    });
    out.on('error', fail);
    out.end();
  });
}

/** The most memory that a process has had, in MB. */
function highWater(pid) {
  try {
    return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1000;
  } catch {
    return Number.NaN;
  }
}
