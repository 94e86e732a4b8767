// `npm run restore`: a dump is proved against its manifest, whatever is in its literals.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { checkDump, splitter } from '../../tools/delivery/restore-check.mjs';
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

test('every call was one that the API documents', () => {
  assert.deepEqual(cloudflare.complaints, []);
});
