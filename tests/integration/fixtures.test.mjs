// Every recorded call of EMQX, replayed as it came: what we answer, how EMQX reads that, and what became of it.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { state, telemetry } from './fixtures/builders.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

const FOLDER = new URL('./fixtures/emqx/', import.meta.url);
const FIXTURES = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.json'))
  .map((file) => JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8')));

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let token;
before(async () => {
  cloud = await startHarness({ only: ['device-api', 'telemetry'], batchTimeout: 0.05 });
  token = await cloud.adminToken();
});
after(() => cloud?.stop());

/** Sends a fixture's request about that device, with some columns replaced. */
async function replay({ asks, request: { method, path, headers, body } }, device, set = {}) {
  const names = { $device: device.id, $other: makeDevice().id, $password: device.password() };
  const filled = JSON.parse(JSON.stringify({ ...body, ...set }).replace(/\$(device|other|password)/g, (name) => names[name]));
  const answer = await cloud.emqx.replay({ method, purpose: asks === 'rule' ? 'webhook' : asks, path, headers, body: filled });
  return { answer, reading: answer.verdict ?? answer.fate };
}
function answers({ answer, reading }, { status, read_as: wanted, because }) {
  if (status >= 400) isProblem(answer, status);
  else isStatus(answer, status);
  assert.equal(reading, wanted, `${because ?? ''}: ${answer.status} ${answer.text}`);
}
const record = async (device) => (await cloud.api('GET', `/api/admin/devices/${device.id}`, { token })).json;

/** A payload of the contract in the place and the form of the recorded one. */
const FORMS = {
  text: (payload) => ({ payload: JSON.stringify(payload) }),
  object: (payload) => ({ payload }),
  base64: (payload) => ({ payload_b64: Buffer.from(JSON.stringify(payload)).toString('base64') }),
  state: () => ({ payload: JSON.stringify(state()) }),
};

test('all recorded calls are here', () => {
  assert.equal(FIXTURES.length, 21);
  for (const { asks, expect } of FIXTURES) {
    assert.ok(['authn', 'authz', 'rule'].includes(asks));
    assert.ok(expect.status && expect.read_as && expect.because);
  }
});

for (const fixture of FIXTURES) {
  const { name, says, request, expect, right, then } = fixture;

  test(`${name}: ${says}`, async () => {
    const device = await cloud.enroll();
    // Who is to be seen going must have been there.
    if (request.body.event === 'client.disconnected') {
      const columns = { publish_received_at: request.body.connected_at + 500 };
      isStatus(await cloud.emqx.message(`opticworks/${device.id}/state`, state(), { columns }), 204);
      assert.equal((await record(device)).online, true);
    }
    answers(await replay(fixture, device), expect);
    if (then) {
      const { online, offline_reason } = await record(device);
      assert.deepEqual({ online, offline_reason }, then);
    }
  });

  if (right?.set) {
    test(`${name}, by a device of ours`, async () => {
      const device = await cloud.enroll();
      const sent = await replay(fixture, device, right.set);
      answers(sent, right);
      // EMQX takes these two from the answer; a rule that it does not understand would refuse the client.
      assert.equal(sent.answer.json.is_superuser, false);
      assert.ok(sent.answer.json.acl.length > 0);
      for (const { permission, action, topics } of sent.answer.json.acl) {
        assert.ok(permission === 'allow' && ['publish', 'subscribe'].includes(action) && topics.length > 0, sent.answer.text);
      }
    });
  }

  if (right?.payload) {
    test(`${name}, with a payload of the contract`, async () => {
      const device = await cloud.enroll();
      const at = request.body.publish_received_at ?? Date.now();
      const columns = FORMS[right.payload](telemetry(device, { at }));
      answers(await replay(fixture, device, columns), right);
      if (right.twice) answers(await replay(fixture, device, columns), right);
      if (right.payload === 'state') {
        const { online, firmware_version, state_at } = await record(device);
        assert.deepEqual([online, firmware_version, Date.parse(state_at)], [true, '1.2.0', at]);
        return;
      }
      const counted = async () => (await cloud.rows('SELECT hour, messages FROM telemetry_rollups WHERE device_id = ?', device.id))[0];
      const row = await eventually('the message to be counted', counted);
      if (right.twice) {
        const recognized = () => cloud.logs({ worker: 'telemetry' }).some(({ log }) => /\b1 repeated/.test(log));
        await eventually('the second one to be recognized', recognized);
        assert.deepEqual(await counted(), row);
      }
      assert.deepEqual(row, { hour: Math.floor(at / 3_600_000), messages: 1 });
      const lines = (await cloud.archive('telemetry/'))
        .flatMap((object) => object.lines)
        .filter(({ device_id }) => device_id === device.id);
      assert.equal(lines.length, 1, 'archived once');
      if (request.body.id) assert.equal(lines[0].id, request.body.id);
      assert.equal(lines[0].topic, request.body.topic.replace('$device', device.id));
    });
  }
}
