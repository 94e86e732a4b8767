// Holds the wrangler files against each other. Wrangler checks each file for itself; that `DB` is one database in
// every worker, that no environment forgets a binding, and that staging does not write into production's queue, is
// checked here.

import { WORKERS } from './paths.mjs';
import { ENVIRONMENTS, readConfig, workerConfig } from './wrangler-config.mjs';

/** What only a deployed environment may have, because environments would inherit it from the top level. */
const NOT_AT_THE_TOP = ['route', 'routes', 'triggers', 'vars', 'd1_databases', 'r2_buckets', 'kv_namespaces', 'queues', 'services', 'secrets'];

/** What Cloudflare takes for one variable. */
const MOST_VAR_BYTES = 5_000;

/**
 * Every resource that a worker binds in an environment, as `[kind, binding, resource]`.
 * @returns {[string, string, string][]}
 */
function resourcesOf(config) {
  return [
    ...config.d1_databases.map((it) => ['d1', it.binding, `${it.database_name} ${it.database_id}`]),
    ...config.r2_buckets.map((it) => ['r2', it.binding, it.bucket_name]),
    ...config.kv_namespaces.map((it) => ['kv', it.binding, it.id]),
    ...config.queues.producers.map((it) => ['queue', it.binding, it.queue]),
    ...config.ratelimits.map((it) => ['rate limit', it.name, `${it.namespace_id} ${JSON.stringify(it.simple)}`]),
    ...config.analytics_engine_datasets.map((it) => ['dataset', it.binding, it.dataset]),
    ...config.services.map((it) => ['service', it.binding, it.service]),
  ];
}

/**
 * @param {{ read?: typeof readConfig, configOf?: typeof workerConfig }} [source] the files, or a test's own
 * @returns {string[]} what is wrong, one sentence each
 */
export function bindingFaults({ read = readConfig, configOf = workerConfig } = {}) {
  return [
    ...WORKERS.flatMap((worker) => fileFaults(worker, read(worker), (environment) => configOf(worker, environment))),
    ...ENVIRONMENTS.flatMap((environment) => tableFaults(environment, WORKERS.map((worker) => [worker, configOf(worker, environment)]))),
    ...separationFaults(configOf),
  ];
}

/** What is wrong in one file: its environments differ in more than names, or one is open to the internet. */
function fileFaults(worker, file, configIn) {
  const faults = [];
  for (const key of NOT_AT_THE_TOP) {
    if (key in file) faults.push(`${worker}: ${key} stands at the top level; it belongs into each environment`);
  }
  const shape = (config) =>
    JSON.stringify({
      bindings: resourcesOf(config).map(([kind, binding]) => `${kind} ${binding}`).sort(),
      vars: Object.keys(config.vars).sort(),
      secrets: [...config.secrets.required].sort(),
      crons: config.crons,
      consumers: config.queues.consumers.length,
    });
  const production = configIn('production');
  for (const environment of ENVIRONMENTS) {
    const config = configIn(environment);
    const where = `${worker}, ${environment}`;
    if (shape(config) !== shape(production)) faults.push(`${where}: its bindings are not production's: ${shape(config)} against ${shape(production)}`);
    if (config.workers_dev !== false || config.preview_urls !== false) faults.push(`${where}: workers_dev and preview_urls must be false`);
    if (config.vars.ENVIRONMENT !== environment) faults.push(`${where}: the variable ENVIRONMENT says ${config.vars.ENVIRONMENT}`);
    if (config.version_metadata?.binding !== 'VERSION') faults.push(`${where}: version_metadata must be bound as VERSION: a release asks each version which it is`);
    for (const [name, value] of Object.entries(config.vars)) {
      const bytes = Buffer.byteLength(typeof value === 'string' ? value : JSON.stringify(value));
      if (bytes > MOST_VAR_BYTES) faults.push(`${where}: the variable ${name} has ${bytes} bytes, and may have ${MOST_VAR_BYTES}`);
    }
    if (config.routePatterns.length === 0) faults.push(`${where}: it has no route`);
    for (const consumer of config.queues.consumers) {
      if (!consumer.dead_letter_queue) faults.push(`${where}: ${consumer.queue} has no dead-letter queue; what fails would be deleted`);
    }
  }
  return faults;
}

/** What is wrong between the workers of one environment. */
function tableFaults(environment, configs) {
  const faults = [];
  const names = new Set(configs.map(([, config]) => config.name));
  const consumed = configs.flatMap(([, config]) => config.queues.consumers.map(({ queue }) => queue));
  // People take care of these; a worker may bind one to see how much waits in it.
  const deadLetters = configs.flatMap(([, config]) => config.queues.consumers.map((consumer) => consumer.dead_letter_queue));
  const resourceOf = new Map();
  const claims = new Map();
  for (const [worker, config] of configs) {
    const where = `${worker}, ${environment}`;
    for (const [kind, binding, resource] of resourcesOf(config)) {
      const known = resourceOf.get(binding) ?? resource;
      if (known !== resource) faults.push(`${where}: ${binding} is ${resource}, and ${known} in another worker`);
      resourceOf.set(binding, known);
      if (kind === 'service' && !names.has(resource)) faults.push(`${where}: ${binding} names ${resource}, which none of the workers is`);
      if (kind === 'queue' && !consumed.includes(resource) && !deadLetters.includes(resource)) faults.push(`${where}: nobody consumes ${resource}`);
    }
    for (const pattern of config.routePatterns) {
      if (claims.has(pattern)) faults.push(`${where}: ${pattern} is ${claims.get(pattern)}'s already`);
      claims.set(pattern, worker);
    }
  }
  for (const queue of new Set(consumed)) {
    if (consumed.filter((each) => each === queue).length > 1) faults.push(`${environment}: ${queue} has several consumers; a queue may have one`);
  }
  const dates = new Set(configs.map(([, config]) => config.compatibility_date));
  if (dates.size > 1) faults.push(`${environment}: the workers have several compatibility dates: ${[...dates].join(', ')}`);
  return faults;
}

/** No resource, name or route may serve two environments. */
function separationFaults(configOf) {
  const usedBy = new Map();
  const faults = new Set();
  for (const environment of ENVIRONMENTS) {
    for (const worker of WORKERS) {
      const config = configOf(worker, environment);
      const used = [
        ...resourcesOf(config).map(([kind, , resource]) => `${kind} ${resource}`),
        ...config.queues.consumers.flatMap(({ queue, dead_letter_queue }) => [`queue ${queue}`, `queue ${dead_letter_queue}`]),
        ...config.routePatterns.map((pattern) => `route ${pattern}`),
      ];
      for (const thing of used) {
        const first = usedBy.get(thing) ?? environment;
        if (first !== environment) faults.add(`${thing} is in both ${first} and ${environment}`);
        usedBy.set(thing, first);
      }
    }
  }
  return [...faults];
}
