// The JavaScript half of files.rs.

import { waitUntil } from "cloudflare:workers";

function bucket(env, binding) {
  const found = env[binding];
  if (!found) throw new Error(`binding ${binding} is missing`);
  return found;
}

const CONTENT_TYPE = "application/octet-stream";
/** What R2 is to store only if there is nothing yet. */
const IF_NEW = { etagDoesNotMatch: "*" };

export async function receive(env, binding, key, request, size, view, headLength, tailLength) {
  // `view` is wasm's memory, good only until the first await.
  const given = view.length > 0 ? view.slice() : undefined;
  const store = bucket(env, binding);
  const signed = Math.max(0, size - tailLength);
  const head = new Uint8Array(Math.min(size, headLength));
  const tail = new Uint8Array(size - signed);
  const hashes = [new crypto.DigestStream("SHA-256"), new crypto.DigestStream("SHA-256")];
  // R2 wants to know a length beforehand; this one is held to it.
  const { readable, writable } = new FixedLengthStream(size);
  const [ofAll, ofSigned, out] = [...hashes, writable].map((stream) => stream.getWriter());
  const storing = store.put(key, readable, { onlyIf: IF_NEW, httpMetadata: { contentType: CONTENT_TYPE } });
  // If R2 gives up early nobody reads what we write, and a write would wait for ever.
  const refused = new Promise((_, fail) => storing.then((stored) => stored ?? fail(new Error("the key is taken")), fail));
  const digests = hashes.map(({ digest }) => digest);
  for (const promise of [storing, refused, ...digests]) promise.catch(() => {});
  const giveUp = (reason) => {
    for (const writer of [ofAll, ofSigned, out]) writer.abort(reason).catch(() => {});
  };

  const chunks = (given ? ReadableStream.from([given]) : request.body).getReader();
  let at = 0;
  for (;;) {
    let chunk;
    try {
      ({ value: chunk } = await chunks.read());
    } catch (error) {
      giveUp(error);
      await storing.catch(() => {});
      return undefined;
    }
    if (chunk === undefined || at + chunk.length > size) break;
    if (at < head.length) head.set(chunk.subarray(0, head.length - at), at);
    if (at + chunk.length > signed) {
      const from = Math.max(0, signed - at);
      tail.set(chunk.subarray(from), at + from - signed);
    }
    const part = chunk.subarray(0, Math.max(0, signed - at));
    at += chunk.length;
    try {
      const written = Promise.all([out.write(chunk), ofAll.write(chunk), part.length > 0 && ofSigned.write(part)]);
      await Promise.race([written, refused]);
    } catch (error) {
      giveUp(error);
      // What R2 says is the cause; that nobody reads what we write is not.
      await storing;
      throw error;
    }
  }
  if (at !== size) {
    const reason = new Error("the body has another length than it said");
    giveUp(reason);
    await Promise.allSettled([chunks.cancel(reason), storing]);
    return undefined;
  }
  await Promise.race([Promise.all([ofAll.close(), ofSigned.close(), out.close()]), refused]);
  await storing;
  const [sha256, ofSignedOnly] = await Promise.all(digests);
  return [new Uint8Array(sha256), new Uint8Array(ofSignedOnly), head, tail];
}

export async function publish(env, binding, from, to, view) {
  // `view` is wasm's memory, good only until the first await.
  const sha256 = view.slice();
  const store = bucket(env, binding);
  const file = await store.get(from);
  if (file === null) throw new Error(`${from} is not there`);
  const options = { onlyIf: IF_NEW, sha256, httpMetadata: { contentType: CONTENT_TYPE } };
  const stored = await store.put(to, file.body, options);
  // It was there already: what was read of the copy is not needed.
  if (stored === null && !file.bodyUsed) await file.body.cancel();
}

export async function open(env, binding, key, request, etag, size, first, length) {
  const store = bucket(env, binding);
  const url = request.url.replace(/\?.*$/s, "");
  const cached = await fromCache(url, etag, size, first, length);
  if (cached) return cached;
  const options = { range: { offset: first, length } };
  const file = await store.get(key, options);
  if (file === null) return undefined;
  if (!filling.has(url)) {
    filling.add(url);
    waitUntil(fillCache(store, key, url, etag).finally(() => filling.delete(url)));
  }
  return file.body;
}

export async function remove(env, binding, key) {
  await bucket(env, binding).delete(key);
}

/** The files that this isolate is putting into the cache: a fleet that comes for a new one all at once puts it there once. */
const filling = new Set();

/** The part out of the cache, or nothing. A cache that fails is as good as one that is empty. */
async function fromCache(url, etag, size, first, length) {
  try {
    const whole = length === size;
    const headers = whole ? {} : { range: `bytes=${first}-${first + length - 1}` };
    const hit = await caches.default.match(new Request(url, { headers }));
    if (!hit) return undefined;
    const fits = hit.headers.get("etag") === etag && hit.status === (whole ? 200 : 206);
    const range = `bytes ${first}-${first + length - 1}/${size}`;
    if (fits && (whole || hit.headers.get("content-range") === range)) return hit.body;
    await hit.body?.cancel();
  } catch (error) {
    console.warn(`cache: ${error}`);
  }
  return undefined;
}

async function fillCache(store, key, url, etag) {
  try {
    // Who looked into the cache while it was being filled comes here after it was.
    const present = await caches.default.match(url);
    await present?.body?.cancel();
    if (present?.headers.get("etag") === etag) return;
    const file = await store.get(key);
    if (file === null) return;
    const headers = {
      "content-type": CONTENT_TYPE,
      "content-length": String(file.size),
      "cache-control": "public, max-age=31536000, immutable",
      etag,
    };
    await caches.default.put(url, new Response(file.body, { headers }));
  } catch (error) {
    console.warn(`cache: ${error}`);
  }
}
