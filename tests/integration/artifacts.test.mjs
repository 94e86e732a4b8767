// /admin/firmware and /admin/firmware-keys: an image is judged while it streams into R2, becomes an artifact once and for all,
// or leaves nothing.

import assert from 'node:assert/strict';
import { createHash, sign } from 'node:crypto';
import { connect } from 'node:net';
import { request } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import { BLOCK, makeImage, makeKey, publicKeyOf } from '../../local/lib/firmware-image.mjs';
import { hasFaults, isRefusal, OTA, operatorOf, putRollout, sha256 } from './fixtures/firmware.mjs';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { eventually, startHarness } from './support/harness.mjs';

const MEBIBYTE = 1024 * 1024;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
/** @type {Awaited<ReturnType<typeof operatorOf>>} */
let operator;
let signer;
before(async () => {
  cloud = await startHarness({ only: ['ota'] });
  operator = await operatorOf(cloud);
  signer = await operator.trust();
});
after(() => cloud?.stop());
beforeEach(() => {
  cloud.faults.clear();
  cloud.faults.forget();
});

const image = (version, options) => makeImage({ version, key: signer.key, project: 'rs1-firmware', ...options });
const one = (name) => operator.ask('GET', `/admin/firmware/${name}`);
/** The keys of R2 objects under a prefix. */
const stored = async (prefix) => (await (await cloud.cloud.bucket('FIRMWARE')).list({ prefix })).objects.map(({ key }) => key);
/** Nobody sees an artifact, and no bytes are left. */
async function leavesNothing(name) {
  isProblem(await one(name), 404);
  assert.deepEqual(await stored('incoming/'), []);
}

/** The image with its block made again after `change` to the block's fields. */
function withBlock(bytes, change) {
  const changed = Buffer.from(bytes);
  const block = changed.subarray(changed.length - BLOCK);
  change(block);
  createHash('sha256').update(block.subarray(0, BLOCK - 32)).digest().copy(block, BLOCK - 32);
  return changed;
}

test('an image becomes an artifact; the same bytes are the same artifact; other bytes are a conflict', async () => {
  const bytes = image('1.0.0', { counter: 7, size: 300_000, builtAt: new Date('2026-01-20T10:00:00Z') });
  const first = await operator.upload('rs1_pro/1.0.0', bytes, {
    'repr-digest': `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`,
  });
  isStatus(first, 201);
  const { artifact_id, uploaded_at, ...rest } = first.json;
  assert.match(artifact_id, /^fwa-/);
  assert.ok(Math.abs(Date.parse(uploaded_at) - Date.now()) < 60_000);
  assert.deepEqual(rest, {
    sku: 'rs1_pro',
    version: '1.0.0',
    status: 'usable',
    size: 300_000,
    sha256: sha256(bytes),
    elf_sha256: bytes.subarray(0x20 + 144, 0x20 + 176).toString('hex'),
    fw_version: 7,
    project_name: 'rs1-firmware',
    built_at: '2026-01-20T10:00:00Z',
    signer: { key_id: signer.id, name: 'ci' },
    uploaded_by: 'ada@optic.works',
    yanked_at: null,
    yanked_by: null,
    yank_reason: null,
  });
  const key = `rs1_pro/1.0.0/${sha256(bytes)}.bin`;
  assert.deepEqual(await stored('rs1_pro/1.0.0/'), [key]);
  assert.deepEqual(await stored('incoming/'), []);
  const object = await (await cloud.cloud.bucket('FIRMWARE')).get(key);
  assert.equal(Buffer.from(object.checksums.sha256).toString('hex'), sha256(bytes), 'R2 has checked the hash itself');
  assert.ok(bytes.equals(Buffer.from(await object.arrayBuffer())));

  const again = await operator.upload('rs1_pro/1.0.0', bytes);
  assert.deepEqual([again.status, again.json], [200, first.json]);
  const other = await operator.upload('rs1_pro/1.0.0', image('1.0.0'));
  isProblem(other, 409);
  assert.deepEqual((await one('rs1_pro/1.0.0')).json, first.json, 'it stays what it is');
  assert.deepEqual(await stored('rs1_pro/1.0.0/'), [key]);
  isStatus(await operator.upload('rs1_lite/1.0.0', bytes), 201);
});

test('images of every size up to 16 MiB are taken', async () => {
  for (const size of [528, 16 * 1024, 16 * 1024 + 1, 1_500_000, 16 * MEBIBYTE]) {
    const bytes = image(`1.1.${size}`, { size });
    const answer = await operator.upload(`rs1_pro/1.1.${size}`, bytes);
    assert.deepEqual([answer.status, answer.json.size, answer.json.sha256], [201, size, sha256(bytes)], answer.text);
  }
});

test('each kind of bad image is refused by name and leaves nothing', async (t) => {
  const good = image('1.2.0');
  const stranger = makeKey();
  const flipped = (at) => {
    const changed = Buffer.from(good);
    changed[at] ^= 1;
    return changed;
  };
  const block = good.length - BLOCK;
  const revoked = await operator.trust();
  isStatus(await operator.ask('DELETE', `/admin/firmware-keys/${revoked.id}`), 200);
  const cases = {
    'no image at all': [Buffer.alloc(0), ['/size']],
    'too short for one': [good.subarray(0, 527), ['/size']],
    'not signed': [good.subarray(0, block), ['/signature_block/magic']],
    'cut at its end': [good.subarray(0, good.length - 1), ['/signature_block/magic']],
    'cut in its middle': [Buffer.concat([good.subarray(0, 5_000), good.subarray(5_001)]), ['/signature_block/fw_hash']],
    'not an ESP32 image': [image('1.2.0', {}).fill(0, 0, 1), ['/header/magic', '/signature_block/fw_hash']],
    'without a description': [flipped(0x20), ['/app_desc/magic_word', '/signature_block/fw_hash']],
    'of another version': [image('1.2.1'), ['/app_desc/version']],
    'of the other variant': [image('1.2.0', { project: 'opticworks-rs1_lite' }), ['/app_desc/project_name']],
    'a valid block by an unknown key': [makeImage({ version: '1.2.0', key: stranger }), ['/signature_block/public_key']],
    'a valid block by a revoked key': [makeImage({ version: '1.2.0', key: revoked.key }), ['/signature_block/public_key']],
    'a trusted key that did not sign': [
      withBlock(makeImage({ version: '1.2.0', key: stranger }), (fields) => Buffer.from(signer.digits, 'hex').copy(fields, 104)),
      ['/signature_block/signature'],
    ],
    'signed for another image': [
      withBlock(good, (fields) => sign('sha256', Buffer.from('other'), { key: signer.key, dsaEncoding: 'ieee-p1363' }).copy(fields, 40)),
      ['/signature_block/signature'],
    ],
    'a block of another format': [withBlock(good, (fields) => fields.writeUInt32LE(2, 4)), ['/signature_block/format_version']],
    'a counter that was changed': [flipped(block + 168), ['/signature_block/block_hash']],
    'one bit of the program': [flipped(10_000), ['/signature_block/fw_hash']],
  };
  for (const [name, [bytes, pointers]] of Object.entries(cases)) {
    await t.test(name, async () => {
      hasFaults(await operator.upload('rs1_pro/1.2.0', bytes), pointers);
      await leavesNothing('rs1_pro/1.2.0');
    });
  }
  isStatus(await operator.upload('rs1_pro/1.2.0', good), 201, 'none of this stands in the way of a good one');
});

test('a signature over the hash as a message is as good as one over it as a digest', async () => {
  const bytes = withBlock(image('1.2.9'), (fields) => {
    sign('sha256', fields.subarray(8, 40), { key: signer.key, dsaEncoding: 'ieee-p1363' }).copy(fields, 40);
  });
  isStatus(await operator.upload('rs1_pro/1.2.9', bytes), 201);
});

test('what is not sent as it should be is refused', async (t) => {
  const bytes = image('1.3.0');
  const name = 'rs1_pro/1.3.0';
  await t.test('by another media type or encoding', async () => {
    isRefusal(await operator.upload(name, bytes, { 'content-type': 'multipart/form-data; boundary=x' }), 415, 'unsupported-media-type');
    isRefusal(await operator.upload(name, bytes, { 'content-encoding': 'gzip' }), 415, 'unsupported-media-type');
  });
  await t.test('under a name that can be none', async () => {
    hasFaults(await operator.upload('rs1_max/1.3', bytes), ['/sku', '/version']);
    hasFaults(await operator.upload(`${name}?dry_run=1`, bytes), ['?']);
  });
  await t.test('with a digest that is not its own, or that cannot be checked', async () => {
    const digest = (of) => `sha-256=:${createHash('sha256').update(of).digest('base64')}:`;
    for (const header of [digest('another'), 'sha-256=x', 'sha-512=:AAAA:']) {
      hasFaults(await operator.upload(name, bytes, { 'repr-digest': header }), ['Repr-Digest']);
    }
  });
  await t.test('without its length', async () => {
    const answer = await raw({ 'transfer-encoding': 'chunked' }, (out) => out.end(bytes));
    isRefusal(answer, 411, 'length-required');
  });
  await t.test('longer than 16 MiB, and nobody reads it', async () => {
    // Not a byte of the 17 MiB is sent: the answer does not wait for them.
    const answer = await raw({ 'content-length': String(17 * MEBIBYTE) }, (out) => out.flushHeaders());
    isRefusal(answer, 413, 'too-large');
    const over = await raw({ 'content-length': String(16 * MEBIBYTE + 1) }, (out) => out.flushHeaders());
    isRefusal(over, 413, 'too-large');
  });
  await leavesNothing(name);
  isStatus(await operator.upload(name, bytes), 201);
});

/** A request of the operator whose body the spec sends as it likes. */
async function raw(headers, send) {
  const token = await cloud.adminToken();
  const options = { host: '127.0.0.1', port: cloud.ports.http, method: 'PUT', path: '/admin/firmware/rs1_pro/1.3.0', agent: false };
  return new Promise((done, fail) => {
    const out = request({ ...options, headers: { host: OTA, authorization: `Bearer ${token}`, ...headers } }, async (response) => {
      const parts = await response.toArray();
      out.destroy();
      const text = Buffer.concat(parts).toString();
      done({ status: response.statusCode, headers: response.headers, text, json: JSON.parse(text) });
    });
    out.on('error', fail);
    send(out);
  });
}

test('an upload that breaks off leaves nothing and can be repeated', async () => {
  const bytes = image('1.4.0', { size: 2 * MEBIBYTE });
  const token = await cloud.adminToken();
  const socket = connect(cloud.ports.http, '127.0.0.1');
  const head = ['PUT /admin/firmware/rs1_pro/1.4.0 HTTP/1.1', `Host: ${OTA}`, `Authorization: Bearer ${token}`, `Content-Length: ${bytes.length}`];
  socket.write(`${head.join('\r\n')}\r\n\r\n`);
  socket.write(bytes.subarray(0, MEBIBYTE));
  await eventually('it begins to be stored', () => cloud.faults.calls({ binding: 'FIRMWARE', op: 'put' }).length > 0);
  socket.destroy();
  await leavesNothing('rs1_pro/1.4.0');
  isStatus(await operator.upload('rs1_pro/1.4.0', bytes), 201);
});

test('an upload that fails on our side at any step can be repeated', async (t) => {
  const steps = {
    'R2 does not take it': { fault: { binding: 'FIRMWARE', op: 'put', match: /^incoming/ }, again: 201 },
    'R2 took it and did not say so': { fault: { binding: 'FIRMWARE', op: 'put', match: /^incoming/, when: 'after' }, again: 201 },
    'R2 does not take the copy': { fault: { binding: 'FIRMWARE', op: 'put', match: /^rs1_pro/ }, again: 201 },
    'R2 took the copy and did not say so': { fault: { binding: 'FIRMWARE', op: 'put', match: /^rs1_pro/, when: 'after' }, again: 201 },
    'the row is not written': { fault: { binding: 'DB', match: /firmware_add/ }, again: 201 },
    'the row was written and nobody said so': { fault: { binding: 'DB', match: /firmware_add/, when: 'after' }, again: 200 },
  };
  for (const [index, [name, { fault, again }]] of Object.entries(steps).entries()) {
    await t.test(name, async () => {
      const version = `1.5.${index}`;
      const bytes = image(version);
      cloud.faults.inject(fault);
      isProblem(await operator.upload(`rs1_pro/${version}`, bytes), 503);
      if (again === 201) isProblem(await one(`rs1_pro/${version}`), 404);
      isStatus(await operator.upload(`rs1_pro/${version}`, bytes), again);
      assert.equal((await stored(`rs1_pro/${version}/`)).length, 1);
    });
  }
});

test('of two uploads that race, one becomes the artifact', async (t) => {
  /** The first is held just before its row is written; the second overtakes it. */
  const race = async (version, [first, second]) => {
    const hold = cloud.faults.hold({ binding: 'DB', match: /firmware_add/ });
    const slow = operator.upload(`rs1_pro/${version}`, first);
    await hold.reached;
    const quick = await operator.upload(`rs1_pro/${version}`, second);
    hold.release();
    return [await slow, quick];
  };
  await t.test('the same bytes are the same artifact', async () => {
    const bytes = image('1.6.0');
    const [slow, quick] = await race('1.6.0', [bytes, bytes]);
    assert.deepEqual([slow.status, quick.status], [200, 201]);
    assert.deepEqual(slow.json, quick.json);
  });
  await t.test('other bytes are a conflict, and are not kept', async () => {
    const [loser, winner] = [image('1.6.1'), image('1.6.1')];
    const [slow, quick] = await race('1.6.1', [loser, winner]);
    assert.deepEqual([slow.status, quick.status], [409, 201]);
    assert.deepEqual(await stored('rs1_pro/1.6.1/'), [`rs1_pro/1.6.1/${sha256(winner)}.bin`]);
  });
  await t.test('a key that is revoked meanwhile is not good any more', async () => {
    const { key, id } = await operator.trust();
    const hold = cloud.faults.hold({ binding: 'DB', match: /firmware_add/ });
    const upload = operator.upload('rs1_pro/1.6.2', makeImage({ version: '1.6.2', key }));
    await hold.reached;
    isStatus(await operator.ask('DELETE', `/admin/firmware-keys/${id}`), 200);
    hold.release();
    hasFaults(await upload, ['/signature_block/public_key']);
    await leavesNothing('rs1_pro/1.6.2');
    assert.deepEqual(await stored('rs1_pro/1.6.2/'), []);
  });
});

test('a yank and a revoked key withdraw an artifact, and pause its rollouts', async () => {
  const { key, id } = await operator.trust(makeKey(), 'leaked');
  const [yanked, orphaned] = [await operator.publish('1.7.0', { key }), await operator.publish('1.7.1', { key })];
  await putRollout(cloud, yanked, { id: 'rol-yanked' });
  await putRollout(cloud, orphaned, { id: 'rol-orphaned' });
  const statusOf = async (rollout) => (await cloud.rows('SELECT status, cause FROM rollouts WHERE rollout_id = ?', rollout))[0];
  const path = '/admin/firmware/rs1_pro/1.7.0/yank';

  isProblem(await operator.ask('POST', path, { body: {} }), 422, ['/reason']);
  const answer = await operator.ask('POST', path, { body: { reason: 'boots into a loop' } });
  isStatus(answer, 200);
  assert.deepEqual([answer.json.status, answer.json.yank_reason], ['yanked', 'boots into a loop']);
  assert.deepEqual(await statusOf('rol-yanked'), { status: 'PAUSED', cause: 'artifact_yanked' });
  assert.deepEqual(await statusOf('rol-orphaned'), { status: 'STAGED', cause: null });
  assert.deepEqual((await operator.ask('POST', path, { body: { reason: 'again' } })).json, answer.json, 'once is for good');

  const revoked = await operator.ask('DELETE', `/admin/firmware-keys/${id}`);
  isStatus(revoked, 200);
  assert.deepEqual(revoked.json.artifacts, [
    { sku: 'rs1_pro', version: '1.7.0' },
    { sku: 'rs1_pro', version: '1.7.1' },
  ]);
  assert.deepEqual(await statusOf('rol-orphaned'), { status: 'PAUSED', cause: 'key_revoked' });
  assert.equal((await one('rs1_pro/1.7.1')).json.status, 'revoked_key');
  const events = await cloud.rows("SELECT rollout_id, kind, actor FROM rollout_events WHERE kind = 'paused' ORDER BY event_id");
  assert.deepEqual(events, [
    { rollout_id: 'rol-yanked', kind: 'paused', actor: 'ada@optic.works' },
    { rollout_id: 'rol-orphaned', kind: 'paused', actor: 'ada@optic.works' },
  ]);
  isProblem(await operator.ask('POST', '/admin/firmware-keys', { body: { name: 'leaked', public_key: publicKeyOf(key) } }), 409);
});

test('keys and artifacts are listed, newest first', async () => {
  const keys = await operator.ask('GET', '/admin/firmware-keys?limit=2');
  assert.equal(keys.json.items.length, 2);
  assert.ok(keys.json.items[0].key_id > keys.json.items[1].key_id);
  const next = await operator.ask('GET', `/admin/firmware-keys?limit=2&cursor=${keys.json.next_cursor}`);
  assert.ok(next.json.items[0].key_id < keys.json.items[1].key_id);
  const lite = await operator.ask('GET', '/admin/firmware?sku=rs1_lite');
  assert.deepEqual(lite.json.items.map(({ version }) => version), ['1.0.0']);
  isProblem(await operator.ask('GET', '/admin/firmware?sku=rs1_max'), 422, ['?sku']);
});

test('operators only, and not without a trace', async () => {
  const calls = [
    ['PUT', '/admin/firmware/rs1_pro/1.8.0'],
    ['POST', '/admin/firmware/rs1_pro/1.0.0/yank'],
    ['POST', '/admin/firmware-keys'],
    ['DELETE', `/admin/firmware-keys/${signer.id}`],
    ['GET', '/admin/firmware'],
  ];
  for (const [method, path] of calls) {
    const body = method === 'PUT' ? image('1.8.0') : {};
    const headers = method === 'PUT' ? { 'content-type': 'application/octet-stream' } : {};
    isProblem(await cloud.api(method, path, { host: OTA, ...(method === 'GET' || method === 'DELETE' ? {} : { body, headers }) }), 401);
  }
  assert.deepEqual(cloud.faults.calls(), [], 'strangers reach nothing');
  isStatus(await operator.upload('rs1_pro/1.8.0', image('1.8.0'), { 'x-request-id': 'traced' }), 201);
  assert.deepEqual(await cloud.rows("SELECT actor, method, route, target FROM audit_log WHERE request_id = 'traced'"), [
    { actor: 'ada@optic.works', method: 'PUT', route: '/admin/firmware/{sku}/{version}', target: 'rs1_pro/1.8.0' },
  ]);
  cloud.faults.inject({ binding: 'DB', match: /audit/ });
  isProblem(await operator.upload('rs1_pro/1.8.1', image('1.8.1')), 503);
  await leavesNothing('rs1_pro/1.8.1');
});
