// The JavaScript half of serve.rs.

let names = [];

export function declare(list, env) {
  names = list === "" ? [] : list.split("\n");
  return typeof env.ENVIRONMENT === "string" ? env.ENVIRONMENT : "";
}

// The order of the lines is Head::unpack's.
export function head(request) {
  const { headers } = request;
  // Cf-Ray ends in the colo; request.cf.colo would have a JSON document of a kilobyte or two parsed for it.
  let text = `${request.method}\n${request.url}\n${headers.get("cf-ray") ?? ""}\n${headers.get("content-length") ?? ""}\n${headers.get("x-request-id") ?? ""}`;
  for (const name of names) {
    const value = headers.get(name);
    text += value === null ? "\n" : `\n=${value}`;
  }
  return text;
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

// The order of the lines is Reply::pack's.
export function respond(env, packed, body) {
  const lines = packed.split("\n");
  if (lines[1] === "info") console.log(lines[2]);
  else if (lines[1] === "warn") console.warn(lines[2]);
  else console.error(lines[2]);
  const status = Number(lines[0]);
  if (lines[3] !== "" && env.ANALYTICS) {
    try {
      env.ANALYTICS.writeDataPoint({
        indexes: [lines[3]],
        blobs: lines.slice(4, 9),
        doubles: [status, Number(lines[9])],
      });
    } catch (error) {
      // A point is worth less than the answer.
      console.error(String(error));
    }
  }
  // A record, not a list of pairs: 5 µs less a response. A repeated header is one list (RFC 9110 §5.2).
  const headers = {};
  for (let i = 10; i + 1 < lines.length; i += 2) {
    const name = lines[i];
    headers[name] = name in headers ? `${headers[name]}, ${lines[i + 1]}` : lines[i + 1];
  }
  return new Response(body, { status, headers });
}
