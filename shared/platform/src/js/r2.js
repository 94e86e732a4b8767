// The JavaScript half of r2.rs.

import { waitUntil } from "cloudflare:workers";

const GZIP_OF = "gzip-of";

function bucket(env, binding) {
  const found = env[binding];
  if (!found) throw new Error(`binding ${binding} is missing`);
  return found;
}

async function store(env, binding, key, view, contentType, gzip, options) {
  // `view` is wasm's memory, good only until the first await.
  let body = view.slice();
  options.httpMetadata = { contentType };
  if (gzip) {
    body = await through(new CompressionStream("gzip"), body);
    options.httpMetadata.contentType = "application/gzip";
    options.customMetadata = { ...options.customMetadata, [GZIP_OF]: contentType };
  }
  return bucket(env, binding).put(key, body, options);
}

export async function put_new(env, binding, key, view, contentType, gzip, label) {
  const options = { onlyIf: { etagDoesNotMatch: "*" } };
  if (label !== undefined) options.customMetadata = { label };
  return (await store(env, binding, key, view, contentType, gzip, options)) !== null;
}

export async function replace(env, binding, key, view, contentType, gzip) {
  await store(env, binding, key, view, contentType, gzip, {});
}

export async function get(env, binding, key) {
  const object = await bucket(env, binding).get(key);
  if (object === null) return undefined;
  const gzipped = object.customMetadata?.[GZIP_OF] !== undefined;
  return new Uint8Array(await (gzipped ? through(new DecompressionStream("gzip"), object.body) : object.arrayBuffer()));
}

export async function measure(env, binding, key) {
  const object = await bucket(env, binding).get(key);
  if (object === null) return undefined;
  const gzipped = object.customMetadata?.[GZIP_OF] !== undefined;
  let size = 0;
  for await (const bytes of gzipped ? object.body.pipeThrough(new DecompressionStream("gzip")) : object.body) size += bytes.length;
  return size;
}

/** An object that passes by. Where it is cut into pieces depends on its content, not on how it comes over the network. */
class Passing {
  constructor({ etag, uploaded, body }, gzipped, skip) {
    this.etag = etag;
    this.uploaded = uploaded.getTime();
    this.damage = undefined;
    this.gzipped = gzipped;
    this.skip = skip;
    this.reader = (gzipped ? body.pipeThrough(new DecompressionStream("gzip")) : body).getReader();
    this.ended = false;
    this.pieces = [];
    this.size = 0;
  }

  async next(most) {
    while (!this.ended && this.size < most) await this.more();
    if (this.size === 0) return undefined;
    const bytes = joined(this.pieces, this.size);
    let end = Math.min(most, bytes.length);
    // Up to the last line feed, unless this is the last line or one that is too long.
    if (!this.ended || end < bytes.length) end = bytes.lastIndexOf(10, end - 1) + 1 || end;
    // A copy: the rest of a view would keep the whole.
    const rest = bytes.slice(end);
    [this.pieces, this.size] = rest.length > 0 ? [[rest], rest.length] : [[], 0];
    return bytes.subarray(0, end);
  }

  async more() {
    let read;
    try {
      read = await this.reader.read();
    } catch (error) {
      // A stream does not say which end broke; what gzip complains of, it names.
      if (!this.gzipped || !/compress|gzip/i.test(String(error?.message))) throw error;
      this.damage = String(error.message);
      read = { done: true };
    }
    if (read.done) {
      this.ended = true;
      return;
    }
    const bytes = this.skip > 0 ? read.value.subarray(this.skip) : read.value;
    this.skip = Math.max(0, this.skip - read.value.length);
    if (bytes.length > 0) this.pieces.push(bytes);
    this.size += bytes.length;
  }
}

/** The pieces in one; `size` is what they have together. */
function joined(pieces, size) {
  if (pieces.length === 1) return pieces[0];
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

export async function open(env, binding, key, from) {
  const gzipped = key.endsWith(".gz");
  if (from > 0 && !gzipped) {
    const head = await bucket(env, binding).head(key);
    if (head === null) return undefined;
    if (head.size <= from) return new Passing({ etag: head.etag, uploaded: head.uploaded, body: new Response("").body }, false, 0);
    // Of the very version whose size that was.
    const rest = await bucket(env, binding).get(key, { range: { offset: from }, onlyIf: { etagMatches: head.etag } });
    if (rest !== null && !rest.body) throw new Error("it changed meanwhile");
    return rest === null ? undefined : new Passing(rest, false, 0);
  }
  const object = await bucket(env, binding).get(key);
  return object === null ? undefined : new Passing(object, gzipped, from);
}

export async function list(env, binding, prefix, after) {
  const found = await bucket(env, binding).list({ prefix, startAfter: after, include: ["customMetadata"] });
  const lines = found.objects.map(({ key, customMetadata }) => `\n${key}\n${customMetadata?.label ?? ""}`);
  return (found.truncated ? "more" : "") + lines.join("");
}

/** How many objects are read at once: an invocation has six connections. */
const READERS = 6;

export async function lines_with(env, binding, packed, packedNeedles, most) {
  const found = new Found(packedNeedles.split("\n"), most);
  const store = bucket(env, binding);
  const keys = packed === "" ? [] : packed.split("\n");
  const read = async () => {
    for (let key = keys.pop(); key !== undefined; key = keys.pop()) {
      const object = await store.get(key);
      if (object === null) continue;
      const gzipped = object.customMetadata?.[GZIP_OF] !== undefined;
      let rest = new Uint8Array();
      for await (const more of gzipped ? object.body.pipeThrough(new DecompressionStream("gzip")) : object.body) {
        const bytes = rest.length === 0 ? more : joined([rest, more], rest.length + more.length);
        const end = bytes.lastIndexOf(10) + 1;
        found.look(bytes.subarray(0, end));
        // What follows the last line feed of all was cut off, and is no line.
        rest = bytes.slice(end);
      }
    }
  };
  await Promise.all(Array.from({ length: READERS }, read));
  return found.bytes.subarray(0, found.size);
}

/** Lines with one of the needles. They stay bytes: as texts they would keep what they were cut from, and many times as much passes by. */
class Found {
  constructor(needles, most) {
    this.needles = needles;
    this.most = most;
    // What all begin with is searched for; a byte is a character each here, whatever it stands for.
    const [one] = needles;
    let same = one.length;
    while (!needles.every((needle) => needle.startsWith(one.slice(0, same)))) same -= 1;
    this.common = one.slice(0, same);
    this.latin = new TextDecoder("latin1");
    this.bytes = new Uint8Array(65_536);
    this.size = 0;
  }

  look(bytes) {
    const text = this.latin.decode(bytes);
    for (let at = text.indexOf(this.common); at !== -1 && at < text.length; ) {
      let next = at + 1;
      if (this.needles.some((needle) => text.startsWith(needle, at))) {
        next = text.indexOf("\n", at) + 1;
        this.keep(bytes.subarray(text.lastIndexOf("\n", at) + 1, next));
      }
      at = text.indexOf(this.common, next);
    }
  }

  keep(line) {
    const size = this.size + line.length;
    if (size > this.most) throw new Error(`more than ${this.most} bytes`);
    if (size > this.bytes.length) {
      const larger = new Uint8Array(Math.max(size, this.bytes.length * 1.5));
      larger.set(this.bytes.subarray(0, this.size));
      this.bytes = larger;
    }
    this.bytes.set(line, this.size);
    this.size = size;
  }
}

export async function pack(env, binding, key, text, view) {
  // `view` is wasm's memory, good only until the first await.
  const ends = view.slice();
  const bytes = new TextEncoder().encode(text);
  const members = [];
  for (let i = 0; i < ends.length; i += 1) {
    members.push(new Uint8Array(await through(new CompressionStream("gzip"), bytes.subarray(ends[i - 1] ?? 0, ends[i]))));
  }
  const options = { onlyIf: { etagDoesNotMatch: "*" }, httpMetadata: { contentType: "application/gzip" } };
  await bucket(env, binding).put(key, joined(members, members.reduce((sum, { length }) => sum + length, 0)), options);
  return Uint32Array.from(members, ({ length }) => length);
}

export async function unpack(env, binding, key, offset, view) {
  const lengths = view.slice();
  const length = lengths.reduce((sum, one) => sum + one, 0);
  if (length === 0) return "";
  const object = await bucket(env, binding).get(key, { range: { offset, length } });
  if (object === null) return undefined;
  const bytes = new Uint8Array(await object.arrayBuffer());
  if (bytes.length !== length) throw new Error(`${bytes.length} bytes, not ${length}`);
  let [text, at] = ["", 0];
  for (const one of lengths) {
    text += new TextDecoder("utf-8", { fatal: true }).decode(await through(new DecompressionStream("gzip"), bytes.subarray(at, at + one)));
    at += one;
  }
  return text;
}

// What a gzip member has besides a comment: its head, the end of the comment, an empty block, and the hash and the size of nothing.
const MEMBER = 10 + 1 + 2 + 8;

export async function blank(env, binding, key, offset, length) {
  const found = await bucket(env, binding).get(key);
  if (found === null) throw new Error("it is gone");
  const bytes = new Uint8Array(await found.arrayBuffer());
  if (length < MEMBER || offset + length > bytes.length) throw new Error(`no member of ${length} bytes at ${offset} of ${bytes.length}`);
  // RFC 1952: a comment has any length, and whoever unpacks passes over it.
  bytes.fill(0x20, offset, offset + length);
  bytes.set([0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 0xff], offset);
  bytes.set([0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0], offset + length - (MEMBER - 10));
  const sha256 = await crypto.subtle.digest("SHA-256", bytes);
  const { httpMetadata, customMetadata } = found;
  const stored = await bucket(env, binding).put(key, bytes, { onlyIf: { etagMatches: found.etag }, sha256, httpMetadata, customMetadata });
  if (stored === null) throw new Error("somebody else changed it");
}

export async function send_all(env, binding, packed, size) {
  const store = bucket(env, binding);
  const [first, ...rest] = packed.split("\n");
  const opened = await store.get(first);
  if (opened === null) return undefined;
  // An answer that says its length, and is held to it.
  const { readable, writable } = new FixedLengthStream(size);
  const send = async () => {
    await opened.body.pipeTo(writable, { preventClose: true });
    for (const key of rest) {
      const object = await store.get(key);
      if (object === null) throw new Error(`${key} is gone`);
      await object.body.pipeTo(writable, { preventClose: true });
    }
    await writable.close();
  };
  waitUntil(send().catch((error) => {
    console.warn(`r2 ${binding} send: ${error}`);
    return writable.abort(error).catch(() => {});
  }));
  return readable;
}

// R2 wants to know a length beforehand, so the result is buffered.
function through(transform, source) {
  return new Response(new Response(source).body.pipeThrough(transform)).arrayBuffer();
}

export async function begin(env, binding, key) {
  const upload = await bucket(env, binding).createMultipartUpload(key, { httpMetadata: { contentType: "application/gzip" } });
  return upload.uploadId;
}

export async function put_part(env, binding, key, upload, number, view) {
  const bytes = view.slice();
  return (await bucket(env, binding).resumeMultipartUpload(key, upload).uploadPart(number, bytes)).etag;
}

export async function complete(env, binding, key, upload, etags) {
  const parts = etags.split("\n").map((etag, index) => ({ partNumber: index + 1, etag }));
  await bucket(env, binding).resumeMultipartUpload(key, upload).complete(parts);
}

export async function abort(env, binding, key, upload) {
  await bucket(env, binding).resumeMultipartUpload(key, upload).abort();
}

export async function size(env, binding, key) {
  return (await bucket(env, binding).head(key))?.size;
}

export async function put(env, binding, key, text, contentType) {
  await bucket(env, binding).put(key, text, { httpMetadata: { contentType } });
}

export async function text(env, binding, key) {
  return (await bucket(env, binding).get(key))?.text();
}

export async function remove(env, binding, keys) {
  await bucket(env, binding).delete(keys.split("\n"));
}

export async function inventory(env, binding, prefix, cursor) {
  const page = await bucket(env, binding).list({ prefix, limit: 1000, cursor: cursor || undefined });
  const objects = page.objects.map(({ key, size, uploaded }) => ({ key, size, uploaded: uploaded.getTime() }));
  return JSON.stringify({ objects, cursor: page.truncated ? page.cursor : null });
}

export async function digest(env, binding, key) {
  const object = await bucket(env, binding).get(key);
  if (object === null) return undefined;
  const sha256 = new crypto.DigestStream("SHA-256");
  await object.body.pipeTo(sha256);
  const hex = Array.from(new Uint8Array(await sha256.digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${object.size} ${hex}`;
}

export async function gzip(text) {
  return new Uint8Array(await through(new CompressionStream("gzip"), text));
}
