// `npm run deploy` with the real wrangler, against a stand-in of Cloudflare's API that runs the uploaded workers.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openProject } from '../../tools/delivery/project.mjs';
import { WORKERS } from '../../tools/lib/paths.mjs';
import { startCloudflare } from './support/cloudflare.mjs';
import { bundle, command, copyProject } from './support/project.mjs';

/** @type {Awaited<ReturnType<typeof startCloudflare>>} */
let cloudflare;
/** @type {ReturnType<typeof copyProject>} */
let project;
let commit;
let secrets;
let scratch;
/** The account after the first release. */
let released;

const nameOf = (worker) => `rs1-${worker}-staging`;
const script = (worker) => cloudflare.script(nameOf(worker));
const shares = (worker) => Object.values(cloudflare.shares(nameOf(worker)));
const newest = (worker) => script(worker).versions.at(-1);
const history = (worker) => script(worker).deployments.map(({ versions }) => versions.map(({ percentage }) => percentage).join('/')).reverse();
const traffic = (options) => Object.assign(cloudflare, { traffic: () => ({ requests: 1000, errors: 0, p95: 80, ...options }) });

/** @param {string[]} args @param {Parameters<typeof command>[2]} [options] */
const deploy = (args = [], options = {}) =>
  command('deploy.mjs', ['--env', 'staging', '--project', project.root, '--built', '--tested', commit, '--hold', '0.2', '--poll', '0.1', '--connect', cloudflare.address, ...args], {
    ...options,
    env: cloudflare.env,
  });
const rollback = (...args) => command('deploy.mjs', ['rollback', '--env', 'staging', '--project', project.root, '--connect', cloudflare.address, ...args], { env: cloudflare.env });

before(async () => {
  cloudflare = await startCloudflare();
  project = copyProject();
  scratch = mkdtempSync(join(tmpdir(), 'rs1-delivery-secrets-'));
  secrets = join(scratch, 'secrets.env');
  const required = new Set(openProject('staging').workers.flatMap(({ config }) => config.secrets.required));
  writeFileSync(secrets, [...required].map((name) => `${name}=a value of ${name}\n`).join(''));
});
after(async () => {
  await cloudflare.stop();
  project.remove();
  rmSync(scratch, { recursive: true, force: true });
});

/** The account as it was after the first release, with other bundles for some workers. */
function begin(bundles = {}) {
  cloudflare.restore(released);
  cloudflare.onCall = async () => {};
  traffic({});
  for (const worker of WORKERS) project.write(join('dist', worker, 'index.js'), bundles[worker] ?? bundle());
}

test('what is not provisioned cannot be deployed to', async () => {
  commit = project.git('rev-parse', 'HEAD');
  const { status, output } = await deploy(['--secrets-file', secrets]);
  assert.equal(status, 1);
  assert.match(output, /staging is not provisioned: npm run provision -- --env staging/);
  assert.match(output, /create queue rs1-telemetry-staging/);
  assert.deepEqual(cloudflare.changes(), []);
});

test('the first release creates the workers, those that are called first, with secrets, routes, crons and consumers', async () => {
  const { status, output } = await command('provision.mjs', ['--env', 'staging', '--project', project.root, '--location', 'weur', '--yes'], { env: cloudflare.env });
  assert.equal(status, 0, output);
  commit = project.commit('The ids of staging');

  const release = await deploy(['--secrets-file', secrets]);
  assert.equal(release.status, 0, release.output);
  const { workers } = openProject('staging', project.root);
  assert.deepEqual([...cloudflare.state.scripts.keys()], workers.map(({ config }) => config.name));
  for (const { worker, config } of workers) {
    assert.deepEqual(shares(worker), [100], worker);
    assert.deepEqual(script(worker).schedules, config.crons, worker);
    assert.deepEqual([...script(worker).routes.map((route) => route), ...script(worker).domains.map((host) => `${host}/*`)], config.routePatterns, worker);
    for (const name of config.secrets.required) assert.ok(script(worker).secrets.has(name), `${worker}: ${name}`);
    assert.deepEqual(script(worker).subdomain, { enabled: false, previews_enabled: false }, worker);
    for (const { queue, max_retries: retries, dead_letter_queue: dead } of config.queues.consumers) {
      const [consumer] = cloudflare.state.queues.find(({ queue_name: name }) => name === queue).consumers;
      assert.deepEqual([consumer.script, consumer.settings.max_retries, consumer.dead_letter_queue], [config.name, retries, dead]);
    }
  }
  const applied = cloudflare.database('rs1-staging').sqlite.prepare('SELECT count(*) AS n FROM d1_migrations').get();
  assert.ok(applied.n >= 4);
  assert.doesNotMatch(release.output, /a value of/);
  released = cloudflare.snapshot();
});

test('a second time changes nothing', async () => {
  begin();
  const { status, output } = await deploy();
  assert.equal(status, 0, output);
  for (const worker of WORKERS) assert.match(output, new RegExp(`${worker} +is deployed already`));
  assert.match(output, /migrations before the code: none/);
  assert.deepEqual(cloudflare.snapshot(), released);
});

test('a release moves the traffic in stages: expand, upload, look, 10, 50, 100 %, triggers, contract', async () => {
  begin({ telemetry: bundle({ edit: 'better' }), ota: bundle({ edit: 'better' }) });
  project.write('migrations/9001_expand.sql', '-- A column more.\nALTER TABLE devices ADD COLUMN nickname TEXT;\n');
  project.write('migrations/9002_contract.sql', '-- phase: contract\nDROP INDEX security_log_by_kind;\n');
  commit = project.commit('Nicknames');
  const order = [];
  cloudflare.onCall = async ({ method, path }) => {
    if (method === 'POST' && path.endsWith('/query')) order.push('query');
    else if (method === 'POST' && /versions$|deployments$/.test(path)) order.push(path.split('/').at(-1));
    else if (method === 'PUT' && path.endsWith('/schedules')) order.push('schedules');
  };
  const { status, output } = await deploy();
  assert.equal(status, 0, output);
  for (const worker of ['telemetry', 'ota']) {
    assert.deepEqual(history(worker), ['100', '100/0', '90/10', '50/50', '100'], worker);
    assert.equal(script(worker).deployments[0].versions[0].version_id, newest(worker).id);
    assert.match(script(worker).deployments.at(-2).annotations['workers/message'], /before [0-9a-f]{8}-[0-9a-f]{8}-/);
  }
  for (const worker of ['device-api', 'health']) assert.deepEqual(history(worker), ['100'], worker);
  assert.match(output, /telemetry: 1000 requests, 0\.00 % failed, p95 80 ms/);

  // Expansion before the uploads, contraction after the last trigger.
  assert.ok(order.indexOf('query') < order.indexOf('versions'));
  assert.ok(order.lastIndexOf('query') > order.lastIndexOf('schedules') && order.indexOf('schedules') > order.lastIndexOf('deployments'));
  const { sqlite } = cloudflare.database('rs1-staging');
  assert.ok(sqlite.prepare('SELECT nickname FROM devices').all().length === 0);
  assert.equal(sqlite.prepare("SELECT count(*) AS n FROM sqlite_master WHERE name = 'security_log_by_kind'").get().n, 0);

  // What was taken away would be missed by the version before.
  const back = await rollback('--yes');
  assert.equal(back.status, 1);
  assert.match(back.output, /9002_contract\.sql took away what it uses/);
  project.git('reset', '--quiet', '--hard', 'HEAD~1');
  commit = project.git('rev-parse', 'HEAD');
});

test('a failing error rate gives the traffic back, and says why', async () => {
  begin({ telemetry: bundle({ edit: 'worse' }), ota: bundle({ edit: 'other' }) });
  const before = Object.fromEntries(WORKERS.map((worker) => [worker, newest(worker).id]));
  cloudflare.traffic = (worker, version) => {
    const half = shares('telemetry').includes(50);
    return { requests: 1000, errors: worker === 'telemetry' && version !== before.telemetry && half ? 11 : 10, p95: 100 };
  };
  const { status, output } = await deploy();
  assert.equal(status, 1, output);
  assert.match(output, /was rolled back: telemetry: 1000 requests, 1\.10 % failed, p95 100 ms: more than 1 % of requests fail/);
  for (const worker of ['telemetry', 'ota']) {
    assert.deepEqual(history(worker), ['100', '100/0', '90/10', '50/50', '100'], worker);
    assert.deepEqual(cloudflare.shares(nameOf(worker)), { [before[worker]]: 100 }, worker);
  }
  assert.equal(cloudflare.calls.filter(({ path }) => path.endsWith('/schedules')).length, 0);
});

test('a slow version goes back from 10 %', async () => {
  begin({ ota: bundle({ edit: 'slow' }) });
  traffic({ p95: 2001 });
  const { status, output } = await deploy();
  assert.equal(status, 1);
  assert.match(output, /p95 is above 2000 ms/);
  assert.deepEqual(history('ota'), ['100', '100/0', '90/10', '100']);
});

test('a version that is not well never gets traffic', async () => {
  begin({ 'device-api': bundle({ health: '{ status: 503, report: "fail" }' }) });
  const { status, output } = await deploy();
  assert.equal(status, 1);
  assert.match(output, /api-staging\.optic\.works\/api\/health: 503, config: as the specification wants it/);
  assert.deepEqual(history('device-api'), ['100', '100/0', '100']);
});

test('when nobody can see the error rate, the traffic goes back', async () => {
  begin({ ota: bundle({ edit: 'unseen' }) });
  cloudflare.traffic = () => {
    throw new Error('the Analytics Engine is down');
  };
  const { status, output } = await deploy();
  assert.equal(status, 1);
  assert.match(output, /the error rate cannot be seen/);
  assert.deepEqual(shares('ota'), [100]);
  assert.equal(newest('ota').id in cloudflare.shares(nameOf('ota')), false);
  cloudflare.complaints.length = 0;
});

test('too few requests to judge are said to be that, and its own health decides', async () => {
  begin({ ota: bundle({ edit: 'quiet' }) });
  traffic({ requests: 49, errors: 49 });
  const { status, output } = await deploy();
  assert.equal(status, 0, output);
  assert.match(output, /ota: 49 requests, .*too few to judge, its health is good/);
});

test('cut off without warning at any stage, it goes on from there', async () => {
  begin({ telemetry: bundle({ edit: 'halfway' }), ota: bundle({ edit: 'halfway' }) });
  const kill = (marker) => deploy([], { onLine: (line, child) => line.includes(marker) && process.kill(-child.pid, 'SIGKILL') });
  assert.equal((await kill('telemetry: uploaded')).signal, 'SIGKILL');
  assert.equal(script('telemetry').versions.length, 2);
  assert.deepEqual(shares('telemetry'), [100]);

  assert.equal((await kill(' 10 % of the traffic')).signal, 'SIGKILL');
  assert.deepEqual([shares('telemetry'), shares('ota')], [[90, 10], [90, 10]]);

  const resumed = await deploy();
  assert.equal(resumed.status, 0, resumed.output);
  assert.match(resumed.output, /telemetry +continues from 10 %/);
  for (const worker of ['telemetry', 'ota']) {
    assert.equal(script(worker).versions.length, 2, `${worker} was uploaded once`);
    assert.deepEqual(history(worker), ['100', '100/0', '90/10', '50/50', '100'], worker);
  }
});

test('asked to stop, it finishes the step and says how to go on', async () => {
  begin({ ota: bundle({ edit: 'stopped' }) });
  const { status, output } = await deploy(['--hold', '60'], { onLine: (line, child) => line.includes(' 10 % of the traffic') && process.kill(child.pid, 'SIGTERM') });
  assert.equal(status, 130, output);
  assert.match(output, /run the same command again to go on/);
  assert.deepEqual(shares('ota'), [90, 10]);

  const back = await rollback('--yes');
  assert.equal(back.status, 0, back.output);
  assert.deepEqual(history('ota'), ['100', '100/0', '90/10', '100']);
});

test('a half-finished release goes back whole when its second half fails', async () => {
  begin({ telemetry: bundle({ edit: 'two' }), ota: bundle({ edit: 'two' }) });
  const before = Object.fromEntries(['telemetry', 'ota'].map((worker) => [worker, newest(worker).id]));
  // Cut off when one of the two has reached 100 %.
  let whole = 0;
  cloudflare.onCall = async ({ method, path }) => {
    if (method === 'POST' && path.endsWith('/deployments') && shares('ota').includes(50) && shares('telemetry').includes(50)) whole += 1;
    if (whole === 1 && method === 'GET' && path.endsWith(`${nameOf('ota')}/deployments`) && shares('telemetry').includes(100)) throw new Error('the network is gone');
  };
  assert.equal((await deploy()).status, 1);
  assert.deepEqual([shares('telemetry'), shares('ota')], [[100], [50, 50]]);
  cloudflare.complaints.length = 0;
  cloudflare.onCall = async () => {};
  traffic({ errors: 500 });
  const { status, output } = await deploy();
  assert.equal(status, 1);
  for (const worker of ['telemetry', 'ota']) assert.deepEqual(cloudflare.shares(nameOf(worker)), { [before[worker]]: 100 }, output);
});

test('what somebody else deploys meanwhile is not overwritten', async () => {
  begin({ ota: bundle({ edit: 'mine' }) });
  cloudflare.traffic = () => {
    const { deployments } = script('ota');
    if (deployments[0].id !== 'theirs') deployments.unshift({ ...deployments.at(-1), id: 'theirs', author_email: 'someone@optic.works' });
    return { requests: 1000, errors: 0, p95: 1 };
  };
  const { status, output } = await deploy();
  assert.equal(status, 1);
  assert.match(output, /somebody else has deployed rs1-ota-staging meanwhile .*someone@optic\.works/);
  assert.equal(script('ota').deployments[0].id, 'theirs');
});

test('missing secrets are all named before anything is changed', async () => {
  begin({ ota: bundle({ edit: 'new' }) });
  script('telemetry').secrets.delete('WEBHOOK_SECRET');
  script('device-api').secrets.delete('DEVICE_KEK');
  const { status, output } = await deploy();
  assert.equal(status, 1);
  assert.match(output, /telemetry lacks the secrets WEBHOOK_SECRET: wrangler secret put/);
  assert.match(output, /device-api lacks the secrets DEVICE_KEK/);
  assert.deepEqual(cloudflare.changes(), []);
});

test('a new worker without its secrets file is not begun', async () => {
  begin();
  cloudflare.state.scripts.delete(nameOf('telemetry'));
  const { status, output } = await deploy();
  assert.equal(status, 1);
  assert.match(output, /telemetry lacks the secrets .*--secrets-file/);
  assert.deepEqual(cloudflare.changes(), []);
});

test('a dry run says what would be done, and does nothing', async () => {
  begin({ ota: bundle({ edit: 'dry' }) });
  const { status, output } = await deploy(['--dry-run']);
  assert.equal(status, 0, output);
  assert.match(output, /ota +is uploaded/);
  assert.match(output, /telemetry +is deployed already/);
  assert.deepEqual(cloudflare.changes(), []);
});

test('rolling back returns to the release before, the workers that it changed and no others', async () => {
  begin({ ota: bundle({ edit: 'regretted' }) });
  const before = newest('ota').id;
  commit = project.commit('Regretted');
  assert.equal((await deploy()).status, 0);
  cloudflare.calls.length = 0;
  const dry = await rollback('--dry-run');
  assert.match(dry.output, new RegExp(`ota +\\S+ -> ${before}`));
  assert.deepEqual(cloudflare.changes(), []);
  const refused = await rollback();
  assert.equal(refused.status, 1);
  assert.deepEqual(cloudflare.changes(), []);
  const { status, output } = await rollback('--yes');
  assert.equal(status, 0, output);
  assert.deepEqual(cloudflare.shares(nameOf('ota')), { [before]: 100 });
  assert.deepEqual(history('telemetry'), ['100']);
});

test('only the commit that was tested is deployed', async () => {
  begin();
  const { status, output } = await deploy(['--tested', '0'.repeat(40)]);
  assert.equal(status, 1);
  assert.match(output, /--tested 0{40}: this is [0-9a-f]{40}/);
  project.write('wrangler/notes.txt', 'not committed');
  const dirty = await deploy();
  assert.match(dirty.output, /with changes/);
  const production = await command('deploy.mjs', ['--env', 'production', '--project', project.root, '--built'], { env: cloudflare.env });
  assert.match(production.output, /production gets commits only/);
  rmSync(join(project.root, 'wrangler', 'notes.txt'));
});

test('every call was one that the API documents', () => {
  assert.deepEqual(cloudflare.complaints, []);
});
