// The checks of watch/: what the operators' Prometheus and Grafana are given. Rules are checked and tried by promtool; the dashboard's
// queries are checked by it too; and both may name only metrics that the workers status and history have.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './lib/paths.mjs';
import { capture } from './lib/proc.mjs';
import { ensurePromtool } from './lib/promtool.mjs';

const WATCH = join(ROOT, 'watch');
const METRICS = [['status', 'src', 'metrics.rs'], ['history', 'src', 'handlers', 'metrics.rs']].map((path) => join(ROOT, 'workers', ...path));
/** What Grafana puts into a query: durations, and what was chosen. */
const DURATIONS = /\$\{?__(rate_)?interval\}?/g;
const CHOSEN = /\$\{?component\}?/g;

/** The faults of a dashboard that need nobody's help to be seen, and its queries. @param {string} text */
export function readDashboard(text) {
  const { uid, title, schemaVersion, panels = [], templating } = JSON.parse(text);
  const faults = [];
  const fault = (wrong, why) => wrong && faults.push(`the dashboard: ${why}`);
  fault(!uid || !title || !(schemaVersion >= 36), 'it needs a uid, a title and a schemaVersion of 36 or more');
  fault(panels.length === 0, 'it has no panels');
  const ids = panels.map(({ id }) => id);
  fault(new Set(ids).size !== ids.length, 'two panels have one id');
  const known = new Set((templating?.list ?? []).map(({ name }) => name));
  for (const name of JSON.stringify(panels).matchAll(/\$\{?(\w+)/g)) fault(!known.has(name[1]) && !name[1].startsWith('__'), `nothing is called $${name[1]}`);
  for (const [index, { title: name, gridPos: { x, y, w, h } }] of panels.entries()) {
    fault(x + w > 24, `${name} is wider than the page`);
    for (const other of panels.slice(index + 1)) {
      const at = other.gridPos;
      fault(x < at.x + at.w && at.x < x + w && y < at.y + at.h && at.y < y + h, `${name} lies over ${other.title}`);
    }
  }
  const queries = panels.flatMap(({ title: name, targets = [] }) => targets.map(({ expr }) => ({ name, expr })));
  fault(queries.length < panels.length, 'a panel asks for nothing');
  return { faults, queries };
}

/** @returns {Promise<{ passed: number, faults: string[] }>} */
export async function checkWatch() {
  const promtool = await ensurePromtool();
  const { faults, queries } = readDashboard(readFileSync(join(WATCH, 'dashboard.json'), 'utf8'));
  let passed = faults.length === 0 ? 1 : 0;
  const run = async (what, ...args) => {
    const { ok, stdout, stderr } = await capture(promtool, args, { cwd: WATCH, timeout: 120_000 });
    if (ok) passed += 1;
    else faults.push(`${what}:\n${stdout}${stderr}`.trim());
  };
  await run('the rules', 'check', 'rules', 'alerts.yml');
  await run('the rules, tried', 'test', 'rules', 'alerts.test.yml');
  const directory = mkdtempSync(join(tmpdir(), 'rs1-watch-'));
  try {
    // A query is good if a rule of it is. JSON is YAML.
    const rules = queries.map(({ expr }, index) => ({ record: `panel:${index}`, expr: expr.replace(DURATIONS, '5m').replace(CHOSEN, 'x') }));
    writeFileSync(join(directory, 'panels.yml'), JSON.stringify({ groups: [{ name: 'panels', rules }] }));
    await run('the dashboard’s queries', 'check', 'rules', join(directory, 'panels.yml'));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  const there = new Set(METRICS.flatMap((path) => readFileSync(path, 'utf8').match(/\brs1_\w+/g)));
  const asked = readFileSync(join(WATCH, 'alerts.yml'), 'utf8') + queries.map(({ expr }) => expr).join('\n');
  const strange = [...new Set(asked.match(/\brs1_\w+/g))].filter((name) => !there.has(name));
  if (strange.length === 0) passed += 1;
  else faults.push(`no such metric: ${strange.join(', ')}`);
  return { passed, faults };
}
