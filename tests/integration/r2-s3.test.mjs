// R2's S3 API as this machine plays it: who is let in, and what it refuses that other stores take.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Miniflare } from 'miniflare';
import { freePorts } from '../../local/lib/ports.mjs';
import { startS3 } from '../../local/lib/r2-s3.mjs';
import { verify } from '../../local/lib/sigv4.mjs';
import { s3Client, xml } from './support/s3.mjs';

const BUCKET = 'rs1-telemetry-archives-local';
const MINUTE = 60_000;
const PART = 5 << 20;
const credentials = { accessKeyId: randomBytes(16).toString('hex'), secretAccessKey: randomBytes(32).toString('hex') };
const stored = [];
let miniflare, bucket, server, port, s3;
before(async () => {
  miniflare = new Miniflare({ modules: true, script: 'export default {}', compatibilityDate: '2026-07-30', r2Buckets: { ARCHIVES: BUCKET } });
  bucket = await miniflare.getR2Bucket('ARCHIVES');
  port = (await freePorts()).r2;
  server = await startS3({ port, bucket: async () => bucket, name: BUCKET, credentials, onStored: async (one) => void stored.push(one) });
  s3 = s3Client({ port, credentials });
});
after(async () => {
  s3?.close();
  await server?.close();
  await miniflare?.dispose();
});

const refused = (answer, status, code) => {
  assert.equal(answer.headers['content-type'], 'application/xml');
  assert.deepEqual([answer.status, xml(answer, 'Code')], [status, code], answer.text);
};

test('the published examples of signatures are good, and nothing else', () => {
  const example = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' };
  const now = Date.parse('2013-05-24T00:00:00Z');
  const host = 'examplebucket.s3.amazonaws.com';
  const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  const authorization = (names, signature) =>
    `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=${names},Signature=${signature}`;
  const get = (query, names, signature, headers = {}) => ({
    ...{ method: 'GET', path: '/', query: new URLSearchParams(query), body: Buffer.alloc(0) },
    headers: { host, 'x-amz-date': '20130524T000000Z', 'x-amz-content-sha256': empty, authorization: authorization(names, signature), ...headers },
  });
  const names = 'host;x-amz-content-sha256;x-amz-date';
  const lifecycle = get('lifecycle', names, 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543');
  const list = get('prefix=J&max-keys=2', names, '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7');
  const payload = '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072';
  const put = {
    ...get('', `date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class`, '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd', {
      ...{ date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY', 'x-amz-content-sha256': payload },
    }),
    ...{ method: 'PUT', path: '/test$file.text', body: Buffer.from('Welcome to Amazon S3.') },
  };
  for (const request of [lifecycle, list, put]) verify(request, example, now);
  const fails = (request, code, at = now) => assert.throws(() => verify(request, example, at), { code });
  fails({ ...list, path: '/x' }, 'SignatureDoesNotMatch');
  fails({ ...list, query: new URLSearchParams('prefix=J&max-keys=3') }, 'SignatureDoesNotMatch');
  fails({ ...put, body: Buffer.from('Welcome to Amazon S3!') }, 'XAmzContentSHA256Mismatch');
  fails({ ...put, headers: { ...put.headers, 'x-amz-storage-class': 'STANDARD' } }, 'SignatureDoesNotMatch');
  fails(list, 'RequestTimeTooSkewed', now + 16 * MINUTE);
});

test('who is not known, late, or changes a request under way is refused', async () => {
  const list = `/${BUCKET}/`;
  assert.equal((await s3('GET', list)).status, 200);
  assert.equal((await s3('GET', list, { region: 'us-east-1' })).status, 200, 'what EMQX takes R2 for');
  refused(await s3('GET', list, { region: 'eu-central-1' }), 400, 'InvalidRegionName');
  refused(await s3('GET', list, { change: (headers) => delete headers.authorization }), 400, 'InvalidArgument');
  refused(await s3('GET', list, { at: Date.now() - 16 * MINUTE }), 403, 'RequestTimeTooSkewed');
  refused(await s3('GET', list, { change: (headers) => (headers['x-amz-acl'] = 'public-read') }), 403, 'AccessDenied');
  refused(await s3('PUT', `${list}a`, { body: 'a', change: (headers) => (headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD') }), 501, 'NotImplemented');
  for (const [other, status, code] of [
    [{ secretAccessKey: '0'.repeat(64) }, 403, 'SignatureDoesNotMatch'],
    [{ accessKeyId: '0'.repeat(32) }, 401, 'Unauthorized'],
    [{ accessKeyId: 'AKIAIOSFODNN7EXAMPLE' }, 400, 'InvalidArgument'],
  ]) {
    const stranger = s3Client({ port, credentials: { ...credentials, ...other } });
    refused(await stranger('PUT', `${list}a`, { body: 'a' }), status, code);
    stranger.close();
  }
  assert.equal(await bucket.head('a'), null);
});

test('an object is stored, told of, listed and found', async () => {
  const path = `/${BUCKET}/telemetry/incoming/emqx%40127.0.0.1/a%20b.jsonl`;
  const key = 'telemetry/incoming/emqx@127.0.0.1/a b.jsonl';
  const put = await s3('PUT', path, { body: '{}\n' });
  assert.equal(put.status, 200, put.text);
  assert.equal(await (await bucket.get(key)).text(), '{}\n');
  assert.deepEqual(stored.pop(), { action: 'PutObject', key, size: 3, eTag: put.headers.etag.replaceAll('"', '') });
  const head = await s3('HEAD', path);
  assert.deepEqual([head.status, head.headers.etag, head.headers['content-length']], [200, put.headers.etag, '3']);
  assert.equal(xml(await s3('GET', `/${BUCKET}?list-type=2&prefix=telemetry%2F`), 'Key'), key);
  assert.equal(xml(await s3('GET', '/'), 'Name'), BUCKET);
  assert.equal((await s3('HEAD', `/${BUCKET}/none`)).status, 404);
  refused(await s3('GET', '/another/'), 404, 'NoSuchBucket');
  refused(await s3('GET', path), 501, 'NotImplemented');
  refused(await s3('DELETE', path), 501, 'NotImplemented');
});

const upload = async (name, sizes) => {
  const path = `/${BUCKET}/${name}`;
  const id = encodeURIComponent(xml(await s3('POST', `${path}?uploads=`), 'UploadId'));
  const parts = [];
  for (const [index, size] of sizes.entries()) {
    const { headers } = await s3('PUT', `${path}?partNumber=${index + 1}&uploadId=${id}`, { body: Buffer.alloc(size, index) });
    parts.push(`<Part><PartNumber>${index + 1}</PartNumber><ETag>${headers.etag.replaceAll('"', '&quot;')}</ETag></Part>`);
  }
  const complete = (all = parts) => s3('POST', `${path}?uploadId=${id}`, { body: `<CompleteMultipartUpload>${all.join('')}</CompleteMultipartUpload>` });
  return { path, id, parts, complete };
};

test('whoever closes it waits for what is in hand, and the runtime can be stopped then', async () => {
  const asked = Promise.withResolvers();
  const go = Promise.withResolvers();
  let isOver = false;
  const slow = async () => {
    asked.resolve();
    await go.promise;
    isOver = true;
    return bucket;
  };
  const { r2: another } = await freePorts();
  const closing = await startS3({ port: another, bucket: slow, name: BUCKET, credentials, onStored: async () => {} });
  const client = s3Client({ port: another, credentials });
  const answer = client('GET', `/${BUCKET}/`);
  await asked.promise;
  const closed = closing.close().then(() => isOver);
  await assert.rejects(answer, /socket hang up/);
  go.resolve();
  assert.equal(await closed, true);
  client.close();
});

test('parts of one length make an object', async () => {
  const { complete } = await upload('even', [PART, PART, 100]);
  assert.equal((await complete()).status, 200);
  assert.equal((await bucket.head('even')).size, 2 * PART + 100);
  const { action, key, size } = stored.pop();
  assert.deepEqual({ action, key, size }, { action: 'CompleteMultipartUpload', key: 'even', size: 2 * PART + 100 });
});

test('parts of different lengths do not, as R2 has it', async () => {
  const uneven = await upload('uneven', [PART, PART + 1, 100]);
  const answer = await uneven.complete();
  refused(answer, 400, 'InvalidPart');
  assert.equal(xml(answer, 'Message'), 'All non-trailing parts must have the same length.');
  refused(await uneven.complete([...uneven.parts].reverse()), 400, 'InvalidPartOrder');
  refused(await uneven.complete([uneven.parts[0].replace(/&quot;./, '&quot;x')]), 400, 'InvalidPart');
  refused(await uneven.complete([]), 400, 'MalformedXML');
  assert.equal((await s3('DELETE', `${uneven.path}?uploadId=${uneven.id}`)).status, 204);
  refused(await uneven.complete(), 404, 'NoSuchUpload');
  refused(await (await upload('small', [100, 100])).complete(), 400, 'EntityTooSmall');
  assert.deepEqual(stored, []);
});
