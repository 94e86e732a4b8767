// Sees, and on demand breaks, what the workers do with D1, R2, KV, queues and Analytics Engine.

import { readFileSync } from 'node:fs';
import { Response } from 'miniflare';

const SCRIPT = readFileSync(new URL('./tap.worker.js', import.meta.url), 'utf8');
/** In front of a console line that is an Analytics Engine point. */
const MARK = '\u0001point ';

/** Miniflare's option for each kind of binding that can be tapped. */
const KINDS = { d1: 'd1Databases', r2: 'r2Buckets', kv: 'kvNamespaces', queue: 'queueProducers' };

/**
 * @typedef {object} Call a call that a worker made
 * @property {string} worker `telemetry`, `device-api` …
 * @property {string} binding
 * @property {string} op `query`, `execute`; `put`, `get` …; `send`, `sendBatch`
 * @property {string[]} [sql] the statements of one D1 call; a batch is one call
 * @property {string[]} [names] the names in the comments that those statements begin with: `enroll` …
 * @property {string} [key] R2 and KV
 */

/**
 * @typedef {object} Which the calls that a fault is for; what is left out matches everything
 * @property {string} [binding]
 * @property {string} [worker] `telemetry`, `device-api` …
 * @property {string} [op]
 * @property {RegExp} [match] against each statement, or the key
 */

export class Faults {
  /** @type {Call[]} */
  #calls = [];
  #rules = [];
  /** Analytics Engine points, each with the limits that it breaks as `problems`. */
  points = [];

  /**
   * Makes matching calls fail.
   *
   * `before`: nothing was done. `after`: it was done, and the caller is told that it failed ("fails but persists").
   * @param {Which & { when?: 'before' | 'after', message?: string, times?: number }} fault `times` defaults to once;
   *   `Infinity` lasts until [`clear`]
   */
  inject({ when = 'before', message = 'Network connection lost.', times = 1, ...which }) {
    this.#rules.push({ which, times, act: () => ({ [when]: message }) });
  }

  /**
   * Holds the next matching call until it is released: for races.
   * @param {Which} which
   * @returns {{ reached: Promise<Call>, release: () => void }}
   */
  hold(which) {
    const reached = Promise.withResolvers();
    const gate = Promise.withResolvers();
    this.#rules.push({
      which,
      times: 1,
      act: async (call) => {
        reached.resolve(call);
        await gate.promise;
        return {};
      },
    });
    return { reached: reached.promise, release: gate.resolve };
  }

  /** Ends all faults. */
  clear() {
    this.#rules = [];
  }

  /** @param {Which} [which] @returns {Call[]} in the order in which they were made */
  calls(which = {}) {
    return this.#calls.filter((call) => matches(which, call));
  }

  /** Forgets the calls and points seen so far. */
  forget() {
    this.#calls = [];
    this.points = [];
  }

  /**
   * Puts the taps in: Miniflare's workers, with each binding wrapped.
   * @param {any[]} workers the first one is the launcher's own and is left alone
   */
  adapt([entry, ...workers]) {
    const taps = new Map();
    const tap = (kind, id, real) => {
      const name = `tap-${kind}-${id}`;
      const wrapper = { name, modules: true, script: SCRIPT, bindings: { KIND: kind }, serviceBindings: { HARNESS: (r) => this.#ask(r) } };
      taps.set(name, { ...wrapper, ...real });
      return name;
    };
    const tapped = workers.map((worker) => {
      const wrapped = {};
      const bind = (binding, scriptName) => {
        wrapped[binding] = { scriptName, bindings: { WORKER: folderName(worker.name), BINDING: binding } };
      };
      for (const [kind, option] of Object.entries(KINDS)) {
        for (const [binding, value] of Object.entries(worker[option] ?? {})) {
          bind(binding, tap(kind, value.queueName ?? value, { [option]: { REAL: value } }));
        }
      }
      for (const binding of Object.keys(worker.analyticsEngineDatasets ?? {})) {
        bind(binding, tap('analytics', 'engine', { bindings: { KIND: 'analytics', MARK } }));
      }
      const none = Object.fromEntries([...Object.values(KINDS), 'analyticsEngineDatasets'].map((option) => [option, {}]));
      return { ...worker, ...none, wrappedBindings: wrapped };
    });
    return [entry, ...tapped, ...taps.values()];
  }

  /**
   * Takes the lines that are points out of the console.
   * @param {string} line
   * @returns {boolean} whether it was one
   */
  takeLine(line) {
    if (!line.startsWith(MARK)) return false;
    const { worker, binding, indexes, blobs, doubles } = JSON.parse(line.slice(MARK.length));
    const point = { worker, binding, indexes: indexes ?? [], blobs: blobs ?? [], doubles: doubles ?? [] };
    this.points.push({ ...point, problems: pointProblems(point) });
    return true;
  }

  async #ask(request) {
    const call = await request.json();
    if (call.sql) call.names = call.sql.map((text) => /^\s*\/\* *([\w-]+)/.exec(text)?.[1] ?? '?');
    this.#calls.push(call);
    const rule = this.#rules.find(({ which, times }) => times > 0 && matches(which, call));
    if (!rule) return Response.json({});
    rule.times -= 1;
    return Response.json(await rule.act(call));
  }
}

/** `rs1-telemetry-local` is the worker in workers/telemetry. */
const folderName = (script) => script.replace(/^rs1-|-local$/g, '');

/** @param {Which} which @param {Call} call */
function matches({ binding, worker, op, match }, call) {
  return (
    (binding === undefined || call.binding === binding) &&
    (worker === undefined || call.worker === worker) &&
    (op === undefined || call.op === op) &&
    (match === undefined || (call.sql ?? [call.key ?? '']).some((text) => match.test(text)))
  );
}

/** What the platform would silently drop the point for; Miniflare takes anything. */
function pointProblems({ indexes, blobs, doubles }) {
  const problems = [];
  const bytes = (text) => Buffer.byteLength(String(text ?? ''));
  if (indexes.length > 1) problems.push(`${indexes.length} indexes, and 1 is allowed`);
  if (indexes.some((index) => bytes(index) > 96)) problems.push('an index of more than 96 bytes');
  if (blobs.length > 20) problems.push(`${blobs.length} blobs, and 20 are allowed`);
  if (blobs.reduce((sum, blob) => sum + bytes(blob), 0) > 16_384) problems.push('more than 16 KB of blobs');
  if (doubles.length > 20) problems.push(`${doubles.length} doubles, and 20 are allowed`);
  return problems;
}
