// Stands between a worker and one of its bindings: the harness sees every call, and can make it fail before it is done
// or after. Miniflare runs this inside the worker ("wrapped binding"), so that the bundle under test is the released one.
// It must be a single module, and gets: KIND, WORKER, BINDING, the real binding as REAL, and the harness as HARNESS.

/** The calls that reach the outside, by kind of binding. Everything else is the real thing untouched. */
const TAPPED = {
  r2: ['head', 'get', 'put', 'list', 'delete', 'createMultipartUpload'],
  kv: ['get', 'getWithMetadata', 'put', 'list', 'delete'],
  queue: ['send', 'sendBatch'],
};

export default function tap(env) {
  if (env.KIND === 'analytics') return new AnalyticsEngineDataset(env);
  return env.KIND === 'd1' ? tapDatabase(env) : tapMethods(env, TAPPED[env.KIND]);
}

/** Asks the harness, does the call or not, and fails it or not. */
async function through(env, seen, call) {
  const answer = await env.HARNESS.fetch('http://harness/', {
    method: 'POST',
    body: JSON.stringify({ worker: env.WORKER, binding: env.BINDING, ...seen }),
  });
  const { before, after } = await answer.json();
  if (before) throw new Error(before);
  const result = await call();
  if (after) throw new Error(after);
  return result;
}

/**
 * D1's client is JavaScript that posts to a service. Tapping that, below the client, makes a failure look as D1's own:
 * the client turns this answer into `D1_ERROR: …` with a cause.
 */
function tapDatabase(env) {
  const database = env.REAL;
  const service = database.fetcher;
  const tapped = {
    fetch: (url, init) => {
      const sql = [JSON.parse(init.body)].flat().map((query) => query.sql);
      return through(env, { op: new URL(url).pathname.slice(1), sql }, () => service.fetch(url, init)).catch((error) =>
        Response.json({ success: false, error: error.message }),
      );
    },
  };
  database.fetcher = tapped;
  database.alwaysPrimarySession.fetcher = tapped;
  return database;
}

function tapMethods(env, names) {
  return new Proxy(env.REAL, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (typeof value !== 'function' || name === 'constructor') return value;
      if (!names.includes(name)) return value.bind(target);
      return (...args) => through(env, { op: name, key: keyOf(name, args) }, () => value.apply(target, args));
    },
  });
}

function keyOf(name, [first]) {
  if (name === 'send' || name === 'sendBatch') return undefined;
  if (name === 'list') return first?.prefix;
  return Array.isArray(first) ? first.join(' ') : first;
}

/** The real one swallows whatever it is given. This one writes it down; its name is what bindings are recognized by. */
class AnalyticsEngineDataset {
  #env;

  constructor(env) {
    this.#env = env;
  }

  writeDataPoint(point) {
    // It returns nothing and cannot wait, so the console is the only way out.
    console.log(`${this.#env.MARK}${JSON.stringify({ worker: this.#env.WORKER, binding: this.#env.BINDING, ...point })}`);
  }
}
