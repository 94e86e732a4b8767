// Reads wrangler/<worker>.jsonc, so that the local stack, the tests and the checks use the very files that are deployed.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './paths.mjs';

export const ENVIRONMENTS = ['local', 'staging', 'production'];

/** @param {string} worker @param {string} [root] of another project than this one */
export const configPath = (worker, root = ROOT) => join(root, 'wrangler', `${worker}.jsonc`);

/** The whole file. */
export function readConfig(worker, root = ROOT) {
  const path = configPath(worker, root);
  try {
    return JSON.parse(stripJsonc(readFileSync(path, 'utf8')));
  } catch (error) {
    throw new Error(`${path}: ${error.message}`);
  }
}

/**
 * One environment as wrangler would see it: the environment's own keys over the inherited ones.
 * `routePatterns` are the routes in one form, a custom domain `h` being `h/*`; `queues`, `r2_buckets` and the like
 * are always there, empty if the worker has none.
 * @param {string} worker
 * @param {string} environment
 * @param {string} [root] of another project than this one
 */
export function workerConfig(worker, environment, root = ROOT) {
  const { env, ...inherited } = readConfig(worker, root);
  const own = env[environment];
  if (!own) throw new Error(`${configPath(worker, root)} has no environment ${environment}`);
  const config = {
    d1_databases: [],
    r2_buckets: [],
    kv_namespaces: [],
    ratelimits: [],
    analytics_engine_datasets: [],
    services: [],
    vars: {},
    ...inherited,
    ...own,
    // The name under which it is deployed, and which service bindings of others must say.
    name: own.name ?? `${inherited.name}-${environment}`,
  };
  return {
    ...config,
    queues: { producers: [], consumers: [], ...own.queues },
    secrets: { required: [], ...own.secrets },
    crons: config.triggers?.crons ?? [],
    routePatterns: (config.routes ?? []).map((route) => (route.custom_domain ? `${route.pattern}/*` : route.pattern)),
  };
}

/**
 * JSON with comments and trailing commas, made plain JSON. Positions are kept, so that an error's line is the file's.
 * @param {string} text
 */
export function stripJsonc(text) {
  return blankComments(text).replace(/"(?:[^"\\\n]|\\.)*"|,(?=\s*[}\]])/g, (match) => (match === ',' ? ' ' : match));
}

/**
 * The text with spaces in place of its comments.
 * @param {string} text
 */
export function blankComments(text) {
  // Strings are matched first and so are left alone, whatever they contain.
  return text.replace(/"(?:[^"\\\n]|\\.)*"|\/\/[^\n]*|\/\*[^]*?\*\//g, (match) => (match[0] === '"' ? match : match.replace(/[^\n]/g, ' ')));
}
