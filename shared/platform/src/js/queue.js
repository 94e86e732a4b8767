// The JavaScript half of queue.rs.

export async function send(env, binding, message) {
  const queue = env[binding];
  if (!queue) throw new Error(`binding ${binding} is missing`);
  await queue.send(message, { contentType: "text" });
}

export async function send_all(env, binding, messages, delays) {
  const queue = env[binding];
  if (!queue) throw new Error(`binding ${binding} is missing`);
  // `delays` is a view of wasm's memory: read before the first await.
  await queue.sendBatch(messages.map((body, i) => ({ body, contentType: "text", delaySeconds: delays[i] })));
}

export function read(batch) {
  return JSON.stringify([batch.queue, batch.messages.map((m) => [m.id, m.attempts, m.timestamp.getTime(), text(m.body)])]);
}

export function settle(batch, retries) {
  const delays = new Map();
  for (let i = 0; i + 1 < retries.length; i += 2) delays.set(retries[i], retries[i + 1]);
  batch.messages.forEach((message, index) => {
    const delaySeconds = delays.get(index);
    if (delaySeconds === undefined) message.ack();
    else message.retry({ delaySeconds });
  });
}

export function retry_all(batch) {
  batch.retryAll();
}

// Our producers send text. A person with the dashboard, or another system, may send anything.
function text(body) {
  if (typeof body === "string") return body;
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return new TextDecoder().decode(body);
  try {
    return JSON.stringify(body) ?? String(body);
  } catch {
    // Neither JSON nor, perhaps, willing to become a string: its kind has to do.
    return Object.prototype.toString.call(body);
  }
}
