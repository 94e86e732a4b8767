// Cloudflare on this machine: the workers' bundles in Miniflare, with what they bind.

import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Log, LogLevel, Miniflare, Response } from 'miniflare';
import workerd from 'workerd';
import './patient-wait.mjs';
import { eachLine } from './lines.mjs';
import { applyMigrations } from './migrations.mjs';
import { outbound } from './outbound.mjs';
import { HOST, addressMover } from './ports.mjs';
import { Trouble } from './trouble.mjs';
import { fileRoutes, migrationsOf, miniflareWorker, resources } from './workers.mjs';

/** The runtime itself. One process may run one stack after another, each with a script of its own in front of it. */
const RUNTIME = process.env.MINIFLARE_WORKERD_PATH ?? workerd.default;

/** The name of entry.worker.js; it binds all that any worker binds, and so is our handle on it. */
const ENTRY = 'rs1-local';

/**
 * @param {object} options
 * @param {import('./workers.mjs').WorkerTable[]} options.workers
 * @param {Record<string, string>} options.secrets
 * @param {import('./ports.mjs').Ports} options.ports
 * @param {string | null} options.persist the directory for D1, R2 and KV; null keeps them in memory
 * @param {(line: string) => void} [options.onLine] a line that a worker wrote to its console
 * @param {(letter: { queue: string, id: string, body: unknown, attempts: number }) => void} [options.onDeadLetter]
 * @param {() => void} [options.onCrash] the runtime died; Miniflare has started another, without what was in the queues
 * @param {(line: string) => void} [options.onRefused] a request to the internet that was not sent
 * @param {Parameters<typeof outbound>[0]['intercept']} [options.intercept] answers a worker's `fetch` itself
 * @param {number} [options.inspectorPort] where the workers' isolates can be looked into
 * @param {number} [options.batchTimeout] seconds that queue consumers wait, instead of what is configured
 * @param {(workers: object[]) => object[]} [options.adapt] the last word on Miniflare's workers
 */
export async function startCloud({ workers, secrets, ports, persist, inspectorPort, batchTimeout, adapt = (same) => same, ...hooks }) {
  const { onLine = () => {}, onDeadLetter = () => {}, onCrash = () => {}, onRefused, intercept } = hooks;
  for (const { worker, main } of workers) {
    if (!existsSync(main)) throw new Trouble(`${worker} is not built: ${main} is missing`, ['npm run build']);
  }
  const moveVar = addressMover(ports);
  const outboundService = outbound({ ports, intercept, onRefused });
  const restoreSignals = keepSignalHandlers();
  const options = (given) => ({
    host: HOST,
    port: ports.http,
    log: new QuietLog(onLine),
    handleRuntimeStdio: (stdout, stderr) => [stdout, stderr].forEach((stream) => eachLine(stream, onLine)),
    // What `request.cf` says. Given, because Miniflare would otherwise ask a server on the internet for it.
    cf: { colo: 'LCL', country: 'XX', httpProtocol: 'HTTP/1.1' },
    unsafeTriggerHandlers: true,
    inspectorPort,
    unsafeHandleRuntimeRestart: onCrash,
    logRequests: false,
    defaultPersistRoot: persist ? join(persist, 'v3') : undefined,
    workers: adapt([
      entryWorker(workers, onDeadLetter),
      ...workers.map((table) => ({ ...miniflareWorker(table, { secrets: given, moveVar, batchTimeout }), outboundService })),
    ]),
  });
  const mf = new Miniflare(options(secrets));
  restoreSignals();
  try {
    await mf.ready;
  } catch (error) {
    await mf.dispose().catch(() => {});
    throw error;
  }

  const byName = new Map(workers.map((table) => [table.worker, table]));
  const table = (worker) => {
    const found = byName.get(worker);
    if (!found) throw new Trouble(`there is no worker ${worker}; there are: ${[...byName.keys()].join(', ')}`);
    return found;
  };

  return {
    /** Miniflare itself, for what is not here. */
    mf,
    workers,
    /** @returns {Promise<D1Database>} */
    database: (binding = 'DB') => mf.getD1Database(binding, ENTRY),
    /** @param {string} binding @returns {Promise<R2Bucket>} */
    bucket: (binding) => mf.getR2Bucket(binding, ENTRY),
    /** @param {string} binding @returns {Promise<KVNamespace>} */
    namespace: (binding) => mf.getKVNamespace(binding, ENTRY),
    /** @param {string} binding @returns {Promise<Queue>} */
    queue: (binding) => mf.getQueueProducer(binding, ENTRY),

    /** Applies the migrations of every database that is not up to date. */
    async migrate() {
      const directories = new Map(
        workers.flatMap((one) => {
          const directory = migrationsOf(one);
          return directory ? one.d1_databases.map(({ binding }) => [binding, directory]) : [];
        }),
      );
      let [applied, total] = [[], 0];
      for (const [binding, directory] of directories) {
        const done = await applyMigrations(await this.database(binding), directory);
        applied = [...applied, ...done.applied];
        total += done.total;
      }
      return { applied, total };
    },

    /**
     * Runs a cron trigger now.
     * @param {string} worker
     * @param {string} cron as configured: the worker tells its jobs apart by it
     * @param {Date} [scheduledTime]
     * @returns {Promise<{ outcome: string, noRetry: boolean }>}
     */
    async scheduled(worker, cron, scheduledTime = new Date()) {
      const { name, crons } = table(worker);
      if (!crons.includes(cron)) {
        throw new Trouble(`${worker} has no cron "${cron}"; it has: ${crons.map((one) => `"${one}"`).join(', ') || 'none'}`);
      }
      return (await mf.getWorker(name)).scheduled({ cron, scheduledTime });
    },

    /** How many messages wait in the queues of all workers. A batch that a worker has in hand is not among them. */
    async waiting() {
      const bindings = [...new Set(workers.flatMap(({ queues }) => queues.producers.map(({ binding }) => binding)))];
      const counts = await Promise.all(bindings.map(async (binding) => (await (await this.queue(binding)).metrics()).backlogCount));
      return counts.reduce((sum, count) => sum + count, 0);
    },

    /**
     * Starts the workers anew with other secrets, on the same ports and the same state. What is in the queues is lost with the
     * runtime, and for about a second nobody answers.
     * @param {Record<string, string>} others
     */
    async release(others) {
      await mf.setOptions(options(others));
    },

    stop: () => mf.dispose(),
  };
}

function entryWorker(workers, onDeadLetter) {
  const consumed = new Set(workers.flatMap(({ queues }) => queues.consumers.map(({ queue }) => queue)));
  const deadLetterQueues = workers
    .flatMap(({ queues }) => queues.consumers.map(({ dead_letter_queue }) => dead_letter_queue))
    .filter((queue) => queue && !consumed.has(queue));
  const files = fileRoutes(workers);
  const here = dirname(fileURLToPath(import.meta.url));
  return {
    name: ENTRY,
    modules: true,
    scriptPath: join(here, 'entry.worker.js'),
    modulesRoot: here,
    compatibilityDate: workers[0].compatibility_date,
    ...resources(workers),
    bindings: { ROUTES: workers.flatMap(({ routePatterns }) => routePatterns), FILES: files },
    routes: files.flatMap(({ routes }) => routes),
    queueConsumers: Object.fromEntries(deadLetterQueues.map((queue) => [queue, { maxBatchSize: 100, maxBatchTimeout: 0 }])),
    serviceBindings: {
      ...Object.fromEntries(files.map(({ service }) => [service, service])),
      DEAD_LETTERS: async (request) => {
        const { queue, messages } = await request.json();
        for (const message of messages) onDeadLetter({ queue, ...message });
        return new Response(null, { status: 204 });
      },
    },
  };
}

/** Miniflare ends the process at the first Ctrl-C, before we could stop the parts in their order: its handlers are taken off. */
function keepSignalHandlers() {
  const signals = ['SIGINT', 'SIGTERM'];
  const before = new Map(signals.map((signal) => [signal, process.listeners(signal)]));
  return () => {
    for (const signal of signals) {
      for (const handler of process.listeners(signal)) {
        if (!before.get(signal).includes(handler)) process.removeListener(signal, handler);
      }
    }
  };
}

/**
 * Has the Workers runtime started by a little script of ours, for two reasons. A terminal sends Ctrl-C to every process of
 * its foreground group, the runtime included, which would be gone before the devices and the broker have said their last to
 * it: here it ignores that signal. And what it logs must be read even while we are not reading: see drain.mjs.
 * @param {string} directory where the script is put
 */
export function shieldRuntime(directory) {
  const script = join(directory, 'workerd');
  const quoted = (path) => `'${path.replaceAll("'", `'\\''`)}'`;
  const drain = fileURLToPath(new URL('drain.mjs', import.meta.url));
  const lines = [
    '#!/bin/sh',
    // What is ignored stays ignored across `exec`.
    "trap '' INT",
    // `workerd --version` and the like: nothing to drain.
    `[ "$1" = serve ] || exec ${quoted(RUNTIME)} "$@"`,
    `pipe=${quoted(join(directory, 'workerd'))}.$$`,
    'mkfifo "$pipe"',
    // Descriptor 3 is how workerd tells Miniflare its ports; its end must be workerd's alone.
    `${quoted(process.execPath)} ${quoted(drain)} < "$pipe" 3>&- &`,
    'exec > "$pipe" 2>&1',
    'rm "$pipe"',
    `exec ${quoted(RUNTIME)} "$@"`,
  ];
  writeFileSync(script, `${lines.join('\n')}\n`, { mode: 0o755 });
  process.env.MINIFLARE_WORKERD_PATH = script;
}

/** Miniflare's own voice: only what went wrong. */
class QuietLog extends Log {
  #onLine;

  constructor(onLine) {
    super(LogLevel.WARN);
    this.#onLine = onLine;
  }

  log(message) {
    this.#onLine(message);
  }
}
