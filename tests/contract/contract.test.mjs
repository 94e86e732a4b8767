// The document against the workers: a client that is generated from it (schemathesis) calls every operation, as the documented
// callers, with what the document allows and with what it does not. There is no 5xx, and no answer that is not described.
//
// The count of calls is bounded and the seed fixed, so a run is the same each time but for the ids of what exists.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ROOT } from '../../tools/lib/paths.mjs';
import { capture } from '../../tools/lib/proc.mjs';
import { ensurePythonTools } from '../../tools/lib/python-tools.mjs';
import { unlimited } from '../integration/fixtures/owner.mjs';
import { startHarness } from '../integration/support/harness.mjs';
import { documentOf, makeWorld } from './world.mjs';

const DOCUMENT = join(ROOT, 'workers', 'device-api', 'assets', 'api', 'openapi.json');
const SEED = 20_260_120;
/** Of one operation, in each of the phases that draw. */
const EXAMPLES = 8;

/** Operations with rules that are above what a schema can say, by the check that must not hold them to it. */
const ABOVE_SCHEMAS = [
  [
    [
      // Between members: stages that grow, polygons that do not cross. (And spans: see `ofSpans`.)
      ...['createRollout', 'replaceZones'],
      // By what is there: an address that is a user's, a point that is on the curve, a time that is yet to come, a key of an
      // idempotent request that was not used before, bytes that are a signed image.
      ...['claim', 'registerKey', 'uploadFirmware', 'scheduleRollout', 'startRollout', 'pauseRollout', 'resumeRollout', 'advanceRollout', 'abortRollout'],
      // By what is configured, and by the clock: names of checks, a time that is yet to come.
      'declareMaintenance',
      // Messages inside messages: the topic and the payload are the device's.
      ...['deviceState', 'deviceOffline', 'telemetryMessage', 'otaStatus', 'configStatus', 'diagnosticsAnswer', 'provision'],
    ],
    'positive_data_acceptance',
  ],
  // A bad line harms no other: it is answered on its line, and the whole is a 200.
  [['enrollBulk', 'importOrders'], 'negative_data_rejection'],
];

/** Operations that ask for a span: it must not end before it begins. */
const ofSpans = (document) =>
  Object.values(document.paths)
    .flatMap((item) => Object.values(item))
    .filter(({ parameters = [] }) => ['from', 'to'].every((end) => parameters.some(({ name }) => name === end)))
    .map(({ operationId }) => operationId);

describe('the API and its document', () => {
  let cloud;
  let tools;
  let directory;
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'rs1-contract-'));
    tools = await ensurePythonTools(process.env);
    cloud = await startHarness({ faults: false, configure: unlimited, vars: { ota: { DOWNLOAD_ATTEMPTS: 1_000 } } });
  });
  after(async () => {
    await cloud?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  it('is valid OpenAPI 3.1', async () => {
    const { ok, stdout, stderr } = await capture(tools.openapiSpecValidator, [DOCUMENT], { env: process.env, timeout: 60_000 });
    assert.ok(ok, `${stdout}${stderr}`);
  });

  it('answers a generated client as described, and never with 5xx', async (t) => {
    const world = await makeWorld(cloud, directory);
    const { document, hosts } = documentOf(JSON.parse(readFileSync(DOCUMENT, 'utf8')), world);
    const path = (name) => join(directory, name);
    writeFileSync(path('openapi.json'), JSON.stringify(document));
    writeFileSync(path('world.json'), JSON.stringify({ hosts, images: world.images }));
    writeFileSync(path('calls'), '');
    writeFileSync(path('schemathesis.toml'), configuration(world.tokens, ofSpans(document)));
    const env = {
      ...process.env,
      SCHEMATHESIS_HOOKS: 'hooks',
      PYTHONPATH: join(ROOT, 'tests', 'contract'),
      PYTHONDONTWRITEBYTECODE: '1',
      RS1_CONTRACT_WORLD: path('world.json'),
      RS1_CONTRACT_CALLS: path('calls'),
      NO_COLOR: '1',
    };
    const args = ['--config-file', path('schemathesis.toml'), 'run', path('openapi.json'), '--url', `http://127.0.0.1:${cloud.ports.http}`];
    const { ok, stdout, stderr } = await capture(tools.schemathesis, args, { cwd: directory, env, timeout: 240_000 });

    const calls = readFileSync(path('calls'), 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
    const good = (name) => calls.filter(({ operation, status }) => operation === name && status < 300).length;
    const share = (some) => `${Math.round((some.filter(({ status }) => status < 300).length / some.length) * 100)} %`;
    const allowed = calls.filter(({ meant }) => meant === 'positive');
    t.diagnostic(`${calls.length} calls of ${Object.keys(hosts).length} operations; 2xx: ${share(calls)}, of the ${allowed.length} that the document allows ${share(allowed)}`);
    if (process.env.RS1_CONTRACT_TABLE) for (const name of Object.keys(hosts)) t.diagnostic(`${name.padEnd(24)}${good(name)} of ${calls.filter(({ operation }) => operation === name).length}`);
    assert.ok(ok, `${stdout}\n${stderr}`);
    const unreached = Object.keys(hosts).filter((name) => good(name) === 0);
    assert.deepEqual(unreached, [], 'operations that nothing got through to');
    assert.deepEqual(cloud.logs({ level: 'error' }), []);
  });
});

/** What schemathesis is told. @param {Record<string, string>} tokens @param {string[]} spans operations */
function configuration({ person, operator, broker, scraper }, spans) {
  return `
seed = ${SEED}
continue-on-failure = true
warnings = false
request-timeout = 20.0

[generation]
max-examples = ${EXAMPLES}
database = "none"
no-shrink = true
# What is generated must be able to stand in HTTP.
allow-x00 = false

[phases]
stateful.enabled = false

[checks]
# A change without If-Match is answered with 428; one whose If-Match names nothing that there ever was, with 412. A link that was
# changed is 403.
missing_required_header.expected-statuses = [400, 401, 403, 404, 422, 428]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 409, 411, 412, 413, 415, 422, 428, 429]
# What contradicts the present state is not what a schema could say.
positive_data_acceptance.expected-statuses = ["2xx", 304, 401, 403, 404, 409, 410, 412, 416, 429]

${[...ABOVE_SCHEMAS, [spans, 'positive_data_acceptance']].map(
  ([names, check]) => `[[operations]]
include-operation-id = ${JSON.stringify(names)}
checks.${check}.enabled = false
`,
).join('\n')}
[auth.openapi]
person = { bearer = "${person}" }
operator = { bearer = "${operator}" }
broker = { api_key = "${broker}" }
scraper = { bearer = "${scraper}" }
`;
}
