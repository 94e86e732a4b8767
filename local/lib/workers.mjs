// The workers as wrangler/<worker>.jsonc describes them in environment `local`, turned into Miniflare's options. Wrangler
// has a function for that, but it knows nothing of routes, and loading wrangler costs a second in every test file.

import { dirname, resolve } from 'node:path';
import { assetsDir } from '../../tools/lib/assets.mjs';
import { WORKERS } from '../../tools/lib/paths.mjs';
import { configPath, workerConfig } from '../../tools/lib/wrangler-config.mjs';
import { Trouble } from './trouble.mjs';

/**
 * A worker's configuration, with its folder's name as `worker` and its bundle as an absolute `main`.
 * @typedef {ReturnType<typeof workerConfig> & { worker: string, main: string }} WorkerTable
 */

/** Where each worker answers that it is well. */
export const HEALTH = {
  'device-api': { host: 'api.localhost', path: '/api/health' },
  telemetry: { host: 'api.localhost', path: '/webhook/health' },
  history: { host: 'api.localhost', path: '/api/history/health' },
  archive: { host: 'api.localhost', path: '/api/archive/health' },
  ota: { host: 'ota.localhost', path: '/health' },
  status: { host: 'status.localhost', path: '/page/health' },
  health: { host: 'status.localhost', path: '/health' },
};

/** Secrets that a worker takes if they are there, for which wrangler has no word. */
const OPTIONAL_SECRETS = {
  health: ['PAGERDUTY_ROUTING_KEY', 'SLACK_WEBHOOK_URL', 'NOTICE_WEBHOOK_SECRET'],
  status: ['METRICS_TOKEN'],
};

/** Configuration that becomes a Miniflare option below, or means nothing on one machine. */
const UNDERSTOOD = new Set([
  ...['name', 'main', 'vars', 'secrets', 'd1_databases', 'r2_buckets', 'kv_namespaces', 'queues', 'ratelimits', 'services'],
  ...['analytics_engine_datasets', 'version_metadata', 'assets', 'compatibility_date', 'compatibility_flags'],
  ...['routes', 'routePatterns', 'triggers', 'crons', 'limits', 'observability', 'placement', 'logpush'],
  ...['$schema', 'workers_dev', 'preview_urls', 'upload_source_maps', 'keep_vars', 'no_bundle', 'minify', 'rules'],
]);

/**
 * @param {string[]} [workers]
 * @returns {WorkerTable[]}
 */
export function readWorkers(workers = WORKERS) {
  return workers.map((worker) => {
    const config = workerConfig(worker, 'local');
    const strange = Object.keys(config).filter((key) => !UNDERSTOOD.has(key));
    if (strange.length > 0) {
      // A binding that went missing silently would look like a fault of the worker.
      throw new Trouble(`${configPath(worker)}: the local stack does not know ${strange.join(', ')}`, [
        'say in local/lib/workers.mjs what it is to Miniflare',
      ]);
    }
    return { ...config, worker, main: resolve(dirname(configPath(worker)), config.main) };
  });
}

/** The directory with the migrations of the database that a worker binds. @param {WorkerTable} table */
export function migrationsOf(table) {
  const directory = table.d1_databases.find(({ migrations_dir }) => migrations_dir)?.migrations_dir;
  return directory ? resolve(dirname(configPath(table.worker)), directory) : null;
}

/**
 * What Miniflare needs to run one worker.
 *
 * @param {WorkerTable} table
 * @param {object} run
 * @param {Record<string, string>} run.secrets
 * @param {(value: unknown) => unknown} [run.moveVar] rewrites the value of a var
 * @param {number} [run.batchTimeout] seconds; instead of the configured wait of every consumer
 */
export function miniflareWorker(table, { secrets, moveVar = (value) => value, batchTimeout }) {
  return {
    name: table.name,
    modules: true,
    scriptPath: table.main,
    modulesRoot: dirname(table.main),
    modulesRules: [
      { type: 'ESModule', include: ['**/*.js', '**/*.mjs'] },
      { type: 'CompiledWasm', include: ['**/*.wasm'] },
    ],
    compatibilityDate: table.compatibility_date,
    compatibilityFlags: table.compatibility_flags ?? [],
    routes: table.routePatterns,
    bindings: {
      ...Object.fromEntries(Object.entries(table.vars).map(([name, value]) => [name, moveVar(value)])),
      ...secretsFor(table, secrets),
    },
    ...resources([table]),
    queueConsumers: Object.fromEntries(
      table.queues.consumers.map((consumer) => [
        consumer.queue,
        {
          maxBatchSize: consumer.max_batch_size,
          maxBatchTimeout: batchTimeout ?? consumer.max_batch_timeout,
          maxRetries: consumer.max_retries,
          deadLetterQueue: consumer.dead_letter_queue,
          retryDelay: consumer.retry_delay,
        },
      ]),
    ),
    ratelimits: byBinding(table.ratelimits, ({ namespace_id, simple }) => ({ namespace_id, simple }), 'name'),
    analyticsEngineDatasets: byBinding(table.analytics_engine_datasets, ({ dataset, binding }) => ({ dataset: dataset ?? binding })),
    serviceBindings: byBinding(table.services, ({ service, entrypoint }) => ({ name: service, entrypoint })),
    versionMetadata: table.version_metadata?.binding,
    ...(table.assets && { assets: served(table) }),
  };
}

/** The paths of files, `*` for whatever follows. */
const filePaths = (assets) => assets.run_worker_first.filter((path) => path.startsWith('!')).map((path) => path.slice(1));

/**
 * Miniflare takes a request straight to the worker whose route it is, past the worker's files; only what comes over a service
 * binding meets those. So these routes are for a worker that passes on what it gets.
 * @param {WorkerTable[]} tables
 * @returns {{ routes: string[], service: string }[]}
 */
export function fileRoutes(tables) {
  return tables
    .filter(({ assets }) => assets)
    .map(({ name, assets, routePatterns }) => {
      const hosts = [...new Set(routePatterns.map((pattern) => pattern.slice(0, pattern.indexOf('/'))))];
      return { service: name, routes: hosts.flatMap((host) => filePaths(assets).map((path) => `${host}${path}`)) };
    });
}

/** The files that a worker serves beside its routes; which paths are theirs is told by the configuration, as wrangler reads it. */
function served({ name, worker, assets }) {
  return {
    workerName: name,
    directory: assetsDir(worker),
    routerConfig: {
      has_user_worker: true,
      static_routing: { user_worker: assets.run_worker_first.filter((path) => !path.startsWith('!')), asset_worker: filePaths(assets) },
    },
    assetConfig: { html_handling: assets.html_handling, not_found_handling: assets.not_found_handling },
  };
}

/**
 * The places where these workers keep things, under the ids by which wrangler files them on disk (`--local`), so that
 * `wrangler d1 execute … --local --persist-to .local` sees the same database.
 * @param {WorkerTable[]} tables
 */
export function resources(tables) {
  const all = (key) => tables.flatMap((table) => table[key]);
  return {
    d1Databases: byBinding(all('d1_databases'), (db) => db.preview_database_id ?? db.database_id ?? db.binding),
    r2Buckets: byBinding(all('r2_buckets'), (bucket) => bucket.bucket_name ?? bucket.binding),
    kvNamespaces: byBinding(all('kv_namespaces'), (namespace) => namespace.id ?? namespace.binding),
    queueProducers: byBinding(
      tables.flatMap(({ queues }) => queues.producers),
      ({ queue, delivery_delay }) => ({ queueName: queue, deliveryDelay: delivery_delay }),
    ),
  };
}

/** The name of a bucket. @param {WorkerTable[]} tables @param {string} binding */
export const bucketName = (tables, binding) => tables.flatMap(({ r2_buckets }) => r2_buckets).find((one) => one.binding === binding).bucket_name;

const byBinding = (rows, value, name = 'binding') => Object.fromEntries(rows.map((row) => [row[name], value(row)]));

/**
 * A worker is given the secrets that it asks for, as in production; a ring's `…_PREVIOUS` comes along while it exists.
 * @param {WorkerTable} table
 */
function secretsFor(table, secrets) {
  const { required } = table.secrets;
  const missing = required.filter((name) => secrets[name] === undefined);
  if (missing.length > 0) {
    throw new Trouble(`${table.worker} requires secrets that this machine has not: ${missing.join(', ')}`, [
      'add them to .local/dev.vars, one KEY=value a line',
    ]);
  }
  const wanted = new Set([...required, ...(OPTIONAL_SECRETS[table.worker] ?? [])].flatMap((name) => [name, `${name}_PREVIOUS`]));
  return Object.fromEntries(Object.entries(secrets).filter(([name]) => wanted.has(name)));
}
