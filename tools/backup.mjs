// `npm run backup -- emqx --env production`: the broker's configuration, exported by the broker, into the backups' bucket.
// `npm run backup -- offsite --env production`: the latest good backup of the database to a store outside Cloudflare.
// The workflow `backup` runs both every day.

import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import { cloudflareClient, credentials } from './delivery/cloudflare.mjs';
import { offsiteStore } from './delivery/offsite.mjs';
import { backupsBucket, openProject } from './delivery/project.mjs';
import { SetupError, say } from './lib/say.mjs';

/** A backup older than this is an alarm of its own. */
const STALE_DAYS = 2;
/** How long backups are kept. */
const KEPT_DAYS = 30;
const EMQX_TIMEOUT_MS = 120_000;

const dayBefore = (now, days) => new Date(now.getTime() - days * 86_400_000).toISOString().slice(0, 10);

/** The management API's calls for a backup; EMQX writes the file on the node that it asks, so all name that node. */
function emqxClient(project, env) {
  const configured = project.workers.map(({ config }) => config.vars.EMQX_API_URL).find(Boolean);
  const base = env.EMQX_API_URL || configured;
  if (!env.EMQX_API_KEY) throw new SetupError('the environment lacks EMQX_API_KEY (key:secret, of an API key that may export)');
  return async (method, path, body) => {
    const response = await fetch(`${base}${path}`, {
      method,
      headers: { authorization: `Basic ${Buffer.from(env.EMQX_API_KEY).toString('base64')}`, ...(body && { 'content-type': 'application/json' }) },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(EMQX_TIMEOUT_MS),
    });
    if (!response.ok) throw new SetupError(`EMQX: ${method} ${path}: ${response.status}`, { output: (await response.text()).slice(0, 500) });
    return response;
  };
}

async function backUpEmqx(project, api, now) {
  const emqx = emqxClient(project, process.env);
  const bucket = backupsBucket(project);
  const { filename, node } = await (await emqx('POST', '/data/export', {})).json();
  const file = `/data/files/${encodeURIComponent(filename)}?node=${encodeURIComponent(node)}`;
  try {
    const bytes = Buffer.from(await (await emqx('GET', file)).arrayBuffer());
    // A proxy's error page would be kept for a month and missed on the day that it is needed.
    if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) throw new SetupError(`EMQX: ${filename} is not an archive (${bytes.length} bytes)`);
    const key = `config/emqx/${dayBefore(now, 0)}.tar.gz`;
    await api.putObject(bucket, key, bytes, 'application/gzip');
    const stored = await api.object(bucket, key);
    const back = createHash('sha256');
    for await (const chunk of stored.body) back.update(chunk);
    if (back.digest('hex') !== createHash('sha256').update(bytes).digest('hex')) throw new SetupError(`${bucket}/${key} is not what was stored`);
    console.log(`${node}: ${filename}, ${bytes.length} bytes, is in ${bucket}/${key}`);
  } finally {
    // It has every secret of the broker in it.
    await emqx('DELETE', file);
  }
}

/** The newest backup whose restore check went well: its manifest, as text and read. */
async function latestGoodBackup(api, bucket, now) {
  for (let days = 0; days < KEPT_DAYS; days += 1) {
    const date = dayBefore(now, days);
    const [manifest, check] = await Promise.all(['manifest', 'check'].map((kind) => textOf(api, bucket, `backups/d1/${date}.${kind}.json`)));
    if (manifest !== null && check !== null && JSON.parse(check).ok === true) return { date, days, text: manifest, ...JSON.parse(manifest) };
    const why = manifest === null ? 'no backup' : check === null ? 'a backup that was not checked' : 'a backup that does not restore';
    console.log(`${date}: ${why}`);
  }
  throw new SetupError(`${bucket} has no good backup of the last ${KEPT_DAYS} days`);
}

async function textOf(api, bucket, key) {
  const object = await api.object(bucket, key);
  return object === null ? null : new Response(object.body).text();
}

async function copyOffsite(project, api, now) {
  const store = offsiteStore(process.env);
  const bucket = backupsBucket(project);
  const { date, days, text, object: key, bytes, sha256 } = await latestGoodBackup(api, bucket, now);
  if (await store.has(key, sha256)) {
    console.log(`${key} is at ${store.name} already`);
  } else {
    const object = await api.object(bucket, key);
    if (object === null) throw new SetupError(`${bucket} has the manifest of ${date}, but not ${key}`);
    // The store holds what comes against the hash of the manifest, so a copy that was cut off or altered is refused.
    await store.put(key, object.body, { sha256, bytes, type: 'application/gzip' });
    console.log(`${key}, ${bytes} bytes, is at ${store.name}`);
  }
  // Last: a manifest says that its backup is whole.
  const manifest = Buffer.from(text);
  await store.put(`backups/d1/${date}.manifest.json`, manifest, { sha256: createHash('sha256').update(manifest).digest('hex'), bytes: manifest.length, type: 'application/json' });
  if (days >= STALE_DAYS) throw new SetupError(`the latest good backup is of ${date}: look at the health worker's backups`);
}

const COMMANDS = { emqx: backUpEmqx, offsite: copyOffsite };

async function main() {
  const { values, positionals } = parseArgs({ options: { env: { type: 'string' }, project: { type: 'string' } }, allowPositionals: true });
  const run = COMMANDS[positionals[0]];
  if (!run || positionals.length > 1) throw new SetupError(`usage: npm run backup -- ${Object.keys(COMMANDS).join('|')} --env staging|production`);
  const project = openProject(values.env, values.project);
  await run(project, cloudflareClient(credentials(process.env)), new Date());
}

main().catch((error) => {
  say(error instanceof SetupError ? error.report() : error.name === 'ApiError' ? `error: ${error.message}` : error.stack);
  process.exit(1);
});
