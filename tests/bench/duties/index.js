// The duties of `npm run bench`: what every answer to the broker costs, whoever decides and however. It does what is required of each
// request (reads its headers and its body, gives it an id, asks the database once at a login, leaves a log line and an analytics
// point) and decides nothing: everybody may do everything. How far it is ahead of the peer is all the room that there is for deciding.

const JSON_HEADERS = new Headers({ 'content-type': 'application/json' });
const PERMITTED = '{"result":"allow"}';
const FILTERS = {
  publish: ['state', 'telemetry/#', 'telemetry/diagnostics', 'diag/response', 'ota/status', 'config/status', 'provision', 'targets/stream'],
  subscribe: ['ota/trigger', 'config/update', 'diag/request', 'provision/response', 'command/factory-reset'],
};
const RULES = Object.entries(FILTERS).map(([action, names]) => ({
  permission: 'allow',
  action,
  topics: names.map((name) => `opticworks/${'0'.repeat(32)}/${name}`),
}));
const ADMITTED = JSON.stringify({ result: 'allow', is_superuser: false, acl: RULES });
const utf8 = new TextDecoder();

export default {
  async fetch(request, env) {
    const started = Date.now();
    const { headers, method } = request;
    headers.get('x-webhook-secret');
    headers.get('content-length');
    const requestId = headers.get('x-request-id') ?? crypto.randomUUID();
    const bytes = await request.arrayBuffer();
    const isLogin = request.url.endsWith('/webhook/mqtt-auth');
    const route = isLogin ? '/webhook/mqtt-auth' : '/webhook/mqtt-acl';
    if (isLogin) {
      const { username } = JSON.parse(utf8.decode(bytes));
      await env.DB.prepare('SELECT sealed_key FROM devices WHERE device_id = ?1').bind(username).raw();
    }
    const duration = Date.now() - started;
    console.log(
      JSON.stringify({ ts: new Date(started).toISOString(), level: 'info', worker: 'duties', request_id: requestId, method, route, status: 200, duration_ms: duration }),
    );
    env.ANALYTICS.writeDataPoint({ indexes: ['duties'], blobs: [route, method, '2xx', '', env.ENVIRONMENT, ''], doubles: [200, duration] });
    JSON_HEADERS.set('x-request-id', requestId);
    return new Response(isLogin ? ADMITTED : PERMITTED, { headers: JSON_HEADERS });
  },
};
