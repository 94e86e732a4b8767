// Stands between a worker and one of its bindings and notes what a call costs: rows of D1, operations of R2. Miniflare runs this
// inside the worker ("wrapped binding"), so that the bundle is the released one. It must be a single module, and gets: KIND,
// WORKER, MARK, and the real binding as REAL.

/** What is noted goes out by the console: a request would wait, and so change what is measured beside it. */
const note = (env, entry) => console.log(env.MARK + JSON.stringify({ worker: env.WORKER, ...entry }));

export default function meter(env) {
  return env.KIND === 'd1' ? meterDatabase(env) : meterBucket(env);
}

/** D1's client is JavaScript that posts to a service, whose answer has each statement's `meta`. */
function meterDatabase(env) {
  const database = env.REAL;
  const service = database.fetcher;
  const metered = {
    async fetch(url, init) {
      const queries = [JSON.parse(init.body)].flat();
      const answer = await service.fetch(url, init);
      const text = await answer.text();
      const results = [JSON.parse(text)].flat();
      for (const [index, { meta }] of results.entries()) {
        const [, name = '?'] = /^\s*\/\* *([\w-]+)/.exec(queries[index]?.sql ?? '') ?? [];
        if (meta) note(env, { statement: name, read: meta.rows_read ?? 0, written: meta.rows_written ?? 0 });
      }
      return new Response(text, answer);
    },
  };
  database.fetcher = metered;
  database.alwaysPrimarySession.fetcher = metered;
  return database;
}

const OPERATIONS = ['head', 'get', 'put', 'list', 'delete', 'createMultipartUpload'];

function meterBucket(env) {
  return new Proxy(env.REAL, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (typeof value !== 'function' || name === 'constructor') return value;
      if (!OPERATIONS.includes(name)) return value.bind(target);
      return (...args) => {
        note(env, { op: name });
        return value.apply(target, args);
      };
    },
  });
}
