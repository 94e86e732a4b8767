// `npm run backup`: the broker's configuration into R2, and the database's latest good backup to a store elsewhere.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { serveHttp } from '../../local/lib/serve.mjs';
import { signed } from '../../tools/delivery/sigv4.mjs';
import { startCloudflare } from './support/cloudflare.mjs';
import { startOffsite } from './support/offsite.mjs';
import { command } from './support/project.mjs';

const BUCKET = 'rs1-backups-staging';
let cloudflare;
let offsite;
let emqx;

before(async () => {
  [cloudflare, offsite, emqx] = await Promise.all([startCloudflare(), startOffsite(), startEmqx()]);
});
after(() => Promise.all([cloudflare.stop(), offsite.stop(), emqx.stop()]));
beforeEach(() => {
  cloudflare.state.buckets = [{ name: BUCKET, lifecycle: [], cors: null, objects: {} }];
  offsite.objects.clear();
  offsite.puts.length = 0;
  offsite.breakAfter = Infinity;
});

const backup = (what, env = {}) => command('backup.mjs', [what, '--env', 'staging'], { env: { ...cloudflare.env, ...offsite.env, ...emqx.env, ...env } });
const day = (ago) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const store = (key, bytes) => (cloudflare.bucket(BUCKET).objects[key] = Buffer.from(bytes).toString('base64'));

/** A backup as the health worker leaves it. */
function keepBackup(ago, { ok = true, bytes = gzipSync(`-- ${day(ago)}\n`.repeat(5000)) } = {}) {
  const object = `backups/d1/${day(ago)}.sql.gz`;
  store(object, bytes);
  store(`backups/d1/${day(ago)}.manifest.json`, JSON.stringify({ object, bytes: bytes.length, sha256: sha256(bytes) }));
  if (ok !== null) store(`backups/d1/${day(ago)}.check.json`, JSON.stringify({ ok }));
  return { object, bytes };
}

/** The calls of EMQX's management API that make a backup: apps/emqx_management/src/emqx_mgmt_api_data_backup.erl. */
async function startEmqx() {
  const files = new Map();
  const self = { files, content: gzipSync('the configuration') };
  const handle = async (request, response) => {
    const json = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body));
    if (request.headers.authorization !== `Basic ${Buffer.from('key:secret').toString('base64')}`) return json(401, { code: 'BAD_API_KEY_OR_SECRET', message: 'Check api_key/api_secret' });
    const url = new URL(request.url, 'http://emqx');
    const name = decodeURIComponent(url.pathname.slice('/api/v5/data/files/'.length));
    if (request.method === 'POST' && url.pathname === '/api/v5/data/export') {
      if (request.headers['content-type'] !== 'application/json') return json(415, { code: 'UNSUPPORTED_MEDIA_TYPE', message: 'content-type:application/json Required' });
      files.set('emqx-export-2026-11-21-04-30-00.043.tar.gz', self.content);
      return json(200, { filename: [...files.keys()][0], node: 'emqx@10.0.0.5', created_at: '2026-11-21T04:30:00+00:00', created_at_sec: 1, size: self.content.length });
    }
    if (url.searchParams.get('node') !== 'emqx@10.0.0.5') return json(400, { code: 'BAD_REQUEST', message: 'Unknown node' });
    if (!files.has(name)) return json(404, { code: 'NOT_FOUND', message: 'not found' });
    if (request.method === 'GET') return response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(files.get(name));
    files.delete(name);
    return response.writeHead(204).end();
  };
  const { port, close } = await serveHttp({ port: 0, handle });
  const env = { EMQX_API_URL: `http://127.0.0.1:${port}/api/v5`, EMQX_API_KEY: 'key:secret' };
  return Object.assign(self, { env, stop: close });
}

test('requests are signed as Amazon documents it', () => {
  // The examples of the page that sigv4.mjs names.
  const access = { id: 'AKIAIOSFODNN7EXAMPLE', secret: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY', region: 'us-east-1' };
  const at = new Date('2013-05-24T00:00:00Z');
  const host = 'examplebucket.s3.amazonaws.com';
  const get = signed({ method: 'GET', host, path: '/test.txt', headers: { range: 'bytes=0-9' }, payload: sha256('') }, access, at);
  assert.match(get.authorization, /SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41$/);
  const headers = { date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' };
  const put = signed({ method: 'PUT', host, path: '/test$file.text', headers, payload: sha256('Welcome to Amazon S3.') }, access, at);
  assert.match(put.authorization, /Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd$/);
});

test("the broker's export is kept in R2, and not left on the broker", async () => {
  const { status, output } = await backup('emqx');
  assert.equal(status, 0, output);
  assert.equal(cloudflare.bucket(BUCKET).objects[`config/emqx/${day(0)}.tar.gz`], emqx.content.toString('base64'));
  assert.equal(emqx.files.size, 0);
});

test('an export that is no archive is not kept', async () => {
  const { content } = emqx;
  emqx.content = Buffer.from('<html>');
  const { status, output } = await backup('emqx');
  emqx.content = content;
  assert.equal(status, 1);
  assert.match(output, /is not an archive/);
  assert.deepEqual(cloudflare.bucket(BUCKET).objects, {});
  assert.equal(emqx.files.size, 0);
});

test('a key that the broker does not know is told', async () => {
  const { status, output } = await backup('emqx', { EMQX_API_KEY: 'key:wrong' });
  assert.equal(status, 1);
  assert.match(output, /POST \/data\/export: 401/);
});

test('the latest good backup is copied with its manifest, once', async () => {
  const { object, bytes } = keepBackup(0);
  keepBackup(1);
  const { status, output } = await backup('offsite');
  assert.equal(status, 0, output);
  assert.deepEqual(offsite.puts, [`/rs1-offsite/${object}`, `/rs1-offsite/backups/d1/${day(0)}.manifest.json`]);
  assert.deepEqual(offsite.objects.get(`/rs1-offsite/${object}`).bytes, bytes);
  const again = await backup('offsite');
  assert.match(again.output, /is at 127\.0\.0\.1:\d+\/rs1-offsite already/);
  assert.equal(offsite.puts.filter((key) => key.endsWith(object)).length, 1);
});

test('what does not restore, or was not checked, is passed over', async () => {
  keepBackup(0, { ok: null });
  const { object } = keepBackup(1);
  assert.equal((await backup('offsite')).status, 0);
  assert.ok(offsite.objects.has(`/rs1-offsite/${object}`));
  offsite.objects.clear();
  keepBackup(0, { ok: false });
  assert.match((await backup('offsite')).output, /a backup that does not restore/);
  assert.ok(offsite.objects.has(`/rs1-offsite/${object}`));
});

test('an old backup is copied, and complained of', async () => {
  const { object } = keepBackup(3);
  const { status, output } = await backup('offsite');
  assert.equal(status, 1);
  assert.match(output, /the latest good backup is of/);
  assert.ok(offsite.objects.has(`/rs1-offsite/${object}`));
});

test('no backup at all is an error', async () => {
  const { status, output } = await backup('offsite');
  assert.equal(status, 1);
  assert.match(output, /no good backup of the last 30 days/);
});

test('a backup that was altered in its bucket is refused by the store, and a cut-off copy leaves nothing', async () => {
  const { object, bytes } = keepBackup(0);
  offsite.breakAfter = 10;
  assert.equal((await backup('offsite')).status, 1);
  assert.equal(offsite.objects.size, 0);
  offsite.breakAfter = Infinity;
  const altered = Buffer.from(bytes);
  altered[20] ^= 1;
  store(object, altered);
  const { status, output } = await backup('offsite');
  assert.equal(status, 1);
  assert.match(output, /XAmzContentSHA256Mismatch/);
  assert.equal(offsite.objects.size, 0);
});

test('every call was one that the API documents', () => {
  assert.deepEqual(cloudflare.complaints, []);
});
