// A reduced `npm run load -- --objects`: the real worker, an object of many devices, what its isolate holds. The full size is
// measured by the command.

import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { before, test } from 'node:test';
import { runObjects } from '../load/objects.mjs';

/** What an isolate may hold is 128 MB. */
const MEMORY = 100_000_000;
/** More than a label of the archive tells, and fewer than a piece has lines. */
const DEVICES = 700;
/** @type {import('../load/objects.mjs').ObjectsRun} */
let run;
before(async () => {
  run = await runObjects({ messages: 25_000, devices: DEVICES, root: tmpdir() });
});

test('what was sent is archived and counted once, and nothing is left', () => {
  assert.deepEqual(run.troubles, []);
  assert.deepEqual(run.left, []);
  assert.ok(run.objects === 2 && run.sent >= 25_000, `${run.sent} in ${run.objects} objects`);
  assert.deepEqual([run.archived, run.lines, run.counted], [run.sent, run.sent, run.sent]);
});

test('the worker stays small', () => {
  const { heap, wasm, samples } = run.memory;
  assert.ok(samples > 5 && heap > 0 && wasm > 0, JSON.stringify(run.memory));
  assert.ok(heap + wasm < MEMORY, `${heap + wasm} bytes`);
});
