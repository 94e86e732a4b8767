import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bindingFaults } from '../lib/bindings.mjs';
import { WORKERS } from '../lib/paths.mjs';
import { ENVIRONMENTS, readConfig, stripJsonc, workerConfig } from '../lib/wrangler-config.mjs';

test('comments and trailing commas go, strings that look like them stay', () => {
  const text = `{
    // a comment, "with" quotes
    "cron": "*/5 * * * *", /* another, */
    "url": "https://example.org/a,]", "quote": "\\"//,}",
    "list": [1, 2, ],
  }`;
  assert.deepEqual(JSON.parse(stripJsonc(text)), {
    cron: '*/5 * * * *',
    url: 'https://example.org/a,]',
    quote: '"//,}',
    list: [1, 2],
  });
});

test('a custom domain reads as a route for the whole host', () => {
  assert.deepEqual(workerConfig('ota', 'production').routePatterns, ['ota.optic.works/*']);
  assert.deepEqual(workerConfig('ota', 'local').routePatterns, ['ota.localhost/*']);
});

test('every worker has every environment', () => {
  for (const worker of WORKERS) {
    for (const environment of ENVIRONMENTS) assert.equal(workerConfig(worker, environment).name, `rs1-${worker}-${environment}`);
  }
});

test('the files agree', () => {
  assert.deepEqual(bindingFaults(), []);
});

/** The faults when one environment of one worker is changed. */
function faultsAfter(worker, environment, change) {
  const configOf = (name, where) => {
    const config = structuredClone(workerConfig(name, where));
    if (name === worker && where === environment) change(config);
    return config;
  };
  return bindingFaults({ configOf });
}

const MISTAKES = [
  ['another database', /DB is .* in another worker/, 'ota', 'staging', (it) => (it.d1_databases[0].database_name = 'other')],
  ['a forgotten binding', /its bindings are not production's/, 'health', 'local', (it) => it.r2_buckets.pop()],
  ['a forgotten variable', /its bindings are not production's/, 'device-api', 'staging', (it) => delete it.vars.EMQX_API_URL],
  ['a forgotten secret', /its bindings are not production's/, 'telemetry', 'staging', (it) => it.secrets.required.pop()],
  ['a queue that deletes what fails', /no dead-letter queue/, 'telemetry', 'production', (it) => delete it.queues.consumers[0].dead_letter_queue],
  ['a queue that nobody reads', /nobody consumes/, 'telemetry', 'production', (it) => (it.queues.consumers = [])],
  ["another environment's worker", /none of the workers is/, 'health', 'staging', (it) => (it.services[0].service = 'rs1-ota-production')],
  ["another environment's bucket", /is in both staging and production/, 'telemetry', 'production', (it) => (it.r2_buckets[0].bucket_name += '-staging')],
  ['a workers.dev address', /must be false/, 'ota', 'production', (it) => (it.workers_dev = true)],
  ['the wrong environment', /ENVIRONMENT says/, 'ota', 'staging', (it) => (it.vars.ENVIRONMENT = 'production')],
  ['a route claimed twice', /already/, 'device-api', 'local', (it) => it.routePatterns.push('ota.localhost/*')],
];

for (const [name, fault, worker, environment, change] of MISTAKES) {
  test(`found: ${name}`, () => {
    const faults = faultsAfter(worker, environment, change);
    assert.ok(
      faults.some((each) => fault.test(each)),
      `expected a fault like ${fault}, got ${JSON.stringify(faults)}`,
    );
  });
}

test('found: a binding at the top level, which environments do not inherit', () => {
  const faults = bindingFaults({ read: (worker) => ({ ...readConfig(worker), vars: {} }) });
  assert.ok(faults.some((each) => /vars stands at the top level/.test(each)));
});
