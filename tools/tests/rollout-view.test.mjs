// How a rollout looks in a terminal.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { duration, isOver, percent, row, split, view } from '../../local/lib/rollout-view.mjs';

const NOW = Date.parse('2026-01-20T10:00:00Z');
const tally = { reached: 0, in_flight: 0, outcomes: 0, confirmed: 0, failures: 0, new_failures: 0, new_rolled_back: 0, failure_share: 0 };

/** A rollout in its second stage, as the API answers. */
function rollout(changes = {}) {
  return {
    ...{ rollout_id: 'rol-01', sku: 'rs1_pro', version: '1.2.0', status: 'STAGED', cause: null, stage: 1 },
    stages: [1, 10, 50, 100].map((part) => ({ percent: part })),
    started_at: '2026-01-20T08:00:00Z',
    stage_ends_at: '2026-01-20T13:00:00Z',
    next_judgement_at: '2026-01-20T10:01:30Z',
    counts: { confirmed: 18, downloading: 6, failed: 1 },
    report: {
      ...{ devices: 400, is_judged: true, judged_from: 10, recent_failures: 1, never_reached: 375 },
      total: { ...tally, reached: 25, in_flight: 6, outcomes: 19, confirmed: 18, failures: 1, new_failures: 1, failure_share: 1 / 19 },
      stage: { index: 1, of: 4, percent: 10, ...tally, reached: 21, outcomes: 15, confirmed: 14, capacity: 40, min_confirmed: 10, max_failure_share: 0.01 },
      awaits: ['time'],
      held_back: { offline: 3, cohort: 360, rate: 12 },
    },
    ...changes,
  };
}

const text = (changes, options) => view(rollout(changes), { now: NOW, ...options }).join('\n');

test('a rollout under way shows its stages, its devices, its failures, and what holds it back', () => {
  const shown = text();
  assert.match(shown, /^rol-01 {2}rs1_pro 1\.2\.0 {2}STAGED\n/);
  assert.match(shown, /✓ 1 % {2}▸ 10 % 3:00:00 left {2}50 % {2}100 %/);
  assert.match(shown, /400, of which 25 were triggered/);
  assert.match(shown, /confirmed +18 +4\.5 % █/);
  assert.match(shown, /failed +1 +0\.3 % ×/);
  assert.match(shown, /failures +1 of 19 with an outcome, 5\.3 %; 1 in the last hour, across rollouts/);
  assert.match(shown, /21 reached in it \(25 of 40 in all\), 14 confirmed, 10 needed/);
  assert.match(shown, /must stay under 1\.0 %/);
  assert.match(shown, /waits for +the stage's time/);
  assert.match(shown, /held back +360 a later stage, 12 the rate, 3 offline/);
  assert.match(shown, /judged again by 10:01:30 UTC \(in 0:01:30\)/);
});

test('no line is wider than the terminal, and the bar of all devices fills it', () => {
  for (const width of [40, 80, 120]) {
    const lines = view(rollout(), { now: NOW, width });
    assert.equal([...lines[3]].length, width, lines[3]);
    if (width >= 80) for (const line of lines) assert.ok([...line].length <= width, line);
  }
});

test('colours are only a matter of colour', () => {
  const painted = text({}, { color: true });
  assert.notEqual(painted, text());
  assert.equal(painted.replaceAll(/\x1b\[\d+m/g, ''), text());
});

test('without a clock, only what happens changes the view', () => {
  const later = (now, changes) => view(rollout(changes), { now, clock: false }).join('\n');
  assert.equal(later(NOW), later(NOW + 60_000, { next_judgement_at: '2026-01-20T10:09:00Z' }));
  assert.notEqual(later(NOW), later(NOW, { counts: { confirmed: 19, downloading: 5, failed: 1 } }));
});

test('a rollout that waits to begin has no report, and no stage is marked', () => {
  const shown = text({ status: 'PENDING', stage: 0, started_at: null, stage_ends_at: null, report: null, counts: {}, next_judgement_at: null });
  assert.match(shown, /PENDING\n/);
  assert.doesNotMatch(shown, /▸|✓|failures/);
  assert.match(shown, /devices +none/);
});

test('a halt says its cause and whom it waits for, and what stands in the end', () => {
  const { report } = rollout();
  const paused = text({ status: 'PAUSED', cause: 'failure_share', report: { ...report, awaits: ['resume'] } });
  assert.match(paused, /PAUSED \(failure share\)/);
  assert.match(paused, /waits for +somebody to resume it/);
  const aborted = text({ status: 'ABORTED', cause: 'failure_share', report: { ...report, awaits: [], held_back: { ended: 375 } } });
  assert.match(aborted, /375 were never reached/);
  assert.doesNotMatch(aborted, /▸/);
  const done = { ...report, awaits: [], held_back: {}, never_reached: 0 };
  const completed = text({ status: 'COMPLETED', cause: 'done', report: done });
  assert.match(completed, /COMPLETED\n/);
  assert.doesNotMatch(completed, /never/);
});

test('a rollout is over when it has ended and nothing is under way', () => {
  assert.equal(isOver({ status: 'STAGED', counts: {} }), false);
  assert.equal(isOver({ status: 'ABORTED', counts: { downloading: 1 } }), false);
  assert.equal(isOver({ status: 'ABORTED', counts: { confirmed: 1, failed: 2 } }), true);
  assert.equal(isOver({ status: 'COMPLETED' }), true);
});

test('a bar is split exactly, and whatever there is can be seen', () => {
  for (const [numbers, cells] of [[[1, 1, 998], 69], [[3, 0, 1], 20], [[1, 1, 1], 20], [[0, 5], 7], [[1, 2, 4, 8, 16, 32, 64], 30]]) {
    const shares = split(numbers, cells);
    assert.equal(shares.reduce((sum, share) => sum + share, 0), cells, `${numbers}`);
    numbers.forEach((number, index) => assert.equal(shares[index] > 0, number > 0, `${numbers}: ${shares}`));
  }
  assert.deepEqual(split([0, 0], 10), [0, 0]);
});

test('times and shares are short', () => {
  assert.equal(duration(59_999), '0:00:59');
  assert.equal(duration(3_600_000 * 27 + 61_000), '1 d 3:01:01');
  assert.equal(duration(-5), '0:00:00');
  assert.deepEqual([0, 0.001, 0.05, 0.1, 1].map(percent), ['0 %', '0.1 %', '5.0 %', '10 %', '100 %']);
});

test('a list has a line for each', () => {
  assert.equal(row(rollout()), 'rol-01  rs1_pro   1.2.0         STAGED     10 %');
  assert.match(row(rollout({ status: 'ABORTED', cause: 'failure_share' })), /ABORTED +failure share$/);
});
