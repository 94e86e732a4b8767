// The decisions of provisioning and deploying that need no account.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withValue } from '../delivery/jsonc-edit.mjs';
import { classify, migrationsDirectory, pendingMigrations, readMigrations } from '../delivery/migrations.mjs';
import { healthUrl } from '../delivery/probe.mjs';
import { DEPLOYED, digestOf, isPlaceholder, openProject } from '../delivery/project.mjs';
import { judge, watchQuery } from '../delivery/watch.mjs';

const FILE = `{
  // "env": { "staging": [] } is a comment
  "env": {
    "staging": {
      "d1_databases": [
        { "binding": "A", "id": "}{" }, /* "id": "no" */
        {
          "binding": "DB", // the second
          "id": "old",
        },
      ],
      "number": -1.5, "yes": true,
    },
  },
}
`;

test('one value of a file with comments is changed and nothing else', () => {
  assert.equal(withValue(FILE, ['env', 'staging', 'd1_databases', 1, 'id'], 'new'), FILE.replace('"old"', '"new"'));
  assert.equal(withValue(FILE, ['env', 'staging', 'd1_databases', 0, 'id'], 'new'), FILE.replace('"}{"', '"new"'));
  assert.equal(withValue(FILE, ['env', 'staging', 'number'], 2), FILE.replace('-1.5', '2'));
  assert.equal(withValue(FILE, ['env', 'staging', 'yes'], false), FILE.replace('true', 'false'));
  assert.throws(() => withValue(FILE, ['env', 'production'], 1), /there is no env\.production/);
});

const CLASSES = [
  ['CREATE TABLE a (x TEXT);', 'expand', null],
  ['-- about\nALTER TABLE a ADD COLUMN y TEXT;', 'expand', null],
  ["-- phase: contract\nALTER TABLE a DROP COLUMN y;", 'contract', null],
  ["UPDATE a SET x = 'DROP TABLE a'; -- DROP TABLE a\n/* DROP TABLE a */", 'expand', null],
  ['DROP TABLE a;', 'expand', /say in its header which phase/],
  ['ALTER TABLE a RENAME TO b;', 'expand', /say in its header which phase/],
  ['CREATE INDEX i ON a (x);\n-- phase: contract\nDROP INDEX j;', 'expand', /say in its header/],
  ['-- phase: expand\nDROP TABLE a;', 'expand', /give the reason/],
  ['-- phase: expand, because nothing was ever written to it\nDROP TABLE a;', 'expand', null],
  ['-- phase: contract\nDROP TABLE a;\nCREATE TABLE b (x TEXT);', 'contract', /make it two migrations/],
  ['-- phase: later\nSELECT 1;', 'expand', /neither expand nor contract/],
];
for (const [sql, phase, fault] of CLASSES) {
  test(`a migration is classified: ${JSON.stringify(sql)}`, () => {
    const found = classify('0001_a.sql', sql);
    assert.equal(found.phase, phase);
    if (fault === null) assert.equal(found.fault, null);
    else assert.match(found.fault, fault);
  });
}

const migration = (name, phase = 'expand') => ({ name, phase });

test('what contracts waits for the code, what expands does not', () => {
  const all = [migration('1'), migration('2'), migration('3', 'contract'), migration('4', 'contract')];
  const names = ({ before, after }) => [before.map(({ name }) => name), after.map(({ name }) => name)];
  assert.deepEqual(names(pendingMigrations(all, ['1'])), [['2'], ['3', '4']]);
  assert.deepEqual(names(pendingMigrations(all, ['1', '2', '3'])), [[], ['4']]);
  assert.deepEqual(names(pendingMigrations(all, ['1', '2', '3', '4'])), [[], []]);
});

test('a release whose order contradicts that of its migrations is refused', () => {
  const all = [migration('1'), migration('2', 'contract'), migration('3')];
  assert.throws(() => pendingMigrations(all, ['1']), /3 expands the schema, and 2 before it contracts it/);
  assert.deepEqual(pendingMigrations(all, ['1', '2']).before, [migration('3')]);
  assert.throws(() => pendingMigrations(all, ['1', '3']), /2 is not applied, though the later 3 is/);
  assert.throws(() => pendingMigrations(all, ['1', '2', '3', '4']), /migrations that this commit does not know: 4/);
});

test("the project's own migrations can be released", () => {
  for (const environment of DEPLOYED) assert.ok(readMigrations(migrationsDirectory(openProject(environment)).directory).length >= 4);
});

const VERSIONS = [{ worker: 'ota', version: 'v2' }];
const row = (columns) => [{ worker: 'ota', version: 'v2', requests: '1000', errors: '0', p95_ms: 100, ...columns }];

test('beyond 1 % of errors or 2 s a version is unwell, at them it is not', () => {
  const verdict = (columns) => judge(VERSIONS, row(columns))[0];
  assert.equal(verdict({ errors: '10' }).fault, null);
  assert.match(verdict({ errors: '11' }).fault, /more than 1 % of requests fail/);
  assert.equal(verdict({ p95_ms: 2000 }).fault, null);
  assert.match(verdict({ p95_ms: 2000.5 }).fault, /p95 is above 2000 ms/);
});

test('few requests say nothing, and those of another version neither', () => {
  assert.deepEqual([judge(VERSIONS, row({ requests: '49', errors: '49' }))[0].judged, judge(VERSIONS, row({ requests: '50', errors: '50' }))[0].judged], [false, true]);
  assert.equal(judge(VERSIONS, row({ version: 'v1', errors: '1000' }))[0].requests, 0);
  assert.equal(judge(VERSIONS, [])[0].fault, null);
});

test('the question is about the new versions since the stage began', () => {
  const sql = watchQuery({ dataset: 'rs1_requests', versions: [...VERSIONS, { worker: 'health', version: 'v3' }], since: 1_768_903_200_999 });
  assert.match(sql, /FROM rs1_requests\nWHERE timestamp >= toDateTime\(1768903200\)\n/);
  assert.match(sql, /index1 IN \('ota', 'health'\) AND blob6 IN \('v2', 'v3'\)/);
});

test('each worker is asked for its health where its first route leads', () => {
  const urls = openProject('production').workers.map(({ worker, config }) => [worker, Object.values(healthUrl(config)).join('')]);
  assert.deepEqual(Object.fromEntries(urls), {
    'device-api': 'api.optic.works/api/health',
    telemetry: 'api.optic.works/webhook/health',
    history: 'api.optic.works/api/history/health',
    archive: 'api.optic.works/api/archive/health',
    ota: 'ota.optic.works/health',
    status: 'status.optic.works/page/health',
    health: 'status.optic.works/health',
  });
});

test('a worker comes after those that it calls', () => {
  const order = openProject('staging').workers.map(({ worker }) => worker);
  assert.equal(order.at(-1), 'health');
  assert.ok(order.indexOf('history') < order.indexOf('device-api'), order.join());
  assert.equal(new Set(order).size, 7);
});

test('an environment that is not deployed to is refused', () => {
  assert.throws(() => openProject('local'), /--env is local/);
  assert.throws(() => openProject(undefined), /--env is missing/);
});

test('placeholders are told from ids', () => {
  assert.ok(isPlaceholder('00000000-0000-0000-0000-000000000002'));
  assert.ok(isPlaceholder('00000000000000000000000000000012'));
  assert.ok(!isPlaceholder('5f0c2a00-0000-0000-0000-000000000002'));
});

test('a bundle that is missing is told before anything begins', () => {
  const project = { ...openProject('staging'), root: '/nowhere' };
  assert.throws(() => digestOf(project, project.workers[0]), /has no bundle/);
});
