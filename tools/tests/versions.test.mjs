import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../lib/paths.mjs';
import { duration } from '../lib/say.mjs';
import { atLeast, lockedVersion, minimumRust } from '../lib/versions.mjs';

test('versions compare by number, not by letter', () => {
  assert.ok(atLeast('1.100.0', '1.95'));
  assert.ok(atLeast('1.95.0', '1.95'));
  assert.ok(atLeast('2', '1.95'));
  assert.ok(!atLeast('1.94.9', '1.95'));
  assert.ok(!atLeast('1.9', '1.95'));
});

test("Cargo.lock pins the workers' two generators' crates", () => {
  assert.match(lockedVersion('worker'), /^\d+\.\d+\.\d+$/);
  assert.match(lockedVersion('wasm-bindgen'), /^\d+\.\d+\.\d+$/);
  assert.match(minimumRust(), /^\d+\.\d+/);
});

test('package-lock.json names no registry and pins every package by its hash', () => {
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '') continue;
    assert.equal(entry.resolved, undefined, path);
    assert.match(entry.integrity ?? '', /^sha512-/, path);
  }
});

test('package.json asks for exact versions', () => {
  const { devDependencies, optionalDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  for (const [name, version] of Object.entries({ ...devDependencies, ...optionalDependencies })) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
  }
});

test('durations read well', () => {
  assert.equal(duration(240), '0.2 s');
  assert.equal(duration(12_400), '12 s');
  assert.equal(duration(185_000), '3 min 05 s');
});
