// What the runtime loads: the module's handlers as a plain object.
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

const handlers = {};
for (const name of ["fetch", "queue", "scheduled"]) {
  const handler = exports[name];
  if (!handler) continue;
  handlers[name] = (event, env, context) => {
    restartIfBroken();
    try {
      return handler(event, env, context);
    } catch (error) {
      noteTrap(error);
      throw error;
    }
  };
}

export default handlers;
