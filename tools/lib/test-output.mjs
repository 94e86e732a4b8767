// Counting: what `cargo test` and `node --test` say about their tests.

/**
 * A test that did not run proves nothing, so skipped and ignored ones count as failed: delete them or make them run.
 * @typedef {{ passed: number, failed: number, skipped: number }} Counts
 */

/**
 * Sums the `test result:` lines, one a test binary.
 * @param {string} output
 * @returns {Counts}
 */
export function countCargoTests(output) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [, passed, failed, ignored] of output.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;/gm)) {
    counts.passed += Number(passed);
    counts.failed += Number(failed);
    counts.skipped += Number(ignored);
  }
  return counts;
}

/**
 * Reads the totals that node's reporters end with (`ℹ pass 3`, or `# pass 3`).
 * @param {string} output
 * @returns {Counts}
 */
export function countNodeTests(output) {
  const total = (word) => Number(new RegExp(`^(?:ℹ|#) ${word} (\\d+)$`, 'm').exec(output)?.[1] ?? 0);
  return { passed: total('pass'), failed: total('fail') + total('cancelled'), skipped: total('skipped') + total('todo') };
}
