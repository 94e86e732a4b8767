// The JavaScript half of probe.rs.

function bound(env, binding) {
  const found = env[binding];
  if (!found) throw new Error(`binding ${binding} is missing`);
  return found;
}

export async function ask(env, binding, url, authorization, limit, milliseconds) {
  const headers = { accept: "*/*", "user-agent": "rs1-health/1" };
  if (authorization !== "") headers.authorization = authorization;
  const options = { headers, redirect: "manual", signal: AbortSignal.timeout(milliseconds) };
  const response = binding === "" ? await fetch(url, options) : await bound(env, binding).fetch(`https://worker${url}`, options);
  const location = (response.headers.get("location") ?? "").replaceAll("\n", "");
  return `${response.status}\n${location}\n${await beginning(response, limit)}`;
}

// Leaving the loop early cancels the body. What is no text is judged as such.
async function beginning(response, limit) {
  const decoder = new TextDecoder();
  let text = "";
  let length = 0;
  for await (const chunk of response.body ?? []) {
    const rest = limit - length;
    text += decoder.decode(chunk.subarray(0, rest), { stream: true });
    length += chunk.byteLength;
    if (chunk.byteLength >= rest) break;
  }
  return text + decoder.decode();
}

export async function bucket(env, binding, key, text) {
  const store = bound(env, binding);
  await store.put(key, text);
  try {
    const found = await (await store.get(key))?.text();
    if (found !== text) throw new Error(found === undefined ? "what was put is not there" : "something else is there");
  } finally {
    await store.delete(key);
  }
}

export async function namespace(env, binding, key, text) {
  const store = bound(env, binding);
  await store.put(key, text, { expirationTtl: 3600 });
  await store.get(key);
}

export async function backlog(env, binding) {
  const { backlogCount, oldestMessageTimestamp } = await bound(env, binding).metrics();
  return `${backlogCount} ${oldestMessageTimestamp?.getTime() ?? 0}`;
}

export function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
