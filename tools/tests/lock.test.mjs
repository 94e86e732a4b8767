import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { withLock } from '../lib/lock.mjs';
import { CACHE } from '../lib/paths.mjs';

const name = `test-${process.pid}`;
const path = join(CACHE, 'locks', name);

test('one at a time', async () => {
  const events = [];
  const work = (id) => async () => {
    events.push(`${id} in`);
    await sleep(50);
    events.push(`${id} out`);
  };
  await Promise.all([withLock(name, work('a')), withLock(name, work('b'))]);
  assert.deepEqual(events, ['a in', 'a out', 'b in', 'b out']);
  assert.ok(!existsSync(path));
});

test('it is given back when the work fails', async () => {
  await assert.rejects(
    withLock(name, async () => {
      throw new Error('broken');
    }),
    /broken/,
  );
  assert.ok(!existsSync(path));
});

test('the lock of a process that died is taken over', async () => {
  const { pid } = spawnSync('true');
  mkdirSync(join(CACHE, 'locks'), { recursive: true });
  writeFileSync(path, String(pid));
  assert.equal(await withLock(name, async () => 'mine'), 'mine');
});
