// That the workflows' checks find what they are for, and that what the workflows run exists.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../tools/lib/paths.mjs';
import { checkWorkflows } from '../../tools/workflows.mjs';

const WORKFLOWS = join(ROOT, '.github', 'workflows');
const GOOD = readFileSync(join(WORKFLOWS, 'ci.yml'), 'utf8');

/** The faults of one workflow. */
async function faultsOf(text) {
  const root = mkdtempSync(join(tmpdir(), 'rs1-workflows-'));
  const directory = join(root, '.github', 'workflows');
  try {
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'ci.yml'), text);
    return (await checkWorkflows({ env: process.env }, directory)).faults.join('\n');
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

const MISTAKES = [
  ['a template that a pull request fills', /template-injection/, (text) => text.replace('run: .ci/run', 'run: echo ${{ github.event.pull_request.title }}')],
  ['an action by its tag', /unpinned-uses/, (text) => text.replace(/checkout@\w+ # v5\.0\.0/, 'checkout@v5')],
  ['every permission', /excessive-permissions/, (text) => text.replace('permissions: {}', 'permissions: write-all')],
  ['credentials left in the clone', /artipacked/, (text) => text.replace('persist-credentials: false', 'fetch-depth: 1')],
  ['a misspelt key', /schema/, (text) => text.replace('runs-on:', 'run-on:')],
  ['a job without a time limit', /time limit/, (text) => text.replace(/ +timeout-minutes: 90\n/, '')],
];
for (const [what, finding, change] of MISTAKES) {
  test(`found: ${what}`, async () => {
    const text = change(GOOD);
    assert.notEqual(text, GOOD);
    assert.match(await faultsOf(text), finding);
  });
}

test('what the workflows run is there', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  for (const file of readdirSync(WORKFLOWS)) {
    const text = readFileSync(join(WORKFLOWS, file), 'utf8');
    for (const [, name] of text.matchAll(/npm run (?:-s )?([\w:]+)/g)) assert.ok(scripts[name], `${file}: npm run ${name}`);
    for (const [, path] of text.matchAll(/run: (\.ci\/\w+)/g)) assert.ok(readFileSync(join(ROOT, path)), `${file}: ${path}`);
  }
});

test('each environment is released to from its own branch, with its own credentials', () => {
  for (const [environment, branch] of [['staging', 'develop'], ['production', 'main']]) {
    const text = readFileSync(join(WORKFLOWS, `deploy-${environment}.yml`), 'utf8');
    assert.match(text, new RegExp(`branches: \\[${branch}\\]`));
    assert.match(text, new RegExp(`name: ${environment}\n`));
    assert.match(text, new RegExp(`npm run deploy -- --env ${environment} --built --tested "\\$GITHUB_SHA"`));
  }
});
