// A worker that does what it is told, for the harness's own spec.

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const step = pathname.split('/').at(-1);
    try {
      return Response.json((await STEPS[step](env, request)) ?? null);
    } catch (error) {
      return Response.json({ error: error.message }, { status: 503 });
    }
  },

  async queue(batch, env) {
    for (const message of batch.messages) {
      if (message.body.poison) message.retry();
      else await env.DB.prepare('/* consume */ INSERT INTO probe (word) VALUES (?)').bind(message.body.word).run();
    }
  },

  scheduled(controller) {
    console.log(JSON.stringify({ worker: 'telemetry', cron: controller.cron, at: controller.scheduledTime }));
    if (controller.scheduledTime === 0) throw new Error('told to fail');
  },
};

const STEPS = {
  insert: (env) =>
    env.DB.batch([
      env.DB.prepare('/* insert-word */ INSERT INTO probe (word) VALUES (?)').bind('one'),
      env.DB.prepare('/* count-words */ SELECT COUNT(*) AS words FROM probe'),
    ]).then(([, { results }]) => results[0]),
  put: async (env) => ({ key: (await env.ARCHIVES.put('2026/a.ndjson', '{"n":1}\n{"n":2}\n')).key }),
  send: async (env, request) => env.TELEMETRY_QUEUE.send(await request.json()),
  point: (env) => env.ANALYTICS.writeDataPoint({ indexes: ['a', 'b'], blobs: ['telemetry'], doubles: [1] }),
  names: (env) => Object.fromEntries(['DB', 'ARCHIVES', 'TELEMETRY_QUEUE', 'ANALYTICS'].map((name) => [name, env[name].constructor.name])),
  keys: async () => (await fetch('http://identity.localhost/cdn-cgi/access/certs')).json(),
  internet: async () => (await fetch('https://api.optic.works/health')).status,
  secret: (env) => ({ webhook: env.WEBHOOK_SECRET, jwt: env.JWT_SECRET }),
};
