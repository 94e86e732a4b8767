import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countCargoTests, countNodeTests } from '../lib/test-output.mjs';

test('the results of several test binaries add up', () => {
  const output = `
     Running unittests src/lib.rs
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s
test a ... FAILED
test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s
`;
  assert.deepEqual(countCargoTests(output), { passed: 15, failed: 2, skipped: 1 });
});

test('a run that did not compile has no tests', () => {
  assert.deepEqual(countCargoTests('error[E0425]: cannot find value'), { passed: 0, failed: 0, skipped: 0 });
});

test("node's totals are read, cancelled tests as failed and todo ones as skipped", () => {
  const output = 'ℹ tests 9\nℹ suites 0\nℹ pass 4\nℹ fail 1\nℹ cancelled 1\nℹ skipped 2\nℹ todo 1\nℹ duration_ms 12\n';
  assert.deepEqual(countNodeTests(output), { passed: 4, failed: 2, skipped: 3 });
  assert.deepEqual(countNodeTests(output.replaceAll('ℹ', '#')), { passed: 4, failed: 2, skipped: 3 });
});

test('a test that prints a total of its own is not believed', () => {
  assert.equal(countNodeTests('  ℹ pass 99\nℹ pass 1\n').passed, 1);
});
