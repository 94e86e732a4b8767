// What an environment needs of the account, read from the wrangler files; and the difference to what is there.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { WORKERS } from '../lib/paths.mjs';
import { configPath, readConfig } from '../lib/wrangler-config.mjs';
import { withValue } from './jsonc-edit.mjs';
import { isPlaceholder } from './project.mjs';

/** Where a database or a bucket may be put; neither can be moved later. */
export const LOCATIONS = ['wnam', 'enam', 'weur', 'eeur', 'apac', 'oc'];
/** Seconds that a dead-letter queue keeps a message: the longest there is, for a person has to look at it. */
const DEAD_LETTER_RETENTION = 14 * 86_400;

/**
 * @typedef {object} Step
 * @property {'create' | 'change' | 'write'} action
 * @property {string} what
 * @property {(found: Found) => Promise<void>} run
 *
 * @typedef {object} Found the ids of what the account has, by the names that the wrangler files know them by
 * @property {Map<string, string>} databases by name
 * @property {Map<string, string>} namespaces by binding
 *
 * @typedef {object} Plan
 * @property {string[]} kept what is as it should be
 * @property {Step[]} steps
 * @property {string[]} faults what a person has to decide first
 * @property {Found} found
 */

/**
 * Everything that the workers of an environment bind, each thing once.
 * @param {import('./project.mjs').Project} project
 */
export function wantedResources({ root, environment, workers }) {
  const configs = workers.map(({ config }) => config);
  const unique = (items) => [...new Set(items)];
  const deadLetters = unique(configs.flatMap(({ queues }) => queues.consumers.map((consumer) => consumer.dead_letter_queue))).filter(Boolean);
  const queues = unique(configs.flatMap(({ queues: { producers, consumers } }) => [...producers, ...consumers].map(({ queue }) => queue))).filter((name) => !deadLetters.includes(name));
  const queueOf = new Map(configs.flatMap(({ queues: { producers } }) => producers.map(({ binding, queue }) => [binding, queue])));
  const buckets = new Map(configs.flatMap(({ r2_buckets: bound }) => bound.map(({ binding, bucket_name: name }) => [name, binding])));
  return {
    databases: unique(configs.flatMap(({ d1_databases: bound }) => bound.map(({ database_name: name }) => name))),
    // The files know namespaces by id alone, so their names follow from the bindings'.
    namespaces: unique(configs.flatMap(({ kv_namespaces: bound }) => bound.map(({ binding }) => binding))).map((binding) => ({
      binding,
      title: environment === 'production' ? `RS1_${binding}` : `RS1_${binding}_${environment.toUpperCase()}`,
    })),
    queues: [
      ...queues.map((name) => ({ name, settings: {} })),
      ...deadLetters.map((name) => ({ name, settings: { message_retention_period: DEAD_LETTER_RETENTION } })),
    ],
    buckets: [...buckets].map(([name, binding]) => ({ name, ...bucketRules(root, binding, queueOf) })),
    rateLimits: unique(configs.flatMap(({ ratelimits }) => ratelimits.map(({ name, namespace_id: id }) => `${name} ${id}`))),
  };
}

/**
 * `wrangler/r2/<binding>.lifecycle.json` and `.cors.json`, in wrangler's form; null where there is none. And `.notifications.json`, in
 * the API's form but for the queue, which is named by its binding.
 */
function bucketRules(root, binding, queueOf) {
  const rules = (kind) => {
    const path = join(root, 'wrangler', 'r2', `${binding.toLowerCase()}.${kind}.json`);
    return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).rules : null;
  };
  const notifications = (rules('notifications') ?? []).map(({ queue, ...rule }) => ({ queue: queueOf.get(queue), rule }));
  return { lifecycle: rules('lifecycle'), cors: rules('cors'), notifications };
}

/**
 * What would have to be done. Reads only.
 * @param {import('./project.mjs').Project} project
 * @param {ReturnType<import('./cloudflare.mjs').cloudflareClient>} api
 * @param {string} [location] for what is created
 * @returns {Promise<Plan>}
 */
export async function planResources(project, api, location) {
  const wanted = wantedResources(project);
  const plan = { kept: [], steps: [], faults: [], found: { databases: new Map(), namespaces: new Map() } };

  await planDatabases(plan, wanted, api, location);
  await planNamespaces(plan, wanted, api);
  await planQueues(plan, wanted, api);
  for (const bucket of wanted.buckets) await planBucket(plan, bucket, api, location);
  for (const limit of wanted.rateLimits) plan.kept.push(`rate limit ${limit}: its id is ours to choose, nothing to create`);

  planIds(plan, project);
  const placed = plan.steps.filter(({ action, what }) => action === 'create' && /^(D1|bucket)/.test(what));
  if (placed.length > 0 && !location) {
    plan.faults.push(`--location is needed for ${placed.map(({ what }) => what).join(', ')}: one of ${LOCATIONS.join(', ')}; it cannot be changed later`);
  }
  return plan;
}

async function planDatabases(plan, { databases }, api, location) {
  const there = databases.length > 0 ? await api.list('/d1/database') : [];
  for (const name of databases) {
    const database = there.find((each) => each.name === name);
    if (database) {
      plan.found.databases.set(name, database.uuid);
      plan.kept.push(`D1 database ${name} (${database.uuid})`);
      continue;
    }
    plan.steps.push({
      action: 'create',
      what: `D1 database ${name}`,
      run: async (found) => {
        const { uuid } = await api.post('/d1/database', { name, primary_location_hint: location });
        found.databases.set(name, uuid);
      },
    });
  }
}

async function planNamespaces(plan, { namespaces }, api) {
  const there = namespaces.length > 0 ? await api.list('/storage/kv/namespaces') : [];
  for (const { binding, title } of namespaces) {
    const namespace = there.find((each) => each.title === title);
    if (namespace) {
      plan.found.namespaces.set(binding, namespace.id);
      plan.kept.push(`KV namespace ${title} (${namespace.id})`);
      continue;
    }
    plan.steps.push({
      action: 'create',
      what: `KV namespace ${title}`,
      run: async (found) => {
        const { id } = await api.post('/storage/kv/namespaces', { title });
        found.namespaces.set(binding, id);
      },
    });
  }
}

async function planQueues(plan, { queues }, api) {
  const there = queues.length > 0 ? await api.list('/queues') : [];
  for (const { name, settings } of queues) {
    const queue = there.find((each) => each.queue_name === name);
    if (!queue) {
      plan.steps.push({ action: 'create', what: `queue ${name}`, run: () => api.post('/queues', { queue_name: name, settings }) });
      continue;
    }
    const wrong = Object.entries(settings).filter(([key, value]) => queue.settings?.[key] !== value);
    if (wrong.length === 0) {
      plan.kept.push(`queue ${name}`);
      continue;
    }
    const change = wrong.map(([key, value]) => `${key} ${queue.settings?.[key]} -> ${value}`).join(', ');
    plan.steps.push({
      action: 'change',
      what: `queue ${name}: ${change}`,
      run: () => api.patch(`/queues/${queue.queue_id}`, { settings: { ...queue.settings, ...settings } }),
    });
  }
}

async function planBucket(plan, { name, lifecycle, cors, notifications }, api, location) {
  const path = `/r2/buckets/${name}`;
  const exists = (await api.find(path)) !== null;
  if (exists) {
    plan.kept.push(`bucket ${name}`);
  } else {
    plan.steps.push({ action: 'create', what: `bucket ${name}`, run: () => api.post('/r2/buckets', { name, locationHint: location }) });
  }
  for (const [kind, rules] of Object.entries({ lifecycle, cors })) {
    if (rules === null) continue;
    const there = exists ? ((await api.find(`${path}/${kind}`))?.rules ?? []) : [];
    if (canonical(there) === canonical(rules)) {
      plan.kept.push(`bucket ${name}: ${kind}`);
      continue;
    }
    const what = `bucket ${name}: ${kind}, ${rules.map(({ id }) => id).join(', ')}`;
    plan.steps.push({ action: 'change', what, run: () => api.put(`${path}/${kind}`, { rules }) });
  }
  if (notifications.length > 0) await planNotifications(plan, name, notifications, exists, api);
}

/** A rule is known by the queue, the prefix and the actions; others that somebody made stay. */
async function planNotifications(plan, bucket, notifications, exists, api) {
  const path = `/event_notifications/r2/${bucket}/configuration`;
  const there = exists ? ((await api.find(path))?.queues ?? []) : [];
  const same = (one, other) => one.prefix === other.prefix && [...one.actions].sort().join() === [...other.actions].sort().join();
  for (const { queue, rule } of notifications) {
    const what = `bucket ${bucket}: tells queue ${queue} what comes below ${rule.prefix}`;
    if (there.some(({ queueName, rules }) => queueName === queue && rules.some((known) => same(known, rule)))) {
      plan.kept.push(what);
      continue;
    }
    const run = async () => {
      const { queue_id: id } = (await api.list('/queues')).find(({ queue_name: name }) => name === queue);
      await api.put(`${path}/queues/${id}`, { rules: [rule] });
    };
    plan.steps.push({ action: 'create', what, run });
  }
}

/** Two lists of rules are the same if they differ in order, in empty members and in the order of members only. */
function canonical(rules) {
  const tidy = (value) => {
    if (Array.isArray(value)) return value.map(tidy);
    if (value === null || typeof value !== 'object') return value;
    const members = Object.entries(value)
      .map(([key, inner]) => [key, tidy(inner)])
      .filter(([, inner]) => !(inner === undefined || inner === '' || (typeof inner === 'object' && Object.keys(inner).length === 0)));
    return Object.fromEntries(members.sort(([a], [b]) => (a < b ? -1 : 1)));
  };
  return JSON.stringify(rules.map((rule) => JSON.stringify(tidy(rule))).sort());
}

/** Where the wrangler files name an id: by whom it is found, and what it is now. */
function idPlaces({ root, environment }) {
  return WORKERS.flatMap((worker) => {
    const own = readConfig(worker, root).env[environment];
    const file = configPath(worker, root);
    return [
      ...(own.d1_databases ?? []).map((it, index) => ({
        file,
        path: ['env', environment, 'd1_databases', index, 'database_id'],
        kind: 'databases',
        name: it.database_name,
        id: it.database_id,
      })),
      ...(own.kv_namespaces ?? []).map((it, index) => ({
        file,
        path: ['env', environment, 'kv_namespaces', index, 'id'],
        kind: 'namespaces',
        name: it.binding,
        id: it.id,
      })),
    ];
  });
}

/** Plans to write the account's ids into the files. One that somebody wrote there before is theirs to change. */
function planIds(plan, project) {
  for (const place of idPlaces(project)) {
    const known = plan.found[place.kind].get(place.name);
    const where = `${relative(project.root, place.file)}: the id of ${place.name}`;
    if (known === place.id) continue;
    if (!isPlaceholder(place.id)) {
      const account = known ? `the account's is ${known}` : 'the account has none of that name';
      plan.faults.push(`${where} is ${place.id}, but ${account}: another account's? put a placeholder (zeros) there to have it replaced`);
      continue;
    }
    plan.steps.push({
      action: 'write',
      what: where,
      run: async (found) => {
        const text = readFileSync(place.file, 'utf8');
        writeFileSync(place.file, withValue(text, place.path, found[place.kind].get(place.name)));
      },
    });
  }
}
