// `npm run provision` against a stand-in of Cloudflare's API.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openProject } from '../../tools/delivery/project.mjs';
import { wantedResources } from '../../tools/delivery/resources.mjs';
import { WORKERS } from '../../tools/lib/paths.mjs';
import { workerConfig } from '../../tools/lib/wrangler-config.mjs';
import { startCloudflare } from './support/cloudflare.mjs';
import { command, copyProject } from './support/project.mjs';

/** @type {Awaited<ReturnType<typeof startCloudflare>>} */
let cloudflare;
/** @type {ReturnType<typeof copyProject>} */
let project;
before(async () => {
  cloudflare = await startCloudflare();
  project = copyProject();
});
after(async () => {
  await cloudflare.stop();
  project.remove();
});

const provision = (...args) => command('provision.mjs', ['--env', 'staging', '--project', project.root, ...args], { env: cloudflare.env });
const file = (worker) => readFileSync(join(project.root, 'wrangler', `${worker}.jsonc`), 'utf8');

test('the plan is printed first, and without --yes nothing is done', async () => {
  const { status, output } = await provision('--location', 'weur');
  assert.equal(status, 2, output);
  assert.match(output, /create  D1 database rs1-staging/);
  assert.match(output, /create  queue rs1-telemetry-staging-dlq/);
  assert.match(output, /change  bucket rs1-telemetry-archives-staging: lifecycle, telemetry-365-days/);
  assert.match(output, /write   wrangler\/ota\.jsonc: the id of rs1-staging/);
  assert.deepEqual(cloudflare.changes(), []);
});

test('where a database is to be cannot be guessed', async () => {
  const { status, output } = await provision('--yes');
  assert.equal(status, 1);
  assert.match(output, /--location is needed for D1 database rs1-staging/);
  assert.deepEqual(cloudflare.changes(), []);
});

test('everything that the wrangler files name is created, with its settings', async () => {
  const untouched = Object.fromEntries(WORKERS.map((worker) => [worker, { text: file(worker), ...workerConfig(worker, 'staging', project.root) }]));
  const { status, output } = await provision('--location', 'weur', '--yes');
  assert.equal(status, 0, output);
  const wanted = wantedResources(openProject('staging', project.root));
  const names = (things, key) => things.map((thing) => thing[key]).sort();
  assert.deepEqual(names(cloudflare.state.databases, 'name'), [...wanted.databases].sort());
  assert.deepEqual(names(cloudflare.state.namespaces, 'title'), names(wanted.namespaces, 'title'));
  assert.deepEqual(names(cloudflare.state.queues, 'queue_name'), names(wanted.queues, 'name'));
  assert.deepEqual(names(cloudflare.state.buckets, 'name'), names(wanted.buckets, 'name'));
  assert.equal(cloudflare.database('rs1-staging').location, 'weur');

  const dead = cloudflare.state.queues.filter(({ queue_name: name }) => name.endsWith('-dlq'));
  assert.ok(dead.length > 0);
  for (const { settings } of dead) assert.equal(settings.message_retention_period, 1_209_600);
  const archives = cloudflare.state.buckets.find(({ name }) => name === 'rs1-telemetry-archives-staging');
  assert.equal(archives.lifecycle.find(({ id }) => id === 'telemetry-365-days').deleteObjectsTransition.condition.maxAge, 365 * 86_400);
  assert.deepEqual(cloudflare.state.buckets.find(({ name }) => name === 'rs1-firmware-staging').cors[0].allowed.origins, ['https://app.optic.works']);

  // What EMQX collects is told to the queue whose consumer reads it.
  const [told, ...others] = archives.notifications;
  assert.deepEqual(others, []);
  assert.equal(told.queueName, 'rs1-telemetry-staging');
  assert.deepEqual(told.rules.map(({ prefix, actions }) => [prefix, actions]), [
    ['telemetry/incoming/', ['PutObject', 'CopyObject', 'CompleteMultipartUpload']],
  ]);

  // The ids are in the files, of this environment alone, and nothing else of them has changed.
  const { uuid } = cloudflare.database('rs1-staging');
  for (const worker of WORKERS) {
    for (const database of workerConfig(worker, 'staging', project.root).d1_databases) assert.equal(database.database_id, uuid);
    let expected = untouched[worker].text.replace(untouched[worker].d1_databases[0].database_id, uuid);
    for (const [index, { binding, id }] of workerConfig(worker, 'staging', project.root).kv_namespaces.entries()) {
      assert.equal(id, cloudflare.state.namespaces.find(({ title }) => title === `RS1_${binding}_STAGING`).id);
      expected = expected.replace(untouched[worker].kv_namespaces[index].id, id);
    }
    assert.equal(file(worker), expected);
  }
});

test('the second time changes nothing, in the account or in the files', async () => {
  const files = WORKERS.map(file);
  cloudflare.calls.length = 0;
  const { status, output } = await provision('--yes');
  assert.equal(status, 0, output);
  assert.match(output, /Everything is in place/);
  assert.deepEqual(cloudflare.changes(), []);
  assert.deepEqual(WORKERS.map(file), files);
});

test('settings that somebody changed by hand are put right, and only those', async () => {
  cloudflare.state.queues.find(({ queue_name: name }) => name === 'rs1-telemetry-staging-dlq').settings.message_retention_period = 60;
  cloudflare.state.buckets.find(({ name }) => name === 'rs1-firmware-staging').cors = null;
  cloudflare.calls.length = 0;
  const { status, output } = await provision('--yes');
  assert.equal(status, 0, output);
  assert.match(output, /change  queue rs1-telemetry-staging-dlq: message_retention_period 60 -> 1209600/);
  assert.deepEqual(
    cloudflare.changes().map(({ method, path }) => `${method} ${path.replace(/[0-9a-f]{32}/, 'ID')}`),
    ['PATCH /queues/ID', 'PUT /r2/buckets/rs1-firmware-staging/cors'],
  );
});

test('it goes on where it was cut off', async () => {
  const [first, second] = [await startCloudflare(), copyProject()];
  try {
    let creations = 0;
    first.onCall = async ({ method }) => {
      creations += method === 'POST' ? 1 : 0;
      if (creations === 3) throw Object.assign(new Error('the network is gone'));
    };
    const run = () => command('provision.mjs', ['--env', 'production', '--project', second.root, '--location', 'enam', '--yes'], { env: first.env });
    assert.equal((await run()).status, 1);
    assert.equal(first.state.databases.length, 1);
    first.complaints.length = 0;
    first.onCall = async () => {};
    const { status, output } = await run();
    assert.equal(status, 0, output);
    assert.match(output, /keep    D1 database rs1-production/);
    assert.equal(first.state.databases.length, 1);
    assert.equal(workerConfig('ota', 'production', second.root).d1_databases[0].database_id, first.database('rs1-production').uuid);
    assert.deepEqual(first.complaints, []);
  } finally {
    await first.stop();
    second.remove();
  }
});

test("another account's id is not overwritten", async () => {
  const { root, remove, write } = copyProject();
  try {
    const text = readFileSync(join(root, 'wrangler', 'ota.jsonc'), 'utf8');
    write('wrangler/ota.jsonc', text.replace(workerConfig('ota', 'staging', root).d1_databases[0].database_id, '12345678-0000-0000-0000-000000000002'));
    cloudflare.calls.length = 0;
    const { status, output } = await command('provision.mjs', ['--env', 'staging', '--project', root, '--yes'], { env: cloudflare.env });
    assert.equal(status, 1);
    assert.match(output, /wrangler\/ota\.jsonc: the id of rs1-staging is 12345678-0000-0000-0000-000000000002, but the account's is/);
    assert.deepEqual(cloudflare.changes(), []);
  } finally {
    remove();
  }
});

test('a wrong token is told as what it is', async () => {
  const { status, output } = await command('provision.mjs', ['--env', 'staging', '--project', project.root], {
    env: { ...cloudflare.env, CLOUDFLARE_API_TOKEN: 'wrong' },
  });
  assert.equal(status, 1);
  assert.match(output, /401: Authentication error \[10000\]/);
  assert.doesNotMatch(output, /wrong/);
  cloudflare.complaints.length = 0;
});

test('without credentials it says which are missing', async () => {
  const { status, output } = await command('provision.mjs', ['--env', 'staging'], { env: { CLOUDFLARE_API_TOKEN: '', CLOUDFLARE_ACCOUNT_ID: '' } });
  assert.equal(status, 1);
  assert.match(output, /CLOUDFLARE_API_TOKEN and CLOUDFLARE_ACCOUNT_ID/);
});

test('every bucket has a rule for what becomes of its objects', () => {
  for (const { name, lifecycle } of wantedResources(openProject('production')).buckets) {
    assert.ok(lifecycle?.length > 0, `${name}: write wrangler/r2/<binding>.lifecycle.json`);
  }
});

test('every call was one that the API documents', () => {
  assert.deepEqual(cloudflare.complaints, []);
});
