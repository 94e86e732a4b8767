// What a worker's isolate holds, looked at from outside while it works: V8's heap with the buffers beside it, of that worker
// alone. wasm's memory is not in it: it is asked for by itself, or the worker tells. The process around it also holds D1's
// caches and R2, which in production are elsewhere.

import { readFileSync } from 'node:fs';

/** Often enough to see each page of a backup. */
const EVERY_MS = 10;
/** Longer than a page takes. */
const ANSWER_MS = 3_000;

/**
 * A connection to a worker's isolate: `ask(method, params)` answers the result, or undefined; `context` is where code runs, once the
 * runtime is enabled.
 */
async function connect(port, worker) {
  const targets = await (await fetch(`http://127.0.0.1:${port}/json`, { signal: AbortSignal.timeout(ANSWER_MS) })).json();
  // A queue may have the same name.
  const target = targets.find(({ id }) => id === `core:user:${worker}`);
  if (!target) throw new Error(`the inspector has no ${worker}: ${targets.map(({ id }) => id).join(', ')}`);
  const made = new WebSocket(target.webSocketDebuggerUrl);
  await new Promise((done, fail) => {
    made.onopen = done;
    made.onerror = () => fail(new Error('the inspector closed'));
    setTimeout(() => fail(new Error('the inspector does not answer')), ANSWER_MS).unref();
  });
  const pending = new Map();
  let [next, context] = [0, undefined];
  made.onmessage = ({ data }) => {
    const { id, result, method, params } = JSON.parse(data);
    if (method === 'Runtime.executionContextCreated') context = params.context.id;
    pending.get(id)?.(result);
    pending.delete(id);
  };
  made.onclose = () => pending.forEach((done) => done(undefined));
  const ask = (method, params = {}) =>
    new Promise((done) => {
      pending.set((next += 1), done);
      made.send(JSON.stringify({ id: next, method, params }));
      // A runtime that is killed does not always close its connections.
      setTimeout(done, ANSWER_MS).unref();
    });
  return { ask, made, context: () => context };
}

/**
 * The bytes of the wasm memories of a worker's isolate. They grow and never shrink, so afterwards this is the most that there was.
 * @param {number} port the inspector's
 * @param {string} worker its name
 */
export async function wasmMemory(port, worker) {
  const { ask, made, context } = await connect(port, worker);
  try {
    await ask('Runtime.enable');
    const prototype = await ask('Runtime.evaluate', { expression: 'WebAssembly.Memory.prototype', contextId: context() });
    const found = await ask('Runtime.queryObjects', { prototypeObjectId: prototype?.result?.objectId });
    const sum = 'function () { return this.reduce((sum, { buffer }) => sum + buffer.byteLength, 0); }';
    const answer = await ask('Runtime.callFunctionOn', { objectId: found?.objects?.objectId, functionDeclaration: sum, returnByValue: true });
    const bytes = answer?.result?.value;
    if (!(bytes > 0)) throw new Error(`the inspector found no wasm memory: ${JSON.stringify([prototype, found, answer])}`);
    return bytes;
  } finally {
    made.close();
  }
}

/**
 * @param {number} port the inspector's
 * @param {string} worker its name
 * @param {() => number | undefined} pid of the runtime
 */
export async function watchMemory(port, worker, pid) {
  const peak = { heap: 0, process: 0, samples: 0 };
  let socket;
  let stopped = false;

  async function sample() {
    socket ??= await connect(port, worker);
    const usage = await socket.ask('Runtime.getHeapUsage');
    if (!usage) throw new Error('the inspector closed');
    const { totalSize, backingStorageSize = 0, embedderHeapUsedSize = 0 } = usage;
    peak.heap = Math.max(peak.heap, totalSize + backingStorageSize + embedderHeapUsedSize);
    peak.process = Math.max(peak.process, residentOf(pid()));
    peak.samples += 1;
  }

  const watching = (async () => {
    while (!stopped) {
      try {
        await sample();
      } catch {
        // It was killed; the next one is asked.
        socket = undefined;
      }
      await new Promise((done) => setTimeout(done, EVERY_MS));
    }
    socket?.made.close();
  })();

  return {
    peak,
    async stop() {
      stopped = true;
      await watching;
      return peak;
    },
  };
}

/** What a process has in memory, in bytes. @param {number} pid */
export function residentOf(pid) {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
