// /api/devices/{id}/zones: what a person wants a device to watch. Who may change it, what is refused, who wins.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { isProblem, isStatus } from './fixtures/expect.mjs';
import { grant, signIn, unlimited } from './fixtures/owner.mjs';
import { startHarness } from './support/harness.mjs';

/** @type {Awaited<ReturnType<typeof startHarness>>} */
let cloud;
/** @type {Awaited<ReturnType<typeof signIn>>} */
let ada;
/** @type {Awaited<ReturnType<typeof cloud.enroll>>} Ada's. */
let device;
before(async () => {
  cloud = await startHarness({ only: ['device-api'], configure: unlimited });
  ada = await signIn(cloud, 'ada@example.com');
});
after(() => cloud?.stop());
beforeEach(async () => {
  cloud.faults.clear();
  device = await cloud.enroll({ sku: 'rs1_pro' });
  await grant(cloud, ada, device, 'owner');
  cloud.faults.forget();
});

const zone = (id, fields) => ({
  ...{ id, name: 'Sofa', type: 'include', sensitivity: 50 },
  vertices: [[-1000, 500], [1000, 500], [1000, 2500], [-1000, 2500]],
  ...fields,
});
const zones = (...ids) => ({ zones: ids.map((id) => zone(id)) });
const path = (rest = '', { id } = device) => `/api/devices/${id}/zones${rest}`;
const get = (rest, who = ada) => who.call('GET', path(rest));
const put = (ifMatch, body, who = ada) => who.call('PUT', path(), { body, headers: ifMatch === undefined ? {} : { 'if-match': ifMatch } });
const restore = (version, headers = {}) => ada.call('POST', path(`/restore/${version}`), { headers });

test('an edit becomes the next version, and its ETag says which', async () => {
  const first = await get();
  isStatus(first, 200);
  assert.equal(first.headers.etag, '"0"');
  assert.deepEqual(first.json, {
    ...{ device_id: device.id, version: 0, updated_at: null, updated_by: null, zones: [] },
    ...{ desired: 0, applied: 0, applied_at: null, in_sync: true, status: 'none', error: null },
  });
  const edited = await put('"0"', zones('sofa', 'door'));
  isStatus(edited, 200);
  assert.equal(edited.headers.etag, '"1"');
  const { updated_at, ...rest } = edited.json;
  assert.ok(Math.abs(Date.parse(updated_at) - Date.now()) < 60_000);
  assert.deepEqual(rest, {
    ...{ device_id: device.id, version: 1, updated_by: ada.id, zones: zones('sofa', 'door').zones },
    ...{ desired: 1, applied: 0, applied_at: null, in_sync: false, status: 'pending', error: null, delivery: 'sent' },
  });
  const { delivery, ...stored } = edited.json;
  assert.deepEqual((await get()).json, stored);
});

test('a write costs two reads and one write', async () => {
  isStatus(await put('"0"', zones('sofa')), 200);
  assert.deepEqual(
    cloud.faults.calls({ binding: 'DB' }).map(({ names }) => names),
    [['role_of', 'zones_current'], ['zones_write']],
  );
});

test('a change must name what it was made from', async () => {
  isProblem(await put(undefined, zones('a')), 428, []);
  isProblem(await put(', ,', zones('a')), 400);
  for (const stale of ['"1"', 'W/"0"', '"00"', '"abc"']) isProblem(await put(stale, zones('a')), 412, []);
  assert.equal((await get()).json.version, 0, 'nothing has changed');
  isStatus(await put('"5", "0"', zones('a')), 200);
  isStatus(await put('*', zones('b')), 200);
});

test('whoever is too late is shown what is there', async () => {
  isStatus(await put('"0"', zones('first')), 200);
  const late = await put('"0"', zones('second'));
  isProblem(late, 412, []);
  assert.equal(late.headers.etag, '"1"');
  assert.deepEqual([late.json.current.version, late.json.current.zones], [1, zones('first').zones]);
});

test('of many changes made from one version exactly one wins', async () => {
  for (let version = 0; version < 3; version += 1) {
    const rivals = Array.from({ length: 8 }, (_, index) => put(`"${version}"`, zones(`rival_${index}`)));
    const answers = await Promise.all(rivals);
    const winners = answers.filter(({ status }) => status === 200);
    assert.equal(winners.length, 1);
    for (const loser of answers.filter(({ status }) => status !== 200)) {
      isProblem(loser, 412, []);
      assert.deepEqual(loser.json.current.zones, winners[0].json.zones);
    }
    assert.deepEqual((await get()).json.zones, winners[0].json.zones);
  }
  assert.equal((await get('/history')).json.items.length, 3, 'and every version was somebody’s');
});

test('one that has looked and is overtaken before it writes loses', async () => {
  const slow = cloud.faults.hold({ binding: 'DB', match: /zones_write/ });
  const overtaken = put('"0"', zones('slow'));
  await slow.reached;
  isStatus(await put('"0"', zones('quick')), 200);
  slow.release();
  const answer = await overtaken;
  isProblem(answer, 412, []);
  assert.deepEqual(answer.json.current.zones, zones('quick').zones);
});

test('every fault is named at once with its pointer, and nothing changes', async () => {
  const ring = (...vertices) => ({ zones: [zone('a', { vertices })] });
  for (const [body, pointers] of [
    [{}, ['/zones']],
    [{ zones: 5 }, ['/zones']],
    [{ zones: [], note: 1 }, ['/note']],
    [[], ['']],
    [{ zones: [{}] }, ['id', 'name', 'type', 'vertices', 'sensitivity'].map((name) => `/zones/0/${name}`)],
    [{ zones: [zone('a'), zone('a'), zone('A B'), zone('x'.repeat(17))] }, ['/zones/1/id', '/zones/2/id', '/zones/3/id']],
    [{ zones: [zone('a', { name: 'é'.repeat(33), type: 'both', sensitivity: 100.5, colour: null })] }, ['name', 'type', 'sensitivity', 'colour'].map((name) => `/zones/0/${name}`)],
    [{ zones: Array.from({ length: 17 }, (_, index) => zone(`z${index}`)) }, ['/zones']],
    [ring([0, 0], [1, 0]), ['/zones/0/vertices']],
    [ring(...Array.from({ length: 9 }, (_, index) => [index * 10, index * index])), ['/zones/0/vertices']],
    [ring([0, 0], [6001, 0], [0, -1], [1.5, 3], [1]), [1, 2, 3, 4].map((vertex) => `/zones/0/vertices/${vertex}`)],
    // Consecutive vertices that are one, the last and the first among them.
    [ring([0, 0], [900, 0], [900, 0], [0, 900]), ['/zones/0/vertices/2']],
    [ring([0, 0], [900, 0], [0, 900], [0, 0]), ['/zones/0/vertices/3']],
    // Edges that cross, that touch, that lie on each other.
    [ring([0, 0], [900, 900], [900, 0], [0, 900]), ['/zones/0/vertices/2']],
    [ring([0, 0], [1000, 0], [1000, 1000], [500, 0], [0, 1000]), ['/zones/0/vertices/2', '/zones/0/vertices/3']],
    [ring([0, 0], [1000, 0], [1000, 500], [800, 0], [200, 0], [0, 500]), [2, 3, 4].map((vertex) => `/zones/0/vertices/${vertex}`)],
    // A line.
    [ring([0, 0], [900, 900], [400, 400]), ['/zones/0/vertices']],
    [{ ...zones('a'), version: 9 }, ['/version']],
    [{ ...zones('a'), version: 'one', updated_at: 'now' }, ['/version', '/updated_at']],
  ]) {
    isProblem(await put('"0"', body), 422, pointers);
  }
  isProblem(await put('"0"', '{"zones": ['), 400);
  isProblem(await put('"0"', JSON.stringify({ zones: [], padding: 'x'.repeat(70_000) })), 413);
  assert.equal((await get()).json.version, 0);
});

test('sixteen zones of eight vertices fit', async () => {
  const eight = [[-6000, 0], [0, 100], [6000, 0], [5900, 3000], [6000, 6000], [0, 5900], [-6000, 6000], [-5900, 3000]];
  const body = { zones: Array.from({ length: 16 }, (_, index) => zone(`zone_${index}`, { name: '🛋'.repeat(32), vertices: eight })) };
  const answer = await put('"0"', body);
  isStatus(answer, 200);
  assert.deepEqual(answer.json.zones, body.zones);
});

test('an rs1_lite takes no zones', async () => {
  device = await cloud.enroll({ sku: 'rs1_lite' });
  await grant(cloud, ada, device, 'owner');
  isProblem(await put('"0"', zones('a')), 422, ['/zones']);
  isStatus(await put('"0"', zones()), 200);
});

test('the last ten versions stay, and each can be had again', async () => {
  for (let version = 0; version < 12; version += 1) isStatus(await put(`"${version}"`, zones(`z${version}`)), 200);
  const history = await get('/history');
  isStatus(history, 200);
  assert.deepEqual(history.json.items.map(({ version }) => version), [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
  assert.deepEqual(Object.keys(history.json.items[0]).sort(), ['updated_at', 'updated_by', 'version', 'zone_count']);
  const third = await get('/history/3');
  assert.deepEqual([third.json.version, third.json.zones], [3, zones('z2').zones]);
  for (const gone of ['2', '0', '13', '03', 'x']) {
    isProblem(await get(`/history/${gone}`), 404, []);
    isProblem(await restore(gone), 404, []);
  }
  isProblem(await restore('3', { 'if-match': '"11"' }), 412, []);
  const restored = await restore('3', { 'if-match': '"12"' });
  isStatus(restored, 200);
  assert.deepEqual([restored.json.version, restored.json.zones, restored.headers.etag], [13, zones('z2').zones, '"13"']);
  isStatus(await restore('12'), 200);
  assert.deepEqual((await get()).json.zones, zones('z11').zones);
});

test('each role may do what the table says, and a stranger sees nothing', async () => {
  const [admin, viewer, stranger] = await Promise.all(['b', 'c', 'd'].map((name) => signIn(cloud, `${name}@example.com`)));
  await grant(cloud, admin, device, 'admin');
  await grant(cloud, viewer, device, 'viewer');
  // The stranger owns a device, but another.
  await grant(cloud, stranger, await cloud.enroll(), 'owner');
  isStatus(await put('"0"', zones('a')), 200);
  for (const [method, rest, statuses] of [
    ['GET', '', [200, 200, 200, 404]],
    ['PUT', '', [200, 200, 403, 404]],
    ['GET', '/history', [200, 200, 200, 404]],
    ['GET', '/history/1', [200, 200, 200, 404]],
    ['POST', '/restore/1', [200, 200, 403, 404]],
  ]) {
    for (const [index, who] of [ada, admin, viewer, stranger].entries()) {
      const body = method === 'PUT' ? zones('b') : undefined;
      const answer = await who.call(method, path(rest), { body, headers: { 'if-match': '*' } });
      if (statuses[index] === 200) isStatus(answer, 200);
      else isProblem(answer, statuses[index], []);
    }
    isProblem(await cloud.api(method, path(rest), { headers: { 'if-match': '*' } }), 401, []);
    isProblem(await cloud.api(method, path(rest), { token: await cloud.adminToken(), headers: { 'if-match': '*' } }), 401, []);
    for (const id of ['0'.repeat(32), 'x']) isProblem(await ada.call(method, path(rest, { id }), { headers: { 'if-match': '*' } }), 404, []);
  }
  isProblem(await ada.call('DELETE', path()), 405);
  isProblem(await ada.call('GET', `${path()}?all=1`), 422, ['?all']);
});

test('while the database is down nothing is half done', async () => {
  for (const [match, when] of [[/role_of/, 'before'], [/zones_write/, 'before']]) {
    cloud.faults.inject({ binding: 'DB', match, when });
    isProblem(await put('"0"', zones('a')), 503, []);
  }
  assert.equal((await get()).json.version, 0);
  cloud.faults.inject({ binding: 'DB', match: /zones_write/, when: 'after' });
  isProblem(await put('"0"', zones('a')), 503, []);
  const again = await put('"0"', zones('a'));
  isProblem(again, 412, []);
  assert.deepEqual(again.json.current.zones, zones('a').zones, 'it was written, and is shown to whoever asks again');
  assert.equal((await get('/history')).json.items.length, 1);
});
