// Whether a new version is well, by what its own requests left in the Analytics Engine (shared/platform/src/analytics.rs:
// index1 the worker, double1 the status, double2 milliseconds, blob6 the version).

/** Beyond either of these a release goes back. */
export const LIMITS = { errorShare: 0.01, p95Ms: 2000 };
/** From how many requests on a share of them says something: one failure of 20 would be 5 %. */
export const MIN_REQUESTS = 50;

/**
 * @param {object} of
 * @param {string} of.dataset
 * @param {{ worker: string, version: string }[]} of.versions
 * @param {number} of.since Unix ms
 */
export function watchQuery({ dataset, versions, since }) {
  const list = (items) => items.map((item) => `'${item}'`).join(', ');
  return [
    'SELECT index1 AS worker, blob6 AS version, SUM(_sample_interval) AS requests,',
    '  SUM(IF(double1 >= 500, _sample_interval, 0)) AS errors,',
    '  quantileExactWeighted(0.95)(double2, _sample_interval) AS p95_ms',
    `FROM ${dataset}`,
    `WHERE timestamp >= toDateTime(${Math.floor(since / 1000)})`,
    `  AND index1 IN (${list(versions.map(({ worker }) => worker))}) AND blob6 IN (${list(versions.map(({ version }) => version))})`,
    'GROUP BY worker, version',
  ].join('\n');
}

/**
 * @param {{ worker: string, version: string }[]} versions
 * @param {Record<string, string | number>[]} rows as the API answers them: numbers may be strings
 * @returns {{ worker: string, requests: number, judged: boolean, fault: string | null, line: string }[]}
 */
export function judge(versions, rows) {
  return versions.map(({ worker, version }) => {
    const row = rows.find((each) => each.worker === worker && each.version === version);
    const requests = Number(row?.requests ?? 0);
    const share = requests > 0 ? Number(row.errors) / requests : 0;
    const p95 = Number(row?.p95_ms ?? 0);
    const line = `${worker}: ${requests} requests, ${(100 * share).toFixed(2)} % failed, p95 ${Math.round(p95)} ms`;
    if (requests < MIN_REQUESTS) return { worker, requests, judged: false, fault: null, line };
    const faults = [
      ...(share > LIMITS.errorShare ? [`more than ${100 * LIMITS.errorShare} % of requests fail`] : []),
      ...(p95 > LIMITS.p95Ms ? [`p95 is above ${LIMITS.p95Ms} ms`] : []),
    ];
    return { worker, requests, judged: true, fault: faults.length > 0 ? `${line}: ${faults.join(', ')}` : null, line };
  });
}
