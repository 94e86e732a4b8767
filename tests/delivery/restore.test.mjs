// `npm run restore`: a dump is proved against its manifest, whatever is in its literals.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { localStore, textOf } from '../../tools/delivery/backup-store.mjs';
import { checkDump, splitter } from '../../tools/delivery/restore-check.mjs';
import { localTarget } from '../../tools/delivery/restore-target.mjs';
import { startCloudflare } from './support/cloudflare.mjs';
import { command } from './support/project.mjs';

const BUCKET = 'rs1-backups-staging';
const TRIGGER = "CREATE TRIGGER g AFTER INSERT ON b BEGIN\n  UPDATE a SET n = n + 1 WHERE k = NEW.k;\nEND";
/** Everything that could be taken for the end of a statement, in texts and in comments. */
const ROWS = ["('it''s;\nINSERT INTO \"a\" VALUES',1)", "('''',2)", "(';\n',3)", "('é;''\n',4)"];
const HEAD = "-- the device's backup; 1\nPRAGMA defer_foreign_keys = TRUE;\nCREATE TABLE b (k TEXT PRIMARY KEY REFERENCES a (k));\nCREATE TABLE a (k TEXT PRIMARY KEY, -- the device's;\n n INTEGER);\n";
const TEXT = [
  HEAD,
  `INSERT INTO "b" ("k") VALUES\n(';\n');\n`,
  `INSERT INTO "a" ("k", "n") VALUES\n${ROWS.slice(0, 2).join(',\n')};\n`,
  `INSERT INTO "a" ("k", "n") VALUES\n${ROWS.slice(2).join(',\n')};\n`,
  `CREATE INDEX i ON a (n);\n${TRIGGER};\n-- end\n`,
];

const first16 = (row) => BigInt(`0x${createHash('sha256').update(row).digest('hex').slice(0, 32)}`);
const table = (rows) => ({ rows: rows.length, sum: (rows.map(first16).reduce((sum, each) => sum + each, 0n) % (1n << 128n)).toString(16).padStart(32, '0') });

function dumpOf(text = TEXT) {
  const content = Buffer.concat(text.map((each) => gzipSync(each)));
  const manifest = {
    object: 'backups/d1/2026-11-21.sql.gz',
    bytes: content.length,
    sha256: createHash('sha256').update(content).digest('hex'),
    tables: { a: table(ROWS), b: table(["(';\n')"]) },
    schema_version: '0010_backups.sql',
    finished_at: '2026-11-21T03:00:04Z',
  };
  return { content, manifest };
}
/** In pieces of any size, as a network delivers. */
const pieces = (bytes, size) => Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size));

test('statements are cut where they end and nowhere else, wherever the text is broken', () => {
  const whole = TEXT.join('');
  for (const size of [1, 2, 3, 7, 50, 10_000]) {
    const seen = [];
    const statements = splitter((sql) => seen.push(sql));
    for (let at = 0; at < whole.length; at += size) statements.take(whole.slice(at, at + size));
    statements.finish();
    assert.deepEqual(seen, TEXT, `in pieces of ${size}`);
  }
});

test('a dump that is as its manifest says is good', async () => {
  const { content, manifest } = dumpOf();
  for (const size of [13, 1000]) {
    const { ok, faults, rows } = await checkDump({ manifest, content: pieces(content, size) });
    assert.deepEqual([ok, faults, rows], [true, [], 5]);
  }
});

const FAULTS = [
  ['a row that changed', /a: 4 rows, sum/, (text) => text.map((each) => each.replace("('''',2)", "('''',9)"))],
  ['a row that is missing', /a: 3 rows/, (text) => text.map((each) => each.replace(",\n('''',2)", ''))],
  ['a child without its parent', /b: 1 rows, sum.*; 1 rows refer to one that is missing, the first in b/s, (text) => text.map((each) => each.replace("VALUES\n(';\n');", "VALUES\n('nobody');"))],
  ['a table too many', /c is not in the manifest/, (text) => [text[0] + 'CREATE TABLE c (x);\n', ...text.slice(1)]],
  ['no end', /does not load: the dump has no end/, (text) => text.slice(0, 3)],
  ['a statement that fails', /does not load: .*no such table/, (text) => [text[0].replace('CREATE TABLE b', 'CREATE TABLE d'), ...text.slice(1)]],
];
for (const [what, finding, change] of FAULTS) {
  test(`found: ${what}`, async () => {
    const { content } = dumpOf(change(TEXT));
    const { ok, faults } = await checkDump({ manifest: { ...dumpOf().manifest, bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') }, content: [content] });
    assert.equal(ok, false);
    assert.match(faults.join('; '), finding);
  });
}

test('found: an object that was cut short or altered', async () => {
  const { content, manifest } = dumpOf();
  assert.match((await checkDump({ manifest, content: [content.subarray(0, -20)] })).faults.join(), /does not load/);
  const other = dumpOf([...TEXT.slice(0, 4), `${TEXT[4].replace('-- end', '-- other\n-- end')}`]);
  assert.match((await checkDump({ manifest, content: [other.content] })).faults.join(), /the manifest says/);
});

let cloudflare;
before(async () => {
  cloudflare = await startCloudflare();
});
after(() => cloudflare.stop());
beforeEach(() => {
  cloudflare.objectsAPage = 1000;
  cloudflare.state.databases = [];
  cloudflare.state.buckets = [{ name: BUCKET, lifecycle: [], cors: null, objects: {} }];
});
const restore = (...args) => command('restore.mjs', ['--env', 'staging', ...args], { env: cloudflare.env });
function keep(id, { content, manifest }) {
  const objects = cloudflare.bucket(BUCKET).objects;
  objects[manifest.object] = content.toString('base64');
  objects[`backups/d1/${id}.manifest.json`] = Buffer.from(JSON.stringify(manifest)).toString('base64');
}
const recorded = (id) => JSON.parse(Buffer.from(cloudflare.bucket(BUCKET).objects[`backups/d1/${id}.check.json`], 'base64'));

test('the result is told, and recorded beside the backup', async () => {
  const today = new Date().toISOString().slice(0, 10);
  keep(today, dumpOf());
  const { status, output } = await restore('--record');
  assert.equal(status, 0, output);
  assert.match(output, /it restores: 5 rows in 2 tables, all checksums equal/);
  assert.equal(recorded(today).ok, true);

  const { manifest } = dumpOf();
  keep(today, { content: dumpOf(TEXT.map((each) => each.replace(',1)', ',7)'))).content, manifest });
  const bad = await restore('--record');
  assert.equal(bad.status, 1);
  assert.match(bad.output, /does not restore/);
  assert.equal(recorded(today).ok, false);
});

test('a backup that is not there, or a database that is not empty, is told', async () => {
  assert.match((await restore('--from', '2025-01-01')).output, /has no backup 2025-01-01/);
  keep('2026-11-21', dumpOf());
  assert.match((await restore('--from', '2026-11-21', '--into', 'nowhere')).output, /there is no database nowhere/);
});

test('the latest is the newest of all that are whole, whoever asked for it, and however many there are', async () => {
  cloudflare.objectsAPage = 3;
  for (const id of ['2026-11-19', '2026-11-20', '2026-11-20T1405']) keep(id, { ...dumpOf(), manifest: { ...dumpOf().manifest, object: `backups/d1/${id}.sql.gz` } });
  delete cloudflare.bucket(BUCKET).objects['backups/d1/2026-11-21.manifest.json'];
  cloudflare.bucket(BUCKET).objects['backups/d1/2026-11-21.sql.gz'] = 'x';
  const { status, output } = await restore();
  assert.equal(status, 0, output);
  assert.match(output, /backup 2026-11-20T1405: /);
});

test('all that no restore check has seen are proved, and one that is bad keeps no other from it', async () => {
  const at = (id, dump) => keep(id, { content: dump.content, manifest: { ...dumpOf().manifest, object: `backups/d1/${id}.sql.gz` } });
  at('2026-11-18', dumpOf());
  at('2026-11-19', dumpOf(TEXT.map((each) => each.replace(',1)', ',7)'))));
  at('2026-11-20', dumpOf());
  at('2026-11-21', dumpOf());
  cloudflare.bucket(BUCKET).objects['backups/d1/2026-11-18.check.json'] = Buffer.from('{"ok":true}').toString('base64');
  const { status, output } = await restore('--from', 'unchecked', '--record');
  assert.equal(status, 1, output);
  assert.match(output, /backup 2026-11-19 does not restore/);
  assert.deepEqual([...output.matchAll(/^backup (\S+): /gm)].map(([, id]) => id), ['2026-11-19', '2026-11-20', '2026-11-21']);
  assert.deepEqual(['2026-11-19', '2026-11-20', '2026-11-21'].map((id) => recorded(id).ok), [false, true, true]);
  const again = await restore('--from', 'unchecked', '--record');
  assert.deepEqual([again.status, [...again.output.matchAll(/^backup (\S+): /gm)].map(([, id]) => id)], [0, ['2026-11-21']], 'the latest is always looked at');
});

/** A database of the account. */
function database(name) {
  const made = { uuid: `00000000-0000-4000-8000-${Buffer.from(name).toString('hex').padStart(12, '0').slice(0, 12)}`, name, created_at: '', location: 'weur', writes: 0, sqlite: new DatabaseSync(':memory:') };
  cloudflare.state.databases = [made];
  return made;
}

test('a backup is loaded by wrangler into an empty database of the account, and every row compared', async () => {
  keep('2026-11-21', dumpOf());
  const { sqlite, uuid } = database('rs1-new');
  const { status, output } = await restore('--from', '2026-11-21', '--into', 'rs1-new');
  assert.equal(status, 0, output);
  assert.match(output, /rs1-new has the backup, every row equal/);
  assert.match(output, new RegExp(`let wrangler/\\*\\.jsonc name ${uuid}, and release`));
  assert.deepEqual(sqlite.prepare('SELECT k, n FROM a ORDER BY n').all().map((row) => ({ ...row })), [
    { k: "it's;\nINSERT INTO \"a\" VALUES", n: 1 },
    { k: "'", n: 2 },
    { k: ';\n', n: 3 },
    { k: "é;'\n", n: 4 },
  ]);
  const again = await restore('--from', '2026-11-21', '--into', 'rs1-new');
  assert.equal(again.status, 1);
  assert.match(again.output, /rs1-new is not empty: it has 2 tables/);
});

test('what arrived otherwise than it was sent is found', async () => {
  keep('2026-11-21', dumpOf());
  const { sqlite } = database('rs1-new');
  cloudflare.onCall = async ({ method, path }) => {
    // After the import: the first page of the table `a` is asked for.
    if (method === 'POST' && path.endsWith('/query') && sqlite.prepare("SELECT 1 FROM sqlite_master WHERE name = 'i'").get()) sqlite.exec("UPDATE a SET n = 7 WHERE n = 3");
  };
  const { status, output } = await restore('--from', '2026-11-21', '--into', 'rs1-new');
  cloudflare.onCall = async () => {};
  assert.equal(status, 1);
  assert.match(output, /rs1-new is not what was backed up[^]*a: 4 rows, sum/);
});

test('on this machine: out of the bucket of a local stack, into a database of it', async () => {
  const state = mkdtempSync(join(tmpdir(), 'rs1-restore-local-'));
  try {
    const { content, manifest } = dumpOf();
    const store = await localStore('rs1-backups-local', state);
    await store.put(manifest.object, content, 'application/gzip');
    await store.put('backups/d1/2026-11-21.manifest.json', Buffer.from(JSON.stringify(manifest)), 'application/json');
    await store.close();
    const local = (...args) => command('restore.mjs', ['--local', '--state', state, ...args]);
    const { status, output } = await local('--into', 'rs1-drill', '--record');
    assert.equal(status, 0, output);
    assert.match(output, /it restores: 5 rows in 2 tables/);
    assert.match(output, /rs1-drill has the backup, every row equal/);
    assert.match((await local('--into', 'rs1-drill')).output, /rs1-drill is not empty/);
    assert.match((await local('--env', 'staging')).output, /--local is this machine/);
    const kept = await localStore('rs1-backups-local', state);
    assert.equal(JSON.parse(await textOf(kept, 'backups/d1/2026-11-21.check.json')).ok, true);
    await kept.close();
    const target = localTarget('rs1-drill', state, []);
    assert.deepEqual(await target.query('SELECT count(*) AS n FROM a'), [{ n: 4 }]);
    await target.close();
  } finally {
    rmSync(state, { recursive: true, force: true });
  }
});

test('every call was one that the API documents', () => {
  assert.deepEqual(cloudflare.complaints, []);
});
