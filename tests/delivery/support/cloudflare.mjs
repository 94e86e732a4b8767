// Cloudflare without Cloudflare: the part of its API that provisioning and deploying speak, and the part of its network
// that a deployment looks at. It keeps the account's state, runs the uploaded workers, applies migrations to a real
// SQLite, and holds every call against the documented shape: path, credentials, members of the body and their types.
// What is not known here is answered as the API answers it, and noted in `complaints`, which a specification ends by
// finding empty.
//
// Shapes: developers.cloudflare.com/api, and the calls of wrangler 4.116 as its source makes them.

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { serveHttp } from '../../../local/lib/serve.mjs';

const BASE = '/client/v4';
const LOCATIONS = ['wnam', 'enam', 'weur', 'eeur', 'apac', 'oc'];

// ---------------------------------------------------------------------------------------------------------------
// Shapes of bodies. A member whose name ends in `?` may be missing; a member that is not named may not be there.

const text = (value) => (typeof value === 'string' && value !== '' ? null : 'must be a text');
const anyText = (value) => (typeof value === 'string' ? null : 'must be a text');
const number = (value) => (typeof value === 'number' ? null : 'must be a number');
const flag = (value) => (typeof value === 'boolean' ? null : 'must be true or false');
const oneOf =
  (...values) =>
  (value) =>
    values.includes(value) ? null : `must be one of ${values.join(', ')}`;
const between = (low, high) => (value) => (typeof value === 'number' && value >= low && value <= high ? null : `must be ${low} to ${high}`);
const atMost = (bytes) => (value) => (typeof value === 'string' && Buffer.byteLength(value) <= bytes ? null : `must be a text of at most ${bytes} bytes`);
const listOf = (shape) => (value) => {
  if (!Array.isArray(value)) return 'must be a list';
  return value.map((item, index) => misfit(item, shape) && `[${index}] ${misfit(item, shape)}`).find(Boolean) ?? null;
};
const only = (shape) => (value) => misfit(value, shape);

/** What is wrong with a value, or null. @param {unknown} value @param {Function | Record<string, Function>} shape */
function misfit(value, shape) {
  if (typeof shape === 'function') return shape(value);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return 'must be an object';
  const known = Object.fromEntries(Object.entries(shape).map(([name, inner]) => [name.replace(/\?$/, ''), { inner, optional: name.endsWith('?') }]));
  for (const name of Object.keys(value)) if (!known[name]) return `has ${name}, which is not documented`;
  for (const [name, { inner, optional }] of Object.entries(known)) {
    if (value[name] === undefined) {
      if (!optional) return `lacks ${name}`;
      continue;
    }
    const fault = inner(value[name]);
    if (fault) return `${name} ${fault}`;
  }
  return null;
}

const age = only({ type: oneOf('Age'), maxAge: between(86_400, 36_500 * 86_400) });
const QUEUE_SETTINGS = only({ 'delivery_delay?': between(0, 86_400), 'delivery_paused?': flag, 'message_retention_period?': between(60, 1_209_600) });
const CONSUMER = {
  type: oneOf('worker'),
  script_name: text,
  'dead_letter_queue?': text,
  settings: only({
    'batch_size?': between(1, 100),
    'max_retries?': between(0, 100),
    'max_wait_time_ms?': between(0, 60_000),
    'max_concurrency?': between(1, 250),
    'retry_delay?': between(0, 86_400),
  }),
};
const SHAPES = {
  database: { name: text, 'primary_location_hint?': oneOf(...LOCATIONS) },
  query: { sql: text, 'params?': listOf((value) => (['string', 'number'].includes(typeof value) ? null : 'must be a value')) },
  import: { action: oneOf('init', 'ingest', 'poll'), 'etag?': text, 'filename?': text, 'current_bookmark?': text },
  namespace: { title: text },
  queue: { queue_name: text, 'settings?': QUEUE_SETTINGS },
  queueChange: { 'queue_name?': text, settings: QUEUE_SETTINGS },
  bucket: { name: text, 'locationHint?': oneOf(...LOCATIONS), 'storageClass?': oneOf('Standard', 'InfrequentAccess') },
  lifecycle: {
    rules: listOf({
      id: text,
      enabled: flag,
      conditions: only({ 'prefix?': anyText }),
      'deleteObjectsTransition?': only({ condition: age }),
      'abortMultipartUploadsTransition?': only({ condition: age }),
      'storageClassTransitions?': listOf({ condition: age, storageClass: oneOf('InfrequentAccess') }),
    }),
  },
  notifications: {
    rules: listOf({
      'prefix?': anyText,
      'suffix?': anyText,
      'description?': text,
      actions: listOf(oneOf('PutObject', 'CopyObject', 'CompleteMultipartUpload', 'DeleteObject', 'LifecycleDeletion')),
    }),
  },
  cors: {
    rules: listOf({
      'id?': text,
      allowed: only({ origins: listOf(text), methods: listOf(oneOf('GET', 'PUT', 'POST', 'DELETE', 'HEAD')), 'headers?': listOf(text) }),
      'exposeHeaders?': listOf(text),
      'maxAgeSeconds?': between(0, 86_400),
    }),
  },
  deployment: {
    strategy: oneOf('percentage'),
    versions: listOf({ version_id: text, percentage: between(0, 100) }),
    'annotations?': only({ 'workers/message?': atMost(100) }),
  },
  annotations: only({ 'workers/message?': atMost(100), 'workers/tag?': atMost(100), 'workers/alias?': text }),
  subdomain: { enabled: flag, previews_enabled: flag },
  routes: listOf({ pattern: text, 'zone_name?': text, 'zone_id?': text }),
  domains: {
    override_scope: flag,
    override_existing_origin: flag,
    override_existing_dns_record: flag,
    origins: listOf({ hostname: text, 'zone_name?': text, 'zone_id?': text, 'enabled?': flag, 'previews_enabled?': flag }),
  },
  schedules: listOf({ cron: text }),
  secrets: {
    secrets: (value) =>
      Object.values(value).length > 100
        ? 'has more than 100'
        : (Object.values(value)
            .map((secret) => secret && misfit(secret, { type: oneOf('secret_text'), name: text, text }))
            .find(Boolean) ?? null),
  },
  consumer: CONSUMER,
  manifest: {
    manifest: (value) => Object.entries(value).map(([path, file]) => (path.startsWith('/') ? misfit(file, { hash: text, size: number }) : `${path} must begin with /`)).find(Boolean) ?? null,
  },
};

/** The one question that is asked of the Analytics Engine; its dialect is not SQLite's. */
const WATCH =
  /^SELECT index1 AS worker, blob6 AS version, SUM\(_sample_interval\) AS requests,\s+SUM\(IF\(double1 >= 500, _sample_interval, 0\)\) AS errors,\s+quantileExactWeighted\(0\.95\)\(double2, _sample_interval\) AS p95_ms\s+FROM (?<dataset>\w+)\s+WHERE timestamp >= toDateTime\((?<since>\d+)\)\s+AND index1 IN \((?<workers>[^)]*)\) AND blob6 IN \((?<versions>[^)]*)\)\s+GROUP BY worker, version\s+FORMAT JSON$/;

class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// ---------------------------------------------------------------------------------------------------------------

/**
 * @param {object} [options]
 * @param {string} [options.zone] the account's only zone
 */
export async function startCloudflare({ zone = 'optic.works' } = {}) {
  const account = 'a'.repeat(32);
  const token = 'token-for-specifications';
  const state = { databases: [], namespaces: [], queues: [], buckets: [], files: [], uploads: {}, scripts: new Map() };
  const complaints = [];
  /** @type {{ method: string, path: string }[]} */
  const calls = [];

  const self = {
    account,
    token,
    state,
    calls,
    complaints,
    /** What the Analytics Engine has of a version: `(worker, versionId) → { requests, errors, p95 }`. */
    traffic: () => ({ requests: 1000, errors: 0, p95: 80 }),
    /** Sees each call before it is carried out; what it throws is the answer, what it returns is waited for. */
    onCall: async () => {},
    /** What calls have changed so far: neither reads nor queries of the database that only read. */
    changes: () => calls.filter(({ method, path, reads }) => method !== 'GET' && !reads && !path.endsWith('/analytics_engine/sql')),
    script: (name) => state.scripts.get(name),
    /** The share that each version of a worker has, by version id. */
    shares: (name) => Object.fromEntries(state.scripts.get(name).deployments[0].versions.map((each) => [each.version_id, each.percentage])),
    database: (name) => state.databases.find((each) => each.name === name),
    snapshot,
    restore,
    bucket: (name) => state.buckets.find((each) => each.name === name),
    /** How many objects the API lists at once, whatever is asked for. */
    objectsAPage: 1000,
  };
  const uploads = new Map();

  const id = () => randomBytes(16).toString('hex');
  const uuid = () => randomUUID();
  const now = () => new Date().toISOString();
  const bookmark = (database) => `${database.writes.toString(16).padStart(8, '0')}-00000000-00004e2e-${'c'.repeat(32)}`;

  /** What a database was after each write since somebody first asked; the oldest first. */
  function historyOf(database) {
    database.history ??= [];
    if (database.history.at(-1)?.writes !== database.writes) {
      database.history.push({ writes: database.writes, at: database.history.length === 0 ? 0 : Date.now(), bookmark: bookmark(database), dump: dumpOf(database.sqlite) });
    }
    return database.history;
  }

  // -- The state as a value, so that a specification can begin where another ended --------------------------------

  function snapshot() {
    return structuredClone({
      ...state,
      // To have asked for a bookmark, which begins the history, changes nothing.
      databases: state.databases.map(({ sqlite, history: _, ...rest }) => ({ ...rest, dump: dumpOf(sqlite) })),
      scripts: [...state.scripts].map(([name, { running: _, ...script }]) => [name, script]),
    });
  }

  function restore(saved) {
    const { databases, scripts, ...rest } = structuredClone(saved);
    Object.assign(state, rest);
    state.databases = databases.map(({ dump, ...database }) => {
      const sqlite = new DatabaseSync(':memory:');
      for (const statement of dump) sqlite.exec(statement);
      return { ...database, sqlite };
    });
    state.scripts = new Map(scripts.map(([name, script]) => [name, { ...script, running: new Map() }]));
    calls.length = 0;
  }

  // -- Answers -----------------------------------------------------------------------------------------------------

  const found = (thing, code, message) => {
    if (!thing) throw new Refusal(404, code, message);
    return thing;
  };
  const scriptNamed = (name) => found(state.scripts.get(name), 10007, 'This Worker does not exist on your account.');
  const paged = (items, query) => {
    const page = Number(query.get('page') ?? 1);
    const size = Number(query.get('per_page') ?? 20);
    const result = items.slice((page - 1) * size, page * size);
    return { result, result_info: { page, per_page: size, count: result.length, total_count: items.length } };
  };
  const databaseView = ({ sqlite: _, writes: __, history: ___, ...database }) => ({ ...database, version: 'production', num_tables: 0, file_size: 4096 });

  /** `METHOD /path` with `:name` for a segment; below the account unless it begins with /zones. */
  const ROUTES = {
    'GET /d1/database': ({ query }) => paged(state.databases.filter(({ name }) => !query.get('name') || name === query.get('name')).map(databaseView), query),
    'POST /d1/database': ({ body }) => {
      if (self.database(body.name)) throw new Refusal(400, 7502, 'A database with that name already exists');
      const database = { uuid: uuid(), name: body.name, created_at: now(), location: body.primary_location_hint, writes: 0, sqlite: new DatabaseSync(':memory:') };
      state.databases.push(database);
      return databaseView(database);
    },
    'GET /d1/database/:id': ({ id: key }) => databaseView(databaseWith(key)),
    'POST /d1/database/:id/query': ({ id: key, body, call }) => runSql(databaseWith(key), body, call),
    // What wrangler does with a file: an upload, which is then carried out as one transaction.
    'POST /d1/database/:id/import': ({ id: key, body }) => {
      const database = databaseWith(key);
      if (body.action === 'init') return { upload_url: `http://127.0.0.1:${port}/uploads/${body.etag}`, filename: `${body.etag}.sql` };
      const file = found(uploads.get(body.etag), 7500, 'nothing was uploaded');
      database.sqlite.exec('BEGIN');
      try {
        database.sqlite.exec(file);
        database.sqlite.exec('COMMIT');
      } catch (error) {
        database.sqlite.exec('ROLLBACK');
        return { success: true, status: 'error', errors: [`${error.message}: SQLITE_ERROR`], messages: [], at_bookmark: bookmark(database) };
      }
      database.writes += 1;
      const meta = { duration: 1, rows_read: 0, rows_written: 0, size_after: file.length };
      return { success: true, status: 'complete', messages: ['Done'], at_bookmark: bookmark(database), result: { num_queries: 1, final_bookmark: bookmark(database), meta } };
    },
    'GET /d1/database/:id/time_travel/bookmark': ({ id: key, query }) => {
      const database = databaseWith(key);
      const until = query.get('timestamp') && Date.parse(query.get('timestamp'));
      // The latest state that was there at that time.
      const then = until ? [...historyOf(database)].reverse().find(({ at }) => at <= until) : historyOf(database).at(-1);
      return { bookmark: found(then, 7500, 'the database is younger than that').bookmark };
    },
    'POST /d1/database/:id/time_travel/restore': ({ id: key, query }) => {
      const database = databaseWith(key);
      const previous = historyOf(database).at(-1).bookmark;
      const then = found(historyOf(database).find((each) => each.bookmark === query.get('bookmark')), 7500, 'there is no such bookmark');
      database.sqlite.close();
      database.sqlite = new DatabaseSync(':memory:');
      for (const statement of then.dump) database.sqlite.exec(statement);
      database.writes += 1;
      return { bookmark: historyOf(database).at(-1).bookmark, previous_bookmark: previous, message: 'restored' };
    },

    'GET /storage/kv/namespaces': ({ query }) => paged(state.namespaces, query),
    'POST /storage/kv/namespaces': ({ body }) => {
      if (state.namespaces.some(({ title }) => title === body.title)) throw new Refusal(400, 10014, 'a namespace with this account ID and title already exists');
      const namespace = { id: id(), title: body.title, supports_url_encoding: true };
      state.namespaces.push(namespace);
      return namespace;
    },

    'GET /queues': ({ query }) => {
      const names = query.getAll('name');
      return paged(state.queues.filter(({ queue_name: name }) => names.length === 0 || names.includes(name)), query);
    },
    'POST /queues': ({ body }) => {
      if (state.queues.some(({ queue_name: name }) => name === body.queue_name)) throw new Refusal(409, 11009, 'Queue name already taken');
      const settings = { delivery_delay: 0, delivery_paused: false, message_retention_period: 345_600, ...body.settings };
      const queue = { queue_id: id(), queue_name: body.queue_name, settings, producers: [], consumers: [] };
      state.queues.push(queue);
      return queue;
    },
    'PATCH /queues/:id': ({ id: key, body }) => Object.assign(queueWith(key).settings, body.settings) && queueWith(key),
    'POST /queues/:id/consumers': ({ id: key, body }) => {
      const queue = queueWith(key);
      if (queue.consumers.length > 0) throw new Refusal(409, 11004, 'Queue already has a consumer');
      const consumer = { consumer_id: id(), ...consumerOf(body) };
      queue.consumers.push(consumer);
      return consumer;
    },
    'PUT /queues/:id/consumers/:consumer': ({ id: key, consumer, body }) => {
      const there = found(queueWith(key).consumers.find((each) => each.consumer_id === consumer), 11006, 'consumer not found');
      return Object.assign(there, consumerOf(body));
    },

    'POST /r2/buckets': ({ body }) => {
      if (state.buckets.some(({ name }) => name === body.name)) throw new Refusal(409, 10004, 'The bucket you tried to create already exists, and you own it.');
      const bucket = { name: body.name, location: body.locationHint, creation_date: now(), lifecycle: DEFAULT_LIFECYCLE, cors: null, objects: {} };
      state.buckets.push(bucket);
      return bucketView(bucket);
    },
    'GET /r2/buckets/:bucket': ({ bucket }) => bucketView(bucketNamed(bucket)),
    'GET /r2/buckets/:bucket/lifecycle': ({ bucket }) => ({ rules: bucketNamed(bucket).lifecycle }),
    'PUT /r2/buckets/:bucket/lifecycle': ({ bucket, body }) => void (bucketNamed(bucket).lifecycle = body.rules) ?? {},
    'GET /r2/buckets/:bucket/cors': ({ bucket }) => ({ rules: found(bucketNamed(bucket).cors, 10059, 'The CORS configuration does not exist.') }),
    'GET /event_notifications/r2/:bucket/configuration': ({ bucket }) => {
      const queues = found(bucketNamed(bucket).notifications, 11015, 'No event notification configuration exists for this bucket.');
      return { bucketName: bucket, queues };
    },
    'PUT /event_notifications/r2/:bucket/configuration/queues/:id': ({ bucket, id: key, body }) => {
      const { queue_name: queueName } = queueWith(key);
      const queues = (bucketNamed(bucket).notifications ??= []);
      const known = queues.find(({ queueId }) => queueId === key) ?? queues[queues.push({ queueId: key, queueName, rules: [] }) - 1];
      known.rules.push(...body.rules.map((rule) => ({ ruleId: randomUUID(), createdAt: now(), ...rule })));
      return {};
    },
    'GET /r2/buckets/:bucket/objects': ({ bucket, query }) => {
      const keys = Object.keys(bucketNamed(bucket).objects).filter((key) => key.startsWith(query.get('prefix') ?? '')).sort();
      const from = query.get('cursor') ? keys.indexOf(atob(query.get('cursor'))) + 1 : 0;
      const page = keys.slice(from, from + Math.min(Number(query.get('per_page') ?? 20), self.objectsAPage));
      const more = from + page.length < keys.length;
      return { result: page.map((key) => ({ key, size: 0, etag: id() })), result_info: { is_truncated: more, ...(more && { cursor: btoa(page.at(-1)) }), per_page: page.length } };
    },
    'GET /r2/buckets/:bucket/objects/:key': ({ bucket, key }) =>
      new Response(Buffer.from(found(bucketNamed(bucket).objects[key], 10007, 'The specified key does not exist.'), 'base64')),
    'PUT /r2/buckets/:bucket/objects/:key': ({ bucket, key, raw }) => void (bucketNamed(bucket).objects[key] = raw.toString('base64')) ?? {},
    'PUT /r2/buckets/:bucket/cors': ({ bucket, body }) => void (bucketNamed(bucket).cors = body.rules) ?? {},

    'GET /workers/services/:script': ({ script }) => {
      const { tag, tags } = found(state.scripts.get(script), 10090, 'workers.api.error.service_not_found');
      return { id: script, default_environment: { environment: 'production', script: { id: script, tag, tags, last_deployed_from: 'wrangler' } } };
    },
    // Files of a worker: a manifest is answered with what is missing of it, and what comes with the session's token is kept.
    'POST /workers/scripts/:script/assets-upload-session': ({ body }) => {
      const hashes = [...new Set(Object.values(body.manifest).map(({ hash }) => hash))];
      const missing = hashes.filter((hash) => !state.files.includes(hash));
      const jwt = jwtOf({ session: uuid() });
      state.uploads[jwt] = { manifest: body.manifest, missing };
      return { jwt, buckets: missing.length > 0 ? [missing] : [] };
    },
    'POST /workers/assets/upload': ({ form, session }) => {
      const open = found(state.uploads[session], 10074, 'there is no such upload');
      for (const [hash, content] of form) {
        if (!open.missing.includes(hash) || Buffer.from(content, 'base64').length === 0) throw new Refusal(400, 10075, `${hash} was not asked for, or is empty`);
        state.files.push(hash);
      }
      return { jwt: session };
    },
    'PUT /workers/scripts/:script': ({ script: name, upload }) => {
      const script = state.scripts.get(name) ?? newScript(name);
      const version = addVersion(script, upload);
      addDeployment(script, [{ version_id: version.id, percentage: 100 }], upload.metadata.annotations);
      // `deployment_id` is of old, and the version's id without its hyphens.
      return { id: name, tag: script.tag, etag: id(), deployment_id: version.id.replaceAll('-', ''), startup_time_ms: 3 };
    },
    'POST /workers/scripts/:script/versions': ({ script, upload }) => {
      const version = addVersion(scriptNamed(script), upload);
      return { ...versionView(version), startup_time_ms: 3 };
    },
    'GET /workers/scripts/:script/versions': ({ script }) => ({ items: scriptNamed(script).versions.map(versionView).reverse() }),
    'GET /workers/scripts/:script/versions/:version': ({ script, version }) =>
      versionView(found(scriptNamed(script).versions.find((each) => each.id === version), 10013, 'The version does not exist.')),
    'GET /workers/scripts/:script/deployments': ({ script }) => ({ deployments: scriptNamed(script).deployments }),
    'POST /workers/scripts/:script/deployments': ({ script: name, body }) => {
      const script = scriptNamed(name);
      const total = body.versions.reduce((sum, { percentage }) => sum + percentage, 0);
      if (body.versions.length < 1 || body.versions.length > 2 || total !== 100) throw new Refusal(400, 10129, 'a deployment has one or two versions, and 100 % together');
      const strange = body.versions.find(({ version_id: key }) => !script.versions.some((version) => version.id === key));
      if (strange) throw new Refusal(400, 10130, `there is no version ${strange.version_id}`);
      return addDeployment(script, body.versions, body.annotations);
    },
    'GET /workers/scripts/:script/secrets': ({ script }) => [...scriptNamed(script).secrets.keys()].map((name) => ({ name, type: 'secret_text' })),
    // All or nothing, and one version of its own that has all of the traffic at once.
    'PATCH /workers/scripts/:script/secrets-bulk': ({ script: name, body, type }) => {
      const script = scriptNamed(name);
      if (type !== 'application/merge-patch+json') throw new Refusal(415, 10001, `secrets-bulk does not take ${type}`);
      const strange = Object.entries(body.secrets).find(([key, secret]) => secret !== null && secret.name !== key);
      if (strange) throw new Refusal(400, 10021, `${strange[0]} is named otherwise`);
      const [{ versions: serving }] = script.deployments;
      const latest = script.versions.at(-1);
      if (serving.length !== 1 || serving[0].version_id !== latest.id) throw new Refusal(400, 10215, 'the latest version of this Worker is not the deployed one');
      for (const [key, secret] of Object.entries(body.secrets)) {
        if (secret === null) script.secrets.delete(key);
        else script.secrets.set(key, secret.text);
      }
      const version = keepVersion(script, { annotations: { 'workers/triggered_by': 'secret' }, source: latest.source, vars: latest.vars, versionBinding: latest.versionBinding });
      addDeployment(script, [{ version_id: version.id, percentage: 100 }], { 'workers/triggered_by': 'secret' });
      return [...script.secrets.keys()].map((key) => ({ name: key, type: 'secret_text' }));
    },
    'GET /workers/scripts/:script/subdomain': ({ script }) => scriptNamed(script).subdomain,
    'POST /workers/scripts/:script/subdomain': ({ script, body }) => Object.assign(scriptNamed(script).subdomain, body),
    'GET /workers/scripts/:script/schedules': ({ script }) => ({ schedules: scriptNamed(script).schedules.map((cron) => ({ cron })) }),
    'PUT /workers/scripts/:script/schedules': ({ script, body }) => {
      scriptNamed(script).schedules = body.map(({ cron }) => cron);
      return { schedules: body };
    },
    'PUT /workers/scripts/:script/routes': ({ script: name, body }) => {
      for (const { pattern } of body) {
        const owner = [...state.scripts.values()].find((each) => each.name !== name && each.routes.includes(pattern));
        if (owner) throw new Refusal(409, 10020, `${pattern} is ${owner.name}'s`);
      }
      scriptNamed(name).routes = body.map(({ pattern }) => pattern);
      return body.map(({ pattern }) => pattern);
    },
    'PUT /workers/scripts/:script/domains/records': ({ script, body }) => {
      scriptNamed(script).domains = body.origins.map(({ hostname }) => hostname);
      return body.origins;
    },
    'PATCH /workers/scripts/:script/script-settings': ({ script, body }) => Object.assign(scriptNamed(script), { tags: body.tags ?? [] }) && body,
    'GET /workers/scripts/:script/settings': ({ script }) => ({ bindings: [], tags: scriptNamed(script).tags }),

    'GET /zones': ({ query }) => (query.get('name') === zone ? [{ id: 'f'.repeat(32), name: zone }] : []),
    'GET /zones/:zone/workers/routes': () => [...state.scripts.values()].flatMap(({ name, routes }) => routes.map((pattern) => ({ id: pattern, pattern, script: name }))),
  };
  const BODIES = {
    'POST /d1/database': 'database',
    'POST /d1/database/:id/query': 'query',
    'POST /d1/database/:id/import': 'import',
    'POST /storage/kv/namespaces': 'namespace',
    'POST /queues': 'queue',
    'PATCH /queues/:id': 'queueChange',
    'POST /queues/:id/consumers': 'consumer',
    'PUT /queues/:id/consumers/:consumer': 'consumer',
    'POST /r2/buckets': 'bucket',
    'PUT /r2/buckets/:bucket/lifecycle': 'lifecycle',
    'PUT /r2/buckets/:bucket/cors': 'cors',
    'PUT /event_notifications/r2/:bucket/configuration/queues/:id': 'notifications',
    'POST /workers/scripts/:script/assets-upload-session': 'manifest',
    'POST /workers/scripts/:script/deployments': 'deployment',
    'POST /workers/scripts/:script/subdomain': 'subdomain',
    'PATCH /workers/scripts/:script/secrets-bulk': 'secrets',
    'PUT /workers/scripts/:script/schedules': 'schedules',
    'PUT /workers/scripts/:script/routes': 'routes',
    'PUT /workers/scripts/:script/domains/records': 'domains',
  };

  const databaseWith = (key) => found(state.databases.find(({ uuid: own, name }) => own === key || name === key), 7404, 'The database does not exist');
  const queueWith = (key) => found(state.queues.find(({ queue_id: own }) => own === key), 11000, 'Queue does not exist.');
  const bucketNamed = (name) => found(state.buckets.find((each) => each.name === name), 10006, 'The specified bucket does not exist.');
  const bucketView = ({ name, location, creation_date: created }) => ({ name, location, creation_date: created, storage_class: 'Standard' });
  const consumerOf = ({ script_name: script, ...rest }) => ({ ...rest, script });

  function runSql(database, { sql, params = [] }, call) {
    const started = performance.now();
    const answer = (results, changes) => [{ results, success: true, meta: { duration: performance.now() - started, changes, rows_read: 0, rows_written: changes } }];
    try {
      if (/^(?:\s|\/\*.*?\*\/)*(SELECT|PRAGMA|EXPLAIN)\b/i.test(sql)) {
        call.reads = true;
        return answer(database.sqlite.prepare(sql).all(...params), 0);
      }
      // Everything of one call or nothing, as D1 does.
      database.sqlite.exec('BEGIN');
      try {
        if (params.length > 0) database.sqlite.prepare(sql).run(...params);
        else database.sqlite.exec(sql);
        database.sqlite.exec('COMMIT');
      } catch (error) {
        database.sqlite.exec('ROLLBACK');
        throw error;
      }
    } catch (error) {
      throw new Refusal(400, 7500, `${error.message}: SQLITE_ERROR`);
    }
    database.writes += 1;
    return answer([], 1);
  }

  function newScript(name) {
    const script = {
      name,
      tag: id(),
      tags: [],
      versions: [],
      deployments: [],
      secrets: new Map(),
      routes: [],
      domains: [],
      schedules: [],
      subdomain: { enabled: false, previews_enabled: false },
      running: new Map(),
    };
    state.scripts.set(name, script);
    return script;
  }

  function addVersion(script, { metadata, modules }) {
    const fault = misfit(metadata.annotations ?? {}, SHAPES.annotations);
    if (fault) throw new Refusal(400, 10021, `annotations ${fault}`);
    const source = modules.get(metadata.main_module);
    if (source === undefined) throw new Refusal(400, 10021, 'the main module was not uploaded');
    // `inherit` takes what the version before has; a secret that is in neither is missing.
    for (const { name, type, text: value } of metadata.bindings) {
      if (type === 'secret_text') script.secrets.set(name, value);
      if (type === 'inherit' && !script.secrets.has(name)) throw new Refusal(400, 10056, `there is no secret ${name} to inherit`);
    }
    for (const binding of metadata.bindings) checkBinding(binding);
    if (metadata.assets) {
      const files = found(state.uploads[metadata.assets.jwt], 10076, 'the files were not uploaded');
      const missing = Object.entries(files.manifest).filter(([, { hash }]) => !state.files.includes(hash));
      if (missing.length > 0) throw new Refusal(400, 10076, `not uploaded: ${missing.map(([path]) => path).join(', ')}`);
    }
    const vars = Object.fromEntries(metadata.bindings.filter(({ type }) => type === 'plain_text').map(({ name, text: value }) => [name, value]));
    const versionBinding = metadata.bindings.find(({ type }) => type === 'version_metadata')?.name;
    return keepVersion(script, { annotations: metadata.annotations ?? {}, source, vars, versionBinding });
  }

  function keepVersion(script, content) {
    const version = { id: uuid(), number: script.versions.length + 1, created: now(), secrets: Object.fromEntries(script.secrets), ...content };
    script.versions.push(version);
    return version;
  }

  /** A worker that binds what the account does not have is refused. */
  function checkBinding(binding) {
    if (binding.type === 'd1') found(state.databases.find(({ uuid: own }) => own === (binding.id ?? binding.database_id)), 10021, `there is no database ${binding.id}`);
    if (binding.type === 'kv_namespace') found(state.namespaces.find(({ id: own }) => own === binding.namespace_id), 10021, `there is no namespace ${binding.namespace_id}`);
    if (binding.type === 'r2_bucket') found(state.buckets.find(({ name }) => name === binding.bucket_name), 10021, `there is no bucket ${binding.bucket_name}`);
    if (binding.type === 'queue') found(state.queues.find(({ queue_name: name }) => name === binding.queue_name), 10021, `there is no queue ${binding.queue_name}`);
    if (binding.type === 'service') found(state.scripts.get(binding.service), 10143, `there is no worker ${binding.service}`);
  }

  function addDeployment(script, versions, annotations = {}) {
    const deployment = { id: uuid(), created_on: now(), source: 'api', author_email: 'ci@optic.works', strategy: 'percentage', versions, annotations };
    script.deployments.unshift(deployment);
    return deployment;
  }

  const versionView = ({ id: key, number: count, created, annotations }) => ({
    id: key,
    number: count,
    metadata: { created_on: created, modified_on: created, source: 'wrangler', author_email: 'ci@optic.works', has_preview: false },
    annotations,
  });

  // -- The network: a request to one of the workers ------------------------------------------------------------------

  async function visit(request) {
    const { host, override } = { host: request.headers.host, override: request.headers['cloudflare-workers-version-overrides'] };
    const url = new URL(request.url, `https://${host}`);
    const claims = (pattern) => new RegExp(`^${pattern.replace(/[.]/g, '\\.').replace(/\*/g, '.*')}$`).test(`${host}${url.pathname}`);
    // The most specific route has it; none, whoever owns the host.
    const reach = ({ routes, domains }) => Math.max(domains.includes(host) ? 0 : -1, ...routes.filter(claims).map(({ length }) => length));
    const script = [...state.scripts.values()].filter((each) => reach(each) >= 0).sort((a, b) => reach(b) - reach(a))[0];
    if (!script || script.deployments.length === 0) return new Response('error code: 1016', { status: 530 });
    const [, wanted] = new RegExp(`(?:^|, *)${script.name}="([^"]+)"`).exec(override ?? '') ?? [];
    const serving = script.deployments[0].versions;
    // Only a version that is in the deployment can be asked for; else the traffic's shares decide.
    const chosen = serving.find(({ version_id: key }) => key === wanted) ?? [...serving].sort((a, b) => b.percentage - a.percentage)[0];
    const version = script.versions.find((each) => each.id === chosen.version_id);
    if (!script.running.has(version.id)) script.running.set(version.id, (await import(`data:text/javascript;base64,${Buffer.from(version.source).toString('base64')}`)).default);
    const env = { ...version.vars, ...version.secrets, ...(version.versionBinding && { [version.versionBinding]: { id: version.id, tag: '', timestamp: version.created } }) };
    const { method, headers } = request;
    const body = ['GET', 'HEAD'].includes(method) ? undefined : Buffer.concat(await request.toArray());
    return script.running.get(version.id).fetch(new Request(url, { method, headers, body }), env);
  }

  function analytics(sql) {
    const asked = WATCH.exec(sql);
    if (!asked) throw new Refusal(422, 0, `this is not a query that is known here: ${sql}`);
    const list = (items) => items.split(',').map((item) => item.trim().replace(/^'|'$/g, ''));
    const data = list(asked.groups.workers).flatMap((worker) =>
      list(asked.groups.versions).flatMap((version) => {
        const owner = [...state.scripts.values()].find(({ versions }) => versions.some((each) => each.id === version));
        if (!owner?.name.startsWith(`rs1-${worker}-`)) return [];
        const { requests, errors, p95 } = self.traffic(worker, version);
        // Sums of integers come as texts, as ClickHouse writes them.
        return requests > 0 ? [{ worker, version, requests: String(requests), errors: String(errors), p95_ms: p95 }] : [];
      }),
    );
    return { meta: [], data, rows: data.length };
  }

  // -- The server ------------------------------------------------------------------------------------------------------

  const compiled = Object.entries(ROUTES).map(([name, answer]) => {
    const [method, pattern] = name.split(' ');
    return { name, method, names: [...pattern.matchAll(/:(\w+)/g)].map(([, each]) => each), expression: new RegExp(`^${pattern.replace(':key', '(.+)').replace(/:\w+/g, '([^/]+)')}$`), answer };
  });

  async function answer(request) {
    if (request.method === 'PUT' && request.url.startsWith('/uploads/')) {
      const file = Buffer.concat(await request.toArray());
      const etag = createHash('md5').update(file).digest('hex');
      uploads.set(etag, file.toString());
      return new Response(null, { headers: { etag: `"${etag}"` } });
    }
    if (!request.url.startsWith(`${BASE}/`)) return visit(request);
    const url = new URL(request.url, 'http://localhost');
    const path = url.pathname.slice(BASE.length).replace(new RegExp(`^/accounts/${account}(?=/)`), '');
    const call = { method: request.method, path };
    calls.push(call);
    const raw = Buffer.concat(await request.toArray());
    try {
      const session = path === '/workers/assets/upload' ? bearer(request) : undefined;
      if (bearer(request) !== token && !state.uploads[session]) throw new Refusal(401, 10000, 'Authentication error');
      if (path.startsWith('/accounts/')) throw new Refusal(403, 9109, 'Unauthorized to access requested resource');
      await self.onCall(call);
      if (`${request.method} ${path}` === 'POST /analytics_engine/sql') return Response.json(analytics(raw.toString()));

      const route = compiled.find(({ method, expression }) => method === request.method && expression.test(path));
      if (!route) throw new Refusal(404, 7003, `Could not route to ${path}`);
      const values = route.expression.exec(path).slice(1).map(decodeURIComponent);
      const context = { ...Object.fromEntries(route.names.map((name, index) => [name, values[index]])), query: url.searchParams, call, raw, session, type: request.headers['content-type'] };
      if (request.headers['content-type']?.startsWith('multipart/form-data')) {
        const form = await new Response(raw, { headers: { 'content-type': request.headers['content-type'] } }).formData();
        const parts = await Promise.all([...form].map(async ([name, part]) => [part.name ?? name, typeof part === 'string' ? part : await part.text()]));
        context.form = parts;
        if (form.has('metadata')) context.upload = { metadata: JSON.parse(form.get('metadata')), modules: new Map(parts) };
      } else if (raw.length > 0 && route.names.at(-1) !== 'key') {
        context.body = JSON.parse(raw.toString());
        const shape = SHAPES[BODIES[route.name]];
        const fault = shape && misfit(context.body, shape);
        if (fault) throw new Refusal(400, 10001, `${route.name}: the body ${fault}`);
      }
      const result = await route.answer(context);
      if (result instanceof Response) return result;
      const envelope = result?.result_info ? result : { result };
      return Response.json({ success: true, errors: [], messages: [], ...envelope });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // What is merely not there is an answer; the rest is a call that should not have been made so.
      if (error.status !== 404 || error.code === 7003) complaints.push(`${request.method} ${path}: ${error.message}`);
      return Response.json({ success: false, errors: [{ code: error.code, message: error.message }], messages: [], result: null }, { status: error.status });
    }
  }

  const handle = (request, response) =>
    answer(request)
      .then(async (made) => {
        response.writeHead(made.status, Object.fromEntries(made.headers));
        response.end(Buffer.from(await made.arrayBuffer()));
      })
      .catch((error) => {
        complaints.push(`${request.method} ${request.url}: ${error.stack}`);
        response.writeHead(500).end();
      });
  const { port, close } = await serveHttp({ port: 0, handle });
  return Object.assign(self, {
    address: `127.0.0.1:${port}`,
    env: { CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${port}${BASE}`, CLOUDFLARE_API_TOKEN: token, CLOUDFLARE_ACCOUNT_ID: account },
    stop: close,
  });
}

const bearer = (request) => /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];

/** A token in a JWT's form, which is all that wrangler looks at. */
const jwtOf = (claims) => ['{"alg":"none"}', JSON.stringify({ exp: 4_102_444_800, ...claims }), 'x'].map((part) => Buffer.from(part).toString('base64url')).join('.');

/** What a new bucket has. */
const DEFAULT_LIFECYCLE = [
  { id: 'Default Multipart Abort Rule', enabled: true, conditions: { prefix: '' }, abortMultipartUploadsTransition: { condition: { type: 'Age', maxAge: 604_800 } } },
];

/** A database as statements that make it again. */
function dumpOf(sqlite) {
  const schema = sqlite.prepare("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type = 'table' DESC, rowid").all();
  const rows = schema
    .filter(({ type }) => type === 'table')
    .flatMap(({ name }) => sqlite.prepare(`SELECT * FROM "${name}"`).all().map((row) => insertOf(name, row)));
  const tables = schema.filter(({ type }) => type === 'table').map(({ sql }) => sql);
  return [...tables, ...rows, ...schema.filter(({ type }) => type !== 'table').map(({ sql }) => sql)];
}

function insertOf(table, row) {
  const literal = (value) => (value === null ? 'NULL' : typeof value === 'number' ? String(value) : `'${String(value).replaceAll("'", "''")}'`);
  return `INSERT INTO "${table}" (${Object.keys(row).join(', ')}) VALUES (${Object.values(row).map(literal).join(', ')})`;
}
