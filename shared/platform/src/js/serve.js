// The JavaScript half of serve.rs.

export function environment(env) {
  return typeof env.ENVIRONMENT === "string" ? env.ENVIRONMENT : "";
}

export function body(request, limit, measured, drained) {
  return measured ? request.bytes() : capped(request, limit, drained);
}

async function capped(request, limit, drained) {
  if (request.body === null) return new Uint8Array();
  const chunks = [];
  let length = 0;
  for await (const chunk of request.body) {
    length += chunk.byteLength;
    // Leaving the loop cancels the stream.
    if (length > limit + drained) break;
    if (length <= limit) chunks.push(chunk);
  }
  if (length > limit) return undefined;
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}

// What most answers of a content type have in common. The runtime copies it into a response, which costs less than to read the
// same headers out of a record each time. Content types are constants of the program, so these are few.
const [read, written] = [new Map(), new Map()];

/**
 * Only an answer to GET or HEAD can be cached without being told so, or be rendered by a browser that guesses what it is: the
 * others go without the two headers against that, which would cost 7 % of a short answer.
 */
function commonHeaders(method, contentType) {
  const isRead = method === "GET" || method === "HEAD";
  const common = isRead ? read : written;
  let headers = common.get(contentType);
  if (headers === undefined) {
    headers = new Headers(isRead ? { "x-content-type-options": "nosniff", "cache-control": "no-store" } : {});
    if (contentType !== "") headers.set("content-type", contentType);
    common.set(contentType, headers);
  }
  return headers;
}

/** How many lines come before those of an answer's own headers. */
const FIXED = 12;

// The order of the lines is Reply::pack's.
export function respond(env, packed, body) {
  const lines = packed.split("\n");
  if (lines[1] === "info") console.log(lines[2]);
  else if (lines[1] === "warn") console.warn(lines[2]);
  else console.error(lines[2]);
  const status = Number(lines[0]);
  // Which upload this is: a release watches the requests of each, and asks a health route which one answers.
  const version = env.VERSION?.id ?? "";
  if (lines[3] !== "" && env.ANALYTICS) {
    try {
      env.ANALYTICS.writeDataPoint({
        indexes: [lines[3]],
        blobs: [...lines.slice(4, 9), version],
        doubles: [status, Number(lines[9])],
      });
    } catch (error) {
      // A point is worth less than the answer.
      console.error(String(error));
    }
  }
  let headers = commonHeaders(lines[5], lines[11]);
  headers.set("x-request-id", lines[10]);
  const isHealth = version !== "" && lines[4].endsWith("/health");
  if (isHealth || lines.length > FIXED) {
    headers = new Headers(headers);
    if (isHealth) headers.set("x-version", version);
    const own = new Set();
    for (let i = FIXED; i + 1 < lines.length; i += 2) {
      const name = lines[i];
      // The first replaces what is common, a repeated one is added.
      if (own.has(name)) headers.append(name, lines[i + 1]);
      else headers.set(name, lines[i + 1]);
      own.add(name);
    }
  }
  return new Response(body, { status, headers });
}
