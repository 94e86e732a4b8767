// The worker that Miniflare asks first: it passes on what is for a worker's files, answers for hosts and paths that no worker of
// ours claims, and takes what ends in a dead-letter queue, so that a lost message is seen on the terminal and by the tests.

export default {
  fetch(request, env) {
    const { host, hostname, pathname } = new URL(request.url);
    const place = `${hostname}${pathname}`;
    const covers = (route) => (route.endsWith('*') ? place.startsWith(route.slice(0, -1)) : place === route);
    const files = env.FILES.find(({ routes }) => routes.some(covers));
    if (files) return env[files.service].fetch(request);
    const problem = {
      type: 'about:blank',
      title: 'Nothing here',
      status: 404,
      detail: `No worker has a route for ${host}${pathname}. Routes: ${env.ROUTES.join(', ')}`,
    };
    return Response.json(problem, { status: 404, headers: { 'content-type': 'application/problem+json' } });
  },

  async queue(batch, env) {
    const messages = batch.messages.map(({ id, body, attempts }) => ({ id, body, attempts }));
    await env.DEAD_LETTERS.fetch('http://launcher/', { method: 'POST', body: JSON.stringify({ queue: batch.queue, messages }) });
  },
};
