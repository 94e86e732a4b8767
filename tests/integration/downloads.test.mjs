// GET and HEAD /firmware/{sku}/{version}.bin: exactly the HTTP that an ESP32 client needs, out of R2 and out of the cache, for
// the device that the link names and as long as it may.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import { at, beside } from './fixtures/beside.mjs';
import { isRefusal, OTA, operatorOf, putDevice, putMember, putRollout, sha256, signedLink } from './fixtures/firmware.mjs';
import { isStatus } from './fixtures/expect.mjs';
import { eventually, makeDevice, startHarness } from './support/harness.mjs';

const [CURRENT, PREVIOUS] = ['the current signing key of this spec', 'the previous signing key of this spec'];
const ATTEMPTS = 50;
const SIZE = 100_000;

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
let operator;
let artifact;
let device;
before(async () => {
  cloud = await startHarness({
    only: ['ota'],
    secrets: { SIGNING_KEY: CURRENT, SIGNING_KEY_PREVIOUS: PREVIOUS },
    vars: { ota: { DOWNLOAD_ATTEMPTS: ATTEMPTS } },
    configure: beside(['ota'], 'clock.worker.js'),
  });
  operator = await operatorOf(cloud);
  artifact = await operator.publish('1.2.0', { size: SIZE });
  device = await putDevice(cloud, makeDevice());
  await putMember(cloud, await putRollout(cloud, artifact), device);
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  cloud.faults.forget();
  await cloud.rows('DELETE FROM firmware_downloads');
  await set('STAGED', 'triggered');
});

const set = async (status, state) => {
  await cloud.rows("UPDATE rollouts SET status = ? WHERE rollout_id = 'rol-01'", status);
  await cloud.rows("UPDATE rollout_devices SET state = ? WHERE rollout_id = 'rol-01'", state);
};
const link = (fields) => signedLink({ key: CURRENT, version: '1.2.0', device, ...fields });
const ask = (method, target, headers = {}) => cloud.api(method, target, { host: OTA, headers });
const get = (headers, target = link()) => ask('GET', target, headers);
const etag = () => `"${artifact.sha256}"`;
/** What was asked of R2 since the last look. */
const fetched = () => cloud.faults.calls({ binding: 'FIRMWARE', op: 'get' }).length;

const cacheKey = (path = '/firmware/rs1_pro/1.2.0.bin') => `http://${OTA}${path}`;
const cache = async () => (await cloud.cloud.mf.getCaches()).default;
/** The next request finds the image in the cache. */
async function warm() {
  isStatus(await get(), 200);
  await eventually('the image is in the cache', async () => (await (await cache()).match(cacheKey())) !== undefined);
  cloud.faults.forget();
}
/** The next request finds nothing in the cache. */
async function chill() {
  // What an earlier request has brought on its way is in first: it would come back.
  await warm();
  await (await cache()).delete(cacheKey());
}
/** Runs a check with the cache cold, then with it warm, and makes sure that it was. */
async function coldAndCached(check) {
  await chill();
  await check('cold');
  const cold = fetched();
  await warm();
  await check('cached');
  assert.ok(cold >= 1, 'the first came out of R2');
  assert.equal(fetched(), 0, 'the second came out of the cache');
}

/** The headers of an answer that are said of the image. */
function describes(answer, expected) {
  const { headers } = answer;
  const said = {
    'content-type': headers['content-type'],
    'content-length': headers['content-length'],
    'content-range': headers['content-range'],
    'accept-ranges': headers['accept-ranges'],
    'cache-control': headers['cache-control'],
    'repr-digest': headers['repr-digest'],
    etag: headers.etag,
  };
  const digest = Buffer.from(artifact.sha256, 'hex').toString('base64');
  assert.deepEqual(said, {
    'content-type': 'application/octet-stream',
    'content-range': undefined,
    'accept-ranges': 'bytes',
    'cache-control': 'private, max-age=900, no-transform',
    'repr-digest': `sha-256=:${digest}:`,
    etag: etag(),
    ...expected,
  });
  assert.equal(headers['transfer-encoding'], undefined, 'never chunked');
  assert.equal(headers['content-encoding'], undefined, 'never encoded');
}

function isWhole(answer) {
  isStatus(answer, 200);
  describes(answer, { 'content-length': String(SIZE) });
  assert.ok(answer.bytes.equals(artifact.image), 'all of it, unchanged');
}

function isPart(answer, first, last) {
  assert.equal(answer.status, 206, `${answer.status} ${JSON.stringify(answer.headers)}`);
  const length = last - first + 1;
  describes(answer, { 'content-length': String(length), 'content-range': `bytes ${first}-${last}/${SIZE}` });
  assert.ok(answer.bytes.equals(artifact.image.subarray(first, last + 1)), 'that part, unchanged');
}

test('the whole image', () => coldAndCached(async () => isWhole(await get({ 'accept-encoding': 'gzip, br' }))));

test('every form of range, cold and out of the cache', async (t) => {
  const parts = {
    'bytes=0-': [0, SIZE - 1],
    'bytes=0-0': [0, 0],
    [`bytes=0-${SIZE - 1}`]: [0, SIZE - 1],
    'bytes=40000-': [40_000, SIZE - 1],
    'bytes=1000-1999': [1_000, 1_999],
    'bytes=1500-2499': [1_500, 2_499],
    'bytes=-1': [SIZE - 1, SIZE - 1],
    'bytes=-1000': [SIZE - 1_000, SIZE - 1],
    // An end past the last byte is clamped.
    [`bytes=99000-${SIZE}`]: [99_000, SIZE - 1],
    'bytes=99000-999999999999999999999': [99_000, SIZE - 1],
    'bytes=-999999': [0, SIZE - 1],
    // Of several the first that there is, alone.
    'bytes=10-19,30-39': [10, 19],
    'bytes=200000-, 30-39': [30, 39],
  };
  for (const [range, [first, last]] of Object.entries(parts)) {
    await t.test(range, () => coldAndCached(async () => isPart(await get({ range }), first, last)));
  }
});

test('what cannot be satisfied is 416 and says how long the image is; it is never the whole', async () => {
  const refused = ['bytes=100000-', 'bytes=100000-100001', 'bytes=999999999999999999999-', 'bytes=-0'];
  const malformed = ['bytes=', 'bytes=-', 'bytes=5-2', 'bytes=x-', 'bytes=0-1,x', 'items=0-5', 'bytes', '0-5'];
  for (const range of [...refused, ...malformed]) {
    const answer = await get({ range });
    isRefusal(answer, 416, 'range-not-satisfiable');
    assert.equal(answer.headers['content-range'], `bytes */${SIZE}`, range);
  }
  assert.equal(fetched(), 0);
});

test('HEAD says what GET would, and sends nothing', async () => {
  for (const headers of [{}, { range: 'bytes=5-9' }]) {
    const answer = await ask('HEAD', link(), headers);
    isStatus(answer, 200);
    describes(answer, { 'content-length': String(SIZE) });
    assert.equal(answer.bytes.length, 0);
  }
  assert.equal((await ask('HEAD', link(), { 'if-none-match': etag() })).status, 304);
  assert.equal((await ask('HEAD', link({ expires: 1 }))).status, 403);
  assert.equal(fetched(), 0, 'R2 is not asked');
});

test('conditions', async (t) => {
  const range = 'bytes=1000-1999';
  await t.test('If-Range: a tag that matches earns the part, any other the whole', () =>
    coldAndCached(async () => {
      isPart(await get({ range, 'if-range': etag() }), 1_000, 1_999);
      for (const other of ['"other"', `W/${etag()}`, 'Tue, 20 Jan 2026 10:00:00 GMT']) isWhole(await get({ range, 'if-range': other }));
    }),
  );
  await t.test('If-None-Match: who has it gets 304, without a body', async () => {
    for (const tags of [etag(), `"other", ${etag()}`, `W/${etag()}`, '*']) {
      const answer = await get({ 'if-none-match': tags, range });
      assert.deepEqual([answer.status, answer.bytes.length, answer.headers.etag], [304, 0, etag()], tags);
      assert.equal(answer.headers['cache-control'], 'private, max-age=900, no-transform');
    }
    isPart(await get({ 'if-none-match': '"other"', range }), 1_000, 1_999);
  });
  await t.test('If-Match: who wants another gets 412', async () => {
    for (const tags of ['"other"', `W/${etag()}`]) isRefusal(await get({ 'if-match': tags, range }), 412, 'precondition-failed');
    for (const tags of [etag(), `"other", ${etag()}`, '*']) isPart(await get({ 'if-match': tags, range }), 1_000, 1_999);
  });
});

test('a download that is cut goes on where it was, also under the next link', () =>
  coldAndCached(async () => {
    let have = await cut(link(), 0, 30_000);
    while (have.length < SIZE) have = Buffer.concat([have, await cut(link(), have.length, 30_000)]);
    assert.equal(sha256(have), artifact.sha256);
  }),
);

/** Reads from `first` on and hangs up after at least `enough` bytes. */
function cut(target, first, enough) {
  return new Promise((done, fail) => {
    const options = { host: '127.0.0.1', port: cloud.ports.http, path: target, agent: false };
    const out = request({ ...options, headers: { host: OTA, range: `bytes=${first}-`, 'if-range': etag() } }, (response) => {
      const parts = [];
      let length = 0;
      response.on('data', (part) => {
        parts.push(part);
        length += part.length;
        if (length < enough && first + length < SIZE) return;
        out.destroy();
        done(Buffer.concat(parts));
      });
    });
    out.on('error', (error) => error.code === 'ECONNRESET' || fail(error));
    out.end();
  });
}

test('a fleet that comes all at once gets what each asked for, and fills the cache once', async () => {
  await chill();
  const asking = Array.from({ length: 60 }, (_, index) => index * 1_500);
  const answers = await Promise.all(asking.map((first) => get({ range: `bytes=${first}-${first + 9_999}` })));
  answers.forEach((answer, index) => isPart(answer, asking[index], asking[index] + 9_999));
  const whole = cloud.faults.calls({ binding: 'FIRMWARE', op: 'get' }).length;
  assert.ok(whole <= 61, `one object was read ${whole} times for 60 requests`);
});

test('what stands in the cache under that path and is not this image is not sent', async () => {
  const headers = { etag: '"other"', 'cache-control': 'max-age=600', 'content-length': String(SIZE) };
  const { Response } = await import('miniflare');
  await (await cache()).put(cacheKey(), new Response(Buffer.alloc(SIZE), { headers }));
  cloud.faults.forget();
  isWhole(await get());
  isPart(await get({ range: 'bytes=5-9' }), 5, 9);
  assert.ok(fetched() >= 1);
});

test('a link is good for a quarter of an hour, to the second', async () => {
  const expires = Math.floor(Date.now() / 1000) + 900;
  const target = link({ expires });
  isStatus(await get(at(expires * 1000 - 1), target), 200);
  isRefusal(await get(at(expires * 1000), target), 403, 'url-expired');
  isRefusal(await get(at(expires * 1000 + 3_600_000), target), 403, 'url-expired');
});

test('a link outlives the rotation of its key, and is good under no other', async () => {
  isStatus(await get({}, link({ key: CURRENT, kid: '2' })), 200);
  isStatus(await get({}, link({ key: PREVIOUS, kid: '1' })), 200);
  isRefusal(await get({}, link({ key: 'a key that is in no ring of this cloud' })), 403, 'bad-signature');
});

test('nothing in a link can be changed', async () => {
  const good = link();
  const other = await putDevice(cloud, makeDevice());
  const changes = {
    'another version': good.replace('1.2.0.bin', '1.2.1.bin'),
    'another variant': good.replace('rs1_pro', 'rs1_lite'),
    'another device': good.replace(device.id, other.id),
    'a device in capitals': good.replace(device.id, device.id.toUpperCase()),
    'a later end': good.replace(/expires=(\d+)/, (_, end) => `expires=${Number(end) + 1}`),
    'an end with a zero before it': good.replace('expires=', 'expires=0'),
    'another key id': good.replace('kid=1', 'kid=2'),
    'another rollout': good.replace('rol-01', 'rol-02'),
    'a parameter in percents': good.replace('rol-01', 'rol%2D01'),
    'a parameter more': `${good}&x=1`,
    'a parameter twice': `${good}&rollout=rol-01`,
    'no signature': good.replace(/&sig=.*/, ''),
    'an empty signature': good.replace(/&sig=.*/, '&sig='),
    'half a signature': good.slice(0, -20),
    'no query': good.replace(/\?.*/, ''),
    ...Object.fromEntries(['device', 'expires', 'kid', 'rollout'].map((name) => [`no ${name}`, good.replace(new RegExp(`${name}=[^&]*&`), '')])),
  };
  cloud.faults.forget();
  for (const [name, target] of Object.entries(changes)) {
    assert.notEqual(target, good, name);
    isRefusal(await get({}, target), 403, 'bad-signature');
  }
  assert.deepEqual(cloud.faults.calls(), [], 'a stranger reaches neither the database nor R2');
  for (const place of [20, 60, good.length - 5, good.length - 1]) {
    const changed = `${good.slice(0, place)}${good[place] === 'A' ? 'B' : 'A'}${good.slice(place + 1)}`;
    assert.ok([403, 404].includes((await get({}, changed)).status), changed);
  }
  const shuffled = good.replace(/\?(.*)/, (_, query) => `?${query.split('&').reverse().join('&')}`);
  isStatus(await get({}, shuffled), 200, 'the order of the parameters means nothing');
});

test('only a device with an open attempt in that rollout gets the image', async (t) => {
  await t.test('a device without a place in it', async () => {
    const stranger = await putDevice(cloud, makeDevice());
    isRefusal(await get({}, link({ device: stranger })), 403, 'not-in-rollout');
    isRefusal(await get({}, link({ rollout: 'rol-unknown' })), 403, 'not-in-rollout');
  });
  await t.test('by its state', async () => {
    for (const state of ['triggered', 'deferred', 'downloading', 'verifying', 'installed']) {
      await set('STAGED', state);
      isStatus(await get(), 200);
    }
    for (const state of ['confirmed', 'failed', 'refused', 'rolled_back', 'timed_out', 'cancelled']) {
      await set('STAGED', state);
      isRefusal(await get(), 403, 'not-in-rollout');
    }
  });
  await t.test('by the rollout’s status; one that is cached is refused all the same', async () => {
    await warm();
    await set('ABORTED', 'downloading');
    isRefusal(await get(), 403, 'not-in-rollout');
  });
  await t.test('while it is paused, who has begun goes on, and nobody begins', async () => {
    await cloud.rows('DELETE FROM firmware_downloads');
    await set('PAUSED', 'triggered');
    isRefusal(await get(), 403, 'not-in-rollout');
    await set('STAGED', 'triggered');
    isPart(await get({ range: 'bytes=0-999' }), 0, 999);
    await set('PAUSED', 'triggered');
    isPart(await get({ range: 'bytes=1000-1999' }), 1_000, 1_999);
  });
});

test('what is withdrawn is refused from the next request on, also where it is cached', async () => {
  const [device9, device10] = [makeDevice(), makeDevice()];
  const withdrawn = await operator.publish('1.9.0', { size: 5_000 });
  await putMember(cloud, await putRollout(cloud, withdrawn, { id: 'rol-09' }), await putDevice(cloud, device9), 'downloading');
  const target = link({ version: '1.9.0', rollout: 'rol-09', device: device9 });
  isStatus(await get({}, target), 200);
  isStatus(await operator.ask('POST', '/admin/firmware/rs1_pro/1.9.0/yank', { body: { reason: 'boots into a loop' } }), 200);
  for (const method of ['GET', 'HEAD']) {
    const answer = await ask(method, target);
    assert.equal(answer.status, 410);
    if (method === 'GET') isRefusal(answer, 410, 'yanked');
  }
  isRefusal(await get({ 'if-none-match': `"${withdrawn.sha256}"` }, target), 410, 'yanked');

  const { key, id } = await operator.trust();
  const orphaned = await operator.publish('1.9.1', { key, size: 5_000 });
  await putMember(cloud, await putRollout(cloud, orphaned, { id: 'rol-10' }), await putDevice(cloud, device10), 'downloading');
  const orphan = link({ version: '1.9.1', rollout: 'rol-10', device: device10 });
  isStatus(await get({}, orphan), 200);
  isStatus(await operator.ask('DELETE', `/admin/firmware-keys/${id}`), 200);
  isRefusal(await get({}, orphan), 410, 'yanked');
});
test('attempts are counted once a download, and a device in a loop is refused', async () => {
  const writes = () => cloud.faults.calls({ binding: 'DB', match: /firmware_download_begin/ }).length;
  for (let first = 0; first < SIZE; first += 10_000) isPart(await get({ range: `bytes=${first}-${first + 9_999}` }), first, first + 9_999);
  assert.equal(writes(), 1, 'ten ranges, one write');
  await ask('HEAD', link());
  await get({ 'if-none-match': etag() });
  await get({ range: 'bytes=100000-' });
  assert.equal(writes(), 1, 'who gets nothing of it begins nothing');

  await cloud.rows('UPDATE firmware_downloads SET attempts = ?', ATTEMPTS - 1);
  isStatus(await get(), 200);
  isPart(await get({ range: 'bytes=50000-' }), 50_000, SIZE - 1);
  cloud.faults.forget();
  const refused = await get();
  isRefusal(refused, 429, 'too-many-attempts');
  assert.equal(refused.headers['retry-after'], '86400');
  isRefusal(await get({ range: 'bytes=50000-' }), 429, 'too-many-attempts');
  isRefusal(await get(), 429, 'too-many-attempts');
  assert.equal(cloud.faults.calls({ binding: 'OTA_STATUS_QUEUE', op: 'send' }).length, 1, 'the engine is told, once');
  assert.equal(fetched(), 0);
});

test('what fails for a moment may be tried again', async () => {
  await chill();
  for (const fault of [
    { binding: 'DB', match: /firmware_permit/ },
    { binding: 'DB', match: /firmware_download_begin/ },
    { binding: 'FIRMWARE', op: 'get' },
  ]) {
    cloud.faults.inject(fault);
    isRefusal(await get(), 503, 'unavailable');
    isWhole(await get());
    await chill();
  }
});

test('other methods and other paths', async () => {
  for (const method of ['POST', 'PUT', 'DELETE']) {
    const answer = await ask(method, link());
    isRefusal(answer, 405, 'method-not-allowed');
    assert.equal(answer.headers.allow, 'GET, HEAD');
  }
  isRefusal(await get({}, '/firmware/rs1_pro/1.2.0'), 404, 'not-found');
  isRefusal(await get({}, link({ version: '7.7.7' })), 404, 'not-found');
});
