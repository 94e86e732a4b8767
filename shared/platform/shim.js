// What the runtime loads: the module's handlers as a plain object.
//
// A request's head and a small body are read here, so that wasm is entered once a request, with all of it, and a handler that
// waits for nothing answers on the spot.
//
// worker-build writes a shim of its own, a class behind two layers of Proxy made anew for every event, so
// that it can restart exported classes after a panic. We export no classes. This one restarts the instance just the
// same and leaves out the rest, 10 to 25 µs a request. The build puts it in the place of worker-build's
// `shim.js` before esbuild bundles it.

import * as exports from "./index.js";

// A panic hook in the crate `worker` sets `criticalError`.
const state = exports.__worker_init_state();

function restartIfBroken() {
  if (!state.criticalError) return;
  console.warn("restarting the wasm instance after a panic");
  exports.__wbg_reset_state();
  state.criticalError = false;
  state.instanceId++;
}

// A trap without a panic (memory at its end, stack at its end) passes no hook.
function noteTrap(error) {
  if (error instanceof WebAssembly.RuntimeError) state.criticalError = true;
}
addEventListener("error", ({ error }) => noteTrap(error));

/** Calls into wasm; the instance may have been broken since this event began. */
function enter(name, ...given) {
  restartIfBroken();
  try {
    return exports[name](...given);
  } catch (error) {
    noteTrap(error);
    throw error;
  }
}

/** The longest body that is read before wasm is entered, in bytes; a longer one is asked for when its limit is known. */
const SMALL = 16 * 1024;

/** The headers that the routes read, once they have been asked for. */
let names;

// The order of the lines is Head::unpack's.
function head({ method, url }, headers, length) {
  // Cf-Ray ends in the colo; request.cf.colo would have a JSON document of a kilobyte or two parsed for it.
  let text = `${method}\n${url}\n${headers.get("cf-ray") ?? ""}\n${length ?? ""}\n${headers.get("x-request-id") ?? ""}`;
  for (const name of names) {
    const value = headers.get(name);
    text += value === null ? "\n" : `\n=${value}`;
  }
  return text;
}

function fetch(request, env, context) {
  const arrived = Date.now();
  const { headers, method } = request;
  names ??= enter("declared_headers").split("\n").filter(Boolean);
  const length = headers.get("content-length");
  const text = head(request, headers, length);
  const small = method !== "GET" && method !== "HEAD" && length > 0 && length <= SMALL;
  if (!small) return enter("fetch", request, env, context, arrived, text);
  return request.arrayBuffer().then(
    (body) => enter("fetch", request, env, context, arrived, text, new Uint8Array(body)),
    // It ended early. Whoever asks for it will hear the same.
    () => enter("fetch", request, env, context, arrived, text),
  );
}

const handlers = {};
if (exports.fetch) handlers.fetch = fetch;
for (const name of ["queue", "scheduled"]) {
  if (exports[name]) handlers[name] = (event, env, context) => enter(name, event, env, context);
}

export default handlers;
