// What a drill of the backup measured, as numbers and as a table.

const MB = 1_000_000;

/** @param {Awaited<ReturnType<typeof import('./backup.mjs').drillBackup>>} drill */
export function numbers({ rows, tables, busy, quiet, peak, restored, meanwhile }) {
  return {
    rows,
    tables,
    empty_tables: Object.keys(quiet.manifest.tables).filter((name) => quiet.manifest.tables[name].rows === 0),
    sql_bytes: quiet.sqlBytes,
    object_bytes: quiet.manifest.bytes,
    parts: quiet.manifest.parts.length,
    backup_rows_per_second: Math.round(rows / (quiet.working / 1000)),
    backup_seconds: quiet.working / 1000,
    runs: quiet.runs,
    heap_peak_bytes: peak.heap,
    wasm_memory_bytes: peak.wasm,
    process_peak_bytes: peak.process,
    memory_samples: peak.samples,
    restore_rows_per_second: Math.round(restored.rows / (restored.duration_ms / 1000)),
    restore_seconds: restored.duration_ms / 1000,
    cuts: busy.cuts,
    busy_runs: busy.runs,
    others_transactions: busy.writes,
    faults: [...restored.faults.map((fault) => `quiet: ${fault}`), ...meanwhile.faults.map((fault) => `cut off: ${fault}`)],
  };
}

/** @param {{ devices: number, hours: number }} plan @param {ReturnType<typeof numbers>} measured */
export function table(plan, measured) {
  const bytes = (value) => `${(value / MB).toFixed(1)} MB`;
  const lines = [
    ['database', `${plan.devices} devices, ${measured.rows} rows in ${measured.tables} tables${measured.empty_tables.length > 0 ? ` (none in ${measured.empty_tables.join(', ')})` : ''}, ${bytes(measured.sql_bytes)} of SQL`],
    ['backup', `${measured.backup_rows_per_second} rows/s: ${measured.backup_seconds.toFixed(1)} s in ${measured.runs} runs; ${measured.parts} parts, ${bytes(measured.object_bytes)}`],
    ['memory of the worker', `${bytes(measured.heap_peak_bytes + measured.wasm_memory_bytes)} at most: ${bytes(measured.heap_peak_bytes)} V8's heap and buffers (inspector, ${measured.memory_samples} samples), ${bytes(measured.wasm_memory_bytes)} wasm's`],
    ['of the whole process', `${bytes(measured.process_peak_bytes)} at most: with D1 and R2, which are elsewhere in production`],
    ['restore', `${measured.restore_rows_per_second} rows/s: ${measured.restore_seconds.toFixed(1)} s with all checksums`],
    ['cut off', `${measured.cuts} times at random moments, ${measured.others_transactions} transactions of others meanwhile, ${measured.busy_runs} runs`],
    ['equal', measured.faults.length === 0 ? 'every table of both restored databases, row by row' : measured.faults.join('\n')],
  ];
  return lines.map(([name, value]) => `  ${name.padEnd(24)}${value}`).join('\n');
}
