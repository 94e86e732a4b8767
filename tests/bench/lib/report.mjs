// The tables, and a verdict for each target.

import { slowdown } from './attack.mjs';
import { cpuMicros, median, rate, ratio } from './numbers.mjs';
import { DATABASE_BYTES, PRICES, monthly } from './prices.mjs';
import { BUNDLE, COLLECTED, CONNECTIONS, DOWNLOAD, ROUND, ROWS, SETTLED, SPEED, STATEMENTS } from './targets.mjs';

const integer = (value) => Math.round(value).toLocaleString('en');
const decimal = (value) => value.toFixed(value < 10 ? 2 : 1);
const times = (value) => `${value.toFixed(2)}x`;
const range = (values, show) => `${show(Math.min(...values))}-${show(Math.max(...values))}`;

/** @typedef {{ what: string, is: string, wanted: string, met: boolean }} Verdict */

const verdict = (what, is, wanted, met) => ({ what, is, wanted, met });
const mark = ({ is, wanted, met }) => `${is} (${wanted}) ${met ? '✓' : '✗'}`;

/** Right-aligned columns but for the first two. @param {string[][]} rows the first one is the head */
function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row) => row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join('   ');
  return rows.map((row) => `  ${line(row)}`.trimEnd()).join('\n');
}

/** @returns {{ text: string, verdicts: Verdict[] }} */
export function speedReport(systems, { series, ledgers }) {
  const verdicts = [];
  const rows = [['route', 'system', 'req/s', 'range', 'p50 ms', 'p99 ms', 'CPU µs', 'of the peer', 'by CPU', 'of the ceiling']];
  for (const [route, bySystem] of Object.entries(series)) {
    for (const { name, kind } of systems.filter((it) => bySystem[it.name])) {
      const mine = bySystem[name];
      const { rps, p50, p99 } = mine;
      const cpu = cpuMicros(mine);
      const compared = kind === 'ours' || kind === 'duties';
      const against = (other) => {
        if (!compared || !bySystem[other]) return '';
        const is = rate(mine) / rate(bySystem[other]);
        const { low, high } = ratio(rps, bySystem[other].rps);
        const target = SPEED.find((each) => each.route === route && each.than === other);
        const text = `${times(is)} [${low.toFixed(2)}-${high.toFixed(2)}]`;
        if (!target || kind !== 'ours') return text;
        const found = verdict(`${route}: ${name}, times the ${other}`, times(is), `≥ ${target.least}`, is >= target.least);
        if (name === 'ours') verdicts.push(found);
        return `${text} ${mark({ ...found, is: '' }).trim()}`;
      };
      rows.push([
        name === systems[0].name ? route : '',
        name,
        ...[integer(rate(mine)), range(rps, integer), decimal(median(p50)), decimal(median(p99))],
        ...[Number.isNaN(cpu) ? '' : integer(cpu), against('peer')],
        ...[compared && bySystem.peer && !Number.isNaN(cpu) ? times(cpuMicros(bySystem.peer) / cpu) : '', against('ceiling')],
      ]);
    }
  }
  let text = table(rows);
  if (series.telemetry) {
    const settled = settlement(systems, series.telemetry, ledgers);
    text += `\n\n${settled.text}`;
    verdicts.push(...settled.verdicts);
  }
  return { text, verdicts };
}

/** Messages a second with the time until the last is archived and counted, over all rounds. */
const settledRate = ({ answers, seconds, drain }) => answers / (seconds + drain.reduce((sum, one) => sum + one, 0));

/** Telemetry to its end: all that was acknowledged is archived and counted, and how long that took. */
function settlement(systems, series, ledgers) {
  const real = systems.filter(({ name }) => ledgers[name]);
  const verdicts = [];
  const rows = [['telemetry', 'to its end', 'acknowledged', 'archived', 'counted', 'R2 objects', 'drain s', 'messages/s until settled', 'of the peer']];
  for (const { name, kind } of real) {
    const { acknowledged, archived, counted, objects } = ledgers[name];
    const mine = settledRate(series[name]);
    const is = kind === 'ours' && series.peer ? mine / settledRate(series.peer) : undefined;
    const found = verdict(`telemetry: ${name} until archived and counted, times the peer`, times(is ?? 0), `≥ ${SETTLED}`, is >= SETTLED);
    if (name === 'ours' && is !== undefined) verdicts.push(found);
    rows.push(['', name, integer(acknowledged), integer(archived), integer(counted), integer(objects), decimal(median(series[name].drain)), integer(mine), is === undefined ? '' : mark(found)]);
  }
  return { text: table(rows), verdicts };
}

/** Door (b) beside the peer's one door. @param {Awaited<ReturnType<typeof import('./collected.mjs').measureCollected>>} measured */
export function collectedReport({ ours, peer, bytes, archive }) {
  const pace = ({ messages, seconds }) => messages / seconds;
  const is = pace(ours) / pace(peer);
  const found = verdict('objects: messages/s until archived and counted, times the peer', times(is), `≥ ${COLLECTED}`, is >= COLLECTED);
  const row = (name, taken) => ['', name, integer(pace(taken)), range(taken.rate, integer), decimal(cpuMicros({ answers: taken.messages, cpuSeconds: taken.cpuSeconds }))];
  const rows = [
    ['objects', 'system', 'messages/s', 'range', 'CPU µs', 'of the peer', 'by CPU'],
    [...row('ours', ours), mark(found), times(peer.cpuSeconds / peer.messages / (ours.cpuSeconds / ours.messages))],
    [...row('peer', peer), '', ''],
  ];
  const note = `  ours: ${integer(ours.messages)} messages in objects of ${integer(ours.messages / ours.rate.length)}, until archived, verified, counted and the object deleted; all ${integer(archive.distinct)} found, ${decimal(bytes / 1e6)} MB\n  peer: a request a message`;
  return { text: `${table(rows)}\n${note}`, verdicts: [found] };
}

/** What each door costs at the platform. @param {Record<string, import('./usage.mjs').Usage>} byDoor */
export function usageReport(byDoor) {
  const verdicts = [];
  const doors = Object.entries(byDoor);
  const line = (what, note, value) => ['', what, ...doors.map(([, usage]) => value(usage)), note];
  const perMillion = (value) => integer(value * 1e6);
  const written = ([name, usage]) => {
    const found = verdict(`${name}: D1 rows written a device-hour`, usage.rowsWritten.toFixed(2), `≤ ${ROWS}`, usage.rowsWritten <= ROWS);
    verdicts.push(found);
    return mark(found);
  };
  const split = ({ written: rows }) => Object.entries(rows).map(([name, count]) => `${name} ${count.toFixed(2)}`).join(', ');
  const rows = [
    ['usage', 'at a message a minute', ...doors.map(([name]) => name), ''],
    ['', 'D1 rows written a device-hour', ...doors.map(written), 'entries of indexes included'],
    line('  and to seal and delete it', '', ({ upkeepWritten }) => upkeepWritten.toFixed(2)),
    line('D1 rows read a device-hour', '', ({ rowsRead, upkeepRead }) => (rowsRead + upkeepRead).toFixed(1)),
    line('requests a million messages', 'the broker\'s, and the queue\'s to its consumer', ({ requests, batches, messages }) => perMillion((requests + batches) / messages)),
    line('queue messages', '', ({ queued, messages }) => perMillion(queued / messages)),
    line('R2 class A, to archive', 'puts; of an object its upload in parts', ({ archived }) => perMillion(archived.classA)),
    line('R2 class B, to archive', 'reads, to verify', ({ archived }) => perMillion(archived.classB)),
    line('R2 class A, to compact', '', ({ packed }) => perMillion(packed.classA)),
    line('R2 class B, to compact', '', ({ packed }) => perMillion(packed.classB)),
    line('R2 deletes', 'calls, free', ({ archived, packed }) => perMillion(archived.deletes + packed.deletes)),
    line('bytes a message, packed', '', ({ bytes }) => decimal(bytes)),
    line('CPU µs a message', 'of the whole local runtime: above what is billed', ({ cpu, packingCpu }) => `${decimal(cpu)} + ${decimal(packingCpu)}`),
  ];
  const writers = doors.map(([name, usage]) => `  rows written ${name}: ${split(usage)}`).join('\n');
  return { text: `${table(rows)}\n${writers}\n\n${costs(doors)}`, verdicts };
}

const FLEETS = [10_000, 1_000_000];

function costs(doors) {
  const columns = FLEETS.flatMap((devices) => doors.map(([name, usage]) => ({ title: `${integer(devices)} ${name}`, ...monthly(usage, devices) })));
  const names = {
    ...{ requests: 'requests', cpu: 'CPU', queue: 'queue operations', rowsRead: 'D1 rows read', rowsWritten: 'D1 rows written', database: 'D1 storage' },
    ...{ classA: 'R2 class A', classB: 'R2 class B', archive: 'R2 storage, a year' },
  };
  const short = (value) => {
    const [size, unit] = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']].find(([least]) => value >= least) ?? [1, ''];
    return `${(value / size).toFixed(value / size < 10 ? 1 : 0)}${unit}`;
  };
  const dollars = (value) => `$${value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 2 : 0 })}`;
  const rows = [
    ['cost', 'US dollars a month', ...columns.map(({ title }) => title)],
    ...Object.keys(PRICES).map((name) => ['', names[name], ...columns.map((column) => `${short(column.amounts[name])}  ${dollars(column.dollars[name])}`)]),
    ['', 'together', ...columns.map(({ sum }) => dollars(sum))],
    ['', 'a device and month', ...columns.map(({ sum }, index) => `${((sum / FLEETS[Math.floor(index / doors.length)]) * 100).toFixed(3)} cents`)],
  ];
  const note = `  telemetry alone, above what Workers Paid includes; D1: ${integer(DATABASE_BYTES / 1000)} KB a device (30 days), a database for 10,000`;
  return `${table(rows)}\n${note}`;
}

export function callsReport(byName) {
  const verdicts = [];
  const rows = [['calls', 'system', 'D1 statements', 'R2', 'queue']];
  for (const [name, counts] of Object.entries(byName)) {
    for (const [what, { statements, r2, queue }] of Object.entries(counts)) {
      const most = name === 'ours' ? STATEMENTS[what] : undefined;
      const found = verdict(`${what}: D1 statements`, String(statements), `≤ ${most}`, statements <= most);
      if (most !== undefined) verdicts.push(found);
      rows.push([what, name, most === undefined ? String(statements) : mark(found), String(r2), String(queue)]);
    }
  }
  return { text: table(rows), verdicts };
}

export function startupReport(byName) {
  const rows = [['start-up', 'system', 'ready ms', 'first answer ms', 'second ms']];
  for (const [name, { ready, first, second }] of Object.entries(byName)) {
    rows.push(['', name, integer(median(ready)), decimal(median(first)), decimal(median(second))]);
  }
  return { text: table(rows), verdicts: [] };
}

/** @param {{ name: string, js: number, wasm: number, gzip: number, ours: boolean }[]} bundles */
export function sizeReport(bundles) {
  const kilo = (bytes) => (bytes / 1000).toFixed(1);
  const verdicts = [];
  const rows = [['bundles', 'worker', 'js KB', 'wasm KB', 'gzip KB']];
  for (const { name, js, wasm, gzip, ours } of bundles) {
    const found = verdict(`${name}: bundle`, `${kilo(gzip)} KB`, `≤ ${BUNDLE / 1000}`, gzip <= BUNDLE);
    if (ours) verdicts.push(found);
    rows.push(['', name, kilo(js), kilo(wasm), ours ? mark({ ...found, is: kilo(gzip) }) : kilo(gzip)]);
  }
  return { text: table(rows), verdicts };
}

/** What nobody publishes of updates. @returns {{ text: string, verdicts: Verdict[] }} */
export function updatesReport({ triggers, flow, halts, overshoot, planner }) {
  const none = verdict('updates: repeated, replayed, late and reordered reports that changed a count', integer(flow.countsChanged), '= 0', flow.countsChanged === 0);
  const range = verdict('updates: bytes sent again after one cut', integer(flow.sentAgainMost), `< ${integer(SECTOR)}`, flow.sentAgainMost < SECTOR);
  const ms = (value) => `${integer(value)} ms`;
  const rows = [
    ['updates', 'what', 'value', 'note'],
    ['', 'from a failing report to the halt, p50', ms(halts.p50), `${halts.counted} rollouts`],
    ['', 'from a failing report to the halt, p99', ms(halts.p99), `at most ${ms(halts.max)}`],
    ['', 'devices told to update after it, at most', integer(overshoot.afterReport), `${overshoot.trials} rollouts at ${overshoot.rate / 60}/s, at most ${overshoot.reached} of ${overshoot.size} told; ${overshoot.afterHalt} after the halt`],
    ['', 'disordered reports that changed a count', mark({ ...none, is: integer(flow.countsChanged) }), `of ${integer(flow.copies)} copies among ${integer(flow.reports)}`],
    ['', 'triggers a second', decimal(triggers.perSecond), `the rate allowed ${decimal(triggers.asked)}`],
    ['', 'bytes sent again after a cut, at most', mark({ ...range, is: integer(flow.sentAgainMost) }), `${integer(flow.cuts)} cuts, ${integer(flow.sentAgain / Math.max(1, flow.cuts))} on average`],
    ...planner.map(({ devices, ms: took, slowest_ms: slowest, read_attempts_ms: reading }) => [
      ...['', `planning for ${integer(devices)} devices`, `${decimal(took)} ms`],
      `at most ${decimal(slowest)} ms; ${decimal(reading)} ms to read what is stored of them`,
    ]),
  ];
  return { text: table(rows), verdicts: [none, range] };
}

/** What 200 devices at once get of an image. */
export function downloadReport({ size, range: piece, clients, systems: { ours, peer } }) {
  const pace = median(ours.rate.map((rate, round) => rate / peer.rate[round]));
  const found = verdict('download: MB/s, times the peer', times(pace), `≥ ${DOWNLOAD}`, pace >= DOWNLOAD);
  const row = (name, { rate, p50, p99, peak }) => ['', name, decimal(median(rate)), range(rate, decimal), decimal(median(p50)), decimal(median(p99)), integer(peak)];
  const rows = [
    ['download', 'system', 'MB/s', 'range', 'p50 ms', 'p99 ms', 'memory MB', 'of the peer'],
    [...row('ours', ours), mark(found)],
    [...row('peer', peer), ''],
  ];
  const note = `  ${clients} clients, an image of ${integer(size)} bytes, ${integer(piece)} bytes at a time; memory is the runtime's high-water mark`;
  return { text: `${table(rows)}\n${note}`, verdicts: [found] };
}

/** The database backed up and restored. @param {ReturnType<typeof import('../../drill/report.mjs').numbers>} measured */
export function backupReport(measured) {
  const mega = (bytes) => (bytes / 1_000_000).toFixed(1);
  const memory = measured.heap_peak_bytes + measured.wasm_memory_bytes;
  const small = verdict('backup: memory of the worker', `${mega(memory)} MB`, `< ${MEMORY / 1_000_000} MB`, memory < MEMORY);
  const equal = verdict('backup: tables that differ when restored', String(measured.faults.length), '= 0', measured.faults.length === 0);
  const rows = [
    ['backup', 'what', 'value', 'note'],
    ['', 'rows a second, backup', integer(measured.backup_rows_per_second), `${integer(measured.rows)} rows, ${mega(measured.sql_bytes)} MB of SQL, ${mega(measured.object_bytes)} MB in R2`],
    ['', 'rows a second, restore', integer(measured.restore_rows_per_second), 'with the checksum of every table'],
    ['', 'memory of the worker, MB', mark({ ...small, is: mega(memory) }), `${mega(measured.heap_peak_bytes)} V8, ${mega(measured.wasm_memory_bytes)} wasm; while others write`],
    ['', 'tables that differ when restored', mark(equal), `of ${measured.tables}`],
  ];
  return { text: table(rows), verdicts: [small, equal] };
}

/** An attack slows no honest device by more than a fifth. */
const SLOWER = 1.2;

/** Admissions beside nothing, beside good requests and beside an attack. @param {Awaited<ReturnType<typeof import('./attack.mjs').measureAttack>>} measured */
export function attackReport(measured) {
  const verdicts = [];
  const rows = [['attack', 'admission', 'calm ms', 'beside good ones ms', 'attacked ms', 'of the good ones', 'of calm']];
  for (const [name, { calm, good, attacked, ofGood, ofCalm }] of Object.entries(slowdown(measured))) {
    const against = (what, is) => verdict(`attack: ${name} of an honest admission, of ${what}`, times(is), `≤ ${SLOWER}`, is <= SLOWER);
    const found = [against('beside as many good requests', ofGood), against('beside nothing', ofCalm)];
    verdicts.push(...found);
    rows.push(['', name, ...[calm, good, attacked].map((ms) => ms.toFixed(2)), ...found.map(mark)]);
  }
  const { requests } = measured;
  rows.push(['', 'of', integer(measured.calm.length), integer(measured.good.length), integer(measured.attacked.length), `${integer(requests.good)} good ones`, `${integer(requests.attacked)} attacks`]);
  return { text: table(rows), verdicts };
}

/** A round of checks. @param {Awaited<ReturnType<typeof import('./watch.mjs').measureWatch>>} measured */
export function watchReport({ checks, hang, timeout, systems }) {
  const verdicts = [];
  const rows = [['watch', 'system', 'all well ms', 'range', `${hang} hang ms`, 'range', 'requests', 'at once', 'D1 statements', 'D1 calls']];
  for (const [name, { well, ill, most, cost }] of Object.entries(systems)) {
    const statements = verdict('watch: D1 statements of a round', String(cost.statements), `≤ ${ROUND}`, cost.statements <= ROUND);
    const atOnce = verdict('watch: requests at once', String(most), `≤ ${CONNECTIONS}`, most <= CONNECTIONS);
    // One that hangs keeps the others from nothing: a round with some takes as long as they are waited for, and what one takes anyway.
    const longest = timeout + 2 * median(well);
    const unharmed = verdict(`watch: a round in which ${hang} hang`, `${integer(median(ill))} ms`, `≤ ${integer(longest)}`, median(ill) <= longest);
    const isOurs = name === 'ours';
    if (isOurs) verdicts.push(statements, atOnce, unharmed);
    const shown = (found, value) => (isOurs ? mark({ ...found, is: value }) : value);
    rows.push([
      ...['', name, integer(median(well)), range(well, integer), shown(unharmed, integer(median(ill))), range(ill, integer)],
      ...[integer(cost.requests), shown(atOnce, String(most)), shown(statements, integer(cost.statements)), integer(cost.calls)],
    ]);
  }
  const note = `  ${checks} checks; a server is waited for ${timeout} ms; requests: to servers, buckets and namespaces; ours has the trigger's other duties in it`;
  return { text: `${table(rows)}\n${note}`, verdicts };
}

/** What the health worker may hold while it backs up; an isolate may hold 128 MB. */
const MEMORY = 100_000_000;

/** A device writes 4 KiB at once, and asks for no smaller range. */
const SECTOR = 4096;

/** @param {Verdict[]} verdicts */
export function summary(verdicts) {
  const missed = verdicts.filter(({ met }) => !met);
  if (missed.length === 0) return `all ${verdicts.length} targets met`;
  return [`${verdicts.length - missed.length} of ${verdicts.length} targets met; missed:`, ...missed.map((each) => `  ${each.what}: ${mark(each)}`)].join('\n');
}
