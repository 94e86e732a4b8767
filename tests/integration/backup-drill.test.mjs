// A reduced `npm run backup-drill`: the real worker on the real runtime, killed while it works and while others write; both
// dumps are restored and compared with the source. The full size is measured by the command.

import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { before, test } from 'node:test';
import { drillBackup } from '../drill/backup.mjs';
import { numbers } from '../drill/report.mjs';

/** What an isolate may hold is 128 MB. */
const MEMORY = 100_000_000;
let measured;
before(async () => {
  measured = numbers(await drillBackup({ devices: 400, hours: 90, cuts: 2, root: tmpdir() }));
});

test('cut off and written meanwhile, it restores to what was there; left alone, to exactly that', () => {
  assert.deepEqual(measured.faults, []);
  assert.ok(measured.others_transactions > 0, 'others wrote');
  assert.ok(measured.parts > 1, `${measured.parts} parts`);
  assert.ok(measured.rows > 40_000, `${measured.rows} rows`);
});

test('the worker stays small', () => {
  assert.ok(measured.memory_samples > 5, `${measured.memory_samples} samples`);
  const bytes = measured.heap_peak_bytes + measured.wasm_memory_bytes;
  assert.ok(measured.wasm_memory_bytes > 0 && bytes < MEMORY, `${bytes} bytes`);
});
