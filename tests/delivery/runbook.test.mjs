// docs/runbook.md: every row has its section and its drill, every command is there, and what needs an account is run against
// the stand-in of Cloudflare with the real wrangler.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ROOT } from '../../tools/lib/paths.mjs';
import { capture } from '../../tools/lib/proc.mjs';
import { setUp } from '../../tools/toolchain.mjs';
import { ELSEWHERE, SCENES } from '../drill/recovery.mjs';
import { startCloudflare } from './support/cloudflare.mjs';

const TEXT = readFileSync(join(ROOT, 'docs', 'runbook.md'), 'utf8');
const sections = [...TEXT.matchAll(/^## (.+)$/gm)].map(([, title]) => title);
const commands = [...TEXT.matchAll(/```sh\n([^]*?)```/g)].flatMap(([, block]) => block.replaceAll('\\\n', ' ').split('\n')).filter((line) => line && !line.startsWith('#'));

let cloudflare;
let toolchain;
before(async () => {
  [cloudflare, toolchain] = await Promise.all([startCloudflare(), setUp('node')]);
});
after(() => cloudflare.stop());

test('every row of the table has a section, and is drilled or says where it is', () => {
  const rows = [...TEXT.matchAll(/^\| \[([^\]]+)\]\(#([^)]+)\)/gm)].map(([, , anchor]) => anchor);
  const anchors = sections.map((title) => title.toLowerCase().replace(/[^\w -]/g, '').replaceAll(' ', '-'));
  assert.ok(rows.length >= 7);
  for (const row of rows) assert.ok(anchors.includes(row), `no section for ${row}`);
  const drilled = [...SCENES.map(({ row }) => row), ...Object.keys(ELSEWHERE)];
  assert.deepEqual(sections.filter((title) => title !== 'Once a quarter').sort(), drilled.sort());
});

test('every command of ours is one, with options that it takes', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const dispatcher = readFileSync(join(ROOT, 'tools', 'run.mjs'), 'utf8');
  const ours = [...TEXT.matchAll(/npm run (?:-s )?([\w:-]+)((?: [^`\n#]*)?)/g)];
  assert.ok(ours.length > 8);
  for (const [line, name, args] of ours) {
    assert.ok(scripts[name], line);
    const [, script] = new RegExp(`^  '?${name}'?: \\{ script: '([^']+)'`, 'm').exec(dispatcher) ?? [];
    assert.ok(existsSync(join(ROOT, script)), line);
    const source = readFileSync(join(ROOT, script), 'utf8');
    for (const [, option] of args.matchAll(/--([a-z][\w-]*)/g)) assert.match(source, new RegExp(`['"]?${option}['"]?: \\{|--${option}\\b`), `${line}: --${option}`);
  }
});

test("every command of wrangler's is one, with options that it takes", async () => {
  const theirs = new Map(commands.filter((line) => line.startsWith('npx wrangler ')).map((line) => [line.replace(/ {2,}#.*$/, ''), line]));
  assert.ok(theirs.size > 3);
  for (const line of theirs.keys()) {
    const words = line.slice('npx wrangler '.length).split(' ');
    const verbs = words.slice(0, words[1] === 'time-travel' ? 3 : 2);
    const { stdout } = await capture(toolchain.node22, [toolchain.wranglerBin, ...verbs, '--help'], { cwd: ROOT, env: toolchain.env, timeout: 60_000 });
    assert.match(stdout, new RegExp(`wrangler ${verbs.join(' ')}`), line);
    for (const [, option] of line.matchAll(/ (--?[a-z][\w-]*)/g)) assert.ok(stdout.includes(option), `${line}: ${option}`);
  }
});

test('the database goes back by its own history, to a moment and back again', async () => {
  const sqlite = new DatabaseSync(':memory:');
  sqlite.exec("CREATE TABLE devices (device_id TEXT PRIMARY KEY); INSERT INTO devices VALUES ('one'), ('two')");
  // The placeholder that stands in the wrangler files.
  const uuid = JSON.parse(readFileSync(join(ROOT, 'wrangler', 'health.jsonc'), 'utf8').match(/"production": \{[^]*?"database_id": ("[^"]+")/)[1]);
  cloudflare.state.databases = [{ uuid, name: 'rs1-production', created_at: '', location: 'weur', writes: 0, sqlite }];
  const database = () => cloudflare.database('rs1-production').sqlite.prepare('SELECT device_id FROM devices ORDER BY 1').all().map(({ device_id: id }) => id);
  const [info, restore] = ['info', 'restore'].map((verb) => commands.find((line) => line.includes(`time-travel ${verb}`)).slice('npx wrangler '.length).split(' '));
  const wrangler = async (words, moment) => {
    const args = words.map((word) => (word.startsWith('--timestamp=') ? moment : word));
    const { ok, stdout, stderr } = await capture(toolchain.node22, [toolchain.wranglerBin, ...args, '--json'], { cwd: ROOT, env: { ...toolchain.env, ...cloudflare.env, CI: 'true' }, timeout: 60_000 });
    assert.ok(ok, `${stdout}\n${stderr}`);
    return JSON.parse(stdout.slice(stdout.indexOf('{')));
  };
  // Somebody looks before it happens, as a release does.
  const { bookmark } = await wrangler(info, `--timestamp=${new Date().toISOString()}`);
  const good = new Date().toISOString();
  const { status } = await fetch(`${cloudflare.env.CLOUDFLARE_API_BASE_URL}/accounts/${cloudflare.account}/d1/database/${uuid}/query`, {
    method: 'POST',
    headers: { authorization: `Bearer ${cloudflare.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ sql: "DELETE FROM devices WHERE device_id = 'two'" }),
  });
  assert.deepEqual([status, database()], [200, ['one']]);

  const { previous_bookmark: undo } = await wrangler(restore, `--timestamp=${good}`);
  assert.deepEqual(database(), ['one', 'two'], 'as it was at that moment');
  await wrangler(restore, `--bookmark=${undo}`);
  assert.deepEqual(database(), ['one'], 'and undone');
  await wrangler(restore, `--bookmark=${bookmark}`);
  assert.deepEqual(database(), ['one', 'two'], 'to the bookmark that was noted');
  assert.deepEqual(cloudflare.complaints, []);
});
