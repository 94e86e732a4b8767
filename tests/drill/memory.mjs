// What a worker's isolate holds, looked at from outside while it works: V8's heap with the buffers beside it, of that worker
// alone. wasm's memory is not in it: that the worker tells itself. The process around it also holds D1's caches and R2,
// which in production are elsewhere.

import { readFileSync } from 'node:fs';

/** Often enough to see each page of a backup. */
const EVERY_MS = 10;
/** Longer than a page takes. */
const ANSWER_MS = 3_000;

/**
 * @param {number} port the inspector's
 * @param {string} worker its name
 * @param {() => number | undefined} pid of the runtime
 */
export async function watchMemory(port, worker, pid) {
  const peak = { heap: 0, process: 0, samples: 0 };
  let socket;
  let stopped = false;

  async function connect() {
    const targets = await (await fetch(`http://127.0.0.1:${port}/json`, { signal: AbortSignal.timeout(ANSWER_MS) })).json();
    const target = targets.find(({ id, title }) => [id, title].some((name) => name?.endsWith(worker)));
    if (!target) throw new Error(`the inspector has no ${worker}: ${targets.map(({ id }) => id).join(', ')}`);
    const made = new WebSocket(target.webSocketDebuggerUrl);
    await new Promise((done, fail) => {
      made.onopen = done;
      made.onerror = () => fail(new Error('the inspector closed'));
      setTimeout(() => fail(new Error('the inspector does not answer')), ANSWER_MS).unref();
    });
    const pending = new Map();
    let next = 0;
    made.onmessage = ({ data }) => {
      const { id, result } = JSON.parse(data);
      pending.get(id)?.(result);
      pending.delete(id);
    };
    made.onclose = () => pending.forEach((done) => done(undefined));
    const ask = (method) =>
      new Promise((done) => {
        pending.set((next += 1), done);
        made.send(JSON.stringify({ id: next, method, params: {} }));
        // A runtime that is killed does not always close its connections.
        setTimeout(done, ANSWER_MS).unref();
      });
    return { ask, made };
  }

  async function sample() {
    socket ??= await connect();
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

function residentOf(pid) {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
