// A release: from what the account has to what this commit says, in steps that each can be the last one for a while.
//
//   migrations that expand → upload → 0 % and a look at the new version → 10 → 50 → 100 %, watched → triggers →
//   migrations that contract
//
// Whatever goes wrong between 0 and 100 % gives all traffic back to the versions before. The old code runs with the
// expanded schema, so migrations stay.

import { existsSync, readFileSync } from 'node:fs';
import { inParallel } from '../lib/proc.mjs';
import { SetupError } from '../lib/say.mjs';
import { appliedMigrations, bookmarkOf, examine, releaseMessage, secretNames, setShare, tagOf } from './account.mjs';
import { migrationsDirectory, pendingMigrations, readMigrations } from './migrations.mjs';
import { probe } from './probe.mjs';
import { digestOf } from './project.mjs';
import { planResources } from './resources.mjs';
import { judge, watchQuery } from './watch.mjs';

/** Percent of the traffic, one after the other. */
const STAGES = [10, 50, 100];
/** So many bad looks in a row are a fault; one may be the network's. */
const STRIKES = 3;
/** A new custom domain has to get its certificate before it answers. */
const FIRST_ANSWER_MS = 300_000;

/** The new version is not well: traffic goes back. */
class Unwell extends Error {}

/**
 * @typedef {object} Options
 * @property {string} release the name of the release: its commit
 * @property {number} holdMs how long each stage is watched
 * @property {number} pollMs between two looks
 * @property {string} [connect] where probes go instead of the workers' hosts
 * @property {string} [secretsFile] for workers that do not exist yet
 * @property {() => void} checkStopped throws once the person wants to stop
 * @property {(line: string) => void} log
 */

/**
 * What a release would do. Reads only.
 * @param {import('./project.mjs').Project} project
 * @param {ReturnType<import('./cloudflare.mjs').cloudflareClient>} api
 * @param {Pick<Options, 'secretsFile'>} options
 * @throws {SetupError} with all that is in its way
 */
export async function planRelease(project, api, { secretsFile }) {
  const faults = [];
  const place = migrationsDirectory(project);
  const all = readMigrations(place.directory);

  const resources = await planResources(project, api);
  const missing = resources.steps.filter(({ action }) => action !== 'change').map(({ action, what }) => `${action} ${what}`);
  if (missing.length > 0 || resources.faults.length > 0) {
    const advice = [...missing, ...resources.faults.filter((fault) => !fault.startsWith('--location'))];
    throw new SetupError(`${project.environment} is not provisioned: npm run provision -- --env ${project.environment}`, { advice });
  }
  const drift = resources.steps.map(({ what }) => `${what} (npm run provision would change it)`);

  const entries = [];
  for (const entry of project.workers) entries.push(await examine(api, entry, digestOf(project, entry)));
  const provided = secretsFile ? secretsIn(secretsFile) : [];
  for (const entry of entries) {
    const has = entry.exists ? await secretNames(api, entry) : provided;
    const lacking = entry.config.secrets.required.filter((name) => !has.includes(name));
    if (lacking.length === 0) continue;
    const how = entry.exists ? `wrangler secret put NAME --env ${project.environment} -c wrangler/${entry.worker}.jsonc` : '--secrets-file FILE, for its first deployment';
    faults.push(`${entry.worker} lacks the secrets ${lacking.join(', ')}: ${how}`);
  }
  if (faults.length > 0) throw new SetupError('secrets are missing', { advice: faults });

  const applied = await appliedMigrations(api, place.database.database_id);
  const pending = pendingMigrations(all, applied.map(({ name }) => name));
  return { place, all, pending, entries, drift };
}

/** The names in a secrets file of wrangler's two forms. Values are wrangler's to read. */
function secretsIn(path) {
  if (!existsSync(path)) throw new SetupError(`there is no secrets file ${path}`);
  const text = readFileSync(path, 'utf8');
  if (text.trimStart().startsWith('{')) return Object.keys(JSON.parse(text));
  return [...text.matchAll(/^(?:export\s+)?([A-Za-z_]\w*)\s*=/gm)].map(([, name]) => name);
}

/** What a plan says to a person. */
export function describePlan({ pending, entries, drift }) {
  const names = (migrations) => migrations.map(({ name }) => name).join(', ') || 'none';
  const fate = (entry) => {
    if (!entry.exists) return 'is created';
    if (entry.candidate === null) return 'is uploaded';
    if (entry.share === 100) return 'is deployed already';
    if (entry.share === null) return `is uploaded already (${entry.candidate})`;
    return `continues from ${entry.share} % (${entry.candidate})`;
  };
  return [
    `migrations before the code: ${names(pending.before)}`,
    ...entries.map((entry) => `${entry.worker.padEnd(12)}${fate(entry)}`),
    `migrations after the code: ${names(pending.after)}`,
    ...drift.map((line) => `note: ${line}`),
  ];
}

/**
 * Carries a plan out.
 * @param {import('./project.mjs').Project} project
 * @param {ReturnType<import('./cloudflare.mjs').cloudflareClient>} api
 * @param {ReturnType<import('./wrangler.mjs').wranglerFor>} wrangler
 * @param {Awaited<ReturnType<typeof planRelease>>} plan
 * @param {Options} options
 */
export async function carryOut(project, api, wrangler, plan, options) {
  const { place, all, pending, entries } = plan;
  const { log, release, checkStopped } = options;

  const bookmark = await bookmarkOf(api, place.database.database_id);
  log(`the database before this release: bookmark ${bookmark}`);
  await migrate(all, pending.before, 'expand', place, wrangler, options);

  for (const entry of entries.filter(({ exists }) => !exists)) {
    checkStopped();
    log(`${entry.worker}: creating`);
    const annotations = { tag: tagOf(entry.digest), message: releaseMessage(release) };
    entry.candidate = await wrangler.create(entry.worker, { ...annotations, secretsFile: options.secretsFile });
    entry.share = 100;
    await firstAnswer(entry, options);
    log(`${entry.worker}: created, version ${entry.candidate}, and it is well`);
  }

  const moving = entries.filter(({ share }) => share !== 100);
  for (const entry of moving.filter(({ candidate }) => candidate === null)) {
    checkStopped();
    entry.candidate = await wrangler.upload(entry.worker, { tag: tagOf(entry.digest), message: releaseMessage(release) });
    entry.release = release;
    log(`${entry.worker}: uploaded, version ${entry.candidate}`);
  }
  if (moving.length > 0) await moveTraffic(moving, entries, { api, bookmark, options });

  checkStopped();
  await inParallel(entries, ({ worker }) => wrangler.triggers(worker));
  log('routes, crons and queue consumers are set');
  await migrate(all, pending.after, 'contract', place, wrangler, options);

  const faults = await lookAt(entries.map((entry) => ({ ...entry, candidate: undefined })), options);
  if (faults.length > 0) throw new SetupError('the release is out, but not all is well', { advice: faults });
}

async function migrate(all, pending, phase, place, wrangler, { log, checkStopped }) {
  if (pending.length === 0) return;
  checkStopped();
  const upTo = all.findIndex(({ name }) => name === pending.at(-1).name);
  await wrangler.migrate(place, all.slice(0, upTo + 1).map(({ name }) => name));
  log(`migrations that ${phase}: applied ${pending.map(({ name }) => name).join(', ')}`);
}

/** From 0 to 100 %; back to where they came from when one of them is unwell. */
async function moveTraffic(moving, entries, { api, bookmark, options }) {
  const { log, release, checkStopped, holdMs } = options;
  // What an earlier run of this release has finished goes back with the rest.
  const together = entries.filter((entry) => moving.includes(entry) || (entry.release === release && entry.stable !== null));
  try {
    for (const entry of moving.filter(({ share }) => share === null)) {
      checkStopped();
      await setShare(api, entry, 0, `${releaseMessage(release)} before ${bookmark}`);
    }
    const faults = await untilWell(() => lookAt(moving, options), options);
    if (faults.length > 0) throw new Unwell(faults.join('; '));
    log(`the new versions of ${moving.map(({ worker }) => worker).join(', ')} answer and are well`);

    for (const stage of STAGES) {
      const behind = moving.filter(({ share }) => share < stage);
      if (behind.length === 0) continue;
      for (const entry of behind) {
        checkStopped();
        await setShare(api, entry, stage, `${releaseMessage(release)} at ${stage} %`);
      }
      log(`${stage} % of the traffic: ${moving.map(({ worker }) => worker).join(', ')}; watching for ${Math.round(holdMs / 1000)} s`);
      await watch(moving, api, options);
    }
  } catch (error) {
    if (!(error instanceof Unwell)) throw error;
    log(`going back: ${error.message}`);
    const stuck = await goBack(together, api, `back from ${releaseMessage(release)}: ${error.message}`, log);
    throw new SetupError(`release ${release} was rolled back: ${error.message}`, {
      advice: [...stuck, `the database was not touched; before this release it was at bookmark ${bookmark}`],
    });
  }
}

/** Looks at the new versions' requests, and asks them for their health, until the stage's time is over. */
async function watch(moving, api, { holdMs, pollMs, connect, checkStopped, log }) {
  const since = Date.now();
  const versions = moving.map(({ worker, candidate }) => ({ worker, version: candidate }));
  const [{ dataset }] = moving[0].config.analytics_engine_datasets;
  let blind = 0;
  let unwell = 0;
  for (;;) {
    await pause(pollMs, checkStopped);
    const faults = await lookAt(moving, { connect });
    unwell = faults.length > 0 ? unwell + 1 : 0;
    if (unwell >= STRIKES) throw new Unwell(faults.join('; '));

    let rows = null;
    try {
      rows = await api.analytics(watchQuery({ dataset, versions, since }));
      blind = 0;
    } catch (error) {
      blind += 1;
      if (blind >= STRIKES) throw new Unwell(`the error rate cannot be seen: ${error.message}`);
    }
    const over = Date.now() - since >= holdMs && faults.length === 0 && rows !== null;
    if (rows === null) continue;
    const verdicts = judge(versions, rows);
    const bad = verdicts.filter(({ fault }) => fault !== null);
    if (bad.length > 0) throw new Unwell(bad.map(({ fault }) => fault).join('; '));
    for (const { line, judged } of verdicts) log(`  ${line}${judged || !over ? '' : '; too few to judge, its health is good'}`);
    if (over) return;
  }
}

/** The health of each version, asked for by its id where it has one. */
async function lookAt(entries, { connect }) {
  const faults = await Promise.all(entries.map(({ config, candidate }) => probe({ config, version: candidate, connect })));
  return faults.filter((fault) => fault !== null);
}

/** A new version takes a moment to reach every data centre. */
async function untilWell(look, { pollMs, checkStopped }) {
  let faults = await look();
  for (let strike = 1; strike < STRIKES && faults.length > 0; strike += 1) {
    await pause(pollMs, checkStopped);
    faults = await look();
  }
  return faults;
}

async function firstAnswer(entry, { connect, pollMs, checkStopped, holdMs }) {
  const deadline = Date.now() + Math.min(FIRST_ANSWER_MS, 30 * holdMs);
  for (;;) {
    const [fault] = await lookAt([entry], { connect });
    if (!fault) return;
    if (Date.now() > deadline) throw new SetupError(`${entry.worker} was created, but it is not well: ${fault}`);
    await pause(pollMs, checkStopped);
  }
}

/** Gives the stable versions all traffic, callers first; tells which it could not. */
async function goBack(entries, api, message, log) {
  const stuck = [];
  for (const entry of [...entries].reverse()) {
    if (entry.share === null) continue;
    try {
      await setShare(api, entry, null, message);
      log(`${entry.worker}: all traffic is back at version ${entry.stable}`);
    } catch (error) {
      stuck.push(`${entry.worker} could not go back to ${entry.stable}: ${error.message}`);
    }
  }
  return stuck;
}

async function pause(ms, checkStopped) {
  const end = Date.now() + ms;
  do {
    checkStopped();
    await new Promise((done) => setTimeout(done, Math.min(250, Math.max(0, end - Date.now()))));
  } while (Date.now() < end);
  checkStopped();
}

/**
 * What going back from the latest release would do. Reads only.
 * @param {import('./project.mjs').Project} project
 * @param {ReturnType<import('./cloudflare.mjs').cloudflareClient>} api
 * @throws {SetupError} if there is nothing to go back to, or the schema no longer allows it
 */
export async function planRollback(project, api) {
  const served = [];
  for (const { worker, config } of project.workers) {
    const path = `/workers/scripts/${config.name}`;
    const deployments = (await api.find(`${path}/deployments`))?.deployments ?? [];
    if (deployments.length === 0) continue;
    const [latest, ...earlier] = deployments;
    const versions = await Promise.all(latest.versions.map(({ version_id: id }) => api.get(`${path}/versions/${id}`)));
    const newest = versions.reduce((best, version) => (version.number > best.number ? version : best));
    const stable = latest.versions.find(({ version_id: id }) => id !== newest.id)?.version_id ?? lastOther(earlier, newest.id);
    const release = /^release (\S+)/.exec(newest.annotations?.['workers/message'] ?? '')?.[1] ?? null;
    const share = latest.versions.find(({ version_id: id }) => id === newest.id).percentage;
    served.push({ worker, config, candidate: newest.id, release, stable, share, deployment: latest.id, since: newest.metadata.created_on });
  }
  const released = served.filter(({ release }) => release !== null).sort((a, b) => (a.since < b.since ? 1 : -1));
  if (released.length === 0) throw new SetupError(`${project.environment} has no release that could be gone back from`);
  const [{ release }] = released;
  const entries = released.filter((entry) => entry.release === release && entry.stable !== null);
  const first = released.filter((entry) => entry.release === release && entry.stable === null).map(({ worker }) => worker);
  if (entries.length === 0) throw new SetupError(`release ${release} is the first of ${first.join(', ')}: there is nothing before it`);

  // The version before may need what was taken away since. Versions are older than the migration that contracts after them.
  const place = migrationsDirectory(project);
  const contracting = readMigrations(place.directory).filter(({ phase }) => phase === 'contract').map(({ name }) => name);
  const begun = Date.parse(entries.map(({ since }) => since).sort()[0]);
  const applied = await appliedMigrations(api, place.database.database_id);
  const barred = applied.filter(({ name, applied_at: at }) => contracting.includes(name) && Date.parse(`${at.replace(' ', 'T')}Z`) >= begun - 1000);
  if (barred.length > 0) {
    throw new SetupError(`the version before release ${release} cannot run on today's schema: ${barred.map(({ name }) => name).join(', ')} took away what it uses`, {
      advice: ['release a fix instead; for the data, Time Travel takes the database back to a bookmark: README.md, Going back'],
    });
  }
  return { release, entries, first };
}

function lastOther(deployments, id) {
  return deployments.find(({ versions }) => versions.length === 1 && versions[0].version_id !== id)?.versions[0].version_id ?? null;
}

/** Carries a rollback out. */
export async function rollBack(api, { release, entries }, { connect, log }) {
  const stuck = await goBack(entries, api, `back from ${releaseMessage(release)}: by hand`, log);
  const faults = await lookAt(entries.map((entry) => ({ ...entry, candidate: undefined })), { connect });
  if (stuck.length + faults.length > 0) throw new SetupError('not all is well', { advice: [...stuck, ...faults] });
}
