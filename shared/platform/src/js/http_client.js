// The JavaScript half of http_client.rs.

export async function fetch_text(url, limit, milliseconds) {
  const response = await fetch(url, {
    headers: { accept: "application/json" },
    redirect: "manual",
    signal: AbortSignal.timeout(milliseconds),
  });
  if (response.status !== 200) {
    // An unread body keeps its connection, of which an invocation has six.
    await response.body?.cancel();
    throw new Error(`status ${response.status}`);
  }
  return bounded(response, limit);
}

// `headers` are names and values in turn, flat.
export async function exchange(method, url, headers, body, limit, milliseconds) {
  const response = await request(method, url, headers, body, milliseconds);
  return `${response.status}\n${await bounded(response, limit)}`;
}

// What was taken was taken, whatever else the answer says: its text is for the log.
export async function post(url, headers, body, limit, milliseconds) {
  const response = await request("POST", url, headers, body, milliseconds);
  const text = await bounded(response, limit).catch(() => "");
  return `${response.status}\n${response.headers.get("retry-after") ?? ""}\n${text}`;
}

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

function request(method, url, headers, body, milliseconds) {
  const pairs = headers.flatMap((name, i) => (i % 2 === 0 ? [[name, headers[i + 1]]] : []));
  return fetch(url, {
    method,
    headers: Object.fromEntries(pairs),
    body,
    redirect: "manual",
    signal: AbortSignal.timeout(milliseconds),
  });
}

// Leaving the loop early cancels the body.
async function bounded(response, limit) {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let text = "";
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.byteLength;
    if (length > limit) throw new Error(`more than ${limit} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

const RS256 = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
const ES256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

export const verify_rs256 = (key, message, signature) => verify(RS256, key, message, signature);
export const verify_es256 = (key, message, signature) => verify(ES256, key, message, signature);

async function verify(algorithm, key, message, signature) {
  // Both are views of wasm's memory, good only until the first await.
  const [signed, by] = [message.slice(), signature.slice()];
  const imported = await crypto.subtle.importKey("jwk", JSON.parse(key), algorithm, false, ["verify"]);
  return crypto.subtle.verify(algorithm, imported, by, signed);
}
