// Small statistics.

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Answers a second over all rounds. Not a median: the runtime collects its garbage every few seconds, for up to half a second, so that
 * a round has more or less of it, and it is a part of the cost.
 * @param {{ answers: number, seconds: number }} series
 */
export const rate = ({ answers, seconds }) => answers / seconds;

/** Microseconds of the runtime's time an answer, over all rounds. @param {{ answers: number, cpuSeconds: number }} series */
export const cpuMicros = ({ answers, cpuSeconds }) => (cpuSeconds / answers) * 1e6;

/**
 * Element by element: two systems in the same round of one run. The median of those ratios, and their range.
 * @param {number[]} ours
 * @param {number[]} theirs
 */
export function ratio(ours, theirs) {
  const each = ours.map((value, round) => value / theirs[round]);
  return { median: median(each), low: Math.min(...each), high: Math.max(...each) };
}

/** The value that `share` of all are not above. @param {number[]} values @param {number} share */
export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}
