// What the account says of a worker: which versions there are, and which of them answer how much of the traffic. A
// deployment keeps no journal of its own: what was uploaded and how far it got stands here, so that it can be continued
// from anywhere after it was cut off anywhere.

import { SetupError } from '../lib/say.mjs';

/** What the API keeps of a message; the rest it cuts off. */
const MESSAGE_BYTES = 100;

/** The tag by which an upload is found again; see `digestOf`. */
export const tagOf = (digest) => `d-${digest}`;

/** The message of a version: which release brought it. */
export const releaseMessage = (release) => `release ${release}`;

/**
 * One worker in a release.
 * @typedef {object} Entry
 * @property {string} worker
 * @property {import('./project.mjs').Project['workers'][number]['config']} config
 * @property {string} digest of what is to run
 * @property {boolean} exists in the account
 * @property {string | null} candidate the version that is to run, once it is uploaded
 * @property {string | null} release the release that uploaded the candidate
 * @property {number | null} share of the traffic that the candidate has, in percent; null while it is in no deployment
 * @property {string | null} stable the version to go back to
 * @property {string | null} deployment the latest one, as we know it
 */

/**
 * @param {ReturnType<import('./cloudflare.mjs').cloudflareClient>} api
 * @param {{ worker: string, config: object }} workerOf
 * @param {string} digest
 * @returns {Promise<Entry>}
 */
export async function examine(api, { worker, config }, digest) {
  const entry = { worker, config, digest, exists: false, candidate: null, release: null, share: null, stable: null, deployment: null };
  const path = `/workers/scripts/${config.name}`;
  const found = await api.find(`${path}/deployments`);
  if (!found || found.deployments.length === 0) return entry;

  const { items } = await api.get(`${path}/versions`);
  const known = new Map(items.map((version) => [version.id, version]));
  const look = async (id) => known.get(id) ?? api.get(`${path}/versions/${id}`);
  const [latest, ...earlier] = found.deployments;
  const serving = await Promise.all(latest.versions.map(async ({ version_id: id, percentage }) => ({ percentage, ...(await look(id)) })));
  const isOurs = ({ annotations }) => annotations?.['workers/tag'] === tagOf(digest);
  const take = (version) => ({ candidate: version.id, release: /^release (\S+)/.exec(version.annotations?.['workers/message'] ?? '')?.[1] ?? null });

  entry.exists = true;
  entry.deployment = latest.id;
  const ours = serving.find(isOurs);
  if (ours) {
    Object.assign(entry, take(ours), { share: ours.percentage });
    entry.stable = serving.find(({ id }) => id !== ours.id)?.id ?? lastWhole(earlier, ours.id);
    return entry;
  }
  // Where two serve and neither is ours, a release of another commit was cut off: what it came from is the older one.
  const byAge = serving.filter(({ percentage }) => percentage > 0).sort((a, b) => a.number - b.number);
  entry.stable = byAge[0].id;
  // An upload that is not the newest may have older secrets than the version that runs.
  const newest = items.reduce((best, version) => (version.number > (best?.number ?? 0) ? version : best), null);
  if (newest && isOurs(newest)) Object.assign(entry, take(newest));
  return entry;
}

/** The version that last had all of the traffic, other than `id`. */
function lastWhole(deployments, id) {
  const whole = deployments.find(({ versions }) => versions.length === 1 && versions[0].version_id !== id);
  return whole?.versions[0].version_id ?? null;
}

/**
 * Gives the candidate its share and the stable version the rest.
 * @param {ReturnType<import('./cloudflare.mjs').cloudflareClient>} api
 * @param {Entry} entry
 * @param {number | null} share in percent; null takes the candidate out
 * @param {string} message
 * @throws {SetupError} if somebody else has deployed meanwhile
 */
export async function setShare(api, entry, share, message) {
  const path = `/workers/scripts/${entry.config.name}/deployments`;
  const [latest] = (await api.get(path)).deployments;
  if (latest.id !== entry.deployment) {
    throw new SetupError(`somebody else has deployed ${entry.config.name} meanwhile (${latest.created_on}, ${latest.author_email ?? latest.source})`, {
      advice: ['nothing was changed over that; run the command again to go on from what is deployed now'],
    });
  }
  const versions = [
    ...(share !== 100 ? [{ version_id: entry.stable, percentage: 100 - (share ?? 0) }] : []),
    ...(share !== null ? [{ version_id: entry.candidate, percentage: share }] : []),
  ];
  const annotations = { 'workers/message': Buffer.from(message).subarray(0, MESSAGE_BYTES).toString() };
  const made = await api.post(path, { strategy: 'percentage', versions, annotations });
  entry.deployment = made.id;
  entry.share = share;
}

/** The names of the secrets that a worker has. */
export async function secretNames(api, { config }) {
  const secrets = await api.find(`/workers/scripts/${config.name}/secrets`);
  return (secrets ?? []).map(({ name }) => name);
}

/** The state of a database: what was applied to it, and when. */
export async function appliedMigrations(api, databaseId) {
  const query = async (sql) => (await api.post(`/d1/database/${databaseId}/query`, { sql }))[0].results;
  const table = await query("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'd1_migrations'");
  if (table.length === 0) return [];
  return query('SELECT name, applied_at FROM d1_migrations ORDER BY id');
}

/** The point in time to which Time Travel can take the database back. */
export async function bookmarkOf(api, databaseId) {
  return (await api.get(`/d1/database/${databaseId}/time_travel/bookmark`)).bookmark;
}
