// What is delivered: the workers with their configurations, bundles and migrations. A specification delivers a copy.

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { assetsDir, filesBelow } from '../lib/assets.mjs';
import { ROOT, WORKERS } from '../lib/paths.mjs';
import { SetupError } from '../lib/say.mjs';
import { configPath, workerConfig } from '../lib/wrangler-config.mjs';

/** What can be delivered to; `local` runs on a developer's machine only. */
export const DEPLOYED = ['staging', 'production'];

/**
 * @typedef {object} Project
 * @property {string} root
 * @property {string} environment
 * @property {{ worker: string, config: ReturnType<typeof workerConfig> }[]} workers each after those that it calls
 */

/**
 * @param {string} environment
 * @param {string} [root]
 * @returns {Project}
 */
export function openProject(environment, root = ROOT) {
  if (!DEPLOYED.includes(environment)) {
    throw new SetupError(`--env is ${environment ?? 'missing'}; it must be ${DEPLOYED.join(' or ')}`);
  }
  const workers = WORKERS.map((worker) => ({ worker, config: workerConfig(worker, environment, root) }));
  return { root, environment, workers: calledFirst(workers) };
}

/** A worker is deployed after those that its service bindings name: a first deployment would be refused otherwise. */
function calledFirst(workers) {
  const sorted = [];
  const place = (entry, path) => {
    if (sorted.includes(entry)) return;
    if (path.includes(entry)) throw new SetupError(`the service bindings go round: ${[...path, entry].map(({ worker }) => worker).join(' calls ')}`);
    for (const { service } of entry.config.services) {
      const called = workers.find(({ config }) => config.name === service);
      if (called) place(called, [...path, entry]);
    }
    sorted.push(entry);
  };
  for (const entry of workers) place(entry, []);
  return sorted;
}

/** An id that provisioning has not yet replaced by the account's: zeros and a number. */
export const isPlaceholder = (id) => /^0[0-]{24,}\d{1,4}$/.test(id);

/**
 * Tells one upload from another: the bundle, the files beside it, and everything that its configuration says for this environment.
 * A release leaves alone the workers whose digest is the deployed one's.
 * @param {Project} project
 * @param {{ worker: string, config: ReturnType<typeof workerConfig> }} entry
 */
export function digestOf(project, { worker, config }) {
  const main = resolve(dirname(configPath(worker, project.root)), config.main);
  if (!existsSync(main)) throw new SetupError(`${worker} has no bundle: ${main} is missing`, { advice: ['build it: npm run build'] });
  const hash = createHash('sha256');
  for (const name of readdirSync(dirname(main)).filter((file) => /\.(js|mjs|wasm)$/.test(file)).sort()) {
    hash.update(`${name}\n`).update(readFileSync(join(dirname(main), name)));
  }
  const assets = assetsDir(worker, project.root);
  if (assets) {
    const files = filesBelow(assets);
    if (files.length === 0) throw new SetupError(`${worker} has no files to serve: ${assets} is empty`, { advice: ['build it: npm run build'] });
    for (const name of files) hash.update(`${name}\n`).update(readFileSync(join(assets, name)));
  }
  return hash.update(JSON.stringify(config)).digest('hex').slice(0, 24);
}

/** Where backups are. @param {Project} project */
export function backupsBucket({ environment, workers }) {
  const bound = workers.flatMap(({ config }) => config.r2_buckets).find(({ binding }) => binding === 'BACKUPS');
  if (!bound) throw new SetupError(`no worker binds BACKUPS in ${environment}`);
  return bound.bucket_name;
}
