// The launcher's own endpoint, for the commands beside it: crons by hand, and a look into the buckets and the database.
// Only this machine reaches it. Everything that changes something wants JSON, which a page in a browser cannot send here.

import { readJson, sendJson } from './http.mjs';
import { serveHttp } from './serve.mjs';

/**
 *     GET  /                              what runs: workers with their routes, crons and bindings
 *     POST /cron  {worker, cron, time?}   -> {outcome, ms}; 422 with what exists when there is no such cron
 *     POST /sql   {sql, params?}          -> {results}, on the workers' database
 *     POST /secrets {set?, tell?}         -> 204; `set` is NAME: value or null, `tell` whom: "workers", "broker"
 *     GET  /r2/BINDING?prefix=&cursor=    -> {objects: [{key, size}], cursor}
 *     GET  /r2/BINDING/KEY                -> the object's bytes
 *
 * @param {object} options
 * @param {number} options.port
 * @param {Awaited<ReturnType<typeof import('./cloud.mjs').startCloud>>} options.cloud
 * @param {(worker: string, cron: string, at: Date) => Promise<{ outcome: string, ms: number }>} options.runCron
 * @param {ReturnType<typeof import('./rotation.mjs').localRotation>} options.rotation
 */
export async function startControl({ port, cloud, runCron, rotation }) {
  const handle = (incoming, response) =>
    serve({ cloud, runCron, rotation }, incoming, response).catch((error) => sendJson(response, 500, { error: error.message }));
  return serveHttp({ port, handle });
}

async function serve({ cloud, runCron, rotation }, incoming, response) {
  const url = new URL(incoming.url, 'http://launcher');
  const [first, binding, ...key] = url.pathname.split('/').slice(1).map(decodeURIComponent);
  if (incoming.method === 'POST') {
    if (incoming.headers['content-type'] !== 'application/json') return sendJson(response, 415, { error: 'send application/json' });
    const body = await readJson(incoming);
    if (first === 'cron') return cron(cloud, runCron, body, response);
    if (first === 'secrets') {
      await rotation.change(body);
      response.writeHead(204);
      return response.end();
    }
    if (first === 'sql') {
      const { results } = await (await cloud.database()).prepare(body.sql).bind(...(body.params ?? [])).all();
      return sendJson(response, 200, { results });
    }
  }
  if (incoming.method === 'GET' && first === '') {
    const workers = cloud.workers.map(({ worker, routePatterns, crons }) => ({ worker, routes: routePatterns, crons }));
    return sendJson(response, 200, { workers });
  }
  if (incoming.method === 'GET' && first === 'r2' && binding) return object(await cloud.bucket(binding), key.join('/'), url, response);
  return sendJson(response, 404, { error: `nothing at ${incoming.method} ${url.pathname}` });
}

async function cron(cloud, runCron, { worker, cron: expression, time }, response) {
  const table = cloud.workers.find((one) => one.worker === worker);
  if (!table?.crons.includes(expression)) {
    const exist = cloud.workers.map(({ worker: name, crons }) => ({ worker: name, crons }));
    return sendJson(response, 422, { error: table ? `${worker} has no cron "${expression}"` : `there is no worker ${worker}`, exist });
  }
  return sendJson(response, 200, await runCron(worker, expression, time === undefined ? new Date() : new Date(time)));
}

async function object(bucket, key, url, response) {
  if (key === '') {
    const { searchParams } = url;
    const page = await bucket.list({ prefix: searchParams.get('prefix') ?? '', cursor: searchParams.get('cursor') ?? undefined });
    const objects = page.objects.map(({ key: name, size }) => ({ key: name, size }));
    return sendJson(response, 200, { objects, cursor: page.truncated ? page.cursor : null });
  }
  const found = await bucket.get(key);
  if (!found) return sendJson(response, 404, { error: `no object ${key}` });
  const bytes = Buffer.from(await found.arrayBuffer());
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length });
  return response.end(bytes);
}
