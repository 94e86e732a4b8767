// Which topics a device may use (contract, section 2).

const PUBLISH = [
  'state',
  'telemetry/#',
  'telemetry/diagnostics',
  'diag/response',
  'ota/status',
  'config/status',
  'provision',
  'targets/stream',
];
const SUBSCRIBE = ['ota/trigger', 'config/update', 'diag/request', 'provision/response', 'command/factory-reset'];

const DEVICE_ID = /^[0-9a-f]{32}$/;
const SUFFIX = /^-[A-Za-z0-9_-]{1,16}$/;

/** The device that a client says it is; null if its names do not belong together. */
export function deviceOf(username: string, clientId: string): string | null {
  if (!DEVICE_ID.test(username) || !clientId.startsWith(username)) return null;
  const suffix = clientId.slice(username.length);
  return suffix === '' || SUFFIX.test(suffix) ? username : null;
}

/** The rules that EMQX is given when a device connects. */
export function rules(deviceId: string) {
  const topics = (names: string[]) => names.map((name) => `opticworks/${deviceId}/${name}`);
  return [
    { permission: 'allow', action: 'publish', topics: topics(PUBLISH) },
    { permission: 'allow', action: 'subscribe', topics: topics(SUBSCRIBE) },
  ];
}

/** Why a request is refused; null if it is allowed. */
export function violation(username: string, clientId: string, action: string, topic: string): string | null {
  const device = deviceOf(username, clientId);
  if (!device) return 'client';
  if (action !== 'publish' && action !== 'subscribe') return 'action';
  const match = /^opticworks\/([0-9a-f]{32})\/([^+#\0]+)$/.exec(topic);
  if (!match) return 'topic';
  if (match[1] !== device) return 'other_device';
  const name = match[2]!;
  const published = PUBLISH.includes(name) || name === 'telemetry' || name.startsWith('telemetry/');
  const subscribed = SUBSCRIBE.includes(name);
  if (!published && !subscribed) return 'topic';
  return (action === 'publish' ? published : subscribed) ? null : 'direction';
}
