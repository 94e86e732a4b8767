// Small statistics.

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Element by element: two systems in the same round of one run. The median of those ratios, and their range.
 * @param {number[]} ours
 * @param {number[]} theirs
 */
export function ratio(ours, theirs) {
  const each = ours.map((value, round) => value / theirs[round]);
  return { median: median(each), low: Math.min(...each), high: Math.max(...each) };
}
