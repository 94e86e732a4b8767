// What Prometheus makes of metrics, by its own word.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { ensurePromtool } from '../../../tools/lib/promtool.mjs';

/** Has promtool parse metrics and look at their names, types and units; it has nothing to say of good ones. @param {string} text */
export async function promtoolAccepts(text) {
  const child = spawn(await ensurePromtool(), ['check', 'metrics'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => (said += part));
  child.stdin.end(text);
  const [status] = await once(child, 'close');
  assert.deepEqual([status, said], [0, ''], text);
}

/** The samples of an exposition: what stands before the value, and the value. @param {string} text @returns {Record<string, number>} */
export const samples = (text) =>
  Object.fromEntries(text.split('\n').filter((line) => line && !line.startsWith('#')).map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
