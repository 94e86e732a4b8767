// The JavaScript half of task.rs: promises in, promises out.

// What belongs to one wasm instance. The shim makes a new instance after a panic; promises of the
// old one may still settle, and must not reach the new one.
let instance;

export function install(settled) {
  if (instance) fail(instance, new Error("the wasm instance was restarted"));
  instance = { settled, tasks: new Map() };
}

export function watch(call, promise) {
  const mine = instance;
  const settle = (kept, value) => {
    try {
      mine.settled(call, kept, value);
    } catch (error) {
      // A trap: nothing in that instance will run again, so every event in flight fails now, not when the
      // runtime notices that it hangs. The shim hears of it and makes a new instance.
      fail(mine, error);
      reportError(error);
    }
  };
  promise.then((value) => settle(true, value), (error) => settle(false, String(error?.message ?? error)));
}

export function promise_of(task, context, keep) {
  const { promise, resolve, reject } = Promise.withResolvers();
  instance.tasks.set(task, { promise, resolve, reject, context });
  if (keep) context.waitUntil(promise);
  return promise;
}

export function keep(task) {
  const { promise, context } = instance.tasks.get(task);
  context.waitUntil(promise);
}

export function resolve(task, value) {
  instance.tasks.get(task).resolve(value);
  instance.tasks.delete(task);
}

export function abandon(task) {
  instance.tasks.get(task).reject(new Error("the request did not arrive whole"));
  instance.tasks.delete(task);
}

function fail({ tasks }, error) {
  for (const { reject } of tasks.values()) reject(error);
  tasks.clear();
}
