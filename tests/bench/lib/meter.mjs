// What workers do with D1 and R2, in the units that are paid for.

import { readFileSync } from 'node:fs';

const SCRIPT = readFileSync(new URL('./meter.worker.js', import.meta.url), 'utf8');
/** In front of a console line that is a note. */
const MARK = '\u0001meter ';
/** R2's classes of operations (R2 documentation, "Pricing"); deleting costs nothing. */
const CLASS = { put: 'classA', list: 'classA', createMultipartUpload: 'classA', get: 'classB', head: 'classB', delete: 'free' };

/**
 * @typedef {object} Use
 * @property {number} read rows of D1
 * @property {number} written rows of D1, entries of indexes included
 * @property {Record<string, { calls: number, read: number, written: number }>} statements by name
 * @property {Record<string, number>} ops of R2 by name
 * @property {number} classA operations of R2
 * @property {number} classB
 */

export class Meter {
  #notes = [];

  /**
   * Miniflare's workers, their databases and buckets metered.
   * @param {any[]} workers the first one is the launcher's own and is left alone
   */
  adapt([entry, ...workers]) {
    const meters = new Map();
    const metered = workers.map((worker) => {
      const wrappedBindings = {};
      for (const [kind, option] of [['d1', 'd1Databases'], ['r2', 'r2Buckets']]) {
        for (const [binding, id] of Object.entries(worker[option] ?? {})) {
          const name = `meter-${kind}-${id}`;
          meters.set(name, { name, modules: true, script: SCRIPT, bindings: { KIND: kind, MARK }, [option]: { REAL: id } });
          wrappedBindings[binding] = { scriptName: name, bindings: { WORKER: worker.name } };
        }
      }
      return { ...worker, d1Databases: {}, r2Buckets: {}, wrappedBindings };
    });
    return [entry, ...metered, ...meters.values()];
  }

  /** @param {string} line of the console @returns {boolean} whether it was a note */
  takeLine(line) {
    if (!line.startsWith(MARK)) return false;
    this.#notes.push(JSON.parse(line.slice(MARK.length)));
    return true;
  }

  /** What was used since the last call. @returns {Use} */
  take() {
    const use = { read: 0, written: 0, statements: {}, ops: {}, classA: 0, classB: 0 };
    for (const { statement, op, read, written } of this.#notes.splice(0)) {
      if (op) {
        use.ops[op] = (use.ops[op] ?? 0) + 1;
        if (CLASS[op] !== 'free') use[CLASS[op]] += 1;
        continue;
      }
      const its = (use.statements[statement] ??= { calls: 0, read: 0, written: 0 });
      its.calls += 1;
      its.read += read;
      its.written += written;
      use.read += read;
      use.written += written;
    }
    return use;
  }
}
