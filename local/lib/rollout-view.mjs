// How a rollout looks in a terminal: what the API says of it, as lines. Pure, so that it can be tried without a stack.

/** What a device's state is drawn with, in the order of an update. */
const STATES = [
  ['confirmed', '█', 32],
  ['installed', '▓', 36],
  ['verifying', '▒', 36],
  ['downloading', '▒', 34],
  ['deferred', '▒', 33],
  ['triggered', '░', 34],
  ['failed', '×', 31],
  ['rolled_back', '×', 31],
  ['timed_out', '×', 31],
  ['refused', '–', 33],
  ['cancelled', '–', 90],
  ['eligible', '·', 90],
];
const OPEN = ['triggered', 'deferred', 'downloading', 'verifying', 'installed'];

/** What is held back, in words; the key is the API's. */
const HELD_BACK = {
  ...{ sku: 'another variant', selector: 'not selected', version_unknown: 'version unknown', up_to_date: 'up to date' },
  ...{ version: 'a higher version', anti_rollback: 'anti-rollback', cohort: 'a later stage', another_rollout: 'another rollout' },
  ...{ cooldown: 'updated lately', offline: 'offline', rssi: 'weak signal', offers: 'offered too often', batch: 'the next run' },
  ...{ artifact_yanked: 'the artifact was withdrawn', not_started: 'not started', paused: 'paused', ended: 'the rollout is over' },
  rate: 'the rate',
};

const STATUS_COLOR = { PENDING: 90, STAGED: 34, PAUSED: 33, COMPLETED: 32, ABORTED: 31 };

/** Whether nothing about it will change any more. */
export function isOver({ status, counts = {} }) {
  return ['COMPLETED', 'ABORTED'].includes(status) && OPEN.every((state) => !counts[state]);
}

/**
 * @param {any} rollout as `GET /admin/rollouts/{id}` answers
 * @param {{ now: number, width?: number, color?: boolean, clock?: boolean }} options `clock`: false leaves out what changes only
 *   because time passes, so that two views differ when something happened
 * @returns {string[]} lines
 */
export function view(rollout, { now, width = 80, color = false, clock = true }) {
  const paint = (code, text) => (color ? `\x1b[${code}m${text}\x1b[0m` : text);
  const line = (name, text) => `${paint(90, name.padEnd(11))}${text}`;
  const room = Math.max(20, width - 11);
  const report = rollout.report ?? undefined;
  const status = paint(STATUS_COLOR[rollout.status] ?? 0, rollout.status);
  const cause = rollout.cause && !['STAGED', 'COMPLETED'].includes(rollout.status) ? ` (${rollout.cause.replaceAll('_', ' ')})` : '';
  const lines = [
    `${paint(1, rollout.rollout_id)}  ${rollout.sku} ${rollout.version}  ${status}${cause}`,
    line('stages', stages(rollout, { now, clock, paint })),
  ];
  lines.push(...devices(rollout, { room, line, paint }));
  if (report) lines.push(...judgement(rollout, report, { line, paint }), ...holds(rollout, report, { room, line }));
  if (clock && rollout.next_judgement_at && !isOver(rollout)) {
    lines.push(line('next', `judged again by ${until(rollout.next_judgement_at, now)}, or when something happens`));
  }
  return lines;
}

/** `✓ 1 %  ▸ 10 % 3:59:02 left  50 %  100 %` */
function stages({ status, stages, stage, stage_ends_at, started_at }, { now, clock, paint }) {
  return stages
    .map(({ percent }, index) => {
      const isDone = status === 'COMPLETED' || (started_at && index < stage);
      if (isDone) return paint(32, `✓ ${percent} %`);
      if (!started_at || index !== stage || status === 'ABORTED') return paint(90, `${percent} %`);
      const left = Date.parse(stage_ends_at) - now;
      const time = !clock || !stage_ends_at ? '' : left > 0 ? ` ${duration(left)} left` : ' its time is over';
      return paint(1, `▸ ${percent} %${time}`);
    })
    .join('  ');
}

/** A bar of all devices, and a bar for each state that occurs. */
function devices({ counts = {}, report }, { room, line, paint }) {
  const known = STATES.filter(([state]) => counts[state] > 0);
  const rows = known.reduce((sum, [state]) => sum + counts[state], 0);
  const all = Math.max(report?.devices ?? 0, rows);
  if (all === 0) return [line('devices', 'none')];
  const waiting = all - rows;
  const parts = [...known.map(([state, sign, code]) => [counts[state], sign, code]), [waiting, '·', 90]];
  const bar = split(parts.map(([number]) => number), room)
    .map((cells, index) => (cells > 0 ? paint(parts[index][2], parts[index][1].repeat(cells)) : ''))
    .join('');
  const lines = [line('devices', `${all}, of which ${rows - (counts.eligible ?? 0)} were triggered`), line('', bar)];
  for (const [state, sign, code] of known) {
    const number = String(counts[state]).padStart(7);
    const cells = Math.max(1, Math.round((counts[state] / all) * (room - 16)));
    lines.push(line(state, `${number} ${percent(counts[state] / all).padStart(7)} ${paint(code, sign.repeat(cells))}`));
  }
  return lines;
}

/** What the halts and the stage are judged by. */
function judgement({ status }, { total, is_judged, judged_from, stage, recent_failures }, { line, paint }) {
  const acknowledged = total.failures - total.new_failures;
  const said = [
    `${total.new_failures} of ${total.outcomes} with an outcome, ${percent(total.failure_share)}`,
    acknowledged > 0 ? `${acknowledged} more acknowledged` : '',
    is_judged ? '' : `judged from ${judged_from} outcomes on`,
    recent_failures > 0 ? `${recent_failures} in the last hour, across rollouts` : '',
  ];
  const lines = [line('failures', paint(total.new_failures > 0 ? 31 : 0, said.filter(Boolean).join('; ')))];
  if (status !== 'STAGED' && status !== 'PAUSED') return lines;
  const limit = stage.max_failure_share === undefined ? 'no limit' : `must stay under ${percent(stage.max_failure_share)}`;
  const needed = stage.min_confirmed > 0 ? `, ${stage.min_confirmed} needed` : '';
  lines.push(
    line('this stage', `${stage.reached} reached in it (${total.reached} of ${stage.capacity} in all), ${stage.confirmed} confirmed${needed}`),
    line('', `${stage.new_failures} of ${stage.outcomes} failed, ${percent(stage.failure_share)}; ${limit}`),
  );
  return lines;
}

/** What the next step waits for, and who is held back by what. */
function holds({ status }, { awaits = [], held_back = {}, never_reached, stage }, { room, line }) {
  const words = {
    start: 'somebody to start it, or its schedule',
    resume: 'somebody to resume it',
    time: "the stage's time",
    confirmed: `${Math.max(0, stage.min_confirmed - stage.confirmed)} more confirmed devices`,
    failure_share: 'a failure share under the limit, or somebody to advance it',
    under_way: 'devices that are under way',
    devices: 'devices that wait their turn, or cannot be reached',
  };
  const lines = [];
  if (awaits.length > 0) lines.push(...wrapped('waits for', awaits.map((what) => words[what] ?? what), room, line));
  const held = Object.entries(held_back)
    .sort(([a, many], [b, more]) => more - many || (a < b ? -1 : 1))
    .map(([reason, number]) => `${number} ${HELD_BACK[reason] ?? reason}`);
  if (held.length > 0) lines.push(...wrapped('held back', held, room, line));
  const isFinal = status === 'ABORTED' || status === 'COMPLETED';
  if (isFinal && never_reached > 0) lines.push(line('left out', `${never_reached} were never reached`));
  return lines;
}

/** A list over as many lines as it needs. */
function wrapped(name, parts, room, line) {
  const lines = [];
  for (const part of parts) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + part.length + 2 <= room) lines[lines.length - 1] = `${last}, ${part}`;
    else lines.push(part);
  }
  return lines.map((text, index) => line(index === 0 ? name : '', index < lines.length - 1 ? `${text},` : text));
}

/**
 * Splits `cells` in the proportion of `numbers`; whatever there is at all gets one, and the sum is exact.
 * @param {number[]} numbers
 * @returns {number[]}
 */
export function split(numbers, cells) {
  const sum = numbers.reduce((total, number) => total + number, 0);
  if (sum === 0) return numbers.map(() => 0);
  const shares = numbers.map((number) => (number === 0 ? 0 : Math.max(1, Math.round((number / sum) * cells))));
  let over = shares.reduce((total, share) => total + share, 0) - cells;
  while (over !== 0) {
    const largest = shares.indexOf(Math.max(...shares));
    const change = over > 0 ? Math.min(over, Math.max(1, shares[largest] - 1)) : over;
    shares[largest] -= change;
    over -= change;
  }
  return shares;
}

/** 0.0123 is `1.2 %`. */
export function percent(share) {
  return `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

/** Milliseconds as `3:59:02`, days in front if there are any. */
export function duration(millis) {
  const seconds = Math.max(0, Math.floor(millis / 1000));
  const two = (number) => String(number).padStart(2, '0');
  const days = Math.floor(seconds / 86_400);
  const clock = `${Math.floor((seconds % 86_400) / 3600)}:${two(Math.floor((seconds % 3600) / 60))}:${two(seconds % 60)}`;
  return days > 0 ? `${days} d ${clock}` : clock;
}

function until(time, now) {
  const at = new Date(time).toISOString().slice(11, 19);
  return `${at} UTC (in ${duration(Date.parse(time) - now)})`;
}

/** One line of a list of rollouts. */
export function row({ rollout_id, sku, version, status, stage, stages, cause }) {
  const place = status === 'STAGED' || status === 'PAUSED' ? `${stages[stage]?.percent} %` : '';
  const why = cause && !['STAGED', 'COMPLETED'].includes(status) ? cause.replaceAll('_', ' ') : '';
  return [rollout_id, sku.padEnd(8), version.padEnd(12), status.padEnd(9), place.padEnd(5), why].join('  ').trimEnd();
}
